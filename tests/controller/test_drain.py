"""Before canaryd is taken out of a cluster: with a controller, without one, and when there is nothing to do."""

from __future__ import annotations

import json
import time

from canaryd.model.run import Outcome
from tests.cli.stage import Process
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


def drain(stage: Stage, *more: str) -> Process:
    process = Process(
        ["drain", *more, "--kubeconfig", str(stage.kubeconfig)],
        stage.folder,
        {"CANARYD_LEASE_SECONDS": "3", "POD_NAMESPACE": "canaryd", "CANARYD_STATE": str(stage.folder / "drain")},
    )
    stage._started.append(process)
    return process


def test_with_a_controller_what_runs_goes_back_and_nothing_begins(stage: Stage) -> None:
    """The runs are deleted; a second time is harmless; and the word can be taken back."""
    controller = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    process = drain(stage)
    assert process.ended() == 0, process.output + controller.output
    assert "nothing of canaryd's is left" in process.output
    assert (stage.weights(), stage.marked(), stage.run_objects()) == ((100, 0), [], [])
    stage.until(lambda: controller.running, "a controller that stays")
    stage.apply(release="v4")
    time.sleep(1.5)
    assert stage.run_objects() == []
    again = drain(stage)
    assert again.ended() == 0, again.output
    assert stage.cluster.objects("CanaryRecord") == []
    undone = drain(stage, "--undo")
    assert (undone.ended(), "begins releases again" in undone.output) == (0, True)
    assert stage.is_so("Promoted", stage.ends(process=controller))
    assert "was not drained" in said(drain(stage, "--undo"))


def test_the_history_may_be_kept(stage: Stage) -> None:
    """And says why the run ended."""
    controller = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    process = drain(stage, "--keep-runs")
    assert process.ended() == 0, process.output
    (run,) = stage.records()
    assert run.outcome is Outcome.ABORTED
    assert stage.is_so("Finished", stage.run_objects()[0])
    assert stage.weights() == (100, 0)


def test_without_a_controller_it_does_the_work_itself(stage: Stage) -> None:
    """The controller was killed in flight, and one run's object was deleted since."""
    controller = stage.controller(CANARYD_LEASE_SECONDS="3")
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    controller.kill()
    process = drain(stage)
    assert process.ended() == 0, process.output
    assert (stage.weights(), stage.marked(), stage.run_objects()) == ((100, 0), [], [])
    assert stage.cluster.find("Lease", "canaryd", "canaryd") is None


def test_an_orphaned_marker_goes_too(stage: Stage) -> None:
    """Its run is gone, and so is the controller."""
    controller = stage.controller(CANARYD_LEASE_SECONDS="3")
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    controller.kill()
    stage.kubectl("kubectl delete canaryruns --all; kubectl delete canaryplans --all")
    process = drain(stage)
    assert process.ended() == 0, process.output
    assert (stage.weights(), stage.marked()) == ((100, 0), [])


def test_nothing_runs(stage: Stage) -> None:
    """No controller was ever there, and nobody is waited for."""
    process = drain(stage)
    assert process.ended() == 0, process.output
    marked, left = process.output.splitlines()
    assert "nothing begins any more" in marked
    assert left == "nothing of canaryd's is left"


def test_what_cannot_be_rolled_back_is_said(stage: Stage) -> None:
    """Exit code 14."""
    controller = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    assert stage.api
    stage.api.faults.fail("patch", "virtualservices", 500, times=None)
    process = drain(stage, "--within", "3")
    assert process.ended() == 14, process.output
    assert "runs in flight: default/reviews-" in process.output
    assert stage.run_objects(), "it was deleted with its traffic still there"


def said(process: Process) -> str:
    process.ended()
    return process.output


def test_its_words(stage: Stage) -> None:
    """Each line once; it names who carries it out."""
    controller = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", controller)
    lines = said(drain(stage)).splitlines()
    assert len(lines) == len(set(lines)), json.dumps(lines, indent=1)
    assert any("(carried out by canaryd-0_" in line for line in lines), json.dumps(lines, indent=1)

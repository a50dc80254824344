"""``canaryd serve``: a folder of plans, restarts, files that are broken, and a revert in mid-run."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.app import Canaryd, world
from canaryd.cli.serve import LONGEST_WAIT, Plans
from canaryd.model.run import Outcome, Phase
from canaryd.settings import Settings
from canaryd.store.freezes import FolderQueue
from tests.cli.stage import Process, Stage, wait_for
from tests.cli.test_run import GATED, LONG, settled_at_stable


@pytest.fixture
def plans(stage: Stage) -> Path:
    """The folder."""
    folder = stage.folder / "plans"
    folder.mkdir()
    return folder


def serving(stage: Stage, plans: Path) -> Process:
    return stage.start("serve", plans)


def write(stage: Stage, **changes: Any) -> None:
    stage.plan("plans/reviews.yaml", **changes)


def events(process: Process) -> list[str]:
    """The names of the events that it logged, in order."""
    lines = [line for line in process.output.splitlines() if line.startswith("{")]
    return [json.loads(line)["event"] for line in lines]


def test_a_new_file_starts_a_run_and_a_broken_one_stops_nothing(stage: Stage, plans: Path) -> None:
    """Told with its name and the reason; the other plan is carried out to its end."""
    process = serving(stage, plans)
    process.says("daemon.started")
    (plans / "broken.yaml").write_text("kind: [CanaryPlan\n")
    write(stage)
    process.says("plan.refused")
    process.says("run.promoted")
    assert "broken.yaml, line 2" in process.output
    assert stage.weights() == (0, 100)
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    assert "Traceback" not in process.output


def test_a_settled_release_is_not_started_again_by_a_new_daemon(stage: Stage, plans: Path) -> None:
    """Known from the state folder; the next release is another run."""
    write(stage)
    process = serving(stage, plans)
    process.says("run.promoted")
    wait_for(lambda: stage.run().released, "the end")
    process.kill()
    stage.set_weights(100, 0)
    process = serving(stage, plans)
    process.says("plan.settled")
    assert "run.started" not in events(process)
    write(stage, release="v4", steps=LONG)
    wait_for(lambda: stage.weights() == (90, 10), "the next release", process=process)
    assert len(stage.runs()) == 2


def test_sigterm_leaves_runs_in_flight_and_a_new_daemon_goes_on(stage: Stage, plans: Path) -> None:
    """A rolling update of the daemon is no event for the traffic. Even if the plan's file is gone by then."""
    write(stage, steps=[{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "1s"}])
    process = serving(stage, plans)
    wait_for(lambda: stage.weights() == (90, 10), "10 %", process=process)
    process.send(signal.SIGTERM)
    assert process.ended() == 0, process.output
    assert stage.weights() == (90, 10)
    assert stage.run().uid in process.output.splitlines()[-1]
    (plans / "reviews.yaml").unlink()
    process = serving(stage, plans)
    process.says("run.promoted")
    assert "run.goes_on" in events(process)
    assert len(stage.runs()) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_revert_in_mid_run_aborts_it(stage: Stage, plans: Path, restarted: bool) -> None:
    """The plan asks for the release settled before: back, also when the daemon that knew of it is gone."""
    stage.clients.fail("v3", 0.5)
    write(stage)
    process = serving(stage, plans)
    process.says("run.rolled_back")
    wait_for(lambda: stage.run().released, "the end", process=process)
    stage.clients.fail("v3", 0.0)
    write(stage, release="v4", steps=LONG)
    wait_for(lambda: stage.weights() == (90, 10), "the next release", process=process)
    if restarted:
        process.kill()
    write(stage)
    if restarted:
        process = serving(stage, plans)
    wait_for(lambda: stage.run().phase is Phase.ROLLED_BACK and stage.run().released, "the end", process=process)
    assert stage.run().outcome is Outcome.ABORTED
    assert "asks for release 'v3' again" in stage.run().reason
    settled_at_stable(stage)
    assert len(stage.runs()) == 2


def test_an_edit_in_mid_run_is_told_once_and_not_obeyed(stage: Stage, plans: Path) -> None:
    """The run has its own copy of the plan."""
    write(stage, steps=GATED)
    process = serving(stage, plans)
    process.says("canaryd approve reviews")
    write(stage, steps=[{"weight": 90}])
    process.says("plan.changed")
    assert stage.weights() == (90, 10)
    assert events(process).count("plan.changed") == 1


@pytest.fixture
def daemon(stage: Stage, plans: Path) -> Iterator[Plans]:
    """The folder's plans in this process, scanned by the test."""
    settings = Settings(prometheus=stage.prometheus_url, kubeconfig=stage.kubeconfig, state=stage.state)
    with Canaryd(world(settings)) as canaryd:
        yield Plans(plans, canaryd, queue=FolderQueue(stage.state))


def test_a_refused_plan_is_tried_again_less_and_less_often(
    stage: Stage, plans: Path, daemon: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VirtualService may yet come; but the API is not asked every five seconds for ever. A new text is."""
    now = [0.0]
    monkeypatch.setattr("canaryd.cli.serve.time.monotonic", lambda: now[0])
    stage.set_weights(50, 50)
    write(stage)

    def looks() -> int:
        """Each try looks around once; only that asks for istiod's configuration."""
        assert stage.api is not None
        return len([one for one in stage.api.requests if one.resource == "configmaps"])

    def tries(seconds: int) -> int:
        before = looks()
        for _ in range(seconds // 5):
            now[0] += 5
            daemon.scan()
        return looks() - before

    assert tries(5) == 1
    assert tries(3600) < 20
    assert tries(int(2 * LONGEST_WAIT)) >= 1
    write(stage, release="v4")
    assert tries(5) == 1
    stage.set_weights(100, 0)
    tries(int(LONGEST_WAIT))
    assert [run.plan.spec.release for run in stage.runs()] == ["v4"]


def test_two_files_with_one_plan_do_not_fight(stage: Stage, plans: Path, daemon: Plans) -> None:
    """The first by name is obeyed, the second is told."""
    stage.plan("plans/a.yaml", steps=LONG)
    stage.plan("plans/b.yaml", steps=LONG, release="v9")
    daemon.scan()
    daemon.scan()
    assert [run.plan.spec.release for run in stage.runs()] == ["v3"]


def test_policies_are_read_again_and_mend_a_plan_that_was_refused(stage: Stage, plans: Path) -> None:
    """The plan's own text is as it was; a broken policy is told, and those before it go on."""
    policies = stage.folder / "policies"
    policies.mkdir()
    write(stage, **{"from": "careful"})
    process = stage.start("serve", plans, "--policies", policies)
    process.says("plan.refused")
    assert "there: none" in process.output
    policy = "kind: CanaryPolicy\nmetadata: {name: careful}\nspec: {watch: 100ms}\n"
    (policies / "careful.yaml").write_text(policy)
    process.says("run.started")
    (policies / "broken.yaml").write_text("kind: CanaryPolicy\nmetadata: {name: b}\nspec: {wach: 1s}\n")
    process.says("policies.refused")
    process.says("run.promoted")
    assert "did you mean watch?" in process.output
    assert "Traceback" not in process.output

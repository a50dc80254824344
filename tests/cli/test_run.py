"""
``canaryd run`` while things happen to it: kills, signals, outages, other people's hands, a second process.

The process, its signals and files, both servers and their outages are real; only the counters are made. The live lab
has its own kills, in ``test_lab.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from canaryd.app import SystemClock
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Cell, Sought
from canaryd.model.run import Phase, Record, Run
from canaryd.store.folder import FolderStore
from tests.cli.stage import PLAN, Process, Stage, canaryd, wait_for
from tests.metrics.worlds import closed_url
from tests.world import place_of

PROMOTED, ROLLED_BACK, ABORTED, INCONCLUSIVE, REFUSED, LEFT = 0, 10, 11, 12, 13, 14
MARKER = "marker.canaryd.io/reviews"
LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "1s"}]
"""Steps that stay at 10 % for longer than a test lasts."""
GATED = [{"weight": 10, "bake": "500ms", "gate": {"approve": {"limit": "1h"}}}, {"weight": 50, "bake": "1s"}]


def baking(stage: Stage, *options: str, steps: list[dict[str, object]] | None = None, **changes: object) -> Process:
    """A run that bakes at 10 %, with a cell measured."""
    process = stage.start("run", stage.plan(steps=steps or LONG, **changes), *options)
    wait_for(lambda: bool(stage.runs()) and len(stage.run().baked) >= 1, "a cell", process=process)
    assert stage.weights() == (90, 10)
    return process


def goes_on(stage: Stage, process: Process) -> None:
    """It measures again, and nothing holds it."""
    cells = len(stage.run().baked)
    wait_for(lambda: stage.run().hold is None and len(stage.run().baked) > cells, "more cells", process=process)


def settled_at_stable(stage: Stage) -> None:
    """Everything is as it was before the run, the marker too."""
    assert stage.weights() == (100, 0)
    assert MARKER not in stage.virtual_service()["metadata"].get("annotations", {})


def fetched_anew(run: Run, stage: Stage) -> list[Cell]:
    """What the recorded Prometheus says today of the windows of the run's cells."""
    assert run.canary_pin is not None
    assert run.stable_pin is not None
    sought = Sought(
        ("reviews.default.svc.cluster.local",),
        "default",
        run.stable_pin.workloads,
        run.canary_pin.workloads,
        run.plan.spec.analysis.grpc_failures,
        run.plan.spec.analysis.scrape.total_seconds(),
    )
    prometheus = Prometheus(stage.prometheus_url, clock=SystemClock().now)
    windows = [place_of(one) for one in run.cells]
    return [prometheus.count(sought, window) for window in windows]  # type: ignore[misc]


# -- the end


def test_a_healthy_canary_is_promoted_and_the_release_is_settled(stage: Stage) -> None:
    """Exit 0, nothing of ours left in the object; asked again it starts nothing; with --again it looks anew."""
    plan = stage.plan()
    process = stage.start("run", plan)
    assert process.ended() == PROMOTED, process.output
    assert "note: at 40,000 requests a second this plan can prove that the canary is no worse" in process.output
    assert stage.weights() == (0, 100)
    assert MARKER not in stage.virtual_service()["metadata"].get("annotations", {})
    before = stage.virtual_service()
    said = stage.try_run(plan)
    assert (said.code, "was settled by run" in said.err) == (PROMOTED, True)
    assert stage.virtual_service() == before
    assert "already at the canary" in stage.try_run(plan, "--again").err
    assert len(stage.runs()) == 1
    stage.set_weights(100, 0)
    process = stage.start("run", plan, "--again")
    process.says("baking at 10 %")
    assert len(stage.runs()) == 2


def test_a_faulty_canary_is_rolled_back(stage: Stage) -> None:
    """Exit 10 with the verdict's sentence; the release is settled all the same, with another exit code."""
    stage.clients.fail("v3", 0.3)
    process = stage.start("run", stage.plan(steps=LONG))
    assert process.ended() == ROLLED_BACK, process.output
    assert "rolled back: errors: canary" in process.output
    settled_at_stable(stage)
    said = stage.try_run(stage.plan(steps=LONG))
    assert (said.code, "--again" in said.err) == (REFUSED, True)


def test_the_report_leads_to_the_neighbours_and_waits_for_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracing backend is away: the run ends as it ends, and its report has the links that need nobody's word."""
    monkeypatch.setenv("CANARYD_KIALI", "https://kiali.example/kiali")
    monkeypatch.setenv("CANARYD_TRACING", closed_url())
    stage.clients.fail("v3", 0.3)
    process = stage.start("run", stage.plan(steps=LONG))
    assert process.ended() == ROLLED_BACK, process.output
    page = (stage.state / stage.run().uid / "report.html").read_text()
    assert 'href="https://kiali.example/kiali/console/graph/' in page
    assert "Example traces" not in page


def test_what_cannot_be_proven_in_time_is_inconclusive(stage: Stage) -> None:
    """Preflight says so before it begins; begun all the same: exit 12, and back at stable."""
    analysis = PLAN["spec"]["analysis"] | {"minRequests": 10_000_000}
    spec = {"analysis": analysis, "onInconclusive": {"hold": "1s", "then": "rollback"}}
    refused = stage.start("run", stage.plan(**spec))
    assert refused.ended() == REFUSED
    assert "TooLittleTraffic" in refused.output
    accepted = [{"code": "TooLittleTraffic", "reason": "to see how it ends"}]
    process = stage.start("run", stage.plan(**spec, acceptFindings=accepted))
    assert process.ended() == INCONCLUSIVE, process.output
    settled_at_stable(stage)


# -- kills and signals


def test_started_again_after_sigkill_it_goes_on_with_the_same_cells(stage: Stage) -> None:
    """At several moments: the run is the same, its cells have no hole, and each equals what Prometheus says today."""
    process = stage.start("run", stage.plan())
    for reached in (
        lambda: stage.run().phase is Phase.PENDING or stage.run().seq > 0,
        lambda: stage.weights() == (90, 10),
        lambda: len(stage.run().baked) >= 1,
        lambda: stage.weights() == (50, 50),
        lambda: stage.weights() == (0, 100),
    ):
        wait_for(lambda: bool(stage.runs()) and reached(), "the moment of the kill", process=process)  # noqa: B023
        process.kill()
        process = stage.start("run", stage.plan())
    assert process.ended() == PROMOTED, process.output
    [run] = stage.runs()
    assert "goes on" in process.output
    assert list(run.cells) == fetched_anew(run, stage)
    for former, cell in zip(run.cells, run.cells[1:], strict=False):
        assert cell.segment > former.segment or cell.start == pytest.approx(former.end)


def test_killed_while_it_rolls_back_it_rolls_back(stage: Stage) -> None:
    """A latched run never rises again, whoever carries it out."""
    process = baking(stage)
    stage.clients.fail("v3", 0.5)
    wait_for(lambda: stage.weights() == (100, 0), "the retreat", process=process)
    process.kill()
    stage.clients.fail("v3", 0.0)
    process = stage.start("run", stage.plan(steps=LONG))
    assert process.ended() == ROLLED_BACK, process.output
    settled_at_stable(stage)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_told_to_end_it_rolls_back(stage: Stage, number: signal.Signals) -> None:
    """Without a terminal that is the default: a pipeline that was cancelled leaves no canary behind."""
    process = baking(stage)
    process.send(number)
    assert process.ended() == ABORTED, process.output
    assert f"told to end by {number.name}: rolling back" in process.output
    settled_at_stable(stage)


def test_told_to_end_it_leaves_if_that_was_chosen(stage: Stage) -> None:
    """Exit 14 with the traffic as it was, and the same command goes on."""
    process = baking(stage, "--on-exit", "leave")
    process.send(signal.SIGTERM)
    assert process.ended() == LEFT, process.output
    assert "left in flight at 10 %" in process.output
    assert stage.weights() == (90, 10)
    [run] = stage.runs()
    process = stage.start("run", stage.folder / "reviews.yaml")
    process.says(f"run {run.uid} goes on")
    goes_on(stage, process)


def test_a_second_ctrl_c_leaves_a_rollback_that_is_not_accepted(stage: Stage) -> None:
    """The API is away, and the person does not want to wait: exit 14, and the next start rolls back."""
    process = baking(stage)
    stage.stop_api()
    process.send(signal.SIGINT)
    process.says("a second ctrl-C leaves everything as it is")
    wait_for(lambda: stage.run().latch is not None, "the latch", process=process)
    process.send(signal.SIGINT)
    assert process.ended() == LEFT, process.output
    stage.start_api()
    assert stage.start("run", stage.plan(steps=LONG)).ended() == ABORTED
    settled_at_stable(stage)


def test_an_abort_is_heard_though_it_cannot_be_written_down(stage: Stage) -> None:
    """A full disk, or a broken one, must not stand between a signal and its rollback."""
    process = baking(stage)
    (stage.state / stage.run().uid / "commands.jsonl").mkdir()
    process.send(signal.SIGTERM)
    assert process.ended() == ABORTED, process.output
    settled_at_stable(stage)


def test_a_reader_that_goes_away_does_not_end_the_run(stage: Stage) -> None:
    """``canaryd run plan.yaml | head -1`` has no say over the traffic."""
    command = [sys.executable, "-m", "canaryd", "run", str(stage.plan()), *stage.options()]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ)
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == PROMOTED
    assert stage.weights() == (0, 100)


# -- outages


def test_while_prometheus_is_away_traffic_holds_and_the_output_says_why(stage: Stage) -> None:
    """And it goes on when it is back."""
    process = baking(stage)
    stage.prometheus.status, stage.prometheus.body = 503, b"it starts"
    process.says("no data: Prometheus at")
    assert "HTTP 503" in process.output
    assert stage.weights() == (90, 10)
    stage.prometheus.status = 200
    goes_on(stage, process)


def test_while_the_api_is_away_the_run_waits_for_it(stage: Stage) -> None:
    """Tried again and again, and said so."""
    process = baking(stage)
    stage.stop_api()
    process.says("the mesh cannot be read, trying again: the Kubernetes API at")
    stage.start_api()
    wait_for(lambda: "cannot be read" not in stage.run().waiting, "the mesh in sight", process=process)
    goes_on(stage, process)


@pytest.mark.parametrize(("why", "code"), [("harm", ROLLED_BACK), ("abort", ABORTED)])
def test_a_rollback_is_tried_until_the_api_accepts_it(stage: Stage, why: str, code: int) -> None:
    """Decided while the API is away; nothing else has to happen when it is back."""
    process = baking(stage)
    stage.stop_api()
    if why == "harm":
        stage.clients.fail("v3", 0.5)
    else:
        assert canaryd("abort", "reviews", "--reason", "a hunch", "--state", stage.state).code == 0
    process.says("rolling back, and trying until it is accepted")
    assert stage.weights() == (90, 10)
    stage.start_api()
    assert process.ended() == code, process.output
    settled_at_stable(stage)


# -- other hands


def test_weights_raised_by_hand_are_brought_down_and_held(stage: Stage) -> None:
    """Until a person says resume."""
    process = baking(stage)
    stage.set_weights(40, 60)
    process.says("brought down to 10 %")
    wait_for(lambda: stage.weights() == (90, 10), "10 % again", process=process)
    wait_for(lambda: stage.run().hold is not None, "the hold", process=process)
    assert "canaryd resume reviews" in canaryd("explain", "reviews", "--state", stage.state).out
    assert canaryd("resume", "reviews", "--state", stage.state).code == 0
    wait_for(lambda: stage.run().hold is None, "going on", process=process)
    assert stage.weights() == (90, 10)


def test_weights_lowered_by_hand_are_respected(stage: Stage) -> None:
    """Somebody wanted less of the canary: held there, and gone on when they are put back."""
    process = baking(stage)
    stage.set_weights(98, 2)
    process.says("somebody set the canary to 2 %")
    assert stage.weights() == (98, 2)
    stage.set_weights(90, 10)
    wait_for(lambda: stage.run().hold is None, "going on", process=process)


def test_an_edited_plan_is_told_and_not_obeyed(stage: Stage) -> None:
    """The run has its own copy. At a new start, too."""
    process = baking(stage, "--on-exit", "leave")
    stage.plan(steps=[{"weight": 90}])
    process.says("was edited; the run goes on with its own copy (release 'v3')")
    (stage.folder / "reviews.yaml").write_text("nonsense: [")
    process.says("can no longer be read as a plan")
    stage.plan(steps=[{"weight": 80}])
    process.send(signal.SIGTERM)
    assert process.ended() == LEFT
    process = stage.start("run", stage.folder / "reviews.yaml")
    process.says("note: the plan was edited since run")
    assert stage.run().plan.spec.steps[0].weight.canary == 10_000


def test_a_plan_that_asks_for_the_release_settled_before_aborts_the_run(stage: Stage) -> None:
    """A ``git revert`` in mid-run means: back."""
    stage.clients.fail("v3", 0.5)
    assert stage.start("run", stage.plan(steps=LONG)).ended() == ROLLED_BACK
    stage.clients.fail("v3", 0.0)
    process = baking(stage, release="v4")
    stage.plan(steps=LONG)
    assert process.ended() == ABORTED, process.output
    assert "asks for release 'v3' again" in process.output
    settled_at_stable(stage)


def test_another_release_is_not_begun_while_a_run_is_unfinished(stage: Stage) -> None:
    """The old run is carried to its end; how that went must not be read as the new release's success."""
    process = baking(stage, "--on-exit", "leave")
    process.send(signal.SIGTERM)
    assert process.ended() == LEFT
    process = stage.start("run", stage.plan(release="v5"))
    process.says("the plan was edited since run")
    assert canaryd("promote", "reviews", "--reason", "x", "--state", stage.state).code == REFUSED
    assert canaryd("abort", "reviews", "--state", stage.state).code == 0
    assert process.ended() == REFUSED, process.output
    assert "release 'v5' was not begun: run" in process.output
    assert stage.run().phase is Phase.ROLLED_BACK


def test_a_run_that_ended_with_its_marker_left_is_tidied_up(stage: Stage) -> None:
    """Killed between the last save and the last patch; the marker would refuse every later release."""
    assert stage.start("run", stage.plan()).ended() == PROMOTED
    store = FolderStore(stage.state)
    [record] = store.records()
    store.save(Record(replace(record.run, released=False), record.version))
    marker = json.dumps(
        {
            "run": record.run.uid, "seq": record.run.seq, "split": 100_000, "was": 50_000, "at": 1.0, "latch": "",
            "reason": "", "stable": {"host": "reviews", "subset": "v1"}, "canary": {"host": "reviews", "subset": "v3"},
        },
        sort_keys=True, separators=(",", ":"),
    )  # fmt: skip
    stage.change("VirtualService", "reviews", lambda it: it["metadata"].update(annotations={MARKER: marker}))
    said = stage.try_run(stage.plan())
    assert (said.code, "was settled by run" in said.err) == (PROMOTED, True), said
    assert MARKER not in stage.virtual_service()["metadata"].get("annotations", {})


# -- commands from a second process


def test_a_gate_opens_on_approval_and_a_person_may_promote(stage: Stage) -> None:
    """Commands that would be void are refused with the reason."""
    analysis = PLAN["spec"]["analysis"] | {"proofCells": 1000}
    process = stage.start("run", stage.plan(steps=GATED, analysis=analysis))
    process.says("waiting for a person's approval at 10 %: canaryd approve reviews")
    state = ("--state", stage.state)
    assert "no gate" not in canaryd("approve", "reviews", "--reason", "looks well", *state).err
    wait_for(lambda: stage.weights() == (50, 50), "the next weight", process=process)
    assert "has no gate" in canaryd("approve", "reviews", *state).err
    assert "resume is for a person's hold, or weights that" in canaryd("resume", "reviews", *state).err
    wait_for(lambda: (hold := stage.run().hold) is not None and hold.kind == "inconclusive", "doubt", process=process)
    assert canaryd("promote", "reviews", *state).code == 2, "a reason is asked for"
    assert canaryd("promote", "reviews", "--reason", "the CEO waits", "--yes", *state).code == 0
    assert process.ended() == PROMOTED, process.output
    assert "the CEO waits" in process.output
    assert stage.run().unproven.endswith("the CEO waits")


def test_a_run_is_carried_out_by_one_process(stage: Stage) -> None:
    """The second is refused and changes nothing; status and explain answer from anywhere."""
    process = baking(stage)
    said = stage.try_run(stage.plan(steps=LONG))
    assert (said.code, "already being carried out by another canaryd" in said.err) == (REFUSED, True)
    elsewhere = canaryd("run", stage.folder / "reviews.yaml", *stage.options(), "--state", stage.folder / "elsewhere")
    assert (elsewhere.code, f"run {stage.run().uid}" in elsewhere.err) == (REFUSED, True), "the marker is a claim"
    assert stage.weights() == (90, 10)
    status = canaryd("status", "--state", stage.state).out
    assert stage.run().uid in status
    assert "no canaryd carries it out" not in status
    told = canaryd("explain", "default/reviews", "--state", stage.state).out
    assert "canaryd abort reviews --reason" in told
    assert canaryd("abort", stage.run().uid, "--state", stage.state).code == 0
    assert process.ended() == ABORTED, process.output
    assert "has ended" in canaryd("abort", "reviews", "--state", stage.state).err


def test_two_that_begin_at_once_begin_one_run(stage: Stage) -> None:
    """Two jobs of one pipeline; each looks at the objects for so long that both would find no run yet."""
    plan = stage.plan(steps=LONG)
    assert stage.api is not None
    stage.api.faults.hang("list", "deployments", 3, times=2, perform=True)
    both = [stage.start("run", plan) for _ in range(2)]
    wait_for(lambda: any(not process.running for process in both), "one that gives up")
    [loser] = [process for process in both if not process.running]
    assert loser.ended() == REFUSED, loser.output
    assert len(stage.runs()) == 1


def test_a_command_for_a_run_that_nobody_carries_out_is_said_to_wait(stage: Stage) -> None:
    """An abort that nobody hears must not sound like one that is obeyed."""
    process = baking(stage)
    process.kill()
    said = canaryd("abort", "reviews", "--state", stage.state)
    assert "no canaryd carries it out now, and traffic stays at 10 %" in said.err
    assert "no canaryd carries it out now" in canaryd("status", "--state", stage.state).out
    assert stage.start("run", stage.plan(steps=LONG)).ended() == ABORTED
    settled_at_stable(stage)


def test_questions_about_runs_that_are_not_there_are_answered(stage: Stage) -> None:
    """With what is there, and where was looked."""
    assert f"no runs in {stage.state}" in canaryd("status", "--state", stage.state).err
    said = canaryd("explain", "reviews", "--state", stage.state)
    assert (said.code, "there is no run or plan reviews in" in said.err) == (REFUSED, True)

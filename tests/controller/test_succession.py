"""
The leader is killed in each phase, and the other process ends the run the same way.

Two processes stand for election all the time; who is killed is replaced by a new standby.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import count

import pytest
import yaml

from canaryd.model.run import Outcome, Phase, Run
from canaryd.store.objects import why_of
from tests.cli.stage import Process
from tests.controller.past import Past, record_in
from tests.controller.stage import Stage
from tests.gates.receiver import KEY, Receiver, receiving

pytestmark = pytest.mark.xdist_group("succession")

TAKE_OVER = 6.0
"""Seconds: the Lease's three, a look of the standby, and what a busy machine adds."""
LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


class Pair:
    """A leader and a standby, a new release for each test, and a receiver that both know as ``board``."""

    def __init__(self, stage: Stage, board: Receiver) -> None:
        self.stage, self.board = stage, board
        (stage.folder / "key").write_text(KEY)
        hook = {"url": board.url, "namespaces": ["*"], "key": {"from_file": str(stage.folder / "key")}, "every": 1.0}
        self._config = stage.folder / "canaryd.yaml"
        self._config.write_text(yaml.safe_dump({"webhooks": {"board": hook}}))
        self._names = (f"canaryd-{number}" for number in count())
        self.processes = [self._another(), self._another()]
        stage.until(lambda: bool(self.holder), "a leader", self.processes[0])

    def _another(self) -> Process:
        config = ("--config", self._config)
        return self.stage.controller(*config, name=next(self._names), CANARYD_LEASE_SECONDS="3")

    @property
    def holder(self) -> str:
        lease = self.stage.cluster.find("Lease", "canaryd", "canaryd")
        assert lease is not None
        return str(lease["spec"].get("holderIdentity") or "")

    @property
    def leader(self) -> Process:
        self.stage.until(lambda: any(self._leads(one) for one in self.processes), "a leader", deadline=10)
        return next(one for one in self.processes if self._leads(one))

    @property
    def standby(self) -> Process:
        leader = self.leader
        return next(one for one in self.processes if one is not leader)

    def _leads(self, process: Process) -> bool:
        return f'"identity": "{self.holder}"' in process.output and bool(self.holder)

    def lose(self, leader: Process, number: signal.Signals = signal.SIGKILL) -> float:
        """End the leader; in how many seconds the other one leads."""
        standby = next(one for one in self.processes if one is not leader)
        began = time.monotonic()
        leader.send(number)
        standby.says('"event": "daemon.leads"', deadline=20)
        took = time.monotonic() - began
        leader.kill()
        self.processes = [standby, self._another()]
        return took

    def reset(self) -> None:
        """As before the first release: nothing is left of the last one but time."""
        stage = self.stage
        assert stage.api
        stage.api.faults.clear()
        for version in ("v1", "v3"):
            stage.clients.fail(version, 0.002)
        self.board.says(200)
        self.board.asked.clear()
        if stage.cluster.find("CanaryPlan", "default", "reviews"):
            stage.kubectl("kubectl delete canaryplan/reviews; kubectl delete canaryruns --all")
        stage.until(lambda: not stage.marked(), "no marker")
        stage.set_weights(100, 0)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Stage(tmp_path_factory.mktemp("succession")) as stage, receiving() as board:
        yield Pair(stage, board)


@pytest.fixture
def pair(house: Pair) -> Pair:
    house.reset()
    return house


@pytest.fixture
def past(pair: Pair) -> Past:
    return Past(pair.stage.cluster)


def ended(pair: Pair, past: Past, outcome: Outcome, reason: str = "") -> Run:
    """What must be so after every succession: one run, its end, its reason, no evidence lost, no weight up."""
    stage = pair.stage
    found = stage.ends(process=pair.leader)
    run = stage.newest()
    assert run.outcome is outcome, run.reason
    assert stage.weights() == ((0, 100) if outcome is Outcome.PROMOTED else (100, 0)), str(past)
    assert found["status"]["why"] == why_of(run)
    assert reason in ("", run.reason)
    past.check()
    assert {moment.marker.run for moment in past.moments if moment.marker} <= {run.uid}
    return run


def test_pending(pair: Pair, past: Past) -> None:
    """The canary is not rolled out yet."""
    stage, ready = pair.stage, {"updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "replicas": 2}
    stage.cluster.set_status("Deployment", "default", "reviews-v3", {**ready, "updatedReplicas": 1})
    stage.apply()
    stage.until(lambda: stage.is_at(Phase.PENDING), "pending", pair.leader)
    assert pair.lose(pair.leader) < TAKE_OVER
    time.sleep(1)
    assert stage.weights() == (100, 0)
    stage.cluster.set_status("Deployment", "default", "reviews-v3", ready)
    ended(pair, past, Outcome.PROMOTED)


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.PROMOTING])
def test_a_patch_upward_is_under_way(pair: Pair, past: Past, phase: Phase) -> None:
    """Its intent is saved, and the request hangs when its sender dies."""
    stage = pair.stage
    assert stage.api
    faults = stage.api.faults
    before = faults.hits
    past.once(record_in(phase), lambda: faults.hang("patch", "virtualservices", 30.0))
    leader = pair.leader
    stage.apply()
    stage.until(lambda: faults.hits > before, "a patch that hangs", leader)
    assert stage.is_at(phase)
    assert pair.lose(leader) < TAKE_OVER
    ended(pair, past, Outcome.PROMOTED)


def test_baking(pair: Pair, past: Past) -> None:
    """The cells go on where they were; none is counted twice, and none is new that was there."""
    stage, leader = pair.stage, pair.leader
    stage.apply(steps=[{"weight": 10, "bake": "7s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", leader)
    time.sleep(2)
    assert pair.lose(leader) < TAKE_OVER
    run = ended(pair, past, Outcome.PROMOTED)
    places = [(one.segment, one.start) for one in run.cells]
    assert places == sorted(set(places))


def test_held_at_a_gate(pair: Pair, past: Past) -> None:
    """It waits on, and hears the word that it waits for."""
    stage, leader = pair.stage, pair.leader
    gate = {"approve": {"limit": "1h", "otherwise": "rollback"}}
    stage.apply(steps=[{"weight": 10, "bake": "500ms", "gate": gate}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: bool(stage.records()) and stage.newest().hold is not None, "a hold", leader)
    assert pair.lose(leader) < TAKE_OVER
    time.sleep(1)
    assert stage.weights() == (90, 10)
    ask(stage, '{"commands":[{"verb":"approve","by":"ada"}]}')
    assert 0 in ended(pair, past, Outcome.PROMOTED).approved


def test_a_webhook_and_a_person_are_asked(pair: Pair, past: Past) -> None:
    """
    The next leader asks the same question and counts on; a yes that is saved is not asked for again; the limit is what
    it was; and without both nothing rises.
    """
    stage, board = pair.stage, pair.board
    board.says(423)
    gate = {"approve": {"limit": "1h"}, "webhooks": [{"name": "board", "limit": "2h"}]}
    stage.apply(steps=[{"weight": 10, "bake": "500ms", "gate": gate}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: len(board.asked) >= 2 and asked_in(stage) >= 2, "a gate that was asked for twice", pair.leader)
    before, ends = stage.newest(), {one.id: one.since for one in stage.newest().gates}
    assert pair.lose(pair.leader) < TAKE_OVER
    seen = asked_in(stage)
    stage.until(lambda: asked_in(stage) >= seen + 2, "a gate that is asked for again", pair.leader)
    board.says(200)
    stage.until(lambda: "yes" in [one.said for one in stage.newest().gates], "a yes that is saved", pair.leader)
    assert {one.id: one.since for one in stage.newest().gates} == ends
    assert stage.newest().hold is not None
    assert before.hold is not None
    assert stage.newest().hold.limit == before.hold.limit  # type: ignore[union-attr]  # it is held
    attempts = [int(one.headers["canaryd-attempt"]) for one in board.asked]
    assert attempts == sorted(attempts)
    assert attempts[-1] >= seen + 2
    asked = len(board.asked)
    pair.standby.says('"event": "daemon.started"')
    assert pair.lose(pair.leader) < TAKE_OVER
    time.sleep(3)
    assert len(board.asked) == asked
    assert stage.weights() == (90, 10)
    ask(stage, '{"commands":[{"verb":"approve","by":"ada"}]}')
    run = ended(pair, past, Outcome.PROMOTED)
    assert set(board.ids) == {f"{run.uid}_0_step-1_board"}
    assert (len(board.asked), [one.by for one in run.approvals]) == (asked, ["ada"])


def asked_in(stage: Stage) -> int:
    """How often the newest run's webhook was asked, as its record has it."""
    return max((one.times for one in stage.newest().gates), default=0) if stage.records() else 0


def test_an_end_that_nobody_has_taken(pair: Pair, past: Past) -> None:
    """The next leader tells it, with the same id; who comes after that tells nobody."""
    stage, board = pair.stage, pair.board
    board.says(503)
    stage.apply(gates={"end": ["board"]})
    leader = pair.leader
    run = ended(pair, past, Outcome.PROMOTED)
    stage.until(lambda: len(board.asked) >= 1, "an end that is told", leader)
    assert pair.lose(leader) < TAKE_OVER
    before = len(board.asked)
    board.says(200)
    stage.until(lambda: stage.newest().untold == (), "an end that was taken", pair.leader)
    assert len(board.asked) == before + 1
    assert set(board.ids) == {f"{run.uid}_0_end_board"}
    assert len({one.body for one in board.asked}) == 1
    pair.standby.says('"event": "daemon.started"')
    assert pair.lose(pair.leader) < TAKE_OVER
    time.sleep(2)
    assert len(board.asked) == before + 1


def test_held_by_drift(pair: Pair, past: Past) -> None:
    """What a hand did is left alone by the next leader too."""
    stage, leader = pair.stage, pair.leader
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", leader)
    stage.set_weights(95, 5)
    stage.until(lambda: stage.newest().hold is not None, "a hold", leader)
    assert pair.lose(leader) < TAKE_OVER
    time.sleep(1)
    assert stage.weights() == (95, 5)
    ask(stage, '{"abort":{"reason":"enough","by":"ada"}}')
    ended(pair, past, Outcome.ABORTED, "aborted by ada: enough")


def test_watching(pair: Pair, past: Past) -> None:
    """At 100 %, rollback armed."""
    stage, leader = pair.stage, pair.leader
    stage.apply(watch="6s")
    stage.until(lambda: stage.is_at(Phase.WATCHING), "watching", leader)
    assert pair.lose(leader) < TAKE_OVER
    assert stage.is_at(Phase.WATCHING)
    ended(pair, past, Outcome.PROMOTED)


def test_a_rollback_that_is_refused_for_a_while(pair: Pair, past: Past) -> None:
    """The verdict is remembered, with its sentence."""
    stage, leader = pair.stage, pair.leader
    assert stage.api
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", leader)
    stage.api.faults.fail("patch", "virtualservices", 500, times=None)
    stage.clients.fail("v3", 0.3)
    stage.until(lambda: stage.is_at(Phase.ROLLING_BACK), "rolling back", leader)
    latch = stage.newest().latch
    assert latch is not None
    assert pair.lose(leader) < TAKE_OVER
    stage.clients.fail("v3", 0.0)  # a latch is not reopened by better figures
    stage.api.faults.clear()
    assert latch.reason in ended(pair, past, Outcome.FAILED).reason


@pytest.mark.parametrize("faulty", [False, True], ids=["promoted", "rolled back"])
def test_ended_and_not_released(pair: Pair, past: Past, faulty: bool) -> None:
    """All is decided; the marker is still there."""
    stage, leader = pair.stage, pair.leader
    assert stage.api
    faults = stage.api.faults
    stage.clients.fail("v3", 0.3 if faulty else 0.002)
    final = (Phase.PROMOTED, Phase.ROLLED_BACK)
    past.once(record_in(*final), lambda: faults.fail("patch", "virtualservices", 500, times=None))
    stage.apply()
    stage.until(lambda: bool(stage.records()) and stage.newest().final, "the end", leader)
    reason = stage.newest().reason
    assert stage.marked()
    assert pair.lose(leader) < TAKE_OVER
    faults.clear()
    ended(pair, past, Outcome.FAILED if faulty else Outcome.PROMOTED, reason)


def test_a_leader_that_is_told_to_end_hands_over_at_once(pair: Pair, past: Past) -> None:
    """The Lease is given back; nothing waits for it to run out."""
    stage, leader = pair.stage, pair.leader
    stage.apply(steps=[{"weight": 10, "bake": "4s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", leader)
    pair.standby.says('"event": "daemon.started"')
    assert pair.lose(leader, signal.SIGTERM) < 2.0
    ended(pair, past, Outcome.PROMOTED)


def ask(stage: Stage, spec: str) -> None:
    """Write into the spec of the newest run, as kubectl does."""
    name = stage.run_objects()[-1]["metadata"]["name"]
    said = stage.kubectl(f"kubectl patch canaryrun {name} --type=merge -p '{{\"spec\":{spec}}}'")
    assert said.returncode == 0, said.stderr

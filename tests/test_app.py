"""Who carries runs out: with the Lease everything, without it only what is already on its way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from canaryd.app import Canaryd, SystemClock
from canaryd.app import command as asking
from canaryd.engine.ports import World
from canaryd.errors import Unavailable
from canaryd.model.asking import Reply
from canaryd.model.run import Outcome, Phase, Record, Run
from canaryd.neighbours import Annotations
from canaryd.store.folder import FolderStore
from tests.gates.memory import MemoryWebhooks
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import at, surroundings
from tests.metrics.load import Load
from tests.metrics.memory import MemoryMetrics
from tests.neighbours.standing_in import Fault, Grafana, standing_in
from tests.neighbours.stories import given
from tests.stage import new_run
from tests.store.memory import MemoryJournal, MemoryStore
from tests.world import small_plan


def eventually(fact: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


class Lease:
    """Whether we lead, as a test says, and how often that was asked."""

    def __init__(self) -> None:
        self.ours = True
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.ours


class Life:
    """A canaryd with one run, whose canary has traffic, under a Lease."""

    def __init__(self, canaryd: Canaryd, lease: Lease, mesh: MemoryMesh, run: Run) -> None:
        self.canaryd, self.lease, self.mesh, self.uid = canaryd, lease, mesh, run.uid

    @property
    def run(self) -> Run:
        return self.canaryd.see(self.uid)

    def woken(self, times: int = 3) -> None:
        """The run is woken, and each time it has been asked whether we lead."""
        for _ in range(times):
            before = self.lease.asked
            self.canaryd.wake(self.uid)
            eventually(lambda before=before: self.lease.asked > before)  # type: ignore[misc]


@pytest.fixture
def life() -> Iterator[Life]:
    mesh, lease = MemoryMesh(at(100, 0), surroundings()), Lease()
    world = World(mesh, MemoryMetrics.of(Load(since=time.time() - 60)), MemoryStore(), MemoryJournal(), SystemClock())
    with Canaryd(world, workers=2, may=lease) as canaryd:
        begun = canaryd.begin(small_plan())
        eventually(lambda: bool(mesh.writes))
        yield Life(canaryd, lease, mesh, begun.record.run)


def test_who_leads_no_more_carries_nothing_further(life: Life) -> None:
    """A run that is on its way forward is the next leader's, from the moment the Lease is lost."""
    life.lease.ours = False
    life.woken()  # a tick that was under way has ended
    calls = len(life.mesh.calls)
    life.woken()
    assert len(life.mesh.calls) == calls


def test_a_command_is_obeyed_only_by_who_leads(life: Life) -> None:
    """An abort that comes after the Lease was lost is the next leader's: it is in the run's spec."""
    life.lease.ours = False
    life.woken()
    writes = len(life.mesh.writes)
    life.canaryd.ask(life.uid, asking("abort", by="ada"))
    life.woken()
    assert len(life.mesh.writes) == writes


def test_no_lost_lease_keeps_a_run_from_going_back(life: Life) -> None:
    """The retreat that was decided is written, and proven, whoever leads by then."""
    life.mesh.fail_before(Unavailable("no answer"), "retreat")
    life.canaryd.ask(life.uid, asking("abort", by="ada"))
    eventually(lambda: life.run.latch is not None)
    life.lease.ours = False
    eventually(lambda: life.run.final)
    assert [one["weight"] for one in life.mesh.virtual_service["spec"]["http"][0]["route"]] == [100, 0]  # type: ignore[index]


# ---------------------------------------------------------------------------------------------------------------------
# An end that a former process has not told


UNTOLD = "run-1"
TELLS = [("board", "run-1_0_end_board")]


def receivers(*, away: bool = False) -> MemoryWebhooks:
    return MemoryWebhooks({"board": (("*", "default"), (200, {}, b""))}, away=away)


@pytest.fixture
def left(tmp_path: Path) -> FolderStore:
    """A folder in which a process has died between the end of a run and the telling."""
    store, over = FolderStore(tmp_path), replace(new_run(small_plan(gates={"end": ["board"]})), phase=Phase.PROMOTED)
    store.save(Record(replace(over, outcome=Outcome.PROMOTED, ended=time.time(), released=True, untold=("board",))))
    return store


def another(store: FolderStore, webhooks: MemoryWebhooks) -> Canaryd:
    mesh = MemoryMesh(at(100, 0), surroundings())
    metrics = MemoryMetrics.of(Load(since=time.time() - 60))
    return Canaryd(World(mesh, metrics, store, MemoryJournal(), SystemClock(), webhooks=webhooks), workers=2)


def test_the_next_process_tells_an_end_that_the_former_did_not(left: FolderStore) -> None:
    """And then it is told, and the run at rest."""
    webhooks = receivers()
    with another(left, webhooks) as canaryd:
        canaryd.tell_what_is_left()
        eventually(lambda: left.load(UNTOLD).run.untold == ())
        eventually(lambda: not canaryd._scheduler._known)
    with another(left, webhooks) as canaryd:
        canaryd.tell_what_is_left()
        assert canaryd.seen() == []
    assert webhooks.asked == TELLS


def test_an_end_that_nobody_took_is_kept_for_the_next_process(left: FolderStore) -> None:
    """A pipeline does not wait for a receiver that is away."""
    with another(left, receivers(away=True)) as canaryd:
        canaryd.tell_what_is_left()
    assert left.load(UNTOLD).run.untold == ("board",)
    webhooks = receivers()
    with another(left, webhooks) as canaryd:
        canaryd.tell_what_is_left()
        eventually(lambda: webhooks.asked == TELLS)


def test_an_end_that_is_taken_while_the_process_ends_is_noted(left: FolderStore) -> None:
    """No tick comes any more that could."""

    class Slow(MemoryWebhooks):
        def tell(self, run: Run, name: str) -> Reply:
            begun.set()
            assert canaryd._scheduler._stopping.wait(10)
            return super().tell(run, name)

    begun, webhooks = Event(), Slow(receivers().known)
    with another(left, webhooks) as canaryd:
        canaryd.tell_what_is_left()
        assert begun.wait(10)
        assert left.load(UNTOLD).run.untold == ("board",)
    assert (webhooks.asked, left.load(UNTOLD).run.untold) == (TELLS, ())


def test_an_end_that_another_process_tells_is_left_to_it(left: FolderStore) -> None:
    """`canaryd run` begins beside one that has just ended, and is not refused for it."""
    with left.held(UNTOLD), another(left, receivers()) as canaryd:
        canaryd.tell_what_is_left()
        assert canaryd.seen() == []


@pytest.mark.parametrize("fault", ["", "drips", "500"])
def test_a_run_is_marked_in_grafana_and_never_waits_for_it(fault: Fault) -> None:
    """One that hangs, or is down, keeps neither a weight nor a rollback; the last mark is written before the end."""
    grafana = Grafana(fault=fault)
    with standing_in(grafana):
        settings = given(grafana={"url": grafana.url, "annotate": True}).grafana
        assert settings is not None
        mesh = MemoryMesh(at(100, 0), surroundings())
        world = World(
            mesh,
            MemoryMetrics.of(Load(since=time.time() - 60)),
            MemoryStore(),
            MemoryJournal(),
            SystemClock(),
            annotations=Annotations(settings),
        )
        with Canaryd(world, workers=2) as canaryd:
            begun = canaryd.begin(small_plan()).record.run
            eventually(lambda: bool(mesh.writes))
            canaryd.ask(begun.uid, asking("abort", by="ada"))
            eventually(lambda: canaryd.see(begun.uid).final)
    marked = [one["tags"][-1].partition("-")[0] for one in grafana.annotations]
    assert marked == ([] if fault else ["step.shifting", "run.rolling_back", "run.rolled_back"])
    assert grafana.asked

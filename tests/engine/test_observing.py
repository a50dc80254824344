"""
`mode: observe`: everything but patches.

The world is one in which another tool moves the weights: 30 % at the canary, with that tool's own marks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from canaryd.engine.admission import Settled, begin, last_settled
from canaryd.engine.observing import as_wanted, observed
from canaryd.errors import Unavailable
from canaryd.model.cells import Cell
from canaryd.model.decision import Decision, Unseen
from canaryd.model.problem import Refused
from canaryd.model.run import Outcome, Phase, Record, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, Marker, Split
from canaryd.report.explain import explain
from canaryd.report.live import line
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import ROUTE, V1, V2, V3, at, destination, entry, surroundings
from tests.metrics.memory import MemoryMetrics
from tests.store.memory import MemoryStore
from tests.world import START, Few, World, ports, small_plan

THIRTY = Split.percent(30)
WRITES = {"mesh.shift", "mesh.retreat", "mesh.release"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def observing(*, canary_errors: float = 0.001, share: float = 0.3, mode: str = "observe", **spec: Any) -> World:
    world = World(plan=small_plan(mode=mode, **spec))
    load = Few(since=START - 60)
    load.turn(START, rate=2000.0, canary_errors=canary_errors, share=share)
    world.metrics = MemoryMetrics(load.book(1.0))  # type: ignore[assignment]  # by shape
    world.mesh = MemoryMesh(at(round(100 * (1 - share)), round(100 * share)), surroundings())
    world.start()
    return world


def entries(world: World) -> list[Any]:
    return world.journal.read("run-1")


def told(world: World, event: str) -> list[str]:
    return [reason for one in entries(world) for name, reason in one["events"] if name == event]


def check_untouched(world: World) -> None:
    assert world.mesh.writes == []
    assert not WRITES & set(world.trap.calls)


def test_a_healthy_canary_is_promoted_in_the_journal_alone() -> None:
    """Every decision is made, and no request to write is ever sent."""
    world = observing()
    run = world.live()
    check_untouched(world)
    assert run.outcome is Outcome.PROMOTED
    assert run.reason.endswith("(observed only, nothing was moved)")
    assert told(world, "run.would_write") == [
        "observing: would set the canary to 10 % in VirtualService default/reviews (0 % -> 10 %)",
        "observing: would set the canary to 50 % in VirtualService default/reviews (10 % -> 50 %)",
        "observing: would set the canary to 100 % in VirtualService default/reviews (50 % -> 100 %)",
    ]


def test_a_faulty_canary_fails_in_the_journal_alone() -> None:
    """A true FAIL, told once, though the traffic stays where it is."""
    world = observing(canary_errors=0.3)
    run = world.live()
    check_untouched(world)
    assert run.outcome is Outcome.FAILED
    assert told(world, "run.would_write")[-1].endswith("(10 % -> 0 %)")
    assert len(told(world, "run.rolling_back")) == 1


def test_the_journal_says_what_would_have_been_written() -> None:
    """`wrote` is what reached the mesh: nothing. `would` is the marker."""
    world = observing()
    world.live()
    kept = entries(world)
    assert {one["wrote"] for one in kept} == {""}
    would = [Marker.parse(one["would"]) for one in kept if one["would"]]
    assert [one.split for one in would] == [Split.percent(10), Split.percent(50), EVERYTHING]
    assert kept[-2]["saw"]["mesh"]["split"] == {"canary": 30_000}, "the journal has what was really there"


def test_cells_are_judged_under_the_split_that_the_mesh_holds() -> None:
    """The wanted one would be traffic gone astray, and no step would ever pass."""
    world = observing()
    run = world.live()
    assert {cell.split for cell in run.cells if isinstance(cell, Cell)} == {THIRTY}
    passed = told(world, "step.passed")
    assert passed
    assert all("measured while the mesh sends 30 % to v3" in reason for reason in passed)


def test_a_canary_without_traffic_is_never_promoted() -> None:
    """The usual first day: nobody moves anything. There is no evidence, and that is what it comes to."""
    world = observing(share=0.0, onInconclusive={"hold": "10s"})
    run = world.live()
    check_untouched(world)
    assert run.outcome is Outcome.INCONCLUSIVE


def test_what_the_run_waits_for_says_that_nothing_is_moved() -> None:
    """Whoever reads one sentence must not take it for traffic that moves."""
    world = observing()
    seen = set()

    def look(now: World) -> None:
        if not now.saved.final and now.saved.seq:
            seen.add(now.saved.waiting)
            assert "nothing is moved" in line(now.saved, now.clock.at)
            assert "nothing is moved" in explain(now.saved, now.clock.at)

    run = world.live(then=look)
    assert seen
    assert all(one.startswith("observing, nothing is moved (the mesh sends 30 % to v3): ") for one in seen), seen
    assert all(one.count("observing") == 1 for one in seen), seen
    assert "observed only" in explain(run)
    assert "observed only" in line(run, world.clock.at)


def test_a_restart_at_any_tick_changes_nothing() -> None:
    """What the machine is shown is a function of the saved run and of the mesh."""
    plain, restarted = observing(), observing()
    plain.live()
    restarted.live(then=World.start)
    shown = [[(one.split, one.origin) for one in world.saved.segments] for world in (plain, restarted)]
    assert shown[0] == shown[1]
    assert told(plain, "run.would_write") == told(restarted, "run.would_write")


def test_whatever_others_do_to_the_weights_is_no_drift() -> None:
    """They are theirs."""
    world = observing()

    def meddle(now: World) -> None:
        now.mesh.edit(lambda found: found["metadata"].setdefault("annotations", {}).update(other="1"))
        now.mesh.weigh(69, 31) if now.mesh.look(ROUTE).split == THIRTY else now.mesh.weigh(70, 30)

    assert world.live(then=meddle).outcome is Outcome.PROMOTED
    check_untouched(world)
    assert told(world, "run.drifted") == []


def test_an_entry_that_is_gone_is_held_for_and_told() -> None:
    """What cannot be observed is not made up."""
    world = observing()
    while world.saved.phase is not Phase.BAKING:
        world.tick()
        world.clock.at += 1
    world.mesh.edit(lambda found: found["spec"].update(http=[entry(destination(V2, 100))]))
    run = world.tick()
    assert run is not None
    assert run.hold is not None
    assert run.hold.kind == "drift"
    assert "what the mesh sends is not known" in run.waiting
    world.mesh.edit(lambda found: found["spec"].update(http=at(70, 30)["spec"]["http"]))
    assert world.live().outcome is Outcome.PROMOTED
    check_untouched(world)


def test_an_abort_while_the_mesh_cannot_be_read_is_told_once() -> None:
    """No retreat waits for anything, so none is repeated."""
    world = observing()
    while world.saved.phase is not Phase.BAKING:
        world.tick()
        world.clock.at += 1
    world.ask("abort")

    def away(*_: object) -> None:
        raise Unavailable("connection refused")

    world.reconciler._mesh.look = away  # type: ignore[method-assign, assignment]
    run = world.live()
    assert run.outcome is Outcome.ABORTED
    assert len(told(world, "run.would_write")) == 2
    check_untouched(world)


# -- how it begins


def begun(world: World, mode: Any = "active", **spec: Any) -> Any:
    return begin(small_plan(**spec), ports(world.mesh, world.metrics, world.store), mode=mode)


def bare(*, ended: Run | None = None) -> World:
    """A world without runs, but perhaps for one that ended."""
    world = observing()
    world.store = MemoryStore()
    if ended is not None:
        world.store.save(Record(ended))
    return world


def test_a_process_that_observes_makes_every_run_observe() -> None:
    """Whatever the plan says; and the run keeps it, for the copy in the run says so."""
    run = begun(bare(), mode="observe").record.run
    assert run.plan.observes
    assert run.started_from == NOTHING


def test_observing_starts_beside_whoever_moves_the_weights() -> None:
    """Refusals of an active plan are remarks: the mark, the other run's claim, the split."""
    world = bare()
    claim = Marker("other-1", 3, THIRTY, NOTHING, V1, ROUTE.canary, 1.0).dump()
    marks = {"flagger.kubernetes.io/original-configuration": "{}", "marker.canaryd.io/other": claim}
    world.mesh.edit(lambda found: found["metadata"].update(annotations=marks))
    with pytest.raises(Refused) as refused:
        begun(world)
    assert len(refused.value.problems) == 3
    remarks = "\n".join(begun(world, mode="observe").remarks)
    for word in ("flagger", "plan other", "30 %"):
        assert word in remarks.lower()
    assert remarks.count("only observing beside this") == 3


def test_a_split_that_is_none_is_refused_also_when_observing() -> None:
    """Two entries that disagree are no traffic to be measured, and the reason is told."""
    world = bare()
    several = [
        entry(destination(V1, 70), destination(V3, 30), name="a", match=[{"uri": {"prefix": "/a"}}]),
        entry(destination(V1, 1), destination(V3, 1), name="b"),
    ]
    world.mesh.edit(lambda found: found["spec"].update(http=several))
    target = small_plan().spec.target.model_dump(by_alias=True, exclude_none=True) | {"routes": ["a", "b"]}
    target |= {"canary": {"subset": "v3"}, "stable": {"subset": "v1"}}
    with pytest.raises(Refused, match="the entries disagree"):
        begun(world, mode="observe", target=target)


def test_a_sentence_that_stays_is_not_said_twice() -> None:
    """What the run waits for is saved, and comes back as what the machine leaves as it was."""
    run, mesh = observing().saved, World().mesh.look(ROUTE)
    once = observed(Decision(replace(run, waiting="held (twice) for a reason")), run, mesh).run
    assert once.waiting == "observing, nothing is moved (the mesh sends 0 % to v3): held (twice) for a reason"
    assert observed(Decision(once), once, mesh).run.waiting == once.waiting


def test_an_observed_release_is_not_settled_for_an_active_plan() -> None:
    """The day on which canaryd may move it: nothing has been released so far."""
    ended = observing().live()
    world = bare(ended=ended)
    world.mesh.weigh(100, 0)
    with pytest.raises(Settled):
        begun(world, mode="observe")
    assert last_settled(small_plan(), world.store.records()) is None
    assert not begun(world).record.run.plan.observes


def test_an_unseen_mesh_stays_unseen() -> None:
    """But for a rollback that was decided."""
    run = observing().saved
    assert as_wanted(run, Unseen("away")) == Unseen("away")
    assert as_wanted(replace(run, seq=2, split=THIRTY), Unseen("away")) == Unseen("away")
    assert as_wanted(replace(run, seq=2), Unseen("away")) != Unseen("away")

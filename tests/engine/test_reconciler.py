"""
The order of save and patch, and that nothing blocks a rollback.

Counted at the ports: what is asked, in what order, and what is left out when time matters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from canaryd.engine import reconciler
from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable
from canaryd.model.run import Outcome, Phase
from canaryd.model.traffic import EVERYTHING, NOTHING, Split
from tests.world import World

TEN = Split.percent(10)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def at_ten(**how: float) -> World:
    """A world whose canary has its first ten percent."""
    world = World(**how)
    while world.split != TEN:
        world.tick()
        world.clock.at += 1
    world.tick()
    return world


def calls_of_next_tick(world: World) -> list[str]:
    before = len(world.trap.calls)
    world.reconciler.tick("run-1")
    return world.trap.calls[before:]


def broken(world: World, port: str, call: str, error: CanarydError) -> None:
    """Every such call fails from now on."""

    def fail(*_: object) -> None:
        world.trap.calls.append(f"{port}.{call}")
        raise error

    target = {"store": world.reconciler._store, "mesh": world.reconciler._mesh, "journal": world.reconciler._journal}
    setattr(target[port], call, fail)


def test_toward_the_canary_the_save_comes_before_the_patch() -> None:
    """Rule 4: an intent that nobody can forget."""
    calls = calls_of_next_tick(World())
    assert calls.index("store.save") < calls.index("mesh.shift")


def test_toward_stable_the_patch_comes_before_the_save() -> None:
    """Rule 4: the mesh hears of it first."""
    world = at_ten()
    world.ask("abort")
    calls = calls_of_next_tick(world)
    assert calls.index("mesh.retreat") < calls.index("store.save")


@pytest.mark.parametrize("error", [Unavailable("disk full"), Conflict("somebody was first"), Rejected("no rights")])
def test_toward_the_canary_a_failed_save_leaves_the_mesh_alone(error: CanarydError) -> None:
    """Rule 4: without the record no weight rises."""
    world = World()
    broken(world, "store", "save", error)
    for _ in range(5):
        calls_of_next_tick(world)
    assert world.split == NOTHING
    assert "mesh.shift" not in world.trap.calls


@pytest.mark.parametrize("error", [Unavailable("disk full"), Conflict("somebody was first"), Rejected("no rights")])
@pytest.mark.parametrize(
    ("port", "call"), [("store", "save"), ("store", "load"), ("journal", "tell"), ("mesh", "look"), ("mesh", "sides")]
)
def test_no_port_that_fails_blocks_a_rollback(port: str, call: str, error: CanarydError) -> None:
    """Rule 7: store, journal, a look that fails: the retreat is accepted in the tick of the abort."""
    world = at_ten()
    world.ask("abort")
    broken(world, port, call, error)
    world.reconciler.tick("run-1")
    assert world.split == NOTHING


def test_a_fault_of_ours_in_what_is_only_told_blocks_no_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are made in the tick; one that cannot be made is missing, and nothing else."""

    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    world = at_ten()
    monkeypatch.setattr(reconciler, "with_messages", faulty)
    world.ask("abort")
    world.reconciler.tick("run-1")
    assert world.split == NOTHING


def test_everything_but_the_patch_may_fail_at_once() -> None:
    """Rule 7, all together."""
    world = at_ten()
    world.ask("abort")
    for port, call in (("store", "save"), ("store", "load"), ("journal", "tell"), ("mesh", "look"), ("mesh", "sides")):
        broken(world, port, call, Unavailable("away"))
    world.metrics.failing = Unavailable("away")
    world.reconciler.tick("run-1")
    assert world.split == NOTHING


def test_what_could_not_be_saved_is_not_forgotten_by_this_process() -> None:
    """The store is away for the whole rollback, and there when it is done."""
    world = at_ten()
    world.ask("abort")
    save = world.reconciler._store.save  # type: ignore[attr-defined]
    broken(world, "store", "save", Unavailable("away"))
    for _ in range(4):
        run = world.reconciler.tick("run-1")
        world.clock.at += 2
    assert run.phase is Phase.ROLLED_BACK
    world.reconciler._store.save = save  # type: ignore[method-assign]
    world.live()
    assert world.saved.outcome is Outcome.ABORTED


def test_between_verdict_and_retreat_nothing_else_is_asked() -> None:
    """At most the retreat's own two requests: the evidence is weighed after all else was read."""
    world = at_ten(canary_errors=0.3)
    while world.split != NOTHING:
        calls = calls_of_next_tick(world)
        world.clock.at += 1
    verdict = max(calls.index(call) for call in ("mesh.look", "mesh.sides", "store.commands"))
    assert calls[verdict + 1] == "mesh.retreat"
    assert "metrics.count" not in calls[: calls.index("mesh.retreat")]


def test_the_end_is_saved_before_the_marker_is_taken_out() -> None:
    """To a run that does not know that it has ended, a missing marker is drift."""
    world = World()
    while world.saved.phase is not Phase.WATCHING:
        world.tick()
        world.clock.at += 1
    broken(world, "store", "save", Unavailable("away"))
    for _ in range(20):
        world.reconciler.tick("run-1")
        world.clock.at += 1
    assert "mesh.release" not in world.trap.calls
    world.start()
    run = world.live()
    assert (run.outcome, world.split) == (Outcome.PROMOTED, EVERYTHING)


def test_a_marker_that_cannot_be_taken_out_is_tried_again() -> None:
    """The run is over, its trace is not."""
    world = World()
    world.mesh.fail_before(Unavailable("away"), "release")
    world.live()
    assert world.trap.calls.count("mesh.release") == 2


def test_while_metrics_are_away_the_tick_is_not_woken_again_and_again() -> None:
    """Each failure is told once; the next question waits for its due time."""
    world = at_ten()
    world.metrics.failing = Unavailable("connection refused")
    for _ in range(5):
        world.clock.at += 4
        before = len(world.trap.calls)
        world.tick()
    assert world.trap.calls[before:].count("metrics.count") <= 1
    assert world.saved.hold is not None


def test_cells_taken_twice_are_the_same_and_in_order() -> None:
    """The inbox is a cache: what a lost save took from it is asked for again."""
    world = at_ten()
    world.clock.at += 10
    world.tick()
    run = world.saved
    shorter = replace(run, cells=run.cells[:-2])
    world.collector.ask(shorter, world.sought(run))
    cells, _, _ = world.collector.take(shorter)
    assert cells[:2] == run.cells[-2:]


def test_a_write_that_is_refused_says_so_in_what_the_run_waits_for() -> None:
    """Rights taken away in mid-run are a person's business, and the person looks at the status, not at the log."""
    world = World()
    broken(world, "mesh", "shift", Rejected("canaryd may not patch virtualservices"))
    world.tick()
    assert "may not patch virtualservices" in world.reconciler.tick("run-1").waiting


def test_a_retreat_that_is_refused_again_and_again_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at each tick hides every other line, the table included."""
    logs = structlog.testing.CapturingLogger()
    monkeypatch.setattr("canaryd.engine.reconciler.log", logs)
    world = at_ten(canary_errors=0.5)
    broken(world, "mesh", "retreat", Unavailable("the API server hangs"))
    for _ in range(40):
        world.tick()
        world.clock.at += 1
    assert [call.method_name for call in logs.calls if "mesh.retreat_failed" in call.args] == ["error"]

"""What bars the way up where freezes cannot be read: nobody may rise on not knowing, and every way back is open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from canaryd.engine.guarding import Far, Guards, Seen
from canaryd.errors import Unavailable
from canaryd.model.guards import Freeze
from canaryd.model.run import Outcome, Phase
from tests.world import START, VirtualClock, World, small_plan

FREEZE = Freeze("night", "", "incident 4711", "ana", since=START, stop=True)


class Told:
    """The port Freezes: what a test says that it says."""

    def __init__(self, *answers: Callable[[], tuple[Freeze, ...]]) -> None:
        self.answers = list(answers)

    def freezes(self) -> tuple[Freeze, ...]:
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()


def ticked(world: World) -> None:
    world.tick()
    world.clock.at += 1.5


def away() -> tuple[Freeze, ...]:
    raise Unavailable("the state folder does not answer: I/O error")


def broken() -> tuple[Freeze, ...]:
    raise RuntimeError("a fault of ours")


def test_freezes_that_cannot_be_read_any_more_are_those_read_last() -> None:
    """Those that are there, and that there are none."""
    guards = Guards(Told(lambda: (FREEZE,), away))
    first, then = guards.look(small_plan(), START), guards.look(small_plan(), START + 1)
    assert first == then
    assert then.stopped.startswith("stopped by ana")
    guards = Guards(Told(tuple, away))
    assert [guards.look(small_plan(), START + more).bar for more in (0, 1)] == [None, None]


@pytest.mark.parametrize(("fault", "said"), [(away, "cannot be read"), (broken, "RuntimeError: a fault of ours")])
def test_what_was_never_read_bars_the_way_up(fault: Callable[[], tuple[Freeze, ...]], said: str) -> None:
    """Whoever wrote a freeze down before this process began wanted something to stand still."""
    found = Guards(Told(fault)).look(small_plan(), START)
    assert found.bar is not None
    assert said in found.bar.why
    assert (found.bar.until, found.stopped) == (None, "")


@pytest.mark.parametrize("fault", [away, broken])
def test_a_guard_that_fails_holds_up_no_rollback(fault: Callable[[], tuple[Freeze, ...]]) -> None:
    """The run holds where it is, and is aborted as always."""
    world = World()
    while world.saved.phase is not Phase.BAKING:
        ticked(world)
    world.reconciler._guards = Guards(Told(fault))
    for _ in range(20):
        ticked(world)
    run = world.saved
    assert (run.phase, run.step) == (Phase.BAKING, 0)
    assert run.hold is not None
    assert run.hold.kind == "barred"
    world.ask("abort")
    assert world.live(within=10).outcome is Outcome.ABORTED


# ---------------------------------------------------------------------------------------------------------------------
# Freezes that it takes a request to see


class Asked:
    """The port FarFreezes: what a test says that it says, and how often it was asked."""

    def __init__(self, *answers: Callable[[], tuple[Freeze, ...]]) -> None:
        self.answers, self.asked = list(answers), 0

    def read(self, namespace: str) -> tuple[Freeze, ...]:
        self.asked += 1
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()


class Later(Executor):
    """A pool whose thread never comes to its turn before it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append(lambda: fn(*args, **kwargs))
        return Future()

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one()


class Watch:
    """Guards over a folder (``near``) and a cluster (``far``), and the time."""

    def __init__(self, far: Asked, near: Told | None = None) -> None:
        self.pool, self.clock, self.changes = Later(), VirtualClock(START), 0
        self.guards = Guards(near, Far(far, self.clock, self.pool, self._changed))

    def _changed(self) -> None:
        self.changes += 1

    def look(self) -> Seen:
        return self.guards.look(small_plan(), self.clock.now())

    def tick(self) -> Seen:
        """A look, and what it has begun to ask for."""
        found = self.look()
        self.pool.run()
        self.clock.at += 1
        return found


def test_a_look_asks_nobody_itself() -> None:
    """It is part of a tick, and a tick may be a rollback."""
    far = Asked(lambda: (FREEZE,))
    watch = Watch(far)
    for _ in range(10):
        assert "it was not asked for yet" in watch.look().bar.why  # type: ignore[union-attr]  # it is barred
    assert (far.asked, len(watch.pool.waiting)) == (0, 1)
    watch.pool.run()
    assert watch.look().stopped.startswith("stopped by ana")


def test_a_beginning_reads_before_it_looks() -> None:
    """Nobody is told to wait for what a request of a moment answers; and it is read once."""
    far = Asked(tuple)
    watch = Watch(far)
    for _ in range(3):
        watch.guards.meet(small_plan())
    assert (watch.look().bar, far.asked) == (None, 1)


def test_far_freezes_are_asked_for_every_few_seconds_and_a_change_is_told() -> None:
    """A stop need not wait until a run is due."""
    far = Asked(*[tuple] * 5, lambda: (FREEZE,))
    watch = Watch(far)
    for _ in range(30):
        watch.tick()
    assert far.asked == 10
    assert watch.changes == 2  # that there are none, and that there is one
    assert watch.look().stopped


def test_a_clock_that_was_set_back_keeps_no_stop_from_being_seen() -> None:
    """What was read an hour from now is not fresh until then."""
    watch = Watch(Asked(*[tuple] * 3, lambda: (FREEZE,)))
    for _ in range(9):
        watch.tick()
    watch.clock.at -= 3600
    for _ in range(3):
        watch.tick()
    assert watch.look().stopped


def test_far_freezes_that_cannot_be_read_any_more_are_those_read_last() -> None:
    watch = Watch(Asked(lambda: (FREEZE,), away))
    for _ in range(10):
        watch.tick()
    assert watch.look().stopped.startswith("stopped by ana")
    watch = Watch(Asked(tuple, away))
    for _ in range(10):
        watch.tick()
    assert watch.look() == Seen(None)


@pytest.mark.parametrize("fault", [away, broken])
def test_far_freezes_that_were_never_read_bar_the_way_up(fault: Callable[[], tuple[Freeze, ...]]) -> None:
    watch = Watch(Asked(fault, fault, tuple))
    watch.guards.meet(small_plan())
    bar = watch.look().bar
    assert bar is not None
    assert bar.why.startswith("it cannot be read whether anybody has frozen it: ")
    assert "not asked for yet" not in bar.why
    for _ in range(10):
        watch.tick()
    assert watch.look().bar is None


@pytest.mark.parametrize(("near", "far"), [(lambda: (FREEZE,), away), (away, lambda: (FREEZE,))])
def test_a_stop_that_can_be_read_stops_whatever_cannot(
    near: Callable[[], tuple[Freeze, ...]], far: Callable[[], tuple[Freeze, ...]]
) -> None:
    """One place is out of order; the other has the word."""
    watch = Watch(Asked(far), Told(near))
    watch.tick()
    seen = watch.look()
    assert seen.stopped.startswith("stopped by ana")
    assert "cannot be read" in seen.bar.why  # type: ignore[union-attr]  # it is barred

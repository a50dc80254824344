"""What bars the way up where freezes cannot be read: nobody may rise on not knowing, and every way back is open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canaryd.engine.guarding import Guards
from canaryd.errors import Unavailable
from canaryd.model.guards import Freeze
from canaryd.model.run import Outcome, Phase
from tests.world import START, World, small_plan

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

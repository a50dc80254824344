"""
What stable did before: learned first, asked for beside the tick, kept with the run, and never waited for for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import structlog
from pydantic import TypeAdapter

from canaryd import judge
from canaryd.engine.collector import TRIES
from canaryd.errors import Rejected, Unavailable
from canaryd.model.cells import BEFORE, Cell, Gap, Past, Sought, Window, past_windows
from canaryd.model.decision import Told
from canaryd.model.run import Outcome, Run
from canaryd.model.traffic import NOTHING
from tests.mesh.objects import deployment, pod, surroundings
from tests.world import START, Inline, World, small_plan

RUNS = TypeAdapter(Run)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def until(world: World, fact: Callable[[Run], bool], within: float = 120.0) -> Run:
    """Tick until the saved run is so."""
    end = world.clock.at + within
    while not fact(world.saved):
        assert world.clock.at < end, f"never: {world.saved.phase}: {world.saved.waiting}"
        world.tick()
        world.clock.at += 1
    return world.saved


def answering(world: World, answer: Callable[[Sought, Sequence[Window]], tuple[Cell | Gap, ...]]) -> list[float]:
    """History is answered so from now on; when it was asked for."""
    asked: list[float] = []

    def history(sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        asked.append(world.clock.at)
        return answer(sought, windows)

    world.metrics.history = history  # type: ignore[method-assign]
    world.start()
    return asked


def refusing(error: Exception) -> Callable[[Sought, Sequence[Window]], tuple[Cell | Gap, ...]]:
    def answer(sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        raise error

    return answer


def told(world: World) -> list[str]:
    """What was told of history, in order."""
    return [
        reason
        for entry in world.journal.entries
        for event, reason in entry["events"]  # type: ignore[attr-defined]
        if event == Told.HISTORY.value
    ]


def folded(run: Run) -> judge.JudgeState:
    """The judge after the run's cells, from the beginning."""
    analysis = run.plan.spec.analysis
    state = judge.begin(analysis, run.past_cells)
    for cell in run.cells:
        if cell.segment >= run.judged_from:
            state = judge.advance(analysis, state, cell)
    return state


def test_stable_is_known_before_the_first_cell() -> None:
    """Half an hour of stable says how it scatters and how fast it is; the run need not wait to see it."""
    world = World()
    run = until(world, lambda run: run.judged is not None)
    assert run.past is not None
    assert [(cell.start, cell.end, cell.segment) for cell in run.past.cells] == [(START - 60, START, BEFORE)]
    assert told(world) == ["stable is known from before: 6,000 requests in 1m"]
    assert run.judged == folded(run)
    assert run.judged.history.end == run.cells[-1].end
    assert run.judged.cells == 1 + len([cell for cell in run.cells if isinstance(cell, Cell)])


def test_a_run_with_its_history_goes_through_the_store_and_on_with_the_same_bits() -> None:
    """A replay from what was saved is the run."""
    world = World()
    run = world.live()
    stored = RUNS.validate_json(RUNS.dump_json(run))
    assert (stored, folded(stored)) == (run, run.judged)


def without(found: Any, keys: set[str]) -> Any:
    """Parsed JSON without these keys, wherever they are."""
    if isinstance(found, dict):
        return {key: without(value, keys) for key, value in found.items() if key not in keys}
    return [without(one, keys) for one in found] if isinstance(found, list) else found


def test_a_run_that_a_former_canaryd_saved_is_read() -> None:
    """An upgrade meets runs in flight."""
    run = until(World(canary_errors=0.02), lambda run: run.judged is not None)
    assert run.cells[-1].canary.causes if isinstance(run.cells[-1], Cell) else False
    new = {"past", "since", "pods", "causes", "no_cluster", "injected"}
    former = RUNS.validate_python(without(RUNS.dump_python(run, mode="json", by_alias=True), new))
    assert (former.past, former.evidence, former.wants_past) == (None, run.evidence, False)


def test_a_run_of_a_former_canaryd_goes_on_without() -> None:
    """It began before there was history: asked for in its middle, it would be learned twice."""
    world = World()
    run = until(world, lambda run: run.judged is not None)
    assert replace(run, past=None).wants_past is False


def test_the_last_minutes_are_asked_for_once_with_cells_of_a_minute() -> None:
    """Thirty windows in one question, when their last one has been scraped."""
    world = World(plan=small_plan(analysis={"history": "30m"}))
    asked: list[Sequence[Window]] = []
    times = answering(world, lambda sought, windows: asked.append(windows) or ())  # type: ignore[func-returns-value]
    until(world, lambda run: len(run.cells) > 5)
    [windows] = asked
    assert len(windows) == 30
    assert {one.end - one.start for one in windows} == {60.0}
    assert (windows[0].start, windows[-1].end, times[0]) == (START - 1800, START, START + 2)


def test_the_first_cells_wait_for_history_and_only_for_a_while() -> None:
    """The judge learns in order; a Prometheus that answers for cells and not for history has none to give."""
    world = World()
    asked = answering(world, refusing(Unavailable("no answer within 10 s")))
    run = until(world, lambda run: run.past is not None)
    assert run.past == Past(0, (), "no answer within 10 s")
    assert run.cells, "they come with the word that there is no history"
    waited = [moment for moment in asked if moment >= START + 4]  # before that no cell waits
    assert len(waited) == TRIES
    assert waited[-1] - waited[0] < 5
    until(world, lambda run: run.segment.seq > 1)
    assert len(told(world)) == 1
    assert "nothing is known of stable from before: no answer within 10 s" in told(world)[0]
    assert world.live().outcome is Outcome.PROMOTED


def test_cells_that_waited_are_judged_after_what_they_waited_for() -> None:
    """History comes in the same tick as they, and first."""
    world = World()
    refusals = [Unavailable("busy")] * 3
    plain = world.metrics.history

    def answer(sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        if refusals:
            raise refusals.pop()
        return plain(sought, windows)

    answering(world, answer)
    run = until(world, lambda run: run.judged is not None)
    assert run.past_cells
    assert run.judged == folded(run)
    assert replace(run, judged_from=9).past_cells == (), "that is another beginning"


def test_a_prometheus_that_is_away_is_asked_for_history_when_it_is_back() -> None:
    """It has kept it, and no cell was judged meanwhile."""
    world = World()
    world.metrics.failing = Unavailable("connection refused")
    for _ in range(20):
        world.tick()
        world.clock.at += 1
    assert world.saved.past is None
    world.metrics.failing = None
    run = until(world, lambda run: run.past is not None)
    assert run.past is not None
    assert run.past.cells


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Rejected("Prometheus refuses the query with HTTP 422"), "refuses the query with HTTP 422"),
        (ZeroDivisionError("division by zero"), "a fault of canaryd's"),
    ],
)
def test_a_history_that_will_never_come_is_given_up_at_once(error: Exception, why: str) -> None:
    """A fault in what is only wanted must not keep the cells from the judge."""
    world = World()
    asked = answering(world, refusing(error))
    run = world.live()
    assert run.past is not None
    assert (len(asked), why in run.past.why, run.outcome) == (1, True, Outcome.PROMOTED)


def test_gaps_are_left_out_and_nothing_but_gaps_says_why() -> None:
    """Prometheus was set up this morning, or away for a part of the half hour."""
    world = World()
    why = "no requests reached reviews"
    gaps = lambda sought, windows: tuple(Gap(BEFORE, *at(one), NOTHING, False, why) for one in windows)  # noqa: E731
    answering(world, gaps)
    run = until(world, lambda run: run.past is not None)
    assert run.past == Past(0, (), why)


def at(window: Window) -> tuple[float, float]:
    return window.start, window.end


def test_the_plan_may_want_none() -> None:
    """``history: 0s``: nobody is asked."""
    world = World(plan=small_plan(analysis={"history": "0s"}))
    asked = answering(world, refusing(AssertionError()))
    run = until(world, lambda run: run.judged is not None)
    assert (asked, run.past) == ([], Past(0, (), "the plan wants none (analysis.history)"))


def test_history_does_not_reach_back_beyond_stable_s_pods() -> None:
    """Under the same workload's name another image served before; its shape is not stable's."""
    world = World()
    made = [pod(version, creationTimestamp="2023-11-14T22:12:50Z") for version in ("v1", "v3")]  # 30 s before START
    world.mesh.around = surroundings(pods=made)
    asked = answering(world, refusing(AssertionError()))
    run = until(world, lambda run: run.judged is not None)
    assert (asked, run.past) == ([], Past(0, (), "its pods are too young"))


@pytest.mark.parametrize(
    ("since", "starts"),
    [
        (None, [700, 760, 820, 880, 940]),
        (0, [700, 760, 820, 880, 940]),
        (750, [760, 820, 880, 940]),
        (999, []),
        (2e9, []),
    ],
)
def test_history_is_whole_cells_that_end_where_the_evidence_begins(since: float | None, starts: list[float]) -> None:
    """Five minutes before 1,000 s, or what of it was this stable's."""
    assert [window.start for window in past_windows(1000.0, 300.0, 60.0, since)] == starts


def test_history_is_whole_cells_at_any_time_of_day() -> None:
    """Seconds of today have a fraction, and their differences are a little off."""
    for number in range(100):
        origin = START + number * 0.12345
        windows = past_windows(origin, 1800.0, 60.0, None)
        assert (len(windows), windows[-1].end) == (30, origin)


def changed(world: World, version: str) -> None:
    """Another image, rolled out."""
    pods = [pod(one, template="new" if one == version else "abc") for one in ("v1", "v3")]
    world.mesh.around = surroundings(pods=pods, deployments=[deployment("v1"), deployment("v3")])


def test_a_restart_learns_of_stable_anew_and_not_of_the_former_canary() -> None:
    """A canary that was dead in the former half must not make its successor's dead pods look usual."""
    world = World()

    def answer(sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        cells = (world.metrics.count(sought, one) for one in windows)
        return tuple(
            replace(one, canary=replace(one.stable, requests=90.0, errors=30.0), unattributed=40.0)
            for one in cells
            if isinstance(one, Cell)
        )

    answering(world, answer)
    until(world, lambda run: run.judged is not None and world.clock.at > START + 14)
    changed(world, "v3")
    before = until(world, lambda run: run.judged is None)
    run = until(world, lambda run: run.judged is not None and run.judged_from > 0)
    assert run.past is not None
    assert run.past.segment == run.judged_from == len(before.segments)
    assert run.past.cells[-1].end == run.segments[run.judged_from].origin
    assert run.judged is not None
    assert (run.judged.history.quiet_requests, run.judged.history.quiet_failures) == (0, 0)
    assert run.judged == folded(run)
    assert len(told(world)) == 2


def test_a_new_stable_has_no_history_yet() -> None:
    """What is under its name is the former one's."""
    world = World()
    asked = answering(world, lambda sought, windows: ())
    until(world, lambda run: run.judged is not None)
    changed(world, "v1")
    run = until(world, lambda run: run.judged_from > 0 and run.judged is not None)
    assert run.past == Past(run.judged_from, (), "its pods are too young")
    assert len(asked) == 1


class Hung(Inline):
    """An executor whose one thread never comes back."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


def test_a_history_that_hangs_blocks_no_rollback() -> None:
    """It is asked for beside the tick: an abort is as quick as without."""
    world = World()
    world.collector._executor = Hung()
    until(world, lambda run: run.split != NOTHING)
    for _ in range(5):
        world.tick()
        world.clock.at += 1
    world.ask("abort")
    world.tick()
    assert world.split == NOTHING
    assert world.live().outcome is Outcome.ABORTED

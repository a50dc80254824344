"""
A check's own query, from the plan to the verdict: asked beside the counts, kept in the run, said in the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from canaryd.metrics import custom
from canaryd.model.cells import Cell, Sought, Window
from canaryd.model.run import Outcome
from canaryd.model.traffic import NOTHING, Split
from tests.metrics.book import Book, Series
from tests.world import World, small_plan


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def world_with(metric: str, **lengths: float) -> World:
    """A world in which the workloads have queues of such lengths, and the plan compares them."""
    queue = {"name": "queue", "metric": "promql", "compare": "stable", "window": "2s"}
    query = f'sum({metric}{{app="${{workload}}",namespace="${{namespace}}"}})'
    checks = [{"name": "errors", "metric": "error-rate", "compare": "stable"}, queue | {"query": query}]
    plan = small_plan(
        analysis={"checks": checks},
        steps=[{"weight": 10, "bake": "60s"}, {"weight": 50, "bake": "6s"}],
        onInconclusive={"hold": "20s"},
    )
    world = World(plan=plan)
    counters = world.metrics._book

    def book(sought: Sought, window: Window) -> Book:
        found = counters(sought, window)
        for workload, length in lengths.items():
            labels = {"app": workload.replace("_", "-"), "namespace": "default"}
            found.series.append(Series(metric, labels, lambda moment, length=length: length))  # type: ignore[misc]
        return found

    world.metrics._book = book
    return world


def test_a_queue_that_grows_rolls_the_canary_back() -> None:
    """Its errors and its latency are as stable's; the reason names both values and the number of cells."""
    world = world_with("queue_long", reviews_v1=3, reviews_v3=30)
    run = world.live()
    assert (run.outcome, world.split) == (Outcome.FAILED, NOTHING)
    assert run.reason.startswith("queue: canary 30, stable 3 on average of the last ")
    values = [cell.values[0] for cell in run.cells if isinstance(cell, Cell) and cell.split != NOTHING]
    assert {(value.check, value.stable, value.canary) for value in values} == {("queue", 3.0, 30.0)}


def test_a_queue_like_stable_s_is_promoted() -> None:
    """The check without a margin is no part of the proof; errors prove it."""
    assert world_with("queue_even", reviews_v1=3, reviews_v3=3.1).live().outcome is Outcome.PROMOTED


def test_a_query_that_finds_nothing_lets_nothing_pass_and_says_so() -> None:
    """The run holds for as long as the plan says, and goes back: what was to be watched was not."""
    run = world_with("queue_gone").live()
    assert run.outcome is Outcome.INCONCLUSIVE
    assert f"not measured at {Split.percent(10)}: queue: canary: {custom.NOTHING}" in run.reason


def heaped(change: dict, value: int = 950) -> World:
    """The world with a heap of the canary's of that size, and a check of it that the plan has beside errors."""
    heap = {
        "name": "heap",
        "metric": "promql",
        "query": f'sum(heap_{value}{{app="${{workload}}"}})',
        "atMost": 900,
        "window": "2s",
    }
    errors = {"name": "errors", "metric": "error-rate", "compare": "stable"}
    analysis = {"checks": [errors, heap | change]}
    plan = small_plan(
        analysis=analysis,
        steps=[{"weight": 10, "bake": "20s"}, {"weight": 50, "bake": "6s"}],
        onInconclusive={"hold": "20s"},
    )
    found = World(plan=plan)
    counters = found.metrics._book

    def book(sought: Sought, window: Window) -> Book:
        known = counters(sought, window)
        known.series.append(Series(f"heap_{value}", {"app": "reviews-v3"}, lambda _: float(value)))
        return known

    found.metrics._book = book
    return found


def test_a_row_beyond_the_objective_rolls_back_within_its_cells() -> None:
    """Long before the evidence could: three cells of two seconds, and nobody waits for a bake."""
    run = heaped({"hardLimit": {"consecutive": 3}}).live()
    assert run.outcome is Outcome.FAILED
    assert run.reason == "heap: 3 values in a row above 900, the last one 950; a hard limit asks for no evidence"
    assert len([cell for cell in run.cells if isinstance(cell, Cell) and cell.split != NOTHING]) <= 8


def test_a_bad_check_for_the_report_only_stops_nothing_and_is_told() -> None:
    """Promoted, and every reading says that it is bad."""
    run = heaped({"reportOnly": True}).live()
    assert run.outcome is Outcome.PROMOTED
    assert run.evidence is not None
    [said] = [one.sentence for one in run.evidence.readings if one.check == "heap"]
    assert "above 900 in " in said
    assert said.endswith("for the report only, it decides nothing")


def test_a_check_is_in_force_at_its_weights_only() -> None:
    """The same heap is nobody's business at 10 %, and ends the run at 50 %; there it was not even asked before."""
    run = heaped({"weights": {"from": 50}, "hardLimit": {"consecutive": 2}}).live()
    assert run.outcome is Outcome.FAILED
    assert run.reason.startswith("heap: 2 values in a row above 900")
    asked = {cell.split: bool(cell.values) for cell in run.cells if isinstance(cell, Cell)}
    assert asked[Split.percent(10)] is False
    assert asked[Split.percent(50)] is True
    assert heaped({"weights": {"to": 10}}, 5).live().outcome is Outcome.PROMOTED


def test_a_row_survives_a_death_at_any_moment() -> None:
    """What the third value makes full was begun by a process that is gone; no value is counted twice."""
    whole = heaped({"hardLimit": {"consecutive": 3}})
    ended = whole.live()
    for n in range(0, len(whole.trap.calls), 3):
        world = heaped({"hardLimit": {"consecutive": 3}})
        world.trap.n, world.trap.way = n, "dies"
        run = world.live()
        assert (run.outcome, run.reason) == (Outcome.FAILED, ended.reason), world.trap.sprung
        assert world.split == NOTHING

"""One bad route of many, from the plan to the verdict: asked beside the counts, kept in the run, said in the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from canaryd.model.cells import Cell, Sought, Window
from canaryd.model.run import Outcome
from canaryd.model.traffic import NOTHING
from tests.metrics.book import Book, Series
from tests.world import START, World, small_plan

ERRORS = {"name": "errors", "metric": "error-rate", "compare": "stable"}
PAY = {**ERRORS, "name": "pay", "where": {"request_operation": "/pay"}}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def paying(*, failing: float, **analysis: Any) -> World:
    """A world in which four payments a second are among thousands of requests; the canary fails so much of them."""
    world = World(
        plan=small_plan(analysis=analysis, steps=[{"weight": 10, "bake": "40s"}, {"weight": 50, "bake": "6s"}])
    )
    counters = world.metrics._book

    def book(sought: Sought, window: Window) -> Book:
        found = counters(sought, window)
        for workload, share in (("reviews-v1", 1 - window.split.share), ("reviews-v3", window.split.share)):
            bad = failing if workload == "reviews-v3" else 0.0
            found.series.append(_payments(workload, "200", 4 * share * (1 - bad)))
            found.series.append(_payments(workload, "503", 4 * share * bad))
        return found

    world.metrics._book = book
    world.metrics.answers = {}  # type: ignore[misc]  # not those of other worlds, which nobody pays in
    return world


def _payments(workload: str, code: str, rate: float) -> Series:
    labels = {
        "reporter": "source",
        "source_workload": "productpage-v1",
        "source_workload_namespace": "default",
        "destination_service": "reviews.default.svc.cluster.local",
        "destination_workload": workload,
        "destination_workload_namespace": "default",
        "request_protocol": "http",
        "response_code": code,
        "response_flags": "-",
        "request_operation": "/pay",
    }
    count: Callable[[float], float | None] = lambda moment: rate * max(0.0, moment - START + 60) or None  # noqa: E731
    return Series("istio_requests_total", labels, count)


def test_a_route_that_fails_rolls_the_canary_back() -> None:
    """All of its payments fail, 0.2 % of its requests; the check of the whole says nothing of it."""
    world = paying(failing=1.0, checks=[ERRORS, PAY])
    run = world.live()
    assert (run.outcome, world.split) == (Outcome.FAILED, NOTHING), run.waiting
    assert run.reason.startswith("pay of request_operation=/pay: canary 100 % of "), run.reason
    [portion] = next(cell.portions for cell in reversed(run.cells) if isinstance(cell, Cell) and cell.split != NOTHING)
    assert (portion.check, portion.why) == ("pay", "")
    assert portion.canary.errors == portion.canary.requests > 0


def test_a_plan_that_counts_one_route_is_judged_on_it_alone() -> None:
    """And the share of all requests is what the split says, though few of them are payments."""
    world = paying(failing=1.0, checks=[ERRORS], where={"request_operation": "/pay"}, minRequests=1)
    run = world.live()
    assert run.outcome is Outcome.FAILED
    assert run.reason.startswith("errors of request_operation=/pay: canary 100 % of "), run.reason
    last = next(cell for cell in reversed(run.cells) if isinstance(cell, Cell) and cell.split != NOTHING)
    assert last.canary.requests < 0.01 * last.all_canary


def test_a_healthy_route_is_no_reason() -> None:
    """Its handful of requests keeps nothing from its proof."""
    assert paying(failing=0.0, checks=[ERRORS, PAY]).live().outcome is Outcome.PROMOTED

"""The queries of a run as text: the very ones that its counts came from."""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge.readings import UNATTRIBUTED
from canaryd.metrics import promql
from canaryd.metrics.asked import asked
from canaryd.model.cells import Cell
from canaryd.model.measuring import hosts_of, sought_of
from tests.world import World, place_of, small_plan


def lived(**analysis):
    world = World(plan=small_plan(analysis=analysis) if analysis else None)
    for _ in range(12):
        world.tick()
        world.clock.at += 1.5
    return world, world.saved


def test_they_are_those_that_the_collector_asks():
    """Text that is nearly the same finds other numbers."""
    world, run = lived()
    sought = sought_of(run, hosts_of(run.route))
    assert sought == replace(world.sought(run), questions=sought.questions)
    cell = next(cell for cell in run.cells if isinstance(cell, Cell))
    really = promql.queries(sought, place_of(cell))
    told = {query.name: query.text for query in asked(run)}
    assert (told["requests"], told["durations"], told["scrapes"], told["pods"]) == (
        really.requests,
        really.durations,
        really.scrapes,
        really.pods,
    )


def test_each_check_has_its_query():
    checks = [
        {"name": "errors", "metric": "error-rate", "compare": "stable"},
        {"name": "latency", "metric": "latency", "compare": "stable"},
        {"name": "checkout", "metric": "error-rate", "atMost": "1%", "where": {"request_operation": "/checkout"}},
        {"name": "queue", "metric": "promql", "atMost": 5, "query": 'queue{app="${workload}"}'},
    ]
    _, run = lived(checks=checks)
    of = {name: query for query in asked(run) for name in query.checks}
    assert of["errors"].name == of[UNATTRIBUTED].name == "requests"
    assert of["latency"].name == "durations"
    assert 'request_operation="/checkout"' in of["checkout"].text
    assert run.canary_pin is not None
    assert of["queue"].text == f'queue{{app="{run.canary_pin.workloads[0]}"}}'


def test_where_the_plan_counts_some_requests_only_its_query_says_so():
    _, run = lived(where={"request_operation": "/checkout"})
    of = {name: query for query in asked(run) for name in query.checks}
    assert [query.name for query in asked(run) if "errors" in query.checks] == ["counted"]
    assert 'request_operation="/checkout"' in of["errors"].text
    assert of[UNATTRIBUTED].name == "requests"

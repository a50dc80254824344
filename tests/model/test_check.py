"""The checks of a plan: which keys go together, and what is said when they do not."""

from __future__ import annotations

import json

import pytest

from canaryd.model.check import Check, HardLimit
from canaryd.model.part import Amount
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused

QUERY = 'sum(queue{app="${workload}"})'
CHECKS = [
    {"name": "errors", "metric": "error-rate", "compare": "stable"},
    {"name": "slo", "metric": "error-rate", "atMost": "1%", "hardLimit": {"over": "2m"}},
    {"name": "traffic", "metric": "traffic", "atLeast": 5},
    {
        "name": "queue",
        "metric": "promql",
        "query": QUERY,
        "compare": "stable",
        "direction": "either",
        "tolerance": {"times": 1.2, "plus": 3},
        "margin": {"times": 1.2, "plus": 6.5},
    },
    {"name": "heap", "metric": "promql", "query": "max(heap)", "atMost": -4e9, "window": "2m"},
]


def plan(checks: list[dict], **analysis: object) -> str:
    spec = {
        "target": {"virtualService": "r", "host": "r", "canary": {"subset": "v2"}},
        "steps": [{"weight": 50}],
        "analysis": {"checks": checks} | analysis,
    }
    return json.dumps({"metadata": {"name": "r"}, "spec": spec})


def with_check(place: int, **keys: object) -> list[dict]:
    """The checks with keys of one changed; those that are None are left out."""
    changed = {key: value for key, value in (CHECKS[place] | keys).items() if value is not None}
    return [*CHECKS[:place], changed, *CHECKS[place + 1 :]]


def refusals(checks: list[dict], **analysis: object) -> list[str]:
    with pytest.raises(Refused) as refused:
        read_plan(plan(checks, **analysis))
    return [str(problem) for problem in refused.value.problems]


def test_numbers_and_shares_survive_the_store() -> None:
    """A run keeps its plan as JSON: 3 in the query's unit must not come back as 300 %, nor 1 % as 0.01."""
    read = read_plan(plan(CHECKS))
    kept = Plan.model_validate_json(read.model_dump_json(by_alias=True))
    assert kept == read
    assert kept.digest == read.digest
    slo, traffic, queue, heap = kept.spec.analysis.checks[1:]
    assert (slo.at_most, traffic.at_least, heap.at_most) == (0.01, 5.0, -4e9)
    assert isinstance(queue.allowed.plus, Amount)
    assert json.loads(kept.model_dump_json(by_alias=True))["spec"]["analysis"]["checks"][3]["margin"]["plus"] == 6.5
    assert slo.hard_limit == HardLimit.model_validate({"over": "2m", "minRequests": 100})


@pytest.mark.parametrize(
    ("place", "keys", "said"),
    [
        (0, {"hardLimit": {}}, "0.hardLimit: an objective beside it; what is compared with stable needs evidence"),
        (0, {"query": "x"}, "0.query: no such key for error-rate; it belongs to promql"),
        (1, {"atMost": 1}, '1.atMost: a share with a percent sign, such as "99.5%", got 1'),
        (1, {"hardLimit": {"minRequests": 0}}, "1.hardLimit.minRequests: a number of at least 1, got 0"),
        (2, {"atLeast": "5%"}, "2.atLeast: a number, got '5%'"),
        (2, {"atLeast": 0}, "2.atLeast: a number of requests a second above 0"),
        (2, {"atLeast": None}, "2: atLeast"),
        (2, {"atMost": 9}, "2.atMost: no such key for traffic; it belongs to error-rate, promql"),
        (3, {"query": None}, "3.query: a PromQL query with one value"),
        (3, {"onEmpty": "nan"}, '3.onEmpty: gap or zero, got "nan"'),
        (4, {"stableQuery": "max(x)"}, "4.stableQuery: compare: stable beside it; without that stable is not asked"),
        (4, {"hardLimit": {}}, "4.hardLimit.consecutive: how many values in a row"),
        (
            4,
            {"hardLimit": {"consecutive": 3, "minRequests": 5}},
            "4.hardLimit: consecutive alone; a query's value has no requests to count",
        ),
        (
            3,
            {"hardLimit": {"consecutive": 3}},
            "3.hardLimit: an objective beside it; what is compared with stable needs evidence",
        ),
        (
            1,
            {"hardLimit": {"consecutive": 3, "over": "2m"}},
            "1.hardLimit.over: either over, a stretch of time, or consecutive, cells in a row",
        ),
        (1, {"reportOnly": True}, "1.hardLimit: none where reportOnly says that the check decides nothing"),
        (1, {"weights": {}}, "1.weights: from, to, or both: weights in percent"),
        (1, {"weights": {"from": 50, "to": 5}}, "1.weights.to: a weight of at least from (50 %), got 5 %"),
        (1, {"weights": {"to": 5}}, "1.weights: weights that a step of the plan has"),
        (0, {"weights": {"from": 60}}, "0.weights: weights that a step of the plan has"),
        (3, {"atMost": 3}, "3: either compare: stable, or one of atMost and atLeast"),
        (3, {"tolerance": {"times": 1.1, "plus": "3%"}}, "3.tolerance.plus: a number, got '3%'"),
        (3, {"tolerance": {"times": 1.1, "plus": -1}}, "3.tolerance.plus: a number of at least 0, got -1"),
        (3, {"direction": "up"}, '3.direction: higher, lower or either, got "up"'),
        (4, {"atMost": True}, "4.atMost: a number, got True"),
        (4, {"atMost": 10**31}, "4.atMost: a number, got 1" + 31 * "0"),
        (4, {"atLeast": 1}, "4: either compare: stable, or one of atMost and atLeast"),
        (4, {"direction": "lower"}, "4: tolerance, margin and direction belong to compare: stable"),
        (4, {"margin": {"times": 2, "plus": 0}}, "4: tolerance, margin and direction belong to compare: stable"),
    ],
)
def test_what_does_not_go_together_is_said(place: int, keys: dict, said: str) -> None:
    """With path, and with what would."""
    assert refusals(with_check(place, **keys)) == [f"spec.analysis.checks.{said}"]


def test_a_margin_of_values_needs_to_be_above_in_one_of_the_two_only() -> None:
    """A value may be allowed to be twice as high and not a unit more, or three units more and not relatively."""
    accepted = read_plan(plan(with_check(3, margin={"times": 2, "plus": 3})))
    assert accepted.spec.analysis.checks[3].proves
    [said] = refusals(with_check(3, margin={"times": 1.2, "plus": 3}))
    assert "a margin clearly above the tolerance" in said


@pytest.mark.parametrize(
    ("query", "accepted"),
    [
        ('rate(x{w="${workload}"}[1m])', True),
        ('rate(x{w="${workload}"}[${window}])', True),
        ('max_over_time(x{w="${workload}"}[1m:15s])', True),
        ('x{w=~"${workload}[0-9]"}', True),
        ('rate(x{w="${workload}"}[1m1s])', False),
        ('rate(x{w="${workload}"}[5m])', False),
        ('rate(x{w="${workload}"}[ 1h:1m ])', False),
    ],
)
def test_ranges_longer_than_the_window_are_refused(query: str, accepted: bool) -> None:
    """Values of the last five minutes, each minute, would count each request five times over."""
    checks = with_check(3, query=query)
    if accepted:
        assert read_plan(plan(checks))
    else:
        [said] = refusals(checks)
        assert said.startswith("spec.analysis.checks.3.query: ranges no longer than the check's window (1m), got ")
    assert read_plan(plan(with_check(3, query=query, window="1h")))


def test_a_plan_whose_only_comparison_has_no_margin_proves_nothing() -> None:
    """Then promotion needs a reason, as without any comparison."""
    alone = [{key: value for key, value in CHECKS[3].items() if key != "margin"}]
    [said] = refusals(alone)
    assert said.startswith("spec.acceptUnproven: a reason, because no check compares with stable and has a margin")
    assert read_plan(plan([CHECKS[3]]))


def test_what_a_check_proves() -> None:
    assert Check(name="e", metric="error-rate", compare="stable").proves
    assert not Check(name="e", metric="error-rate", at_most=0.1).proves
    assert not Check(name="t", metric="traffic", at_least=1.0).proves

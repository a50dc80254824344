"""A check's own query: what is put into it, and what is read out of its answer."""

from __future__ import annotations

from math import inf, nan

import pytest

from canaryd.metrics import custom
from canaryd.metrics.parse import Row
from canaryd.model.cells import Question, Value

QUESTION = Question("queue", 'q{w="${workload}",n="${namespace}"}[${window}] ${other}', 90, compares=True)


def test_what_is_put_into_a_query_cannot_leave_its_string() -> None:
    """Names come from the cluster; a quote in one must not become PromQL."""
    assert custom.query(QUESTION, ('v"1} or vector(1)\\',), "shop\n") == (
        r'q{w="v\"1} or vector(1)\\",n="shop\n"}[90000ms] ${other}'
    )


def test_a_name_that_looks_like_a_variable_stays_a_name() -> None:
    """Each variable is put in once, from the plan's text."""
    assert custom.query(QUESTION, ("${namespace}",), "shop").startswith('q{w="${namespace}",n="shop"}')


def test_several_workloads_of_a_side_are_an_alternative() -> None:
    """A version may be two Deployments; behind `=~` the value is of both."""
    assert custom.query(QUESTION, ("a", "b"), "shop").startswith('q{w="(a|b)"')


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "the query finds nothing"),
        ([Row({}, nan)], "the query's value is NaN, such as 0/0"),
        ([Row({}, inf)], "the query's value is +Inf, such as 1/0"),
        ([Row({}, -inf)], "the query's value is -Inf, such as 1/0"),
        (
            [Row({"pod": name}, 1.0) for name in "abcd"],
            "the query finds 4 series where one is needed (pod=a; pod=b; pod=c; ...)",
        ),
    ],
)
def test_what_is_not_one_number_says_why(rows: list[Row], why: str) -> None:
    """Each is another mistake, with another remedy."""
    assert custom.number(rows) == why


def test_a_value_names_the_side_that_lacks_it_and_stays_short() -> None:
    """Prometheus repeats a long query in its complaint, and the reason goes into every report."""
    assert custom.value(QUESTION, 1.5, "the query finds nothing") == Value(
        "queue", None, 1.5, "stable: the query finds nothing"
    )
    assert len(custom.value(QUESTION, "x" * 10_000, 1.0).why) == custom.LONGEST

"""A check's own query: what is put into it, and what is read out of its answer."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from canaryd.metrics import custom
from canaryd.metrics.parse import Row
from canaryd.model.cells import Question, Value

QUESTION = Question("queue", "q", "q")
ZERO = "taken as 0, for the query finds nothing"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "the query finds nothing"),
        ([Row({}, nan)], "there is nothing to measure: the query's value is NaN, as 0/0 is"),
        ([Row({}, inf)], "the query's value is +Inf, as 1/0 is"),
        ([Row({}, -inf)], "the query's value is -Inf, as -1/0 is"),
        (
            [Row({"pod": name}, 1.0) for name in "abcd"],
            "the query finds 4 values; aggregate them (pod=a; pod=b; pod=c; ...)",
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


@pytest.mark.parametrize(
    ("canary", "stable", "value"),
    [
        (custom.NOTHING, 2.0, Value("queue", 2.0, 0.0, "", "taken as 0, for the query finds nothing: canary")),
        (custom.NOTHING, custom.NOTHING, Value("queue", 0.0, 0.0, "", f"{ZERO}: canary and stable")),
        ("there is NaN", custom.NOTHING, Value("queue", 0.0, None, "canary: there is NaN", f"{ZERO}: stable")),
    ],
)
def test_nothing_is_zero_only_where_the_plan_says_so(canary: float | str, stable: float | str, value: Value) -> None:
    """A counter of errors that there is none of yet; no other answer is taken for that, and it is said."""
    assert custom.value(replace(QUESTION, zero=True), canary, stable) == value
    assert custom.value(QUESTION, custom.NOTHING, 1.0) == Value("queue", 1.0, None, f"canary: {custom.NOTHING}")


def test_what_cannot_be_asked_says_why() -> None:
    """For one check; the cell's counts are there all the same."""
    assert custom.unasked(Question("queue", "", why="the side has no subset")) == Value(
        "queue", None, None, "the side has no subset"
    )

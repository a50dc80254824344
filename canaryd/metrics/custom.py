"""
The values of checks that have a query of their own: one number for each side, at a cell's end. Pure.

What is not exactly one finite number is no value, and says which of the ways it is that went wrong: a query that finds
nothing, one that finds several series, and 0/0 are three different mistakes. None of them is ever taken for another:
not the first of several series, not 0 for nothing unless the plan says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan

from canaryd.metrics.parse import Row
from canaryd.model.cells import Question, Value

NOTHING = "the query finds nothing"
LONGEST = 400
"""Characters of a reason: Prometheus repeats the query in its own."""
SHOWN = 3
"""Series that are named when there are several."""


def number(rows: Sequence[Row]) -> float | str:
    """The one value in an answer, or why there is none."""
    if not rows:
        return NOTHING
    if len(rows) > 1:
        named = "; ".join(_named(row) for row in rows[:SHOWN])
        return f"the query finds {len(rows)} values; aggregate them ({named}{'; ...' * (len(rows) > SHOWN)})"
    value = rows[0].value
    if isnan(value):
        return "there is nothing to measure: the query's value is NaN, as 0/0 is"
    if not isfinite(value):
        return f"the query's value is {'+' if value > 0 else '-'}Inf, as {'' if value > 0 else '-'}1/0 is"
    return value


def value(question: Question, canary: float | str, stable: float | str | None) -> Value:
    """The value of both sides, each being a number or why there is none."""
    assumed = [side for side, found in (("canary", canary), ("stable", stable)) if question.zero and found == NOTHING]
    canary = 0.0 if "canary" in assumed else canary
    stable = 0.0 if "stable" in assumed else stable
    why = [f"{side}: {found}" for side, found in (("canary", canary), ("stable", stable)) if isinstance(found, str)]
    return Value(
        question.check,
        None if isinstance(stable, str) else stable,
        None if isinstance(canary, str) else canary,
        "; ".join(why)[:LONGEST],
        f"taken as 0, for the query finds nothing: {' and '.join(assumed)}" if assumed else "",
    )


def unasked(question: Question) -> Value:
    """The value of what cannot be asked."""
    return Value(question.check, None, None, question.why[:LONGEST])


def _named(row: Row) -> str:
    return ", ".join(f"{name}={label}" for name, label in sorted(row.labels.items())) or "no labels"

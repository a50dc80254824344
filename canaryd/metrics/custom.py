"""
The values of checks that have a query of their own: one number for each side, at a cell's end. Pure.

What is not exactly one finite number is no value, and says which of the ways it is that went wrong: a query that finds
nothing, one that finds several series, and 0/0 are three different mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite, isnan

from canaryd.metrics.parse import Row
from canaryd.metrics.promql import text
from canaryd.model.cells import Question, Value

LONGEST = 400
"""Characters of a reason: Prometheus repeats the query in its own."""
SHOWN = 3
"""Series that are named when there are several."""


def query(question: Question, workloads: tuple[str, ...], namespace: str) -> str:
    """
    The question's query about one side. What is put in is escaped for a string in double quotes.

    Several workloads become an alternative in parentheses, which needs ``=~`` in the query.
    """
    known = {
        "workload": workloads[0] if len(workloads) == 1 else f"({'|'.join(workloads)})",
        "namespace": namespace,
    }
    spelled = {name: text(value)[1:-1] for name, value in known.items()}
    spelled["window"] = f"{round(question.seconds * 1000)}ms"
    return re.sub(r"\$\{(\w+)\}", lambda found: spelled.get(found[1], found[0]), question.query)


def number(rows: Sequence[Row]) -> float | str:
    """The one value in an answer, or why there is none."""
    if not rows:
        return "the query finds nothing"
    if len(rows) > 1:
        named = "; ".join(_named(row) for row in rows[:SHOWN])
        return f"the query finds {len(rows)} series where one is needed ({named}{'; ...' * (len(rows) > SHOWN)})"
    value = rows[0].value
    if isnan(value):
        return "the query's value is NaN, such as 0/0"
    if not isfinite(value):
        return f"the query's value is {'+' if value > 0 else '-'}Inf, such as 1/0"
    return value


def value(question: Question, canary: float | str, stable: float | str | None) -> Value:
    """The value of both sides, each being a number or why there is none."""
    why = [f"{side}: {found}" for side, found in (("canary", canary), ("stable", stable)) if isinstance(found, str)]
    return Value(
        question.check,
        None if isinstance(stable, str) else stable,
        None if isinstance(canary, str) else canary,
        "; ".join(why)[:LONGEST],
    )


def _named(row: Row) -> str:
    return ", ".join(f"{name}={label}" for name, label in sorted(row.labels.items())) or "no labels"

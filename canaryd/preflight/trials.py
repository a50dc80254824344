"""
The checks' own queries, asked once for both sides before anything moves; and what those ask for that find nothing.

Only for a query that finds nothing is more asked: whether its metrics exist at all, under which similar names, and
which of its labels they have not. Pure but for what ``asking`` asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Protocol

from canaryd.mesh.hosts import fully_qualified
from canaryd.metrics.parse import Row
from canaryd.metrics.promql import text
from canaryd.model import expression
from canaryd.model.expression import Fault, Selector
from canaryd.model.plan import Plan
from canaryd.model.queries import Names, questions
from canaryd.model.traffic import Route, Side, Sides, Version
from canaryd.preflight.heard import Trial

NEAR = 3
"""Similar names that are told."""
LOOKED_INTO = 3
"""Metrics of a query that finds nothing that are looked at, and labels of each."""
ALIKE = 0.6


class Asking(Protocol):
    """Who asks Prometheus."""

    def tried(self, what: str, query: str) -> tuple[Row, ...] | str | None:
        """The rows of a query; why Prometheus refuses it; None where no whole answer came."""

    def names(self) -> tuple[str, ...]:
        """The names of all metrics of late; none where they do not come."""


def trials(asking: Asking, plan: Plan, route: Route, sides: Sides) -> tuple[Trial, ...]:
    """What each check's query finds now, of the canary and, where that is compared, of stable."""
    analysis = plan.spec.analysis
    asked = questions(analysis, _names(sides.stable, route.stable, route), _names(sides.canary, route.canary, route))
    found: list[Trial] = []
    for question in asked:
        if question.why:
            found.append(Trial(question.check, "canary", refused=question.why))
            continue
        found += _tried(asking, question.check, "canary", question.canary)
        found += _tried(asking, question.check, "stable", question.stable) if question.stable else ()
    return tuple(found)


def _names(side: Side, version: Version, route: Route) -> Names:
    return Names(
        side.workloads, side.namespace, version.subset, fully_qualified(version.host, route.namespace), side.hashes
    )


def _tried(asking: Asking, check: str, side: str, query: str) -> Iterator[Trial]:
    """One side's trial; nothing where no answer came."""
    rows = asking.tried(f"{check} of {side}", query)
    if rows is None:
        return
    if isinstance(rows, str):
        yield Trial(check, side, refused=rows)
    elif rows:
        yield Trial(check, side, rows=len(rows), value=rows[0].value, labels=_labels(rows))
    else:
        unknown, missing = _looked_into(asking, query)
        yield Trial(check, side, rows=0, unknown=unknown, missing=missing)


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels by which several rows differ."""
    names = {name for row in rows for name in row.labels}
    return tuple(sorted(name for name in names if len({row.labels.get(name) for row in rows}) > 1))


def _looked_into(
    asking: Asking, query: str
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[tuple[str, str, tuple[str, ...]], ...]]:
    """(metrics that do not exist, with similar ones), and (metric, label that it has not, with similar ones)."""
    try:
        selectors = expression.read(query).selectors
    except Fault:
        return (), ()
    unknown: dict[str, tuple[str, ...]] = {}
    missing: dict[tuple[str, str], tuple[str, ...]] = {}
    for selector in [one for one in selectors if one.name][:LOOKED_INTO]:
        metric = f"{{__name__={text(selector.name)}}}"
        known = asking.tried(f"whether there is {selector.name}", f"count(last_over_time({metric}[1h]))")
        if known == ():
            unknown[selector.name] = _near(selector.name, asking.names())
        elif known and not isinstance(known, str):
            missing |= _without(asking, selector, metric)
    return tuple(unknown.items()), tuple((*place, near) for place, near in missing.items())


def _without(asking: Asking, selector: Selector, metric: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """The labels that the selector asks for and that no series of its metric has."""
    wanted = [label for sign, label, value in selector.matchers if value and sign in ("=", "=~")]
    example = asking.tried(f"the labels of {selector.name}", f"topk(1, last_over_time({metric}[1h]))")
    if not example or isinstance(example, str):
        return {}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for label in [one for one in dict.fromkeys(wanted) if one not in example[0].labels][:LOOKED_INTO]:
        having = metric.replace("{", f'{{{label}!="", ', 1) if label.isidentifier() else metric
        if asking.tried(f"{label} of {selector.name}", f"count(last_over_time({having}[1h]))") == ():
            found[selector.name, label] = _near(label, tuple(example[0].labels))
    return found


def _near(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Known names that are like ``name``: those of nearly the same letters, then those that have the same words."""
    close = get_close_matches(name, known, n=NEAR, cutoff=ALIKE)
    return tuple(close)

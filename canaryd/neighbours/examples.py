"""PURE: which requests are worth showing as examples of what the canary did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from canaryd.model.cells import Cell
from canaryd.model.links import Trace
from canaryd.model.run import Run
from canaryd.neighbours.naming import REVISION, is_canary_s
from canaryd.neighbours.spans import Span
from canaryd.neighbours.wording import plainly

EACH = 3
"""Failing traces that are shown, and slow ones."""
FAILED = 5
"""Failed spans that are named of one trace."""
NAME = 100
"""Characters of a span's name that are shown."""
SLOW = 0.99
"""The share of stable's requests that a slow one of the canary's took longer than."""


@dataclass(frozen=True, slots=True)
class Example:
    """The canary's part of one trace: its request, and the spans of the trace."""

    request: Span
    spans: tuple[Span, ...]


def examples(run: Run, spans: Iterable[Span]) -> list[Example]:
    """One for each trace in which a proxy of the canary's took part, in no order."""
    traces: Mapping[str, dict[str, Span]] = defaultdict(dict)
    for span in spans:
        traces[span.trace][span.id] = span
    found = []
    for trace in traces.values():
        ours = [span for span in trace.values() if is_canary_s(run, span.tags.get("node_id", ""), _revision(span))]
        if ours:
            # What it answered, rather than what it asked of others: of those the outermost.
            request = min(ours, key=lambda span: (span.kind != "server", span.at, -span.took))
            found.append(Example(request, tuple(sorted(trace.values(), key=lambda span: (span.at, span.id)))))
    return found


def failing(found: Iterable[Example]) -> list[Example]:
    """The last of those whose request failed."""
    return _newest([one for one in found if one.request.failed])


def slow(found: Iterable[Example], longer: float) -> list[Example]:
    """The slowest of those that did not fail and took longer than so many seconds."""
    these = [one for one in found if not one.request.failed and one.request.took > longer]
    return sorted(these, key=lambda one: (-one.request.took, one.request.trace))[:EACH]


def shown(example: Example, kind: str, url: str) -> Trace:
    """The example as people see it."""
    failed = dict.fromkeys(
        plainly(f"{span.service}: {span.name}" + (f" ({span.status})" if span.status else ""), NAME)
        for span in example.spans
        if span.failed
    )
    return Trace(
        id=example.request.trace,
        kind="failing" if kind == "failing" else "slow",
        at=example.request.at,
        took=example.request.took,
        status=plainly(example.request.status, NAME),
        failed=tuple(failed)[:FAILED],
        url=url,
    )


def slow_from(run: Run) -> float:
    """
    The seconds that 99 % of stable's requests took at most, as the histogram of the last weight with any bounds them.

    Infinite where nothing was measured, or where that is beyond the last bound.
    """
    cells = [cell for cell in run.cells if isinstance(cell, Cell) and any(cell.stable.buckets)]
    if not cells:
        return float("inf")
    last = cells[-1]
    same = [cell for cell in cells if cell.segment == last.segment and cell.bounds_ms == last.bounds_ms]
    counts = [sum(cell.stable.buckets[place] for cell in same) for place in range(len(last.bounds_ms) + 1)]
    below = 0.0
    for bound, count in zip(last.bounds_ms, counts, strict=False):
        below += count
        if below >= SLOW * sum(counts):
            return bound / 1000
    return float("inf")


def _newest(found: Sequence[Example]) -> list[Example]:
    return sorted(found, key=lambda one: (-one.request.at, one.request.trace))[:EACH]


def _revision(span: Span) -> str:
    return span.tags.get(REVISION, "")

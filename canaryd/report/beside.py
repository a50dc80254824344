"""PURE: what the neighbours show of a run, as a report and a message have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from canaryd.model.links import Link, Trace
from canaryd.report.outlook import moment

FEW = 3
"""Example traces in a message."""


def examples(traces: Iterable[Trace]) -> tuple[Link, ...]:
    """The example traces that can be opened."""
    return tuple(Link(f"{one.kind} request", one.url, _seen_in(one)) for one in traces if one.url)


def in_messages(traces: Sequence[Trace]) -> list[tuple[str, str]]:
    """A few of the example traces, each with its URL, or with its id where nothing shows it."""
    return [(f"{one.kind.capitalize()} request, {_seen_in(one)}", one.url or f"trace {one.id}") for one in traces[:FEW]]


def answered(trace: Trace) -> str:
    """How the canary answered, and after how long."""
    return f"{f'answered {trace.status}' if trace.status else 'answered'} after {trace.took * 1000:,.0f} ms"


def _seen_in(trace: Trace) -> str:
    failed = f"; failed: {trace.failed[0]}" if trace.failed else ""
    return f"{moment(trace.at)}: {answered(trace)}{failed}"

"""
Guards: cells that cannot be believed.

A refused cell is a gap. Refusing depends on the total and on the form of the numbers, never on who failed, so that it
cannot bend a verdict either way.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise
from math import fsum, isfinite
from statistics import median

from canaryd.judge.wording import number
from canaryd.model.cells import Cell, Counts

HUGE = 1e12
"""More requests than this in one cell are a fault of the metrics."""
ROUNDING = 1e-9
"""Relative error of counts that were computed from others."""
LEAP, SLACK, REMEMBERED, FEWEST = 5.0, 50.0, 15, 5
"""A total above LEAP times the median of the last REMEMBERED (at least FEWEST), and SLACK requests more, is refused."""


def fault(cell: Cell) -> str:
    """Why the numbers of a cell cannot be counts, or an empty text."""
    if not (isfinite(cell.start) and isfinite(cell.end) and cell.end > cell.start):
        return f"a cell that ends at {cell.end} and starts at {cell.start}"
    if not all(isfinite(bound) and bound > 0 for bound in cell.bounds_ms):
        return "bucket bounds that are not positive numbers"
    if any(high <= low for low, high in pairwise(cell.bounds_ms)):
        return "bucket bounds that do not rise"
    sides = (("stable", cell.stable), ("canary", cell.canary))
    for name, counts in sides:
        if not all(map(_countable, (counts.requests, counts.errors, *counts.buckets, *chain(*counts.pods)))):
            return f"counts of {name} that are not numbers between 0 and {HUGE:.0e}"
        if counts.errors > counts.requests * (1 + ROUNDING):
            return f"more errors of {name} ({number(counts.errors)}) than requests ({number(counts.requests)})"
        if not _fits(counts, cell.bounds_ms):
            return f"{len(counts.buckets)} buckets of {name} for {len(cell.bounds_ms)} bounds"
    for one in cell.portions:
        for counts in (one.stable, one.canary):
            if not (_countable(counts.requests) and _countable(counts.errors)):
                return f"counts of {one.check} that are not numbers between 0 and {HUGE:.0e}"
            if counts.errors > counts.requests * (1 + ROUNDING):
                return f"more errors of {one.check} ({number(counts.errors)}) than requests ({number(counts.requests)})"
    if not all(map(_countable, cell.whole or ())):
        return f"totals that are not numbers between 0 and {HUGE:.0e}"
    if not (_countable(cell.unattributed) and _countable(cell.others)):
        return "failures without a version that are not numbers"
    if not all(map(_countable, chain(*((one.stable, one.canary, one.no_cluster) for one in cell.callers)))):
        return "counts of a client that are not numbers"
    return ""


def consistent(cell: Cell) -> Cell:
    """
    The cell with what contradicts its requests taken out.

    Durations and pods are counted elsewhere than requests, and a proxy may tell of durations some seconds late. A few
    more than there were requests count as that many; far more are none, and so are pods whose failures or requests
    are more than there were.
    """
    stable, canary = _consistent(cell.stable), _consistent(cell.canary)
    same = stable is cell.stable and canary is cell.canary
    return cell if same else replace(cell, stable=stable, canary=canary)


def implausible(cell: Cell, rates: tuple[float, ...]) -> str:
    """
    Why a cell's total cannot be of that cell, or an empty text; ``rates`` are the last totals per second.

    A relabelled series is born with its whole history in it. A load that really rose is believed as soon as the median
    has followed.
    """
    total = rate_of(cell) * cell.seconds
    usual = [rate for rate in rates if rate > 0]
    if len(usual) < FEWEST:
        return ""
    expected = median(usual) * cell.seconds
    if total <= LEAP * expected + SLACK:
        return ""
    return f"{number(total)} requests in a cell where {number(expected)} are usual: not believed"


def rate_of(cell: Cell) -> float:
    """All requests of a cell per second."""
    return (cell.all_stable + cell.all_canary + cell.unattributed) / cell.seconds


def remembered(rates: tuple[float, ...], cell: Cell) -> tuple[float, ...]:
    """The last rates, this cell's among them."""
    return (*rates, rate_of(cell))[-REMEMBERED:]


def _countable(value: float) -> bool:
    return isfinite(value) and 0 <= value <= HUGE


def _fits(counts: Counts, bounds: tuple[float, ...]) -> bool:
    return not counts.buckets or len(counts.buckets) == len(bounds) + 1


def _consistent(counts: Counts) -> Counts:
    durations, most = fsum(counts.buckets), counts.requests
    if durations > most * (1 + ROUNDING):
        much = durations > LEAP * most + SLACK
        counts = replace(counts, buckets=() if much else tuple(count * (most / durations) for count in counts.buckets))
    known = fsum([requests for requests, _ in counts.pods]) <= LEAP * most + SLACK
    known = known and all(failed <= requests * (1 + ROUNDING) for requests, failed in counts.pods)
    return counts if known else replace(counts, pods=())

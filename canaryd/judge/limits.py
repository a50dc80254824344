"""
Hard limits: what was observed decides, and no evidence is asked.

This is outside of the promise on ``alpha``, because the plan wants it so. What keeps a handful of requests from ending
a release is the plan's least number of them.
"""

from __future__ import annotations

from dataclasses import replace
from math import fsum

from canaryd.model.cells import Cell
from canaryd.model.judgement import CheckState, Tally
from canaryd.model.plan import Check

ROUNDING = 1e-9
"""Relative; a share that is the limit itself is not beyond it."""


def gathered(check: Check, one: CheckState, cell: Cell, bad: float, requests: float, most: float) -> CheckState:
    """
    The check with a cell among its recent ones: those that began within the limit's stretch of time, or that are beyond
    the share of ``most`` in a row.

    A cell with too few requests does not count: it neither goes on with a row nor ends it.
    """
    if check.hard_limit is None:
        return one
    if check.hard_limit.consecutive is not None:
        if requests < check.hard_limit.min_requests:
            return one
        one = in_a_row(check, one, beyond=bad > most * requests * (1 + ROUNDING))
        return replace(one, recent=(*one.recent, (cell.start, requests, bad))[-one.row :] if one.row else ())
    since = cell.end - check.hard_limit.over.total_seconds() - ROUNDING * cell.end
    kept = tuple(known for known in one.recent if known[0] >= since)
    return replace(one, recent=(*kept, (cell.start, requests, bad)))


def in_a_row(check: Check, one: CheckState, *, beyond: bool) -> CheckState:
    """The check with one more that is ``beyond`` the objective, or with its row ended."""
    if check.hard_limit is None or check.hard_limit.consecutive is None:
        return one
    return replace(one, row=min(one.row + 1, check.hard_limit.consecutive) if beyond else 0)


def row_is_full(check: Check, one: CheckState) -> bool:
    """Whether as many in a row were beyond the objective as the plan's limit says."""
    limit = check.hard_limit.consecutive if check.hard_limit else None
    return limit is not None and one.row >= limit


def beyond(check: Check, one: CheckState, end: float, most: float) -> Tally | None:
    """What is beyond the hard limit of a share of ``most``, up to ``end`` (Unix seconds); None while nothing is."""
    if check.hard_limit is None or not one.recent:
        return None
    requests, bad = fsum(known[1] for known in one.recent), fsum(known[2] for known in one.recent)
    if check.hard_limit.consecutive is not None:
        return Tally(end - one.recent[0][0], (requests - bad, bad)) if row_is_full(check, one) else None
    if requests < check.hard_limit.min_requests or bad <= most * requests * (1 + ROUNDING):
        return None
    return Tally(end - one.recent[0][0], (requests - bad, bad))

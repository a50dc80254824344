"""
Failures that no version can be named for: a dead canary has no series of its own.

When no healthy endpoint is left, Envoy answers 503 (UH, UF, NC) before a host is picked, and the request is counted for
no workload. Nothing of it is in the canary's counts; its requests just stop. So these failures are held against what
the canary should have got: at most ALLOWED of its share, plus twice what the service had of them before. Given the
total T of requests, the failures u are a sum of independent indicators of mean at most lambda, and
E = (1 + g)^u exp(-lambda g) has an expectation of at most 1.

``charged`` counts fewer than all of them where others than the canary may be the cause. Counting fewer only makes E
smaller, so that this needs no justification.
"""

from __future__ import annotations

from math import log1p, sqrt

from canaryd.model.cells import Cell
from canaryd.model.judgement import History

ALLOWED = 0.1
"""Share of the canary's requests that may fail so without harm."""
BETS = (1.0, 3.0, 9.0)
"""Alternatives: 2, 4 and 10 times what is allowed; the last is an outage of everything."""
PRIOR = (0.2, 0.2, 0.6)


def sent(cell: Cell) -> float:
    """Requests that the split sends to the canary, about."""
    return cell.split.share * _total(cell)


def allowed(cell: Cell, history: History) -> float:
    """The most unattributed failures to expect of a cell if the canary does no harm."""
    quiet = history.quiet_failures / history.quiet_requests if history.quiet_requests else 0.0
    return sent(cell) * ALLOWED + 2 * quiet * _total(cell)


def charged(cell: Cell) -> float:
    """
    The unattributed failures that are held against the canary.

    Not more than it is missing of its share (one standard deviation granted), and none while stable gets less than half
    of its own: then stable is failing too, and going back to it would help nobody.
    """
    expected = sent(cell)
    stable_expected = _total(cell) - expected
    if cell.stable.requests < stable_expected / 2:
        return 0.0
    return max(0.0, min(cell.unattributed, expected + sqrt(expected) - cell.canary.requests))


def harm(cell: Cell, history: History) -> tuple[float, ...]:
    """Log e-values of a cell, one per alternative."""
    count, most = charged(cell), allowed(cell, history)
    return tuple(count * log1p(bet) - most * bet for bet in BETS)


def _total(cell: Cell) -> float:
    return cell.canary.requests + cell.stable.requests + cell.unattributed

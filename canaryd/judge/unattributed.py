"""
Failures that no version can be named for: a dead canary has no series of its own.

When no healthy endpoint is left, Envoy answers 503 (UH, UF, NC) before a host is picked, and the request is counted for
no workload. Nothing of it is in the canary's counts; its requests just stop. So these failures are held against what
the canary should have got: at most ALLOWED of its share, plus twice what the service had of them before. Given the
total T of requests, the failures u are a sum of independent indicators of mean at most lambda, and
E = (1 + g)^u exp(-lambda g) has an expectation of at most 1.

``charged`` counts fewer than all of them where others than the canary may be the cause. Counting fewer only makes E
smaller, so that this needs no justification.

A missing cluster (NC) is the doing of a client's DestinationRule. It is ours where it begins, or rises, at a client of
this route after our write; a client that failed so at the same rate before we wrote anything is excused.
"""

from __future__ import annotations

from dataclasses import replace
from math import fsum, log1p, sqrt

from canaryd.model.cells import Caller, Cell
from canaryd.model.judgement import History

ALLOWED = 0.1
"""Share of the canary's requests that may fail so without harm."""
BETS = (1.0, 3.0, 9.0)
"""Alternatives: 2, 4 and 10 times what is allowed; the last is an outage of everything."""
PRIOR = (0.2, 0.2, 0.6)
STRAY = 1e-4
"""Such failures that no service is without, where nobody knows how many requests should have come to the canary."""
MOST_CLIENTS = 20
"""Clients whose former failures are remembered."""
AT = "NC at "
"""In the tally of causes, before the name of the client that met them."""


def sent(cell: Cell) -> float:
    """Requests that are sent to the canary, about: by the split, or, where a match decides who is, those that were."""
    if cell.matched:
        return cell.all_canary + cell.unattributed
    return cell.split.share * _total(cell)


def allowed(cell: Cell, history: History) -> float:
    """The most unattributed failures to expect of a cell if the canary does no harm."""
    if cell.matched:  # who is sent there is only known from who came: this holds while at most 4 % of them fail so
        return cell.all_canary * ALLOWED + usual(cell, history)
    return sent(cell) * ALLOWED + usual(cell, history)


def usual(cell: Cell, history: History) -> float:
    """Twice the unattributed failures that the service had, for as many requests, before the canary had any share."""
    quiet = history.quiet_failures / history.quiet_requests if history.quiet_requests else 0.0
    stray = STRAY if cell.matched else 0.0  # nobody knows how many requests should have come to the canary
    return 2 * max(quiet, stray) * _total(cell)


def charged(cell: Cell) -> float:
    """
    The unattributed failures that are held against the canary.

    Not more than it is missing of its share (one standard deviation granted), and none while stable gets less than half
    of its own: then stable is failing too, and going back to it would help nobody.
    """
    if cell.matched:
        return cell.unattributed
    expected = sent(cell)
    stable_expected = _total(cell) - expected
    if cell.all_stable < stable_expected / 2:
        return 0.0
    return max(0.0, min(cell.unattributed, expected + sqrt(expected) - cell.all_canary))


def ours(cell: Cell, history: History) -> Cell:
    """
    The cell without what is not our doing: failures for want of a cluster at clients that had them before.

    Up to twice their former rate; a rise beyond that is ours again.
    """
    before = {client: lost / requests for client, requests, lost in history.without_cluster if requests and lost}
    if not before:
        return cell
    callers = tuple(_excused(caller, 2 * before.get(caller.client, 0.0)) for caller in cell.callers)
    known = fsum(caller.no_cluster for caller in cell.callers) - fsum(caller.no_cluster for caller in callers)
    return replace(
        cell,
        callers=callers,
        unattributed=max(0.0, cell.unattributed - known),
        no_cluster=max(0.0, cell.no_cluster - known),
    )


def _excused(caller: Caller, rate: float) -> Caller:
    excused = min(caller.no_cluster, rate * caller.requests)
    return (
        replace(caller, canary=caller.canary - excused, no_cluster=caller.no_cluster - excused) if excused else caller
    )


def remembered(history: History, cell: Cell) -> History:
    """The history with a cell from before the canary had any share: which clients fail for want of a cluster."""
    known = {client: (requests, lost) for client, requests, lost in history.without_cluster}
    for caller in cell.callers:
        requests, lost = known.get(caller.client, (0.0, 0.0))
        known[caller.client] = (requests + caller.requests, lost + caller.no_cluster)
    largest = sorted(known.items(), key=lambda one: (-one[1][1], -one[1][0], one[0]))[:MOST_CLIENTS]
    return replace(history, without_cluster=tuple((client, *counts) for client, counts in sorted(largest)))


def causes(cell: Cell) -> tuple[tuple[str, float], ...]:
    """Failures for want of a cluster, in all and by client, as a tally keeps causes."""
    at = ((f"{AT}{caller.client or 'others'}", caller.no_cluster) for caller in cell.callers if caller.no_cluster)
    return (("NC", cell.no_cluster), *at) if cell.no_cluster else ()


def harm(cell: Cell, history: History) -> tuple[float, ...]:
    """Log e-values of a cell, one per alternative."""
    count, most = charged(cell), allowed(cell, history)
    return tuple(count * log1p(bet) - most * bet for bet in BETS)


def _total(cell: Cell) -> float:
    return cell.all_canary + cell.all_stable + cell.unattributed

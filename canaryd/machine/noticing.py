"""
What a person should know of the traffic, beside the evidence: it decides nothing.

Callers count each request once, however often their proxies tried; pods count each attempt, whoever called. What the
two say differently is what the verdict cannot see: retries that hide failures, callers without a sidecar, pods that get
nothing though they are ready.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum

from canaryd.model.cells import Cell
from canaryd.model.decision import Observation, Unseen
from canaryd.model.run import Run

RECENT = 12
"""Cells that are looked at, the last ones."""
ENOUGH = 50.0
"""Requests below which nothing is said: proxies are scraped one after another, and a few always differ."""
MORE = 1.1
"""Attempts per request beyond which it is said."""
SILENT = 20.0
"""Requests per ready pod after which one that has had none is no accident."""


def noted(run: Run, seen: Observation) -> str:
    """What is to be said of the traffic under the present split, in a sentence, or an empty text."""
    cells = run.settled[-RECENT:]
    return "; ".join((*_attempts(cells), *_silent(cells, seen), *_uninjected(cells)))


def _attempts(cells: Sequence[Cell]) -> Iterator[str]:
    known = [cell for cell in cells if cell.canary.pods]
    requests = fsum(cell.canary.requests for cell in known)
    attempts = fsum(_at_the_pods(cell) for cell in known)
    if requests >= ENOUGH and attempts > MORE * requests:
        yield (
            f"the canary's pods counted {attempts / requests:.1f} attempts per request: retries that hide failures, "
            "mirrored requests, or callers without a sidecar"
        )


def _silent(cells: Sequence[Cell], seen: Observation) -> Iterator[str]:
    """Ready pods of the canary that got nothing: what is ejected by outlier detection is still ready."""
    known = [cell for cell in cells if cell.canary.pods]
    if isinstance(seen.sides, Unseen) or not known:
        return
    ready, served = seen.sides.canary.ready, max(len(cell.canary.pods) for cell in known)
    if served < ready and fsum(_at_the_pods(cell) for cell in known) >= SILENT * ready:
        yield (
            f"{ready - served} of {ready} ready canary pods got no request: ejected by outlier detection, or out of "
            "reach of the callers"
        )


def _uninjected(cells: Sequence[Cell]) -> Iterator[str]:
    without = fsum(cell.uninjected for cell in cells)
    counted = fsum(cell.canary.requests + cell.stable.requests for cell in cells)
    if without >= ENOUGH:
        yield (
            f"{without:,.0f} requests came from callers without a sidecar, beside {counted:,.0f} that were measured: "
            "no weight holds for them, and nobody sees what they get"
        )


def _at_the_pods(cell: Cell) -> float:
    return fsum(requests for requests, _ in cell.canary.pods)

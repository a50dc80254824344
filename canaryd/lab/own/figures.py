"""
How one's own service behaves, in the few figures that one knows by heart, as dials of the lab.

The lab's requests take a base, some take a spread longer, and few a tail longer: enough for a median and a p99 to be
met within some per cent, which is finer than the histogram's buckets that the judge reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected, Unavailable
from canaryd.mesh.hosts import fully_qualified
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import PAST_CELL, Cell, Gap, past_windows
from canaryd.model.plan import Plan

TAIL = 0.02
"""The share of slow requests: the 99th percentile lies in the middle of them."""
SPREAD = 0.4


@dataclass(frozen=True, slots=True)
class Figures:
    """Requests a second to the service, the share of them that fail, and milliseconds of the median and of p99."""

    rps: float = 100.0
    errors: float = 0.001
    p50: float = 12.0
    p99: float = 48.0

    def __post_init__(self) -> None:
        if self.rps <= 0:
            raise Rejected(f"rps: a number of requests a second above 0, got {self.rps:g}")
        if not 0 <= self.errors <= 1:
            raise Rejected(f"errors: a share from 0 % to 100 %, got {100 * self.errors:g} %")
        if not 0 < self.p50 <= self.p99:
            raise Rejected(f"p50 and p99: milliseconds, the first not above the second, got {self.p50:g}, {self.p99:g}")

    def dials(self) -> dict[str, Any]:
        """As the lab names them (`canaryd.lab.faults.Fault`)."""
        return {
            "error_rate": self.errors,
            "base_ms": round(self.p50),
            "spread_rate": SPREAD,
            "spread_ms": min(round(self.p50 / 4), round((self.p99 - self.p50) / 2)),
            "tail_rate": TAIL,
            "tail_ms": round(self.p99 - self.p50),
        }


def measured(url: str, plan: Plan, workloads: Sequence[str], *, seconds: float = 1800.0) -> Figures:
    """
    The figures of the plan's service in the last half hour, from the Prometheus at `url`.

    `workloads` are those of the present version, as Istio reports them. Raises Unavailable where nothing was measured,
    Rejected and Unavailable as the questions themselves do.
    """
    host = fully_qualified(plan.spec.target.host, plan.namespace)
    analysis = plan.spec.analysis
    scrape = analysis.scrape.total_seconds()
    sought = analysis.sought((host,), plan.namespace, tuple(workloads), (), asker=plan.namespace, called=plan.called)
    cell = max(PAST_CELL, 4 * scrape)
    found = Prometheus(url, timeout=20.0).history(sought, past_windows(time.time() - 2 * scrape, seconds, cell, None))
    cells = [each for each in found if isinstance(each, Cell)]
    requests = sum(each.stable.requests for each in cells)
    if not requests:
        why = next((each.why for each in reversed(found) if isinstance(each, Gap)), "no request was answered")
        raise Unavailable(f"Prometheus knows no traffic of {', '.join(workloads)} for {host}: {why}")
    p50, p99 = (quantile(cells, q) for q in (0.5, 0.99))
    errors = sum(each.stable.errors for each in cells) / requests
    return Figures(requests / sum(each.seconds for each in cells), errors, p50, max(p50, p99))


def quantile(cells: Iterable[Cell], q: float) -> float:
    """
    The milliseconds below which a share `q` of stable's requests lies, as `histogram_quantile` finds it: in a straight
    line between the bounds of its bucket, and at most the last bound.
    """
    bounds: tuple[float, ...] = ()
    counts: list[float] = []
    for cell in cells:
        bounds = cell.bounds_ms
        mine = cell.stable.buckets  # one more than bounds: the last is what lies above them
        counts = [have + more for have, more in zip(counts or [0.0] * len(mine), mine, strict=True)]
    left = q * sum(counts)
    below = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and left <= count:
            return below + (bound - below) * left / count
        left -= count
        below = bound
    return below

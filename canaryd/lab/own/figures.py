"""
How one's own service behaves, in the few figures that one knows by heart, as dials of the lab.

The lab's requests take a base, some take a spread longer, and few a tail longer: enough for a median and a p99 to be
met within some per cent, which is finer than the histogram's buckets that the judge reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected

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

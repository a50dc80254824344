"""
A service under load, as counters that are pure functions of time, with a dial for a healthy or a faulty canary.

Turn a dial by `turn(at, ...)`: what was before `at` stays as it was, so a window that is asked for again after a
restart gives the same counts. Shares follow whatever the test says that the mesh did at `at`; counts are what the rates
amount to, rounded down, without chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.metrics.book import Book, Counter, Series

BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
Outcome = Literal["good", "bad"]


@dataclass(frozen=True, slots=True)
class Dial:
    """How the service does: requests a second, the canary's share of them, both sides' error ratio and median in ms."""

    rate: float = 100.0
    share: float = 0.0
    stable_errors: float = 0.001
    canary_errors: float = 0.001
    stable_median: float = 20.0
    canary_median: float = 20.0
    unhealthy: float = 0.0
    """Requests a second that find no healthy host (UH): nobody knows which version they were for."""


@dataclass(slots=True)
class Load:
    """The service and the history of its dial."""

    host: str = "reviews.default.svc.cluster.local"
    namespace: str = "default"
    stable: str = "reviews-v1"
    canary: str = "reviews-v3"
    since: float = 0.0
    """Unix seconds at which the first request came."""
    history: list[tuple[float, Dial]] = field(default_factory=lambda: [(-math.inf, Dial())])

    @property
    def dial(self) -> Dial:
        """As it stands now."""
        return self.history[-1][1]

    def turn(self, at: float, **changes: float) -> None:
        """Set dials from ``at`` (Unix seconds) on; calls come in the order of time."""
        self.history.append((at, replace(self.dial, **changes)))

    def series(self) -> list[Series]:
        """The counters that the client's proxy exposes."""
        return [*self._of(self.stable, "stable"), *self._of(self.canary, "canary"), self._unhealthy()]

    def book(self, scrape: float) -> Book:
        """The counters as a Prometheus that scrapes every ``scrape`` seconds has them."""
        return Book(scrape, self.series())

    def _of(self, workload: str, side: Literal["stable", "canary"]) -> Iterator[Series]:
        for outcome in ("good", "bad"):
            code = "200" if outcome == "good" else "503"
            labels = self._labels(workload, self.namespace, code, "-")
            count = self._count(side, outcome)
            yield Series("istio_requests_total", labels, count)
            for bound in (*BOUNDS, math.inf):
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                yield Series(
                    "istio_request_duration_milliseconds_bucket",
                    labels | {"le": le},
                    self._within(side, outcome, bound),
                )

    def _unhealthy(self) -> Series:
        labels = self._labels("unknown", "unknown", "503", "UH")
        return Series("istio_requests_total", labels, self._integral(lambda dial: dial.unhealthy))

    def _labels(self, workload: str, namespace: str, code: str, flags: str) -> dict[str, str]:
        return {
            "reporter": "source",
            "source_workload": "productpage-v1",
            "source_workload_namespace": self.namespace,
            "destination_service": self.host,
            "destination_workload": workload,
            "destination_workload_namespace": namespace,
            "request_protocol": "http",
            "response_code": code,
            "response_flags": flags,
        }

    def _count(self, side: Literal["stable", "canary"], outcome: Outcome) -> Counter:
        return self._integral(lambda dial: _rate(dial, side, outcome))

    def _within(self, side: Literal["stable", "canary"], outcome: Outcome, bound: float) -> Counter:
        exposed = self._count(side, outcome)
        within = self._integral(lambda dial: _rate(dial, side, outcome) * _share_within(dial, side, bound))
        return lambda moment: None if exposed(moment) is None else within(moment) or 0.0

    def _integral(self, rate: Callable[[Dial], float]) -> Counter:
        def value(moment: float) -> float | None:
            total, ends = 0.0, [start for start, _ in self.history[1:]] + [math.inf]
            for (start, dial), end in zip(self.history, ends, strict=True):
                total += max(0.0, min(end, moment) - max(start, self.since)) * rate(dial)
            return float(math.floor(total + 1e-6)) or None  # Envoy exposes a series from its first request on

        return value


def _rate(dial: Dial, side: Literal["stable", "canary"], outcome: Outcome) -> float:
    canary = side == "canary"
    errors = dial.canary_errors if canary else dial.stable_errors
    return dial.rate * (dial.share if canary else 1 - dial.share) * (errors if outcome == "bad" else 1 - errors)


def _share_within(dial: Dial, side: Literal["stable", "canary"], bound: float) -> float:
    """The share of durations up to ``bound``: log-normal with sigma 0.5."""
    median = dial.canary_median if side == "canary" else dial.stable_median
    return 1.0 if bound == math.inf else 0.5 * (1 + math.erf(math.log(bound / median) / (0.5 * math.sqrt(2))))

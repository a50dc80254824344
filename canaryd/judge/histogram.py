"""
Recent stable's histogram, and what "1.05 times slower" does to it.

A histogram does not say where in a bucket its requests lie, yet a tolerance of a few percent moves some of them over
the bound. Between two bounds the distribution is interpolated linearly in (log latency, probit): a straight line is
a log-normal piece. Linear interpolation, as histogram_quantile does it, would make the tail's tolerance several times
too generous.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import fsum, log
from statistics import NormalDist

HALF_LIFE = 1800.0
"""Seconds of wall time after which a request of stable counts half."""
ENOUGH = 200.0
"""Requests of recent stable below which no latency is judged."""
UPPER, LOWER, BEYOND, LIMIT_MS = 0.98, 0.002, 4, 10_000.0
"""Bounds that are judged: survival at most UPPER, up to BEYOND bounds past LOWER, none above LIMIT_MS."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Shape:
    """Recent stable at its bounds: ``below`` is the share of requests at or below each, kept off 0 and 1."""

    bounds: tuple[float, ...]
    below: tuple[float, ...]

    def above(self, index: int) -> float:
        """Share of requests above the bound."""
        return 1 - self.below[index]

    def bucket(self, index: int) -> float:
        """Share of requests in the bucket that ends at the bound."""
        return self.below[index] - (self.below[index - 1] if index else 0.0)


def shape_of(bounds: tuple[float, ...], buckets: tuple[float, ...]) -> Shape:
    """The shape of a histogram with requests in it (not cumulative, one bucket more than bounds)."""
    requests = fsum(buckets)
    least = min(0.5, 0.5 / requests)
    below, sum_ = [], 0.0
    for count in buckets[:-1]:
        sum_ += count
        below.append(min(max(sum_ / requests, least), 1 - least))
    return Shape(bounds, tuple(below))


def moved(shape: Shape, index: int, times: float) -> float:
    """
    Share of the bucket's requests that cross its upper bound when everything takes ``times`` as long.

    At most one bound can be crossed (see :func:`too_close`). The first bucket is taken as uniform.
    """
    bound = shape.bounds[index]
    if index == 0:
        return 1 - 1 / times
    former, edge = shape.bounds[index - 1], bound / times
    if edge <= former:
        return 1.0
    low, high = shape.below[index - 1], shape.below[index]
    if high <= low:
        return min(1.0, (bound - edge) / (bound - former))
    start, end = _NORMAL.inv_cdf(low), _NORMAL.inv_cdf(high)
    at_edge = _NORMAL.cdf(start + (end - start) * (log(edge) - log(former)) / (log(bound) - log(former)))
    return min(1.0, max(0.0, (high - at_edge) / (high - low)))


def active_bounds(shape: Shape) -> tuple[int, ...]:
    """Indices of the bounds at which the two sides are compared."""
    chosen, beyond = [], 0
    for index, bound in enumerate(shape.bounds):
        above = shape.above(index)
        if above > UPPER:
            continue
        beyond += above < LOWER
        if beyond > BEYOND or bound > LIMIT_MS:
            break
        chosen.append(index)
    return tuple(chosen)


def too_close(bounds: tuple[float, ...], times: float) -> tuple[float, float] | None:
    """The first two bounds (ms) that are less than ``times`` apart: a request could then cross both at once."""
    return next(((low, high) for low, high in pairwise(bounds) if high < low * times), None)


def faded(buckets: tuple[float, ...], seconds: float) -> tuple[float, ...]:
    """The buckets after ``seconds`` of wall time."""
    factor = 0.5 ** (max(0.0, seconds) / HALF_LIFE)
    return tuple(count * factor for count in buckets)

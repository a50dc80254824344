"""
Recent stable's histogram, and what "1.05 times slower" does to it.

A histogram does not say where in a bucket its requests lie, yet a tolerance of a few percent moves some of them over
the bound. Between two bounds the distribution is interpolated linearly in (log latency, probit): a straight line is
a log-normal piece. Linear interpolation, as histogram_quantile does it, would make the tail's tolerance several times
too generous.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import fsum, log
from statistics import NormalDist

HALF_LIFE = 1800.0
"""Seconds of wall time after which a request of stable counts half."""
ENOUGH = 200.0
"""Requests of recent stable below which no latency is judged."""
UPPER, LOWER, BEYOND, LIMIT_MS = 0.98, 0.002, 4, 10_000.0
"""Bounds that are judged: survival at most UPPER, up to BEYOND bounds past LOWER, none above LIMIT_MS."""

SMOOTH, SHARP = 1.5, 2.5
"""A bucket this many times as steep as what is around it begins to look like a spike, and certainly is one."""
FEW, MANY = 0.1, 0.3
"""Shares of the two buckets at a bound: what so few do is not asked, and so many may be a spike."""
KEPT = 256
"""Shapes and bets that are kept ready; they are made anew whenever they are missing, with the same bits."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Shape:
    """
    Recent stable at its bounds.

    ``below`` is the share of requests at or below each, kept off 0 and 1; ``probits`` are its normal quantiles, and
    ``slopes`` how much they rise per unit of log latency in the bucket that ends at each.
    """

    bounds: tuple[float, ...]
    below: tuple[float, ...]
    probits: tuple[float, ...]
    slopes: tuple[float, ...]

    def above(self, index: int) -> float:
        """Share of requests above the bound."""
        return 1 - self.below[index]

    def bucket(self, index: int) -> float:
        """Share of requests in the bucket that ends at the bound."""
        return self.below[index] - (self.below[index - 1] if index else 0.0)


@lru_cache(maxsize=KEPT)
def shape_of(bounds: tuple[float, ...], buckets: tuple[float, ...]) -> Shape:
    """The shape of a histogram with requests in it (not cumulative, one bucket more than bounds)."""
    requests = fsum(buckets)
    least = min(0.5, 0.5 / requests)
    below, sum_ = [], 0.0
    for count in buckets[:-1]:
        sum_ += count
        below.append(min(max(sum_ / requests, least), 1 - least))
    probits = tuple(map(_NORMAL.inv_cdf, below))
    slopes = [(probits[0] - _NORMAL.inv_cdf(below[0] / 2)) / log(2)]  # the first bucket is taken as uniform
    for (former, start), (bound, end) in pairwise(zip(bounds, probits, strict=True)):
        slopes.append((end - start) / log(bound / former))
    return Shape(bounds, tuple(below), probits, tuple(slopes))


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
    held = shape.bucket(index)
    if held <= 0:
        return min(1.0, (bound - edge) / (bound - former))
    at_edge = _NORMAL.cdf(shape.probits[index] - shape.slopes[index] * log(times))
    return min(1.0, max(0.0, (shape.below[index] - at_edge) / held))


def crossing(shape: Shape, index: int, times: float) -> float:
    """
    Share of the bucket's requests that may cross its upper bound when everything takes ``times`` as long.

    Never less than :func:`moved`, because a histogram cannot see how requests lie in a bucket. The slope at the bound
    is taken to be the steeper one of the two buckets that meet there. And where these hold many requests and rise far
    more steeply than the buckets around them, they may hold a spike (48 ms give or take 5 %, a bound at 50 ms): all of
    it may cross. A log-normal, however wide, is as steep everywhere and loses nothing.
    """
    held = shape.bucket(index)
    usual = moved(shape, index, times)
    if held <= 0:
        return usual
    steepest = max(shape.slopes[index : index + 2])
    steep = (shape.below[index] - _NORMAL.cdf(shape.probits[index] - steepest * log(times))) / held
    usual = min(1.0, max(usual, steep))
    around = max(shape.slopes[index - 1] if index else 0.0, *shape.slopes[index + 2 : index + 3], 0.0)
    pair = held + (shape.bucket(index + 1) if index + 1 < len(shape.bounds) else 0.0)
    spike = _ramp(steepest, SMOOTH * around, SHARP * around) * _ramp(pair, FEW, MANY)
    return usual + spike * (1 - usual)


def below_at(shape: Shape, latency: float) -> float:
    """Share of requests at or below ``latency`` (ms, at most the last bound), interpolated."""
    index = bisect_left(shape.bounds, latency)
    if index == 0:
        return shape.below[0] * latency / shape.bounds[0]
    return _NORMAL.cdf(shape.probits[index] - shape.slopes[index] * log(shape.bounds[index] / latency))


def _ramp(value: float, start: float, end: float) -> float:
    """0 up to ``start``, 1 from ``end`` on, a straight line between."""
    return min(1.0, max(0.0, (value - start) / (end - start))) if end > start else float(value > start)


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


@lru_cache(maxsize=KEPT)
def nearest(buckets: tuple[float, ...], share: float) -> int:
    """Index of the bound above which the share of requests is nearest to ``share``."""
    requests, places = fsum(buckets), range(len(buckets) - 1)
    return min(places, key=lambda index: abs(fsum(buckets[index + 1 :]) / requests - share))


def too_close(bounds: tuple[float, ...], times: float) -> tuple[float, float] | None:
    """The first two bounds (ms) that are less than ``times`` apart: a request could then cross both at once."""
    return next(((low, high) for low, high in pairwise(bounds) if high < low * times), None)


def faded(buckets: tuple[float, ...], seconds: float) -> tuple[float, ...]:
    """The buckets after ``seconds`` of wall time."""
    factor = 0.5 ** (max(0.0, seconds) / HALF_LIFE)
    return tuple(count * factor for count in buckets)

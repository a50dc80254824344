"""
Load shapes: requests a second as a pure function of the seconds since the load began.

The load generator draws its arrivals from it, in open loop: what the shape says leaves, whatever comes back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi

Shape = Callable[[float], float]
"""Seconds since the load began -> requests a second, 0 or more."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same rate at all times."""

    rps: float

    def __call__(self, seconds: float) -> float:  # noqa: ARG002  # a shape takes the time
        return self.rps


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A day in ``period`` seconds: a cosine that begins at ``low``, its night, and is at ``high`` half a day later."""

    low: float
    high: float
    period: float

    def __call__(self, seconds: float) -> float:
        return self.low + (self.high - self.low) * (1 - cos(2 * pi * seconds / self.period)) / 2


@dataclass(frozen=True, slots=True)
class Spikes:
    """``base``, and once in every ``every`` seconds ``peak`` for ``lasting``; when within them the seed says."""

    base: float
    peak: float
    every: float
    lasting: float
    seed: int = 0

    def __call__(self, seconds: float) -> float:
        turn, within = divmod(seconds, self.every)
        begins = self.begins(int(turn))
        return self.peak if begins <= within < begins + self.lasting else self.base

    def begins(self, turn: int) -> float:
        """Seconds into the ``turn``-th stretch at which its spike begins; all of it lies within the stretch."""
        return random.Random(f"{self.seed} {turn}").uniform(0, self.every - self.lasting)


@dataclass(frozen=True, slots=True)
class Ramp:
    """From ``start`` to ``end`` in a straight line over ``over`` seconds, and ``end`` from then on."""

    start: float
    end: float
    over: float

    def __call__(self, seconds: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, max(0.0, seconds / self.over))


@dataclass(frozen=True, slots=True)
class Steps:
    """(rate, seconds) one after the other; the last rate stays."""

    stretches: Sequence[tuple[float, float]]

    def __call__(self, seconds: float) -> float:
        for rate, length in self.stretches:
            if seconds < length:
                return rate
            seconds -= length
        return self.stretches[-1][0]

"""
Populations to draw cells from, and cells written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from math import log

import numpy as np
from scipy.stats import norm

from canaryd.judge import JudgeState, advance, begin
from canaryd.model.cells import Cell, Counts, Gap, Value
from canaryd.model.plan import Analysis
from canaryd.model.traffic import Split

MILLISECONDS = "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000"
BOUNDS = tuple(map(float, MILLISECONDS.split()))
"""Istio's default bucket bounds, which are Envoy's."""

LAB = Analysis(
    cell=timedelta(seconds=2), scrape=timedelta(seconds=1), settle=timedelta(seconds=4), warmup=timedelta(seconds=10)
)
"""Short cells; alpha, beta, tolerances and margins are the defaults."""


def lognormal(median: float, p99: float) -> np.ndarray:
    """Bucket probabilities of a log-normal latency in milliseconds."""
    sigma = log(p99 / median) / norm.ppf(0.99)
    below = norm.cdf((np.log(BOUNDS) - log(median)) / sigma)
    return np.diff(np.concatenate([[0], below, [1]]))


def counts(requests: float = 0, errors: float = 0, buckets: tuple[float, ...] = ()) -> Counts:
    return Counts(float(requests), float(errors), tuple(map(float, buckets)))


def cell(
    index: int = 0,
    percent: float = 25,
    canary: Counts | None = None,
    stable: Counts | None = None,
    segment: int = 1,
    seconds: float = 15,
    bounds: tuple[float, ...] = (),
    settled: bool = True,
    unattributed: float = 0,
    values: tuple[Value, ...] = (),
) -> Cell:
    """A cell written by hand; by default 100 and 300 requests without errors."""
    return Cell(
        segment=segment,
        start=index * seconds,
        end=(index + 1) * seconds,
        split=Split.percent(percent),
        settled=settled,
        bounds_ms=bounds,
        stable=stable or counts(300),
        canary=canary or counts(100),
        unattributed=float(unattributed),
        values=values,
    )


def gap(index: int = 0, percent: float = 25, segment: int = 1, seconds: float = 15) -> Gap:
    return Gap(segment, index * seconds, (index + 1) * seconds, Split.percent(percent), True, "no answer")


def folded(analysis: Analysis, cells: list[Cell | Gap] | Iterator[Cell | Gap]) -> JudgeState:
    state = begin(analysis)
    for one in cells:
        state = advance(analysis, state, one)
    return state


@dataclass
class World:
    """
    Independent requests of two versions, drawn cell by cell.

    ``failing`` are the chances to fail of (stable, canary) at a moment, ``shapes`` their bucket probabilities then;
    ``dead`` from when on no canary pod is left.
    """

    seed: int
    failing: Callable[[float], tuple[float, float]] = lambda moment: (0.001, 0.001)
    shapes: Callable[[float], tuple[np.ndarray, np.ndarray]] = field(
        default=lambda moment: (lognormal(20, 100), lognormal(20, 100))
    )
    rate: float = 300
    seconds: float = 2
    steps: tuple[tuple[float, float], ...] = ((0, 30), (5, 60), (25, 60), (50, 180))
    settle: float = 4
    dead: float = 1e9

    def cells(self) -> Iterator[Cell]:
        rng = np.random.default_rng(self.seed)
        start = 0.0
        for segment, (percent, length) in enumerate(self.steps):
            origin = start
            while start < origin + length:
                yield self._cell(rng, segment, start, percent, start >= origin + self.settle)
                start += self.seconds

    def _cell(self, rng: np.random.Generator, segment: int, start: float, percent: float, settled: bool) -> Cell:
        total = rng.poisson(self.rate * self.seconds)
        ours = rng.binomial(total, percent / 100)
        sides, unattributed = [], 0
        for requests, chance, shape in zip((total - ours, ours), self.failing(start), self.shapes(start), strict=True):
            if sides and start >= self.dead:
                requests, unattributed = 0, requests
            failed = rng.binomial(requests, chance)
            sides.append(counts(requests, failed, tuple(rng.multinomial(requests - failed, shape))))
        return Cell(
            segment, start, start + self.seconds, Split.percent(percent), settled, BOUNDS, *sides, float(unattributed)
        )


@dataclass(frozen=True)
class Ending:
    """How a simulated run ended: the split in percent and the moment of failure, or None."""

    state: JudgeState
    at: float | None = None
    percent: float | None = None


def played(world: World, analysis: Analysis = LAB) -> Ending:
    """The judge over a world, until it fails the canary."""
    state = begin(analysis)
    for one in world.cells():
        state = advance(analysis, state, one)
        if state.failure:
            return Ending(state, one.end, one.split.share * 100)
    return Ending(state)

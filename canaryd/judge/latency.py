"""
Latency against stable: for each bucket bound, the share of requests above it.

The score of a request is a step: low at or below the bound, high above it. With recent stable's tolerated shape one
asks for the odds of being above the bound to be o times what is tolerated; all bounds together test whether the canary
is slower anywhere. A bad guess of the shape costs power and never validity: for step scores (g_lo, g_hi)

    log E = sum_j x_c[j] log(1 + g_j) + sum_j x_s[j] log(1 - rho g~_j) - n_c d (g_hi - g_lo),   g~ = T'g,

has an expectation of at most 1 whatever stable's distribution is in this cell, where T moves a known share ``phi`` of
the bucket below the bound across it. g_hi > g_lo asks for harm, g_hi < g_lo for its absence.

Counts are of requests that did not fail: errors that are fast do not make a version fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, log, log1p

from canaryd.judge.histogram import Shape, moved
from canaryd.model.plan import Tolerance

ODDS = (1.6, 3.0, 12.0, 60.0)
"""Alternatives: how many times the tolerated odds of being above the bound. The last only where few are."""
RARE = 0.01
"""Survival below which the last of the odds is played."""
PROOF_PARTS = (0.08, 0.3, 0.6)
"""Alternatives of the proof: how far from stable towards the margin, with equal priors."""

NEARLY_ALL = 0.9995
"""Survival at the margin, at most: keeps the bet finite where nearly every request is above the bound."""


@dataclass(frozen=True, slots=True)
class Step:
    """One side of a cell about one bound: requests under the bucket that ends at it, in it, above it, and all."""

    under: float
    edge: float
    above: float
    requests: float


@dataclass(frozen=True, slots=True)
class Null:
    """What is tolerated at the bound at ``index``: a share ``above`` it, ``phi`` of its bucket having crossed."""

    index: int
    phi: float
    above: float


def step_at(buckets: tuple[float, ...], index: int) -> Step:
    """The counts of one side about the bound at ``index``."""
    return Step(fsum(buckets[:index]), buckets[index], fsum(buckets[index + 1 :]), fsum(buckets))


def nulls(shape: Shape, indices: tuple[int, ...], times: float) -> tuple[Null, ...]:
    """Recent stable ``times`` as slow, at each of the bounds."""
    found = []
    for index in indices:
        phi = moved(shape, index, times)
        found.append(Null(index, phi, shape.above(index) + phi * shape.bucket(index)))
    return tuple(found)


def log_e(canary: Step, stable: Step, phi: float, ratios: tuple[float, float], plus: float) -> float:
    """
    The log e-value of a cell at one bound; both sides have requests.

    ``ratios`` are the likelihood ratios of the alternative to the null (at or below the bound, above it), ``phi`` the
    share of the bucket at the edge that the tolerance or margin moves across.
    """
    rho = canary.requests / stable.requests
    low = (ratios[0] - 1) / (1 + rho * ratios[0])
    high = (ratios[1] - 1) / (1 + rho * ratios[1])
    return (
        canary.above * log1p(high)
        + (canary.under + canary.edge) * log1p(low)
        + stable.above * log1p(-rho * high)
        + stable.edge * log1p(-rho * (low + phi * (high - low)))
        + stable.under * log1p(-rho * low)
        - canary.requests * plus * (high - low)
    )


def prior(active: tuple[Null, ...], bounds: int) -> tuple[float, ...]:
    """Shares of the mass laid now, one per (bound, odds): equal among those that are played."""
    played = [0.0] * (bounds * len(ODDS))
    for null in active:
        for place in range(len(ODDS) if null.above < RARE else len(ODDS) - 1):
            played[null.index * len(ODDS) + place] = 1.0
    count = fsum(played)
    return tuple(share / count for share in played) if count else tuple(played)


def harm(
    canary: tuple[float, ...], stable: tuple[float, ...], active: tuple[Null, ...], tolerance: Tolerance
) -> tuple[float, ...]:
    """Log e-values against "no slower than tolerated", one per (bound, odds); 0 where a bound is not active."""
    values = [0.0] * ((len(canary) - 1) * len(ODDS))
    for null in active:
        ours, theirs = step_at(canary, null.index), step_at(stable, null.index)
        for place, odds in enumerate(ODDS):
            spread = 1 - null.above + odds * null.above
            ratios = (1 / spread, odds / spread)
            values[null.index * len(ODDS) + place] = log_e(ours, theirs, null.phi, ratios, tolerance.plus)
    return tuple(values)


def proof(
    canary: tuple[float, ...], stable: tuple[float, ...], shape: Shape, null: Null, margin: Tolerance
) -> tuple[float, ...]:
    """Log e-values against "slower than the margin at this bound", one per alternative; ``null`` is at the margin."""
    worst = min(null.above + margin.plus, NEARLY_ALL)
    now = min(shape.above(null.index), worst)
    ours, theirs = step_at(canary, null.index), step_at(stable, null.index)
    values = []
    for part in PROOF_PARTS:
        better = now + part * (worst - now)
        ratios = ((1 - better) / (1 - worst), better / worst)
        values.append(log_e(ours, theirs, null.phi, ratios, margin.plus))
    return tuple(values)


def fresh_row() -> tuple[float, ...]:
    """The proof's capital at a bound before its first cell: 1, in equal parts."""
    return (-log(len(PROOF_PARTS)),) * len(PROOF_PARTS)

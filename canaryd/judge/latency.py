"""
Latency against stable: how many requests lie above each bucket bound, and how far all or some have moved.

A request scores g[j] by its bucket j, more the slower it was. Bets are of two kinds. A *step* scores low at or below
one bound and high above it: it asks for the odds of being above to be o times what is tolerated. A *shift* scores as
if all requests, or one in fifty, took k times as long as recent stable's tolerated shape, and so gathers what is little
at each bound. A bad guess of the shape costs power and never validity: for scores that do not fall,

    log E = sum_j x_c[j] log(1 + g[j]) + sum_j x_s[j] log(1 - rho g~[j]) - n_c d (g_max - g_min),   g~ = T'g,

has an expectation of at most 1 whatever stable's distribution is in this cell, where T moves a known share ``phi`` of
each bucket across the bound above it. Scores that do not rise ask the other question, for the absence of harm.

Counts are of requests that did not fail: errors that are fast do not make a version fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import fsum, log, log1p

from canaryd.judge.histogram import KEPT, Shape, active_bounds, below_at, crossing, moved
from canaryd.model.plan import Tolerance
from canaryd.model.traffic import Split

ODDS = (1.6, 3.0, 12.0, 60.0)
"""Steps: how many times the tolerated odds of being above the bound."""
COMMON, RARE = 0.3, 0.01
"""Survival above which only the first two of the odds are played, and below which only the last three."""
SLOWER = ((1.0, 1.15), (1.0, 1.35), (1.0, 2.0), (0.02, 8.0), (0.02, 50.0))
"""Shifts: which part of the requests takes how many times as long as tolerated."""
CAPS = (1.5, 2.0, 3.0, 5.0, 10.0, 40.0)
"""Likelihood ratios at which a shift is cut: an uncapped tail costs more by its share of tolerated requests."""
FLOOR = 0.02
"""Likelihood ratio of the fastest requests, at least: no single one of them may cost everything."""
SHIFTS_SHARE = 0.6
"""Share of the mass that is laid on shifts."""
PROOF_PARTS = (0.08, 0.3, 0.6)
"""Alternatives of the proof: how far from stable towards the margin, with equal priors."""

NEARLY_ALL = 0.9995
"""Survival at the margin, at most: keeps the bet finite where nearly every request is above the bound."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a cell: requests per bucket, how many are at or below each bound, and all of them."""

    buckets: tuple[float, ...]
    below: tuple[float, ...]
    requests: float


@dataclass(frozen=True, slots=True)
class Null:
    """What is tolerated at the bound at ``index``: a share ``above`` it, ``phi`` of its bucket having crossed."""

    index: int
    phi: float
    above: float


@dataclass(frozen=True, slots=True)
class Bets:
    """
    What is played against "no slower than tolerated" in a cell: ``nulls`` of the steps, and likelihood ratios per
    bucket for each shift, empty where one promises nothing. ``phis`` are the shares that may cross each bound, and
    ``prior`` the shares of the mass that is laid, one per component.
    """

    nulls: tuple[Null, ...]
    phis: tuple[float, ...]
    shifts: tuple[tuple[float, ...], ...]
    prior: tuple[float, ...]


def side(buckets: tuple[float, ...]) -> Side:
    """One side's counts, summed up once."""
    below = tuple(accumulate(buckets))
    return Side(buckets, below, below[-1])


@lru_cache(maxsize=KEPT)
def bets(shape: Shape, tolerance: Tolerance, split: Split) -> Bets:
    """The bets that recent stable suggests; ``split`` decides how high a shift may play."""
    phis = tuple(crossing(shape, index, tolerance.times) for index in range(len(shape.bounds)))
    nulls = tuple(_null(shape, index, phis[index]) for index in active_bounds(shape))
    if not nulls:
        return Bets(nulls, phis, ((),) * len(SLOWER), ())
    judged = nulls[0].index, nulls[-1].index
    shifts = tuple(_shift(shape, phis, tolerance, shift, split, judged) for shift in SLOWER)
    return Bets(nulls, phis, shifts, _prior(nulls, shifts, len(phis)))


@lru_cache(maxsize=KEPT)
def margins(shape: Shape, indices: tuple[int, ...], times: float) -> tuple[Null, ...]:
    """Recent stable exactly ``times`` as slow, at each of the bounds."""
    return tuple(_null(shape, index, moved(shape, index, times)) for index in indices)


def components(bounds: int) -> int:
    """How many bets there are with so many bucket bounds: steps bound by bound, then the shifts."""
    return bounds * len(ODDS) + len(SLOWER)


def harm(canary: Side, stable: Side, played: Bets, tolerance: Tolerance) -> tuple[float, ...]:
    """Log e-values against "no slower than tolerated", one per component; 0 where one is not played."""
    values = [0.0] * components(len(played.phis))
    for null in played.nulls:
        for place, odds in _steps(null):
            spread = 1 - null.above + odds * null.above
            values[place] = step_log_e(canary, stable, null, (1 / spread, odds / spread), tolerance.plus)
    for place, ratios in enumerate(played.shifts, len(played.phis) * len(ODDS)):
        if ratios:
            values[place] = shift_log_e(canary, stable, ratios, played.phis, tolerance.plus)
    return tuple(values)


def step_log_e(canary: Side, stable: Side, null: Null, ratios: tuple[float, float], plus: float) -> float:
    """
    The log e-value of a cell at one bound; both sides have requests.

    ``ratios`` are the likelihood ratios of the alternative to the null (at or below the bound, above it).
    """
    rho = canary.requests / stable.requests
    low = (ratios[0] - 1) / (1 + rho * ratios[0])
    high = (ratios[1] - 1) / (1 + rho * ratios[1])
    ours, theirs, edge = canary.below[null.index], stable.below[null.index], stable.buckets[null.index]
    return (
        (canary.requests - ours) * log1p(high)
        + ours * log1p(low)
        + (stable.requests - theirs) * log1p(-rho * high)
        + edge * log1p(-rho * (low + null.phi * (high - low)))
        + (theirs - edge) * log1p(-rho * low)
        - canary.requests * plus * (high - low)
    )


def shift_log_e(canary: Side, stable: Side, ratios: tuple[float, ...], phis: tuple[float, ...], plus: float) -> float:
    """The log e-value of a cell for likelihood ratios per bucket that do not fall; both sides have requests."""
    rho = canary.requests / stable.requests
    scores = [(ratio - 1) / (1 + rho * ratio) for ratio in ratios]
    ours = [count * log1p(score) for count, score in zip(canary.buckets, scores, strict=True) if count]
    theirs = [
        count * log1p(-rho * score)
        for count, score in zip(stable.buckets, tolerated(scores, phis), strict=True)
        if count
    ]
    return fsum(ours) + fsum(theirs) - canary.requests * plus * (scores[-1] - scores[0])


def tolerated(scores: Sequence[float], phis: Sequence[float]) -> list[float]:
    """T'g: what a request of stable scores on average when a share ``phis[j]`` of bucket j crosses its bound."""
    moved_on = [low + phi * (high - low) for phi, (low, high) in zip(phis, pairwise(scores), strict=True)]
    return [*moved_on, scores[-1]]


def proof(canary: Side, stable: Side, shape: Shape, null: Null, margin: Tolerance) -> tuple[float, ...]:
    """Log e-values against "slower than the margin at this bound", one per alternative; ``null`` is at the margin."""
    worst = min(null.above + margin.plus, NEARLY_ALL)
    now = min(shape.above(null.index), worst)
    values = []
    for part in PROOF_PARTS:
        better = now + part * (worst - now)
        ratios = ((1 - better) / (1 - worst), better / worst)
        values.append(step_log_e(canary, stable, null, ratios, margin.plus))
    return tuple(values)


def fresh_row() -> tuple[float, ...]:
    """The proof's capital at a bound before its first cell: 1, in equal parts."""
    return (-log(len(PROOF_PARTS)),) * len(PROOF_PARTS)


def _prior(nulls: tuple[Null, ...], shifts: tuple[tuple[float, ...], ...], bounds: int) -> tuple[float, ...]:
    """Shares of the mass laid now, one per component: equal among the steps, and among the shifts, that are played."""
    steps = [0.0] * (bounds * len(ODDS))
    for null in nulls:
        for place, _ in _steps(null):
            steps[place] = 1.0
    played = [1.0 if ratios else 0.0 for ratios in shifts]
    some = SHIFTS_SHARE if fsum(played) else 0.0
    return (*_shared(steps, 1 - some), *_shared(played, some))


def _steps(null: Null) -> Iterator[tuple[int, float]]:
    """(component, odds) of the steps that are played at a bound."""
    first = 1 if null.above < RARE else 0
    played = ODDS[first : 2 if null.above > COMMON else first + 3]
    return enumerate(played, null.index * len(ODDS) + first)


def _null(shape: Shape, index: int, phi: float) -> Null:
    return Null(index, phi, shape.above(index) + phi * shape.bucket(index))


def _shift(
    shape: Shape,
    phis: tuple[float, ...],
    tolerance: Tolerance,
    shift: tuple[float, float],
    split: Split,
    judged: tuple[int, int],
) -> tuple[float, ...]:
    """
    Likelihood ratios per bucket of a ``shift``, (part, times), of what is tolerated; empty if no cap promises growth.

    They are made not to fall, as the null asks, and are cut at the cap that promises most. What lies outside of the
    bounds that are judged is one bucket on either side: ratios of next to nothing are noise.
    """
    first, last = judged
    part, times = shift
    judged_ones = range(first, last + 1)
    moving = [phis[index] * shape.bucket(index) for index in judged_ones]
    usual = _masses([shape.below[index] for index in judged_ones])
    null = _masses([shape.below[index] - crossed for index, crossed in zip(judged_ones, moving, strict=True)])
    gone = _masses([below_at(shape, shape.bounds[index] / (tolerance.times * times)) for index in judged_ones])
    there = [part * slow + (1 - part) * one for slow, one in zip(gone, null, strict=True)]
    rising = list(accumulate((max(FLOOR, _ratio(*each)) for each in zip(there, null, strict=True)), max))
    rho = split.share / (1 - split.share) if split.share < 1 else 1.0
    best = 0.0
    chosen: list[float] = []
    for cap in CAPS:
        cut = [min(cap, ratio) for ratio in rising]
        mean = fsum([share * ratio for share, ratio in zip(null, cut, strict=True)])
        scaled = [ratio / mean for ratio in cut]
        growth = _growth(usual, moving, there, scaled, rho, tolerance.plus)
        if growth > best:
            best, chosen = growth, scaled
        if cap >= rising[-1]:
            break  # no higher one cuts anything
    if not chosen:
        return ()
    return (*[chosen[0]] * first, *chosen, *[chosen[-1]] * (len(phis) - 1 - last))


def _growth(
    usual: Sequence[float],
    moving: Sequence[float],
    there: Sequence[float],
    ratios: Sequence[float],
    rho: float,
    plus: float,
) -> float:
    """
    Log capital that a request of the canary earns on average if it is ``there`` while stable is as ``usual``.

    ``moving`` is the share of all that is tolerated to cross each bound.
    """
    scores = [(ratio - 1) / (1 + rho * ratio) for ratio in ratios]
    ours = fsum([share * log1p(score) for share, score in zip(there, scores, strict=True)])
    theirs = [share * log1p(-rho * score) for share, score in zip(usual, scores, strict=True)]
    crossed = [
        share * (high - low) / (1 - rho * low) for share, (low, high) in zip(moving, pairwise(scores), strict=True)
    ]
    return ours + fsum(theirs) / rho - fsum(crossed) - plus * (scores[-1] - scores[0])


def _masses(below: Sequence[float]) -> list[float]:
    """Shares between the bounds, those below the first and above the last included."""
    return [max(0.0, high - low) for low, high in pairwise((0.0, *below, 1.0))]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _shared(weights: list[float], whole: float) -> tuple[float, ...]:
    sum_ = fsum(weights)
    return tuple(whole * weight / sum_ for weight in weights) if sum_ else tuple(weights)

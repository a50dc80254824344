"""
The rules that are compared, each as its project documents it; canaryd's is the judge itself.

A rule sees the cells of its own path and says after each: continue, hold (the step's bake does not advance), rollback
or promote. What a newcomer would get wrong: all of them walk the same ramp, so that what differs is the verdict, not
the courage. None is tuned to the scenarios.

Published descriptions: Flagger, docs "Metrics Analysis" and "How it works" (interval, threshold, request-success-rate
and request-duration); Argo Rollouts, docs "Analysis & Progressive Delivery" (failureLimit); Kayenta, docs
"canary-config" and the judge NetflixACAJudge-v1.0 (Mann-Whitney with 98 % intervals, tolerance 0.25, scores).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isnan, log, nan, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from bench.judge.scenarios import BOUNDS_MS, HISTORY, STEP, WEIGHTS, Draw, Side
from canaryd.judge.alone import Rules, Sample, Standing, play
from canaryd.model.cells import Counts
from canaryd.model.plan import Analysis
from canaryd.model.traffic import NOTHING, Split

Floats = NDArray[np.float64]
Answer = Literal["continue", "hold", "rollback", "promote", "inconclusive"]

LOWER = np.array([0.0, *BOUNDS_MS])
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """One cell of a rule's path: [errors, each bucket] of both sides, with the requests and the true shares."""

    place: int
    level: int
    canary: float
    canary_errors: float
    canary_buckets: Floats
    stable: float
    stable_errors: float
    stable_buckets: Floats


class Rule(ABC):
    """One rule in one repetition. ``baked`` is how many seconds the present step has had."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    @abstractmethod
    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        """The answer after a cell; promotion is only heard on the ``last`` step."""


class Canaryd(Rule):
    """The judge, through the same code as ``canaryd judge``."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._rules = Rules(Analysis(), {}, inf)
        self._standing: Standing | None = None
        nobody = (0.0,) * (len(BOUNDS_MS) + 1)
        for place in range(HISTORY // draw.seconds):
            past = draw.past
            stable = _counts(past, (place, 0))
            self._play(place * draw.seconds - HISTORY, NOTHING, stable, Counts(0.0, 0.0, nobody))

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:  # noqa: ARG002  # it keeps its own count
        draw, at = self.draw, (seen.place, seen.level)
        return self._play(
            seen.place * draw.seconds,
            Split.percent(WEIGHTS[seen.level]),
            _counts(draw.stable, at),
            _counts(draw.canary, at),
        )

    def _play(self, start: float, split: Split, stable: Counts, canary: Counts) -> Answer:
        sample = Sample(start, self.draw.seconds, split, BOUNDS_MS, stable, canary)
        self._standing, ruling = play(self._rules, self._standing, sample)
        return ruling.decision


def _counts(side: Side, at: tuple[int, int]) -> Counts:
    """What canaryd is told of a side in one cell; pods as they count themselves."""
    pods = tuple((float(requests), float(errors)) for requests, errors in side.pods[at] if requests)
    return Counts(float(side.requests[at]), float(side.errors[at]), tuple(side.buckets[at].tolist()), pods)


class Window:
    """What was seen in the last seconds, as a query over a range gives it."""

    def __init__(self, seconds: int, every: int) -> None:
        self._cells = max(1, seconds // every)
        self._seen: list[Seen] = []

    def add(self, seen: Seen) -> None:
        self._seen = [*self._seen, seen][-self._cells :]

    def success(self) -> float:
        """Share of the canary's requests that did not fail; NaN without any."""
        requests = sum(seen.canary for seen in self._seen)
        return 1 - sum(seen.canary_errors for seen in self._seen) / requests if requests else nan

    def p99(self) -> float:
        """The canary's 99th percentile (ms), interpolated as ``histogram_quantile`` does it; NaN without requests."""
        return quantile(np.sum([seen.canary_buckets for seen in self._seen], axis=0), 0.99)


def quantile(buckets: Floats, share: float) -> float:
    """Prometheus' histogram_quantile on counts per bucket."""
    total = float(buckets.sum())
    if not total:
        return nan
    reached = np.cumsum(buckets)
    place = int(np.searchsorted(reached, share * total))
    if place >= len(BOUNDS_MS):
        return BOUNDS_MS[-1]
    before = reached[place - 1] if place else 0.0
    inside = (share * total - before) / buckets[place] if buckets[place] else 1.0
    return float(LOWER[place] + (LOWER[place + 1] - LOWER[place]) * inside)


class Flagger(Rule):
    """
    Flagger's documented Istio example: success rate >= 99 %, p99 <= 500 ms over a minute, threshold 5.

    A failed check halts the weight; failures add up over the whole run; the fifth is acted upon at the next tick. No
    traffic is a failed check.
    """

    THRESHOLD = 5

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._window = Window(MINUTE, draw.seconds)
        self._failed = 0

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        if self._failed >= self.THRESHOLD:
            return "rollback"
        self._window.add(seen)
        if not (self._window.success() >= 0.99 and self._window.p99() <= 500):
            self._failed += 1
            return "hold"
        return _ready(baked, last=last)


class Argo(Rule):
    """
    A background analysis of Argo Rollouts: measured every ``every`` seconds over as long, failed more than
    ``limit`` times in all is a rollback. The weight goes on meanwhile.
    """

    every, least, p99, limit = 300, 0.95, inf, 3

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._every = max(self.every, draw.seconds)
        self._window = Window(self._every, draw.seconds)
        self._failed = 0

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        self._window.add(seen)
        if (seen.place + 1) * self.draw.seconds % self._every == 0:
            slow = self._window.p99()
            self._failed += not (self._window.success() >= self.least and (slow <= self.p99 or isnan(slow)))
        return "rollback" if self._failed > self.limit else _ready(baked, last=last)


class TightArgo(Argo):
    """The same with the limits and the interval of Flagger's example; Argo's own example misses nearly everything."""

    every, least, p99 = MINUTE, 0.99, 500.0


def _ready(baked: int, *, last: bool) -> Answer:
    return "promote" if last and baked >= STEP else "continue"


class Kayenta(Rule):
    """
    A standalone canary analysis: at the end of each step, over all minutes so far, intermediate scores at or below
    75 fail, and the last one needs 95.

    Two groups of weight 50: errors (the error rate), and latency (p50 and p99 of those that did not fail). One point a
    minute, whatever the traffic.
    """

    MARGINAL, PASS = 75.0, 95.0

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._minute: list[Seen] = []
        self._points: list[tuple[tuple[float, float], ...]] = []

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        self._minute.append(seen)
        if len(self._minute) * self.draw.seconds >= MINUTE:
            self._points.append(_point(self._minute))
            self._minute = []
        if baked < STEP:
            return "continue"
        score = self._score()
        if score <= self.MARGINAL or (last and score < self.PASS):
            return "rollback"
        return "promote" if last else "continue"

    def _score(self) -> float:
        labels = []
        for metric in range(3):
            canary = np.array([point[metric][0] for point in self._points])
            stable = np.array([point[metric][1] for point in self._points])
            labels.append(classify(canary[~np.isnan(canary)], stable[~np.isnan(stable)]))
        if labels.count("nodata") * 2 >= len(labels):
            return 0.0
        return 0.5 * _group(labels[:1]) + 0.5 * _group(labels[1:])


def _point(minute: list[Seen]) -> tuple[tuple[float, float], ...]:
    """(canary, stable) of error rate, p50 and p99 in one minute."""
    ours, theirs = sum(s.canary for s in minute), sum(s.stable for s in minute)
    canary = np.sum([s.canary_buckets for s in minute], axis=0)
    stable = np.sum([s.stable_buckets for s in minute], axis=0)
    return (
        (
            sum(s.canary_errors for s in minute) / ours if ours else nan,
            sum(s.stable_errors for s in minute) / theirs if theirs else nan,
        ),
        (quantile(canary, 0.5), quantile(stable, 0.5)),
        (quantile(canary, 0.99), quantile(stable, 0.99)),
    )


def _group(labels: list[str]) -> float:
    counted = [label for label in labels if label != "nodata"]
    return 100 * counted.count("pass") / len(counted) if counted else 100.0


def classify(canary: Floats, stable: Floats) -> str:
    """
    Kayenta's label of a metric for direction "increase": pass, high or nodata.

    High where the lower end of the 98 % interval of the shift exceeds a quarter of the Hodges-Lehmann estimate and the
    ratio of means is at least 1; a ratio that cannot be computed is ignored.
    """
    if not len(canary) or not len(stable):
        return "nodata"
    if len(np.unique(np.concatenate([canary, stable]))) == 1:
        return "pass"
    if len(canary) == len(stable) and np.array_equal(np.sort(canary), np.sort(stable)):
        return "pass"
    low, estimate = shift(canary, stable)
    means = canary.mean(), stable.mean()
    effect = means[0] / means[1] if all(means) else nan
    high = low > 0.25 * abs(estimate) and (isnan(effect) or effect >= 1)
    return "high" if high else "pass"


def shift(canary: Floats, stable: Floats, level: float = 0.98) -> tuple[float, float]:
    """
    Lower end of the interval of the location shift, and the Hodges-Lehmann estimate, as R's wilcox.test finds them.

    Both are roots of a step function, looked for with Brent's method to within 1e-4, which decides the answer where
    most values are equal (spinnaker#6278). SciPy's Brent stands in for Kayenta's port of R's.
    """
    if np.ptp(canary) == 0 and np.ptp(stable) == 0:
        return float(canary[0] - stable[0]), float(canary[0] - stable[0])
    least, most = float(canary.min() - stable.max()), float(canary.max() - stable.min())
    z = float(norm.ppf(1 - (1 - level) / 2))

    n, m, rising = len(canary), len(stable), np.sort(stable)

    def statistic(mu: float, quantile_: float) -> float:
        moved = canary - mu
        wins = rising.searchsorted(moved, "left").sum() + rising.searchsorted(moved, "right").sum()
        w = float(wins) / 2 - n * m / 2
        _, ties = np.unique(np.concatenate([moved, stable]), return_counts=True)
        spread = sqrt(max(0.0, n * m / 12 * ((n + m + 1) - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))))
        return inf if not spread else float((w - 0.5 * np.sign(w)) / spread - quantile_)

    def root(quantile_: float) -> float:
        if statistic(least, quantile_) <= 0:
            return least
        if statistic(most, quantile_) >= 0:
            return most
        return float(brentq(statistic, least, most, args=(quantile_,), xtol=1e-4))

    return root(z), root(0.0)


class Fixed(Rule):
    """One z-test of pooled error rates and of pooled shares over 250 ms, when the ramp is over, each at half of 1 %."""

    ALPHA = 0.01
    SLOW = BOUNDS_MS.index(250.0) + 1

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._sums = np.zeros((2, 2, 2))

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        self._add(seen)
        if not (last and baked >= STEP):
            return "continue"
        return "rollback" if self._worse() else "promote"

    def _add(self, seen: Seen) -> None:
        """[metric, side, (bad, all)]"""
        canary, stable = seen.canary_buckets, seen.stable_buckets
        self._sums += [
            [[seen.canary_errors, seen.canary], [seen.stable_errors, seen.stable]],
            [[canary[self.SLOW :].sum(), canary.sum()], [stable[self.SLOW :].sum(), stable.sum()]],
        ]

    def _worse(self) -> bool:
        return any(_z(metric) > norm_bound(self.ALPHA / 2) for metric in self._sums)


class Peeking(Fixed):
    """The same test after every cell, as if each were the only one."""

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        self._add(seen)
        return "rollback" if self._worse() else _ready(baked, last=last)


def _z(sides: Floats) -> float:
    (bad, n), (bad_stable, m) = sides
    if not n or not m:
        return 0.0
    pooled = min(1.0, (bad + bad_stable) / (n + m))
    spread = sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return (bad / n - bad_stable / m) / spread if spread else 0.0


@lru_cache
def norm_bound(alpha: float) -> float:
    return float(norm.ppf(1 - alpha))


class Oracle(Rule):
    """Knows both sides' true rates in every cell, and what is harmless: it asks only which the canary is (Wald)."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(draw.truth[1]) - np.log(draw.truth[0])
        self._ratio = draw.faulty * np.nan_to_num(ratio, nan=0.0, posinf=700, neginf=-700)
        self._sum = 0.0

    def judge(self, seen: Seen, baked: int, *, last: bool) -> Answer:
        counts = np.concatenate([[seen.canary_errors], seen.canary_buckets])
        self._sum += float(counts @ self._ratio[seen.place, seen.level])
        return "rollback" if self._sum >= log(100) else _ready(baked, last=last)


RULES: dict[str, Callable[[Draw], Rule]] = {
    "canaryd": Canaryd,
    "flagger": Flagger,
    "argo": TightArgo,
    "argo, as in its docs": Argo,
    "kayenta": Kayenta,
    "z-test at the end": Fixed,
    "z-test at every look": Peeking,
    "oracle": Oracle,
}

"""
How much more requests vary together than independent ones would.

Retries, a pod that hiccups or a burst make failures come together; an e-value that takes them for independent then
promises more than it keeps. What is assumed here are two shapes at once, and an e-value that is valid for either:
failures in clumps of at most ``clump``, and negative-binomial counts (a chance to fail that differs from pod to pod or
from cell to cell) whose variance is 1 + ``canary`` and 1 + ``stable`` times that of independent requests.

How large these are is *estimated* from recent stable, so the promise on alpha is approximate where they are above
nothing. An estimate that is too large costs requests, never validity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import expm1, fsum, log1p, sqrt

from canaryd.judge.histogram import HALF_LIFE, KEPT
from canaryd.model.cells import Cell, Counts
from canaryd.model.judgement import PodScatter, Scatter, Scatters

EVENTS, PAIRS, REMEMBERED = 10.0, 8, 60
"""Cells are merged until EVENTS are to be expected; PAIRS of them say something; the last REMEMBERED are kept."""
FORGETTING = 0.9
"""What the rate so far counts beside the last merged cell."""
TRIMMED, TRIMMED_MEAN = 0.9, 0.623
"""The largest tenth is left out (an incident is not noise); what is left of independent requests has this mean."""
SURE = 2.5
"""Standard deviations: fewer would make one service in eight pay for scatter that it has not."""
LARGEST = 50.0
"""A dispersion beyond this is taken as this."""
PODS_FACTOR = 2.0
"""Pods differ by an estimate from few of them: twice of it is assumed."""
LEAST_PODS = 20.0
"""Degrees of freedom between pods below which nothing is said of them."""
HEAVIEST = 5.0
"""Minutes of the usual rate that a minute of many failures counts for at most."""
HICCUP = 60.0
"""Seconds that a pod's trouble is taken to last: what its requests of so long have in common is compared."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """``canary`` and ``stable`` are both 0 or both at least ``clump`` - 1: the bets are finite because of that."""

    clump: float = 1.0
    canary: float = 0.0
    stable: float = 0.0


INDEPENDENT = Dispersion()


def scattered(scatters: Scatters, bad: float, requests: float, seconds: float, place: int = 0) -> Scatters:
    """The scatter of stable after a cell of ``seconds``; ``place`` is the bucket bound that tells bad from good."""
    first, second = (_scattered(one, bad, requests, seconds, place) for one in scatters)
    return first, second


def _scattered(scatter: Scatter, bad: float, requests: float, seconds: float, place: int) -> Scatter:
    """
    One scatter after a cell.

    Where a merged cell ends is known from those before it: ending where events happen to be many would see scatter
    where there is none.
    """
    if place != scatter.place:
        scatter = Scatter(scatter.span, place)
    bad, requests, seconds = scatter.bad + bad, scatter.requests + requests, scatter.seconds + seconds
    seen = (scatter.seen_bad, scatter.seen_requests)
    share = seen[0] / seen[1] if seen[1] else 0.0
    full = requests * min(share, 1 - share) >= EVENTS if seen[1] else min(bad, requests - bad) >= EVENTS
    if not full or seconds < scatter.span:
        former = (scatter.former_bad, scatter.former_requests)
        return Scatter(scatter.span, place, bad, requests, seconds, *former, *seen, scatter.squares)
    squares = scatter.squares
    pooled_bad, pooled = bad + scatter.former_bad, requests + scatter.former_requests
    if scatter.former_requests and min(pooled_bad, pooled - pooled_bad) > EVENTS / 2:
        rate = pooled_bad / pooled
        variance = rate * (1 - rate) * (1 / requests + 1 / scatter.former_requests)
        difference = bad / requests - scatter.former_bad / scatter.former_requests
        squares = (*squares, difference**2 / variance)[-REMEMBERED:]
    seen = (FORGETTING * seen[0] + bad, FORGETTING * seen[1] + requests)
    return Scatter(scatter.span, place, 0.0, 0.0, 0.0, bad, requests, *seen, squares)


def over_time(scatters: Scatters) -> float | None:
    """
    How many times as much as independent requests stable varies over time; None with too little history.

    1 unless it is clearly more: SURE standard deviations of the estimate, whose squares share cells with their
    neighbours. What it varies from minute to minute counts where it is clearly more again.
    """
    found: float | None = None
    for one in scatters:
        if (known := len(one.squares)) >= PAIRS:
            less, this = found or 1.0, _over_time(one.squares)
            found = min(this, LARGEST) if this > less * (1 + SURE * sqrt(3 / known)) else less
    return found


@lru_cache(maxsize=KEPT)
def _over_time(squares: tuple[float, ...]) -> float:
    """The mean square of independent requests is 1."""
    kept = TRIMMED * len(squares)
    whole = int(kept)
    rising = sorted(squares)
    return (fsum(rising[:whole]) + (kept - whole) * rising[whole]) / kept / TRIMMED_MEAN


def scattered_pods(pods: PodScatter, counts: Counts, seconds: float, elapsed: float) -> PodScatter:
    """
    What is known of stable's pods after a cell of ``seconds``, the last of which ended ``elapsed`` seconds earlier.

    Pearson's chi-squared between them, of a hiccup's length at a time, summed up; pods that came or went begin anew. A
    minute weighs as much as fails in it, because it is failures that are judged: a pod's hiccup raises the rate of its
    own minute, and would be divided by what it did itself. An incident of all pods weighs HEAVIEST minutes at most.
    """
    gathered = counts.pods
    if len(pods.gathered) == len(counts.pods):
        gathered = tuple((a + c, b + d) for (a, b), (c, d) in zip(pods.gathered, counts.pods, strict=True))
        seconds += pods.seconds
    pods = _faded(pods, 0.5 ** (max(0.0, elapsed) / HALF_LIFE))
    if seconds < HICCUP:
        return replace(pods, gathered=gathered, seconds=seconds)
    serving = [(requests, failed) for requests, failed in gathered if requests >= 1]
    requests, failed = (fsum(side) for side in zip(*serving, strict=True)) if serving else (0.0, 0.0)
    pods = replace(pods, failures=pods.failures + failed, requests=pods.requests + requests)
    if len(serving) < 2 or not 0 < failed < requests:
        return pods
    rate, freedom = failed / requests, len(serving) - 1
    weight = min(rate * pods.requests / pods.failures, HEAVIEST)
    squares = fsum((bad - rate * all_) ** 2 / (rate * (1 - rate) * all_) for all_, bad in serving)
    each = requests / len(serving)
    return replace(
        pods,
        squares=pods.squares + weight * squares,
        freedom=pods.freedom + weight * freedom,
        spread=pods.spread + weight * freedom * (each - 1),
        doubt=pods.doubt + weight * weight * freedom,
    )


def _faded(pods: PodScatter, by: float) -> PodScatter:
    """The sums, each times ``by``, and nothing gathered."""
    return PodScatter(
        pods.squares * by, pods.freedom * by, pods.spread * by, pods.doubt * by, pods.failures * by, pods.requests * by
    )


def between_pods(pods: PodScatter) -> float:
    """The intraclass correlation of stable's pods; 0 unless they clearly differ."""
    freedom = pods.freedom**2 / pods.doubt if pods.doubt else 0.0
    if freedom < LEAST_PODS or pods.spread <= 0:
        return 0.0
    # Rare failures make chi-squared scatter more than its degrees of freedom say.
    sureness = sqrt((2 + freedom / pods.failures) / freedom)
    return (pods.squares - pods.freedom) / pods.spread if pods.squares / pods.freedom > 1 + 2 * sureness else 0.0


def of_errors(scatters: Scatters, pods: PodScatter, assumed: float, cell: Cell) -> Dispersion:
    """What failures of a cell are taken to do; ``assumed`` is the clump of a service whose history says nothing."""
    icc = min(0.5, PODS_FACTOR * between_pods(pods))
    found = over_time(scatters)
    if found is None and not icc:
        return Dispersion(assumed)
    clump = found or assumed
    together = icc / (1 - icc) * max(1.0, HICCUP / cell.seconds)  # a hiccup's cells have it in common
    canary, stable = (together * _at_a_pod(side) for side in (cell.canary, cell.stable))
    return Dispersion(clump, max(clump - 1, canary), max(clump - 1, stable))


def _at_a_pod(side: Counts) -> float:
    """How many requests a request of the side meets at its pod: pods that got none do not spread what others got."""
    known = fsum([requests for requests, _ in side.pods])
    return side.requests * fsum([(requests / known) ** 2 for requests, _ in side.pods]) if known else side.requests


def harm_bet(requests: tuple[float, float], times: float, ratio: float, by: Dispersion) -> tuple[float, float, float]:
    """
    (a, b, A): what each failure of canary and stable multiplies the capital by, and what is paid for tolerance.

    The first two are logarithms. The larger of what the two shapes ask for is paid, and the smaller is earned.
    """
    q = times * requests[0] / requests[1]
    wide = by.canary + q * (1 + by.stable)
    a = min(log1p((ratio - 1) / (1 + wide * ratio)), log1p((ratio - 1) / (1 + q * ratio)) / by.clump)
    up = expm1(a)
    paid = max(-log1p(-by.canary * up) / by.canary if by.canary else up, expm1(by.clump * a) / by.clump)
    lost = expm1(by.stable * q * paid) / by.stable if by.stable else q * paid
    return a, min(log1p(-lost), log1p(-by.clump * q * paid) / by.clump), paid


def proof_bet(requests: tuple[float, float], times: float, bet: float, by: Dispersion) -> tuple[float, float, float]:
    """The same the other way round: ``bet`` is how much rarer than at the margin the canary's failures may be."""
    q = times * requests[0] / requests[1]
    wide = by.canary + q * by.stable
    a = max(log1p(-bet / (1 + wide * (1 - bet))), log1p(-bet) / by.clump)
    down = expm1(a)
    paid = min(log1p(-by.canary * down) / by.canary if by.canary else -down, -expm1(by.clump * a) / by.clump)
    won = -expm1(-by.stable * q * paid) / by.stable if by.stable else q * paid
    return a, min(log1p(won), log1p(by.clump * q * paid) / by.clump), -paid


def tempered(log_e: tuple[float, ...], clump: float) -> tuple[float, ...]:
    """The root of e-values for independent requests: valid where the same befalls up to ``clump`` of them at once."""
    return log_e if clump == 1 else tuple(value / clump for value in log_e)

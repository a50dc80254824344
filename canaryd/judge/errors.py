"""
Errors against stable: e-values per cell that need no estimate of stable's error rate.

One formula serves both directions. With a on each failed request of the canary and b on each of stable's,

    log E = x_c a + x_s b - n_c d A,       q A + B = 0,  q = r n_c / n_s,

where A bounds log E[exp(a x_c)] per expected failure and B does so for b. For independent requests A = e^a - 1, which
gives b = log(1 - q A); for requests that vary together see ``dispersion``. The expectation is at most
exp(n_c A (p_c - r p_s - d)). With a > 0 that is at most 1 while p_c <= r p_s + d (no harm); with a < 0 while
p_c >= r p_s + d (worse than the margin). p_s may be anything, and another thing in every cell: that is why a shared
incident is no evidence.

With d = 0 and independent requests the harm bet is the likelihood ratio of the conditional binomial x_c | x_c + x_s
(Lindon and Malek, "Anytime-valid inference for multinomial count data", 2022; Hao and Gruenwald, "E-values for
exponential families", 2024).
"""

from __future__ import annotations

from math import exp, fsum, log

from canaryd.judge.dispersion import INDEPENDENT, Dispersion, harm_bet, proof_bet
from canaryd.model.plan import Tolerance

RATIOS = (1.4, 1.8, 2.5, 3.8, 7.0, 20.0, 80.0)
"""Alternatives: how many times the tolerated rate the canary may fail."""
RATIO_PRIOR = (0.12, 0.22, 0.24, 0.20, 0.12, 0.06, 0.04)
PROOF_BETS = (0.15, 0.35, 0.6, 0.8, 0.95)
"""Bets on a canary that is better than the margin, with equal priors; the small one is for high error rates."""
NEAR, STEPS = 1e-9, 60
"""Precision of the bound that is read off, and steps after which what was reached (never less) is said."""


def harm(
    failed: tuple[float, float], requests: tuple[float, float], tolerance: Tolerance, by: Dispersion = INDEPENDENT
) -> tuple[float, ...]:
    """Log e-values against "the canary fails no more than tolerated", one per alternative; (canary, stable) counts."""
    bets = (harm_bet(requests, tolerance.times, ratio, by) for ratio in RATIOS)
    return tuple(_log_e(failed, requests[0] * tolerance.plus, bet) for bet in bets)


def proof(
    failed: tuple[float, float], requests: tuple[float, float], margin: Tolerance, by: Dispersion = INDEPENDENT
) -> tuple[float, ...]:
    """Log e-values against "the canary fails at least as often as the margin", one per bet."""
    bets = (proof_bet(requests, margin.times, bet, by) for bet in PROOF_BETS)
    return tuple(_log_e(failed, requests[0] * margin.plus, bet) for bet in bets)


def excess(
    sums: tuple[tuple[float, float], ...], failed: tuple[float, float], requests: tuple[float, float], by: Dispersion
) -> tuple[tuple[float, float], ...]:
    """
    What a cell adds to the sums from which :func:`at_most` is read, per bet.

    The evidence against "the canary fails at least stable's rate plus x" is linear in x: its logarithm is the first
    sum plus x times the second.
    """
    bets = (proof_bet(requests, 1.0, bet, by) for bet in PROOF_BETS)
    added = ((failed[0] * a + failed[1] * b, -requests[0] * paid) for a, b, paid in bets)
    former = sums or ((0.0, 0.0),) * len(PROOF_BETS)
    return tuple((fixed + more, slope + steeper) for (fixed, slope), (more, steeper) in zip(former, added, strict=True))


def at_most(sums: tuple[tuple[float, float], ...], beta: float) -> float | None:
    """
    The least x such that "at least stable's rate plus x" is refuted at 1/beta; None while not even 1 is.

    A bound that holds at any time, with 1 - beta, for the canary's mean excess: it is what can be said when traffic is
    too little for a proof.
    """
    if not sums:
        return None
    bound = log(len(sums) / beta)
    # Where one of the bets alone would do, all of them together have done before.
    excess = max(0.0, min((bound - fixed) / slope for fixed, slope in sums))
    if excess > 1:
        excess = 1.0
        if _log_sum(sums, excess)[0] < bound:
            return None
    for _ in range(STEPS):  # Newton's from above: the logarithm rises and is convex in x, so that x never falls below
        value, slope = _log_sum(sums, excess)
        if value - bound <= NEAR or not excess:
            break
        excess = max(0.0, excess - (value - bound) / slope)
    return excess


def fresh_row() -> tuple[float, ...]:
    """The proof's capital before its first cell: 1, in equal parts."""
    return (-log(len(PROOF_BETS)),) * len(PROOF_BETS)


def _log_sum(sums: tuple[tuple[float, float], ...], excess: float) -> tuple[float, float]:
    """The logarithm of the sum of the evidence against ``excess``, and its slope there."""
    values = [fixed + excess * slope for fixed, slope in sums]
    most = max(values)
    weights = [exp(value - most) for value in values]
    whole = fsum(weights)
    return most + log(whole), fsum([weight * slope for weight, (_, slope) in zip(weights, sums, strict=True)]) / whole


def _log_e(failed: tuple[float, float], allowance: float, bet: tuple[float, float, float]) -> float:
    return failed[0] * bet[0] + failed[1] * bet[1] - allowance * bet[2]

"""
Errors against stable: e-values per cell that need no estimate of stable's error rate.

One formula serves both directions. For a bet ``g`` on each failed request of the canary,

    log E = x_c log(1 + g) + x_s log(1 - r rho g) - n_c d g,       rho = n_c / n_s,

has an expectation of at most exp(n_c g (p_c - r p_s - d)), because (1 + a)^n <= e^(na). With g > 0 that is at most 1
while p_c <= r p_s + d (no harm); with g < 0 while p_c >= r p_s + d (worse than the margin). p_s may be anything, and
another thing in every cell: that is why a shared incident is no evidence.

With d = 0 the harm bet below is the likelihood ratio of the conditional binomial x_c | x_c + x_s (Lindon and Malek,
"Anytime-valid inference for multinomial count data", 2022; Hao and Gruenwald, "E-values for exponential families",
2024).
"""

from __future__ import annotations

from math import log, log1p

from canaryd.model.plan import Tolerance

RATIOS = (1.5, 2.2, 3.5, 7.0, 20.0, 80.0)
"""Alternatives: how many times the tolerated rate the canary may fail."""
RATIO_PRIOR = (0.12, 0.24, 0.28, 0.20, 0.10, 0.06)
PROOF_BETS = (0.15, 0.35, 0.6, 0.8, 0.95)
"""Bets on a canary that is better than the margin, with equal priors; the small one is for high error rates."""


def log_e(failed: tuple[float, float], requests: tuple[float, float], tolerance: Tolerance, bet: float) -> float:
    """The log e-value of a cell: ``failed`` and ``requests`` of (canary, stable), both with requests."""
    rho = requests[0] / requests[1]
    return failed[0] * log1p(bet) + failed[1] * log1p(-tolerance.times * rho * bet) - requests[0] * tolerance.plus * bet


def harm_bet(requests: tuple[float, float], times: float, ratio: float) -> float:
    """The bet that grows fastest if the canary fails ``ratio`` times as often as is tolerated."""
    return (ratio - 1) / (1 + times * requests[0] / requests[1] * ratio)


def harm(failed: tuple[float, float], requests: tuple[float, float], tolerance: Tolerance) -> tuple[float, ...]:
    """Log e-values against "the canary fails no more than tolerated", one per alternative."""
    return tuple(log_e(failed, requests, tolerance, harm_bet(requests, tolerance.times, ratio)) for ratio in RATIOS)


def proof(failed: tuple[float, float], requests: tuple[float, float], margin: Tolerance) -> tuple[float, ...]:
    """Log e-values against "the canary fails at least as often as the margin", one per bet."""
    return tuple(log_e(failed, requests, margin, -bet) for bet in PROOF_BETS)


def fresh_row() -> tuple[float, ...]:
    """The proof's capital before its first cell: 1, in equal parts."""
    return (-log(len(PROOF_BETS)),) * len(PROOF_BETS)

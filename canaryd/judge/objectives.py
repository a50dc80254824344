"""
Absolute objectives: the canary against a number, whatever stable does.

An anytime-valid test, not a threshold: one bad minute of ten requests is not evidence against "at most 1 %". For
independent requests that are bad with a mean chance of at most p, E = (1 + g)^x / (1 + g p)^n has an expectation of at
most 1 (the mean over unequal chances is worst when they are equal). Works at 100 % too, where nothing is left to
compare with.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import fsum, log1p

from canaryd.judge import limits
from canaryd.judge.comparison import tallied
from canaryd.judge.dispersion import tempered
from canaryd.judge.mixture import grow, lay
from canaryd.model.cells import Cell
from canaryd.model.judgement import CheckState
from canaryd.model.plan import Check

RATIOS = (1.5, 2.2, 3.5, 7.0, 20.0, 80.0)
"""Alternatives: how many times the bound."""
PRIOR = (0.12, 0.24, 0.28, 0.20, 0.10, 0.06)
LEAST = 1e-9
"""A bound this near to 1 leaves no better bet than any."""


def log_e(bad: float, requests: float, bound: float, bet: float) -> float:
    """The log e-value of a cell against "a share of at most ``bound`` is bad"."""
    return bad * log1p(bet) - requests * log1p(bet * bound)


def harm(bad: float, requests: float, bound: float) -> tuple[float, ...]:
    """Log e-values of a cell, one per alternative; the bet that grows fastest for a rate of ratio x bound."""
    return tuple(log_e(bad, requests, bound, _bet(ratio, bound)) for ratio in RATIOS)


def place_of(bounds: tuple[float, ...], within_ms: float) -> int | None:
    """
    Index of the bucket bound at which ``within_ms`` is judged: itself, or the next one above; None above the last.

    Above, never below: requests between ``within_ms`` and the next bound cannot be told apart from those that are in
    time, and calling them late would break the promise on false rollbacks.
    """
    return next((index for index, bound in enumerate(bounds) if bound >= within_ms), None)


def place_known(check: Check, bounds: tuple[float, ...]) -> bool:
    """False when a latency objective lies above every bound of the histogram, so that nothing can be said of it."""
    return check.metric != "latency" or not bounds or place_of(bounds, within_ms(check)) is not None


def within_ms(check: Check) -> float:
    return (check.within or timedelta(0)) / timedelta(milliseconds=1)


def most_bad(check: Check) -> float:
    """The share of requests that may be bad."""
    return (check.at_most or 0.0) if check.metric == "error-rate" else 1 - (check.at_least or 0.0)


def held_against(check: Check, one: CheckState, cell: Cell, warm: bool, clump: float) -> CheckState:
    """An absolute objective after a cell."""
    if check.metric == "error-rate":
        bad, requests = cell.canary.errors, cell.canary.requests
    else:
        place, buckets = place_of(cell.bounds_ms, within_ms(check)), cell.canary.buckets
        if place is None or not buckets:
            return replace(one, waiting="no bucket bound at or above it" if cell.bounds_ms else "no latency buckets")
        if not warm:
            return replace(one, waiting="the canary is warming up")
        bad, requests = fsum(buckets[place + 1 :]), fsum(buckets)
    if not requests:
        return replace(one, waiting="no requests of the canary")
    wager = lay(one.wager, cell.split.canary, cell.seconds, PRIOR)
    one = tallied(one, cell.seconds, (requests - bad, bad), ())
    one = limits.gathered(check, one, cell, bad, requests, most_bad(check))
    return replace(one, wager=grow(wager, tempered(harm(bad, requests, most_bad(check)), clump)), waiting="")


def _bet(ratio: float, bound: float) -> float:
    rate = min(ratio * bound, (1 + bound) / 2)
    if bound == 0 or 1 - rate < LEAST:
        return ratio - 1
    return (rate - bound) / (bound * (1 - rate))

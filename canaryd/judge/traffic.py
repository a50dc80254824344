"""
Minimum traffic: whether the canary gets as many requests a second as the plan asks for.

For requests that come independently at a rate of at least b a second, E = (1 - h)^x exp(h b seconds) has an expectation
of at most 1. Fewer than that is no harm, and has no share in the evidence of a rollback: it only keeps the weight from
rising. So a busy cell after a quiet night must end it soon, and the capital is kept low; throwing it away is always
allowed.
"""

from __future__ import annotations

from dataclasses import replace
from math import log1p

from canaryd.judge import wording
from canaryd.judge.comparison import tallied
from canaryd.judge.mixture import grow, lay, shrink, stake_of, worth
from canaryd.model.cells import Cell
from canaryd.model.evidence import Reading
from canaryd.model.judgement import CheckState, Wager
from canaryd.model.plan import Check
from canaryd.model.traffic import EVERYTHING, Split

BETS = (0.15, 0.4, 0.75)
"""Alternatives: by how much of the minimum there is too little."""
PRIOR = (0.3, 0.4, 0.3)
BOUND = 5.0
"""Evidence of too little at which the weight may not rise: at the minimum, once in five steps at most."""
MOST = 20.0
"""Capital at stake beyond this is thrown away."""
BLANK = Wager(capital=(None,) * len(BETS))


def log_e(requests: float, seconds: float, least: float) -> tuple[float, ...]:
    """Log e-values of a cell against "at least ``least`` requests a second", one per alternative."""
    return tuple(requests * log1p(-bet) + bet * least * seconds for bet in BETS)


def judged(check: Check, one: CheckState, cell: Cell) -> CheckState:
    """
    The check after a cell. Another weight brings another rate, so it begins anew there.

    At 100 % nothing is asked: how much traffic there is at all is not the canary's doing, and must not end the release.
    """
    if cell.split == EVERYTHING:
        return replace(one, wager=BLANK, waiting="at 100 % the canary has all the traffic there is")
    if not cell.settled:
        return one
    if one.wager.split not in (None, cell.split.canary):
        one = replace(one, wager=BLANK)
    one = tallied(one, cell.seconds, (cell.canary.requests,), ())
    wager = lay(one.wager, cell.split.canary, cell.seconds, PRIOR)
    wager = grow(wager, log_e(cell.canary.requests, cell.seconds, check.at_least or 0.0))
    if (stake := stake_of(wager)) > MOST:
        wager = shrink(wager, MOST / stake)
    return replace(one, wager=wager, waiting="")


def reading(check: Check, one: CheckState, split: Split) -> Reading:
    """The check as it stands."""
    requests, seconds = sum(one.level.canary), one.level.seconds
    seen = f"{wording.value(requests / seconds)} a second" if seconds else "–"
    sentence = (
        wording.traffic(check.name, requests, seconds, str(split), check.at_least or 0.0, worth(one.wager), BOUND)
        if not one.waiting
        else f"{check.name}: not judged now: {one.waiting}"
    )
    return Reading(check.name, "–", seen, 0.0, requests, 1.0, 1.0, sentence, holds=worth(one.wager) < BOUND)

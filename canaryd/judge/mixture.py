"""
Betting capital: a mixture over alternatives and over the moment at which harm begins.

The total mass laid over all time is at most 1, so that the capital is a non-negative supermartingale that starts at 1
whatever happens, and by Ville's inequality reaches 1/alpha with a probability of at most alpha. Capital may be thrown
away at any time (that is how clipping works), never created.

Sources: Ville 1939; Ramdas, Gruenwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference",
2023; Shin, Ramdas and Rinaldo, "E-detectors", 2024 (their restarts, here with a total mass of one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, expm1, fsum, log, log1p

from canaryd.model.judgement import Wager

FIRST = 0.75
"""Share of the mass laid at the first cell that is judged: most bad canaries are bad at once."""
NEW_WEIGHT = 0.1
"""Share of what is left that is laid on the first cell at another weight (0.025 of the whole, the first time)."""
PER_MINUTE = 0.015
"""Share of what is left that is laid per minute of wall time (0.004 of the whole at first); so it never runs dry."""
CEILING = 600.0
"""Log capital beyond this is thrown away, so that sums stay finite."""
SPECK = 1e-300
"""Mass below this is not laid."""


def mass_due(wager: Wager, split: int, seconds: float) -> float:
    """The mass to lay before a cell of ``seconds`` at ``split``; known before the cell's outcomes are."""
    if wager.split is None:
        return wager.unspent * FIRST
    if wager.split != split:
        return wager.unspent * NEW_WEIGHT
    return wager.unspent * -expm1(-PER_MINUTE * seconds / 60)


def lay(wager: Wager, split: int, seconds: float, prior: Sequence[float]) -> Wager:
    """The wager with the mass that is due laid on its components, ``prior`` (sums to 1) deciding the shares."""
    mass = mass_due(wager, split, seconds)
    if mass < SPECK:
        return Wager(wager.unspent, split, wager.capital)
    log_mass = log(mass)
    laid = [
        held if not share else plus(held, log(share) + log_mass)
        for held, share in zip(wager.capital, prior, strict=True)
    ]
    return Wager(wager.unspent - mass, split, tuple(laid))


def grow(wager: Wager, log_e: Sequence[float]) -> Wager:
    """Each component multiplied by its e-value of the cell, given as logarithm; 0 leaves it as it is."""
    grown = [None if held is None else held + step for held, step in zip(wager.capital, log_e, strict=True)]
    return Wager(
        wager.unspent, wager.split, tuple([held if held is None or held < CEILING else CEILING for held in grown])
    )


def stake_of(wager: Wager) -> float:
    """The capital that is at stake, without what is unspent."""
    return total(wager.capital)


def worth(wager: Wager) -> float:
    """The e-process: what 1 has become."""
    return wager.unspent + stake_of(wager)


def shrink(wager: Wager, factor: float) -> Wager:
    """The wager with its stakes cut to ``factor`` of them (between 0, excluded, and 1); what is unspent stays."""
    by = log(factor)
    return Wager(wager.unspent, wager.split, tuple([None if held is None else held + by for held in wager.capital]))


def cash(wager: Wager, components: int) -> Wager:
    """All capital taken off the table, to be laid anew on ``components`` others: worth the same as before."""
    return Wager(worth(wager), None, (None,) * components)


def plus(held: float | None, more: float) -> float:
    """log(exp(held) + exp(more)), None being the logarithm of nothing."""
    if held is None:
        return more
    high, low = max(held, more), min(held, more)
    return high + log1p(exp(low - high))


def total(capital: Iterable[float | None]) -> float:
    """The sum of capitals given as logarithms, in their order."""
    return fsum([exp(held) for held in capital if held is not None])

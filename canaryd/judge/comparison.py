"""
One check that compares the canary with stable: its evidence of harm and its proof, cell by cell.

What kind of check it is decides which e-values are asked for; laying mass, growing and counting are the same for all.
A new family of bets is a new line in the functions of ``errors`` or ``latency`` and a longer capital.
"""

from __future__ import annotations

from dataclasses import replace
from math import fsum

from canaryd.judge import errors, latency, wording
from canaryd.judge.dispersion import Dispersion, of_errors, over_time, tempered
from canaryd.judge.histogram import ENOUGH, Shape, active_bounds, shape_of, too_close
from canaryd.judge.mixture import CEILING, cash, grow, lay, total, worth
from canaryd.model.cells import Cell
from canaryd.model.judgement import CheckState, History, Pairs, Proof, Scatters, Tally
from canaryd.model.plan import Check

SHOWN = 0.05
"""Stable's share above the bound that a reading shows while nothing is wrong."""
SOMEBODY = 0.5
"""Requests below which a side of a cell is taken as empty: counts may be fractions, ratios must stay finite."""


def components(check: Check, bounds: int = 0) -> int:
    """How many alternatives the check bets on, with ``bounds`` bucket bounds."""
    return len(errors.RATIOS) if check.metric == "error-rate" else latency.components(bounds)


def fresh(one: CheckState) -> CheckState:
    """The check at the start of a segment: proof begins at nothing, evidence of harm goes on."""
    valued = replace(one.valued, since=None, level=Pairs())
    return replace(one, proof=Proof(), level=Tally(), note="", valued=valued)


def rebounded(check: Check, one: CheckState, bounds: int, note: str) -> CheckState:
    """A latency check for other bounds: what it is worth is kept as cash, everything else starts anew."""
    if check.metric != "latency":
        return one
    if not check.compare:
        return replace(one, level=Tally(), rise=Tally(), note=note)
    wager = cash(one.wager, components(check, bounds))
    return CheckState(one.name, wager, note=note)


def judged(check: Check, one: CheckState, cell: Cell, history: History, warm: bool, assumed: float) -> CheckState:
    """
    The check after a cell.

    ``history`` is that before it, ``warm`` says that latency may be judged, ``assumed`` is the clump of failures where
    history says nothing of them.
    """
    if check.metric == "error-rate":
        return _errors(check, one, cell, of_errors(history.failing, history.pods, assumed, cell))
    if waiting := _latency_waits(check, cell, history, warm):
        return replace(one, waiting=waiting)
    return _latency(check, one, cell, shape_of(history.bounds, history.basis), over_time(history.slow) or assumed)


def proof_of(proof: Proof) -> float:
    """The e-process of the proof: the least of its rows, 1 before the first cell."""
    return min((total(row) for row in proof.rows), default=1.0)


def tallied(
    one: CheckState,
    seconds: float,
    canary: tuple[float, ...],
    stable: tuple[float, ...],
    causes: tuple[tuple[str, float], ...] = (),
) -> CheckState:
    """The check with a cell's counts in its tallies; call it before the cell's bets are paid."""
    cell = Tally(seconds, canary, stable, causes)
    rising = worth(one.wager) > 1
    return replace(one, level=_sum(one.level, cell), rise=_sum(one.rise, cell) if rising else cell)


def place_shown(check: Check, one: CheckState, rising: bool) -> int:
    """
    The category after which a request counts as bad.

    For latency the bound that carries the evidence of harm, or, while there is none to speak of, the first that few of
    stable's requests exceed.
    """
    if check.metric == "error-rate" or not check.compare:
        return 0
    if not rising:
        every = range(len(one.level.stable) - 1)
        few = SHOWN * fsum(one.level.stable)
        return next((index for index in every if split_at(one.level.stable, index)[0] <= few), 0)
    weights = [total((capital,)) for capital in one.wager.capital]
    steps = range(0, len(weights) - len(latency.SLOWER), len(latency.ODDS))
    per_bound = [fsum(weights[start : start + len(latency.ODDS)]) for start in steps]
    return per_bound.index(max(per_bound)) if per_bound else 0


def split_at(categories: tuple[float, ...], place: int) -> tuple[float, float]:
    """(bad, all): the counts after ``place``, and all of them."""
    return (fsum(categories[place + 1 :]), fsum(categories))


def scatter_of(check: Check, history: History) -> Scatters:
    """How what the check asks about varies in stable."""
    return history.failing if check.metric == "error-rate" else history.slow


def add(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    """Counts added; an empty one is nothing."""
    if not left or not right:
        return left or right
    return tuple(a + b for a, b in zip(left, right, strict=True))


def causes_of(cell: Cell) -> tuple[tuple[str, float], ...]:
    """What the canary's failures came to, and what the mesh's own fault rule answered."""
    return (*cell.canary.causes, ("FI", cell.injected)) if cell.injected else cell.canary.causes


def _errors(check: Check, one: CheckState, cell: Cell, by: Dispersion) -> CheckState:
    canary, stable = cell.canary, cell.stable
    if min(canary.requests, stable.requests) < SOMEBODY:
        return replace(one, waiting=_nobody(canary.requests))
    requests, failed = (canary.requests, stable.requests), (canary.errors, stable.errors)
    one = tallied(
        one,
        cell.seconds,
        (canary.requests - canary.errors, canary.errors),
        (stable.requests - stable.errors, stable.errors),
        causes_of(cell),
    )
    wager = lay(one.wager, cell.split.canary, cell.seconds, errors.RATIO_PRIOR)
    wager = grow(wager, errors.harm(failed, requests, check.accepted, by))
    proof = one.proof
    if cell.settled:
        row = proof.rows[0] if proof.rows else errors.fresh_row()
        proof = Proof((_paid(row, errors.proof(failed, requests, check.allowed, by)),))
    excess = errors.excess(one.excess, failed, requests, by)
    return replace(one, wager=wager, proof=proof, excess=excess, waiting="")


def _latency(check: Check, one: CheckState, cell: Cell, shape: Shape, clump: float) -> CheckState:
    canary, stable = latency.side(cell.canary.buckets), latency.side(cell.stable.buckets)
    one = tallied(one, cell.seconds, canary.buckets, stable.buckets)
    wager = one.wager
    played = latency.bets(shape, check.accepted, cell.split)
    if played.nulls:
        wager = lay(wager, cell.split.canary, cell.seconds, played.prior)
        wager = grow(wager, tempered(latency.harm(canary, stable, played, check.accepted), clump))
    proof = one.proof
    if cell.settled:
        # The bounds are those of the segment's first judged cell: one that left later must not take its doubt along.
        bounds = proof.bounds or active_bounds(shape)
        rows = proof.rows or (latency.fresh_row(),) * len(bounds)
        proof = Proof(
            tuple(
                _paid(row, tempered(latency.proof(canary, stable, shape, null, check.allowed), clump))
                for row, null in zip(rows, latency.margins(shape, bounds, check.allowed.times), strict=True)
            ),
            bounds,
        )
    return replace(one, wager=wager, proof=proof, waiting="")


def _latency_waits(check: Check, cell: Cell, history: History, warm: bool) -> str:
    """Why the latency of a cell is not judged, or an empty text."""
    if not (cell.bounds_ms and cell.canary.buckets and cell.stable.buckets):
        return "no latency buckets"
    if close := too_close(cell.bounds_ms, check.allowed.times):
        low, high = map(wording.duration, close)
        return f"the bucket bounds {low} and {high} are less than {check.allowed.times:g} times apart, the margin"
    if not warm:
        return "the canary is warming up"
    known = fsum(history.basis)
    if known < ENOUGH:
        return f"stable has {wording.number(known)} of the {ENOUGH:.0f} requests needed to know its shape"
    canary, stable = fsum(cell.canary.buckets), fsum(cell.stable.buckets)
    if min(canary, stable) < SOMEBODY:
        return _nobody(canary)
    return ""


def _nobody(canary: float) -> str:
    return "no requests of stable" if canary >= SOMEBODY else "no requests of the canary"


def _paid(row: tuple[float, ...], log_e: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(min(CEILING, held + step) for held, step in zip(row, log_e, strict=True))


def _sum(left: Tally, right: Tally) -> Tally:
    causes = dict(left.causes)
    for name, count in right.causes:
        causes[name] = causes.get(name, 0.0) + count
    return Tally(
        left.seconds + right.seconds,
        add(left.canary, right.canary),
        add(left.stable, right.stable),
        tuple(sorted(causes.items())),
    )

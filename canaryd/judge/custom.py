"""
Values without counts: a query's number for each side and cell, and nothing that says how sure it is.

Compared with stable, only the order is used. d is by how much the canary is beyond what is tolerated of stable's value
in the same cell, s its sign, and w its size among the sizes of the cells before it: 1 for one greater than all of them,
1/2 for one smaller. E = 1 + bet w s has an expectation of at most 1 if d of any size is as often below 0 as above it,
given the past; a canary and a stable that may change places make it so, whatever the values are distributed like. w may
know the size of d and the past, but never its sign.

Against a number, and for the proof, w is 1: there it is enough that a value is beyond as often as not, its median.

A cell can at most nearly double the capital, so that this needs cells, not requests; ``least_cells`` says how many.
Sources: Wilcoxon 1945 for the ranks; Ramdas, Ruf, Larsson and Koolen, "Admissible anytime-valid sequential inference
must rely on nonnegative martingales", 2020, for bets on signs that are symmetric.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import isfinite, log, log1p

from canaryd.judge import limits, wording
from canaryd.judge.comparison import SOMEBODY, proof_of
from canaryd.judge.mixture import CEILING, grow, lay, worth
from canaryd.model.cells import Cell, Value
from canaryd.model.check import LARGEST
from canaryd.model.evidence import Reading
from canaryd.model.judgement import CheckState, Pairs, Proof, Valued, Wager
from canaryd.model.plan import Check, Tolerance
from canaryd.model.traffic import EVERYTHING, Split

BETS = (0.25, 0.5, 0.95)
PRIOR = (0.25, 0.35, 0.4)
PROOF_BETS = (0.4, 0.7, 0.95)
"""With equal priors."""
REMEMBERED = 60
"""Sizes among which the next one is ranked."""
ROUNDING = 1e-9
"""Relative; values that differ by less are the same."""
TIE = 1e-6
"""Relative; sizes that differ by less are the same: they are small differences of large numbers."""
ENDLESS = 1000
"""Cells that are not worth counting to."""


def components(check: Check) -> int:
    """How many alternatives the check bets on."""
    return len(BETS) * (len(_directions(check)) if check.compare else 1)


def judged(check: Check, one: CheckState, cell: Cell, warm: bool, window: float) -> CheckState:
    """
    The check after a cell. ``window`` are the seconds that a value speaks of: of values that overlap one counts.
    """
    valued = one.valued
    if valued.since is None:
        valued = replace(valued, since=cell.start)
        one = replace(one, valued=valued)
    value = next((value for value in cell.values if value.check == check.name), None)
    if waiting := _waits(check, cell, value, warm):
        return replace(one, waiting=waiting)
    if value is None or value.canary is None:
        return one
    if valued.last is not None and cell.end < valued.last + window * (1 - ROUNDING):
        return replace(one, waiting="")
    beyond = excesses(check, value.canary, value.stable)
    worse = any(excess > 0 for excess in beyond)
    one = limits.in_a_row(check, one, beyond=worse)
    one = replace(one, valued=_counted(one, cell, value, worse), waiting="", note=value.assumed)
    passed = cell.seconds if valued.last is None else cell.end - valued.last
    wager = lay(one.wager, cell.split.canary, passed, prior(len(beyond)))
    if check.compare:
        one = replace(one, wager=grow(wager, harm(beyond, valued.sizes)))
        sizes = valued.sizes or ((),) * len(beyond)
        ranked = tuple((*known, abs(excess))[-REMEMBERED:] for known, excess in zip(sizes, beyond, strict=True))
        one = replace(one, valued=replace(one.valued, sizes=ranked))
    else:
        one = replace(one, wager=grow(wager, tuple(log1p(bet * _sign(beyond[0])) for bet in BETS)))
    since = cell.start if valued.since is None else valued.since
    if check.proves and cell.settled and cell.end - window >= since - ROUNDING * cell.end:
        one = replace(one, proof=_proven(check, one.proof, value))
    return one


def excesses(check: Check, canary: float, stable: float | None) -> tuple[float, ...]:
    """By how much a value is beyond what is allowed, one per direction that is asked about; above 0 is worse."""
    if stable is not None and check.compare:
        return _beyond(check, canary, stable, check.accepted)
    if check.at_most is not None:
        return (_difference(canary, check.at_most),)
    return (_difference(check.at_least or 0.0, canary),)


def harm(beyond: tuple[float, ...], sizes: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """Log e-values of a pair, per direction and bet; ``sizes`` are those of the pairs before it."""
    known = sizes or ((),) * len(beyond)
    return tuple(
        log1p(bet * weight(abs(excess), former) * _sign(excess))
        for excess, former in zip(beyond, known, strict=True)
        for bet in BETS
    )


def proof(beyond: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Log e-values of a pair against "beyond the margin at least every other time": a row per direction."""
    return tuple(tuple(log1p(-bet * _sign(excess)) for bet in PROOF_BETS) for excess in beyond)


def prior(directions: int) -> tuple[float, ...]:
    """The shares of the alternatives."""
    return tuple(share / directions for _ in range(directions) for share in PRIOR)


def weight(size: float, former: tuple[float, ...]) -> float:
    """
    1/2 for a size below all former ones, 1 for one above them; ties count half.

    The same size with either sign is the same only up to rounding, and what is left of the sign must not rank it.
    """
    below = sum(0.5 if _same(known, size) else float(known < size) for known in former)
    return 0.5 + 0.5 * (below / len(former) if former else 0.5)


@lru_cache(maxsize=256)
def least_cells(bound: float, split: int, seconds: float, directions: int) -> int:
    """Values after which a check alone can reach ``bound``, if every one is worse and by more than those before it."""
    wager, cells = Wager(capital=(None,) * (len(BETS) * directions)), 0
    most = tuple(log1p(bet) for bet in BETS) + (0.0,) * (len(BETS) * (directions - 1))
    while worth(wager) < bound and cells < ENDLESS:
        wager = grow(lay(wager, split, seconds, prior(directions)), most)
        cells += 1
    return cells


def reading(check: Check, one: CheckState, split: Split, hold: float, bounds: tuple[float, float]) -> Reading:
    """The check as it stands; ``bounds`` are that of its own evidence of harm and that of proof."""
    evidence, rising = worth(one.wager), worth(one.wager) >= hold
    pairs = one.valued.rise if rising else one.valued.level
    proven = proof_of(one.proof) if check.proves else 1.0
    sentence = words(check, one, split, rising)
    bound = bounds[0]
    needed = least_cells(bound, split.canary, 60.0, len(_directions(check)) if check.compare else 1) if bound else 0
    if one.valued.cells < needed:
        sentence += f"; {one.valued.cells} so far, at least {needed} are needed even if every one is worse"
    sentence += f"; evidence of harm {wording.against(evidence, bound)}"
    if check.proves:
        sentence += f", of no harm {wording.evidence(proven)} (bound {wording.evidence(bounds[1])})"
    if one.row and check.hard_limit and check.hard_limit.consecutive:
        sentence += f"; {one.row} in a row beyond it now, and {check.hard_limit.consecutive} fail at once"
    if one.waiting:
        sentence += f"; not judged now: {one.waiting}"
    if one.note:
        sentence += f"; {one.note}"
    return Reading(
        check=check.name,
        stable=wording.value(pairs.stable / pairs.cells) if pairs.cells and check.compare else "–",
        canary=wording.value(pairs.canary / pairs.cells) if pairs.cells else "–",
        stable_requests=0.0,
        canary_requests=0.0,
        harm=evidence,
        proof=proven,
        sentence=sentence,
        harm_bound=bound,
        proof_bound=bounds[1] if check.proves else 0.0,
        holds=bool(check.compare) or evidence < hold,
    )


def words(check: Check, one: CheckState, split: Split, rising: bool) -> str:
    """The check in words, without its evidence."""
    pairs = one.valued.rise if rising else one.valued.level
    if not pairs.cells:
        return f"{check.name}: no value yet at {split}"
    when = "" if rising else f" at {split}"
    if not check.compare:
        return wording.valued(check.name, pairs, asked(check), when)
    return wording.paired(check.name, pairs, check.accepted, check.direction, when)


def asked(check: Check) -> str:
    """What a value is that is beyond the check's number."""
    if check.at_most is not None:
        return f"above {wording.value(check.at_most)}"
    return f"below {wording.value(check.at_least or 0.0)}"


def row_beyond(check: Check, one: CheckState, cell: Cell) -> str:
    """The row that ``cell`` has made as long as the hard limit says, in words; an empty text where there is none."""
    value = next((value.canary for value in cell.values if value.check == check.name), None)
    if value is None or not limits.row_is_full(check, one):
        return ""
    return wording.row(check.name, one.row, asked(check), value)


def _waits(check: Check, cell: Cell, value: Value | None, warm: bool) -> str:
    """Why the values of a cell are no evidence, or an empty text."""
    if check.compare and cell.split == EVERYTHING:
        return "at 100 % there is nothing to compare with"
    if value is None:
        return "the cell has no value of it"
    if value.why:
        return value.why
    for name, found in (("canary", value.canary), ("stable", value.stable if check.compare else 0.0)):
        if found is None:
            return f"no value of {name}"
        if not isfinite(found) or abs(found) > LARGEST:
            return f"{found:g} of {name} is no measurement"
    if not warm:
        return "the canary is warming up"
    if check.compare and min(cell.canary.requests, cell.stable.requests) < SOMEBODY:
        return "no requests of the canary" if cell.canary.requests < SOMEBODY else "no requests of stable"
    return ""


def _counted(one: CheckState, cell: Cell, value: Value, worse: bool) -> Valued:
    """What is shown to people, with one more value; before the cell's bets are paid."""
    more = Pairs(1, int(worse), value.canary or 0.0, value.stable or 0.0)
    valued = one.valued
    return replace(
        valued,
        last=cell.end,
        cells=valued.cells + 1,
        level=_sum(valued.level, more),
        rise=_sum(valued.rise, more) if worth(one.wager) > 1 else more,
    )


def _proven(check: Check, former: Proof, value: Value) -> Proof:
    beyond = _beyond(check, value.canary or 0.0, value.stable or 0.0, check.allowed)
    rows = former.rows or ((-log(len(PROOF_BETS)),) * len(PROOF_BETS),) * len(beyond)
    return Proof(
        tuple(
            tuple(min(CEILING, held + step) for held, step in zip(row, paid, strict=True))
            for row, paid in zip(rows, proof(beyond), strict=True)
        )
    )


def _directions(check: Check) -> tuple[str, ...]:
    return ("higher", "lower") if check.direction == "either" else (check.direction,)


def _beyond(check: Check, canary: float, stable: float, by: Tolerance) -> tuple[float, ...]:
    """By how much the canary is beyond ``by`` of stable's value, per direction; a negative one is as far from 0."""
    most = stable + (by.times - 1) * abs(stable) + by.plus
    least = stable - (1 - 1 / by.times) * abs(stable) - by.plus
    return tuple(
        _difference(canary, most) if direction == "higher" else _difference(least, canary)
        for direction in _directions(check)
    )


def _difference(left: float, right: float) -> float:
    return 0.0 if abs(left - right) <= ROUNDING * max(abs(left), abs(right)) else left - right


def _same(left: float, right: float) -> bool:
    return abs(left - right) <= TIE * max(left, right)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _sum(left: Pairs, right: Pairs) -> Pairs:
    return Pairs(
        left.cells + right.cells, left.worse + right.worse, left.canary + right.canary, left.stable + right.stable
    )

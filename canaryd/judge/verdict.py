"""
The fold over cells, and what it amounts to.

All evidence of harm is one number: the average of the checks' e-processes, and of that of the unattributed failures,
with fixed shares that sum to 1. An average of e-processes is one, whatever the dependence between them; so a single
bound 1/alpha covers everything that this room can roll back for.

The order within a cell matters and is the order of the code: new segment, bets, clip, failure, counters, and the
history last, so that no bet has seen the outcomes it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import fsum

from canaryd.judge import (
    comparison,
    custom,
    exposure,
    guards,
    limits,
    objectives,
    portions,
    readings,
    traffic,
    unattributed,
    wording,
)
from canaryd.judge.comparison import add, fresh, tallied
from canaryd.judge.dispersion import over_time, scattered, scattered_pods
from canaryd.judge.histogram import faded, nearest
from canaryd.judge.mixture import grow, lay, shrink, stake_of, worth
from canaryd.judge.shares import shares_of
from canaryd.model.cells import BEFORE, Cell, Gap
from canaryd.model.judgement import CheckState, Exposure, History, JudgeState, Proof, Wager
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import NOTHING

KNEE, CLIP = 5.0, 0.5
"""Evidence below which nothing was suspected, and the share of the bound to which a leap from there is cut."""
OUTAGE_REQUESTS, OUTAGE_SHARE, STABLE_SHARE, DEAD_REQUESTS = 10.0, 0.5, 0.1, 5.0
"""A plain outage is not cut: so many failures, such a share of the canary, while stable fails at most so much."""
REFRESH, GROWN = 180.0, 1.5
"""Bets are made from a histogram of stable that is this old (s) at most, and that has grown by this much at most."""
OTHERS = "the canary answers other people than stable does: not compared"
TYPICAL = 0.1
"""Stable's share of slow requests that tells how latencies scatter: neither rare nor usual."""


def begin(analysis: Analysis, past: Iterable[Cell] = ()) -> JudgeState:
    """The judge before the first cell, knowing stable from the cells of its ``past``."""
    checks = tuple(CheckState(check.name, Wager(capital=_blank(check))) for check in analysis.checks)
    state = JudgeState(checks, CheckState(readings.UNATTRIBUTED, Wager(capital=(None,) * len(unattributed.BETS))))
    for cell in past:
        state = advance(analysis, state, cell)
    return state


def advance(analysis: Analysis, state: JudgeState, cell: Cell | Gap) -> JudgeState:
    """The judge after one more cell. A gap leaves all evidence as it is; a cell that cannot be believed is a gap."""
    state = _entered(state, cell)
    if isinstance(cell, Gap):
        return replace(state, gap=cell.why, refused=False)
    if fault := guards.fault(cell):
        return replace(state, gap=f"refused: {fault}", refused=True)
    rates = guards.remembered(state.history.rates, cell)
    if fault := guards.implausible(cell, state.history.rates):
        return replace(state, gap=fault, refused=True, history=replace(state.history, rates=rates))
    cell = guards.consistent(cell)
    state = replace(_rebounded(analysis, state, cell), gap="", refused=False, cells=state.cells + 1)
    if cell.matched:
        state = _judged_matched(analysis, state, cell)
    elif cell.split != NOTHING:
        state = _judged(analysis, state, cell)
    checks = tuple(portions.learned(one, cell) for one in state.checks)
    return replace(state, checks=checks, history=_learned(replace(state.history, rates=rates), cell))


def _entered(state: JudgeState, cell: Cell | Gap) -> JudgeState:
    """The state in the cell's segment: what is gathered per segment starts at nothing."""
    if cell.segment == state.segment:
        return state
    return replace(
        state,
        checks=tuple(fresh(one) for one in state.checks),
        unattributed=fresh(state.unattributed),
        exposure=Exposure(),
        segment=cell.segment,
        split=cell.split.canary,
        matched=isinstance(cell, Cell) and cell.matched,
        settled_cells=0,
        settled_requests=0.0,
    )


def _without_pass(state: JudgeState) -> JudgeState:
    """The state with nothing gathered for PASS; a level that is told goes on where nothing was."""
    if not state.settled_cells:
        return state
    checks = tuple(replace(one, proof=Proof()) for one in state.checks)
    return replace(state, checks=checks, settled_cells=0, settled_requests=0.0)


def _rebounded(analysis: Analysis, state: JudgeState, cell: Cell) -> JudgeState:
    """The state with latency begun anew where the histogram's bounds are others than before."""
    bounds = state.history.bounds
    if not cell.bounds_ms or cell.bounds_ms == bounds:
        return state
    note = "the histogram's bounds changed, its evidence starts anew" if bounds else ""
    empty = (0.0,) * (len(cell.bounds_ms) + 1)
    return replace(
        state,
        history=replace(state.history, bounds=cell.bounds_ms, buckets=empty, basis=empty),
        checks=tuple(
            comparison.rebounded(check, one, len(cell.bounds_ms), note)
            for check, one in zip(analysis.checks, state.checks, strict=True)
        ),
    )


def _judged(analysis: Analysis, state: JudgeState, cell: Cell) -> JudgeState:
    """
    The evidence after a cell in which the canary has a share.

    Whether that is the share of the split is asked first. Until it is proven the cell is no more than one that has not
    settled: evidence of harm, and nothing for PASS. What was gathered before it went astray is thrown away.
    """
    cell = unattributed.ours(cell, state.history)
    followed = exposure.followed(analysis, state.exposure, cell)
    if followed.since is None or followed.since != state.exposure.since:
        state = _without_pass(state)
    state = replace(state, exposure=followed)
    return _weighed(analysis, state, replace(cell, settled=cell.settled and followed.since is not None))


def _judged_matched(analysis: Analysis, state: JudgeState, cell: Cell) -> JudgeState:
    """
    The evidence after a cell in which the canary answers other people than stable does.

    Nothing can be compared: a difference may be that of the people. Objectives judge, and what no version answered.
    There is no share to prove either; that any of these people came to the canary shows that they are sent there.
    """
    since = state.exposure.since
    if since is None and cell.settled and cell.all_canary > 0:
        since = cell.start
    state = replace(state, matched=True, exposure=Exposure(since=since))
    return _weighed(analysis, state, replace(cell, settled=cell.settled and since is not None))


def _weighed(analysis: Analysis, state: JudgeState, cell: Cell) -> JudgeState:
    """The evidence after a cell, of which it is known whether it counts for PASS."""
    since = state.canary_since
    if since is None and cell.all_canary > 0:
        since = cell.start
    warm = since is not None and cell.start >= since + analysis.warmup.total_seconds()
    checks = tuple(
        _checked(analysis, check, one, cell, state.history, warm) if check.asked_at(cell.split) else _unasked(one, cell)
        for check, one in zip(analysis.checks, state.checks, strict=True)
    )
    state = replace(
        state, checks=checks, unattributed=_reached(state.unattributed, cell, state.history), canary_since=since
    )
    state = _clipped(analysis, state, cell)
    settled = cell.settled
    return replace(
        state,
        failure=state.failure or _failure(analysis, state) or _limit(analysis, state, cell),
        settled_cells=state.settled_cells + settled,
        settled_requests=state.settled_requests + (cell.canary.requests if settled else 0.0),
    )


def _unasked(one: CheckState, cell: Cell) -> CheckState:
    """
    A check after a cell at whose weight it is not asked: as it was, for nothing was bet on it.

    That is a bet of nothing, and known before the cell: its evidence stays an e-process, and keeps its share.
    """
    return replace(one, waiting=f"not asked at {cell.split}")


def _checked(analysis: Analysis, check: Check, one: CheckState, cell: Cell, history: History, warm: bool) -> CheckState:
    """One check after a cell."""
    if check.compare and cell.matched:
        return replace(one, waiting=OTHERS)
    if check.metric == "promql":
        return custom.judged(check, one, cell, warm, analysis.window_of(check).total_seconds())
    if check.metric == "traffic":
        return traffic.judged(check, one, cell)
    if check.apart:
        its = portions.of(check, cell)
        if isinstance(its, str):
            return replace(one, waiting=its)
        cell, history = its, replace(history, failing=one.failing)
    if check.compare:
        return comparison.judged(check, one, cell, history, warm, analysis.clump)
    clump = over_time(comparison.scatter_of(check, history)) or analysis.clump
    return objectives.held_against(check, one, cell, warm, clump)


def _reached(one: CheckState, cell: Cell, history: History) -> CheckState:
    """The unattributed failures after a cell."""
    sent, charged = unattributed.sent(cell), unattributed.charged(cell)
    if not sent:
        return one
    wager = lay(one.wager, cell.split.canary, cell.seconds, unattributed.PRIOR)
    one = tallied(one, cell.seconds, (max(0.0, sent - charged), charged), (), unattributed.causes(cell))
    return replace(one, wager=grow(wager, unattributed.harm(cell, history)))


def _clipped(analysis: Analysis, state: JudgeState, cell: Cell) -> JudgeState:
    """
    The combined evidence, and a leap within one cell cut back, to be confirmed by the next.

    A scrape that is late on one side, or one burst, looks like this: a leap from where nothing was suspected. Where the
    weight was held for suspicion already, this cell is the confirmation. Throwing capital away is always allowed.
    """
    harm = _combined(analysis, state)
    clip = CLIP / analysis.alpha
    if harm > clip and state.harm < KNEE and not _outage(cell):
        shares = shares_of(analysis)
        wagers = [one.wager for one in (*state.checks, state.unattributed)]
        unspent = fsum(share * wager.unspent for share, wager in zip(shares, wagers, strict=True))
        staked = fsum(share * stake_of(wager) for share, wager in zip(shares, wagers, strict=True))
        if clip > unspent:
            *cut, last = (shrink(wager, (clip - unspent) / staked) for wager in wagers)
            checks = tuple(replace(one, wager=wager) for one, wager in zip(state.checks, cut, strict=True))
            state = replace(state, checks=checks, unattributed=replace(state.unattributed, wager=last))
            harm = clip
    return replace(state, harm=harm, peak=max(state.peak, harm))


def _outage(cell: Cell) -> bool:
    """True when the canary is plainly down and stable is not."""
    canary, stable = cell.canary, cell.stable
    failing = canary.errors >= OUTAGE_REQUESTS and canary.errors >= OUTAGE_SHARE * canary.requests
    charged = unattributed.charged(cell)
    dead = charged >= DEAD_REQUESTS and charged >= OUTAGE_SHARE * unattributed.sent(cell)
    return (failing or dead) and stable.errors <= STABLE_SHARE * stable.requests


def _combined(analysis: Analysis, state: JudgeState) -> float:
    return fsum(
        share * worth(one.wager)
        for share, one in zip(shares_of(analysis), (*state.checks, state.unattributed), strict=True)
    )


def _failure(analysis: Analysis, state: JudgeState) -> str:
    """The reason to roll back in one sentence, or an empty text while the evidence is below its bound."""
    if state.harm < 1 / analysis.alpha:
        return ""
    shares = shares_of(analysis)
    heaviest = max(
        range(len(shares)), key=lambda index: shares[index] * worth((*state.checks, state.unattributed)[index].wager)
    )
    if heaviest == len(state.checks):
        words = readings.reachability_words(state.unattributed, rising=True)
    else:
        check, one = analysis.checks[heaviest], state.checks[heaviest]
        words = readings.words_of(analysis, check, one, state, one.rise, rising=True)
    return (
        f"{words}; evidence of harm {wording.evidence(state.harm)} "
        f"against a bound of {wording.evidence(1 / analysis.alpha)}"
    )


def _limit(analysis: Analysis, state: JudgeState, cell: Cell) -> str:
    """The first hard limit that the cells are beyond, in one sentence, or an empty text."""
    for check, one in zip(analysis.checks, state.checks, strict=True):
        if check.hard_limit is None or not check.asked_at(cell.split):
            continue
        if words := custom.row_beyond(check, one, cell) if check.metric == "promql" else "":
            return f"{words}; a hard limit asks for no evidence"
        if seen := limits.beyond(check, one, cell.end, objectives.most_bad(check)):
            words = readings.words_of(analysis, check, one, state, seen, rising=True)
            return f"{words}; a hard limit asks for no evidence"
    return ""


def _learned(history: History, cell: Cell) -> History:
    """The history with the cell in it; called after everything that bets on the cell."""
    # A canary that was dead under a former run left failures behind, and no request to know it by.
    quiet = cell.split == NOTHING and not cell.matched
    if quiet and cell.segment != BEFORE:
        requests = cell.all_stable + cell.all_canary + cell.unattributed
        history = replace(
            history,
            quiet_requests=history.quiet_requests + requests,
            quiet_failures=history.quiet_failures + cell.unattributed,
        )
    if quiet:
        history = unattributed.remembered(history, cell)
    elapsed = 0.0 if history.end is None else cell.end - history.end
    stable = cell.stable
    history = replace(
        history,
        failing=scattered(history.failing, stable.errors, stable.requests, cell.seconds),
        pods=scattered_pods(history.pods, stable, cell.seconds, elapsed),
    )
    buckets = faded(history.buckets, elapsed)
    if cell.bounds_ms and cell.stable.buckets:
        buckets = add(buckets, cell.stable.buckets)
    end = cell.end if history.end is None else max(history.end, cell.end)
    history = replace(history, buckets=buckets, end=end)
    stale = history.basis_end is None or end - history.basis_end >= REFRESH
    if stale or fsum(buckets) > GROWN * fsum(history.basis):
        history = replace(history, basis=buckets, basis_end=end)
    if not stable.buckets or not fsum(history.basis):
        return history
    place = nearest(history.basis, TYPICAL)
    slow, served = comparison.split_at(stable.buckets, place)
    return replace(history, slow=scattered(history.slow, slow, served, cell.seconds, place))


def _blank(check: Check) -> tuple[None, ...]:
    if check.metric == "promql":
        return (None,) * custom.components(check)
    if check.metric == "traffic":
        return (None,) * len(traffic.BETS)
    return (None,) * (comparison.components(check) if check.compare else len(objectives.RATIOS))

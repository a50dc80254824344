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
from datetime import timedelta
from math import fsum

from canaryd.judge import comparison, errors, guards, objectives, unattributed, wording
from canaryd.judge.comparison import add, fresh, tallied
from canaryd.judge.dispersion import over_time, scattered, scattered_pods, tempered
from canaryd.judge.histogram import faded, nearest
from canaryd.judge.mixture import grow, lay, shrink, stake_of, worth
from canaryd.model.cells import BEFORE, Cell, Gap
from canaryd.model.evidence import Evidence, Reading
from canaryd.model.judgement import CheckState, Exposure, History, JudgeState, Scatters, Tally, Wager
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import NOTHING, Split

HOLD = 3.0
"""Evidence of harm at which the weight may not rise, far below the bound of a rollback."""
KNEE, CLIP = 5.0, 0.5
"""Evidence below which nothing was suspected, and the share of the bound to which a leap from there is cut."""
OUTAGE_REQUESTS, OUTAGE_SHARE, STABLE_SHARE, DEAD_REQUESTS = 10.0, 0.5, 0.1, 5.0
"""A plain outage is not cut: so many failures, such a share of the canary, while stable fails at most so much."""
REFRESH, GROWN = 180.0, 1.5
"""Bets are made from a histogram of stable that is this old (s) at most, and that has grown by this much at most."""
TYPICAL = 0.1
"""Stable's share of slow requests that tells how latencies scatter: neither rare nor usual."""
TELLING = 0.2
"""A bound on how much worse the canary is that is above this is kept to ourselves."""
UNATTRIBUTED = "unattributed failures"
UNATTRIBUTED_SHARE, OBJECTIVES_SHARE = 0.05, 0.1
"""Shares of the evidence; the comparisons have the rest, half of it for errors and half for latency."""


def begin(analysis: Analysis, past: Iterable[Cell] = ()) -> JudgeState:
    """The judge before the first cell, knowing stable from the cells of its ``past``."""
    checks = tuple(CheckState(check.name, Wager(capital=_blank(check))) for check in analysis.checks)
    state = JudgeState(checks, CheckState(UNATTRIBUTED, Wager(capital=(None,) * len(unattributed.BETS))))
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
    state = replace(_rebounded(analysis, state, cell), gap="", refused=False, cells=state.cells + 1)
    if cell.split != NOTHING:
        state = _judged(analysis, state, cell)
    return replace(state, history=_learned(replace(state.history, rates=rates), cell))


def weigh(analysis: Analysis, state: JudgeState) -> Evidence:
    """What the cells so far amount to."""
    shares = shares_of(analysis)
    proofs = [
        comparison.proof_of(one.proof)
        for check, one in zip(analysis.checks, state.checks, strict=True)
        if check.compare
    ]
    proof = min(proofs, default=1.0)
    doubt = state.gap if state.refused else guards.doubt(state.exposure)
    readings = [
        _reading(analysis, check, one, state, share)
        for check, one, share in zip(analysis.checks, state.checks, shares, strict=False)
    ]
    return Evidence(
        harm=state.harm,
        harm_bound=1 / analysis.alpha,
        hold_bound=hold_bound(analysis),
        proof=proof,
        proof_bound=1 / analysis.beta,
        proven=bool(proofs)
        and proof >= 1 / analysis.beta
        and state.settled_cells >= analysis.proof_cells
        and state.settled_requests >= analysis.min_requests
        and not doubt,
        failure=state.failure,
        canary_requests=state.settled_requests,
        readings=(*readings, _reachability(analysis, state, shares[-1])),
        objectives_hold=all(
            worth(one.wager) < hold_bound(analysis) and _place_known(check, state.history.bounds)
            for check, one in zip(analysis.checks, state.checks, strict=True)
            if not check.compare
        ),
        doubt=doubt,
        segment=state.segment,
    )


def hold_bound(analysis: Analysis) -> float:
    """Evidence of harm at which the weight may not rise."""
    return min(HOLD, 1 / analysis.alpha)


def shares_of(analysis: Analysis) -> tuple[float, ...]:
    """The share of each check in the evidence, and that of the unattributed failures last; they sum to 1."""
    kinds = [check.metric if check.compare else "objective" for check in analysis.checks]
    compared = {kind for kind in kinds if kind != "objective"}
    objective = 0.0 if "objective" not in kinds else OBJECTIVES_SHARE if compared else 1 - UNATTRIBUTED_SHARE
    rest = 1 - UNATTRIBUTED_SHARE - objective
    group = {kind: (objective if kind == "objective" else rest / len(compared)) / kinds.count(kind) for kind in kinds}
    return (*(group[kind] for kind in kinds), UNATTRIBUTED_SHARE)


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
        settled_cells=0,
        settled_requests=0.0,
    )


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
    """The evidence after a cell in which the canary has a share."""
    since = state.canary_since
    if since is None and cell.canary.requests > 0:
        since = cell.start
    warm = since is not None and cell.start >= since + analysis.warmup.total_seconds()
    checks = tuple(
        comparison.judged(check, one, cell, state.history, warm, analysis.clump)
        if check.compare
        else _held_against(check, one, cell, warm, over_time(_scatter(check, state.history)) or analysis.clump)
        for check, one in zip(analysis.checks, state.checks, strict=True)
    )
    state = replace(
        state, checks=checks, unattributed=_reached(state.unattributed, cell, state.history), canary_since=since
    )
    state = _clipped(analysis, state, cell)
    settled = cell.settled
    return replace(
        state,
        failure=state.failure or _failure(analysis, state),
        settled_cells=state.settled_cells + settled,
        settled_requests=state.settled_requests + (cell.canary.requests if settled else 0.0),
        exposure=guards.exposed(state.exposure, cell),
    )


def _scatter(check: Check, history: History) -> Scatters:
    return history.failing if check.metric == "error-rate" else history.slow


def _held_against(check: Check, one: CheckState, cell: Cell, warm: bool, clump: float) -> CheckState:
    """An absolute objective after a cell."""
    if check.metric == "error-rate":
        bad, requests, bound = cell.canary.errors, cell.canary.requests, check.at_most or 0.0
    else:
        place, buckets = objectives.place_of(cell.bounds_ms, _within(check)), cell.canary.buckets
        if place is None or not buckets:
            return replace(one, waiting="no bucket bound at or above it" if cell.bounds_ms else "no latency buckets")
        if not warm:
            return replace(one, waiting="the canary is warming up")
        bad, requests, bound = fsum(buckets[place + 1 :]), fsum(buckets), 1 - (check.at_least or 0.0)
    if not requests:
        return replace(one, waiting="no requests of the canary")
    wager = lay(one.wager, cell.split.canary, cell.seconds, objectives.PRIOR)
    one = tallied(one, cell.seconds, (requests - bad, bad), ())
    return replace(one, wager=grow(wager, tempered(objectives.harm(bad, requests, bound), clump)), waiting="")


def _reached(one: CheckState, cell: Cell, history: History) -> CheckState:
    """The unattributed failures after a cell."""
    sent, charged = unattributed.sent(cell), unattributed.charged(cell)
    if not sent:
        return one
    wager = lay(one.wager, cell.split.canary, cell.seconds, unattributed.PRIOR)
    causes = (("NC", cell.no_cluster),) if cell.no_cluster else ()
    one = tallied(one, cell.seconds, (max(0.0, sent - charged), charged), (), causes)
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
        words = _reachability_words(state.unattributed, rising=True)
    else:
        check, one = analysis.checks[heaviest], state.checks[heaviest]
        words = _words(check, one, state, one.rise, rising=True)
    return (
        f"{words}; evidence of harm {wording.evidence(state.harm)} "
        f"against a bound of {wording.evidence(1 / analysis.alpha)}"
    )


def _learned(history: History, cell: Cell) -> History:
    """The history with the cell in it; called after everything that bets on the cell."""
    # A canary that was dead under a former run left failures behind, and no request to know it by.
    if cell.split == NOTHING and cell.segment != BEFORE:
        requests = cell.stable.requests + cell.canary.requests + cell.unattributed
        history = replace(
            history,
            quiet_requests=history.quiet_requests + requests,
            quiet_failures=history.quiet_failures + cell.unattributed,
        )
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


def _reading(analysis: Analysis, check: Check, one: CheckState, state: JudgeState, share: float) -> Reading:
    harm = worth(one.wager)
    rising = harm >= hold_bound(analysis)
    tally = one.rise if rising else one.level
    sentence = _words(check, one, state, tally, rising)
    bound = 1 / (analysis.alpha * share)
    proof = comparison.proof_of(one.proof) if check.compare else 1.0
    sentence += f"; evidence of harm {wording.evidence(harm)} (bound {wording.evidence(bound)})"
    if check.compare:
        sentence += f", of no harm {wording.evidence(proof)} (bound {wording.evidence(1 / analysis.beta)})"
    at_most = errors.at_most(one.excess, analysis.beta)
    if at_most is not None and at_most < TELLING and proof < 1 / analysis.beta:
        sentence += f"; {wording.at_most(at_most, analysis.beta)}"
    if check.compare:
        what = "failures" if check.metric == "error-rate" else "slow requests"
        sentence += wording.scatter(what, over_time(_scatter(check, state.history)), analysis.clump)
    if one.waiting:
        sentence += f"; not judged now: {one.waiting}"
    if one.note:
        sentence += f"; {one.note}"
    place = comparison.place_shown(check, one, rising)
    canary, stable = comparison.split_at(tally.canary, place), comparison.split_at(tally.stable, place)
    compares_latency = check.compare and check.metric == "latency" and state.history.bounds
    over = f" over {wording.duration(state.history.bounds[place])}" if compares_latency else ""
    return Reading(
        check=check.name,
        stable=wording.percent(*stable) + over,
        canary=wording.percent(*canary) + over,
        stable_requests=stable[1],
        canary_requests=canary[1],
        harm=harm,
        proof=proof,
        sentence=sentence,
        harm_bound=bound,
        proof_bound=1 / analysis.beta if check.compare else 0.0,
        at_most=at_most,
    )


def _words(check: Check, one: CheckState, state: JudgeState, tally: Tally, rising: bool) -> str:
    """A check in words, without its evidence."""
    place = comparison.place_shown(check, one, rising)
    canary, stable = comparison.split_at(tally.canary, place), comparison.split_at(tally.stable, place)
    when = wording.window(tally, str(Split(state.split)), rising)
    if check.compare and check.metric == "error-rate":
        return wording.errors(check.name, canary, stable, when, tally.causes)
    if check.compare:
        bound = state.history.bounds[place] if state.history.bounds else 0.0
        return wording.latency(check.name, bound, canary, stable, when) if bound else f"{check.name}: no buckets yet"
    if check.metric == "error-rate":
        return wording.objective(
            check.name, "failed", canary, f"at most {wording.share(check.at_most or 0.0)} may", when
        )
    asked = _within(check)
    at = objectives.place_of(state.history.bounds, asked)
    judged_at = asked if at is None else state.history.bounds[at]
    words = wording.objective(
        check.name,
        f"took longer than {wording.duration(judged_at)}",
        canary,
        f"at least {wording.share(check.at_least or 0.0)} must be within {wording.duration(asked)}",
        when,
    )
    if state.history.bounds and at is None:
        return f"{words} (cannot be judged: the histogram's last bound is {wording.duration(state.history.bounds[-1])})"
    if judged_at != asked:
        return f"{words} (judged at {wording.duration(judged_at)}, the next bound of the histogram above)"
    return words


def _reachability(analysis: Analysis, state: JudgeState, share: float) -> Reading:
    one = state.unattributed
    harm, bound = worth(one.wager), 1 / (analysis.alpha * share)
    rising = harm >= hold_bound(analysis)
    failed, sent = comparison.split_at((one.rise if rising else one.level).canary, 0)
    sentence = (
        f"{_reachability_words(one, rising)}; "
        f"evidence of harm {wording.evidence(harm)} (bound {wording.evidence(bound)})"
    )
    return Reading(
        check=UNATTRIBUTED,
        stable="–",
        canary=wording.percent(failed, sent),
        stable_requests=0.0,
        canary_requests=sent,
        harm=harm,
        proof=1.0,
        sentence=sentence,
        harm_bound=bound,
    )


def _reachability_words(one: CheckState, rising: bool) -> str:
    tally = one.rise if rising else one.level
    return wording.unattributed(*comparison.split_at(tally.canary, 0), dict(tally.causes).get("NC", 0.0))


def _place_known(check: Check, bounds: tuple[float, ...]) -> bool:
    """False when a latency objective lies above every bound of the histogram, so that nothing can be said of it."""
    return check.metric == "error-rate" or not bounds or objectives.place_of(bounds, _within(check)) is not None


def _within(check: Check) -> float:
    return (check.within or timedelta(0)) / timedelta(milliseconds=1)


def _blank(check: Check) -> tuple[None, ...]:
    return (None,) * (comparison.components(check) if check.compare else len(objectives.RATIOS))

"""
What the cells so far amount to: a reading for each check, in numbers and in one sentence.

Nothing is decided here and no evidence changes; the words themselves are in ``wording``.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge import comparison, custom, errors, exposure, objectives, traffic, unattributed, wording
from canaryd.judge.comparison import scatter_of
from canaryd.judge.dispersion import over_time
from canaryd.judge.mixture import worth
from canaryd.judge.objectives import place_known, within_ms
from canaryd.judge.shares import hold_bound, shares_of
from canaryd.model.evidence import Evidence, Reading
from canaryd.model.judgement import CheckState, JudgeState, Tally
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import Split
from canaryd.model.where import both

UNATTRIBUTED = "unattributed failures"
REPORTED = "for the report only, it decides nothing"
TELLING = 0.2
"""A bound on how much worse the canary is that is above this is kept to ourselves."""


def weigh(analysis: Analysis, state: JudgeState) -> Evidence:
    """What the cells so far amount to."""
    shares, split = shares_of(analysis), Split(state.split)
    proofs = [
        comparison.proof_of(one.proof)
        for check, one in zip(analysis.checks, state.checks, strict=True)
        if check.proves and check.asked_at(split)
    ]
    proof = min(proofs, default=1.0)
    doubt = state.gap if state.refused else exposure.doubt(state.exposure, split)
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
        and not analysis.unproven_at(split)
        and proof >= 1 / analysis.beta
        and state.settled_cells >= analysis.proof_cells
        and state.settled_requests >= analysis.min_requests
        and state.exposure.since is not None
        and not doubt,
        failure=state.failure,
        canary_requests=state.settled_requests,
        readings=(*readings, _reachability(analysis, state, shares[-1])),
        objectives_hold=all(reading.holds for reading in readings),
        unmeasured=_unmeasured(analysis, state),
        doubt=doubt,
        segment=state.segment,
        shared_from=state.exposure.since,
        share="" if state.matched else exposure.words(state.exposure, split),
        astray=exposure.astray(state.exposure) or exposure.overdue(state.exposure),
        lagging=tuple(one.client for one in exposure.lagging(state.exposure)),
    )


def _unmeasured(analysis: Analysis, state: JudgeState) -> str:
    """The first check of a query or counts of its own that has had none in this segment, and why; or an empty text."""
    for check, one in zip(analysis.checks, state.checks, strict=True):
        if state.matched and check.compare:
            continue
        decides = not check.report_only and check.asked_at(Split(state.split))
        if check.metric == "promql" and decides and not one.valued.level.cells:
            return f"{check.name}: {one.waiting or 'no value yet'}"
        if check.apart and decides and not one.level.seconds:
            return f"{check.name}: {one.waiting or 'no requests yet'}"
    return ""


def words_of(analysis: Analysis, check: Check, one: CheckState, state: JudgeState, tally: Tally, rising: bool) -> str:
    """A check in words, without its evidence."""
    if check.metric == "promql":
        return custom.words(check, one, Split(state.split), rising)
    place = comparison.place_shown(check, one, rising)
    canary, stable = comparison.split_at(tally.canary, place), comparison.split_at(tally.stable, place)
    when = wording.window(tally, "the step's match" if state.matched else str(Split(state.split)), rising)
    named = check.name + wording.of_those(both(analysis.where, check.where))
    counted = wording.counted(analysis.failures_of(check))
    if check.compare and check.metric == "error-rate":
        return wording.errors(named, canary, stable, when, tally.causes) + counted
    if check.compare:
        bound = state.history.bounds[place] if state.history.bounds else 0.0
        return wording.latency(named, bound, canary, stable, when) if bound else f"{check.name}: no buckets yet"
    if check.metric == "error-rate":
        at_most = f"at most {wording.share(check.at_most or 0.0)} may{wording.hard_limit(check.hard_limit)}"
        return wording.objective(named, "failed", canary, at_most, when) + counted
    asked = within_ms(check)
    at = objectives.place_of(state.history.bounds, asked)
    judged_at = asked if at is None else state.history.bounds[at]
    words = wording.objective(
        named,
        f"took longer than {wording.duration(judged_at)}",
        canary,
        f"at least {wording.share(check.at_least or 0.0)} must be within {wording.duration(asked)}"
        f"{wording.hard_limit(check.hard_limit)}",
        when,
    )
    if state.history.bounds and at is None:
        return f"{words} (cannot be judged: the histogram's last bound is {wording.duration(state.history.bounds[-1])})"
    if judged_at != asked:
        return f"{words} (judged at {wording.duration(judged_at)}, the next bound of the histogram above)"
    return words


def reachability_words(one: CheckState, rising: bool) -> str:
    tally = one.rise if rising else one.level
    causes = dict(tally.causes)
    clients = {
        name.removeprefix(unattributed.AT): count for name, count in causes.items() if name.startswith(unattributed.AT)
    }
    at = tuple(sorted(clients, key=lambda client: (-clients[client], client)))
    return wording.unattributed(*comparison.split_at(tally.canary, 0), causes.get("NC", 0.0), at)


def _reading(analysis: Analysis, check: Check, one: CheckState, state: JudgeState, share: float) -> Reading:
    """The check as it stands, and what of it counts: nothing of one for the report only, or that is not asked here."""
    bound = 1 / (analysis.alpha * share) if share else 0.0
    if not check.asked_at(Split(state.split)):
        harm = worth(one.wager) if share else 1.0
        sentence = f"{check.name}: not asked at {Split(state.split)}"
        return Reading(check.name, "–", "–", 0.0, 0.0, harm, 1.0, sentence, harm_bound=bound)
    reading = _measured(analysis, check, one, state, bound)
    if not check.report_only:
        return reading
    return replace(
        reading, sentence=f"{reading.sentence}; {REPORTED}", harm_bound=0.0, proof_bound=0.0, holds=True, known=""
    )


def _measured(analysis: Analysis, check: Check, one: CheckState, state: JudgeState, bound: float) -> Reading:
    hold = hold_bound(analysis)
    if check.metric == "traffic":
        return traffic.reading(check, one, Split(state.split))
    if check.metric == "promql" and not (check.compare and state.matched):
        return custom.reading(check, one, Split(state.split), hold, (bound, 1 / analysis.beta))
    harm = worth(one.wager)
    rising = harm >= hold
    tally = one.rise if rising else one.level
    if check.compare and state.matched:
        return _not_compared(check)
    sentence = words_of(analysis, check, one, state, tally, rising)
    proof = comparison.proof_of(one.proof) if check.proves else 1.0
    sentence += f"; evidence of harm {wording.against(harm, bound)}"
    if check.proves:
        sentence += f", of no harm {wording.evidence(proof)} (bound {wording.evidence(1 / analysis.beta)})"
    at_most = errors.at_most(one.excess, analysis.beta)
    telling = at_most is not None and at_most < TELLING and proof < 1 / analysis.beta
    known = wording.at_most(at_most or 0.0, analysis.beta) if telling else ""
    sentence += f"; {known}" if known else ""
    if check.compare:
        what = "failures" if check.metric == "error-rate" else "slow requests"
        sentence += wording.scatter(
            what, over_time(one.failing if check.apart else scatter_of(check, state.history)), analysis.clump
        )
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
        stable=wording.percent(*stable) + (over if stable[1] else ""),
        canary=wording.percent(*canary) + (over if canary[1] else ""),
        stable_requests=stable[1],
        canary_requests=canary[1],
        harm=harm,
        proof=proof,
        sentence=sentence,
        harm_bound=bound,
        proof_bound=1 / analysis.beta if check.proves else 0.0,
        at_most=at_most,
        holds=bool(check.compare) or (harm < hold and place_known(check, state.history.bounds)),
        known=known,
    )


def _not_compared(check: Check) -> Reading:
    """A comparison at a step with a match, where there is nothing to compare."""
    return Reading(check.name, "–", "–", 0.0, 0.0, 1.0, 1.0, f"{check.name}: not compared at a step with a match")


def _reachability(analysis: Analysis, state: JudgeState, share: float) -> Reading:
    one = state.unattributed
    harm, bound = worth(one.wager), 1 / (analysis.alpha * share)
    rising = harm >= hold_bound(analysis)
    failed, sent = comparison.split_at((one.rise if rising else one.level).canary, 0)
    sentence = (
        f"{reachability_words(one, rising)}; "
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

"""
Progress, phase by phase, and what a step needs to pass.

PASS advances, and nothing else does: a limit that runs out, a gap or a missing answer never raises a weight.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine import gates
from canaryd.machine.returning import go_back, watched
from canaryd.machine.writes import held_for, shifted_to
from canaryd.model.cells import Gap
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.duration import render_seconds
from canaryd.model.evidence import Evidence
from canaryd.model.finding import summary
from canaryd.model.passing import finding, in_doubt, lack, objection, unproven_share
from canaryd.model.run import Phase, Pin, Run, Word
from canaryd.model.traffic import EVERYTHING


def _begin(run: Run, seen: Observation) -> Decision:
    """Pending: the run starts when both sides are ready and the canary is wholly rolled out."""
    if seen.barred:
        return Decision(replace(run, waiting=f"waiting to start: {seen.barred}"))
    if isinstance(seen.sides, Unseen):
        return Decision(replace(run, waiting=f"the pods cannot be seen, trying again: {seen.sides.why}"))
    stable, canary = seen.sides.stable, seen.sides.canary
    if not canary.rolled_out or canary.ready == 0:
        return Decision(
            replace(run, waiting=f"waiting for the canary to be rolled out: {canary.why or 'no ready pod'}")
        )
    if stable.ready == 0:
        return Decision(replace(run, waiting=f"waiting for stable to be ready: {stable.why or 'no ready pod'}"))
    if waits := gates.kept(run, seen):
        return waits
    pinned = replace(run, stable_pin=Pin.of(stable), canary_pin=Pin.of(canary), hold=None)
    started = Event(
        Told.STARTED, f"{run.plan} release {run.plan.spec.release}: {run.route.stable} -> {run.route.canary}"
    )
    shift = shifted_to(pinned, seen, run.current_step.weight, Phase.SHIFTING, run.current_step.audience)
    found = (Event(Told.PREFLIGHT, summary(run.findings)),) if run.findings and run.seq == 0 else ()
    return replace(shift, events=(started, *found, *shift.events))


def _arrive(run: Run, _: Observation) -> Decision:
    """Shifting: the marker and the weights are there."""
    baking = replace(run, phase=Phase.BAKING, waiting=f"settling at {run.share}")
    return Decision(baking, events=(Event(Told.SHIFTED, f"{run.route} sends {run.share} to {run.route.canary}"),))


def _bake(run: Run, seen: Observation) -> Decision:
    """Baking: PASS advances, and nothing else does."""
    if why := _without_data(run, seen):
        return _blind(run, seen, why)
    run = replace(run, blind_since=None)
    if (run.unproven or run.advanced) and (why := _unready(seen)):
        limit = run.plan.spec.on_inconclusive
        return Decision(held_for(run, seen, "inconclusive", why, limit.hold, limit.then))
    if run.unproven:
        return _promote(run, seen, f"promoted by a person's word: {run.unproven}")
    if run.advanced and run.following is not None:
        return _advance(run, seen, run.advanced, run.following)
    baked, needed = len(run.baked), run.needed
    if not baked and (waits := _without_share(run, seen)):
        return waits
    if baked < needed and not _proven_early(run, seen, baked):
        return Decision(replace(run, hold=None, waiting=f"baking at {run.share}: {baked} of {needed} cells"))
    # The step has passed and waits at its gate; whether it still passes is asked when the gate opens.
    if run.hold and run.hold.kind == "gate" and (waits := gates.kept(run, seen)):
        return waits
    if doubt := _doubt(run, seen):
        limit = run.plan.spec.on_inconclusive
        return Decision(held_for(run, seen, "inconclusive", doubt, limit.hold, limit.then))
    if waits := gates.kept(run, seen):
        return waits
    return _promote(run, seen, _proof(run)) if run.following is None else _pass(run, seen, run.following)


def _without_share(run: Run, seen: Observation) -> Decision | None:
    """
    Nothing counts, because callers are not known to meet the new split: settled cells go by, and the bake is empty.

    Traffic that is elsewhere holds at once. Too little of it to tell has a whole bake's time before it holds, as has
    any other lack.
    """
    evidence, settled = run.present, len(run.settled)
    if not settled:
        return None
    why = unproven_share(evidence, run.split, run.match) if evidence else "no evidence yet under this split"
    if (evidence and evidence.astray) or settled >= run.needed:
        limit = run.plan.spec.on_inconclusive
        return Decision(
            held_for(run, seen, "inconclusive", _share_doubt(evidence, seen) or why, limit.hold, limit.then)
        )
    waited = render_seconds(seen.now - run.settled[0].start)
    return Decision(replace(run, hold=None, waiting=f"waiting for the share at {run.share}, for {waited}: {why}"))


def _share_doubt(evidence: Evidence | None, seen: Observation) -> str:
    """The evidence's own doubt; where it is about the share, with what in the mesh may have brought it about."""
    if evidence is None or not evidence.astray or not seen.suspects:
        return evidence.doubt if evidence else ""
    return f"{evidence.doubt}. Likely causes, the likeliest first: {'; '.join(seen.suspects)}"


def _blind(run: Run, seen: Observation, why: str) -> Decision:
    """
    Nothing can be measured: traffic stays, within the plan's limit.

    The limit counts from when we noticed, for a downtime of ours is nobody's gap. A hold that is there for another
    reason goes on with its own limit, so that a gap now and then cannot prolong it for ever.
    """
    limit, since = run.plan.spec.on_no_data, run.blind_since if run.blind_since is not None else seen.now
    run = replace(run, blind_since=since)
    if (
        run.hold
        and run.hold.kind in ("gate", "inconclusive", "barred")
        and seen.now < since + limit.hold.total_seconds()
    ):
        return Decision(replace(run, waiting=f"{run.hold.why}; no data: {why}"))
    return Decision(held_for(run, seen, "no-data", f"no data: {why}", limit.hold, limit.then, since))


def _pass(run: Run, seen: Observation, following: int) -> Decision:
    if seen.barred:
        why = f"step {run.step + 1} has passed at {run.share}, the next one waits: {seen.barred}"
        return Decision(held_for(run, seen, "barred", why))
    passed = Event(Told.PASSED, f"step {run.step + 1} passed at {run.share}: {finding(run.evidence)}")
    return _next(run, seen, following, passed)


def _advance(run: Run, seen: Observation, word: Word, following: int) -> Decision:
    """A person's word is there instead of PASS; gates and a bar are heeded all the same."""
    if waits := gates.kept(run, seen):
        return waits
    said = f"step {run.step + 1} ended at {run.share} by {word}; {len(run.baked)} of {run.needed} cells were baked"
    if seen.barred:
        return Decision(held_for(run, seen, "barred", f"{said}; the next one waits: {seen.barred}"))
    return _next(run, seen, following, Event(Told.ADVANCED, said))


def _next(run: Run, seen: Observation, following: int, why: Event) -> Decision:
    ahead = replace(run, step=following, hold=None)
    shift = shifted_to(ahead, seen, ahead.current_step.weight, Phase.SHIFTING, ahead.current_step.audience)
    return replace(shift, events=(why, *shift.events))


def _proven_early(run: Run, seen: Observation, baked: int) -> bool:
    """The plan lets evidence end this step, and there is enough of it: proof under this split, and no doubt."""
    step, evidence = run.current_step, run.evidence
    if step.until != "evidence" or evidence is None or baked * run.plan.spec.analysis.cell < step.least:
        return False
    return evidence.proven and not _doubt(run, seen)


def _promote(run: Run, seen: Observation, proof: str) -> Decision:
    if seen.barred:
        return Decision(held_for(run, seen, "barred", f"the promotion waits: {seen.barred}"))
    proven = run.evidence is not None and run.evidence.proven
    unproven = run.unproven or ("" if proven else run.plan.spec.accept_unproven)
    shift = shifted_to(replace(run, hold=None, reason=proof, unproven=unproven), seen, EVERYTHING, Phase.PROMOTING)
    return replace(shift, events=(Event(Told.PROMOTING, proof),))


def _proof(run: Run) -> str:
    if run.evidence and run.evidence.proven:
        return f"proven at {run.split}: {finding(run.evidence)}"
    return f"unproven, accepted by the plan: {run.plan.spec.accept_unproven}"


def _settle_at_everything(run: Run, seen: Observation) -> Decision:
    if seen.now - (run.arrived_at or seen.now) < run.settle:
        return Decision(replace(run, waiting="the canary has 100 %; settling"))
    watching = replace(run, phase=Phase.WATCHING, waiting="watching at 100 %")
    return Decision(
        watching, events=(Event(Told.WATCHING, "the canary has 100 %; objectives are watched, rollback armed"),)
    )


def _watch(run: Run, seen: Observation) -> Decision:
    """Watching: there is nothing to compare with any more; objectives, readiness and people may still roll back."""
    over = (run.arrived_at or seen.now) + run.settle + run.plan.spec.watch.total_seconds()
    if seen.blind:
        over += run.plan.spec.on_no_data.hold.total_seconds()
    if seen.now < over:
        left = render_seconds(over - seen.now)
        blind = f", blind: {seen.blind}" if seen.blind else ""
        return Decision(replace(run, waiting=f"watching at 100 % for another {left}{blind}"))
    if run.evidence and not run.evidence.objectives_hold:
        limit = run.plan.spec.on_inconclusive
        doubt = f"an objective is in doubt at 100 %: {in_doubt(run.evidence)}"
        return Decision(held_for(run, seen, "inconclusive", doubt, limit.hold, limit.then))
    if run.present and run.present.astray:
        limit = run.plan.spec.on_inconclusive
        doubt = f"callers do not meet the canary at 100 %: {_share_doubt(run.present, seen)}"
        return Decision(held_for(run, seen, "inconclusive", doubt, limit.hold, limit.then))
    return watched(run, seen)


def _without_data(run: Run, seen: Observation) -> str:
    """Why nothing is known of the traffic of now; empty if something is."""
    last = run.cells[-1] if run.cells else None
    gap = last.why if isinstance(last, Gap) and last.segment == run.segment.index else ""
    analysis = run.plan.spec.analysis
    measured = max((cell.end for cell in run.cells if not isinstance(cell, Gap)), default=run.created)
    measured = max(measured, run.segment.origin, run.arrived_at or 0.0, seen.since)
    late = seen.now - measured > 4 * analysis.cell.total_seconds() + analysis.lag.total_seconds()
    return seen.blind or gap or ("no cell has been measured for a while" if late else "")


def _doubt(run: Run, seen: Observation) -> str:
    """Why a full bake is not a PASS; empty if it is."""
    evidence = run.evidence
    if evidence is None or evidence.segment != run.segment.index:
        return "no evidence yet under this split"
    if why := _unready(seen) or _share_doubt(evidence, seen) or objection(evidence):
        return why
    spec = run.plan.spec
    promotes = run.following is None and not spec.accept_unproven
    least = spec.least_requests(run.current_step)
    return lack(evidence, run.share, least, len(run.baked), promotes=promotes)


def _unready(seen: Observation) -> str:
    """Why the canary may not take more traffic, as its pods are; empty if it may."""
    if isinstance(seen.sides, Unseen):
        return f"the pods cannot be seen: {seen.sides.why}"
    if not seen.sides.canary.rolled_out or seen.sides.canary.ready == 0:
        return f"the canary is not ready for more: {seen.sides.canary.why or 'no ready pod'}"
    return ""


PROGRESS = {
    Phase.PENDING: _begin,
    Phase.SHIFTING: _arrive,
    Phase.BAKING: _bake,
    Phase.PROMOTING: _settle_at_everything,
    Phase.WATCHING: _watch,
    Phase.RETURNING: go_back,
}

"""
The one function that decides: ``decide(run, observation) -> Decision``.

It reads no clock, does no I/O and logs nothing; the same run and observation give the same decision. What a newcomer
would get wrong: the run says what we *want*, the sighting what *is*. They are compared, and never copied onto each
other, but for one case: a marker of our own that is newer than the run is a retreat whose save was lost.

    pending --> shifting --> baking --> shifting --> ... --> promoting --> watching --> promoted
       \\____________\\___________\\__________________________\\___________\\--> rolling back --> rolled back

FAIL, abort and a hold that ran out latch the run: from then on the split never rises.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto

from canaryd.model.cells import Gap, Segment
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen, Write
from canaryd.model.duration import render_seconds
from canaryd.model.passing import finding, lack, objection
from canaryd.model.run import Command, Hold, HoldKind, Latch, LatchKind, Outcome, Phase, Pin, Run, Then
from canaryd.model.traffic import EVERYTHING, NOTHING, Marker, Sides, Sighting, Split

UNREADY_FOR = 1.0
"""Seconds between two observations without a ready canary endpoint that amount to a dead canary."""

RESTART = "restart"
"""In the marker of a retreat after which the run starts over: no latch of the run."""

DRIFT = "drift"
"""In the marker of a write that brought somebody else's weights down: the run is held."""

LATCHES: dict[str, LatchKind] = {"fail": "fail", "abort": "abort", "inconclusive": "inconclusive"}
OUTCOMES = {"fail": Outcome.FAILED, "abort": Outcome.ABORTED, "inconclusive": Outcome.INCONCLUSIVE}


class Standing(Enum):
    """What the mesh's marker and weights say of our last write."""

    ARRIVED = auto()
    """They are what we wrote last."""
    LOST = auto()
    """They are what we wrote before that; the last write has never been seen."""
    AHEAD = auto()
    """The marker is ours, and newer than what we know of."""
    DRIFT = auto()
    """Anything else: somebody else wrote."""


def standing(run: Run, seen: Sighting) -> Standing:
    """Compare what the mesh shows with what ``run`` wrote last, never with what it showed before."""
    marker = seen.marker
    if marker is None or marker.run != run.uid:
        untouched = marker is None and seen.split == run.started_from
        if run.seq == 0:
            return Standing.ARRIVED if untouched else Standing.DRIFT
        return Standing.LOST if untouched and _never_arrived(run) else Standing.DRIFT
    if marker.seq > run.seq:
        return Standing.AHEAD
    if seen.split != marker.split:
        return Standing.DRIFT
    if marker.seq == run.seq:
        return Standing.ARRIVED if marker.split == run.split else Standing.DRIFT
    # An older marker once the newer one was seen: somebody has put an old state of the object back.
    return Standing.LOST if run.arrived_at is None else Standing.DRIFT


def _never_arrived(run: Run) -> bool:
    return run.arrived_at is None and all(segment.seq in (0, run.seq) for segment in run.segments)


def decide(run: Run, seen: Observation) -> Decision:
    """
    What ``run`` becomes after ``seen``, and the one write that follows from it.

    The order is the order of what matters: what the mesh knows better than we do, evidence, people, harm, then drift,
    and progress last.
    """
    if run.final:
        return Decision(run, release=not run.released)
    told: list[Event] = []
    run = _adopt(run, seen, told)
    run = _see_arrival(run, seen)
    run = _take_evidence(run, seen)
    run, resumed = _obey(run, seen, told)
    run = _latch_harm(run, seen)
    answer = _roll_back(run, seen) if run.latch else _go_on(run, seen, resumed=resumed)
    if answer.run.latch is None and (ran_out := _ran_out(answer.run, seen)):
        answer = _roll_back(replace(run, latch=ran_out), seen)
    if answer.run.hold and (run.hold is None or run.hold.kind != answer.run.hold.kind):
        told.append(Event(Told.HELD, answer.run.hold.why))
    if run.hold and answer.run.hold is None and not answer.run.latch:
        told.append(Event(Told.RESUMED, f"no longer held: {run.hold.why}"))
    return replace(answer, events=(*told, *answer.events))


def _adopt(run: Run, seen: Observation, told: list[Event]) -> Run:
    """
    Our own marker is newer than the run: a write toward stable whose save was lost. The mesh is right.

    A newer marker that *rises* cannot be ours, for toward the canary we save first; it is left to be drift.
    """
    if isinstance(seen.mesh, Unseen) or standing(run, seen.mesh) is not Standing.AHEAD:
        return run
    marker = seen.mesh.marker
    if marker is None or marker.split > run.split:
        return run
    told.append(Event(Told.ADOPTED, f"the mesh holds our write {marker.seq} ({marker.split}); its save was lost"))
    run = replace(_opened(run, marker.split, marker.at, seq=marker.seq), split=marker.split)
    if marker.latch == RESTART:
        return _started_over(run)
    if marker.latch == DRIFT:
        return _held(run, seen, "drift", marker.reason, sticky=True)
    if (kind := LATCHES.get(marker.latch)) and run.latch is None:
        return replace(run, latch=Latch(kind, marker.reason, marker.at))
    return run


def _see_arrival(run: Run, seen: Observation) -> Run:
    """Note when our last write was first seen in the mesh; from then on its segment has traffic."""
    if run.seq == 0 or run.arrived_at is not None or isinstance(seen.mesh, Unseen):
        return run
    return replace(run, arrived_at=seen.now) if standing(run, seen.mesh) is Standing.ARRIVED else run


def _take_evidence(run: Run, seen: Observation) -> Run:
    if isinstance(seen.sides, Sides):
        dead = seen.sides.canary.ready == 0 and run.split > NOTHING
        since = run.unready_since if run.unready_since is not None else seen.now
        run = replace(run, unready_since=since if dead else None)
    if not seen.cells:
        return run
    return replace(
        run,
        cells=(*run.cells, *seen.cells),
        judged=seen.judged,
        evidence=seen.evidence,
    )


def _obey(run: Run, seen: Observation, told: list[Event]) -> tuple[Run, bool]:
    """Obey each new command once; whether one of them said to resume."""
    resumed = False
    for command in seen.commands:
        if command.id in run.obeyed or (command.verb == "resume" and not _can_resume(run, seen)):
            continue
        run = replace(run, obeyed=(*run.obeyed, command.id))
        if command.verb == "abort":
            run = _aborted(run, command, seen)
        elif command.step is not None and command.step != run.step:
            told.append(
                Event(Told.COMMAND_VOID, f"{command.verb} was meant for step {command.step + 1}; it has passed")
            )
        elif command.verb == "approve":
            run = replace(run, approved=(*run.approved, run.step))
        elif command.verb == "resume" and run.hold and run.hold.kind == "drift":
            resumed = True
        elif command.verb == "resume":
            told.append(Event(Told.COMMAND_VOID, "resume counts only after drift, and there is none"))
        elif run.last_step and run.phase is Phase.BAKING:
            run = replace(run, unproven=f"{_by(command)}: {command.reason}")
        else:
            told.append(Event(Told.COMMAND_VOID, "promote counts only at the last step of the plan"))
    return run, resumed


def _can_resume(run: Run, seen: Observation) -> bool:
    """A resume that cannot be carried out in this tick is obeyed in a later one."""
    return isinstance(seen.mesh, Sighting) and standing(run, seen.mesh) is not Standing.LOST


def _by(command: Command) -> str:
    return command.by or "somebody"


def _aborted(run: Run, command: Command, seen: Observation) -> Run:
    if run.latch:
        return replace(run, latch=replace(run.latch, forced=run.latch.forced or command.force))
    reason = f"aborted by {_by(command)}" + (f": {command.reason}" if command.reason else "")
    return replace(run, latch=Latch("abort", reason, seen.now, command.force))


def _latch_harm(run: Run, seen: Observation) -> Run:
    """FAIL: the judge's verdict, or a canary without a single ready endpoint while it is sent traffic."""
    if run.latch or run.split == NOTHING:
        return run
    reason = run.evidence.failure if run.evidence else ""
    if not reason and run.unready_since is not None and seen.now - run.unready_since >= UNREADY_FOR:
        name = ", ".join(run.canary_pin.workloads) if run.canary_pin else run.route.canary
        reason = f"the canary {name} has no ready endpoint while it is sent {run.split} of the traffic"
    return replace(run, latch=Latch("fail", reason, seen.now)) if reason else run


def _ran_out(run: Run, seen: Observation) -> Latch | None:
    hold = run.hold
    if hold is None or hold.limit is None or seen.now < hold.limit or hold.then != "rollback":
        return None
    waited = render_seconds(seen.now - hold.since)
    return Latch("inconclusive", f"inconclusive after {waited} of holding: {hold.why}", seen.now)


# ---------------------------------------------------------------------------------------------------------------------
# Toward stable


def _roll_back(run: Run, seen: Observation) -> Decision:
    """Latched: bring the canary to 0 %, whatever else does not answer, and see it there through one settle."""
    latch = run.latch
    assert latch is not None  # noqa: S101  # for the type checker: only called with a latch
    begun = run.phase is Phase.ROLLING_BACK
    events = () if begun else (Event(Told.ROLLING_BACK, latch.reason),)
    run = replace(run, phase=Phase.ROLLING_BACK)
    if _rolled_all_back(run, seen):
        return _rolled_back(run, seen, events)
    if _at_nothing(run, seen):
        waiting = "the canary is at 0 %; watching that it stays there"
        return Decision(replace(run, hold=None, waiting=waiting), events=events)
    if why := _no_way_back(run, seen):
        return _stuck(run, seen, why, events)
    sent = _sent(run, seen, NOTHING, latch=latch.kind, reason=latch.reason)
    waiting = "waiting for the mesh to show the canary at 0 %"
    if why := seen.refusal or seen.mesh.why:
        waiting = f"rolling back, and trying until it is accepted: {why}"
    return replace(sent, run=replace(sent.run, hold=None, waiting=waiting), events=events)


def _rolled_all_back(run: Run, seen: Observation) -> bool:
    if run.seq == 0 and run.started_from == NOTHING:
        return True  # nothing was ever written
    return _at_nothing(run, seen) and seen.now - (run.arrived_at or seen.now) >= _settle(run)


def _at_nothing(run: Run, seen: Observation) -> bool:
    """
    Whether the mesh shows the rollback.

    Our retreat must have been seen there once even where the weights are at 0 % already: a shift that timed out may
    still be on its way, and only a newer write keeps it from landing.
    """
    if isinstance(seen.mesh, Unseen) or seen.mesh.split != NOTHING:
        return False
    return run.split == NOTHING and run.arrived_at is not None


def _stuck(run: Run, seen: Observation, why: str, events: tuple[Event, ...] = ()) -> Decision:
    """There is nowhere to go back to: traffic stays and a person is paged, once."""
    paged = run.hold is not None and run.hold.kind == "no-way-back"
    page = () if paged else (Event(Told.NO_WAY_BACK, why),)
    return Decision(_held(run, seen, "no-way-back", f"{why}; abort --force goes anyway"), events=(*events, *page))


def _no_way_back(run: Run, seen: Observation) -> str:
    if run.latch and run.latch.forced:
        return ""
    if isinstance(seen.mesh, Sighting) and seen.mesh.stable_missing:
        return f"the entry has no destination {run.route.stable} any more that traffic could go back to"
    if isinstance(seen.sides, Sides) and seen.sides.stable.ready == 0:
        return f"stable {run.route.stable} has no ready endpoint that traffic could go back to"
    return ""


def _rolled_back(run: Run, seen: Observation, events: tuple[Event, ...]) -> Decision:
    latch = run.latch
    assert latch is not None  # noqa: S101  # for the type checker: a rollback has its reason
    ended = replace(
        run,
        phase=Phase.ROLLED_BACK,
        split=NOTHING,
        outcome=OUTCOMES[latch.kind],
        reason=latch.reason,
        ended=seen.now,
        hold=None,
        waiting="",
    )
    return Decision(ended, release=True, events=(*events, Event(Told.ROLLED_BACK, latch.reason)))


# ---------------------------------------------------------------------------------------------------------------------
# Drift, changed images, and progress


def _go_on(run: Run, seen: Observation, *, resumed: bool) -> Decision:
    if changed := _canary_changed(run, seen):
        return changed
    if isinstance(seen.mesh, Unseen):
        return _unseen(run, seen, seen.mesh)
    where = standing(run, seen.mesh)
    if where is Standing.LOST:
        return _sent_again(run, seen)
    if where is not Standing.ARRIVED:
        return _drifted(run, seen, seen.mesh, resumed=resumed)
    if run.hold and run.hold.kind == "drift":
        return _after_drift(run, seen, run.hold, resumed=resumed)
    if changed := _stable_changed(run, seen):
        return changed
    if run.hold and run.hold.kind in ("stable-changed", "no-way-back"):
        run = replace(run, hold=None)
    return _PROGRESS[run.phase](run, seen)


def _unseen(run: Run, seen: Observation, mesh: Unseen) -> Decision:
    """The mesh cannot be read. A retreat that was not seen to arrive is sent again all the same."""
    if run.seq > 0 and run.split == NOTHING and run.arrived_at is None:
        return _sent_again(run, seen)
    return Decision(replace(run, waiting=f"the mesh cannot be read, trying again: {mesh.why}"))


def _canary_changed(run: Run, seen: Observation) -> Decision | None:
    """A new image of the canary in mid-run voids the evidence: to 0 % at once, then over again, or for good."""
    if run.canary_pin is None or isinstance(seen.sides, Unseen) or not run.canary_pin.differs_from(seen.sides.canary):
        return None
    why = (
        f"the canary's pod template changed from {_names(run.canary_pin.hashes)} to {_names(seen.sides.canary.hashes)}"
    )
    if run.plan.spec.on_canary_change == "abort":
        return _roll_back(replace(run, latch=Latch("abort", why, seen.now)), seen)
    if nowhere := _no_way_back(run, seen):
        return _stuck(run, seen, f"{why}, and {nowhere}")
    sent = _sent(run, seen, NOTHING, latch=RESTART, reason=why)
    waiting = "the canary changed; waiting for it to be rolled out before starting over"
    return replace(sent, run=replace(_started_over(sent.run), waiting=waiting), events=(Event(Told.RESTARTED, why),))


def _names(hashes: tuple[str, ...]) -> str:
    return ", ".join(hashes) or "none"


def _started_over(run: Run) -> Run:
    """The run before its first step again; cells of the former canary count for nothing."""
    return replace(
        run,
        phase=Phase.PENDING,
        step=0,
        split=NOTHING,
        judged=None,
        judged_from=len(run.segments),
        evidence=None,
        stable_pin=None,
        canary_pin=None,
        unready_since=None,
        approved=(),
        hold=None,
        blind_since=None,
        unproven="",
    )


def _drifted(run: Run, seen: Observation, mesh: Sighting, *, resumed: bool) -> Decision:
    """Somebody else wrote the weights. Above what the plan allows: down at once. Toward stable: respected."""
    why = _drift(run, mesh)
    event = () if run.hold and run.hold.kind == "drift" else (Event(Told.DRIFTED, why),)
    policy = run.plan.spec.on_drift
    if policy == "abort":
        return _roll_back(replace(run, latch=Latch("abort", why, seen.now)), seen)
    writable = run.seq > 0 and not mesh.stable_missing
    if mesh.split is not None and writable and (resumed or policy == "reassert"):
        sent = _sent(run, seen, run.split)
        return replace(sent, run=replace(sent.run, hold=None), events=(*event, Event(Told.REASSERTED, why)))
    if mesh.most > run.split and writable and not _no_way_back(run, seen):
        why = f"{why}; brought down to {run.split}"
        sent = _sent(run, seen, run.split, latch=DRIFT, reason=why)
        held = _held(sent.run, seen, "drift", why, sticky=True)
        return replace(sent, run=held, events=(*event, Event(Told.BROUGHT_DOWN, why)))
    return Decision(_held(_under_foreign_split(run, seen, mesh), seen, "drift", why), events=event)


def _drift(run: Run, mesh: Sighting) -> str:
    if mesh.split is None:
        return f"{run.route} no longer has the entry as the run began it: {mesh.why}"
    if mesh.marker is not None and mesh.marker.run != run.uid:
        return f"{run.route} carries the marker of another run, {mesh.marker.run}"
    if mesh.split != run.split:
        return f"somebody set the canary to {mesh.split} in {run.route}; the run wants {run.split}"
    return f"somebody took canaryd's marker out of {run.route}"


def _under_foreign_split(run: Run, seen: Observation, mesh: Sighting) -> Run:
    """What is measured under a split that is not ours is evidence of harm, and never a bake."""
    if mesh.split is None or not run.segments or (run.segment.split == mesh.split and not run.segment.ours):
        return run
    return _opened(run, mesh.split, seen.now, seq=run.seq, ours=False, arrived=True)


def _after_drift(run: Run, seen: Observation, hold: Hold, *, resumed: bool) -> Decision:
    """
    The weights are ours again.

    Where a hand put them back, the run goes on with a fresh bake. Where we brought them down, a person has to say so.
    """
    if hold.sticky and not resumed:
        return Decision(replace(run, waiting=f"{hold.why}; `canaryd resume {run.plan.name}` goes on"))
    phase = Phase.BAKING if run.phase is Phase.SHIFTING else run.phase
    return Decision(replace(_opened(run, run.split, seen.now, seq=run.seq, arrived=True), phase=phase, hold=None))


def _sent_again(run: Run, seen: Observation) -> Decision:
    """Our last write never reached the mesh; what it said of the run it says again."""
    brought_down = run.hold is not None and run.hold.kind == "drift" and run.hold.sticky
    latch = DRIFT if brought_down else RESTART if run.phase is Phase.PENDING else ""
    sent = _sent(run, seen, run.split, latch=latch, reason=run.hold.why if run.hold else "")
    why = seen.refusal or "the former write did not arrive"
    return replace(sent, run=replace(sent.run, waiting=f"sending {run.split} again: {why}"))


def _stable_changed(run: Run, seen: Observation) -> Decision | None:
    """A new stable image: hold, and when it is rolled out compare with it from anew."""
    if run.stable_pin is None or isinstance(seen.sides, Unseen) or not run.stable_pin.differs_from(seen.sides.stable):
        return None
    why = f"stable's pod template changed from {_names(run.stable_pin.hashes)} to {_names(seen.sides.stable.hashes)}"
    if not seen.sides.stable.rolled_out:
        return Decision(_held(run, seen, "stable-changed", f"{why}; waiting for it to be rolled out"))
    fresh = _opened(run, run.split, seen.now, seq=run.seq, arrived=True)
    fresh = replace(
        fresh,
        stable_pin=Pin.of(seen.sides.stable),
        judged=None,
        judged_from=fresh.segment.index,
        evidence=None,
        hold=None,
        waiting="stable changed; measuring this step from anew",
    )
    return Decision(fresh, events=(Event(Told.STABLE_CHANGED, why),))


def _begin(run: Run, seen: Observation) -> Decision:
    """Pending: the run starts when both sides are ready and the canary is wholly rolled out."""
    if isinstance(seen.sides, Unseen):
        return Decision(replace(run, waiting=f"the pods cannot be seen, trying again: {seen.sides.why}"))
    stable, canary = seen.sides.stable, seen.sides.canary
    if not canary.rolled_out or canary.ready == 0:
        return Decision(
            replace(run, waiting=f"waiting for the canary to be rolled out: {canary.why or 'no ready pod'}")
        )
    if stable.ready == 0:
        return Decision(replace(run, waiting=f"waiting for stable to be ready: {stable.why or 'no ready pod'}"))
    pinned = replace(run, stable_pin=Pin.of(stable), canary_pin=Pin.of(canary), hold=None)
    started = Event(
        Told.STARTED, f"{run.plan} release {run.plan.spec.release}: {run.route.stable} -> {run.route.canary}"
    )
    shift = _shifted(pinned, seen, run.current_step.weight, Phase.SHIFTING)
    return replace(shift, events=(started, *shift.events))


def _arrive(run: Run, _: Observation) -> Decision:
    """Shifting: the marker and the weights are there."""
    baking = replace(run, phase=Phase.BAKING, waiting=f"settling at {run.split}")
    return Decision(baking, events=(Event(Told.SHIFTED, f"{run.route} sends {run.split} to {run.route.canary}"),))


def _bake(run: Run, seen: Observation) -> Decision:
    """Baking: PASS advances, and nothing else does."""
    if why := _without_data(run, seen):
        return _blind(run, seen, why)
    run = replace(run, blind_since=None)
    if run.unproven:
        return _promote(run, seen, f"promoted by a person's word: {run.unproven}")
    baked, needed = len(run.baked), _needed(run)
    if baked < needed:
        return Decision(replace(run, hold=None, waiting=f"baking at {run.split}: {baked} of {needed} cells"))
    if not _at_gate(run) and (doubt := _doubt(run, seen)):
        limit = run.plan.spec.on_inconclusive
        return Decision(_held(run, seen, "inconclusive", doubt, limit.hold, limit.then))
    if not run.last_step or _gated(run):
        return _pass(run, seen)
    return _promote(run, seen, _proof(run))


def _blind(run: Run, seen: Observation, why: str) -> Decision:
    """
    Nothing can be measured: traffic stays, within the plan's limit.

    The limit counts from when we noticed, for a downtime of ours is nobody's gap. A hold that is there for another
    reason goes on with its own limit, so that a gap now and then cannot prolong it for ever.
    """
    limit, since = run.plan.spec.on_no_data, run.blind_since if run.blind_since is not None else seen.now
    run = replace(run, blind_since=since)
    if run.hold and run.hold.kind in ("gate", "inconclusive") and seen.now < since + limit.hold.total_seconds():
        return Decision(replace(run, waiting=f"{run.hold.why}; no data: {why}"))
    return Decision(_held(run, seen, "no-data", f"no data: {why}", limit.hold, limit.then, since))


def _pass(run: Run, seen: Observation) -> Decision:
    gate = run.current_step.gate
    if _gated(run) and gate is not None:
        limit = gate.approve
        why = f"waiting for a person's approval at {run.split}: canaryd approve {run.plan.name}"
        return Decision(_held(run, seen, "gate", why, limit.limit, limit.otherwise))
    passed = Event(Told.PASSED, f"step {run.step + 1} passed at {run.split}: {finding(run.evidence)}")
    ahead = replace(run, step=run.step + 1, hold=None)
    shift = _shifted(ahead, seen, ahead.current_step.weight, Phase.SHIFTING)
    return replace(shift, events=(passed, *shift.events))


def _at_gate(run: Run) -> bool:
    """The step has passed and waits for a person; whether it still passes is asked when the person has come."""
    return _gated(run) and run.hold is not None and run.hold.kind == "gate"


def _gated(run: Run) -> bool:
    return run.current_step.gate is not None and run.step not in run.approved


def _promote(run: Run, seen: Observation, proof: str) -> Decision:
    proven = run.evidence is not None and run.evidence.proven
    unproven = run.unproven or ("" if proven else run.plan.spec.accept_unproven)
    shift = _shifted(replace(run, hold=None, reason=proof, unproven=unproven), seen, EVERYTHING, Phase.PROMOTING)
    return replace(shift, events=(Event(Told.PROMOTING, proof),))


def _settle_at_everything(run: Run, seen: Observation) -> Decision:
    if seen.now - (run.arrived_at or seen.now) < _settle(run):
        return Decision(replace(run, waiting="the canary has 100 %; settling"))
    watching = replace(run, phase=Phase.WATCHING, waiting="watching at 100 %")
    return Decision(
        watching, events=(Event(Told.WATCHING, "the canary has 100 %; objectives are watched, rollback armed"),)
    )


def _watch(run: Run, seen: Observation) -> Decision:
    """Watching: there is nothing to compare with any more; objectives, readiness and people may still roll back."""
    over = (run.arrived_at or seen.now) + _settle(run) + run.plan.spec.watch.total_seconds()
    if seen.blind:
        over += run.plan.spec.on_no_data.hold.total_seconds()
    if seen.now < over:
        left = render_seconds(over - seen.now)
        blind = f", blind: {seen.blind}" if seen.blind else ""
        return Decision(replace(run, waiting=f"watching at 100 % for another {left}{blind}"))
    if run.evidence and not run.evidence.objectives_hold:
        limit = run.plan.spec.on_inconclusive
        doubt = f"an objective is in doubt at 100 %: {finding(run.evidence)}"
        return Decision(_held(run, seen, "inconclusive", doubt, limit.hold, limit.then))
    ended = replace(run, phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, ended=seen.now, waiting="", hold=None)
    return Decision(ended, release=True, events=(Event(Told.PROMOTED, run.reason),))


_PROGRESS = {
    Phase.PENDING: _begin,
    Phase.SHIFTING: _arrive,
    Phase.BAKING: _bake,
    Phase.PROMOTING: _settle_at_everything,
    Phase.WATCHING: _watch,
}


# ---------------------------------------------------------------------------------------------------------------------
# What a step needs to pass


def _without_data(run: Run, seen: Observation) -> str:
    """Why nothing is known of the traffic of now; empty if something is."""
    last = run.cells[-1] if run.cells else None
    gap = last.why if isinstance(last, Gap) and last.segment == run.segment.index else ""
    analysis = run.plan.spec.analysis
    measured = max((cell.end for cell in run.cells if not isinstance(cell, Gap)), default=run.created)
    measured = max(measured, run.segment.origin, run.arrived_at or 0.0)
    late = seen.now - measured > 4 * analysis.cell.total_seconds() + analysis.lag.total_seconds()
    return seen.blind or gap or ("no cell has been measured for a while" if late else "")


def _doubt(run: Run, seen: Observation) -> str:
    """Why a full bake is not a PASS; empty if it is."""
    evidence = run.evidence
    if evidence is None or evidence.segment != run.segment.index:
        return "no evidence yet under this split"
    if isinstance(seen.sides, Unseen):
        return f"the pods cannot be seen: {seen.sides.why}"
    if not seen.sides.canary.rolled_out or seen.sides.canary.ready == 0:
        return f"the canary is not ready for more: {seen.sides.canary.why or 'no ready pod'}"
    if why := objection(evidence):
        return why
    spec = run.plan.spec
    promotes = run.last_step and not spec.accept_unproven
    return lack(evidence, run.split, spec.analysis.min_requests, len(run.baked), promotes=promotes)


def _proof(run: Run) -> str:
    if run.evidence and run.evidence.proven:
        return f"proven at {run.split}: {finding(run.evidence)}"
    return f"unproven, accepted by the plan: {run.plan.spec.accept_unproven}"


def _needed(run: Run) -> int:
    return max(1, math.ceil(run.current_step.bake / run.plan.spec.analysis.cell))


def _settle(run: Run) -> float:
    return run.plan.spec.analysis.settle.total_seconds()


# ---------------------------------------------------------------------------------------------------------------------
# Small changes of a run


def _held(
    run: Run,
    seen: Observation,
    kind: HoldKind,
    why: str,
    limit: timedelta | None = None,
    then: Then = "hold",
    since: float | None = None,
    *,
    sticky: bool = False,
) -> Run:
    """``run`` holding for ``why``; a hold of the same kind keeps the time it began at, a sticky one its reason too."""
    same = run.hold if run.hold and run.hold.kind == kind else None
    if same and same.sticky:
        return run
    if kind == "drift":
        limit, then = run.plan.spec.on_inconclusive.hold, run.plan.spec.on_inconclusive.then
    begun = since if since is not None else (same.since if same else seen.now)
    end = None if limit is None else begun + limit.total_seconds()
    return replace(run, hold=Hold(kind, why, begun, end, then, sticky), waiting=why)


def _shifted(run: Run, seen: Observation, split: Split, phase: Phase) -> Decision:
    sent = _sent(run, seen, split)
    moved = replace(sent.run, phase=phase, waiting=f"shifting to {split}")
    return replace(sent, run=moved, events=(Event(Told.SHIFTING, f"from {run.split} to {split}"),))


def _sent(run: Run, seen: Observation, split: Split, *, latch: str = "", reason: str = "") -> Decision:
    """The next write of ``split``: a new sequence, and a segment whose grid starts now."""
    mesh = seen.mesh if isinstance(seen.mesh, Sighting) else Sighting(None, None)
    theirs = mesh.marker.seq if mesh.marker and mesh.marker.run == run.uid else 0
    marker = Marker(
        run=run.uid,
        seq=max(run.seq, theirs) + 1,
        split=split,
        was=mesh.split if mesh.split is not None else run.split,
        stable=run.route.stable,
        canary=run.route.canary,
        at=seen.now,
        latch=latch,
        reason=reason[:300],
    )
    down = split == NOTHING or split < mesh.most
    opened = _opened(_as_seen(run, mesh), split, seen.now, seq=marker.seq)
    return Decision(replace(opened, split=split), Write("stable" if down else "canary", marker))


def _opened(run: Run, split: Split, origin: float, *, seq: int, ours: bool = True, arrived: bool = False) -> Run:
    """``run`` with a new segment."""
    segment = Segment(len(run.segments), seq, split, origin, ours)
    return replace(run, seq=seq, at=origin, segments=(*run.segments, segment), arrived_at=origin if arrived else None)


def _as_seen(run: Run, mesh: Sighting) -> Run:
    """
    The history of splits as the mesh tells it, where our last write was lost.

    No traffic ever followed the lost write. An earlier attempt that had been given up may have landed late: then it is
    the mesh's marker, and knows when it was sent.
    """
    if standing(run, mesh) is not Standing.LOST:
        return run
    marker = mesh.marker
    arrived = marker.seq if marker else 0
    measured, until = run.done or (0, 0.0)
    kept = tuple(segment for segment in run.segments if segment.seq <= arrived or segment.index <= measured)
    if marker and kept and kept[-1].seq < marker.seq:
        kept = (*kept, Segment(len(kept), marker.seq, marker.split, max(marker.at, until)))
    return replace(run, segments=kept)

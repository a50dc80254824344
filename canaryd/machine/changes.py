"""
What others change in mid-run: the weights, the canary's image, stable's image.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine.asked import ToDrift
from canaryd.machine.barring import barred_from
from canaryd.machine.retreat import no_way_back, roll_back, stuck
from canaryd.machine.standing import Standing, standing
from canaryd.machine.writes import DRIFT, RESTART, held_for, shifted_to, started_over, with_segment, written
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.run import Hold, Latch, Phase, Pin, Run, command_line
from canaryd.model.traffic import NOTHING, Route, Sighting, Split


def drifted(run: Run, seen: Observation, mesh: Sighting, to_drift: ToDrift) -> Decision:
    """Somebody else wrote the weights. Above what the plan allows: down at once. Toward stable: respected."""
    why = _drift(run, mesh)
    event = () if run.hold and run.hold.kind == "drift" else (Event(Told.DRIFTED, why),)
    policy = run.plan.spec.on_drift
    if policy == "abort":
        return roll_back(replace(run, latch=Latch("abort", why, seen.now)), seen)
    writable = run.seq > 0 and not mesh.stable_missing
    if to_drift == "adopt":
        step = _step_to_adopt(run, mesh) if writable else "there is no weight of the run's to replace"
        if not isinstance(step, str):
            return _adopted(run, seen, mesh.split or NOTHING, step)
        event = (*event, Event(Told.COMMAND_VOID, f"adopt does nothing: {step}"))
    asserts = "reassert" in (to_drift, policy) and not barred_from(run.split, run.match, seen)
    if mesh.readable and writable and asserts:
        sent = written(run, seen, run.split, run.match)
        return replace(sent, run=replace(sent.run, hold=None), events=(*event, Event(Told.REASSERTED, why)))
    wider = bool(mesh.match) and mesh.match != run.match
    # One write is for all objects; what a hand has set to less in one of them is raised by none.
    split = min([run.split, *(part.split for part in mesh.parts or (mesh,) if part.split is not None)])
    possible = split == run.split or run.phase in (Phase.SHIFTING, Phase.BAKING)
    if (mesh.most > run.split or wider) and possible and writable and not no_way_back(run, seen):
        # Entries in front that are not as we wrote them go: toward stable nothing is put anywhere but away.
        kept = run.match if mesh.match == run.match else ""
        why = f"{why}; brought down to {split}"
        sent = written(run, seen, split, kept, latch=DRIFT, reason=why)
        held = held_for(sent.run, seen, "drift", why, sticky=True)
        return replace(sent, run=held, events=(*event, Event(Told.BROUGHT_DOWN, why)))
    held = held_for(_under_foreign_split(run, seen, mesh), seen, "drift", why)
    if mesh.readable and writable:
        held = replace(held, waiting=f"{why}; to set it again: {command_line(run, 'resume')}")
    return Decision(held, events=event)


def _drift(run: Run, mesh: Sighting) -> str:
    told = [
        _drift_in(run, route, part)
        for route, part in zip(run.route.parts, mesh.parts or (mesh,), strict=True)
        if standing(run, part) is Standing.DRIFT
    ]
    return "; ".join(told) or _drift_in(run, run.route, mesh)


def _drift_in(run: Run, route: Route, mesh: Sighting) -> str:
    """What is not as the run wrote it, in one object."""
    if mesh.split is None:
        return f"{route} no longer has the entry as the run began it: {mesh.why}"
    if mesh.marker is not None and mesh.marker.run != run.uid:
        return f"{route} carries the marker of another run, {mesh.marker.run}"
    if mesh.match != run.match:
        found = (
            "took canaryd's entries for the step's match out of" if not mesh.match else "changed canaryd's entries in"
        )
        return f"somebody {found} {route}"
    if mesh.split != run.split:
        return f"somebody set the canary to {mesh.split} in {route}; the run wants {run.split}"
    return f"somebody took canaryd's marker out of {route}"


def _under_foreign_split(run: Run, seen: Observation, mesh: Sighting) -> Run:
    """What is measured under a split that is not ours is evidence of harm, and never a bake."""
    if not mesh.readable or not run.segments:
        return run
    # Where several objects differ, or entries of ours stand in front, some people meet the canary more than others do.
    split, alike = mesh.most if mesh.split is None else mesh.split, mesh.split is not None and not mesh.match
    if run.segment.split == split and not run.segment.ours:
        return run
    return with_segment(run, split, seen.now, seq=run.seq, ours=False, arrived=True, alike=alike)


def _step_to_adopt(run: Run, mesh: Sighting) -> int | str:
    """
    The step that a run is in which takes over the weight it found, or why it cannot.

    It is the first with that weight or more: a run that stands below its step's weight measures there, and goes on to
    the step's own weight next.
    """
    if run.phase not in (Phase.SHIFTING, Phase.BAKING):
        return f"the run is {run.phase.value} at {run.split}"
    if mesh.split is None or not mesh.readable or mesh.match or run.match:
        return f"what is there is not one weight that could be taken over: {_drift(run, mesh)}"
    if mesh.split == NOTHING:
        return "the canary is at 0 %; to end the run abort it"
    if mesh.split > run.split:
        return f"{mesh.split} is more than the {run.split} that the run has come to"
    step = next(index for index, one in enumerate(run.plan.spec.steps) if one.weight >= mesh.split)
    return "the step with that weight has a match" if run.plan.spec.steps[step].audience else step


def _adopted(run: Run, seen: Observation, split: Split, step: int) -> Decision:
    """The weight that somebody set becomes the run's own, and is measured from its beginning."""
    sent = written(run, seen, split)
    why = f"{split} at {run.route.canary} is taken over as the run's own weight, in step {step + 1}"
    taken = replace(sent.run, phase=Phase.SHIFTING, step=step, hold=None, waiting=f"taking over {split}")
    return replace(sent, run=taken, events=(Event(Told.TOOK_OVER, why),))


def after_drift(run: Run, seen: Observation, hold: Hold, *, resumed: bool) -> Decision:
    """
    The weights are ours again.

    Where a hand put them back, the run goes on with a fresh bake. Where we brought them down, a person has to say so.
    """
    if hold.sticky and not resumed:
        return Decision(replace(run, waiting=f"{hold.why}; to go on: {command_line(run, 'resume')}"))
    split, match = run.resumes_at
    if (run.split, run.match) != (split, match):
        # It was taken away as we brought the weights down; a person's word brings it back.
        return shifted_to(replace(run, hold=None), seen, split, Phase.SHIFTING, match)
    phase = Phase.BAKING if run.phase is Phase.SHIFTING else run.phase
    return Decision(replace(with_segment(run, run.split, seen.now, seq=run.seq, arrived=True), phase=phase, hold=None))


def canary_changed(run: Run, seen: Observation) -> Decision | None:
    """A new image of the canary in mid-run voids the evidence: to 0 % at once, then over again, or for good."""
    if run.canary_pin is None or isinstance(seen.sides, Unseen) or not run.canary_pin.differs_from(seen.sides.canary):
        return None
    if run.returned:
        return None  # it has no traffic any more, and may become the next release already
    why = (
        f"the canary's pod template changed from {_names(run.canary_pin.hashes)} to {_names(seen.sides.canary.hashes)}"
    )
    if run.plan.spec.on_canary_change == "abort":
        return roll_back(replace(run, latch=Latch("abort", why, seen.now)), seen)
    if nowhere := no_way_back(run, seen):
        return stuck(run, seen, f"{why}, and {nowhere}")
    sent = written(run, seen, NOTHING, latch=RESTART, reason=why)
    waiting = "the canary changed; waiting for it to be rolled out before starting over"
    return replace(sent, run=replace(started_over(sent.run), waiting=waiting), events=(Event(Told.RESTARTED, why),))


def _names(hashes: tuple[str, ...]) -> str:
    return ", ".join(hashes) or "none"


def stable_changed(run: Run, seen: Observation) -> Decision | None:
    """A new stable image: hold, and when it is rolled out compare with it anew. Who waits for it goes on."""
    if run.phase is Phase.RETURNING:
        return None
    if run.stable_pin is None or isinstance(seen.sides, Unseen) or not run.stable_pin.differs_from(seen.sides.stable):
        return None
    why = f"stable's pod template changed from {_names(run.stable_pin.hashes)} to {_names(seen.sides.stable.hashes)}"
    if not seen.sides.stable.rolled_out:
        return Decision(held_for(run, seen, "stable-changed", f"{why}; waiting for it to be rolled out"))
    fresh = with_segment(run, run.split, seen.now, seq=run.seq, arrived=True)
    fresh = replace(
        fresh,
        stable_pin=replace(Pin.of(seen.sides.stable), since=seen.now),  # its history is the former version's as well
        judged=None,
        judged_from=fresh.segment.index,
        evidence=None,
        hold=None,
        waiting="stable changed; measuring this step anew",
    )
    return Decision(fresh, events=(Event(Told.STABLE_CHANGED, why),))

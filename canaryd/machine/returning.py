"""
After a promotion: back to stable, once stable runs what the canary runs (``afterPromotion: return``).

The run waits at 100 %, watched and with the rollback armed, until stable's pod template is the canary's, stable is
rolled out and has as many pods as the canary. Then one write gives stable everything: there is nothing to compare, for
both run the same. It goes toward stable, so the mesh hears of it before the store, and its marker says what it was.
It is no rollback for all that: it is not sent blindly, and never to a stable that has no ready endpoint.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine.retreat import no_way_back
from canaryd.machine.standing import Standing, standing
from canaryd.machine.writes import RETURN, held_for, written, written_again
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.duration import render_duration
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import NOTHING, Sides, Sighting

NAMED = 3
"""Differences that are named in a sentence; of others the number is."""


def watched(run: Run, seen: Observation) -> Decision:
    """The watch has ended well: promoted, or, where the plan wants the traffic back on stable, on to that."""
    if run.plan.spec.after_promotion != "return" or run.plan.observes:
        return _promoted(run, seen)
    waiting = f"{run.route.canary} is promoted; waiting for {run.route.stable} to run what {run.route.canary} runs"
    waits = replace(run, phase=Phase.RETURNING, returning_since=seen.now, hold=None, waiting=waiting)
    return Decision(waits, events=(Event(Told.AWAITING_STABLE, waiting),))


def go_back(run: Run, seen: Observation) -> Decision:
    """Returning: wait for stable, give it everything, and see that through one settle."""
    if run.split == NOTHING:
        return _settle_at_stable(run, seen)
    if why := _not_yet(run, seen):
        limit, since = run.plan.spec.returning.within, run.returning_since
        if since is not None and seen.now >= since + limit.total_seconds():
            late = f"{why}; it has been so for {render_duration(limit)}"
            return Decision(held_for(run, seen, "not-returned", late))
        blind = f"; blind: {seen.blind}" if seen.blind else ""
        return Decision(replace(run, hold=None, waiting=why + blind))
    return _sent_back(run, seen)


def _sent_back(run: Run, seen: Observation) -> Decision:
    said = f"{run.route.stable} runs what {run.route.canary} runs"
    if run.returned_by:
        said = f"{run.route.stable} is taken for what {run.route.canary} runs by {run.returned_by}"
    sent = written(run, seen, NOTHING, latch=RETURN, reason=said)
    waiting = f"giving {run.route.stable} all the traffic back"
    event = Event(Told.RETURNING, f"{said}: it gets all the traffic back")
    return replace(sent, run=replace(sent.run, hold=None, waiting=waiting), events=(event,))


def sent_again(run: Run, seen: Observation) -> Decision:
    """The write that gives stable everything was lost: again, if stable is still there to take it."""
    if nowhere := no_way_back(run, seen):
        return Decision(held_for(run, seen, "not-returned", f"all traffic is about to go back, but {nowhere}"))
    if isinstance(seen.sides, Unseen):
        return Decision(replace(run, waiting=f"the pods cannot be seen, trying again: {seen.sides.why}"))
    return written_again(run, seen)


def sent_back_by_others(run: Run, seen: Observation, mesh: Sighting) -> Decision | None:
    """
    Git, or a hand, has given stable everything while we waited: where we would do so now, that is what we do.

    Of several objects it may be some; the others still have what we wrote.
    """
    parts = mesh.parts or (mesh,)
    foreign = any(part.marker is not None and part.marker.run != run.uid for part in parts)
    back = all(part.split == NOTHING or standing(run, part) is Standing.ARRIVED for part in parts)
    if run.phase is not Phase.RETURNING or run.returned or not back or foreign or _not_yet(run, seen):
        return None
    return _sent_back(run, seen)


def but_stable_changed(run: Run, seen: Observation) -> str:
    """What a person has to know of a rollback to a stable that is not what it was; empty where it is."""
    pin = run.stable_pin
    if run.phase is not Phase.RETURNING or pin is None or isinstance(seen.sides, Unseen):
        return ""
    if not pin.differs_from(seen.sides.stable):
        return ""
    return (
        f"; {', '.join(seen.sides.stable.workloads)} has been changed since the run began and may run the same: "
        "undo that rollout, too"
    )


def _not_yet(run: Run, seen: Observation) -> str:
    """Why the traffic cannot go back to stable yet; empty if it can."""
    if isinstance(seen.sides, Unseen):
        return f"the pods cannot be seen, trying again: {seen.sides.why}"
    stable, canary = seen.sides.stable, seen.sides.canary
    name = ", ".join(stable.workloads) or str(run.route.stable)
    if not run.returned_by and (differences := _differences(run, seen.sides)):
        return f"waiting for stable {name} to run what the canary runs: {differences}"
    if stable.ready == 0 or not stable.rolled_out:
        return f"waiting for stable {name} to be rolled out: {stable.why or 'no ready pod'}"
    if not run.returned_by and stable.ready < canary.desired:
        return (
            f"waiting for stable {name} to have room for all the traffic: it has {stable.ready} ready pods, the canary "
            f"{canary.desired}"
        )
    return no_way_back(run, seen)


def _differences(run: Run, sides: Sides) -> str:
    """What differs that the plan does not let pass, in words; empty for nothing."""
    if sides.unlike is None:
        return "nobody has compared the two yet"
    ignored = run.plan.spec.returning.ignore
    found = [one.words for one in sides.unlike if not one.within(ignored)]
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more


def _settle_at_stable(run: Run, seen: Observation) -> Decision:
    if isinstance(seen.sides, Sides) and seen.sides.stable.ready == 0:
        why = f"{run.route.stable} has all the traffic and no ready endpoint; {run.route.canary} runs the same"
        return Decision(held_for(run, seen, "not-returned", why))
    if seen.now - (run.arrived_at or seen.now) < run.settle:
        return Decision(replace(run, hold=None, waiting=f"{run.route.stable} has all the traffic again; settling"))
    return _promoted(run, seen)


def _promoted(run: Run, seen: Observation) -> Decision:
    ended = replace(run, phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, ended=seen.now, waiting="", hold=None)
    return Decision(ended, release=True, events=(Event(Told.PROMOTED, run.reason),))

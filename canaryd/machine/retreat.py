"""
Toward stable: a run that is latched goes to 0 %, whatever else does not answer, and is seen there through one settle.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine.standing import newest
from canaryd.machine.writes import held_for, written
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import NOTHING, Sides, Sighting

OUTCOMES = {
    "fail": Outcome.FAILED,
    "abort": Outcome.ABORTED,
    "inconclusive": Outcome.INCONCLUSIVE,
    "undo": Outcome.UNDONE,
}


def roll_back(run: Run, seen: Observation) -> Decision:
    """Latched: bring the canary to 0 %, whatever else does not answer, and see it there through one settle."""
    latch = run.latch
    assert latch is not None  # noqa: S101  # for the type checker: only called with a latch
    begun = run.phase is Phase.ROLLING_BACK
    events = () if begun else (Event(Told.ROLLING_BACK, latch.reason),)
    run = replace(run, phase=Phase.ROLLING_BACK)
    if run.seq == 0 and run.started_from == NOTHING:
        # As far as this run remembers nothing was ever written; one that lost its memory is told by its marker.
        if isinstance(seen.mesh, Unseen) and not seen.mesh.gone:
            waiting = f"about to end; it is not known whether the mesh has a marker of this run: {seen.mesh.why}"
            return Decision(replace(run, hold=None, waiting=waiting), events=events)
        marker = newest(run, seen.mesh) if isinstance(seen.mesh, Sighting) else None
        if marker is None or marker.run != run.uid:
            return _rolled_back(run, seen, events)
    elif _at_nothing(run, seen) and seen.now - (run.arrived_at or seen.now) >= run.settle:
        return _rolled_back(run, seen, events)
    if _at_nothing(run, seen):
        waiting = "the canary is at 0 %; watching that it stays there"
        return Decision(replace(run, hold=None, waiting=waiting), events=events)
    if why := no_way_back(run, seen):
        return stuck(run, seen, why, events)
    sent = written(run, seen, NOTHING, latch=latch.kind, reason=latch.reason)
    waiting = "waiting for the mesh to show the canary at 0 %"
    if why := seen.refusal or seen.mesh.why:
        waiting = f"rolling back, and trying until it is accepted: {why}"
    return replace(sent, run=replace(sent.run, hold=None, waiting=waiting), events=events)


def _at_nothing(run: Run, seen: Observation) -> bool:
    """
    Whether the mesh shows the rollback.

    Our retreat must have been seen there once even where the weights are at 0 % already: a shift that timed out may
    still be on its way, and only a newer write keeps it from landing.
    """
    if isinstance(seen.mesh, Unseen) or seen.mesh.split != NOTHING or seen.mesh.match:
        return False
    return not run.exposed and run.arrived_at is not None


def stuck(run: Run, seen: Observation, why: str, events: tuple[Event, ...] = ()) -> Decision:
    """There is nowhere to go back to: traffic stays and a person is paged, once."""
    paged = run.hold is not None and run.hold.kind == "no-way-back"
    page = () if paged else (Event(Told.NO_WAY_BACK, why),)
    return Decision(held_for(run, seen, "no-way-back", f"{why}; abort --force goes anyway"), events=(*events, *page))


def no_way_back(run: Run, seen: Observation) -> str:
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
        match="",
        outcome=OUTCOMES[latch.kind],
        reason=latch.reason,
        ended=seen.now,
        hold=None,
        waiting="",
    )
    return Decision(ended, release=True, events=(*events, Event(Told.ROLLED_BACK, latch.reason)))

"""
The one function that decides: ``decide(run, observation) -> Decision``.

It reads no clock, does no I/O and logs nothing; the same run and observation give the same decision. What a newcomer
would get wrong: the run says what we *want*, the sighting what *is*. They are compared, and never copied onto each
other, but for one case: a marker of our own that is newer than the run is a retreat whose save was lost.

    pending --> shifting --> baking --> shifting ... --> promoting --> watching (--> returning) --> promoted
       \\____________\\___________\\____________________\\___________\\_____________\\--> rolling back --> rolled back

FAIL, abort and a hold that ran out latch the run: from then on the split never rises.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine import gates
from canaryd.machine.asked import ToDrift, held_by_people, obeyed, with_hold, without_hold
from canaryd.machine.barring import CLOCKS, bar_seen, barred_from, stopped, taken_back
from canaryd.machine.changes import after_drift, canary_changed, drifted, stable_changed
from canaryd.machine.noticing import noted
from canaryd.machine.retreat import roll_back
from canaryd.machine.returning import but_stable_changed, sent_again, sent_back_by_others
from canaryd.machine.standing import Standing, newest, standing
from canaryd.machine.steps import PROGRESS
from canaryd.machine.writes import (
    DRIFT,
    RESTART,
    RETURN,
    held_for,
    sent_to_the_rest,
    started_over,
    with_segment,
    written_again,
)
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.duration import render_seconds
from canaryd.model.run import GROUNDS, Ground, Latch, LatchKind, Phase, Run
from canaryd.model.traffic import Sides

__all__ = ["Standing", "decide", "standing"]


UNREADY_FOR = 1.0
"""Seconds between two observations without a ready canary endpoint that amount to a dead canary."""

LATCHES: dict[str, LatchKind] = {"fail": "fail", "abort": "abort", "inconclusive": "inconclusive"}


def decide(run: Run, seen: Observation) -> Decision:
    """
    What ``run`` becomes after ``seen``, and the one write that follows from it.

    The order is the order of what matters: what the mesh knows better than we do, evidence, people, harm, then drift,
    and progress last.
    """
    if run.final:
        return Decision(run, release=not run.released)
    told: list[Event] = []
    former = run.judged_from
    adopted = _adopt(run, seen, told)
    if adopted is not run:
        # They were counted for a run that did not know of the write: under a split that was over by then.
        run, seen = adopted, replace(seen, cells=())
    run = _see_arrival(run, seen)
    weighed = run = _take_evidence(run, seen, told, anew=run.judged_from != former)
    run = gates.heard(run, seen, told)
    run, to_drift = obeyed(run, seen, told)
    seen, held = held_by_people(run, seen), run.hold
    run = bar_seen(without_hold(run), seen)
    run = stopped(run, seen)
    run = gates.refused(_latch_harm(run, seen), seen)
    answer = roll_back(run, seen) if run.latch else _go_on(run, seen, to_drift)
    if answer.run.latch is None and (ran_out := _ran_out(answer.run, seen)):
        answer = roll_back(replace(run, latch=ran_out), seen)
    answer = replace(answer, run=with_hold(answer.run))
    if answer.run.hold and (held is None or held.kind != answer.run.hold.kind):
        told.append(Event(Told.HELD, answer.run.hold.why))
    if held and answer.run.hold is None and not answer.run.latch:
        told.append(Event(Told.RESUMED, f"no longer held: {held.why}"))
    answer = replace(answer, events=(*told, *answer.events))
    return replace(answer, run=_grounded(answer.run, weighed, seen.now)) if answer.events else answer


def _grounded(run: Run, weighed: Run, now: float) -> Run:
    """The run, keeping what it decided on: the evidence as it was ``weighed``, where it is not that of before."""
    evidence = weighed.evidence if weighed.evidence and weighed.evidence.segment is not None else None
    if evidence == (run.grounds[-1].evidence if run.grounds else None):
        return run
    under = [cell for cell in weighed.cells if evidence and cell.segment == evidence.segment]
    counted = sum(cell.kind == "cell" for cell in under)
    ground = Ground(now, evidence, counted, under[-1].end if under else 0.0)
    return replace(run, grounds=(*run.grounds, ground)[-GROUNDS:])


def _adopt(run: Run, seen: Observation, told: list[Event]) -> Run:
    """
    Our own marker is newer than the run: a write toward stable whose save was lost. The mesh is right.

    A newer marker that *rises* cannot be ours, for toward the canary we save first; it is left to be drift.
    """
    if isinstance(seen.mesh, Unseen) or standing(run, seen.mesh) is not Standing.AHEAD:
        return run
    marker = newest(run, seen.mesh)
    if marker is None or marker.split > run.split or marker.match not in ("", run.match):
        return run
    told.append(Event(Told.ADOPTED, f"the mesh holds our write {marker.seq} ({marker.split}); its save was lost"))
    run = with_segment(replace(run, match=marker.match), marker.split, marker.at, seq=marker.seq)
    run = replace(run, split=marker.split)
    if marker.latch == RESTART:
        return started_over(run)
    if marker.latch == RETURN:
        since = run.returning_since if run.returning_since is not None else marker.at
        return replace(run, phase=Phase.RETURNING, returning_since=since, hold=None)
    if marker.latch == DRIFT:
        return held_for(run, seen, "drift", marker.reason, sticky=True)
    if (kind := LATCHES.get(marker.latch)) and run.latch is None:
        return replace(run, latch=Latch(kind, marker.reason, marker.at))
    return run


def _see_arrival(run: Run, seen: Observation) -> Run:
    """
    Note when our last write was first seen in the mesh; from then on its segment has traffic.

    Where some of several objects have it, the canary has traffic as well, from other people than stable has it from:
    such a segment is no bake and compares nothing, and another begins when all have it.
    """
    if run.seq == 0 or run.arrived_at is not None or isinstance(seen.mesh, Unseen):
        return run
    where = standing(run, seen.mesh)
    if where is Standing.PARTLY and not run.partly:
        return replace(run, partly=True, segments=(*run.segments[:-1], replace(run.segment, ours=False, matched=True)))
    if where is not Standing.ARRIVED:
        return run
    if run.partly:
        return with_segment(run, run.split, seen.now, seq=run.seq, arrived=True)
    return replace(run, arrived_at=seen.now)


def _take_evidence(run: Run, seen: Observation, told: list[Event], *, anew: bool) -> Run:
    """The new cells and what the judge says of them; where the evidence begins ``anew``, it was of the former one."""
    if isinstance(seen.sides, Sides):
        dead = seen.sides.canary.ready == 0 and run.exposed
        since = run.unready_since if run.unready_since is not None else seen.now
        run = replace(run, unready_since=since if dead else None)
    if seen.past:
        told.append(Event(Told.HISTORY, seen.past.sentence))
        run = replace(run, past=seen.past)
    if not seen.cells:
        return run
    run = replace(run, cells=(*run.cells, *seen.cells), harmed=seen.harmed or run.harmed)
    if anew:
        return run
    run = replace(run, judged=seen.judged, evidence=seen.evidence)
    return replace(run, evidence=replace(run.evidence, notes=noted(run, seen))) if run.evidence else run


def _latch_harm(run: Run, seen: Observation) -> Run:
    """FAIL: a cap that is passed, the judge's verdict, or a canary without one ready endpoint while it has traffic."""
    if run.latch:
        return run
    if reason := _beyond_the_cap(run):
        return replace(run, latch=Latch("fail", reason, seen.now))
    if not run.exposed:
        return run
    reason = run.evidence.failure if run.evidence else ""
    if not reason and run.unready_since is not None and seen.now - run.unready_since >= UNREADY_FOR:
        name = ", ".join(run.canary_pin.workloads) if run.canary_pin else run.route.canary
        reason = f"the canary {name} has no ready endpoint while it is sent {_sent(run)}"
    return replace(run, latch=Latch("fail", reason + but_stable_changed(run, seen), seen.now)) if reason else run


def _beyond_the_cap(run: Run) -> str:
    """That more requests were harmed than the plan allows a run; also of one that waits at 0 % to start over."""
    most = run.plan.spec.analysis.max_harmed
    return run.harmed.words(most) if most is not None and run.harmed.requests > most else ""


def _sent(run: Run) -> str:
    return f"{run.split} of the traffic" if not run.match else run.share


def _ran_out(run: Run, seen: Observation) -> Latch | None:
    hold = run.hold
    if hold is None or hold.limit is None or seen.now < hold.limit or hold.then != "rollback":
        return None
    if seen.barred and hold.kind in CLOCKS:
        return None
    waited = render_seconds(seen.now - hold.since)
    return Latch("inconclusive", f"inconclusive after {waited} of holding: {hold.why}", seen.now)


def _go_on(run: Run, seen: Observation, to_drift: ToDrift) -> Decision:
    if changed := canary_changed(run, seen):
        return changed
    if isinstance(seen.mesh, Unseen):
        return _unseen(run, seen, seen.mesh)
    where = standing(run, seen.mesh)
    unseen_rise = where in (Standing.LOST, Standing.PARTLY) and run.exposed
    if unseen_rise and barred_from(run.split, run.match, seen):
        return taken_back(run, seen, seen.mesh)
    if where is Standing.PARTLY and run.exposed:
        return sent_to_the_rest(run, seen, seen.mesh)
    if where in (Standing.LOST, Standing.PARTLY):
        return sent_again(run, seen) if run.returned else written_again(run, seen)
    if where is not Standing.ARRIVED:
        return sent_back_by_others(run, seen, seen.mesh) or drifted(run, seen, seen.mesh, to_drift)
    if run.hold and run.hold.kind == "drift":
        return after_drift(run, seen, run.hold, resumed=bool(to_drift))
    if changed := stable_changed(run, seen):
        return changed
    if run.hold and run.hold.kind in ("stable-changed", "no-way-back"):
        run = replace(run, hold=None)
    return PROGRESS[run.phase](run, seen)


def _unseen(run: Run, seen: Observation, mesh: Unseen) -> Decision:
    """The mesh cannot be read. A retreat that was not seen to arrive is sent again all the same; a return can wait."""
    if run.seq > 0 and not run.exposed and run.arrived_at is None and not run.returned:
        return written_again(run, seen)
    return Decision(replace(run, waiting=f"the mesh cannot be read, trying again: {mesh.why}"))

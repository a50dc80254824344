"""
The next write, and the small changes of a run that go with it: its segment, its hold.

Every write has a new sequence and a time, and opens a segment whose grid of cells starts then. Which way it goes
decides the order of save and patch; it is told from what users may be meeting now, not from what we last wanted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from canaryd.machine.standing import Standing, newest, standing
from canaryd.model.cells import Segment
from canaryd.model.decision import Decision, Event, Observation, Told, Write
from canaryd.model.run import Hold, HoldKind, Phase, Run, Then
from canaryd.model.traffic import NOTHING, Marker, Sighting, Split

RESTART = "restart"
"""In the marker of a retreat after which the run starts over: no latch of the run."""

DRIFT = "drift"
"""In the marker of a write that brought somebody else's weights down: the run is held."""

RETURN = "return"
"""In the marker of the write that gives stable, which runs the promoted version by now, all traffic back."""


def held_for(
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


def shifted_to(run: Run, seen: Observation, split: Split, phase: Phase, match: str = "") -> Decision:
    sent = written(run, seen, split, match)
    moved = replace(sent.run, phase=phase, waiting=f"shifting to {sent.run.share}")
    return replace(sent, run=moved, events=(Event(Told.SHIFTING, f"from {run.share} to {sent.run.share}"),))


def written(
    run: Run, seen: Observation, split: Split, match: str = "", *, latch: str = "", reason: str = ""
) -> Decision:
    """The next write, of ``split`` and the audience ``match``: a new sequence, and a segment whose grid starts now."""
    mesh = seen.mesh if isinstance(seen.mesh, Sighting) else Sighting(None, None)
    last = newest(run, mesh)
    theirs = last.seq if last and last.run == run.uid else 0
    marker = _marker(run, mesh, max(run.seq, theirs) + 1, seen.now)
    marker = replace(marker, split=split, match=match, latch=latch, reason=reason[:300])
    down = (split == NOTHING and not match) or split < mesh.most
    opened = with_segment(replace(_as_seen(run, mesh), match=match), split, seen.now, seq=marker.seq)
    return Decision(replace(opened, split=split), Write("stable" if down else "canary", marker))


def _marker(run: Run, mesh: Sighting, seq: int, at: float) -> Marker:
    """The marker of what ``run`` wants now."""
    return Marker(
        run=run.uid,
        seq=seq,
        split=run.split,
        was=mesh.split if mesh.split is not None else run.split,
        stable=run.route.stable,
        canary=run.route.canary,
        at=at,
        match=run.match,
        born=run.created,
        kept=run.kept,
    )


def written_again(run: Run, seen: Observation) -> Decision:
    """Our last write never reached the mesh; what it said of the run it says again."""
    latch = DRIFT if _brought_down(run) else RESTART if run.phase is Phase.PENDING else RETURN if run.returned else ""
    sent = written(run, seen, run.split, run.match, latch=latch, reason=run.hold.why if run.hold else "")
    why = seen.refusal or "the former write did not arrive"
    return replace(sent, run=replace(sent.run, waiting=f"sending {run.share} again: {why}"))


def _brought_down(run: Run) -> bool:
    """Whether the run waits for a person, because somebody's weights had to be brought down."""
    return run.hold is not None and run.hold.kind == "drift" and run.hold.sticky


def sent_to_the_rest(run: Run, seen: Observation, mesh: Sighting) -> Decision:
    """
    An advance that has reached some of several objects: the same write again, for the others.

    It is never undone: either all come to have it, or, where that takes too long, the run retreats.
    """
    arrived = sum(standing(run, part) is Standing.ARRIVED for part in mesh.parts)
    why = f"{arrived} of {len(mesh.parts)} objects have {run.share}, sending it to the others again"
    why += f": {seen.refusal}" if seen.refusal else ""
    waits, marker = replace(run, waiting=why), _marker(run, mesh, run.seq, run.at)
    if _brought_down(run) and run.hold:
        return Decision(waits, Write("canary", replace(marker, latch=DRIFT, reason=run.hold.why[:300])))
    if seen.now - run.at >= run.settle:
        limit = run.plan.spec.on_inconclusive
        waits = held_for(run, seen, "inconclusive", why, limit.hold, limit.then)
    return Decision(waits, Write("canary", marker))


def with_segment(
    run: Run,
    split: Split,
    origin: float,
    *,
    seq: int,
    ours: bool = True,
    arrived: bool = False,
    alike: bool = True,
) -> Run:
    """
    ``run`` with a new segment; not ``alike`` where the canary answers other people than stable does.

    A person's word to advance was about what was measured before, and goes with it.
    """
    segment = Segment(len(run.segments), seq, split, origin, ours, matched=bool(run.match) or not alike)
    segments = (*run.segments, segment)
    arrived_at = origin if arrived else None
    return replace(run, seq=seq, at=origin, segments=segments, arrived_at=arrived_at, partly=False, advanced=None)


def started_over(run: Run) -> Run:
    """The run before its first step again; cells of the former canary count for nothing."""
    return replace(
        run,
        phase=Phase.PENDING,
        step=0,
        split=NOTHING,
        match="",
        judged=None,
        judged_from=len(run.segments),
        evidence=None,
        stable_pin=None,
        canary_pin=None,
        unready_since=None,
        approved=(),
        gates=(),
        restarts=run.restarts + 1,
        hold=None,
        blind_since=None,
        unproven="",
        reason="",
        returning_since=None,
        returned_by="",
        advanced=None,
        skipped=(),
    )


def _as_seen(run: Run, mesh: Sighting) -> Run:
    """
    The history of splits as the mesh tells it, where our last write was lost.

    No traffic ever followed the lost write. An earlier attempt that had been given up may have landed late: then it is
    the mesh's marker, and knows when it was sent.
    """
    if standing(run, mesh) is not Standing.LOST:
        return run
    marker = newest(run, mesh)
    arrived = marker.seq if marker else 0
    measured, until = run.done or (0, 0.0)
    kept = tuple(segment for segment in run.segments if segment.seq <= arrived or segment.index <= measured)
    if marker and kept and kept[-1].seq < marker.seq:
        kept = (*kept, Segment(len(kept), marker.seq, marker.split, max(marker.at, until)))
    return replace(run, segments=kept)

"""
Undo: the traffic of the release promoted last goes back to what it came from, in one write, and nothing is judged.

It is a run of its own, with a record, a journal and a report: a retreat from its first tick, with all that a retreat
has (patched first, tried until accepted, blocked by nothing). What has to be so before it begins is asked here; a
person's ``--force`` lets all of it pass that is not plainly impossible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

from canaryd.engine.admission import shares
from canaryd.engine.ports import Clock, Mesh, Store
from canaryd.errors import CanarydError
from canaryd.model.cells import Segment
from canaryd.model.duration import render_duration, render_seconds
from canaryd.model.problem import Problem, Refused
from canaryd.model.run import Command, Latch, Outcome, Record, Run, command_line
from canaryd.model.traffic import EVERYTHING, Sides, Sighting


@dataclass(frozen=True, slots=True)
class _Objection:
    """What speaks against it; a person's ``--force`` lets pass what is not ``grave``."""

    problem: Problem
    grave: bool = False


def undo(uid: str, command: Command, *, mesh: Mesh, store: Store, clock: Clock, name: str = "") -> Record:
    """
    The run that takes back what run ``uid`` has promoted, saved; the unfinished one, where that is one itself.

    It is named ``name``, or by chance. Raises Refused with every reason why not, and what the store raises.
    """
    records = list(store.records())
    record = next((one for one in records if one.run.uid == uid), None) or store.load(uid)
    run, now = record.run, clock.now()
    if run.undoes and not (run.final and run.released):
        return record
    others = [one.run for one in records if one.run.uid != uid]
    if grave := [one.problem for one in _never(run, others)]:
        raise Refused(grave)
    try:
        mesh_now, sides = mesh.look(run.route), mesh.sides(run.route)
    except CanarydError as error:
        raise Refused([Problem(str(run.route), str(error), "", "try again", transient=True)]) from error
    found = [one for one in objections(run, mesh_now, sides, now) if one.grave or not command.force]
    if found:
        raise Refused(one.problem for one in found)
    return store.save(Record(_undoing(run, command, mesh_now, now, name)))


def _undoing(run: Run, command: Command, mesh: Sighting, now: float, name: str) -> Run:
    split = mesh.split if mesh.split is not None else EVERYTHING
    why = f"undone by {command.by or 'somebody'}" + (f": {command.reason}" if command.reason else "")
    return Run(
        uid=name or f"{run.plan.name}-undo-{uuid4().hex[:8]}",
        plan=run.plan,
        route=run.route,
        created=now,
        kept=run.kept,
        split=split,
        started_from=split,
        segments=(Segment(0, 0, split, now),),
        latch=Latch("undo", why, now, command.force),
        undoes=run.uid,
        settles=run.settles,
        waiting=f"about to give {run.route.stable} all the traffic",
    )


def _never(run: Run, others: list[Run]) -> Iterator[_Objection]:
    """What no force can let pass, and is known from the runs alone."""
    path, release = f"run {run.uid}", f"release {run.plan.spec.release!r}"
    later = [one for one in others if str(one.plan) == str(run.plan) and one.created > run.created]
    if not (run.final and run.released):
        yield _grave(path, run.phase.value, "a run that has ended", "abort it", command_line(run, "abort"))
    elif run.plan.observes:
        yield _grave(path, "it only observed", "a promotion", "nothing was moved")
    elif run.undoes:
        yield _grave(path, run.reason, "a promotion", "to release it again give the plan a new spec.release")
    elif run.outcome is not Outcome.PROMOTED:
        yield _grave(path, f"{run.outcome}: {run.reason}", "a promotion", f"{run.route.stable} has the traffic already")
    elif run.returned:
        yield _grave(
            path,
            f"{run.route.stable} was given what was promoted, and has the traffic",
            "a former version that is still there",
            f"roll back {run.route.stable}'s Deployment: kubectl rollout undo",
        )
    elif later:
        newest = later[-1]
        ends = "" if newest.final else f"; abort it: {command_line(newest, 'abort')}"
        yield _grave(path, f"run {newest.uid} came after it", f"the last run of plan {run.plan}", f"{release}{ends}")
    for other in others:
        another = str(other.plan) != str(run.plan) and not (other.final or other.plan.observes)
        if another and shares(other.route, run.route):
            yield _grave(
                str(run.route),
                f"being moved by plan {other.plan}, run {other.uid}",
                "entries that no other run works on",
                "abort it",
                command_line(other, "abort"),
            )


def objections(run: Run, mesh: Sighting, sides: Sides, now: float) -> Iterator[_Objection]:
    """What speaks against giving stable all the traffic back at ``now``, as the mesh and the pods are."""
    stable, route, within = run.route.stable, str(run.route), run.plan.spec.undo_within
    since = now - (run.ended or now)
    if mesh.stable_missing:
        yield _grave(route, f"no destination {stable} any more", "an entry that has the former version", "add it")
    if mesh.marker is not None:
        yield _grave(route, f"it carries the marker of run {mesh.marker.run}", "a route that no run works on")
    if since > within.total_seconds():
        yield _passable(
            f"run {run.uid}",
            f"promoted {render_seconds(since)} ago",
            f"a promotion not older than {render_duration(within)} (undoWithin)",
            "release the former version as a release of its own",
        )
    if mesh.split != run.split:
        at = f"{mesh.split} at {run.route.canary}" if mesh.split is not None else mesh.why
        yield _passable(route, at, f"the traffic as it was decided, {run.split} at {run.route.canary}")
    yield from _no_longer_there(run, sides)


def _no_longer_there(run: Run, sides: Sides) -> Iterator[_Objection]:
    """Whether what stable runs is what the traffic came from, and can take it."""
    stable, path = sides.stable, f"stable {run.route.stable}"
    if not stable.ready:
        yield _passable(
            path, stable.why or "no ready pod", "ready pods that the traffic could go back to", "scale it up"
        )
        return
    pin = run.stable_pin
    if pin is None or pin.differs_from(stable):
        was = ", ".join(pin.hashes) if pin else "unknown"
        yield _passable(
            path,
            f"pod template {', '.join(stable.hashes) or 'unknown'}",
            f"what it ran when the release was promoted, pod template {was}",
            "it is another version by now: look what it is",
        )
    if stable.ready < sides.canary.desired:
        yield _passable(
            path,
            f"{stable.ready} ready pods",
            f"room for all the traffic: {run.route.canary} has {sides.canary.desired} pods",
            "scale it up",
        )


def _grave(path: str, value: str, expected: str, remedy: str = "", command: str = "") -> _Objection:
    return _Objection(Problem(path, value, expected, remedy, command=command), grave=True)


def _passable(path: str, value: str, expected: str, remedy: str = "") -> _Objection:
    remedy = f"{remedy}, or go anyway with --force" if remedy else "--force goes anyway"
    return _Objection(Problem(path, value, expected, remedy))


def obeyed(uid: str, command: Command, store: Store) -> Run:
    """Note in run ``uid`` that ``command`` was answered, so that it never is again. Raises what the store raises."""
    record = store.load(uid)
    if command.id in record.run.obeyed:
        return record.run
    return store.save(replace(record, run=replace(record.run, obeyed=(*record.run.obeyed, command.id)))).run

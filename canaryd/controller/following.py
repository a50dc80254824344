"""
PURE: what follows from a plan as it is asked for now, and the runs that it has had.

A release is run once. A new one in mid-run does what the plan says (``onNewRelease``); the one settled before, asked
for again, ends the run. What was settled is known from the runs, and, where those are gone (by a hand, or with a backup
that had none), from an annotation of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from canaryd.engine.admission import settled_by
from canaryd.model.plan import Plan
from canaryd.model.run import Run


class Course(Enum):
    """What is to be done for a plan."""

    REST = auto()
    """Nothing: its release is being run, or was."""
    BEGIN = auto()
    """A run is to begin."""
    ABORT = auto()
    """The run in flight is to be rolled back."""
    QUEUE = auto()
    """A release waits for the run in flight to end."""
    TURN_DOWN = auto()
    """A release is not run, because another one was in flight when it came."""


@dataclass(frozen=True, slots=True)
class Following:
    """
    The answer: ``course``, the run that the plan's status shows (the one in flight, else the last one), and why.

    ``changed`` says that the run in flight goes on with another text than the plan's of now.
    """

    course: Course
    run: Run | None = None
    reason: str = ""
    changed: bool = False


def follow(
    plan: Plan | None,
    runs: Sequence[Run],
    *,
    turned_down: str = "",
    settled: str = "",
    draining: str = "",
    again: bool = False,
) -> Following:
    """
    What to do for ``plan`` (None: deleted, or unreadable now) that has had ``runs``, the oldest first.

    ``turned_down`` is a release that was refused in mid-run before; ``settled`` is the release that an annotation says
    was settled; ``draining`` says why nothing may run at all, empty otherwise. ``again`` says that a person wants the
    release of the last run, which has ended, once more.
    """
    current = next((run for run in reversed(runs) if not is_over(run)), None)
    last = runs[-1] if runs else None
    if draining:
        return _ended(current, draining) if current else Following(Course.REST, last, draining)
    if plan is None:
        return Following(Course.REST, current or last)
    if current:
        return _in_flight(plan, current, runs, turned_down)
    release = plan.spec.release
    if again:
        return Following(Course.BEGIN, last)
    if former := settled_by(plan, runs):
        return Following(Course.REST, former, _settled(former))
    if release == settled:
        return Following(Course.REST, last, f"release {release!r} was settled before; its run is not kept any more")
    if release == turned_down:
        return Following(
            Course.TURN_DOWN, last, f"release {release!r} came while another was in flight, and is not run"
        )
    return Following(Course.BEGIN, last)


def _settled(run: Run) -> str:
    """What is in force after ``run``, which settled the release that is asked for."""
    release = run.plan.spec.release
    if not run.undoes:
        return f"release {release!r} was settled by run {run.uid}"
    return (
        f"release {release!r}, promoted by run {run.undoes}, was {run.reason}: {run.route.stable} has the traffic; "
        "a new spec.release begins the next run"
    )


def deleted(runs: Sequence[Run]) -> Following:
    """What to do for a plan that is gone: its run is rolled back."""
    current = next((run for run in reversed(runs) if not is_over(run)), None)
    return _ended(current, "the plan was deleted") if current else Following(Course.REST)


def is_over(run: Run) -> bool:
    """Whether nothing is left to be done for ``run``: it has ended, and its marker is out of the mesh."""
    return run.final and run.released


def _in_flight(plan: Plan, run: Run, runs: Sequence[Run], turned_down: str) -> Following:
    release, running = plan.spec.release, run.plan.spec.release
    if plan.same_as(run.plan) or run.final:
        return Following(Course.REST, run)
    if release == running:
        return Following(Course.REST, run, "the plan was edited; the run goes on with its own copy", changed=True)
    before = [one for one in runs if one is not run]
    if former := settled_by(plan, before):
        why = f"the plan asks for release {release!r} again, which run {former.uid} had settled"
        return _ended(run, why, changed=True)
    policy = plan.spec.on_new_release
    if policy == "refuse" or release == turned_down:
        why = f"release {release!r} is not run, because run {run.uid} of release {running!r} is in flight"
        return Following(Course.TURN_DOWN, run, why, changed=True)
    if policy == "queue" or run.latch:
        why = f"release {release!r} waits for run {run.uid} of release {running!r} to end"
        return Following(Course.QUEUE, run, why, changed=True)
    return _ended(run, f"release {release!r} replaces release {running!r}", changed=True)


def _ended(run: Run, reason: str, *, changed: bool = False) -> Following:
    if run.latch or run.final:
        return Following(Course.QUEUE if changed else Course.REST, run, reason, changed)
    return Following(Course.ABORT, run, reason, changed)

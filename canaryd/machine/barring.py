"""
A bar: while a window is closed or a freeze is in force, nothing starts and nothing rises; every way back is open.

What a newcomer would get wrong: not only the next step rises. A write that was lost and is sent again rises, too, and
so does one that sets weights again which somebody had brought down.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine.returning import but_stable_changed
from canaryd.machine.standing import Standing, standing
from canaryd.machine.writes import RESTART, started_over, written
from canaryd.model.decision import Decision, Event, Observation, Told
from canaryd.model.run import HoldKind, Latch, Phase, Run
from canaryd.model.traffic import NOTHING, Sighting, Split

CLOCKS: tuple[HoldKind, ...] = ("gate", "inconclusive")
"""
Holds whose limit stands still while there is a bar: a person cannot let the run go on then, and the limit must not run
out because of that. Without data it runs on: nobody knows what the canary does.
"""


def bar_seen(run: Run, seen: Observation) -> Run:
    """Note when the bar came; when it is gone, what it took of the hold's limit is given back."""
    if seen.barred:
        return run if run.barred_since is not None else replace(run, barred_since=seen.now)
    if run.barred_since is None:
        return run
    hold = run.hold
    if hold and hold.kind in CLOCKS and hold.limit is not None:
        took = seen.now - max(run.barred_since, hold.since)
        hold = replace(hold, since=hold.since + took, limit=hold.limit + took)
    since = run.barred_since
    gates = tuple(replace(one, since=one.since + seen.now - max(since, one.since)) for one in run.gates)
    return replace(run, barred_since=None, hold=hold, gates=gates)


def stopped(run: Run, seen: Observation) -> Run:
    """Somebody stopped everything: an abort, and as final as any."""
    if not seen.stopped or run.latch:
        return run
    return replace(run, latch=Latch("abort", seen.stopped + but_stable_changed(run, seen), seen.now))


def barred_from(split: Split, match: str, seen: Observation) -> str:
    """Why ``split`` and the audience ``match`` may not be written now, for they would rise; empty where they may."""
    parts = (seen.mesh.parts or (seen.mesh,)) if isinstance(seen.mesh, Sighting) else ()
    rises = any(split > (part.split or NOTHING) or (match and match != part.match) for part in parts)
    return seen.barred if rises or not parts else ""


def taken_back(run: Run, seen: Observation, mesh: Sighting) -> Decision:
    """
    A rise that never arrived, or in some of several objects only, and may not be sent again now: the run goes back to
    the step that the mesh, or the rest of it, shows.

    It says so in the mesh: a newer marker keeps the lost write from landing late, and the step is measured further. A
    run that waited for its write to arrive would measure nothing, for as long as the bar is there.
    """
    former = next((part for part in mesh.parts if standing(run, part) is Standing.LOST), mesh)
    split, wanted = former.split or NOTHING, run.share
    step = _step_at(run, split, former.match)
    sent = written(run, seen, split, former.match, latch=RESTART if step is None else "", reason=seen.barred)
    if step is None:
        back = replace(started_over(sent.run), split=split, waiting=f"waiting to start: {seen.barred}")
    else:
        waiting = f"back at {sent.run.share}: {seen.barred}"
        back = replace(sent.run, phase=Phase.SHIFTING, step=step, hold=None, waiting=waiting)
    why = f"{wanted} was never seen in the mesh and may not be sent again now, back to {back.share}: {seen.barred}"
    return replace(sent, run=back, events=(Event(Told.TAKEN_BACK, why),))


def _step_at(run: Run, split: Split, match: str) -> int | None:
    """The step with that weight and audience; None before the first."""
    steps = run.plan.spec.steps
    exactly = [index for index, one in enumerate(steps) if (one.weight, one.audience) == (split, match)]
    by_weight = [index for index, one in enumerate(steps) if one.weight == split > NOTHING]
    return next(iter(exactly + by_weight), None)

"""
Observing: everything but patches.

The machine decides as it always does and is shown a mesh that obeyed; what is measured is the traffic that there is.
All of it is a function of the run and of what was seen, so that a restart changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from canaryd.model.cells import Cell, Gap
from canaryd.model.decision import Decision, Event, Told, Unseen
from canaryd.model.run import Run
from canaryd.model.traffic import NOTHING, Marker, Sighting

ONLY = "observed only, nothing was moved"
_SAID = re.compile(r"^observing, nothing is moved(?: \([^)]*\))?: ")


def as_wanted(run: Run, mesh: Sighting | Unseen) -> Sighting | Unseen:
    """
    What the machine is shown: ``mesh`` with split and marker as the run's last write would have left them.

    A mesh that cannot be read, and an entry that is gone or says no split, stay what they are. But a rollback that was
    decided is done: nobody waits for a mesh that is not to be written to.
    """
    if isinstance(mesh, Unseen):
        return Sighting(NOTHING, _marker(run)) if run.seq > 0 and not run.exposed else mesh
    if run.seq == 0:
        split = None if mesh.split is None else run.started_from
        return replace(mesh, split=split, highest=split, marker=None, match="", parts=())
    split = None if mesh.split is None and run.exposed else run.split
    return replace(mesh, split=split, highest=split, marker=_marker(run), match=run.match, parts=())


def _marker(run: Run) -> Marker | None:
    if run.seq == 0:
        return None
    return Marker(
        run.uid,
        run.seq,
        run.split,
        run.split,
        run.route.stable,
        run.route.canary,
        run.at,
        match=run.match,
        born=run.created,
        kept=run.kept,
    )


def as_measured(cells: tuple[Cell | Gap, ...], mesh: Sighting | Unseen) -> tuple[Cell | Gap, ...]:
    """``cells`` under the split that the mesh really holds, for which the judge is to expect the traffic."""
    if isinstance(mesh, Unseen) or mesh.split is None:
        return cells
    return tuple(
        replace(cell, split=mesh.split, former=None, matched=bool(mesh.match))
        if isinstance(cell, Cell)
        else replace(cell, split=mesh.split)
        for cell in cells
    )


def observed(decision: Decision, former: Run, mesh: Sighting | Unseen) -> Decision:
    """``decision`` told as what it is: its write as what would be written, and nothing as if it had been moved."""
    run, real = decision.run, _real(former, mesh)
    events = tuple(_told(event, run, real) for event in decision.events)
    if decision.write:
        marker = decision.write.marker
        would = f"would set the canary to {marker.split} in {run.route} ({former.split} -> {marker.split})"
        events = (*events, Event(Told.WOULD_WRITE, f"observing: {would}"))
    if run.final:
        reason = run.reason if run.reason.endswith(f"({ONLY})") else f"{run.reason} ({ONLY})"
        return replace(decision, run=replace(run, reason=reason), events=events)
    said = _SAID.sub("", run.waiting)
    waiting = f"observing, nothing is moved ({real}): {said}" if said else ""
    return replace(decision, run=replace(run, waiting=waiting), events=events)


def _real(run: Run, mesh: Sighting | Unseen) -> str:
    if isinstance(mesh, Unseen) or mesh.split is None:
        return "what the mesh sends is not known"
    return f"the mesh sends {mesh.split} to {run.route.canary}"


def _told(event: Event, run: Run, real: str) -> Event:
    match event.told:
        case Told.SHIFTED | Told.WATCHING:
            return replace(event, reason=f"observing: from here as if {run.route.canary} had {run.split}; {real}")
        case Told.PASSED | Told.PROMOTING:
            return replace(event, reason=f"observing: {event.reason}; measured while {real}")
        case Told.PROMOTED | Told.ROLLED_BACK:
            return replace(event, reason=f"{event.reason} ({ONLY})")
        case _:
            return replace(event, reason=f"observing: {event.reason}")

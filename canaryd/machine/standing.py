"""
Where a write of ours stands: the marker and the weights in the mesh, held against what the run wrote last.
"""

from __future__ import annotations

from enum import Enum, auto

from canaryd.model.run import Run
from canaryd.model.traffic import Marker, Sighting


class Standing(Enum):
    """What the mesh's marker and weights say of our last write."""

    ARRIVED = auto()
    """They are what we wrote last."""
    LOST = auto()
    """They are what we wrote before that; the last write has never been seen."""
    AHEAD = auto()
    """The marker is ours, and newer than what we know of."""
    PARTLY = auto()
    """Some of several objects are what we wrote last, the others what we wrote before."""
    DRIFT = auto()
    """Anything else: somebody else wrote."""


def standing(run: Run, seen: Sighting) -> Standing:
    """Compare what the mesh shows with what ``run`` wrote last, never with what it showed before."""
    if seen.parts:
        found = {standing(run, part) for part in seen.parts}
        for graver in (Standing.AHEAD, Standing.DRIFT):
            if graver in found:
                return graver
        return found.pop() if len(found) == 1 else Standing.PARTLY
    marker = seen.marker
    if _taken_over(run, seen):
        return Standing.LOST
    if marker is None or marker.run != run.uid:
        untouched = marker is None and seen.split == run.started_from and not seen.match
        if run.seq == 0:
            return Standing.ARRIVED if untouched else Standing.DRIFT
        return Standing.LOST if untouched and _never_arrived(run) else Standing.DRIFT
    if marker.seq > run.seq:
        return Standing.AHEAD
    if (seen.split, seen.match) != (marker.split, marker.match):
        return Standing.DRIFT
    if marker.seq == run.seq:
        wanted = (marker.split, marker.match) == (run.split, run.match)
        return Standing.ARRIVED if wanted else Standing.DRIFT
    # An older marker once the newer one was seen: somebody has put an old state of the object back.
    return Standing.LOST if run.arrived_at is None else Standing.DRIFT


def _taken_over(run: Run, seen: Sighting) -> bool:
    """
    Weights that somebody set and the run has taken over, whose marker has not arrived: the write of it is sent again.

    It changes no weight; a marker of another run is another's claim all the same.
    """
    wanted = run.taken_over and run.arrived_at is None and (seen.split, seen.match) == (run.split, run.match)
    return bool(wanted) and (seen.marker is None or (seen.marker.run == run.uid and seen.marker.seq < run.seq))


def newest(run: Run, seen: Sighting) -> Marker | None:
    """The marker that was written last, of this run's if there is one."""
    markers = [one.marker for one in seen.parts or (seen,) if one.marker is not None]
    return max(markers, key=lambda marker: (marker.run == run.uid, marker.seq), default=None)


def _never_arrived(run: Run) -> bool:
    return run.arrived_at is None and all(segment.seq in (0, run.seq) for segment in run.segments)

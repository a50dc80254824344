"""
What can be done from the object alone: when the run is lost, when canaryd is, and when nobody watches any more.

Everything that a rollback needs stands in the object: the marker names the two versions, the annotation beside it the
entries and what they were before. Nothing here asks a store, or the API.
"""

from __future__ import annotations

import re

from canaryd.errors import Conflict, Rejected
from canaryd.mesh.admission import repair
from canaryd.mesh.entries import HttpEntry, Object, annotations_of, own_entries
from canaryd.mesh.matching import in_front
from canaryd.mesh.weights import MARKER, marker_key, marker_of, origin_key, origins_of, split_of
from canaryd.model.traffic import Entry, Marker, Route, Split

_UNNAMED = re.compile(r"http\[(\d+)\]")


def orphan_of(virtual_service: Object, key: str) -> tuple[Route, Marker] | None:
    """
    The route and the marker that the annotation ``key`` (``marker.canaryd.io/PLAN``) amounts to.

    The entries are those that the annotation beside it remembers; where that is gone, those that have exactly the split
    that the marker wrote. None where there is no such marker, where it cannot be read, or where it has no entry.
    """
    plan = key.removeprefix(f"{MARKER}/")
    if plan == key or not plan:
        return None
    try:
        marker = marker_of(virtual_service, plan)
    except ValueError:
        return None
    if marker is None:
        return None
    present, meta = own_entries(virtual_service), virtual_service.get("metadata") or {}
    route = Route(
        meta.get("namespace") or "default", str(meta.get("name") or ""), plan, (), marker.stable, marker.canary
    )
    known = origins_of(virtual_service, plan)
    found = [_entry(name, present) for name in known] if known else _with_its_split(virtual_service, route, marker)
    if not found:
        return None
    entries = tuple(sorted(found, key=lambda entry: (entry.index, entry.name)))
    return Route(route.namespace, route.virtual_service, plan, entries, marker.stable, marker.canary), marker


def _entry(name: str, present: tuple[HttpEntry, ...]) -> Entry:
    """The entry that an annotation means by ``name``: its own name, or its place where it had none."""
    unnamed = _UNNAMED.fullmatch(name)
    if unnamed and not any(found.name == name for found in present):
        return Entry(int(unnamed[1]))
    return Entry(next((found.place for found in present if found.name == name), 0), name)


def _with_its_split(virtual_service: Object, route: Route, marker: Marker) -> list[Entry]:
    entries = [
        found.entry
        for found in own_entries(virtual_service)
        if found.to(marker.stable, route.namespace) and found.to(marker.canary, route.namespace)
    ]
    whole = Route(route.namespace, route.virtual_service, route.plan, (), marker.stable, marker.canary)
    return [entry for entry in entries if _split_at(virtual_service, whole, entry) == marker.split]


def _split_at(virtual_service: Object, route: Route, entry: Entry) -> Split | None:
    one = Route(route.namespace, route.virtual_service, route.plan, (entry,), route.stable, route.canary)
    return split_of(virtual_service, one).split


def break_glass(virtual_service: Object, route: Route) -> str:
    """
    The commands that give stable everything and take our annotations out, for when canaryd does not answer.

    Empty where weights cannot do it: no stable destination is left, or no entry is ours any more.
    """
    try:
        command = repair(virtual_service, route)
    except (Conflict, Rejected):
        return ""
    present = annotations_of(virtual_service)
    ours = [f"{key}-" for key in (marker_key(route.plan), origin_key(route.plan)) if key in present]
    if not ours:
        return command
    where = f"virtualservice {route.virtual_service} -n {route.namespace}"
    return f"{command} && kubectl annotate {where} {' '.join(ours)}"


def decided(virtual_service: Object, route: Route, split: Split) -> str:
    """
    Why the weights are no longer ``split``, as a run that has ended decided; empty if they still are.

    An entry from which the version without traffic was taken out is as decided. Who wrote the weights is not asked: a
    younger run of the plan moves them on purpose.
    """
    seen = split_of(virtual_service, route)
    if seen.split is None:
        return f"{route} no longer says a split between {route.stable} and {route.canary}: {seen.why}"
    if seen.match:
        left = ", ".join(map(str, in_front(virtual_service, route)))
        return f"entries that canaryd had inserted stand in {route} again: {left}"
    if seen.split != split:
        return f"somebody set the canary {route.canary} to {seen.split} in {route}; {split} was decided"
    return ""

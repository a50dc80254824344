"""
Weights: what an object's weights amount to, and the JSON Patch that changes them.

Istio's weights are relative to their sum. The entry's own sum is kept where the wanted split is exact in it, and comes
back as soon as it is. What an entry looked like before our first write is remembered in an annotation beside the
marker, so that a rollback restores its numbers and ``release`` takes an inserted destination out again.

Two guards, on purpose of unequal strength. Toward canary nothing at all may have changed since the object was read. A
retreat is guarded only by *which* destinations are written to: a busy writer elsewhere in the object must never be able
to block it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from canaryd.errors import Conflict, Rejected
from canaryd.mesh.entries import Destination, HttpEntry, Object, annotations_of, managed_entries
from canaryd.mesh.matching import audience_in, destination_of, put_in_front, take_away
from canaryd.model.traffic import EVERYTHING, NOTHING, WHOLE, Marker, Route, Sighting, Split, Version

Operation = dict[str, Any]
"""One operation of an RFC 6902 JSON Patch."""

SUMS = (100, 1_000, 10_000, WHOLE)
"""The sums to choose from where the entry's own will not do; in the last every split is exact, and all fit int32."""

MARKER = "marker.canaryd.io"
ORIGIN = "origin.canaryd.io"


class Guard(Enum):
    """What must not have changed since the object was read."""

    OBJECT = "object"
    """Toward canary: nothing at all."""
    DESTINATIONS = "destinations"
    """Toward stable: which destinations are where, and our marker."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What an entry was before our first write: the weights as written, and whether the canary had to be inserted."""

    stable: int | None
    canary: int | None
    inserted: bool

    @property
    def total(self) -> int:
        """The sum to come back to; 100 where no weights were written."""
        return (self.stable or 0) + (self.canary or 0) or SUMS[0]


def marker_key(plan: str) -> str:
    """The annotation that holds the marker of ``plan``."""
    return f"{MARKER}/{plan}"


def origin_key(plan: str) -> str:
    """The annotation that remembers what the entries of ``plan`` were before."""
    return f"{ORIGIN}/{plan}"


def marker_of(virtual_service: Object, plan: str) -> Marker | None:
    """The marker of ``plan`` in the object. Raises ValueError when its annotation holds something else."""
    text = annotations_of(virtual_service).get(marker_key(plan))
    return None if text is None else Marker.parse(text)


def split_of(virtual_service: Object, route: Route) -> Sighting:
    """
    What the weights in ``route``'s entries amount to.

    A destination without traffic never counts; where no entry sends anything to the canary the split is 0 even if some
    other destination shares the rest, because that is what a rollback wants to see.
    """
    findings: list[str] = []
    entries = managed_entries(virtual_service, route)
    splits = {_split_of_entry(found, route, findings, str(entry)) for entry, found in entries}
    if len(splits) > 1 and None not in splits:
        findings.append("the entries disagree: " + ", ".join(sorted(str(split) for split in splits)))
    try:
        marker = marker_of(virtual_service, route.plan)
    except ValueError as error:
        marker = None
        findings.append(f"annotation {marker_key(route.plan)}: {error}")
    return Sighting(
        split=splits.pop() if len(splits) == 1 else None,
        marker=marker,
        version=(virtual_service.get("metadata") or {}).get("resourceVersion") or "",
        why="; ".join(findings),
        stable_missing=any(found and not found.to(route.stable, route.namespace) for _, found in entries),
        highest=max((_share(found, route) for _, found in entries if found), default=None),
        match=audience_in(virtual_service, route, marker.match if marker else ""),
    )


def _share(entry: HttpEntry, route: Route) -> Split:
    """What the canary gets of this entry, whoever else gets some of it."""
    canaries = entry.to(route.canary, route.namespace)
    if len(entry.destinations) == 1:
        return EVERYTHING if canaries else NOTHING
    canary = sum(destination.weight for destination in canaries)
    return _exact(Split.of_weights(canary, entry.total), canary, entry.total) if 0 < canary <= entry.total else NOTHING


def _split_of_entry(entry: HttpEntry | None, route: Route, findings: list[str], name: str) -> Split | None:
    if entry is None:
        findings.append(f"{name} is gone, or its destinations are no longer {route.stable} and {route.canary}")
        return None
    others = [other for other in entry.besides((route.stable, route.canary), route.namespace) if entry.receives(other)]
    if others:
        findings.append(f"{entry} also sends traffic to {', '.join(map(str, others))}")
    canaries = entry.to(route.canary, route.namespace)
    if len(entry.destinations) == 1:
        return EVERYTHING if canaries else None if others else NOTHING
    if entry.total <= 0:
        findings.append(f"the weights of {entry} sum to {entry.total}")
        return None
    canary = sum(destination.weight for destination in canaries)
    if canary <= 0:
        return NOTHING
    return None if others else _exact(Split.of_weights(canary, entry.total), canary, entry.total)


def _exact(split: Split, canary: int, total: int) -> Split:
    """A sliver of traffic is not none: only a weight of zero is a split of zero."""
    if split == NOTHING and canary > 0:
        return Split(1)
    if split == EVERYTHING and canary < total:
        return Split(WHOLE - 1)
    return split


def weights_for(split: Split, total: int) -> tuple[int, int]:
    """Stable's and canary's weight for ``split``, in a sum of ``total`` if that is exact, else in a sum that is."""
    fitting = next(one for one in (total, *SUMS) if one > 0 and one * split.canary % WHOLE == 0)
    canary = fitting * split.canary // WHOLE
    return fitting - canary, canary


def weight_patch(virtual_service: Object, route: Route, marker: Marker, guard: Guard) -> list[Operation]:
    """
    The JSON Patch that writes ``marker.split`` and the marker into the object as it was read.

    Toward canary a missing canary destination is inserted, and the entries for the marker's audience are put in front.
    Toward stable (``Guard.DESTINATIONS``) whatever the canary has goes to stable, other destinations keep their
    weights, entries of ours in front that are not the marker's go, and entries that cannot be moved do not stop the
    others.

    Raises Conflict when an entry, or every entry, is no longer ours, or a younger run moves it by now. Raises Rejected
    when weights cannot do it: a third destination that takes traffic, or no stable destination to go back to.
    """
    origins = origins_of(virtual_service, route.plan)
    if guard is Guard.DESTINATIONS:
        if younger := _younger(virtual_service, route, marker):
            raise Conflict(f"{route} is in the hands of {younger}, which began later than run {marker.run}: left to it")
        kept = bool(marker.match) and audience_in(virtual_service, route, marker.match) == marker.match
        away = [] if kept else take_away(virtual_service, route)
        moves = [*_retreats(virtual_service, route, marker.split, origins, others=bool(away)), *away]
    else:
        moves, origins = _shifts(virtual_service, route, marker.split, origins)
        moves += put_in_front(virtual_service, route, marker.match)
    return [*_tests(virtual_service, route, guard), *moves, *_annotate(virtual_service, route, marker, origins)]


def _younger(virtual_service: Object, route: Route, marker: Marker) -> str:
    """
    Who moves the entries by now and was born after ``marker``'s run: a run whose traffic a late retreat must not touch.

    A marker that does not say when its run was born, or an older run's that came back with an old YAML, blocks nothing.
    Nor does another plan's as long as our own claim is there.
    """
    if not marker.born:
        return ""
    own = _readable(virtual_service, route.plan)
    if own is not None:
        return f"run {own.run}" if own.run != marker.run and own.born > marker.born else ""
    ours = {str(found.entry) for _, found in managed_entries(virtual_service, route) if found is not None}
    for key in annotations_of(virtual_service):
        plan = key.removeprefix(f"{MARKER}/")
        if plan in (key, route.plan):
            continue
        other, claimed = _readable(virtual_service, plan), set(origins_of(virtual_service, plan))
        if other is not None and other.born > marker.born and (claimed & ours or not claimed):
            return f"run {other.run} of plan {plan}"
    return ""


def _readable(virtual_service: Object, plan: str) -> Marker | None:
    try:
        return marker_of(virtual_service, plan)
    except ValueError:
        return None


def _shifts(
    virtual_service: Object, route: Route, split: Split, known: Mapping[str, Origin]
) -> tuple[list[Operation], dict[str, Origin]]:
    operations: list[Operation] = []
    origins: dict[str, Origin] = {}
    for entry, found in managed_entries(virtual_service, route):
        if found is None:
            raise Conflict(f"{route}: {entry} is gone, or its destinations are no longer ours")
        stable, canary = _pair(found, route)
        origin = known.get(str(entry)) or Origin(
            stable.given, canary.given if canary else None, inserted=canary is None
        )
        origins[str(entry)] = origin
        stable_weight, canary_weight = weights_for(split, origin.total)
        operations += _identified(found, stable, weights=True)
        if canary is None:
            operations += [_set(found, stable, stable_weight), _inserted(found, stable, route.canary, canary_weight)]
        else:
            operations += [
                *_identified(found, canary, weights=True),
                _set(found, stable, stable_weight),
                _set(found, canary, canary_weight),
            ]
    return operations, origins


def _pair(entry: HttpEntry, route: Route) -> tuple[Destination, Destination | None]:
    """Stable and canary in an entry that may be shifted. Raises Rejected where weights could not say the split."""
    stables, canaries = entry.to(route.stable, route.namespace), entry.to(route.canary, route.namespace)
    if not stables:
        raise Rejected(
            f"{route}: {entry} has no destination {route.stable} any more; "
            "put it back, with weight 0 if it shall have no traffic"
        )
    if len(stables) > 1 or len(canaries) > 1:
        raise Rejected(f"{route}: {entry} names {route.stable} or {route.canary} twice; merge the two destinations")
    others = [other for other in entry.besides((route.stable, route.canary), route.namespace) if entry.receives(other)]
    if others:
        raise Rejected(
            f"{route}: {entry} also sends traffic to {', '.join(map(str, others))}; give it weight 0 or take it out"
        )
    return stables[0], canaries[0] if canaries else None


def _retreats(
    virtual_service: Object, route: Route, split: Split, origins: Mapping[str, Origin], *, others: bool
) -> list[Operation]:
    """What goes back; ``others``: something else of ours goes too, so that nothing here stops the patch."""
    operations: list[Operation] = []
    found_any = False
    stranded: list[str] = []
    for entry, found in managed_entries(virtual_service, route):
        if found is None:
            continue
        found_any = True
        if found.to(route.stable, route.namespace):
            operations += _retreat(found, route, split, origins.get(str(entry)))
        else:
            stranded.append(str(found))
    if not found_any and not others:
        raise Conflict(f"{route}: no entry holds {route.stable} or {route.canary} any more")
    if stranded and not operations and not others:
        raise Rejected(
            f"{route}: {', '.join(stranded)} has no destination {route.stable} to go back to; "
            f"add it with the weight that {route.canary} has, and set that one to 0"
        )
    return operations


def _retreat(entry: HttpEntry, route: Route, split: Split, origin: Origin | None) -> list[Operation]:
    """What the canary has beyond ``split`` goes to stable; of two canaries the second keeps nothing. Never upward."""
    stable, *doubles = entry.to(route.stable, route.namespace)
    canaries = entry.to(route.canary, route.namespace)
    if not canaries or NOTHING < split >= _share(entry, route):
        return _identified(entry, stable)
    others = (*doubles, *entry.besides((route.stable, route.canary), route.namespace))
    if any(other.weight for other in others):
        ours = stable.weight + sum(canary.weight for canary in canaries)
        canary_weight = min(entry.total * split.canary // WHOLE, ours)
        stable_weight = ours - canary_weight
    else:
        total = origin.total if origin else entry.total or SUMS[0]
        stable_weight, canary_weight = weights_for(split, total)
    return [
        *(test for each in (stable, *canaries) for test in _identified(entry, each)),
        _set(entry, stable, stable_weight),
        *(_set(entry, canary, canary_weight if index == 0 else 0) for index, canary in enumerate(canaries)),
    ]


def _tests(virtual_service: Object, route: Route, guard: Guard) -> list[Operation]:
    meta = virtual_service.get("metadata") or {}
    if guard is Guard.OBJECT:
        return guarded(virtual_service)
    if meta.get("annotations") is None:
        # We shall create the map, and must not overwrite one that somebody created meanwhile. That null holds for an
        # absent member is how the API server applies a patch. Source: evanphx/json-patch, patch.go, (Patch).test.
        return [_test("/metadata/annotations", None)]
    # Where there was no marker there must be none now: null holds for an absent annotation, as above.
    return [_test(_annotation(marker_key(route.plan)), annotations_of(virtual_service).get(marker_key(route.plan)))]


def guarded(virtual_service: Object) -> list[Operation]:
    """That nothing at all has changed since the object was read."""
    version = (virtual_service.get("metadata") or {}).get("resourceVersion")
    return [] if version is None else [_test("/metadata/resourceVersion", version)]


def _identified(entry: HttpEntry, destination: Destination, *, weights: bool = False) -> list[Operation]:
    """That this destination is still where it was read, and, toward canary, still has the weight it had."""
    path = f"{entry.path}/route/{destination.index}"
    version = destination.version
    tests = [_test(f"{entry.path}/name", entry.name)] if entry.name else []
    if version.subset:
        tests += [
            _test(f"{path}/destination/host", version.host),
            _test(f"{path}/destination/subset", version.subset),
        ]
    else:
        # That a member is absent can only be said of the whole that it would be in.
        whole = {"host": version.host} | ({"port": destination.port} if destination.port is not None else {})
        tests.append(_test(f"{path}/destination", whole))
    if weights and destination.given is not None:
        tests.append(_test(f"{path}/weight", destination.given))
    return tests


def _set(entry: HttpEntry, destination: Destination, weight: int) -> Operation:
    # `add` writes a member whether or not it is there; `replace` would fail where the weight is left out.
    return {"op": "add", "path": f"{entry.path}/route/{destination.index}/weight", "value": weight}


def _inserted(entry: HttpEntry, beside: Destination, version: Version, weight: int) -> Operation:
    """The canary as one more destination, on the port of stable when both are the same service."""
    destination = destination_of(version, beside)
    return {"op": "add", "path": f"{entry.path}/route/-", "value": {"destination": destination, "weight": weight}}


def _annotate(virtual_service: Object, route: Route, marker: Marker, origins: Mapping[str, Origin]) -> list[Operation]:
    values = {marker_key(route.plan): marker.dump()}
    if origins:
        values[origin_key(route.plan)] = _dump(origins)
    if (virtual_service.get("metadata") or {}).get("annotations") is None:
        return [{"op": "add", "path": "/metadata/annotations", "value": values}]
    present = annotations_of(virtual_service)
    return [
        {"op": "add", "path": _annotation(key), "value": value}
        for key, value in values.items()
        if present.get(key) != value
    ]


def restore_patch(virtual_service: Object, route: Route, run: str) -> list[Operation]:
    """
    The JSON Patch that takes a destination that we inserted out again if it has no traffic; the marker stays.

    An empty list where there is nothing to do, or the object holds no marker of ``run``. A weight that was left out
    before is left out again once its destination is alone. An inserted canary that has traffic stays: it is what was
    released. It is a patch of its own, before :func:`release_patch`, because who changes ``spec.http`` owns it.
    """
    if not _holds(virtual_service, route, run):
        return []
    origins = origins_of(virtual_service, route.plan)
    operations: list[Operation] = []
    for entry, found in managed_entries(virtual_service, route):
        origin = origins.get(str(entry))
        if found is not None and origin is not None:
            operations += _uninserted(found, route, origin) if origin.inserted else _unweighted(found, route, origin)
    return [*_tests(virtual_service, route, Guard.OBJECT), *operations] if operations else []


def release_patch(virtual_service: Object, route: Route, run: str) -> list[Operation]:
    """
    The JSON Patch that takes the marker of ``run`` out, and what was remembered beside it; it changes nothing in spec.

    An empty list where the object holds no marker of ``run``.
    """
    if not _holds(virtual_service, route, run):
        return []
    present = annotations_of(virtual_service)
    return _tests(virtual_service, route, Guard.OBJECT) + [
        {"op": "remove", "path": _annotation(key)}
        for key in (marker_key(route.plan), origin_key(route.plan))
        if key in present
    ]


def _holds(virtual_service: Object, route: Route, run: str) -> bool:
    marker = _readable(virtual_service, route.plan)
    return marker is not None and marker.run == run


def _uninserted(entry: HttpEntry, route: Route, origin: Origin) -> list[Operation]:
    stables, canaries = entry.to(route.stable, route.namespace), entry.to(route.canary, route.namespace)
    if len(canaries) != 1 or len(stables) != 1 or canaries[0].weight or not stables[0].weight:
        return []
    stable, canary = stables[0], canaries[0]
    operations = [*_identified(entry, stable), *_identified(entry, canary)]
    if len(entry.destinations) == 2 and origin.stable != stable.given:
        path = f"{entry.path}/route/{stable.index}/weight"
        operations.append(
            {"op": "remove", "path": path}
            if origin.stable is None
            else {"op": "add", "path": path, "value": origin.stable}
        )
    return [*operations, {"op": "remove", "path": f"{entry.path}/route/{canary.index}"}]


def _unweighted(entry: HttpEntry, route: Route, origin: Origin) -> list[Operation]:
    """A canary's weight that was left out before, and is none again, is left out again."""
    canaries = entry.to(route.canary, route.namespace)
    if len(canaries) != 1 or origin.canary is not None or canaries[0].given != 0:
        return []
    return [
        *_identified(entry, canaries[0]),
        {"op": "remove", "path": f"{entry.path}/route/{canaries[0].index}/weight"},
    ]


def origins_of(virtual_service: Object, plan: str) -> dict[str, Origin]:
    """
    The entries that ``plan`` has written to, by name, with what they were before.

    Nothing where the annotation cannot be read: then the weights of now are the best memory there is.
    """
    try:
        fields = json.loads(annotations_of(virtual_service).get(origin_key(plan), "{}"))
        return {
            entry: Origin(_weight(origin["stable"]), _weight(origin["canary"]), bool(origin["inserted"]))
            for entry, origin in fields.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _weight(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31):
        raise ValueError(f"not a weight: {value!r}")
    return value


def _dump(origins: Mapping[str, Origin]) -> str:
    fields = {
        entry: {"stable": origin.stable, "canary": origin.canary, "inserted": origin.inserted}
        for entry, origin in origins.items()
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _annotation(key: str) -> str:
    return "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")


def _test(path: str, value: Any) -> Operation:
    return {"op": "test", "path": path, "value": value}

"""
Reading a VirtualService: its http entries and their destinations.

An entry with a single destination sends everything there whatever its ``weight`` says, also 0; with several, a missing
weight is 0 and each gets its part of the sum, which need not be 100.
Source: Istio, pilot/pkg/networking/core/route/route.go, and pkg/config/validation/virtualservice.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.mesh.hosts import same_version
from canaryd.model.traffic import Entry, Route, Version

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""

INSERTED = "canaryd-match-"
"""How the names of entries begin that canaryd has put in front of others: for a step with a ``match``."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One item of an entry's ``route``; ``given`` is its weight as written, None where it is left out."""

    index: int
    version: Version
    given: int | None
    port: Any = field(default=None, hash=False)

    @property
    def weight(self) -> int:
        return self.given or 0

    def __str__(self) -> str:
        return f"{self.version.host} {self.version.subset}".rstrip()


@dataclass(frozen=True, slots=True)
class HttpEntry:
    """
    One http entry, with what is left of it after its destinations in ``rest``.

    ``index`` is where it stands, ``place`` where it would stand without the entries that canaryd inserted: an entry
    without a name is known by that, whatever is in front of it.
    """

    index: int
    name: str
    destinations: tuple[Destination, ...]
    rest: Object
    place: int = -1

    @property
    def path(self) -> str:
        return f"/spec/http/{self.index}"

    @property
    def total(self) -> int:
        """The sum of the weights."""
        return sum(destination.weight for destination in self.destinations)

    @property
    def entry(self) -> Entry:
        return Entry(self.index if self.place < 0 else self.place, self.name)

    @property
    def inserted(self) -> bool:
        """Whether canaryd put it there, for a step with a ``match``."""
        return self.name.startswith(INSERTED)

    def __str__(self) -> str:
        return f"http[{self.index}] ({self.name})" if self.name else f"http[{self.index}]"

    def to(self, version: Version, namespace: str) -> tuple[Destination, ...]:
        """The destinations that mean ``version``; more than one where somebody wrote it twice."""
        return tuple(found for found in self.destinations if same_version(found.version, version, namespace))

    def besides(self, versions: Iterable[Version], namespace: str) -> tuple[Destination, ...]:
        """The destinations that mean none of ``versions``."""
        known = tuple(versions)
        return tuple(
            found
            for found in self.destinations
            if not any(same_version(found.version, one, namespace) for one in known)
        )

    def receives(self, destination: Destination) -> bool:
        """Whether any traffic goes to ``destination``: a single one gets all, whatever its weight."""
        return len(self.destinations) == 1 or destination.weight > 0


def http_entries(virtual_service: Object) -> tuple[HttpEntry, ...]:
    """The http entries in order, those that canaryd inserted among them."""
    spec = virtual_service.get("spec") or {}
    found, place = [], 0
    for index, raw in enumerate(spec.get("http") or ()):
        entry = _entry(index, raw or {}, place)
        found.append(entry)
        place += not entry.inserted
    return tuple(found)


def own_entries(virtual_service: Object) -> tuple[HttpEntry, ...]:
    """The http entries that are the user's."""
    return tuple(entry for entry in http_entries(virtual_service) if not entry.inserted)


def _entry(index: int, raw: Object, place: int) -> HttpEntry:
    return HttpEntry(
        index=index,
        name=raw.get("name") or "",
        destinations=tuple(destinations(raw.get("route") or ())),
        rest={key: value for key, value in raw.items() if key not in ("name", "route")},
        place=place,
    )


def destinations(route: Iterable[Object | None]) -> Iterator[Destination]:
    """The destinations in an entry's ``route`` (http, tls and tcp write them alike)."""
    for index, raw in enumerate(route):
        weight = (raw or {}).get("weight")
        target = (raw or {}).get("destination") or {}
        yield Destination(index, version_of(target), None if weight is None else int(weight), target.get("port"))


def version_of(target: Object) -> Version:
    """The version that a ``destination``, or a ``mirror``, names."""
    return Version(target.get("host") or "", target.get("subset") or "")


def managed_entries(virtual_service: Object, route: Route) -> list[tuple[Entry, HttpEntry | None]]:
    """
    Each entry of ``route`` with where it is now, or None where it is gone.

    An entry is found by its name, else at its index when its destinations are still ours, else it is the only one
    that still holds them: an edit elsewhere in the object moves entries, and must not hide one from a rollback.
    """
    present = own_entries(virtual_service)
    return [(entry, _find(present, entry, route)) for entry in route.entries]


def _find(present: tuple[HttpEntry, ...], entry: Entry, route: Route) -> HttpEntry | None:
    if entry.name:
        named = [found for found in present if found.name == entry.name]
        if len(named) == 1:
            return named[0]
    at_index = present[entry.index] if not entry.name and entry.index < len(present) else None
    # What somebody put in front (say a header entry that sends one user to the canary) must not pass for ours.
    for wanted in ((route.stable, route.canary), (route.stable,)):
        if at_index is not None and _holds(at_index, wanted, route.namespace):
            return at_index
        fitting = [found for found in present if _holds(found, wanted, route.namespace)]
        if len(fitting) == 1 and len(route.entries) == 1:
            return fitting[0]
    return at_index if at_index is not None and at_index.to(route.canary, route.namespace) else None


def _holds(entry: HttpEntry, versions: tuple[Version, ...], namespace: str) -> bool:
    return all(entry.to(version, namespace) for version in versions)


def annotations_of(virtual_service: Object) -> dict[str, str]:
    """The object's annotations."""
    return dict((virtual_service.get("metadata") or {}).get("annotations") or {})

"""By which VirtualServices requests come to the plan's entries, and at which proxies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.kube import VIRTUAL_SERVICES
from canaryd.mesh.entries import HttpEntry, http_entries, managed_entries
from canaryd.mesh.routing import gateways_of, hosts_of, namespace_of
from canaryd.preflight.survey import Object, Survey, name_of, spec_of


@dataclass(frozen=True, slots=True)
class Front:
    """
    A VirtualService by which requests come to the plan's entries: the plan's own, or, where that is a delegate, a root
    that hands over to it; ``entries`` are the indices of the root's entries that do.
    """

    found: Object
    entries: tuple[int, ...] = ()

    @property
    def namespace(self) -> str:
        return namespace_of(self.found)

    @property
    def gateways(self) -> tuple[str, ...]:
        """``mesh``, or ``namespace/name``."""
        return gateways_of(self.found)

    @property
    def hosts(self) -> tuple[str, ...]:
        return hosts_of(self.found)

    def __str__(self) -> str:
        return f"VirtualService {name_of(self.found)}"


def fronts(survey: Survey) -> tuple[Front, ...]:
    """By which VirtualServices requests come to the plan's entries; none where a delegate has no root that was seen."""
    ours = survey.virtual_service
    if ours is None:
        return ()
    if spec_of(ours).get("hosts"):
        return (Front(ours),)
    roots = ((one, tuple(_handing_over(one, ours))) for one in survey.all(VIRTUAL_SERVICES))
    return tuple(Front(root, entries) for root, entries in roots if entries)


def _handing_over(root: Object, ours: Object) -> Iterator[int]:
    wanted = (namespace_of(ours), ours["metadata"]["name"])
    for index, entry in enumerate(spec_of(root).get("http") or ()):
        delegate = (entry or {}).get("delegate") or {}
        if delegate and (delegate.get("namespace") or namespace_of(root), delegate.get("name")) == wanted:
            yield index


def bound_to(survey: Survey, front: Front) -> tuple[str, ...]:
    """What the plan's entries are bound to by this front: a match's own gateways go before those of the whole."""
    if survey.route is None or front.entries:
        entries = [entry for entry in http_entries(front.found) if entry.index in front.entries]
    else:
        entries = [entry for _, entry in managed_entries(front.found, survey.route) if entry is not None]
    found: dict[str, None] = {}
    for entry in entries:
        for match in _matches(entry):
            found |= dict.fromkeys(gateways_of(front.found, match.get("gateways") or ()))
    # A VirtualService is looked up by its own gateways only; what a match names beyond them reaches nobody.
    return tuple(one for one in found or front.gateways if one in front.gateways)


def _matches(entry: HttpEntry) -> list[Mapping[str, Any]]:
    """The entry's matches; an entry without any is one that everything fits."""
    written: Sequence[Mapping[str, Any] | None] = entry.rest.get("match") or ({},)
    return [one or {} for one in written]

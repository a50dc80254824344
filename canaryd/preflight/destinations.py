"""
How requests come to a version: through which entry, to which port of which Service, and whether from sidecars at all.

An entry may be bound to gateways alone; then what a Service's port is called does not decide who reads the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.kube import SERVICES
from canaryd.mesh.entries import HttpEntry, managed_entries
from canaryd.mesh.hosts import service_of
from canaryd.model.traffic import Version
from canaryd.preflight.survey import Object, Survey, spec_of

MESH = "mesh"
HEADLESS = "None"


@dataclass(frozen=True, slots=True)
class Destined:
    """
    One entry's way to one version.

    ``number`` is the destination's port as written, None where none is; ``pointer`` the destination in the
    VirtualService, empty for a version that the entry does not name yet. ``service`` is None where it is not known.
    """

    entry: HttpEntry
    version: Version
    number: int | None
    pointer: str
    service: Object | None
    gateways: frozenset[str]

    @property
    def ports(self) -> tuple[Mapping[str, Any], ...]:
        """The Service's ports for connections, in order."""
        return tcp_ports(self.service) if self.service else ()

    @property
    def port(self) -> Mapping[str, Any] | None:
        """The Service's port that is meant; None where it is not there or cannot be told."""
        if self.number is None:
            return self.ports[0] if len(self.ports) == 1 else None
        return next((each for each in self.ports if each.get("port") == self.number), None)

    @property
    def from_sidecars(self) -> bool:
        """Whether the callers' sidecars follow the entry, not gateways alone."""
        return MESH in self.gateways


def destined(survey: Survey) -> Iterator[Destined]:
    """Each entry's way to each version; nothing where the route or the Services are not known."""
    if survey.route is None or survey.virtual_service is None or SERVICES in survey.unread:
        return
    for _, entry in managed_entries(survey.virtual_service, survey.route):
        if entry is None:
            continue
        bound = gateways_of(survey.virtual_service, entry)
        for version in survey.versions:
            found = next(iter(entry.to(version, survey.namespace)), None)
            # a canary that is put in has stable's port
            like = found or next(iter(entry.to(survey.route.stable, survey.namespace)), None)
            number = (like.port or {}).get("number") if like else None
            pointer = f"{entry.path}/route/{found.index}/destination" if found else ""
            yield Destined(entry, version, number, pointer, service(survey, version.host), bound)


def gateways_of(virtual_service: Object, entry: HttpEntry) -> frozenset[str]:
    """The gateways that follow the entry, ``mesh`` for sidecars: those of its matches, else the VirtualService's."""
    whole = spec_of(virtual_service).get("gateways") or [MESH]
    matches = entry.rest.get("match") or [{}]
    return frozenset(str(each) for match in matches for each in (match or {}).get("gateways") or whole)


def service(survey: Survey, host: str) -> Object | None:
    """The Service that the route means by ``host``, if it was read."""
    name, home = service_of(host, survey.namespace)
    return survey.one(SERVICES, home, name) if name else None


def tcp_ports(found: Object) -> tuple[Mapping[str, Any], ...]:
    """The Service's ports, those for datagrams left out."""
    ports = spec_of(found).get("ports") or ()
    return tuple(each for each in ports if each and (each.get("protocol") or "TCP") == "TCP")


def is_headless(found: Object) -> bool:
    """Whether the Service has no address of its own, so that callers look up its pods'."""
    return spec_of(found).get("clusterIP") == HEADLESS


def pod_port(port: Mapping[str, Any], pod: Object) -> int | None:
    """The number of the pod's port that a Service's port stands for; None where the pod has no port of that name."""
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int) or str(target).isdigit():
        return int(target)  # type: ignore[arg-type]  # a number, or written as one
    for container in spec_of(pod).get("containers") or ():
        for each in container.get("ports") or ():
            if each.get("name") == target:
                return int(each["containerPort"])
    return None

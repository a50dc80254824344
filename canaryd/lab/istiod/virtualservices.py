"""
VirtualServices as istiod takes them in: names completed, delegates merged into their roots, in order of precedence.

A newcomer would get wrong: a VirtualService is looked up by its own `gateways` only, so an entry whose match says
`gateways: [mesh]` under a VirtualService that is bound to a gateway alone reaches no sidecar; and those that are
exported to one namespace stand before those that everybody sees, whatever their age.

Sources: Istio pilot/pkg/model/virtualservice.go (resolveVirtualServiceShortnames, mergeVirtualServicesIfNeeded,
SelectVirtualServices), pilot/pkg/model/push_context.go (initVirtualServices, VirtualServicesForGateway).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from canaryd.lab.istiod.delegates import merged_entries
from canaryd.lab.istiod.hosts import full_host
from canaryd.lab.istiod.objects import age_of, namespace_of, where_of
from canaryd.lab.istiod.proxy import MESH, gateways_of

Json = dict[str, Any]
EVERYBODY, NOBODY, OWN = "*", "~", "."


@dataclass(frozen=True, slots=True)
class Entry:
    """An http entry as it takes effect (after delegation), and the place where a person wrote it."""

    spec: Json
    where: str


@dataclass(frozen=True, slots=True)
class VirtualService:
    """
    What one VirtualService says of http. Hosts are fully qualified; gateways are `mesh` or `<namespace>/<name>`.

    `exported` holds namespaces, or `*`. `gateway_api` marks one that was made from an HTTPRoute: Istio gives those
    prefixes that end at a path's slash, 500 instead of 503 for a cluster that is not there, and precedence in their own
    namespace.
    """

    name: str
    namespace: str
    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    exported: frozenset[str]
    entries: tuple[Entry, ...]
    age: tuple[str, str, str]
    gateway_api: bool = False


def virtual_services(objects: Iterable[Json]) -> list[VirtualService]:
    """From the objects of the API, in their order (the oldest first); delegates have no place of their own."""
    everything = list(objects)
    delegates = {
        (namespace_of(each), each["metadata"]["name"]): each for each in everything if not each["spec"].get("hosts")
    }
    roots = [each for each in everything if each["spec"].get("hosts")]
    return [_taken_in(each, delegates) for each in roots]


def bound_to(services: Iterable[VirtualService], gateway: str, namespace: str) -> list[VirtualService]:
    """Those that a proxy in `namespace` obeys for a gateway (or for the mesh), the one with most say first."""
    bound = [each for each in services if gateway in each.gateways]
    private = [each for each in bound if each.namespace == namespace and namespace in each.exported]
    given = [each for each in bound if each.namespace != namespace and namespace in each.exported]
    public = [each for each in bound if EVERYBODY in each.exported]
    public.sort(key=lambda each: not (each.gateway_api and each.namespace == namespace))  # a consumer's own route first
    return [*private, *given, *public]


def _taken_in(root: Json, delegates: dict[tuple[str, str], Json]) -> VirtualService:
    spec, namespace = root["spec"], namespace_of(root)
    entries = []
    for index, written in enumerate(spec.get("http") or []):
        here = Entry(_completed(written, namespace), f"{where_of(root)}, http[{index}]")
        if not written.get("delegate"):
            entries.append(here)
            continue
        place = (written["delegate"].get("namespace") or namespace, written["delegate"]["name"])
        delegate = delegates.get(place)
        if delegate is None or not {EVERYBODY, namespace} & _exported(delegate):
            continue  # only this entry is lost, and Istio says so in its log alone
        theirs = [_completed(each, place[0]) for each in delegate["spec"].get("http") or []]
        entries += [
            Entry(merged, f"{where_of(delegate)}, http[{number}], to which {here.where} delegates")
            for number, merged in merged_entries(here.spec, theirs)
        ]
    return VirtualService(
        name=str(root["metadata"]["name"]),
        namespace=namespace,
        hosts=tuple(full_host(each, namespace) for each in spec["hosts"]),
        gateways=tuple(full_gateway(each, namespace) for each in gateways_of(root)),
        exported=_exported(root),
        entries=tuple(entries),
        age=age_of(root),
    )


def _exported(each: Json) -> frozenset[str]:
    exported = each["spec"].get("exportTo") or [EVERYBODY]
    if EVERYBODY in exported:
        return frozenset({EVERYBODY})
    if NOBODY in exported:
        return frozenset()
    return frozenset(namespace_of(each) if one == OWN else one for one in exported)


def full_gateway(name: str, namespace: str) -> str:
    """`<namespace>/<name>` from any way to write a gateway: `gw`, `./gw`, `ns/gw`, `gw.ns.svc.cluster.local`."""
    if name == MESH:
        return name
    if "/" in name:
        home, _, rest = name.partition("/")
        return f"{namespace if home == OWN else home}/{rest}"
    if "." in name:
        own, home, *_ = name.split(".")
        return f"{home}/{own}"
    return f"{namespace}/{name}"


def _completed(entry: Json, namespace: str) -> Json:
    """An entry with the names of hosts and gateways completed in the namespace of the object that holds it."""
    result = copy.deepcopy(entry)
    places = [each.get("destination") for each in (result.get("route") or []) + (result.get("mirrors") or [])]
    for place in [*places, result.get("mirror")]:
        if place and place.get("host"):
            place["host"] = full_host(place["host"], namespace)
    for match in result.get("match") or []:
        if match and match.get("gateways"):
            match["gateways"] = [full_gateway(each, namespace) for each in match["gateways"]]
    return result

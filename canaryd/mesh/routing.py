"""
VirtualServices as istiod takes them in: hosts and gateways by their full names, who sees them, and whose word counts.

In a sidecar two VirtualServices of one host are never merged: the first in istiod's order has all the say and the other
none. Sources: Istio, pilot/pkg/model/push_context.go (initVirtualServices, VirtualServicesForGateway), sidecar.go
(SelectVirtualServices), pilot/pkg/networking/core/route/route.go (separateVSHostsAndServices).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from canaryd.mesh.entries import Object
from canaryd.mesh.hosts import fully_qualified

MESH = "mesh"
EVERYBODY, NOBODY, OWN = "*", "~", "."


def namespace_of(found: Object) -> str:
    return str(found["metadata"].get("namespace") or "default")


def hosts_of(virtual_service: Object) -> tuple[str, ...]:
    """Its hosts, fully qualified."""
    home = namespace_of(virtual_service)
    return tuple(full_host(str(one), home) for one in _spec(virtual_service).get("hosts") or () if one)


def full_host(host: str, namespace: str) -> str:
    """
    ``host`` as istiod completes it: a name without a dot means a Service in ``namespace``, any other is taken as it is.

    Source: Istio, pkg/model ResolveShortnameToFQDN.
    """
    return host if "." in host or ":" in host or host == "*" else fully_qualified(host, namespace)


def gateways_of(virtual_service: Object, named: Iterable[str] = ()) -> tuple[str, ...]:
    """What it is bound to (or ``named``, those of one match), each by its full name; the mesh where it says nothing."""
    home = namespace_of(virtual_service)
    given = [str(one) for one in named or _spec(virtual_service).get("gateways") or (MESH,) if one]
    return tuple(full_gateway(one, home) for one in given)


def full_gateway(name: str, namespace: str) -> str:
    """``namespace/name`` from any way to write a gateway: ``gw``, ``./gw``, ``ns/gw``, ``gw.ns.svc.cluster.local``."""
    if name == MESH:
        return name
    if "/" in name:
        home, _, rest = name.partition("/")
        return f"{namespace if home == OWN else home}/{rest}"
    if "." in name:
        own, home, *_ = name.split(".")
        return f"{home}/{own}"
    return f"{namespace}/{name}"


def covers(pattern: str, host: str) -> bool:
    """Whether a host, or a wildcard, includes ``host`` (which may itself be a narrower wildcard)."""
    return pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))


def overlap(one: str, other: str) -> bool:
    return covers(one, other) or covers(other, one)


def exported_to(found: Object, mesh: Mapping[str, Any]) -> tuple[str, ...]:
    """The namespaces that see a VirtualService: names, or ``*``; the mesh's default where it says nothing."""
    given = _spec(found).get("exportTo") or mesh.get("defaultVirtualServiceExportTo") or (EVERYBODY,)
    if EVERYBODY in given:
        return (EVERYBODY,)
    return tuple(namespace_of(found) if one == OWN else str(one) for one in given if one and one != NOBODY)


def seen_from(namespace: str, found: Object, mesh: Mapping[str, Any]) -> bool:
    """Whether proxies in ``namespace`` see a VirtualService."""
    return bool({EVERYBODY, namespace} & set(exported_to(found, mesh)))


def in_order(virtual_services: Iterable[Object], namespace: str, mesh: Mapping[str, Any]) -> list[Object]:
    """
    Those that proxies in ``namespace`` see, the one with most say first.

    What is exported to that namespace by name stands before what everybody sees, the namespace's own first; among
    equals the older one, then the one whose name comes first.
    """
    seen = [one for one in virtual_services if seen_from(namespace, one, mesh)]

    def rank(found: Object) -> tuple[int, tuple[str, str, str]]:
        private = EVERYBODY not in exported_to(found, mesh)
        group = 2 if not private else 0 if namespace_of(found) == namespace else 1
        return group, age_of(found)

    return sorted(seen, key=rank)


def age_of(found: Object) -> tuple[str, str, str]:
    """What istiod sorts by: the older first, then by name, then by namespace."""
    meta = found["metadata"]
    return str(meta.get("creationTimestamp") or ""), str(meta["name"]), namespace_of(found)


def by_say(host: str, ordered: Iterable[Object]) -> list[Object]:
    """Those among ``ordered`` that have ``host`` in the mesh, the one with most say over it first."""

    def rank(found: Object) -> tuple[bool, int]:
        best = max((one for one in hosts_of(found) if covers(one, host)), key=len)
        return best.startswith("*"), -len(best)

    # A host that is written out goes before wildcards, a longer one before a shorter one.
    return sorted((one for one in ordered if _names(one, host)), key=rank)


def speaks_for(host: str, ordered: Iterable[Object]) -> list[Object]:
    """Those among ``ordered`` that claim ``host`` in the mesh: the one that is obeyed, then those that are not."""
    return [one for one in by_say(host, ordered) if _has_a_say(one)]


def claims(virtual_service: Object, host: str) -> bool:
    """Whether it would speak for ``host`` in the mesh, if nobody else did."""
    return _names(virtual_service, host) and _has_a_say(virtual_service)


def _names(virtual_service: Object, host: str) -> bool:
    return MESH in gateways_of(virtual_service) and any(covers(each, host) for each in hosts_of(virtual_service))


def _has_a_say(virtual_service: Object) -> bool:
    """Whether it has an http entry for just any sidecar: one that has none for a proxy does not count there."""
    entries = [entry or {} for entry in _spec(virtual_service).get("http") or ()]
    return any(
        not entry.get("match") or any(_for_any_sidecar(one or {}) for one in entry["match"]) for entry in entries
    )


def _for_any_sidecar(match: Mapping[str, Any]) -> bool:
    """Whether the match asks about requests only, not about the proxy that sends them."""
    named = match.get("gateways") or (MESH,)
    return MESH in named and not match.get("sourceLabels") and not match.get("sourceNamespace")


def _spec(found: Object) -> Mapping[str, Any]:
    return found.get("spec") or {}

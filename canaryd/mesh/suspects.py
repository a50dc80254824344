"""
Why callers may not meet the weights that the VirtualService holds: the likely causes, the likeliest first.

Asked only when the share is in doubt, and never decides anything: it saves a person the search. What a newcomer would
get wrong: which VirtualService a sidecar obeys is decided for each namespace. Those of the client's own that are
exported nowhere else come first, then what was exported to it by name, then what is for everybody, the oldest first;
the first that has the host has all the say, and the others are dropped without a word.
Source: Istio, pilot/pkg/model/push_context.go VirtualServicesForGateway, pilot/pkg/networking/core/httproute.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from canaryd.mesh.admission import Surroundings, subsets_of
from canaryd.mesh.entries import Object, http_entries, managed_entries, version_of
from canaryd.mesh.gitops import keepers
from canaryd.mesh.hosts import fully_qualified
from canaryd.mesh.pods import is_terminating, workload_of
from canaryd.model.traffic import Route

SIDECAR = "istio-proxy"
MESH, EVERYBODY, OWN = "mesh", "*", "."
MOST_CLIENTS = 3
"""Clients of which causes are looked for: a sentence has to be read."""


def suspects(route: Route, clients: Sequence[str], virtual_service: Object, around: Surroundings) -> tuple[str, ...]:
    """
    What may keep ``clients`` (``workload.namespace``; none: nobody is known by name) from meeting the weights.

    ``around`` holds the VirtualServices and DestinationRules that can be read, and the pods in the clients' namespaces.
    """
    found: list[str] = []
    for client in clients[:MOST_CLIENTS]:
        workload, _, namespace = client.rpartition(".")
        found += _of_client(route, workload, namespace, virtual_service, around)
    if not clients:
        found += _other_rules(route, route.namespace, virtual_service, around)
    found += _entries_before(virtual_service, route)
    found += _mirrors(route, [virtual_service, *around.virtual_services])
    found += map(str, (*keepers(virtual_service), *around.remarks))
    return tuple(dict.fromkeys(found)) or (_nothing_found(clients),)


def _nothing_found(clients: Sequence[str]) -> str:
    workload, _, namespace = clients[0].rpartition(".") if clients else ("", "", "")
    where = f"deployment/{workload}.{namespace}" if clients else "deployment/CLIENT.NAMESPACE"
    return (
        "nothing in the mesh's objects explains it; see whether istiod reaches the proxies: istioctl proxy-status, and "
        f"what they hold: istioctl proxy-config routes {where}"
    )


def _of_client(
    route: Route, workload: str, namespace: str, virtual_service: Object, around: Surroundings
) -> Iterator[str]:
    pods = [pod for pod in around.pods if _is_of(pod, workload, namespace)]
    without = [pod for pod in pods if not has_sidecar(pod)]
    if without:
        yield (
            f"{len(without)} of {len(pods)} pods of {workload}.{namespace} have no sidecar and go past every weight: "
            f"let it be injected, then kubectl rollout restart deployment/{workload} -n {namespace}"
        )
    if pods and all(map(is_gateway, pods)):
        yield from _at_a_gateway(route, f"{workload}.{namespace}", virtual_service, around)
    else:
        yield from _other_rules(route, namespace, virtual_service, around)
    subsets, rule = subsets_of(fully_qualified(route.canary.host, route.namespace), namespace, around.destination_rules)
    if route.canary.subset and rule and route.canary.subset not in subsets:
        yield (
            f"DestinationRule {rule}, which is in force for clients in {namespace}, has no subset "
            f"{route.canary.subset}: their requests for it fail (503 NC)"
        )
    yield from _entries_for_others(virtual_service, route, namespace)


def has_sidecar(pod: Object) -> bool:
    """Whether a proxy was injected: as a container, or as an init container that goes on (a native sidecar)."""
    spec = pod.get("spec") or {}
    return any(one.get("name") == SIDECAR for kind in ("containers", "initContainers") for one in spec.get(kind) or ())


def is_gateway(pod: Object) -> bool:
    """Whether the pod is a proxy and nothing else."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    return bool(containers) and all(one.get("name") == SIDECAR for one in containers)


def _is_of(pod: Object, workload: str, namespace: str) -> bool:
    return pod["metadata"].get("namespace") == namespace and not is_terminating(pod) and workload_of(pod)[1] == workload


def _other_rules(route: Route, namespace: str, ours: Object, around: Surroundings) -> Iterator[str]:
    """VirtualServices that have more say over our hosts than ours has, for sidecars in ``namespace``."""
    if MESH not in _gateways(ours):
        yield f"{route} is for gateways only ({', '.join(_gateways(ours))}): sidecars do not obey it"
        return
    if not _visible(ours, namespace):
        yield f"{route} is not exported to namespace {namespace} (exportTo): clients there do not obey it"
        return
    for host in (ours.get("spec") or {}).get("hosts") or ():
        full = fully_qualified(host, _home(ours))
        for other in _others(ours, around.virtual_services):
            if MESH not in _gateways(other) or not _visible(other, namespace) or not _covers(other, full):
                continue
            if _say(other, namespace, full) < _say(ours, namespace, full):
                yield (
                    f"VirtualService {_name(other)} has {host}, too, and has the say over it for clients in "
                    f"{namespace}: take it away, or move its weights as well"
                )


def _say(found: Object, namespace: str, host: str) -> tuple[object, ...]:
    """How much say a VirtualService has over ``host`` in ``namespace``; the least has the most."""
    named = host in _hosts(found)
    exported = _exported(found)
    private = _home(found) == namespace and namespace in exported
    rank = 0 if private else 1 if namespace in exported else 2
    meta = found["metadata"]
    return (not named, rank, str(meta.get("creationTimestamp") or ""), meta["name"], _home(found))


def _at_a_gateway(route: Route, client: str, ours: Object, around: Surroundings) -> Iterator[str]:
    """A gateway obeys those VirtualServices that are bound to it, whatever hosts they call."""
    if all(gateway == MESH for gateway in _gateways(ours)):
        yield f"{route} is bound to no gateway: requests that come in by {client} follow another VirtualService"
    service = fully_qualified(route.stable.host, route.namespace)
    for other in _others(ours, around.virtual_services):
        reaches = any(
            fully_qualified(one.version.host, _home(other)) == service
            for entry in http_entries(other)
            for one in entry.destinations
        )
        if reaches and any(gateway != MESH for gateway in _gateways(other)):
            yield (
                f"VirtualService {_name(other)} sends what comes in by gateways to {route.stable.host}, "
                "by weights of its own"
            )


def _entries_before(virtual_service: Object, route: Route) -> Iterator[str]:
    """Entries in front of ours that send what they match past the canary: headers, cookies, sticky sessions."""
    first = min((entry.index for _, entry in managed_entries(virtual_service, route) if entry), default=0)
    for entry in http_entries(virtual_service)[:first]:
        if entry.to(route.stable, route.namespace) and not entry.to(route.canary, route.namespace):
            yield (
                f"{entry} stands before ours and sends what it matches ({_matched(entry.rest)}) to {route.stable} alone"
            )


def _entries_for_others(virtual_service: Object, route: Route, namespace: str) -> Iterator[str]:
    """Our own entries, where they are for clients elsewhere only."""
    for _, entry in managed_entries(virtual_service, route):
        matches = entry.rest.get("match") or () if entry else ()
        places = [one.get("sourceNamespace") for one in matches]
        if places and all(place and place != namespace for place in places):
            yield f"{entry} is for clients in {', '.join(sorted(map(str, set(places))))} only (sourceNamespace)"


def _mirrors(route: Route, virtual_services: Iterable[Object]) -> Iterator[str]:
    """Mirrored requests are counted by pods and by no client."""
    for found in virtual_services:
        for entry in http_entries(found):
            targets = [entry.rest.get("mirror"), *(one.get("destination") for one in entry.rest.get("mirrors") or ())]
            for version in (version_of(target) for target in targets if target):
                if fully_qualified(version.host, _home(found)) == fully_qualified(route.canary.host, route.namespace):
                    yield f"VirtualService {_name(found)} {entry} mirrors requests to {version}"


def _matched(rest: Object) -> str:
    keys = sorted({key for match in rest.get("match") or () for key in match if key != "name"})
    return ", ".join(keys) or "everything"


def _others(ours: Object, virtual_services: Iterable[Object]) -> list[Object]:
    return [found for found in virtual_services if _name(found) != _name(ours)]


def _home(found: Object) -> str:
    return str(found["metadata"].get("namespace") or "")


def _name(found: Object) -> str:
    return f"{_home(found)}/{found['metadata']['name']}"


def _hosts(found: Object) -> tuple[str, ...]:
    return tuple(fully_qualified(host, _home(found)) for host in (found.get("spec") or {}).get("hosts") or ())


def _covers(found: Object, host: str) -> bool:
    return any(one == host or (one.startswith("*") and host.endswith(one[1:])) for one in _hosts(found))


def _gateways(found: Object) -> tuple[str, ...]:
    return tuple((found.get("spec") or {}).get("gateways") or (MESH,))


def _exported(found: Object) -> frozenset[str]:
    exported = (found.get("spec") or {}).get("exportTo") or (EVERYBODY,)
    return frozenset(_home(found) if one == OWN else one for one in exported)


def _visible(found: Object, namespace: str) -> bool:
    return bool(_exported(found) & {EVERYBODY, namespace})

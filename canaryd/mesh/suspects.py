"""
Why callers may not meet the weights that the VirtualService holds: the likely causes, the likeliest first.

Asked only when the share is in doubt, and never decides anything: it saves a person the search. What a newcomer would
get wrong: which VirtualService a sidecar obeys is decided for each namespace (routing.py), and the others are dropped
without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from canaryd.mesh.admission import Surroundings, subsets_of
from canaryd.mesh.entries import Object, http_entries, managed_entries, version_of
from canaryd.mesh.gitops import keepers
from canaryd.mesh.hosts import fully_qualified
from canaryd.mesh.pods import has_sidecar, is_gateway, is_terminating, workload_of
from canaryd.mesh.routing import MESH, by_say, full_host, gateways_of, in_order, namespace_of, seen_from
from canaryd.model.traffic import Route

NO_MESH: Mapping[str, str] = {}
"""The mesh's configuration is not asked for here: its defaults are taken."""
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


def _is_of(pod: Object, workload: str, namespace: str) -> bool:
    return pod["metadata"].get("namespace") == namespace and not is_terminating(pod) and workload_of(pod)[1] == workload


def _other_rules(route: Route, namespace: str, ours: Object, around: Surroundings) -> Iterator[str]:
    """VirtualServices that have more say over our hosts than ours has, for sidecars in ``namespace``."""
    if MESH not in gateways_of(ours):
        yield f"{route} is for gateways only ({', '.join(gateways_of(ours))}): sidecars do not obey it"
        return
    if not seen_from(namespace, ours, NO_MESH):
        yield f"{route} is not exported to namespace {namespace} (exportTo): clients there do not obey it"
        return
    in_force = in_order([ours, *_others(ours, around.virtual_services)], namespace, NO_MESH)
    for host in filter(None, (ours.get("spec") or {}).get("hosts") or ()):
        full = full_host(host, namespace_of(ours))
        for other in takewhile(lambda one: one is not ours, by_say(full, in_force)):
            yield (
                f"VirtualService {_name(other)} has {host}, too, and has the say over it for clients in "
                f"{namespace}: take it away, or move its weights as well"
            )


def _at_a_gateway(route: Route, client: str, ours: Object, around: Surroundings) -> Iterator[str]:
    """A gateway obeys those VirtualServices that are bound to it, whatever hosts they call."""
    if all(gateway == MESH for gateway in gateways_of(ours)):
        yield f"{route} is bound to no gateway: requests that come in by {client} follow another VirtualService"
    called = ((ours.get("spec") or {}).get("hosts") or ()) if MESH in gateways_of(ours) else ()
    names = {full_host(host, namespace_of(ours)): host for host in called}
    names |= {fully_qualified(one.host, route.namespace): one.host for one in (route.canary, route.stable)}
    for other in _others(ours, around.virtual_services):
        found = (one.version.host for entry in http_entries(other) for one in entry.destinations)
        reached = [names.get(fully_qualified(host, namespace_of(other)), "") for host in found]
        if any(reached) and any(gateway != MESH for gateway in gateways_of(other)):
            yield (
                f"VirtualService {_name(other)} sends what comes in by gateways to {next(filter(None, reached))}, "
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
    service = fully_qualified(route.canary.host, route.namespace)
    for found in virtual_services:
        for entry in http_entries(found):
            targets = [entry.rest.get("mirror"), *(one.get("destination") for one in entry.rest.get("mirrors") or ())]
            for version in (version_of(target) for target in targets if target):
                if fully_qualified(version.host, namespace_of(found)) == service:
                    yield f"VirtualService {_name(found)} {entry} mirrors requests to {version}"


def _matched(rest: Object) -> str:
    keys = sorted({key for match in rest.get("match") or () for key in match if key != "name"})
    return ", ".join(keys) or "everything"


def _others(ours: Object, virtual_services: Iterable[Object]) -> list[Object]:
    return [found for found in virtual_services if _name(found) != _name(ours)]


def _name(found: Object) -> str:
    return f"{namespace_of(found)}/{found['metadata']['name']}"

"""
Virtual hosts of a sidecar: which VirtualService speaks for which host.

A VirtualService speaks for the Services that its hosts name; of two for one host the first has all the say and the
other none (nothing is merged), except that one which has nothing for this very proxy does not count. A host that is no
Service is only served on port 80, or beside a Service of the same VirtualService, as in Istio.

An unknown host is answered with 502. Istio does that where `outboundTrafficPolicy` is REGISTRY_ONLY; under its default
ALLOW_ANY it would let the request go where the client's name service says, and out of the lab there is nowhere to go.

Sources: Istio pilot/pkg/networking/core/httproute.go (BuildSidecarOutboundVirtualHosts, generateVirtualHostDomains,
buildCatchAllVirtualHost), route/route.go (BuildSidecarVirtualHostWrapper, separateVSHostsAndServices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from canaryd.lab.envoy.bootstrap import VERSION_HEADER
from canaryd.lab.istiod.hosts import covers, service_domains, service_host, specificity
from canaryd.lab.istiod.objects import namespace_of
from canaryd.lab.istiod.ports import is_http
from canaryd.lab.istiod.proxy import MESH, Proxy, Wiring
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.routes import plain_route, routes_of
from canaryd.lab.istiod.vantage import Vantage
from canaryd.lab.istiod.virtualservices import VirtualService, bound_to

Json = dict[str, Any]

BLACK_HOLE = "block_all"
HTTP_PORT = 80
LARGEST_BODY = 1024 * 1024  # of a direct response; Envoy's own limit is 4 KiB


def sidecar_tables(
    registry: Registry, virtuals: Sequence[VirtualService], proxy: Proxy, wiring: Wiring
) -> dict[str, Json]:
    """The RouteConfigurations of a sidecar: one for each port on which a Service speaks HTTP, named by the port."""
    bound = bound_to(virtuals, MESH, proxy.namespace)
    ports = sorted(
        {port["port"] for service in registry.services for port in service["spec"].get("ports") or [] if is_http(port)}
    )
    vantages = (Vantage.of(registry, proxy, port, wiring) for port in ports)
    return {str(vantage.port): _table(bound, vantage) for vantage in vantages}


def route_configuration(name: str, virtual_hosts: list[Json]) -> Json:
    """A RouteConfiguration as Istio makes it; the answer also tells which version it came from."""
    version = {"key": VERSION_HEADER, "value": "%METADATA(UPSTREAM_HOST:istio:version)%"}
    return {
        "name": name,
        "virtual_hosts": virtual_hosts,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": LARGEST_BODY,
        "response_headers_to_add": [{"header": version, "keep_empty_value": True}],
    }


def virtual_host(name: str, domains: list[str], routes: list[Json]) -> Json:
    """A virtual host; a request goes upstream with the number of its attempt, as Istio has it."""
    return {"name": name, "domains": domains, "routes": routes, "include_request_attempt_count": True}


def _table(bound: Iterable[VirtualService], vantage: Vantage) -> Json:
    port = vantage.port
    listening = {
        service_host(one): one
        for one in vantage.registry.services
        if any(each["port"] == port and is_http(each) for each in one["spec"].get("ports") or [])
    }
    hosts: list[Json] = []
    taken: set[str] = set()
    for host, routes in _hosts(list(bound), listening, vantage):
        name = f"{host}:{port}"
        service = listening.get(host)
        domains = service_domains(service, vantage.proxy.namespace) if service else [host]
        free = [each for each in domains if each.lower() not in taken]
        if free:  # else somebody spoke for all of them before
            taken.update(each.lower() for each in free)
            hosts.append(virtual_host(name, free, routes))
    return route_configuration(str(port), [*hosts, _black_hole()])


def _hosts(
    bound: list[VirtualService], listening: dict[str, Json], vantage: Vantage
) -> Iterator[tuple[str, list[Json]]]:
    """Hosts and their routes, the one that wins first; those without a VirtualService at the end."""
    spoken_for = set()
    for virtual in bound:
        services = [host for host in listening if _speaks_for(virtual, host, bound)]
        if virtual.gateway_api:
            near = vantage.proxy.namespace
            services = [host for host in services if virtual.namespace in (namespace_of(listening[host]), near)]
        if not services and vantage.port != HTTP_PORT:
            continue
        routes = routes_of(virtual, vantage)
        if not routes:
            continue
        strangers = [each for each in virtual.hosts if not any(covers(each, host) for host in listening)]
        spoken_for.update(services)
        yield from ((host, routes) for host in (*strangers, *services))
    for host in listening:
        if host not in spoken_for:
            yield host, [plain_route(vantage.wiring.cluster(vantage.proxy, vantage.port, "", host))]


def _speaks_for(virtual: VirtualService, host: str, bound: list[VirtualService]) -> bool:
    """A host that is written out, or a wildcard where no other VirtualService is more specific (or first with it)."""
    if host in virtual.hosts:
        return True
    patterns = [(each, one) for one in bound for each in one.hosts if covers(each, host)]
    best = max(patterns, key=lambda each: specificity(each[0]), default=None)
    return best is not None and best[1] is virtual


def _black_hole() -> Json:
    route = {"name": BLACK_HOLE, "match": {"prefix": "/"}, "direct_response": {"status": 502}}
    return virtual_host(BLACK_HOLE, ["*"], [route])

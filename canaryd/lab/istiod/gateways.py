"""
Gateways: the servers of a gateway's proxy, and the virtual hosts of each.

Unlike in the mesh, VirtualServices for one host are merged here: all their routes in the order of their age, those that
take everything at the end, where the first of them wins.

A newcomer would get wrong: a Gateway names the port of the gateway's Service, and the route configuration is named by
the port of its pods (`http.8080` for port 80 of Istio's own ingress gateway), while `match.port` means the former.

Sources: Istio pilot/pkg/networking/core/gateway.go (buildGatewayHTTPRouteConfig), pilot/pkg/model/gateway.go
(mergeGateways, resolvePorts, gatewayRDSRouteName, sanitizeServerHostNamespace), pkg/config/host (Intersection).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.lab.istiod.hosts import covers
from canaryd.lab.istiod.objects import namespace_of
from canaryd.lab.istiod.proxy import Proxy, Wiring
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.routes import catch_alls_last, routes_of
from canaryd.lab.istiod.vantage import Vantage
from canaryd.lab.istiod.virtualhosts import route_configuration, virtual_host
from canaryd.lab.istiod.virtualservices import VirtualService, bound_to

Json = dict[str, Any]

HTTP = frozenset({"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB"})
PASSTHROUGH = frozenset({"PASSTHROUGH", "AUTO_PASSTHROUGH"})


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a Gateway: who may be asked for there, on which port, and by which name its routes go."""

    gateway: str  # <namespace>/<name>
    port: int  # as the Gateway says
    listens: int  # as the gateway's pods do
    hosts: tuple[str, ...]  # `*`, `host` or `<namespace>/host`
    tls: Json | None
    protocol: str
    route_name: str  # "" for a server without HTTP

    @property
    def redirects(self) -> bool:
        return bool((self.tls or {}).get("httpsRedirect"))

    def hosts_for(self, namespace: str) -> list[str]:
        """The hosts that a VirtualService of `namespace` may be bound to."""
        split = [each.rpartition("/") for each in self.hosts]
        return [host for home, _, host in split if home in ("", "*", namespace)]


def gateway_tables(
    registry: Registry, virtuals: Sequence[VirtualService], proxy: Proxy, wiring: Wiring
) -> dict[str, Json]:
    """The RouteConfigurations of a gateway's proxy by their names, `http.8080` or `https.443.<port>.<gateway>.<ns>`."""
    by_name: dict[str, list[Server]] = {}
    for each in servers_of(registry, proxy):
        if each.route_name:
            by_name.setdefault(each.route_name, []).append(each)
    return {name: _table(name, servers, registry, virtuals, proxy, wiring) for name, servers in by_name.items()}


def servers_of(registry: Registry, proxy: Proxy) -> list[Server]:
    """
    The servers that the proxy opens, of all Gateways whose selector is its labels', the oldest Gateway first.

    A server that conflicts with an earlier one on its port is left out, as in Istio: another protocol than HTTP beside
    HTTP, plain text beside TLS, a TLS host twice.
    """
    kept: list[Server] = []
    for each in _candidates(registry, proxy):
        same_port = [one for one in kept if one.listens == each.listens]
        secured = {host for one in same_port if one.tls is not None for host in one.hosts}
        if each.tls is not None and secured & set(each.hosts):
            continue
        if same_port and not _fits(each, same_port[0]):
            continue
        kept.append(each)
    return kept


def _fits(each: Server, first: Server) -> bool:
    if first.protocol in HTTP or first.tls is None:
        return each.protocol in HTTP and first.protocol in HTTP
    return each.tls is not None and each.protocol not in HTTP


def _candidates(registry: Registry, proxy: Proxy) -> Iterator[Server]:
    for gateway in registry.gateways:
        selector = gateway["spec"].get("selector") or {}
        if not selector.items() <= proxy.labels.items():
            continue
        namespace, name = namespace_of(gateway), str(gateway["metadata"]["name"])
        for server in gateway["spec"].get("servers") or []:
            port, tls = server["port"], server.get("tls")
            protocol = str(port.get("protocol", "")).upper()
            listens = _target(port["number"], registry, proxy)
            route_name = ""
            if protocol in HTTP:
                route_name = f"http.{listens}"
            elif protocol == "HTTPS" and tls and tls.get("mode") not in PASSTHROUGH:
                route_name = f"https.{listens}.{port.get('name', '')}.{name}.{namespace}"
            hosts = _sanitized(server.get("hosts") or [], namespace)
            yield Server(f"{namespace}/{name}", port["number"], listens, hosts, tls, protocol, route_name)


def _target(number: int, registry: Registry, proxy: Proxy) -> int:
    """The pods' port behind the port of the gateway's own Service; the port itself where no Service has it."""
    for service in registry.services:
        selector = service["spec"].get("selector") or {}
        if namespace_of(service) != proxy.namespace or not selector or not selector.items() <= proxy.labels.items():
            continue
        for port in service["spec"].get("ports") or []:
            target = port.get("targetPort", number)
            if port["port"] == number and str(target).isdigit():
                return int(target)
    return number


def _sanitized(hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
    """`./host` is a host of the Gateway's own namespace, `*/host` one of any."""
    result = []
    for each in hosts:
        home, slash, host = each.partition("/")
        if not slash:
            result.append(each)
        elif home == "*":
            result.append(host)
        else:
            result.append(f"{namespace if home == '.' else home}/{host}")
    return tuple(result)


def _table(
    name: str,
    servers: list[Server],
    registry: Registry,
    virtuals: Sequence[VirtualService],
    proxy: Proxy,
    wiring: Wiring,
) -> Json:
    hosts: dict[str, Json] = {}
    for server in servers:
        vantage = Vantage.of(registry, proxy, server.port, wiring, server.gateway, tls=server.tls is not None)
        for virtual in bound_to(virtuals, server.gateway, proxy.namespace):
            shared = _shared(server.hosts_for(virtual.namespace), virtual.hosts)
            routes = routes_of(virtual, vantage) if shared else []
            for host in shared if routes else []:
                made = hosts.setdefault(host, virtual_host(f"{host}:{server.port}", [host], []))
                made["routes"] = [*made["routes"], *routes]
                if server.redirects:
                    made["require_tls"] = "ALL"
        for host in map(str.lower, server.hosts if server.redirects else ()):
            made = hosts.setdefault(host, virtual_host(f"{host}:{server.port}", [host], []))
            made["require_tls"] = "ALL"
    for each in hosts.values():
        each["routes"] = catch_alls_last(each["routes"])
    if not hosts:  # a virtual host without routes: 404, flag NR
        hosts["*"] = virtual_host(f"blackhole:{servers[0].port}", ["*"], [])
    return route_configuration(name, [hosts[host] for host in sorted(hosts)])


def _shared(servers: Iterable[str], virtual: Iterable[str]) -> list[str]:
    """The hosts that are covered on both sides: the narrower of each pair that overlaps."""
    shared: dict[str, None] = {}
    for one in servers:
        for other in virtual:
            if covers(other, one):
                shared[one.lower()] = None
            elif covers(one, other):
                shared[other.lower()] = None
    return list(shared)

"""
Streams: connections that a proxy passes on whole, as the tls and tcp routes of VirtualServices say.

A newcomer would get wrong: a weight divides connections, not requests, and only new ones; a long-lived connection stays
where it is when the weights move. And all VirtualServices of a host count here, in order, where for http the oldest
takes the host alone.

Sources: Istio pilot/pkg/networking/core/tls.go (matchTLS, matchTCP, buildSidecarOutbound...FilterChainOpts),
networkfilter.go (weights, idle timeouts, hash policy), gateway.go (servers of TCP and of TLS passthrough).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.clusters import destination_cluster, rule_of_host
from canaryd.lab.istiod.gateways import Server, servers_of
from canaryd.lab.istiod.hosts import covers, full_host, ports_of, service_host
from canaryd.lab.istiod.objects import namespace_of, only, seconds, where_of
from canaryd.lab.istiod.policy import policy_for
from canaryd.lab.istiod.ports import OPAQUE, TLS, is_stream, protocol_of
from canaryd.lab.istiod.proxy import GATEWAY, MESH, Proxy, Wiring, gateways_of, visible
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.virtualservices import full_gateway

Json = dict[str, Any]

TLS_FIELDS = {"sniHosts", "port", "sourceLabels", "sourceNamespace", "gateways", "destinationSubnets"}
TCP_FIELDS = TLS_FIELDS - {"sniHosts"} | {"sourceSubnet"}
SUBNETS = ("destinationSubnets", "sourceSubnet")


@dataclass(frozen=True, slots=True)
class Stream:
    """
    One filter chain of a listener.

    `port` is the Service's, at a gateway the one where its pods listen. `host` is the Service's and `address` its
    cluster IP, for a sidecar listens there and not for every address; both are empty at a gateway. `server_names` are
    the names that a TLS client must ask for, empty where anything goes. `clusters` are names and weights, `filter` the
    tcp_proxy.
    """

    port: int
    host: str
    address: str
    tls: bool  # whether the listener must look into the client's hello
    server_names: tuple[str, ...]
    clusters: tuple[tuple[str, int], ...]
    filter: Json


def streams_of(registry: Registry, proxy: Proxy, wiring: Wiring) -> list[Stream]:
    """
    The streams of a proxy, in the order in which they are tried.

    Raises Rejected for a route that chooses by subnet: all connections of the lab come from and go to one address.
    """
    view = _View(registry, proxy, wiring)
    return list(_of_gateways(view) if proxy.kind == GATEWAY else _of_services(view))


@dataclass(frozen=True, slots=True)
class _View:
    registry: Registry
    proxy: Proxy
    wiring: Wiring


def _of_services(view: _View) -> Iterator[Stream]:
    bound = [
        each
        for each in view.registry.virtual_services
        if MESH in gateways_of(each) and each["spec"].get("hosts") and visible(each, view.proxy)
    ]
    for service in view.registry.services:
        host = service_host(service)
        speaking = [each for each in bound if any(_meet(_full(name, each), host) for name in each["spec"]["hosts"])]
        for port in service["spec"].get("ports") or []:
            if not is_stream(port):
                continue
            place = (port["port"], host, str(service["spec"].get("clusterIP") or ""))
            routed = _tls_routes if protocol_of(port) in TLS else _tcp_routes
            found = list(routed(view, speaking, place))
            if not found or (routed is _tcp_routes and found[-1].server_names):
                found.append(_plain(view, service, place, is_tls=protocol_of(port) in TLS))
            yield from found


def _full(host: str, virtual: Json) -> str:
    return full_host(host, namespace_of(virtual))


def _meet(one: str, other: str) -> bool:
    """Whether two hosts, either of which may be a pattern, have a host in common (host.Name.Matches)."""
    return covers(one, other) or covers(other, one)


Place = tuple[int, str, str]


def _tls_routes(view: _View, speaking: list[Json], place: Place) -> Iterator[Stream]:
    done: set[tuple[str, ...]] = set()
    for virtual in speaking:
        for index, entry in enumerate(virtual["spec"].get("tls") or []):
            where = f"{where_of(virtual)}, tls[{index}]"
            for match in entry.get("match") or []:
                if not _chosen(match, virtual, view.proxy, place[0], MESH, TLS_FIELDS, where):
                    continue
                names = tuple(match.get("sniHosts") or ())
                if names not in done:  # the second one could never be reached, and Envoy would refuse it
                    done.add(names)
                    yield _stream(view, place, entry, virtual, where, names=names, is_tls=True)


def _tcp_routes(view: _View, speaking: list[Json], place: Place) -> Iterator[Stream]:
    """The first that matches takes all: without subnets nothing is left to tell connections apart by."""
    for virtual in speaking:
        for index, entry in enumerate(virtual["spec"].get("tcp") or []):
            where = f"{where_of(virtual)}, tcp[{index}]"
            matches = entry.get("match") or [{}]
            if any(_chosen(each, virtual, view.proxy, place[0], MESH, TCP_FIELDS, where) for each in matches):
                yield _stream(view, place, entry, virtual, where)
                return


def _chosen(match: Json, virtual: Json, proxy: Proxy, port: int, gateway: str, fields: set[str], where: str) -> bool:
    only(match, fields, f"{where}, match")
    fits = (
        (
            not match.get("gateways")
            or gateway in {full_gateway(one, namespace_of(virtual)) for one in match["gateways"]}
        )
        and match.get("port", port) == port
        and match.get("sourceNamespace", proxy.namespace) == proxy.namespace
        and (match.get("sourceLabels") or {}).items() <= proxy.labels.items()
    )
    subnets = [each for each in SUBNETS if match.get(each)]
    if fits and subnets:
        raise Rejected(
            f"{where}, match: `{subnets[0]}` is not translated by the lab, whose connections all have one address"
        )
    return fits


def _plain(view: _View, service: Json, place: Place, *, is_tls: bool) -> Stream:
    """What Istio makes for a port of which no VirtualService speaks."""
    port, host, address = place
    ports = ports_of(service)
    name = view.wiring.cluster(view.proxy, ports[0] if len(ports) == 1 else port, "", host)
    return Stream(
        port, host, address, is_tls, (), ((name, 100),), _filter(view, host, "", port, name, {"cluster": name})
    )


def _stream(
    view: _View,
    place: Place,
    entry: Json,
    virtual: Json,
    where: str,
    *,
    names: tuple[str, ...] = (),
    is_tls: bool = False,
) -> Stream:
    port, host, address = place
    only(entry, {"match", "route"}, where)
    shares = []
    routes = entry.get("route") or []
    for index, each in enumerate(routes):
        only(each, {"destination", "weight"}, f"{where}.route[{index}]")
        name = destination_cluster(
            each["destination"], namespace_of(virtual), port, view.registry, view.proxy, view.wiring
        )
        weight = 100 if len(routes) == 1 else each.get("weight") or 0  # a single one takes everything
        if weight < 0:
            raise Rejected(f"{where}.route[{index}]: the weight {weight} is negative")
        if weight:
            shares.append((name, weight))
    if not shares:
        raise Rejected(f"{where}: needs a destination with a weight above 0")
    first = routes[0]["destination"]
    subset = ""
    prefix = f"{virtual['metadata']['name']}.{namespace_of(virtual)}"
    chosen: Json = {"weighted_clusters": {"clusters": [{"name": name, "weight": weight} for name, weight in shares]}}
    if len(routes) == 1:
        subset, prefix = first.get("subset", ""), shares[0][0]
        chosen = {"cluster": prefix}
    anything = "*" in names
    proxied = _filter(view, _full(first["host"], virtual), subset, port, prefix, chosen)
    return Stream(port, host, address, is_tls, () if anything else names, tuple(shares), proxied)


def _filter(view: _View, host: str, subset: str, port: int, prefix: str, chosen: Json) -> Json:
    """The tcp_proxy. Its timeouts are those of the first destination's rule, whichever subset is drawn."""
    rule = rule_of_host(host, view.registry, view.proxy)
    policy = policy_for(rule, "", port)
    tcp = policy["connectionPool"].get("tcp") or {}
    settings: Json = {"stat_prefix": prefix, **chosen}
    if tcp.get("idleTimeout"):
        settings["idle_timeout"] = seconds(tcp["idleTimeout"], f"{policy.where}, connectionPool, tcp, idleTimeout")
    if tcp.get("maxConnectionDuration"):
        settings["max_downstream_connection_duration"] = seconds(
            tcp["maxConnectionDuration"], f"{policy.where}, connectionPool, tcp, maxConnectionDuration"
        )
    hashed = policy_for(rule, subset, port)["loadBalancer"].get("consistentHash") or {}
    if hashed.get("useSourceIp"):
        settings["hash_policy"] = [{"source_ip": {}}]
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": kind, **settings}}


# Gateways


def _of_gateways(view: _View) -> Iterator[Stream]:
    done: set[tuple[int, str]] = set()
    for server in servers_of(view.registry, view.proxy):
        bound = [
            each
            for each in view.registry.virtual_services
            if each["spec"].get("hosts")
            and server.gateway in {full_gateway(one, namespace_of(each)) for one in gateways_of(each)}
            and visible(each, view.proxy)
            and _serves(server, each)
        ]
        yield from _of_server(view, server, bound, done)


def _of_server(view: _View, server: Server, bound: list[Json], done: set[tuple[int, str]]) -> Iterator[Stream]:
    """A stream of `server.listens`, where the gateway's pods listen; `match.port` means the Gateway's own port."""
    place = (server.listens, "", "")
    protocol = server.protocol.lower()
    if protocol in TLS and (server.tls or {}).get("mode") == "PASSTHROUGH":
        for virtual, entry, match, where in _matches(bound, "tls"):
            if not match or not _chosen(match, virtual, view.proxy, server.port, server.gateway, TLS_FIELDS, where):
                continue
            names = tuple(match.get("sniHosts") or ())
            if not done & {(server.listens, each) for each in names}:  # Envoy refuses two chains for one name
                done |= {(server.listens, each) for each in names}
                yield _stream(view, place, entry, virtual, where, names=names, is_tls=True)
    elif protocol in OPAQUE and (server.listens, "") not in done:
        for virtual, entry, match, where in _matches(bound, "tcp"):
            if _chosen(match, virtual, view.proxy, server.port, server.gateway, TCP_FIELDS, where):
                done.add((server.listens, ""))
                yield _stream(view, place, entry, virtual, where)
                return


def _matches(bound: list[Json], kind: str) -> Iterator[tuple[Json, Json, Json, str]]:
    for virtual in bound:
        for index, entry in enumerate(virtual["spec"].get(kind) or []):
            for match in entry.get("match") or [{}]:
                yield virtual, entry, match, f"{where_of(virtual)}, {kind}[{index}]"


def _serves(server: Server, virtual: Json) -> bool:
    """Whether a server lets this VirtualService in, by its hosts and its namespace."""
    hosts = server.hosts_for(namespace_of(virtual))
    return any(_meet(host, _full(each, virtual)) for host in hosts for each in virtual["spec"]["hosts"])

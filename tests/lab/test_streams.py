"""Streams: tls and tcp routes, and what becomes of ports that carry no HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab.istiod import ports
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.proxy import GATEWAY, Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.streams import Stream, streams_of
from canaryd.lab.istiod.translation import translate

from .envoy_check import complaint

Json = dict[str, Any]
INGRESS = Proxy("ingress", "istio-system", {"istio": "ingressgateway"}, GATEWAY)
DATABASE = "mongodb.default.svc.cluster.local"


def service(name: str = "mongodb", port: str = "mongo", number: int = 27017, **spec: Any) -> Json:
    about = {"name": name, "namespace": "default"}
    body = {"ports": [{"name": port, "port": number}], "selector": {"app": name}, "clusterIP": "10.96.0.7", **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": body}


def virtual(name: str = "db", hosts: list[str] | None = None, **spec: Any) -> Json:
    about = {"name": name, "namespace": "default", "creationTimestamp": f"2026-01-01T00:00:{len(name):02}Z"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": about,
        "spec": {"hosts": hosts or ["mongodb"], **spec},
    }


def to(subset: str = "", weight: int | None = None, host: str = "mongodb", **more: Any) -> Json:
    place = {"host": host, **({"subset": subset} if subset else {}), **more}
    return {"destination": place, **({} if weight is None else {"weight": weight})}


def gateway(*servers: Json, name: str = "gw", namespace: str = "default", **spec: Any) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": list(servers), **spec},
    }


def streams(*objects: Json, proxy: Proxy | None = None) -> list[Stream]:
    return streams_of(Registry.of(objects), proxy or Proxy(), WIRING)


def shares(stream: Stream) -> dict[str, int]:
    """By subset."""
    return {name.split("|")[2]: weight for name, weight in stream.clusters}


# Which ports carry what


@pytest.mark.parametrize(
    ("port", "wanted"),
    [
        ({"name": "http", "port": 1}, "http"),
        ({"name": "http-web", "port": 1}, "http"),
        ({"name": "HTTP2-x", "port": 1}, "http2"),
        ({"name": "grpc-web-x", "port": 1}, "grpc-web"),
        ({"name": "grpc", "port": 1}, "grpc"),
        ({"name": "https-x", "port": 1}, "https"),
        ({"name": "tcp-http", "port": 1}, "tcp"),
        ({"name": "httpx", "port": 1}, "sniffed"),
        ({"port": 80}, "sniffed"),
        ({"port": 3306}, "tcp"),
        ({"name": "tcp", "appProtocol": "http", "port": 1}, "http"),
        ({"name": "http", "appProtocol": "kubernetes.io/h2c", "port": 1}, "http2"),
        ({"name": "http", "appProtocol": "kubernetes.io/wss", "port": 1}, "https"),
        ({"name": "http", "port": 1, "protocol": "UDP"}, "udp"),
    ],
)
def test_the_name_of_a_port_says_what_it_carries(port: Json, wanted: str) -> None:
    assert ports.protocol_of(port) == wanted


def test_only_ports_that_carry_http_have_route_tables() -> None:
    """A port named tcp has no requests that could be counted or divided, whatever its number."""
    registry = Registry.of(
        [service(), service("web", "http", 80), service("odd", "", 81), service("raw", "tcp-http", 82)]
    )
    made = translate(registry, Proxy(), WIRING)
    assert set(made.routes) == {"80", "81"}
    assert {each.port for each in made.streams} == {27017, 82}


# Sidecars


def test_a_port_of_which_nobody_speaks_goes_to_its_service() -> None:
    (found,) = streams(service())
    name = cluster_name(27017, "", DATABASE)
    assert (found.port, found.host, found.address) == (27017, DATABASE, "10.96.0.7")
    assert (found.clusters, found.server_names, found.tls) == (((name, 100),), (), False)
    assert found.filter["typed_config"]["cluster"] == name


def test_a_weight_divides_connections() -> None:
    """As for http: one destination takes all, of several those at 0 are left out."""
    (found,) = streams(service(), virtual(tcp=[{"route": [to("v1", 80), to("v2", 20), to("v3", 0)]}]))
    assert shares(found) == {"v1": 80, "v2": 20}
    clusters = found.filter["typed_config"]["weighted_clusters"]["clusters"]
    assert [each["weight"] for each in clusters] == [80, 20]
    assert shares(streams(service(), virtual(tcp=[{"route": [to("v1", 0)]}]))[0]) == {"v1": 100}


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (None, None)])
def test_weights_without_a_sum_are_refused(weights: tuple[int | None, int | None]) -> None:
    with pytest.raises(Rejected, match=r"VirtualService default/db, tcp\[0\]"):
        streams(service(), virtual(tcp=[{"route": [to("v1", weights[0]), to("v2", weights[1])]}]))


def test_the_first_route_for_this_proxy_takes_every_connection() -> None:
    others: list[Json] = [
        {"port": 1},
        {"sourceLabels": {"app": "ratings"}},
        {"sourceNamespace": "shop"},
        {"gateways": ["gw"]},
    ]
    routes = [{"match": [each], "route": [to("other")]} for each in others]
    mine = {"match": [{"port": 1}, {"sourceLabels": {"app": "productpage"}}], "route": [to("mine")]}
    (found,) = streams(service(), virtual(tcp=[*routes, mine, {"route": [to("late")]}]))
    assert shares(found) == {"mine": 100}
    (found,) = streams(service(), virtual(tcp=routes))
    assert shares(found) == {"": 100}


def test_every_virtual_service_of_the_host_counts_in_order() -> None:
    """Not only the oldest, as with http: the first may have nothing for this port."""
    first, second = (
        virtual("a", tcp=[{"match": [{"port": 1}], "route": [to("no")]}]),
        virtual("bb", tcp=[{"route": [to("yes")]}]),
    )
    assert shares(streams(service(), second, first)[0]) == {"yes": 100}


def test_a_client_of_tls_is_told_apart_by_the_name_it_asks_for() -> None:
    entries = [
        {"match": [{"port": 443, "sniHosts": ["login.example.com"]}], "route": [to("login")]},
        {"match": [{"sniHosts": ["*.example.com"]}, {"sniHosts": ["login.example.com"]}], "route": [to("rest")]},
    ]
    found = streams(service(port="tls", number=443), virtual(tls=entries))
    assert [(each.server_names, shares(each), each.tls) for each in found] == [
        (("login.example.com",), {"login": 100}, True),
        (("*.example.com",), {"rest": 100}, True),
    ]


def test_tls_without_a_route_for_it_goes_to_the_service() -> None:
    """And tcp routes are not for it, nor tls routes for a port of tcp."""
    (found,) = streams(service(port="https", number=443), virtual(tcp=[{"route": [to("tcp")]}]))
    assert (shares(found), found.server_names, found.tls) == ({"": 100}, (), True)
    entry = {"match": [{"sniHosts": ["mongodb"]}], "route": [to("tls")]}
    assert shares(streams(service(), virtual(tls=[entry]))[0]) == {"": 100}


def test_the_rule_of_the_first_destination_says_how_long_a_connection_lives() -> None:
    pool = {"tcp": {"idleTimeout": "1m", "maxConnectionDuration": "1h"}}
    policy = {"connectionPool": pool, "loadBalancer": {"consistentHash": {"useSourceIp": True}}}
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"host": "mongodb", "trafficPolicy": policy},
    }
    for others in ((), (virtual(tcp=[{"route": [to("a", 1), to("b", 1)]}]),)):
        (found,) = streams(service(), rule, *others)
        said = found.filter["typed_config"]
        assert (said["idle_timeout"], said["max_downstream_connection_duration"]) == ("60s", "3600s")
        assert said["hash_policy"] == [{"source_ip": {}}]


@pytest.mark.parametrize("field", ["destinationSubnets", "sourceSubnet"])
def test_a_subnet_is_refused(field: str) -> None:
    with pytest.raises(Rejected, match=rf"tcp\[0\], match: `{field}` is not translated"):
        streams(service(), virtual(tcp=[{"match": [{field: ["10.0.0.0/8"]}], "route": [to()]}]))


# Gateways


def test_a_gateway_passes_tcp_on_by_its_port() -> None:
    server = {"port": {"number": 31400, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
    entries = [
        {"match": [{"port": 31401}], "route": [to("no")]},
        {"match": [{"port": 31400}], "route": [to("v1", 80), to("v2", 20)]},
        {"match": [{"port": 31400}], "route": [to("late")]},
    ]
    bound = virtual(hosts=["*"], gateways=["gw"], tcp=entries)
    (found,) = streams(service(), gateway(server), bound, proxy=INGRESS)
    assert (found.port, found.host, shares(found)) == (31400, "", {"v1": 80, "v2": 20})
    assert streams(service(), gateway(server), bound)[0].clusters == ((cluster_name(27017, "", DATABASE), 100),)
    assert streams(gateway(server), bound, proxy=Proxy("x", "istio-system", {"istio": "other"}, GATEWAY)) == []


def test_a_gateway_passes_tls_on_by_name() -> None:
    server = {
        "port": {"number": 443, "name": "tls", "protocol": "TLS"},
        "hosts": ["default/*.example.com"],
        "tls": {"mode": "PASSTHROUGH"},
    }
    entries = [
        {"match": [{"port": 443, "sniHosts": ["a.example.com"]}], "route": [to("a")]},
        {"match": [{"port": 443, "sniHosts": ["a.example.com"]}], "route": [to("twice")]},
        {"match": [{"gateways": ["mesh"], "sniHosts": ["b.example.com"]}], "route": [to("b")]},
        {"match": [{"gateways": ["default/gw"], "sniHosts": ["*"]}], "route": [to("c")]},
    ]
    bound = virtual(hosts=["a.example.com", "b.example.com"], gateways=["./gw", "mesh"], tls=entries)
    found = streams(gateway(server), bound, proxy=INGRESS)
    assert [(each.server_names, shares(each)) for each in found] == [(("a.example.com",), {"a": 100}), ((), {"c": 100})]
    stranger = {**bound, "metadata": {**bound["metadata"], "namespace": "shop"}}
    stranger["spec"] = {**bound["spec"], "gateways": ["default/gw"]}
    assert streams(gateway(server), stranger, proxy=INGRESS) == []
    opened = {**server, "tls": {"mode": "SIMPLE"}}
    assert streams(gateway(opened), bound, proxy=INGRESS) == []


# Over real objects, in a real Envoy


def corpus_streams(corpus: Path) -> list[tuple[str, list[Stream]]]:
    """Each object with tls or tcp routes, at a gateway that serves all it asks for, and in the mesh."""
    found = []
    for place in sorted(corpus.glob("*.yaml")):
        each = yaml.safe_load(place.read_text())
        spec, namespace = each["spec"], each["metadata"].get("namespace", "default")
        if not (spec.get("tls") or spec.get("tcp")) or "hosts" not in spec:
            continue
        numbers = {
            match.get("port", 9000)
            for kind in ("tls", "tcp")
            for entry in spec.get(kind) or []
            for match in entry.get("match") or [{}]
        }
        servers: list[Json] = []
        for number in sorted(numbers):
            if spec.get("tls"):
                port = {"number": number, "name": f"tls-{number}", "protocol": "TLS"}
                servers.append({"port": port, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}})
            else:
                port = {"number": number, "name": f"tcp-{number}", "protocol": "TCP"}
                servers.append({"port": port, "hosts": ["*"]})
        named = [one for one in spec.get("gateways") or [] if one != "mesh"]
        gateways = []
        for one in named:
            home, _, name = one.rpartition("/")
            gateways.append(gateway(*servers, name=name, namespace=home or namespace))
        services = [
            service(host, "tls" if spec.get("tls") else "tcp", number)
            for host in spec["hosts"]
            if "." not in host and "*" not in host
            for number in sorted(numbers)
        ]
        registry = Registry.of([each, *gateways, *services])
        found.append(
            (
                place.name,
                streams_of(registry, INGRESS, WIRING)
                if named
                else streams_of(registry, Proxy(namespace=namespace), WIRING),
            )
        )
    return found


def test_every_stream_of_the_corpus_that_is_bound_to_a_gateway_is_translated(corpus: Path) -> None:
    found = corpus_streams(corpus)
    assert len(found) >= 10
    assert len([name for name, made in found if made]) >= 6


@pytest.mark.lab
@pytest.mark.xdist_group("lab-routes")
def test_envoy_accepts_whatever_is_translated(corpus: Path, tmp_path: Path) -> None:
    """Each object's chains as a listener of a real Envoy, started by its own check of a configuration."""
    policy = {
        "connectionPool": {"tcp": {"idleTimeout": "1m"}},
        "loadBalancer": {"consistentHash": {"useSourceIp": True}},
    }
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"host": "mongodb", "trafficPolicy": policy},
    }
    own = streams(service(), rule, virtual(tcp=[{"route": [to("a", 1), to("b", 1)]}]))
    listeners = []
    everything = [*corpus_streams(corpus), ("own", own)]
    for index, (_, made) in enumerate(everything):
        by_port: dict[int, list[Stream]] = {}
        for each in made:
            by_port.setdefault(each.port, []).append(each)
        for port, chains in by_port.items():
            listeners.append(listener(f"{index}-{port}", chains))
    assert len(listeners) >= 6
    assert complaint(tmp_path, listeners=listeners) == ""


def listener(name: str, chains: list[Stream]) -> Json:
    inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "tls", "typed_config": {"@type": inspector}}]
        if any(each.tls for each in chains)
        else [],
        "filter_chains": [
            {
                "filter_chain_match": {"server_names": list(each.server_names)} if each.server_names else {},
                "filters": [each.filter],
            }
            for each in chains
        ],
    }

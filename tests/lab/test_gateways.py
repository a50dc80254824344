"""What a gateway's proxy serves: servers of Gateways, and the VirtualServices that are bound to them."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.proxy import GATEWAY, Proxy
from canaryd.lab.istiod.translation import Translation

from .translating import (
    INGRESS,
    PLAIN,
    V1,
    V2,
    V3,
    gateway,
    host_of,
    mesh,
    server,
    service,
    shares,
    to,
    translate,
    virtual,
)

Json = dict[str, Any]
JASON: Json = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}


def at_gateway(*objects: Json, proxy: Proxy = INGRESS) -> Translation:
    return translate(mesh(*objects), proxy)


def bound(*http: Json, hosts: list[str] | None = None, **more: Any) -> Json:
    return virtual(*http, **{"hosts": hosts or ["shop.example.com"], "gateways": ["gw"], **more})


def served(translation: Translation, domain: str = "shop.example.com", table: str = "http.8080") -> list[Json]:
    return [shares(each) for each in host_of(translation, domain, table)["routes"]]


def hosts(translation: Translation, table: str = "http.8080") -> list[str]:
    return [each for host in translation.routes[table]["virtual_hosts"] for each in host["domains"]]


# Who is served


def test_a_virtual_service_is_served_where_it_is_bound() -> None:
    translation = at_gateway(gateway(), bound({"route": [to("v1", 90), to("v3", 10)]}))
    assert served(translation) == [{V1: 90, V3: 10}]
    assert hosts(translation) == ["shop.example.com"]
    assert translation.routes["http.8080"]["ignore_port_in_host_matching"] is True


def test_a_gateway_without_routes_answers_404() -> None:
    """A virtual host without routes: Envoy says 404, flag NR."""
    found = at_gateway(gateway(), virtual({"route": [to("v3")]})).routes["http.8080"]["virtual_hosts"]
    assert [(each["name"], each["domains"], each["routes"]) for each in found] == [("blackhole:8080", ["*"], [])]


def test_a_gateway_proxy_has_no_tables_of_the_mesh() -> None:
    assert set(at_gateway(gateway()).routes) == {"http.8080"}
    assert "http.8080" not in translate(mesh(gateway())).routes


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [({"istio": "ingressgateway"}, True), ({}, True), ({"istio": "egressgateway"}, False)],
)
def test_a_gateway_is_for_the_proxies_that_it_selects(selector: dict[str, str], chosen: bool) -> None:
    assert ("http.8080" in at_gateway(gateway(selector=selector)).routes) == chosen


@pytest.mark.parametrize(
    ("name", "found"),
    [("gw", False), ("ops/gw", True), ("./gw", False), ("gw.ops.svc.cluster.local", True), ("gw.ops", True)],
)
def test_a_gateway_of_another_namespace_is_named_with_it(name: str, found: bool) -> None:
    translation = at_gateway(gateway(namespace="ops"), bound({"route": [to("v3")]}, gateways=[name]))
    assert ("shop.example.com" in hosts(translation)) == found


def test_a_virtual_service_must_be_exported_to_the_gateways_namespace() -> None:
    translation = at_gateway(gateway(), bound({"route": [to("v3")]}, exportTo=["."]))
    assert hosts(translation) == ["*"]


def test_matches_choose_between_gateway_and_mesh() -> None:
    both = bound(
        {"match": [{"gateways": ["mesh"]}], "route": [to("v1")]},
        {"match": [{"gateways": ["gw"]}], "route": [to("v3")]},
        gateways=["mesh", "gw"],
        hosts=["reviews"],
    )
    assert served(at_gateway(gateway(), both), bookinfo.HOST) == [{V3: 100}]
    assert [shares(each) for each in host_of(translate(mesh(both)))["routes"]] == [{V1: 100}]


def test_an_entry_for_the_other_gateway_is_not_for_this_one() -> None:
    one = bound(
        {"match": [{"gateways": ["other"]}], "route": [to("v3")]}, {"route": [to("v1")]}, gateways=["gw", "other"]
    )
    assert served(at_gateway(gateway(), one)) == [{V1: 100}]


# Hosts


@pytest.mark.parametrize(
    ("servers", "virtuals", "shared"),
    [
        (["*"], ["shop.example.com"], ["shop.example.com"]),
        (["*.example.com"], ["shop.example.com", "shop.example.org"], ["shop.example.com"]),
        (["shop.example.com"], ["*.example.com"], ["shop.example.com"]),
        (["shop.example.com"], ["*"], ["shop.example.com"]),
        (["*.shop.example.com"], ["*.example.com"], ["*.shop.example.com"]),
        (["other.example.com"], ["shop.example.com"], ["*"]),  # nothing: the black hole
        (["default/*.example.com"], ["shop.example.com"], ["shop.example.com"]),
        (["./shop.example.com"], ["shop.example.com"], ["shop.example.com"]),
        (["*/shop.example.com"], ["shop.example.com"], ["shop.example.com"]),
        (["ops/shop.example.com"], ["shop.example.com"], ["*"]),
        (["*/*"], ["Shop.Example.com"], ["shop.example.com"]),
    ],
)
def test_a_host_must_be_the_servers_and_the_virtual_services(
    servers: list[str], virtuals: list[str], shared: list[str]
) -> None:
    """The narrower of the two is served; `ns/host` lets VirtualServices of one namespace in."""
    assert hosts(at_gateway(gateway(server(*servers)), bound({"route": [to("v3")]}, hosts=virtuals))) == shared


def test_a_gateway_of_its_own_namespace_may_be_named_so() -> None:
    assert hosts(at_gateway(gateway(), bound({"route": [to("v3")]}, gateways=["./gw"]))) == ["shop.example.com"]


# Merging


def test_virtual_services_of_one_host_are_merged_by_age() -> None:
    """Unlike in the mesh: each adds its routes, and those that take everything wait at the end, the oldest first."""
    young = bound(
        {"match": [{"uri": {"prefix": "/v3"}}], "route": [to("v3")]}, {"route": [to("v3")]}, name="a", born="02-01"
    )
    old = bound(JASON, {"route": [to("v1")]}, name="b", born="01-01")
    assert served(at_gateway(gateway(), young, old)) == [{V2: 100}, {V3: 100}, {V1: 100}, {V3: 100}]


def test_gateways_on_one_port_share_a_table() -> None:
    first = gateway(server("a.example.com"), name="first", born="01-01")
    second = gateway(server("b.example.com"), name="second", born="02-01")
    translation = at_gateway(
        first,
        second,
        bound({"route": [to("v1")]}, name="a", hosts=["*"], gateways=["first"]),
        bound({"route": [to("v3")]}, name="b", hosts=["*"], gateways=["second"]),
    )
    assert served(translation, "a.example.com") == [{V1: 100}]
    assert served(translation, "b.example.com") == [{V3: 100}]


def test_a_virtual_service_is_served_on_every_port_of_its_gateway() -> None:
    two = gateway(server(), server(port=8081, name="http-2"))
    by_port = bound({"match": [{"port": 8081}], "route": [to("v3")]}, {"route": [to("v1")]})
    assert served(at_gateway(two, by_port)) == [{V1: 100}]
    assert served(at_gateway(two, by_port), table="http.8081") == [{V3: 100}]  # takes everything there


# Ports and destinations


def test_a_server_is_behind_the_port_of_the_gateways_service() -> None:
    """Port 80 of the Service is 8080 of its pods: the table is named by the latter, `match.port` means the former."""
    front = service(
        "istio-ingressgateway",
        "istio-system",
        {"port": 80, "targetPort": 8080, "name": "http2"},
        selector={"istio": "ingressgateway"},
    )
    entries = [{"match": [{"port": 80}], "route": [to("v3")]}, {"route": [to("v1")]}]
    named = {**front, "spec": {**front["spec"], "ports": [{"port": 80, "targetPort": "http2", "name": "http2"}]}}
    assert set(at_gateway(gateway(server(port=80)), named).routes) == {"http.80"}
    elsewhere = {**front, "metadata": {"name": "a", "namespace": "default"}}
    elsewhere["spec"] = {**front["spec"], "ports": [{"port": 80, "targetPort": 1}]}
    assert served(at_gateway(gateway(server(port=80)), elsewhere, front, bound(*entries))) == [{V3: 100}]
    assert served(at_gateway(gateway(server(port=80)), front, bound(*entries))) == [{V3: 100}]


def test_a_destination_without_port_goes_to_the_only_port_of_its_service() -> None:
    """A gateway looks at all Services; of several ports it takes the one that was asked for at the gateway."""
    only = at_gateway(gateway(), bound({"route": [{"destination": {"host": "reviews"}}]}))
    assert served(only) == [{PLAIN: 100}]
    two = service("two", "default", {"port": 1, "name": "http-a"}, {"port": 2, "name": "http-b"})
    found = at_gateway(gateway(), two, bound({"route": [{"destination": {"host": "two"}}]}))
    assert served(found) == [{"outbound|8080||two.default.svc.cluster.local": 100}]


# TLS


def test_a_redirect_to_https_is_for_all_hosts_of_the_server() -> None:
    """Also for those that no VirtualService serves."""
    redirecting = gateway(server("shop.example.com", "other.example.com", tls={"httpsRedirect": True}))
    translation = at_gateway(redirecting, bound({"route": [to("v3")]}))
    assert [
        (each["domains"], each.get("require_tls"), len(each["routes"]))
        for each in translation.routes["http.8080"]["virtual_hosts"]
    ] == [(["other.example.com"], "ALL", 0), (["shop.example.com"], "ALL", 1)]


def test_a_redirect_to_https_holds_for_a_narrower_host_too() -> None:
    translation = at_gateway(gateway(server("*", tls={"httpsRedirect": True})), bound({"route": [to("v3")]}))
    assert host_of(translation, "shop.example.com", "http.8080")["require_tls"] == "ALL"


def test_a_tls_host_is_served_once() -> None:
    """Connections are told apart by the name they ask for: a second server of that name could never be meant."""
    secured = [
        gateway(server("shop.example.com", port=443, protocol="HTTPS", name="https", tls={"mode": "SIMPLE"}), name=name)
        for name in ("gw", "late")
    ]
    assert set(at_gateway(*secured).routes) == {"https.443.https.gw.default"}


def test_an_https_server_has_a_table_of_its_own() -> None:
    secured = server("shop.example.com", port=443, protocol="HTTPS", name="https", tls={"mode": "SIMPLE"})
    entries = [{"match": [{"uri": {"exact": "/away"}}], "redirect": {"port": 443}}, {"route": [to("v3")]}]
    translation = at_gateway(gateway(server(), secured), bound(*entries))
    found = host_of(translation, "shop.example.com", "https.443.https.gw.default")["routes"]
    assert found[0]["redirect"] == {"response_code": "MOVED_PERMANENTLY"}  # 443 goes without saying, with TLS
    plain = host_of(translation, "shop.example.com", "http.8080")["routes"]
    assert plain[0]["redirect"]["port_redirect"] == 443


@pytest.mark.parametrize(
    "other",
    [
        server(protocol="TCP", name="tcp"),
        server(protocol="TLS", name="tls", tls={"mode": "PASSTHROUGH"}),
        server(protocol="HTTPS", name="https", tls={"mode": "SIMPLE"}),
    ],
)
def test_a_server_that_conflicts_with_an_earlier_one_is_left_out(other: Json) -> None:
    assert set(at_gateway(gateway(server(), other)).routes) == {"http.8080"}


def test_a_server_without_http_has_no_table() -> None:
    for protocol in ("TLS", "HTTPS"):
        passing = server(port=443, protocol=protocol, name="tls", tls={"mode": "PASSTHROUGH"})
        assert set(at_gateway(gateway(passing)).routes) == set()


def test_a_gateway_in_another_place_sees_its_own_labels() -> None:
    """`sourceLabels` of a match are the gateway's, when it is the one that routes."""
    east = Proxy("east", "istio-system", {"istio": "ingressgateway", "zone": "east"}, GATEWAY)
    entries = [{"match": [{"sourceLabels": {"zone": "east"}}], "route": [to("v3")]}, {"route": [to("v1")]}]
    assert served(at_gateway(gateway(), bound(*entries))) == [{V1: 100}]
    assert served(at_gateway(gateway(), bound(*entries), proxy=east)) == [{V3: 100}]

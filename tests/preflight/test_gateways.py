"""Gateways that are not there, not for the host, not open, or not this one's."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.preflight import gateways
from tests.preflight.objects import changed, istio, older
from tests.preflight.stage import Town

Object = dict[str, Any]
HOST = "reviews.default.svc.cluster.local"


def above_info(town: Town) -> list[str]:
    return [one.code for one in town.found(gateways) if one.level != "info"]


def test_a_gateway_that_is_not_there_is_taken_out(town: Town) -> None:
    changed(town, "VirtualService", "reviews", gateways=["mesh", "no-gateway"])
    found = town.cured(gateways, "GatewayMissing")
    assert (found.level, "default/no-gateway" in found.sentence) == ("warning", True)


def test_a_gateway_that_is_not_there_is_an_error_where_there_is_nothing_else(town: Town) -> None:
    """To take it out would bind the VirtualService to the mesh: no command does what was meant."""
    changed(town, "VirtualService", "reviews", gateways=["elsewhere/no-gateway"])
    [found] = [one for one in town.found(gateways) if one.code == "GatewayMissing"]
    assert (found.level, found.remedy) == ("error", "")


@pytest.mark.parametrize(
    "name",
    [
        "bookinfo-gateway",
        "default/bookinfo-gateway",
        "./bookinfo-gateway",
        "bookinfo-gateway.default.svc.cluster.local",
    ],
)
def test_a_gateway_is_found_however_it_is_written(town: Town, name: str) -> None:
    changed(town, "VirtualService", "reviews", gateways=["mesh", name])
    assert above_info(town) == []


def test_a_gateway_of_the_gateway_api_is_there_too(town: Town) -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    town.apply(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "world", "namespace": "default"},
            "spec": {"gatewayClassName": "istio", "listeners": [listener]},
        }
    )
    changed(town, "VirtualService", "reviews", gateways=["mesh", "world"])
    assert above_info(town) == []


@pytest.mark.parametrize("hosts", [["books.example.com"], ["istio-system/*"], ["*.reviews.example.com"]])
def test_a_gateway_without_a_server_for_the_host_gets_one(town: Town, hosts: list[str]) -> None:
    """A server's host may also name the namespace whose VirtualServices it takes."""
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    port = {"number": 8080, "name": "http", "protocol": "HTTP"}
    changed(town, "Gateway", "bookinfo-gateway", servers=[{"port": port, "hosts": hosts}])
    assert "IST0132" in town.cured(gateways, "GatewayWithoutHost").sentence


@pytest.mark.parametrize(
    "hosts", [["*"], ["./*"], ["default/*.svc.cluster.local"], ["*/reviews.default.svc.cluster.local"]]
)
def test_a_server_for_the_host_is_found_however_it_is_written(town: Town, hosts: list[str]) -> None:
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    port = {"number": 8080, "name": "http", "protocol": "HTTP"}
    changed(town, "Gateway", "bookinfo-gateway", servers=[{"port": port, "hosts": hosts}])
    assert above_info(town) == []


def test_a_selector_without_pods_is_only_said(town: Town) -> None:
    """The gateway's pods may be where nobody looked."""
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    changed(town, "Gateway", "bookinfo-gateway", selector={"istio": "elsewhere"})
    found = [one for one in town.found(gateways) if one.code == "GatewayWithoutPods"]
    assert [one.level for one in found] == ["info"]
    assert "istio=elsewhere" in found[0].sentence


def test_a_port_that_the_gateways_service_has_not_is_opened(town: Town) -> None:
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    port = {"number": 9999, "name": "http", "protocol": "HTTP"}
    changed(town, "Gateway", "bookinfo-gateway", servers=[{"port": port, "hosts": ["*"]}])
    assert "istio-system/istio-ingressgateway" in town.cured(gateways, "GatewayPortNotOnService").sentence


@pytest.mark.parametrize("number", [80, 8080])
def test_a_gateway_may_name_the_services_port_or_the_pods(town: Town, number: int) -> None:
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    port = {"number": number, "name": "http", "protocol": "HTTP"}
    changed(town, "Gateway", "bookinfo-gateway", servers=[{"port": port, "hosts": ["*"]}])
    assert above_info(town) == []


def server(protocol: str = "HTTP", host: str = "*", number: int = 443) -> Object:
    tls = {} if protocol == "HTTP" else {"tls": {"mode": "SIMPLE", "credentialName": "cert"}}
    return {"port": {"number": number, "name": "web", "protocol": protocol}, "hosts": [host], **tls}


@pytest.mark.parametrize(
    ("theirs", "ours", "pushed_out"),
    [
        (server("HTTPS", HOST), server("HTTPS", HOST), True),
        (server("HTTPS", "books.example.com"), server("HTTP"), True),
        (server("HTTPS", "books.example.com"), server("HTTPS", HOST), False),
        (server("HTTP"), server("HTTP"), False),
        (server("HTTPS", HOST, 8443), server("HTTPS", HOST), False),
    ],
)
def test_an_older_gateway_may_have_the_port(town: Town, theirs: Object, ours: Object, pushed_out: bool) -> None:
    """Plain HTTP is shared, and so is TLS under several names; the rest is the older one's."""
    selector = {"istio": "ingressgateway"}
    older(town, istio("Gateway", "a-before", {"selector": selector, "servers": [theirs]}))
    changed(town, "Gateway", "bookinfo-gateway", servers=[ours])
    changed(town, "VirtualService", "reviews", gateways=["mesh", "bookinfo-gateway"])
    assert ("GatewayPushedOut" in town.codes(gateways)) == pushed_out
    town.remove("Gateway", "a-before")
    assert "GatewayPushedOut" not in town.codes(gateways)

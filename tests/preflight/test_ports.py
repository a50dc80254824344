"""What a Service's port is to Istio, and which port a destination means."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.preflight import ports
from tests.preflight.stage import Town, plan

Object = dict[str, Any]


def with_ports(town: Town, *listed: Object, **spec: Any) -> None:
    service = bookinfo.service()
    service["spec"] |= {"ports": list(listed), **spec}
    town.apply(service)


def port(name: str = "http", number: int = 9080, **more: Any) -> Object:
    return {"port": number, "targetPort": 9080, "protocol": "TCP", **({"name": name} if name else {}), **more}


def routed(town: Town, *numbers: int | None, **spec: Any) -> None:
    """The VirtualService with these ports at its destinations v1 and v3."""
    found = bookinfo.virtual_service({"v1": 100, "v3": 0})
    for each, number in zip(found["spec"]["http"][0]["route"], numbers, strict=False):
        if number is not None:
            each["destination"]["port"] = {"number": number}
    found["spec"] |= spec
    town.apply(found)


@pytest.mark.parametrize(
    "listed",
    [
        port(),
        port("grpc-api"),
        port("HTTP2"),
        port("tcp", appProtocol="http"),
        port("web", appProtocol="kubernetes.io/h2c"),
        port("http-mysql", 3306),
    ],
    ids=str,
)
def test_ports_that_are_http(town: Town, listed: Object) -> None:
    with_ports(town, listed)
    assert town.found(ports) == []


@pytest.mark.parametrize("listed", [port("tcp-web"), port("http", appProtocol="tcp"), port("", 3306)], ids=str)
def test_a_port_that_is_taken_for_a_stream_is_declared(town: Town, listed: Object) -> None:
    """`appProtocol` beats the name, and on some numbers Istio never guesses."""
    with_ports(town, listed)
    finding = town.cured(ports, "PortNotHttp")
    assert finding.level == "error"
    assert finding.where == f"Service default/reviews port {listed['port']}"
    assert "weights do nothing for v1 and v3" in finding.sentence


@pytest.mark.parametrize(
    "listed", [port("https"), port("tls-web"), port("mongo"), port(appProtocol="kubernetes.io/wss")], ids=str
)
def test_what_is_said_to_be_something_else_is_not_declared_http(town: Town, listed: Object) -> None:
    """A command that makes Istio read TLS as HTTP would break every request."""
    with_ports(town, listed)
    [finding] = town.found(ports)
    assert (finding.code, finding.remedy) == ("PortNotHttp", "")


@pytest.mark.parametrize("listed", [port(""), port("web"), port("httpx-api")], ids=str)
def test_a_port_that_says_nothing_is_guessed(town: Town, listed: Object) -> None:
    with_ports(town, listed)
    finding = town.cured(ports, "PortSniffed")
    assert finding.level == "warning"
    assert "grpc" in finding.sentence


def test_a_gateway_reads_requests_as_its_own_servers_say(town: Town) -> None:
    with_ports(town, port("https-web"))
    routed(town, gateways=["bookinfo-gateway"], hosts=["reviews.example.com"])
    assert town.found(ports) == []


def test_an_entrys_matches_may_name_gateways_of_their_own(town: Town) -> None:
    with_ports(town, port("https-web"))
    found = bookinfo.virtual_service({"v1": 100})
    found["spec"] |= {"gateways": ["mesh", "bookinfo-gateway"]}
    found["spec"]["http"][0]["match"] = [{"gateways": ["bookinfo-gateway"]}]
    town.apply(found)
    assert town.found(ports) == []
    found["spec"]["http"][0]["match"].append({"uri": {"prefix": "/reviews"}})
    town.apply(found)
    assert town.codes(ports) == ["PortNotHttp"]


def test_the_host_that_is_called_decides_and_not_the_destination(town: Town) -> None:
    """Two Services, a version each: callers know only the one that the VirtualService is about."""
    hosts = {"virtualService": "reviews", "host": "reviews"}
    town.plan = plan(target={**hosts, "stable": {"host": "reviews-v1"}, "canary": {"host": "reviews-v3"}})
    for version in ("v1", "v3"):
        service = bookinfo.service()
        service["metadata"]["name"] = f"reviews-{version}"
        service["spec"] |= {"ports": [port("tcp")], "selector": {"app": "reviews", "version": version}}
        service["spec"].pop("clusterIP")
        town.apply(service)
    found = bookinfo.virtual_service({})
    found["spec"]["http"][0]["route"] = [
        {"destination": {"host": f"reviews-{version}"}, "weight": weight}
        for version, weight in (("v1", 100), ("v3", 0))
    ]
    town.apply(found)
    assert town.found(ports) == []
    with_ports(town, port("tcp"))
    finding = town.cured(ports, "PortNotHttp")
    assert finding.where == "Service default/reviews port 9080"


def test_a_destination_that_names_none_of_several_ports(town: Town) -> None:
    with_ports(town, port(), port("tcp-admin", 9090))
    routed(town, None, None)
    finding = town.cured(ports, "PortUnclear")
    assert finding.level == "warning"
    assert finding.where == "VirtualService default/reviews http[0]"


def test_a_gateway_without_such_a_port_cannot_reach_any_of_several(town: Town) -> None:
    with_ports(town, port(), port("tcp-admin", 9090))
    routed(town, None, None, gateways=["bookinfo-gateway"], hosts=["reviews.example.com"])
    finding = town.cured(ports, "PortUnclear")
    assert finding.level == "error"
    assert "gateway's port 8080 fail with 503" in finding.sentence


def test_of_two_http_ports_people_must_choose(town: Town) -> None:
    with_ports(town, port(), port("http-admin", 9090))
    [finding] = town.found(ports)
    assert (finding.code, finding.remedy) == ("PortUnclear", "")


def test_a_port_named_by_number_is_clear(town: Town) -> None:
    with_ports(town, port(), port("tcp-admin", 9090))
    routed(town, 9080, 9080)
    assert town.found(ports) == []


def test_a_canary_that_is_put_in_gets_stables_port(town: Town) -> None:
    with_ports(town, port(), port("tcp-admin", 9090))
    found = bookinfo.virtual_service({"v1": 100})
    found["spec"]["http"][0]["route"][0]["destination"]["port"] = {"number": 9080}
    town.apply(found)
    assert town.found(ports) == []


def test_udp_beside_it_makes_no_port_unclear(town: Town) -> None:
    with_ports(town, port(), {"name": "dns", "port": 5353, "protocol": "UDP"})
    assert town.found(ports) == []


def test_a_port_that_the_service_has_not(town: Town) -> None:
    routed(town, 9080, 8080)
    finding = town.cured(ports, "PortMissing")
    assert finding.sentence.startswith("sends v3 to port 8080, which the Service does not have (there: 9080)")


def test_a_headless_service_follows_no_weights(town: Town) -> None:
    town.remove("Service", "reviews")
    with_ports(town, port(), clusterIP="None")
    [finding] = town.found(ports)
    assert (finding.code, finding.level, finding.remedy) == ("HeadlessService", "error", "")


def test_gateways_balance_a_headless_service(town: Town) -> None:
    town.remove("Service", "reviews")
    with_ports(town, port(), clusterIP="None")
    routed(town, gateways=["bookinfo-gateway"], hosts=["reviews.example.com"])
    assert town.found(ports) == []


def test_an_istiod_that_balances_headless_services(town: Town) -> None:
    town.remove("Service", "reviews")
    with_ports(town, port(), clusterIP="None")
    istiod = bookinfo.deployment("istiod", "v1")
    istiod["metadata"]["namespace"] = "istio-system"
    [container] = istiod["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES", "value": "false"}]
    town.apply(istiod)
    assert town.codes(ports) == ["HeadlessService"]
    container["env"][0]["value"] = "true"
    town.apply(istiod)
    assert town.found(ports) == []


def test_a_target_port_by_a_name_that_the_canary_does_not_give(town: Town) -> None:
    for version, name in (("v1", "web"), ("v3", "main")):
        deployment = bookinfo.deployment("reviews", version, 2)
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = name
        town.apply(deployment)
    with_ports(town, port(targetPort="web"))
    finding = town.cured(ports, "TargetPortMissing")
    assert "targetPort web is the name of no port in the pods of reviews-v3" in finding.sentence


def test_a_target_port_by_a_name_that_all_give(town: Town) -> None:
    for version in ("v1", "v3"):
        deployment = bookinfo.deployment("reviews", version, 2)
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = "web"
        town.apply(deployment)
    with_ports(town, port(targetPort="web"))
    assert town.found(ports) == []


def test_a_service_elsewhere_that_is_no_service_says_nothing(town: Town) -> None:
    """Admission refuses such a plan; a check says nothing of what it cannot see."""
    with_ports(town, port())
    found = bookinfo.virtual_service({"v1": 100})
    found["spec"]["http"][0]["route"][0]["destination"]["host"] = "reviews.example.com"
    town.apply(found)
    assert town.found(ports) == []

"""Others that route the host: who is in force, who is not, and what makes an end of it."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.preflight import conflicts
from canaryd.preflight.heard import Caller, Heard
from tests.preflight.objects import changed, http_route, older, virtual_service
from tests.preflight.stage import Town, plan

Object = dict[str, Any]


def test_one_that_came_before_is_obeyed_instead(town: Town) -> None:
    older(town, virtual_service("a-before", "reviews"))
    found = town.cured(conflicts, "VirtualServiceNotInForce")
    assert "VirtualService default/a-before has it too and is older" in found.sentence
    assert found.level == "error"


def test_one_whose_entries_name_the_mesh_is_obeyed_too(town: Town) -> None:
    """As those do that treat gateways and sidecars differently."""
    match = [{"gateways": ["mesh"], "uri": {"prefix": "/"}}]
    older(town, virtual_service("a-before", "reviews", gateways=["mesh", "bookinfo-gateway"], match=match))
    town.cured(conflicts, "VirtualServiceNotInForce")


def test_only_the_shared_host_is_taken_from_one_that_has_others(town: Town) -> None:
    older(town, virtual_service("a-before", "ratings", "reviews", "details"))
    town.cured(conflicts, "VirtualServiceNotInForce")
    kept = town.cluster.find("VirtualService", "default", "a-before")
    assert kept is not None
    assert kept["spec"]["hosts"] == ["ratings", "details"]


def test_one_that_came_after_is_not_obeyed(town: Town) -> None:
    town.apply(virtual_service("z-after", "reviews.default.svc.cluster.local"))
    found = town.cured(conflicts, "OtherNotInForce")
    assert found.where == "VirtualService default/z-after"


@pytest.mark.parametrize(
    "other",
    [
        virtual_service("a-before", "ratings"),
        virtual_service("a-before", "reviews", namespace="istio-system"),
        virtual_service("a-before", "reviews", gateways=["bookinfo-gateway"]),
        virtual_service("a-before", "reviews", namespace="books", exportTo=["."]),
        virtual_service("a-before", "reviews", match=[{"sourceLabels": {"app": "curl"}}]),
        virtual_service("a-before", "reviews", gateways=["mesh", "gw"], match=[{"gateways": ["gw"]}]),
        virtual_service("a-before", "*.default.svc.cluster.local"),
        virtual_service("a-before", "*.example.com"),
    ],
    ids=[
        "another-host",
        "elsewhere",
        "on-a-gateway",
        "not-exported",
        "for-some-proxies",
        "for-a-gateway",
        "wildcard",
        "foreign-wildcard",
    ],
)
def test_one_that_does_not_claim_the_host_is_in_nobodys_way(town: Town, other: Object) -> None:
    """Also where it is older: a host of the same short name in another namespace is another host."""
    older(town, other)
    assert town.codes(conflicts) == []


def test_one_that_is_exported_to_the_callers_by_name_goes_before_one_that_all_see(town: Town) -> None:
    """Its age is then nothing."""
    host = "reviews.default.svc.cluster.local"
    town.apply(virtual_service("z-after", host, exportTo=["."]))
    assert "exported to that namespace by name" in town.cured(conflicts, "VirtualServiceNotInForce").sentence


def test_a_host_that_is_written_out_goes_before_a_wildcard_of_ours(town: Town) -> None:
    changed(town, "VirtualService", "reviews", hosts=["*.default.svc.cluster.local"])
    town.apply(virtual_service("z-after", "reviews"))
    assert "more exactly" in town.cured(conflicts, "VirtualServiceNotInForce").sentence


# -- at a gateway


def page_plan(town: Town) -> None:
    """A plan on productpage, which the world sees; its entry takes everything."""
    route = [{"destination": {"host": "productpage", "subset": "v1"}, "weight": 100}]
    changed(town, "VirtualService", "bookinfo", hosts=["books.example.com"], http=[{"route": route}])
    changed(
        town,
        "DestinationRule",
        "productpage",
        subsets=[{"name": each, "labels": {"version": each}} for each in ("v1", "v2")],
    )
    target = {
        "virtualService": "bookinfo",
        "host": "productpage",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v2"},
    }
    town.plan = plan(target=target)
    town.heard = Heard(callers=(Caller("istio-ingressgateway", "istio-system", 10.0),))


def test_of_two_catch_alls_at_a_gateway_there_should_be_one(town: Town) -> None:
    page_plan(town)
    town.apply(virtual_service("z-after", "books.example.com", gateways=["default/bookinfo-gateway"]))
    found = town.cured(conflicts, "CatchAllAtGateway")
    assert found.level == "warning"
    assert "default/bookinfo-gateway" in found.sentence


def test_an_older_catch_all_at_the_gateway_takes_everything(town: Town) -> None:
    page_plan(town)
    older(town, virtual_service("a-before", "books.example.com", gateways=["bookinfo-gateway"]))
    found = town.cured(conflicts, "CatchAllAtGateway")
    assert (found.level, "never reached" in found.sentence) == ("error", True)


@pytest.mark.parametrize(
    "other",
    [
        virtual_service("other", "books.example.com", gateways=["bookinfo-gateway"], match=[{"uri": {"prefix": "/a"}}]),
        virtual_service("other", "else.example.com", gateways=["bookinfo-gateway"]),
        virtual_service("other", "books.example.com", gateways=["other-gateway"]),
    ],
    ids=["narrow", "another-host", "another-gateway"],
)
def test_routes_that_are_merged_at_a_gateway_are_no_conflict(town: Town, other: Object) -> None:
    page_plan(town)
    town.apply(other)
    assert town.codes(conflicts) == []


# -- the Gateway API

SERVICE = {"group": "", "kind": "Service", "name": "reviews", "port": 9080}


def test_an_http_route_on_the_service_may_take_our_place(town: Town) -> None:
    town.apply(http_route("reviews", SERVICE))
    assert "Service reviews.default.svc.cluster.local" in town.cured(conflicts, "HttpRouteOnHost").sentence


def test_an_http_route_of_a_gateway_leads_past_the_weights(town: Town) -> None:
    town.apply(http_route("world", {"name": "world"}, backend="reviews"))
    assert town.cured(conflicts, "HttpRouteBeside").level == "error"


def test_where_nothing_is_compared_an_http_route_beside_is_only_said(town: Town) -> None:
    checks = [{"name": "slo", "metric": "error-rate", "atMost": "1%"}]
    town.plan = plan(analysis={"checks": checks}, acceptUnproven="objectives only")
    town.apply(http_route("world", {"name": "world"}, backend="reviews"))
    [found] = town.found(conflicts)
    assert (found.code, found.level) == ("HttpRouteBeside", "info")


def test_an_http_route_on_our_gateway_may_take_our_place(town: Town) -> None:
    changed(town, "VirtualService", "reviews", gateways=["world"])
    town.apply(http_route("other", {"name": "world"}))
    town.cured(conflicts, "HttpRouteOnHost")
    elsewhere = http_route("other", {"name": "world"})
    elsewhere["spec"]["hostnames"] = ["else.example.com"]
    town.apply(elsewhere)
    assert town.codes(conflicts) == []


def test_http_routes_of_others_are_none_of_ours(town: Town) -> None:
    town.apply(http_route("a", {**SERVICE, "name": "ratings"}), http_route("b", {"name": "world"}))
    assert town.codes(conflicts) == []


def test_an_http_route_that_was_refused_is_in_nobodys_way(town: Town) -> None:
    refused = http_route("reviews", SERVICE)
    condition = {
        "type": "Accepted",
        "status": "False",
        "reason": "NoMatchingParent",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    parent = {"parentRef": SERVICE, "controllerName": "istio.io/gateway-controller", "conditions": [condition]}
    town.apply({**refused, "status": {"parents": [parent]}})
    assert town.codes(conflicts) == []


# -- delegates


def delegated(town: Town, **spec: Any) -> None:
    """`reviews` is a delegate now."""
    changed(town, "VirtualService", "reviews", hosts=None, **spec)


def root(home: str = "default", **delegate: str) -> Object:
    found = virtual_service("root", "reviews.default.svc.cluster.local", namespace=home)
    found["spec"]["http"] = [{"delegate": {"name": "reviews", **delegate}}]
    return found


def test_a_delegate_that_nobody_uses_gets_no_request(town: Town) -> None:
    delegated(town)
    assert town.codes(conflicts) == ["DelegateWithoutRoot"]
    town.apply(root())
    assert town.codes(conflicts) == []


def test_a_delegate_must_be_exported_to_its_root(town: Town) -> None:
    delegated(town, exportTo=["."])
    town.apply(root("istio-system", namespace="default"))
    town.cured(conflicts, "DelegateWithoutRoot")


def test_of_a_delegate_it_is_the_root_that_must_be_in_force(town: Town) -> None:
    delegated(town)
    town.apply(root())
    older(town, virtual_service("a-before", "reviews"))
    found = town.cured(conflicts, "VirtualServiceNotInForce")
    assert found.where == "VirtualService default/root"

"""HTTPRoutes: what a sidecar and a gateway make of them, and what their status says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.gatewayapi import route_statuses
from canaryd.lab.istiod.proxy import GATEWAY, Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.translation import Translation, translate

from .envoy_check import complaint

Json = dict[str, Any]
VERSIONS = ("v1", "v2", "v3")
NOW = "2026-05-01T00:00:00Z"
INGRESS = Proxy("ingress", "istio-system", {"istio": "ingressgateway"}, GATEWAY)
SERVICE_PARENT = {"group": "", "kind": "Service", "name": "reviews"}
GATEWAY_PARENT = {"name": "gw"}


def service(name: str, namespace: str = "default") -> Json:
    about = {"name": name, "namespace": namespace}
    spec = {"ports": [{"name": "http", "port": 9080}], "selector": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}


SERVICES = [service("reviews"), *(service(f"reviews-{version}") for version in VERSIONS)]


def route(
    *rules: Json, name: str = "reviews", namespace: str = "default", born: int = 1, parents: Any = None, **spec: Any
) -> Json:
    about = {
        "name": name,
        "namespace": namespace,
        "generation": 3,
        "creationTimestamp": f"2026-01-{born:02}T00:00:00Z",
    }
    body = {"parentRefs": [SERVICE_PARENT] if parents is None else parents, "rules": list(rules), **spec}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": about, "spec": body}


def to(version: str, weight: int | None = None, **more: Any) -> Json:
    return {"name": f"reviews-{version}", "port": 9080, **({} if weight is None else {"weight": weight}), **more}


def gateway(*listeners: Json, name: str = "gw", namespace: str = "default", **spec: Any) -> Json:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"gatewayClassName": "istio", "listeners": list(listeners) or [listener()], **spec},
    }


def listener(name: str = "http", **more: Any) -> Json:
    return {"name": name, "port": 80, "protocol": "HTTP", **more}


def grant(source: str, target: str, name: str | None = None) -> Json:
    to_what = {"group": "", "kind": "Service", **({"name": name} if name else {})}
    spec = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": source}],
        "to": [to_what],
    }
    about = {"name": "grant", "namespace": target}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": about,
        "spec": spec,
    }


def made(*objects: Json, proxy: Proxy | None = None) -> Translation:
    return translate(Registry.of([*SERVICES, *objects]), proxy or Proxy(), WIRING)


def routes(*objects: Json, proxy: Proxy | None = None, domain: str = "reviews") -> list[Json]:
    """Those that a sidecar has for `reviews` on its port."""
    hosts = made(*objects, proxy=proxy).routes["9080"]["virtual_hosts"]
    found: list[Json] = next(each for each in hosts if domain in each["domains"])["routes"]
    return found


def entrance(*objects: Json, table: str = "http.80") -> dict[str, list[Json]]:
    """The routes of the gateway by host."""
    hosts = made(*objects, proxy=INGRESS).routes[table]["virtual_hosts"]
    return {domain: each["routes"] for each in hosts for domain in each["domains"]}


def shares(each: Json) -> dict[str, int]:
    """By Service."""
    action = each["route"]
    if "cluster" in action:
        return {_service(action["cluster"]): 100}
    return {_service(one["name"]): one["weight"] for one in action["weighted_clusters"]["clusters"]}


def _service(cluster: str) -> str:
    return cluster.split("|")[-1].partition(".")[0]


# Weights


def test_a_weight_that_is_left_out_is_one() -> None:
    """A VirtualService's is 0."""
    assert shares(routes(route({"backendRefs": [to("v1", 3), to("v3")]}))[0]) == {"reviews-v1": 3, "reviews-v3": 1}


def test_an_entry_at_0_gets_nothing() -> None:
    refs = [to("v1", 10), to("v3", 0), to("v2", 20)]
    assert shares(routes(route({"backendRefs": refs}))[0]) == {"reviews-v1": 10, "reviews-v2": 20}


@pytest.mark.parametrize("refs", [[to("v3", 0)], [to("v1", 0), to("v3", 0)], []])
def test_where_all_is_0_the_answer_is_500(refs: list[Json]) -> None:
    """Also for a single one: to a VirtualService that would be all of the traffic."""
    (found,) = routes(route({"backendRefs": refs}))
    assert found["direct_response"]["status"] == 500
    assert "route" not in found


def test_a_backend_that_is_not_there_keeps_its_share_as_500() -> None:
    """Envoy finds no such cluster, and says 500 where a VirtualService's says 503."""
    (found,) = routes(route({"backendRefs": [to("v1", 80), to("v9", 20)]}))
    assert shares(found) == {"reviews-v1": 80, "reviews-v9": 20}
    assert found["route"]["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"
    names = {each["name"] for each in made(route({"backendRefs": [to("v9")]})).clusters}
    assert not any("reviews-v9" in each for each in names)


# Matches and their order


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ({}, {"prefix": "/"}),
        ({"path": {"type": "PathPrefix", "value": "/a/"}}, {"path_separated_prefix": "/a"}),
        ({"path": {"value": "/a"}}, {"path_separated_prefix": "/a"}),
        ({"path": {"type": "Exact", "value": "/a/"}}, {"path": "/a/"}),
        ({"path": {"type": "RegularExpression", "value": "/a.*"}}, {"safe_regex": {"regex": "/a.*"}}),
        (
            {"method": "GET", "headers": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]},
            {
                "prefix": "/",
                "headers": [
                    {"name": "x", "string_match": {"exact": "1"}},
                    {"name": ":method", "string_match": {"exact": "GET"}},
                ],
            },
        ),
        (
            {"queryParams": [{"name": "q", "type": "RegularExpression", "value": "a+"}]},
            {"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"safe_regex": {"regex": "a+"}}}]},
        ),
    ],
)
def test_a_match_becomes_envoys(match: Json, wanted: Json) -> None:
    assert routes(route({"matches": [match], "backendRefs": [to("v1")]}))[0]["match"] == wanted


def test_what_asks_for_more_comes_first_whatever_the_order() -> None:
    """The order of the list, which decides in a VirtualService, is only the last tie-break."""
    wanted: list[Json] = [
        {"path": {"type": "Exact", "value": "/a"}},
        {"path": {"value": "/a/long"}},
        {"path": {"value": "/a"}, "method": "GET"},
        {"path": {"value": "/a"}, "headers": [{"name": "x", "value": "1"}, {"name": "y", "value": "1"}]},
        {
            "path": {"value": "/a"},
            "headers": [{"name": "x", "value": "1"}],
            "queryParams": [{"name": "q", "value": "1"}],
        },
        {"path": {"value": "/a"}, "headers": [{"name": "x", "value": "2"}]},
        {"path": {"value": "/a"}},
        {"path": {"type": "RegularExpression", "value": "/a.*long"}},
    ]
    sorted_out = [each["match"] for each in routes(route({"matches": wanted, "backendRefs": [to("v1")]}))]
    assert len(sorted_out) == len(wanted)
    assert [each["match"] for each in routes(route({"matches": wanted[::-1], "backendRefs": [to("v1")]}))] == sorted_out


def test_equals_go_by_age_then_namespace_and_name_then_the_list() -> None:
    headers = {"matches": [{"headers": [{"name": "x", "value": "1"}]}]}

    def rule(version: str) -> Json:
        return {**headers, "backendRefs": [to(version)]}

    young, old = route(rule("v1"), name="a", born=2), route(rule("v2"), rule("v3"), name="b", born=1)
    assert [list(shares(each)) for each in routes(young, old)] == [["reviews-v2"], ["reviews-v3"], ["reviews-v1"]]
    one, other = route(rule("v1"), name="b"), route(rule("v2"), name="a")
    assert [list(shares(each)) for each in routes(one, other)] == [["reviews-v2"], ["reviews-v1"]]


def test_of_two_namespaces_the_name_of_the_namespace_decides() -> None:
    """Where Istio's own kinds would look at the object's name first."""
    parents = [{**GATEWAY_PARENT, "namespace": "default"}]
    open_to_all = gateway(listener(allowedRoutes={"namespaces": {"from": "All"}}))
    refs = [to("v1", namespace="default")], [to("v2", namespace="default")]
    one = route({"backendRefs": refs[0]}, name="z", namespace="a", parents=parents)
    other = route({"backendRefs": refs[1]}, name="a", namespace="b", parents=parents)
    grants = [grant(each, "default") for each in ("a", "b")]
    assert list(shares(entrance(open_to_all, other, one, *grants)["*"][0])) == ["reviews-v1"]


@pytest.mark.parametrize(("born", "wins"), [("2025-01-01T00:00:00Z", "reviews-v3"), (NOW, "reviews-v1")])
def test_a_virtual_service_of_the_same_host_wins_if_it_is_older(born: str, wins: str) -> None:
    """
    Nothing is merged: mixing both for one host is a trap, and a preflight should say so.

    For clients of the route's own namespace it is worse: there the HTTPRoute wins whatever its age.
    """
    virtual = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default", "creationTimestamp": born},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews-v3"}}]}]},
    }
    both = virtual, route({"backendRefs": [to("v1")]})
    elsewhere = routes(*both, proxy=Proxy(namespace="other"), domain="reviews.default")
    assert [list(shares(each)) for each in elsewhere] == [[wins]]
    assert [list(shares(each)) for each in routes(*both)] == [["reviews-v1"]]


def test_a_request_that_no_rule_matches_is_refused() -> None:
    """With 404: an attached route replaces what the Service would have done by itself."""
    found = routes(route({"matches": [{"path": {"value": "/a"}}], "backendRefs": [to("v1")]}))
    assert [each["match"] for each in found] == [{"path_separated_prefix": "/a"}]


def test_a_rule_is_named_by_its_place_or_by_its_name() -> None:
    rules = [
        {"matches": [{"path": {"value": "/a"}}], "backendRefs": [to("v1")]},
        {"name": "rest", "backendRefs": [to("v1")]},
    ]
    assert [each["name"] for each in routes(route(*rules))] == ["default.reviews.0", "rest"]


# Filters, timeouts, retries


def with_filters(*filters: Json, **rule: Any) -> Json:
    body = {"filters": list(filters), "backendRefs": [to("v1")], **rule}
    return routes(route(body))[0]


def test_headers_are_changed_on_both_ways_and_for_one_backend() -> None:
    changes = {
        "add": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}],
        "set": [{"name": "b", "value": "3"}],
        "remove": ["c"],
    }
    found = with_filters(
        {"type": "RequestHeaderModifier", "requestHeaderModifier": changes},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes},
    )
    for way in ("request", "response"):
        added = {each["header"]["key"]: each["header"]["value"] for each in found[f"{way}_headers_to_add"]}
        assert added == {"x-a": "1", "b": "3"}
        assert found[f"{way}_headers_to_remove"] == ["c"]
    own = to("v3", filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": changes["set"]}}])
    split = routes(route({"backendRefs": [to("v1"), own]}))[0]["route"]["weighted_clusters"]["clusters"]
    assert ["request_headers_to_add" in each for each in split] == [False, True]


@pytest.mark.parametrize(
    ("redirect", "wanted"),
    [
        (
            {"hostname": "b.example.com"},
            {"host_redirect": "b.example.com", "port_redirect": 9080, "response_code": "MOVED_PERMANENTLY"},
        ),
        ({"scheme": "https", "statusCode": 302}, {"scheme_redirect": "https", "response_code": "FOUND"}),
        (
            {"port": 8443, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}},
            {"port_redirect": 8443, "path_redirect": "/x", "response_code": "MOVED_PERMANENTLY"},
        ),
        (
            {"port": 1, "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}},
            {"port_redirect": 1, "prefix_rewrite": "/x", "response_code": "MOVED_PERMANENTLY"},
        ),
    ],
)
def test_a_redirect_needs_no_backend(redirect: Json, wanted: Json) -> None:
    """Without a port of its own it keeps that of the request, unless it changes the scheme."""
    assert with_filters({"type": "RequestRedirect", "requestRedirect": redirect}, backendRefs=[])["redirect"] == wanted


@pytest.mark.parametrize(
    ("rewrite", "wanted"),
    [
        ({"hostname": "b"}, {"host_rewrite_literal": "b"}),
        ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x/"}}, {"prefix_rewrite": "/x"}),
        (
            {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
            {"regex_rewrite": {"pattern": {"regex": "^/a(/?)(.*)"}, "substitution": "/\\2"}},
        ),
        (
            {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}},
            {"regex_rewrite": {"pattern": {"regex": "/.*"}, "substitution": "/x"}},
        ),
    ],
)
def test_a_rewrite_becomes_envoys(rewrite: Json, wanted: Json) -> None:
    match = {"path": {"value": "/a"}}
    action = with_filters({"type": "URLRewrite", "urlRewrite": rewrite}, matches=[match])["route"]
    assert {key: value for key, value in action.items() if "rewrite" in key} == wanted


def test_a_mirror_gets_its_share_of_copies() -> None:
    def mirror(**more: Any) -> Json:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": to("v3"), **more}}

    action = with_filters(mirror(), mirror(percent=80), mirror(fraction={"numerator": 4, "denominator": 8}))["route"]
    fractions = [each["runtime_fraction"]["default_value"] for each in action["request_mirror_policies"]]
    units = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
    assert [each["numerator"] / units[each["denominator"]] for each in fractions] == [1, 0.8, 0.5]


def test_timeouts_and_retries() -> None:
    """`backendRequest` is the whole request's unless the rule retries; retries default to two."""
    assert with_filters(timeouts={"request": "2s", "backendRequest": "1s"})["route"]["timeout"] == "1s"
    assert with_filters(timeouts={"request": "2s"})["route"]["timeout"] == "2s"
    assert with_filters(timeouts={"request": "0s"})["route"]["timeout"] == "0s"
    action = with_filters(retry={"codes": [503]}, timeouts={"request": "2s", "backendRequest": "1s"})["route"]
    assert (action["timeout"], action["retry_policy"]["per_try_timeout"]) == ("2s", "1s")
    assert (action["retry_policy"]["num_retries"], action["retry_policy"]["retriable_status_codes"]) == (2, [503])
    assert "retry_policy" not in with_filters(retry={"attempts": 0})["route"]


# Parents


def test_a_producers_route_is_for_all_clients_and_a_consumers_for_its_own_and_first() -> None:
    producer = route({"backendRefs": [to("v1")]})
    parent = {**SERVICE_PARENT, "namespace": "default"}
    consumer = route(
        {"backendRefs": [to("v3", namespace="default")]}, name="mine", namespace="shop", born=9, parents=[parent]
    )
    shop, other = Proxy(namespace="shop"), Proxy(namespace="other")
    host = "reviews.default"
    assert [list(shares(each)) for each in routes(producer, consumer, proxy=shop, domain=host)] == [["reviews-v3"]]
    assert [list(shares(each)) for each in routes(producer, consumer, proxy=other, domain=host)] == [["reviews-v1"]]
    assert [list(shares(each)) for each in routes(consumer, proxy=other, domain=host)] == [["reviews"]]


def test_a_parents_port_is_that_of_the_service() -> None:
    found = route({"backendRefs": [to("v1")]}, parents=[{**SERVICE_PARENT, "port": 80}])
    assert [list(shares(each)) for each in routes(found)] == [["reviews"]]
    found["spec"]["parentRefs"][0]["port"] = 9080
    assert [list(shares(each)) for each in routes(found)] == [["reviews-v1"]]


def test_a_gateway_serves_its_routes_by_host() -> None:
    """A route for the Gateway does nothing in the mesh, and one for a Service nothing at the Gateway."""
    outside = route({"backendRefs": [to("v1")]}, parents=[GATEWAY_PARENT], hostnames=["a.example.com"])
    everything = route({"backendRefs": [to("v2")]}, name="rest", parents=[GATEWAY_PARENT])
    inside = route({"backendRefs": [to("v3")]}, name="mesh")
    found = entrance(gateway(), outside, everything, inside)
    assert {host: list(shares(one[0])) for host, one in found.items()} == {
        "a.example.com": ["reviews-v1"],
        "*": ["reviews-v2"],
    }
    assert [list(shares(each)) for each in routes(gateway(), outside, inside)] == [["reviews-v3"]]


def test_routes_of_one_host_are_merged_at_a_gateway() -> None:
    one = route({"backendRefs": [to("v1")]}, name="a", parents=[GATEWAY_PARENT])
    other = route(
        {"matches": [{"path": {"value": "/x"}}], "backendRefs": [to("v2")]}, name="b", born=2, parents=[GATEWAY_PARENT]
    )
    assert [list(shares(each)) for each in entrance(gateway(), one, other)["*"]] == [["reviews-v2"], ["reviews-v1"]]


def test_a_listener_keeps_its_hosts_from_broader_ones() -> None:
    """A route at a listener for everything does not get the hosts of a more specific listener of the same port."""
    both = gateway(listener("all"), listener("one", hostname="a.example.com"))
    broad = route(
        {"backendRefs": [to("v1")]},
        parents=[{**GATEWAY_PARENT, "sectionName": "all"}],
        hostnames=["a.example.com", "b.example.com"],
    )
    assert set(entrance(both, broad)) == {"b.example.com"}
    assert set(entrance(gateway(listener("all")), broad)) == {"a.example.com", "b.example.com"}


@pytest.mark.parametrize(
    ("allowed", "comes"),
    [
        ({}, False),
        ({"namespaces": {"from": "All"}}, True),
        ({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}}, True),
        ({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "other"}}}}, False),
    ],
)
def test_a_listener_takes_routes_of_the_namespaces_it_allows(allowed: Json, comes: bool) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "shop"}}}
    visitor = route(
        {"backendRefs": [to("v1", namespace="default")]},
        namespace="shop",
        parents=[{**GATEWAY_PARENT, "namespace": "default"}],
        hostnames=["a.example.com"],
    )
    objects = [gateway(listener(allowedRoutes=allowed)), visitor, namespace, grant("shop", "default")]
    assert ("a.example.com" in entrance(*objects)) == comes
    assert reasons(*objects)["Accepted"] == ("Accepted" if comes else "NotAllowedByListeners")


def test_a_backend_elsewhere_needs_a_grant_at_a_gateway_but_not_in_the_mesh() -> None:
    """Without one its share is answered with 500, as for one that is not there."""
    far = [service("far", "shop")]
    refs = [{"name": "far", "namespace": "shop", "port": 9080}, to("v1")]
    outside = route({"backendRefs": refs}, parents=[GATEWAY_PARENT])
    assert list(shares(entrance(gateway(), outside, *far)["*"][0])) == ["UnknownService", "reviews-v1"]
    for permit in (grant("default", "shop"), grant("default", "shop", "far")):
        assert list(shares(entrance(gateway(), outside, permit, *far)["*"][0])) == ["far", "reviews-v1"]
    for other in (grant("default", "shop", "near"), grant("elsewhere", "shop"), grant("default", "default")):
        assert list(shares(entrance(gateway(), outside, other, *far)["*"][0])) == ["UnknownService", "reviews-v1"]
    assert list(shares(routes(route({"backendRefs": refs}), *far)[0])) == ["far", "reviews-v1"]


def test_another_controllers_gateway_is_none_of_ours() -> None:
    foreign = gateway(gatewayClassName="nginx")
    found = route({"backendRefs": [to("v1")]}, parents=[GATEWAY_PARENT])
    assert made(foreign, found, proxy=INGRESS).routes == {}
    assert status(foreign, found) == []


# Status


def status(*objects: Json) -> list[Json]:
    told = route_statuses(Registry.of([*SERVICES, *objects]), NOW)
    return next(iter(told.values()), {"parents": []})["parents"]


def reasons(*objects: Json) -> dict[str, str]:
    (parent,) = status(*objects)
    return {each["type"]: each["reason"] for each in parent["conditions"]}


def test_a_valid_route_is_told_so_with_its_generation() -> None:
    (parent,) = status(route({"backendRefs": [to("v1")]}))
    assert (parent["parentRef"], parent["controllerName"]) == (SERVICE_PARENT, "istio.io/gateway-controller")
    assert parent["conditions"] == [
        {
            "type": kind,
            "status": "True",
            "reason": kind,
            "message": message,
            "observedGeneration": 3,
            "lastTransitionTime": NOW,
        }
        for kind, message in (("Accepted", "Route was valid"), ("ResolvedRefs", "All references resolved"))
    ]


@pytest.mark.parametrize(
    ("ref", "reason", "message"),
    [
        (to("v9"), "BackendNotFound", "backend(reviews-v9.default.svc.cluster.local) not found"),
        (to("v1", kind="Secret"), "InvalidKind", 'referencing unsupported backendRef: group "" kind "Secret"'),
        ({"name": "reviews-v1"}, "InvalidDestination", "port is required in backendRef"),
        (
            {"name": "a.b", "port": 1},
            "InvalidDestination",
            "service name invalid; the name of the Service must be used",
        ),
        (to("v1", filters=[{"type": "URLRewrite"}]), "InvalidFilter", 'unsupported filter type "URLRewrite"'),
    ],
)
def test_a_backend_that_does_not_resolve_is_told(ref: Json, reason: str, message: str) -> None:
    (parent,) = status(route({"backendRefs": [ref]}))
    accepted, resolved = parent["conditions"]
    assert (accepted["status"], resolved["status"], resolved["reason"]) == ("True", "False", reason)
    assert message in resolved["message"]


def test_what_is_wrong_but_no_backend_leaves_the_whole_route_without_effect() -> None:
    broken = route({"backendRefs": [to("v3")]}, {"matches": [{"path": {"type": "Glob"}}], "backendRefs": [to("v1")]})
    assert [list(shares(each)) for each in routes(broken)] == [["reviews"]]
    assert reasons(broken)["ResolvedRefs"] == "InvalidConfiguration"


@pytest.mark.parametrize(
    ("parent", "hostnames", "reason"),
    [
        ({**SERVICE_PARENT, "name": "nobody"}, [], "NoMatchingParent"),
        ({**GATEWAY_PARENT, "port": 81}, [], "NoMatchingParent"),
        ({**GATEWAY_PARENT, "sectionName": "other"}, [], "NoMatchingParent"),
        (GATEWAY_PARENT, ["b.example.org"], "NoMatchingListenerHostname"),
        (GATEWAY_PARENT, ["x.example.com"], "Accepted"),
        (GATEWAY_PARENT, ["*.com"], "Accepted"),
    ],
)
def test_a_parent_that_does_not_take_the_route_says_why(parent: Json, hostnames: list[str], reason: str) -> None:
    found = route({"backendRefs": [to("v1")]}, parents=[parent], hostnames=hostnames)
    assert reasons(gateway(listener(hostname="*.example.com")), found)["Accepted"] == reason


def test_each_parent_is_told_of() -> None:
    found = route(
        {"backendRefs": [to("v1")]}, parents=[SERVICE_PARENT, {**GATEWAY_PARENT, "port": 81}, {"name": "none"}]
    )
    told = {each["parentRef"]["name"]: each["conditions"][0] for each in status(gateway(), found)}
    assert {name: each["reason"] for name, each in told.items()} == {"reviews": "Accepted", "gw": "NoMatchingParent"}
    assert told["gw"]["message"] == "port 81 not found"


def test_a_backend_that_gets_nothing_need_not_be_there() -> None:
    assert reasons(route({"backendRefs": [to("v1"), to("v9", 0)]}))["ResolvedRefs"] == "ResolvedRefs"


def test_a_listener_of_another_kind_says_so() -> None:
    only_grpc = gateway(listener(allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]}))
    assert reasons(only_grpc, route({}, parents=[GATEWAY_PARENT]))["Accepted"] == "NotAllowedByListeners"


def test_one_listener_that_takes_it_is_enough() -> None:
    """Istio tells of the listeners that fit, not of those that do not."""
    two = gateway(listener(), listener("second", port=8080), listener("other", hostname="a.org"))
    found = route({"backendRefs": [to("v1")]}, parents=[GATEWAY_PARENT], hostnames=["b.example.com"])
    (parent,) = status(two, found)
    assert parent["conditions"][0]["message"] == "Route was valid, bound to 2 parents"


def test_a_status_that_is_right_is_not_written_again_and_keeps_its_time() -> None:
    found = route({"backendRefs": [to("v1")]})
    foreign = {"controllerName": "example.com/other", "parentRef": {"name": "x"}, "conditions": []}
    found["status"] = {"parents": [foreign]}
    registry = Registry.of([*SERVICES, found])
    told = route_statuses(registry, NOW)["default", "reviews"]
    assert foreign in told["parents"]
    found["status"] = told
    assert route_statuses(Registry.of([*SERVICES, found]), "later") == {}
    changed = copy.deepcopy(found)
    changed["metadata"]["generation"] = 4
    changed["spec"]["rules"][0]["backendRefs"] = [to("v9")]
    (own,) = (
        each
        for each in route_statuses(Registry.of([*SERVICES, changed]), "later")["default", "reviews"]["parents"]
        if each != foreign
    )
    accepted, resolved = own["conditions"]
    assert (accepted["observedGeneration"], accepted["lastTransitionTime"]) == (4, NOW)
    assert (resolved["status"], resolved["lastTransitionTime"]) == ("False", "later")


def test_what_istio_does_and_the_lab_does_not_is_refused() -> None:
    with pytest.raises(
        Rejected, match=r"HTTPRoute default/reviews, rules\[0\]: `sessionPersistence` is not translated"
    ):
        made(route({"backendRefs": [to("v1")], "sessionPersistence": {"type": "Cookie"}}))


# Over real objects


def corpus_routes(corpus: Path) -> list[tuple[str, Json]]:
    found = []
    for place in sorted((corpus / "gatewayapi").glob("*.yaml")):
        each = yaml.safe_load(place.read_text())
        if each["kind"] == "HTTPRoute":
            found.append((place.name, each))
    return found


def around(each: Json) -> list[Json]:
    """The parents and backends that a route names, with grants for all of them."""
    own = each["metadata"].get("namespace", "default")
    found: dict[tuple[str, str, str], Json] = {}
    for parent in each["spec"].get("parentRefs") or []:
        namespace = parent.get("namespace", own)
        if parent.get("kind", "Gateway") == "Gateway":
            open_to_all = {"namespaces": {"from": "All"}}
            wanted = listener(parent.get("sectionName", "http"), port=parent.get("port", 80), allowedRoutes=open_to_all)
            found["Gateway", namespace, parent["name"]] = gateway(wanted, name=parent["name"], namespace=namespace)
        else:
            found["Service", namespace, parent["name"]] = service(parent["name"], namespace)
    for rule in each["spec"].get("rules") or []:
        for ref in rule.get("backendRefs") or []:
            namespace = ref.get("namespace", own)
            found["Service", namespace, ref["name"]] = service(ref["name"], namespace)
            found["Grant", namespace, own] = grant(own, namespace)
    return list(found.values())


def corpus_translations(corpus: Path) -> list[tuple[str, list[Translation]]]:
    done = []
    for name, each in corpus_routes(corpus):
        registry = Registry.of([each, *around(each)])
        home = Proxy(namespace=each["metadata"].get("namespace", "default"))
        done.append((name, [translate(registry, proxy, WIRING) for proxy in (home, INGRESS)]))
    return done


def test_every_route_of_the_corpus_is_translated_or_its_status_says_why_not(corpus: Path) -> None:
    done = corpus_translations(corpus)
    assert len(done) >= 50
    effective = 0
    for name, each in corpus_routes(corpus):
        told = route_statuses(Registry.of([each, *around(each)]), NOW).values()
        conditions = [one for state in told for parent in state["parents"] for one in parent["conditions"]]
        ours = [one for one in conditions if one.get("type") in ("Accepted", "ResolvedRefs")]
        named = [
            one for one in each["spec"].get("parentRefs") or [] if one.get("kind", "Gateway") in ("Gateway", "Service")
        ]
        assert bool(ours) == bool(named), name
        assert all(one["message"] and one["status"] in ("True", "False") for one in ours), name
        effective += bool(ours) and all(one["status"] == "True" for one in ours)
    assert effective >= 35


@pytest.mark.lab
@pytest.mark.xdist_group("lab-routes")
def test_envoy_accepts_every_route_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    """And one that it does not take, so that its silence means something."""
    tables = [
        table
        for _, translations in corpus_translations(corpus)
        for each in translations
        for table in each.routes.values()
        if any(host["routes"] for host in table["virtual_hosts"])
    ]
    assert len(tables) >= 40
    assert complaint(tmp_path, tables=tables) == ""
    broken = copy.deepcopy(tables[0])
    broken["virtual_hosts"][0]["routes"][0]["match"] = {"safe_regex": {"regex": "("}}
    assert "missing )" in complaint(tmp_path, tables=[broken])

"""The Gateway API in the lab: defaults, bounds and rules of its definitions, which is all there is (no webhook)."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab.kubernetes import ApiError, Cluster
from canaryd.lab.kubernetes.gatewayapi import GATEWAY_API_RESOURCES, GROUP
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.resources import Registry

Object = dict[str, Any]


def create(kind: str, spec: Object, version: str = "v1") -> Object:
    cluster = Cluster()
    obj = {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": "under-test"}, "spec": spec}
    resource = cluster.registry.of(obj)
    namespace = "default" if resource.namespaced else ""
    return cluster.create(resource, namespace, obj, Options(version=version, validation="Strict")).object


def causes(kind: str, spec: Object) -> dict[str, str]:
    with pytest.raises(ApiError) as refusal:
        create(kind, spec)
    assert refusal.value.code == 422, refusal.value.message
    return {cause["field"]: cause["message"] for cause in refusal.value.details["causes"]}


def rule(**fields: Any) -> Object:
    return {"rules": [fields]}


def backend(**fields: Any) -> Object:
    return {"name": "reviews-v1", "port": 9080, **fields}


def test_what_a_route_leaves_out_is_filled_in() -> None:
    """Above all the weight: 1 where it is missing, and not 0 as in a VirtualService."""
    spec = create("HTTPRoute", {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [backend()]}]})["spec"]
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    assert spec["parentRefs"] == [{"group": GROUP, "kind": "Gateway", "name": "gw"}]
    assert spec["rules"] == [
        {"matches": [everything], "backendRefs": [{"group": "", "kind": "Service", "weight": 1, **backend()}]}
    ]
    assert create("HTTPRoute", {})["spec"]["rules"] == [{"matches": [everything]}]
    match = create("HTTPRoute", rule(matches=[{"path": {"value": "/a"}, "headers": [{"name": "a", "value": "b"}]}]))
    assert match["spec"]["rules"][0]["matches"] == [
        {
            "path": {"type": "PathPrefix", "value": "/a"},
            "headers": [{"type": "Exact", "name": "a", "value": "b"}],
        }
    ]


def test_weights_that_are_all_zero_are_accepted() -> None:
    """Istio then answers 500 itself; a VirtualService of that kind would be refused."""
    create("HTTPRoute", rule(backendRefs=[backend(weight=0), backend(name="reviews-v2", weight=0)]))
    create("TCPRoute", rule(backendRefs=[backend(weight=0)]))


def test_a_new_gateway_waits_for_its_controller() -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    found = create("Gateway", {"gatewayClassName": "istio", "listeners": [listener]})
    assert [(one["type"], one["status"], one["reason"]) for one in found["status"]["conditions"]] == [
        ("Accepted", "Unknown", "Pending"),
        ("Programmed", "Unknown", "Pending"),
    ]
    assert found["spec"]["listeners"] == [{**listener, "allowedRoutes": {"namespaces": {"from": "Same"}}}]
    assert "status" not in create("HTTPRoute", {})


def only(field: str, message: str) -> dict[str, str]:
    return {field: message}


def invalid(field: str, message: str) -> dict[str, str]:
    return {field: f"Invalid value: {message}"}


def listening(*listeners: Object) -> Object:
    return {"gatewayClassName": "istio", "listeners": list(listeners)}


FIRST = "spec.rules[0]"
BACKEND = f"{FIRST}.backendRefs[0]"
FILTER = f"{FIRST}.filters[0]"
PATH = f"{FIRST}.matches[0].path"
LITERAL = "when type one of ['Exact', 'PathPrefix']"
PREFIX = "with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
SHORTER = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
PARENT = {"name": "gw"}
MANY = [{"path": {"value": f"/{number}"}} for number in range(64)]
REFUSED: list[tuple[str, Object, dict[str, str]]] = [
    (
        "HTTPRoute",
        rule(backendRefs=[backend(weight=-1)]),
        invalid(f"{BACKEND}.weight", f"-1: {BACKEND}.weight in body should be greater than or equal to 0"),
    ),
    (
        "HTTPRoute",
        rule(backendRefs=[backend(weight=1_000_001)]),
        invalid(f"{BACKEND}.weight", f"1000001: {BACKEND}.weight in body should be less than or equal to 1000000"),
    ),
    ("HTTPRoute", rule(backendRefs=[{"port": 80}]), only(f"{BACKEND}.name", "Required value")),
    ("HTTPRoute", rule(backendRefs=[{"name": "a"}]), invalid(BACKEND, "Must have port for Service reference")),
    (
        "HTTPRoute",
        rule(matches=[{"path": {"value": "a"}}]),
        invalid(PATH, f"value must be an absolute path and start with '/' {LITERAL}"),
    ),
    ("HTTPRoute", rule(matches=[{"path": {"value": "/a//b"}}]), invalid(PATH, f"must not contain '//' {LITERAL}")),
    ("HTTPRoute", rule(matches=[{"path": {"value": "/a/.."}}]), invalid(PATH, f"must not end with '/..' {LITERAL}")),
    (
        "HTTPRoute",
        rule(matches=[{"path": {"value": "/a b"}}]),
        invalid(
            PATH,
            "must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) "
            "for types ['Exact', 'PathPrefix']",
        ),
    ),
    (
        "HTTPRoute",
        rule(matches=[{"method": "get"}]),
        only(
            f"{FIRST}.matches[0].method",
            'Unsupported value: "get": supported values: "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", '
            '"OPTIONS", "TRACE", "PATCH"',
        ),
    ),
    (
        "HTTPRoute",
        {"rules": [{"matches": MANY}] * 3},
        invalid(
            "spec.rules",
            "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a "
            "route must be less than 128",
        ),
    ),
    (
        "HTTPRoute",
        rule(backendRefs=[backend()], filters=[{"type": "RequestRedirect", "requestRedirect": {}}]),
        invalid(FIRST, "RequestRedirect filter must not be used together with backendRefs"),
    ),
    (
        "HTTPRoute",
        rule(
            matches=[{"path": {"type": "Exact", "value": "/a"}}],
            filters=[{"type": "URLRewrite", "urlRewrite": {"path": SHORTER}}],
        ),
        invalid(FIRST, f"When using URLRewrite filter {PREFIX}"),
    ),
    (
        "HTTPRoute",
        rule(
            matches=[{}, {}],
            backendRefs=[backend(filters=[{"type": "URLRewrite", "urlRewrite": {"path": SHORTER}}])],
        ),
        invalid(FIRST, f"Within backendRefs, When using URLRewrite filter {PREFIX}"),
    ),
    (
        "HTTPRoute",
        rule(filters=[{"type": "URLRewrite"}]),
        invalid(FILTER, "filter.urlRewrite must be specified for URLRewrite filter.type"),
    ),
    (
        "HTTPRoute",
        rule(filters=[{"type": "CORS", "cors": {"allowMethods": ["*", "GET"]}}]),
        invalid(f"{FILTER}.cors.allowMethods", "AllowMethods cannot contain '*' alongside other methods"),
    ),
    (
        "HTTPRoute",
        rule(filters=[{"type": "URLRewrite", "urlRewrite": {}}, {"type": "RequestRedirect", "requestRedirect": {}}]),
        invalid(
            f"{FIRST}.filters",
            "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
        ),
    ),
    (
        "HTTPRoute",
        rule(filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": {}}] * 2),
        invalid(f"{FIRST}.filters", "RequestHeaderModifier filter cannot be repeated"),
    ),
    (
        "HTTPRoute",
        rule(filters=[{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath"}}}]),
        invalid(f"{FILTER}.urlRewrite.path", "replaceFullPath must be specified when type is set to 'ReplaceFullPath'"),
    ),
    (
        "HTTPRoute",
        rule(
            filters=[
                {
                    "type": "RequestMirror",
                    "requestMirror": {"backendRef": backend(), "percent": 1, "fraction": {"numerator": 1}},
                }
            ]
        ),
        invalid(
            f"{FILTER}.requestMirror", "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter"
        ),
    ),
    (
        "HTTPRoute",
        rule(
            filters=[
                {"type": "RequestMirror", "requestMirror": {"backendRef": backend(), "fraction": {"numerator": 101}}}
            ]
        ),
        invalid(f"{FILTER}.requestMirror.fraction", "numerator must be less than or equal to denominator"),
    ),
    (
        "HTTPRoute",
        rule(timeouts={"request": "1s", "backendRequest": "1500ms"}),
        invalid(f"{FIRST}.timeouts", "backendRequest timeout cannot be longer than request timeout"),
    ),
    (
        "HTTPRoute",
        {"parentRefs": [PARENT, PARENT]},
        invalid(
            "spec.parentRefs",
            "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent",
        ),
    ),
    (
        "HTTPRoute",
        {"parentRefs": [PARENT, {**PARENT, "sectionName": "http"}]},
        invalid(
            "spec.parentRefs",
            "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent",
        ),
    ),
    (
        "GRPCRoute",
        rule(matches=[{"method": {}}]),
        invalid(f"{FIRST}.matches[0].method", "One or both of 'service' or 'method' must be specified"),
    ),
    (
        "GRPCRoute",
        rule(matches=[{"method": {"method": "a-b"}}]),
        invalid(
            f"{FIRST}.matches[0].method",
            "method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)",
        ),
    ),
    ("TCPRoute", {}, only("spec.rules", "Required value")),
    ("TCPRoute", rule(), only(f"{FIRST}.backendRefs", "Required value")),
    (
        "TLSRoute",
        {"hostnames": ["10.0.0.1"], **rule(backendRefs=[backend()])},
        invalid("spec.hostnames", "Hostnames cannot contain an IP"),
    ),
    (
        "Gateway",
        listening(
            {"name": "a", "port": 80, "protocol": "HTTP", "tls": {"mode": "Passthrough"}},
        ),
        invalid("spec.listeners", "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}}),
        invalid("spec.listeners", "tls mode must be Terminate for protocol HTTPS"),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 443, "protocol": "HTTPS", "tls": {}}),
        invalid(
            "spec.listeners[0].tls",
            '"object": no such key: certificateRefs evaluating rule: '
            "certificateRefs or options must be specified when mode is Terminate",
        ),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 443, "protocol": "TLS"}),
        invalid("spec.listeners", "tls mode must be set for protocol TLS"),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 80, "protocol": "TCP", "hostname": "a.b"}),
        invalid("spec.listeners", "hostname must not be specified for protocols ['TCP', 'UDP']"),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "a", "port": 81, "protocol": "HTTP"}),
        invalid("spec.listeners", "Listener name must be unique within the Gateway"),
    ),
    (
        "Gateway",
        listening({"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 80, "protocol": "HTTP"}),
        invalid("spec.listeners", "Combination of port, protocol and hostname must be unique for each listener"),
    ),
    (
        "ReferenceGrant",
        {"from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "a"}]},
        only("spec.to", "Required value"),
    ),
    ("GatewayClass", {}, only("spec.controllerName", "Required value")),
]


@pytest.mark.parametrize(("kind", "spec", "wanted"), REFUSED)
def test_what_is_refused_and_where(kind: str, spec: Object, wanted: dict[str, str]) -> None:
    found = causes(kind, spec)
    assert wanted.items() <= found.items()


def test_a_seventeenth_backend_is_refused() -> None:
    create("HTTPRoute", rule(backendRefs=[backend()] * 16))
    assert f"{FIRST}.backendRefs" in causes("HTTPRoute", rule(backendRefs=[backend()] * 17))


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("HTTPRoute", rule(matches=[{"path": {"type": "RegularExpression", "value": "a//b"}}])),
        ("HTTPRoute", rule(backendRefs=[{"name": "a", "kind": "Hostname", "group": "networking.istio.io"}])),
        ("HTTPRoute", rule(timeouts={"request": "0s", "backendRequest": "1s"})),
        ("HTTPRoute", {"parentRefs": [{**PARENT, "port": 80}, {**PARENT, "port": 81}]}),
        ("HTTPRoute", {"rules": [{"matches": MANY}] * 2}),
        ("HTTPRoute", rule(filters=[{"type": "URLRewrite", "urlRewrite": {"path": SHORTER}}])),
        ("GRPCRoute", rule(matches=[{"method": {"service": ".a.B_c"}}])),
        ("TLSRoute", {"hostnames": ["*.a.b"], **rule(backendRefs=[backend()])}),
        ("Gateway", listening({"name": "a", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}})),
        ("GatewayClass", {"controllerName": "istio.io/gateway-controller"}),
    ],
)
def test_what_is_accepted(kind: str, spec: Object) -> None:
    create(kind, spec)


def test_both_versions_show_one_object() -> None:
    cluster = Cluster()
    obj = {"apiVersion": f"{GROUP}/v1beta1", "kind": "HTTPRoute", "metadata": {"name": "a"}, "spec": {}}
    resource = cluster.registry.of(obj)
    cluster.create(resource, "default", obj, Options(version="v1beta1"))
    assert cluster.get(resource, "default", "a")["apiVersion"] == f"{GROUP}/v1"


def test_the_kinds_are_served_with_their_short_names() -> None:
    served = {
        one.kind: (one.versions, one.short_names, one.namespaced, one.has_status) for one in GATEWAY_API_RESOURCES
    }
    assert served == {
        "GatewayClass": (("v1", "v1beta1"), ("gc",), False, True),
        "Gateway": (("v1", "v1beta1"), ("gtw",), True, True),
        "HTTPRoute": (("v1", "v1beta1"), (), True, True),
        "GRPCRoute": (("v1",), (), True, True),
        "TCPRoute": (("v1",), (), True, True),
        "TLSRoute": (("v1",), (), True, True),
        "ReferenceGrant": (("v1beta1", "v1"), ("refgrant",), True, False),
    }


def test_istios_gateway_is_still_the_one_meant_by_its_bare_name() -> None:
    registry: Registry = Cluster().registry
    assert registry.by_kind("Gateway").group == "networking.istio.io"
    assert registry.by_kind(f"gateways.{GROUP}").kind == "Gateway"

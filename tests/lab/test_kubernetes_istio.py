"""Istio's schemas in the lab: what an API server refuses before the webhook sees it, where, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab.kubernetes import ApiError, Cluster
from canaryd.lab.kubernetes.istio import ISTIO_RESOURCES
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.validations import NOT_CHECKED, rule

Object = dict[str, Any]
TO_REVIEWS = [{"destination": {"host": "reviews"}}]
GROUPS = {"PeerAuthentication": "security.istio.io"}


def create(kind: str, spec: Any, validation: str = "Strict") -> Object:
    cluster = Cluster()
    group = GROUPS.get(kind, "networking.istio.io")
    obj = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "under-test"}, "spec": spec}
    return cluster.create(cluster.registry.of(obj), "default", obj, Options(validation=validation)).object


def causes(kind: str, spec: Any) -> dict[str, str]:
    """Field and message of each cause of a 422."""
    with pytest.raises(ApiError) as refusal:
        create(kind, spec)
    assert refusal.value.code == 422, refusal.value.message
    found = {cause["field"]: cause["message"] for cause in refusal.value.details["causes"]}
    if found.get("<nil>") == NOT_CHECKED.message:
        found.pop("<nil>")
    return found


def entry(**fields: Any) -> Object:
    return {"hosts": ["reviews"], "http": [{"route": TO_REVIEWS, **fields}]}


def wrong_type(field: str, wanted: str, found: str) -> dict[str, str]:
    return {field: f'Invalid value: "{found}": {field} in body must be of type {wanted}: "{found}"'}


ONE_OF = "must validate one and only one schema (oneOf). Found 2 valid alternatives"
UNREAD = "Invalid value: \"string\": type conversion error from 'string' to 'google.protobuf.Duration' evaluating rule:"
NO_DURATION = "must be a valid duration greater than 1ms"


def one_of(field: str) -> dict[str, str]:
    return {"<nil>": f'Invalid value: "": "{field}" {ONE_OF}'}


REFUSED: list[tuple[str, Any, dict[str, str]]] = [
    ("VirtualService", {"hosts": "reviews"}, wrong_type("spec.hosts", "array", "string")),
    ("VirtualService", {"http": [None]}, wrong_type("spec.http[0]", "object", "null")),
    (
        "VirtualService",
        {"http": [{"route": [{"weight": "50", "destination": {"host": "a"}}]}]},
        wrong_type("spec.http[0].route[0].weight", "integer", "string"),
    ),
    (
        "VirtualService",
        {"http": [{"route": [{"weight": 50.5, "destination": {"host": "a"}}]}]},
        wrong_type("spec.http[0].route[0].weight", "integer", "number"),
    ),
    ("VirtualService", {"http": [{"route": [{}]}]}, {"spec.http[0].route[0].destination": "Required value"}),
    (
        "VirtualService",
        {"http": [{"route": [{"destination": {}}]}]},
        {"spec.http[0].route[0].destination.host": "Required value"},
    ),
    (
        "VirtualService",
        {"tls": [{"match": [{}]}, {}]},
        {"spec.tls[0].match[0].sniHosts": "Required value", "spec.tls[1].match": "Required value"},
    ),
    (
        "VirtualService",
        entry(match=[{"port": -1}]),
        {
            "spec.http[0].match[0].port": "Invalid value: -1: "
            "spec.http[0].match[0].port in body should be greater than or equal to 0"
        },
    ),
    (
        "VirtualService",
        entry(match=[{"uri": {"exact": "/", "prefix": "/"}}]),
        one_of("spec.http[0].match[0].uri"),
    ),
    (
        "VirtualService",
        entry(match=[{"headers": {"end-user": {"exact": "a", "regex": "a"}}}]),
        one_of("spec.http[0].match[0].headers.end-user"),
    ),
    (
        "VirtualService",
        {"http": [{"redirect": {"port": 1, "derivePort": "FROM_REQUEST_PORT"}}]},
        one_of("spec.http[0].redirect"),
    ),
    (
        "VirtualService",
        entry(fault={"abort": {"httpStatus": 500, "grpcStatus": "OK"}}),
        one_of("spec.http[0].fault.abort"),
    ),
    (
        "VirtualService",
        entry(corsPolicy={"unmatchedPreflights": "DROP"}),
        {
            "spec.http[0].corsPolicy.unmatchedPreflights": 'Unsupported value: "DROP": '
            'supported values: "UNSPECIFIED", "FORWARD", "IGNORE"'
        },
    ),
    ("VirtualService", entry(timeout="0s"), {"spec.http[0].timeout": f'Invalid value: "0s": {NO_DURATION}'}),
    ("VirtualService", entry(timeout="soon"), {"spec.http[0].timeout": f"{UNREAD} {NO_DURATION}"}),
    ("DestinationRule", {}, {"spec.host": "Required value"}),
    ("DestinationRule", {"host": "a", "subsets": [{}]}, {"spec.subsets[0].name": "Required value"}),
    (
        "DestinationRule",
        {"host": "a", "trafficPolicy": {"tls": {"mode": "strict"}}},
        {
            "spec.trafficPolicy.tls.mode": 'Unsupported value: "strict": '
            'supported values: "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"'
        },
    ),
    (
        "DestinationRule",
        {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM", "consistentHash": {}}}},
        one_of("spec.trafficPolicy.loadBalancer"),
    ),
    (
        "DestinationRule",
        {"host": "a", "trafficPolicy": {"loadBalancer": {"warmup": {"minimumPercent": 101}}}},
        {
            "spec.trafficPolicy.loadBalancer.warmup.duration": "Required value",
            "spec.trafficPolicy.loadBalancer.warmup.minimumPercent": "Invalid value: 101: "
            "spec.trafficPolicy.loadBalancer.warmup.minimumPercent in body should be less than or equal to 100",
        },
    ),
    (
        "DestinationRule",
        {"host": "a", "workloadSelector": {"matchLabels": {"a*": "b", "c": "*"}}},
        {
            "spec.workloadSelector.matchLabels": "Invalid value: wildcard not allowed in label key match",
            "spec.workloadSelector.matchLabels[c]": 'Invalid value: "*": wildcard not allowed in label value match',
        },
    ),
    (
        "Gateway",
        {"servers": [{"hosts": ["a.b"], "port": {"number": 443}}]},
        {"spec.servers[0].port.protocol": "Required value", "spec.servers[0].port.name": "Required value"},
    ),
    (
        "Gateway",
        {
            "servers": [
                {
                    "hosts": ["a.b"],
                    "port": {"number": 443, "protocol": "HTTPS", "name": "a"},
                    "tls": {"credentialName": "a", "credentialNames": ["b"]},
                }
            ]
        },
        {"spec.servers[0].tls": "Invalid value: only one of credentialName or credentialNames can be set"},
    ),
    ("ServiceEntry", {}, {"spec.hosts": "Required value"}),
    ("ServiceEntry", {"hosts": ["*"]}, {"spec.hosts[0]": 'Invalid value: "*": hostname cannot be wildcard'}),
    (
        "ServiceEntry",
        {
            "hosts": ["a.b"],
            "addresses": ["10.0.0.0/8"],
            "resolution": "DNS_ROUND_ROBIN",
            "endpoints": [{"address": "unix://x/", "ports": {"http": 80}}, {"ports": {"a_b": 0}}],
            "ports": [{"number": 80, "name": "a"}, {"number": 80, "name": "b", "targetPort": 65536}],
        },
        {
            "spec": "Invalid value: DNS_ROUND_ROBIN mode cannot have multiple endpoints",
            "spec.endpoints[0]": "Invalid value: UDS may not include ports",
            "spec.endpoints[0].address": 'Invalid value: "unix://x/": UDS may not be a dir',
            "spec.endpoints[1]": "Invalid value: Address is required",
            "spec.endpoints[1].ports": "Invalid value: port name must be valid",
            "spec.endpoints[1].ports[a_b]": "Invalid value: 0: port must be between 1-65535",
            "spec.ports": "Invalid value: port number cannot be duplicated",
            "spec.ports[1].targetPort": "Invalid value: 65536: port must be between 1-65535",
        },
    ),
    (
        "ServiceEntry",
        {"hosts": ["a.b"], "endpoints": [], "workloadSelector": {}},
        {"spec": "Invalid value: NONE mode cannot set endpoints"},
    ),
    ("Sidecar", {"egress": [{}]}, {"spec.egress[0].hosts": "Required value"}),
    (
        "PeerAuthentication",
        {"portLevelMtls": {}},
        {
            "spec.portLevelMtls": "Invalid value: 0: spec.portLevelMtls in body should have at least 1 properties",
            "spec": "Invalid value: portLevelMtls requires selector",
        },
    ),
    (
        "PeerAuthentication",
        {"portLevelMtls": {"0": {}}},
        {
            "spec": "Invalid value: portLevelMtls requires selector",
            "spec.portLevelMtls": "Invalid value: port must be between 1-65535",
        },
    ),
    (
        "PeerAuthentication",
        {"mtls": {"mode": "ON"}},
        {"spec.mtls.mode": 'Unsupported value: "ON": supported values: "UNSET", "DISABLE", "PERMISSIVE", "STRICT"'},
    ),
]


@pytest.mark.parametrize(("kind", "spec", "wanted"), REFUSED)
def test_what_the_schema_refuses_and_where(kind: str, spec: Any, wanted: dict[str, str]) -> None:
    assert causes(kind, spec) == wanted


def test_rules_wait_for_what_they_take_for_granted() -> None:
    """A missing or mistyped value hides them, a number out of bounds does not."""
    server = {"hosts": ["a.b"], "tls": {"credentialName": "a", "credentialNames": ["b"]}}
    with pytest.raises(ApiError) as refusal:
        create("Gateway", {"servers": [server]})
    assert [(cause["field"], cause["message"]) for cause in refusal.value.details["causes"]] == [
        ("spec.servers[0].port", "Required value"),
        ("<nil>", NOT_CHECKED.message),
    ]
    port = {"number": -1, "protocol": "HTTPS", "name": "a"}
    assert set(causes("Gateway", {"servers": [{**server, "port": port}]})) == {
        "spec.servers[0].port.number",
        "spec.servers[0].tls",
    }


def test_two_groups_of_alternatives_are_told_as_all_of_both() -> None:
    """A consistent hash has one source and one algorithm; a second source is told with both messages."""
    found = {"useSourceIp": True, "httpHeaderName": "x-user", "maglev": {"tableSize": 65537}}
    with pytest.raises(ApiError) as refusal:
        create("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": found}}})
    path = '"spec.trafficPolicy.loadBalancer.consistentHash"'
    assert [cause["message"] for cause in refusal.value.details["causes"]] == [
        f'Invalid value: "": {path} {ONE_OF}',
        f'Invalid value: "": {path} must validate all the schemas (allOf)',
    ]
    found.pop("useSourceIp")
    create("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"consistentHash": found}}})


def test_negative_weights_pass_the_schema() -> None:
    """There are no bounds on weights: the webhook stops these, and where it is absent nothing does."""
    with pytest.raises(ApiError) as refusal:
        create("VirtualService", entry(route=[{**TO_REVIEWS[0], "weight": -1}]))
    assert refusal.value.code == 400
    assert refusal.value.message.endswith("configuration is invalid: weight -1 < 0")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("VirtualService", entry(mirrorPercent=None, retries={"retryRemoteLocalities": None})),
        ("VirtualService", entry(match=[{"headers": {"a": {}}}])),
        ("DestinationRule", {"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"idleTimeout": "0s"}}}}),
        ("DestinationRule", {"host": "a", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": None}}}),
        ("PeerAuthentication", {"portLevelMtls": {"80": {}}, "selector": {"matchLabels": {"app": "a"}}}),
    ],
)
def test_what_looks_odd_and_is_right(kind: str, spec: Object) -> None:
    create(kind, spec)


def test_a_policys_unknown_fields_are_named_or_pruned() -> None:
    spec = {"host": "a", "trafficPolicy": {"tls": {"mode": "SIMPLE", "sin": "a"}}}
    with pytest.raises(ApiError, match=r'unknown field "spec\.trafficPolicy\.tls\.sin"') as refusal:
        create("DestinationRule", spec)
    assert refusal.value.code == 400
    stored = create("DestinationRule", spec, validation="Ignore")["spec"]
    assert stored == {"host": "a", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}


def test_every_kind_is_served_as_its_definition_says() -> None:
    versions = {one.kind: one.versions for one in ISTIO_RESOURCES}
    for kind in ("PeerAuthentication", "AuthorizationPolicy", "RequestAuthentication"):
        assert versions.pop(kind) == ("v1", "v1beta1")
    assert versions.pop("Telemetry") == ("v1", "v1alpha1")
    assert {versions.pop(kind) for kind in ("EnvoyFilter", "WasmPlugin")} == {("v1alpha3",), ("v1alpha1",)}
    assert versions.pop("ProxyConfig") == ("v1beta1",)
    assert set(versions.values()) == {("v1", "v1beta1", "v1alpha3")}
    assert {one.kind for one in ISTIO_RESOURCES if not one.has_status} == set()


def test_a_rule_that_nothing_checks_is_an_error() -> None:
    with pytest.raises(KeyError):
        rule("must shine", "shines")

"""
What the checks take for in force is what the lab's istiod does, which was written by itself from Istio's source.

Two readings of the same rules that agree on whatever is drawn; where they do not, one of them is wrong.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.kube import DESTINATION_RULES
from canaryd.lab.istiod import authentication, destinationrules, policy
from canaryd.lab.istiod import ports as lab_ports
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.preflight import ports, tls
from canaryd.preflight.kinds import PEER_AUTHENTICATIONS
from canaryd.preflight.rules import Client, rule_for
from canaryd.preflight.survey import Survey
from tests.preflight.stage import plan

Object = dict[str, Any]
FULL = "reviews.default.svc.cluster.local"
PLACES = ("default", "shop", "istio-system")
OFTEN = ("default", "default", *PLACES)
"""Where rules stand: mostly where they meet others."""
LABELS: list[Object] = [{"app": "page"}, {"app": "shop", "version": "v1"}, {}]
POLICIES: list[Object] = [
    {"tls": {"mode": "DISABLE"}},
    {"loadBalancer": {"simple": "RANDOM"}},
    {"portLevelSettings": [{"port": {"number": 9080}, "tls": {"mode": "ISTIO_MUTUAL"}}]},
    {"connectionPool": {"tcp": {"maxConnections": 1}}, "tls": {"mode": "SIMPLE"}},
]
ages = st.integers(1, 4).map(lambda day: f"2026-01-0{day}T00:00:00Z")


@st.composite
def destination_rules(draw: st.DrawFn) -> Object:
    names = draw(st.lists(st.sampled_from(["v1", "v2", "v3"]), unique=True, max_size=3))
    drawn = st.none() | st.sampled_from(POLICIES)
    subsets = [
        {"name": name, "labels": {"version": draw(st.sampled_from(["v1", "v3"]))}}
        | ({"trafficPolicy": chosen} if (chosen := draw(drawn)) else {})
        for name in names
    ]
    spec: Object = {"host": draw(st.sampled_from(["reviews", FULL, "*.local", "*.default.svc.cluster.local", "*"]))}
    if draw(st.booleans()):
        spec["subsets"] = subsets
    if chosen := draw(drawn):
        spec["trafficPolicy"] = chosen
    if draw(st.integers(0, 3)) == 0:
        spec["workloadSelector"] = {"matchLabels": draw(st.sampled_from(LABELS[:2]))}
    elif exported := draw(st.sampled_from([None, ["*"], ["."], ["shop"], ["default", "shop"], [".", "istio-system"]])):
        spec["exportTo"] = exported
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": draw(st.sampled_from(OFTEN)), "creationTimestamp": draw(ages)},
        "spec": spec,
    }


@settings(max_examples=500, deadline=None)
@given(st.lists(destination_rules(), max_size=5), st.sampled_from(PLACES), st.sampled_from(LABELS))
def test_each_caller_sees_the_rule_that_istiod_gives_it(rules: list[Object], place: str, labels: Object) -> None:
    for number, rule in enumerate(rules):
        rule["metadata"]["name"] = f"rule-{number}"
    known = Registry.of(rules).destination_rules
    theirs = destinationrules.rule_for(FULL, "default", known, Proxy(namespace=place, labels=labels))
    ours = rule_for(Survey(plan(), objects={DESTINATION_RULES: rules}), FULL, Client(place, labels))
    assert {name: one.labels for name, one in ours.subsets.items()} == {
        name: one.labels for name, one in theirs.subsets.items()
    }
    for subset, port in product(["", *theirs.subsets], (9080, 8080)):
        assert ours.blocks(subset, port) == dict(policy.policy_for(theirs, subset, port).blocks)


@st.composite
def peer_authentications(draw: st.DrawFn) -> Object:
    modes = st.sampled_from(
        [None, {}, {"mode": "UNSET"}, *({"mode": one} for one in ("STRICT", "PERMISSIVE", "DISABLE"))]
    )
    spec: Object = {}
    if mtls := draw(modes):
        spec["mtls"] = mtls
    if selected := draw(st.sampled_from([None, {"app": "reviews"}, {"version": "v3"}, {"app": "else"}])):
        spec["selector"] = {"matchLabels": selected}
        if mtls := draw(modes):
            spec["portLevelMtls"] = {"9080": mtls}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"namespace": draw(st.sampled_from(OFTEN)), "creationTimestamp": draw(ages)},
        "spec": spec,
    }


@settings(max_examples=500, deadline=None)
@given(st.lists(peer_authentications(), max_size=5), st.sampled_from([9080, 8080]))
def test_a_pod_accepts_what_its_sidecar_is_told_to(policies: list[Object], port: int) -> None:
    for number, each in enumerate(policies):
        each["metadata"]["name"] = f"policy-{number}"
    pod = {
        "metadata": {"name": "pod", "namespace": "default", "labels": {"app": "reviews", "version": "v3"}},
        "spec": {"containers": [{"name": "istio-proxy"}]},
    }
    ours = tls.accepted(Survey(plan(), objects={PEER_AUTHENTICATIONS: policies}), pod, port)
    assert ours.mode == authentication.mtls_mode(Registry.of(policies), pod, port)


@pytest.mark.parametrize("number", [80, 53, 3306])
def test_a_port_is_taken_for_what_istiod_takes_it(number: int) -> None:
    names = [
        "",
        "http",
        "http-web",
        "HTTP-web",
        "httpx",
        "grpc",
        "grpc-web-ui",
        "tcp-x",
        "tls",
        "https-x",
        "mongo",
        "web",
    ]
    said = [None, "http", "grpc", "tcp", "kubernetes.io/h2c", "kubernetes.io/wss", "example.com/own"]
    for name, app in product(names, said):
        port = {"port": number, **({"name": name} if name else {}), **({"appProtocol": app} if app else {})}
        assert ports.protocol_of(port) == lab_ports.protocol_of(port)

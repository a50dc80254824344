"""What of the route bends the evidence, and that it can be taken out for as long as a run lasts."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.preflight import evidence
from canaryd.preflight.heard import Caller, Heard
from tests.preflight.objects import changed, entry_with, istio
from tests.preflight.stage import Town, plan

Object = dict[str, Any]
EJECTING = {"outlierDetection": {"consecutive5xxErrors": 5}}
HASHING = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
HOST = "reviews.default.svc.cluster.local"


def subsets(**policies: Object) -> list[Object]:
    return [
        {"name": each, "labels": {"version": each}} | ({"trafficPolicy": policies[each]} if each in policies else {})
        for each in bookinfo.VERSIONS
    ]


def rule(town: Town, **spec: Any) -> None:
    changed(town, "DestinationRule", "reviews", **spec)


def kept(town: Town) -> Object:
    found = town.cluster.find("DestinationRule", "default", "reviews")
    assert found is not None
    return dict(found["spec"])


# -- DestinationRules


@pytest.mark.parametrize(
    "spec",
    [
        {"trafficPolicy": EJECTING},
        {"trafficPolicy": {**EJECTING, "connectionPool": {"tcp": {"maxConnections": 9}}}},
        {"trafficPolicy": {"portLevelSettings": [{"port": {"number": 9080}, **EJECTING}]}},
        {"subsets": subsets(v1=EJECTING, v3=EJECTING)},
    ],
    ids=["alone", "beside-others", "of-a-port", "of-subsets"],
)
def test_ejection_hides_a_sick_canary(town: Town, spec: Object) -> None:
    """Every place where it may be written; an empty policy would be refused, so nothing empty is left behind."""
    rule(town, **spec)
    while found := [one for one in town.found(evidence) if one.code == "EjectionHidesHarm"]:
        assert found[0].where == "DestinationRule default/reviews"
        town.type(found[0].remedy)
    assert "outlierDetection" not in str(kept(town))
    assert kept(town).get("trafficPolicy") != {}


def test_with_one_canary_pod_ejection_leaves_nobody(town: Town) -> None:
    rule(town, trafficPolicy=EJECTING)
    assert "has one only" not in town.found(evidence)[0].sentence
    changed(town, "Deployment", "reviews-v3", replicas=1)
    assert "has one only" in town.cured(evidence, "EjectionHidesHarm").sentence


@pytest.mark.parametrize(
    "spec",
    [
        {"trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 0}}},
        {"subsets": subsets(v2=EJECTING)},
        {"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}},
    ],
    ids=["counts-nothing", "of-another-version", "tls-is-another-groups"],
)
def test_policies_that_do_not_touch_what_is_measured_are_no_findings(town: Town, spec: Object) -> None:
    rule(town, **spec)
    assert town.codes(evidence) == []


def test_the_rule_in_a_callers_namespace_is_the_one_that_counts(town: Town) -> None:
    town.apply(bookinfo.namespace("shops"))
    spec = {"host": HOST, "subsets": subsets(), "trafficPolicy": EJECTING}
    town.apply(istio("DestinationRule", "reviews", spec, "shops"))
    assert town.codes(evidence) == []
    town.heard = Heard(callers=(Caller("shop", "shops", 1.0),))
    assert town.cured(evidence, "EjectionHidesHarm").where == "DestinationRule shops/reviews"


def test_sticky_users_are_no_independent_samples(town: Town) -> None:
    rule(town, trafficPolicy=HASHING)
    assert "httpHeaderName" in town.cured(evidence, "StickyUsers").sentence
    assert "trafficPolicy" not in kept(town)


def test_a_load_balancer_keeps_what_is_not_the_hash(town: Town) -> None:
    locality = {"enabled": True, "failover": [{"from": "eu", "to": "us"}]}
    rule(town, trafficPolicy={"loadBalancer": {**HASHING["loadBalancer"], "localityLbSetting": locality}})
    town.cured(evidence, "StickyUsers")
    assert town.codes(evidence) == ["LocalityPreferred"]
    assert kept(town)["trafficPolicy"]["loadBalancer"] == {"localityLbSetting": locality}


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"connectionPool": {"http": {"http1MaxPendingRequests": 1}}}, "PoolLimits"),
        ({"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "60s"}}}, "WarmsUp"),
        ({"loadBalancer": {"simple": "LEAST_REQUEST", "warmupDurationSecs": "60s"}}, "WarmsUp"),
        (
            {"loadBalancer": {"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone"]}}},
            "LocalityPreferred",
        ),
    ],
)
def test_what_is_good_to_know_of_a_policy_is_said(town: Town, policy: Object, code: str) -> None:
    rule(town, trafficPolicy=policy)
    [found] = town.found(evidence)
    assert (found.code, found.level) == (code, "info")


def test_the_meshs_locality_is_said(town: Town) -> None:
    mesh(town, "localityLbSetting: {failover: [{from: eu, to: us}]}")
    assert town.codes(evidence) == ["LocalityPreferred"]


# -- the entry


def mesh(town: Town, text: str) -> None:
    meta = {"name": "istio", "namespace": "istio-system"}
    town.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": text}})


@pytest.mark.parametrize("retry_on", ["5xx", "gateway-error,connect-failure", "503", "connect-failure,502"])
def test_retries_of_answers_cover_failures(town: Town, retry_on: str) -> None:
    entry_with(town, retries={"attempts": 2, "perTryTimeout": "1s", "retryOn": retry_on})
    found = town.cured(evidence, "RetriesCoverFailures")
    assert "callers see 0.1 %" in found.sentence
    retries = town.cluster.find("VirtualService", "default", "reviews")
    assert retries is not None
    assert retries["spec"]["http"][0]["retries"]["perTryTimeout"] == "1s"


@pytest.mark.parametrize(
    "retries",
    [
        {"attempts": 3},
        {"attempts": 0},
        {"attempts": 3, "retryOn": "connect-failure,refused-stream"},
        {"attempts": 3, "retryOn": "retriable-4xx,409"},
    ],
)
def test_retries_of_what_no_pod_has_taken_cover_nothing(town: Town, retries: Object) -> None:
    entry_with(town, retries=retries)
    assert town.codes(evidence) == []


def test_the_meshs_retries_count_where_the_entry_says_nothing(town: Town) -> None:
    mesh(town, "defaultHttpRetryPolicy: {attempts: 3, retryOn: '5xx'}")
    assert "callers see 0.01 %" in town.cured(evidence, "RetriesCoverFailures").sentence
    entry_with(town, retries={"attempts": 0})
    assert town.codes(evidence) == []


def test_a_timeout_below_an_objective_makes_it_idle(town: Town) -> None:
    checks = [{"name": "slo", "metric": "latency", "within": "5s", "atLeast": "99%"}]
    town.plan = plan(analysis={"checks": checks}, acceptUnproven="objectives only")
    entry_with(town, timeout="2.5s")
    [found] = town.found(evidence)
    assert (found.code, found.where) == ("TimeoutBelowObjective", "spec.analysis.checks.0")
    assert "2s500ms" in found.sentence
    entry_with(town, timeout="1m")
    assert town.codes(evidence) == []


def route(**more: Object) -> list[Object]:
    return [
        {"destination": {"host": "reviews", "subset": each}, "weight": weight} | more.get(each, {})
        for each, weight in (("v1", 100), ("v3", 0))
    ]


def test_headers_for_one_version_only_are_said(town: Town) -> None:
    headers = {"headers": {"request": {"set": {"x-canary": "true"}}}}
    entry_with(town, route=route(v3=headers))
    [found] = town.found(evidence)
    assert (found.code, found.level) == ("HeadersDiffer", "info")
    entry_with(town, route=route(v1=headers, v3=headers))
    assert town.codes(evidence) == []


def hosts(stable: str, canary: str) -> list[Object]:
    return [{"destination": {"host": stable, "subset": "v1"}, "weight": 100},
            {"destination": {"host": canary, "subset": "v3"}, "weight": 0}]  # fmt: skip


def test_one_host_written_in_two_ways_is_said(town: Town) -> None:
    entry_with(town, route=hosts("reviews", HOST))
    assert town.cured(evidence, "HostFormsDiffer").level == "info"
    entry_with(town, route=hosts("reviews", "reviews"))
    assert town.codes(evidence) == []


@pytest.mark.parametrize("host", ["reviews.default", "reviews.default.svc"])
def test_a_host_with_some_of_its_dots_is_no_service(town: Town, host: str) -> None:
    entry_with(town, route=hosts(host, host))
    assert HOST in town.cured(evidence, "HostIncomplete").sentence


@pytest.mark.parametrize(("kind", "key"), [("VirtualService", "hosts"), ("DestinationRule", "host")])
def test_what_is_for_a_host_with_some_of_its_dots_is_not_in_force(town: Town, kind: str, key: str) -> None:
    changed(town, kind, "reviews", **{key: ["reviews.default"] if key == "hosts" else "reviews.default"})
    found = town.cured(evidence, "HostIncomplete")
    assert found.where == f"{kind} default/reviews"


def test_a_name_with_a_dot_that_is_no_service_is_right_as_it_is(town: Town) -> None:
    changed(town, "VirtualService", "reviews", hosts=["reviews", "reviews.com"])
    town.apply(istio("DestinationRule", "outside", {"host": "reviews.com"}))
    assert town.codes(evidence) == []


# -- what a delegate inherits


def delegated(town: Town, **root: Any) -> None:
    """`reviews` is a delegate, of a root whose entry has more in it."""
    changed(town, "VirtualService", "reviews", hosts=None)
    entry = {"delegate": {"name": "reviews"}, **root}
    town.apply(istio("VirtualService", "root", {"hosts": ["reviews"], "http": [entry]}))


ABORT = {"abort": {"httpStatus": 500, "percentage": {"value": 10}}}


def test_a_roots_fault_is_counted_as_the_versions(town: Town) -> None:
    delegated(town, fault=ABORT)
    found = town.cured(evidence, "FaultFromRoot")
    assert (found.level, found.where) == ("error", "VirtualService default/root http[0]")


def test_a_root_without_a_fault_bends_nothing(town: Town) -> None:
    delegated(town, timeout="3s")
    assert town.codes(evidence) == []


def test_a_roots_retries_and_timeout_count_where_the_delegate_has_none(town: Town) -> None:
    checks = [{"name": "slo", "metric": "latency", "within": "5s", "atLeast": "99%"}]
    town.plan = plan(analysis={"checks": checks}, acceptUnproven="objectives only")
    delegated(town, timeout="3s", retries={"attempts": 1, "retryOn": "5xx"})
    assert sorted(town.codes(evidence)) == ["RetriesCoverFailures", "TimeoutBelowObjective"]
    assert town.cured(evidence, "RetriesCoverFailures").where == "VirtualService default/root http[0]"
    entry_with(town, timeout="10s")
    assert town.codes(evidence) == []

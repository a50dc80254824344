"""What callers send against what the pods accept, and what scraping gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.kube import DESTINATION_RULES
from canaryd.lab import bookinfo
from canaryd.preflight import tls
from canaryd.preflight.kinds import PEER_AUTHENTICATIONS
from tests.preflight.stage import Town, plan

Object = dict[str, Any]


def policy(mode: str, *, name: str = "default", home: str = "default", **spec: Any) -> Object:
    found = bookinfo.peer_authentication(mode)
    found["metadata"] |= {"name": name, "namespace": home}
    found["spec"] |= spec
    return found


def secured(mode: str, *, subset: str = "", port: int = 0, **more: Any) -> Object:
    """The rule of reviews with a `tls` block: of the whole, of a subset, or of a port."""
    found = bookinfo.destination_rule()
    block: Object = {"tls": {"mode": mode, **more}}
    if port:
        block = {"portLevelSettings": [{"port": {"number": port}, **block}]}
    place = next((one for one in found["spec"]["subsets"] if one["name"] == subset), found["spec"])
    place["trafficPolicy"] = block
    return found


def test_auto_mtls_always_fits(town: Town) -> None:
    for mode in ("STRICT", "PERMISSIVE", "DISABLE"):
        town.apply(policy(mode))
        assert town.found(tls) == []


@pytest.mark.parametrize(
    "rule",
    [secured("DISABLE"), secured("SIMPLE"), secured("DISABLE", subset="v3"), secured("DISABLE", port=9080)],
    ids=["whole", "simple", "subset", "port"],
)
def test_plain_text_toward_strict_is_taken_out_where_it_is_written(town: Town, rule: Object) -> None:
    town.apply(rule)
    found = [one for one in town.found(tls) if one.code == "PlainTowardStrict"]
    assert {one.level for one in found} == {"error"}
    assert {one.where for one in found} == {"DestinationRule default/reviews"}
    assert "STRICT by PeerAuthentication default/default" in found[0].sentence
    assert "productpage-v1.default, istio-ingressgateway.istio-system" in found[0].sentence
    town.type(found[0].remedy)
    assert town.found(tls) == []


def test_what_stands_beside_the_tls_block_stays(town: Town) -> None:
    rule = secured("DISABLE", subset="v3")
    rule["spec"]["subsets"][2]["trafficPolicy"]["loadBalancer"] = {"simple": "RANDOM"}
    town.apply(rule)
    town.cured(tls, "PlainTowardStrict")
    found = town.cluster.find("DestinationRule", "default", "reviews")
    assert found
    assert found["spec"]["subsets"][2]["trafficPolicy"] == {"loadBalancer": {"simple": "RANDOM"}}


def test_the_settings_of_other_ports_stay(town: Town) -> None:
    rule = secured("DISABLE", subset="v3", port=9080)
    settings = rule["spec"]["subsets"][2]["trafficPolicy"]["portLevelSettings"]
    other = {"port": {"number": 8080}, "tls": {"mode": "DISABLE"}}
    settings.insert(0, other)
    town.apply(rule)
    town.cured(tls, "PlainTowardStrict")
    found = town.cluster.find("DestinationRule", "default", "reviews")
    assert found
    assert found["spec"]["subsets"][2]["trafficPolicy"] == {"portLevelSettings": [other]}


def test_plain_text_toward_permissive_is_taken(town: Town) -> None:
    town.apply(secured("DISABLE"), policy("PERMISSIVE"))
    assert town.found(tls) == []


def test_the_settings_of_another_port_do_not_count(town: Town) -> None:
    town.apply(secured("DISABLE", port=8080))
    assert town.found(tls) == []


def test_a_workloads_own_policy_beats_its_namespaces(town: Town) -> None:
    town.apply(secured("DISABLE"), policy("PERMISSIVE"))
    town.apply(policy("STRICT", name="canary", selector={"matchLabels": {"version": "v3"}}))
    finding = town.cured(tls, "PlainTowardStrict")
    assert "canary v3, whose pods have STRICT by PeerAuthentication default/canary" in finding.sentence


@pytest.mark.parametrize(("port", "found"), [(9080, 0), (8080, 1)])
def test_a_port_of_a_workloads_policy_beats_the_workload(town: Town, port: int, found: int) -> None:
    mode = {"portLevelMtls": {str(port): {"mode": "PERMISSIVE"}}}
    town.apply(secured("DISABLE", subset="v3"))
    town.apply(policy("STRICT", name="canary", selector={"matchLabels": {"version": "v3"}}, **mode))
    assert len(town.found(tls)) == found


def test_the_meshs_policy_holds_where_the_namespace_says_nothing(town: Town) -> None:
    town.apply(secured("DISABLE", subset="v3"), policy("STRICT", home="istio-system"))
    town.apply({**policy(""), "spec": {}})
    assert "STRICT by PeerAuthentication istio-system/default" in town.cured(tls, "PlainTowardStrict").sentence


def test_of_two_policies_the_older_holds(town: Town) -> None:
    town.apply(secured("DISABLE", subset="v3"))
    seen = town.survey()
    [strict] = seen.all(PEER_AUTHENTICATIONS)
    for year, found in (("2025", 0), ("2027", 1)):
        other = policy("PERMISSIVE", name="a")
        other["metadata"]["creationTimestamp"] = f"{year}-01-01T00:00:00Z"
        both = {**seen.objects, PEER_AUTHENTICATIONS: (other, strict)}
        assert len(list(tls.check(replace(seen, objects=both)))) == found


def test_mutual_tls_toward_pods_that_refuse_it(town: Town) -> None:
    town.apply(secured("ISTIO_MUTUAL", subset="v3"))
    assert town.found(tls) == []
    town.apply(policy("DISABLE"))
    finding = town.cured(tls, "MutualTowardPlain")
    assert finding.level == "error"


def test_mutual_tls_toward_pods_without_a_sidecar(town: Town) -> None:
    deployment = bookinfo.deployment("reviews", "v3", 2)
    deployment["spec"]["template"]["metadata"]["labels"] = {
        **deployment["spec"]["template"]["metadata"]["labels"],
        "sidecar.istio.io/inject": "false",
    }
    town.apply(secured("ISTIO_MUTUAL"), deployment)
    finding = town.cured(tls, "MutualTowardPlain")
    assert "to canary v3, whose pods have no sidecar" in finding.sentence


def test_pods_in_ambient_mode_take_mutual_tls_at_their_node(town: Town) -> None:
    labels = {"istio.io/dataplane-mode": "ambient"}
    town.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": labels}})
    deployment = bookinfo.deployment("reviews", "v3", 2)
    deployment["spec"]["template"]["metadata"]["annotations"] = {"mode": "ambient"}
    town.apply(secured("ISTIO_MUTUAL"), deployment)
    assert town.found(tls) == []


def test_certificates_of_ones_own_toward_the_meshs(town: Town) -> None:
    own = {
        "clientCertificate": "/etc/own/cert.pem",
        "privateKey": "/etc/own/key.pem",
        "caCertificates": "/etc/own/ca.pem",
    }
    town.apply(secured("MUTUAL", subset="v3", **own))
    assert town.cured(tls, "OwnCertificates").level == "warning"
    town.apply(secured("MUTUAL", subset="v3", **own), policy("PERMISSIVE"))
    assert town.found(tls) == []


def test_a_mesh_without_auto_mtls_sends_plain_text(town: Town) -> None:
    seen = replace(town.survey(), mesh={"enableAutoMtls": False})
    found = list(tls.check(seen))
    assert [one.code for one in found] == ["PlainTowardStrict"] * 2
    assert {one.remedy for one in found} == {""}
    assert not list(tls.check(replace(seen, mesh={"enableAutoMtls": True})))


def test_what_may_not_be_read_is_not_judged(town: Town) -> None:
    town.apply(secured("DISABLE"))
    for kind in (PEER_AUTHENTICATIONS, DESTINATION_RULES):
        assert not list(tls.check(replace(town.survey(), unread={kind: "forbidden"})))


# The application's own metrics


def scraped(town: Town, port: int = 9080, **marks: str) -> None:
    """Pods whose metrics are not merged: their annotations stay as the application's people wrote them."""
    for pod in town.pods(app="reviews", version="v3"):
        pod["metadata"]["annotations"] |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(port),
            "prometheus.istio.io/merge-metrics": "false",
            **marks,
        }
        town.cluster.apply(pod)


def test_the_applications_own_metrics_are_behind_mutual_tls(town: Town) -> None:
    scraped(town)
    finding = town.cured(tls, "MetricsBehindStrict")
    assert (finding.level, finding.where) == ("info", "pods of reviews-v3 in namespace default")


def test_a_plan_that_asks_promql_is_warned(town: Town) -> None:
    scraped(town)
    check = {"name": "queue", "metric": "promql", "query": "queue_length", "atMost": 10}
    town.plan = plan(analysis={"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}, check]})
    assert [one.level for one in town.found(tls)] == ["warning"]


@pytest.mark.parametrize(
    ("port", "marks"),
    [
        (15020, {}),
        (15090, {}),
        (9080, {"prometheus.istio.io/merge-metrics": "true"}),
        (9080, {"traffic.sidecar.istio.io/excludeInboundPorts": "8080,9080"}),
        (9080, {"prometheus.io/scrape": "false"}),
    ],
    ids=str,
)
def test_metrics_that_are_open(town: Town, port: int, marks: dict[str, str]) -> None:
    scraped(town, port, **marks)
    assert town.found(tls) == []


def test_metrics_at_a_permissive_port_are_open(town: Town) -> None:
    scraped(town)
    town.apply(policy("PERMISSIVE"))
    assert town.found(tls) == []


def test_the_mesh_may_merge_nothing(town: Town) -> None:
    scraped(town)
    for pod in town.pods(app="reviews", version="v3"):
        del pod["metadata"]["annotations"]["prometheus.istio.io/merge-metrics"]
        town.cluster.apply(pod)
    assert town.found(tls) == []
    found = list(tls.check(replace(town.survey(), mesh={"enablePrometheusMerge": False})))
    assert [one.code for one in found] == ["MetricsBehindStrict"]

"""Which DestinationRule each caller sees, and whether it treats both versions alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.kube import DESTINATION_RULES
from canaryd.lab import bookinfo
from canaryd.preflight import subsets
from canaryd.preflight.heard import Caller, Heard
from canaryd.preflight.rules import Client, rule_for
from tests.preflight.stage import HEARD, Town, plan

Object = dict[str, Any]
FULL = "reviews.default.svc.cluster.local"
LIMIT = {"connectionPool": {"http": {"http1MaxPendingRequests": 1}}}
ROBIN = {"loadBalancer": {"simple": "ROUND_ROBIN"}}


def rule(*versions: str, name: str = "reviews", home: str = "default", host: str = FULL, **spec: Any) -> Object:
    found = bookinfo.destination_rule("reviews", versions)
    found["metadata"] |= {"name": name, "namespace": home}
    found["spec"] |= {"host": host, **spec}
    if not versions:
        del found["spec"]["subsets"]
    return found


def with_policies(**policies: Object) -> Object:
    found = rule("v1", "v2", "v3")
    for subset in found["spec"]["subsets"]:
        if policy := policies.get(subset["name"]):
            subset["trafficPolicy"] = policy
    return found


def calling_from(town: Town, namespace: str, workload: str = "shop") -> None:
    town.heard = Heard(callers=(*HEARD.callers, Caller(workload, namespace, 5.0)))


def test_a_rule_that_all_callers_see_is_nothing_to_speak_of(town: Town) -> None:
    calling_from(town, "shop")
    assert town.found(subsets) == []


def test_a_rule_of_the_callers_namespace_lacks_the_canarys_subset(town: Town) -> None:
    town.apply(rule("v1", home="shop"))
    calling_from(town, "shop")
    finding = town.cured(subsets, "SubsetMissingForClients")
    assert finding.level == "error"
    assert finding.where == "DestinationRule shop/reviews"
    assert "shop.shop will get 503" in finding.sentence
    assert '"labels":{"version":"v3"}' in finding.remedy


def test_a_rule_without_any_subset_gets_its_first(town: Town) -> None:
    town.plan = plan(target={"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}})
    town.apply(rule(home="shop", trafficPolicy=ROBIN))
    calling_from(town, "shop")
    found = [one for one in town.found(subsets) if one.code == "SubsetMissingForClients"]
    assert [one.sentence.split(" ")[2] for one in found] == ["v1", "v3"]
    for _ in found:
        town.type(next(one.remedy for one in town.found(subsets) if one.code == "SubsetMissingForClients"))
    assert town.found(subsets) == []


def test_a_namespace_from_which_nobody_calls_is_admissions(town: Town) -> None:
    town.apply(rule("v1", home="shop"))
    assert town.found(subsets) == []


def test_a_wildcards_rule_hides_the_services(town: Town) -> None:
    """What people write for mutual TLS to everything takes every subset away from their namespace's callers."""
    town.apply(rule(home="shop", host="*.local", trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}}))
    calling_from(town, "shop")
    found = [one for one in town.found(subsets) if one.code == "SubsetMissingForClients"]
    assert len(found) == 2
    assert "a rule for *.local, which hides the service's own" in found[0].sentence
    assert not found[0].remedy


def test_a_gateway_in_the_root_namespace_does_not_see_its_rules_first(town: Town) -> None:
    """Otherwise the mesh's own defaults would be the gateways' only ones."""
    town.apply(rule(home="istio-system", host="*.local", trafficPolicy=ROBIN))
    assert town.found(subsets) == []


def test_a_rule_for_some_workloads_lacks_the_subset(town: Town) -> None:
    selector = {"matchLabels": {"app": "productpage"}}
    town.apply(rule("v1", name="special", workloadSelector=selector))
    found = [one for one in town.found(subsets) if one.code == "SubsetMissingForClients"]
    assert [one.where for one in found] == ["DestinationRule default/special"]
    assert "productpage-v1.default" in found[0].sentence
    town.cured(subsets, "SubsetMissingForClients")


def test_a_rule_for_other_workloads_is_not_the_callers(town: Town) -> None:
    town.apply(rule("v1", name="special", workloadSelector={"matchLabels": {"app": "somebody"}}))
    assert town.found(subsets) == []
    assert rule_for(town.survey(), "reviews", Client("default")).subsets.keys() == {"v1", "v2", "v3"}
    assert rule_for(town.survey(), "reviews", Client("default", {"app": "somebody"})).subsets.keys() == {"v1"}


@pytest.mark.parametrize("exported", [["."], ["bookinfo", "istio-system"]], ids=str)
def test_a_rule_that_is_kept_from_a_callers_namespace(town: Town, exported: list[str]) -> None:
    town.apply(rule("v1", "v2", "v3", exportTo=exported))
    town.heard = Heard(callers=(Caller("shop", "shop", 5.0),))
    [finding, _] = [one for one in town.found(subsets) if one.code == "RuleNotExported"]
    assert finding.level == "error"
    assert "namespace shop does not see it: it is not exported to it" in finding.sentence
    town.type(finding.remedy)
    assert town.found(subsets) == []


def test_a_rule_that_is_exported_to_the_caller(town: Town) -> None:
    town.apply(rule("v1", "v2", "v3", exportTo=[".", "shop", "istio-system"]))
    calling_from(town, "shop")
    assert town.found(subsets) == []


def test_the_meshs_default_keeps_rules_at_home(town: Town) -> None:
    mesh = {"mesh": "defaultDestinationRuleExportTo: ['.']\n"}
    about = {"name": "istio", "namespace": "istio-system"}
    town.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": mesh})
    found = [one for one in town.found(subsets) if one.code == "RuleNotExported"]
    assert [one.where for one in found] == ["DestinationRule default/reviews"] * 2
    town.type(found[0].remedy)
    assert town.found(subsets) == []


def test_of_two_subsets_of_a_name_one_does_nothing(town: Town) -> None:
    second = rule("v3", name="second")
    second["spec"]["subsets"][0]["labels"] = {"version": "v2"}
    town.apply(second)
    finding = town.cured(subsets, "SubsetTwice")
    assert finding.where == "DestinationRule default/second"
    assert "defines subset v3 as version=v2" in finding.sentence


@pytest.mark.parametrize("older", ["reviews", "another"])
def test_of_two_rules_the_older_stands_whatever_its_name(town: Town, older: str) -> None:
    town.apply(rule("v1", "v2", "v3", name="another", trafficPolicy=ROBIN))
    seen = town.survey()
    rules = [
        {
            **one,
            "metadata": {**one["metadata"], "creationTimestamp": f"202{5 + (one['metadata']['name'] != older)}-01-01"},
        }
        for one in seen.all(DESTINATION_RULES)
    ]
    found = rule_for(replace(seen, objects={DESTINATION_RULES: rules}), "reviews", Client("default"))
    assert found.subsets["v3"].rule["metadata"]["name"] == older


def test_the_same_subset_written_twice_harms_nobody(town: Town) -> None:
    town.apply(rule("v3", name="second"))
    assert town.found(subsets) == []


@pytest.mark.parametrize(
    "policies",
    [{"v3": LIMIT}, {"v1": LIMIT}, {"v1": LIMIT, "v3": ROBIN}],
    ids=["canary's", "stable's", "both"],
)
def test_policies_that_differ_are_made_the_same(town: Town, policies: dict[str, Object]) -> None:
    town.apply(with_policies(**policies))
    finding = town.cured(subsets, "PoliciesDiffer")
    assert finding.level == "warning"
    assert finding.where == "DestinationRule default/reviews"


def test_policies_for_another_port_do_not_count(town: Town) -> None:
    town.apply(with_policies(v3={"portLevelSettings": [{"port": {"number": 8080}, **LIMIT}]}))
    assert town.found(subsets) == []


def test_policies_for_the_port_count(town: Town) -> None:
    town.apply(with_policies(v3={"portLevelSettings": [{"port": {"number": 9080}, **LIMIT}]}))
    assert "connectionPool" in town.cured(subsets, "PoliciesDiffer").sentence


def test_what_a_subset_repeats_of_its_rule_is_no_difference(town: Town) -> None:
    found = with_policies(v3=ROBIN)
    found["spec"]["trafficPolicy"] = {**ROBIN, **LIMIT}
    town.apply(found)
    assert town.found(subsets) == []


def test_settings_for_a_port_inherit_nothing(town: Town) -> None:
    found = with_policies(v3={"portLevelSettings": [{"port": {"number": 9080}, **ROBIN}]})
    found["spec"]["trafficPolicy"] = {**ROBIN, **LIMIT}
    town.apply(found)
    seen = rule_for(town.survey(), "reviews", Client("default"))
    assert seen.blocks("v3", 9080).keys() == {"loadBalancer"}
    assert seen.blocks("v1", 9080).keys() == {"loadBalancer", "connectionPool"}
    assert "connectionPool" in town.cured(subsets, "PoliciesDiffer").sentence


def test_versions_that_are_services_of_their_own_have_rules_of_their_own(town: Town) -> None:
    hosts = {"virtualService": "reviews", "host": "reviews"}
    town.plan = plan(target={**hosts, "stable": {"host": "reviews-v1"}, "canary": {"host": "reviews-v3"}})
    for version in ("v1", "v3"):
        service = bookinfo.service()
        service["metadata"]["name"] = f"reviews-{version}"
        service["spec"]["selector"] = {"app": "reviews", "version": version}
        service["spec"].pop("clusterIP")
        town.apply(service)
    found = bookinfo.virtual_service({})
    found["spec"]["http"][0]["route"] = [
        {"destination": {"host": f"reviews-{version}"}, "weight": weight}
        for version, weight in (("v1", 100), ("v3", 0))
    ]
    town.apply(found)
    assert town.found(subsets) == []
    town.apply(rule(name="canary", host="reviews-v3", trafficPolicy=LIMIT))
    town.apply(rule(name="stable", host="reviews-v1", trafficPolicy=ROBIN))
    assert town.cured(subsets, "PoliciesDiffer").where == "DestinationRule default/canary"

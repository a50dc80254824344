"""Pods against weights, whoever scales them, and what a retreat finds."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.preflight import capacity
from tests.preflight.stage import Town, plan

Object = dict[str, Any]
KEDA = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def scaled(town: Town, **replicas: int) -> None:
    for version, number in replicas.items():
        town.apply(bookinfo.deployment("reviews", version, number))


def autoscaler(version: str, least: int, most: int, *, conditions: tuple[Object, ...] = (), **spec: Any) -> Object:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"reviews-{version}", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"reviews-{version}"},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [metric],
            **spec,
        },
        "status": {"currentReplicas": 2, "desiredReplicas": 2, "conditions": list(conditions)},
    }


def scaled_object(version: str, **spec: Any) -> Object:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": f"reviews-{version}", "namespace": "default"},
        "spec": {"scaleTargetRef": {"name": f"reviews-{version}"}, "triggers": [], **spec},
    }


def kedas_own(version: str) -> Object:
    """The HPA that KEDA makes from a ScaledObject."""
    found = autoscaler(version, 1, 100)
    reference = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": f"reviews-{version}", "uid": "1"}
    found["metadata"]["ownerReferences"] = [reference]
    return found


def test_as_many_pods_as_stable_has_are_enough(town: Town) -> None:
    assert town.found(capacity) == []


def test_one_pod_beside_many_takes_too_much_at_the_higher_weights(town: Town) -> None:
    scaled(town, v1=10, v3=1)
    finding = town.cured(capacity, "CanaryTooSmall")
    assert finding.level == "warning"
    assert finding.where == "pods of reviews-v3 in namespace default"
    assert finding.sentence == "at 25 % its one pod would take 2.5 times what each of stable's 10 takes today"
    assert finding.remedy == "kubectl scale deployment/reviews-v3 -n default --replicas=10"


def test_the_end_of_every_plan_is_the_whole(town: Town) -> None:
    scaled(town, v1=4, v3=2)
    assert "at 100 % each of 2 pods would take 2 times" in town.cured(capacity, "CanaryTooSmall").sentence


@pytest.mark.parametrize(("stable", "canary"), [(4, 3), (10, 7), (1, 5)])
def test_somewhat_fewer_pods_are_not_worth_a_word(town: Town, stable: int, canary: int) -> None:
    scaled(town, v1=stable, v3=canary)
    assert town.found(capacity) == []


def test_an_autoscaler_that_may_make_enough_pods_is_trusted(town: Town) -> None:
    scaled(town, v1=10, v3=1)
    town.apply(autoscaler("v3", 1, 10))
    assert town.found(capacity) == []


def test_an_autoscaler_that_may_not_is_raised(town: Town) -> None:
    scaled(town, v1=10, v3=1)
    town.apply(autoscaler("v3", 1, 3))
    finding = town.cured(capacity, "AutoscalerCapsCanary")
    assert finding.where == "HorizontalPodAutoscaler default/reviews-v3"
    assert "CanaryTooSmall" not in town.codes(capacity)


def test_an_autoscaler_that_takes_stables_pods_away(town: Town) -> None:
    scaled(town, v1=6, v3=6)
    town.apply(autoscaler("v1", 2, 10))
    finding = town.cured(capacity, "StableShrinks")
    assert "from 6 pods to 2" in finding.sentence
    assert finding.remedy == """kubectl patch hpa reviews-v1 -n default --type=merge -p '{"spec":{"minReplicas":6}}'"""


@pytest.mark.parametrize(
    "found",
    [
        autoscaler("v1", 6, 10),
        autoscaler("v1", 2, 10, behavior={"scaleDown": {"selectPolicy": "Disabled"}}),
        autoscaler("v2", 1, 10),
    ],
    ids=["at its lower limit", "never down", "another's"],
)
def test_autoscalers_that_leave_stable_as_it_is(town: Town, found: Object) -> None:
    scaled(town, v1=6, v3=6)
    town.apply(found)
    assert town.found(capacity) == []


def test_an_autoscaler_at_its_upper_limit(town: Town) -> None:
    scaled(town, v1=4, v3=4)
    town.apply(autoscaler("v1", 1, 4))
    assert "upper limit of 4 pods" in town.cured(capacity, "AutoscalerAtLimit").sentence


def test_an_autoscaler_with_one_number_only_is_at_no_limit(town: Town) -> None:
    town.apply(autoscaler("v1", 2, 2))
    assert town.found(capacity) == []


def test_an_autoscaler_that_sees_nothing(town: Town) -> None:
    said = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}
    town.apply(autoscaler("v3", 2, 4, conditions=({**said, "lastTransitionTime": "2026-01-01T00:00:00Z"},)))
    [finding] = town.found(capacity)
    assert (finding.code, finding.remedy) == ("AutoscalerBlind", "")
    assert "no metrics" in finding.sentence


def test_an_autoscaler_that_was_switched_off_is_not_blind(town: Town) -> None:
    said = {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled", "message": "zero replicas"}
    town.apply(autoscaler("v3", 2, 4, conditions=({**said, "lastTransitionTime": "2026-01-01T00:00:00Z"},)))
    assert town.found(capacity) == []


def test_keda_takes_stables_pods_away(town: Town) -> None:
    """KEDA makes an HPA of its own, and puts back what is changed there."""
    town.cluster.apply(KEDA)
    town.apply(scaled_object("v1"), kedas_own("v1"))
    finding = town.cured(capacity, "StableShrinks")
    assert finding.where == "ScaledObject default/reviews-v1"
    assert finding.remedy.startswith("kubectl patch scaledobjects.keda.sh reviews-v1 -n default")


def test_keda_takes_the_canarys_last_pod_away(town: Town) -> None:
    town.cluster.apply(KEDA)
    town.apply(scaled_object("v3"))
    assert town.cured(capacity, "CanaryScalesToZero").level == "warning"


def test_keda_that_is_paused_takes_nothing(town: Town) -> None:
    town.cluster.apply(KEDA)
    for version in ("v1", "v3"):
        found = scaled_object(version)
        found["metadata"]["annotations"] = {"autoscaling.keda.sh/paused-replicas": "2"}
        town.apply(found, kedas_own(version))
    assert town.found(capacity) == []


def test_stable_that_is_short_of_pods(town: Town) -> None:
    pods = town.pods(app="reviews", version="v1")
    town.ready(pods[:1], ready=False)
    town.settle()
    [finding] = town.found(capacity)
    assert (finding.code, finding.transient) == ("StableNotWhole", True)
    assert "1 of 2 are ready" in finding.sentence
    town.ready(pods[:1], ready=True)
    assert town.found(capacity) == []


# Endpoints


def slices(town: Town, *pods: Object, port: str = "http", ready: bool | None = True) -> Object:
    endpoints = [
        {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {} if ready is None else {"ready": ready},
            "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": "default"},
        }
        for pod in pods
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "reviews-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "reviews"}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 9080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def test_pods_that_are_endpoints(town: Town) -> None:
    town.apply(slices(town, *town.pods(app="reviews")))
    assert town.found(capacity) == []
    town.apply(slices(town, *town.pods(app="reviews"), ready=None))
    assert town.found(capacity) == []


def test_a_ready_pod_that_is_no_endpoint(town: Town) -> None:
    pods = town.pods(app="reviews")
    absent = next(pod for pod in pods if pod["metadata"]["labels"]["version"] == "v3")
    town.apply(slices(town, *(pod for pod in pods if pod is not absent)))
    [finding] = town.found(capacity)
    assert (finding.code, finding.level) == ("NotInEndpoints", "warning")
    assert finding.sentence.startswith(f"1 of 2 ready pods ({absent['metadata']['name']})")


def test_a_version_none_of_whose_pods_is_an_endpoint_of_the_port(town: Town) -> None:
    town.apply(slices(town, *town.pods(app="reviews"), port="admin"))
    assert [(one.code, one.level) for one in town.found(capacity)] == [("NotInEndpoints", "error")] * 2
    town.apply(slices(town, *town.pods(app="reviews"), ready=False))
    assert [one.level for one in town.found(capacity)] == ["error"] * 2


# Budgets


def budget(labels: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"selector": labels, **spec},
    }


V3 = {"matchLabels": {"app": "reviews", "version": "v3"}}


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": 0}, {"minAvailable": "51%"}], ids=str)
def test_a_budget_that_lets_nobody_go(town: Town, spec: Object) -> None:
    town.apply(budget(V3, **spec))
    [finding] = town.found(capacity)
    assert (finding.code, finding.level) == ("BudgetAllowsNone", "info")


@pytest.mark.parametrize("spec", [{"minAvailable": 1}, {"maxUnavailable": "10%"}, {"minAvailable": "50%"}], ids=str)
def test_a_budget_that_lets_one_go(town: Town, spec: Object) -> None:
    town.apply(budget(V3, **spec))
    assert town.found(capacity) == []


def test_a_budget_for_both_versions(town: Town) -> None:
    several = {"matchExpressions": [{"key": "version", "operator": "In", "values": ["v1", "v3"]}]}
    town.apply(budget(several, minAvailable=3))
    assert town.codes(capacity) == ["BudgetCoversBoth"]


@pytest.mark.parametrize("operator", ["NotIn", "DoesNotExist"])
def test_a_budget_for_others(town: Town, operator: str) -> None:
    values = {"values": ["v1", "v3"]} if operator == "NotIn" else {}
    town.apply(budget({"matchExpressions": [{"key": "version", "operator": operator, **values}]}, minAvailable=9))
    assert town.found(capacity) == []


def test_a_plan_of_small_steps_still_ends_with_everything(town: Town) -> None:
    town.plan = plan(steps=[{"weight": 1}, {"weight": 50}])
    scaled(town, v1=3, v3=2)
    assert "at 100 %" in town.cured(capacity, "CanaryTooSmall").sentence


def test_what_admission_refuses_is_looked_at_all_the_same(town: Town) -> None:
    """Another run's marker is one thing to say, a canary that is too small another."""
    scaled(town, v1=10, v3=1)
    found = bookinfo.virtual_service({"v1": 100})
    found["spec"]["http"][0]["fault"] = {"abort": {"httpStatus": 500, "percentage": {"value": 1}}}
    town.apply(found)
    assert town.admitted() is None
    assert town.codes(capacity) == ["CanaryTooSmall"]

"""What is left of an object says the same of both sides as the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, PODS, SERVICES, Kind
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import Cluster
from canaryd.lab.workloads import install, set_ready
from canaryd.mesh.admission import Surroundings, sides_of
from canaryd.mesh.slim import CARE
from canaryd.model.traffic import Version
from tests.mesh.objects import ROUTE

Object = dict[str, Any]
KINDS = {PODS: "Pod", DEPLOYMENTS: "Deployment", SERVICES: "Service", DESTINATION_RULES: "DestinationRule"}


def around(cluster: Cluster, *, slim: bool) -> Surroundings:
    def of(kind: Kind) -> list[Object]:
        return [CARE[kind].slim(one) if slim else one for one in cluster.objects(KINDS[kind], bookinfo.NAMESPACE)]

    return Surroundings(
        services=of(SERVICES), pods=of(PODS), deployments=of(DEPLOYMENTS), destination_rules=of(DESTINATION_RULES)
    )


def as_installed(cluster: Cluster) -> None:
    """Two pods a version, all ready."""


def one_is_not_ready(cluster: Cluster) -> None:
    set_ready(cluster, [_pods(cluster)[0]], ready=False)


def one_has_failed(cluster: Cluster) -> None:
    cluster.set_status("Pod", bookinfo.NAMESPACE, _pods(cluster)[0]["metadata"]["name"], {"phase": "Failed"})


def one_goes(cluster: Cluster) -> None:
    found = _pods(cluster)[0]
    found["metadata"]["finalizers"] = ["example.com/wait"]
    cluster.apply(found)
    cluster.remove("Pod", bookinfo.NAMESPACE, found["metadata"]["name"])


def a_rollout_is_under_way(cluster: Cluster) -> None:
    status = {"observedGeneration": 0, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
    cluster.set_status("Deployment", bookinfo.NAMESPACE, "reviews-v3", status)


def a_rule_is_for_some_workloads_only(cluster: Cluster) -> None:
    found = cluster.find("DestinationRule", bookinfo.NAMESPACE, "reviews")
    assert found
    found["spec"]["workloadSelector"] = {"matchLabels": {"app": "productpage"}}
    cluster.apply(found)


def _pods(cluster: Cluster) -> list[Object]:
    return [one for one in cluster.objects("Pod") if one["metadata"]["labels"].get("version") == "v3"]


@pytest.mark.parametrize(
    "change",
    [
        as_installed,
        one_is_not_ready,
        one_has_failed,
        one_goes,
        a_rollout_is_under_way,
        a_rule_is_for_some_workloads_only,
    ],
)
def test_both_sides_look_the_same(change: Any) -> None:
    """Whatever is wrong with them."""
    cluster = Cluster()
    install(cluster, bookinfo.objects())
    before = sides_of(ROUTE, around(cluster, slim=False))
    change(cluster)
    whole = sides_of(ROUTE, around(cluster, slim=False))
    assert change is as_installed or whole != before, "the change says nothing"
    assert sides_of(ROUTE, around(cluster, slim=True)) == whole
    hosts = replace(ROUTE, stable=Version("details"), canary=Version("ratings"))
    assert sides_of(hosts, around(cluster, slim=True)) == sides_of(hosts, around(cluster, slim=False))


@pytest.mark.parametrize("kind", CARE)
def test_a_bookmark_stays_one(kind: Kind) -> None:
    """It has a version and nothing else."""
    kept = CARE[kind].slim({"kind": "Any", "metadata": {"resourceVersion": "5"}})
    assert kept["metadata"] == {"resourceVersion": "5"}

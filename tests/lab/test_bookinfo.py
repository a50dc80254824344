"""Bookinfo's objects are what a cluster with sidecar injection would hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.control import endpoint_slice
from canaryd.lab.istiod.objects import is_ready, workload_of
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.workloads import install, set_ready

Json = dict[str, Any]


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    install(cluster, bookinfo.objects(weights={"v1": 50, "v3": 50}))
    return cluster


def pods_of(cluster: Cluster, version: str) -> list[Json]:
    return [
        pod
        for pod in cluster.objects("Pod")
        if (pod["metadata"]["labels"].get("app"), pod["metadata"]["labels"].get("version")) == ("reviews", version)
    ]


def found(cluster: Cluster, kind: str, name: str) -> Json:
    return next(each for each in cluster.objects(kind) if each["metadata"]["name"] == name)


def test_the_cluster_accepts_the_seed(cluster: Cluster) -> None:
    """The article's VirtualService and DestinationRule pass the same checks as in a mesh."""
    route = found(cluster, "VirtualService", "reviews")["spec"]["http"][0]["route"]
    assert [(each["destination"]["subset"], each["weight"]) for each in route] == [("v1", 50), ("v3", 50)]
    subsets = found(cluster, "DestinationRule", "reviews")["spec"]["subsets"]
    assert {each["name"]: each["labels"]["version"] for each in subsets} == {"v1": "v1", "v2": "v2", "v3": "v3"}
    assert sum(len(pods_of(cluster, version)) for version in bookinfo.VERSIONS) == 3 * bookinfo.REPLICAS


def test_pods_are_owned_up_to_their_deployment(cluster: Cluster) -> None:
    """Istio and canaryd find the workload by walking up the owners; names, uids and hashes have to fit."""
    deployments = {each["metadata"]["uid"]: each["metadata"]["name"] for each in cluster.objects("Deployment")}
    sets = {each["metadata"]["uid"]: each for each in cluster.objects("ReplicaSet")}
    for pod in cluster.objects("Pod"):
        owner = sets[pod["metadata"]["ownerReferences"][0]["uid"]]
        template_hash = pod["metadata"]["labels"]["pod-template-hash"]
        assert owner["metadata"]["name"].endswith(f"-{template_hash}")
        assert deployments[owner["metadata"]["ownerReferences"][0]["uid"]] == workload_of(pod)


def test_pods_are_injected(cluster: Cluster) -> None:
    """A pod without a sidecar is not measured by Istio, and canaryd's admission looks for it."""
    for pod in cluster.objects("Pod"):
        assert "istio-proxy" in [each["name"] for each in pod["spec"]["containers"]]
        assert json.loads(pod["metadata"]["annotations"]["sidecar.istio.io/status"])["containers"] == ["istio-proxy"]


def test_an_endpoint_slice_is_true_to_the_pods(cluster: Cluster) -> None:
    set_ready(cluster, pods_of(cluster, "v3"), ready=False)
    slice_ = endpoint_slice(found(cluster, "Service", "reviews"), cluster.objects("Pod"))
    ready = {each["targetRef"]["name"]: each["conditions"]["ready"] for each in slice_["endpoints"]}
    pods = [pod for version in bookinfo.VERSIONS for pod in pods_of(cluster, version)]
    assert ready == {pod["metadata"]["name"]: is_ready(pod) for pod in pods}
    assert sorted(ready.values()) == [False] * 2 + [True] * 4

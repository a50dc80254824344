"""Bookinfo's objects are what a cluster with sidecar injection would hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.control import endpoint_slice
from canaryd.lab.istiod.objects import is_ready, workload_of
from canaryd.lab.kubernetes.cluster import Cluster

Json = dict[str, Any]


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    bookinfo.install(cluster, bookinfo.objects(weights={"v1": 50, "v3": 50}))
    return cluster


def pods_of(cluster: Cluster, version: str) -> list[Json]:
    return [pod for pod in cluster.objects("Pod") if pod["metadata"]["labels"]["version"] == version]


def remover(cluster: Cluster) -> Any:
    return lambda each: cluster.remove(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])


def test_the_cluster_accepts_the_seed(cluster: Cluster) -> None:
    """The article's VirtualService and DestinationRule pass the same checks as in a mesh."""
    route = cluster.objects("VirtualService")[0]["spec"]["http"][0]["route"]
    assert [(each["destination"]["subset"], each["weight"]) for each in route] == [("v1", 50), ("v3", 50)]
    subsets = cluster.objects("DestinationRule")[0]["spec"]["subsets"]
    assert {each["name"]: each["labels"]["version"] for each in subsets} == {"v1": "v1", "v2": "v2", "v3": "v3"}
    assert len(cluster.objects("Pod")) == 3 * bookinfo.REPLICAS


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


def test_draining_and_restoring_shows_in_pods_sets_and_deployment(cluster: Cluster) -> None:
    """Whoever asks, pods or Deployment, gets the same answer."""
    deployment = lambda: cluster.find("Deployment", "default", "reviews-v3") or {}  # noqa: E731
    for ready, count in ((False, 0), (True, bookinfo.REPLICAS)):
        assert bookinfo.set_ready(cluster, "v3", ready) == bookinfo.REPLICAS
        assert [is_ready(pod) for pod in pods_of(cluster, "v3")] == [ready] * bookinfo.REPLICAS
        assert deployment()["status"]["availableReplicas"] == count
    assert all(is_ready(pod) for pod in pods_of(cluster, "v1"))


def test_a_new_image_is_a_new_population(cluster: Cluster) -> None:
    """Rule: what is measured is pinned by pod-template-hash, so another image must have another one."""
    former = {pod["metadata"]["name"] for pod in pods_of(cluster, "v3")}
    uid = (cluster.find("Deployment", "default", "reviews-v3") or {})["metadata"]["uid"]
    new = bookinfo.roll_out(cluster, "v3", "reviews-v3:next", remover(cluster))
    pods = pods_of(cluster, "v3")
    assert {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods} == {new}
    assert not former & {pod["metadata"]["name"] for pod in pods}
    deployment = cluster.find("Deployment", "default", "reviews-v3") or {}
    assert deployment["metadata"]["uid"] == uid
    assert deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"] == 2
    replicas = {
        each["metadata"]["labels"]["pod-template-hash"]: each["spec"]["replicas"]
        for each in cluster.objects("ReplicaSet")
        if each["metadata"]["labels"]["version"] == "v3"
    }
    assert sorted(replicas.values()) == [0, bookinfo.REPLICAS]
    assert replicas[new] == bookinfo.REPLICAS


def test_rolling_back_the_image_brings_the_former_hash_back(cluster: Cluster) -> None:
    """As Kubernetes does: the same template has the same hash and the same ReplicaSet."""
    former = pods_of(cluster, "v3")[0]["metadata"]["labels"]["pod-template-hash"]
    bookinfo.roll_out(cluster, "v3", "reviews-v3:next", remover(cluster))
    assert bookinfo.roll_out(cluster, "v3", bookinfo.image("v3"), remover(cluster)) == former
    assert len(pods_of(cluster, "v3")) == bookinfo.REPLICAS


def test_an_endpoint_slice_is_true_to_the_pods(cluster: Cluster) -> None:
    bookinfo.set_ready(cluster, "v3", ready=False)
    found = endpoint_slice(cluster.objects("Service")[0], cluster.objects("Pod"))
    ready = {each["targetRef"]["name"]: each["conditions"]["ready"] for each in found["endpoints"]}
    assert ready == {pod["metadata"]["name"]: is_ready(pod) for pod in cluster.objects("Pod")}
    assert sorted(ready.values()) == [False] * 2 + [True] * 4

"""A Deployment does what a user of Kubernetes expects."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.objects import is_ready, workload_of
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.workloads import REVISION, Controller, set_ready

Json = dict[str, Any]


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.apply(bookinfo.namespace())
    cluster.apply(bookinfo.deployment("reviews", "v3", 2))
    return cluster


@pytest.fixture
def controller(cluster: Cluster) -> Controller:
    controller = Controller(cluster)
    controller.reconcile()
    return controller


def deployment(cluster: Cluster) -> Json:
    return cluster.find("Deployment", "default", "reviews-v3") or {}


def changed(cluster: Cluster, change: Callable[[Json], Any]) -> None:
    """What kubectl does: read, change, write."""
    each = copy.deepcopy(deployment(cluster))
    change(each["spec"])
    cluster.apply(each)


def names(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.objects("Pod")}


def hash_of(cluster: Cluster) -> str:
    return str(cluster.objects("Pod")[0]["metadata"]["labels"]["pod-template-hash"])


def image(cluster: Cluster, name: str) -> None:
    changed(cluster, lambda spec: spec["template"]["spec"]["containers"][0].update(image=name))


def test_readiness_shows_in_pods_sets_and_deployment(cluster: Cluster, controller: Controller) -> None:
    """Whoever asks, pods or Deployment, gets the same answer; and it stays, whatever else is reconciled."""
    for ready, count in ((False, 0), (True, 2)):
        assert set_ready(cluster, cluster.objects("Pod"), ready=ready) == 2
        controller.reconcile()
        controller.reconcile()
        assert [is_ready(pod) for pod in cluster.objects("Pod")] == [ready] * 2
        assert deployment(cluster)["status"]["availableReplicas"] == count
        assert cluster.objects("ReplicaSet")[0]["status"]["readyReplicas"] == count


def test_a_new_image_is_a_new_population(cluster: Cluster, controller: Controller) -> None:
    """Rule: what is measured is pinned by pod-template-hash, so another image must have another one."""
    former, old, uid = names(cluster), hash_of(cluster), deployment(cluster)["metadata"]["uid"]
    image(cluster, "reviews-v3:next")
    controller.reconcile()
    assert hash_of(cluster) != old
    assert len(names(cluster)) == 2
    assert not former & names(cluster)
    now = deployment(cluster)
    assert now["metadata"]["uid"] == uid
    assert now["status"]["observedGeneration"] == now["metadata"]["generation"] == 2
    assert now["metadata"]["annotations"][REVISION] == "2"
    replicas = {
        each["metadata"]["labels"]["pod-template-hash"]: each["spec"]["replicas"]
        for each in cluster.objects("ReplicaSet")
    }
    assert replicas == {old: 0, hash_of(cluster): 2}


def test_the_former_image_brings_its_replica_set_back_as_the_newest_revision(
    cluster: Cluster, controller: Controller
) -> None:
    """As Kubernetes does: the same template has the same hash and the same ReplicaSet, but its pods are new ones."""
    former, old = names(cluster), hash_of(cluster)
    for name in ("reviews-v3:next", bookinfo.image("v3")):
        image(cluster, name)
        controller.reconcile()
    assert hash_of(cluster) == old
    assert not former & names(cluster)
    assert deployment(cluster)["metadata"]["annotations"][REVISION] == "3"
    assert len(cluster.objects("ReplicaSet")) == 2


def test_scaling_keeps_the_pods_that_stay(cluster: Cluster, controller: Controller) -> None:
    """Down takes pods away, up adds some; zero is a number too."""
    former = names(cluster)
    changed(cluster, lambda spec: spec.update(replicas=3))
    controller.reconcile()
    assert former < names(cluster)
    changed(cluster, lambda spec: spec.update(replicas=1))
    controller.reconcile()
    assert len(names(cluster)) == 1
    changed(cluster, lambda spec: spec.update(replicas=0))
    controller.reconcile()
    assert names(cluster) == set()
    assert deployment(cluster)["status"]["replicas"] == 0


def test_a_deleted_pod_is_replaced_and_a_deleted_deployment_leaves_nothing(
    cluster: Cluster, controller: Controller
) -> None:
    gone = sorted(names(cluster))[0]
    cluster.remove("Pod", "default", gone)
    controller.reconcile()
    assert len(names(cluster)) == 2
    assert gone not in names(cluster)
    cluster.remove("Deployment", "default", "reviews-v3")
    controller.reconcile()
    assert cluster.objects("Pod") == cluster.objects("ReplicaSet") == []


def test_a_second_reconciliation_writes_nothing(cluster: Cluster, controller: Controller) -> None:
    """It follows changes, its own ones too: without an end to them it would run for ever."""
    before = cluster.version
    controller.reconcile()
    assert cluster.version == before


def test_what_somebody_writes_meanwhile_is_not_taken_back(cluster: Cluster, controller: Controller) -> None:
    """The controller tells statuses; the number of replicas is the user's."""
    stale = deployment(cluster)
    changed(cluster, lambda spec: spec.update(replicas=5))
    controller._deploy(stale)
    assert deployment(cluster)["spec"]["replicas"] == 5


def test_the_thread_follows_what_kubectl_writes(cluster: Cluster) -> None:
    controller = Controller(cluster)
    controller.start()
    try:
        changed(cluster, lambda spec: spec.update(replicas=4))
        end = time.monotonic() + 5
        while len(names(cluster)) != 4:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        controller.stop()


def test_injection_is_the_namespaces_word_unless_the_pod_has_its_own(cluster: Cluster, controller: Controller) -> None:
    """`sidecar.istio.io/inject` on the template decides, else `istio-injection` on the namespace."""
    cluster.apply(bookinfo.namespace("outside", injection=False))
    for name, home, label in (
        ("within", "default", None),
        ("without", "default", "false"),
        ("abroad", "outside", None),
        ("guest", "outside", "true"),
    ):
        each = bookinfo.deployment("some", "v1")
        each["metadata"] |= {"name": name, "namespace": home}
        if label:
            each["spec"]["template"]["metadata"]["labels"] = {
                **each["spec"]["template"]["metadata"]["labels"],
                "sidecar.istio.io/inject": label,
            }
        cluster.apply(each)
    controller.reconcile()
    injected = {
        workload_of(pod): any(each["name"] == "istio-proxy" for each in pod["spec"]["containers"])
        for pod in cluster.objects("Pod")
    }
    assert injected == {"reviews-v3": True, "within": True, "without": False, "abroad": False, "guest": True}

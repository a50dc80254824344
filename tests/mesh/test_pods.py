"""Pods: whose they are, in Istio's words, and how many get requests."""

from __future__ import annotations

from canaryd.mesh.pods import Selection, is_ready, overlap, side_of, workload_of
from tests.mesh.objects import deployment, pod

V3 = Selection("default", {"app": "reviews", "version": "v3"})


def test_a_deployments_pod_bears_its_name() -> None:
    """Istio reports reviews-v3, not the ReplicaSet reviews-v3-abc."""
    assert workload_of(pod("v3")) == ("Deployment", "reviews-v3", "")


def test_another_controller_gives_its_own_name() -> None:
    """A StatefulSet has no ReplicaSet between; a bare pod is its own workload."""
    owner = {"kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}
    assert workload_of(pod("v3", ownerReferences=[owner])) == ("StatefulSet", "db", "u")
    assert workload_of(pod("v3", ownerReferences=[]))[:2] == ("Pod", "reviews-v3-abc-0")


def test_a_replica_set_of_its_own_keeps_its_whole_name() -> None:
    """istiod cuts only what ends in the pod's template hash."""
    owner = {"kind": "ReplicaSet", "name": "reviews-canary", "uid": "u", "controller": True}
    assert workload_of(pod("v3", ownerReferences=[owner]))[1] == "reviews-canary"


def test_a_side_is_what_its_labels_select() -> None:
    """Pods of other versions, other namespaces, and finished ones are not its own."""
    elsewhere = pod("v3", 7)
    elsewhere["metadata"]["namespace"] = "other"
    done = pod("v3", 8)
    done["status"]["phase"] = "Succeeded"
    side = side_of(V3, [pod("v1"), pod("v3", 0), pod("v3", 1, ready=False), elsewhere, done], [deployment("v3")])
    assert (side.workloads, side.uids, side.hashes) == (("reviews-v3",), ("deploy-v3",), ("abc",))
    assert (side.ready, side.desired, side.rolled_out) == (1, 2, True)


def test_a_terminating_pod_is_not_ready_and_its_hash_is_gone() -> None:
    """It still says Ready for a while, and Envoy no longer sends there."""
    leaving = pod("v3", 1, template="old", deletionTimestamp="2026-01-01T00:00:00Z")
    side = side_of(V3, [pod("v3", template="new"), leaving], [deployment("v3")])
    assert side.ready == 1
    assert side.hashes == ("new",)
    assert not is_ready(leaving)


def test_a_roll_out_under_way_is_told() -> None:
    """Two templates behind one version would be measured as one."""
    lags = [
        ({"observedGeneration": 0}, "not been seen"),
        ({"updatedReplicas": 1}, "1 of 2 pods run the newest"),
        ({"replicas": 3}, "former template"),
        ({"availableReplicas": 1}, "1 of 2 pods are available"),
    ]
    for status, why in lags:
        side = side_of(V3, [pod("v3")], [deployment("v3", **status)])
        assert not side.rolled_out
        assert why in side.why


def test_a_deployment_without_pods_is_still_the_workload() -> None:
    """All pods drained: the name must not be lost, or the failures could not be told."""
    side = side_of(V3, [], [deployment("v3", availableReplicas=0), deployment("v1")])
    assert (side.workloads, side.ready, side.desired) == (("reviews-v3",), 0, 2)


def test_nothing_selected_is_said() -> None:
    """An empty side is no rolled-out one."""
    side = side_of(V3, [pod("v1")], [])
    assert not side.rolled_out
    assert "no workload in namespace default carries the labels app=reviews,version=v3" in side.why


def test_a_side_serves_since_its_newest_template_has_a_pod() -> None:
    """Before that, others served under the same workload's name; a pod that was added later changes nothing."""
    born = {0: "2026-01-01T10:00:00Z", 1: "2026-01-01T11:00:00Z"}
    ours = [pod("v3", number, creationTimestamp=at) for number, at in born.items()]
    assert side_of(V3, ours, [deployment("v3")]).since == 1767261600.0
    former = pod("v3", 2, template="old", creationTimestamp="2025-12-01T10:00:00Z")
    assert side_of(V3, [*ours, former], [deployment("v3")]).since == 1767261600.0
    for strange in ({}, {"creationTimestamp": "yesterday"}):
        assert side_of(V3, [pod("v3", **strange)], [deployment("v3")]).since is None


def test_pods_in_both_versions_are_found() -> None:
    """Counted twice, they would make two versions more alike than they are."""
    everything = Selection("default", {"app": "reviews"})
    assert overlap(V3, everything, [pod("v1"), pod("v3")]) == ("reviews-v3-abc-0",)
    assert overlap(V3, Selection("default", {"version": "v1"}), [pod("v1"), pod("v3")]) == ()

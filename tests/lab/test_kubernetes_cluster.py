"""The cluster used directly, as the lab's seed and translator use it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from canaryd.lab.kubernetes import ApiError, Change, Cluster
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.selectors import selector


def config_map(name: str = "plain", value: str = "1", **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": value}}


def pod(*, ready: bool) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "reviews-v1-a", "labels": {"app": "reviews"}},
        "spec": {"containers": [{"name": "reviews"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def definition() -> dict[str, Any]:
    spec = {
        "type": "object",
        "properties": {"release": {"type": "string"}, "weight": {"type": "integer", "maximum": 100, "default": 1}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "canaryplans.canaryd.io"},
        "spec": {
            "group": "canaryd.io",
            "scope": "Namespaced",
            "names": {"kind": "CanaryPlan", "plural": "canaryplans", "shortNames": ["cplan"]},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }


def test_a_seed_writes_spec_and_status_at_once() -> None:
    """Pods of the lab are ready from the first moment, without a kubelet."""
    cluster = Cluster()
    cluster.apply(pod(ready=True))
    cluster.apply(pod(ready=False))
    (found,) = cluster.objects("Pod")
    assert found["status"]["conditions"][0]["status"] == "False"
    assert found["metadata"]["namespace"] == "default"


def test_a_seed_without_status_keeps_the_status() -> None:
    cluster = Cluster()
    cluster.apply(pod(ready=True))
    cluster.apply({key: value for key, value in pod(ready=True).items() if key != "status"})
    assert cluster.objects("Pod")[0]["status"]["phase"] == "Running"


def test_a_seed_of_the_same_changes_nothing() -> None:
    cluster = Cluster()
    cluster.apply(config_map())
    version = cluster.version
    cluster.apply(config_map())
    assert cluster.version == version


def test_a_seed_brings_its_namespace() -> None:
    cluster = Cluster()
    cluster.apply(config_map(namespace="bookinfo"))
    assert cluster.find("Namespace", "", "bookinfo")


def test_objects_are_copies_in_order() -> None:
    """A caller that edits what it was given must not edit the cluster."""
    cluster = Cluster()
    for name in ("b", "a"):
        cluster.apply(config_map(name))
    found = cluster.objects("configmaps")
    found[0]["data"]["a"] = "9"
    assert [one["metadata"]["name"] for one in found] == ["a", "b"]
    assert cluster.find("ConfigMap", "default", "a")["data"] == {"a": "1"}


def test_subscribers_hear_every_change_in_order_until_they_leave() -> None:
    """The translator to Envoy lives on this; it hears of a write before the writer gets its answer."""
    cluster = Cluster()
    heard: list[Change] = []
    leave = cluster.subscribe(heard.append)
    cluster.apply(config_map())
    cluster.apply(config_map(value="2"))
    cluster.remove("ConfigMap", "default", "plain")
    leave()
    cluster.apply(config_map())
    assert [one.type for one in heard] == ["ADDED", "MODIFIED", "DELETED"]
    assert heard[1].before["data"] == {"a": "1"}
    assert heard[1].object["data"] == {"a": "2"}


def test_a_subscriber_may_read_the_cluster_it_hears_from() -> None:
    cluster = Cluster()
    counts: list[int] = []
    cluster.subscribe(lambda change: counts.append(len(cluster.objects("ConfigMap"))))
    cluster.apply(config_map())
    assert counts == [1]


def test_history_is_bounded_and_says_so() -> None:
    """Watches resumed from before it get 410 and list again."""
    cluster = Cluster(history=3)
    resource = cluster.registry.by_kind("ConfigMap")
    start = cluster.version
    for number in range(3):
        cluster.apply(config_map(value=str(number)))
    assert len(cluster.changes_since(start, resource, "default")) == 3
    cluster.apply(config_map(value="last"))
    with pytest.raises(ApiError) as refused:
        cluster.changes_since(start, resource, "default")
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


def test_compaction_forgets_everything_so_far() -> None:
    cluster = Cluster()
    resource = cluster.registry.by_kind("ConfigMap")
    start = cluster.version
    cluster.apply(config_map())
    cluster.compact()
    with pytest.raises(ApiError):
        cluster.changes_since(start, resource, None)
    assert cluster.changes_since(cluster.version, resource, None) == []


def test_of_many_writers_with_one_version_exactly_one_wins() -> None:
    """Compare-and-swap under threads: a lost update here would hide one in canaryd."""
    cluster = Cluster()
    resource = cluster.registry.by_kind("ConfigMap")
    seen = cluster.apply(config_map())
    won: list[str] = []
    lost: list[str] = []
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait()
        try:
            cluster.replace(resource, "default", "plain", {**seen, "data": {"a": f"writer {number}"}})
            won.append(f"writer {number}")
        except ApiError as error:
            lost.append(error.reason)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(won), lost) == (1, ["Conflict"] * 7)
    assert cluster.find("ConfigMap", "default", "plain")["data"]["a"] == won[0]


def test_deleting_a_namespace_deletes_what_is_in_it() -> None:
    cluster = Cluster()
    cluster.apply(config_map(namespace="bookinfo"))
    cluster.apply(config_map())
    cluster.remove("Namespace", "", "bookinfo")
    assert [one["metadata"]["namespace"] for one in cluster.objects("ConfigMap")] == ["default"]


def test_a_page_is_of_its_moment_whatever_came_later() -> None:
    """Changed and deleted objects appear in a later page as they were."""
    cluster = Cluster()
    resource = cluster.registry.by_kind("ConfigMap")
    for name in ("a", "b", "c"):
        cluster.apply(config_map(name))
    everything = selector(resource)
    first = cluster.page(resource, "default", everything, limit=1)
    cluster.apply(config_map("b", "2"))
    cluster.remove("ConfigMap", "default", "c")
    second = cluster.page(resource, "default", everything, token=first.token)
    assert [(one["metadata"]["name"], one["data"]["a"]) for one in second.items] == [("b", "1"), ("c", "1")]


def test_a_definition_is_served_at_once_with_its_schema() -> None:
    """canaryd's own CRDs: defaulted, checked, pruned, gone with the definition."""
    cluster = Cluster()
    made = cluster.apply(definition())
    assert {"Established"} <= {one["type"] for one in made["status"]["conditions"]}
    plan: dict[str, Any] = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPlan", "metadata": {"name": "p"}}
    cluster.apply({**plan, "spec": {"release": "v3", "junk": 1}})
    assert cluster.objects("CanaryPlan")[0]["spec"] == {"release": "v3", "weight": 1}
    with pytest.raises(ApiError, match="less than or equal to 100"):
        cluster.apply({**plan, "spec": {"weight": 101}})
    cluster.remove("CustomResourceDefinition", "", "canaryplans.canaryd.io")
    with pytest.raises(KeyError):
        cluster.objects("CanaryPlan")


def test_a_status_write_leaves_labels_alone() -> None:
    """The status door takes nothing but status, not even metadata."""
    cluster = Cluster()
    seen = cluster.apply(pod(ready=True))
    resource = cluster.registry.by_kind("Pod")
    seen["metadata"]["labels"] = {"app": "other"}
    seen["status"]["phase"] = "Failed"
    written = cluster.replace(resource, "default", "reviews-v1-a", seen, Options(subresource="status"))
    assert written.object["metadata"]["labels"] == {"app": "reviews"}
    assert written.object["status"]["phase"] == "Failed"


def test_an_object_at_hand_survives_a_server_side_apply_that_drops_fields() -> None:
    """Stored objects are never mutated: what a reader holds stays what it was."""
    cluster = Cluster()
    resource = cluster.registry.by_kind("ConfigMap")
    options = Options(manager="gitops")
    body = {**config_map(), "data": {"a": "1", "b": "2"}}
    before = cluster.patch(resource, "default", "plain", "application/apply-patch+yaml", body, options).object
    cluster.patch(resource, "default", "plain", "application/apply-patch+yaml", config_map(), options)
    assert before["data"] == {"a": "1", "b": "2"}
    assert cluster.objects("ConfigMap")[0]["data"] == {"a": "1"}

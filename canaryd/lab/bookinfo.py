"""
Bookinfo's `reviews`, as objects of the Kubernetes API.

The objects follow Istio's `samples/bookinfo` (platform/kube/bookinfo.yaml, networking/destination-rule-reviews.yaml,
virtual-service-reviews-50-v3.yaml). There is no controller in the lab: what a Deployment's controller would make
(ReplicaSet, pods, hashes, conditions) is made here, all at once, and a rollout is over as soon as it is asked for.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from canaryd.lab.envoy.bootstrap import Upstream

Json = dict[str, Any]
NAMESPACE = "default"
SERVICE = "reviews"
HOST = "reviews.default.svc.cluster.local"
PORT = 9080
VERSIONS = ("v1", "v2", "v3")
REPLICAS = 2
BORN = "2026-01-01T00:00:00Z"


class Applies(Protocol):
    """What is asked of the cluster here: objects of a kind, and creating or replacing one."""

    def objects(self, kind: str) -> list[Json]: ...

    def apply(self, obj: Json) -> Json: ...


def upstreams(versions: Iterable[str] = VERSIONS) -> list[Upstream]:
    """The workloads that Envoy must be able to play."""
    return [Upstream(workload(version), NAMESPACE, version, SERVICE, HOST) for version in versions]


def workload(version: str) -> str:
    return f"{SERVICE}-{version}"


def image(version: str) -> str:
    return f"docker.io/istio/examples-bookinfo-reviews-{version}:1.20.3"


def objects(*, weights: dict[str, int] | None = None, replicas: int = REPLICAS, grpc: bool = False) -> list[Json]:
    """
    Everything of `reviews`: namespace, service, workloads with ready pods, DestinationRule and VirtualService.

    `weights` are the VirtualService's destinations in order, by default `{"v1": 100}`; the seed's are
    `{"v1": 50, "v3": 50}`. `grpc` names the service's port as Istio wants it for a gRPC service.
    """
    everything = [namespace(), service(grpc=grpc), destination_rule(), virtual_service(weights or {"v1": 100})]
    for version in VERSIONS:
        everything += deployed(version, image(version), replicas)
    return everything


def namespace() -> Json:
    labels = {"istio-injection": "enabled", "kubernetes.io/metadata.name": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def service(*, grpc: bool = False) -> Json:
    port = {"name": "grpc" if grpc else "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": {"app": SERVICE, "service": SERVICE}},
        "spec": {"ports": [port], "selector": {"app": SERVICE}, "type": "ClusterIP", "clusterIP": "10.96.90.80"},
    }


def destination_rule() -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"host": SERVICE, "subsets": [{"name": each, "labels": {"version": each}} for each in VERSIONS]},
    }


def virtual_service(weights: dict[str, int]) -> Json:
    route = [
        {"destination": {"host": SERVICE, "subset": version}, "weight": weight} for version, weight in weights.items()
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"hosts": [SERVICE], "http": [{"route": route}]},
    }


def deployed(version: str, of_image: str, replicas: int = REPLICAS) -> list[Json]:
    """A Deployment that is fully rolled out: itself, its ReplicaSet and its ready pods."""
    name = workload(version)
    labels = {"app": SERVICE, "version": version}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [_app_container(of_image)]}}
    revision = template_hash(template)
    hashed = {**labels, "pod-template-hash": revision}
    counts = {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        "status": {
            **counts,
            "updatedReplicas": replicas,
            "observedGeneration": 1,
            "conditions": [
                _condition("Available", "MinimumReplicasAvailable"),
                _condition("Progressing", "NewReplicaSetAvailable"),
            ],
        },
    }
    set_name = f"{name}-{revision}"
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": set_name,
            "namespace": NAMESPACE,
            "labels": hashed,
            "ownerReferences": [_owner(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": hashed},
            "template": {**template, "metadata": {"labels": hashed}},
        },
        "status": {**counts, "observedGeneration": 1},
    }
    pods = [_pod(set_name, hashed, replica_set, of_image, number) for number in range(replicas)]
    return [deployment, replica_set, *pods]


def template_hash(template: Json) -> str:
    """A pod-template-hash: another template has another one (the letters are Kubernetes' safe alphabet)."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:10])


# Acts upon a cluster


def install(cluster: Applies, objects: Iterable[Json]) -> None:
    """Apply objects in order, owners before what they own, so that ownerReferences get the uids of their owners."""
    uids: dict[tuple[str, str], str] = {}
    for each in objects:
        owned = copy.deepcopy(each)
        for owner in owned["metadata"].get("ownerReferences", []):
            owner["uid"] = uids[owner["kind"], owner["name"]]
        applied = cluster.apply(owned)
        uids[each["kind"], each["metadata"]["name"]] = applied["metadata"]["uid"]


def set_ready(cluster: Applies, version: str, ready: bool) -> int:
    """Make all pods of a version ready or not, with the status of its Deployment and ReplicaSet; how many pods."""
    pods = [
        pod for pod in cluster.objects("Pod") if _is_of(pod, version) and "deletionTimestamp" not in pod["metadata"]
    ]
    for pod in pods:
        changed = copy.deepcopy(pod)
        changed["status"] = _pod_status(pod["status"].get("podIP", ""), ready)
        cluster.apply(changed)
    for kind in ("ReplicaSet", "Deployment"):
        for each in cluster.objects(kind):
            if _is_of(each, version) and each["spec"].get("replicas", 0) > 0:
                _count_ready(cluster, each, ready)
    return len(pods)


def roll_out(cluster: Applies, version: str, new_image: str, remove: Callable[[Json], None]) -> str:
    """
    Give a version's Deployment another image: new ReplicaSet, new pods, the old pods removed, the old set at 0.

    Returns the new pod-template-hash. `remove` deletes an object from the cluster.
    """
    current = next(each for each in cluster.objects("Deployment") if _is_of(each, version))
    deployment, replica_set, *pods = deployed(version, new_image, int(current["spec"]["replicas"]))
    fresh = {each["metadata"]["name"] for each in (replica_set, *pods)}
    old_sets = [each for each in cluster.objects("ReplicaSet") if _is_of(each, version)]
    old_pods = [each for each in cluster.objects("Pod") if _is_of(each, version)]
    changed = copy.deepcopy(current)
    changed["spec"]["template"] = deployment["spec"]["template"]
    install(cluster, [changed, replica_set, *pods])
    changed = next(each for each in cluster.objects("Deployment") if _is_of(each, version))
    changed["status"] = {**deployment["status"], "observedGeneration": changed["metadata"].get("generation", 1)}
    cluster.apply(changed)
    for pod in old_pods:
        if pod["metadata"]["name"] not in fresh:
            remove(pod)
    for each in old_sets:
        if each["metadata"]["name"] not in fresh:
            emptied = copy.deepcopy(each)
            emptied["spec"]["replicas"] = 0
            emptied["status"] = {"replicas": 0}
            cluster.apply(emptied)
    return str(replica_set["metadata"]["labels"]["pod-template-hash"])


def _count_ready(cluster: Applies, each: Json, ready: bool) -> None:
    changed = copy.deepcopy(each)
    count = changed["spec"]["replicas"] if ready else 0
    changed["status"] |= {"readyReplicas": count, "availableReplicas": count}
    if each["kind"] == "Deployment":
        reason = "MinimumReplicasAvailable" if ready else "MinimumReplicasUnavailable"
        others = [one for one in changed["status"].get("conditions", []) if one["type"] != "Available"]
        changed["status"]["conditions"] = [_condition("Available", reason, ready), *others]
        changed["status"]["unavailableReplicas"] = changed["spec"]["replicas"] - count
    cluster.apply(changed)


def _pod(set_name: str, labels: dict[str, str], owner: Json, of_image: str, number: int) -> Json:
    suffix = template_hash({"set": set_name, "number": number})[:5]
    name = f"{set_name}-{suffix}"
    sidecar = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.30.3"}
    injected = {"containers": ["istio-proxy"], "initContainers": ["istio-init"], "revision": "default"}
    octet = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                **labels,
                "security.istio.io/tlsMode": "istio",
                "service.istio.io/canonical-name": SERVICE,
                "service.istio.io/canonical-revision": labels["version"],
            },
            "annotations": {
                "sidecar.istio.io/status": json.dumps(injected),
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "15020",
                "prometheus.io/path": "/stats/prometheus",
            },
            "ownerReferences": [_owner(owner)],
        },
        "spec": {"serviceAccountName": "bookinfo-reviews", "containers": [_app_container(of_image), sidecar]},
        "status": _pod_status(f"10.244.{octet // 256}.{octet % 256}", ready=True),
    }


def _pod_status(address: str, ready: bool) -> Json:
    reason = "" if ready else "ContainersNotReady"
    conditions = [
        _condition("PodScheduled", ""),
        _condition("Initialized", ""),
        _condition("ContainersReady", reason, ready),
        _condition("Ready", reason, ready),
    ]
    containers = [
        {"name": SERVICE, "ready": ready, "restartCount": 0},
        {"name": "istio-proxy", "ready": True, "restartCount": 0},
    ]
    return {"phase": "Running", "podIP": address, "conditions": conditions, "containerStatuses": containers}


def _app_container(of_image: str) -> Json:
    return {"name": SERVICE, "image": of_image, "ports": [{"containerPort": PORT}]}


def _condition(kind: str, reason: str, status: bool = True) -> Json:
    condition = {"type": kind, "status": "True" if status else "False", "lastTransitionTime": BORN}
    return {**condition, **({"reason": reason} if reason else {})}


def _owner(owner: Json) -> Json:
    """A reference to its controller; `install` adds the uid, which only the cluster knows."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _is_of(each: Json, version: str) -> bool:
    labels = each["metadata"].get("labels") or {}
    return labels.get("app") == SERVICE and labels.get("version") == version

"""
What Kubernetes' controllers, the injector and the kubelet do to workloads: a Deployment becomes ReplicaSets and pods.

A rollout is over as soon as it is asked for: the pods of a new template are there and ready, then those of the former
one go. What a pod's readiness was set to (`set_ready`) stays; statuses follow from the pods. Another template has
another `pod-template-hash`, and the same template the same, so that `kubectl rollout undo` brings a ReplicaSet back.

Facts: a Deployment's status, revisions and hashes (k8s.io/kubernetes pkg/controller/deployment); which pods get a
sidecar and which labels it adds (istio/istio pkg/kube/inject).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from canaryd.errors import CanarydError
from canaryd.lab.istiod.objects import full_name, is_ready, labels_of, namespace_of
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.patching import MERGE_PATCH

Json = dict[str, Any]
BORN = "2026-01-01T00:00:00Z"
REVISION = "deployment.kubernetes.io/revision"
KINDS = ("Deployment", "ReplicaSet", "Pod")
SIDECAR = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.30.3"}
INJECTED = "sidecar.istio.io/status"
TEMPLATES = "inject.istio.io/templates"
NONE_READY = {"readyReplicas": 0, "availableReplicas": 0}


class Controller:
    """Keeps workloads true to their Deployments; `reconcile` does it at once, a thread whenever something changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str]] = Counter()  # pods born of a ReplicaSet: a name comes only once
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, name="lab-workloads", daemon=True)

    def start(self) -> None:
        """Reconcile what there is, then follow the changes."""
        self.reconcile()
        self._cluster.subscribe(self._changed)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def reconcile(self) -> None:
        """Make ReplicaSets, pods and statuses follow from the Deployments as they are now."""
        with self._lock:
            for deployment in self._cluster.objects("Deployment"):
                self._deploy(deployment)
            self._collect_garbage()
            for pod in self._cluster.objects("Pod"):
                if not pod.get("status", {}).get("conditions"):
                    set_ready(self._cluster, [pod], ready=True)

    def _changed(self, change: Any) -> None:
        if change.object["kind"] in KINDS:
            self._wake.set()

    def _follow(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            with contextlib.suppress(CanarydError):  # somebody was faster; what they wrote wakes us again
                self.reconcile()

    def _deploy(self, deployment: Json) -> None:
        spec = deployment["spec"]
        if "deletionTimestamp" in deployment["metadata"] or spec.get("paused"):
            return
        wanted = int(spec.get("replicas", 1))
        former = {each["metadata"]["name"]: each for each in self._owned("ReplicaSet", deployment)}
        name = f"{deployment['metadata']['name']}-{template_hash(spec['template'])}"
        latest = max((_revision(each) for each in former.values()), default=0)
        current = former.pop(name, None)
        revision = _revision(current) if current and _revision(current) == latest else latest + 1
        fresh = replica_set(deployment, wanted, revision)
        if current is None:
            current = self._cluster.apply(fresh)
        else:
            part = {"metadata": {"annotations": fresh["metadata"]["annotations"]}, "spec": {"replicas": wanted}}
            current = self._patch(current, part)
        pods = self._scale(current, wanted)
        for each in former.values():
            self._scale(each, 0)
            self._patch(each, {"spec": {"replicas": 0}, "status": {"replicas": 0, **NONE_READY}})
        ready = sum(map(is_ready, pods))
        counts = {"replicas": wanted, "readyReplicas": ready, "availableReplicas": ready}
        seen = {"observedGeneration": current["metadata"].get("generation", 1)}
        self._patch(current, {"status": {**counts, **seen}})
        status = {
            **counts,
            "updatedReplicas": wanted,
            "unavailableReplicas": wanted - ready,
            "observedGeneration": deployment["metadata"].get("generation", 1),
            "conditions": [_available(enough=ready >= wanted), condition("Progressing", "NewReplicaSetAvailable")],
        }
        self._patch(deployment, {"metadata": {"annotations": {REVISION: str(revision)}}, "status": status})

    def _scale(self, owner: Json, wanted: int) -> list[Json]:
        """Give a ReplicaSet as many pods as are wanted: new ones, or without its youngest."""
        pods = [pod for pod in self._owned("Pod", owner) if "deletionTimestamp" not in pod["metadata"]]
        while len(pods) < wanted:
            number = self._numbers[full_name(owner)]
            self._numbers[full_name(owner)] += 1
            born = new_pod(owner, number, self._injects(owner))
            if self._cluster.find("Pod", namespace_of(born), born["metadata"]["name"]) is None:
                pods.append(self._cluster.apply(born))
        for pod in pods[wanted:]:
            self._cluster.remove("Pod", *full_name(pod))
        return pods[:wanted]

    def _injects(self, owner: Json) -> bool:
        """Whether the injector would add a sidecar: the pod's own label decides, else its namespace's."""
        own = labels_of(owner["spec"]["template"]).get("sidecar.istio.io/inject")
        if own is not None:
            return own == "true"
        home = self._cluster.find("Namespace", "", namespace_of(owner)) or {"metadata": {}}
        labels = labels_of(home)
        return labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels

    def _owned(self, kind: str, owner: Json) -> list[Json]:
        uid = owner["metadata"]["uid"]
        return [
            each
            for each in self._cluster.objects(kind)
            if any(one.get("controller") and one["uid"] == uid for one in each["metadata"].get("ownerReferences", []))
        ]

    def _collect_garbage(self) -> None:
        for kind, owners in (("ReplicaSet", "Deployment"), ("Pod", "ReplicaSet")):
            living = {each["metadata"]["uid"] for each in self._cluster.objects(owners)}
            for each in self._cluster.objects(kind):
                references = each["metadata"].get("ownerReferences", [])
                if any(
                    one.get("controller") and one["kind"] == owners and one["uid"] not in living for one in references
                ):
                    self._cluster.remove(kind, *full_name(each))

    def _patch(self, each: Json, part: Json) -> Json:
        return patch(self._cluster, each, part)


def patch(cluster: Cluster, each: Json, part: Json) -> Json:
    """Change a part of an object and leave what others wrote meanwhile alone. Raises ApiError when it is gone."""
    options = Options(manager="kube-controller-manager", whole=True)
    resource = cluster.registry.of(each)
    return cluster.patch(resource, *full_name(each), MERGE_PATCH, part, options).object


def install(cluster: Cluster, objects: Iterable[Json]) -> None:
    """Apply objects in order, and give their Deployments pods, once: nobody follows what changes later."""
    for each in objects:
        cluster.apply(each)
    Controller(cluster).reconcile()


def set_ready(cluster: Cluster, pods: Iterable[Json], *, ready: bool) -> int:
    """Make pods ready or not; how many there were. The statuses of their owners follow at the next `reconcile`."""
    changed = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
    for pod in changed:
        patch(cluster, pod, {"status": pod_status(pod, ready=ready)})
    return len(changed)


def template_hash(template: Json) -> str:
    """A pod-template-hash: another template has another one (the letters are Kubernetes' safe alphabet)."""
    return _letters(template, 10)


def replica_set(deployment: Json, replicas: int, revision: int) -> Json:
    """The ReplicaSet of a Deployment's present template, without a status."""
    about, spec = deployment["metadata"], deployment["spec"]
    template = copy.deepcopy(spec["template"])
    hashed = template_hash(template)
    labels = {**(template.get("metadata", {}).get("labels") or {}), "pod-template-hash": hashed}
    template["metadata"] = {**template.get("metadata", {}), "labels": labels}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{about['name']}-{hashed}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": {REVISION: str(revision), "deployment.kubernetes.io/desired-replicas": str(replicas)},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def new_pod(owner: Json, number: int, injected: bool) -> Json:
    """The pod number so-and-so of a ReplicaSet: running, ready, with its sidecar where it gets one."""
    template = copy.deepcopy(owner["spec"]["template"])
    about = template.get("metadata", {})
    labels, annotations = dict(about.get("labels") or {}), dict(about.get("annotations") or {})
    spec = {"serviceAccountName": "default", **template["spec"]}
    if injected:
        gateway = annotations.get(TEMPLATES) == "gateway"
        status = {"containers": ["istio-proxy"], "initContainers": ["istio-init"], "revision": "default"}
        annotations |= {
            INJECTED: json.dumps(status),
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "15020",
            "prometheus.io/path": "/stats/prometheus",
        }
        workload = owner["metadata"]["name"].removesuffix(f"-{labels.get('pod-template-hash', '')}")
        labels |= {
            "service.istio.io/canonical-name": _first(labels, "app.kubernetes.io/name", "app", otherwise=workload),
            "service.istio.io/canonical-revision": _first(
                labels, "app.kubernetes.io/version", "version", otherwise="latest"
            ),
            **({} if gateway else {"security.istio.io/tlsMode": "istio"}),
        }
        others = [each for each in spec["containers"] if each["name"] != "istio-proxy"]
        spec["containers"] = [*others, next((e for e in spec["containers"] if e not in others), {}) | SIDECAR]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{owner['metadata']['name']}-{_letters({'set': owner['metadata']['name'], 'number': number}, 5)}",
            "namespace": namespace_of(owner),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }
    return {**pod, "status": pod_status(pod, ready=True)}


def pod_status(pod: Json, *, ready: bool) -> Json:
    """The status of a running pod: its containers are ready or not, its sidecar always is."""
    reason = "" if ready else "ContainersNotReady"
    octet = int(hashlib.sha256("/".join(full_name(pod)).encode()).hexdigest()[:4], 16)
    return {
        "phase": "Running",
        "podIP": pod.get("status", {}).get("podIP") or f"10.244.{octet // 256}.{octet % 256}",
        "startTime": pod["metadata"].get("creationTimestamp", BORN),
        "conditions": [
            condition("PodScheduled", ""),
            condition("Initialized", ""),
            condition("ContainersReady", reason, status=ready),
            condition("Ready", reason, status=ready),
        ],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each.get("image", ""),
                "ready": ready or each["name"] == "istio-proxy",
                "restartCount": 0,
                "state": {"running": {"startedAt": BORN}},
            }
            for each in pod["spec"]["containers"]
        ],
    }


def condition(kind: str, reason: str, *, status: bool = True) -> Json:
    told = {"type": kind, "status": "True" if status else "False", "lastTransitionTime": BORN}
    return {**told, **({"reason": reason} if reason else {})}


def owner_reference(owner: Json) -> Json:
    """A reference to the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _available(*, enough: bool) -> Json:
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    return condition("Available", reason, status=enough)


def _revision(each: Json) -> int:
    return int((each["metadata"].get("annotations") or {}).get(REVISION, 0))


def _letters(what: Json, length: int) -> str:
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).digest()
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:length])


def _first(labels: Json, *names: str, otherwise: str) -> str:
    return next((labels[name] for name in names if labels.get(name)), otherwise)

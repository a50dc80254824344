"""
Pods: which ones a version selects, whose they are, and how many are ready.

The workload's name must be the one that Istio writes into its metrics, and istiod guesses it: a pod of a ReplicaSet
``reviews-v3-5d8`` with pod-template-hash ``5d8`` belongs to ``reviews-v3``; any other controller gives its own name.
Source: Istio, pkg/kube GetWorkloadMetaFromPod; subsets: networking/v1alpha3/destination_rule.proto, ``Subset.labels``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from canaryd.mesh.entries import Object
from canaryd.model.traffic import Side

HASH = "pod-template-hash"
SIDECAR = "istio-proxy"
INJECTED = "sidecar.istio.io/status"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a version selects: labels in a namespace; ``why`` it selects nothing, if so."""

    namespace: str
    labels: Mapping[str, str]
    why: str = ""


def selected(objects: Iterable[Object], selection: Selection) -> list[Object]:
    """The objects in the selection's namespace that carry all its labels, finished pods left out."""
    if selection.why:
        return []
    return [
        found
        for found in objects
        if found["metadata"].get("namespace") == selection.namespace
        and _carries(found["metadata"].get("labels"), selection.labels)
        and (found.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def _carries(labels: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return all((labels or {}).get(key) == value for key, value in wanted.items())


def is_terminating(pod: Object) -> bool:
    """Whether the pod is on its way out: it may still say Ready, and gets no new requests."""
    return pod["metadata"].get("deletionTimestamp") is not None


def is_ready(pod: Object) -> bool:
    """Whether the pod gets requests: condition Ready, and not terminating."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not is_terminating(pod) and any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions
    )


def has_sidecar(pod: Object) -> bool:
    """
    Whether a proxy runs in the pod: as a container, as an init container that goes on (a native sidecar), or as what
    the pod is (a gateway).
    """
    spec, marks = pod.get("spec") or {}, pod["metadata"].get("annotations") or {}
    containers = (one for kind in ("initContainers", "containers") for one in spec.get(kind) or ())
    return INJECTED in marks or any(one.get("name") == SIDECAR for one in containers)


def is_gateway(pod: Object) -> bool:
    """Whether the pod is a proxy and nothing else."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    return bool(containers) and all(one.get("name") == SIDECAR for one in containers)


def workload_of(pod: Object) -> tuple[str, str, str]:
    """Kind, name and uid of the pod's workload, as istiod names it; a Deployment's uid is not in the pod and empty."""
    meta = pod["metadata"]
    owner = next((one for one in meta.get("ownerReferences") or () if one.get("controller")), None)
    if owner is None:
        return "Pod", meta["name"], meta.get("uid") or ""
    template = (meta.get("labels") or {}).get(HASH)
    if owner.get("kind") == "ReplicaSet" and template and owner["name"].endswith(f"-{template}"):
        return "Deployment", owner["name"].removesuffix(f"-{template}"), ""
    return owner.get("kind") or "", owner["name"], owner.get("uid") or ""


def side_of(selection: Selection, pods: Iterable[Object], deployments: Iterable[Object]) -> Side:
    """The pods behind a version, and the Deployments whose template carries its labels even if they have no pod."""
    ours = selected(pods, selection)
    staying = [pod for pod in ours if not is_terminating(pod)]
    templates = deployments_of(selection, ours, deployments)
    bare = {workload_of(pod) for pod in staying if workload_of(pod)[1] not in templates}
    others = [pod for pod in staying if workload_of(pod)[1] not in templates]
    lagging = [why for name, found in templates.items() if (why := _lag(name, found))]
    if not_ready := [pod["metadata"]["name"] for pod in others if not is_ready(pod)]:
        lagging.append(f"not ready: {', '.join(sorted(not_ready))}")
    workloads = sorted({*templates, *(name for _, name, _ in bare)})
    if not workloads:
        wanted = ",".join(f"{key}={value}" for key, value in sorted(selection.labels.items()))
        lagging.append(selection.why or f"no workload in namespace {selection.namespace} carries the labels {wanted}")
    return Side(
        workloads=tuple(workloads),
        namespace=selection.namespace,
        uids=tuple(
            sorted(
                {*(found["metadata"].get("uid") or "" for found in templates.values()), *(uid for _, _, uid in bare)}
            )
        ),
        hashes=tuple(sorted({found for pod in staying if (found := (pod["metadata"].get("labels") or {}).get(HASH))})),
        ready=sum(map(is_ready, staying)),
        desired=sum(_replicas(found) for found in templates.values()) + len(others),
        rolled_out=not lagging,
        why="; ".join(lagging),
        since=_since(staying),
    )


def _since(pods: Iterable[Object]) -> float | None:
    """When the newest of the pods' templates got its oldest pod: what came before was served by others as well."""
    oldest: dict[str, float] = {}
    for pod in pods:
        created = _seconds(pod["metadata"].get("creationTimestamp"))
        if created is not None:
            template = (pod["metadata"].get("labels") or {}).get(HASH) or ""
            oldest[template] = min(created, oldest.get(template, created))
    return max(oldest.values(), default=None)


def _seconds(timestamp: object) -> float | None:
    """A time of the Kubernetes API in Unix seconds; None where it is none."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None


def deployments_of(selection: Selection, pods: Iterable[Object], deployments: Iterable[Object]) -> dict[str, Object]:
    """The Deployments behind the selection, by name: those with ``pods`` in it, and those whose template would have."""
    if selection.why:
        return {}
    named = {name for _, name, _ in map(workload_of, selected(pods, selection))}
    return {
        found["metadata"]["name"]: found
        for found in deployments
        if found["metadata"].get("namespace") == selection.namespace
        and (
            found["metadata"]["name"] in named
            or _carries(
                (((found.get("spec") or {}).get("template") or {}).get("metadata") or {}).get("labels"),
                selection.labels,
            )
        )
    }


def _replicas(deployment: Object) -> int:
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _lag(name: str, deployment: Object) -> str:
    """
    What keeps the Deployment from being rolled out, or nothing.

    Source: Kubernetes, kubectl/pkg/polymorphichelpers/rollout_status.go.
    """
    status, wanted = deployment.get("status") or {}, _replicas(deployment)
    if (status.get("observedGeneration") or 0) < (deployment["metadata"].get("generation") or 0):
        return f"{name}: its last change has not been seen by the controller yet"
    if (updated := status.get("updatedReplicas") or 0) < wanted:
        return f"{name}: {updated} of {wanted} pods run the newest template"
    if (status.get("replicas") or 0) > updated:
        return f"{name}: pods of the former template are still there"
    if (available := status.get("availableReplicas") or 0) < wanted:
        return f"{name}: {available} of {wanted} pods are available"
    return ""


def overlap(one: Selection, other: Selection, pods: Sequence[Object]) -> tuple[str, ...]:
    """The names of the pods that both selections hold."""
    first = {pod["metadata"]["name"] for pod in selected(pods, one)}
    second = {pod["metadata"]["name"] for pod in selected(pods, other)}
    return tuple(sorted(first & second)) if one.namespace == other.namespace else ()

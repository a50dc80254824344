"""
Reading Kubernetes objects: names, labels, age, readiness, and the workload a pod belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from canaryd.errors import Rejected

Json = dict[str, Any]
UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def is_ready(pod: Json) -> bool:
    """Whether the pod would stand in its Service's endpoints."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def workload_of(pod: Json) -> str:
    """
    The workload as Istio names it: the Deployment, read from the ReplicaSet's name and `pod-template-hash`.

    Istio: pkg/kube/util.go, GetDeployMetaFromPod.
    """
    template_hash = labels_of(pod).get("pod-template-hash", "")
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller", False):
            name = str(owner["name"])
            return name.removesuffix(f"-{template_hash}") if owner["kind"] == "ReplicaSet" else name
    return str(pod["metadata"]["name"])


def labels_of(each: Json) -> dict[str, str]:
    return each["metadata"].get("labels") or {}


def has_labels(pod: Json, labels: Mapping[str, str]) -> bool:
    return labels.items() <= labels_of(pod).items()


def namespace_of(each: Json) -> str:
    return str(each["metadata"].get("namespace") or "default")


def full_name(each: Json) -> tuple[str, str]:
    return (namespace_of(each), str(each["metadata"]["name"]))


def age_of(each: Json) -> tuple[str, str, str]:
    namespace, name = full_name(each)
    return (str(each["metadata"].get("creationTimestamp") or ""), name, namespace)


def where_of(each: Json) -> str:
    return f"{each['kind']} {namespace_of(each)}/{each['metadata']['name']}"


def only(value: Json, known: set[str], where: str) -> None:
    """Refuse what is set and not translated."""
    for key in value:
        if key not in known and value[key] not in (None, {}, [], False):
            raise Rejected(f"{where}: `{key}` is not translated by the lab; it translates {', '.join(sorted(known))}")


def seconds(duration: str, where: str) -> str:
    """Go's duration (`1m30s`, `500ms`) as protobuf writes it (`90s`, `0.5s`)."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise Rejected(f"{where}: {duration!r} is not a duration such as 5s, 500ms or 1m30s")
    total = sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
    return f"{total:.9f}".rstrip("0").rstrip(".") + "s"

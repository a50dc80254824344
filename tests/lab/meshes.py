"""Bookinfo's reviews as a cluster holds it, pods and all, without anything of Istio's."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
HOST = "reviews.default.svc.cluster.local"
VERSIONS = ("v1", "v2", "v3")
REPLICAS = 2


def reviews() -> list[Json]:
    """The Service, and the ready pods of its versions."""
    about = {"name": "reviews", "namespace": "default"}
    spec = {"ports": [{"name": "http", "port": 9080, "targetPort": 9080}], "selector": {"app": "reviews"}}
    pods = [pod(version, number) for version in VERSIONS for number in range(REPLICAS)]
    return [{"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}, *pods]


def pod(
    version: str = "v1",
    number: int = 0,
    *,
    namespace: str = "default",
    labels: Json | None = None,
    containers: list[Json] | None = None,
) -> Json:
    """A ready pod of a version with its sidecar; `labels` are added to its own."""
    own = {
        "app": "reviews",
        "version": version,
        "pod-template-hash": "abc",
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": "reviews",
        "service.istio.io/canonical-revision": version,
    }
    owner = {"kind": "ReplicaSet", "name": f"reviews-{version}-abc", "controller": True}
    app = {"name": "reviews", "ports": [{"containerPort": 9080}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"reviews-{version}-abc-{number}",
            "namespace": namespace,
            "labels": {**own, **(labels or {})},
            "ownerReferences": [owner],
        },
        "spec": {"containers": containers or [app, {"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }

"""
The server's half of `kubectl get`: Table objects with the columns people know.

Ages are computed at the moment of answering, as the real server does.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.selectors import value_at
from canaryd.lab.kubernetes.status import Object


def table(resource: Resource, items: list[Object], metadata: Object) -> Object:
    """A `meta.k8s.io/v1` Table; each row carries the object's metadata, which kubectl needs for namespaces."""
    names = [name for name, _ in _cells(resource, {})]
    columns = [
        {"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name in names
    ]
    rows = [{"cells": [value for _, value in _cells(resource, obj)], "object": _partial(obj)} for obj in items]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }


def _partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _cells(resource: Resource, obj: Object) -> list[tuple[str, Any]]:
    special = {"pods": _pod, "services": _service, "deployments": _deployment}
    middle = special[resource.plural](obj) if resource.plural in special and not resource.custom else []
    declared = [(name, _shown(value_at(obj, path))) for name, path in resource.columns]
    return [("Name", value_at(obj, "metadata.name")), *middle, *declared, ("Age", _age(obj))]


def _pod(obj: Object) -> list[tuple[str, Any]]:
    statuses = value_at(obj, "status.containerStatuses") or []
    total = len(value_at(obj, "spec.containers") or [])
    ready = sum(1 for one in statuses if one.get("ready"))
    phase = "Terminating" if value_at(obj, "metadata.deletionTimestamp") else value_at(obj, "status.phase")
    restarts = sum(int(one.get("restartCount", 0)) for one in statuses)
    return [("Ready", f"{ready}/{total}"), ("Status", phase or "Pending"), ("Restarts", restarts)]


def _service(obj: Object) -> list[tuple[str, Any]]:
    ports = value_at(obj, "spec.ports") or []
    listed = ",".join(f"{one.get('port')}/{one.get('protocol', 'TCP')}" for one in ports)
    kind = value_at(obj, "spec.type") or "ClusterIP"
    return [
        ("Type", kind),
        ("Cluster-IP", value_at(obj, "spec.clusterIP") or "None"),
        ("External-IP", "<none>"),
        ("Port(s)", listed or "<none>"),
    ]


def _deployment(obj: Object) -> list[tuple[str, Any]]:
    ready, wanted = value_at(obj, "status.readyReplicas") or 0, value_at(obj, "spec.replicas")
    return [("Ready", f"{ready}/{1 if wanted is None else wanted}")]


def _shown(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else value


def _age(obj: Object) -> str:
    created = value_at(obj, "metadata.creationTimestamp")
    if not created:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"

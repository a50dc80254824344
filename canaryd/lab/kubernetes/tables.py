"""
The server's half of `kubectl get`: Table objects with the columns people know.

Ages are computed at the moment of answering, as the real server does. Source: kubernetes,
pkg/printers/internalversion/printers.go; for custom resources apiextensions-apiserver, tableconvertor.go.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes import columns
from canaryd.lab.kubernetes.columns import Column
from canaryd.lab.kubernetes.jsonpath import found_at, printed
from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.selectors import value_at
from canaryd.lab.kubernetes.status import Object


def table(resource: Resource, items: list[Object], metadata: Object, *, include: str = "Metadata") -> Object:
    """A `meta.k8s.io/v1` Table; `include` is what rows carry of their object: None, Metadata or Object."""
    shown = [Column("Name", format="name"), *_declared(resource)] if resource.custom else columns.of(resource)
    definitions = [
        {"name": one.name, "type": one.type, "format": one.format, "description": one.told, "priority": one.priority}
        for one in shown
    ]
    rows = [{"cells": _cells(resource, obj), **_ended(resource, obj), **_carried(obj, include)} for obj in items]
    metadata = {key: value for key, value in metadata.items() if value != ""}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _carried(obj: Object, include: str) -> Object:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": obj}
    kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {"object": {**kind, "metadata": obj["metadata"]}}


def _ended(resource: Resource, obj: Object) -> Object:
    """A pod that has come to its end is marked."""
    told = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    phase = value_at(obj, "status.phase")
    if resource.qualified != "pods" or phase not in told:
        return {}
    return {"conditions": [{"type": "Completed", "status": "True", "reason": phase, "message": told[phase]}]}


def _cells(resource: Resource, obj: Object) -> list[Any]:
    if not resource.custom:
        return columns.cells(resource, obj)
    name = value_at(obj, "metadata.name")
    return [name, *(_custom_cell(one, obj) for one in _declared(resource))]


def _declared(resource: Resource) -> list[Column]:
    """A CustomResourceDefinition's printer columns; without any there is the age."""
    if not resource.columns:
        return [Column("Age", type="date", path=".metadata.creationTimestamp")]
    return list(resource.columns)


def _custom_cell(column: Column, obj: Object) -> Any:
    """None for what is not there or not of the column's type."""
    results = found_at(obj, column.path)
    if not results or results[0] is None:
        return None
    value = results[0]
    if column.type == "string":
        return printed(value)
    if column.type == "date":
        return columns.age(value) if isinstance(value, str) else None
    if column.type == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if column.type == "integer" or value == int(value) else float(value)

"""
The scale subresource: how many replicas an object wants, for `kubectl scale` and autoscalers, whatever its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.selectors import value_at
from canaryd.lab.kubernetes.status import ApiError, Cause, Object


@dataclass(frozen=True, slots=True)
class Paths:
    """Where an object keeps its numbers; those of a custom resource are its definition's."""

    wanted: str = "spec.replicas"
    current: str = "status.replicas"
    selector: str = "spec.selector"
    must_exist: bool = False  # a custom resource without a number cannot be scaled


def of(obj: Object, paths: Paths) -> Object:
    """The Scale of an object."""
    metadata = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    found: Object = {"replicas": int(value_at(obj, paths.current) or 0)}
    if selector := _selector(value_at(obj, paths.selector)):
        found["selector"] = selector
    wanted = value_at(obj, paths.wanted)
    if wanted is None and paths.must_exist:
        told = f'the spec replicas field "{paths.wanted}" does not exist'
        raise ApiError(500, "InternalError", f"Internal error occurred: {told}", causes=(Cause("", told),))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {} if not wanted else {"replicas": int(wanted)},
        "status": found,
    }


def _selector(selector: Any) -> str:
    if isinstance(selector, dict):
        return ",".join(f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items()))
    return selector if isinstance(selector, str) else ""


def patch(asked: Any, paths: Paths) -> Object:
    """A merge patch of the object for the Scale that was asked for. Raises ApiError 400 or 409."""
    if not isinstance(asked, dict) or asked.get("kind", "Scale") != "Scale":
        raise status.bad_request("the object provided is unrecognized (must be of type Scale)")
    wanted = (asked.get("spec") or {}).get("replicas", 0)
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise status.bad_request(f"spec.replicas: {wanted!r} is not a number of replicas")
    found: Any = wanted
    for part in reversed(paths.wanted.strip(".").split(".")):
        found = {part: found}
    version = (asked.get("metadata") or {}).get("resourceVersion")
    return {**found, "metadata": {"resourceVersion": version}} if version else dict(found)

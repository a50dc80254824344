"""Small objects for the mesh's tests: a `reviews` with three versions, and plans that move it."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from canaryd.lab.kubernetes.patching import json_patched
from canaryd.mesh.admission import Surroundings
from canaryd.model.plan import Plan
from canaryd.model.traffic import NOTHING, Entry, Marker, Route, Split, Version

Object = dict[str, Any]

CORPUS = Path(os.environ.get("CANARYD_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "istio-corpus")

V1, V2, V3 = Version("reviews", "v1"), Version("reviews", "v2"), Version("reviews", "v3")
ROUTE = Route("default", "reviews", "reviews", (Entry(0),), V1, V3)


def applied(found: Object, patch: list[Object]) -> Object:
    """The object after a patch, as an API server applies it. Raises ApiError when it does not apply."""
    return json_patched(found, patch)


def destination(version: Version, weight: int | None = None, **more: Any) -> Object:
    target = {"host": version.host} | ({"subset": version.subset} if version.subset else {}) | more
    return {"destination": target} | ({} if weight is None else {"weight": weight})


def entry(*destinations: Object, **more: Any) -> Object:
    return {**more, "route": list(destinations)}


def virtual_service(*entries: Object, name: str = "reviews", namespace: str = "default", **meta: Any) -> Object:
    return copy.deepcopy(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": "7", **meta},
            "spec": {"hosts": [name], "http": list(entries)},
        }
    )


def at(stable: int, canary: int) -> Object:
    """`reviews` with v1 and v3 at these weights."""
    return virtual_service(entry(destination(V1, stable), destination(V3, canary)))


def marker(split: str | float = 0, *, seq: int = 1, run: str = "run-1", was: Split = NOTHING, **more: Any) -> Marker:
    return Marker(run, seq, Split.percent(split), was, V1, V3, 1_700_000_000.0, **more)


def service(name: str = "reviews", namespace: str = "default") -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]},
    }


def destination_rule(*subsets: str, host: str = "reviews", namespace: str = "default", **more: Any) -> Object:
    names = subsets or ("v1", "v2", "v3")
    return {
        "metadata": {"name": "reviews", "namespace": namespace},
        "spec": {"host": host, "subsets": [{"name": name, "labels": {"version": name}} for name in names], **more},
    }


def pod(version: str, number: int = 0, *, ready: bool = True, template: str = "abc", **meta: Any) -> Object:
    return {
        "metadata": {
            "name": f"reviews-{version}-{template}-{number}",
            "namespace": "default",
            "uid": f"pod-{version}-{number}",
            "labels": {"app": "reviews", "version": version, "pod-template-hash": template},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": f"reviews-{version}-{template}", "uid": "rs", "controller": True}
            ],
            **meta,
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def deployment(version: str, wanted: int = 2, **status: Any) -> Object:
    return {
        "metadata": {"name": f"reviews-{version}", "namespace": "default", "uid": f"deploy-{version}", "generation": 1},
        "spec": {
            "replicas": wanted,
            "template": {"metadata": {"labels": {"app": "reviews", "version": version}}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted,
            **status,
        },
    }


def surroundings(**more: Any) -> Surroundings:
    """What belongs to `reviews` when all is well."""
    known: dict[str, Any] = {
        "destination_rules": [destination_rule()],
        "services": [service()],
        "pods": [pod(version, number) for version in ("v1", "v2", "v3") for number in range(2)],
        "deployments": [deployment(version) for version in ("v1", "v2", "v3")],
    }
    return Surroundings(**{**known, **more})


def plan(*, objectives: bool = False, start: str = "stable", **target: Any) -> Plan:
    """A plan that brings `reviews` from v1 to v3; ``objectives``: without comparing them."""
    spec: Object = {
        "target": {
            "virtualService": "reviews",
            "host": "reviews",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v3"},
            **target,
        },
        "steps": [{"weight": 5}, {"weight": 50}],
        "start": {"from": start},
    }
    spec["target"] = {key: value for key, value in spec["target"].items() if value is not None}
    if objectives:
        spec["acceptUnproven"] = "only objectives"
        spec["analysis"] = {"checks": [{"name": "slo", "metric": "error-rate", "atMost": "1%"}]}
    return Plan.model_validate(
        {
            "apiVersion": "canaryd.io/v1alpha1",
            "kind": "CanaryPlan",
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": spec,
        }
    )

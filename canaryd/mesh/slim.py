"""
What is kept in memory of the objects around a route: little, for a namespace may have thousands of pods.

Each function here must keep everything that pods.py and admission.py read of its kind when they look at both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canaryd.cluster.shelf import Care
from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, PODS, SERVICES, Kind, Object
from canaryd.mesh.templates import essence

META = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
)


def slim_pod(pod: Object) -> Object:
    """Whose it is, and whether it gets requests."""
    status = pod.get("status") or {}
    ready = [
        {"type": one["type"], "status": one.get("status")}
        for one in status.get("conditions") or ()
        if one.get("type") == "Ready"
    ]
    owners = [_only(one, ("kind", "name", "uid", "controller")) for one in pod["metadata"].get("ownerReferences") or ()]
    meta = _meta(pod) | ({"ownerReferences": owners} if owners else {})
    return _whole(pod, meta, {"status": _only(status, ("phase",)) | {"conditions": ready}})


def slim_deployment(deployment: Object) -> Object:
    """What it wants, what its pods run, and how far it has got."""
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    kept = {
        "spec": _only(spec, ("replicas",))
        | {"template": {"metadata": {"labels": labels}, "essence": essence(deployment)}},
        "status": _only(status, ("observedGeneration", "replicas", "updatedReplicas", "availableReplicas")),
    }
    return _whole(deployment, _meta(deployment), kept)


def slim_service(service: Object) -> Object:
    """What it selects."""
    return _whole(service, _meta(service), {"spec": _only(service.get("spec") or {}, ("selector",))})


def slim_rule(rule: Object) -> Object:
    """The subsets of a host."""
    spec = rule.get("spec") or {}
    kept = _only(spec, ("host", "workloadSelector"))
    if "subsets" in spec:
        kept["subsets"] = [_only(one, ("name", "labels")) for one in spec["subsets"] or ()]
    return _whole(rule, _meta(rule), {"spec": kept})


# Pods and Deployments say whether the canary is alive: a watch on them that has died in silence is found out within
# half a minute. A selector or a subset that is edited meanwhile is a matter of minutes in any case.
CARE: Mapping[Kind, Care] = {
    PODS: Care(slim_pod, (20, 30)),
    DEPLOYMENTS: Care(slim_deployment, (20, 30)),
    SERVICES: Care(slim_service),
    DESTINATION_RULES: Care(slim_rule),
    Kind(DESTINATION_RULES.group, "v1beta1", DESTINATION_RULES.plural): Care(slim_rule),
}


def _whole(found: Object, meta: Object, rest: Object) -> Object:
    """A bookmark is of the kind too, and has nothing but metadata."""
    return _only(found, ("apiVersion", "kind")) | {"metadata": meta} | rest


def _meta(found: Object) -> Object:
    return _only(found.get("metadata") or {}, META)


def _only(found: Mapping[str, object], keys: Iterable[str]) -> Object:
    return {key: found[key] for key in keys if key in found}

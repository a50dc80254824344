"""
What the API server refuses of Kubernetes' own kinds although it can be decoded: the mistakes that people make.

A small part of a real one's checks, chosen by what one writes by hand: Deployments, Services, Leases, roles. Source:
kubernetes, pkg/apis/*/validation/validation.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.selectors import value_at
from canaryd.lab.kubernetes.status import Cause, Object

_PORTS = "must be between 1 and 65535, inclusive"
_LAST_PORT = 65_535


def wrong(resource: Resource, obj: Object) -> Iterator[Cause]:
    """What is wrong with an object, one cause for each; nothing for kinds that are not looked at."""
    check = _CHECKS.get(resource.qualified)
    if check:
        yield from check(obj)


def _required(field: str, told: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {told}" if told else "Required value", field)


def _invalid(field: str, value: Any, told: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value, separators=(',', ':'))}: {told}", field)


def _workload(obj: Object) -> Iterator[Cause]:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet: selector and template fit, containers have name and image."""
    selector = value_at(obj, "spec.selector")
    labels = value_at(obj, "spec.template.metadata.labels") or {}
    if selector is None:
        yield _required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        told = "empty selector is invalid for deployment"
        yield _invalid("spec.selector", {}, told)
    if not _fits(selector or {}, labels):
        told = "`selector` does not match template `labels`"
        yield _invalid("spec.template.metadata.labels", labels or None, told)
    replicas = value_at(obj, "spec.replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield _invalid("spec.replicas", replicas, "must be greater than or equal to 0")
    yield from _pod_spec(value_at(obj, "spec.template.spec") or {}, "spec.template.spec")


def _fits(selector: Object, labels: Object) -> bool:
    wanted = selector.get("matchLabels") or {}
    if not wanted and not selector.get("matchExpressions"):
        return False
    return all(labels.get(key) == value for key, value in wanted.items())


def _pod(obj: Object) -> Iterator[Cause]:
    yield from _pod_spec(obj.get("spec") or {}, "spec")


def _pod_spec(spec: Object, place: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield _required(f"{place}.containers")
    seen: set[str] = set()
    for index, one in enumerate(containers):
        here = f"{place}.containers[{index}]"
        if not one.get("name"):
            yield _required(f"{here}.name")
        elif one["name"] in seen:
            yield Cause("FieldValueDuplicate", f'Duplicate value: "{one["name"]}"', f"{here}.name")
        seen.add(one.get("name", ""))
        if not one.get("image"):
            yield _required(f"{here}.image")
        for number, port in enumerate(one.get("ports") or []):
            if "containerPort" not in port:
                yield _required(f"{here}.ports[{number}].containerPort")
            elif not 1 <= port["containerPort"] <= _LAST_PORT:
                yield _invalid(f"{here}.ports[{number}].containerPort", port["containerPort"], _PORTS)


def _service(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        yield _required("spec.ports")
    for index, one in enumerate(ports):
        if len(ports) > 1 and not one.get("name"):
            yield _required(f"spec.ports[{index}].name")
        if not 1 <= int(one.get("port") or 0) <= _LAST_PORT:
            yield _invalid(f"spec.ports[{index}].port", one.get("port", 0), _PORTS)
        target = one.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= _LAST_PORT:
            yield _invalid(f"spec.ports[{index}].targetPort", target, _PORTS)


def _lease(obj: Object) -> Iterator[Cause]:
    seconds = value_at(obj, "spec.leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield _invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    transitions = value_at(obj, "spec.leaseTransitions")
    if transitions is not None and transitions < 0:
        yield _invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


def _definition(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    if obj["metadata"]["name"] != wanted:
        told = 'must be spec.names.plural+"."+spec.group'
        yield _invalid("metadata.name", obj["metadata"]["name"], told)
    for index, one in enumerate(spec.get("versions") or []):
        if not (one.get("schema") or {}).get("openAPIV3Schema"):
            yield _required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")


_CHECKS: dict[str, Callable[[Object], Iterator[Cause]]] = {
    "pods": _pod,
    "services": _service,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
    "leases.coordination.k8s.io": _lease,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
}


def wrongly_changed(resource: Resource, old: Object, new: Object) -> Iterator[Cause]:
    """What an update changes that may not change: a selector, a cluster IP, what is marked immutable, a pod."""
    if resource.qualified in ("deployments.apps", "replicasets.apps", "daemonsets.apps"):
        selector = value_at(new, "spec.selector")
        if selector != value_at(old, "spec.selector"):
            yield _invalid("spec.selector", selector, _IMMUTABLE)
    elif resource.qualified == "services":
        addresses = value_at(new, "spec.clusterIPs")
        kind = value_at(new, "spec.type")
        if kind != "ExternalName" and value_at(old, "spec.clusterIPs") not in (None, addresses):
            yield _invalid("spec.clusterIPs[0]", addresses, "may not change once set")
    elif resource.qualified in ("configmaps", "secrets"):
        yield from _changed_data(old, new)
    elif resource.qualified == "pods":
        if _fixed_part(old) != _fixed_part(new):
            yield Cause("FieldValueForbidden", f"Forbidden: {_POD_UPDATES}", "spec")
    elif resource.plural.endswith("rolebindings") and new.get("roleRef") != old.get("roleRef"):
        reference = {key[:1].upper() + key[1:]: value for key, value in (new.get("roleRef") or {}).items()}
        shown = {key.replace("ApiGroup", "APIGroup"): reference[key] for key in sorted(reference)}
        yield _invalid("roleRef", shown, "cannot change roleRef")


_IMMUTABLE = "field is immutable"
_POD_UPDATES = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _changed_data(old: Object, new: Object) -> Iterator[Cause]:
    forbidden = f"Forbidden: {_IMMUTABLE} when `immutable` is set"
    if old.get("immutable"):
        if not new.get("immutable"):
            yield Cause("FieldValueForbidden", forbidden, "immutable")
        for field in ("data", "binaryData"):
            if new.get(field) != old.get(field):
                yield Cause("FieldValueForbidden", forbidden, field)
    if old.get("type") != new.get("type"):
        yield _invalid("type", new.get("type"), _IMMUTABLE)


def _fixed_part(pod: Object) -> Object:
    """A pod's spec without what may change."""
    spec = dict(pod.get("spec") or {})
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        spec.pop(field, None)
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [{key: value for key, value in one.items() if key != "image"} for one in spec[field]]
    return spec

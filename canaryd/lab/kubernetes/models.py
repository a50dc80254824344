"""
The schemas of Kubernetes' own kinds, read from the models of its Python client.

The client is generated from the API's OpenAPI document, so its models know every field, type and description; what they
have lost (which lists are keyed by what, defaults) is written down in `builtin.py`. This is the lab's only use of the
client library, and it is imported at the first need: it costs 0.3 s.
"""

from __future__ import annotations

import functools
import re
from typing import Any

Schema = dict[str, Any]

MODEL = "x-canaryd-model"  # in a schema: the model it was read from, so that documents can refer to it by name
_LIST = re.compile(r"(?:List|list)\[(.+)\]")
_MAP = re.compile(r"(?:Dict|dict)[\[(]str, (.+)[\])]")
_SIMPLE: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
}
_LOOSE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_EITHER: Schema = {"x-kubernetes-int-or-string": True}
QUANTITY = "x-canaryd-quantity"  # in a schema: the number or text is a quantity, such as 500m
_QUANTITY: Schema = {**_EITHER, QUANTITY: True}
# Quantities are texts to the client, and numbers are accepted for them. Source: apimachinery, pkg/api/resource.
_QUANTITIES = ("limits", "requests", "capacity", "allocatable", "hard", "used", "sizeLimit", "overhead")
_RAW = ("V1JSONSchemaProps",)  # describes itself, without end

# What the client's models have lost: keyed lists, sets, atomic maps, defaults of keys. By model and field; the keys are
# those of the `listType` and `listMapKey` tags. Source: k8s.io/api, types.go of each group.
_KEYED: dict[str, tuple[str, ...]] = {
    "V1PodSpec.containers": ("name",),
    "V1PodSpec.initContainers": ("name",),
    "V1PodSpec.ephemeralContainers": ("name",),
    "V1PodSpec.volumes": ("name",),
    "V1PodSpec.imagePullSecrets": ("name",),
    "V1PodSpec.hostAliases": ("ip",),
    "V1PodSpec.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "V1PodSpec.resourceClaims": ("name",),
    "V1PodSpec.schedulingGates": ("name",),
    "V1Container.ports": ("containerPort", "protocol"),
    "V1Container.env": ("name",),
    "V1Container.volumeMounts": ("mountPath",),
    "V1Container.volumeDevices": ("devicePath",),
    "V1ServiceSpec.ports": ("port", "protocol"),
    "V1ServiceAccount.secrets": ("name",),
    "V1ObjectMeta.ownerReferences": ("uid",),
    "V1PodStatus.podIPs": ("ip",),
    "V1PodStatus.conditions": ("type",),
    "V1ServiceStatus.conditions": ("type",),
    "V1NamespaceStatus.conditions": ("type",),
    "V1NodeStatus.conditions": ("type",),
    "V1NodeStatus.addresses": ("type",),
    "V1DeploymentStatus.conditions": ("type",),
    "V1ReplicaSetStatus.conditions": ("type",),
    "V1StatefulSetStatus.conditions": ("type",),
    "V1DaemonSetStatus.conditions": ("type",),
    "V1CustomResourceDefinitionStatus.conditions": ("type",),
    "V1PodDisruptionBudgetStatus.conditions": ("type",),
    "V2HorizontalPodAutoscalerStatus.conditions": ("type",),
    "V1ValidatingWebhookConfiguration.webhooks": ("name",),
    "V1MutatingWebhookConfiguration.webhooks": ("name",),
}
_SETS = ("V1ObjectMeta.finalizers",)
_ATOMIC = frozenset(
    {
        "V1LabelSelector", "V1ObjectReference", "CoreV1ObjectReference", "V1LocalObjectReference",
        "V1TypedLocalObjectReference", "V1SecretReference", "V1SecretKeySelector", "V1ConfigMapKeySelector",
        "V1ObjectFieldSelector", "V1ResourceFieldSelector", "V1OwnerReference", "V1NodeSelector",
        "V1NodeSelectorTerm", "V1RoleRef", "V1ParamKind", "V1ParamRef",
        "V1TopologySelectorTerm", "V1ScopeSelector", "RbacV1Subject",
    }
)  # fmt: skip
_ATOMIC_FIELDS = ("V1ServiceSpec.selector", "V1PodSpec.nodeSelector")
_KEY_DEFAULTS = {"V1ContainerPort.protocol": "TCP", "V1ServicePort.protocol": "TCP"}


@functools.cache
def model_schema(name: str) -> Schema:
    """The schema of the client's model `name` (``V1Deployment``); types share their inner schemas, do not mutate them.

    Raises KeyError where the installed client has no such model.
    """
    if name in _RAW:
        return _LOOSE
    found = _model(name)
    types: dict[str, str] = found.openapi_types
    names: dict[str, str] = found.attribute_map
    properties: dict[str, Any] = {}
    for attribute, kind in types.items():
        field = names[attribute]
        schema = _EITHER if _is_either(found, attribute, kind) else _type(kind, field)
        schema = _as_merged(schema, f"{name}.{field}")
        told = _told_of_field(found, attribute)
        properties[field] = {**schema, "description": told} if told else schema
    schema = {"type": "object", "properties": properties, "description": _told(found), MODEL: name}
    if name in _ATOMIC:
        schema["x-kubernetes-map-type"] = "atomic"
    required = [names[one] for one in types if _is_required(found, one)]
    return {**schema, "required": required} if required else schema


def _as_merged(schema: Schema, place: str) -> Schema:
    """With what server-side apply has to know of a field."""
    if place in _KEYED:
        return {**schema, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(_KEYED[place])}
    if place in _SETS:
        return {**schema, "x-kubernetes-list-type": "set"}
    if place in _ATOMIC_FIELDS:
        return {**schema, "x-kubernetes-map-type": "atomic"}
    return {**schema, "default": _KEY_DEFAULTS[place]} if place in _KEY_DEFAULTS else schema


def _model(name: str) -> Any:
    import kubernetes.client.models as models

    try:
        return getattr(models, name)
    except AttributeError:
        raise KeyError(name) from None


def _type(kind: str, field: str = "") -> Schema:
    if found := _LIST.fullmatch(kind):
        return {"type": "array", "items": _type(found[1])}
    if found := _MAP.fullmatch(kind):
        return {"type": "object", "additionalProperties": _QUANTITY if field in _QUANTITIES else _type(found[1])}
    if kind == "object":
        return {"x-kubernetes-preserve-unknown-fields": True}
    if kind == "str" and field in _QUANTITIES:
        return _QUANTITY
    return _SIMPLE[kind] if kind in _SIMPLE else model_schema(kind)


def _is_either(model: Any, attribute: str, kind: str) -> bool:
    """IntOrString is an `object` to the client; since version 36 its annotation tells it apart."""
    if kind != "object":
        return False
    fields = getattr(model, "model_fields", {})
    if attribute in fields:
        shown = str(fields[attribute].annotation)
        return "int" in shown and "str" in shown
    return attribute in ("target_port", "port", "max_surge", "max_unavailable", "min_available")


def _is_required(model: Any, attribute: str) -> bool:
    fields = getattr(model, "model_fields", {})
    return bool(fields[attribute].is_required()) if attribute in fields else False


def _told(model: Any) -> str:
    """The type's description; older clients have none and speak of the generator instead."""
    told = str(model.__doc__ or "").split("Attributes:", 1)[0].strip()
    return "" if told.startswith("NOTE:") else told


def _told_of_field(model: Any, attribute: str) -> str:
    fields = getattr(model, "model_fields", {})
    if attribute in fields:
        return str(fields[attribute].description or "")
    told = str(getattr(model, attribute).__doc__ or "")
    lines = told.split(":return:", 1)[0].strip().splitlines()
    return lines[-1].strip().removesuffix("# noqa: E501").strip() if len(lines) > 1 else ""


def type_name(name: str) -> str:
    """``V1DeploymentSpec`` and ``CoreV1Event`` as the API calls them: DeploymentSpec, Event."""
    return re.sub(r"^[A-Za-z]*?V\d+(alpha\d+|beta\d+)?", "", name)

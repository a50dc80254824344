"""
What a request's body becomes when it is one of Kubernetes' own kinds: what its Go struct has no field for is dropped.

What has the wrong type is refused with the sentence of Go's JSON decoder, which people read. Source: Go,
encoding/json; sigs.k8s.io/json; apimachinery, pkg/apis/meta/v1/{time,micro_time}.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from canaryd.lab.kubernetes.models import MODEL, type_name
from canaryd.lab.kubernetes.resources import Schema

_LONG = (
    "generation", "observedGeneration", "terminationGracePeriodSeconds", "deletionGracePeriodSeconds",
    "activeDeadlineSeconds", "expirationSeconds", "runAsUser", "runAsGroup", "fsGroup", "tolerationSeconds",
    "startingDeadlineSeconds",
)  # fmt: skip
MICRO = ("acquireTime", "renewTime", "eventTime", "lastObservedTime")
_LAYOUTS = {True: "2006-01-02T15:04:05.000000Z07:00", False: "2006-01-02T15:04:05Z07:00"}
_GO_TYPES = {"string": "string", "boolean": "bool", "number": "float64", "object": "map[string]string"}


class UndecodableError(ValueError):
    """The value has a type that the field cannot hold; the message is Go's, another for a server-side apply."""

    def __init__(self, message: str, told_of_manifest: str) -> None:
        super().__init__(message)
        self.told_of_manifest = told_of_manifest


_MERGE_WORDS = {
    "integer": "numeric (int or float)",
    "number": "numeric (int or float)",
    "array": "list",
    "object": "map",
}


def decoded(schema: Schema, value: Any, unknown: list[str]) -> Any:
    """`value` without what `schema` has no field for; those paths are added to `unknown`. Raises UndecodableError."""
    return _decoded(schema, value, "", "", unknown)


def _decoded(schema: Schema, value: Any, path: str, struct: str, unknown: list[str]) -> Any:
    kind = schema.get("type")
    if value is None or kind is None:
        _check_either(schema, value, path, struct)
        return value
    if kind == "object":
        if not isinstance(value, dict):
            raise _wrong(schema, value, path, struct)
        return _object(schema, value, path, struct, unknown)
    if kind == "array":
        if not isinstance(value, list):
            raise _wrong(schema, value, path, struct)
        items = schema.get("items", {})
        return [_decoded(items, one, f"{path}[{index}]", struct, unknown) for index, one in enumerate(value)]
    _check_scalar(schema, kind, value, path, struct)
    return value


def _object(schema: Schema, value: dict[str, Any], path: str, owner: str, unknown: list[str]) -> dict[str, Any]:
    properties = schema.get("properties")
    rest = schema.get("additionalProperties")
    struct = type_name(schema[MODEL]) if MODEL in schema else ""
    kept: dict[str, Any] = {}
    for key, inner in value.items():
        below = f"{path}.{key}" if path else key
        if properties is None:
            kept[key] = _decoded(rest, inner, path, owner, unknown) if isinstance(rest, dict) else inner
        elif key in properties:
            kept[key] = _decoded(properties[key], inner, below, struct, unknown)
        else:
            unknown.append(below)
    return kept


def _check_either(schema: Schema, value: Any, path: str, struct: str) -> None:
    if value is None or not schema.get("x-kubernetes-int-or-string"):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong(schema, value, path, struct)


def _check_scalar(schema: Schema, kind: str, value: Any, path: str, struct: str) -> None:
    good = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not good.get(kind, True):
        raise _wrong(schema, value, path, struct)
    if schema.get("format") == "date-time":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            layout = _LAYOUTS[path.rpartition(".")[2] in MICRO]
            told = f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"'
            raise UndecodableError(told, told) from None


def _wrong(schema: Schema, value: Any, path: str, struct: str) -> UndecodableError:
    told = "bool" if isinstance(value, bool) else "string"
    if isinstance(value, dict):
        told = "object"
    elif isinstance(value, list):
        told = "array"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        told = f"number {value}" if isinstance(value, float) else "number"
    place = ".".join(part.partition("[")[0] for part in path.split("."))
    message = f"json: cannot unmarshal {told} into Go struct field {struct}.{place} of type {_go(schema, path)}"
    wanted = _MERGE_WORDS.get(str(schema.get("type")), str(schema.get("type")))
    return UndecodableError(message, f".{path}: expected {wanted}, got {told.partition(' ')[0]}")


def _go(schema: Schema, path: str) -> str:
    if MODEL in schema:
        return f"v1.{type_name(schema[MODEL])}"
    kind = str(schema.get("type", ""))
    if kind == "integer":
        return "int64" if path.rpartition(".")[2] in _LONG else "int32"
    if kind == "array":
        return f"[]{_go(schema.get('items', {}), path)}"
    return _GO_TYPES.get(kind, "intstr.IntOrString")

"""
Bodies in Kubernetes' protobuf, which Go clients send for built-in kinds: kubectl's `create` since 1.32, controllers.

Only read, never written: a client that sends protobuf also takes JSON. The numbers of fields are in wire.txt, their
types in the models. Source: apimachinery, pkg/runtime/serializer/protobuf (the envelope); protobuf's wire format.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from canaryd.lab.kubernetes.decoding import MICRO
from canaryd.lab.kubernetes.fieldsets import below
from canaryd.lab.kubernetes.models import MODEL, Schema, model_schema

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63
# Pointers in Go: zero is something else than nothing there. Source: k8s.io/api, types.go.
_MAY_BE_ZERO = (
    "replicas", "minReplicas", "revisionHistoryLimit", "progressDeadlineSeconds", "backoffLimit", "partition",
    "completions", "parallelism", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "ttlSecondsAfterFinished",
    "gracePeriodSeconds", "leaseTransitions", "leaseDurationSeconds", "maxUnavailable", "maxSurge", "minAvailable",
    "successfulJobsHistoryLimit", "failedJobsHistoryLimit", "runAsUser", "runAsGroup", "fsGroup", "tolerationSeconds",
    "priority", "defaultMode", "mode", "targetPort", "port",
)  # fmt: skip
Field = tuple[int, int | bytes]  # number, value


class WireError(ValueError):
    """This is no protobuf, or of a type that is not known here."""


def from_protobuf(body: bytes, model: str) -> dict[str, Any]:
    """The object in a protobuf body, as JSON would have it. Raises WireError."""
    if not body.startswith(MAGIC):
        raise WireError("the body does not begin as Kubernetes' protobuf does")
    envelope = dict(_fields(body[len(MAGIC) :]))
    kind = dict(_fields(_bytes(envelope.get(1, b""))))
    found = _message(_bytes(envelope.get(2, b"")), model_schema(model), model)
    return {"apiVersion": _bytes(kind.get(1, b"")).decode(), "kind": _bytes(kind.get(2, b"")).decode(), **found}


@functools.cache
def _numbers() -> dict[str, tuple[str, ...]]:
    """Field names by model, the first has number 1."""
    lines = Path(__file__).with_name("wire.txt").read_text(encoding="utf-8").splitlines()
    return {name: tuple(fields) for name, *fields in (line.split() for line in lines)}


def _message(data: bytes, schema: Schema, model: str) -> dict[str, Any]:
    names = _numbers().get(model)
    if names is None:
        raise WireError(f"{model} is not known in protobuf here; send JSON")
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        name = names[number - 1] if number <= len(names) else "-"
        if name.startswith("*"):
            found |= _message(_bytes(value), schema, name[1:])
        elif name != "-":
            _put(found, name, value, below(schema, name))
    return found


def _put(found: dict[str, Any], name: str, value: int | bytes, schema: Schema) -> None:
    if schema.get("type") == "array":
        found.setdefault(name, []).append(_value(value, schema["items"], name))
    elif isinstance(schema.get("additionalProperties"), dict):
        entry = dict(_fields(_bytes(value)))
        key = _bytes(entry.get(1, b"")).decode()
        found.setdefault(name, {})[key] = _value(entry.get(2, b""), schema["additionalProperties"], name)
    elif (given := _value(value, schema, name)) != "" and (given != 0 or given is False or name in _MAY_BE_ZERO):
        found[name] = given  # Go writes every number and text that is no pointer; JSON leaves the empty ones out


def _value(value: int | bytes, schema: Schema, name: str) -> Any:
    kind = schema.get("type")
    if MODEL in schema:
        return _message(_bytes(value), schema, schema[MODEL])
    if schema.get("x-kubernetes-int-or-string"):
        return _either(_bytes(value))
    if kind == "boolean":
        return bool(value)
    if kind == "integer":
        number = int(value)
        return number - 2 * _SIGN if number >= _SIGN else number
    if kind != "string":
        raise WireError(f"{name} is of a type that is not known in protobuf here; send JSON")
    if schema.get("format") == "date-time":
        return _time(_bytes(value), micro=name in MICRO)
    if schema.get("format") == "byte":
        return base64.b64encode(_bytes(value)).decode()
    return _bytes(value).decode()


def _either(data: bytes) -> Any:
    """IntOrString has a type, a number and a text; a Quantity only a text."""
    found = dict(_fields(data))
    if isinstance(found.get(1), bytes):
        return _bytes(found[1]).decode()
    if found.get(1):
        return _bytes(found.get(3, b"")).decode()
    number = int(found.get(2, 0))
    return number - 2 * _SIGN if number >= _SIGN else number


def _time(data: bytes, *, micro: bool) -> str | None:
    found = dict(_fields(data))
    if not found:
        return None
    moment = datetime.fromtimestamp(int(found.get(1, 0)), UTC).replace(microsecond=int(found.get(2, 0)) // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise WireError("a number where a text or a message should be")
    return value


def _fields(data: bytes) -> Iterator[Field]:
    """The fields of a message in their order."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"wire type {kind} is not known")
        if position + size > len(data):
            raise WireError("the message ends too early")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if position >= len(data):
            raise WireError("the message ends too early")
        byte = data[position]
        found |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return found, position

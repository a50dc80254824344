"""
Structural schemas: what a CustomResourceDefinition says about its objects, checked, pruned and defaulted in one walk.

The dialect is the API server's (apiextensions-apiserver: pkg/apiserver/schema), not JSON Schema at large: an object
keeps only declared fields, unless `additionalProperties` or `x-kubernetes-preserve-unknown-fields` say otherwise, and
a field set to null counts as absent unless it is `nullable`. Messages are the API server's: people read them.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canaryd.lab.kubernetes.resources import Schema
from canaryd.lab.kubernetes.status import Cause

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass(slots=True)
class Reading:
    """An object seen through its schema: `value` is pruned and defaulted, `unknown` are the paths that were pruned."""

    value: Any = None
    unknown: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)


def read(schema: Schema, value: Any, path: str = "") -> Reading:
    """Check `value` against a structural schema; `path` is where it sits (``spec``), for the messages."""
    reading = Reading()
    reading.value = _read(schema, value, path, reading)
    return reading


def _read(schema: Schema, value: Any, path: str, reading: Reading) -> Any:
    if value is None and schema.get("nullable"):
        return None
    if not _has_type(schema, value):
        reading.causes.append(_wrong_type(schema, value, path))
        _check_enum(schema, value, path, reading)
        return value
    _check_value(schema, value, path, reading)
    if isinstance(value, dict):
        return _read_object(schema, value, path, reading)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_read(items, item, f"{path}[{index}]", reading) for index, item in enumerate(value)]
    return value


def _has_type(schema: Schema, value: Any) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    wanted = str(schema.get("type", ""))
    if not wanted:
        return True
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def _wrong_type(schema: Schema, value: Any, path: str) -> Cause:
    """Source: kube-openapi, pkg/validation/errors: ``%s in %s must be of type %s: %q``."""
    wanted = schema.get("type", "integer,string")
    shown = _type_name(value)
    message = f'Invalid value: "{shown}": {path} in body must be of type {wanted}: "{shown}"'
    return Cause("FieldValueTypeInvalid", message, path)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for name in ("object", "array", "string", "integer", "number"):
        if isinstance(value, _TYPES[name]):
            return name
    return type(value).__name__


def _check_enum(schema: Schema, value: Any, path: str, reading: Reading) -> None:
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(one) for one in schema["enum"])
        message = f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
        reading.causes.append(Cause("FieldValueNotSupported", message, path))


def _check_value(schema: Schema, value: Any, path: str, reading: Reading) -> None:
    _check_enum(schema, value, path, reading)
    reading.causes += _too_much(schema, value, path)
    if isinstance(value, list):
        reading.causes += _duplicates(schema, value, path)
    for wrong in _broken_bounds(schema, value, path):
        reading.causes.append(Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {wrong}", path))
    if schema.get("format") == "date-time" and isinstance(value, str) and not _is_time(value):
        told = f'Invalid value: "{value}": {path} in body must be of type date-time: "{value}"'
        reading.causes.append(Cause("FieldValueTypeInvalid", told, path))


def _too_much(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        told = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield Cause("FieldValueTooLong", told, path)
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        told = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Cause("FieldValueTooMany", told, path)


def _duplicates(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    """Items of a set or of a keyed list that are there twice."""
    kind, seen = schema.get("x-kubernetes-list-type"), set()
    if kind not in ("set", "map"):
        return
    for index, one in enumerate(value):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        shown = one if kind == "set" else {key: one[key] for key in keys if isinstance(one, dict) and key in one}
        text = json.dumps(shown, separators=(",", ":"), sort_keys=True)
        if text in seen:
            yield Cause("FieldValueDuplicate", f"Duplicate value: {text}", f"{path}[{index}]")
        seen.add(text)


def _broken_bounds(schema: Schema, value: Any, path: str) -> list[str]:
    wrong: list[str] = []
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")  # a format like int32 is not checked
        if low is not None and schema.get("exclusiveMinimum") and value == low:
            wrong.append(f"{path} in body should be greater than {low}")
        if high is not None and schema.get("exclusiveMaximum") and value == high:
            wrong.append(f"{path} in body should be less than {high}")
        if low is not None and value < low:
            wrong.append(f"{path} in body should be greater than or equal to {low}")
        if high is not None and value > high:
            wrong.append(f"{path} in body should be less than or equal to {high}")
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            wrong.append(f"{path} in body should match '{schema['pattern']}'")
        if len(value) < schema.get("minLength", 0):
            wrong.append(f"{path} in body should be at least {schema['minLength']} chars long")
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        wrong.append(f"{path} in body should have at least {schema['minItems']} items")
    return wrong


def _read_object(schema: Schema, value: dict[str, Any], path: str, reading: Reading) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    kept: dict[str, Any] = {}
    for key, found in value.items():
        below = f"{path}.{key}" if path else key
        if key in properties:
            inner = properties[key]
            if found is None and not inner.get("nullable"):
                continue  # as if it were not there
            kept[key] = _read(inner, found, below, reading)
        elif isinstance(rest, dict) and found is None and not rest.get("nullable"):
            continue
        elif isinstance(rest, dict):
            kept[key] = _read(rest, found, below, reading)
        elif rest is True or schema.get("x-kubernetes-preserve-unknown-fields") or not properties:
            kept[key] = found
        else:
            reading.unknown.append(below)
    for key, inner in properties.items():
        if key not in kept and "default" in inner:
            kept[key] = _read(inner, copy.deepcopy(inner["default"]), f"{path}.{key}" if path else key, reading)
    for key in schema.get("required", ()):
        if key not in kept:
            below = f"{path}.{key}" if path else key
            reading.causes.append(Cause("FieldValueRequired", "Required value", below))
    return kept


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return "T" in text.upper()

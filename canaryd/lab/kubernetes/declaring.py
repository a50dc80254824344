"""
Words to declare structural schemas with: what a generated CustomResourceDefinition spells out in pages.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.resources import Schema
from canaryd.lab.kubernetes.validations import Rule, rule

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
INT32: Schema = {"type": "integer", "format": "int32"}
UINT32: Schema = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
UINT64: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "format": "double"}
DURATION: Schema = {"type": "string", "x-lab-rules": [rule("must be a valid duration greater than 1ms", "duration")]}
INT_OR_TEXT: Schema = {"x-kubernetes-int-or-string": True}
TIME: Schema = {"type": "string", "format": "date-time"}


def struct(*, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found


def array(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def mapping(values: Schema, **bounds: int) -> Schema:
    return {"type": "object", "additionalProperties": values, **bounds}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema, **bounds: float) -> Schema:
    """A wrapper of the protobuf (`BoolValue` and the like): null is as good as absent."""
    return {**schema, **bounds, "nullable": True}


def one_of(schema: Schema, *fields: str) -> Schema:
    """`schema` with at most one of `fields`. A second group makes it an `allOf` of both."""
    wanted = [{"required": [field]} for field in fields]
    group = [{"not": {"anyOf": wanted}}, *wanted]
    if "oneOf" not in schema:
        return {**schema, "oneOf": group}
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    return {**rest, "allOf": [{"oneOf": schema["oneOf"]}, {"oneOf": group}]}


def ruled(schema: Schema, *rules: Rule) -> Schema:
    return {**schema, "x-lab-rules": list(rules)}

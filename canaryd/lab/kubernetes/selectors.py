"""
Label and field selectors, parsed once and then asked object by object.

A bare ``!key`` or ``key notin (a)`` also selects objects without the label; field selectors know only the fields a
resource offers (`metadata.name` and `metadata.namespace` always), anything else is refused with 400 as the real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.status import Object, bad_request

Selector = Callable[[Object], bool]

_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(rf"(?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)")
_EXISTS = re.compile(rf"(?P<not>!?)\s*(?P<key>{_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")


def selector(resource: Resource, labels: str = "", fields: str = "") -> Selector:
    """One selector of both parameters, either may be empty. Raises ApiError 400 on text it cannot read."""
    asked = [_label(part.strip()) for part in _COMMA.split(labels) if part.strip()]
    asked += [_field(resource, part.strip()) for part in fields.split(",") if part.strip()]
    return lambda obj: all(one(obj) for one in asked)


def _label(text: str) -> Selector:
    if found := _SET.fullmatch(text):
        values = {value.strip() for value in found["values"].split(",")}
        return _one_of(found["key"], values, wanted=found["op"] == "in")
    if found := _EQUAL.fullmatch(text):
        return _one_of(found["key"], {found["value"]}, wanted=found["op"] != "!=")
    if found := _EXISTS.fullmatch(text):
        key, wanted = found["key"], not found["not"]
        return lambda obj: (key in _labels(obj)) == wanted
    raise bad_request(f"unable to parse requirement: found {text!r}, expected a label selector")


def _one_of(key: str, values: set[str], *, wanted: bool) -> Selector:
    return lambda obj: (_labels(obj).get(key) in values) == wanted


def _labels(obj: Object) -> dict[str, str]:
    return obj.get("metadata", {}).get("labels") or {}


def _field(resource: Resource, text: str) -> Selector:
    found = re.fullmatch(r"(?P<key>[\w.]+)(?P<op>==|=|!=)(?P<value>.*)", text)
    if not found:
        raise bad_request(f"invalid selector: {text!r}; can't understand {text!r}")
    key, value, wanted = found["key"], found["value"], found["op"] != "!="
    if key not in ("metadata.name", "metadata.namespace", *resource.field_labels):
        raise bad_request(f"field label not supported: {key}")
    return lambda obj: (str(value_at(obj, key) or "") == value) == wanted


def value_at(obj: Object, path: str) -> Any:
    """What is at a dotted path, None where nothing is."""
    found: Any = obj
    for part in path.strip(".").split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found

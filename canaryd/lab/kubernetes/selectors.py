"""
Label and field selectors, parsed once and then asked object by object.

A bare ``!key`` or ``key notin (a)`` also selects objects without the label; field selectors know only the fields a
resource offers (`metadata.name` and `metadata.namespace` always), anything else is refused with 400 as the real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from canaryd.lab.kubernetes.labels import wrong_key
from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.status import ApiError, Object, bad_request

Selector = Callable[[Object], bool]

_TOKENS = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_SPECIAL = ("==", "!=", "=", "!", "(", ")", ",", "<", ">", "")


def selector(resource: Resource, labels: str = "", fields: str = "") -> Selector:
    """One selector of both parameters, either may be empty. Raises ApiError 400 on text it cannot read."""
    asked = _Parser(labels).requirements()
    asked += [_field(resource, part.strip()) for part in fields.split(",") if part.strip()]
    return lambda obj: all(one(obj) for one in asked)


class _Parser:
    """
    Label selectors, with the errors people get for what they mistype.

    Source: apimachinery, pkg/labels/selector.go.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[str] = [*_TOKENS.findall(text), ""]
        self._last = ""

    def requirements(self) -> list[Selector]:
        found: list[Selector] = []
        while self._next:
            if self._next in _SPECIAL and self._next != "!":
                raise _unreadable(self._next, "!, identifier, or 'end of string'")
            found.append(self._requirement())
            if not self._next:
                break
            if self._take() != ",":
                raise _unreadable(self._last, "',' or 'end of string'")
            if self._next in _SPECIAL and self._next != "!":
                raise _unreadable(self._next, "identifier after ','")
        return found

    @property
    def _next(self) -> str:
        return self._parts[0]

    def _take(self) -> str:
        self._last = self._parts.pop(0) if len(self._parts) > 1 else ""
        return self._last

    def _requirement(self) -> Selector:
        absent = self._next == "!"
        if absent:
            self._take()
        key = self._take()
        if key in _SPECIAL:
            raise _unreadable(key, "identifier", requirement=True)
        if wrong := wrong_key(key):
            raise bad_request(f'unable to parse requirement: <nil>: Invalid value: "{key}": {"; ".join(wrong)}')
        if absent or self._next in ("", ","):
            return lambda obj: (key in _labels(obj)) != absent
        operator = self._take()
        if operator in ("in", "notin"):
            return _one_of(key, self._values(), wanted=operator == "in")
        if operator in ("=", "==", "!="):
            value = "" if self._next in (",", "") else self._take()
            return _one_of(key, {value}, wanted=operator != "!=")
        if operator in ("<", ">"):
            return _compared(key, self._take(), less=operator == "<")
        raise _unreadable(operator, ", ".join(_OPERATORS), requirement=True)

    def _values(self) -> set[str]:
        if self._take() != "(":
            raise bad_request(f"unable to parse requirement: found '{self._last}' expected: '('")
        values: set[str] = set()
        while True:
            part = self._take()
            if part == ")":
                return values or {""}
            if part == "":
                raise _unreadable("", "',' or ')'", requirement=True)
            if part != ",":
                values.add(part)


def _unreadable(found: str, expected: str, *, requirement: bool = False) -> ApiError:
    told = "unable to parse requirement: " if requirement else ""
    return bad_request(f"{told}found '{found}', expected: {expected}")


def _compared(key: str, value: str, *, less: bool) -> Selector:
    """``key<5``: numbers only."""
    if not value.lstrip("-").isdigit():
        raise bad_request(f"unable to parse requirement: values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt'")

    def holds(obj: Object) -> bool:
        found = _labels(obj).get(key, "")
        if not found.lstrip("-").isdigit():
            return False
        return int(found) < int(value) if less else int(found) > int(value)

    return holds


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
        if resource.custom or resource.field_labels:
            raise bad_request(f"field label not supported: {key}")
        raise bad_request(f'"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    return lambda obj: (str(value_at(obj, key) or "") == value) == wanted


def value_at(obj: Object, path: str) -> Any:
    """What is at a dotted path, None where nothing is."""
    found: Any = obj
    for part in path.strip(".").split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found

"""
Headers that a route adds, sets and removes, and the grammar of their values.

A value may name variables of Envoy (``%REQ(x-id)%``); a lone ``%`` is an error. Sources: Istio,
pkg/config/validation/validation.go (ValidateHTTPHeader...) and header_value_validator.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.problems import Problems, quoted, wrong

_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


def operations(headers: Object | None) -> Problems:
    """`headers` of an entry or of one of its destinations."""
    request = (headers or {}).get("request") or {}
    response = (headers or {}).get("response") or {}
    for found, named in ((request, _request_name), (response, _name)):
        for action in ("add", "set"):
            for name, value in (found.get(action) or {}).items():
                yield from named(name)
                yield from _value(value)
        for name in found.get("remove") or []:
            yield from _name(name)


def authority(rewrite: Object | None, headers: Object | None) -> Problems:
    """The authority may be changed in one place only: `rewrite.authority` or one header."""
    current = (rewrite or {}).get("authority") or ""
    for value in _authorities(headers):
        if current:
            have, attempted = quoted(current), quoted(value)
            yield wrong(f"authority header cannot be set multiple times: have {have}, attempting to set {attempted}")
            return
        current = value


def _authorities(headers: Object | None) -> Iterator[str]:
    request = (headers or {}).get("request") or {}
    for action in ("set", "add"):
        for name, value in (request.get(action) or {}).items():
            if _is_authority(name):
                yield value


def _is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


def _request_name(name: str) -> Problems:
    """In requests the authority may be set, other pseudo headers may not."""
    if not name:
        yield wrong("header name cannot be empty")
    elif name.startswith(":") and not _is_authority(name):
        yield wrong(f'invalid header {quoted(name)}: header cannot have ":" prefix')


def _name(name: str) -> Problems:
    if not name:
        yield wrong("header name cannot be empty")
    elif name.lower() == "host":
        yield wrong(f"invalid header {quoted(name)}: cannot set Host header")
    elif name.startswith(":"):
        yield wrong(f'invalid header {quoted(name)}: header cannot have ":" prefix')


def _value(value: str) -> Problems:
    if not _VALUE.fullmatch(value):
        yield wrong(f"header value configuration {value} is invalid")
    elif refusal := _template_refusal(value):
        yield wrong(f"header value configuration: invalid header configuration. {refusal}")


# What a character does in each state of the template: the state it leads to. A space stays where it is, any other
# character follows the entry "other" or, where there is none, is the error named in _EXPECTED.
_TRANSITIONS = {
    "text": {"%": "name", "other": "text"},
    "name": {"%": "text", "(": "arguments", "other": "name"},
    "arguments": {"[": "element", "other": "string"},
    "element": {'"': "string"},
    "string": {")": "end", '"': "separator", "other": "string"},
    "separator": {",": "element", "]": "closing"},
    "closing": {")": "end"},
    "end": {"%": "text"},
}
_EXPECTED = {
    "element": "Expecting '\"'",
    "separator": "Expecting ',', ']', or whitespace",
    "closing": "Expecting ')' or whitespace after '{}', but found '{}'",
    "end": "Expecting '%' or whitespace after",
}


def _template_refusal(value: str) -> str:
    """Why Envoy would not take a header's value; empty if it would."""
    state, skip = "text", False
    for index, char in enumerate(value):
        if skip:
            skip = False
            continue
        following = value[index + 1 : index + 2]
        if state == "text" and char == "%" and following in ("", "%"):
            if not following:
                return "Un-escaped %"
            skip = True
            continue
        if state == "string" and char == "\\":
            if not following:
                return "Un-terminated backslash in JSON string"
            skip = True
            continue
        moves = _TRANSITIONS[state]
        if char == " " and char not in moves:
            continue
        if char not in moves and "other" not in moves:
            return _EXPECTED[state]
        state = moves.get(char) or moves["other"]
    return "" if state == "text" else f"Un-terminated variable expression '{value}'"

"""
What a route matches: strings, regular expressions, header names, and the matches of an HTTP entry.

A regular expression has to be one for Go (RE2). Sources: Istio, pkg/config/validation/virtualservice.go
(validateHTTPRouteMatchRequest) and validation.go (validateStringMatch), pkg/jwt/routing.go; Go, regexp/syntax.
"""

from __future__ import annotations

import re
from typing import Any

import re2

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.hosts import gateway_names
from canaryd.lab.kubernetes.webhook.problems import Problems, errors_only, quoted, wrong
from canaryd.lab.kubernetes.webhook.values import is_label, labels, port

_LONGEST_REGEX = 1024
_HEADER_NAME = re.compile(r"[!#$%&'*+-.^_`|~A-Za-z0-9]+")  # `+-.` is a range and has the comma, as in Istio
_PSEUDO_HEADERS = (":method", ":scheme", ":authority", ":path", ":status")
_CLAIM = "@request.auth.claims"

# RE2's words for what is wrong with a pattern, and Go's. Sources: re2.cc (CodeText), Go: regexp/syntax/parse.go.
_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
_TOO_LARGE = "pattern too large"  # for RE2's memory; Go takes it, and then Envoy is who refuses
_QUIET = re2.Options()
_QUIET.log_errors = False


def http_matches(matches: list[Object]) -> Problems:
    """All strings of all matches come first, then what selects proxies: the order in which Istio tells."""
    for match in matches:
        for name, value in (match.get("headers") or {}).items():
            yield from header_name(name)
            yield from string_match(value, "headers")
        for name, value in (match.get("withoutHeaders") or {}).items():
            yield from header_name(name)
            if (value or {}).get("regex") != "*":  # there it means: the header is present
                yield from string_match(value, "withoutHeaders")
        yield from regex_match(match.get("uri"), "uri")  # an empty prefix is fine here
        for field in ("scheme", "method", "authority"):
            yield from string_match(match.get(field), field)
        for value in (match.get("queryParams") or {}).values():
            yield from string_match(value, "queryParams")
    for match in matches:
        yield from proxies(match)
        namespace = match.get("sourceNamespace") or ""
        if namespace and not is_label(namespace):
            yield wrong(f"sourceNamespace match {namespace} is invalid")


def proxies(match: Object) -> Problems:
    """The fields of a match that say where it applies; Istio drops the warning about old names of gateways here."""
    if match.get("port"):
        yield from port(int(match["port"]))
    yield from labels(match.get("sourceLabels"))
    yield from errors_only(gateway_names(match.get("gateways") or []))


def string_match(value: Any, where: str) -> Problems:
    """`exact` may be empty and none of the three may be set: an empty match means that the field is there."""
    if (value or {}).get("prefix") == "":
        yield wrong(f"{quoted(where)}: prefix string match should not be empty")
    yield from regex_match(value, where)


def regex_match(value: Any, where: str) -> Problems:
    pattern = (value or {}).get("regex")
    if pattern == "":
        yield wrong(f"{quoted(where)}: regex string match should not be empty")
    elif pattern is not None:
        yield from regex(pattern, where)


def regex(pattern: str, where: str) -> Problems:
    if len(pattern.encode()) > _LONGEST_REGEX:
        yield wrong(f"{quoted(where)}: regex is too large, max length allowed is {_LONGEST_REGEX}")
        return
    if refusal := _regex_refusal(pattern):
        advice = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
        yield wrong(f"{quoted(where)}: error parsing regexp: {refusal}; {advice}")


def _regex_refusal(pattern: str) -> str:
    """Why Go does not compile `pattern`; empty if it does."""
    try:
        re2.compile(pattern, _QUIET)
    except re2.error as error:
        said = error.args[0]
        code, _, part = (said.decode() if isinstance(said, bytes) else str(said)).partition(": ")
        if code.startswith(_TOO_LARGE):
            return ""
        part = "" if code == "trailing \\" else part
        return f"{_GO_WORDS.get(code, code)}: `{part}`"
    single_byte = re.search(r"(?<!\\)(?:\\\\)*\\C", pattern)  # RE2 has it, Go has not
    return r"invalid escape sequence: `\C`" if single_byte else ""


def header_name(name: str) -> Problems:
    """A name to match: a header's, a pseudo header's, or a claim of a token."""
    if not name:
        yield wrong("header name cannot be empty")
    elif not (is_claim(name) or name in _PSEUDO_HEADERS or _HEADER_NAME.fullmatch(name)):
        yield wrong(f"header name {name} is not a valid header name")


def cors_header_name(name: str) -> Problems:
    if not name:
        yield wrong("header name cannot be empty")
    elif not _HEADER_NAME.fullmatch(name):
        yield wrong(f"header name {name} is not a valid header name")


def is_claim(name: str) -> bool:
    """``@request.auth.claims.group`` or ``@request.auth.claims[group]``: decided at gateways only."""
    if not name.lower().startswith(_CLAIM):
        return False
    rest = name[len(_CLAIM) :]
    return (rest.startswith(".") and len(rest) > 1) or (rest.startswith("[") and rest.endswith("]") and len(rest) > 2)

"""
Matches: what a request must be for an entry of a VirtualService to take it.
"""

from __future__ import annotations

from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.objects import only

Json = dict[str, Any]

MATCH_FIELDS = {
    "name",
    "uri",
    "ignoreUriCase",
    "method",
    "authority",
    "scheme",
    "headers",
    "withoutHeaders",
    "queryParams",
    "port",
    "sourceLabels",
    "sourceNamespace",
    "gateways",
}


def match_of(match: Json, where: str) -> Json:
    only(match, MATCH_FIELDS, f"{where}, match")
    result: Json = _path(match.get("uri"), where)
    if match.get("ignoreUriCase") and "safe_regex" not in result:
        result["case_sensitive"] = False
    headers = [_header(name, value, where) for name, value in sorted((match.get("headers") or {}).items())]
    headers += [
        _inverted(_header(name, value, where)) for name, value in sorted((match.get("withoutHeaders") or {}).items())
    ]
    for field_name in ("method", "authority", "scheme"):
        if match.get(field_name):
            headers.append(_header(f":{field_name}", match[field_name], where))
    if headers:
        result["headers"] = headers
    queries = [_query(name, value, where) for name, value in sorted((match.get("queryParams") or {}).items())]
    if queries:
        result["query_parameters"] = queries
    return result


def _path(uri: Json | None, where: str) -> Json:
    if not uri:
        return {"prefix": "/"}
    kind, value = _string(uri, f"{where}, uri")
    return {"safe_regex": {"regex": value}} if kind == "regex" else {{"exact": "path", "prefix": "prefix"}[kind]: value}


def _header(name: str, value: Json | None, where: str) -> Json:
    if not value or value == {"prefix": ""} or value == {"regex": "*"}:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string_matcher(value, f"{where}, header {name}")}


def _inverted(matcher: Json) -> Json:
    missing = {} if "present_match" in matcher else {"treat_missing_header_as_empty": True}
    return {**matcher, "invert_match": True, **missing}


def _query(name: str, value: Json | None, where: str) -> Json:
    if not value:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string_matcher(value, f"{where}, query parameter {name}")}


def _string_matcher(value: Json, where: str) -> Json:
    kind, text = _string(value, where)
    return {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}


def _string(value: Json, where: str) -> tuple[str, str]:
    if len(value) != 1 or next(iter(value)) not in ("exact", "prefix", "regex"):
        raise Rejected(f"{where}: expected one of exact, prefix, regex, got {', '.join(value)}")
    return next(iter(value.items()))


def catches_all(match: Json) -> bool:
    path = match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*"
    return path and not match.get("headers") and not match.get("query_parameters")

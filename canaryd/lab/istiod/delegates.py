"""
Delegation: the http entries of a delegate, each under the conditions and with the settings of the root's entry.

An entry of the delegate that asks for more than the root lets through is dropped without a word to its author, as in
Istio; what the delegate leaves open it has from the root.

Source: Istio pilot/pkg/model/virtualservice.go (mergeHTTPRoute, mergeHTTPMatchRequest, hasConflict,
stringMatchConflict).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

# `redirect` and `route` are not among them: a root entry with a delegate can have neither.
INHERITED = (
    "rewrite",
    "directResponse",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrorPercent",
    "mirror_percent",
    "mirrorPercentage",
    "corsPolicy",
    "headers",
)
STRINGS = ("uri", "scheme", "method", "authority")
MAPS = ("headers", "withoutHeaders", "queryParams")


def merged_entries(root: Json, delegate: Iterable[Json]) -> list[tuple[int, Json]]:
    """The delegate's entries as they take effect, each with its index in the delegate."""
    merged = ((index, _merged(root, each)) for index, each in enumerate(delegate))
    return [(index, entry) for index, entry in merged if entry is not None]


def _merged(root: Json, entry: Json) -> Json | None:
    matches = _matches(root.get("match") or [], entry.get("match") or [])
    if matches is None:
        return None
    result = {**entry, "match": matches}
    result["name"] = "-".join(part for part in (root.get("name"), entry.get("name")) if part)
    for field in INHERITED:
        if result.get(field) is None and root.get(field) is not None:
            result[field] = root[field]
    if not result.get("mirrors") and root.get("mirrors"):
        result["mirrors"] = root["mirrors"]
    return result


def _matches(root: list[Json], leaf: list[Json]) -> list[Json] | None:
    """Every match of the delegate must lie within one of the root's; None where one does not."""
    if not root or not leaf:
        return leaf or root
    merged = []
    for each in leaf:
        fitting = [_both(one, each) for one in root if not _contradict(one, each)]
        if not fitting:
            return None
        merged += fitting
    return merged


def _both(root: Json, leaf: Json) -> Json:
    result = dict(leaf)
    result["name"] = "-".join(part for part in (root.get("name"), leaf.get("name")) if part)
    for field in STRINGS:
        if result.get(field) is None:
            result[field] = root.get(field)
    for field in (*MAPS, "sourceLabels"):
        result[field] = {**(root.get(field) or {}), **(leaf.get(field) or {})}
    for field in ("port", "sourceNamespace", "gateways", "statPrefix"):
        result[field] = leaf.get(field) or root.get(field)
    return {field: value for field, value in result.items() if value not in (None, {}, "")}


def _contradict(root: Json, leaf: Json) -> bool:
    pairs = [(root.get(field), leaf.get(field)) for field in STRINGS]
    for field in MAPS:
        theirs = root.get(field) or {}
        pairs += [(theirs.get(name), value) for name, value in (leaf.get(field) or {}).items()]
    if any(_outside(*pair) for pair in pairs):
        return True
    if bool(root.get("ignoreUriCase")) != bool(leaf.get("ignoreUriCase")):
        return True
    if root.get("port") and leaf.get("port") and root["port"] != leaf["port"]:
        return True
    if root.get("sourceNamespace") and leaf.get("sourceNamespace") != root["sourceNamespace"]:
        return True
    labels = root.get("sourceLabels") or {}
    if any(labels.get(key, value) != value for key, value in (leaf.get("sourceLabels") or {}).items()):
        return True
    gateways = root.get("gateways") or []
    return bool(gateways) and not set(leaf.get("gateways") or []) <= set(gateways)


def _outside(root: Json | None, leaf: Json | None) -> bool:
    """Whether the leaf's strings are not all among the root's. Regular expressions are never found to be."""
    if root is None or leaf is None:
        return False
    if root.get("exact"):
        return bool(leaf.get("exact") != root["exact"])
    text = leaf.get("prefix") or leaf.get("exact")
    return not (root.get("prefix") and text and str(text).startswith(root["prefix"]))

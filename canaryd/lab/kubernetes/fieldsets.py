"""
Which fields an object has, and which of them differ: the sets that server-side apply reasons with.

A path is a tuple of elements as `metadata.managedFields` writes them: ``f:spec`` a field, ``k:{"name":"app"}`` an item
of a keyed list, ``v:"x"`` an item of a set. The schema says which lists are keyed; all others, and maps declared
atomic, are one field. Without a schema maps are granular and lists atomic. Source: structured-merge-diff v6, typed/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes.resources import Schema

Path = tuple[str, ...]
Paths = frozenset[Path]
_ABSENT = object()
_LOOSE: Schema = {}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a write added, changed and took away."""

    added: Paths
    modified: Paths
    removed: Paths


def field_set(schema: Schema, value: Any) -> Paths:
    """Every field that `value` says something about."""
    return frozenset(_fields(schema, value, ()))


def _fields(schema: Schema, value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and not _is_atomic_map(schema):
        for key, inner in value.items():
            here = (*path, f"f:{key}")
            yield from _fields(below(schema, key), inner, here)
            if inner is None or inner == {} or key not in schema.get("properties", _LOOSE):
                yield here
    elif isinstance(value, list) and (keyed := _items(schema, value)) is not None:
        for element, item in keyed.items():
            yield from _fields(schema.get("items", _LOOSE), item, (*path, element))
            yield (*path, element)
    elif path:
        yield path


def compared(schema: Schema, old: Any, new: Any) -> Comparison:
    """The difference between two objects, field by field."""
    added: set[Path] = set()
    modified: set[Path] = set()
    removed: set[Path] = set()
    _compare(schema, old, new, (), (added, modified, removed))
    return Comparison(frozenset(added), frozenset(modified), frozenset(removed))


def _compare(schema: Schema, old: Any, new: Any, path: Path, found: tuple[set[Path], set[Path], set[Path]]) -> None:
    added, modified, removed = found
    pairs = _pairs(schema, old, new)
    if pairs is None:  # a leaf
        if old is _ABSENT:
            added.add(path)
        elif new is _ABSENT:
            removed.add(path)
        elif not same(old, new):
            modified.add(path)
        return
    for element, inner, one, other in pairs:
        _compare(inner, one, other, (*path, element), found)
    if old is _ABSENT:
        added.add(path)
    elif new is _ABSENT:
        removed.add(path)


def _pairs(schema: Schema, old: Any, new: Any) -> list[tuple[str, Schema, Any, Any]] | None:
    """What is below both, side by side; None where they are one leaf."""
    present = [one for one in (old, new) if one is not _ABSENT and one is not None]
    if not any(present):
        return None
    if all(isinstance(one, dict) for one in present):
        if _is_atomic_map(schema):
            return None
        left, right = (one if isinstance(one, dict) else {} for one in (old, new))
        keys = dict.fromkeys([*left, *right])
        return [(f"f:{key}", below(schema, key), left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in keys]
    if all(isinstance(one, list) for one in present):
        items = [_items(schema, one if isinstance(one, list) else []) for one in (old, new)]
        if items[0] is None or items[1] is None:
            return None
        inner = schema.get("items", _LOOSE)
        keys = dict.fromkeys([*items[0], *items[1]])
        return [(key, inner, items[0].get(key, _ABSENT), items[1].get(key, _ABSENT)) for key in keys]
    return None


def merged(schema: Schema, live: Any, wanted: Any) -> Any:
    """`wanted` laid over `live`: what it does not speak of stays."""
    if isinstance(wanted, dict) and not _is_atomic_map(schema):
        left: Mapping[str, Any] = live if isinstance(live, dict) else {}
        laid = {key: merged(below(schema, key), left.get(key), value) for key, value in wanted.items()}
        return {**left, **laid}
    if isinstance(wanted, list) and (right := _items(schema, wanted)) is not None:
        found = _items(schema, live) if isinstance(live, list) else {}
        return _merged_list(schema, found or {}, right)
    return wanted


def _merged_list(schema: Schema, left: dict[str, Any], right: dict[str, Any]) -> list[Any]:
    """Items of both; the order of `right` wins among those that both have. Source: typed/merge.go, visitListItems."""
    inner = schema.get("items", _LOOSE)
    mine, theirs = list(left), list(right)
    shared = [one for one in theirs if one in left]
    out: list[Any] = []
    done: set[str] = set()

    def take(element: str) -> None:
        done.add(element)
        out.append(merged(inner, left.get(element), right[element]))
        if shared and shared[0] == element:
            shared.pop(0)

    i = j = 0
    while i < len(mine) or j < len(theirs):
        if i < len(mine) and j < len(theirs):
            if mine[i] == theirs[j]:
                take(mine[i])
                i, j = i + 1, j + 1
                continue
            if mine[i] in right and shared and shared[0] != mine[i]:
                i += 1
                continue
        if i < len(mine):
            if mine[i] not in right:
                out.append(left[mine[i]])
                i += 1
                continue
            if mine[i] in done:
                i += 1
        if j < len(theirs):
            take(theirs[j])
            j += 1
    return out


def without(schema: Schema, value: Any, gone: Paths) -> Any:
    """`value` without the fields and items of `gone`; what that leaves empty becomes None. Source: typed/remove.go."""
    if not gone or value in ({}, []):
        return value
    if isinstance(value, dict) and not _is_atomic_map(schema):
        kept: dict[str, Any] = {}
        for key, inner in value.items():
            element = f"f:{key}"
            if (element,) in gone:
                continue
            kept[key] = without(below(schema, key), inner, _below(gone, element))
        return kept or None
    if isinstance(value, list) and (items := _items(schema, value)) is not None:
        left = [
            without(schema.get("items", _LOOSE), item, _below(gone, element))
            for element, item in items.items()
            if (element,) not in gone
        ]
        return left or None
    return value if not isinstance(value, dict | list) else None


def with_named_parents(schema: Schema, paths: Paths) -> Paths:
    """`paths` and every declared field on the way to one. Source: fieldpath/set.go, EnsureNamedFieldsAreMembers."""
    found = set(paths)
    for path in paths:
        here = schema
        for depth, element in enumerate(path[:-1], 1):
            kind, name = element[:1], element[2:]
            if kind == "f":
                if name in here.get("properties", _LOOSE):
                    found.add(path[:depth])
                here = below(here, name)
            else:
                here = here.get("items", _LOOSE)
    return frozenset(found)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(inner, other[key]) for key, inner in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def below(schema: Schema, key: str) -> Schema:
    """The schema of a member."""
    properties: Schema = schema.get("properties", _LOOSE)
    if key in properties:
        return dict[str, Any](properties[key])
    rest = schema.get("additionalProperties")
    return rest if isinstance(rest, dict) else _LOOSE


def _below(paths: Paths, element: str) -> Paths:
    return frozenset(path[1:] for path in paths if path[0] == element and len(path) > 1)


def _is_atomic_map(schema: Schema) -> bool:
    return schema.get("x-kubernetes-map-type") == "atomic"


def _items(schema: Schema, value: list[Any]) -> dict[str, Any] | None:
    """A keyed list's items by their element, the first of equals; None for an atomic list."""
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return {f"v:{_json(one)}": one for one in value}
    if kind != "map":
        return None
    found: dict[str, Any] = {}
    for index, one in enumerate(value):
        element = _element(schema, one)
        found.setdefault(element or f"i:{index}", one)
    return found


def _element(schema: Schema, item: Any) -> str:
    """``k:{...}`` with the keys in order; empty for an item without any of them."""
    if not isinstance(item, dict):
        return ""
    keys: list[str] = schema["x-kubernetes-list-map-keys"]
    properties = schema.get("items", _LOOSE).get("properties", _LOOSE)
    found = {key: item.get(key, properties.get(key, _LOOSE).get("default")) for key in sorted(keys)}
    found = {key: value for key, value in found.items() if value is not None}
    return f"k:{_json(found)}" if found else ""


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

"""
Who owns which field: `metadata.managedFields`.

Two kinds of owner: `Update` takes whatever it changes, `Apply` (server-side apply) owns what its manifest says and
conflicts with other owners. Whoever writes one weight owns the whole `.spec.http`, because Istio's CRDs declare no
keyed lists. Source: structured-merge-diff v6, merge/update.go; apimachinery, pkg/util/managedfields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes.fieldsets import (
    Path,
    Paths,
    compared,
    field_set,
    merged,
    with_named_parents,
    without,
)
from canaryd.lab.kubernetes.resources import Schema
from canaryd.lab.kubernetes.status import Cause, Object, apply_conflict

# What nobody owns. Source: managedfields/internal/stripmeta.go.
_NOBODYS = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",), ()}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
            "resourceVersion",
        )
    }
)  # fmt: skip
BEFORE_FIRST_APPLY = "before-first-apply"


@dataclass(frozen=True, slots=True)
class Manager:
    """An owner, as managedFields tells them apart."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def named(self) -> str:
        """As messages of conflicts name it. Source: apimachinery, managedfields/internal/conflict.go."""
        told = f'"{self.name}"'
        if self.subresource:
            told += f' with subresource "{self.subresource}"'
        return f"{told} using {self.api_version}" if self.operation == "Update" else told

    def is_applier(self, other: Manager) -> bool:
        """The same applier: its apiVersion is not part of its identity."""
        mine, theirs = ((one.name, one.operation, one.subresource) for one in (self, other))
        return mine == theirs


@dataclass(frozen=True, slots=True)
class Share:
    """What a manager owns and when it last changed."""

    paths: Paths
    time: str


Ownership = dict[Manager, Share]


def ownership_of(obj: Object) -> Ownership:
    """Read managedFields; entries that cannot be read are dropped, as after ``managedFields: [{}]``."""
    found: Ownership = {}
    for entry in obj.get("metadata", {}).get("managedFields") or []:
        if not (entry.get("manager") and entry.get("operation")):
            continue
        manager = Manager(
            entry["manager"], entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
        )
        paths = frozenset(_paths_of_fields(entry.get("fieldsV1") or {}, ()))
        found[manager] = Share(paths, entry.get("time", ""))
    return found


def managed_fields(ownership: Ownership) -> list[Object]:
    """The inverse of `ownership_of`, in the server's order; managers without fields are left out."""
    entries: list[Object] = []
    for manager, share in ownership.items():
        if not share.paths:
            continue
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            **({"time": share.time} if share.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields_of_paths(share.paths),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    keys = ("operation", "time", "manager", "apiVersion", "subresource")
    return sorted(entries, key=lambda entry: [entry.get(key, "") for key in keys])


def after_update(
    schema: Schema, ownership: Ownership, old: Object, new: Object, manager: Manager, now: str
) -> Ownership:
    """`manager` wrote `new` over `old`: it owns what it changed, and others own neither that nor what is gone."""
    difference = compared(schema, owned_part(old, manager.subresource), owned_part(new, manager.subresource))
    taken = difference.added | difference.modified
    found = {one: Share(share.paths - taken - difference.removed, share.time) for one, share in ownership.items()}
    mine = taken - _NOBODYS
    if mine:
        own = found.get(manager, Share(frozenset(), now))
        found[manager] = Share(own.paths | mine, "" if manager.subresource == "scale" else now)
    return found


def applied(
    schema: Schema, live: Object, manifest: Object, ownership: Ownership, manager: Manager, now: str, *, force: bool
) -> tuple[Object, Ownership]:
    """Server-side apply of `manifest` onto `live`: the merged object and its owners. Raises ApiError 409."""
    subresource = manager.subresource
    if not ownership and live:
        first = Manager(BEFORE_FIRST_APPLY, "Update", manager.api_version)
        ownership = after_update(schema, {}, {}, live, first, now)
    wanted = field_set(schema, owned_part(manifest, subresource)) - _NOBODYS
    ours = [one for one in ownership if one.is_applier(manager)]
    last = frozenset(path for one in ours for path in ownership[one].paths)
    others = {one: share for one, share in ownership.items() if one not in ours}
    body = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    result = merged(schema, live, body)
    result = _pruned(
        schema, result, last, frozenset(path for share in others.values() for path in share.paths) | wanted
    )
    difference = compared(schema, owned_part(live, subresource), owned_part(result, subresource))
    changed = difference.added | difference.modified
    disputed = {one: share.paths & changed for one, share in others.items()}
    if any(disputed.values()) and not force and not _is_kubectls_own(schema, live, manager, disputed):
        raise _apply_conflict({one: sorted(paths) for one, paths in disputed.items() if paths})
    gone = difference.removed
    found = {one: Share(share.paths - changed - gone, share.time) for one, share in others.items()}
    unchanged = ours and last == wanted and not (changed or gone)
    found[manager] = Share(wanted, ownership[ours[0]].time if unchanged else now)
    return result, found


def _is_kubectls_own(schema: Schema, live: Object, manager: Manager, disputed: dict[Manager, Paths]) -> bool:
    """`kubectl apply --server-side` takes over what `kubectl apply` wrote. Source: lastappliedmanager.go."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if manager.name != "kubectl" or not text:
        return False
    try:
        before = json.loads(text)
    except ValueError:
        return False
    if not isinstance(before, dict) or before.get("apiVersion") != manager.api_version:
        return False
    allowed = frozenset(
        path for path in field_set(schema, owned_part(before, "")) if _at(before, path) == _at(live, path)
    )
    return all(paths <= allowed for paths in disputed.values())


LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def _at(obj: Any, path: Path) -> Any:
    """What an object has at a path of fields; keyed items count as a whole."""
    found = obj
    for element in path:
        if not element.startswith("f:"):
            return None
        found = found.get(element[2:]) if isinstance(found, dict) else None
    return found


def _pruned(schema: Schema, result: Object, last: Paths, kept: Paths) -> Object:
    """Without what this applier said last time and nobody says now. Source: merge/update.go, prune."""
    if not last:
        return result
    named = with_named_parents(schema, last)
    everything = with_named_parents(schema, field_set(schema, result))
    left = with_named_parents(schema, field_set(schema, without(schema, result, named) or {}))
    back = everything - (left | with_named_parents(schema, kept))
    remaining = with_named_parents(schema, field_set(schema, without(schema, result, back) or {}))
    found = without(schema, result, (everything - remaining) & named)
    return _without_none(found) if isinstance(found, dict) else {}


def _without_none(obj: Object) -> Object:
    """A map that pruning has left empty is gone."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in obj.items()
        if value is not None
    }


def _apply_conflict(disputed: dict[Manager, list[Path]]) -> Exception:
    pairs = [(one, path) for one, paths in disputed.items() for path in paths]
    causes = tuple(Cause("FieldManagerConflict", f"conflict with {one.named()}", shown(path)) for one, path in pairs)
    if len(pairs) == 1:
        one, path = pairs[0]
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {one.named()}: {shown(path)}", causes)
    lines = []
    for one, paths in sorted(disputed.items(), key=lambda item: item[0].named()):
        lines += [f"conflicts with {one.named()}:", *(f"- {shown(path)}" for path in paths)]
    return apply_conflict(f"Apply failed with {len(pairs)} conflicts: " + "\n".join(lines), causes)


def shown(path: Path) -> str:
    """As conflicts print a path: ``.spec.http``, ``.spec.containers[name="app"].image``."""
    return "".join(_shown(element) for element in path)


def _shown(element: str) -> str:
    kind, rest = element[:1], element[2:]
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = json.loads(rest)
        return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def owned_part(obj: Object, subresource: str) -> Object:
    """The fields that can have an owner: status only through its own subresource, and then nothing else."""
    if subresource == "status":
        return {"status": obj["status"]} if "status" in obj else {}
    found = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "status")}
    metadata = found.get("metadata") or {}
    owned = {key: value for key, value in metadata.items() if key not in ("managedFields", "deletionTimestamp")}
    return {**found, "metadata": owned}


def _fields_of_paths(paths: Paths) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(part, {})
    parents = {path[:depth] for path in paths for depth in range(1, len(path))}
    for path in paths & parents:
        node = tree
        for part in path:
            node = node[part]
        node["."] = {}
    return _sorted(tree)


def _sorted(tree: Object) -> Object:
    return {key: _sorted(tree[key]) for key in sorted(tree)}


def _paths_of_fields(fields: Object, path: Path) -> Iterator[Path]:
    if path and (not fields or "." in fields):
        yield path
    for key, inner in fields.items():
        if key != ".":
            yield from _paths_of_fields(inner, (*path, key))

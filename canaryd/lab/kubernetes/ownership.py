"""
Who owns which field: `metadata.managedFields`.

Maps are granular, *lists are atomic*: whoever writes one weight owns the whole `.spec.http`, exactly as with Istio's
CRDs, which declare no list types (for Kubernetes' own lists the real server is finer). Two kinds of owner: `Update`
takes whatever it changes, `Apply` (server-side apply) owns what its manifest says and conflicts with other owners.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes.status import Cause, Object, apply_conflict

Path = tuple[str, ...]
Paths = frozenset[Path]

_IDENTITY = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields", "selfLink", "generateName",
)  # fmt: skip
_ABSENT = object()


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
    """The inverse of `ownership_of`; managers without fields are left out."""
    entries: list[Object] = []
    for manager, share in ownership.items():
        if not share.paths:
            continue
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": share.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields_of_paths(share.paths),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    return entries


def after_update(ownership: Ownership, old: Object, new: Object, manager: Manager, now: str) -> Ownership:
    """`manager` wrote `new` over `old`: it owns what it changed, and others own neither that nor what is gone."""
    before, after = _owned_part(old, manager.subresource), _owned_part(new, manager.subresource)
    changed, gone = frozenset(changes(before, after)), _all_paths(before) - _all_paths(after)
    found = _without(ownership, changed | gone, spare=manager)
    own = found.get(manager, Share(frozenset(), now))
    paths = (own.paths | changed) - gone
    if paths != own.paths or changed:
        found[manager] = Share(paths, now)
    return found


def applied(
    live: Object, manifest: Object, ownership: Ownership, manager: Manager, now: str, *, force: bool
) -> tuple[Object, Ownership]:
    """Server-side apply of `manifest` onto `live`: the merged object and its owners. Raises ApiError 409."""
    wanted = frozenset(_leaves(_owned_part(manifest, manager.subresource), ()))
    merged = _merge(live, {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")})
    ours = _previous(ownership, manager)
    others = {one: share for one, share in ownership.items() if one not in ours}
    previous = frozenset(path for one in ours for path in ownership[one].paths)
    changed = frozenset(changes(_owned_part(live, manager.subresource), _owned_part(merged, manager.subresource)))
    disputed = {one: sorted(share.paths & changed & wanted) for one, share in others.items()}
    if any(disputed.values()) and not force:
        raise _apply_conflict({one: paths for one, paths in disputed.items() if paths})
    kept_by_others = frozenset(path for share in others.values() for path in share.paths)
    for path in sorted(previous - wanted):
        if not any(one[: len(path)] == path for one in kept_by_others | wanted):
            _drop(merged, path)
    found = _without(others, changed & wanted)
    same = previous == wanted and bool(ours)
    found[manager] = Share(wanted, ownership[ours[0]].time if same else now)
    return merged, found


def _previous(ownership: Ownership, manager: Manager) -> list[Manager]:
    """The applier's own entries: their apiVersion is not part of an applier's identity."""
    return [
        one
        for one in ownership
        if (one.name, one.operation, one.subresource) == (manager.name, "Apply", manager.subresource)
    ]


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
    """As conflicts print a path: ``.spec.http``."""
    return "".join(f".{part}" for part in path)


def changes(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    """Paths whose value `new` added or changed; a map that is new counts itself and everything in it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            yield from changes(old.get(key, _ABSENT), value, (*path, key))
    elif old is _ABSENT and isinstance(new, dict):
        yield path
        for key, value in new.items():
            yield from changes(_ABSENT, value, (*path, key))
    elif old is _ABSENT or old != new:
        yield path


def _all_paths(value: Any) -> Paths:
    return frozenset(changes(_ABSENT, value))


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif path and path != ("metadata",):
        yield path


def _owned_part(obj: Object, subresource: str) -> Object:
    """The fields that can have an owner: no identity, and status only through its own subresource."""
    found = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    if not subresource:
        found.pop("status", None)
    metadata = found.get("metadata") or {}
    return {**found, "metadata": {key: value for key, value in metadata.items() if key not in _IDENTITY}}


def _without(ownership: Ownership, taken: Paths, *, spare: Manager | None = None) -> Ownership:
    return {one: share if one == spare else Share(share.paths - taken, share.time) for one, share in ownership.items()}


def _merge(live: Any, wanted: Any) -> Any:
    if not (isinstance(live, dict) and isinstance(wanted, dict)):
        return wanted
    return {**live, **{key: _merge(live.get(key), value) for key, value in wanted.items()}}


def _drop(obj: Object, path: Path) -> None:
    found: Any = obj
    for part in path[:-1]:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found.pop(path[-1], None)


def _fields_of_paths(paths: Paths) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(f"f:{part}", {})
        if any(other[: len(path)] == path and other != path for other in paths):
            node["."] = {}
    return tree


def _paths_of_fields(fields: Object, path: Path) -> Iterator[Path]:
    """A list's items (``k:``, ``v:``) count as the whole list: lists are atomic here."""
    if path and (not fields or "." in fields or any(key[:2] != "f:" for key in fields if key != ".")):
        yield path
    for key, inner in fields.items():
        if key.startswith("f:"):
            yield from _paths_of_fields(inner, (*path, key[2:]))

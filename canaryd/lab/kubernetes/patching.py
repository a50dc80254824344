"""
The patch formats besides server-side apply (`ownership.applied`): JSON Patch, merge patch, strategic merge patch.

A JSON Patch is all or nothing, and why it failed is not told (422, one fixed sentence). A merge patch replaces lists
whole. A *list* sent as a merge patch, which the kubernetes client does by default for custom objects, is a 400.
"""

from __future__ import annotations

import copy
from typing import Any

from canaryd.lab.kubernetes.status import ApiError, Object, bad_request, unprocessable

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_MOST_OPERATIONS = 10_000


def json_patched(obj: Object, operations: Any) -> Object:
    """
    A JSON Patch as the API server applies it. Raises ApiError 400 for what is none, 422 when it does not apply.

    Beyond RFC 6902, and on purpose: `replace` also creates a member, `test` for null holds where the member is absent,
    indices may be negative, and 80 is not 80.0. Source: evanphx/json-patch v4, patch.go.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        kind = "object" if isinstance(operations, dict) else "array" if isinstance(operations, list) else "string"
        message = f"json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: {message}")
    if len(operations) > _MOST_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    document: Any = copy.deepcopy(obj)
    try:
        for one in copy.deepcopy(operations):
            document = _OPERATIONS[one["op"]](document, one)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise unprocessable() from error
    if not isinstance(document, dict):
        raise unprocessable()
    return document


def _add(document: Any, operation: Object) -> Any:
    container, key = _container(document, operation["path"])
    _insert(container, key, operation.get("value"))
    return document


def _remove(document: Any, operation: Object) -> Any:
    container, key = _container(document, operation["path"])
    del container[_index(container, key) if isinstance(container, list) else key]
    return document


def _replace(document: Any, operation: Object) -> Any:
    if operation["path"] == "":
        return operation["value"]
    container, key = _container(document, operation["path"])
    container[_index(container, key) if isinstance(container, list) else key] = operation.get("value")
    return document


def _test(document: Any, operation: Object) -> Any:
    if operation["path"] == "":
        found = document
    else:
        container, key = _container(document, operation["path"])
        found = container[_index(container, key)] if isinstance(container, list) else container.get(key)
    if not _equal(found, operation.get("value")):
        raise ValueError("test failed")
    return document


def _copy(document: Any, operation: Object) -> Any:
    container, key = _container(document, operation["from"])
    value = container[_index(container, key)] if isinstance(container, list) else container.get(key)
    return _add(document, {"path": operation["path"], "value": copy.deepcopy(value)})


def _move(document: Any, operation: Object) -> Any:
    container, key = _container(document, operation["from"])
    value = container[_index(container, key)] if isinstance(container, list) else container.get(key)
    _remove(document, {"path": operation["from"]})
    return _add(document, {"path": operation["path"], "value": value})


_OPERATIONS = {"add": _add, "remove": _remove, "replace": _replace, "test": _test, "copy": _copy, "move": _move}


def _container(document: Any, path: str) -> tuple[Any, str]:
    """The map or list that a path ends in, and the last part. Raises LookupError where there is none."""
    _, *parents, last = path.split("/")  # ValueError for a path without a slash
    found = document
    for part in parents:
        key = _decoded(part)
        found = found[_index(found, key)] if isinstance(found, list) else found[key]
    if not isinstance(found, dict | list):
        raise LookupError(path)  # noqa: TRY004  # as for a path that is not there
    return found, _decoded(last)


def _decoded(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _index(container: list[Any], key: str) -> int:
    """Negative ones count from the end; raises LookupError when there is no such item."""
    index = int(key)
    if not -len(container) <= index < len(container):
        raise LookupError(key)
    return index


def _insert(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
        return
    size = len(container) + 1
    index = len(container) if key == "-" else int(key)
    if not -size <= index < size:
        raise LookupError(key)
    container.insert(index + size if index < 0 else index, value)


def _equal(one: Any, other: Any) -> bool:
    """Scalars are compared as they are written: 80 is not 80.0, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def merge_patched(obj: Object, patch: Any) -> Object:
    """RFC 7386: null deletes, maps merge, everything else replaces. Raises ApiError 400 for anything but a map."""
    if not isinstance(patch, dict):
        kind = "array" if isinstance(patch, list) else "value"
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    return _merged(obj, patch)


def _merged(value: Any, patch: Object) -> Object:
    found = dict(value) if isinstance(value, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), inner) if isinstance(inner, dict) else inner
    return found


# By the list's field name: the key that tells its items apart. Source: patchMergeKey tags of k8s.io/api.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
}
_PORT_KEYS = ("containerPort", "port")


def strategically_patched(obj: Object, patch: Any) -> Object:
    """Strategic merge of a built-in: lists with a merge key merge by it, all others are replaced."""
    if not isinstance(patch, dict):
        return merge_patched(obj, patch)
    return _strategic(obj, patch)


def _strategic(value: Any, patch: Object) -> Object:
    if patch.get("$patch") == "replace":
        return {key: inner for key, inner in patch.items() if key != "$patch"}
    found = dict(value) if isinstance(value, dict) else {}
    if "$retainKeys" in patch:
        found = {key: inner for key, inner in found.items() if key in patch["$retainKeys"]}
    for key, inner in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            found[name] = [one for one in found.get(name, []) if one not in inner]
        elif key.startswith("$"):
            continue
        elif inner is None or (isinstance(inner, dict) and inner.get("$patch") == "delete"):
            found.pop(key, None)
        elif isinstance(inner, dict):
            found[key] = _strategic(found.get(key), inner)
        elif isinstance(inner, list):
            order = patch.get(f"$setElementOrder/{key}")
            found[key] = _strategic_list(key, found.get(key) or [], inner, order)
        else:
            found[key] = inner
    return found


def _strategic_list(name: str, value: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    if name == "finalizers":
        return list(dict.fromkeys([*value, *patch]))
    merge_key = _merge_key(name, [*value, *patch])
    if merge_key is None or any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [one for one in patch if not (isinstance(one, dict) and "$patch" in one)]
    found = {one[merge_key]: one for one in value}
    for one in patch:
        if one.get("$patch") == "delete":
            found.pop(one[merge_key], None)
        else:
            found[one[merge_key]] = _strategic(found.get(one[merge_key]), one)
    wanted = [one[merge_key] for one in (order or patch) if merge_key in one]
    return [found[key] for key in _in_order(list(found), wanted, [one[merge_key] for one in value])]


def _in_order(keys: list[Any], wanted: list[Any], before: list[Any]) -> list[Any]:
    """
    What the patch speaks of in the patch's order, among the rest in theirs; what is new comes first.

    Source: apimachinery, pkg/util/strategicpatch/patch.go (mergeSortedSlice).
    """
    left = [key for key in wanted if key in keys]
    right = [key for key in keys if key not in left]
    found: list[Any] = []
    while left and right:
        both = left[0] in before and right[0] in before
        first = left if not both or before.index(left[0]) < before.index(right[0]) else right
        found.append(first.pop(0))
    return found + left + right


def _merge_key(name: str, items: list[Any]) -> str | None:
    candidates = _PORT_KEYS if name == "ports" else (_MERGE_KEYS.get(name, ""),)
    for key in candidates:
        if key and all(isinstance(one, dict) and key in one for one in items):
            return key
    return None

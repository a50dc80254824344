"""
The patch formats besides server-side apply (`ownership.applied`): JSON Patch, merge patch, strategic merge patch.

A JSON Patch is all or nothing, and why it failed is not told (422, one fixed sentence). A merge patch replaces lists
whole. A *list* sent as a merge patch, which the kubernetes client does by default for custom objects, is a 400.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch

from canaryd.lab.kubernetes.status import ApiError, Object, bad_request, unprocessable

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_MOST_OPERATIONS = 10_000


def json_patched(obj: Object, operations: Any) -> Object:
    """RFC 6902. Raises ApiError 400 for what is no list of operations, 422 when any of them does not apply."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > _MOST_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    patched: Any = copy.deepcopy(obj)
    try:
        for one in copy.deepcopy(operations):
            if not _asserts_absence(one, patched):
                patched = jsonpatch.JsonPatch([one]).apply(patched, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise unprocessable() from error
    if not isinstance(patched, dict):
        raise unprocessable()
    return patched


def _asserts_absence(operation: Object, obj: Any) -> bool:
    """A `test` for null holds where the member is absent, beyond RFC 6902. Source: evanphx/json-patch v4, patch.go."""
    if operation.get("op") != "test" or operation.get("value", ...) is not None:
        return False
    parent, member = jsonpatch.JsonPointer(operation.get("path", "")).to_last(obj)
    return isinstance(parent, dict) and member is not None and member not in parent


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
            found[key] = _strategic_list(key, found.get(key) or [], inner)
        else:
            found[key] = inner
    return found


def _strategic_list(name: str, value: list[Any], patch: list[Any]) -> list[Any]:
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
    return list(found.values())


def _merge_key(name: str, items: list[Any]) -> str | None:
    candidates = _PORT_KEYS if name == "ports" else (_MERGE_KEYS.get(name, ""),)
    for key in candidates:
        if key and all(isinstance(one, dict) and key in one for one in items):
            return key
    return None

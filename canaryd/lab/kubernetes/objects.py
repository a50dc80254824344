"""
One object on its way into the store: what a request may write of it, what is checked, what the server itself decides.

All of it is pure but for names and times the server makes up. Nothing here mutates its arguments.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.builtin import DEFINITIONS, NAMESPACES
from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.status import ApiError, Cause, Object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVER_KEEPS = (
    "name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How a write was asked for. `whole` is for seeds: it writes spec and status at once, which no request can."""

    version: str = ""
    manager: str = "unknown"
    dry_run: bool = False
    validation: str = "Warn"
    subresource: str = ""
    force: bool = False
    whole: bool = False


PLAIN = Options()


def resource_of(definition: Object) -> Resource:
    """The resource a CustomResourceDefinition declares; its first served version's schema counts for all."""
    spec = definition["spec"]
    names = spec["names"]
    served = sorted((one for one in spec["versions"] if one.get("served", True)), key=lambda one: not one["storage"])
    schema = dict((served[0].get("schema") or {}).get("openAPIV3Schema") or {})
    if "properties" in schema:
        own = ("apiVersion", "kind", "metadata")
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in own}
    columns = served[0].get("additionalPrinterColumns") or []
    return Resource(
        group=spec["group"],
        versions=tuple(one["name"] for one in served),
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        has_status="status" in (served[0].get("subresources") or {}),
        has_generation=True,
        unconditional_update=False,
        schema=schema,
        columns=tuple((one["name"], one["jsonPath"]) for one in columns if one["name"] != "Age"),
    )


def with_server_status(resource: Resource, obj: Object) -> Object:
    if resource == NAMESPACES:
        return {**obj, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    if resource == DEFINITIONS:
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now(), "reason": reason, "message": ""}
            for kind, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
        ]
        names = obj["spec"]["names"]
        stored = [one["name"] for one in obj["spec"]["versions"] if one.get("storage")]
        return {**obj, "status": {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}}
    return obj


def part_written(resource: Resource, old: Object, new: Object, options: Options) -> Object:
    """What of `new` this request may write: never identity; status only through its subresource and nothing else."""
    if options.subresource:
        found = {key: value for key, value in old.items() if key != "status"}
        if "status" in new:
            found["status"] = new["status"]
        found["metadata"] = dict(old["metadata"])
        return found
    found = dict(new)
    if resource.has_status and not (options.whole and "status" in new):
        found.pop("status", None)
        if "status" in old:
            found["status"] = old["status"]
    kept = {key: old["metadata"][key] for key in _SERVER_KEEPS if key in old["metadata"]}
    given = {key: value for key, value in new["metadata"].items() if key not in _SERVER_KEEPS}
    found["metadata"] = {**given, **kept}
    return found


def check_identity(resource: Resource, old: Object, given: Object) -> None:
    name = old["metadata"]["name"]
    if given.get("name", name) != name:
        raise status.bad_request(
            f"the name of the object ({given['name']}) does not match the name on the URL ({name})"
        )
    if resource.namespaced:
        check_namespace(given.get("namespace", ""), old["metadata"]["namespace"])
    uid = old["metadata"]["uid"]
    if given.get("uid", uid) != uid:
        why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {uid}"
        raise status.conflict(resource, name, why)
    version = given.get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        raise status.conflict(resource, name)


def check_namespace(given: str, wanted: str) -> None:
    if given and given != wanted:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def check_name(resource: Resource, name: str) -> None:
    if not name:
        cause = Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")
        raise status.invalid(resource, "", (cause,))
    if not _SUBDOMAIN.fullmatch(name):
        message = (
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
            "characters, '-' or '.', and must start and end with an alphanumeric character"
        )
        raise status.invalid(resource, name, (Cause("FieldValueInvalid", message, "metadata.name"),))


def check_preconditions(resource: Resource, old: Object, asked: Object) -> None:
    for key, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, found = asked.get(key), old["metadata"][key]
        if wanted and wanted != found:
            why = f"Precondition failed: {shown} in precondition: {wanted}, {shown} in object meta: {found}"
            raise status.conflict(resource, old["metadata"]["name"], why)


def strict_decoding_error(
    resource: Resource, options: Options, obj: Object, unknown: tuple[str, ...], *, patching: bool
) -> ApiError:
    """Unknown fields under fieldValidation=Strict: 400, but 422 without a kind when a patch brought them.

    Source: apiserver, endpoints/handlers/patch.go (applyPatchToCurrentObject) and create.go.
    """
    told = f"strict decoding error: {', '.join(unknown)}"
    if patching:
        message = f"Invalid value: {json.dumps(json.dumps(obj))}: {told}"
        cause = Cause("FieldValueInvalid", message, "patch")
        return ApiError(422, "Invalid", f' "" is invalid: patch: {message}', causes=(cause,))
    version = options.version or resource.storage_version
    return status.bad_request(f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}: {told}')


def desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata", "status")}


def tidy_metadata(metadata: Object) -> Object:
    """Empty maps and lists vanish: an `add` below annotations that are not there fails, also on a real API server."""
    empty = ("labels", "annotations", "finalizers", "ownerReferences", "managedFields")
    return {key: value for key, value in metadata.items() if value or key not in empty}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def generated_name(prefix: str) -> str:
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return prefix + "".join(random.choices(letters, k=5)) if prefix else ""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

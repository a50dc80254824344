"""
One object on its way into the store: what a request may write of it, what is checked, what the server itself decides.

All of it is pure but for names and times the server makes up. Nothing here mutates its arguments.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.builtin import DEFINITIONS, NAMESPACES
from canaryd.lab.kubernetes.decoding import UndecodableError, decoded
from canaryd.lab.kubernetes.defaults import defaulted, given_by_server
from canaryd.lab.kubernetes.labels import wrong_name
from canaryd.lab.kubernetes.models import model_schema
from canaryd.lab.kubernetes.resources import Column, Resource
from canaryd.lab.kubernetes.schema import read
from canaryd.lab.kubernetes.status import ApiError, Cause, Object

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
    subresources = served[0].get("subresources") or {}
    return Resource(
        group=spec["group"],
        versions=tuple(one["name"] for one in served),
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        has_status="status" in subresources,
        scales="scale" in subresources,
        has_generation=True,
        unconditional_update=False,
        schema=schema,
        columns=tuple(_column(one) for one in columns),
    )


def _column(declared: Object) -> Column:
    return Column(
        declared["name"],
        declared.get("type", "string"),
        declared.get("format", ""),
        declared.get("priority", 0),
        declared["jsonPath"],
        declared.get("description", ""),
    )


def _has_rules(schema: Any) -> bool:
    """Whether there is a CEL rule anywhere in a schema."""
    if isinstance(schema, dict):
        return bool(schema.get("x-kubernetes-validations")) or any(_has_rules(one) for one in schema.values())
    return isinstance(schema, list) and any(_has_rules(one) for one in schema)


def unevaluated(resource: Resource, obj: Object) -> tuple[str, ...]:
    """What the lab does not do with this object although a real API server would: said, never silent."""
    if resource == DEFINITIONS and _has_rules(obj.get("spec")):
        told = f"the lab's API server stores the CEL rules of {obj['metadata']['name']} (x-kubernetes-validations)"
        return (f"{told} but does not evaluate them: it accepts objects that they refuse",)
    return (resource.unevaluated,) if resource.unevaluated else ()


def decoded_body(
    resource: Resource, body: Any, options: Options, *, patching: bool = False
) -> tuple[Object, tuple[str, ...]]:
    """
    The object that a body is, without what its kind has no field for (those paths come second) and with defaults.

    Raises ApiError 400 for what is no such object, or is none under fieldValidation=Strict.
    """
    if patching and resource.custom and isinstance(body, dict) and not body.get("kind"):
        shown = json.dumps(body, separators=(",", ":"))
        raise unreadable_patch(shown, f"Object 'Kind' is missing in '{shown}'")
    body = _identified(resource, body, options)
    unknown: list[str] = []
    try:
        if resource.custom:
            metadata = decoded(
                {"properties": {"metadata": model_schema("V1ObjectMeta")}, "type": "object"},
                {"metadata": body.get("metadata") or {}},
                unknown,
            )["metadata"]
        else:
            body = decoded(resource.whole_schema, without_nulls(body), unknown)
            metadata = body.get("metadata") or {}
    except UndecodableError as error:
        raise _not_decodable(resource, options, body, str(error), patching=patching) from None
    found = {**body, "apiVersion": resource.api_version(), "metadata": tidy_metadata(without_nulls(metadata))}
    if resource.custom:
        reading = read(resource.schema or {}, _content(found))
        unknown += reading.unknown
        found = {"apiVersion": found["apiVersion"], "kind": resource.kind, "metadata": found["metadata"]}
        found |= reading.value
    else:
        found = {**defaulted(resource, found), "kind": resource.kind}
    told = tuple(f'unknown field "{path}"' for path in unknown)
    if told and options.validation == "Strict":
        raise strict_decoding_error(resource, options, found, told, patching=patching)
    return found, () if options.validation == "Ignore" else told


def _content(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}


def _identified(resource: Resource, body: Any, options: Options) -> Object:
    """A JSON object that is what the URL says it is. Custom resources must say so themselves."""
    if not isinstance(body, dict):
        told = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
        shape = (
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
        kind = "array" if isinstance(body, list) else "string"
        begin = json.dumps(body, separators=(",", ":"))[:15].encode().hex()
        told = f"{told}; json parse error: json: cannot unmarshal {kind} into Go value of type {shape} ({begin})"
        raise status.bad_request(told)
    version = options.version or resource.storage_version
    wanted = resource.api_version(version)
    given, kind = body.get("apiVersion") or "", body.get("kind") or ""
    if resource.custom and not kind:
        text = json.dumps(body)
        told = f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing in"
        raise status.bad_request(f"{told} '{text}' ({text[:30]} ...)")
    if (given or resource.custom) and given != wanted and (resource.custom or kind in ("", resource.kind)):
        raise status.bad_request(
            f"the API version in the data ({given}) does not match the expected API version ({wanted})"
        )
    if kind and kind != resource.kind:
        raise _other_kind(resource, kind, version, body)
    if not isinstance(body.get("metadata", {}), dict | None):
        told = f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}'
        raise status.bad_request(f"{told}: json: cannot unmarshal into Go struct field {resource.kind}.metadata")
    return body


def _other_kind(resource: Resource, kind: str, version: str, body: Object) -> ApiError:
    if not resource.custom:
        group = resource.group.partition(".")[0] or "core"
        given = str(body.get("apiVersion") or version).rpartition("/")[2]
        told = f"converting ({given}.{kind}) to ({group}.{resource.kind}): unknown conversion"
        return status.bad_request(f'{kind} in version "{given}" cannot be handled as a {resource.kind}: {told}')
    name = (body.get("metadata") or {}).get("name", "")
    cause = Cause("FieldValueInvalid", f'Invalid value: "{kind}": must be {resource.kind}', "kind")
    message = f'{kind}.{resource.group} "{name}" is invalid: kind: {cause.message}'
    where = {"name": name, "group": resource.group, "kind": kind}
    return ApiError(422, "Invalid", message, details=where, causes=(cause,))


def _not_decodable(resource: Resource, options: Options, body: Object, told: str, *, patching: bool) -> ApiError:
    if patching:
        return _invalid_patch(body, told)
    version = options.version or resource.storage_version
    return status.bad_request(f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}: {told}')


def _invalid_patch(obj: Object, told: str) -> ApiError:
    """What a patch leads to cannot be decoded: 422 without a kind, with the object as text."""
    return unreadable_patch(json.dumps(obj, separators=(",", ":")), told)


def unreadable_patch(shown: str, told: str) -> ApiError:
    """A patch that is refused, with what it is about."""
    message = f"Invalid value: {json.dumps(shown)}: {told}"
    cause = Cause("FieldValueInvalid", message, "patch")
    return ApiError(422, "Invalid", f' "" is invalid: patch: {message}', causes=(cause,))


def with_server_status(resource: Resource, obj: Object) -> Object:
    """What the server itself says of a new object."""
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
    return given_by_server(resource, obj)


def part_written(resource: Resource, old: Object, new: Object, options: Options) -> Object:
    """What of `new` this request may write: never identity; status only through its subresource and nothing else."""
    if options.subresource == "status":
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


def check_path(resource: Resource, namespace: str, name: str, given: Object) -> None:
    """A body's name and namespace are those of the path, or absent."""
    if given.get("name", name) != name:
        raise status.bad_request(
            f"the name of the object ({given['name']}) does not match the name on the URL ({name})"
        )
    if resource.namespaced:
        check_namespace(given.get("namespace", ""), namespace)


def check_manifest(resource: Resource, namespace: str, name: str, manifest: Any, options: Options) -> Object:
    """The manifest of a server-side apply, as it is: what it says is what its author comes to own."""
    if isinstance(manifest, dict) and manifest.get("kind") == resource.kind:
        given = str(manifest.get("apiVersion", ""))
        if given != resource.api_version(options.version):
            raise status.bad_request(f"invalid object type: {given}, Kind={resource.kind}")
    found = _identified(resource, manifest, options)
    metadata = found.get("metadata") or {}
    if metadata.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    check_path(resource, namespace, name, metadata)
    unknown: list[str] = []
    told: list[str] = []
    try:
        if resource.custom:
            unknown += read(resource.schema or {}, _content(found)).unknown
        else:
            decoded(resource.whole_schema, without_nulls(found), unknown)
    except UndecodableError as error:
        told.append(error.told_of_manifest)
    told += [f".{path}: field not declared in schema" for path in unknown]
    if told:
        kind = f"{resource.api_version(options.version)}, Kind={resource.kind}"
        which = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind}"
        listed = told[0] if len(told) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in told)
        raise ApiError(500, "", f"failed to create typed patch object ({which}): {listed}")
    return {**found, "metadata": {**metadata, "name": name}}


def check_strategic(resource: Resource, live: Object, patch: Any) -> None:
    """Under fieldValidation=Strict a strategic merge is refused with the patch itself, as Go prints a map."""
    unknown: list[str] = []
    try:
        decoded(resource.whole_schema, without_nulls({**live, **patch} if isinstance(patch, dict) else live), unknown)
    except UndecodableError:
        return  # said with the whole object
    if unknown:
        told = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise unreadable_patch(_as_go(patch), f"strict decoding error: {told}")


def _as_go(value: Any) -> str:
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_as_go(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_as_go(one) for one in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_identity(resource: Resource, old: Object, given: Object) -> None:
    name = old["metadata"]["name"]
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


def causes_of_name(resource: Resource, name: str) -> tuple[Cause, ...]:
    """What is wrong with the name of a new object."""
    told = wrong_name(name, resource.kind)
    return tuple(Cause("FieldValueInvalid", f'Invalid value: "{name}": {one}', "metadata.name") for one in told)


def check_preconditions(resource: Resource, old: Object, asked: Object) -> None:
    for key, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, found = asked.get(key), old["metadata"][key]
        if wanted and wanted != found:
            raise status.precondition_failed(resource, old["metadata"]["name"], shown, wanted, found)


def strict_decoding_error(
    resource: Resource, options: Options, obj: Object, unknown: tuple[str, ...], *, patching: bool
) -> ApiError:
    """Unknown fields under fieldValidation=Strict: 400, but 422 without a kind when a patch brought them.

    Source: apiserver, endpoints/handlers/patch.go (applyPatchToCurrentObject) and create.go.
    """
    told = f"strict decoding error: {', '.join(unknown)}"
    if patching:
        return _invalid_patch(obj, told)
    version = options.version or resource.storage_version
    return status.bad_request(f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}: {told}')


def desired(resource: Resource, obj: Object, options: Options) -> Object:
    """
    What counts for the generation: everything people say, and a Deployment's annotations.

    Its controller writes its annotation by the status's door, which does not count. Source: kubernetes,
    pkg/registry/apps/deployment/strategy.go.
    """
    apart = ("apiVersion", "kind", "metadata", "status") if resource.has_status else ("apiVersion", "kind", "metadata")
    found = {key: value for key, value in obj.items() if key not in apart}
    if resource.qualified == "deployments.apps" and not options.whole:
        found["annotations"] = obj["metadata"].get("annotations") or {}
    return found


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

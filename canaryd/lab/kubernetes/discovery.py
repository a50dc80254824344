"""
What a client learns before its first real request: groups, versions, resources, and their OpenAPI documents.

kubectl needs the OpenAPI v3 part: it looks for a `fieldValidation` parameter on a kind's operations before it trusts
the server to validate, and `explain` reads the schemas. Aggregated discovery and OpenAPI v2 are left out; kubectl
falls back from the former by itself and needs the latter only up to 1.27.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.resources import Registry, Resource, Schema
from canaryd.lab.kubernetes.status import Object

VERSION: Object = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0-canaryd-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "lab",
}


def core_versions(address: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Object:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(registry, g) for g in registry.groups() if g]}


def group(registry: Registry, name: str) -> Object | None:
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)} if name in registry.groups() else None


def _group(registry: Registry, name: str) -> Object:
    versions = [{"groupVersion": f"{name}/{one}", "version": one} for one in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, name: str, version: str) -> Object | None:
    served = registry.served(name, version)
    if not served:
        return None
    listed = [entry for one in served for entry in _api_resources(one)]
    group_version = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _api_resources(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if not resource.has_status:
        return [entry]
    status = {
        "name": f"{resource.plural}/status",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    }
    return [entry, status]


def openapi_index(registry: Registry) -> Object:
    """Where each group version's document is. The hash lets clients cache it: it names what is served there."""
    paths: Object = {}
    for name in registry.groups():
        for version in registry.versions(name):
            where = _base(name, version)
            mark = "-".join(one.plural for one in registry.served(name, version))
            paths[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={mark}"}
    return {"paths": paths}


def openapi(registry: Registry, name: str, version: str) -> Object | None:
    served = registry.served(name, version)
    if not served:
        return None
    schemas: Object = {_component(one, version): _kind_schema(one, version) for one in served}
    schemas["ObjectMeta"] = {"type": "object", "description": "Standard object's metadata.", "properties": _METADATA}
    paths: Object = {}
    for one in served:
        paths |= _paths(one, version)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Schema = {
    "name": _TEXT,
    "namespace": _TEXT,
    "generateName": _TEXT,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "finalizers": {"type": "array", "items": _TEXT},
    "resourceVersion": _TEXT,
    "uid": _TEXT,
    "generation": {"type": "integer"},
    "creationTimestamp": _TEXT,
}


def _base(name: str, version: str) -> str:
    return f"apis/{name}/{version}" if name else f"api/{version}"


def _component(resource: Resource, version: str) -> str:
    return ".".join([*reversed(resource.group.split(".")), version, resource.kind]).lstrip(".")


def _kind(resource: Resource, version: str) -> Object:
    return {"group": resource.group, "version": version, "kind": resource.kind}


def _kind_schema(resource: Resource, version: str) -> Schema:
    loose: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    declared: dict[str, Any] = (resource.schema or {}).get("properties", {"spec": loose, "status": loose})
    reference = {"allOf": [{"$ref": "#/components/schemas/ObjectMeta"}], "default": {}}
    return {
        "type": "object",
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": reference, **declared},
        "x-kubernetes-group-version-kind": [_kind(resource, version)],
        **({} if resource.custom else {"x-kubernetes-preserve-unknown-fields": True}),
    }


def _paths(resource: Resource, version: str) -> Object:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"/{_base(resource.group, version)}{scope}/{resource.plural}"
    found: Object = {collection: {"post": _operation(resource, version, "post")}}
    if not resource.ephemeral:
        found[f"{collection}/{{name}}"] = {
            verb: _operation(resource, version, verb) for verb in ("get", "put", "patch", "delete")
        }
    return found


def _operation(resource: Resource, version: str, verb: str) -> Object:
    names = ("dryRun", "fieldManager", "fieldValidation") if verb in ("post", "put", "patch") else ("pretty",)
    reference = {"$ref": f"#/components/schemas/{_component(resource, version)}"}
    return {
        "parameters": [{"name": one, "in": "query", "schema": _TEXT} for one in names],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": _kind(resource, version),
    }

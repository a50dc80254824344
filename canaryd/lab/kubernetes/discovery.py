"""
What a client learns before its first real request: groups, versions, resources, and their OpenAPI documents.

kubectl needs the OpenAPI v3 part: it looks for a `fieldValidation` parameter on a kind's operations before it trusts
the server to validate, and `explain` reads the schemas. Aggregated discovery and OpenAPI v2 are left out; kubectl
falls back from the former by itself and needs the latter only up to 1.27.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from canaryd.lab.kubernetes.models import MODEL, QUANTITY, model_schema, type_name
from canaryd.lab.kubernetes.resources import Registry, Resource, Schema
from canaryd.lab.kubernetes.status import Object

VERSION: Object = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0-canaryd-lab",
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
    below: Object = {"singularName": "", "namespaced": resource.namespaced, "verbs": ["get", "patch", "update"]}
    scale = {"name": f"{resource.plural}/scale", "group": "autoscaling", "version": "v1", "kind": "Scale", **below}
    status = {"name": f"{resource.plural}/status", "kind": resource.kind, **below}
    found = [*([scale] if resource.scales else []), *([status] if resource.has_status else [])]
    return [entry, *(reversed(found) if resource.custom else found)]


def openapi_index(registry: Registry) -> Object:
    """Where each group version's document is. The hash lets clients cache it: it changes with what is in there."""
    paths: Object = {}
    for name in registry.groups():
        for version in registry.versions(name):
            where = _base(name, version)
            mark = hashlib.sha256(f"{registry.revision} {where} {_STARTED}".encode()).hexdigest()[:32].upper()
            paths[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={mark}"}
    return {"paths": paths}


def openapi(registry: Registry, name: str, version: str) -> Object | None:
    """A group version's document: its kinds' schemas, with descriptions, and enough of paths for kubectl."""
    served = registry.served(name, version)
    if not served:
        return None
    schemas: Object = {}
    paths: Object = {}
    for one in served:
        own = _kind_schema(one, version)
        schemas[_component(one, version)] = _referring(own, name, version, schemas)
        paths |= _paths(one, version)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }


_TEXT: Schema = {"type": "string"}
_STARTED = secrets.token_hex(8)  # another process may serve other schemas at the same address
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_EITHER = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


def _referring(schema: Any, group: str, version: str, schemas: Object) -> Any:
    """A schema in which the types of Kubernetes' models are references; `schemas` gets what they refer to."""
    if isinstance(schema, list):
        return [_referring(one, group, version, schemas) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") and "anyOf" not in schema and "type" not in schema:
        name = _QUANTITY if QUANTITY in schema else _EITHER
        schemas[name] = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return _reference(name, schema)
    model = schema.get(MODEL)
    if model is None:
        return {key: _referring(value, group, version, schemas) for key, value in schema.items()}
    meta = model in ("V1ObjectMeta", "V1OwnerReference", "V1ManagedFieldsEntry", "V1LabelSelector")
    package = _META if meta else f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}"
    name = f"{package}.{type_name(model)}"
    if name not in schemas:
        schemas[name] = {}  # now, for a type may hold itself
        plain = {key: value for key, value in model_schema(model).items() if key != MODEL}
        schemas[name] = _referring(plain, group, version, schemas)
    return _reference(name, schema)


def _reference(name: str, schema: Schema) -> Schema:
    found: Schema = {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
    kept = ("description", "default", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
    return {**found, **{key: schema[key] for key in kept if key in schema}}


def _base(name: str, version: str) -> str:
    return f"apis/{name}/{version}" if name else f"api/{version}"


def _component(resource: Resource, version: str) -> str:
    if not resource.custom:
        return f"io.k8s.api.{resource.group.partition('.')[0] or 'core'}.{version}.{resource.kind}"
    return ".".join([*reversed(resource.group.split(".")), version, resource.kind])


def _kind(resource: Resource, version: str) -> Object:
    return {"group": resource.group, "version": version, "kind": resource.kind}


def _kind_schema(resource: Resource, version: str) -> Schema:
    """The schema of a kind, with what every object has."""
    told = model_schema("V1ConfigMap")["properties"]
    common = {key: told[key] for key in ("apiVersion", "kind", "metadata")}
    common["metadata"] = {**common["metadata"], "default": {}}
    loose: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    whole = resource.whole_schema or {"properties": {"spec": loose, "status": loose}}
    kept = {key: value for key, value in whole.items() if key not in (MODEL, "properties")}
    return {
        "type": "object",
        **kept,
        "properties": {**common, **{key: value for key, value in whole["properties"].items() if key not in common}},
        "x-kubernetes-group-version-kind": [_kind(resource, version)],
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

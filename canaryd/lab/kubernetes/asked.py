"""
What a request asks for: its target, verb, options and body, read once from path, query and headers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml
from aiohttp import web

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.resources import Registry, Resource
from canaryd.lab.kubernetes.selectors import Selector, selector
from canaryd.lab.kubernetes.status import ApiError, Object
from canaryd.lab.kubernetes.wire import WireError, from_protobuf


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `namespace` is None for a list over all namespaces."""

    resource: Resource
    version: str
    namespace: str | None
    name: str = ""
    subresource: str = ""


def target_of(registry: Registry, path: str) -> Target | None:
    """Read a path; None is a discovery document or nothing at all. Raises ApiError 404 for an unknown resource."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["api", "v1"] and len(parts) > 2:
        group, version, rest = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = registry.by_plural(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace is not None and not resource.namespaced):
        raise status.no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    if not resource.namespaced:
        namespace = ""
    elif name and namespace is None:
        raise status.no_such_path()
    return Target(resource, version, namespace, name, rest[2] if len(rest) > 2 else "")


def verb_of(request: web.Request, target: Target | None) -> str:
    named = target is not None and bool(target.name)
    if request.method == "GET":
        if request.query.get("watch") in ("1", "true"):
            return "watch"
        return "get" if named or target is None else "list"
    if request.method == "DELETE":
        return "delete" if named else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, request.method.lower())


async def body_of(request: web.Request, model: str = "") -> Any:
    """The body as JSON has it; `model` is what it is of, for a body in protobuf."""
    if "protobuf" in request.content_type:
        return _protobuf(await request.read(), model)
    text = (await request.read()).decode("utf-8", "replace")
    try:
        if "yaml" in request.content_type:
            return yaml.safe_load(text)
        return json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise status.bad_request(f"error decoding the body: {error}") from error


def _protobuf(body: bytes, model: str) -> Any:
    if not model:
        raise status.unsupported_media_type(("application/json", "application/yaml"))
    try:
        return from_protobuf(body, model)
    except (WireError, UnicodeDecodeError) as error:
        raise status.bad_request(f"error decoding the body: {error}") from error


def options_of(request: web.Request, target: Target) -> Options:
    query = request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        known = ("", "Ignore", "Strict", "Warn")
        raise status.bad_option(_options_kind(request), "fieldValidation", json.dumps(validation), known)
    agent = request.headers.get("User-Agent", "unknown").split("/", 1)[0]
    return Options(
        version=target.version,
        manager=query.get("fieldManager") or agent,
        dry_run=dry_run_of(request),
        validation=validation,
        subresource=target.subresource,
        force=query.get("force") == "true",
    )


def _options_kind(request: web.Request) -> str:
    verbs = {"POST": "Create", "PUT": "Update", "PATCH": "Patch"}
    return f"{verbs.get(request.method, 'Delete')}Options"


def dry_run_of(request: web.Request, body: Object | None = None) -> bool:
    asked = request.query.getall("dryRun", []) or (body or {}).get("dryRun") or []
    if any(one != "All" for one in asked):
        raise status.bad_option(_options_kind(request), "dryRun", json.dumps(asked), ("All",))
    return bool(asked)


def number_of(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if text and not text.lstrip("-").isdigit():
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(int(text or 0), 0)


def version_of(request: web.Request) -> int:
    """The resourceVersion asked for, 0 for none."""
    text = request.query.get("resourceVersion", "")
    if text and not text.isdigit():
        told = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        if verb_of(request, None) == "watch":
            raise ApiError(500, "", f"resourceVersion: {told}")
        raise status.bad_request(f"invalid resource version: resourceVersion: {told}")
    return int(text or 0)


def check_match(request: web.Request) -> None:
    """Whether resourceVersionMatch fits the rest. Source: apimachinery, metav1/validation (ValidateListOptions)."""
    query, field = request.query, "resourceVersionMatch"
    match, version = query.get(field, ""), query.get("resourceVersion", "")
    initial = query.get("sendInitialEvents")
    if verb_of(request, None) == "watch":
        if initial is not None and match != "NotOlderThan":
            told = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise status.forbidden_option(field, told)
        if match and initial is None:
            told = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise status.forbidden_option(field, told)
        return
    if not match:
        return
    if query.get("continue"):
        raise status.forbidden_option(field, "resourceVersionMatch is forbidden when continue is provided")
    if not version:
        raise status.forbidden_option(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("Exact", "NotOlderThan"):
        raise status.bad_option("ListOptions", field, json.dumps(match), ("Exact", "NotOlderThan", ""))
    if match == "Exact" and version == "0":
        raise status.forbidden_option(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def selector_of(request: web.Request, target: Target) -> Selector:
    query = request.query
    found = selector(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    if not target.name:
        return found
    return lambda obj: obj["metadata"]["name"] == target.name and found(obj)


def wants_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "").split(",", 1)[0]

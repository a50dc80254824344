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
from canaryd.lab.kubernetes.status import Object


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


async def body_of(request: web.Request) -> Any:
    if "protobuf" in request.content_type:
        raise status.unsupported_media_type(("application/json", "application/yaml"))
    text = (await request.read()).decode("utf-8", "replace")
    try:
        if "yaml" in request.content_type:
            return yaml.safe_load(text)
        return json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise status.bad_request(f"error decoding the body: {error}") from error


def options_of(request: web.Request, target: Target) -> Options:
    query = request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        raise status.bad_request(f'fieldValidation: Unsupported value: "{validation}"')
    agent = request.headers.get("User-Agent", "unknown").split("/", 1)[0]
    return Options(
        version=target.version,
        manager=query.get("fieldManager") or agent,
        dry_run=dry_run_of(request),
        validation=validation,
        subresource=target.subresource,
        force=query.get("force") == "true",
    )


def dry_run_of(request: web.Request, body: Object | None = None) -> bool:
    asked = request.query.getall("dryRun", []) or (body or {}).get("dryRun") or []
    if any(one != "All" for one in asked):
        raise status.bad_request(f"dryRun: Unsupported value: {asked}: supported values: All")
    return bool(asked)


def number_of(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if text and not text.isdigit():
        raise status.bad_request(f'{name}: Invalid value: "{text}"')
    return int(text or 0)


def selector_of(request: web.Request, target: Target) -> Selector:
    query = request.query
    found = selector(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    if not target.name:
        return found
    return lambda obj: obj["metadata"]["name"] == target.name and found(obj)


def wants_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "").split(",", 1)[0]

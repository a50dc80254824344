"""
Istio's validating webhook, as far as routes and destinations go: what istiod refuses although the schema allows it.

Rules and texts are those of Istio (pkg/config/validation/validation.go, virtualservice.go). What matters most here:
two or more destinations whose weights sum to 0 are refused, a sum other than 100 is not, and neither unknown hosts
nor unknown subsets are noticed at all. Faults, CORS, retries and header rules of Istio's validator are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from canaryd.lab.kubernetes.status import ApiError, Object

_LABEL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_SUBSET_LENGTH = 63
_DOMAIN_LENGTH = 255


def admit(obj: Object) -> None:
    """Raise the webhook's refusal (HTTP 400 without a reason) for an object istiod would not take."""
    validators = {"VirtualService": virtual_service, "DestinationRule": destination_rule, "Gateway": gateway}
    validate = validators.get(obj["kind"])
    wrong = list(dict.fromkeys(validate(obj.get("spec") or {}))) if validate else []
    if wrong:
        raise _denied(wrong)


def _denied(wrong: list[str]) -> ApiError:
    told = wrong[0] if len(wrong) == 1 else f"{len(wrong)} errors occurred:\n\t* " + "\n\t* ".join(wrong) + "\n\n"
    message = f'admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: {told}'
    return ApiError(400, "", message)


def virtual_service(spec: Object) -> Iterator[str]:
    hosts, gateways = spec.get("hosts") or [], spec.get("gateways") or []
    http, tls, tcp = (spec.get(kind) or [] for kind in ("http", "tls", "tcp"))
    delegate = not hosts
    if delegate:
        if gateways:
            yield "delegate virtual service must have no gateways specified"
        if tls:
            yield "delegate virtual service must have no tls route"
        if tcp:
            yield "delegate virtual service must have no tcp route"
    for host in hosts:
        yield from _host(host, in_mesh=not gateways or "mesh" in gateways)
    yield from _overlaps(hosts)
    for name in gateways:
        yield from _gateway_name(name)
    if not (http or tls or tcp):
        yield "http, tcp or tls must be provided in virtual service"
    for entry in http:
        yield from _http_route(entry, delegate=delegate)
    for entry in [*tls, *tcp]:
        if not entry.get("route"):
            yield "route is required" if entry in tcp else "destination is required"
        yield from _destinations(entry.get("route") or [])


def _http_route(entry: Object, *, delegate: bool) -> Iterator[str]:
    route, redirect, direct = entry.get("route"), entry.get("redirect"), entry.get("directResponse")
    name = entry.get("name", "")
    if entry.get("delegate") is not None:
        if delegate:
            yield "delegate HTTP route cannot contain delegate"
        elif redirect is not None:
            yield f"root HTTP route {name} must not specify redirect"
        elif route is not None:
            yield f"root HTTP route {name} must not specify route"
        if not delegate:
            yield from _matches(entry.get("match") or [])
            return
    if not route and redirect is None and direct is None:
        yield "HTTP route, redirect or direct_response is required"
    if route and redirect is not None:
        yield "HTTP route cannot contain both route and redirect"
    if route and direct is not None:
        yield "HTTP route cannot contain both route and direct_response"
    if redirect is not None and direct is not None:
        yield "HTTP route cannot contain both redirect and direct_response"
    if entry.get("mirror") is not None and entry.get("mirrors"):
        yield "HTTP route cannot contain both mirror and mirrors"
    yield from _matches(entry.get("match") or [])
    yield from _destinations(route or [])
    if entry.get("mirror") is not None:
        yield from _destination(entry["mirror"])


def _destinations(route: list[Any]) -> Iterator[str]:
    """Weights count relative to their sum; a single destination gets everything, whatever its weight."""
    total = 0
    for item in route:
        if item is None:
            yield "weight may not be nil"
            continue
        if item.get("destination") is None:
            yield "destination is required"
        else:
            yield from _destination(item["destination"])
        weight = item.get("weight") or 0
        if weight < 0:
            yield f"weight {weight} < 0"
        total += weight
    if len(route) > 1 and _int32(total) == 0:
        yield "total destination weight = 0"


def _int32(number: int) -> int:
    """Istio sums in an int32 that wraps: 2147483647 + 2147483647 + 2 is refused as 0."""
    return (number + 2**31) % 2**32 - 2**31


def _destination(destination: Object) -> Iterator[str]:
    host = destination.get("host", "")
    if host == "*":
        yield f"invalid destination host {host}"
    else:
        yield from _domain(host, wildcard=True)
    if destination.get("subset"):
        yield from _subset(destination["subset"])
    number = (destination.get("port") or {}).get("number", 0)
    if destination.get("port") is not None and not 1 <= number <= 65535:
        yield f"port number {number} must be in the range 1..65535"


def _subset(name: str) -> Iterator[str]:
    if not name:
        yield "subset name cannot be empty"
    elif not _LABEL.fullmatch(name) or len(name) > _SUBSET_LENGTH:
        yield f"subset name is invalid: {name}"


def _matches(matches: list[Any]) -> Iterator[str]:
    for match in matches:
        if match is None:
            yield "HTTP match may not be null"
            continue
        for name in ("scheme", "method", "authority"):
            yield from _string_match(match.get(name), name)
        for name in ("headers", "queryParams"):
            for value in (match.get(name) or {}).values():
                yield from _string_match(value, name)


def _string_match(value: Any, name: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for kind in ("prefix", "regex"):
        if value.get(kind) == "":
            yield f'"{name}": {kind} string match should not be empty'


def _host(host: str, *, in_mesh: bool) -> Iterator[str]:
    if host == "*":
        if in_mesh:
            yield "wildcard host * is not allowed for virtual services bound to the mesh gateway"
        return
    if not re.fullmatch(r"[0-9a-fA-F.:]+(/\d+)?", host) and not host.startswith("outbound_."):
        yield from _domain(host, wildcard=True)


def _domain(name: str, *, wildcard: bool = False) -> Iterator[str]:
    if not name:
        yield "empty domain name not allowed"
        return
    if len(name) > _DOMAIN_LENGTH:
        yield f'domain name "{name}" too long (max {_DOMAIN_LENGTH})'
        return
    for index, label in enumerate(name.removesuffix(".").split(".")):
        if label == "*" and wildcard and index == 0:
            continue
        if not _LABEL.fullmatch(label.removeprefix("*" if wildcard and index == 0 else "")):
            yield f'domain name "{name}" invalid (label "{label}" invalid)'
            return


def _gateway_name(name: str) -> Iterator[str]:
    if "/" not in name:
        yield from _domain(name)
        return
    for label in name.split("/", 1):
        if label != "." and not _LABEL.fullmatch(label):
            yield f'invalid value "{label}" for gateway: {name}'


def _overlaps(hosts: list[str]) -> Iterator[str]:
    """Hosts that cover one another; the more specific one is named first, as Istio sorts them."""
    for index, host in enumerate(hosts):
        for other in hosts[index + 1 :]:
            first, second = sorted((host, other), key=len, reverse=True)
            if first == second or (second.startswith("*") and second != "*" and first.endswith(second[1:])):
                yield f"duplicate hosts in virtual service: {first} & {second}"


def destination_rule(spec: Object) -> Iterator[str]:
    yield from _domain(spec.get("host", ""), wildcard=True)
    yield from _traffic_policy(spec.get("trafficPolicy"))
    seen: set[str] = set()
    for subset in spec.get("subsets") or []:
        name = subset.get("name", "")
        if name in seen:
            yield "duplicate subset names"
        seen.add(name)
        yield from _subset(name)
        yield from _traffic_policy(subset.get("trafficPolicy"))


def _traffic_policy(policy: Any) -> Iterator[str]:
    if policy is None:
        return
    if not policy:
        yield "traffic policy must have at least one field"
    pool = policy.get("connectionPool")
    if pool is not None and not (pool.get("tcp") or pool.get("http")):
        yield "connection pool must have at least one field"


def gateway(spec: Object) -> Iterator[str]:
    servers = spec.get("servers") or []
    if not servers:
        yield "gateway must have at least one server"
    names: set[str] = set()
    for server in servers:
        name = (server.get("port") or {}).get("name", "")
        if name and name in names:
            yield f"port names in servers must be unique: duplicate name {name}"
        names.add(name)
        for host in server.get("hosts") or []:
            if host.split("/", 1)[0] == "~" and "/" in host:
                yield 'invalid namespace value "~" in gateway'

"""
A VirtualService as a whole: hosts, gateways, delegation, then every entry, then what no request reaches.

A VirtualService without hosts is one to which others delegate. Source: Istio, pkg/config/validation/validation.go
(ValidateVirtualService).
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.hosts import bound_host, duplicates, gateway_names
from canaryd.lab.kubernetes.webhook.http_routes import http_route
from canaryd.lab.kubernetes.webhook.layer4 import tcp_route, tls_route
from canaryd.lab.kubernetes.webhook.matches import is_claim
from canaryd.lab.kubernetes.webhook.problems import Problem, Problems, wrong
from canaryd.lab.kubernetes.webhook.unreachable import unreachable
from canaryd.lab.kubernetes.webhook.values import export_to, is_ip


def virtual_service(spec: Object, metadata: Object) -> Problems:
    hosts, gateways = spec.get("hosts") or [], spec.get("gateways") or []
    http, tls, tcp = ([one or {} for one in spec.get(kind) or []] for kind in ("http", "tls", "tcp"))
    at_gateways = bool(gateways) and "mesh" not in gateways
    if not hosts:
        yield from _delegate(gateways, tls, tcp)
    yield from gateway_names(gateways)
    if not at_gateways:
        yield from _claims(http, gateways)
    unfit = list(_hosts(hosts, at_gateways=at_gateways, sni=_matches_sni(tls)))
    yield from unfit or duplicates(hosts)
    if not (http or tls or tcp):
        yield wrong("http, tcp or tls must be provided in virtual service")
    for entry in http:
        yield from http_route(entry, delegate=not hosts)
    for entry in tls:
        yield from tls_route(entry, spec)
    for entry in tcp:
        yield from tcp_route(entry)
    yield from export_to(metadata.get("namespace") or "", spec.get("exportTo"))
    yield from unreachable(spec)


def _delegate(gateways: list[str], tls: list[Object], tcp: list[Object]) -> Problems:
    if gateways:
        yield wrong("delegate virtual service must have no gateways specified")
    if tls:
        yield wrong("delegate virtual service must have no tls route specified")
    if tcp:
        yield wrong("delegate virtual service must have no tcp route specified")


def _claims(http: list[Object], gateways: list[str]) -> Problems:
    """Claims of a token are only known at gateways."""
    for entry in http:
        for match in entry.get("match") or []:
            for field in ("headers", "withoutHeaders"):
                for name in (match or {}).get(field) or {}:
                    if is_claim(name):
                        yield _unknown_claim(name, gateways)


def _unknown_claim(name: str, gateways: list[str]) -> Problem:
    found = " ".join(gateways)
    only = f"JWT claim based routing (key: {name}) is only supported for gateway"
    return wrong(f"{only}, found no gateways: [{found}]")


def _matches_sni(tls: list[Any]) -> bool:
    return any((match or {}).get("sniHosts") for entry in tls for match in entry.get("match") or [])


def _hosts(hosts: list[str], *, at_gateways: bool, sni: bool) -> Problems:
    for host in hosts:
        if refusal := bound_host(host, gateway=at_gateways, sni=sni):
            if not is_ip(host):
                yield wrong(refusal)
        elif host == "*" and not at_gateways:
            yield wrong("wildcard host * is not allowed for virtual services bound to the mesh gateway")

"""
A request that the plan's entry answers: from where, to which host, with what in it.

Made from the entry's own match, so that the lab's traffic takes the route whose weights move. A regular expression is
not guessed at: then the caller must say the path or the header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from canaryd.lab.own.reading import Own
from canaryd.lab.scene import CLIENT, INGRESS, Request
from canaryd.mesh.hosts import service_of
from canaryd.mesh.route import resolve
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused

Json = dict[str, Any]
EVERY_HOST = "shop.example"
"""What is called where a gateway's routes take any host."""


def request_for(plan: Plan, own: Own, *, path: str = "", headers: Mapping[str, str] | None = None) -> Request:
    """
    A request that reaches the first entry that `plan` moves; `path` and `headers` go before what is found there.

    Raises Refused where there is no such VirtualService, no such entry, or no request can be told from its match.
    """
    name, namespace = plan.spec.target.virtual_service, plan.namespace
    virtual = next(
        (
            each
            for each in own.of("VirtualService")
            if (each["metadata"].get("namespace") or "default", each["metadata"]["name"]) == (namespace, name)
        ),
        None,
    )
    if virtual is None:
        known = [each["metadata"]["name"] for each in own.of("VirtualService")]
        raise Refused(
            [
                Problem(
                    "spec.target.virtualService",
                    f"{namespace}/{name}",
                    "a VirtualService among the objects",
                    f"there are: {', '.join(known) or 'none'}",
                )
            ]
        )
    resolution = resolve(virtual, plan)
    if resolution.route is None:
        raise Refused(resolution.problems)
    entry = virtual["spec"]["http"][resolution.route.entries[0].index]
    return _request(virtual, entry, plan, own, path, dict(headers or {}))


def _request(virtual: Json, entry: Json, plan: Plan, own: Own, path: str, headers: dict[str, str]) -> Request:
    gateways = virtual["spec"].get("gateways") or ["mesh"]
    match: Json = next((each for each in entry.get("match") or [{}] if each is not None), {})
    bound = match.get("gateways") or gateways
    of = entry.get("name") or "its entry"
    where = f"VirtualService {plan.namespace}/{virtual['metadata']['name']}, the match of {of}"
    found = (
        Request(CLIENT, _mesh_host(virtual, plan, own)) if "mesh" in bound else Request(INGRESS, _outer_host(virtual))
    )
    for name, value in (match.get("headers") or {}).items():
        if name not in headers:
            headers[name] = _text(value, f"{where}, header {name}", f"--header '{name}: VALUE'")
    if "authority" in match:
        found = replace(found, host=_text(match["authority"], f"{where}, authority", "another host"))
    if "method" in match:
        found = replace(found, method=_text(match["method"], f"{where}, method", "a method"))
    if not path:
        path = _text(match["uri"], f"{where}, uri", "--path PATH", "/lab") if match.get("uri") else "/"
        query = {
            name: _text(value, f"{where}, query parameter {name}", "--path PATH")
            for name, value in (match.get("queryParams") or {}).items()
        }
        path += f"?{urlencode(query)}" if query else ""
    return replace(found, path=path, headers=headers)


def _text(value: Json | None, where: str, option: str, anything: str = "lab") -> str:
    """A text that fulfils a StringMatch; `anything` where any does."""
    if not value:
        return anything
    kind, text = next(iter(value.items()))
    if kind in ("exact", "prefix"):
        return str(text)
    if text in (".*", ".+", "*"):
        return anything
    literal = re.sub(r"\\(.)", r"\1", str(text))
    if not re.search(r"[][(){}*+?|^$]", literal) and re.fullmatch(str(text), literal):
        return literal
    raise Refused([Problem(where, f"regex {text}", "something that can be called", f"say what to call: {option}")])


def _mesh_host(virtual: Json, plan: Plan, own: Own) -> str:
    host = next(iter(virtual["spec"].get("hosts") or [plan.spec.target.host]))
    name, home = service_of(str(host), plan.namespace)
    service = next(
        (
            each
            for each in own.of("Service", "")
            if (each["metadata"].get("namespace") or "default", each["metadata"]["name"]) == (home, name)
        ),
        None,
    )
    port = service["spec"]["ports"][0]["port"] if service and service.get("spec", {}).get("ports") else 80
    return f"{host}:{port}".replace("*", "lab")


def _outer_host(virtual: Json) -> str:
    host = str(next(iter(virtual["spec"].get("hosts") or ["*"])))
    return EVERY_HOST if host == "*" else host.replace("*", "lab")

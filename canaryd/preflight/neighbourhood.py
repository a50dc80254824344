"""
Looks whether Kiali, Grafana and the tracing backend answer where the settings say they are.

Only GETs, as canaryd asks them otherwise, with the token and the headers of the settings and no redirect followed: a
login page is an answer, for people will log in. Nothing that runs needs any of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from canaryd.errors import CanarydError
from canaryd.model.traffic import Route
from canaryd.neighbours.asking import Params, answer, bearing
from canaryd.preflight.answers import DASHBOARDS, Answer
from canaryd.settings import Grafana, Kept, Neighbour, Settings, Tracing

LOGIN = (301, 302, 303, 307, 308, 401, 403)
"""Statuses of one that is there and wants to know who asks."""
KIALIS = "/api/namespaces/{}/istio/networking.istio.io/v1/VirtualService/{}"
"""Where Kiali's API has a VirtualService, which its page shows under the same path."""
TRACERS = (("jaeger", "/api/services"), ("jaeger v3", "/api/v3/services"), ("tempo", "/api/echo"))
"""What answers where; Jaeger's first way was taken out after 2.20."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """Status and body; ``fault`` says why there are none, or why they are no answer to who shows a token."""

    status: int = 0
    body: bytes = b""
    fault: str = ""

    @property
    def content(self) -> object:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Neighbourhood:
    """The neighbours that ``settings`` name; all are asked at once, for ``timeout`` seconds at most."""

    def __init__(self, settings: Settings, timeout: float = 3.0) -> None:
        self._settings = settings
        self._timeout = timeout

    def look(self, route: Route) -> Mapping[str, Answer]:
        """What each of them answers about ``route``, by name; those that are not set are left out. Raises nothing."""
        kiali, grafana, tracing = self._settings.kiali, self._settings.grafana, self._settings.tracing
        deadline = time.monotonic() + self._timeout
        asked: dict[str, Callable[[], Answer]] = {}
        if kiali:
            asked["Kiali"] = lambda: _kiali(kiali, route, deadline)
        if grafana:
            asked["Grafana"] = lambda: _grafana(grafana, deadline)
        if tracing:
            asked["tracing"] = lambda: _tracing(tracing, deadline)
        if not asked:
            return {}
        with ThreadPoolExecutor(len(asked)) as at_once:  # one that is away must not make the others late
            return dict(zip(asked, at_once.map(lambda ask: ask(), asked.values()), strict=True))


def _kiali(kiali: Neighbour, route: Route, deadline: float) -> Answer:
    reply = _get(kiali, "/api/status", deadline)
    if fault := _unanswered(reply):
        return Answer(kiali.url, fault)
    if reply.status not in LOGIN and not isinstance(reply.content, dict):
        return Answer(
            kiali.url, "what answers at /api/status is not Kiali; the URL ends with its web_root, often /kiali"
        )
    shown = _get(kiali, KIALIS.format(route.namespace, route.virtual_service), deadline)
    return Answer(kiali.url, knows_route={200: True, 404: False}.get(shown.status))


def _grafana(grafana: Grafana, deadline: float) -> Answer:
    reply = _get(grafana, "/api/health", deadline)
    if fault := _unanswered(reply):
        return Answer(grafana.url, fault)
    if reply.status not in LOGIN and not isinstance(reply.content, dict):
        return Answer(grafana.url, "what answers at /api/health is not Grafana")
    try:
        token = bearing(grafana)
    except CanarydError as error:
        return Answer(grafana.url, f"its token: {error}")
    found = {}
    for title in DASHBOARDS:
        reply = _get(grafana, "/api/search", deadline, [("query", title), ("type", "dash-db")], token)
        if reply.fault and reply.status:
            return Answer(grafana.url, reply.fault)
        found[title] = _dashboard(grafana, title, reply)
    known = {title: link for title, link in found.items() if link is not None}
    return Answer(grafana.url, dashboards=known if len(known) == len(found) else None)


def _tracing(tracing: Tracing, deadline: float) -> Answer:
    faults = []
    for kind, path in TRACERS:
        reply = _get(tracing, path, deadline, headers=tracing.headers)
        if reply.status in LOGIN:
            return Answer(tracing.url, reply.fault)
        if reply.status == 200 and (services := _services(reply.content)) is not None:
            return Answer(tracing.url, speaks=kind, services=services)
        if reply.status == 200 and reply.body.strip() == b"echo":
            values = _get(tracing, "/api/search/tag/service.name/values", deadline, headers=tracing.headers)
            return Answer(tracing.url, speaks=kind, services=_services(values.content))
        faults.append(_unanswered(reply) or f"{path} is answered by something else")
        if not reply.status:
            break
    return Answer(tracing.url, f"neither Jaeger nor Tempo: {faults[0]}" if len(faults) > 1 else faults[0])


def _services(content: object) -> frozenset[str] | None:
    """Jaeger lists them under ``data``, since its third API under ``services``, Tempo under ``tagValues``."""
    found = content if isinstance(content, dict) else {}
    listed = next((found[key] or () for key in ("data", "services", "tagValues") if key in found), None)
    return None if listed is None else frozenset(map(str, listed))


def _dashboard(grafana: Grafana, title: str, reply: _Reply) -> str | None:
    """The link to the dashboard of that title; empty where there is none, None where that is not known."""
    if reply.status != 200 or not isinstance(reply.content, list):
        return None
    ours = (one for one in reply.content if isinstance(one, dict) and one.get("title") == title)
    return next((f"{grafana.url}{one.get('url') or ''}" for one in ours), "")


def _unanswered(reply: _Reply) -> str:
    """Why this is no answer; empty where it is one."""
    if reply.fault:
        return reply.fault
    return "" if reply.status < 400 or reply.status in LOGIN else f"HTTP {reply.status}"


def _get(
    place: Neighbour,
    path: str,
    deadline: float,
    params: Params = (),
    headers: Mapping[str, str | Kept] | None = None,
) -> _Reply:
    """The answer to a GET, by ``deadline`` (monotonic). Who shows a token and is refused has a wrong one."""
    try:
        found = answer(place, path, deadline, params, headers)
    except CanarydError as error:
        return _Reply(fault=str(error))
    refused = headers and found.status in (401, 403)
    fault = f"HTTP {found.status}: it refuses the token or the headers of the settings" if refused else ""
    return _Reply(found.status, found.body, fault)

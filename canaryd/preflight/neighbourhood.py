"""
Looks whether Kiali, Grafana and the tracing backend answer where the settings say they are.

Only GETs, without credentials, and no redirect is followed: a login page is an answer, for people will log in. Nothing
that runs needs any of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from canaryd.model.traffic import Route
from canaryd.preflight.answers import DASHBOARDS, Answer
from canaryd.settings import Settings

MOST = 1 << 20
"""Bytes of an answer that are read; none of what is asked for is larger."""
LOGIN = (301, 302, 303, 307, 308, 401, 403)
"""Statuses of one that is there and wants to know who asks."""
KIALIS = "api/namespaces/{}/istio/networking.istio.io/v1/VirtualService/{}"
"""Where Kiali's API has a VirtualService, which its page shows under the same path."""
TRACERS = (("jaeger", "/api/services"), ("jaeger v3", "/api/v3/services"), ("tempo", "/api/echo"))
"""What answers where; Jaeger's first way was taken out after 2.20."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """Status and body; ``fault`` says why there are none."""

    status: int = 0
    body: bytes = b""
    fault: str = ""

    @property
    def content(self) -> object:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Neighbourhood:
    """The neighbours that ``settings`` name; all are asked at once, for ``timeout`` seconds at most."""

    def __init__(self, settings: Settings, timeout: float = 3.0) -> None:
        named = {"Kiali": settings.kiali, "Grafana": settings.grafana, "tracing": settings.tracing}
        self._urls = {name: one.url for name, one in named.items() if one}
        self._ways = {"Kiali": self._kiali, "Grafana": self._grafana, "tracing": self._tracing}
        self._timeout = timeout

    def look(self, route: Route) -> Mapping[str, Answer]:
        """What each of them answers about ``route``, by name; those that are not set are left out. Raises nothing."""
        named = self._urls.items()
        with ThreadPoolExecutor(len(self._ways)) as at_once:  # one that is away must not make the others late
            return dict(at_once.map(lambda one: (one[0], self._ask(one[0], one[1], route)), named))

    def _ask(self, name: str, url: str, route: Route) -> Answer:
        return self._ways[name](url, route, time.monotonic() + self._timeout)

    def _kiali(self, url: str, route: Route, deadline: float) -> Answer:
        reply = _get(f"{url}/api/status", deadline)
        if fault := _unanswered(reply):
            return Answer(url, fault)
        if reply.status not in LOGIN and not isinstance(reply.content, dict):
            return Answer(url, "what answers at /api/status is not Kiali; the URL ends with its web_root, often /kiali")
        shown = _get(f"{url}/{KIALIS.format(route.namespace, route.virtual_service)}", deadline)
        return Answer(url, knows_route={200: True, 404: False}.get(shown.status))

    def _grafana(self, url: str, _: Route, deadline: float) -> Answer:
        reply = _get(f"{url}/api/health", deadline)
        if fault := _unanswered(reply):
            return Answer(url, fault)
        if reply.status not in LOGIN and not isinstance(reply.content, dict):
            return Answer(url, "what answers at /api/health is not Grafana")
        found = {name: _dashboard(url, name, deadline) for name in DASHBOARDS}
        known = {name: link for name, link in found.items() if link is not None}
        return Answer(url, dashboards=known if len(known) == len(found) else None)

    def _tracing(self, url: str, _: Route, deadline: float) -> Answer:
        faults = []
        for kind, path in TRACERS:
            reply = _get(f"{url}{path}", deadline)
            if reply.status in LOGIN:
                return Answer(url)
            if reply.status == 200 and (services := _services(reply.content)) is not None:
                return Answer(url, speaks=kind, services=services)
            if reply.status == 200 and reply.body.strip() == b"echo":
                values = _get(f"{url}/api/search/tag/service.name/values", deadline)
                return Answer(url, speaks=kind, services=_services(values.content))
            faults.append(_unanswered(reply) or f"{path} is answered by something else")
            if not reply.status:
                break
        return Answer(url, f"neither Jaeger nor Tempo: {faults[0]}" if len(faults) > 1 else faults[0])


def _services(content: object) -> frozenset[str] | None:
    """Jaeger lists them under ``data``, since its third API under ``services``, Tempo under ``tagValues``."""
    found = content if isinstance(content, dict) else {}
    listed = next((found[key] or () for key in ("data", "services", "tagValues") if key in found), None)
    return None if listed is None else frozenset(map(str, listed))


def _dashboard(url: str, title: str, deadline: float) -> str | None:
    """The link to the dashboard of that title; empty where there is none, None where that is not known."""
    reply = _get(f"{url}/api/search", deadline, {"query": title, "type": "dash-db"})
    if reply.status != 200 or not isinstance(reply.content, list):
        return None
    ours = (one for one in reply.content if isinstance(one, dict) and one.get("title") == title)
    return next((f"{url}{one.get('url') or ''}" for one in ours), "")


def _unanswered(reply: _Reply) -> str:
    """Why this is no answer; empty where it is one."""
    if reply.fault:
        return reply.fault
    return "" if reply.status < 400 or reply.status in LOGIN else f"HTTP {reply.status}"


def _get(url: str, deadline: float, params: Mapping[str, str] | None = None) -> _Reply:
    """The answer to a GET, by ``deadline`` (monotonic)."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        return _Reply(fault="no answer in time")
    body = bytearray()
    try:
        with requests.get(
            url, params=params, auth=_as_it_is, allow_redirects=False, timeout=rest, stream=True
        ) as response:
            while len(body) < MOST and (chunk := response.raw.read1(1 << 16, decode_content=True)):
                body += chunk
                if time.monotonic() > deadline:
                    return _Reply(fault="no answer in time")
            return _Reply(response.status_code, bytes(body))
    except (requests.Timeout, ReadTimeoutError):
        return _Reply(fault="no answer in time")
    except requests.exceptions.SSLError:
        return _Reply(fault="its certificate is not trusted here")
    except requests.ConnectionError:
        return _Reply(fault="nobody answers there")
    except (requests.RequestException, HTTPError, OSError) as error:
        return _Reply(fault=type(error).__name__)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """In place of credentials that requests finds by itself, in ~/.netrc."""
    return request

"""
Services that people read, by Apprise: the only importer of it, and only once a channel needs it.

Apprise says whether it went well, and logs the rest. What it logs during an attempt is what we say came back; nothing
of it goes to a log as it is, for a URL of its has the service's secret in it.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from canaryd.errors import Unavailable
from canaryd.gates.sending import SHORTEST_SECRET, struck
from canaryd.model.asking import Reply
from canaryd.notify.words import Level

INSTALL = "Apprise, which is not installed here: pip install 'istio-canaryd[messages]'"
LONGEST = 300
"""Characters of what a service said."""

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


class _Ear(logging.Handler):
    """Hears what Apprise says of the attempt that is going on in this context, also in its own threads."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _heard.get()
        if heard is not None and record.levelno >= logging.WARNING:
            heard.append(record.getMessage())


@cache
def _apprise() -> ModuleType:
    """The library. Raises Unavailable where it is not installed."""
    try:
        import apprise
    except ImportError as error:
        raise Unavailable(INSTALL) from error
    logger = logging.getLogger("apprise")
    logger.addHandler(_Ear())
    logger.propagate = False
    return apprise


def fault_of(url: str) -> str:
    """Why nothing can be sent to ``url``, in a few words and without a secret; empty where it can be tried."""
    try:
        _service(url)
    except Unavailable as error:
        return str(error)
    return ""


def send(url: str, title: str, text: str, level: Level, incident: str) -> Reply:
    """
    Send ``text`` to the service at ``url``: ``yes`` where it took it, else ``silent`` and why.

    ``incident`` is what belongs together, for a service that makes incidents of messages. Raises Unavailable where
    ``url`` is none that Apprise knows.
    """
    service = _service(_of_incident(url, incident))
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        taken = service.notify(body=text, title=title, notify_type=level, body_format="text")
    finally:
        _heard.reset(token)
    if taken:
        return Reply("yes", f"{schema_of(url)} took it")
    said = "; ".join(dict.fromkeys(one.rstrip(".") for one in heard)) or "without a reason"
    return Reply("silent", _plain(f"{schema_of(url)} did not take it: {said}", url))


def schema_of(url: str) -> str:
    """The service of a URL, which is no secret."""
    schema = url.partition("://")[0].strip()
    return schema if re.fullmatch(r"[a-z0-9]{2,20}", schema) else "the service"


def _service(url: str) -> Any:
    """An Apprise with this one service. Raises Unavailable, in words without the URL."""
    apprise = _apprise()
    asset = apprise.AppriseAsset(
        app_id="canaryd",
        app_desc="canaryd",
        app_url="https://canaryd.io",
        async_mode=False,
        http_redirects=False,
        storage_mode="memory",
        allow_templates=False,
    )
    service = apprise.Apprise(asset=asset)
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        known = "://" in url and service.add(url)
    finally:
        _heard.reset(token)
    if not known or len(service) != 1:
        raise Unavailable(f"a URL that Apprise knows, such as slack://... ({schema_of(url)}:// was found)")
    return service


def _of_incident(url: str, incident: str) -> str:
    """PagerDuty makes one incident of what has one key: all that is told of a run, also what is told twice."""
    if schema_of(url) != "pagerduty" or "dedup=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}dedup={incident}"


def _plain(said: str, url: str) -> str:
    """In one line, and without anything that stands in the URL after its schema."""
    place, _, query = url.partition("://")[2].partition("?")
    parts = [*re.split(r"[/:@,]+", place), *(pair.partition("=")[2] for pair in query.split("&"))]
    words = {word for part in parts for word in (part, unquote(part)) if len(word) >= SHORTEST_SECRET}
    text = struck(said, sorted(words, key=len, reverse=True))
    return re.sub(r"\s+", " ", text).strip()[:LONGEST]

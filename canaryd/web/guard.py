"""
What holds for every request and every answer, before and after anything else.

A request must name a host that is ours (a page elsewhere could make its own name point here), what changes something
must come from a page of ours, and no body is large. Answers may be framed by nobody, run no script but ours and are
kept by no cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 64 * 1024
"""Bytes of a body: a form, or a token."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEALTH = "/healthz"
POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "style-src 'self'; script-src 'self'; img-src 'self'"
)
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then hide the Origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Under which addresses people find the page: ``origins`` such as ``https://canaryd.example``."""

    origins: frozenset[str]

    @classmethod
    def of(cls, urls: Iterable[str]) -> Addresses:
        return cls(frozenset(f"{parts.scheme}://{parts.netloc.lower()}" for parts in map(urlsplit, urls)))

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(origin.partition("://")[2] for origin in self.origins)

    @property
    def secure(self) -> bool:
        """Whether browsers speak TLS to it, be it to us or to a proxy in front."""
        return all(origin.startswith("https://") for origin in self.origins)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app, self._addresses = app, addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        answer = PlainTextResponse(refusal[1] + "\n", refusal[0]) if refusal else self._app
        await answer(scope, _limited(receive), self._hardened(scope, send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if scope["path"] != HEALTH and host not in self._addresses.hosts:
            known = ", ".join(sorted(self._addresses.hosts))
            return 421, f"this page is not {host or 'without a name'}, it is {known}; canaryd ui --url says its address"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST:
            return 413, f"a body of more than {LARGEST} bytes is nothing for this page"
        if scope["method"] not in SAFE and (why := self._foreign(headers)):
            return 403, f"{why}: what changes something must come from this page itself"
        return None

    def _foreign(self, headers: Headers) -> str:
        """Why a request is not one of our own page's, nor of a program with a token of its own; empty if it is."""
        origin = headers.get("origin")
        if origin is not None:
            return "" if origin.lower() in self._addresses.origins else f"the request comes from {origin[:200]}"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "the request comes from another site"
        # A browser sends an Origin with whatever it posts; a program has none, and no cookie that it was tricked with.
        if "authorization" in headers and "cookie" not in headers:
            return ""
        return "" if headers.get("sec-fetch-site") == "same-origin" else "the request does not say where it comes from"

    def _hardened(self, scope: Scope, send: Send) -> Send:
        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", POLICY)
                # Of a file the address has the version in it.
                kept = scope["path"].startswith("/static/") and message["status"] == 200
                headers["Cache-Control"] = "max-age=3600" if kept else "no-store"
                if self._addresses.secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        return hardened


def _limited(receive: Receive) -> Receive:
    """What is received, cut off where a body without a length grows too large."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= LARGEST else {"type": "http.disconnect"}

    return limited

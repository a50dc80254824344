"""From a request to the person and their session: by cookie, or by what the request brings along."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from canaryd.web.faults import NotOurs, NotSignedIn
from canaryd.web.guard import SAFE, Addresses
from canaryd.web.people import Brought, Door
from canaryd.web.sessions import Session, Sessions

RENEWING = "renewing"
"""In the query: a page that renews itself, which is nothing that a person does."""


@dataclass(frozen=True, slots=True)
class Hall:
    """Where people are let in: the door, the sessions, and the cookie that keeps one."""

    door: Door
    sessions: Sessions
    addresses: Addresses
    port: int

    @property
    def cookie(self) -> str:
        """``__Host-`` binds it to this very host over TLS; else the port tells two pages of one machine apart."""
        return "__Host-canaryd" if self.addresses.secure else f"canaryd-{self.port}"

    def session_of(self, request: Request, *, page: bool) -> Session:
        """
        The session that a request belongs to. Raises :class:`NotSignedIn`, and as the door does.

        What a request brings along counts more than a cookie: a proxy may have let in somebody else meanwhile. For a
        ``page`` a session is begun then, for a program there is none to be kept.
        """
        used = RENEWING not in request.query_params
        cookie = request.cookies.get(self.cookie, "")
        kept = self.sessions.find(cookie, used=used) if cookie else None
        person = self.door.brought(brought(request))
        if person is None:
            if kept is None:
                raise NotSignedIn("nobody is signed in here, or not any more")
            return kept
        if kept is not None and kept.person.name == person.name:
            kept.person = person
            return kept
        if not page:
            return Session("", person, "", 0.0, 0.0)
        session = self.sessions.open(person)
        request.state.begun = session
        return session

    def must_be_ours(self, request: Request, session: Session, given: str) -> None:
        """Raises :class:`NotOurs` unless ``given`` is what this session's own pages have in their forms."""
        if request.method in SAFE or not session.id:
            return
        if not hmac.compare_digest(given.encode(), session.csrf.encode()):
            raise NotOurs("this form is of another session: load the page again, and say it once more")


def brought(request: Request) -> Brought:
    """What the request brings along."""
    return Brought(dict(request.headers), request.client.host if request.client else "")


def inside(target: str) -> str:
    """``target`` if it is a path of this page, else the list: nobody is sent elsewhere after signing in."""
    parts = urlsplit(target)
    harmless = target.startswith("/") and not target.startswith("//") and not parts.scheme and not parts.netloc
    return target if harmless and "\\" not in target and target.isprintable() else "/"

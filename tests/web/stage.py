"""The page in this process: its whole application, a browser without scripts, and runs put down behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from starlette.testclient import TestClient

from canaryd.web.coming import Hall
from canaryd.web.guard import Addresses
from canaryd.web.people import Door, OwnDoor
from canaryd.web.sessions import Sessions
from canaryd.web.site import site
from tests.desk.places import Place

KEY = "a-key-that-is-long-enough"
HERE = "http://localhost:8095"
STANDING = [{"at": 1_000_030.0, "phase": "baking", "split": 5000, "events": [["step.shifting", "from 0 % to 5 %"]]}]


@dataclass
class Clock:
    """Seconds that pass when they are told to."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Page:
    """
    The application behind ``door`` at ``url``, with a browser that keeps cookies and follows nothing.

    ``peer`` is the address from which requests come.
    """

    door: Door
    url: str = HERE
    peer: str = "127.0.0.1"
    clock: Clock = field(default_factory=Clock)
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sessions = Sessions(clock=self.clock)
        self.hall = Hall(self.door, self.sessions, Addresses.of([self.url]), 8095)
        self.app = site(self.hall, **self.more)
        self.browser = self.another()

    def another(self) -> TestClient:
        """Another browser, which nobody knows."""
        return TestClient(self.app, base_url=self.url, follow_redirects=False, client=(self.peer, 50_000))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.browser.get(path, headers=_names(headers))

    def piece(self, path: str) -> httpx.Response:
        """A part of a page, as the page itself asks for it."""
        return self.browser.get(path, headers={"HX-Request": "true"})

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """A form of the page's own, sent by a browser."""
        sent = {"Origin": self.url} | _names(headers)
        return self.browser.post(path, data=form or {}, headers={key: one for key, one in sent.items() if one})

    def csrf(self, path: str = "/") -> str:
        """What is in the forms of the page at ``path``."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found, "no form on the page"
        return found[1]

    def say(self, path: str, **form: str) -> httpx.Response:
        """Fill in and send the form at ``path``."""
        return self.post(path, {"csrf": self.csrf(path)} | form)


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): one for key, one in headers.items()}


def own_page(place: Place, **more: Any) -> Page:
    """The page of a laptop, not yet entered."""
    return Page(OwnDoor(place.desk, KEY), **more)


def entered(place: Place, **more: Any) -> Page:
    """The same, entered by the address that was printed."""
    page = own_page(place, **more)
    answer = page.get(f"/enter?key={KEY}")
    assert answer.status_code == 303
    return page


Opened = Callable[..., Page]

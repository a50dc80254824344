"""
What canaryd shows a Prometheus to be let in, and how none of it gets out again.

Secrets are read from their files for each request, as Prometheus itself does it: a projected token is replaced every
hour, a password whenever somebody wants to. What was read is kept only to be struck out of what a server answers,
because an answer ends in logs, journals and pages.
"""

from __future__ import annotations

import base64
import os
import threading
from collections import deque
from pathlib import Path
from urllib.parse import unquote, urlsplit

from canaryd.errors import Rejected, Unavailable
from canaryd.settings import Kept, Source

STRUCK = "***"
REMEMBERED = 16
"""Secrets that are struck out; the answer to a request may come after its token was replaced."""
SHORTEST = 4
"""Characters of a secret that is struck out; a shorter one would strike out half of each sentence."""


class Credentials:
    """
    The headers for each request to ``source``. ``path`` is where the settings speak of it.

    May be used from any number of threads. Raises Rejected where an environment variable is not set.
    """

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        parts = urlsplit(source.url)
        self._in_url = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        self._fixed = {
            name: self._variable(value.from_env, f"headers.{name}.from_env")
            for name, value in source.headers.items()
            if isinstance(value, Kept) and value.from_env
        }
        env = source.password_env
        self._password = self._variable(env, "password_env", anything=True) if env else ""

    def headers(self) -> dict[str, str]:
        """What goes along with a request made now. Raises Unavailable where a file cannot be read."""
        headers = {name: self._value(name, value) for name, value in self._source.headers.items()}
        if self._source.bearer_token_file:
            headers["Authorization"] = f"Bearer {self._read(self._source.bearer_token_file, 'bearer_token_file')}"
        elif user := self._user():
            pair = base64.b64encode(":".join(user).encode()).decode()
            self._remember(pair)
            headers["Authorization"] = f"Basic {pair}"
        return headers

    def struck(self, text: str) -> str:
        """``text`` without a secret of ours."""
        with self._lock:
            seen = sorted(self._seen, key=len, reverse=True)
        for secret in seen:
            text = text.replace(secret, STRUCK)
        return text

    @property
    def remedy(self) -> str:
        """What to do where they are not accepted."""
        source = self._source
        if source.bearer_token_file:
            return (
                f"the token in {source.bearer_token_file} is not accepted: has it expired, and is its audience "
                "the one that is asked for here?"
            )
        if source.username:
            kept = source.password_file or f"the environment variable {source.password_env}"
            return f"see that user {source.username} is known there and that {kept} has the password"
        if secret := [name for name, value in source.headers.items() if isinstance(value, Kept)]:
            return f"see that the header {', '.join(secret)} has what is asked for"
        if self._in_url:
            return "the password in the URL is not accepted"
        return f"give {self._path}.bearer_token_file, or {self._path}.username and password_file, in the settings"

    @property
    def curl(self) -> str:
        """The options of curl by which a person asks with the same credentials; no secret is among them."""
        source = self._source
        options = [
            f"--cacert {source.ca}" if source.ca else "",
            "--insecure" if source.insecure_skip_verify else "",
            f"--cert {source.cert}" if source.cert else "",
            f"--key {source.key}" if source.key else "",
            f'-H "Authorization: Bearer $(cat {source.bearer_token_file})"' if source.bearer_token_file else "",
            f"-u {source.username}" if source.username else "",
            *(f'-H "{name}: {_for_curl(value)}"' for name, value in source.headers.items()),
        ]
        return "".join(f"{option} " for option in options if option)

    def _user(self) -> tuple[str, str] | None:
        """Name and password, where that is the way."""
        source = self._source
        if not source.username:
            if self._in_url:
                self._remember(self._in_url[1])
            return self._in_url
        if source.password_file:  # in base64 it may be any text
            return source.username, self._read(source.password_file, "password_file", anything=True)
        return source.username, self._password

    def _value(self, name: str, value: str | Kept) -> str:
        if isinstance(value, str):
            return value
        return self._read(value.from_file, f"headers.{name}.from_file") if value.from_file else self._fixed[name]

    def _variable(self, name: str, below: str, *, anything: bool = False) -> str:
        value = os.environ.get(name)
        if value is None:
            raise Rejected(
                f"{self._path}.{below}: an environment variable that is set, got {name} (set it, or use a file)"
            )
        self._remember(value.strip())
        if fault := _fault(value.strip(), anything):
            raise Rejected(f"{self._path}.{below}: the environment variable {name} {fault}")
        return value.strip()

    def _read(self, file: Path, below: str, *, anything: bool = False) -> str:
        """What ``file`` holds now, without the line's end."""
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise Unavailable(f"{self._path}.{below}: {file} cannot be read: {why}") from None
        self._remember(value)
        if fault := _fault(value, anything):
            raise Unavailable(f"{self._path}.{below}: {file} {fault}")
        return value

    def _remember(self, secret: str) -> None:
        with self._lock:
            if len(secret) >= SHORTEST and secret not in self._seen:
                self._seen.append(secret)


def _fault(value: str, anything: bool) -> str:
    """Why ``value`` cannot go into a header, without repeating it; empty if it can, or if it need not."""
    if not value:
        return "is empty"
    if anything or (value.isascii() and value.isprintable()):
        return ""
    return "holds more than one line, or what is not ASCII"


def _for_curl(value: str | Kept) -> str:
    if isinstance(value, str):
        return value
    return f"${value.from_env}" if value.from_env else f"$(cat {value.from_file})"

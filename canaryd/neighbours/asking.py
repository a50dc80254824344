"""
One request to a neighbour: one deadline, a bounded answer, no redirect, and no credentials but those of the settings.

A neighbour is often behind a login, which answers with a redirect or a page: that is no answer, and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from canaryd import __version__
from canaryd.errors import Gone, Rejected, Unavailable
from canaryd.neighbours.wording import plainly
from canaryd.settings import Grafana, Kept, Neighbour

MOST = 8 << 20
"""Bytes of an answer that are read; a hundred traces have a fraction of that."""
PIECE = 1 << 16
Params = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it came: its status, its content type, its body."""

    status: int
    kind: str
    body: bytes


def ask(
    place: Neighbour,
    path: str,
    deadline: float,
    params: Params = (),
    headers: Mapping[str, str | Kept] | None = None,
    body: object = None,
) -> Any:
    """
    What ``place`` answers at ``path`` by ``deadline`` (monotonic), read as JSON; a POST where there is a ``body``.

    Objects that come one after the other, as a stream has them, are a list of those. Raises Unavailable where asking
    again may help, Gone for a 404 and Rejected for any other no.
    """
    return _content(answer(place, path, deadline, params, headers, body))


def answer(
    place: Neighbour,
    path: str,
    deadline: float,
    params: Params = (),
    headers: Mapping[str, str | Kept] | None = None,
    body: object = None,
) -> Answered:
    """
    The same as it came, whatever it says.

    Raises Unavailable where there is none, and Rejected for one that is too long, or where ``headers`` has something
    that cannot be read.
    """
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise Unavailable("no answer in time")
    read = bytearray()
    try:
        with requests.request(
            "GET" if body is None else "POST",
            f"{place.url}{path}",
            params=list(params),
            json=body,
            headers={"accept": "application/json", "user-agent": f"canaryd/{__version__}", **_given(headers or {})},
            auth=_as_it_is,
            allow_redirects=False,
            timeout=rest,
            stream=True,
            verify=str(place.ca) if place.ca else True,
        ) as response:
            while piece := response.raw.read1(PIECE, decode_content=True):
                read += piece
                if time.monotonic() > deadline:
                    raise Unavailable("no answer in time")
                if len(read) > MOST:
                    raise Rejected(f"an answer of more than {MOST >> 20} MiB")
            return Answered(response.status_code, response.headers.get("content-type", ""), bytes(read))
    except (requests.Timeout, ReadTimeoutError) as error:
        raise Unavailable("no answer in time") from error
    except requests.exceptions.SSLError as error:
        raise Unavailable("its certificate is not trusted here") from error
    except requests.ConnectionError as error:
        raise Unavailable("nobody answers there") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        raise Unavailable(f"no answer: {type(error).__name__}") from error


def _content(answered: Answered) -> Any:
    status, body = answered.status, answered.body
    if 300 <= status < 400 or status == 401:
        raise Rejected(f"HTTP {status}: it wants a login")
    if status == 404:
        raise Gone("HTTP 404")
    if status >= 500 or status == 429:
        raise Unavailable(f"HTTP {status}{_words(body)}")
    if status >= 400:
        raise Rejected(f"HTTP {status}{_words(body)}")
    if "html" in answered.kind.lower() or body.lstrip()[:1] == b"<":
        raise Rejected("a page and no answer; is there a login in front of it, or is its base path missing?")
    try:
        return _read(body.decode())
    except (ValueError, RecursionError) as error:
        raise Rejected("an answer that is no JSON") from error


def _read(text: str) -> Any:
    decoder, found, place = json.JSONDecoder(), [], 0
    text = text.strip()
    while place < len(text):
        one, end = decoder.raw_decode(text, place)
        found.append(one)
        place = end
        while place < len(text) and text[place].isspace():
            place += 1
    if not found:
        raise ValueError("nothing")
    return found[0] if len(found) == 1 else found


def _words(body: bytes) -> str:
    """What a refusal says of itself, after a colon."""
    text = body.decode(errors="replace")
    if text.lstrip()[:1] == "<":
        return ""
    try:
        said = json.loads(text)
        text = str(said.get("message") or text) if isinstance(said, dict) else text
    except (ValueError, RecursionError):
        pass
    plain = plainly(text)
    return f": {plain}" if plain else ""


def bearing(grafana: Grafana) -> dict[str, str]:
    """The header with its token, if it has one. Raises Rejected where that cannot be read."""
    return {"authorization": f"Bearer {_kept(grafana.token)}"} if grafana.token else {}


def _given(headers: Mapping[str, str | Kept]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else _kept(value) for name, value in headers.items()}


def _kept(value: Kept) -> str:
    """What is kept there now. Raises Rejected where it cannot be read."""
    try:
        found = value.read()
    except Unavailable as error:
        raise Rejected(str(error)) from None
    if not found.isascii() or not found.isprintable():
        raise Rejected(f"{value.from_file or value.from_env} holds nothing that can be a header")
    return found


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """In place of credentials that requests finds by itself, in ~/.netrc."""
    return request

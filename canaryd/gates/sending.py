"""
One signed request over HTTP: a deadline, no redirect, no retry, and no secret in what is said of it.

Shared by who asks at gates and by who tells of runs. Each request has a connection of its own, so that keys and
authorities that were replaced are read anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from canaryd.errors import Unavailable
from canaryd.gates.signature import key_of
from canaryd.settings import Kept

MOST_BYTES = 1 << 16
"""Of an answer; what is longer is cut off there."""
SHORTEST_SECRET = 4
PIECE = 1 << 12


class Address(Protocol):
    """Where a request goes, as the settings say it."""

    @property
    def url(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def ca(self) -> Path | None: ...


def posted(to: Address, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body. Raises Unavailable where there was no answer in time."""
    deadline = time.monotonic() + to.timeout
    ca = str(to.ca) if to.ca else None
    late = f"no answer within {to.timeout:g} s"
    try:
        with urllib3.PoolManager(num_pools=1, retries=False, timeout=to.timeout, ca_certs=ca) as pool:
            answer = pool.request(
                "POST", to.url, body=body, headers=dict(headers), redirect=False, preload_content=False
            )
            read = bytearray()
            while len(read) < MOST_BYTES and (piece := answer.read1(PIECE, decode_content=True)):
                read += piece
                if time.monotonic() > deadline:
                    raise Unavailable(late)
            return (
                answer.status,
                {key.lower(): value for key, value in answer.headers.items()},
                bytes(read[:MOST_BYTES]),
            )
    except NewConnectionError as error:  # to the library it is a timeout, too
        raise Unavailable(f"no answer: {_cause(error)}") from error
    except urllib3.exceptions.TimeoutError as error:
        raise Unavailable(late) from error
    except (HTTPError, OSError) as error:
        raise Unavailable(f"no answer: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The innermost reason, without the URL that the library repeats."""
    seen: BaseException = error
    while True:
        inner = [getattr(seen, "reason", None), *seen.args, seen.__cause__]
        below = next((one for one in inner if isinstance(one, BaseException)), None)
        if below is None:
            return str(seen).rpartition(": ")[2] or type(seen).__name__
        seen = below


def value_of(kept: Kept, where: str) -> str:
    """What is kept now. Raises Unavailable where it cannot be read."""
    try:
        return kept.read()
    except Unavailable as error:
        raise Unavailable(f"{where}: {error}") from None


def kept_key(kept: Kept, where: str) -> bytes:
    """The key to sign with. Raises Unavailable where there is none."""
    try:
        return key_of(value_of(kept, where))
    except ValueError as error:
        raise Unavailable(f"{where}: {error}") from None


def headers_of(given: Mapping[str, str | Kept], where: str) -> dict[str, str]:
    """The headers as they are now. Raises Unavailable where one cannot be read."""
    return {
        name: value_of(value, f"{where}.headers.{name}") if isinstance(value, Kept) else value
        for name, value in given.items()
    }


def secrets_of(given: Mapping[str, str | Kept]) -> list[str]:
    """Those values of headers that nobody may read."""
    return [value_of(one, "headers") for one in given.values() if isinstance(one, Kept)]


def struck(text: str, secrets: list[str]) -> str:
    """``text`` without ``secrets``, wherever a receiver repeats them."""
    for secret in secrets:
        text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
    return text

"""
Receivers over HTTP: the port ``Webhooks``.

One request, one deadline, no redirect, no retry in here: when to ask again is for the doorkeeper to say, who keeps
nobody waiting. Each request has a connection of its own, so that keys and authorities that were replaced are read anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from canaryd import __version__
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.gates import events
from canaryd.gates.answers import reply_of
from canaryd.gates.signature import key_of, signed
from canaryd.model import codes
from canaryd.model.asking import Condition, Reply, Term
from canaryd.model.gate import Webhook as Asked
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Run
from canaryd.settings import Kept, Webhook

MOST_BYTES = 1 << 16
"""Of an answer; what is longer is cut off there."""
SHORTEST_SECRET = 4
PIECE = 1 << 12


class Webhooks:
    """
    The receivers of ``settings``, by name.

    ``clock`` gives Unix seconds. May be used from any number of threads.
    """

    def __init__(self, settings: Mapping[str, Webhook], clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """As the port says: names that the settings do not know, or not for this namespace; keys that are none."""
        found = []
        for name, path in sorted(plan.webhooks.items()):
            barred = self._barred(name, plan.namespace, path)
            if barred is None:
                try:
                    self._key(name)
                except CanarydError as error:
                    barred = Problem(f"webhooks.{name}.key", str(error), "a key", code=codes.WEBHOOK_BARRED.name)
            found += [barred] if barred else []
        return tuple(found)

    def ask(self, run: Run, term: Term, condition: Condition) -> Reply:
        """As the port says."""
        assert isinstance(term.part, Asked)  # noqa: S101  # for the type checker: only webhooks are asked here
        body = events.body_of(events.question(run, term, condition))
        return self._sent(run, term.part.name, term.id, body, condition.times + 1)

    def tell(self, run: Run, name: str) -> Reply:
        """As the port says."""
        return self._sent(run, name, events.end_id(run, name), events.body_of(events.ending(run, name)), 1)

    def _sent(self, run: Run, name: str, identity: str, body: bytes, attempt: int) -> Reply:
        if barred := self._barred(name, run.plan.namespace, run.plan.webhooks.get(name, "")):
            raise Rejected(str(barred))
        hook = self._settings[name]
        try:
            headers = {
                **self._headers(name),
                "content-type": events.CONTENT_TYPE,
                "accept": "application/json",
                "user-agent": f"canaryd/{__version__}",
                "canaryd-attempt": str(attempt),
                **signed(self._key(name), identity, self._clock(), body),
            }
            reply = reply_of(*_posted(hook, headers, body), self._clock())
        except Unavailable as error:
            return Reply("silent", str(error))
        after = reply.after if reply.after is not None or reply.said == "silent" else hook.every
        return Reply(reply.said, _struck(reply.why, self._secrets(name)), after)

    def _barred(self, name: str, namespace: str, path: str) -> Problem | None:
        """Why a plan of ``namespace`` may not ask ``name``; None if it may."""
        allowed = sorted(one for one, hook in self._settings.items() if hook.allows(namespace))
        there = f"there are, for namespace {namespace}: {', '.join(allowed) or 'none'}"
        code = codes.WEBHOOK_BARRED.name
        if name not in self._settings:
            close = get_close_matches(name, allowed, n=1)
            remedy = f"did you mean {close[0]}? {there}" if close else f"{there}; add it to webhooks in the settings"
            return Problem(path, name, "a webhook of the settings (webhooks)", remedy, code)
        if name not in allowed:
            remedy = f"{there}; add {namespace} to webhooks.{name}.namespaces in the settings"
            return Problem(path, name, f"a webhook that plans of namespace {namespace} may ask", remedy, code)
        return None

    def _key(self, name: str) -> bytes:
        where = f"webhooks.{name}.key"
        try:
            return key_of(_value(self._settings[name].key, where))
        except ValueError as error:
            raise Unavailable(f"{where}: {error}") from None

    def _headers(self, name: str) -> dict[str, str]:
        given = self._settings[name].headers
        return {
            key: _value(value, f"webhooks.{name}.headers.{key}") if isinstance(value, Kept) else value
            for key, value in given.items()
        }

    def _secrets(self, name: str) -> list[str]:
        kept = [one for one in self._settings[name].headers.values() if isinstance(one, Kept)]
        return [_value(one, name) for one in kept]


def _posted(hook: Webhook, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body. Raises Unavailable where there was no answer in time."""
    deadline = time.monotonic() + hook.timeout
    ca = str(hook.ca) if hook.ca else None
    late = f"no answer within {hook.timeout:g} s"
    try:
        with urllib3.PoolManager(num_pools=1, retries=False, timeout=hook.timeout, ca_certs=ca) as pool:
            answer = pool.request(
                "POST", hook.url, body=body, headers=dict(headers), redirect=False, preload_content=False
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


def _value(kept: Kept, where: str) -> str:
    """What is kept now. Raises Unavailable where it cannot be read."""
    try:
        found = Path(kept.from_file).read_text(encoding="utf-8") if kept.from_file else os.environ[kept.from_env]
    except KeyError:
        raise Unavailable(f"{where}: the environment variable {kept.from_env} is not set") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Unavailable(f"{where}: {kept.from_file} cannot be read: {why}") from None
    return found.strip()


def _struck(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
    return text

"""
The channels of the settings: the port ``Channels``.

What belongs to one attempt and no more: may this plan use it, where is it, what is sent, what came back.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import structlog

from canaryd import __version__
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.gates.answers import reply_of
from canaryd.gates.events import CONTENT_TYPE, body_of
from canaryd.gates.named import Kind, barred
from canaryd.gates.sending import headers_of, kept_key, posted, secrets_of, struck, value_of
from canaryd.gates.signature import signed
from canaryd.model import codes
from canaryd.model.asking import Reply
from canaryd.model.message import Message
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Run
from canaryd.notify import events, services
from canaryd.notify.words import Level, Link, level_of, shows_traces, text_of, title_of
from canaryd.settings import Channel, Kept

log = structlog.get_logger()
Links = Callable[[Run], Sequence[Link]]
CHANNEL = Kind("channel", "channels", "use", codes.CHANNEL_BARRED)
KEPT = 100
"""Messages whose example traces are kept for a further attempt."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A message in both its forms."""

    id: str
    event: dict[str, Any]
    title: str
    text: str
    level: Level
    incident: str


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a CloudEvent goes."""

    url: str
    timeout: float
    ca: Path | None


class Channels:
    """
    The channels of ``settings``, by name.

    ``links`` are places where more can be seen of a run; ``clock`` gives Unix seconds. ``traces`` are requests that its
    canary failed: looking for them may take a few seconds, and is done once for a message that a service is told.
    May be used from any number of threads.
    """

    def __init__(
        self,
        settings: Mapping[str, Channel],
        links: Links = lambda _: (),
        clock: Callable[[], float] = time.time,
        traces: Links = lambda _: (),
    ) -> None:
        self._settings = settings
        self._links = links
        self._clock = clock
        self._traces = traces
        self._lock = Lock()
        self._found: OrderedDict[str, Sequence[Link]] = OrderedDict()

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """As the port says: names that the settings do not know, or not for this namespace; secrets that are none."""
        found = []
        for name, path in sorted(plan.channels.items()):
            objection = barred(self._settings, CHANNEL, name, plan.namespace, path) or self._broken(name)
            found += [objection] if objection else []
        return tuple(found)

    def send(self, run: Run, message: Message, channel: str, attempt: int) -> Reply:
        """As the port says."""
        if objection := barred(
            self._settings, CHANNEL, channel, run.plan.namespace, run.plan.channels.get(channel, "")
        ):
            raise Rejected(str(objection))
        links = _without_fault(self._links, run)
        # A receiver's event is the same whenever it is sent; what is found of traces depends on when one looks.
        read_by_people = self._settings[channel].url is not None
        letter = _Letter(
            message.id_in(run.uid),
            events.cloud_event(run, message, links),
            title_of(run, message),
            text_of(run, message, links, self._examples(run, message) if read_by_people else ()),
            level_of(message),
            run.uid,
        )
        return self._sent(channel, letter, attempt)

    def test(self, channel: str) -> Reply:
        """Send a test. Raises Rejected where there is no such channel, Unavailable where its secret cannot be used."""
        if channel not in self._settings:
            there = ", ".join(sorted(self._settings)) or "none"
            raise Rejected(f"the settings have no channel {channel}; there are: {there}")
        identity, text = f"test_{uuid4().hex[:12]}", events.test_text(channel)
        event = events.test_event(identity, channel, self._clock())
        return self._sent(channel, _Letter(identity, event, "canaryd: a test", text, "info", identity), 1)

    def _sent(self, name: str, letter: _Letter, attempt: int) -> Reply:
        channel = self._settings[name]
        if channel.url is not None:
            url = value_of(channel.url, f"channels.{name}.url")
            return services.send(url, letter.title, letter.text, letter.level, letter.incident)
        assert channel.cloudevents is not None  # noqa: S101  # for the type checker: the settings see to it
        assert channel.key is not None  # noqa: S101  # as above
        body = body_of(letter.event)
        headers = {
            **headers_of(channel.headers, f"channels.{name}"),
            "content-type": CONTENT_TYPE,
            "user-agent": f"canaryd/{__version__}",
            "canaryd-attempt": str(attempt),
            **signed(kept_key(channel.key, f"channels.{name}.key"), letter.id, self._clock(), body),
        }
        try:
            status, said, content = posted(_Address(channel.cloudevents, channel.timeout, channel.ca), headers, body)
        except Unavailable as error:
            return Reply("silent", str(error))
        reply = reply_of(status, said, content, self._clock())
        why = struck(reply.why, secrets_of(channel.headers))
        return Reply("yes" if 200 <= status < 300 else "silent", why, reply.after)

    def _examples(self, run: Run, message: Message) -> Sequence[Link]:
        """Example traces for a message of a failure; those that were found at its first attempt stay with it."""
        if not shows_traces(run, message):
            return ()
        identity = message.id_in(run.uid)
        with self._lock:
            if identity in self._found:
                return self._found[identity]
        found = _without_fault(self._traces, run)
        with self._lock:
            found = self._found.setdefault(identity, found)  # of two channels that looked at once, one is right
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return found

    def _broken(self, name: str) -> Problem | None:
        """Why ``name`` could tell nobody now: a secret that cannot be read, or that is none."""
        channel = self._settings[name]
        where = f"channels.{name}.{'url' if channel.url else 'key'}"
        try:
            self._tried(name, channel)
        except CanarydError as error:
            return Problem(where, str(error), "a channel that can be used", code=codes.CHANNEL_BARRED.name)
        return None

    @staticmethod
    def _tried(name: str, channel: Channel) -> None:
        if isinstance(channel.url, Kept):
            if fault := services.fault_of(value_of(channel.url, f"channels.{name}.url")):
                raise Unavailable(fault)
        elif channel.key is not None:
            kept_key(channel.key, f"channels.{name}.key")
            headers_of(channel.headers, f"channels.{name}")


def _without_fault(links: Links, run: Run) -> Sequence[Link]:
    """The links; a message without them is better than none."""
    try:
        return links(run)
    except Exception:
        log.exception("message.without_links", run=run.uid)
        return ()

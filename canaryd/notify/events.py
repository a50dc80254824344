"""
PURE: a message as a CloudEvent 1.0 in structured mode.

The same message is the same event, with the same id, time and bytes but for its links, however often it is sent and by
whichever process: a receiver that remembers ids sees each once. Source: CloudEvents 1.0.2, "id": duplicates share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from canaryd.gates.events import event_of, time_text
from canaryd.model.message import Message
from canaryd.model.run import Run
from canaryd.notify.words import Link, level_of, title_of

PREFIX = "io.canaryd."
TEST = "io.canaryd.test"


def cloud_event(run: Run, message: Message, links: Sequence[Link]) -> dict[str, Any]:
    """The event; its type is ``io.canaryd.`` and the event's name, such as ``io.canaryd.run.held``."""
    rest: dict[str, Any] = {
        "number": message.number,
        "title": title_of(run, message),
        "reason": message.reason,
        "level": level_of(message),
        "phase": message.phase,
        "weight": message.share,
        "observes": run.plan.observes,
        "commands": dict(message.commands),
        "links": [{"title": title, "url": url} for title, url in links],
    }
    if message.until is not None:
        rest |= {"until": time_text(message.until), "otherwise": message.otherwise}
    event = event_of(run, message.id_in(run.uid), PREFIX + message.event, message.at, rest)
    del event["data"]["harmed"]  # it grows while a message waits, and the same id has the same content
    return event


def test_event(identity: str, channel: str, at: float) -> dict[str, Any]:
    """What is sent when somebody tries a channel."""
    return {
        "specversion": "1.0",
        "id": identity,
        "source": "/canaryd",
        "type": TEST,
        "subject": channel,
        "time": time_text(at),
        "datacontenttype": "application/json",
        "data": {"channel": channel, "reason": test_text(channel)},
    }


def test_text(channel: str) -> str:
    """The sentence of a trial."""
    return f"a test of canaryd's channel {channel}: who reads this will read of runs, too"

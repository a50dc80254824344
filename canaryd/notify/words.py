"""
PURE: a message as people read it.

The reason is the sentence that stands in the log, the journal and the Event: it is repeated, and never worded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from canaryd.gates.events import time_text
from canaryd.model.message import GATE, Message
from canaryd.model.run import Run

Link = tuple[str, str]
"""A title and a URL."""
Level = Literal["info", "success", "warning", "failure"]

LEVELS: dict[str, Level] = {
    "run.promoted": "success",
    "run.rolling_back": "failure",
    "run.rolled_back": "failure",
    "run.no_way_back": "failure",
    "run.held": "warning",
    "run.reminded": "warning",
    "run.drifted": "warning",
    "run.brought_down": "warning",
    "run.restarted": "warning",
    "run.stable_changed": "warning",
    "run.taken_back": "warning",
    "run.adopted": "warning",
    "command.void": "warning",
    GATE: "warning",
}
"""What is neither good nor bad news is info."""
FAILURES = ("run.failed", "run.rolling_back", "run.rolled_back")
HEADLINES = {GATE: "waits at a gate", "run.reminded": "a limit runs out soon", "run.no_way_back": "no way back"}


def level_of(message: Message) -> Level:
    """How grave it is, for services that show it."""
    return LEVELS.get(message.event, "info")


def title_of(run: Run, message: Message) -> str:
    """What stands in a subject line: which plan, which release, what happened."""
    release = run.plan.spec.release
    return f"{run.plan} {release}: {headline(message)}{' (observing)' if run.plan.observes else ''}"


def headline(message: Message) -> str:
    """An event's name in words: ``step.passed`` is "step passed", ``run.rolling_back`` is "rolling back"."""
    room, _, word = message.event.partition(".")
    said = word.replace("_", " ")
    return HEADLINES.get(message.event, said if room == "run" else f"{room} {said}")


def shows_traces(run: Run, message: Message) -> bool:
    """Whether requests that the canary failed are worth showing; who takes a promotion back has measured none."""
    return message.event in FAILURES and not run.undoes


def text_of(run: Run, message: Message, links: Sequence[Link], traces: Sequence[Link] = ()) -> str:
    """The reason, where the run stands, what can be typed, where to look, and what went wrong for example."""
    lines = [message.reason, "", f"{run.route.canary} is meant to have {message.share}; the run is {message.phase}."]
    lines += [f"To {verb}: {line}" for verb, line in message.commands]
    lines += [f"{title}: {url}" for title, url in (*links, *traces)]
    lines += ["", f"run {run.uid}, message {message.id_in(run.uid)}, {time_text(message.at)}"]
    return "\n".join(lines)

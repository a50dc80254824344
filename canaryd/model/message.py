"""
Messages: what is told to people and systems outside, as a plan routes it and as a run keeps it.

What is due follows from the run alone. A message lies in the run's outbox from the decision that it tells of, saved
with it by one compare-and-swap, until each channel has taken it: a death in between sends it again, and loses none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from canaryd.model.part import Name, Part, no_url

GATE = "gate.waiting"
"""``run.held``, where that is because the run has come to a gate."""
FAILED = "run.failed"
"""``run.rolling_back``, where that is not by a person's word: a verdict, a cap, or a limit that ran out."""

EventName = Literal[
    "run.started",
    "run.preflight",
    "run.history",
    "step.shifting",
    "step.shifted",
    "step.passed",
    "step.advanced",
    "step.skipped",
    "gate.waiting",
    "gate.approved",
    "gate.answered",
    "run.held",
    "run.reminded",
    "run.resumed",
    "run.drifted",
    "run.brought_down",
    "run.reasserted",
    "run.took_over",
    "run.restarted",
    "run.taken_back",
    "run.stable_changed",
    "command.void",
    "run.adopted",
    "run.failed",
    "run.rolling_back",
    "run.rolled_back",
    "run.no_way_back",
    "run.promoting",
    "run.watching",
    "run.awaiting_stable",
    "run.returning",
    "run.promoted",
    "run.would_write",
]
USUAL: tuple[EventName, ...] = (
    "run.started",
    "gate.waiting",
    "run.held",
    "run.reminded",
    "run.drifted",
    "run.brought_down",
    "run.rolling_back",
    "run.no_way_back",
    "run.rolled_back",
    "run.promoted",
)
"""What somebody has to act on, and how it begins and ends."""

MOST = 40
"""Messages that wait in a run; of more the oldest go, for what is new matters more."""
LONGEST = 2000
"""Characters of a reason in a message; the run's decisions have it whole."""

ChannelName = Annotated[
    Name, BeforeValidator(lambda value: no_url(value, "the name of a channel in the settings (channels)"))
]


class Messages(Part):
    """A channel that is told of the plan's runs, and what of."""

    channel: ChannelName
    """Its name in canaryd's settings (``channels``), which say where it is."""
    # Not `on`, which YAML 1.1 reads as true.
    events: Annotated[tuple[EventName, ...], Field(min_length=1)] = USUAL
    """The events that it is told of, as docs/operations.md lists them; besides `gate.waiting` (`run.held` at a gate)
    and `run.failed` (`run.rolling_back`, but not by a person's word). When left out: what somebody has to act on, and
    how a run begins and ends."""


@dataclass(frozen=True, slots=True)
class Message:
    """
    One event of a run, as it is told outside; complete in itself, for the run goes on while it waits.

    ``number`` counts the messages of the run and ``at`` is when it was decided (Unix seconds): together they are its
    id, the same for each channel. ``to`` are the channels that have not taken it. ``share``, ``phase`` and ``commands``
    (what can be typed, each with its verb) are of that moment; ``until`` and ``otherwise`` say when a hold's limit runs
    out and what then, None and empty where there is none.
    """

    number: int
    event: str
    reason: str
    at: float
    to: tuple[str, ...]
    share: str
    phase: str
    commands: tuple[tuple[str, str], ...] = ()
    until: float | None = None
    otherwise: str = ""

    def id_in(self, uid: str) -> str:
        """The message's id in the run ``uid``."""
        return f"{uid}_{int(self.at)}_{self.number}"


@dataclass(frozen=True, slots=True)
class Outbox:
    """
    The messages of a run that wait to be taken, in order.

    ``numbered`` is how many there were in all, ``dropped`` how many went because too many waited; ``reminded`` is the
    limit (Unix seconds) that was reminded of last.
    """

    numbered: int = 0
    waiting: tuple[Message, ...] = ()
    dropped: int = 0
    reminded: float | None = None


EMPTY = Outbox()

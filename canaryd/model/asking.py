"""
A gate as a run comes to it: the conditions that have to hold, and what was answered so far.

A question has an id that follows from the run alone, so that the same question has the same id after any death: who is
asked twice can tell. What was answered is saved with the run, and a webhook's yes that is saved is not asked for again.
An alert is no such word but a state: it counts only while it is fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from canaryd.model.gate import Alert, Approve, Gate, Otherwise, Webhook

START = -1
"""The place of the gate before the first weight; that of a step's is its index, that of the promotion their number."""

Said = Literal["", "yes", "no", "later", "silent"]
"""``silent`` is no answer: an outage, a refusal, or what cannot be understood. Empty: nobody was asked yet."""
Kind = Literal["approve", "webhook", "alert"]

FRESH = 30.0
"""Seconds for which "none fires" counts."""


@dataclass(frozen=True, slots=True)
class Term:
    """A condition that the plan sets at a place; ``before`` is what waits for it, in words."""

    id: str
    place: int
    before: str
    part: Approve | Webhook | Alert

    @property
    def kind(self) -> Kind:
        if isinstance(self.part, Webhook):
            return "webhook"
        return "alert" if isinstance(self.part, Alert) else "approve"

    @property
    def limit(self) -> timedelta:
        return self.part.limit

    @property
    def otherwise(self) -> Otherwise:
        return self.part.otherwise

    @property
    def on_no(self) -> Otherwise:
        """What a no does at once."""
        if isinstance(self.part, Webhook):
            return self.part.on_no
        return self.part.while_firing if isinstance(self.part, Alert) else "hold"

    def __str__(self) -> str:
        if isinstance(self.part, Webhook):
            return f"webhook {self.part.name}"
        if isinstance(self.part, Alert):
            return f"alert {' or '.join(self.part.names)}"
        return f"approval of {' or '.join(self.part.by)}" if self.part.by else "a person's approval"


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A term as far as the run has come with it.

    ``first`` is when it was first waited for, ``since`` since when it has been lacking without a break (its limit
    counts from there); ``said`` and ``why`` are the last answer, given at ``at`` to the question's ``times``-th asking.
    Times are Unix seconds; ``at`` is None before the first answer.
    """

    id: str
    first: float
    since: float
    said: Said = ""
    why: str = ""
    at: float | None = None
    times: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the question ``id`` was answered at ``at`` (Unix seconds), when it was asked for the ``times``-th time."""

    id: str
    said: Said
    why: str
    at: float
    times: int


@dataclass(frozen=True, slots=True)
class Approval:
    """Who has said yes at a gate, when (Unix seconds), and why."""

    place: int
    by: str
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver, or Prometheus, has said; ``after`` are the seconds after which to ask again, None: as usual."""

    said: Said
    why: str
    after: float | None = None


def terms_of(gate: Gate, place: int, before: str, prefix: str) -> tuple[Term, ...]:
    """The conditions of ``gate``; their ids begin with ``prefix``."""
    parts = (("approve", gate.approve), *((hook.name, hook) for hook in gate.webhooks), ("alert", gate.alert))
    named = ((name if isinstance(part, Webhook) else f"({name})", part) for name, part in parts)
    return tuple(Term(f"{prefix}_{name}", place, before, part) for name, part in named if part is not None)


def clock(at: float, now: float) -> str:
    """The time of day of a Unix time, with the day where that is another than ``now``'s."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC).date()
    return moment.strftime("%H:%M UTC" if moment.date() == today else "%Y-%m-%d %H:%M UTC")

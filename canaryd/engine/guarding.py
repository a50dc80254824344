"""
What bars plans and runs, from where it is known, and the queue of plans that would begin.

Asked in every tick and before every beginning: nothing here waits for anybody. Freezes that cannot be read are those
that were read last; while none was ever read, nothing rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import structlog

from canaryd.engine.ports import Freezes
from canaryd.errors import CanarydError
from canaryd.model import guards
from canaryd.model.guards import Bar, Freeze
from canaryd.model.plan import Plan
from canaryd.model.queue import Limits, Ticket, Turn, turns

log = structlog.get_logger()


class Waits(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """The plan may not begin yet, and nothing is wrong with it. ``until`` is when it may (Unix seconds), if known."""

    def __init__(self, sentence: str, until: float | None = None) -> None:
        self.until = until
        super().__init__(sentence)


class NoFreezes:
    """The freezes port where nobody can freeze anything."""

    def freezes(self) -> tuple[Freeze, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What guards say: what bars a run from rising, and why it is to be rolled back; nothing where nothing does."""

    bar: Bar | None
    stopped: str = ""


class Guards:
    """What bars a plan or a run at a moment."""

    def __init__(self, freezes: Freezes) -> None:
        self._freezes = freezes
        self._known: tuple[Freeze, ...] | None = None
        self._failed = ""

    def look(self, plan: Plan, now: float) -> Seen:
        """What bars ``plan`` from starting and its run from rising, and whether that is to be rolled back."""
        try:
            present = self._present()
            if present is None:
                return Seen(Bar(f"it cannot be read whether anybody has frozen it: {self._failed}", None))
            return Seen(guards.barred(plan, present, now), guards.stopped(plan.namespace, present, now))
        except Exception as error:
            # A fault of a guard is one of ours. It bars the way up, and must not end a tick that may be a rollback.
            log.exception("guards.failed", plan=str(plan))
            return Seen(Bar(f"canaryd cannot tell whether it may: {type(error).__name__}: {error}", None))

    def _present(self) -> tuple[Freeze, ...] | None:
        """Those of now, or those that were read last; None where none could be read yet."""
        try:
            self._known = self._freezes.freezes()
        except CanarydError as error:  # a disk that does not answer
            if self._failed != str(error):
                log.warning("freezes.unavailable", error=str(error))
            self._failed = str(error)
        else:
            self._failed = ""
        return self._known


class Queue:
    """
    The plans that want to begin, by when they asked first.

    One that is passed over keeps its place, and is in nobody's way until it comes again.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = Lock()
        self._tickets: dict[str, Ticket] = {}
        self._over: set[str] = set()

    def enter(self, plan: str, asked: float) -> Ticket:
        """Take a place, or come again: the ticket of ``plan``; who has one keeps it."""
        with self._lock:
            self._over.discard(plan)
            return self._tickets.setdefault(plan, Ticket(asked, plan))

    def pass_over(self, plan: str, asked: float) -> bool:
        """``plan`` cannot begin for a reason of its own; whether it was in others' way until now."""
        with self._lock:
            was = plan in self._tickets and plan not in self._over
            self._tickets.setdefault(plan, Ticket(asked, plan))
            self._over.add(plan)
            return was

    def leave(self, plan: str) -> bool:
        """``plan`` has begun, or does not want to any more; whether it was there."""
        with self._lock:
            self._over.discard(plan)
            return self._tickets.pop(plan, None) is not None

    def turn(self, plan: str, running: list[str]) -> Turn:
        """Whether it is the turn of ``plan``, which has entered."""
        with self._lock:
            return turns(self._waiting(), running, self.limits).get(plan, Turn())

    def waiting(self) -> list[str]:
        """Who waits for nothing but its turn."""
        with self._lock:
            return [ticket.plan for ticket in sorted(self._waiting())]

    def _waiting(self) -> list[Ticket]:
        return [ticket for plan, ticket in self._tickets.items() if plan not in self._over]

"""
What bars plans and runs, from where it is known, and the queue of plans that would begin.

Asked in every tick and before every beginning: nothing here waits for anybody. Freezes that cannot be read are those
that were read last; while none was ever read, nothing rises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import structlog

from canaryd.engine.ports import Clock, FarFreezes, Freezes
from canaryd.errors import CanarydError
from canaryd.model import guards
from canaryd.model.guards import Bar, Freeze
from canaryd.model.plan import Plan
from canaryd.model.queue import Limits, Ticket, Turn, turns

EVERY = 3.0
"""Seconds between two requests for freezes that are far; who looks for them does so every few seconds."""

log = structlog.get_logger()


class Waits(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """The plan may not begin yet, and nothing is wrong with it. ``until`` is when it may (Unix seconds), if known."""

    def __init__(self, sentence: str, until: float | None = None) -> None:
        self.until = until
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Seen:
    """What guards say: what bars a run from rising, and why it is to be rolled back; nothing where nothing does."""

    bar: Bar | None
    stopped: str = ""


class Guards:
    """
    What bars a plan or a run at a moment.

    ``freezes`` are read in each look; None where nobody can freeze anything. ``far`` are looked for beside it.
    """

    def __init__(self, freezes: Freezes | None = None, far: Far | None = None) -> None:
        self._freezes = freezes
        self._far = far
        self._known: tuple[Freeze, ...] | None = () if freezes is None else None
        self._failed = ""

    def look(self, plan: Plan, now: float) -> Seen:
        """What bars ``plan`` from starting and its run from rising, and whether that is to be rolled back."""
        try:
            near = self._near()
            far = self._far.seen(plan.namespace) if self._far else ()
            present = (*(near or ()), *(far or ()))
            stopped = guards.stopped(plan.namespace, present, now)
            if near is None or far is None:
                unread = Bar(f"it cannot be read whether anybody has frozen it: {self._unread(near)}", None)
                return Seen(unread, stopped)
            return Seen(guards.barred(plan, present, now), stopped)
        except Exception as error:
            # A fault of a guard is one of ours. It bars the way up, and must not end a tick that may be a rollback.
            log.exception("guards.failed", plan=str(plan))
            return Seen(Bar(f"canaryd cannot tell whether it may: {type(error).__name__}: {error}", None))

    def _unread(self, near: tuple[Freeze, ...] | None) -> str:
        """Why, and how to look."""
        if near is None or self._far is None:
            return self._failed
        return f"that takes a Kubernetes API that answers, and {self._far.failed} (kubectl cluster-info)"

    def meet(self, plan: Plan) -> None:
        """Read what is far and was never read yet. It takes a request: for a beginning, and never for a tick."""
        if self._far:
            self._far.meet(plan.namespace)

    def _near(self) -> tuple[Freeze, ...] | None:
        """Those of now, or those that were read last; None where none could be read yet."""
        if self._freezes is None:
            return ()
        try:
            self._known = self._freezes.freezes()
        except CanarydError as error:  # a disk that does not answer
            if self._failed != str(error):
                log.warning("freezes.unavailable", error=str(error))
            self._failed = str(error)
        else:
            self._failed = ""
        return self._known


class Far:
    """
    Freezes that it takes a request to see, as they were read last: asked for every few seconds, while anybody looks.

    ``asking`` is a pool of its own. ``changed`` is called when others were read than before, so that a stop need not
    wait for a due time.
    """

    def __init__(
        self, freezes: FarFreezes, clock: Clock, asking: Executor, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._freezes = freezes
        self._clock = clock
        self._asking = asking
        self._changed = changed
        self._lock = Lock()
        self._known: dict[str, tuple[Freeze, ...]] = {}
        self._read_at: dict[str, float] = {}
        self._busy: set[str] = set()
        self.failed = "it was not asked for yet"

    def seen(self, namespace: str) -> tuple[Freeze, ...] | None:
        """Those that were read last, or None where none could be read yet; where it is due they are asked for anew."""
        with self._lock:
            age = self._clock.now() - self._read_at.get(namespace, -math.inf)
            # A clock that was set back makes what was read one of the future: a stop must not wait for that.
            due = namespace not in self._busy and not 0 <= age < EVERY
            if due:
                self._busy.add(namespace)
            known = self._known.get(namespace)
        if due:
            with suppress(RuntimeError):  # the process ends, and so does its pool
                self._asking.submit(self._read, namespace)
        return known

    def meet(self, namespace: str) -> None:
        """Read them now, if nobody has tried to yet."""
        with self._lock:
            if namespace in self._busy or namespace in self._read_at:
                return
            self._busy.add(namespace)
        self._read(namespace)

    def _read(self, namespace: str) -> None:
        found: tuple[Freeze, ...] | None
        try:
            found = self._freezes.read(namespace)
        except Exception as error:
            if not isinstance(error, CanarydError):
                log.exception("guards.failed", namespace=namespace)
            elif self.failed != str(error):
                log.warning("freezes.unavailable", error=str(error))
            self.failed, found = str(error), None
        else:
            self.failed = ""
        with self._lock:
            others = found is not None and found != self._known.get(namespace)
            if found is not None:
                self._known[namespace] = found
            self._read_at[namespace] = self._clock.now()
            self._busy.discard(namespace)
        if others:
            self._changed()


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

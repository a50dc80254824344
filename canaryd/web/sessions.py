"""
Sessions: kept here, in memory, and known to the browser by a random number alone.

Nothing of a person's token is ever sent to their browser. They end with the process, after a while without anything
done, and in any case after a day's work.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from canaryd.desk import Decided
from canaryd.web.people import Person

IDLE = 3600.0
"""Seconds without anything done by the person; a page that renews itself is nothing done."""
LONGEST = 12 * 3600.0
MOST = 5_000
"""Sessions that are kept; the one that was used longest ago makes room."""
BELIEVED = 20.0
"""Seconds for which an answer on somebody's rights is shown; the API server decides when something is asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A command of the person's: by its ``id`` it is seen whether the run has heard it.

    ``at`` is Unix time; ``known`` is what the run had decided by then.
    """

    id: str
    verb: str
    at: float
    known: tuple[Decided, ...] = ()


@dataclass(slots=True)
class Session:
    """One person at one browser."""

    id: str
    person: Person
    csrf: str
    began: float
    used: float
    asked: dict[str, Asked] = field(default_factory=dict)
    rights: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)


class Sessions:
    """All of them. Thread-safe; ``clock`` counts seconds."""

    def __init__(
        self, *, idle: float = IDLE, longest: float = LONGEST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.idle, self.longest, self.clock = idle, longest, clock
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._lock = Lock()

    def open(self, person: Person) -> Session:
        now = self.clock()
        session = Session(secrets.token_urlsafe(32), person, secrets.token_urlsafe(32), now, now)
        with self._lock:
            self._sweep(now)
            self._open[session.id] = session
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return session

    def find(self, session: str, *, used: bool = True) -> Session | None:
        """The session of that id, unless it has expired; ``used`` says that the person did something."""
        now = self.clock()
        with self._lock:
            found = self._open.get(session)
            if found is None:
                return None
            if self._is_over(found, now):
                del self._open[session]
                return None
            if used:
                found.used = now
                self._open.move_to_end(session)
            return found

    def end(self, session: str) -> None:
        with self._lock:
            found = self._open.pop(session, None)
        if found is not None:
            found.person.close()

    def _is_over(self, session: Session, now: float) -> bool:
        return now - session.used > self.idle or now - session.began > self.longest

    def _sweep(self, now: float) -> None:
        for one in [one for one in self._open.values() if self._is_over(one, now)]:
            del self._open[one.id]


def lacking(session: Session, namespace: str, verb: str, clock: Callable[[], float] = time.monotonic) -> str:
    """What the person lacks to say ``verb`` in ``namespace``, as of a few seconds ago at most."""
    key = (namespace, verb if verb in ("approve", "release") else "operate")
    at, known = session.rights.get(key, (float("-inf"), ""))
    if clock() - at < BELIEVED:
        return known
    found = session.person.desk(namespace).lacking(namespace, verb)
    session.rights[key] = (clock(), found)
    return found

"""
Faults on order: what a server does instead of answering the next requests that match.

The two that matter most to canaryd: `reset(after_write=True)` performs the write and then cuts the connection, so the
client cannot know that it happened; `hang(perform=True)` performs it late, after the client gave up.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(slots=True)
class Fault:
    """One order. `times` counts down, None is for ever; `seconds` is how long to hang; `code` 0 sends no answer."""

    verb: str
    resource: str
    times: int | None = 1
    code: int = 0
    retry_after: int = 0
    seconds: float = 0.0
    perform: bool = False
    cut: bool = False

    def matches(self, verb: str, resource: str) -> bool:
        return self.verb in ("*", verb) and self.resource in ("*", resource)


class Faults:
    """The orders of one server, taken in the order given. Verbs are Kubernetes': get, list, watch, patch, update ...

    `resource` is the plural; ``*`` matches anything (also discovery, whose resource is empty). Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []
        self._hits = 0

    def fail(self, verb: str, resource: str, code: int, *, times: int | None = 1, retry_after: int = 0) -> None:
        """Answer with `code` (409, 429, 500, 503 ...) and do nothing."""
        self._add(Fault(verb, resource, times, code=code, retry_after=retry_after))

    def hang(self, verb: str, resource: str, seconds: float, *, times: int | None = 1, perform: bool = False) -> None:
        """Say nothing for `seconds`, then cut the connection; with `perform` do then what was asked, and answer."""
        self._add(Fault(verb, resource, times, seconds=seconds, perform=perform, cut=not perform))

    def reset(self, verb: str, resource: str, *, times: int | None = 1, after_write: bool = False) -> None:
        """Reset the connection, before anything happened or (`after_write`) when all of it has."""
        self._add(Fault(verb, resource, times, perform=after_write, cut=True))

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()

    @property
    def hits(self) -> int:
        """How many requests met a fault so far."""
        with self._lock:
            return self._hits

    def take(self, verb: str, resource: str) -> Fault | None:
        """The first order that matches, used up by one."""
        with self._lock:
            found = next((one for one in self._orders if one.matches(verb, resource)), None)
            if found is None:
                return None
            self._hits += 1
            if found.times is not None:
                found.times -= 1
                if found.times == 0:
                    self._orders.remove(found)
            return found

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._orders.append(fault)

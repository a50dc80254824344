"""
Whose turn it is, where no more than so many runs may go on at once: first asked, first served.

What a newcomer would get wrong: who cannot begin for a reason of its own (it is refused, frozen, or its namespace is
full) keeps its place and is stepped over, so that it blocks nobody; and who is stepped over is not forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs may go on at once: in all, and in each namespace. 0 is no limit."""

    cluster: int = 0
    namespace: int = 0

    def __bool__(self) -> bool:
        return bool(self.cluster or self.namespace)


@dataclass(frozen=True, slots=True, order=True)
class Ticket:
    """A plan (``namespace/name``) that wants to begin, and when it asked first (Unix seconds)."""

    asked: float
    plan: str

    @property
    def namespace(self) -> str:
        return self.plan.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Turn:
    """It may begin (``place`` is 0), or is the ``place``-th of ``of`` that wait for ``why``."""

    place: int = 0
    of: int = 0
    why: str = ""

    @property
    def sentence(self) -> str:
        return f"waiting in the queue: {_ordinal(self.place)} of {self.of}, {self.why}"


def turns(waiting: Iterable[Ticket], running: Iterable[str], limits: Limits) -> dict[str, Turn]:
    """
    The turn of each plan that is ``waiting`` and could begin but for the ``limits``.

    ``running`` are the namespaces of the runs that go on, each as often as it has some.
    """
    present = Counter(running)
    total = sum(present.values())
    found: dict[str, Turn] = {}
    queues: dict[str, list[str]] = {}
    for ticket in sorted(waiting):
        home = ticket.namespace
        if limits.namespace and present[home] >= limits.namespace:
            queues.setdefault(home, []).append(ticket.plan)
        elif limits.cluster and total >= limits.cluster:
            queues.setdefault("", []).append(ticket.plan)
        else:
            present[home] += 1
            total += 1
            found[ticket.plan] = Turn()
    for home, queue in queues.items():
        most, where = (limits.namespace, f"namespace {home}") if home else (limits.cluster, "this cluster")
        why = f"at most {most} run{'s go' if most > 1 else ' goes'} on at once in {where}"
        found |= {plan: Turn(place, len(queue), why) for place, plan in enumerate(queue, 1)}
    return found


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"

"""
What bars traffic from rising, beside everything that a run finds out itself: windows, blackouts and freezes.

A bar bars what is new and what rises, and nothing else: what bakes goes on baking at its weight, and every way back is
open. A freeze that is a stop brings its runs back besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from canaryd.model.calendar import closed, left, shown
from canaryd.model.plan import Plan


@dataclass(frozen=True, slots=True)
class Freeze:
    """
    A person's word that nothing may start or rise in ``namespace`` (empty: in all of them).

    ``until`` is when it ends by itself (Unix seconds), None for one that somebody has to lift. A ``stop`` rolls back
    what is in flight, too.
    """

    name: str
    namespace: str
    reason: str
    owner: str = ""
    until: float | None = None
    since: float = 0.0
    stop: bool = False

    def holds(self, namespace: str, now: float) -> bool:
        """Whether it is in force for the plans of ``namespace``."""
        return self.namespace in ("", namespace) and not self.over(now)

    def over(self, now: float) -> bool:
        return self.until is not None and now >= self.until

    def sentence(self, now: float) -> str:
        """Whose it is, why, and until when."""
        by = f" by {self.owner}" if self.owner else ""
        end = f"until {shown(self.until, 'UTC', now)}" if self.until is not None else "until it is lifted"
        return f"{'stopped' if self.stop else 'frozen'}{by} {end}: {self.reason} ({self.name})"


@dataclass(frozen=True, slots=True)
class Bar:
    """Why nothing may start or rise, and until when (Unix seconds), where that is known."""

    why: str
    until: float | None

    def at(self, now: float) -> str:
        """The sentence, with how long that is from ``now``."""
        return self.why if self.until is None else f"{self.why}, for another {left(self.until - now)}"


def barred(plan: Plan, freezes: Iterable[Freeze], now: float) -> Bar | None:
    """What bars ``plan`` from starting, and its run from rising, at ``now``; None where nothing does."""
    frozen = sorted((one for one in freezes if one.holds(plan.namespace, now)), key=_gravest)
    shut = closed(plan.spec.windows, plan.spec.blackouts, now)
    ends = [one.until for one in frozen] + ([shut.until] if shut else [])
    if not ends:
        return None
    why = "; ".join([one.sentence(now) for one in frozen] + ([shut.why] if shut else []))
    known = [end for end in ends if end is not None]
    return Bar(why, max(known) if len(known) == len(ends) else None)


def stopped(namespace: str, freezes: Iterable[Freeze], now: float) -> str:
    """Why the runs of ``namespace`` are to be rolled back at ``now``; empty where nobody has said so."""
    stops = sorted((one for one in freezes if one.stop and one.holds(namespace, now)), key=_gravest)
    return stops[0].sentence(now) if stops else ""


def _gravest(freeze: Freeze) -> tuple[object, ...]:
    """Stops first, then the longest, then the eldest: a sentence must not change with the order they are read in."""
    return (not freeze.stop, freeze.until is not None, -(freeze.until or 0.0), freeze.since, freeze.name)

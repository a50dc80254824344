"""
How many requests a run has harmed: what failed at the canary beyond what stable's rate would have given.

A count, not evidence: it decides only where the plan sets a cap (``analysis.maxHarmed``), and then without any.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Harmed:
    """
    The sum so far over all cells of a run, whichever canary they were of.

    ``requests`` is never negative: what a canary does better than stable pays back what it did worse before, and is
    not saved up for later. ``failed`` and ``asked`` are stable's failures and requests in those cells: its rate, for
    when there is hardly any stable left to compare with.
    """

    requests: float = 0.0
    failed: float = 0.0
    asked: float = 0.0

    @property
    def rate(self) -> float:
        """Stable's share of failures in the run so far."""
        return self.failed / self.asked if self.asked else 0.0

    def words(self, most: int | None) -> str:
        """The sum in a sentence, beside the cap where there is one."""
        noun = "request" if round(self.requests) == 1 else "requests"
        capped = "" if most is None else f" (of at most {most:,}, maxHarmed)"
        return f"harmed: about {self.requests:,.0f} {noun} failed at the canary beyond stable's rate{capped}"


NOBODY = Harmed()
"""No request was harmed, and none was seen."""

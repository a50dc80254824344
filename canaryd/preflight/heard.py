"""
What Prometheus knows of the route before anything moves, asked once for all checks.
"""

from __future__ import annotations

from dataclasses import dataclass

LATELY = 3600.0
"""Seconds back in which requests count as of now."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent requests to the hosts lately, as its own proxy reports it, and how many a second."""

    workload: str
    namespace: str
    rate: float = 0.0

    def __str__(self) -> str:
        return f"{self.workload}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class Heard:
    """
    ``callers`` are those of the last hour. ``silent`` says why nothing is known at all; empty where something is.
    """

    callers: tuple[Caller, ...] = ()
    silent: str = ""
    uninjected: float = 0.0
    """requests a second that reached the pods from callers without a sidecar"""


NOTHING_HEARD = Heard(silent="Prometheus was not asked")

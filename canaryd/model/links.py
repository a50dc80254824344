"""
What a person may look at beside a run: links into the neighbours, and example traces of the canary.

Only data: rooms that show a run (report, page, messages) are given these and ask nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Link:
    """A place to look at, frozen to the run's time; ``shows`` is one sentence on what is to be seen there."""

    title: str
    url: str
    shows: str


@dataclass(frozen=True, slots=True)
class Trace:
    """
    One request that the canary answered, as its tracing backend kept it.

    ``at`` is when it came to the canary (Unix seconds) and ``took`` the seconds until it was answered; ``status`` is
    how, such as ``503`` or ``grpc 14``, empty where that is not known. ``failed`` are the spans of the trace that
    failed, ``service: name`` each, the first first. ``url`` leads to it, and is empty where nothing shows traces.
    """

    id: str
    kind: Literal["failing", "slow"]
    at: float
    took: float
    status: str = ""
    failed: tuple[str, ...] = ()
    url: str = ""


@dataclass(frozen=True, slots=True)
class Traces:
    """Example traces, the failing ones first; ``why`` says in a sentence why there are none, empty where there are."""

    found: tuple[Trace, ...] = ()
    why: str = ""

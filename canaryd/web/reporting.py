"""
Reports for a page that renews itself: made when the run has changed, and otherwise shown as they were made.

A report judges every cell anew, which takes longer the longer a run goes on, and the page of a run is asked for every
other second by everybody who looks at it. What is kept is found by the whole run and its journal, which whoever asks
has just read with rights of their own: nobody is shown what they may not see.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from canaryd.metrics.asked import asked as queries_of
from canaryd.model.links import Link
from canaryd.model.run import Run
from canaryd.report.decisions import Entry
from canaryd.report.document import Document, document
from canaryd.report.html import section_html
from canaryd.report.layout import Section, sections

FIRST = ("Traffic", "Errors", "Latency", "Evidence", "Checks", "Weight by weight", "Timeline")
"""What somebody wants to see who looks at a run that goes on; the rest follows in the report's order."""
FOLDED = frozenset({"Decisions", "Queries", "Found before it began"})
"""Sections that are opened by who wants them; the report shows them open, for it has room."""
MOST = 64
"""Reports that are kept, of some hundred kilobytes each."""

Neighbours = Callable[[Run], tuple[Iterable[Link], Iterable[Link]]]
"""What gives the links and the example traces of a run."""


def no_neighbours(run: Run) -> tuple[Iterable[Link], Iterable[Link]]:  # noqa: ARG001  # the shape of Neighbours
    return (), ()


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the report: its title, the id to jump to, and its HTML."""

    title: str
    anchor: str
    html: str
    folded: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A report and its parts; ``mark`` is another one as soon as a part is."""

    document: Document
    parts: tuple[Part, ...]
    mark: str


class Reports:
    """Reports as they were made last. Thread-safe."""

    def __init__(self, neighbours: Neighbours = no_neighbours, make: Callable[..., Document] = document) -> None:
        self.neighbours = neighbours
        self._make = make
        self._kept: OrderedDict[str, tuple[Any, Told]] = OrderedDict()
        self._lock = Lock()

    def of(self, run: Run, journal: Sequence[Entry]) -> Told:
        """The report of ``run`` with its ``journal`` (oldest first)."""
        links, traces = (tuple(one) for one in self.neighbours(run))
        made_of = (run, list(journal), links, traces)
        with self._lock:
            known = self._kept.get(run.uid)
        if known is not None and known[0] == made_of:
            return known[1]
        made = self._make(run, journal, links, traces, queries_of(run))
        parts = tuple(map(_part, sorted(sections(made), key=_place)))
        told = Told(made, parts, hashlib.sha256(repr(parts).encode()).hexdigest()[:16])
        with self._lock:
            self._kept[run.uid] = (made_of, told)
            self._kept.move_to_end(run.uid)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return told


def _part(section: Section) -> Part:
    anchor = "".join(letter if letter.isalnum() else "-" for letter in section.title.casefold())
    # The weight is in the title of the checks, and an anchor should stay what it was.
    anchor = "checks" if anchor.startswith("checks") else anchor
    return Part(section.title, anchor, section_html(section), section.title in FOLDED)


def _place(section: Section) -> int:
    """Where a section stands; sections of one place keep their order."""
    found = (place for place, title in enumerate(FIRST) if section.title.startswith(title))
    return next(found, len(FIRST))

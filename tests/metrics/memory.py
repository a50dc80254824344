"""
The port `Metrics` in memory: a Book instead of a Prometheus, the same reading of its rows.

`MemoryMetrics.of(load)` gives each window the share that its split says, so a test of the machine need not tell the
load what the mesh did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from canaryd.errors import CanarydError
from canaryd.metrics import custom, parse, promql
from canaryd.model.cells import Cell, Gap, Pace, Question, Sought, Value, Window
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.traffic import NOTHING
from canaryd.model.where import Where
from tests.metrics.book import Book
from tests.metrics.load import Load

SOME_DAY = 1e12
"""When everything has been counted."""


MATCHED = 0.1
"""The share of requests that a step's match takes."""


class MemoryMetrics:
    """Counts from a Book. ``failing`` is raised instead of an answer; ``partial`` is what is warned of."""

    def __init__(self, book: Book | Callable[[Sought, Window], Book]) -> None:
        self._book: Callable[[Sought, Window], Book] = (lambda sought, window: book) if isinstance(book, Book) else book
        self.failing: CanarydError | None = None
        self.partial = ""
        self.converges: float | None = None
        self.scraped: float | None = None

    @classmethod
    def of(cls, load: Load) -> MemoryMetrics:
        """The counts of ``load``, split in each window as the window says, whatever its dial says of the share."""

        def book(sought: Sought, window: Window) -> Book:
            share = MATCHED if window.matched else window.split.share
            history = [(at, replace(dial, share=share)) for at, dial in load.history]
            return replace(load, history=history).book(sought.scrape_seconds)

        return cls(book)

    def choose(self, plan: Plan) -> str:
        """As the port says: what the plan names is there."""
        return plan.spec.analysis.prometheus

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        """As the port says."""
        if self.failing is not None:
            raise self.failing
        if self.partial:
            return parse.gap(window, f"Prometheus gave a partial answer: {self.partial}")
        book = self._book(sought, window)
        cell = parse.cell(sought, window, answers(book, sought, window))
        if isinstance(cell, Gap):
            return cell
        asked = (question for question in sought.questions if question.asked_at(window.split))
        return replace(cell, values=tuple(_value(book, question, window.end) for question in asked))

    def history(self, sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        """As the port says."""
        return tuple(self.count(sought, window) for window in windows)

    def pace(self, sought: Sought) -> Pace:
        """As the port says."""
        if self.failing is not None:
            raise self.failing
        return Pace(self.converges, self.scraped)

    def reporters(self, sought: Sought) -> Mapping[str, float]:
        """As the port says; of all times, for a book may be of a time that is gone."""
        if self.failing is not None:
            raise self.failing
        book = self._book(sought, Window(0, 0.0, 0.0, NOTHING, settled=False))
        counted: dict[str, float] = {}
        for reporter in ("source", "waypoint"):
            selector = promql.of_hosts(replace(sought, reporter=reporter))
            values = [one.value(SOME_DAY) or 0.0 for one in book.select(selector)]
            counted |= {reporter: sum(values)} if values else {}
        return counted

    def probe(self, sought: Sought) -> tuple[Problem, ...]:
        """As the port says; finds a silent or blind Prometheus only."""
        if self.failing is not None:
            return (Problem("--prometheus", "", f"a Prometheus that answers; {self.failing}"),)
        hosts = promql.of_hosts(sought)
        book = self._book(sought, Window(0, 0.0, 0.0, NOTHING, settled=False))
        return () if any(book.select(hosts)) else (Problem("--prometheus", "none", hosts),)


def _value(book: Book, question: Question, at: float) -> Value:
    def number(query: str) -> float | str:
        rows = book.values(query, at)
        return "refuses the query" if rows is None else custom.number(rows)

    if question.why:
        return custom.unasked(question)
    stable = None if question.stable is None else number(question.stable)
    return custom.value(question, number(question.canary), stable)


def answers(book: Book, sought: Sought, window: Window) -> parse.Answers:
    """What ``book`` answers to the queries of the cell."""
    hosts, stray, durations, pods, uninjected = promql.selectors(sought)
    return parse.Answers(
        tuple(book.requests((hosts, stray), window.start, window.end)),
        tuple(book.durations((durations,), window.start, window.end)),
        tuple(book.scrapes(hosts, durations, window.start, window.end)),
        tuple(book.pods(pods, uninjected, window.start, window.end)),
        _counted(book, sought, sought.where, window) if sought.where else (),
        tuple(_counted(book, sought, one.where, window) for one in sought.apart),
    )


def _counted(book: Book, sought: Sought, where: Where, window: Window) -> tuple[parse.Row, ...]:
    return tuple(book.counted(promql.of_sides(sought, where), window.start, window.end))

"""
A Prometheus of 60 lines: answers canaryd's own queries over HTTP from a Book, and nothing else.

It outlives the canaryd that a test kills, and answers the same to the next one. Any query that is not exactly one of
`canaryd.metrics.promql` or of the probe is refused with 400, so a changed query cannot pass unnoticed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from canaryd.metrics import parse, promql
from tests.metrics.answering import Answering
from tests.metrics.book import Book

SELECTOR = re.compile(r'istio_\w+\{(?:\w+[=!~]+"(?:[^"\\]|\\.)*",?)*\}')
LOOKBACK = 300.0
"""Seconds that an instant selector looks back, by Prometheus's default."""
OFFSET = re.compile(r" offset (\d+)ms")


class Recorded(Answering):
    """
    The server, on a free port of 127.0.0.1; use as a context manager.

    ``book`` is a Book, or a callable that gives one for each query. ``status`` other than 200 is answered to everything
    with ``body``, and 422 to queries with the text ``refused`` in them; those with the text ``slow[0]`` take
    ``slow[1]`` seconds. ``warnings`` go with every answer to a query with the text ``warned``. ``clock`` is what it
    takes for now.
    """

    def __init__(self, book: Book | Callable[[], Book], clock: Callable[[], float] = time.time) -> None:
        self._book: Callable[[], Book] = (lambda: book) if isinstance(book, Book) else book
        self.clock = clock
        self.status, self.body = 200, b""
        self.refused, self.slow, self.warned = "", ("", 0.0), ""
        self.warnings: list[str] = []
        self.converges: float | None = None
        self.asked: list[dict[str, str]] = []
        super().__init__(self._asked, name="recorded-prometheus")

    def _asked(self, path: str, _: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        form = dict(parse_qsl(body.decode()))
        self.asked.append(form)
        known = path in ("/api/v1/query", "/api/v1/query_range")
        return self.answer(form) if known else (404, b"404 page not found")

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Status and body for a query, or for a range query where ``form`` has a step."""
        if self.status != 200:
            return self.status, self.body
        if self.refused and self.refused in form["query"]:
            return 422, b'{"status":"error","errorType":"execution","error":"too many samples"}'
        if self.slow[0] and self.slow[0] in form["query"]:
            time.sleep(self.slow[1])
        try:
            result = self._range(form) if "step" in form else self._vector(form)
        except ValueError as error:
            return 400, json.dumps({"status": "error", "errorType": "bad_data", "error": str(error)}).encode()
        reply: dict[str, object] = {"status": "success", "data": {"result": result}}
        if self.warnings and self.warned in form["query"]:
            reply["warnings"] = self.warnings
        return 200, json.dumps(reply).encode()

    def _vector(self, form: dict[str, str]) -> list[dict[str, object]]:
        at = float(form.get("time") or self.clock())
        rows = self._rows(form["query"], at)
        return [{"metric": dict(row.labels), "value": [at, f"{row.value:.17g}"]} for row in rows]

    def _range(self, form: dict[str, str]) -> list[dict[str, object]]:
        start, end, step = (float(form[key]) for key in ("start", "end", "step"))
        found: dict[frozenset[tuple[str, str]], list[list[object]]] = {}
        for number in range(round((end - start) / step) + 1):
            at = start + number * step
            for row in self._rows(form["query"], at):
                found.setdefault(frozenset(row.labels.items()), []).append([at, f"{row.value:.17g}"])
        return [{"metric": dict(labels), "values": values} for labels, values in found.items()]

    def _rows(self, query: str, at: float) -> list[parse.Row]:
        if query == promql.convergence():
            return [] if self.converges is None else [parse.Row({}, self.converges)]
        if query == "vector(time())":
            return [parse.Row({}, self.clock())]
        book, selectors = self._book(), _selectors(query)
        lengths = {int(length) for length in OFFSET.findall(query)}
        start = at - (lengths.pop() / 1000 if len(lengths) == 1 else 0)
        length = round((at - start) * 1000)
        if query == promql.sum_of_deltas(selectors, (*promql.OUTCOME, *promql.CALL), length):
            return book.requests(selectors, start, at)
        if len(selectors) == 1 and query == promql.sum_of_deltas(selectors, ("reporter",), length):
            return book.reporters(selectors[0], start, at)
        if len(selectors) == 1 and query == promql.sum_of_deltas(selectors, promql.OUTCOME, length):
            return book.counted(selectors[0], start, at)
        if query == promql.sum_of_deltas(selectors, ("le", *promql.OUTCOME), length):
            return book.durations(selectors, start, at)
        if len(selectors) == 2 and query == promql.at_the_pods(selectors[0], selectors[1], length):
            return book.pods(selectors[0], selectors[1], start, at)
        if len(selectors) == 2 and query == promql.facts(selectors[0], selectors[1], length):
            return book.scrapes(selectors[0], selectors[1], start, at)
        if selectors and query == f"sum by (destination_workload) (count_over_time({selectors[0]}[1h]))":
            seen = [series for series in book.select(selectors[0]) if book.last(series, at) is not None]
            return [parse.Row({"destination_workload": s.labels["destination_workload"]}, 1.0) for s in seen]
        if query.startswith("max(count_over_time("):
            samples, as_old = book.scraped(start, at), book.scraped(start - LOOKBACK, start)
            return [parse.Row({}, len(samples))] if samples and as_old else []
        if (values := book.values(query, at)) is not None and not query.startswith(("istio_", "sum(istio_")):
            return values
        raise ValueError(f"not a query of canaryd's: {query}")


def _selectors(query: str) -> list[str]:
    return list(dict.fromkeys(str(found) for found in SELECTOR.findall(query)))

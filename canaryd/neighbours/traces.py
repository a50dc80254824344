"""
Example traces of the canary from Jaeger or Tempo: the last that failed, and the slowest.

A backend is asked by the tag that the canary's revision has, and where that finds nothing of the canary's by the
service alone; failures by the tag ``error``, and where that finds none (Jaeger 2 with its memory storage wants it as a
boolean, which its first API cannot say) by the likeliest statuses, and then among all. Everything is bounded: one
deadline for all, and the size and the number of what is read. Whatever goes wrong is why there are no traces, and
nothing else.

Sources: Jaeger cmd/query/app/query_parser.go (v1), apiv3/http_gateway.go (v3: RFC 3339, snake_case until 2.18, since
then camelCase; no attributes before 2.19, so that what was not filtered there is filtered here); Tempo "HTTP API".
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from canaryd.errors import CanarydError, Gone, Rejected
from canaryd.model.links import Traces
from canaryd.model.run import Run
from canaryd.neighbours import traceql
from canaryd.neighbours.asking import Params, ask
from canaryd.neighbours.examples import Example, examples, failing, shown, slow, slow_from
from canaryd.neighbours.links import Range, Speaks, trace_url
from canaryd.neighbours.naming import ERROR, REVISION, known_as, revision_of, services_of
from canaryd.neighbours.spans import Span, of_jaeger, of_otlp, of_tempo
from canaryd.settings import Grafana, Tracing

FEW, MANY = 20, 50
"""Traces that are asked for by the canary's own tag, and without it."""
Tags = Mapping[str, str]
FAILURES: Sequence[Tags] = (ERROR, {"http.status_code": "503"}, {"http.status_code": "500"}, {})
"""By which tags failures are looked for, one after the other."""
SERVICES = 10_000
"""Services of a backend that are looked at."""


class Backend:
    """
    A tracing backend.

    ``speaks`` and ``services`` are what it said of itself, and ``failures`` the tags that found some.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self.speaks: Speaks = "" if tracing.api == "auto" else tracing.api
        self.services: frozenset[str] | None = None
        self.failures: Tags = FAILURES[0]

    def meet(self, deadline: float) -> None:
        """Find out what it speaks, and which services it knows. Raises as :func:`ask`."""
        ways: Sequence[tuple[Speaks, str, str]] = (
            ("jaeger", "/api/services", "data"),
            ("jaeger-v3", "/api/v3/services", "services"),
        )
        last: CanarydError = Rejected("neither Jaeger nor Tempo")
        for speaks, path, key in ways:
            if self._tracing.api not in ("auto", speaks):
                continue
            try:
                answer = self._asked(path, deadline)
            except (Gone, Rejected) as error:
                last = error
                continue
            if isinstance(answer, dict) and (key in answer or answer == {}):  # the third API leaves an empty list out
                listed = answer.get(key) or []
                if not isinstance(listed, list):
                    raise Rejected(f"an answer of another shape than {speaks}'s: no {key} in it")
                self.speaks, self.services = speaks, frozenset(map(str, listed[:SERVICES]))
                return
        if self._tracing.api in ("auto", "tempo") and self._is_tempo(deadline):
            self.speaks = "tempo"
            return
        if self._tracing.api == "auto":
            raise Rejected(f"neither Jaeger nor Tempo: {last}")
        raise last

    def failing(self, run: Run, when: Range, deadline: float) -> list[Example]:
        """The last requests to the canary that failed. Raises as :func:`ask`."""
        for revision in dict.fromkeys((revision_of(run), "")):
            for tags in FAILURES[:1] if self.speaks == "tempo" else FAILURES:
                found = failing(examples(run, self._search(run, revision, tags, when, deadline)))
                if found:
                    self.failures = tags or self.failures
                    return found
        return []

    def slow(self, run: Run, when: Range, deadline: float) -> list[Example]:
        """The slowest requests to the canary, where it is known what is slow. Raises as :func:`ask`."""
        longer = slow_from(run)
        if longer == float("inf"):
            return []
        for revision in dict.fromkeys((revision_of(run), "")):
            found = slow(examples(run, self._search(run, revision, {}, when, deadline, longer)), longer)
            if found:
                return found
        return []

    def _search(
        self, run: Run, revision: str, tags: Tags, when: Range, deadline: float, longer: float = 0.0
    ) -> tuple[Span, ...]:
        """The spans of traces with these tags, of the revision, if any. Raises as :func:`ask`."""
        # The third API obeys no tags before 2.19: what is not filtered there is filtered here, out of more.
        few = FEW if revision and tags and self.speaks != "jaeger-v3" else MANY
        service = known_as(run, self.services)
        wanted = {**tags, **({REVISION: revision} if revision else {})}
        try:
            if self.speaks == "tempo":
                query = traceql.query(
                    services_of(run), revision, failing=bool(tags), longer_ms=longer * 1000, select=True
                )
                return of_tempo(self._asked("/api/search", deadline, _to_tempo(query, when, few)))
            if self.speaks == "jaeger-v3":
                return of_otlp(self._asked("/api/v3/traces", deadline, _to_v3(service, wanted, when, few, longer)))
            return of_jaeger(self._asked("/api/traces", deadline, _to_v1(service, wanted, when, few, longer)))
        except Gone:
            if self.speaks != "jaeger-v3":
                raise
            return ()  # this is how it says that there are none
        except (ValueError, RecursionError) as error:
            raise Rejected(f"an answer of another shape than {self.speaks}'s: {error}") from error

    def _is_tempo(self, deadline: float) -> bool:
        try:
            answer = self._asked("/api/search", deadline, [("q", "{}"), ("limit", "1")])
        except (Gone, Rejected):
            return False
        return isinstance(answer, dict) and ("traces" in answer or "metrics" in answer)

    def _asked(self, path: str, deadline: float, params: Params = ()) -> Any:
        return ask(self._tracing, path, deadline, params, self._tracing.headers)


def traces(
    run: Run, backend: Backend, tracing: Tracing, grafana: Grafana | None, when: Range, seconds: float
) -> Traces:
    """Examples of what the canary did in ``when``, by ``seconds`` from now. No answer is why there are none."""
    deadline = time.monotonic() + seconds
    where = tracing.url
    try:
        if not backend.speaks or (backend.services is None and backend.speaks != "tempo"):
            backend.meet(deadline)
        if not known_as(run, backend.services):
            return Traces(why=f"no traces: {where} has none of {' or '.join(services_of(run)[:2])}")
        bad = backend.failing(run, when, deadline)
        long = backend.slow(run, when, deadline)
    except CanarydError as error:
        return Traces(why=f"no traces: {where}: {error}")
    kinds: tuple[tuple[Literal["failing", "slow"], list[Example]], ...] = (("failing", bad), ("slow", long))
    found = tuple(
        shown(one, kind, trace_url(one.request.trace, tracing, grafana, backend.speaks, when))
        for kind, these in kinds
        for one in these
    )
    if found:
        return Traces(found)
    return Traces(
        why=f"no traces: {where} has none in which {run.route.canary} failed or was slow; "
        "one request in a hundred is sampled, unless the mesh says otherwise"
    )


def _to_v1(service: str, tags: Tags, when: Range, few: int, longer: float) -> Params:
    start, end = when.us
    asked = [("service", service), ("start", start), ("end", end), ("limit", str(few))]
    asked += [("tags", json.dumps(dict(tags), separators=(",", ":")))] if tags else []
    return [*asked, *([("minDuration", _micro(longer))] if longer else [])]


def _to_v3(service: str, tags: Tags, when: Range, few: int, longer: float) -> Params:
    """In both spellings: each release reads the one that it knows, and leaves the other."""
    start, end = (_rfc3339(at) for at in (when.start, when.end))
    asked = [("serviceName", "service_name", service), ("startTimeMin", "start_time_min", start)]
    asked += [("startTimeMax", "start_time_max", end), ("searchDepth", "num_traces", str(few))]
    asked += [("durationMin", "duration_min", _micro(longer))] if longer else []
    spelt = [(f"query.{name}", value) for *names, value in asked for name in names]
    return [*spelt, *([("query.attributes", json.dumps(dict(tags), separators=(",", ":")))] if tags else [])]


def _to_tempo(query: str, when: Range, few: int) -> Params:
    return [
        ("q", query),
        ("start", str(int(when.start))),
        ("end", str(int(when.end) + 1)),
        ("limit", str(few)),
        ("spss", "10"),
    ]


def _micro(seconds: float) -> str:
    return f"{round(seconds * 1_000_000)}us"


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

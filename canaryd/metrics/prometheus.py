"""
The Prometheus HTTP API, and the only importer of prometheus_api_client.

The library drops the ``warnings`` of an answer, by which Prometheus, Thanos and Mimir say that it is partial, and sends
the query in the URL even with POST, where proxies cut it off. So only its connection is used; request and reply are
ours. It also has no timeout and retries for six seconds by itself: a cell that got no answer is asked for again later.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from canaryd import telemetry
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.metrics import custom, parse, promql
from canaryd.model.cells import Cell, Gap, Question, Sought, Value, Window
from canaryd.model.problem import Problem

PATH = "--prometheus"
SKEW = 5.0
"""Seconds between our clock and Prometheus's that are still no finding."""
RANGES = 6
"""Ranges of time, one before the other, of which the best says how often there is a scrape."""
REMEDIES = {
    400: "it may be another program's URL, or a proxy's; the URL must be the one under which /api/v1/query answers",
    401: "give the credentials in a header",
    403: "allow this identity to query, or give other credentials",
    404: "the URL must be the one under which /api/v1/query answers; add the path prefix, if there is one",
    405: "a proxy forbids POST: ask Prometheus directly",
    422: "its limits (--query.max-samples) may be too low for this many series",
}
OF_A_CHECK = REMEDIES | {400: "it is the check's own; try it in Prometheus", 422: "it is the check's own"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of an instant query; ``partial`` is what Prometheus warned of, empty when it has answered in full."""

    rows: tuple[parse.Row, ...]
    partial: str = ""


class Prometheus:
    """
    Counts from Prometheus: the port ``Metrics``.

    ``url`` is where ``/api/v1`` begins, ``timeout`` the seconds that a cell may take, all its queries together.
    ``headers`` go with each request (``Authorization``). May be used from any number of threads: each has a connection
    of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        headers: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Rejected(f"{PATH}: a URL such as http://prometheus.istio-system:9090, got {url!r}")
        self._url = url.rstrip("/")
        self._name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # a password is nobody's business
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._clock = clock
        self._local = threading.local()

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        """
        The counts in ``window``, by exact deltas between its ends.

        Gap when the answer is partial, torn or empty, or when the hosts were not scraped at both ends. Raises
        Unavailable when nobody answered within the timeout, Rejected when Prometheus refuses the query.
        """
        if set(sought.stable) & set(sought.canary):
            raise Rejected(f"the metrics cannot tell stable from canary: both are workload {', '.join(sought.canary)}")
        queries = promql.queries(sought, window)
        deadline = time.monotonic() + self._timeout
        asked = (queries.requests, queries.durations, queries.scrapes)
        needed = [self._ask(query, deadline, at=queries.at) for query in asked]
        partial = next((answer.partial for answer in needed if answer.partial), "")
        if partial:
            return parse.gap(window, f"Prometheus gave a partial answer: {partial}")
        pods = self._wanted(queries.pods, deadline, queries.at)
        counts, durations, scrapes = (answer.rows for answer in needed)
        cell = parse.cell(sought, window, parse.Answers(counts, durations, scrapes, pods))
        if isinstance(cell, Gap):
            return cell
        return replace(cell, values=tuple(self._value(one, sought, queries.at, deadline) for one in sought.questions))

    def history(self, sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        """
        What :meth:`count` says of each of ``windows``, which are of one length and follow one another.

        Each query is asked once, over the whole range with the window as its step: to Prometheus that is little more
        than one cell, where cell by cell it would be a hundred queries. May take twice as long as a cell.
        """
        if not windows:
            return ()
        queries = promql.queries(sought, windows[0])
        deadline = time.monotonic() + 2 * self._timeout
        asked = (queries.requests, queries.durations, queries.scrapes)
        needed = [self._ask_over(query, windows, deadline) for query in asked]
        if partial := next((partial for _, partial in needed if partial), ""):
            return tuple(parse.gap(window, f"Prometheus gave a partial answer: {partial}") for window in windows)
        (counts, _), (durations, _), (scrapes, _) = needed
        pods = self._wanted_over(queries.pods, windows, deadline)
        return tuple(
            parse.cell(sought, window, parse.Answers(*answers))
            for window, *answers in zip(windows, counts, durations, scrapes, pods, strict=True)
        )

    def _wanted(self, query: str, deadline: float, at: str) -> tuple[parse.Row, ...]:
        """The rows of a query that a cell can do without; none where they do not come whole and soon."""
        try:
            answer = self._ask(query, min(deadline, time.monotonic() + self._timeout / 3), at)
        except CanarydError:
            return ()
        return () if answer.partial else answer.rows

    def _wanted_over(self, query: str, windows: Sequence[Window], deadline: float) -> tuple[tuple[parse.Row, ...], ...]:
        """The same at the end of each window."""
        nothing: tuple[tuple[parse.Row, ...], ...] = ((),) * len(windows)
        try:
            rows, partial = self._ask_over(query, windows, deadline)
        except CanarydError:
            return nothing
        return nothing if partial else rows

    def _value(self, question: Question, sought: Sought, at: str, deadline: float) -> Value:
        """A check's values; a query that gets no answer costs its check the value, and not the others the cell."""
        canary = self._number(custom.query(question, sought.canary, sought.namespace), at, deadline)
        if not question.compares:
            return custom.value(question, canary, None)
        stable = self._number(custom.query(question, sought.stable, sought.namespace), at, deadline)
        return custom.value(question, canary, stable)

    def _number(self, query: str, at: str, deadline: float) -> float | str:
        try:
            answer = self._ask(query, deadline, at=at, remedies=OF_A_CHECK)
        except CanarydError as error:
            return str(error)
        return f"Prometheus gave a partial answer: {answer.partial}" if answer.partial else custom.number(answer.rows)

    def probe(self, sought: Sought) -> tuple[Problem, ...]:
        """Why this Prometheus cannot be used for ``sought``, one sentence each; empty when it can. Raises nothing."""
        deadline = time.monotonic() + self._timeout
        try:
            return tuple(
                problem
                for problem in (
                    self._skewed(deadline),
                    self._blind(sought, deadline) or self._too_seldom(sought, deadline),
                )
                if problem
            )
        except CanarydError as error:
            return (
                Problem(
                    PATH,
                    str(error),
                    "a Prometheus that answers",
                    f"check with: curl '{self._name}/api/v1/query?query=1'",
                ),
            )

    def _skewed(self, deadline: float) -> Problem | None:
        before = self._clock()
        rows = self._ask("vector(time())", deadline).rows
        after = self._clock()
        if len(rows) != 1:
            raise self._unavailable("the answer to vector(time()) is not one number")
        theirs = rows[0].value
        skew = max(before - theirs, theirs - after, 0.0)
        if skew <= SKEW:
            return None
        return Problem(
            PATH,
            f"{skew:.0f} s apart",
            f"a clock that agrees with ours within {SKEW:g} s",
            "synchronise both machines' clocks (NTP)",
        )

    def _blind(self, sought: Sought, deadline: float) -> Problem | None:
        series = promql.of_hosts(sought)
        known = self._ask(f"sum by (destination_workload) (count_over_time({series}[1h]))", deadline).rows
        if not known:
            return Problem(
                PATH,
                "none",
                f"{series} within the last hour",
                "send requests to it from a client with a sidecar or through a gateway, and see that Prometheus "
                "scrapes the clients' proxies (port 15020, /stats/prometheus)",
            )
        if all(not row.labels.get("destination_workload") for row in known):
            return Problem(
                PATH,
                "none",
                f"the label destination_workload on {series}",
                "a Telemetry object removes it (spec.metrics.overrides.tagOverrides): keep it",
            )
        return None

    def _too_seldom(self, sought: Sought, deadline: float) -> Problem | None:
        seconds = max(60.0, 10 * sought.scrape_seconds)
        series, length = promql.of_hosts(sought), round(seconds * 1000)
        # Only series that are as old as the range: a younger one has fewer samples for its youth.
        query = f"max(count_over_time({series}[{length}ms]) and {series} offset {length}ms)"
        samples = 0.0
        for past in range(RANGES):  # an outage of Prometheus makes fewer samples too, but not in every range
            counted = self._ask(query, deadline, at=f"{self._clock() - past * seconds:.3f}" if past else "").rows
            if not past and not counted:
                return None
            samples = max([samples, *(row.value for row in counted)])
            if seconds / samples <= 1.5 * sought.scrape_seconds:
                return None
        return Problem(
            PATH,
            f"about {seconds / samples:.2g} s",
            f"a scrape of the clients' proxies every {sought.scrape_seconds:g} s, as the plan says",
            "set spec.analysis.scrape to the scrape interval, and spec.analysis.cell to that or more",
        )

    def _ask(self, query: str, deadline: float, at: str = "", remedies: Mapping[int, str] = REMEDIES) -> Answer:
        """The answer to an instant query at ``at``, by default now. Raises Unavailable or Rejected."""
        result, partial = self._asked("query", {"query": query} | ({"time": at} if at else {}), deadline, remedies)
        with self._expecting():
            return Answer(parse.rows(result), partial)

    def _ask_over(
        self, query: str, windows: Sequence[Window], deadline: float
    ) -> tuple[tuple[tuple[parse.Row, ...], ...], str]:
        """The rows of a query at the end of each window, and what is partial. Raises Unavailable or Rejected."""
        ends = [round(window.end * 1000) / 1000 for window in windows]
        step = ends[0] - round(windows[0].start * 1000) / 1000
        form = {"query": query, "start": f"{ends[0]:.3f}", "end": f"{ends[-1]:.3f}", "step": f"{step:.3f}"}
        result, partial = self._asked("query_range", form, deadline)
        with self._expecting():
            return parse.columns(result, ends), partial

    @telemetry.prometheus_query
    def _asked(
        self, path: str, form: Mapping[str, str], deadline: float, remedies: Mapping[int, str] = REMEDIES
    ) -> tuple[object, str]:
        """What is answered under ``/api/v1``, and what of it is partial. Raises Unavailable or Rejected."""
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise self._unavailable(f"no answer within {self._timeout:g} s")
        try:
            status, body = self._connection().post(path, {**form, "timeout": f"{rest:.3f}"}, deadline, rest)
        except requests.Timeout as error:
            raise self._unavailable(f"no answer within {self._timeout:g} s") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._unavailable(_cause(error)) from error
        return self._read(status, body, remedies)

    @contextmanager
    def _expecting(self) -> Iterator[None]:
        """What is read inside has to be Prometheus's. Raises Unavailable where it is not."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable(f"the answer is not Prometheus's: {error}") from error

    def _read(self, status: int, body: bytes, remedies: Mapping[int, str]) -> tuple[object, str]:
        try:
            reply = json.loads(body)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            reply = {}
        said = str(reply.get("error") or body[:200].decode(errors="replace").strip() or "nothing")
        if status >= 500 or status in (408, 429):
            raise self._unavailable(f"HTTP {status}: {said}")
        if 400 <= status < 500:
            remedy = remedies.get(status, remedies[400])
            raise Rejected(f"Prometheus at {self._name} refuses the query with HTTP {status}: {said} ({remedy})")
        if reply.get("status") != "success":
            raise self._unavailable(f"the answer is not Prometheus's: {said}")
        with self._expecting():
            data = reply["data"]
            result = data["result"]
            if data.get("resultType") == "scalar":
                result = [{"metric": {}, "value": result}]
            return result, "; ".join(str(warning) for warning in reply.get("warnings") or ())

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"Prometheus at {self._name} cannot be asked: {why}")

    def _connection(self) -> _Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = _Connection(
                self._url, headers=self._headers, retry=Retry(0), timeout=math.ceil(self._timeout)
            )
        connection: _Connection = self._local.connection
        return connection


class _Connection(PrometheusConnect):  # type: ignore[misc]  # the library is untyped
    """The library's connection, with a reply that is read whole, by a deadline."""

    def post(self, path: str, form: Mapping[str, str], deadline: float, rest: float) -> tuple[int, bytes]:
        """
        POST a query; status and body of the reply.

        ``deadline`` is monotonic. A timeout of the session ends a silence only: a body that drips would last for ever.
        """
        session: Any = self._session
        with session.post(
            f"{self.url}/api/v1/{path}",
            data=form,
            headers=self.headers,
            timeout=rest,
            stream=True,
        ) as response:
            body = bytearray()
            while chunk := response.raw.read1(1 << 16, decode_content=True):
                body += chunk
                if time.monotonic() > deadline:
                    raise requests.Timeout("the answer went on beyond the deadline")
            return response.status_code, bytes(body)


def _cause(error: BaseException) -> str:
    """The innermost reason: the library's own text repeats URL and query at each layer."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None) or seen.__cause__
        if not isinstance(inner, BaseException):
            break
        seen = inner
    # urllib3 puts the connection's own description in front.
    return re.sub(r"^HTTPS?Connection\(.*?\): ", "", str(seen)) or type(seen).__name__

"""
The Prometheus HTTP API, and the only importer of prometheus_api_client.

The library drops the ``warnings`` of an answer, by which Prometheus, Thanos and Mimir say that it is partial, and sends
the query in the URL even with POST, where proxies cut it off. So only its connection is used; request and reply are
ours. It also has no timeout and retries for six seconds by itself: a cell that got no answer is asked for again later.
No redirect is followed: what is shown to one host is not for the next, and a query that became a GET says nothing.
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

import requests
import structlog
import urllib3
from prometheus_api_client import PrometheusConnect
from pydantic import ValidationError
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from canaryd import telemetry
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.metrics import alerts, custom, parse, promql
from canaryd.metrics.credentials import Credentials
from canaryd.model import codes
from canaryd.model.cells import Cell, Gap, Pace, Question, Sought, Value, Window
from canaryd.model.gate import Alert
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.settings import Source, without_password

PATH = "--prometheus"
SKEW = 5.0
"""Seconds between our clock and Prometheus's that are still no finding."""
log = structlog.get_logger()

RECENTLY = (60.0, 300.0, 3600.0)
"""Seconds in which it is looked who counts; the next where there was nothing."""
FEWEST = 4
"""Samples in a stretch of time that tell how far apart they are."""
RANGES = 6
"""Ranges of time, one before the other, of which the best says how often there is a scrape."""
REMEDIES = {
    400: "it may be another program's URL, or a proxy's; the URL must be the one under which /api/v1/query answers",
    403: "it knows who asks, and does not allow it: give this identity the right to query",
    404: "the URL must be the one under which /api/v1/query answers; add the path prefix, if there is one",
    405: "a proxy forbids POST: ask Prometheus directly",
    422: "its limits (--query.max-samples) may be too low for this many series",
}
MOST_SAID = 300
"""Characters of a server's own words that are repeated."""
LATELY = 3600.0
"""Seconds back in which a metric's name counts as known."""
NOTHING = "nothing"
TENANT = "name the tenant in the settings' headers, such as X-Scope-OrgID"
"""What Mimir, Cortex and Loki call an org id (dskit/user, ErrNoOrgID: "no org id", answered with 401)."""
LOGIN = "a login or error page answers; the URL must be the one under which /api/v1/query answers, without a login"
OF_TLS = (
    ("hostname mismatch", "ask it under a name that its certificate has"),
    ("ip address mismatch", "ask it under a name that its certificate has"),
    ("certificate has expired", "its certificate has to be renewed"),
    ("certificate_verify_failed", "set ca, in the settings, to a file with the authority that signed its certificate"),
    ("wrong_version_number", "it answers without TLS: http:// instead of https://"),
    ("record_layer_failure", "it answers without TLS: http:// instead of https://"),
    ("key_values_mismatch", "cert and key, in the settings, do not belong together"),
)
"""OpenSSL's reasons, in lower case, and what to do about each; the first that fits."""
HUNG_UP = ("alert", "eof occurred", "reset by peer", "broken pipe", "closed connection", "without response")
"""How it looks when a server does not take our certificate: with TLS 1.3 the alert may come, or be lost."""
OF_RULES = REMEDIES | {404: "it keeps no rules, or not under this URL", 405: "it keeps no rules"}
OF_A_CHECK = REMEDIES | {400: "it is the check's own; try it in Prometheus", 422: "it is the check's own"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of an instant query; ``partial`` is what Prometheus warned of, empty when it has answered in full."""

    rows: tuple[parse.Row, ...]
    partial: str = ""


class Prometheus:
    """
    Counts from one Prometheus: the port ``Metrics``.

    ``source`` is its URL, or all that the settings say of it, ``name`` its name there, ``timeout`` the seconds that a
    cell may take, all its queries together. May be used from any number of threads: each has a connection of its own.
    Raises Rejected where URL or credentials are none.
    """

    def __init__(
        self,
        source: str | Source,
        *,
        name: str = "",
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = f"prometheuses.{name}" if name else PATH
        self._source = self._whole(source)
        self._url = self._source.url.rstrip("/")
        self._name = without_password(self._url)
        self._credentials = Credentials(self._source, f"prometheuses.{name}" if name else "prometheus")
        self._timeout = timeout
        self._clock = clock
        self._local = threading.local()
        if self._source.insecure_skip_verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # ours says it, once, as an event
            log.warning("prometheus.insecure", url=self._name, setting=f"{self._path}.insecure_skip_verify")

    def _whole(self, source: str | Source) -> Source:
        if isinstance(source, Source):
            return source
        try:
            return Source(url=source)
        except ValidationError as error:
            expected = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise Rejected(f"{self._path}: {expected}, got {without_password(source)!r}") from None

    def choose(self, plan: Plan) -> str:
        """As the port says; here there is one, and it has no name."""
        if plan.spec.analysis.prometheus:
            raise Refused(
                [
                    Problem(
                        "spec.analysis.prometheus",
                        plan.spec.analysis.prometheus,
                        "nothing, because the settings have one Prometheus only",
                        "leave it out, or add it to prometheuses in the settings",
                        codes.PROMETHEUS_BARRED.name,
                    )
                ]
            )
        return ""

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
        asked = (queries.requests, queries.durations, queries.scrapes, *filter(None, (queries.counted,)))
        needed = [self._ask(query, deadline, at=queries.at) for query in asked]
        partial = next((answer.partial for answer in needed if answer.partial), "")
        if partial:
            return parse.gap(window, f"Prometheus gave a partial answer: {partial}")
        pods = self._wanted(queries.pods, deadline, queries.at)
        counts, durations, scrapes, *counted = (answer.rows for answer in needed)
        apart = tuple(self._portion(query, queries.at, deadline) for query in queries.apart)
        answers = parse.Answers(counts, durations, scrapes, pods, counted[0] if counted else (), apart)
        cell = parse.cell(sought, window, answers)
        if isinstance(cell, Gap):
            return cell
        asked_now = (one for one in sought.questions if one.asked_at(window.split))
        return replace(cell, values=tuple(self._value(one, queries.at, deadline) for one in asked_now))

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
        asked = (queries.requests, queries.durations, queries.scrapes, *filter(None, (queries.counted,)))
        needed = [self._ask_over(query, windows, deadline) for query in asked]
        if partial := next((partial for _, partial in needed if partial), ""):
            return tuple(parse.gap(window, f"Prometheus gave a partial answer: {partial}") for window in windows)
        nothing: tuple[tuple[parse.Row, ...], ...] = ((),) * len(windows)
        counts, durations, scrapes, *counted = (rows for rows, _ in needed)
        pods = self._wanted_over(queries.pods, windows, deadline)
        apart = [self._wanted_over(query, windows, deadline) if query else nothing for query in queries.apart]
        of_plan = counted[0] if counted else nothing
        each = zip(counts, durations, scrapes, pods, of_plan, strict=True)
        its = zip(*apart, strict=True) if apart else nothing
        return tuple(
            parse.cell(sought, window, parse.Answers(*rows, tuple(own)))
            for window, rows, own in zip(windows, each, its, strict=True)
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

    def _value(self, question: Question, at: str, deadline: float) -> Value:
        """A check's values; a query that gets no answer costs its check the value, and not the others the cell."""
        if question.why:
            return custom.unasked(question)
        canary = self._number(question.canary, at, deadline)
        return custom.value(
            question, canary, None if question.stable is None else self._number(question.stable, at, deadline)
        )

    def _portion(self, query: str, at: str, deadline: float) -> tuple[parse.Row, ...] | str:
        """The rows that a check counts for itself, or why there are none; nothing where it has no query."""
        try:
            answer = self._ask(query, deadline, at=at) if query else Answer(())
        except CanarydError as error:
            return str(error)
        return f"Prometheus gave a partial answer: {answer.partial}" if answer.partial else answer.rows

    def _number(self, query: str, at: str, deadline: float) -> float | str:
        try:
            answer = self._ask(query, deadline, at=at, remedies=OF_A_CHECK)
        except CanarydError as error:
            return str(error)
        return f"Prometheus gave a partial answer: {answer.partial}" if answer.partial else custom.number(answer.rows)

    def pace(self, sought: Sought) -> Pace:
        """
        How soon a weight can be seen; istiod's part is not known where this Prometheus does not scrape it.

        Of n samples in a stretch two are at most the (n-1)th part of it apart.
        """
        deadline = time.monotonic() + self._timeout
        answer = self._ask(promql.convergence(), deadline)
        known = [row.value for row in answer.rows if math.isfinite(row.value) and row.value >= 0]
        seconds = _stretch(sought)
        samples = self._samples(sought, seconds, deadline)
        return Pace(
            convergence=known[0] if known and not answer.partial else None,
            scrape=seconds / (samples - 1) if samples >= FEWEST else None,
        )

    def reporters(self, sought: Sought) -> Mapping[str, float]:
        """Requests a second to the hosts by who counts them, in the last minutes. Raises Unavailable or Rejected."""
        deadline = time.monotonic() + self._timeout
        for seconds in RECENTLY:
            answer = self._ask(promql.reporters(sought, round(seconds * 1000)), deadline)
            if found := {
                row.labels.get("reporter", ""): row.value / seconds
                for row in answer.rows
                if math.isfinite(row.value) and row.value > 0 and not answer.partial
            }:
                return found
        return {}

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
                    self._path,
                    str(error),
                    "a Prometheus that answers",
                    f"check with: curl {self._credentials.curl}'{self._name}/api/v1/query?query=1'",
                    codes.PROMETHEUS_AWAY.name,
                    transient=isinstance(error, Unavailable),
                ),
            )

    def ask(self, sought: Sought, query: str, deadline: float) -> Answer:  # noqa: ARG002  # here there is one source
        """The answer to an instant query now, by ``deadline`` (monotonic). Raises Unavailable or Rejected."""
        return self._ask(query, deadline)

    def names(self, sought: Sought, deadline: float) -> tuple[str, ...]:  # noqa: ARG002  # here there is one source
        """The names of the metrics of the last hour, by ``deadline`` (monotonic). Raises Unavailable or Rejected."""
        since = {"start": f"{self._clock() - LATELY:.3f}"}
        found, _ = self._asked("label/__name__/values", since, deadline, method="GET")
        return tuple(str(name) for name in found) if isinstance(found, list) else ()

    def firing(self, plan: Plan, alert: Alert) -> tuple[str, ...]:  # noqa: ARG002  # here there is one source
        """Those of ``alert`` that fire now. Raises Unavailable where the answer is partial or none, or Rejected."""
        answer = self._ask(alerts.query(alert), time.monotonic() + self._timeout)
        if answer.partial:
            raise self._unavailable(f"the answer is partial: {answer.partial}")
        return alerts.shown(answer.rows)

    def rules(self, plan: Plan) -> frozenset[str]:  # noqa: ARG002  # here there is one source
        """The names of all alerts for which there is a rule. Raises Unavailable or Rejected."""
        deadline = time.monotonic() + self._timeout
        groups, _ = self._asked("rules", {"type": "alert"}, deadline, OF_RULES, method="GET")
        with self._expecting():
            return alerts.named_by(groups)

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
            self._path,
            f"{skew:.0f} s apart",
            f"a clock that agrees with ours within {SKEW:g} s",
            "synchronise both machines' clocks (NTP)",
            codes.CLOCK_SKEW.name,
        )

    def _blind(self, sought: Sought, deadline: float) -> Problem | None:
        series = promql.of_hosts(sought)
        known = self._ask(f"sum by (destination_workload) (count_over_time({series}[1h]))", deadline).rows
        if not known:
            return Problem(
                self._path,
                "none",
                f"{series} within the last hour",
                "send requests to it from a client with a sidecar or through a gateway, and see that Prometheus "
                "scrapes the clients' proxies (port 15020, /stats/prometheus)",
                codes.NO_SERIES.name,
                transient=True,
            )
        if all(not row.labels.get("destination_workload") for row in known):
            return Problem(
                self._path,
                "none",
                f"the label destination_workload on {series}",
                "a Telemetry object removes it (spec.metrics.overrides.tagOverrides): keep it",
                codes.LABEL_MISSING.name,
            )
        return None

    def _too_seldom(self, sought: Sought, deadline: float) -> Problem | None:
        seconds, samples = _stretch(sought), 0.0
        for past in range(RANGES):  # an outage of Prometheus makes fewer samples too, but not in every range
            counted = self._samples(sought, seconds, deadline, past)
            if not past and not counted:
                return None
            samples = max(samples, counted)
            if seconds / samples <= 1.5 * sought.scrape_seconds:
                return None
        return Problem(
            self._path,
            f"about {seconds / samples:.2g} s",
            f"a scrape of the clients' proxies every {sought.scrape_seconds:g} s, as the plan says",
            "set spec.analysis.scrape to the scrape interval, and spec.analysis.cell to that or more",
            codes.SCRAPED_TOO_SELDOM.name,
        )

    def _samples(self, sought: Sought, seconds: float, deadline: float, past: int = 0) -> float:
        """How many samples the callers' series have in ``seconds``, so many stretches back; 0 where there are none."""
        series, length = promql.of_hosts(sought), round(seconds * 1000)
        # Only series that are as old as the range: a younger one has fewer samples for its youth.
        query = f"max(count_over_time({series}[{length}ms]) and {series} offset {length}ms)"
        rows = self._ask(query, deadline, at=f"{self._clock() - past * seconds:.3f}" if past else "").rows
        return max((row.value for row in rows), default=0.0)

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
        self,
        path: str,
        form: Mapping[str, str],
        deadline: float,
        remedies: Mapping[int, str] = REMEDIES,
        method: str = "POST",
    ) -> tuple[object, str]:
        """What is answered under ``/api/v1``, and what of it is partial. Raises Unavailable or Rejected."""
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise self._unavailable(f"no answer within {self._timeout:g} s")
        sent = {**form, "timeout": f"{rest:.3f}"}
        try:
            shown = self._credentials.headers()
            answer = self._connection().send(method, path, sent, shown, deadline)
            if answer.status == 401 and (anew := self._credentials.headers()) != shown:  # replaced while we asked
                answer = self._connection().send(method, path, sent, anew, deadline)
        except requests.Timeout as error:
            raise self._unavailable(f"no answer within {self._timeout:g} s") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._unavailable(self._with_remedy(_cause(error))) from error
        return self._read(answer, remedies)

    @contextmanager
    def _expecting(self) -> Iterator[None]:
        """What is read inside has to be Prometheus's. Raises Unavailable where it is not."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable(f"the answer is not Prometheus's: {error}") from error

    def _read(self, answer: _Reply, remedies: Mapping[int, str]) -> tuple[object, str]:
        status = answer.status
        try:
            reply = json.loads(answer.body)
        except ValueError:
            reply = None
        page = "" if isinstance(reply, dict) else _page(answer.body)
        if not isinstance(reply, dict):
            reply = {}
        told = str(reply.get("error") or page or answer.body.decode(errors="replace").strip() or NOTHING)
        said = self._credentials.struck(told)[:MOST_SAID]  # the other way round half of a secret would remain
        if status >= 500 or status in (408, 429):
            raise self._unavailable(f"HTTP {status}: {said}")
        if 300 <= status < 400:
            there = self._credentials.struck(without_password(answer.location)) or "nowhere"
            raise Rejected(
                f"Prometheus at {self._name} sends us on with HTTP {status} to {there} ({self._onward(there)})"
            )
        if 400 <= status < 500:
            remedy = self._remedy(status, told, remedies)
            raise Rejected(f"Prometheus at {self._name} refuses the query with HTTP {status}: {said} ({remedy})")
        if reply.get("status") != "success":
            raise self._unavailable(f"the answer is not Prometheus's: {said}" + (f" ({LOGIN})" if page else ""))
        with self._expecting():
            data = reply["data"]
            result = data if isinstance(data, list) else data["groups"] if "groups" in data else data["result"]
            if isinstance(data, dict) and data.get("resultType") == "scalar":
                result = [{"metric": {}, "value": result}]
            warnings = [self._credentials.struck(str(warning)) for warning in reply.get("warnings") or ()]
            if reply.get("isPartial"):  # VictoriaMetrics' word for it: a vmstorage is away
                warnings.append("isPartial is true")
            return result, "; ".join(warnings)

    def _remedy(self, status: int, said: str, remedies: Mapping[int, str]) -> str:
        if "no org id" in said.lower():
            return TENANT
        if "HTTP request to an HTTPS server" in said:  # Go's net/http says so, with status 400
            return "https:// instead of http://"
        if status == 401:
            return self._credentials.remedy
        if status == 400 and said == NOTHING and self._url.startswith("http:"):
            return "https:// instead of http://, if it speaks TLS"
        return remedies.get(status, remedies[400])

    def _with_remedy(self, cause: str) -> str:
        """Why there was no answer, and what to do about it where that is known."""
        remedy = next((remedy for reason, remedy in OF_TLS if reason in cause.lower()), "")
        if not remedy and self._url.startswith("https:") and any(sign in cause.lower() for sign in HUNG_UP):
            does = "may not accept our certificate: see" if self._source.cert else "may want to see a certificate: set"
            remedy = f"it {does} cert and key in the settings"
        return f"{cause} ({remedy})" if remedy else cause

    def _onward(self, there: str) -> str:
        if there == f"https{self._name.removeprefix('http')}" or there.startswith(
            f"https{self._name.removeprefix('http')}/"
        ):
            return "https:// instead of http://"
        return f"no redirect is followed, because credentials are for one host only: {LOGIN}"

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"Prometheus at {self._name} cannot be asked: {why}")

    def _connection(self) -> _Connection:
        # Files with certificates are read for each TLS connection, and one that fails is followed by a new one.
        if not hasattr(self._local, "connection"):
            self._local.connection = _Connection(self._source, math.ceil(self._timeout))
        connection: _Connection = self._local.connection
        return connection


def _stretch(sought: Sought) -> float:
    """Seconds in which scrapes are counted."""
    return max(60.0, 10 * sought.scrape_seconds)


@dataclass(frozen=True, slots=True)
class _Reply:
    """Status and body of an answer; ``location`` is where it sends us, empty if it does not."""

    status: int
    body: bytes
    location: str


class _Connection(PrometheusConnect):  # type: ignore[misc]  # the library is untyped
    """The library's connection, with a reply that is read whole, by a deadline."""

    def __init__(self, source: Source, timeout: int) -> None:
        super().__init__(source.url.rstrip("/"), retry=Retry(0), timeout=timeout)
        # Given with each request: the session's own are overridden by REQUESTS_CA_BUNDLE.
        self._verify = False if source.insecure_skip_verify else str(source.ca) if source.ca else True
        self._cert = (str(source.cert), str(source.key)) if source.key else str(source.cert) if source.cert else None
        self._params = dict(source.params)

    def send(
        self, method: str, path: str, form: Mapping[str, str], headers: Mapping[str, str], deadline: float
    ) -> _Reply:
        """
        A query by POST, in the body, where no proxy cuts it off; by GET what Prometheus answers in no other way.

        ``deadline`` is monotonic. A timeout of the session ends a silence only: a body that drips would last for ever.
        """
        session: Any = self._session
        posted = method == "POST"
        with session.request(
            method,
            f"{self.url}/api/v1/{path}",
            data=form if posted else None,
            params=self._params if posted else {**self._params, **form},
            headers=headers,
            auth=_as_it_is,
            verify=self._verify,
            cert=self._cert,
            allow_redirects=False,
            timeout=max(deadline - time.monotonic(), 0.001),
            stream=True,
        ) as response:
            body = bytearray()
            try:
                while chunk := response.raw.read1(1 << 16, decode_content=True):
                    body += chunk
                    if time.monotonic() > deadline:
                        raise requests.Timeout("the answer went on beyond the deadline")
            except (HTTPError, OSError):
                if response.status_code < 400:  # a refusal is one also when its words are lost
                    raise
            return _Reply(response.status_code, bytes(body), response.headers.get("Location", ""))


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """In place of credentials that requests finds by itself, in ~/.netrc or the URL: ours are among the headers."""
    return request


def _page(body: bytes) -> str:
    """What an HTML page calls itself; empty where the body is none."""
    start = body[:4096].decode(errors="replace")
    if not re.match(r"\s*<(!doctype html|html|head|body)", start, re.IGNORECASE):
        return ""
    title = re.search(r"<title[^>]*>\s*(.*?)\s*</title", start, re.IGNORECASE | re.DOTALL)
    return f'an HTML page, "{title[1][:80]}"' if title and title[1] else "an HTML page"


def _cause(error: BaseException) -> str:
    """The innermost reason: the library's own text repeats URL and query at each layer."""
    seen: BaseException = error
    while True:
        inner = [getattr(seen, "reason", None), *seen.args, seen.__cause__]
        below = next((one for one in inner if isinstance(one, BaseException)), None)
        if below is None:
            break
        seen = below
    # urllib3 puts the connection's own description in front.
    return re.sub(r"^HTTPS?Connection\(.*?\): ", "", str(seen)) or type(seen).__name__

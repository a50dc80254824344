"""
canaryd's own metrics and the HTTP server that shows them: the only importer of prometheus_client.

A call in here costs microseconds, asks nobody, and raises nothing into a tick: an alert that is missing is bad, a
rollback that failed over a metric is worse. What is told of a run is made at the scrape, from the little that its last
tick left here; so ages go on growing while nothing ticks, and a series goes when its run does. Labels are bounded: a
plan and its namespace, never a run's uid and never a reason's text.

Prometheus adds a ``namespace`` of its own to what it scrapes. Ours is the plan's: scrape with ``honor_labels: true``.
"""

from __future__ import annotations

import functools
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, ParamSpec, TypeVar

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from canaryd import __version__
from canaryd.errors import Rejected, Unavailable
from canaryd.model.decision import Event, Told
from canaryd.model.run import HoldKind, Outcome, Phase, Run
from canaryd.model.traffic import NOTHING

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()

RETAINED = 600.0
"""Seconds for which a run that has ended is still shown: every scrape interval in use sees its end."""
PLACE = ["namespace", "plan"]
HOLDS: Final[tuple[HoldKind, ...]] = (
    "no-data",
    "inconclusive",
    "drift",
    "gate",
    "stable-changed",
    "no-way-back",
    "not-returned",
    "barred",
    "person",
)
SOON = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROLLBACKS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nothing of ours reads
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class Exported:
    """A metric as Prometheus sees it."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


_exported: list[Exported] = []


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    _exported.append(Exported(name, "counter", labels, meaning))
    return Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    _exported.append(Exported(name, "gauge", labels, meaning))
    return Gauge(name, meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float] = SOON) -> Histogram:
    _exported.append(Exported(name, "histogram", labels, meaning))
    return Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)


_ended = _counter("canaryd_runs_ended_total", "Runs that ended.", "outcome")
_verdicts = _counter(
    "canaryd_verdicts_total",
    "Verdicts: a step or a promotion passed, or the run was latched to go back, and what kind of thing did it.",
    "verdict",
    "reason",
)
_rollbacks = _histogram(
    "canaryd_rollback_seconds",
    "From the verdict or the abort until the API server accepted the rollback.",
    buckets=ROLLBACKS,
)
_lateness = _histogram("canaryd_tick_lateness_seconds", "By how much a tick began later than due.")
_durations = _histogram("canaryd_tick_duration_seconds", "How long a tick took.")
_failures = _counter("canaryd_ticks_failed_total", "Ticks that ended in a fault; each is tried again when next due.")
_messages = _counter(
    "canaryd_messages_total",
    "Messages to channels; outcome is taken, failed (it is tried again) or given_up.",
    "channel",
    "outcome",
)
_kube = _counter(
    "canaryd_kube_requests_total",
    "Requests to the Kubernetes API; code is the HTTP status, or timeout or unreachable.",
    "verb",
    "kind",
    "code",
)
_kube_seconds = _histogram(
    "canaryd_kube_request_seconds", "How long the Kubernetes API took to answer; of a watch, to begin.", "verb"
)
_queries = _counter(
    "canaryd_prometheus_queries_total",
    "Queries to Prometheus; outcome is answered, unavailable, rejected or failed.",
    "outcome",
)
_query_seconds = _histogram("canaryd_prometheus_query_seconds", "How long Prometheus took to answer.")
_saves = _counter("canaryd_store_saves_total", "Saves of a run; outcome is saved, conflict or failed.", "outcome")
_leader = _gauge("canaryd_leader", "1 while this process carries runs out, 0 while it stands by.")
_transitions = _gauge("canaryd_lease_transitions", "How often the Lease changed hands, as the Lease says.")
_renewed = _gauge("canaryd_lease_renewed_timestamp_seconds", "When this process last took or renewed the Lease.")
_contact = _gauge(
    "canaryd_watch_last_contact_timestamp_seconds",
    "When a watch last heard of the API server; scope is the namespace that is watched, * for all.",
    "kind",
    "scope",
)
_plans = _gauge("canaryd_plans", "CanaryPlans by state: accepted, refused (cannot run) or invalid (no plan).", "state")
_broken = _gauge("canaryd_plan_files_broken", "Files in the folder of plans that are no plans.")
_build = _gauge("canaryd_build_info", "Always 1; the label has the version that runs.", "version")
_build.labels(__version__).set(1)

# A counter that is born with its first failure has no rate of it: what is known to come is there from the start.
for _known in ("answered", "unavailable", "rejected", "failed"):
    _queries.labels(_known)
for _known in ("saved", "conflict", "failed"):
    _saves.labels(_known)
for _known in Outcome:
    _ended.labels(_known.value)

_RUN: Final = {
    "canaryd_run_phase": (("phase",), "1 for the phase that the run is in, 0 for the others."),
    "canaryd_run_step": ((), "The step of the plan, counted from 1."),
    "canaryd_run_steps": ((), "How many steps the plan has."),
    "canaryd_run_weight_ratio": (
        (),
        "The share of traffic that canaryd gives the canary, 0 to 1; 0 where it only observes.",
    ),
    "canaryd_run_active": ((), "1 until the run has ended and its marker is out of the mesh, then 0."),
    "canaryd_run_held": (("kind",), "1 for the kind of hold that lies over the run, 0 for the others."),
    "canaryd_run_harm_ratio": ((), "Evidence of harm, all checks together, over its bound: at 1 the run goes back."),
    "canaryd_run_evidence_ratio": (
        ("check", "of"),
        "Evidence of one check over its bound; of is harm (at 1 the run goes back) or proof (at 1 it may be promoted).",
    ),
    "canaryd_run_since_change_seconds": ((), "Since phase, step, weight or hold last changed."),
    "canaryd_run_rollback_pending_seconds": (
        (),
        "Since the verdict or abort whose rollback has not been accepted yet; 0 where none is pending.",
    ),
    "canaryd_run_last_tick_timestamp_seconds": ((), "When the run was last ticked."),
}
_exported += [Exported(name, "gauge", (*PLACE, *labels), meaning) for name, (labels, meaning) in _RUN.items()]


def _harmless(call: Callable[P, None]) -> Callable[P, None]:
    """``call``, without anything that it raises."""

    @functools.wraps(call)
    def safe(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            call(*args, **kwargs)
        except Exception:
            log.exception("telemetry.failed", what=call.__name__)

    return safe


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the last tick of a plan's run left to be shown. Times are Unix seconds, evidence is per check."""

    uid: str
    phase: Phase
    step: int
    steps: int
    weight: float
    hold: HoldKind | None
    evidence: tuple[tuple[str, float, float | None], ...]
    harm: float
    pending_since: float | None
    changed: float
    ticked: float
    active: bool
    seen: float

    @property
    def state(self) -> tuple[object, ...]:
        return self.uid, self.phase, self.step, self.weight, self.hold

    def series(self, now: float) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Name, labels beside namespace and plan, and value of each series at ``now``."""
        for phase in Phase:
            yield "phase", (phase.value.replace(" ", "-"),), float(self.phase is phase)
        for kind in HOLDS:
            yield "held", (kind,), float(self.hold == kind)
        for check, harm, proof in self.evidence:
            yield "evidence_ratio", (check, "harm"), harm
            if proof is not None:
                yield "evidence_ratio", (check, "proof"), proof
        yield "step", (), float(self.step)
        yield "steps", (), float(self.steps)
        yield "weight_ratio", (), self.weight
        yield "active", (), float(self.active)
        yield "harm_ratio", (), self.harm
        yield "since_change_seconds", (), max(0.0, now - self.changed)
        pending = self.pending_since
        yield "rollback_pending_seconds", (), 0.0 if pending is None else max(0.001, now - pending)
        yield "last_tick_timestamp_seconds", (), self.ticked


class Runs(Collector):
    """The runs as they stand; ``clock`` gives Unix seconds. One series of each metric per plan, not per run."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, str], _Shown] = {}
        self._accepted: dict[tuple[str, str], tuple[str, int]] = {}
        self._showing = True

    def observed(self, run: Run, now: float) -> None:
        """Show ``run`` as it is after a tick at ``now``."""
        place = (run.plan.namespace, run.plan.name)
        with self._lock:
            if not self._showing:
                return
            former = self._shown.get(place)
            shown = self._of(run, now, pending=self._pending(run, place))
            if former and former.state == shown.state:
                shown = replace(shown, changed=former.changed)
            self._shown[place] = shown

    def accepted(self, run: Run) -> bool:
        """Note that the API server accepted the rollback of ``run``; whether it is the run's first."""
        place = (run.plan.namespace, run.plan.name)
        with self._lock:
            first = self._accepted.get(place, ("", 0))[0] != run.uid
            self._accepted[place] = (run.uid, run.seq)
        return first

    def gone(self, namespace: str, plan: str) -> None:
        """The plan and its run are no more: nothing is left to watch. Told for a while, then no longer."""
        with self._lock:
            if shown := self._shown.get((namespace, plan)):
                self._shown[namespace, plan] = replace(shown, active=False, pending_since=None, seen=self._clock())

    def show(self, showing: bool) -> None:
        """
        Show from now on what is observed, or nothing: another process carries the runs out.

        A former leader may still roll back what is latched; of that the next leader tells, for it is the one who stays.
        """
        with self._lock:
            self._showing = showing
            self._shown.clear()
            self._accepted.clear()

    def describe(self) -> Iterable[Metric]:
        return self._families([], 0.0)

    def collect(self) -> Iterable[Metric]:
        now = self._clock()
        with self._lock:
            for place in [place for place, one in self._shown.items() if not one.active and now > one.seen + RETAINED]:
                del self._shown[place]
                self._accepted.pop(place, None)
            shown = list(self._shown.items())
        return self._families(shown, now)

    def _pending(self, run: Run, place: tuple[str, str]) -> bool:
        """Latched, and neither accepted by the API server nor seen in the mesh."""
        if run.latch is None or run.final:
            return False
        arrived = run.split == NOTHING and run.arrived_at is not None
        return not arrived and self._accepted.get(place) != (run.uid, run.seq)

    def _of(self, run: Run, now: float, *, pending: bool) -> _Shown:
        evidence, latch, hold = run.evidence, run.latch, run.hold
        known = (run.plan.namespace, run.plan.name) in self._shown
        times = (run.created, run.at, run.arrived_at, hold and hold.since, latch and latch.at, run.ended)
        return _Shown(
            uid=run.uid,
            phase=run.phase,
            step=run.step + 1,
            steps=len(run.plan.spec.steps),
            weight=0.0 if run.plan.spec.mode == "observe" else run.split.share,
            hold=hold.kind if hold else None,
            evidence=tuple(
                (one.check, one.harm / one.harm_bound, one.proof / one.proof_bound if one.proof_bound else None)
                for one in (evidence.readings if evidence else ())
                if one.harm_bound
            ),
            harm=evidence.harm / evidence.harm_bound if evidence else 0.0,
            pending_since=latch.at if latch and pending else None,
            changed=now if known else max((one for one in times if one), default=now),
            ticked=now,
            active=not (run.final and run.released),
            seen=self._clock(),
        )

    @staticmethod
    def _families(shown: Sequence[tuple[tuple[str, str], _Shown]], now: float) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(name, meaning, labels=[*PLACE, *labels]) for name, (labels, meaning) in _RUN.items()
        }
        for place, one in shown:
            for name, labels, value in one.series(now):
                families[f"canaryd_run_{name}"].add_metric([*place, *labels], value)
        return families.values()


RUNS = Runs()
REGISTRY.register(RUNS)


# -- what the engine tells


@_harmless
def observed(run: Run, events: Sequence[Event], now: float) -> None:
    """
    A tick at ``now`` (Unix seconds) left ``run`` as it is, and told ``events``.

    A new leader says so, without events, of each plan's last run, ended ones too: its predecessor may have died before
    a scrape saw the end.
    """
    RUNS.observed(run, now)
    for event in events:
        if event.told is Told.PASSED:
            _verdicts.labels("pass", "step").inc()
        elif event.told is Told.PROMOTING:
            _verdicts.labels("pass", "unproven" if run.unproven else "proven").inc()
        elif event.told is Told.ROLLING_BACK:
            _verdicts.labels(run.latch.kind if run.latch else "fail", _reason(run)).inc()
        elif event.told in (Told.PROMOTED, Told.ROLLED_BACK):
            _ended.labels((run.outcome or Outcome.FAILED).value).inc()


@_harmless
def retreated(run: Run, now: float) -> None:
    """The API server accepted a write toward stable at ``now``; of interest where that is a rollback."""
    if run.latch and RUNS.accepted(run):
        _rollbacks.observe(max(0.0, now - run.latch.at))


@_harmless
def plan_gone(namespace: str, plan: str) -> None:
    """The plan and its run are gone, and nothing of theirs is left in the mesh."""
    RUNS.gone(namespace, plan)


@_harmless
def message(channel: str, outcome: str) -> None:
    """An attempt to send a message has ended: ``taken``, ``failed`` or ``given_up``; channels are of the settings."""
    _messages.labels(channel, outcome).inc()


@_harmless
def saved(outcome: str) -> None:
    """What came of a save: ``saved``, ``conflict`` or ``failed``."""
    _saves.labels(outcome).inc()


@contextmanager
def tick(late: float) -> Iterator[None]:
    """A tick that began ``late`` seconds after it was due; what it raises is counted and raised on."""
    _lateness.observe(max(0.0, late))
    with _durations.time(), _failures.count_exceptions():
        yield


# -- what the adapters tell


@dataclass(slots=True)
class Asked:
    """A request under way; ``code`` is the HTTP status once there is one."""

    code: int = 0


@contextmanager
def kube_request(method: str, path: str) -> Iterator[Asked]:
    """Count a request to the Kubernetes API by what it is and what came of it."""
    asked, began, failed = Asked(), time.monotonic(), "unreachable"
    verb, kind = _verb_and_kind(method, path)
    try:
        yield asked
    except BaseException as error:
        failed = "timeout" if _timed_out(error) else failed
        raise
    finally:
        _kube.labels(verb, kind, str(asked.code or failed)).inc()
        _kube_seconds.labels(verb).observe(time.monotonic() - began)


def prometheus_query(ask: Callable[P, T]) -> Callable[P, T]:
    """Count the calls of ``ask``, which asks Prometheus, by what came of them: answered, unavailable or rejected."""

    @functools.wraps(ask)
    def counted(*args: P.args, **kwargs: P.kwargs) -> T:
        outcome = "failed"
        try:
            with _query_seconds.time():
                answer = ask(*args, **kwargs)
            outcome = "answered"
        except Unavailable:
            outcome = "unavailable"
            raise
        except Rejected:
            outcome = "rejected"
            raise
        else:
            return answer
        finally:
            _queries.labels(outcome).inc()

    return counted


@_harmless
def heard(kind: str, namespace: str = "") -> None:
    """A watch on ``kind`` (its plural) in ``namespace`` (empty for all) heard of the API server just now."""
    _contact.labels(kind, namespace or "*").set_to_current_time()


@_harmless
def silent(kind: str, namespace: str = "") -> None:
    """Nobody watches ``kind`` in ``namespace`` any more."""
    with suppress(KeyError):  # it may never have heard of anything
        _contact.remove(kind, namespace or "*")


# -- what the controller tells


@_harmless
def leading(is_leader: bool) -> None:
    """Whether this process carries runs out from now on; where it does not, it shows none."""
    _leader.set(float(is_leader))
    RUNS.show(is_leader)


@_harmless
def lease(transitions: int) -> None:
    """This process took or renewed the Lease just now (not: read it); ``transitions`` is its leaseTransitions."""
    _transitions.set(transitions)
    _renewed.set_to_current_time()


@_harmless
def plans(*, accepted: int, refused: int, invalid: int) -> None:
    """How many CanaryPlans there are in each state."""
    for state, count in (("accepted", accepted), ("refused", refused), ("invalid", invalid)):
        _plans.labels(state).set(count)


@_harmless
def plan_files_broken(count: int) -> None:
    """How many files in the folder of plans cannot be read as plans."""
    _broken.set(count)


def exported() -> tuple[Exported, ...]:
    """Every metric of canaryd's own, in the order of their names. The process's and Python's come beside them."""
    return tuple(sorted(_exported, key=lambda one: one.name))


def exposition(accept: str = "") -> tuple[bytes, str]:
    """All metrics as text, and its content type: what ``accept`` (a header) asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type


def _reason(run: Run) -> str:
    """What kind of thing latched ``run``, out of a bounded set: never the reason's text."""
    latch, evidence = run.latch, run.evidence
    if latch is None or latch.kind != "fail":
        return "person" if latch and latch.kind in ("abort", "undo") else "limit-of-hold"
    if evidence is None or not evidence.failure:
        return "canary-not-ready"
    if evidence.harm < evidence.harm_bound:
        return "hard-limit"
    metrics = {check.name: check.metric for check in run.plan.spec.analysis.checks}
    bounded = [one for one in evidence.readings if one.harm_bound]
    heaviest = max(bounded, key=lambda one: one.harm / one.harm_bound, default=None)
    return str(metrics.get(heaviest.check, "unattributed")) if heaviest else "unattributed"


def _verb_and_kind(method: str, path: str) -> tuple[str, str]:
    """The API's verb and the plural of the kind; a subresource is told from its object by a slash."""
    rest = path.strip("/").split("/")
    rest = rest[2:] if rest[0] == "api" else rest[3:]
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    kind = rest[0] if rest else ""
    named, part = len(rest) > 1, f"/{rest[2]}" if len(rest) > 2 else ""
    verbs = {"GET": "get" if named else "list", "POST": "create", "PUT": "update"}
    return verbs.get(method, method.lower()), kind + part


def _timed_out(error: BaseException) -> bool:
    """Whether a deadline passed, at whatever depth: the library wraps the socket's own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError) or "Timeout" in type(seen).__name__:
            return True
        inner = getattr(seen, "reason", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__ or seen.__context__
    return False


# -- the HTTP server

AT_ONCE = 64
"""Connections that are served at once; one more ends the oldest."""
PATIENCE = 10.0
"""Seconds that a connection may take, from accepting it to the last byte of the answer."""


class Server:
    """/metrics, /healthz and /readyz over HTTP, in threads of their own; made by :func:`serve`."""

    def __init__(self, listening: _Listening) -> None:
        self._listening = listening
        self._thread = threading.Thread(
            target=listening.serve_forever, kwargs={"poll_interval": 0.2}, name="http", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listening.server_address[1])

    def close(self) -> None:
        """Stop at once: connections that are open are cut."""
        self._listening.shutdown()
        self._listening.server_close()
        self._listening.cut(older_than=0)
        self._thread.join()


def serve(port: int, *, healthy: Callable[[], str], ready: Callable[[], str], host: str = "") -> Server:
    """
    Serve /metrics, /healthz and /readyz on ``port`` (0 for any that is free) of ``host``, by default all addresses.

    ``healthy`` and ``ready`` say in a sentence why not (503), or nothing (200). They are asked in the threads of the
    server and must not wait for anybody. Raises Rejected when the port cannot be had.
    """
    try:
        return Server(_Listening(host, port, healthy, ready))
    except OSError as error:
        raise Rejected(f"http port {port} cannot be listened on: {error.strerror or error}; give another") from error


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, healthy: Callable[[], str], ready: Callable[[], str]) -> None:
        self.healthy, self.ready = healthy, ready
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        both = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler, bind_and_activate=False)
        try:
            if both:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.server_bind()
            self.server_activate()
        except BaseException:
            self.server_close()
            raise

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for our name, which may take minutes.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "canaryd", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = time.monotonic()
            crowded = len(self._open) > AT_ONCE and next(iter(self._open))
        if crowded:
            _cut(crowded)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called at each poll. A socket's timeout ends a silence only: who drips would be served for ever."""
        self.cut(older_than=PATIENCE)

    def cut(self, *, older_than: float) -> None:
        with self._lock:
            late = [each for each, since in self._open.items() if time.monotonic() - since >= older_than]
        for each in late:
            _cut(each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is none of our business."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE / 2
    server: _Listening

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in ("/healthz", "/readyz"):
            self._probe(self.server.healthy if path == "/healthz" else self.server.ready)
        else:
            self._answer(404, b"there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET  # noqa: N815  # the library looks for that name

    def _metrics(self) -> None:
        body, content_type = exposition(self.headers.get("Accept", ""))
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self._answer(200, gzip.compress(body, 1), content_type, encoding="gzip")
        else:
            self._answer(200, body, content_type)

    def _probe(self, why_not: Callable[[], str]) -> None:
        try:
            said = why_not()
        except Exception as error:  # a probe that cannot be answered is not passed
            log.exception("telemetry.failed", what="probe")
            said = f"a fault of canaryd's: {error!r}"
        self._answer(503 if said else 200, f"{said or 'ok'}\n".encode())

    def _answer(
        self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8", *, encoding: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "canaryd"

    def log_message(self, *_: object) -> None:
        """A probe every second is no news."""

"""
What the neighbours show of a run, for a report, a page or a message: links, and example traces.

The neighbours are asked at once and for a few seconds at most, by whoever shows the run and never by a tick. Who is
away costs the links that need its word, and the traces, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import structlog

from canaryd.errors import CanarydError
from canaryd.model.links import Link, Traces
from canaryd.model.run import Run
from canaryd.neighbours.asking import ask, bearing
from canaryd.neighbours.links import Known, exposure_of, links
from canaryd.neighbours.traces import Backend, traces
from canaryd.settings import Grafana, Settings

SECONDS = 5.0
"""For everything that is asked."""
WORKLOAD_DASHBOARD = "Istio Workload Dashboard"
"""Its title: Istio's file gives it no uid, so that a link has to be looked up."""
NOT_SET = "no traces: no tracing in the settings"

T = TypeVar("T")

log = structlog.get_logger()


class _Beside(Generic[T]):
    """
    What is asked for in a thread of its own, so that nobody waits for it longer than they want.

    A request has a deadline, but the look-up of its host's name has none. ``late`` is the answer of who is late,
    ``faulty`` what is answered for a fault of ours.
    """

    def __init__(self, ask: Callable[[], T], late: T, faulty: Callable[[Exception], T]) -> None:
        self._ask, self._late, self._faulty = ask, late, faulty
        self._answers: SimpleQueue[T] = SimpleQueue()
        Thread(target=self._go, name="neighbour", daemon=True).start()

    def by(self, deadline: float) -> T:
        """The answer, if there is one by ``deadline`` (monotonic)."""
        try:
            return self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return self._late

    def _go(self) -> None:
        try:
            self._answers.put(self._ask())
        except Exception as error:
            self._answers.put(self._faulty(error))  # first: to log takes its time, and somebody waits
            log.exception("neighbour.fault")


def neighbourhood(
    run: Run, settings: Settings, now: float | None = None, seconds: float = SECONDS
) -> tuple[tuple[Link, ...], Traces]:
    """
    Links into the neighbours that ``settings`` name, and example traces of the canary, as of ``now`` (Unix seconds).

    Takes ``seconds`` at most, and no time where nothing is set. Raises nothing.
    """
    now = time.time() if now is None else now
    deadline = time.monotonic() + seconds
    tracing, grafana = settings.tracing, settings.grafana
    backend = Backend(tracing) if tracing else None
    looked = _Beside(lambda: _dashboard(grafana, seconds), "", lambda _: "") if grafana else None
    found = _traces(run, settings, backend, now, seconds)
    dashboard = looked.by(deadline) if looked else ""
    known = Known(dashboard, backend.speaks, backend.services, backend.failures) if backend else Known(dashboard)
    return links(run, settings, now, known), found


def example_traces(run: Run, settings: Settings, now: float | None = None, seconds: float = SECONDS) -> Traces:
    """The traces alone, as :func:`neighbourhood` finds them: in ``seconds`` at most, and raising nothing."""
    backend = Backend(settings.tracing) if settings.tracing else None
    return _traces(run, settings, backend, time.time() if now is None else now, seconds)


def _traces(run: Run, settings: Settings, backend: Backend | None, now: float, seconds: float) -> Traces:
    tracing = settings.tracing
    if tracing is None or backend is None:
        return Traces(why=NOT_SET)
    deadline = time.monotonic() + seconds
    late = Traces(why=f"no traces: {tracing.url}: no answer in time")
    when = exposure_of(run, now)
    asked = _Beside(
        lambda: traces(run, backend, tracing, settings.grafana, when, seconds),
        late,
        lambda error: Traces(why=f"no traces: a fault of canaryd's ({error!r})"),
    )
    return asked.by(deadline)


def _dashboard(grafana: Grafana, seconds: float) -> str:
    """The path of Istio's workload dashboard; empty where there is none, or that is not known. Raises nothing."""
    if grafana.workload_dashboard:
        return ""
    asked = [("query", WORKLOAD_DASHBOARD), ("type", "dash-db")]
    try:
        answer = ask(grafana, "/api/search", time.monotonic() + seconds, asked, bearing(grafana))
    except CanarydError as error:
        log.info("neighbour.silent", neighbour=grafana.url, error=str(error))
        return ""
    listed = answer if isinstance(answer, list) else []
    return next((_path(one) for one in listed if isinstance(one, dict) and one.get("title") == WORKLOAD_DASHBOARD), "")


def _path(found: dict[str, object]) -> str:
    """Where Grafana says that a dashboard is, below its own base path; what leads elsewhere is nothing."""
    uid = found.get("uid")
    return f"/d/{uid}" if isinstance(uid, str) and uid and uid.replace("-", "").replace("_", "").isalnum() else ""

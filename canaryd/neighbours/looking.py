"""
What the neighbours show of a run, for a report, a page or a message: links, and example traces.

The neighbours are asked at once and for a few seconds at most, by whoever shows the run and never by a tick. Who is
away costs the links that need its word, and the traces, and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

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

log = structlog.get_logger()


def neighbourhood(
    run: Run, settings: Settings, now: float | None = None, seconds: float = SECONDS
) -> tuple[tuple[Link, ...], Traces]:
    """
    Links into the neighbours that ``settings`` name, and example traces of the canary, as of ``now`` (Unix seconds).

    Takes ``seconds`` at most, and no time where nothing is set. Raises nothing.
    """
    now = time.time() if now is None else now
    tracing, grafana = settings.tracing, settings.grafana
    backend = Backend(tracing) if tracing else None
    with ThreadPoolExecutor(2, "neighbour") as at_once:
        looked = at_once.submit(_dashboard, grafana, seconds) if grafana else None
        asked = (
            at_once.submit(traces, run, backend, tracing, grafana, exposure_of(run, now), seconds)
            if tracing and backend
            else None
        )
        found = asked.result() if asked else Traces(why=NOT_SET)
        dashboard = looked.result() if looked else ""
    known = Known(dashboard, backend.speaks, backend.services, backend.failures) if backend else Known(dashboard)
    return links(run, settings, now, known), found


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

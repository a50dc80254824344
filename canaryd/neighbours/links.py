"""
PURE: where in Kiali, Grafana, and Jaeger or Tempo a run is to be seen, frozen to its time.

Names come from plans and clusters and go into URLs: each is encoded where it stands. What had to be asked for (the
uids of dashboards, what the tracing backend speaks) is handed in as :class:`Known`; without it there are fewer links,
and none that leads nowhere.

Sources: Kiali frontend/src/app/History.ts (parameters), components/Time/Replay.tsx (replay, in milliseconds);
Grafana "Dashboard URL variables", "Explore: URL" (schemaVersion, panes); Jaeger UI, search and trace pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlencode

from canaryd.model.links import Link
from canaryd.model.run import Pin, Run
from canaryd.model.traffic import NOTHING
from canaryd.neighbours import traceql
from canaryd.neighbours.naming import ERROR, REVISION, known_as, revision_of, service_of
from canaryd.settings import Grafana, Neighbour, Settings, Tracing

Speaks = Literal["", "jaeger", "jaeger-v3", "tempo"]
MARGIN = 300.0
"""Seconds before a run's beginning and after its end that are to be seen, too."""
TAIL = 10.0
"""Seconds after its last weight in which the canary still answers what was on its way."""
REPLAYS = (60.0, 300.0, 600.0, 1800.0)
"""Seconds that Kiali can play again."""
DURATIONS = (60, 300, 600, 1800)
"""Seconds of traffic that one of its graphs may be drawn from."""
WORKLOADS = 3
"""Workloads of a side that are linked to."""


@dataclass(frozen=True, slots=True)
class Known:
    """
    What the neighbours have said: ``dashboard`` is the path of Istio's workload dashboard, empty where it is not known.

    ``speaks`` is the tracing backend's API, empty where it is not known; ``services`` those that it has traces of, None
    where it did not say, and ``failures`` the tags that failures have there.
    """

    dashboard: str = ""
    speaks: Speaks = ""
    services: frozenset[str] | None = None
    failures: Mapping[str, str] = field(default_factory=lambda: ERROR)


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time, in Unix seconds."""

    start: float
    end: float

    @property
    def ms(self) -> tuple[str, str]:
        return str(round(self.start * 1000)), str(round(self.end * 1000))

    @property
    def us(self) -> tuple[str, str]:
        return str(round(self.start * 1_000_000)), str(round(self.end * 1_000_000))


def time_of(run: Run, now: float) -> Range:
    """From a bit before the run began until a bit after its end, or until ``now``."""
    end = now if run.ended is None else min(run.ended + MARGIN, max(now, run.ended))
    return Range(run.created - MARGIN, max(end, run.created))


def exposure_of(run: Run, now: float) -> Range:
    """From when the canary got its first requests until it got no more, or until the run's end, or ``now``."""
    ends = [*(segment.origin for segment in run.segments[1:]), now if run.ended is None else run.ended]
    exposed = [
        (segment.origin, end)
        for segment, end in zip(run.segments, ends, strict=False)
        if segment.split > NOTHING or segment.matched
    ]
    return Range(exposed[0][0], max(end for _, end in exposed) + TAIL) if exposed else time_of(run, now)


def links(run: Run, settings: Settings, now: float, known: Known = NOTHING_KNOWN) -> tuple[Link, ...]:
    """Everything there is to look at of ``run`` at ``now`` (Unix seconds); empty where no neighbour is set."""
    when = time_of(run, now)
    found: list[Link] = []
    if settings.kiali:
        found += _kiali(run, settings.kiali, when)
    if settings.grafana:
        found += _grafana(run, settings.grafana, when, known)
    if settings.tracing:
        found += _tracing(run, settings.tracing, settings.grafana, exposure_of(run, now), known)
    return tuple(found)


def trace_url(trace: str, tracing: Tracing, grafana: Grafana | None, speaks: Speaks, when: Range | None = None) -> str:
    """Where the trace is shown; empty where nothing shows it."""
    if speaks == "tempo":
        return _explore(grafana, tracing.datasource, trace, when)
    return f"{tracing.shown}/trace/{_part(trace)}"


def _kiali(run: Run, kiali: Neighbour, when: Range) -> Iterator[Link]:
    name, namespace = service_of(run)
    console = f"{kiali.shown}/console"
    if namespace:
        length = next((one for one in REPLAYS if one >= when.end - when.start), REPLAYS[-1])
        step = next((one for one in reversed(DURATIONS) if one * 5 <= length), DURATIONS[0])
        asked = {
            "graphType": "versionedApp",
            "duration": str(step),
            "refresh": "0",
            "edges": "trafficRate,trafficDistribution,responseTime,rt95",
            "injectServiceNodes": "true",
            "traffic": "http,httpRequest,grpc,grpcRequest",
            "replayActive": "true",
            "replayStart": str(round((when.end - length) * 1000)),
            "replayInterval": str(round(length * 1000)),
        }
        yield Link(
            "Kiali: traffic to both versions",
            f"{console}/graph/node/namespaces/{_part(namespace)}/services/{_part(name)}?{urlencode(asked)}",
            f"Who called {name}, how its requests were divided between {run.route.stable} and {run.route.canary}, and "
            f"how each answered; press play to see it change.",
        )
    for part in run.route.parts:
        yield Link(
            f"Kiali: VirtualService {part.virtual_service}",
            f"{console}/namespaces/{_part(part.namespace)}/istio/networking.istio.io/v1/VirtualService/"
            f"{_part(part.virtual_service)}",
            "The object whose weights are moved, as it is now, with what Kiali finds wrong with it.",
        )
    for workload, pin in _workloads(run.canary_pin):
        start, end = when.ms
        asked = {"tab": "in_metrics", "from": start, "to": end}
        yield Link(
            f"Kiali: workload {workload}",
            f"{console}/namespaces/{_part(pin.namespace)}/workloads/{_part(workload)}?{urlencode(asked)}",
            f"What reached the canary's workload {workload}: requests, durations and sizes over the run's time.",
        )


def _grafana(run: Run, grafana: Grafana, when: Range, known: Known) -> Iterator[Link]:
    path = f"/d/{_part(grafana.workload_dashboard)}" if grafana.workload_dashboard else known.dashboard
    if not path:
        return
    start, end = when.ms
    for side, of in (("canary", run.canary_pin), ("stable", run.stable_pin)):
        for workload, pin in _workloads(of):
            asked = (
                ("from", start),
                ("to", end),
                ("var-namespace", pin.namespace),
                ("var-workload", workload),
                ("var-qrep", "source"),
                ("var-qrep", "destination"),
                ("var-srcns", "$__all"),
                ("var-srcwl", "$__all"),
            )
            yield Link(
                f"Grafana: {side}'s workload {workload}",
                f"{grafana.shown}{path}?{urlencode(asked)}",
                f"Requests, success rate and durations of {workload}, the {side}, over the run's time.",
            )


def _tracing(run: Run, tracing: Tracing, grafana: Grafana | None, when: Range, known: Known) -> Iterator[Link]:
    speaks = known.speaks if tracing.api == "auto" else tracing.api
    service = known_as(run, known.services)
    if not speaks or not service:
        return
    revision = revision_of(run)
    whose = str(run.route.canary) if revision else service
    name = "Tempo" if speaks == "tempo" else "Jaeger"
    for title, failures in (("failing requests", known.failures), ("requests", {})):
        if speaks == "tempo":
            query = traceql.query((service,), revision, failing=bool(failures))
            url = _explore(grafana, tracing.datasource, query, when)
        else:
            url = f"{tracing.shown}/search?{urlencode(_jaeger_search(service, revision, failures, when))}"
        if url:
            yield Link(
                f"{name}: {title} to {whose}",
                url,
                f"The {title} to {whose} that were sampled while it had any, usually one in a hundred.",
            )


def _jaeger_search(service: str, revision: str, failures: Mapping[str, str], when: Range) -> Sequence[tuple[str, str]]:
    tags = dict(failures) | ({REVISION: revision} if revision else {})
    start, end = when.us
    asked = [("service", service), ("lookback", "custom"), ("start", start), ("end", end), ("limit", "20")]
    return [*asked, *([("tags", json.dumps(tags, separators=(",", ":")))] if tags else [])]


def _explore(grafana: Grafana | None, datasource: str, query: str, when: Range | None) -> str:
    """Grafana's page for a query of Tempo's, or for a trace's id; empty where it cannot be told which."""
    if grafana is None or not datasource:
        return ""
    asked = {
        "refId": "A",
        "datasource": {"uid": datasource, "type": "tempo"},
        "queryType": "traceql",
        "query": query,
    }
    pane: dict[str, object] = {"datasource": datasource, "queries": [asked]}
    if when:
        pane["range"] = dict(zip(("from", "to"), when.ms, strict=True))
    panes = json.dumps({"a": pane}, separators=(",", ":"))
    return f"{grafana.shown}/explore?{urlencode({'schemaVersion': '1', 'orgId': '1', 'panes': panes})}"


def _workloads(pin: Pin | None) -> list[tuple[str, Pin]]:
    """Each with where it is; none before it is known."""
    return [(name, pin) for name in pin.workloads[:WORKLOADS]] if pin else []


def _part(text: str) -> str:
    """A part of a path: a name can neither leave its place nor begin a query."""
    # To a browser %2E is a dot: it would go up by it. No object has such a name, so that it may lead to none.
    return quote(text, safe="") if text not in (".", "..") else text.replace(".", "%252E")

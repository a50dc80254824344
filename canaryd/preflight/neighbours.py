"""Whether what a report links to is there: Kiali, Grafana, and Jaeger or Tempo, where the settings name them."""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.model.finding import Code, Finding
from canaryd.preflight.behind import behind_versions
from canaryd.preflight.survey import Survey, labels_of

TITLE = "Kiali, Grafana and tracing"

NEIGHBOUR_UNREACHABLE = Code(
    "NeighbourUnreachable",
    "info",
    "Kiali, Grafana or the tracing backend does not answer under the URL in the settings, as seen from here, or "
    "refuses the token or the headers that stand there: links to it may lead nowhere. No run needs any of them.",
    "Correct `kiali`, `grafana` or `tracing` in the settings, or leave it out. Where only people reach it and canaryd "
    "does not, nothing is wrong.",
    transient=True,
)
DASHBOARD_MISSING = Code(
    "DashboardMissing",
    "info",
    "Grafana has no dashboard of Istio's under its usual title, so that reports cannot link to it.",
    "Import it: 7630 (workload) and 7636 (service) on grafana.com, or Istio's add-on `samples/addons/grafana.yaml`.",
)

ROUTE_NOT_IN_KIALI = Code(
    "RouteNotInKiali",
    "info",
    "Kiali does not show the VirtualService: it looks at another cluster, may not read the namespace, or leaves it out "
    "of its discovery selectors. A report's link to it would lead nowhere.",
    "Let Kiali see the namespace (`deployment.discovery_selectors`, its roles), or name the Kiali of this cluster.",
)
NO_TRACES = Code(
    "NoTraces",
    "info",
    "The tracing backend has no service of the versions' name, so that links to example traces would find nothing: "
    "nothing is sampled (1 % by default), the proxies send their spans elsewhere, or name the service otherwise.",
    "See that the mesh has a tracing provider (Telemetry `tracing`), and send requests; without traces a report has "
    "none, and nothing else is missing.",
    transient=True,
)

CODES = (NEIGHBOUR_UNREACHABLE, DASHBOARD_MISSING, ROUTE_NOT_IN_KIALI, NO_TRACES)
NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
"""Labels of a pod by which its proxy names its spans, the first that is there (Istio: canonical service)."""


def check(survey: Survey) -> Iterator[Finding]:
    """Silent about neighbours that the settings do not name."""
    for name, answer in survey.neighbours.items():
        if answer.fault:
            yield NEIGHBOUR_UNREACHABLE.at(name, f"{answer.url}: {answer.fault}, so that links to it may lead nowhere")
        missing = [title for title, link in (answer.dashboards or {}).items() if not link]
        if missing:
            yield DASHBOARD_MISSING.at(name, f"{answer.url} has no {' and no '.join(missing)}: reports link to none")
        if answer.knows_route is False and survey.route:
            yield ROUTE_NOT_IN_KIALI.at(name, f"{answer.url} does not show {survey.route}")
        names = spans_of(survey)
        if answer.services is not None and names and not names & answer.services:
            yield NO_TRACES.at(name, f"{answer.url} has no service {' or '.join(sorted(names))}")


def spans_of(survey: Survey) -> frozenset[str]:
    """What the versions' proxies may call themselves in spans: their app, with its namespace or without."""
    found = set()
    for pod in (pod for behind in behind_versions(survey) for pod in behind.pods):
        app = next((labels_of(pod)[name] for name in NAMES if labels_of(pod).get(name)), "")
        found |= {app, f"{app}.{pod['metadata'].get('namespace')}"} if app else set()
    return frozenset(found)

"""Whether what a report links to is there: Kiali, Grafana, and Jaeger or Tempo, where the settings name them."""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.model.finding import Code, Finding
from canaryd.preflight.survey import Survey

TITLE = "Kiali, Grafana and tracing"

NEIGHBOUR_UNREACHABLE = Code(
    "NeighbourUnreachable",
    "info",
    "Kiali, Grafana or the tracing backend does not answer under the URL in the settings, as seen from here: links to "
    "it may lead nowhere. No run needs any of them.",
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

CODES = (NEIGHBOUR_UNREACHABLE, DASHBOARD_MISSING)


def check(survey: Survey) -> Iterator[Finding]:
    """Silent about neighbours that the settings do not name."""
    for name, answer in survey.neighbours.items():
        if answer.fault:
            yield NEIGHBOUR_UNREACHABLE.at(name, f"{answer.url}: {answer.fault}, so that links to it may lead nowhere")
        missing = [title for title, link in (answer.dashboards or {}).items() if not link]
        if missing:
            yield DASHBOARD_MISSING.at(name, f"{answer.url} has no {' and no '.join(missing)}: reports link to none")

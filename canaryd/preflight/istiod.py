"""Whether istiod is there to carry a weight to the proxies, and how soon it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from canaryd.judge import wording
from canaryd.kube import DEPLOYMENTS, PODS
from canaryd.mesh.pods import is_ready, is_terminating, workload_of
from canaryd.model.duration import render_duration, render_seconds
from canaryd.model.finding import Code, Finding, Level
from canaryd.preflight.survey import ROOT_NAMESPACE, Object, Survey, labels_of, spec_of

TITLE = "istiod"

ISTIOD_NOT_READY = Code(
    "IstiodNotReady",
    "error",
    "No pod of istiod is ready. A weight that is written reaches no proxy then, and neither does the rollback.",
    "See why: `kubectl -n istio-system get pods -l app=istiod`. Where it was scaled to nothing, type the command.",
    transient=True,
)
XDS_REJECTED = Code(
    "XdsRejected",
    "warning",
    "Proxies have refused what istiod sent them in the last ten minutes (`pilot_total_xds_rejects`). They go on with "
    "what they had: a change of weights may not reach them.",
    "Find what they refuse: `istioctl proxy-status` names the proxies, istiod's log (`ACK ERROR`) the reason.",
    transient=True,
)
SLOW_CONVERGENCE = Code(
    "SlowConvergence",
    "info",
    "A change takes longer to reach the proxies (`pilot_proxy_convergence_time`) than the plan lets it settle: the "
    "first cells of a step would still have something of the former split.",
    "Set `spec.analysis.settle` to what the finding says, or more.",
)
VERSIONS_DIFFER = Code(
    "IstioVersionsDiffer",
    "info",
    "The proxies of the mesh run several versions of Istio; labels and buckets may differ between them.",
    "Nothing while an upgrade of Istio is on its way; it is better not to release meanwhile.",
)

CODES = (ISTIOD_NOT_READY, XDS_REJECTED, SLOW_CONVERGENCE, VERSIONS_DIFFER)

MERGED = 5.0
"""Seconds between Envoy's merges of its histograms (``stats_flush_interval``): what it reports is that old."""


def check(survey: Survey) -> Iterator[Finding]:
    """Silent where istiod runs elsewhere and where Prometheus does not scrape it."""
    if PODS not in survey.unread and DEPLOYMENTS not in survey.unread:
        yield from _ready(survey)
    istiod, analysis = survey.heard.istiod, survey.plan.spec.analysis
    if istiod.rejects:
        kinds = ", ".join(f"{kind or 'others'} {wording.number(round(count))}" for kind, count in istiod.rejects)
        sentence = f"proxies refused what they were sent in the last ten minutes: {kinds} times"
        yield XDS_REJECTED.at("istiod", sentence)
    if istiod.convergence is not None:
        needed = istiod.convergence + analysis.scrape.total_seconds() + MERGED
        if isinstance(analysis.settle, timedelta) and needed > analysis.settle.total_seconds():
            sentence = (
                f"changes reach 99 % of the proxies within {istiod.convergence:.2g} s, and are seen a scrape later: "
                f"settle {render_duration(analysis.settle)} is short, {render_seconds(needed)} would do"
            )
            yield SLOW_CONVERGENCE.at("spec.analysis.settle", sentence)
    if len(istiod.versions) > 1:
        told = ", ".join(f"{tag} ({count} {'proxy' if count == 1 else 'proxies'})" for tag, count in istiod.versions)
        yield VERSIONS_DIFFER.at("the mesh", f"its proxies are of several versions of Istio: {told}")


def _ready(survey: Survey) -> Iterator[Finding]:
    """Every istiod that has no ready pod: one for each revision; where another is ready, it is another's mesh."""
    deployments = [one for one in survey.all(DEPLOYMENTS, ROOT_NAMESPACE) if _is_istiod(one)]
    running = {
        workload_of(pod)[1]
        for pod in survey.all(PODS, ROOT_NAMESPACE)
        if _is_istiod(pod) and is_ready(pod) and not is_terminating(pod)
    }
    level: Level = "warning" if running else "error"
    for one in deployments:
        name, wanted = one["metadata"]["name"], spec_of(one).get("replicas")
        if name in running:
            continue
        scaled = wanted == 0
        told = "is scaled to nothing" if scaled else "has no ready pod"
        yield ISTIOD_NOT_READY.at(
            f"Deployment {ROOT_NAMESPACE}/{name}",
            f"{told}: weights that are written reach no proxy, and a rollback neither",
            f"kubectl -n {ROOT_NAMESPACE} scale deployment {name} --replicas=1" if scaled else "",
            level=level,
        )


def _is_istiod(found: Object) -> bool:
    return labels_of(found).get("app") == "istiod"

"""Whether what Prometheus keeps is enough to judge by, and is what it seems to be."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from canaryd.judge import wording
from canaryd.judge.objectives import place_of, within_ms
from canaryd.kube import DEPLOYMENTS, SERVICES
from canaryd.metrics.promql import BUCKETS, REQUESTS
from canaryd.model import codes
from canaryd.model.duration import render_duration, render_seconds
from canaryd.model.finding import Code, Finding, Level
from canaryd.model.where import Where, both, words
from canaryd.preflight.heard import AT_THE_PODS, DURATIONS, Caller, Histogram
from canaryd.preflight.kinds import TELEMETRIES
from canaryd.preflight.overrides import DURATIONS as DURATIONS_METRIC
from canaryd.preflight.overrides import Override, overrides
from canaryd.preflight.survey import Survey, spec_of

TITLE = "Whether Prometheus knows enough"

HEARD_IN_PART = Code(
    "HeardInPart",
    "info",
    "Prometheus did not answer one of preflight's queries, or only in part; what it would have told was not looked at.",
    "Look again; where it is always so, see what limits Prometheus has for queries over an hour.",
    transient=True,
)
BUCKETS_DIFFER = Code(
    "BucketsDiffer",
    "error",
    "The callers' histograms of durations have different bucket bounds (the annotation "
    "`sidecar.istio.io/statsHistogramBuckets`). They cannot be added up, so that every cell would be a gap.",
    "Give all callers the same bounds; the command takes the annotation off those that have one, which restarts them.",
)
BUCKET_TOO_COARSE = Code(
    "BucketTooCoarse",
    "warning",
    "An objective for latency lies between two bounds of the callers' histogram. Requests are then in time up to the "
    "next bound above, and above the last one nothing can be said at all.",
    "Set `within` to one of the bounds, or give the callers that bound (`sidecar.istio.io/statsHistogramBuckets`).",
)
NO_DURATIONS = Code(
    "NoDurations",
    "warning",
    f"Requests are counted, and durations are not kept in buckets ({BUCKETS}): latency cannot be judged, and a plan "
    "that compares it cannot prove anything.",
    "Keep the series (no `drop` in relabelling, no Telemetry that disables REQUEST_DURATION); with native histograms "
    "set `always_scrape_classic_histograms: true`. Or leave latency out of `spec.analysis.checks`.",
)
DESTINATION_REPORTER_MISSING = Code(
    "DestinationReporterMissing",
    "info",
    "The pods' own counts are not known: verdicts rest on the callers' counts all the same, but how much pods differ "
    "from each other, what retries hide and who calls without a sidecar cannot be seen.",
    "Have Prometheus scrape the proxies of the pods too (port 15020, /stats/prometheus).",
)
WAYPOINT_ALONE = Code(
    "WaypointAlone",
    "error",
    "The requests are counted by a waypoint and by no sidecar (ambient mode), and the plan wants the counts of the "
    "callers' own proxies: nothing would be seen.",
    "Leave `spec.analysis.reporter` out: then the waypoint's counts are read.",
)
COUNTED_ELSEWHERE = Code(
    "CountedElsewhere",
    "warning",
    "Some requests are counted by the callers' own proxies and others by a waypoint (ambient mode): gateways and "
    "sidecars carry the weights out themselves and go past the waypoint. Only one of the two is read, so that no "
    "request counts twice; what the other counts is moved, and not measured.",
    "Set `spec.analysis.reporter` to the one that matters; or let all callers come the same way (a gateway goes "
    "through the waypoint where the Service has the label `istio.io/ingress-use-waypoint: true`).",
)
TELEMETRY_OVERRIDE = Code(
    "TelemetryOverride",
    "error",
    "A Telemetry object takes a metric, or a label by which versions or failures are told, from what callers report.",
    "Take the override out; the command does, and leaves the rest of the object.",
)
SEVERAL_CLUSTERS = Code(
    "SeveralClusters",
    "warning",
    "This Prometheus has the service's series of several clusters. Those of the others would be counted too, whose "
    "weights the plan does not move: the canary gets less of the requests than its weight says.",
    "Measure by a source that sees one cluster: a tenant, a store or a label of its own "
    "(`prometheuses.<name>` in the settings, with `headers` or `params`).",
)
SCRAPED_TWICE = Code(
    "ScrapedTwice",
    "warning",
    "The same pod is scraped by more than one job or replica, so that its requests are counted more than once: what "
    "looks like evidence is the same request again, and neither `alpha` nor `beta` hold.",
    "Keep one job that scrapes proxies, or one replica (Thanos and Mimir leave one of them out: `dedup: true`).",
)
SCRAPE_INTERVAL_OTHER = Code(
    "ScrapeIntervalOther",
    "info",
    "The callers are scraped more often than the plan says: with shorter cells a broken canary is seen sooner.",
    "Set `spec.analysis.scrape` to the interval that was found, and `spec.analysis.cell` down with it.",
)
CELL_SHORTER_THAN_SCRAPE = Code(
    "CellShorterThanScrape",
    "warning",
    "The callers are scraped less often than once in a cell, so that some cells are gaps and steps take longer.",
    "Set `spec.analysis.scrape` to the interval that was found, and `spec.analysis.cell` to that or more.",
)
WHERE_LABEL_MISSING = Code(
    "WhereLabelMissing",
    "error",
    "The plan counts only requests with a label (`where`) that the callers' series do not have; for every caller it is "
    "an error, for some of them a warning: what those send is left out on both sides.",
    "Add the label by a Telemetry object that reaches the callers' proxies (`tagOverrides` with mode CLIENT: the "
    "command, with your own expression); or take `where` out.",
)
WHERE_COUNTS_NOTHING = Code(
    "WhereCountsNothing",
    "warning",
    "The label of a `where` is there, and no request of the last minutes has the value that the plan wants. A step "
    "without a single such request to the canary does not pass.",
    "Correct the value; or wait until there are such requests.",
    transient=True,
)
ALERT_WITHOUT_RULE = Code(
    "AlertWithoutRule",
    "error",
    "A gate of the plan waits for an alert that does not fire, and this Prometheus has no rule of that name: it would "
    "never fire, and the gate would guard nothing.",
    "Name the alert as its rule does (`alert:`), or load the rule. Where another Prometheus or a ruler evaluates the "
    "rules and writes `ALERTS` here, accept the finding (`spec.acceptFindings`).",
)

CODES = (
    ALERT_WITHOUT_RULE,
    WHERE_LABEL_MISSING,
    WHERE_COUNTS_NOTHING,
    HEARD_IN_PART,
    BUCKETS_DIFFER,
    BUCKET_TOO_COARSE,
    NO_DURATIONS,
    DESTINATION_REPORTER_MISSING,
    WAYPOINT_ALONE,
    COUNTED_ELSEWHERE,
    TELEMETRY_OVERRIDE,
    SEVERAL_CLUSTERS,
    SCRAPED_TWICE,
    SCRAPE_INTERVAL_OTHER,
    CELL_SHORTER_THAN_SCRAPE,
)

ANNOTATION = "sidecar.istio.io/statsHistogramBuckets"
TELLS_APART = ("reporter", "destination_service", "destination_workload", "destination_workload_namespace")
"""Labels without which nothing can be counted for a version."""
CONSEQUENCES = {
    **dict.fromkeys(TELLS_APART, "nothing could be counted for either version"),
    "response_code": "failures could not be told from good requests",
    "response_flags": "failures of no version (no host, no cluster) could not be told from those of a version",
    "request_protocol": "failed gRPC calls would pass for good ones",
    "grpc_response_status": "failed gRPC calls would pass for good ones",
    "source_workload": "which callers there are could not be told",
    "source_workload_namespace": "which callers there are could not be told",
}
"""What follows from a label's absence."""
GRPC = ("request_protocol", "grpc_response_status")
METRICS = {DURATIONS_METRIC: BUCKETS.removesuffix("_bucket")}
NAMED = 3
ROUNDING = 1e-6
FEW = 0.05
"""Share of the requests below which it is only noted that others count them."""


def check(survey: Survey) -> Iterator[Finding]:
    """What the probe found, then what was heard that bends the evidence or leaves nothing to judge by."""
    heard = survey.heard
    yield from heard.probed
    if heard.missed:
        asked = "; ".join(f"{what}: {why}" for what, why in heard.missed[:NAMED])
        yield HEARD_IN_PART.at("Prometheus", f"did not tell everything ({asked})")
    by_callers = heard.reporter == "source" and TELEMETRIES not in survey.unread
    telemetry = tuple(overrides(survey)) if by_callers else ()
    yield from _overridden(survey, telemetry)
    if "waypoint" in heard.reporters and "source" not in heard.reporters and heard.reporter == "source":
        sentence = (
            f"only a waypoint counts requests to {_listed(survey.hosts)}, and the plan says reporter: source, so that "
            "nothing could be measured"
        )
        yield WAYPOINT_ALONE.at("Prometheus", sentence)
    yield from _without_rule(survey)
    yield from _elsewhere(survey)
    if not heard.served:
        return
    yield from _unlabelled(survey, {one.tag for one in telemetry})
    yield from _left_out(survey)
    yield from _bounds(survey)
    if not heard.histograms and DURATIONS not in dict(heard.missed):
        yield from _without_durations(survey)
    if heard.pods is None and heard.reporter == "source" and AT_THE_PODS not in dict(heard.missed) and heard.labels:
        sentence = (
            f"no {REQUESTS} with reporter=destination for {_listed(survey.hosts)}: the pods' own counts are unknown"
        )
        yield DESTINATION_REPORTER_MISSING.at("Prometheus", sentence)
    yield from _places(survey)
    yield from _interval(survey)


def _overridden(survey: Survey, found: Sequence[Override]) -> Iterator[Finding]:
    """One finding for each Telemetry object."""
    asks = any(one.metric == "latency" for one in survey.plan.spec.analysis.checks)
    found = [one for one in found if asks or one.metric != DURATIONS_METRIC]
    for telemetry in dict.fromkeys(one.telemetry for one in found):
        ours = [one for one in found if one.telemetry == telemetry]
        level: Level = "error" if any(_blinds(survey, one) for one in ours) else "warning"
        said = dict.fromkeys(_said(one) for one in ours)
        callers = dict.fromkeys(one.caller for one in ours)
        namespace, _, name = telemetry.partition("/")
        patch = [{"op": "remove", "path": path} for path in dict.fromkeys(one.path for one in ours)]
        yield TELEMETRY_OVERRIDE.at(
            f"Telemetry {telemetry}",
            f"{'; '.join(said)} (for {_listed(callers)})",
            f"kubectl -n {namespace} patch telemetries.telemetry.istio.io {name} --type json "
            f"-p {shlex.quote(json.dumps(patch))}",
            level=level,
        )


def _said(one: Override) -> str:
    metric = METRICS.get(one.metric, REQUESTS)
    if not one.tag:
        follows = "latency could not be judged" if one.metric in METRICS else "nothing could be measured"
        return f"switches {metric} off, so that {follows}"
    if one.rewritten:
        return f"rewrites {one.tag} of {metric}, by which canaryd counts"
    return f"takes {one.tag} off {metric}, so that {CONSEQUENCES[one.tag]}"


def _blinds(survey: Survey, one: Override) -> bool:
    """Whether nothing could be measured, or failures could not be seen."""
    if one.rewritten:
        return False
    return not one.tag or one.tag in TELLS_APART or (one.metric not in METRICS and _is_vital(survey, one.tag))


def _is_vital(survey: Survey, label: str) -> bool:
    return label in (*TELLS_APART, "response_code") or (label in GRPC and _speaks_grpc(survey))


def _speaks_grpc(survey: Survey) -> bool:
    """Whether the service is called by gRPC, as far as callers or its ports tell."""
    ports = [
        port
        for namespace, name in survey.services
        for port in spec_of(survey.one(SERVICES, namespace, name) or {"metadata": {}}).get("ports") or ()
    ]
    named = any(str(port.get("appProtocol") or port.get("name") or "").startswith("grpc") for port in ports)
    return named or "grpc" in survey.heard.protocols


def _without_rule(survey: Survey) -> Iterator[Finding]:
    """Alerts that no rule can make fire; nothing where it is not known which rules there are."""
    known = survey.heard.rules
    if known is None:
        return
    for name, path in survey.plan.alerts.items():
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield ALERT_WITHOUT_RULE.at(path, f"Prometheus has no rule for the alert {name}{hint}")


def _unlabelled(survey: Survey, known: set[str]) -> Iterator[Finding]:
    """Labels that no series has, where it is not known already why."""
    heard = survey.heard
    if any(one.code == codes.LABEL_MISSING.name for one in heard.probed):
        known = known | {"destination_workload"}
    for label, follows in CONSEQUENCES.items():
        wanted = label != "grpc_response_status" or "grpc" in heard.protocols
        if label == "reporter" or not wanted or not heard.labels or label in heard.labels or label in known:
            continue
        level: Level = "error" if _is_vital(survey, label) else "warning"
        sentence = f"no series of {_listed(survey.hosts)} has the label {label}: {follows}"
        yield codes.LABEL_MISSING.at(REQUESTS, sentence, level=level)


def _elsewhere(survey: Survey) -> Iterator[Finding]:
    rates = dict(survey.heard.rates)
    other = "source" if survey.heard.reporter == "waypoint" else "waypoint"
    whole = sum(rates.values())
    if rates.get(other) and rates.get(survey.heard.reporter):
        names = {"source": "the callers' own proxies", "waypoint": "a waypoint"}
        said = (
            f"{rates[other]:.3g} of {whole:.3g} requests a second to {_listed(survey.hosts)} are counted by "
            f"{names[other]}, and the run is measured by what {names[survey.heard.reporter]} count"
            f"{'s' if other == 'source' else ''}"
        )
        yield COUNTED_ELSEWHERE.at("Prometheus", said, level="warning" if rates[other] >= FEW * whole else "info")


def _left_out(survey: Survey) -> Iterator[Finding]:
    """What each ``where`` of the plan leaves of the requests of late."""
    for one in survey.heard.counted:
        if not one.all_:
            continue
        place, names = _place_of(survey, one.where), ", ".join(label for label, _ in one.where)
        lacking = sum(caller.rate for caller in one.without)
        if one.without:
            everybody = lacking >= one.all_ * (1 - ROUNDING)
            who = "any caller" if everybody else _listed(map(str, one.without))
            follows = "nothing would be counted" if everybody else f"{lacking / one.all_:.0%} of them would not count"
            said = f"{names}: no request of {who} to {_listed(survey.hosts)} has it, so that {follows}"
            by_callers = survey.heard.reporter == "source"
            command = _tagging(one.without[0].namespace, one.where) if by_callers else ""
            yield WHERE_LABEL_MISSING.at(place, said, command, level="error" if everybody else "warning")
            if everybody:
                continue
        if not one.counted:
            said = f"no request to {_listed(survey.hosts)} of the last minutes has {words(one.where)}"
            yield WHERE_COUNTS_NOTHING.at(place, said)


def _place_of(survey: Survey, where: Where) -> str:
    analysis = survey.plan.spec.analysis
    own = (
        f"spec.analysis.checks.{place}.where"
        for place, one in enumerate(analysis.checks)
        if one.apart and both(analysis.where, one.where) == where
    )
    return "spec.analysis.where" if analysis.where == where else next(own, "spec.analysis.where")


def _tagging(namespace: str, where: Where) -> str:
    """The command that has the proxies of a namespace add the labels; what they are taken from is for a person."""
    tags = ", ".join(f'{label}: {{value: "request.url_path"}}' for label, _ in where)
    return (
        "kubectl apply -f - <<'EOF'\n"
        "apiVersion: telemetry.istio.io/v1\n"
        "kind: Telemetry\n"
        f"metadata: {{name: canary-labels, namespace: {namespace}}}\n"
        "spec: {metrics: [{providers: [{name: prometheus}], overrides: "
        f"[{{match: {{mode: CLIENT}}, tagOverrides: {{{tags}}}}}]}}]}}\n"
        "EOF"
    )


def _bounds(survey: Survey) -> Iterator[Finding]:
    found = survey.heard.histograms
    kept = Counter(one.bounds_ms for one in found)
    if len(kept) > 1 or any(one.mixed for one in found):
        usual = set(max(kept.items(), key=lambda one: (one[1], len(one[0])))[0])
        odd = [one for one in found if one.mixed or set(one.bounds_ms) != usual]
        differing = [f"{one.caller} ({', '.join(_odd(one, usual))})" for one in odd]
        sentence = (
            f"the callers' histograms have different bucket bounds, and every cell would be a gap: {_listed(differing)}"
        )
        yield BUCKETS_DIFFER.at(BUCKETS, sentence, _without_annotation(survey, [one.caller for one in found]))
    elif kept:
        yield from _coarse(survey, found[0].bounds_ms)


def _odd(one: Histogram, usual: set[float]) -> list[str]:
    """The bounds in which a histogram differs from the usual one."""
    if one.mixed:
        return ["its own proxies differ"]
    more, less = sorted(set(one.bounds_ms) - usual)[:NAMED], sorted(usual - set(one.bounds_ms))[:NAMED]
    return [f"has {bound:g} ms" for bound in more] + [f"lacks {bound:g} ms" for bound in less]


def _without_annotation(survey: Survey, callers: Iterable[Caller]) -> str:
    """The command that takes the annotation off the Deployments of those callers that have it."""
    part = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: None}}}}}
    commands = []
    for caller in callers:
        deployment = survey.one(DEPLOYMENTS, caller.namespace, caller.workload)
        template = ((spec_of(deployment).get("template") or {}) if deployment else {}).get("metadata") or {}
        if ANNOTATION in (template.get("annotations") or {}):
            commands.append(
                f"kubectl -n {caller.namespace} patch deployment {caller.workload} -p {shlex.quote(json.dumps(part))}"
            )
    return " && ".join(commands)


def _coarse(survey: Survey, bounds: tuple[float, ...]) -> Iterator[Finding]:
    for one in survey.plan.spec.analysis.checks:
        if one.metric != "latency" or one.within is None:
            continue
        where, wanted = f"spec.analysis.checks, {one.name}", within_ms(one)
        place = place_of(bounds, wanted)
        known = ", ".join(wording.duration(bound) for bound in bounds)
        if place is None:
            sentence = (
                f"within {wording.duration(wanted)} is above every bucket bound, so that it is never judged ({known})"
            )
            yield BUCKET_TOO_COARSE.at(where, sentence, level="error")
        elif bounds[place] != wanted:
            sentence = (
                f"within {wording.duration(wanted)} is no bucket bound: requests are held to be in time up to "
                f"{wording.duration(bounds[place])}; there are {known}"
            )
            yield BUCKET_TOO_COARSE.at(where, sentence)


def _without_durations(survey: Survey) -> Iterator[Finding]:
    spec = survey.plan.spec
    latency = [one for one in spec.analysis.checks if one.metric == "latency"]
    if not latency or not survey.heard.labels:
        return
    needed = any(one.proves for one in latency) and not spec.accept_unproven
    kept = "there are native histograms only" if survey.heard.native else "there are none"
    follows = "and without it promotion cannot be proven" if needed else "and the check says nothing"
    names = _listed([one.name for one in latency])
    sentence = f"no durations in buckets for {_listed(survey.hosts)} ({kept}): {names} cannot be judged, {follows}"
    yield NO_DURATIONS.at(BUCKETS, sentence, level="error" if needed else "warning")


def _places(survey: Survey) -> Iterator[Finding]:
    heard = survey.heard
    if heard.clusters:
        sentence = (
            f"has the series of {_listed(survey.hosts)} of {len(heard.clusters)} clusters ({_listed(heard.clusters)}), "
            "and all of them would be counted"
        )
        yield SEVERAL_CLUSTERS.at("Prometheus", sentence)
    if heard.scrapers > 1:
        sentence = f"has each request {heard.scrapers} times: a pod is scraped by so many jobs, ports or replicas"
        yield SCRAPED_TWICE.at("Prometheus", sentence)


def _interval(survey: Survey) -> Iterator[Finding]:
    found, analysis = survey.heard.interval, survey.plan.spec.analysis
    said, cell = analysis.scrape.total_seconds(), analysis.cell.total_seconds()
    if not found or any(one.code == codes.SCRAPED_TOO_SELDOM.name for one in survey.heard.probed):
        return
    if found > 1.1 * cell:
        sentence = (
            f"cells of {render_duration(analysis.cell)}, and the callers are scraped every {render_seconds(found)}: "
            "some cells would be gaps"
        )
        yield CELL_SHORTER_THAN_SCRAPE.at("spec.analysis.cell", sentence)
    elif found < said / 1.5:
        sentence = (
            f"the plan says {render_duration(analysis.scrape)}, and the callers are scraped about every {found:.2g} s: "
            f"cells of {render_duration(analysis.cell)} could be shorter"
        )
        yield SCRAPE_INTERVAL_OTHER.at("spec.analysis.scrape", sentence)


def _listed(names: Iterable[str]) -> str:
    """The first three, and how many more."""
    found = list(names)
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + rest

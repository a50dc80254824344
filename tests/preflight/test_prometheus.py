"""What is said of a Prometheus that knows too little, or something else than it seems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from canaryd.kube import DEPLOYMENTS
from canaryd.metrics.promql import CALL, OUTCOME
from canaryd.model import codes
from canaryd.model.finding import Finding
from canaryd.preflight import prometheus
from canaryd.preflight.heard import AT_THE_PODS, DURATIONS, Caller, Counted, Heard, Histogram, Served
from canaryd.preflight.kinds import TELEMETRIES
from canaryd.preflight.prometheus import ANNOTATION
from canaryd.preflight.survey import Survey, name_of
from tests.judge.population import BOUNDS
from tests.mesh.objects import CORPUS
from tests.preflight.stage import HEARD, Town, plan

PAGE, GATEWAY = HEARD.callers
LABELS = frozenset({*OUTCOME, *CALL}) - {"grpc_response_status"}
WELL = replace(
    HEARD,
    served=(Served("reviews-v1", "default", 150.0, 0.001),),
    labels=LABELS,
    protocols=frozenset({"http"}),
    pods=150.0,
    histograms=(Histogram(PAGE, BOUNDS), Histogram(GATEWAY, BOUNDS)),
    interval=15.0,
    scrapers=1,
)
"""All that Prometheus says of a healthy Bookinfo."""


def found(heard: Heard = WELL, **spec: Any) -> list[Finding]:
    """What is found of what was heard, with nothing known of the cluster."""
    return list(prometheus.check(Survey(plan(**spec), heard=heard)))


def names(heard: Heard = WELL, **spec: Any) -> list[tuple[str, str]]:
    return [(one.code, one.level) for one in found(heard, **spec)]


def test_a_healthy_prometheus_has_no_finding(town: Town) -> None:
    town.heard = WELL
    assert town.found(prometheus) == []


ALERTED = [{"weight": 5, "gate": {"alert": {"names": ["ReviewsSlow"]}}}, {"weight": 50}]


def test_an_alert_that_no_rule_raises_is_told_with_the_one_that_was_meant() -> None:
    """It would never fire, and the gate would let everything through."""
    told = found(replace(WELL, rules=frozenset({"ReviewSlow"})), steps=ALERTED)
    assert [one.code for one in told] == ["AlertWithoutRule"]
    assert told[0].sentence.endswith("no rule for the alert ReviewsSlow; did you mean ReviewSlow?")
    assert names(replace(WELL, rules=frozenset({"ReviewsSlow"})), steps=ALERTED) == []
    assert names(replace(WELL, rules=None), steps=ALERTED) == []


def test_of_what_was_not_heard_nothing_is_said() -> None:
    """Neither where Prometheus was not asked, nor where it had no answer."""
    assert names(Heard(silent="not asked")) == []
    assert names(HEARD) == []
    missed = ((DURATIONS, "too slow"), (AT_THE_PODS, "too slow"), ("more", "too"), ("than", "three"))
    deaf = replace(WELL, missed=missed, histograms=(), pods=None, labels=LABELS)
    assert names(deaf) == [("HeardInPart", "info")]
    assert "durations: too slow" in found(deaf)[0].sentence
    assert found(deaf)[0].transient


def test_what_the_probe_found_is_told_as_it_is() -> None:
    away = codes.PROMETHEUS_AWAY.at("--prometheus", "nobody answers")
    assert found(Heard(silent="nobody answers", probed=(away,))) == [away]


# Which requests count

PAY = (("request_operation", ("/pay",)),)
RESTRICTED = {"analysis": {"where": {"request_operation": "/pay"}}}


def test_a_label_that_no_caller_has_counts_nothing_and_stops_a_run() -> None:
    """Every step would wait for ever; the command makes the Telemetry that lacks."""
    [one] = found(replace(WELL, counted=(Counted(PAY, 150, 0, (PAGE, GATEWAY)),)), **RESTRICTED)
    assert (one.code, one.level, one.where) == ("WhereLabelMissing", "error", "spec.analysis.where")
    assert "request_operation: no request of any caller" in one.sentence
    [made] = yaml.safe_load_all(one.remedy.split("<<'EOF'\n")[1].removesuffix("EOF"))
    [override] = made["spec"]["metrics"][0]["overrides"]
    assert (made["kind"], override["match"], list(override["tagOverrides"])) == (
        "Telemetry",
        {"mode": "CLIENT"},
        ["request_operation"],
    )


def test_a_label_that_one_caller_lacks_leaves_its_requests_out() -> None:
    """They are left out of both sides: less is known, and nothing is wrong."""
    [one] = found(replace(WELL, counted=(Counted(PAY, 150, 40, (replace(GATEWAY, rate=60),)),)), **RESTRICTED)
    assert (one.code, one.level) == ("WhereLabelMissing", "warning")
    assert "istio-ingressgateway.istio-system" in one.sentence
    assert "40% of them would not count" in one.sentence


def test_a_value_that_no_request_has_is_warned_of_where_it_stands() -> None:
    """A typing error, or a route without traffic just now."""
    checks = [
        {"name": "errors", "metric": "error-rate", "compare": "stable"},
        {"name": "pay", "metric": "error-rate", "compare": "stable", "where": {"request_operation": "/pay"}},
    ]
    [one] = found(replace(WELL, counted=(Counted(PAY, 150, 0),)), analysis={"checks": checks})
    assert (one.code, one.level, one.where) == ("WhereCountsNothing", "warning", "spec.analysis.checks.1.where")
    assert one.transient
    assert names(replace(WELL, counted=(Counted(PAY, 150, 1),)), analysis={"checks": checks}) == []
    assert names(replace(WELL, counted=(Counted(PAY, 0, 0, (PAGE,)),)), analysis={"checks": checks}) == []


# Buckets


def as_proxies_would_report(town: Town, heard: Heard = WELL) -> Heard:
    """What Prometheus says once every caller runs as its Deployment says."""
    kept = []
    for one in heard.histograms:
        deployment = town.survey().one(DEPLOYMENTS, one.caller.namespace, one.caller.workload)
        assert deployment is not None
        told = (deployment["spec"]["template"]["metadata"].get("annotations") or {}).get(ANNOTATION)
        kept.append(Histogram(one.caller, tuple(map(float, json.loads(told)["istio"])) if told else BOUNDS))
    return replace(heard, histograms=tuple(kept))


def annotated(town: Town, workload: str, bounds: tuple[float, ...]) -> None:
    value = json.dumps({ANNOTATION: json.dumps({"istio": bounds})})
    town.type(
        f"kubectl patch deployment {workload} -p "
        f"'{json.dumps({'spec': {'template': {'metadata': {'annotations': json.loads(value)}}}})}'"
    )


def test_callers_with_other_buckets_are_named_and_lose_them(town: Town) -> None:
    annotated(town, "productpage-v1", (100, 200, 500))
    town.heard = as_proxies_would_report(town)
    [finding] = town.found(prometheus)
    assert (finding.code, finding.level) == ("BucketsDiffer", "error")
    assert "productpage-v1.default (has 200 ms, lacks 0.5 ms, lacks 1 ms, lacks 5 ms)" in finding.sentence
    town.type(finding.remedy)
    town.heard = as_proxies_would_report(town)
    assert town.found(prometheus) == []


def test_callers_that_share_unusual_buckets_are_none_of_our_business() -> None:
    histograms = tuple(Histogram(one, (100.0, 200.0, 500.0)) for one in (PAGE, GATEWAY))
    assert names(replace(WELL, histograms=histograms)) == []


def test_a_caller_whose_own_pods_differ_is_in_the_middle_of_a_change() -> None:
    """No bound is odd among those of all its pods together, and no cell could be added up."""
    [finding] = found(replace(WELL, histograms=(replace(WELL.histograms[0], mixed=True), WELL.histograms[1])))
    assert finding.code == "BucketsDiffer"
    assert "productpage-v1.default (its own proxies differ)" in finding.sentence


def objective(within: str) -> dict[str, Any]:
    slo = {"name": "slo", "metric": "latency", "within": within, "atLeast": "99%"}
    return {"analysis": {"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}, slo]}}


def test_an_objective_between_two_bounds_is_judged_by_the_one_above() -> None:
    [finding] = found(**objective("400ms"))
    assert (finding.code, finding.level, finding.where) == ("BucketTooCoarse", "warning", "spec.analysis.checks, slo")
    assert "in time up to 500 ms; there are 0.5 ms" in finding.sentence


def test_an_objective_at_a_bound_is_judged_as_it_is_meant() -> None:
    assert names(**objective("500ms")) == []


def test_an_objective_above_all_bounds_can_never_be_judged() -> None:
    small = replace(WELL, histograms=(Histogram(PAGE, (100.0, 250.0)),))
    assert names(small, **objective("500ms")) == [("BucketTooCoarse", "error")]


@pytest.mark.parametrize(
    ("spec", "level"),
    [
        ({}, "error"),
        ({"acceptUnproven": "it is a demo"}, "warning"),
        (objective("500ms"), "warning"),
        ({"analysis": {"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}]}}, None),
    ],
)
def test_without_durations_latency_is_not_judged_and_where_it_has_to_be_nothing_is_proven(
    spec: dict[str, Any], level: str | None
) -> None:
    without = replace(WELL, histograms=())
    assert names(without, **spec) == ([("NoDurations", level)] if level else [])


def test_native_histograms_alone_are_no_durations_that_can_be_read() -> None:
    [finding] = found(replace(WELL, histograms=(), native=True))
    assert "there are native histograms only" in finding.sentence


# Who reports, and under which labels


def test_pods_that_count_nothing_are_told_of() -> None:
    assert names(replace(WELL, pods=None)) == [("DestinationReporterMissing", "info")]
    assert names(replace(WELL, pods=0.0)) == []


def test_a_waypoint_that_reports_alone_is_no_caller() -> None:
    """Beside sidecars it is nobody's business."""
    silent = codes.NO_SERIES.at("--prometheus", "none")
    alone = replace(Heard(probed=(silent,)), reporters=frozenset({"waypoint"}))
    assert names(alone) == [("NoSeries", "error"), ("WaypointAlone", "error")]
    assert names(replace(WELL, reporters=frozenset({"waypoint", "source", "destination"}))) == []


def test_a_waypoint_is_measured_as_callers_are() -> None:
    """Its pods count nothing of their own, and that is how it is in ambient mode."""
    measured = replace(WELL, reporter="waypoint", reporters=frozenset({"waypoint"}), rates=(("waypoint", 150.0),))
    assert names(replace(measured, pods=None)) == []


def test_what_the_other_reporter_counts_is_told() -> None:
    """A gateway goes past the waypoint: what it sends is moved, and not measured."""
    rates = (("source", 50.0), ("waypoint", 100.0))
    [one] = found(replace(WELL, reporter="waypoint", rates=rates))
    assert (one.code, one.level) == ("CountedElsewhere", "warning")
    assert "50 of 150 requests a second" in one.sentence
    assert one.sentence.endswith("measured by what a waypoint counts")
    [one] = found(replace(WELL, rates=(("source", 100.0), ("waypoint", 1.0))))
    assert (one.code, one.level) == ("CountedElsewhere", "info")
    assert one.sentence.endswith("measured by what the callers' own proxies count")


@pytest.mark.parametrize(
    ("label", "level"),
    [("response_code", "error"), ("destination_workload_namespace", "error"), ("response_flags", "warning")],
)
def test_a_label_that_no_series_has_is_missing(label: str, level: str) -> None:
    [finding] = found(replace(WELL, labels=LABELS - {label}))
    assert (finding.code, finding.level) == ("LabelMissing", level)
    assert label in finding.sentence


def test_a_grpc_status_is_missed_where_there_are_grpc_calls() -> None:
    """Plain HTTP has none."""
    assert names(replace(WELL, protocols=frozenset({"http", "grpc"}))) == [("LabelMissing", "error")]
    assert names(replace(WELL, protocols=frozenset({"grpc"}), labels=LABELS | {"grpc_response_status"})) == []


def test_a_label_that_the_probe_has_missed_is_not_missed_again() -> None:
    missing = codes.LABEL_MISSING.at("--prometheus", "none")
    assert found(replace(WELL, labels=LABELS - {"destination_workload"}, probed=(missing,))) == [missing]


# Telemetry


def telemetry(
    *overrides: Mapping[str, Any], name: str = "mesh", namespace: str = "istio-system", **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"metrics": [{"overrides": list(overrides)}], **spec},
    }


def removed(*tags: str, **match: str) -> dict[str, Any]:
    override: dict[str, Any] = {"tagOverrides": {tag: {"operation": "REMOVE"} for tag in tags}}
    return override | ({"match": match} if match else {})


@pytest.mark.parametrize(
    ("override", "level", "says"),
    [
        (removed("response_code"), "error", "takes response_code off istio_requests_total, so that failures could not"),
        (removed("destination_workload", "request_method", metric="REQUEST_COUNT"), "error", "takes destination_work"),
        (removed("response_flags", mode="CLIENT"), "warning", "takes response_flags off"),
        ({"match": {"metric": "REQUEST_COUNT"}, "disabled": True}, "error", "switches istio_requests_total off"),
        ({"match": {"metric": "REQUEST_DURATION"}, "disabled": True}, "error", "latency could not be judged"),
        ({"tagOverrides": {"response_code": {"value": "'x'"}}}, "warning", "rewrites response_code"),
    ],
)
def test_an_override_that_blinds_us_is_taken_out_and_nothing_else(
    town: Town, override: dict[str, Any], level: str, says: str
) -> None:
    town.heard = WELL
    harmless = {"match": {"metric": "REQUEST_COUNT"}, "tagOverrides": {"request_host": {"value": "request.host"}}}
    town.apply(telemetry(harmless, override))
    finding = town.cured(prometheus, "TelemetryOverride")
    assert (finding.level, finding.where) == (level, "Telemetry istio-system/mesh")
    assert says in finding.sentence
    assert "(for productpage-v1.default, istio-ingressgateway.istio-system)" in finding.sentence
    [left] = town.survey().all(TELEMETRIES)
    assert left["spec"]["metrics"][0]["overrides"][0] == harmless


@pytest.mark.parametrize(
    "object_",
    [
        telemetry(removed("request_method", "source_principal")),
        telemetry(removed("response_code", mode="SERVER")),
        telemetry(removed("response_code", metric="TCP_SENT_BYTES")),
        telemetry(removed("response_code", customMetric="my_metric")),
        telemetry(removed("response_code"), namespace="elsewhere"),
        telemetry(removed("response_code"), namespace="default", selector={"matchLabels": {"app": "ratings"}}),
        telemetry({"match": {"metric": "REQUEST_COUNT"}, "disabled": False}),
        {**telemetry(), "spec": {"metrics": [{"providers": [{"name": "otel"}], "overrides": [removed("reporter")]}]}},
        telemetry(removed("reporter"), targetRefs=[{"kind": "Gateway", "name": "waypoint"}]),
        {**telemetry(), "spec": {"tracing": [{"randomSamplingPercentage": 5}]}},
    ],
)
def test_a_telemetry_that_leaves_us_what_we_need_is_nothing(town: Town, object_: dict[str, Any]) -> None:
    """Another label, the pods' side, another metric, another provider, another namespace, another workload."""
    town.heard = WELL
    town.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}}, object_)
    assert town.found(prometheus) == []


def test_a_workloads_own_override_is_of_that_caller_alone(town: Town) -> None:
    town.heard = WELL
    own = telemetry(removed("reporter"), name="page", namespace="default")
    own["spec"]["selector"] = {"matchLabels": {"app": "productpage"}}
    town.apply(own)
    assert "(for productpage-v1.default)" in town.cured(prometheus, "TelemetryOverride").sentence


def test_what_is_nearer_overrides_what_is_wider(town: Town) -> None:
    """Off for the mesh, and on again where our callers are."""
    town.heard = replace(WELL, callers=(PAGE,))
    off = {"match": {"metric": "REQUEST_COUNT"}, "disabled": True}
    town.apply(telemetry(off), telemetry({**off, "disabled": False}, namespace="default"))
    assert town.found(prometheus) == []


def test_of_two_for_one_namespace_the_older_is_in_force() -> None:
    young, old = telemetry(removed("reporter"), name="a"), telemetry(name="b")
    young["metadata"]["creationTimestamp"], old["metadata"]["creationTimestamp"] = "2026-02-01", "2026-01-01"
    seen = Survey(plan(), heard=WELL, objects={TELEMETRIES: (young, old)})
    assert list(prometheus.check(seen)) == []


def test_a_label_that_a_telemetry_takes_off_is_not_missed_again(town: Town) -> None:
    town.heard = replace(WELL, labels=LABELS - {"response_code"})
    town.apply(telemetry(removed("response_code")))
    assert town.codes(prometheus) == ["TelemetryOverride"]


def test_without_known_callers_the_routes_namespace_is_looked_at(town: Town) -> None:
    """As before the first request."""
    town.heard = Heard(silent="away")
    town.apply(telemetry(removed("response_code")))
    assert "namespace default" in town.cured(prometheus, "TelemetryOverride").sentence


def test_where_telemetries_may_not_be_read_nothing_is_said_of_them() -> None:
    seen = Survey(
        plan(), heard=WELL, objects={TELEMETRIES: (telemetry(removed("reporter")),)}, unread={TELEMETRIES: "forbidden"}
    )
    assert list(prometheus.check(seen)) == []


def test_a_grpc_label_is_vital_where_the_port_is_grpc(town: Town) -> None:
    town.heard = WELL
    town.apply(telemetry(removed("grpc_response_status", metric="REQUEST_COUNT")))
    assert [one.level for one in town.found(prometheus)] == ["warning"]
    patch = '[{"op": "replace", "path": "/spec/ports/0/name", "value": "grpc"}]'
    town.type(f"kubectl patch service reviews --type json -p '{patch}'")
    assert [one.level for one in town.found(prometheus)] == ["error"]


# Whose series they are, and how often


def test_the_series_of_several_clusters_are_warned_of() -> None:
    [finding] = found(replace(WELL, clusters=("east", "west")))
    assert (finding.code, finding.level) == ("SeveralClusters", "warning")
    assert "2 clusters (east, west)" in finding.sentence


def test_a_pod_that_is_scraped_twice_counts_twice() -> None:
    assert names(replace(WELL, scrapers=2)) == [("ScrapedTwice", "warning")]
    assert names(replace(WELL, scrapers=0)) == []


@pytest.mark.parametrize(
    ("interval", "spec", "expected"),
    [
        (14.0, {}, []),
        (5.0, {}, [("ScrapeIntervalOther", "info")]),
        (20.0, {}, [("CellShorterThanScrape", "warning")]),
        (20.0, {"cell": "30s"}, []),
        (0.0, {}, []),
    ],
)
def test_the_interval_that_was_learned_is_held_against_the_plans(
    interval: float, spec: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert names(replace(WELL, interval=interval), analysis=spec) == expected


def test_what_is_scraped_too_seldom_is_the_probes_to_say() -> None:
    seldom = codes.SCRAPED_TOO_SELDOM.at("--prometheus", "about 60 s")
    assert found(replace(WELL, interval=60.0, probed=(seldom,))) == [seldom]


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of Istio objects at {CORPUS}")
def test_no_telemetry_of_istios_own_breaks_the_check() -> None:
    """Objects of all sorts, and some with nothing where something should be."""
    objects = [
        one
        for file in sorted(CORPUS.rglob("*.yaml"))
        for one in yaml.load_all(file.read_text(), Loader=yaml.BaseLoader)
        if isinstance(one, dict) and isinstance(one.get("metadata"), dict) and one["metadata"].get("name")
    ]
    assert objects
    odd: list[Any] = [
        {"metrics": None},
        {"metrics": [None]},
        {"metrics": [{"overrides": None}]},
        {"selector": None},
        None,
    ]
    objects += [{**telemetry(), "spec": spec} for spec in odd]
    objects += [telemetry({"tagOverrides": {"reporter": None}}), telemetry({"match": None})]
    for one in objects:
        one["metadata"].setdefault("namespace", "default")
        list(prometheus.check(Survey(plan(), heard=WELL, objects={TELEMETRIES: (one,)})))
        assert name_of(one)


def test_a_caller_of_a_workload_that_is_no_deployment_gets_no_command() -> None:
    """The finding says what to do; there is nothing to type."""
    odd = (Histogram(Caller("db", "default"), (1.0,)), Histogram(PAGE, BOUNDS))
    [finding] = found(replace(WELL, histograms=odd))
    assert finding.remedy == ""

"""A Canary of Flagger as a plan: what is carried means the same, and what is not is said."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.model.problem import Refused
from tests.importing.manifests import HERE, content, fate, flagger, one, said


def example(name: str) -> str:
    return (HERE / f"flagger-{name}.yaml").read_text()


def weights(analysis: dict[str, Any]) -> list[Any]:
    return [step["weight"] for step in content(flagger({"stepWeight": None, "maxWeight": None} | analysis))["steps"]]


def test_the_usual_canary_is_this_plan() -> None:
    """Flagger's clones are the two versions, by the Services that it made for them."""
    found = one(example("weights"))
    assert (
        found.text
        == """\
# From Canary test/podinfo of Flagger, by canaryd import.
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {name: podinfo, namespace: test, labels: {team: web}}
spec:
  # a new value begins a run: write it when the new version's pods are there
  release: "1"
  # Flagger's own objects: Deployment podinfo-primary behind podinfo-primary, podinfo behind podinfo-canary. They
  # stay, without Flagger: docs/import.md has the order
  target: {virtualService: podinfo, host: podinfo, stable: {host: podinfo-primary}, canary: {host: podinfo-canary}}
  steps:
    - {weight: 10, bake: 1m}
    - {weight: 20, bake: 1m}
    - {weight: 30, bake: 1m}
    - {weight: 40, bake: 1m}
    - {weight: 50, bake: 1m}
  analysis:
    checks:
      - {name: errors, metric: error-rate, compare: stable}
      - {name: latency, metric: latency, compare: stable}
      - {name: request-success-rate, metric: error-rate, atMost: 1%}
      - {name: request-duration, metric: latency, within: 500ms, atLeast: 99%}
  # podinfo has all the traffic, until podinfo-primary runs the same and gets it back: docs/return.md
  afterPromotion: return
"""
    )
    assert [lost.path for lost in found.lost] == [
        "spec.progressDeadlineSeconds",
        "spec.autoscalerRef",
        "spec.analysis.threshold",
        "spec.analysis.webhooks.0",
    ]


def test_the_plan_fits_the_virtual_service_that_flagger_made() -> None:
    """What admission would refuse of the objects beside it is said at once."""
    assert "preflight will refuse" not in said(one(example("weights")))
    renamed = example("weights").replace("host: podinfo-primary}, weight", "host: podinfo-blue}, weight")
    assert "preflight will refuse" in said(one(renamed))


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({"stepWeight": 25, "maxWeight": 75}, [25, 50, 75]),
        ({"stepWeight": 25}, [25, 50, 75]),
        ({"stepWeight": 40, "maxWeight": 100}, [40, 80]),
        ({"stepWeights": [1, 2, 10, 80]}, [1, 2, 10, 80]),
        ({"stepWeights": [10, 50, 100]}, [10, 50]),
        ({"stepWeights": [10, 5, 60]}, [10, 60]),
        ({"stepWeight": 60, "maxWeight": 50}, [50]),
    ],
)
def test_weights_go_as_flagger_goes(analysis: dict[str, Any], expected: list[Any]) -> None:
    assert weights(analysis) == expected


def test_a_step_that_does_not_divide_the_maximum_stops_at_the_maximum() -> None:
    """Flagger adds the step once more and passes it (scheduler.go, runCanary); the plan keeps what is written."""
    assert weights({"stepWeight": 20, "maxWeight": 50}) == [20, 40, 50]
    assert "would pass it and go to 60" in said(one(flagger({"stepWeight": 20, "maxWeight": 50})))


def test_a_low_maximum_gets_the_step_where_promotion_is_proven() -> None:
    """No plan promotes without proof because another tool did."""
    found = one(example("delegation"))
    assert [step["weight"] for step in found.content["spec"]["steps"]] == [10, 20, 30, 50]
    assert "acceptUnproven" not in found.content["spec"]
    assert "a step at 50 % was added" in said(found)


def test_the_interval_is_the_bake() -> None:
    assert content(flagger({"interval": "90s"}))["steps"][0]["bake"] == "1m30s"
    assert content(flagger({"interval": None}))["steps"][0]["bake"] == "1m"
    short = one(flagger({"interval": "10s"}))
    assert short.content["spec"]["steps"][0]["bake"] == "15s"
    assert "a step bakes a cell of canaryd at least" in said(short)


def test_metrics_are_checks_of_their_own_beside_the_comparison() -> None:
    found = one(example("metric"))
    spec = found.content["spec"]
    checks = {check["name"]: check for check in spec["analysis"]["checks"]}
    assert list(checks) == [
        "errors",
        "latency",
        "request-success-rate",
        "request-duration",
        "404s-percentage",
        "carts-min",
        "carts-max",
    ]
    assert checks["request-success-rate"]["atMost"] == "0.5%"
    assert checks["request-duration"]["within"] == "250ms"
    assert checks["404s-percentage"]["atMost"] == 5
    assert checks["404s-percentage"]["window"] == "2m"
    query = checks["404s-percentage"]["query"]
    assert 'destination_workload="${workload}", response_code="404"}[${window}]' in query
    assert 'destination_workload_namespace="${namespace}"' in query
    assert checks["carts-min"] == {
        "name": "carts-min",
        "metric": "promql",
        "query": 'avg_over_time(carts{app="checkout-api"}[5m]) / carts{deployment="checkout-primary"} > 3',
        "atLeast": 0.5,
        "window": "5m",
        "hardLimit": {"consecutive": 3},
    }
    assert checks["carts-max"]["atMost"] == 20


def test_a_metric_that_cannot_be_a_check_is_said() -> None:
    found = said(one(example("metric")))
    assert "measured by datadog, and canaryd asks only Prometheus" in found
    assert "kubectl get metrictemplate elsewhere -n shop -o yaml" in found
    assert "the query asks for answer" in said(
        one(flagger({"metrics": [{"name": "q", "query": "vector({{ answer }})", "thresholdRange": {"max": 1}}]}))
    )


def test_an_older_threshold_means_what_it_meant() -> None:
    """Least for the success rate, most for everything else (scheduler_metrics.go)."""
    metrics = [{"name": "request-success-rate", "threshold": 99}, {"name": "request-duration", "threshold": 500}]
    checks = content(flagger({"metrics": [*metrics, {"name": "own", "query": "sum(up)", "threshold": 7}]}))
    rate, duration, own = checks["analysis"]["checks"][2:]
    assert (rate["atMost"], duration["atLeast"], own["atMost"]) == ("1%", "99%", 7)


@pytest.mark.parametrize(
    ("analysis", "metric", "expected"),
    [
        ({"interval": "1m", "threshold": 5}, {}, 5),
        ({"interval": "5m", "threshold": 2}, {"interval": "1m"}, 10),  # here the query is asked five times as often
        ({"interval": "30s", "threshold": 4}, {"interval": "2m"}, 4),  # and here less often
        ({"interval": "1m", "threshold": 5000}, {}, None),
        ({"interval": "1m", "threshold": None}, {}, None),
    ],
)
def test_a_threshold_is_values_in_a_row_of_a_query(
    analysis: dict[str, Any], metric: dict[str, Any], expected: int | None
) -> None:
    """What ends the run here would have ended it there: so many failed checks, and none passed in between."""
    own = {"name": "own", "query": "sum(up)", "thresholdRange": {"max": 7}, **metric}
    found = one(flagger({**analysis, "metrics": [own]}))
    assert found.content["spec"]["analysis"]["checks"][2].get("hardLimit") == (
        {"consecutive": expected} if expected else None
    )
    if analysis["threshold"]:
        why = next(lost.said for lost in found.lost if lost.path == "spec.analysis.threshold")
        assert "neither of several metrics together nor with good ones between" in why
        assert ("queries of your own have a hardLimit" in why) == (expected is not None)


def test_a_threshold_is_no_row_of_cells() -> None:
    """Flagger looked once an interval at its own metrics; cells are shorter, and a row of them is sooner full."""
    metrics = [{"name": "request-success-rate", "thresholdRange": {"min": 99}}]
    found = one(flagger({"metrics": metrics}))
    assert all("hardLimit" not in check for check in found.content["spec"]["analysis"]["checks"])
    assert "hardLimit, so many" not in said(found)


def test_each_hook_and_each_alert_is_said() -> None:
    found = one(example("metric"))
    paths = [one.path for one in found.lost if one.source.startswith("Canary")]
    assert [fate(found, f"spec.analysis.webhooks.{place}") for place in (0, 6, 7)] == ["left out"] * 3
    assert [f"spec.analysis.webhooks.{place}.url" in paths for place in range(1, 6)] == [True] * 5
    assert "spec.analysis.alerts.0" in paths
    assert any(one.source == "AlertProvider shop/chat" for one in found.lost)


def test_hooks_that_hold_something_up_are_gates_where_they_did() -> None:
    """The gate of a load tester was opened by a person; here the same person says it to canaryd."""
    spec = content(example("metric"))
    approve = {"approve": {"limit": "4h", "otherwise": "hold"}}
    assert spec["gates"] == {
        "start": {**approve, "webhooks": [{"name": "smoke", "limit": "4h", "otherwise": "rollback", "onNo": "hold"}]},
        "promotion": approve,
        "end": ["tell"],
    }
    assert [step.get("gate") for step in spec["steps"]] == [approve, approve, approve, None]
    assert "CloudEvent" in said(one(example("metric")))


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        (
            "affinity",
            [
                "spec.analysis.sessionAffinity",
                "spec.analysis.mirror",
                "spec.analysis.mirrorWeight",
                "spec.analysis.stepWeightPromotion",
            ],
        ),
        ("delegation", ["spec.revertOnDeletion"]),
        ("skip", ["spec.skipAnalysis"]),
    ],
)
def test_what_canaryd_lacks_is_said(name: str, lost: list[str]) -> None:
    found = one(example(name))
    assert [fate(found, path) for path in lost] == ["left out"] * len(lost)


def test_an_ab_test_is_a_step_for_the_matched_and_then_the_weights() -> None:
    """As long as the test was; no weight beside it, and promotion is proven on everybody's requests."""
    found = one(example("ab"))
    assert found.content["spec"]["steps"] == [
        {
            "match": [
                {"headers": {"x-canary": {"exact": "insider"}}},
                {"headers": {"cookie": {"regex": "^(.*?;)?(canary=always)(;.*)?$"}}},
            ],
            "bake": "10m",
        },
        {"weight": 5, "bake": "1m"},
        {"weight": 25, "bake": "1m"},
        {"weight": 50, "bake": "1m"},
    ]
    assert [fate(found, f"spec.analysis.{key}") for key in ("match.0", "match.1", "iterations")] == ["carried"] * 3


@pytest.mark.parametrize(
    "way", [{"headers": {"a": {"exact": "b"}}, "sourceLabels": {"c": "d"}}, {"queryParams": {}}, {"headers": {"a": {}}}]
)
def test_half_a_match_is_none(way: dict[str, Any]) -> None:
    """Without its other half it would send more people to the canary."""
    found = one(flagger({"iterations": 5, "match": [way, {"headers": {"X": {"suffix": ".b"}}}]}))
    assert fate(found, "spec.analysis.match.0") == "left out"
    assert found.content["spec"]["steps"][0]["match"] == [{"headers": {"x": {"regex": r".*\.b"}}}]
    assert "match" not in one(flagger({"iterations": 5, "match": [way]})).content["spec"]["steps"][0]


def test_what_stays_in_the_objects_is_not_lost() -> None:
    """Hosts, retries and policies stand in objects that stay as they are."""
    found = one(example("weights"))
    for path in ("hosts", "gateways", "retries", "trafficPolicy", "port"):
        assert fate(found, f"spec.service.{path}") == "idle"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"provider": "linkerd"}, "istio: canaryd moves weights of VirtualServices"),
        ({"targetRef": {"kind": "Service", "name": "x"}}, "a workload"),
        ({"targetRef": {}}, "the name of the target"),
        ({"service": {"appProtocol": "TCP"}}, "canaryd moves no weights of tcp routes"),
        ({"analysis": {"interval": "1m", "threshold": 1, "iterations": 10}}, "blue/green"),
    ],
)
def test_what_is_no_canary_of_http_weights_is_refused(change: dict[str, Any], word: str) -> None:
    made = flagger()
    made["spec"] |= change
    with pytest.raises(Refused, match=word):
        one(made)

"""A Rollout of Argo Rollouts as a plan: the script of its steps, its templates, its routes."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.model.problem import Refused
from tests.importing.manifests import HERE, argo, content, fate, one, said, template

GATE = {"approve": {"limit": "4h", "otherwise": "hold"}}
BACKGROUND = {"templates": [{"templateName": "ratio"}]}


def example(name: str) -> str:
    return (HERE / f"argo-{name}.yaml").read_text()


def steps(*script: dict[str, Any]) -> list[Any]:
    return list(content(argo(list(script)))["steps"])


def test_two_services_are_two_hosts_as_the_virtual_service_writes_them() -> None:
    found = one(example("hosts"))
    assert (
        found.text
        == """\
# From Rollout shop/orders of Argo Rollouts, by canaryd import.
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {name: orders, namespace: shop}
spec:
  # a new value begins a run: write it when the new version's pods are there
  release: "1"
  # its Services need labels of their own in their selectors, where Argo Rollouts wrote rollouts-pod-template-hash:
  # docs/import.md has the order
  target:
    virtualService: orders
    routes: [primary]
    host: orders-stable.shop.svc.cluster.local
    stable: {host: orders-stable.shop.svc.cluster.local}
    canary: {host: orders-canary.shop.svc.cluster.local}
  steps:
    - {weight: 5, bake: 10m}
    - {weight: 55, bake: 15m}
  # the canary's has all the traffic, until stable's Deployment runs the same and gets it back: docs/return.md
  afterPromotion: return
"""
    )
    assert "preflight will refuse" not in said(found)


def test_two_subsets_are_of_the_host_of_their_rule() -> None:
    target = content(example("subsets"))["target"]
    assert target == {
        "virtualService": "reviews",
        "host": "reviews",
        "stable": {"subset": "stable"},
        "canary": {"subset": "canary"},
    }


def test_subsets_without_a_host_ask_for_what_says_it() -> None:
    """Nothing in a Rollout says of which host its subsets are."""
    with pytest.raises(Refused, match="kubectl get destinationrule reviews"):
        one(example("subsets").split("---")[0])


def test_a_step_is_a_weight_with_what_follows_it() -> None:
    assert steps(
        {"setWeight": 10}, {"pause": {"duration": "1h30m"}}, {"setWeight": 60}, {"pause": {"duration": 90}}
    ) == [
        {"weight": 10, "bake": "1h30m"},
        {"weight": 60, "bake": "1m30s"},
    ]
    assert steps({"setWeight": 50}, {"pause": {"duration": "5m"}}, {"pause": {"duration": "5m"}}) == [
        {"weight": 50, "bake": "10m"}
    ]


def test_a_pause_without_an_end_is_a_gate_that_goes_on_holding() -> None:
    """Never one that goes on by itself, nor one that rolls back a release that only waited for a person."""
    assert steps({"setWeight": 50}, {"pause": {"duration": "5m"}}, {"pause": {}}) == [
        {"weight": 50, "bake": "5m", "gate": GATE}
    ]
    assert content(example("subsets"))["steps"] == [
        {"weight": 10, "bake": "1m", "gate": GATE},
        {"weight": 30, "bake": "1m"},
        {"weight": 50, "bake": "1m"},
    ]


def test_what_a_plan_has_no_step_for_is_said() -> None:
    found = one(example("routes"))
    where = "spec.strategy.canary.steps"
    lost = [f"{where}.1.setMirrorRoute", f"{where}.6.setWeight", f"{where}.7.plugin"]
    assert [fate(found, path) for path in lost] == ["left out"] * 3
    assert found.content["spec"]["target"]["also"] == [{"virtualService": "front-mesh", "routes": ["main"]}]
    assert fate(found, "spec.strategy.canary.trafficRouting.istio.virtualServices.1.routes") == "carried"
    elsewhere = one(example("routes").replace("name: front-mesh", "name: front-mesh.mesh"))
    assert fate(elsewhere, "spec.strategy.canary.trafficRouting.istio.virtualServices.1") == "left out"
    assert fate(found, "spec.strategy.canary.trafficRouting.plugins") == "left out"
    assert fate(one(example("experiment")), f"{where}.0.experiment.templates") == "left out"


def test_a_header_route_before_the_weights_is_a_step_of_its_own() -> None:
    """It takes the pause after it; one in between the weights has no place in a plan."""
    found = one(example("routes"))
    assert found.content["spec"]["steps"] == [
        {"match": [{"headers": {"x-insider": {"exact": "yes"}}}], "bake": "5m"},
        {"weight": 25, "bake": "5m"},
        {"weight": 75, "bake": "1h30m"},
    ]
    assert fate(found, "spec.strategy.canary.steps.0.setHeaderRoute") == "carried"
    assert fate(found, "spec.strategy.canary.steps.5.setHeaderRoute") == "idle"
    route = {"setHeaderRoute": {"name": "a", "match": [{"headerName": "X-A", "headerValue": {"prefix": "b"}}]}}
    late = one(argo([{"setWeight": 50}, route]))
    assert fate(late, "spec.strategy.canary.steps.1.setHeaderRoute") == "left out"
    alone = content(argo([route, {"pause": {}}]))["steps"]
    assert alone[0] == {"match": [{"headers": {"x-a": {"prefix": "b"}}}], "bake": "1m", "gate": GATE}
    assert [step["weight"] for step in alone[1:]] == [5, 25, 50]


def test_a_hundred_percent_is_the_promotion() -> None:
    found = one(example("subsets"))
    assert fate(found, "spec.strategy.canary.steps.5.setWeight") == "carried"
    assert fate(found, "spec.strategy.canary.steps.6.pause") == "left out"
    assert fate(found, "spec.strategy.canary.steps.0.setWeight") == "idle"


def test_no_weights_are_the_usual_ones() -> None:
    assert [step["weight"] for step in steps()] == [5, 25, 50]


def test_a_virtual_service_elsewhere_is_said() -> None:
    found = one(example("experiment"))
    assert found.content["spec"]["target"]["virtualService"] == "maths"
    assert fate(found, "spec.strategy.canary.trafficRouting.istio.virtualService.name") == "left out"


def test_templates_are_checks_with_their_arguments_filled_in() -> None:
    found = one(example("analysis"))
    spec = found.content["spec"]
    checks = {check["name"]: check for check in spec["analysis"]["checks"]}
    assert list(checks) == ["errors", "latency", "success-rate", "restarts", "errors-2"]
    assert checks["success-rate"]["weights"] == {"from": 60}, "startingStep 2 is where 60 % is set"
    assert checks["errors-2"]["weights"] == {"from": 20, "to": 20}, "it stood at 20 %"
    assert checks["errors-2"]["onEmpty"] == "zero", "len(result) == 0 was good"
    assert checks["restarts"]["query"] == 'sum(restarts{pod=~"${workload}-${podTemplateHash}-.*"})'
    assert checks["success-rate"]["atLeast"] == 0.95
    assert checks["success-rate"]["window"] == "5m"
    wanted = 'destination_service=~"guestbook-canary.shop.svc.cluster.local",region="eu",response_code!~"5.*"}[5m]'
    assert wanted in checks["success-rate"]["query"]
    assert checks["errors-2"]["atMost"] == 0.05
    assert spec["steps"][0] == {"weight": 20, "bake": "5m30s"}, "its delay and five measurements a minute apart"


def test_what_of_a_template_cannot_be_a_check_is_said() -> None:
    found = said(one(example("analysis")))
    assert "measured by web, and canaryd asks only Prometheus" in found
    assert "failureCondition" in found
    assert "exactly 0.05 is within the objective here, and was not there" in found


def test_what_has_no_value_is_no_measurement() -> None:
    """Zero would be bad where there has to be at least something."""
    found = one(argo(analysis=BACKGROUND), template(successCondition="len(result) == 0 || result[0] >= 0.95"))
    assert "len(result) == 0 is not in the plan" in said(found)
    assert "onEmpty" not in found.content["spec"]["analysis"]["checks"][2]


@pytest.mark.parametrize(
    ("metric", "expected", "kind"),
    [
        ({"failureLimit": 0, "interval": "1m"}, 1, "carried"),
        ({"failureLimit": 0}, 1, "carried"),
        ({"failureLimit": 0, "interval": "5m"}, 5, "left out"),  # it was looked at once in five minutes
        ({"failureLimit": 3, "interval": "1m"}, 4, "left out"),
        ({"failureLimit": 3, "interval": "10s"}, 4, "left out"),
        ({"failureLimit": "2", "interval": "1m"}, 3, "left out"),
        ({"failureLimit": "{{args.unknown}}", "interval": "1m"}, None, "left out"),
        ({"failureLimit": -1, "interval": "1m"}, None, "left out"),
        ({"failureLimit": 2000, "interval": "1m"}, None, "left out"),
    ],
)
def test_a_failure_limit_is_values_in_a_row(metric: dict[str, Any], expected: int | None, kind: str) -> None:
    """
    One more than the limit fails. Carried whole where there is only one; in a row it is less than it was there, which
    is said.
    """
    found = one(argo(analysis=BACKGROUND), template(**metric))
    check = found.content["spec"]["analysis"]["checks"][2]
    assert check.get("hardLimit") == ({"consecutive": expected} if expected else None)
    assert next(one.kind for one in found.fates if one.path.endswith("failureLimit")) == kind


def test_without_a_failure_limit_the_first_bad_value_was_the_end_and_that_is_noted() -> None:
    found = one(argo(analysis=BACKGROUND), template())
    assert "hardLimit" not in found.content["spec"]["analysis"]["checks"][2]
    assert "a metric without a failureLimit ended the rollout with its first bad value" in said(found)


def test_a_check_that_only_reports_has_no_limit() -> None:
    """A plan would refuse it."""
    dry = {**BACKGROUND, "dryRun": [{"metricName": "rat.*"}]}
    found = one(argo(analysis=dry), template(failureLimit=2))
    assert "hardLimit" not in found.content["spec"]["analysis"]["checks"][2]
    assert "the check only reports" in said(found)


@pytest.mark.parametrize(
    ("key", "usual", "instead"),
    [
        ("inconclusiveLimit", 0, "onInconclusive says for how long"),
        ("consecutiveErrorLimit", 4, "onNoData says for how long"),
        ("consecutiveSuccessLimit", 0, "until: evidence"),
    ],
)
def test_what_else_argo_counts_is_said_with_what_is_there_instead(key: str, usual: int, instead: str) -> None:
    """And what is as if it were not there is no loss."""
    lost = one(argo(analysis=BACKGROUND), template(**{key: 7})).lost
    assert [instead in one.instead for one in lost if one.path.endswith(key)] == [True]
    assert not [one for one in one(argo(analysis=BACKGROUND), template(**{key: usual})).lost if one.path.endswith(key)]


@pytest.mark.parametrize("where", ["Rollout", "AnalysisTemplate"])
def test_a_dry_run_only_reports(where: str) -> None:
    dry = [{"metricName": "rat.*"}]
    made = template()
    made["spec"] |= {"dryRun": dry} if where == "AnalysisTemplate" else {}
    found = one(argo(analysis={**BACKGROUND, **({"dryRun": dry} if where == "Rollout" else {})}), made)
    assert found.content["spec"]["analysis"]["checks"][2]["reportOnly"] is True
    assert (
        "reportOnly"
        not in content(argo(analysis={**BACKGROUND, "dryRun": [{"metricName": "other"}]}), template())["analysis"][
            "checks"
        ][2]
    )


@pytest.mark.parametrize(
    ("kind", "query"), [("Stable", "x{{args.h}}"), ("Latest", 'x{rollouts_pod_template_hash="{{args.h}}"}')]
)
def test_a_hash_that_is_not_the_canarys_is_said(kind: str, query: str) -> None:
    arguments = [{"name": "h", "valueFrom": {"podTemplateHashValue": kind}}]
    found = one(argo(analysis={**BACKGROUND, "args": arguments}), template(provider={"prometheus": {"query": query}}))
    assert any(one.path == "spec.metrics.0" for one in found.lost)


def test_a_template_that_was_not_given_is_asked_for() -> None:
    found = said(
        one(argo(analysis={"templates": [{"templateName": "a"}, {"templateName": "b", "clusterScope": True}]}))
    )
    assert "kubectl get analysistemplate a -n shop -o yaml" in found
    assert "kubectl get clusteranalysistemplate b -o yaml" in found


def test_templates_in_templates_are_read_and_end() -> None:
    """Two that name each other are a mistake, and no reason to run for ever."""
    outer = template()
    outer["metadata"]["name"] = "outer"
    outer["spec"] = {"templates": [{"templateName": "ratio"}, {"templateName": "outer"}]}
    found = one(argo(analysis={"templates": [{"templateName": "outer"}]}), outer, template())
    assert [check["name"] for check in found.content["spec"]["analysis"]["checks"]] == ["errors", "latency", "ratio"]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({}, {"atLeast": 0.95}),
        ({"successCondition": None, "failureCondition": "result[0] >= 0.1"}, {"atMost": 0.1}),
        ({"successCondition": "result[0] >= 1 && result[0] <= 3"}, {"atLeast": 1}),
    ],
)
def test_conditions_are_objectives(metric: dict[str, Any], expected: dict[str, Any]) -> None:
    check = content(argo(analysis=BACKGROUND), template(**metric))["analysis"]["checks"][2]
    assert {key: check[key] for key in expected} == expected


@pytest.mark.parametrize("condition", ["result.ok", "result[0] >= 0.95 || result[1] > 2", "all(result, # > 0.9)", None])
def test_a_condition_that_asks_more_is_left_whole(condition: str | None) -> None:
    found = one(argo(analysis=BACKGROUND), template(successCondition=condition))
    assert "analysis" not in found.content["spec"]
    assert any(one.path == "spec.metrics.0" for one in found.lost)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        ({"spec": {"strategy": {"blueGreen": {"activeService": "a"}}}}, "canaryd has no blue/green"),
        ({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 5}]}}}}, "not numbers of pods"),
        ({"spec": {"strategy": {"canary": {"trafficRouting": {"nginx": {}}}}}}, "got nginx"),
        (
            {"spec": {"strategy": {"canary": {"trafficRouting": {"istio": {"virtualService": {"name": "a"}}}}}}},
            "which two versions",
        ),
    ],
)
def test_what_is_no_canary_of_http_weights_is_refused(made: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=word):
        one({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "x"}} | made)

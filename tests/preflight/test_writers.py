"""Others that write the route, its Services or its subsets, before and after they have left a mark."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.mesh.gitops import keepers
from canaryd.preflight import writers
from tests.preflight.objects import changed, definition, marked
from tests.preflight.stage import Town

Object = dict[str, Any]
FLUX, HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"


def made(group: str, version: str, kind: str, spec: Object, namespace: str = "default") -> Object:
    meta = {"name": "reviews", "namespace": namespace}
    return {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": meta, "spec": spec}


def canary(namespace: str = "default", **spec: Any) -> Object:
    return made("flagger.app", "v1beta1", "Canary", spec, namespace)


def rollout(**strategy: Any) -> Object:
    return made("argoproj.io", "v1alpha1", "Rollout", {"strategy": strategy})


def above_info(town: Town) -> list[str]:
    return [one.code for one in town.found(writers) if one.level != "info"]


def deployment(name: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}


@pytest.fixture
def flagger(town: Town) -> Town:
    town.apply(definition("flagger.app", "v1beta1", "Canary", "canaries"))
    return town


@pytest.fixture
def argo(town: Town) -> Town:
    town.apply(definition("argoproj.io", "v1alpha1", "Rollout", "rollouts"))
    return town


# -- Flagger


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"targetRef": deployment("reviews")}, "Service default/reviews"),
        ({"targetRef": deployment("books"), "service": {"name": "reviews"}}, "Service default/reviews"),
        ({"targetRef": deployment("reviews-v3")}, "workload default/reviews-v3"),
        ({"targetRef": deployment("reviews-v1"), "service": {"port": 9080}}, "workload default/reviews-v1"),
    ],
)
def test_a_canary_of_flaggers_takes_hold_before_it_leaves_a_mark(flagger: Town, spec: Object, said: str) -> None:
    flagger.apply(canary(**spec))
    assert said in flagger.cured(writers, "FlaggerWouldOwn").sentence


def test_canaries_of_others_and_suspended_ones_are_none_of_ours(flagger: Town) -> None:
    flagger.apply(canary(targetRef=deployment("ratings-v1"), service={"name": "ratings"}))
    flagger.apply(canary("istio-system", targetRef=deployment("reviews")))
    assert above_info(flagger) == []
    flagger.apply(canary(targetRef=deployment("reviews"), suspend=True))
    assert above_info(flagger) == []


def test_what_flagger_has_marked_is_admissions(flagger: Town) -> None:
    """One fact has one finding."""
    flagger.apply(canary(targetRef=deployment("reviews")))
    marked(flagger, "VirtualService", "reviews", annotations={"flagger.kubernetes.io/original-configuration": "{}"})
    assert above_info(flagger) == []


# -- Argo Rollouts


def test_a_rollout_that_writes_the_services_selector_lets_go(argo: Town) -> None:
    routing = {"istio": {"virtualService": {"name": "other"}}}
    argo.apply(
        rollout(canary={"stableService": "reviews", "canaryService": "x", "trafficRouting": routing, "steps": []})
    )
    found = argo.cured(writers, "RolloutSelects")
    assert "Service reviews as its stableService" in found.sentence


def test_a_blue_green_rollout_is_said(argo: Town) -> None:
    argo.apply(rollout(blueGreen={"activeService": "reviews", "previewService": "reviews-preview"}))
    [found] = [one for one in argo.found(writers) if one.code == "RolloutSelects"]
    assert (found.level, found.remedy) == ("error", "")


@pytest.mark.parametrize(
    "strategy",
    [
        {"canary": {"stableService": "ratings", "canaryService": "ratings-canary"}},
        {"canary": {"steps": [{"setWeight": 5}]}},
        {"canary": {"stableService": "reviews", "trafficRouting": {"istio": {"virtualService": {"name": "reviews"}}}}},
    ],
    ids=["other-services", "no-services", "admissions"],
)
def test_rollouts_that_write_none_of_our_services_are_no_findings(argo: Town, strategy: Object) -> None:
    argo.apply(rollout(**strategy))
    assert above_info(argo) == []


def test_subsets_that_argo_rollouts_writes_are_said(town: Town) -> None:
    subsets = [
        {"name": "v1", "labels": {"version": "v1", "rollouts-pod-template-hash": "5d8"}},
        {"name": "v3", "labels": {"version": "v3"}},
    ]
    changed(town, "DestinationRule", "reviews", subsets=subsets)
    [found] = [one for one in town.found(writers) if one.code == "RolloutSubsets"]
    assert "subset v1" in found.sentence


def test_a_hash_on_a_subset_that_is_neither_version_is_nothing(town: Town) -> None:
    subsets = [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"rollouts-pod-template-hash": "5d8"}},
        {"name": "v3", "labels": {"version": "v3"}},
    ]
    changed(town, "DestinationRule", "reviews", subsets=subsets)
    assert above_info(town) == []


# -- Kiali, and whoever is in managedFields


@pytest.mark.parametrize("kind", ["VirtualService", "DestinationRule"])
def test_what_kialis_wizard_made_it_may_rewrite(town: Town, kind: str) -> None:
    marked(town, kind, "reviews", labels={"kiali_wizard": "traffic_shifting"})
    assert town.cured(writers, "KialiWizard").where == f"{kind} default/reviews"


def test_a_rule_of_another_host_may_be_kialis(town: Town) -> None:
    marked(town, "DestinationRule", "ratings", labels={"kiali_wizard": "traffic_shifting"})
    assert above_info(town) == []


def written(town: Town, manager: str, operation: str = "Update", **fields: Object) -> None:
    """`reviews` as if ``manager`` had written it."""
    found = town.cluster.find("VirtualService", "default", "reviews")
    assert found is not None
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": "networking.istio.io/v1",
        "time": "2026-11-26T03:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields or {"f:spec": {"f:http": {}}},
    }
    town.apply({**found, "metadata": {**found["metadata"], "managedFields": [entry]}})


def writers_of(town: Town) -> list[tuple[str, str]]:
    return [(one.level, one.sentence) for one in town.found(writers) if one.code == "OtherWriter"]


@pytest.mark.parametrize(("operation", "level"), [("Update", "info"), ("Apply", "warning")])
def test_a_controller_that_has_written_the_entries_is_named(town: Town, operation: str, level: str) -> None:
    """One that applies from the server writes again whenever it likes."""
    written(town, "traffic-manager", operation)
    [(found, said)] = writers_of(town)
    assert found == level
    assert "traffic-manager" in said
    assert "2026-11-26T03:00:00Z" in said


@pytest.mark.parametrize("manager", ["canaryd", "kubectl-edit", "kubectl-client-side-apply", "kubectl", "k9s"])
def test_a_persons_edit_is_nothing(town: Town, manager: str) -> None:
    written(town, manager)
    assert writers_of(town) == []


def test_who_wrote_other_fields_is_nobody(town: Town) -> None:
    written(town, "labeller", **{"f:metadata": {"f:labels": {}}, "f:spec": {"f:hosts": {}}})
    assert writers_of(town) == []


# -- GitOps, which admission finds


def kept(marks: Object, key: str = "labels") -> list[tuple[str, str]]:
    meta = {"name": "reviews", "namespace": "default", key: marks}
    return [(one.level, one.sentence) for one in keepers({"metadata": meta})]


def test_each_gitops_tool_is_told_by_its_own_marks() -> None:
    [(level, said)] = kept(
        {"argocd.argoproj.io/tracking-id": "shop:networking.istio.io/VirtualService:a/b"}, "annotations"
    )
    assert (level, "Application shop of Argo CD" in said) == ("info", True)
    [(level, said)] = kept({f"{FLUX}/name": "apps", f"{FLUX}/namespace": "flux-system"})
    assert (level, "Kustomization apps of Flux" in said) == ("warning", True)
    [(level, said)] = kept({f"{HELM}/name": "shop", "app.kubernetes.io/managed-by": "Helm"})
    assert (level, "HelmRelease shop of Flux" in said) == ("warning", True)
    [(level, said)] = kept({"app.kubernetes.io/managed-by": "Helm"})
    assert (level, "release of Helm" in said) == ("info", True)
    assert kept({"app": "reviews"}) == []


@pytest.mark.parametrize("mark", [f"{FLUX}/reconcile=disabled", f"{FLUX}/ssa=IfNotPresent", f"{FLUX}/ssa=Ignore"])
def test_a_tool_that_leaves_the_object_alone_is_not_mentioned(mark: str) -> None:
    key, _, value = mark.partition("=")
    assert kept({f"{FLUX}/name": "apps", key: value}) == []
    assert len(kept({f"{FLUX}/name": "apps", key: "enabled"})) == 1


@pytest.mark.parametrize("group", [FLUX, HELM])
def test_flux_is_made_to_let_be_by_the_command_as_it_stands(town: Town, group: str) -> None:
    marked(town, "VirtualService", "reviews", labels={f"{group}/name": "apps"})
    found = town.admitted()
    assert found is not None
    [finding] = [one for one in found.findings if one.code == "GitOpsKeeps"]
    town.type(finding.remedy)
    after = town.admitted()
    assert after is not None
    assert "GitOpsKeeps" not in [one.code for one in after.findings]

"""Who has no sidecar, what that does to weights and counts, and what gives them one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from canaryd.kube import DEPLOYMENTS, NAMESPACES, PODS
from canaryd.lab import bookinfo
from canaryd.preflight import sidecars
from canaryd.preflight.heard import Caller, Heard
from tests.preflight.stage import HEARD, Town

Object = dict[str, Any]


def namespace(name: str = "default", **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def without_sidecar(town: Town, *versions: str) -> None:
    """The pods of these versions as they are when they were born before their namespace was labelled."""
    town.apply(namespace())
    for version in versions:
        deployment = bookinfo.deployment("reviews", version, 2)
        deployment["spec"]["template"]["metadata"]["annotations"] = {"born": "before the label"}
        town.apply(deployment)


def with_template(town: Town, *, version: str = "v3", labels: Object | None = None, **spec: Any) -> None:
    deployment = bookinfo.deployment("reviews", version, 2)
    template = deployment["spec"]["template"]
    template["metadata"]["labels"] = {**template["metadata"]["labels"], **(labels or {})}
    template["spec"] |= spec
    town.apply(deployment)


def test_pods_with_sidecars_are_nothing_to_speak_of(town: Town) -> None:
    assert town.found(sidecars) == []


def test_pods_older_than_their_namespaces_label_are_restarted(town: Town) -> None:
    without_sidecar(town, "v3")
    town.apply(namespace(**{"istio-injection": "enabled"}))
    finding = town.cured(sidecars, "SidecarMissing")
    assert finding.level == "warning"
    assert finding.where == "pods of reviews-v3 in namespace default"
    assert "2 of 2" in finding.sentence
    assert finding.remedy == "kubectl rollout restart deployment/reviews-v3 -n default"


def test_a_namespace_without_a_label_gets_one_before_the_restart(town: Town) -> None:
    without_sidecar(town, "v1")
    finding = town.cured(sidecars, "SidecarMissing")
    assert finding.remedy == (
        "kubectl label namespace default istio-injection=enabled --overwrite && "
        "kubectl rollout restart deployment/reviews-v1 -n default"
    )


def test_a_mesh_of_revisions_gets_the_revision_that_others_have(town: Town) -> None:
    """Where no default revision is installed, `istio-injection=enabled` would do nothing at all."""
    without_sidecar(town, "v3")
    for pod in town.pods():
        status = pod["metadata"].get("annotations", {}).get("sidecar.istio.io/status")
        if status:
            pod["metadata"]["annotations"]["sidecar.istio.io/status"] = status.replace("default", "1-30")
            town.cluster.apply(pod)
    town.apply(namespace(**{"istio-injection": "disabled"}))
    finding = town.cured(sidecars, "SidecarMissing")
    assert "istio-injection- istio.io/rev=1-30" in finding.remedy


def test_a_template_that_refuses_its_sidecar_is_told_otherwise(town: Town) -> None:
    with_template(town, labels={"sidecar.istio.io/inject": "false"})
    finding = town.cured(sidecars, "SidecarMissing")
    assert "template says sidecar.istio.io/inject: false" in finding.sentence


def test_an_annotation_refuses_a_sidecar_too(town: Town) -> None:
    town.apply(namespace())
    deployment = bookinfo.deployment("reviews", "v3", 2)
    deployment["spec"]["template"]["metadata"]["annotations"] = {"sidecar.istio.io/inject": "false"}
    town.apply(deployment)
    town.apply(namespace(**{"istio-injection": "enabled"}))
    finding = town.cured(sidecars, "SidecarMissing")
    assert "template says" in finding.sentence


def test_a_namespace_where_injection_is_off_is_told_first(town: Town) -> None:
    """There a pod's own label does nothing."""
    town.apply(namespace(**{"istio-injection": "disabled"}))
    with_template(town, labels={"sidecar.istio.io/inject": "false"})
    finding = town.cured(sidecars, "SidecarMissing")
    assert finding.remedy.startswith("kubectl label namespace default istio-injection=enabled --overwrite && ")


def test_a_native_sidecar_is_a_sidecar(town: Town) -> None:
    without_sidecar(town, "v3")
    with_template(town, initContainers=[{"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}])
    assert "SidecarMissing" not in town.codes(sidecars)


def test_a_pod_without_an_owner_is_found_and_left_to_people(town: Town) -> None:
    town.apply(namespace())
    pod = copy.deepcopy(town.pods(app="reviews", version="v3")[0])
    pod["metadata"] = {"name": "alone", "namespace": "default", "labels": {"app": "reviews", "version": "v3"}}
    pod["spec"]["containers"] = [one for one in pod["spec"]["containers"] if one["name"] != "istio-proxy"]
    town.cluster.apply(pod)
    [finding] = town.found(sidecars)
    assert (finding.code, finding.remedy) == ("SidecarMissing", "")
    assert "1 of 3 (alone)" in finding.sentence


def test_pods_of_an_argo_rollout_are_left_to_people(town: Town) -> None:
    """Its pods look like a Deployment's, which kubectl would not find."""
    without_sidecar(town, "v3")
    seen = town.survey()
    deployments = [one for one in seen.all(DEPLOYMENTS) if one["metadata"]["name"] != "reviews-v3"]
    [finding] = sidecars.check(replace(seen, objects={**seen.objects, DEPLOYMENTS: deployments}))
    assert (finding.code, finding.remedy) == ("SidecarMissing", "")


def test_a_pod_on_its_way_out_does_not_count(town: Town) -> None:
    pod = copy.deepcopy(town.pods(app="reviews", version="v3")[0])
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pod["metadata"]["annotations"] = {}
    pod["spec"]["containers"] = [one for one in pod["spec"]["containers"] if one["name"] != "istio-proxy"]
    seen = town.survey()
    assert not list(sidecars.check(replace(seen, objects={**seen.objects, PODS: (*seen.all(PODS), pod)})))


def test_without_a_look_at_namespaces_no_command_is_guessed(town: Town) -> None:
    without_sidecar(town, "v3")
    blind = replace(town.survey(), unread={NAMESPACES: "forbidden"})
    [finding] = sidecars.check(blind)
    assert (finding.code, finding.remedy) == ("SidecarMissing", "")


def test_pods_on_their_nodes_network_never_get_one(town: Town) -> None:
    town.apply(namespace())
    with_template(town, hostNetwork=True)
    [finding] = town.found(sidecars)
    assert finding.code == "HostNetwork"
    town.apply(namespace(**{"istio-injection": "enabled"}))
    with_template(town)
    assert town.found(sidecars) == []


def test_a_caller_that_has_lost_its_sidecar_is_told_of(town: Town) -> None:
    town.apply(namespace())
    page = bookinfo.deployment("productpage", "v1")
    page["spec"]["template"]["metadata"]["annotations"] = {"born": "before the label"}
    town.apply(page)
    town.apply(namespace(**{"istio-injection": "enabled"}))
    finding = town.cured(sidecars, "CallerWithoutSidecar")
    assert finding.where == "pods of productpage-v1 in namespace default"
    assert "whatever the weights say" in finding.sentence


def test_one_who_does_not_call_may_be_without(town: Town) -> None:
    town.heard = Heard(callers=(Caller("istio-ingressgateway", "istio-system", 1.0),))
    page = bookinfo.deployment("productpage", "v1")
    page["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    town.apply(page)
    assert town.found(sidecars) == []


@pytest.mark.parametrize(("rate", "level"), [(10.0, "warning"), (1.0, "info")])
def test_requests_from_beyond_the_mesh_are_counted_against_the_others(town: Town, rate: float, level: str) -> None:
    town.heard = replace(HEARD, uninjected=rate)
    [finding] = town.found(sidecars)
    assert (finding.code, finding.level) == ("RequestsBesideTheMesh", level)
    assert f"{rate:g} of {150 + rate:g} requests a second" in finding.sentence


@pytest.mark.parametrize(("asked", "label"), [("enabled", "istio.io/rev"), ("disabled", "istio-injection")])
def test_two_labels_of_which_one_does_not_count(town: Town, asked: str, label: str) -> None:
    town.apply(namespace(**{"istio-injection": asked, "istio.io/rev": "1-30"}))
    finding = town.cured(sidecars, "InjectionContradicts")
    assert finding.remedy == f"kubectl label namespace default {label}-"


def injector(**labels: str) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"istio-{'-'.join(labels.values())}".replace(".", "-"), "labels": labels},
        "webhooks": [],
    }


def revised(**labels: str) -> Object:
    return injector(**{f"istio.io/{key}": value for key, value in labels.items()})


def test_a_revision_that_nobody_serves(town: Town) -> None:
    town.apply(namespace(**{"istio.io/rev": "1-27"}), revised(rev="1-29"), revised(rev="1-30", tag="prod"))
    finding = town.cured(sidecars, "RevisionUnserved")
    assert "served: 1-29, 1-30, prod" in finding.sentence
    assert finding.remedy == "kubectl label namespace default istio.io/rev=1-29 --overwrite"


@pytest.mark.parametrize("revision", ["1-30", "prod"])
def test_a_revision_and_a_tag_that_are_served(town: Town, revision: str) -> None:
    town.apply(namespace(**{"istio.io/rev": revision}), revised(rev="1-30", tag="prod"))
    assert town.found(sidecars) == []


def test_an_istiod_that_is_seen_serves_its_revision(town: Town) -> None:
    istiod = bookinfo.deployment("istiod", "1-30")
    istiod["metadata"] |= {"namespace": "istio-system", "labels": {"app": "istiod", "istio.io/rev": "1-30"}}
    town.apply(istiod, namespace(**{"istio.io/rev": "1-30"}))
    assert town.found(sidecars) == []
    town.apply(namespace(**{"istio.io/rev": "1-27"}))
    assert town.cured(sidecars, "RevisionUnserved").remedy.endswith("istio.io/rev=1-30 --overwrite")


def test_where_no_injector_is_seen_no_revision_is_doubted(town: Town) -> None:
    """The control plane may be elsewhere."""
    town.apply(namespace(**{"istio.io/rev": "1-27"}))
    assert town.found(sidecars) == []


def test_sidecars_of_two_revisions(town: Town) -> None:
    for pod in town.pods(app="reviews", version="v1"):
        notes = pod["metadata"]["annotations"]
        notes["sidecar.istio.io/status"] = notes["sidecar.istio.io/status"].replace("default", "1-27")
        town.cluster.apply(pod)
    finding = town.cured(sidecars, "SidecarsDiffer")
    assert finding.level == "info"
    assert "1-27" in finding.sentence


# Ambient mode


def ambient(town: Town, **labels: str) -> None:
    """The namespace in ambient mode: its pods have no sidecars."""
    town.apply(namespace(**{"istio.io/dataplane-mode": "ambient", **labels}))
    for app, version in (("reviews", "v1"), ("reviews", "v3")):
        deployment = bookinfo.deployment(app, version, 2)
        deployment["spec"]["template"]["metadata"]["annotations"] = {"mode": "ambient"}
        town.apply(deployment)


def test_ambient_mode_without_a_waypoint_moves_nothing(town: Town) -> None:
    ambient(town)
    town.heard = Heard()
    finding = town.cured(sidecars, "AmbientWithoutWaypoint")
    assert finding.level == "error"
    assert finding.where == "Service default/reviews"
    [unread] = town.found(sidecars)
    assert (unread.code, unread.level) == ("AmbientUnmeasured", "error")
    assert "whose counts Prometheus does not have" in unread.sentence


def test_ambient_mode_behind_a_waypoint_that_is_measured_is_well(town: Town) -> None:
    """It carries out the weights and counts for its callers; which is all that a run needs."""
    ambient(town)
    town.heard = Heard()
    town.cured(sidecars, "AmbientWithoutWaypoint")
    town.heard = Heard(
        callers=(Caller("productpage-v1", "default", 50.0),), reporters=frozenset({"waypoint"}), reporter="waypoint"
    )
    assert town.found(sidecars) == []


def test_a_waypoint_beside_callers_that_the_run_is_measured_by_is_told(town: Town) -> None:
    """Its requests are moved and not measured."""
    ambient(town)
    town.heard = Heard(callers=(Caller("istio-ingressgateway", "istio-system", 50.0),))
    town.cured(sidecars, "AmbientWithoutWaypoint")
    town.heard = replace(town.heard, reporters=frozenset({"waypoint", "source"}))
    [finding] = town.found(sidecars)
    assert (finding.code, finding.level) == ("AmbientUnmeasured", "warning")
    assert "counts fewer requests than the callers' proxies" in finding.sentence


def test_ambient_mode_behind_a_gateway_is_measured_there(town: Town) -> None:
    ambient(town)
    town.heard = Heard(callers=(Caller("istio-ingressgateway", "istio-system", 50.0),))
    [finding] = town.found(sidecars)
    assert (finding.code, finding.level) == ("AmbientWithoutWaypoint", "warning")
    assert "only what istio-ingressgateway.istio-system send" in finding.sentence


def test_a_waypoint_that_is_not_there_is_none(town: Town) -> None:
    ambient(town, **{"istio.io/use-waypoint": "waypoint"})
    town.heard = Heard()
    finding = town.cured(sidecars, "AmbientWithoutWaypoint")
    assert "its waypoint default/waypoint is not there" in finding.sentence


@pytest.mark.parametrize("purpose", ["workload", "none"])
def test_a_waypoint_for_something_else_is_none(town: Town, purpose: str) -> None:
    ambient(town, **{"istio.io/use-waypoint": "waypoint"})
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "default", "labels": {"istio.io/waypoint-for": purpose}},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }
    town.apply(gateway)
    assert "is not for Services" in town.cured(sidecars, "AmbientWithoutWaypoint").sentence


def test_a_pod_that_its_node_has_taken_over_is_in_ambient_mode(town: Town) -> None:
    """Its annotation says so, also where the namespace's labels may not be read."""
    town.apply(namespace())
    deployment = bookinfo.deployment("reviews", "v3", 2)
    deployment["spec"]["template"]["metadata"]["annotations"] = {"ambient.istio.io/redirection": "enabled"}
    town.apply(deployment)
    assert town.codes(sidecars) == ["AmbientWithoutWaypoint"]


def test_a_pod_that_left_ambient_mode_wants_its_sidecar(town: Town) -> None:
    town.apply(namespace(**{"istio.io/dataplane-mode": "ambient"}))
    with_template(town, labels={"istio.io/dataplane-mode": "none"})
    assert town.codes(sidecars) == ["SidecarMissing"]

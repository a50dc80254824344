"""Who else moves traffic: Flagger, Argo Rollouts, and a second canaryd. The refusal, and its remedies as typed."""

from __future__ import annotations

from typing import Any

import yaml

from canaryd.cli.exits import Exit
from canaryd.model.run import Phase
from tests.cli.stage import Process, wait_for
from tests.controller.stage import Stage

Json = dict[str, Any]
LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]

# As Flagger makes a VirtualService of a Canary with `provider: istio`. Source: Flagger, pkg/router/istio.go.
FLAGGERS: Json = {
    "annotations": {
        "helm.toolkit.fluxcd.io/driftDetection": "disabled",
        "kustomize.toolkit.fluxcd.io/reconcile": "disabled",
    },
    "ownerReferences": [
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "name": "reviews",
            "uid": "5f9df13a-1aaf-49d0-adb0-5facf314ab54",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ],
}
# What Flagger leaves in a VirtualService that was there before it. Source: Flagger, pkg/router/router.go.
LEFT_BEHIND = "flagger.kubernetes.io/original-configuration"

# Subset-level traffic splitting. Source: Argo Rollouts, docs/features/traffic-management/istio.md.
ROLLOUT = """
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: reviews, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: reviews}}
  strategy:
    canary:
      trafficRouting:
        istio:
          virtualService: {name: reviews, routes: []}
          destinationRule: {name: reviews, canarySubsetName: v3, stableSubsetName: v1}
      steps:
        - setWeight: 5
        - pause: {duration: 10m}
  template:
    metadata: {labels: {app: reviews}}
    spec:
      containers: [{name: reviews, image: "docker.io/istio/examples-bookinfo-reviews-v1:1.20.3"}]
"""


def definition(group: str, kind: str, version: str) -> Json:
    """A CustomResourceDefinition without rules: others' kinds, for kubectl to look at."""
    plural = f"{kind.lower()}s" if not kind.endswith("y") else f"{kind.lower()[:-1]}ies"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def refusal(stage: Stage, process: Process) -> str:
    stage.until(lambda: stage.plan_object().get("status", {}).get("phase") == "refused", "a refusal", process)
    accepted = stage.condition("Accepted", stage.plan_object())
    assert (accepted["status"], accepted["reason"]) == ("False", "Refused")
    assert stage.plan_object()["status"]["why"] == accepted["message"]
    assert stage.run_objects() == []
    assert stage.weights() == (100, 0)
    stage.until(
        lambda: "PlanRefused" in {one["reason"] for one in stage.cluster.objects("Event")}, "its Event", process
    )
    return str(accepted["message"])


def command_in(message: str, start: str) -> str:
    """The remedy that begins so, as a person copies it; remedies stand in brackets."""
    return start + message.split(start, 1)[1].split(";")[0].split("\n")[0].rstrip(")")


def test_flaggers_virtual_service_is_left_to_flagger(stage: Stage) -> None:
    process = stage.controller()
    stage.cluster.apply(definition("flagger.app", "Canary", "v1beta1"))
    stage.change("VirtualService", "reviews", lambda found: found["metadata"].update(FLAGGERS))
    stage.apply()
    said = refusal(stage, process)
    assert "Canary reviews" in said
    assert "weights that Flagger does not set" in said
    look = stage.kubectl(command_in(said, "kubectl get canaries.flagger.app"))
    assert look.returncode == 0, look.stderr


def test_what_flagger_left_behind_is_taken_out_by_the_remedy(stage: Stage) -> None:
    process = stage.controller()
    note = {LEFT_BEHIND: '{"hosts":["reviews"],"http":[]}'}
    stage.change("VirtualService", "reviews", lambda found: found["metadata"].update(annotations=note))
    stage.apply()
    said = refusal(stage, process)
    assert stage.kubectl(command_in(said, "kubectl annotate virtualservice reviews")).returncode == 0
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_a_rollouts_virtual_service_is_left_to_argo_rollouts(stage: Stage) -> None:
    """Known by the Rollout alone: Argo Rollouts' annotation is there only while it moves traffic."""
    process = stage.controller()
    stage.cluster.apply(definition("argoproj.io", "Rollout", "v1alpha1"))
    stage.cluster.apply(yaml.safe_load(ROLLOUT))
    stage.apply()
    said = refusal(stage, process)
    assert "Rollout reviews" in said
    look = stage.kubectl(command_in(said, "kubectl get rollouts.argoproj.io"))
    assert "reviews" in look.stdout, look.stderr
    assert stage.kubectl("kubectl delete rollouts.argoproj.io reviews").returncode == 0
    stage.apply(watch="300ms")  # nothing of ours has changed: by itself it is tried again within a minute
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_canaryd_on_a_laptop_is_refused_by_a_run_in_the_cluster(stage: Stage) -> None:
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    run = stage.run_objects()[0]["metadata"]["name"]
    said = stage.try_run(stage.plan(steps=LONG))
    assert said.code == Exit.REFUSED
    assert f"run {run}" in said.err
    look = stage.kubectl(command_in(said.err, "kubectl get canaryrun"))
    assert run in look.stdout, look.stderr
    assert stage.weights() == (90, 10)
    assert not stage.is_so("Held", stage.run_objects()[0])


def test_a_run_on_a_laptop_is_left_alone_by_the_cluster_and_waited_for(stage: Stage) -> None:
    """Its marker is no orphan: it is its owner's affair. The plan begins when it has ended."""
    laptop = stage.start("run", stage.plan(steps=LONG))
    wait_for(lambda: stage.weights() == (90, 10), "10 %", process=laptop)
    process = stage.controller()
    stage.apply()
    stage.until(lambda: stage.plan_object().get("status", {}).get("phase") == "refused", "a refusal", process)
    said = stage.condition("Accepted", stage.plan_object())["message"]
    assert f"run {stage.run().uid}" in said
    assert "outside of the cluster" in said
    assert stage.weights() == (90, 10)
    assert laptop.running
    assert stage.canaryd("abort", stage.run().uid, "--state", stage.state).code == 0
    assert laptop.ended() == Exit.ABORTED, laptop.output
    assert stage.is_so("Promoted", stage.ends(process=process))


RESUME = """{"verb":"resume","reason":"Git ignores the weights now","by":"ada"}"""


def held_by_drift(stage: Stage, process: Process, run: str) -> None:
    stage.until(lambda: stage.is_so("Held", stage.run_objects()[0]), "a hold", process)
    why = stage.kubectl(
        f"""kubectl get canaryrun {run} -o jsonpath='{{.status.conditions[?(@.type=="Held")].message}}'"""
    )
    assert why.stdout == "somebody set the canary to 0 % in VirtualService default/reviews; the run wants 10 %"


def test_git_that_reverts_in_mid_run_is_held_and_a_person_resumes(stage: Stage) -> None:
    """The commands of docs/gitops.md, as typed: the first resume, and one more."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    run = stage.run_objects()[0]["metadata"]["name"]
    for patch in (
        f"""--type=merge -p '{{"spec":{{"commands":[{RESUME}]}}}}'""",
        f"""--type=json -p '[{{"op":"add","path":"/spec/commands/-","value":{RESUME}}}]'""",
    ):
        stage.set_weights(100, 0)
        held_by_drift(stage, process, run)
        resumed = stage.kubectl(f"kubectl patch canaryrun {run} {patch}")
        assert resumed.returncode == 0, resumed.stderr
        stage.until(lambda: stage.weights() == (90, 10), "the run's weights", process)
        stage.until(lambda: not stage.is_so("Held", stage.run_objects()[0]), "no hold", process)


def test_after_the_end_what_to_commit_is_shown_and_what_git_takes_back_is_said(stage: Stage) -> None:
    """The commands of docs/gitops.md, as typed."""
    process = stage.controller()
    stage.apply()
    stage.ends(process=process)
    weights = stage.kubectl(
        "kubectl get virtualservice reviews -o "
        """jsonpath='{range .spec.http[*].route[*]}{.destination.subset}{" "}{.weight}{"\\n"}{end}'"""
    )
    assert weights.stdout.splitlines() == ["v1 0", "v3 100"], weights.stderr
    stage.set_weights(100, 0)
    waited = stage.kubectl("kubectl wait canaryplan/reviews --for=condition=TrafficAsDecided=false --timeout=20s")
    assert waited.returncode == 0, waited.stderr
    why = stage.kubectl(
        """kubectl get canaryplan reviews -o jsonpath='{.status.conditions[?(@.type=="TrafficAsDecided")].message}'"""
    )
    assert why.stdout == "somebody set the canary v3 to 0 % in VirtualService default/reviews; 100 % was decided"

"""
The two lists of commands in docs/import.md, typed as they stand there, under traffic.

Flagger and Argo Rollouts are not there: what they have made and written is put into the cluster as their sources say,
owner references included, and it is Kubernetes' garbage collector (the lab's) that would take it away again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.importing import imported
from canaryd.kube import connect
from canaryd.lab.lab import Lab
from canaryd.lab.own import set_scene
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.plan import Plan, plan_of
from canaryd.model.problem import Refused

from .conftest import answered, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("lab-handover"), pytest.mark.timeout(200)]
Json = dict[str, Any]
PAGE = Path(__file__).parents[2] / "docs/import.md"
RPS = 200
PACE: Json = {"scrape": "1s", "cell": "2s", "settle": "2s", "warmup": "4s"}


def commands(tool: str) -> list[str]:
    """What the page says to type, in its order, between its marks for the tool."""
    part = PAGE.read_text(encoding="utf-8").split(f"<!-- {tool} -->")[1].split("<!-- end -->")[0]
    return re.findall(r"^ +\$ (.+)$", part, re.MULTILINE)


def definition(group: str, kind: str, plural: str) -> Json:
    """A kind of another tool's, of which the cluster need only know that it is there."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = (group == "flagger.app" and "v1beta1") or "v1alpha1"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def deployment(name: str, namespace: str, labels: Json, replicas: int) -> Json:
    app = labels["app"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": app.removesuffix("-primary"), "image": f"{app}:1"}]},
            },
        },
    }


def service(name: str, namespace: str, app: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 9898, "targetPort": 9898}]},
    }


def istio(kind: str, name: str, namespace: str, spec: Json) -> Json:
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": about, "spec": spec}


class Takeover:
    """A lab with what another tool has made in it, the plan that was made of that, and a person with kubectl."""

    def __init__(self, lab: Lab, folder: Path, plan: Plan, content: Json) -> None:
        self.lab, self.folder, self.plan = lab, folder, plan
        spec = {
            **content["spec"],
            "watch": "4s",
            "acceptUnproven": "it is the handover that is tried, on a busy machine",
        }
        spec["steps"] = [{"weight": 20, "bake": "6s"}, {"weight": 50, "bake": "6s"}]
        spec["analysis"] = {**PACE}
        self.file = folder / "plan.yaml"
        self.file.write_text(yaml.safe_dump({**content, "spec": spec}), encoding="utf-8")

    def type(self, command: str) -> str:
        """What kubectl says to it."""
        program = shutil.which("kubectl")
        assert program
        environment = {**os.environ, "KUBECONFIG": str(self.lab.kubeconfig), "HOME": str(self.folder)}
        found = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert found.returncode == 0, f"{command}: {found.stderr}"
        return found.stdout + found.stderr

    def apply(self, *objects: Json) -> None:
        (self.folder / "objects.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        self.type("kubectl apply -f objects.yaml")

    def own(self, owner: str, namespace: str, *owned: str) -> None:
        """Make the objects belong to ``owner``, as a controller does."""
        kind, name = owner.split("/")
        found = self.lab.cluster.find(kind, namespace, name)
        assert found
        reference = {
            "apiVersion": found["apiVersion"],
            "kind": kind,
            "name": name,
            "uid": found["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        for each in owned:
            body = yaml.safe_dump({"metadata": {"ownerReferences": [reference]}})
            self.type(f"kubectl patch {each} -n {namespace} --type=merge -p '{body}'")

    def codes(self) -> set[str]:
        """What admission has against the plan now."""
        try:
            IstioMesh(connect(str(self.lab.kubeconfig))).admit(self.plan)
        except Refused as refused:
            return {problem.code for problem in refused.problems}
        return set()

    def flows(self, requests: int = 300) -> None:
        """Traffic goes on: that many requests more are answered, and none has failed since the lab began."""
        self.lab.workloads.reconcile()
        self.lab.control_plane.settle()
        answered(self.lab, requests)
        counts = self.lab.counts()
        assert (counts.failed, counts.of("unknown").answered) == (0, 0), counts

    def run(self, meanwhile: Sequence[str]) -> str:
        """The plan, carried out; how it ended. Once the run waits for stable's Deployment, ``meanwhile`` is typed."""
        words = ["run", str(self.file), "--kubeconfig", str(self.lab.kubeconfig)]
        words += ["--prometheus", self.lab.prometheus_url, "--state", str(self.folder / "state")]
        with (self.folder / "said").open("w") as said:
            running = subprocess.Popen([sys.executable, "-m", "canaryd", *words], stdout=said, stderr=subprocess.STDOUT)
            try:
                wait_for(lambda: "returning at 100 %" in (self.folder / "said").read_text(), "the way back", 80)
                self.flows()
                for command in meanwhile:
                    self.type(command)
                code: int | str = running.wait(60)
            except subprocess.TimeoutExpired:
                code = "still running"
            finally:
                running.kill()
                running.wait()
        return f"{code} {(self.folder / 'said').read_text()}"


@contextmanager
def takeover(folder: Path, source: Json, *objects: Json) -> Iterator[Takeover]:
    """The lab with ``objects``, and the plan of ``source``."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on PATH")
    text = yaml.safe_dump_all(
        [source, *(one for one in objects if one["kind"] in ("VirtualService", "DestinationRule"))]
    )
    (found,) = imported([("source", text)])[0]
    place = folder / "objects"
    place.mkdir()
    (place / "all.yaml").write_text(yaml.safe_dump_all([*objects, dict(found.content)]), encoding="utf-8")
    scene, _, _ = set_scene(place)
    with Lab.up(folder / "lab", scene=scene, rps=RPS, seed=7, until_measured=False) as lab:
        yield Takeover(lab, folder, plan_of(found.content), dict(found.content))


def test_flagger_lets_go_and_no_request_is_lost(tmp_path: Path) -> None:
    """Its clones stay, become nobody's, and are the two versions of the plan."""
    canary: Json = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": "test", "finalizers": ["finalizer.flagger.app"]},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 9898},
            "revertOnDeletion": True,
            "analysis": {"interval": "1m", "threshold": 5, "stepWeight": 25, "maxWeight": 50},
        },
    }
    weights = [
        {"destination": {"host": f"podinfo-{side}"}, "weight": weight}
        for side, weight in (("primary", 100), ("canary", 0))
    ]
    made = (
        deployment("podinfo-primary", "test", {"app": "podinfo-primary"}, 2),
        deployment("podinfo", "test", {"app": "podinfo"}, 0),
        service("podinfo", "test", "podinfo-primary"),
        service("podinfo-primary", "test", "podinfo-primary"),
        service("podinfo-canary", "test", "podinfo"),
        istio("DestinationRule", "podinfo-primary", "test", {"host": "podinfo-primary"}),
        istio("DestinationRule", "podinfo-canary", "test", {"host": "podinfo-canary"}),
        istio(
            "VirtualService",
            "podinfo",
            "test",
            {"hosts": ["podinfo"], "gateways": ["mesh"], "http": [{"route": weights}]},
        ),
    )
    with takeover(tmp_path, canary, *made) as person:
        person.apply(definition("flagger.app", "Canary", "canaries"))
        person.apply(canary)
        person.own(
            "Canary/podinfo",
            "test",
            "deployment/podinfo-primary",
            "service/podinfo",
            "service/podinfo-primary",
            "service/podinfo-canary",
            "virtualservice/podinfo",
            "destinationrule/podinfo-primary",
            "destinationrule/podinfo-canary",
        )
        person.type("kubectl annotate virtualservice podinfo -n test flagger.kubernetes.io/original-configuration={}")
        person.flows()
        suspend, delete, unmark, look, *canary_up = commands("flagger")
        assert "suspend" in suspend
        person.type(suspend)
        assert "FlaggerOwns" in person.codes(), "suspended is not gone"
        person.flows()
        assert "--cascade=orphan" in delete
        person.type(delete)
        assert person.lab.cluster.find("Canary", "test", "podinfo") is None
        assert "FlaggerOwns" in person.codes(), "its mark is still there"
        person.flows()
        person.type(unmark)
        assert person.codes() == {"NoReadyPods"}, "nobody owns it, and the canary has no pods yet"
        assert person.type(look).count("\n  kind: ") >= 7, "everything that was generated is still there"
        person.flows()
        for command in canary_up:
            person.type(command)
        person.flows()
        assert person.codes() == set()
        assert person.lab.weights() == {"podinfo-primary": 100, "podinfo-canary": 0}
        ended = person.run(commands("flagger-returning"))
        assert ended.startswith("0 "), ended
        assert person.lab.weights() == {"podinfo-primary": 100, "podinfo-canary": 0}
        person.flows()


def test_without_orphan_the_canary_takes_everything_with_it(tmp_path: Path) -> None:
    """The warning of the page is no superstition: in one delete the service is gone."""
    canary: Json = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": "test"},
    }
    canary["spec"] = {"targetRef": {"name": "podinfo"}, "service": {"port": 9898}, "analysis": {"stepWeight": 50}}
    weights = [
        {"destination": {"host": f"podinfo-{side}"}, "weight": weight}
        for side, weight in (("primary", 100), ("canary", 0))
    ]
    made = (
        deployment("podinfo-primary", "test", {"app": "podinfo-primary"}, 1),
        service("podinfo", "test", "podinfo-primary"),
        service("podinfo-primary", "test", "podinfo-primary"),
        service("podinfo-canary", "test", "podinfo"),
        istio("VirtualService", "podinfo", "test", {"hosts": ["podinfo"], "http": [{"route": weights}]}),
    )
    with takeover(tmp_path, canary, *made) as person:
        person.apply(definition("flagger.app", "Canary", "canaries"))
        person.apply(canary)
        person.own("Canary/podinfo", "test", "deployment/podinfo-primary", "virtualservice/podinfo")
        person.flows()
        person.type(commands("flagger")[1].replace(" --cascade=orphan", ""))
        assert person.lab.cluster.find("Deployment", "test", "podinfo-primary") is None
        wait_for(lambda: person.lab.counts().failed > 0, "the outage", 20)


def test_argo_rollouts_lets_go_and_no_request_is_lost(tmp_path: Path) -> None:
    """Its pods serve until those of a Deployment do."""
    rollout: Json = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {
            "replicas": 2,
            "strategy": {
                "canary": {
                    "trafficRouting": {
                        "istio": {
                            "virtualService": {"name": "reviews"},
                            "destinationRule": {
                                "name": "reviews",
                                "canarySubsetName": "canary",
                                "stableSubsetName": "stable",
                            },
                        }
                    },
                    "steps": [{"setWeight": 20}, {"pause": {"duration": "5m"}}, {"setWeight": 50}],
                }
            },
        },
    }
    hashed = {"app": "reviews", "rollouts-pod-template-hash": "7c9f"}
    route = [
        {"destination": {"host": "reviews", "subset": side}, "weight": weight}
        for side, weight in (("stable", 100), ("canary", 0))
    ]
    subsets = [{"name": side, "labels": {"rollouts-pod-template-hash": "7c9f"}} for side in ("stable", "canary")]
    rule = istio("DestinationRule", "reviews", "shop", {"host": "reviews", "subsets": subsets})
    made = (
        deployment("reviews-7c9f", "shop", hashed, 2),
        service("reviews", "shop", "reviews"),
        rule,
        istio("VirtualService", "reviews", "shop", {"hosts": ["reviews"], "http": [{"route": route}]}),
    )
    with takeover(tmp_path, rollout, *made) as person:
        for version in ("v1", "v2"):
            new = deployment(f"reviews-{version}", "shop", {"app": "reviews", "version": version}, 2)
            new["spec"]["template"]["spec"]["containers"][0]["image"] = f"reviews:{version[1:]}"
            (tmp_path / f"reviews-{version}.yaml").write_text(yaml.safe_dump(new), encoding="utf-8")
        person.apply(definition("argoproj.io", "Rollout", "rollouts"))
        person.apply(rollout)
        person.type(
            "kubectl annotate destinationrule reviews -n shop argo-rollouts.argoproj.io/managed-by-rollouts=reviews"
        )
        person.type("kubectl delete deployment reviews-7c9f -n shop --cascade=orphan")
        sets = person.lab.cluster.objects("ReplicaSet", namespace="shop")
        (old,) = [one for one in sets if one["metadata"]["name"].startswith("reviews-7c9f-")]
        person.own("Rollout/reviews", "shop", f"replicaset/{old['metadata']['name']}")
        person.flows()
        assert "ArgoRolloutsOwns" in person.codes()
        up, up_status, delete, patch, old_away, *canary_up = commands("argo")
        person.type(up)
        person.type(up_status)
        person.flows()
        assert "--cascade=orphan" in delete
        person.type(delete)
        assert "ArgoRolloutsOwns" not in person.codes()
        person.flows()
        person.type(patch)
        person.flows()
        assert person.codes() == {"NoReadyPods"}, "the canary has no pods yet"
        person.type(old_away)
        person.flows()
        assert person.lab.cluster.find("ReplicaSet", "shop", old["metadata"]["name"]) is None
        for command in canary_up:
            person.type(command)
        person.flows()
        assert person.codes() == set()
        rest = person.lab.weights()
        assert sorted(rest.values()) == [0, 100]
        ended = person.run(commands("argo-returning"))
        assert ended.startswith("0 "), ended
        assert person.lab.weights() == rest
        person.flows()

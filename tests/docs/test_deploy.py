"""The manifests in deploy/ against the code that they deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from canaryd.kube import connect
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.workloads import install
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.plan import read_plan
from canaryd.model.traffic import NOTHING, Marker, Split
from canaryd.settings import Settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "base"


def objects() -> list[dict[str, Any]]:
    resources = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [each for name in resources for each in yaml.safe_load_all((BASE / name).read_text())]


def asked_of_the_api(tmp_path: Path) -> set[tuple[str, str]]:
    """(verb, resource) of every request that a run's adapter sends, from admission to release."""
    cluster = Cluster()
    install(cluster, bookinfo.objects())
    with ApiServer(cluster) as server:
        mesh = IstioMesh(connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5))
        plan = read_plan((ROOT / "canaryd/lab/reviews.yaml").read_text())
        route = mesh.admit(plan).route
        five = Split.percent(5)
        mesh.shift(route, Marker("run", 1, five, NOTHING, route.stable, route.canary, 1.0), mesh.look(route))
        mesh.sides(route)
        mesh.retreat(route, Marker("run", 2, NOTHING, five, route.stable, route.canary, 2.0))
        mesh.release(route, "run")
        return {(seen.verb, seen.resource) for seen in server.requests}


def test_the_role_grants_what_a_run_asks_for_and_nothing_more(tmp_path: Path) -> None:
    """A right too few fails at the first tick, a right too many is what an attacker gets."""
    rules = next(each for each in objects() if each["kind"] == "ClusterRole")["rules"]
    granted = {(verb, resource) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    asked = asked_of_the_api(tmp_path) - {("create", "selfsubjectaccessreviews")}  # every account may ask that
    assert granted == asked


def test_the_container_is_told_only_settings_that_there_are() -> None:
    """A misspelt variable is silently no setting at all."""
    deployment = next(each for each in objects() if each["kind"] == "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    names = {each["name"].removeprefix("CANARYD_").lower() for each in container["env"]}
    assert names <= set(Settings.model_fields)

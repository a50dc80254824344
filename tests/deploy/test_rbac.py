"""The rights in deploy/ against what the code asks for, and against what a real API server answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from canaryd.kube import VIRTUAL_SERVICES, connect
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.workloads import install
from canaryd.mesh.slim import CARE
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.plan import read_plan
from canaryd.model.traffic import NOTHING, Marker, Split
from canaryd.preflight.examining import Preflight
from canaryd.preflight.kinds import CANARIES, ROLLOUTS, SCALED_OBJECTS
from tests.conftest import XDIST_GROUP
from tests.deploy.conftest import Installed
from tests.deploy.manifests import CONTROLLER, DEPLOY, ROOT, built, documents, kubectl, of

ROLE = DEPLOY / "overlays/cluster-wide/role.yaml"
OURS = "canaryd.io"


def granted() -> set[tuple[str, str]]:
    """(verb, resource) of the role, without our own kinds and what is about them."""
    rules = of("ClusterRole", documents(ROLE.read_text()))["rules"]
    return {
        (verb, resource)
        for rule in rules
        if rule["apiGroups"] != [OURS] and rule["resources"] != ["events"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked_of_the_api(tmp_path: Path) -> set[tuple[str, str]]:
    """(verb, resource) of every request that is sent for a run, from preflight and admission to release."""
    cluster = Cluster()
    install(cluster, bookinfo.objects())
    with ApiServer(cluster) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
        mesh = IstioMesh(kube)
        plan = read_plan((ROOT / "canaryd/lab/reviews.yaml").read_text())
        admitted = mesh.admit(plan)
        route = admitted.route
        Preflight(kube, None, time.time).examine(plan, admitted)
        five = Split.percent(5)
        mesh.shift(route, Marker("run", 1, five, NOTHING, route.stable, route.canary, 1.0), mesh.look(route))
        mesh.sides(route)
        mesh.retreat(route, Marker("run", 2, NOTHING, five, route.stable, route.canary, 2.0))
        mesh.release(route, "run")
        return {(seen.verb, seen.resource) for seen in server.requests}


def test_the_role_grants_what_a_run_asks_for_and_nothing_more(tmp_path: Path) -> None:
    """A right too few fails at the first tick, a right too many is what an attacker gets."""
    asked = asked_of_the_api(tmp_path) - {("create", "selfsubjectaccessreviews")}  # every account may ask that
    watched = {("watch", kind.plural) for kind in (VIRTUAL_SERVICES, *CARE)}  # instead of asking at each tick
    others = {("list", one.plural) for one in (ROLLOUTS, CANARIES, SCALED_OBJECTS)}  # which the lab does not serve
    assert granted() == asked | watched | others


def test_of_config_maps_the_role_reads_istiods_only() -> None:
    """Others may hold what is nobody's business."""
    rules = of("ClusterRole", documents(ROLE.read_text()))["rules"]
    [rule] = [one for one in rules if "configmaps" in one["resources"]]
    assert (rule["resourceNames"], rule["verbs"]) == (["istio"], ["get"])


def test_no_role_writes_workloads_or_reads_secrets() -> None:
    """In no overlay, whoever adds a rule in a hurry."""
    written = {"create", "update", "patch", "delete", "deletecollection", "*"}
    for overlay in (DEPLOY / "overlays").iterdir():
        for role in (one for one in built(overlay) if one["kind"] in ("Role", "ClusterRole")):
            for rule in role["rules"]:
                assert not {"secrets", "*"} & set(rule["resources"]), role["metadata"]["name"]
                assert "configmaps" not in rule["resources"] or rule.get("resourceNames"), role["metadata"]["name"]
                if {"pods", "deployments", "services", "rollouts"} & set(rule["resources"]):
                    assert not written & set(rule["verbs"]), role["metadata"]["name"]


def test_one_namespace_has_the_same_rights_as_all() -> None:
    """The two role files say the same, for another scope."""
    everywhere = of("ClusterRole", documents(ROLE.read_text()))
    there = of("Role", documents((DEPLOY / "overlays/namespaced/role.yaml").read_text()))
    assert there["rules"] == everywhere["rules"]


MAY: list[tuple[str, str, bool]] = [
    ("patch", "virtualservices.networking.istio.io", True),
    ("watch", "virtualservices.networking.istio.io", True),
    ("update", "virtualservices.networking.istio.io", False),
    ("create", "virtualservices.networking.istio.io", False),
    ("delete", "virtualservices.networking.istio.io", False),
    ("list", "destinationrules.networking.istio.io", True),
    ("patch", "destinationrules.networking.istio.io", False),
    ("list", "pods", True),
    ("watch", "pods", True),
    ("watch", "deployments.apps", True),
    ("delete", "pods", False),
    ("patch", "deployments.apps", False),
    ("get", "secrets", False),
    ("list", "secrets", False),
    ("get", "configmaps", False),
    ("list", "gateways.networking.istio.io", True),
    ("list", "gateways.gateway.networking.k8s.io", True),
    ("list", "peerauthentications.security.istio.io", True),
    ("patch", "peerauthentications.security.istio.io", False),
    ("list", "namespaces", True),
    ("list", "canaryplans.canaryd.io", True),
    ("create", "canaryplans.canaryd.io", False),
    ("delete", "canaryplans.canaryd.io", False),
    ("patch", "canaryplans.canaryd.io", True),
    ("patch", "canaryplans.canaryd.io/status", True),
    ("watch", "canarypolicies.canaryd.io", True),
    ("patch", "canarypolicies.canaryd.io", False),
    ("create", "canaryruns.canaryd.io", True),
    ("patch", "canaryruns.canaryd.io/status", True),
    ("update", "canaryrecords.canaryd.io", True),
    ("watch", "canaryfreezes.canaryd.io", True),
    ("create", "canaryfreezes.canaryd.io", False),
    ("delete", "canaryfreezes.canaryd.io", False),
    ("create", "events", True),
    ("list", "events", False),
    ("impersonate", "users", False),
    ("approve", "canaryruns.canaryd.io", False),
    ("restore", "canaryruns.canaryd.io", False),
]


def can(installed: Installed, who: str, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    kind, _, part = resource.partition("/")
    about = f"{kind}/{name}" if name else kind
    more = [f"--subresource={part}"] if part else []
    arguments = ("auth", "can-i", verb, about, *more, f"--as={who}", "-n", namespace)
    return kubectl(*arguments, config=installed.config).stdout.strip() == "yes"


@XDIST_GROUP
@pytest.mark.parametrize(("verb", "resource", "allowed"), MAY)
def test_the_api_server_grants_the_controller_this(
    verb: str, resource: str, allowed: bool, installed: Installed
) -> None:
    """As it is bound, not as it is written."""
    assert can(installed, CONTROLLER, verb, resource, installed.namespace) is allowed


@XDIST_GROUP
def test_the_lease_is_one_in_our_own_namespace(installed: Installed) -> None:
    """Another controller's Lease is none of ours."""
    leases = "leases.coordination.k8s.io"
    for verb in ("get", "update", "patch", "delete"):
        assert can(installed, CONTROLLER, verb, leases, "canaryd", "canaryd")
        assert not can(installed, CONTROLLER, verb, leases, "canaryd", "another")
        assert not can(installed, CONTROLLER, verb, leases, "kube-system", "canaryd")
    assert can(installed, CONTROLLER, "create", leases, "canaryd")
    assert not can(installed, CONTROLLER, "create", leases, "kube-system")


@XDIST_GROUP
def test_of_config_maps_the_api_server_shows_the_controller_istiods_only(installed: Installed) -> None:
    """As it is bound."""
    assert can(installed, CONTROLLER, "get", "configmaps", installed.namespace, "istio")
    assert not can(installed, CONTROLLER, "get", "configmaps", installed.namespace, "another")


ROLES: dict[str, dict[tuple[str, str], bool]] = {
    "canaryd-viewer": {
        ("list", "canaryruns.canaryd.io"): True,
        ("patch", "canaryruns.canaryd.io"): False,
        ("get", "canaryrecords.canaryd.io"): True,
        ("patch", "canaryrecords.canaryd.io"): False,
    },
    "canaryd-freezer": {
        ("create", "canaryfreezes.canaryd.io"): True,
        ("delete", "canaryfreezes.canaryd.io"): True,
        ("patch", "canaryruns.canaryd.io"): False,
    },
    "canaryd-operator": {
        ("create", "canaryfreezes.canaryd.io"): False,
        ("patch", "canaryruns.canaryd.io"): True,
        ("operate", "canaryruns.canaryd.io"): True,
        ("approve", "canaryruns.canaryd.io"): False,
        ("create", "canaryplans.canaryd.io"): True,
        ("delete", "canaryruns.canaryd.io"): False,
        ("patch", "canaryrecords.canaryd.io"): False,
        ("patch", "canaryruns.canaryd.io/status"): False,
    },
    "canaryd-approver": {
        ("patch", "canaryruns.canaryd.io"): True,
        ("approve", "canaryruns.canaryd.io"): True,
        ("operate", "canaryruns.canaryd.io"): False,
        ("get", "canaryrecords.canaryd.io"): True,
        ("patch", "canaryplans.canaryd.io"): False,
    },
}


@XDIST_GROUP
@pytest.mark.parametrize("role", ROLES)
def test_people_have_what_their_role_says(role: str, installed: Installed) -> None:
    """Who looks, who steers and who approves are three."""
    name = f"of-{role}"
    installed.person(name, role)
    answers: dict[Any, bool] = {
        (verb, resource): can(installed, installed.user(name), verb, resource, installed.namespace)
        for verb, resource in ROLES[role]
    }
    assert answers == ROLES[role]

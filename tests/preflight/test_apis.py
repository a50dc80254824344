"""Which of Istio's APIs are served, and the rights to read and write: remedies typed on a server that has RBAC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.kube import (
    CANARY_FREEZES,
    DEPLOYMENTS,
    DESTINATION_RULES,
    NAMESPACES,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Forbidden,
    Kind,
    connect,
)
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster
from canaryd.lab.workloads import install
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.preflight import apis, sight
from canaryd.preflight.looking import survey
from canaryd.store.definitions import definitions
from tests.conftest import XDIST_GROUP
from tests.preflight.stage import Town, plan, typed

Object = dict[str, Any]
ACCOUNTS = Kind("", "v1", "serviceaccounts")


def dropped(town: Town, *, versions: tuple[str, ...] = ()) -> None:
    """The server's definitions of networking.istio.io are gone, or are served in these versions only."""
    registry = town.cluster.registry
    for resource in [one for one in registry if one.group == "networking.istio.io"]:
        registry.drop(resource)
        if versions:
            registry.add(replace(resource, versions=versions))


def test_a_cluster_without_istio_is_told(town: Town) -> None:
    assert town.codes(apis) == []
    dropped(town)
    [found] = apis.check(survey(town.kube, town.plan))
    assert found.code == "IstioNotServed"
    assert "CRDs are not installed" in found.sentence


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (("v1alpha3",), ["IstioTooOld"]),
        (("v1beta1", "v1alpha3"), ["IstioBefore122"]),
        (("v1", "v1beta1", "v1alpha3"), []),
        (("v1",), []),
    ],
)
def test_versions_that_canaryd_speaks_are_told_from_those_that_it_does_not(
    town: Town, versions: tuple[str, ...], expected: list[str]
) -> None:
    dropped(town, versions=versions)
    assert [one.code for one in apis.check(survey(town.kube, town.plan))] == expected


def test_a_server_that_tells_no_versions_is_not_taken_for_one_without_istio(town: Town) -> None:
    assert list(apis.check(replace(town.survey(), served={}))) == []


def test_who_is_to_be_granted_a_right_is_named(tmp_path: Path) -> None:
    """Nothing is left to be filled in by hand."""
    cluster = Cluster()
    install(cluster, bookinfo.objects())
    with ApiServer(cluster, denied=(("patch", "virtualservices"), ("list", "sidecars")), user="ada lovelace") as server:
        kube = connect(server.kubeconfig(tmp_path / "kubeconfig"))
        with pytest.raises(Refused) as refusal:
            IstioMesh(kube).admit(plan())
        [problem] = refusal.value.problems
        [blind] = sight.check(survey(kube, plan()))
    assert problem.command.endswith("--user='ada lovelace'")
    assert "ada lovelace" in problem.value
    assert blind.remedy.endswith("--user='ada lovelace'")


DENIED = (("list", "canaryfreezes"),)


@pytest.mark.parametrize(
    ("kinds", "denied", "home", "unseen"),
    [
        (True, DENIED, "canaryd", ["default", "canaryd"]),
        (True, DENIED, "default", ["default"]),
        (True, DENIED, "", []),
        (True, (), "canaryd", []),
        (False, (), "canaryd", []),
    ],
)
def test_freezes_that_bind_a_run_and_may_not_be_listed_are_told(
    tmp_path: Path, kinds: bool, denied: tuple[tuple[str, str], ...], home: str, unseen: list[str]
) -> None:
    """Where nobody has the kind there are none; a controller has its watch, and does not look."""
    cluster = Cluster()
    install(cluster, bookinfo.objects())
    for definition in definitions() if kinds else ():
        cluster.apply(definition)
    with ApiServer(cluster, denied=denied, user="ada lovelace") as server:
        found = list(sight.check(survey(connect(server.kubeconfig(tmp_path / "kubeconfig")), plan(), home=home)))
    assert [(one.code, one.level, one.where) for one in found] == [
        ("FreezesUnseen", "warning", f"CanaryFreezes of {namespace}") for namespace in unseen
    ]
    assert all(one.remedy.endswith("--user='ada lovelace'") for one in found)
    assert all(
        f"a stop of {'plans of default' if name == 'default' else 'all plans'} there" in one.sentence
        for one, name in zip(found, unseen, strict=True)
    )


def test_a_kind_that_nobody_has_and_may_not_be_listed_is_nothing_to_see(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with RBAC asks for rights first: 403 and not 404, as in the test with an account that has none."""
    listed = town.kube.list

    def forbidden(kind: Kind, namespace: str = "") -> list[Object]:
        if kind == CANARY_FREEZES:
            raise Forbidden("canaryfreezes.canaryd.io is forbidden")
        return listed(kind, namespace)

    monkeypatch.setattr(town.kube, "list", forbidden)
    assert list(sight.check(survey(town.kube, plan(), home="canaryd"))) == []
    for definition in definitions():
        town.cluster.apply(definition)
    assert len(list(sight.check(survey(town.kube, plan(), home="canaryd")))) == 2


# -- on a server that evaluates rights


class Account:
    """A service account without any right on a real API server, and a namespace with `reviews` in it."""

    def __init__(self, real: Path, folder: Path) -> None:
        self.admin = connect(real)
        self.config = real
        made = self.admin.create(NAMESPACES, "", {"metadata": {"generateName": "canaryd-test-"}})
        self.namespace = str(made["metadata"]["name"])
        for each in bookinfo.objects():
            kinds = {
                "Service": SERVICES, "VirtualService": VIRTUAL_SERVICES, "DestinationRule": DESTINATION_RULES,
                "Deployment": DEPLOYMENTS,
            }  # fmt: skip
            if each["metadata"]["name"].startswith("reviews") and each["kind"] in kinds:
                each["metadata"]["namespace"] = self.namespace
                each["spec"].pop("clusterIP", None)
                self.admin.create(kinds[each["kind"]], self.namespace, each)
        self.admin.create(ACCOUNTS, self.namespace, {"metadata": {"name": "canaryd"}})
        asked: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = self.admin._request(
            "POST", ACCOUNTS.path(self.namespace, "canaryd", "token"), None, asked, "application/json"
        )
        content = yaml.safe_load(real.read_text(encoding="utf-8"))
        content["users"][0]["user"] = {"token": answer["status"]["token"]}
        (folder / "limited").write_text(yaml.safe_dump(content), encoding="utf-8")
        self.kube = connect(folder / "limited")

    @property
    def plan(self) -> Plan:
        return plan().model_copy(update={"metadata": plan().metadata.model_copy(update={"namespace": self.namespace})})

    def lacking(self) -> list[str]:
        """The commands of what admission finds to be missing."""
        try:
            IstioMesh(self.kube).admit(self.plan)
        except Refused as refusal:
            return [one.command for one in refusal.problems if one.code == "RightMissing"]
        return []


@pytest.fixture
def account(real_api: Path, tmp_path: Path) -> Iterator[Account]:
    found = Account(real_api, tmp_path)
    if found.admin.versions("networking.istio.io") == ():
        pytest.skip("the real API server has no VirtualServices")
    yield found
    found.admin.delete(NAMESPACES, "", found.namespace)


@XDIST_GROUP
def test_rights_are_granted_verb_by_verb_by_the_commands_as_they_stand(account: Account) -> None:
    """On a real API server with RBAC, for a service account that had none."""
    commands = account.lacking()
    assert len(commands) == 8
    assert all(f"--serviceaccount={account.namespace}:canaryd" in one for one in commands)
    for number, command in enumerate(commands, 1):
        typed(command, account.config)
        assert len(account.lacking()) == len(commands) - number
    assert account.kube.get(VIRTUAL_SERVICES, account.namespace, "reviews")
    assert account.kube.list(PODS, account.namespace) == []


@XDIST_GROUP
def test_what_preflight_may_not_read_is_granted_by_the_commands_as_they_stand(account: Account) -> None:
    """A kind that the server has not is not among it: there is nothing that could be granted."""
    for command in account.lacking():
        typed(command, account.config)
    blind = survey(account.kube, account.plan)
    findings = list(sight.check(blind))
    assert {one.code for one in findings} == {"NotLookedAt"}
    assert {str(kind) for kind in blind.unread} >= {
        "sidecars.networking.istio.io",
        "httproutes.gateway.networking.k8s.io",
    }
    assert not any("keda" in str(kind) or "flagger" in str(kind) for kind in blind.unread)
    try:
        for found in findings:
            typed(found.remedy, account.config)
        assert list(sight.check(survey(account.kube, account.plan))) == []
    finally:
        for found in findings:
            role = f"canaryd-preflight-{found.where}"
            typed(f"kubectl delete clusterrole,clusterrolebinding {role} --ignore-not-found", account.config)

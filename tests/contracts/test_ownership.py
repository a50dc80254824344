"""
What the tools that keep a VirtualService in Git do to a run, and a run to them: on the lab's API server and a real one.

kubectl is the real one, and so is Helm 3 where there is one. Argo CD, Flux and Helm 4 are played by the requests that
they send, with their names as field managers; what they leave out of those requests by a setting is left out here.

Sources: Argo CD, controller/sync.go (normalizeTargetResources) and gitops-engine, pkg/utils/kube/resource_ops.go; Flux,
docs/spec/v1/kustomizations.md and ssa/manager_apply.go in fluxcd/pkg; Helm 3, pkg/kube/client.go (createPatch: of an
object without a compiled-in type, chart against chart); Helm 4, HIP 23.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Conflict, Rejected
from canaryd.kube import FIELD_MANAGER, NAMESPACES, VIRTUAL_SERVICES, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.mesh.weights import marker_key
from canaryd.model.traffic import EVERYTHING, NOTHING, Entry, Marker, Route, Split
from tests.conftest import REAL, with_istio
from tests.envtest.helm import build
from tests.mesh.objects import V1, V3

Object = dict[str, Any]
Change = Callable[[Object], None]

OLDER = replace(VIRTUAL_SERVICES, version="v1beta1")
FIVE = Split.percent(5)
KUBECTL = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))


def manifest(*weights: int | None, namespace: str, labels: Object | None = None) -> Object:
    """What is in Git: in the version of Istio's samples, with things in it that are none of canaryd's business."""
    route = [
        {"destination": {"host": "reviews", "subset": subset}} | ({} if weight is None else {"weight": weight})
        for subset, weight in zip(("v1", "v3"), weights, strict=False)
    ]
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "VirtualService",
        "metadata": {
            "name": "reviews",
            "namespace": namespace,
            "labels": labels or {"app": "reviews"},
            "annotations": {"team": "books"},
        },
        "spec": {"hosts": ["reviews"], "http": [{"timeout": "3s", "route": route}]},
    }


class World:
    """A namespace with one VirtualService in it, and a run that moves it; ``webhook``: Istio's validates here."""

    def __init__(self, kube: Kube, config: Path, scratch: Path, *, webhook: bool) -> None:
        self.kube, self.config, self.scratch, self.webhook = kube, config, scratch, webhook
        self.namespace = f"canaryd-test-{uuid.uuid4().hex[:8]}"
        self.mesh = IstioMesh(kube)
        self.route = Route(self.namespace, "reviews", "reviews", (Entry(0),), V1, V3)
        kube.create(NAMESPACES, "", {"metadata": {"name": self.namespace}})

    def git(self, *weights: int | None, **more: Any) -> Object:
        return manifest(*weights, namespace=self.namespace, **more)

    def object(self) -> Object:
        return self.kube.get(VIRTUAL_SERVICES, self.namespace, "reviews")

    def weights(self) -> list[int | None]:
        return [one.get("weight") for one in self.object()["spec"]["http"][0]["route"]]

    def managers(self) -> list[str]:
        return [one["manager"] for one in self.object()["metadata"].get("managedFields", [])]

    def owners_of_http(self) -> list[str]:
        entries = self.object()["metadata"].get("managedFields", [])
        return [one["manager"] for one in entries if "f:http" in one["fieldsV1"].get("f:spec", {})]

    # -- what the run does

    def shift(self, split: Split, seq: int, route: Route | None = None) -> None:
        on = route or self.route
        marker = Marker(f"run-{on.plan}", seq, split, NOTHING, V1, V3, 1_700_000_000.5, born=1_700_000_000.0)
        self.mesh.shift(on, marker, self.mesh.look(on))

    def retreat(self, seq: int) -> None:
        marker = Marker("run-reviews", seq, NOTHING, FIVE, V1, V3, 1_700_000_001.5, born=1_700_000_000.0)
        self.mesh.retreat(self.route, marker)

    def release(self, route: Route | None = None) -> None:
        on = route or self.route
        self.mesh.release(on, f"run-{on.plan}")

    # -- what others do

    def kubectl(self, *arguments: str, given: Object | None = None) -> None:
        """Raises Conflict when it says so, and fails when it fails otherwise."""
        if KUBECTL is None:
            pytest.skip("no kubectl on PATH or in the virtual environment")
        command = [KUBECTL, "--kubeconfig", str(self.config), "-n", self.namespace, *arguments]
        told = json.dumps(given) if given else None
        said = subprocess.run(command, input=told, capture_output=True, text=True, check=False, timeout=60)
        if "conflict" in said.stderr:
            raise Conflict(said.stderr)
        assert said.returncode == 0, said.stderr

    def server_side(self, body: Object, manager: str, *, force: bool) -> None:
        self.kube.apply(OLDER, self.namespace, "reviews", body, field_manager=manager, force=force)

    def write(self, method: str, body: Object, manager: str, content_type: str) -> None:
        name = "" if method == "POST" else "reviews"
        self.kube._request(method, OLDER.path(self.namespace, name), {"fieldManager": manager}, body, content_type)


@dataclass(frozen=True)
class Tool:
    """``apply(world, new, old)``: how it brings what is in Git, which was ``old`` before (None: nothing yet)."""

    name: str
    apply: Callable[[World, Object, Object | None], None]
    in_flight: str

    def __str__(self) -> str:
        return self.name


def by_kubectl(world: World, new: Object, _: Object | None) -> None:
    world.kubectl("apply", "-f", "-", given=new)


def by_kubectl_server_side(world: World, new: Object, _: Object | None) -> None:
    world.kubectl("apply", "--server-side", "-f", "-", given=new)


def by_argo_cd(world: World, new: Object, _: Object | None) -> None:
    world.kubectl("apply", "--field-manager=argocd-controller", "-f", "-", given=new)


def by_argo_cd_server_side(world: World, new: Object, _: Object | None) -> None:
    world.server_side(new, "argocd-controller", force=True)


def by_flux(world: World, new: Object, _: Object | None) -> None:
    world.server_side(new, "kustomize-controller", force=True)


def by_helm_3(world: World, new: Object, old: Object | None) -> None:
    if old is None:
        world.write("POST", new, "helm", "application/json")
    else:
        world.write("PATCH", difference(old, new), "helm", "application/merge-patch+json")


def by_helm_itself(world: World, new: Object, _: Object | None) -> None:
    program = build.found()
    if program is None:
        pytest.skip(build.NOTHING)
    templates = world.scratch / "templates"
    templates.mkdir(exist_ok=True)
    (templates / "reviews.yaml").write_text(json.dumps(new))
    (world.scratch / "Chart.yaml").write_text("apiVersion: v2\nname: reviews\nversion: 1.0.0\n")
    command = [str(program), "upgrade", "--install", "reviews", str(world.scratch), "-n", world.namespace]
    said = subprocess.run(
        [*command, "--kubeconfig", str(world.config)], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stderr


def by_helm_4(world: World, new: Object, _: Object | None) -> None:
    world.server_side(new, "helm", force=False)


def difference(old: Object, new: Object) -> Object:
    """The merge patch from one to the other (RFC 7386)."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if inner := difference(old[key], value):
                patch[key] = inner
        elif value != old.get(key):
            patch[key] = value
    return patch


def live(world: World) -> Change:
    """
    What is applied has the live spec.http, as a whole.

    So does Argo CD with RespectIgnoreDifferences where anything in a list is ignored; Flux with `spec.ignore` where no
    other applier owns the field; a chart that looks it up.
    """

    def change(body: Object) -> None:
        body["spec"]["http"] = copy.deepcopy(world.object()["spec"]["http"])

    return change


def left_out(_: World) -> Change:
    """Flux with `spec.ignore` where another applier owns the field."""

    def change(body: Object) -> None:
        body["spec"].pop("http", None)

    return change


TOOLS = [
    Tool("kubectl apply", by_kubectl, "reverted"),
    Tool("kubectl apply --server-side", by_kubectl_server_side, "refused"),
    Tool("Argo CD", by_argo_cd, "reverted"),
    Tool("Argo CD, ServerSideApply", by_argo_cd_server_side, "reverted"),
    Tool("Flux", by_flux, "reverted"),
    Tool("Helm 3", by_helm_3, "kept"),
    Tool("Helm 3 itself", by_helm_itself, "kept"),
    Tool("Helm 4", by_helm_4, "refused"),
]
SETTINGS = [
    pytest.param(TOOLS[2], live, id="Argo CD, RespectIgnoreDifferences"),
    pytest.param(TOOLS[3], live, id="Argo CD, ServerSideApply and RespectIgnoreDifferences"),
    pytest.param(TOOLS[4], left_out, id="Flux, spec.ignore strips"),
    pytest.param(TOOLS[4], live, id="Flux, spec.ignore adopts"),
    pytest.param(TOOLS[5], live, id="Helm 3, lookup"),
    pytest.param(TOOLS[7], live, id="Helm 4, lookup"),
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[ApiServer]:
    with ApiServer(Cluster()) as server:
        yield server


@pytest.fixture(params=["emulator", REAL])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "emulator":
        config = kubeconfig(request.getfixturevalue("emulator").address, tmp_path / "kubeconfig")
    else:
        config = request.getfixturevalue("real_api")
    kube = with_istio(connect(str(config), timeout=10))
    world = World(kube, Path(config), tmp_path, webhook=request.param == "emulator")
    yield world
    kube.delete(NAMESPACES, "", world.namespace)


def without_weights(found: Object) -> Object:
    spec = copy.deepcopy(found["spec"])
    for one in spec["http"][0]["route"]:
        one.pop("weight", None)
    return {**spec, "meta": [found["metadata"].get(key) for key in ("labels", "annotations")]}


# -- while it runs


def test_in_flight_one_entry_owns_all_of_http_and_our_annotations(world: World) -> None:
    """The owner's Apply entry loses f:http: who writes one weight of an atomic list owns it as a whole."""
    by_helm_4(world, world.git(100, 0), None)
    world.shift(FIVE, 1)
    fields = {one["manager"]: one for one in world.object()["metadata"]["managedFields"]}
    assert set(fields) == {"helm", "canaryd"}
    assert fields["helm"]["fieldsV1"]["f:spec"] == {"f:hosts": {}}
    ours = fields["canaryd"]
    assert (ours["operation"], ours["apiVersion"]) == ("Update", "networking.istio.io/v1")
    annotations: Object = {"f:marker.canaryd.io/reviews": {}, "f:origin.canaryd.io/reviews": {}}
    assert ours["fieldsV1"] == {"f:metadata": {"f:annotations": annotations}, "f:spec": {"f:http": {}}}


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_what_the_same_manifest_does_in_mid_run(world: World, tool: Tool) -> None:
    """Reverted is drift: the marker stays, and its split is not the weights' any more."""
    git = world.git(100, 0)
    tool.apply(world, git, None)
    world.shift(FIVE, 1)
    if tool.in_flight == "refused":
        with pytest.raises(Conflict, match='conflict with "canaryd"'):
            tool.apply(world, git, git)
    else:
        tool.apply(world, git, git)
    seen = world.mesh.look(world.route)
    assert seen.marker is not None
    assert seen.marker.split == FIVE
    assert seen.split == (NOTHING if tool.in_flight == "reverted" else FIVE)


@pytest.mark.parametrize(("tool", "settings"), SETTINGS)
def test_with_the_settings_of_the_docs_the_weights_stay(
    world: World, tool: Tool, settings: Callable[[World], Change]
) -> None:
    """And what else is in Git gets through; the run goes on, and at its end nothing of it is left."""
    before = git = world.git(100, 0)
    tool.apply(world, git, None)
    world.shift(FIVE, 1)
    for split, seq in ((Split.percent(50), 2), (EVERYTHING, 3)):
        git = world.git(100, 0, labels={"app": "reviews", "commit": str(seq)})
        settings(world)(git)
        tool.apply(world, git, before)
        before = git
        seen = world.mesh.look(world.route)
        assert seen.marker is not None
        assert seen.split == seen.marker.split
        assert world.object()["metadata"]["labels"]["commit"] == str(seq)
        world.shift(split, seq)
    world.release()
    settings(world)(git)
    tool.apply(world, git, before)
    assert world.weights() == [0, 100]
    assert FIELD_MANAGER not in world.managers()


def test_a_path_into_the_list_must_not_be_ignored_by_flux(world: World) -> None:
    """What is then applied is a list without weights: Istio's webhook refuses it, and without one it is taken."""
    git = world.git(100, 0)
    by_flux(world, git, None)
    world.shift(FIVE, 1)
    if world.webhook:
        with pytest.raises(Rejected, match="total destination weight = 0"):
            by_flux(world, world.git(None, None), git)
    else:
        by_flux(world, world.git(None, None), git)
        assert world.weights() == [None, None]


def test_what_its_applier_alone_owns_goes_when_it_is_not_said_any_more(world: World) -> None:
    """Why Flux looks at the owners before it leaves an ignored field out, and why Git must keep spec.http."""
    git = world.git(100, 0)
    by_flux(world, git, None)
    left_out(world)(git)
    if world.webhook:
        with pytest.raises(Rejected, match="http, tcp or tls must be provided"):
            by_flux(world, git, None)
    else:
        by_flux(world, git, None)
        assert "http" not in world.object()["spec"]


# -- at the end


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_after_a_promotion_the_owner_applies_without_a_conflict(world: World, tool: Tool) -> None:
    """First the weights that were promoted, then anything; nothing but weights is other than before."""
    git = world.git(100, 0)
    tool.apply(world, git, None)
    before = world.object()
    for seq, split in enumerate((FIVE, Split.percent(50), EVERYTHING), start=1):
        world.shift(split, seq)
    world.release()
    assert world.weights() == [0, 100]
    assert without_weights(world.object()) == without_weights(before)
    assert FIELD_MANAGER not in world.managers()
    assert world.owners_of_http() == []
    promoted = world.git(0, 100)
    tool.apply(world, promoted, git)
    assert world.weights() == [0, 100]
    later = world.git(30, 70)
    later["spec"]["http"][0]["timeout"] = "9s"
    tool.apply(world, later, promoted)
    assert world.weights() == [30, 70]
    assert world.object()["spec"]["http"][0]["timeout"] == "9s"


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_after_a_rollback_all_is_as_before(world: World, tool: Tool) -> None:
    """Also where the canary had to be inserted, and weights were left out: the two writes of the end are told apart."""
    git = world.git(None)
    tool.apply(world, git, None)
    before = world.object()
    world.shift(FIVE, 1)
    world.retreat(2)
    world.release()
    after = world.object()
    assert after["spec"] == before["spec"]
    assert [after["metadata"].get(key) for key in ("labels", "annotations")] == [
        before["metadata"].get(key) for key in ("labels", "annotations")
    ]
    assert FIELD_MANAGER not in world.managers()
    tool.apply(world, git, git)
    assert world.object()["spec"] == before["spec"]


def test_other_managers_keep_what_they_own(world: World) -> None:
    """Of both versions of the API, and of ours in both."""
    by_helm_3(world, world.git(100, 0), None)
    timeout = [{"op": "add", "path": "/spec/http/0/timeout", "value": "5s"}]
    label = [{"op": "add", "path": "/metadata/labels/mesh", "value": "a"}]
    world.kube.patch_json(VIRTUAL_SERVICES, world.namespace, "reviews", label, field_manager="helm")
    world.kube.patch_json(OLDER, world.namespace, "reviews", label, field_manager="labeller")
    world.shift(FIVE, 1)
    world.kube.patch_json(OLDER, world.namespace, "reviews", timeout)
    mine = [one for one in world.object()["metadata"]["managedFields"] if one["manager"] == FIELD_MANAGER]
    assert len(mine) == 2
    others = [one for one in world.object()["metadata"]["managedFields"] if one["manager"] != FIELD_MANAGER]
    world.retreat(2)
    world.release()
    assert world.object()["metadata"]["managedFields"] == others


def test_the_entry_stays_until_the_last_plan_has_ended(world: World) -> None:
    git = world.git(100, 0)
    git["spec"]["http"].append({**copy.deepcopy(git["spec"]["http"][0]), "name": "second"})
    git["spec"]["http"][0] |= {"name": "first", "match": [{"uri": {"prefix": "/a"}}]}
    by_helm_4(world, git, None)
    first = replace(world.route, entries=(Entry(0, "first"),), plan="one")
    second = replace(world.route, entries=(Entry(1, "second"),), plan="two")
    world.shift(FIVE, 1, first)
    world.shift(FIVE, 1, second)
    world.release(first)
    assert world.owners_of_http() == ["canaryd"]
    assert marker_key("two") in world.object()["metadata"]["annotations"]
    world.release(second)
    assert world.managers() == ["helm"]


def test_an_entry_that_is_alone_goes_too(world: World) -> None:
    """A delegate that was applied has nothing but http: its owner's entry is gone in mid-run, and ours is the last."""
    git = world.git(100, 0)
    del git["spec"]["hosts"], git["metadata"]["labels"], git["metadata"]["annotations"]
    by_helm_4(world, git, None)
    world.shift(FIVE, 1)
    assert world.managers() == ["canaryd"]
    world.retreat(2)
    world.release()
    assert world.managers() == []
    by_helm_4(world, git, None)


def test_an_entry_that_outlived_its_marker_is_taken_out(world: World) -> None:
    """A hand, or a replace by Git, took the marker before the run could."""
    by_helm_4(world, world.git(100, 0), None)
    world.shift(FIVE, 1)
    marks = [f"{one}.canaryd.io/reviews-" for one in ("marker", "origin")]
    world.kubectl("annotate", "virtualservice", "reviews", *marks)
    world.release()
    assert FIELD_MANAGER not in world.managers()
    assert world.weights() == [95, 5]


def test_the_marker_goes_where_the_entry_may_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of the cluster may forbid to write managedFields; the run ends all the same."""
    by_helm_4(world, world.git(100, 0), None)
    world.shift(EVERYTHING, 1)
    send = world.kube.patch_json

    def forbidding(kind: Any, namespace: str, name: str, body: Any, **more: Any) -> Object:
        if any("managedFields" in one["path"] for one in body):
            raise Rejected("managedFields may not be written here")
        return send(kind, namespace, name, body, **more)

    monkeypatch.setattr(world.kube, "patch_json", forbidding)
    world.release()
    assert marker_key("reviews") not in world.object()["metadata"]["annotations"]
    assert FIELD_MANAGER in world.managers()


def test_somebody_who_writes_at_that_moment_stops_both(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places in the list are those that were read: another's entry must not be hit. It is tried again."""
    by_helm_4(world, world.git(100, 0), None)
    world.shift(EVERYTHING, 1)
    send = world.kube.patch_json

    def late(kind: Any, namespace: str, name: str, body: Any, **more: Any) -> Object:
        label = [{"op": "add", "path": "/metadata/labels/now", "value": uuid.uuid4().hex}]
        send(kind, namespace, name, label, field_manager="a-labeller")
        return send(kind, namespace, name, body, **more)

    monkeypatch.setattr(world.kube, "patch_json", late)
    with pytest.raises(Conflict):
        world.release()
    monkeypatch.undo()
    assert marker_key("reviews") in world.object()["metadata"]["annotations"]
    world.release()
    assert sorted(world.managers()) == ["a-labeller", "helm"]

"""
The controller as its manifests install it: a real API server, RBAC, the policies, and its own account's token.

What the lab's API server cannot tell is seen here: rights, CEL, ValidatingAdmissionPolicies, and kubectl's own words.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.kube import CANARY_PLANS, LEASES, Missing
from canaryd.model.run import Outcome, Phase
from tests.cli.stage import PLAN
from tests.conftest import XDIST_GROUP
from tests.controller.faults import LOOKING
from tests.controller.real import RealStage
from tests.deploy.conftest import Installed, installed  # noqa: F401  # a fixture
from tests.deploy.manifests import DEPLOY, ROOT

pytestmark = XDIST_GROUP

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
SHORT = {"CANARYD_LEASE_SECONDS": "3"}
"""For tests that wait for a Lease to run out."""
TAKE_OVER = 6.0
"""Seconds: the Lease's three, a look of the standby, and what a busy machine adds."""


@pytest.fixture
def stage(installed: Installed, tmp_path: Path) -> Iterator[RealStage]:  # noqa: F811
    """At the end every controller that still runs must have been refused nothing."""
    with RealStage(installed, tmp_path) as stage:
        yield stage
        assert stage.refused() == {}


# -- a release


def test_a_healthy_canary_is_promoted(stage: RealStage) -> None:
    """`kubectl wait` ends; nothing of ours is left but the weights; who looks with kubectl is told where it stands."""
    process = stage.controller()
    before = stage.virtual_service()
    stage.apply()
    stage.until(lambda: len(stage.run_objects()) == 1, "a run", process)
    home = f"-n {stage.namespace}"
    waited = stage.kubectl(f"kubectl wait canaryrun --all {home} --for=condition=Finished --timeout=60s")
    assert waited.returncode == 0, waited.stderr + process.output
    run = stage.ends(process=process)
    name = run["metadata"]["name"]
    assert stage.weights() == (0, 100)
    assert stage.is_so("Promoted", run)
    after = stage.virtual_service()
    assert without_weights(after) == without_weights(before)
    assert not after["metadata"].get("annotations")
    stage.until(lambda: stage.is_so("Promoted", stage.plan_object()), "the plan's status", process)
    assert stage.plan_object()["metadata"]["annotations"]["canaryd.io/settled"] == "v3"
    stage.until(lambda: "Promoted" in {one["reason"] for one in stage.events()}, "the last Event", process)
    shown = stage.kubectl(f"kubectl get canaryplans,canaryruns {home}").stdout
    assert re.search(r"canaryplan\S*/reviews +v3 +promoted +2/2 +100 % +PASS", shown), shown
    assert re.search(rf"canaryrun\S*/{name} +reviews +v3 +promoted +2/2 +100 % +PASS", shown), shown
    described = stage.kubectl(f"kubectl describe canaryrun {name} {home}").stdout
    assert "Events:" in described
    assert "Promoted" in described.partition("Events:")[2]
    events = stage.kubectl(f"kubectl events --for canaryrun/{name} {home}").stdout
    assert [line.split()[3] for line in events.splitlines()[1:]] == [f"CanaryRun/{name}"] * 11


def test_a_faulty_canary_is_rolled_back(stage: RealStage) -> None:
    """The reason stands in the run; the VirtualService is as before."""
    stage.clients.fail("v3", 0.3)
    before = stage.virtual_service()
    process = stage.controller()
    stage.apply()
    run = stage.ends(process=process)
    assert stage.condition("Promoted", run)["reason"] == "Failed"
    assert run["status"]["why"].startswith("errors: canary 30")
    assert stage.virtual_service()["spec"] == before["spec"]
    assert not stage.virtual_service()["metadata"].get("annotations")


@pytest.mark.parametrize("share", [0.3, 0.002], ids=["rolled back", "promoted"])
def test_a_destination_that_is_missing_comes_and_goes(stage: RealStage, share: float) -> None:
    """The policy lets the canary of our marker in, and out again; a promoted one stays."""
    stage.set_route({"destination": {"host": "reviews", "subset": "v1"}})
    stage.clients.fail("v3", share)
    before = stage.virtual_service()
    process = stage.controller()
    stage.apply()
    run = stage.ends(process=process)
    after = stage.virtual_service()
    assert not after["metadata"].get("annotations")
    if stage.is_so("Promoted", run):
        assert stage.weights() == (0, 100)
    else:
        assert after["spec"] == before["spec"]
    assert stage.is_so("Promoted", run) == (share < 0.1)


# -- people


def test_an_operator_aborts_in_her_own_name(stage: RealStage) -> None:
    """Not in another's and not in none; the words say what to write. It takes effect at once."""
    stage.installed.person("olga", "canaryd-operator")
    process = stage.controller()
    stage.apply(by="olga", steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    for wrong in ('"reason":"the ads were wrong"', '"reason":"the ads were wrong","by":"ada"'):
        refused = stage.ask(f'{{"abort":{{{wrong}}}}}', by="olga")
        assert refused.returncode != 0
        assert f"spec.abort: an abort names its author: by must be {stage.installed.user('olga')}" in refused.stderr
    began = time.monotonic()
    said = stage.ask('{"abort":{"reason":"the ads were wrong","by":"ME"}}', by="olga")
    answered = time.monotonic()
    assert said.returncode == 0, said.stderr
    stage.until(lambda: stage.moments[-1][1] == 0, "0 %", process, deadline=5.0)
    at = stage.moments[-1][0]
    print(f"abort: 0 % {at - began:.2f} s after kubectl began, {at - answered:.2f} s after it ended")
    run = stage.ends(process=process)
    assert run["status"]["why"] == f"aborted by {stage.installed.user('olga')}: the ads were wrong"
    assert stage.weights() == (100, 0)
    again = stage.ask('{"abort":null}', by="olga")
    assert again.returncode != 0
    print(again.stderr)


def test_a_gate_opens_for_the_approver_alone(stage: RealStage) -> None:
    """An operator may not approve, an approver may not abort, a viewer may do neither."""
    for name, role in (("olga", "canaryd-operator"), ("anna", "canaryd-approver"), ("vera", "canaryd-viewer")):
        stage.installed.person(name, role)
    process = stage.controller()
    gate = {"approve": {"limit": "1h", "otherwise": "rollback"}}
    stage.apply(by="olga", steps=[{"weight": 10, "bake": "500ms", "gate": gate}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    approve, abort = '{"commands":[{"verb":"approve","by":"ME"}]}', '{"abort":{"reason":"no","by":"ME"}}'
    for who, what, words in (
        ("vera", abort, "cannot patch resource"),
        ("vera", approve, "cannot patch resource"),
        ("anna", abort, "needs the verb `operate` on canaryruns.canaryd.io (ClusterRole canaryd-operator)"),
        ("olga", approve, "needs the verb `approve` on canaryruns.canaryd.io (ClusterRole canaryd-approver)"),
    ):
        refused = stage.ask(what, by=who)
        assert (refused.returncode, words in refused.stderr) == (1, True), (who, refused)
    assert "reviews" in stage.kubectl(f"kubectl get canaryruns,canaryplans -n {stage.namespace}", by="vera").stdout
    stage.until(lambda: stage.newest().hold is not None, "a gate that asks", process)
    said = stage.ask(approve, by="anna")
    assert said.returncode == 0, said.stderr
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_an_operator_takes_a_promotion_back(stage: RealStage) -> None:
    """An approver may not. The admission policies let canaryd do it, and nobody changes what such a run is for."""
    for name, role in (("olga", "canaryd-operator"), ("anna", "canaryd-approver")):
        stage.installed.person(name, role)
    process = stage.controller()
    stage.apply(by="olga")
    promoted = stage.ends(process=process)
    assert stage.weights() == (0, 100)
    undo = '{"commands":[{"verb":"undo","reason":"the basket is empty","by":"ME"}]}'
    refused = stage.ask(undo, by="anna")
    assert "to abort, hold, resume, advance, skip, promote, undo or retry needs the verb `operate`" in refused.stderr
    said = stage.ask(undo, by="olga")
    assert said.returncode == 0, said.stderr
    run = stage.ends(2, process)
    assert stage.weights() == (100, 0)
    who = stage.installed.user("olga")
    assert (run["status"]["outcome"], run["status"]["why"]) == ("undone", f"undone by {who}: the basket is empty")
    assert run["spec"]["undoes"]["run"] == promoted["metadata"]["name"]
    refused = stage.ask('{"undoes":null}', by="olga")
    assert "a run's plan is fixed when it begins" in refused.stderr


def test_an_operator_deletes_the_plan(stage: RealStage) -> None:
    """It is gone at once, and its run goes back."""
    stage.installed.person("olga", "canaryd-operator")
    process = stage.controller()
    stage.apply(by="olga", steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    gone = stage.kubectl(f"kubectl delete canaryplan reviews -n {stage.namespace} --timeout=5s", by="olga")
    assert gone.returncode == 0, gone.stderr
    assert stage.ends(process=process)["status"]["why"] == "aborted by canaryd: the plan was deleted"
    assert stage.weights() == (100, 0)


def test_a_deleted_run_leaves_no_traffic_behind(stage: RealStage) -> None:
    """The orphan is rolled back under the policies, from a marker with `born` and `kept`."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    marker = next(iter(stage.virtual_service()["metadata"]["annotations"].values()))
    assert '"kept":"canaryrun"' in marker
    assert '"born":' in marker
    name = stage.run_objects()[0]["metadata"]["name"]
    assert stage.kubectl(f"kubectl delete canaryrun {name} -n {stage.namespace}").returncode == 0
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)
    stage.until(lambda: "MarkerOrphaned" in {one["reason"] for one in stage.events()}, "its Event", process)
    assert stage.run_objects() == []


# -- processes


def test_a_standby_of_the_same_account_takes_over(stage: RealStage) -> None:
    """The leader is killed at 10 %; the other one ends the run the same way."""
    leader = stage.controller(**SHORT)
    leader.says('"event": "daemon.leads"')
    standby = stage.controller(name="canaryd-1", **SHORT)
    standby.says('"event": "daemon.started"')
    stage.apply(steps=[{"weight": 10, "bake": "4s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", leader)
    began = time.monotonic()
    leader.kill()
    standby.says('"event": "daemon.leads"', deadline=20)
    took = time.monotonic() - began
    print(f"taken over after {took:.1f} s")
    assert took < TAKE_OVER
    run = stage.ends(process=standby)
    assert stage.is_so("Promoted", run)
    assert stage.newest().outcome is Outcome.PROMOTED
    assert stage.weights() == (0, 100)


@pytest.mark.parametrize("alone", [False, True], ids=["beside a controller", "after it is gone"])
def test_drain_with_its_own_account(stage: RealStage, alone: bool) -> None:
    """What runs is rolled back, and nothing of ours is left; a canaryd that is installed later is free to begin."""
    stage.drain_account()
    process = stage.controller(**SHORT)
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    if alone:
        process.kill()
    drain = stage.process("drain", "--within", "40", "--for-good", account="canaryd-drain")
    assert drain.ended() == 0, drain.output
    assert "nothing of canaryd's is left" in drain.output
    assert stage.weights() == (100, 0)
    assert not stage.virtual_service()["metadata"].get("annotations")
    assert stage.run_objects() == []
    if not alone:
        stage.until(lambda: "canaryd is drained by" in str(stage.plan_object()["status"]), "why it rests", process)
        assert stage.refused() == {}
        process.send(signal.SIGTERM)
        assert process.ended() == 0, process.output
    with pytest.raises(Missing):
        stage.admin.get(LEASES, "canaryd", "canaryd")
    process = stage.controller(name="canaryd-1", **SHORT)
    stage.apply(release="v4")
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_an_installation_for_one_namespace_sees_nothing_else(stage: RealStage) -> None:
    """The namespaced overlay: a Role there, and no right anywhere else."""
    other = stage.another_namespace()
    with stage.namespaced():
        process = stage.controller(CANARYD_NAMESPACES=stage.namespace)
        stage.apply()
        assert stage.is_so("Promoted", stage.ends(process=process)), process.output
        stage.until(lambda: stage.is_so("Promoted", stage.plan_object()), "the plan's status", process)
        assert "status" not in stage.admin.get(CANARY_PLANS, other, "reviews")
        # It asks whether it may look everywhere, and around the route elsewhere, and goes on without.
        everywhere = {("list", "virtualservices"), ("list", "destinationrules")}
        refused = {(verb, resource) for verb, resource, _ in stage.refused()}
        assert everywhere <= refused <= {*everywhere, *LOOKING}
        process.kill()


def test_who_only_observes_needs_no_right_to_patch(stage: RealStage) -> None:
    """`mode: observe` for the whole controller, without `patch` on VirtualServices: how canaryd is tried out."""
    with stage.without_right("virtualservices", "patch"):
        process = stage.controller(CANARYD_MODE="observe")
        stage.apply()
        stage.until(lambda: stage.is_at(Phase.BAKING), "that it observes", process)
        half = stage.set_route(to("v1", 50), to("v3", 50))  # by whoever does releases today
        stage.until(
            lambda: bool(stage.run_objects()) and stage.is_so("Finished", stage.run_objects()[-1]), "the end", process
        )
        assert stage.newest().plan.observes
        assert "WouldWrite" in {one["reason"] for one in stage.events()}
        assert stage.virtual_service()["metadata"]["resourceVersion"] == half["metadata"]["resourceVersion"]


def test_a_policy_of_the_cluster_and_a_folder_of_plans(stage: RealStage, tmp_path: Path) -> None:
    """A file becomes a CanaryPlan by the rights of the component plans-folder; its steps come from the policy."""
    stage.applied(DEPLOY / "components/plans-folder/role.yaml")
    spec = {key: one for key, one in PLAN["spec"].items() if key != "steps"}
    policy = {"apiVersion": PLAN["apiVersion"], "kind": "CanaryPolicy", "metadata": {"name": stage.namespace}}
    stage.applied({**policy, "spec": {"steps": LONG}})
    folder = tmp_path / "plans"
    folder.mkdir()
    for name, target in (("reviews", "reviews"), ("ratings", "there-is-none")):  # an empty folder would prune nothing
        meta = {"name": name, "namespace": stage.namespace}
        asked = spec | {"from": stage.namespace, "target": spec["target"] | {"virtualService": target}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**PLAN, "metadata": meta, "spec": asked}))
    process = stage.controller("--plans", str(folder))
    stage.until(lambda: bool(stage.run_objects()) and stage.weights() == (90, 10), "10 %", process)
    (folder / "reviews.yaml").unlink()
    stage.until(lambda: len(stage.admin.list(CANARY_PLANS, stage.namespace)) == 1, "that the plan is gone", process)
    assert stage.ends(process=process)["status"]["why"] == "aborted by canaryd: the plan was deleted"


def test_the_kinds_applied_again_change_nothing(stage: RealStage) -> None:
    """Server-side, as an upgrade does: no conflict, no new version of any object, and the plans stay."""
    stage.apply(steps=LONG)
    versions = "kubectl get crd -o jsonpath='{range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}'"
    before = stage.kubectl(versions).stdout
    assert "canaryrecords.canaryd.io=" in before
    for command in (
        f"kubectl apply --server-side -k {DEPLOY / 'crds'}",
        f"PYTHONPATH={ROOT} {sys.executable} -m canaryd crds | kubectl apply --server-side -f -",
    ):
        done = stage.kubectl(command)
        assert (done.returncode, done.stdout.count("serverside-applied")) == (0, 5), done
    assert stage.kubectl(versions).stdout == before
    assert stage.plan_object()["spec"]["steps"] == LONG


def to(subset: str, weight: int) -> dict[str, Any]:
    return {"destination": {"host": "reviews", "subset": subset}, "weight": weight}


def without_weights(found: dict[str, Any]) -> Any:
    spec = yaml.safe_load(yaml.safe_dump(found["spec"]))
    for entry in spec["http"]:
        for one in entry["route"]:
            one.pop("weight", None)
    return spec

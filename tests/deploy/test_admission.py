"""
The ValidatingAdmissionPolicies of deploy/base/admission.yaml, fired at on a real API server.

Nothing else evaluates CEL as the API server does, so without one these skip.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from canaryd.errors import CanarydError
from canaryd.kube import CANARY_FREEZES, CANARY_RECORDS, CANARY_RUNS, VIRTUAL_SERVICES, Kube
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.traffic import NOTHING, Entry, Marker, Route, Split, Version
from tests.conftest import XDIST_GROUP
from tests.deploy.conftest import Installed
from tests.deploy.manifests import kubectl

pytestmark = XDIST_GROUP

Object = dict[str, Any]
Change = Callable[[Object], None]
REVIEWS = Version("reviews", "v1"), Version("reviews", "v3")
MARKER = Marker("run", 1, Split.percent(5), NOTHING, *REVIEWS, 1.0).dump()
ORIGIN = json.dumps({"0": {"stable": None, "canary": None, "inserted": True}}, separators=(",", ":"))


@pytest.fixture(scope="module")
def controller(installed: Installed) -> Kube:
    return installed.as_account("canaryd")


def to(subset: str, weight: int | None = None, **more: Any) -> Object:
    found = {"destination": {"host": "reviews", "subset": subset}, **more}
    return found if weight is None else {**found, "weight": weight}


def virtual_service(installed: Installed, *entries: Object, **meta: Any) -> Object:
    """A VirtualService of a name of its own, on the server."""
    name = f"reviews-{uuid.uuid4().hex[:6]}"
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "labels": {"team": "shop"}, "annotations": {"owner": "shop"}, **meta},
        "spec": {
            "hosts": ["reviews"],
            "http": list(entries)
            or [
                {"match": [{"uri": {"prefix": "/a"}}], "timeout": "3s", "route": [to("v1", 100), to("v3", 0)]},
                {"route": [to("v1", 90), to("v2", 10)]},
            ],
        },
    }
    return installed.admin.create(VIRTUAL_SERVICES, installed.namespace, body)


def edited(asked: Kube, found: Object, change: Change) -> Object:
    """The object as ``asked`` has replaced it by JSON Patch, the way canaryd writes."""
    wanted = copy.deepcopy(found)
    change(wanted)
    spec = {"op": "replace", "path": "/spec", "value": wanted["spec"]}
    parts = ("labels", "annotations", "ownerReferences", "finalizers")
    changed = [part for part in parts if wanted["metadata"].get(part) != found["metadata"].get(part)]
    meta_operations = [
        {"op": "add", "path": f"/metadata/{part}", "value": wanted["metadata"].get(part)} for part in changed
    ]
    meta = found["metadata"]
    return asked.patch_json(VIRTUAL_SERVICES, meta["namespace"], meta["name"], [spec, *meta_operations])


def http(found: Object, entry: int = 0) -> Object:
    return found["spec"]["http"][entry]


def weigh(*weights: int) -> Change:
    def change(found: Object) -> None:
        for one, weight in zip(http(found)["route"], weights, strict=True):
            one["weight"] = weight

    return change


def annotate(**values: str) -> Change:
    def change(found: Object) -> None:
        found["metadata"]["annotations"].update({key.replace("__", ".canaryd.io/"): one for key, one in values.items()})

    return change


def both(*changes: Change) -> Change:
    def change(found: Object) -> None:
        for one in changes:
            one(found)

    return change


def insert(*destinations: Object, entry: int = 0) -> Change:
    return lambda found: http(found, entry)["route"].extend(destinations)


def front(**more: Any) -> Change:
    """What a step with a match puts in front of the first entry, or otherwise."""
    entry = {
        "name": "canaryd-match-reviews.0",
        "match": [{"uri": {"prefix": "/a"}, "headers": {"end-user": {"exact": "jason"}}}],
        "route": [to("v3")],
        **more,
    }
    return lambda found: found["spec"]["http"].insert(0, {key: one for key, one in entry.items() if one is not None})


OURS = annotate(marker__reviews=MARKER, origin__reviews=ORIGIN)

ALLOWED: dict[str, Change] = {
    "weights": weigh(95, 5),
    "a weight left out": lambda found: http(found)["route"][1].pop("weight"),
    "marker and origin": OURS,
    "weights and marker": both(weigh(95, 5), OURS),
    "the canary inserted": both(insert(to("v3", 0), entry=1), OURS),
    "the canary inserted with its first weight": both(insert(to("v3", 5), entry=1), OURS),
    "a match in front": both(front(), OURS),
    "a match in front that keeps the timeout": both(front(timeout="3s"), OURS),
}

REFUSED: dict[str, tuple[Change, str]] = {
    "host": (lambda found: http(found)["route"][0]["destination"].update(host="evil"), "may change weights only"),
    "subset": (lambda found: http(found)["route"][0]["destination"].update(subset="v9"), "may change weights only"),
    "port": (lambda found: http(found)["route"][0]["destination"].update(port={"number": 9}), "weights only"),
    "destinations swapped": (lambda found: http(found)["route"].reverse(), "may change weights only"),
    "headers of a destination": (
        lambda found: http(found)["route"][0].update(headers={"request": {"set": {"x": "y"}}}),
        "may change weights only",
    ),
    "a destination removed": (lambda found: http(found)["route"].pop(), "may change weights only"),
    "a destination without marker": (insert(to("v3", 0), entry=1), "may change weights only"),
    "a destination that the marker does not name": (both(insert(to("v9", 0), entry=1), OURS), "weights only"),
    "the canary with headers": (
        both(insert(to("v3", 0, headers={"request": {"remove": ["x"]}}), entry=1), OURS),
        "may change weights only",
    ),
    "two destinations at once": (both(insert(to("v3", 0), to("v3", 0), entry=1), OURS), "may change weights only"),
    "the canary in front": (
        both(lambda found: http(found, 1)["route"].insert(0, to("v3", 0)), OURS),
        "may change weights only",
    ),
    "a match in front without marker": (front(), "only to match headers"),
    "a match in front to another version": (both(front(route=[to("v9")]), OURS), "only to match headers"),
    "a match in front to two": (both(front(route=[to("v3"), to("v9")]), OURS), "only to match headers"),
    "a match in front of everybody": (both(front(match=[{"uri": {"prefix": "/a"}}]), OURS), "only to match headers"),
    "a match in front, and no match": (both(front(match=[]), OURS), "only to match headers"),
    "a match in front with another timeout": (both(front(timeout="9s"), OURS), "only to match headers"),
    "a match in front with a mirror": (both(front(mirror={"host": "evil"}), OURS), "only to match headers"),
    "a match in front that sets headers": (
        both(front(route=[to("v3", headers={"request": {"set": {"x": "y"}}})]), OURS),
        "only to match headers",
    ),
    "a match in front that answers itself": (
        both(lambda found: front(directResponse={"status": 200})(found), OURS),
        "only to match headers",
    ),
    "an entry removed": (lambda found: found["spec"]["http"].pop(), "may not add or remove http routes"),
    "an entry added": (
        lambda found: found["spec"]["http"].append({"route": [to("v1")]}),
        "may not add or remove http routes",
    ),
    "entries swapped": (lambda found: found["spec"]["http"].reverse(), "nothing in an http route but"),
    "match": (lambda found: http(found)["match"][0].update(uri={"prefix": "/"}), "nothing in an http route but"),
    "match removed": (lambda found: http(found).pop("match"), "nothing in an http route but"),
    "timeout": (lambda found: http(found).update(timeout="9s"), "nothing in an http route but"),
    "mirror added": (lambda found: http(found).update(mirror={"host": "evil"}), "nothing in an http route but"),
    "hosts": (lambda found: found["spec"].update(hosts=["evil"]), "nothing in spec outside of http"),
    "gateways added": (lambda found: found["spec"].update(gateways=["g"]), "nothing in spec outside of http"),
    "tcp added": (
        lambda found: found["spec"].update(tcp=[{"route": [{"destination": {"host": "evil"}}]}]),
        "nothing in spec outside of http",
    ),
    "hosts removed": (lambda found: found["spec"].pop("hosts"), "nothing in spec outside of http"),
    "a label": (lambda found: found["metadata"]["labels"].update(team="evil"), "labels, ownerReferences or finalizers"),
    "a label added": (lambda found: found["metadata"]["labels"].update(more="x"), "labels, ownerReferences"),
    "a finalizer": (lambda found: found["metadata"].update(finalizers=["e.io/x"]), "labels, ownerReferences"),
    "an owner": (
        lambda found: found["metadata"].update(
            ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]
        ),
        "labels, ownerReferences or finalizers",
    ),
    "a foreign annotation": (annotate(owner="evil"), "no annotation but its own"),
    "an annotation added": (annotate(more="x"), "no annotation but its own"),
    "an annotation removed": (lambda found: found["metadata"]["annotations"].pop("owner"), "no annotation but its own"),
    "our group but another annotation": (annotate(allow__from="x"), "no annotation but its own"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_rollout_writes_is_let_through(name: str, installed: Installed, controller: Kube) -> None:
    """A rule too strict stops a rollback."""
    edited(controller, virtual_service(installed), ALLOWED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_our_account_can_do_nothing_else(name: str, installed: Installed, controller: Kube) -> None:
    """Who has canaryd's token can move weights, and cannot send traffic to a host of his own."""
    change, said = REFUSED[name]
    found = virtual_service(installed)
    with pytest.raises(CanarydError, match=said):
        edited(controller, found, change)
    name = found["metadata"]["name"]
    assert installed.admin.get(VIRTUAL_SERVICES, installed.namespace, name)["spec"] == found["spec"]


@pytest.mark.parametrize("name", REFUSED)
def test_other_people_edit_as_they_like(name: str, installed: Installed) -> None:
    """The rules are for our own account."""
    edited(installed.admin, virtual_service(installed), REFUSED[name][0])


def inserted(installed: Installed, weight: int, annotations: Object) -> Object:
    entry = {"route": [to("v1", 100 - weight), to("v2"), to("v3", weight)]}
    return virtual_service(installed, entry, annotations={"owner": "shop", **annotations})


MARKED = {"marker.canaryd.io/reviews": MARKER, "origin.canaryd.io/reviews": ORIGIN}


def withdraw(found: Object) -> None:
    del http(found)["route"][2]
    found["metadata"]["annotations"] = {"owner": "shop"}


def test_an_inserted_destination_is_taken_out_again(installed: Installed, controller: Kube) -> None:
    """That is how a run leaves nothing behind."""
    edited(controller, inserted(installed, 0, MARKED), withdraw)


@pytest.mark.parametrize(
    ("weight", "annotations"),
    [
        pytest.param(5, MARKED, id="with traffic"),
        pytest.param(0, {}, id="unmarked"),
        pytest.param(0, {**MARKED, "origin.canaryd.io/reviews": ORIGIN.replace("true", "false")}, id="not inserted"),
    ],
)
def test_no_other_destination_is_taken_out(
    weight: int, annotations: Object, installed: Installed, controller: Kube
) -> None:
    """A destination that a person wrote stays."""
    with pytest.raises(CanarydError, match="may change weights only"):
        edited(controller, inserted(installed, weight, annotations), withdraw)


def test_a_whole_run_of_the_adapter_passes(installed: Installed, controller: Kube) -> None:
    """The rules against the code itself: first step with insertion, retreat, release; a canary without subset too."""
    for canary in (Version("reviews", "v3"), Version("reviews-next")):
        found = virtual_service(installed, {"name": "all", "route": [to("v1")]})
        name = found["metadata"]["name"]
        mesh = IstioMesh(controller)
        route = Route(installed.namespace, name, "reviews", (Entry(0),), Version("reviews", "v1"), canary)
        five = Split.percent(5)
        mesh.shift(route, Marker("run", 1, five, NOTHING, route.stable, canary, 1.0), mesh.look(route))
        assert mesh.look(route).split == five
        mesh.retreat(route, Marker("run", 2, NOTHING, five, route.stable, canary, 2.0))
        mesh.release(route, "run")
        after = installed.admin.get(VIRTUAL_SERVICES, installed.namespace, name)
        assert after["spec"] == found["spec"]
        assert after["metadata"]["annotations"] == found["metadata"]["annotations"]


def test_a_step_with_a_match_comes_and_goes(installed: Installed, controller: Kube) -> None:
    """Put in front, kept while its user's entry changes, and taken out again by a retreat."""
    found = virtual_service(installed, {"name": "all", "timeout": "3s", "route": [to("v1")]})
    mesh, name = IstioMesh(controller), found["metadata"]["name"]
    route = Route(installed.namespace, name, "reviews", (Entry(0, "all"),), *REVIEWS)
    match = '[{"end-user":{"exact":"jason"}}]'
    mesh.shift(route, Marker("run", 1, NOTHING, NOTHING, *REVIEWS, 1.0, match), mesh.look(route))
    assert mesh.look(route).match == match
    changed = installed.admin.get(VIRTUAL_SERVICES, installed.namespace, name)
    edited(installed.admin, changed, lambda one: http(one, 1).update(timeout="9s"))
    changed = installed.admin.get(VIRTUAL_SERVICES, installed.namespace, name)
    edited(controller, changed, lambda one: http(one, 1)["route"][0].update(weight=100))
    mesh.retreat(route, Marker("run", 2, NOTHING, NOTHING, *REVIEWS, 2.0))
    mesh.release(route, "run")
    after = installed.admin.get(VIRTUAL_SERVICES, installed.namespace, name)
    assert [one["name"] for one in after["spec"]["http"]] == ["all"]


def test_a_rollback_gets_through_on_a_wide_object(installed: Installed, controller: Kube) -> None:
    """The API server gives an expression a budget; hundreds of entries must not use it up."""
    entries = [
        {
            "name": f"route-{number}",
            "match": [{"uri": {"prefix": f"/{number}"}, "headers": {"x-tenant": {"exact": f"tenant-{number}"}}}],
            "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "gateway-error,connect-failure"},
            "route": [to("v1", 50), to("v3", 50)],
        }
        for number in range(WIDE)
    ]
    found = virtual_service(installed, *entries)

    def move(wanted: Object) -> None:
        for entry in wanted["spec"]["http"]:
            entry["route"][0]["weight"], entry["route"][1]["weight"] = 100, 0

    edited(controller, found, both(move, OURS))
    with pytest.raises(CanarydError, match="may change weights only"):
        edited(controller, found, lambda wanted: http(wanted, WIDE - 1)["route"][1]["destination"].update(host="evil"))


WIDE = 500


def test_our_account_neither_creates_nor_deletes(installed: Installed) -> None:
    """RBAC says so already; the policy holds where somebody has granted more."""
    rights = "--verb=create,delete", "--resource=virtualservices.networking.istio.io"
    kubectl("create", "role", "too-much", "-n", installed.namespace, *rights, config=installed.config)
    bound = "--role=too-much", "--serviceaccount=canaryd:canaryd"
    kubectl("create", "rolebinding", "too-much", "-n", installed.namespace, *bound, config=installed.config)
    controller = installed.as_account("canaryd")
    found = virtual_service(installed)
    body = {**found, "metadata": {"name": "another"}}
    with pytest.raises(CanarydError, match="neither creates nor deletes"):
        controller.create(VIRTUAL_SERVICES, installed.namespace, body)
    with pytest.raises(CanarydError, match="neither creates nor deletes"):
        controller.delete(VIRTUAL_SERVICES, installed.namespace, found["metadata"]["name"])


# -- runs, commands and records


def run_object(name: str = "") -> Object:
    """A CanaryRun as the store writes one."""
    spec = {
        "plan": {"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"target": {}}},
        "route": {
            "virtualService": "reviews",
            "entries": [{"index": 0}],
            "stable": {"host": "reviews", "subset": "v1"},
            "canary": {"host": "reviews", "subset": "v3"},
        },
        "created": "2026-01-01T00:00:00Z",
        "split": 0,
    }
    return {
        "apiVersion": "canaryd.io/v1alpha1",
        "kind": "CanaryRun",
        "metadata": {"name": name or f"run-{uuid.uuid4().hex[:6]}"},
        "spec": spec,
    }


@pytest.fixture
def run(installed: Installed, controller: Kube) -> str:
    return str(controller.create(CANARY_RUNS, installed.namespace, run_object())["metadata"]["name"])


@pytest.fixture(scope="module")
def operator(installed: Installed) -> Kube:
    return installed.person("olga", "canaryd-operator")


@pytest.fixture(scope="module")
def approver(installed: Installed) -> Kube:
    return installed.person("paul", "canaryd-approver")


def ask(asked: Kube, installed: Installed, run: str, *commands: Object) -> Object:
    found = installed.admin.get(CANARY_RUNS, installed.namespace, run)
    listed = [*(found["spec"].get("commands") or []), *commands]
    return asked.patch_merge(CANARY_RUNS, installed.namespace, run, {"spec": {"commands": listed}})


def abort(asked: Kube, installed: Installed, run: str, **fields: Any) -> Object:
    body = {"spec": {"abort": {"reason": "it is slow", **fields}}}
    return asked.patch_merge(CANARY_RUNS, installed.namespace, run, body)


def test_a_command_carries_the_name_of_who_gives_it(installed: Installed, run: str, operator: Kube) -> None:
    """Otherwise the journal would say of anybody that he aborted."""
    for by in ({}, {"by": ""}, {"by": "alice"}):
        with pytest.raises(CanarydError, match=f"by must be {installed.user('olga')}"):
            ask(operator, installed, run, {"verb": "resume", **by})
        with pytest.raises(CanarydError, match=f"by must be {installed.user('olga')}"):
            abort(operator, installed, run, **by)
    ask(operator, installed, run, {"verb": "resume", "by": installed.user("olga")})
    abort(operator, installed, run, by=installed.user("olga"))


def test_nobody_repeats_a_command_in_anothers_name(
    installed: Installed, run: str, operator: Kube, approver: Kube
) -> None:
    """Not even one that the other has given before, with a true one behind it."""
    theirs = {"verb": "approve", "by": installed.user("paul")}
    ask(approver, installed, run, theirs)
    with pytest.raises(CanarydError, match="by must be"):
        ask(operator, installed, run, theirs, {"verb": "resume", "by": installed.user("olga")})


def test_each_may_say_what_his_role_says(installed: Installed, run: str, operator: Kube, approver: Kube) -> None:
    """RBAC knows only `patch`; whether that is an approval or an abort, the policy asks for."""
    with pytest.raises(CanarydError, match="needs the verb `approve`"):
        ask(operator, installed, run, {"verb": "approve", "by": installed.user("olga")})
    for verb in ("promote", "resume"):
        with pytest.raises(CanarydError, match="needs the verb `operate`"):
            ask(approver, installed, run, {"verb": verb, "by": installed.user("paul")})
    with pytest.raises(CanarydError, match="needs the verb `operate`"):
        abort(approver, installed, run, by=installed.user("paul"))
    ask(approver, installed, run, {"verb": "approve", "by": installed.user("paul")})


def test_a_later_change_need_not_repeat_the_abort(installed: Installed, run: str, operator: Kube) -> None:
    """An abort of another stays as it is, and stops nobody from labelling the run."""
    abort(operator, installed, run, by=installed.user("olga"))
    second = installed.person("otto", "canaryd-operator")
    second.patch_merge(CANARY_RUNS, installed.namespace, run, {"metadata": {"labels": {"seen": "yes"}}})


def test_canaryd_itself_may_leave_the_author_out(installed: Installed, run: str, controller: Kube) -> None:
    """It aborts by the plan's wish, in the name of nobody."""
    abort(controller, installed, run, by="the plan")


def test_only_canaryd_makes_runs_and_records(installed: Installed, controller: Kube) -> None:
    """And who restores a backup: the verb `restore`, which cluster-admin has like every other."""
    mine = controller.create(CANARY_RUNS, installed.namespace, run_object())
    record = {
        "apiVersion": "canaryd.io/v1alpha1",
        "kind": "CanaryRecord",
        "metadata": {"name": mine["metadata"]["name"]},
        "schema": 1,
        "judge": "1",
        "version": 1,
        "data": "eJwDAAAAAAE=",
    }
    controller.create(CANARY_RECORDS, installed.namespace, record)
    stranger = installed.person("rita", "stranger")
    with pytest.raises(CanarydError, match="a CanaryRun is made by canaryd"):
        stranger.create(CANARY_RUNS, installed.namespace, run_object())
    with pytest.raises(CanarydError, match="memory and statuses are written by canaryd alone"):
        stranger.create(CANARY_RECORDS, installed.namespace, record | {"metadata": {"name": "another"}})
    name = record["metadata"]["name"]
    with pytest.raises(CanarydError, match="memory and statuses are written by canaryd alone"):
        stranger.patch_merge(CANARY_RECORDS, installed.namespace, name, {"data": "eJw="})
    stranger.patch_merge(CANARY_RECORDS, installed.namespace, name, {"metadata": {"labels": {"a": "b"}}})
    installed.admin.create(CANARY_RUNS, installed.namespace, run_object())


def freeze_of(owner: str | None, name: str = "") -> Object:
    spec = {"reason": "incident 4711"} if owner is None else {"reason": "incident 4711", "owner": owner}
    meta = {"name": name or f"freeze-{uuid.uuid4().hex[:6]}"}
    return {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryFreeze", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def freezer(installed: Installed) -> Kube:
    return installed.person("fred", "canaryd-freezer")


def test_a_freeze_names_its_author_or_nobody(installed: Installed, freezer: Kube) -> None:
    """Who waits at night calls whom it names."""
    mine = installed.user("fred")
    for owner in (mine, None):
        freezer.create(CANARY_FREEZES, installed.namespace, freeze_of(owner))
    for owner in ("alice", installed.user("olga")):
        with pytest.raises(CanarydError, match=f"it must be {mine}"):
            freezer.create(CANARY_FREEZES, installed.namespace, freeze_of(owner))


def test_a_freeze_keeps_its_author_whoever_changes_it(installed: Installed, freezer: Kube) -> None:
    """Another may prolong it, take it over, and not pass it to a third."""
    other = installed.person("gina", "canaryd-freezer")
    made = freezer.create(CANARY_FREEZES, installed.namespace, freeze_of(installed.user("fred")))
    name = made["metadata"]["name"]

    def change(**spec: str) -> Object:
        return other.patch_merge(CANARY_FREEZES, installed.namespace, name, {"spec": spec})

    assert change(until="2030-01-01T00:00:00Z")["spec"]["owner"] == installed.user("fred")
    with pytest.raises(CanarydError, match=f"it must be {installed.user('gina')}"):
        change(owner=installed.user("olga"))
    assert change(owner=installed.user("gina"))["spec"]["owner"] == installed.user("gina")


def test_who_freezes_has_a_role_for_it(installed: Installed, freezer: Kube, operator: Kube) -> None:
    """Who operates runs has not, and who may freeze a namespace may not freeze all: canaryd's own is another."""
    with pytest.raises(CanarydError, match="cannot create"):
        operator.create(CANARY_FREEZES, installed.namespace, freeze_of(None))
    with pytest.raises(CanarydError, match="cannot create"):
        freezer.create(CANARY_FREEZES, "canaryd", freeze_of(None))
    made = freezer.create(CANARY_FREEZES, installed.namespace, freeze_of(None))
    with pytest.raises(CanarydError, match="cannot delete"):
        operator.delete(CANARY_FREEZES, installed.namespace, made["metadata"]["name"])
    freezer.delete(CANARY_FREEZES, installed.namespace, made["metadata"]["name"])

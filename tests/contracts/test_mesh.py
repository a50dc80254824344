"""
What the engine relies on from a mesh, asked of the one in memory and of the real adapter.

The adapter runs against the lab's API server, and against a real one with Istio's CRDs where there is one
(tests/envtest). There nobody can order faults or ready pods, and the tests that need them skip.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.shelf import Shelf
from canaryd.engine.ports import Mesh
from canaryd.errors import Conflict, Gone, Rejected, Unavailable
from canaryd.kube import VIRTUAL_SERVICES, Kube, Missing, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.mesh.admission import Surroundings
from canaryd.mesh.slim import CARE
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.mesh.weights import Guard, weight_patch
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import NOTHING, Entry, Marker, Route, Split
from tests.conftest import REAL, XDIST_GROUP, with_istio
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import (
    V1,
    V2,
    V3,
    deployment,
    destination,
    destination_rule,
    entry,
    pod,
    service,
    virtual_service,
)
from tests.mesh.objects import plan as default_plan

Object = dict[str, Any]
FIVE, QUARTER = Split.percent(5), Split.percent(25)


class World:
    """A mesh with `reviews` in it, and the hands of everybody else."""

    namespace = "default"
    mesh: Mesh

    @property
    def route(self) -> Route:
        return Route(self.namespace, "reviews", "reviews", (Entry(0),), V1, V3)

    def object(self) -> Object:
        raise NotImplementedError

    def edit(self, change: Callable[[Object], None]) -> None:
        raise NotImplementedError

    def delete(self) -> None:
        raise NotImplementedError

    def fail(self, call: str, *, after: bool) -> None:
        """The next ``call`` gets no answer, before or after its effect."""
        raise NotImplementedError

    def send(self, operations: list[Object]) -> None:
        """A patch as it stands, without reading anything before."""
        raise NotImplementedError

    def plan(self, **target: Any) -> Plan:
        found = default_plan(**target)
        return found.model_copy(update={"metadata": found.metadata.model_copy(update={"namespace": self.namespace})})

    def weights(self) -> list[int | None]:
        return [one.get("weight") for one in self.object()["spec"]["http"][0]["route"]]

    def weigh(self, *weights: int) -> None:
        def change(found: Object) -> None:
            for one, weight in zip(found["spec"]["http"][0]["route"], weights, strict=True):
                one["weight"] = weight

        self.edit(change)


def around(namespace: str) -> list[Object]:
    """What is beside the VirtualService, as objects to create."""
    kinds = {
        "Service": [service()],
        "DestinationRule": [destination_rule()],
        "Deployment": [deployment(one) for one in ("v1", "v3")],
        "Pod": [pod(one, number) for one in ("v1", "v3") for number in range(2)],
    }
    found = [{"kind": kind, **one} for kind, several in kinds.items() for one in several]
    for one in found:
        one["metadata"]["namespace"] = namespace
    return found


class InMemory(World):
    def __init__(self, *entries: Object) -> None:
        beside: dict[str, list[Object]] = {}
        for one in around("default"):
            beside.setdefault(one["kind"], []).append(one)
        self.mesh = self.memory = MemoryMesh(
            virtual_service(*entries),
            Surroundings(
                services=beside["Service"],
                destination_rules=beside["DestinationRule"],
                deployments=beside["Deployment"],
                pods=beside["Pod"],
            ),
        )

    def object(self) -> Object:
        return copy.deepcopy(self.memory.virtual_service or {})

    def edit(self, change: Callable[[Object], None]) -> None:
        self.memory.edit(change)

    def send(self, operations: list[Object]) -> None:
        self.memory._write("retreat", operations)

    def delete(self) -> None:
        self.memory.delete()

    def fail(self, call: str, *, after: bool) -> None:
        (self.memory.fail_after if after else self.memory.fail_before)(Unavailable("nobody answered"), call)


class OnApi(World):
    """The adapter on an API server; ``emulator`` is None on a real one."""

    def __init__(self, kube: Kube, emulator: ApiServer | None, *entries: Object, shelf: bool = False) -> None:
        self.kube, self.emulator = kube, emulator
        self.shelf = Shelf(kube, care=CARE) if shelf else None
        self.namespace = f"canaryd-test-{uuid.uuid4().hex[:8]}"
        self._send("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self._create(virtual_service(*entries, namespace=self.namespace))
        if emulator:
            for one in around(self.namespace):
                versions = {"Deployment": "apps/v1", "DestinationRule": "networking.istio.io/v1"}
                emulator.cluster.apply({"apiVersion": versions.get(one["kind"], "v1"), **one})
        self.mesh = IstioMesh(kube, self.shelf)
        if self.shelf:
            self.mesh.look(self.route)
            self.mesh.sides(self.route)
            self._heard()

    def _heard(self) -> None:
        """Wait until the shelf knows what has just been done by others: its watch tells of it a moment later."""
        end = time.monotonic() + 10
        while self.shelf and not self._is_heard(self.shelf):
            assert time.monotonic() < end, "the watch does not tell"
            time.sleep(0.01)

    def _is_heard(self, shelf: Shelf) -> bool:
        try:
            version = self.object()["metadata"]["resourceVersion"]
        except Missing:
            return shelf.known(VIRTUAL_SERVICES, self.namespace, "reviews") is None
        near = shelf.peek(VIRTUAL_SERVICES, self.namespace, "reviews")
        return near is not None and near["metadata"]["resourceVersion"] == version

    def object(self) -> Object:
        return self.kube.get(VIRTUAL_SERVICES, self.namespace, "reviews")

    def edit(self, change: Callable[[Object], None]) -> None:
        found = self.object()
        change(found)
        self._send("PUT", VIRTUAL_SERVICES.path(self.namespace, "reviews"), found)
        self._heard()

    def send(self, operations: list[Object]) -> None:
        self.kube.patch_json(VIRTUAL_SERVICES, self.namespace, "reviews", operations)

    def delete(self) -> None:
        self._send("DELETE", VIRTUAL_SERVICES.path(self.namespace, "reviews"))
        self._heard()

    def fail(self, call: str, *, after: bool) -> None:
        if self.emulator is None:
            pytest.skip("a real API server takes no orders to fail")
        if self.shelf and call == "look":
            pytest.skip("a look at what has not changed asks nobody; tests/cluster/test_shelf.py has the other looks")
        verb = "get" if call == "look" else "patch"
        self.emulator.faults.reset(verb, "virtualservices", after_write=after)

    def close(self) -> None:
        self._send("DELETE", f"/api/v1/namespaces/{self.namespace}")
        if self.shelf:
            self.shelf.stop()

    def _create(self, found: Object) -> None:
        found["metadata"].pop("resourceVersion", None)
        self._send("POST", VIRTUAL_SERVICES.path(self.namespace), found)

    def _send(self, method: str, path: str, body: Object | None = None) -> Object:
        return self.kube._request(method, path, None, body, "application/json")


@pytest.fixture(scope="module")
def emulator() -> Iterator[ApiServer]:
    with ApiServer(Cluster()) as server:
        yield server


REAL_SHELF = pytest.param("real-shelf", marks=XDIST_GROUP)


@pytest.fixture(params=["memory", "emulator", "shelf", REAL, REAL_SHELF])
def world_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes the world from the http entries of `reviews`."""
    made: list[OnApi] = []

    def on_api(*entries: Object) -> World:
        shelf = request.param in ("shelf", "real-shelf")
        if request.param in ("emulator", "shelf"):
            server = request.getfixturevalue("emulator")
            kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
            world = OnApi(kube, server, *entries, shelf=shelf)
        else:
            kube = with_istio(connect(str(request.getfixturevalue("real_api"))))
            world = OnApi(kube, None, *entries, shelf=shelf)
        made.append(world)
        return world

    yield InMemory if request.param == "memory" else on_api
    for world in made:
        if world.emulator:
            world.emulator.faults.clear()
        world.close()


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """v1 and v3 at 100 and 0."""
    return world_of(entry(destination(V1, 100), destination(V3, 0)))


@pytest.fixture
def lone(world_of: Callable[..., World]) -> World:
    """v1 alone, without a weight."""
    return world_of(entry(destination(V1)))


def marker(split: Split, seq: int = 1, was: Split = NOTHING, **more: Any) -> Marker:
    return Marker("run-1", seq, split, was, V1, V3, 1_700_000_000.5, **more)


def shift(world: World, split: Split, seq: int = 1) -> None:
    world.mesh.shift(world.route, marker(split, seq), world.mesh.look(world.route))


# -- look and shift


def test_a_look_says_the_weights_and_that_nobody_was_here(world: World) -> None:
    """Before the first write there is no marker."""
    seen = world.mesh.look(world.route)
    assert (seen.split, seen.marker, seen.stable_missing, seen.why) == (NOTHING, None, False, "")
    assert seen.version


def test_a_shift_is_seen_with_its_marker(world: World) -> None:
    """Arrived means: the marker is ours and the weights match it."""
    shift(world, FIVE)
    seen = world.mesh.look(world.route)
    assert (seen.split, seen.marker) == (FIVE, marker(FIVE))
    assert world.weights() == [95, 5]


def test_a_shift_changes_the_version_that_it_was_guarded_by(world: World) -> None:
    """Two shifts from one look: the second is a Conflict, not a double step."""
    seen = world.mesh.look(world.route)
    world.mesh.shift(world.route, marker(FIVE), seen)
    with pytest.raises(Conflict):
        world.mesh.shift(world.route, marker(QUARTER, 2), seen)
    assert world.weights() == [95, 5]


def test_no_shift_over_somebodys_edit(world: World) -> None:
    """Any edit since the look may be the reason not to go on."""
    seen = world.mesh.look(world.route)
    world.edit(lambda found: found["spec"]["http"][0].update(timeout="3s"))
    before = world.object()
    with pytest.raises(Conflict):
        world.mesh.shift(world.route, marker(FIVE), seen)
    assert world.object() == before


def test_a_missing_canary_comes_and_goes(lone: World) -> None:
    """Inserted, shifted, rolled back, released: the spec is what it was."""
    before = lone.object()["spec"]
    shift(lone, FIVE)
    assert lone.mesh.look(lone.route).split == FIVE
    lone.mesh.retreat(lone.route, marker(NOTHING, 2))
    assert lone.weights() == [100, 0]
    lone.mesh.release(lone.route, "run-1")
    assert lone.object()["spec"] == before
    assert not lone.object()["metadata"].get("annotations")


def test_a_match_comes_and_goes(lone: World) -> None:
    """Put in front of the entry, taken out by the next weight, and by a retreat; nothing of ours is left."""
    before, match = lone.object()["spec"], '[{"end-user":{"exact":"jason"}}]'
    seen = lone.mesh.look(lone.route)
    lone.mesh.shift(lone.route, marker(NOTHING, match=match), seen)
    seen = lone.mesh.look(lone.route)
    assert (seen.split, seen.match) == (NOTHING, match)
    front, *_ = lone.object()["spec"]["http"]
    assert front["match"] == [{"headers": {"end-user": {"exact": "jason"}}}]
    lone.mesh.shift(lone.route, marker(FIVE, 2), seen)
    seen = lone.mesh.look(lone.route)
    assert (seen.split, seen.match) == (FIVE, "")
    lone.mesh.shift(lone.route, marker(NOTHING, 3, match=match), seen)
    lone.edit(lambda found: found["metadata"].setdefault("labels", {}).update(busy="writer"))
    lone.mesh.retreat(lone.route, marker(NOTHING, 4))
    seen = lone.mesh.look(lone.route)
    assert (seen.split, seen.match) == (NOTHING, "")
    lone.mesh.release(lone.route, "run-1")
    assert lone.object()["spec"] == before


# -- retreat


def test_a_retreat_asks_nobody(world: World) -> None:
    """Whatever was edited since, by whomever: weights go to stable, and the edits survive."""
    shift(world, QUARTER)
    world.edit(lambda found: found["spec"]["http"][0].update(timeout="3s"))
    world.edit(lambda found: found["metadata"].setdefault("annotations", {}).update(note="mine"))
    world.weigh(20, 80)
    world.mesh.retreat(world.route, marker(NOTHING, 2, QUARTER, latch="failed", reason="errors"))
    seen = world.mesh.look(world.route)
    assert (seen.split, seen.marker) == (NOTHING, marker(NOTHING, 2, QUARTER, latch="failed", reason="errors"))
    assert world.weights() == [100, 0]
    assert world.object()["spec"]["http"][0]["timeout"] == "3s"
    assert world.object()["metadata"]["annotations"]["note"] == "mine"


def test_a_retreat_works_where_the_marker_was_taken_out(world: World) -> None:
    """Somebody removed every annotation; the rollback must not need them."""
    shift(world, QUARTER)
    world.edit(lambda found: found["metadata"].pop("annotations"))
    world.mesh.retreat(world.route, marker(NOTHING, 2))
    assert world.weights() == [100, 0]
    assert world.mesh.look(world.route).marker == marker(NOTHING, 2)


def test_a_retreat_twice_is_a_retreat(world: World) -> None:
    """The engine tries until it sees it."""
    shift(world, QUARTER)
    world.mesh.retreat(world.route, marker(NOTHING, 2))
    world.mesh.retreat(world.route, marker(NOTHING, 2))
    assert world.weights() == [100, 0]


def test_a_retreat_without_stable_is_refused_and_changes_nothing(world: World) -> None:
    """A single canary has 100 % whatever its weight: nothing is reported as done that was not."""
    shift(world, QUARTER)
    world.edit(lambda found: found["spec"]["http"][0]["route"].pop(0))
    before = world.object()
    assert world.mesh.look(world.route).stable_missing
    with pytest.raises(Rejected, match="no destination v1"):
        world.mesh.retreat(world.route, marker(NOTHING, 2))
    assert world.object() == before


def test_a_retreat_where_nothing_is_ours_is_a_conflict(world: World) -> None:
    """The port says so: read again."""
    world.edit(lambda found: found["spec"]["http"][0].update(route=[destination(V2, 100)]))
    with pytest.raises(Conflict):
        world.mesh.retreat(world.route, marker(NOTHING))


# -- a leader that was away


def of_run(run: str, born: float, split: Split, seq: int = 1, **more: Any) -> Marker:
    return replace(marker(split, seq, **more), run=run, born=born)


def next_release(world: World) -> None:
    """Another leader has rolled run-1 back to the end, and run-2 of the plan has begun."""
    world.mesh.retreat(world.route, of_run("run-1", 100.0, NOTHING, 3, latch="fail"))
    world.mesh.release(world.route, "run-1")
    world.mesh.shift(world.route, of_run("run-2", 200.0, QUARTER), world.mesh.look(world.route))


def test_a_leader_stopped_between_save_and_patch_writes_nothing_when_it_wakes(world: World) -> None:
    """None of its patches is accepted: not the shift that it was about to send, and not a retreat of its old run."""
    world.mesh.shift(world.route, of_run("run-1", 100.0, FIVE), world.mesh.look(world.route))
    seen = world.mesh.look(world.route)  # its tick has looked and saved; here it stops
    next_release(world)
    before = world.object()
    with pytest.raises(Conflict):
        world.mesh.shift(world.route, of_run("run-1", 100.0, Split.percent(50), 2), seen)
    with pytest.raises(Conflict, match="run run-2, which began later"):
        world.mesh.retreat(world.route, of_run("run-1", 100.0, NOTHING, 3, latch="abort"))
    world.mesh.release(world.route, "run-1")
    assert world.object() == before


def test_a_retreat_stopped_between_its_two_requests_writes_nothing_when_it_wakes(world: World) -> None:
    """It read an object without a marker; by now there is one, and absence was tested for."""
    world.edit(lambda found: found["metadata"].setdefault("annotations", {}).update(note="mine"))
    late = weight_patch(world.object(), world.route, of_run("run-1", 100.0, NOTHING, 3), Guard.DESTINATIONS)
    world.mesh.shift(world.route, of_run("run-2", 200.0, QUARTER), world.mesh.look(world.route))
    before = world.object()
    with pytest.raises(Conflict):
        world.send(late)
    assert world.object() == before


def test_the_younger_run_rolls_back_over_an_older_marker(world: World) -> None:
    """Somebody restored an old YAML, marker included: rule 7, nothing blocks a rollback."""
    world.mesh.shift(world.route, of_run("run-1", 100.0, QUARTER), world.mesh.look(world.route))
    world.mesh.retreat(world.route, of_run("run-2", 200.0, NOTHING, 5))
    assert world.weights() == [100, 0]


def test_a_marker_of_unknown_birth_blocks_no_retreat(world: World) -> None:
    """It was written before canaryd knew births."""
    world.mesh.shift(world.route, of_run("run-0", 0.0, QUARTER), world.mesh.look(world.route))
    world.mesh.retreat(world.route, of_run("run-1", 100.0, NOTHING, 5))
    assert world.weights() == [100, 0]


def test_a_retreat_does_not_touch_what_another_plan_began_later(world: World) -> None:
    """Ours had ended and let go; the entry is another plan's by now."""
    other = replace(world.route, plan="other")
    world.mesh.shift(other, of_run("other-1", 200.0, QUARTER), world.mesh.look(other))
    before = world.object()
    with pytest.raises(Conflict, match="plan other"):
        world.mesh.retreat(world.route, of_run("run-1", 100.0, NOTHING, 5))
    assert world.object() == before
    world.mesh.retreat(world.route, of_run("run-1", 300.0, NOTHING, 5))
    assert world.weights() == [100, 0]


# -- release


def test_a_release_of_another_run_changes_nothing(world: World) -> None:
    """Its marker may be gone and another's be there."""
    shift(world, FIVE)
    before = world.object()
    world.mesh.release(world.route, "run-2")
    assert world.object() == before


def test_a_release_keeps_the_weights(world: World) -> None:
    """The end of a run is not the end of what it decided."""
    shift(world, FIVE)
    world.mesh.release(world.route, "run-1")
    seen = world.mesh.look(world.route)
    assert (seen.split, seen.marker) == (FIVE, None)


def test_a_release_that_died_between_its_two_writes_is_finished(lone: World) -> None:
    """What was inserted goes first, and the marker last: as long as it is there, the release is tried again."""
    before = lone.object()
    lone.mesh.shift(lone.route, marker(FIVE), lone.mesh.look(lone.route))
    lone.mesh.retreat(lone.route, marker(NOTHING, 2, was=FIVE))
    lone.fail("release", after=True)
    with pytest.raises(Unavailable):
        lone.mesh.release(lone.route, "run-1")
    assert lone.object()["spec"] == before["spec"]
    assert lone.mesh.look(lone.route).marker is not None
    assert lone.mesh.look(lone.route).split == NOTHING
    lone.mesh.release(lone.route, "run-1")
    assert lone.object()["spec"] == before["spec"]
    assert not lone.object()["metadata"].get("annotations")


def test_where_the_object_is_gone_nothing_can_be_done(world: World) -> None:
    """A person has to act; only the release has nothing left to do."""
    seen = world.mesh.look(world.route)
    world.delete()
    for call in (
        lambda: world.mesh.look(world.route),
        lambda: world.mesh.shift(world.route, marker(FIVE), seen),
        lambda: world.mesh.retreat(world.route, marker(NOTHING)),
    ):
        with pytest.raises(Gone, match="is gone"):
            call()
    world.mesh.release(world.route, "run-1")


# -- faults


@pytest.mark.parametrize("call", ["look", "shift", "retreat", "release"])
def test_nobody_answers(world: World, call: str) -> None:
    """Unavailable, and nothing has happened."""
    shift(world, QUARTER)
    seen, before = world.mesh.look(world.route), world.object()
    world.fail(call, after=False)
    with pytest.raises(Unavailable):
        act(world, call, seen)
    assert world.object() == before
    act(world, call, seen)


@pytest.mark.parametrize("call", ["shift", "retreat"])
def test_nobody_answers_and_it_happened(world: World, call: str) -> None:
    """Unavailable as well: only the marker can tell the two apart, so it must be there."""
    shift(world, QUARTER)
    seen = world.mesh.look(world.route)
    world.fail(call, after=True)
    with pytest.raises(Unavailable):
        act(world, call, seen)
    now = world.mesh.look(world.route)
    assert now.marker is not None
    assert (now.marker.seq, now.split) == (2, now.marker.split)


def act(world: World, call: str, seen: Any) -> None:
    match call:
        case "look":
            world.mesh.look(world.route)
        case "shift":
            world.mesh.shift(world.route, marker(Split.percent(50), 2), seen)
        case "retreat":
            world.mesh.retreat(world.route, marker(NOTHING, 2))
        case "release":
            world.mesh.release(world.route, "run-1")


# -- admission and what is around


@pytest.fixture
def peopled(world: World) -> World:
    """A world with pods."""
    if isinstance(world, OnApi) and world.emulator is None:
        pytest.skip("a real API server makes no pods ready for a test")
    return world


def test_a_plan_is_admitted_and_nothing_is_changed(peopled: World) -> None:
    """What admission sees is what the run begins with."""
    before = peopled.object()
    answer = peopled.mesh.admit(peopled.plan())
    assert answer.route == peopled.route
    assert answer.split == NOTHING
    assert answer.sides.stable.workloads == ("reviews-v1",)
    assert answer.sides.canary.ready == 2
    assert answer.remarks == ()
    assert peopled.object() == before


def test_a_plan_at_fifty_fifty_is_refused_and_nothing_is_changed(peopled: World) -> None:
    """The seed's reviews."""
    peopled.weigh(50, 50)
    before = peopled.object()
    with pytest.raises(Refused, match="kubectl patch virtualservice reviews"):
        peopled.mesh.admit(peopled.plan())
    assert peopled.object() == before


def test_a_plan_that_observes_sends_no_patch_not_even_a_rehearsal(peopled: World) -> None:
    """Who only may read can observe."""
    peopled.weigh(70, 30)
    before = peopled.object()
    peopled.fail("shift", after=False)
    answer = peopled.mesh.admit(peopled.plan().in_mode("observe"))
    assert any("30 %" in remark for remark in answer.remarks)
    assert peopled.object() == before


def test_an_unknown_object_is_refused(peopled: World) -> None:
    """With the path in the plan."""
    with pytest.raises(Refused, match=r"spec\.target\.virtualService"):
        peopled.mesh.admit(peopled.plan(virtualService="reviws"))


def test_sides_are_the_pods_of_now(peopled: World) -> None:
    """The same as admission saw, asked again at each tick."""
    sides = peopled.mesh.sides(peopled.route)
    assert sides == peopled.mesh.admit(peopled.plan()).sides
    assert sides.canary.hashes == ("abc",)
    assert sides.canary.rolled_out


def test_sides_say_in_what_the_versions_differ(peopled: World) -> None:
    """Of two Deployments with the same template nothing; that they were compared is said."""
    assert peopled.mesh.sides(peopled.route).unlike == ()


def test_a_look_at_what_has_not_changed_asks_nobody(peopled: World) -> None:
    """Neither a look nor the pods cost a request, and our own write is seen without one."""
    if not isinstance(peopled, OnApi) or peopled.shelf is None or peopled.emulator is None:
        pytest.skip("only the shelf spares requests, and only the lab's server counts them")
    until(lambda: all(peopled.shelf.watched().values()))
    shift(peopled, FIVE)
    before = len(peopled.emulator.requests)
    for _ in range(10):
        assert peopled.mesh.look(peopled.route).marker == marker(FIVE)
        assert peopled.mesh.sides(peopled.route).canary.ready == 2
    assert [one for one in peopled.emulator.requests[before:] if one.verb != "watch"] == []


def test_a_shelf_that_lags_shows_no_state_that_is_over(peopled: World) -> None:
    """Its watch has not told of our write and never took the answer: the server is asked, and nothing looks lost."""
    if not isinstance(peopled, OnApi) or peopled.shelf is None:
        pytest.skip("nothing lags without a shelf")
    old = peopled.object()
    shift(peopled, FIVE)
    peopled.shelf.peek = lambda *_: old  # type: ignore[method-assign]
    assert peopled.mesh.look(peopled.route).split == FIVE
    another = IstioMesh(peopled.kube, peopled.shelf)  # of a process that has just begun to lead
    assert another.look(peopled.route).split == FIVE
    assert another.look(peopled.route).split == FIVE


def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_hosts_are_fully_qualified(world: World) -> None:
    """As Istio writes destination_service."""
    assert world.mesh.hosts(world.route) == (f"reviews.{world.namespace}.svc.cluster.local",)


def test_what_keeps_a_client_from_the_weights_is_found_and_nothing_is_changed(world: World) -> None:
    """An entry that somebody put in front of ours, here; the client's pods are not there at all."""
    world.edit(lambda found: found["spec"]["http"].insert(0, entry(destination(V1), match=[{"headers": {"x": {}}}])))
    before = world.object()
    assert world.mesh.suspects(world.route, (f"web.{world.namespace}",)) == (
        "http[0] stands before ours and sends what it matches (headers) to v1 alone",
    )
    assert world.object() == before

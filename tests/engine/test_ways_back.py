"""
Back after a promotion, by `afterPromotion: return` and by `undo`, on routes that are not one entry with two subsets.

Each world is interrupted at each call from the watch on (return), or from the first tick on (undo): of each object by
itself where there are several, so that a death comes between two of them as well.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog

from canaryd.engine.undoing import undo
from canaryd.mesh.several import Several
from canaryd.model.problem import Refused
from canaryd.model.run import Command, Outcome, Phase, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, Marker, Route, Sides, Sighting, Split, Version
from tests.engine.test_deaths import CAN_CONFLICT, WAYS, running
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import ROUTE, at, destination, entry, pod, service, surroundings, virtual_service
from tests.metrics.memory import MemoryMetrics
from tests.world import START, Few, Remembered, Trap, Trapped, World, small_plan

STORIES = ("several", "hosts", "matched")
ASKED = Command("c1", "undo", "the basket is empty", "anna")
CHECKS = [
    {"name": "errors", "metric": "error-rate", "compare": "stable"},
    {"name": "slo", "metric": "error-rate", "atMost": "5%"},
]
MATCHED = [{"match": [{"headers": {"end-user": {"exact": "jason"}}}], "bake": "4s"}, {"weight": 50, "bake": "6s"}]

GATEWAY = replace(ROUTE, virtual_service="reviews-gateway")
OWN_HOSTS = replace(ROUTE, stable=Version("reviews-v1"), canary=Version("reviews-v3"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Objects(Several):
    """Several objects in memory."""

    def __init__(self, *names: str) -> None:
        self.parts = {name: MemoryMesh(_named(name), around("reviews:1")) for name in names}
        super().__init__(ByName(self.parts))  # type: ignore[arg-type]  # by shape

    def trapped(self, trap: Trap) -> Several:
        """The same for a process: each call to each object goes through ``trap``."""
        calls = ("shift", "retreat", "release")
        parts = {name: Trapped(f"mesh {name}", part, trap, calls) for name, part in self.parts.items()}
        return Several(ByName(parts))  # type: ignore[arg-type]  # by shape

    @property
    def writes(self) -> list[Any]:
        return [write for part in self.parts.values() for write in part.writes]

    @property
    def around(self) -> Any:
        return next(iter(self.parts.values())).around

    @around.setter
    def around(self, found: Any) -> None:
        for part in self.parts.values():
            part.around = found


@dataclass
class ByName:
    """The adapter of one object at a time, by the name of the object."""

    parts: dict[str, Any]

    def look(self, route: Route) -> Sighting:
        found: Sighting = self.parts[route.virtual_service].look(route)
        return found

    def shift(self, route: Route, marker: Marker, seen: Sighting) -> None:
        self.parts[route.virtual_service].shift(route, marker, seen)

    def retreat(self, route: Route, marker: Marker) -> None:
        self.parts[route.virtual_service].retreat(route, marker)

    def release(self, route: Route, run: str) -> None:
        self.parts[route.virtual_service].release(route, run)

    def sides(self, route: Route) -> Sides:
        found: Sides = self.parts[route.virtual_service].sides(route)
        return found

    def hosts(self, route: Route) -> tuple[str, ...]:
        found: tuple[str, ...] = self.parts[route.virtual_service].hosts(route)
        return found

    def suspects(self, route: Route, clients: Any) -> tuple[str, ...]:
        found: tuple[str, ...] = self.parts[route.virtual_service].suspects(route, clients)
        return found


class OfObjects(World):
    """A world whose process is interrupted between two objects, too."""

    def _mesh(self) -> Any:
        return self.mesh.trapped(self.trap)


@dataclass
class OwnHosts(Few):
    """A load whose versions are Services of their own."""

    def _labels(self, workload: str, namespace: str, code: str, flags: str) -> dict[str, str]:
        labels = super()._labels(workload, namespace, code, flags)
        host = self.canary if workload == "unknown" else workload
        return {**labels, "destination_service": f"{host}.default.svc.cluster.local"}


class OwnCounts(Remembered):
    """Its counts."""

    def __init__(self) -> None:
        super().__init__(0.001)
        load = OwnHosts(since=START - 60)
        load.turn(START, rate=2000.0, canary_errors=0.001)
        self._book = MemoryMetrics.of(load)._book


def _named(name: str) -> dict[str, Any]:
    found = at(100, 0)
    found["metadata"]["name"] = name
    return found


def around(stable: str, template: str = "abc") -> Any:
    """What is around the route, with both Services of the versions too; stable runs the image ``stable``."""
    own = [service(), *(_service_of(version) for version in ("v1", "v3"))]
    pods = [pod("v1", n, template=template) for n in range(2)] + [pod("v3", n) for n in range(2)]
    return surroundings(services=own, pods=pods, deployments=[running("v1", stable), running("v3", "reviews:3")])


def _service_of(version: str) -> dict[str, Any]:
    found = service(f"reviews-{version}")
    found["spec"]["selector"] = {"app": "reviews", "version": version}
    return found


def told(story: str, trap: Trap | None = None, **spec: Any) -> World:
    """A world for the story, before anything has moved."""
    trap = trap or Trap()
    if story == "several":
        plan = small_plan(target=_target(also=[{"virtualService": "reviews-gateway"}]), **spec)
        route = replace(ROUTE, also=(GATEWAY,))
        return OfObjects(plan=plan, trap=trap, mesh=Objects("reviews", "reviews-gateway"), route=route)
    if story == "hosts":
        ends = entry(destination(OWN_HOSTS.stable, 100), destination(OWN_HOSTS.canary, 0))
        plan = small_plan(target=_target(stable={"host": "reviews-v1"}, canary={"host": "reviews-v3"}), **spec)
        mesh = MemoryMesh(virtual_service(ends), around("reviews:1"))
        return World(plan=plan, trap=trap, mesh=mesh, route=OWN_HOSTS, metrics=OwnCounts())
    plan = small_plan(steps=MATCHED, analysis={"checks": CHECKS}, **spec)
    return World(plan=plan, trap=trap, mesh=MemoryMesh(at(100, 0), around("reviews:1")))


def _target(**more: Any) -> dict[str, Any]:
    return {
        "virtualService": "reviews",
        "host": "reviews",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v3"},
        **more,
    }


def objects(world: World) -> list[dict[str, Any]]:
    """The VirtualServices, without what the API server counts."""
    meshes = world.mesh.parts.values() if isinstance(world.mesh, Objects) else [world.mesh]
    found: list[Any] = [copy.deepcopy(mesh.virtual_service) for mesh in meshes]
    for one in found:
        one["metadata"].pop("resourceVersion")
        if not one["metadata"].get("annotations"):
            one["metadata"].pop("annotations", None)
    return found


def stable_follows(world: World) -> None:
    """Somebody rolls out in stable what the canary runs, some time after the run began to wait for it."""
    run = world.saved
    if run.returning_since is not None and world.clock.at > run.returning_since + 4:
        world.mesh.around = around("reviews:3", template="new")


def interruptions(calls: list[str], first: int) -> Iterator[tuple[Trap, str]]:
    """At each call of mesh and store: those of metrics and journal are interrupted in tests of one entry."""
    for n in range(first, len(calls)):
        port, _, call = calls[n].partition(".")
        for way, when in WAYS if port != "metrics" and port != "journal" else ():
            if way == "conflicts" and f"{port.partition(' ')[0]}.{call}" not in CAN_CONFLICT:
                continue
            yield Trap(n, way, when), f"{way} {when} call {n}, {calls[n]}"


# ---------------------------------------------------------------------------------------------------------------------
# Return


RETURNING: dict[str, Any] = {"after_promotion": "return", "on_no_data": {"hold": "10h"}}


@pytest.mark.parametrize("story", STORIES)
def test_an_interruption_anywhere_on_the_way_back_to_stable_changes_no_ending(story: str) -> None:
    """Stable has everything in every object, as one promotion, and each object is as it was."""
    first: list[int] = []

    def watched(world: World) -> None:
        if world.saved.phase is Phase.WATCHING and not first:
            first.append(len(world.trap.calls))
        stable_follows(world)

    world = told(story, **RETURNING)
    before = objects(world)
    check_returned(world, world.live(then=watched), before, "uninterrupted")
    calls = world.trap.calls
    assert len(calls) - first[0] > 30
    for trap, what in interruptions(calls, first[0]):
        world = told(story, trap, **RETURNING)
        check_returned(world, world.live(then=stable_follows), before, what)
        assert trap.sprung


def check_returned(world: World, run: Run, before: list[dict[str, Any]], what: str) -> None:
    assert (run.outcome, run.latch, run.returned) == (Outcome.PROMOTED, None, True), f"{what}: {run.reason}"
    assert world.split == NOTHING, what
    assert objects(world) == before, what
    check_rising(world, what)


def check_rising(world: World, what: str) -> None:
    """Weights of the plan in order up to 100 %, and then none but 0 %: what went back does not rise again."""
    splits = [split for split, _ in world.seen]
    top = len(splits) - 1 - splits[::-1].index(EVERYTHING)
    rising: list[Split] = [split for split in splits[: top + 1] if split != NOTHING]
    assert rising == sorted(rising), what


# ---------------------------------------------------------------------------------------------------------------------
# Undo


def promoted(story: str, trap: Trap | None = None) -> World:
    world = told(story, trap)
    assert world.live().outcome is Outcome.PROMOTED
    assert all(one["spec"]["http"][0]["route"][1]["weight"] == 100 for one in objects(world))
    world.clock.at += 3600
    return world


def undone(world: World) -> Run:
    """The run that undoes, ticked to its end by a canaryd that may die on the way."""
    undo("run-1", ASKED, mesh=world.mesh, store=world.store, clock=world.clock, name="undo-1")
    end = world.clock.at + 240
    while not (run := world.store.load("undo-1").run).final or not run.released:
        assert world.clock.at < end, run.waiting
        try:
            world.reconciler.tick("undo-1")
        except BaseException:  # noqa: BLE001  # a death, or an answer that did not come
            world.start()
        world.clock.at += 1.5
    return run


@pytest.mark.parametrize("story", STORIES)
def test_an_interruption_anywhere_in_an_undo_changes_no_ending(story: str) -> None:
    """The former version has everything in every object, and nothing of canaryd's is left."""
    world = told(story)
    before = objects(world)
    world = promoted(story)
    first = len(world.trap.calls)
    check_undone(world, undone(world), before, "uninterrupted")
    calls = world.trap.calls
    assert len(calls) - first > 10
    for trap, what in interruptions(calls, first):
        n, trap.n = trap.n, -1
        world = promoted(story, trap)
        trap.n = n + len(world.trap.calls) - first
        check_undone(world, undone(world), before, what)
        assert trap.sprung


def check_undone(world: World, run: Run, before: list[dict[str, Any]], what: str) -> None:
    assert (run.outcome, run.reason) == (Outcome.UNDONE, "undone by anna: the basket is empty"), what
    assert (world.split, objects(world)) == (NOTHING, before), what


def _hand_in_one(world: World) -> None:
    world.mesh.parts["reviews-gateway"].weigh(40, 60)


def _gone_from_one(world: World) -> None:
    world.mesh.parts["reviews-gateway"].edit(lambda found: found["spec"]["http"][0]["route"].pop(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [(_hand_in_one, "the objects differ: reviews 100 %, reviews-gateway 60 %"), (_gone_from_one, "no destination v1")],
)
def test_an_undo_looks_at_every_object(change: Callable[[World], None], said: str) -> None:
    """One that was moved by hand, or has lost the former version, refuses it for all."""
    world = promoted("several")
    change(world)
    with pytest.raises(Refused) as refused:
        undone(world)
    assert said in str(refused.value)

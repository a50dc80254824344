"""
Dying or failing at any call of any port changes no ending.

For every call that an uninterrupted run makes, one world fails or dies there, before the call's effect or after it, and
is started again. What is compared is what users of the service and of canaryd see: the ending, the order of splits, no
rise after a failure, and cells that equal those asked for anew.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import EVERYTHING, NOTHING
from tests.mesh.objects import at, deployment, pod, surroundings
from tests.world import START, Trap, Way, When, World, small_plan

SHARDS = 4
WAYS: tuple[tuple[Way, When], ...] = (
    ("dies", "before"),
    ("dies", "after"),
    ("fails", "before"),
    ("fails", "after"),
    ("conflicts", "before"),
)
STORIES = {"healthy": 0.001, "faulty": 0.3, "matched": 0.001, "matched faulty": 0.3}
WELL = ("healthy", "matched")
CALLS: dict[str, int] = {}
CAN_CONFLICT = {"store.save", "mesh.shift", "mesh.retreat", "mesh.release"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of failures are on purpose; nobody reads of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def told(story: str, trap: Trap | None = None) -> World:
    """A world for the story; in the matched ones people with a header meet the canary before anybody else."""
    if not story.startswith("matched"):
        return World(canary_errors=STORIES[story], trap=trap)
    match = [{"headers": {"end-user": {"exact": "jason"}}}]
    checks = [
        {"name": "errors", "metric": "error-rate", "compare": "stable"},
        {"name": "slo", "metric": "error-rate", "atMost": "5%"},
    ]
    steps = [{"match": match, "bake": "4s"}, {"weight": 50, "bake": "6s"}]
    return World(canary_errors=STORIES[story], plan=small_plan(steps=steps, analysis={"checks": checks}), trap=trap)


def uninterrupted(story: str) -> list[str]:
    world = told(story)
    world.live()
    return world.trap.calls


def check_ending(world: World, run: Run, story: str) -> None:
    """What must hold of every world, whatever happened in it."""
    wanted = Outcome.PROMOTED if story in WELL else Outcome.FAILED
    assert (run.outcome, run.latch is None) == (wanted, story in WELL), f"{run.phase}: {run.reason}"
    assert world.split == (EVERYTHING if story in WELL else NOTHING)
    assert world.mesh.virtual_service is not None
    assert len(world.mesh.virtual_service["spec"]["http"]) == 1  # whatever was put in front is gone
    check_traffic(world)
    check_cells(world, run)


def check_traffic(world: World) -> None:
    """Only weights of the plan, in order; after a failure none but 0 %."""
    splits = [split for split, _ in world.seen]
    steps = [step.weight for step in world.saved.plan.spec.steps]
    assert set(splits) <= {NOTHING, *steps, EVERYTHING}
    rising = [split for split in splits if split != NOTHING]
    assert rising == sorted(rising)
    failed = list(itertools.dropwhile(lambda one: not one[1], world.seen))
    assert all(split == NOTHING for split, _ in failed)


def check_cells(world: World, run: Run) -> None:
    """Each window once, in order, under one split; and its counts are what Prometheus says of it now."""
    places = [(cell.segment, cell.start, cell.end) for cell in run.cells]
    assert places == sorted(set(places))
    for former, following in itertools.pairwise(run.cells):
        assert former.end <= following.start
    assert list(run.cells) == world.fetched_anew(run)
    assert run.past is not None
    assert run.past.cells == world.past_anew(run)


def interrupted(story: str, shard: int) -> Iterator[tuple[World, str, Callable[[], Run]]]:
    """Every world of a shard: one per call and way."""
    calls = uninterrupted(story)
    assert len(calls) > 50
    for n in range(shard, len(calls), SHARDS):
        for way, when in WAYS:
            if way == "conflicts" and calls[n] not in CAN_CONFLICT:
                continue
            world = told(story, Trap(n, way, when))
            yield world, f"{way} {when} call {n}, {calls[n]}", world.live


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("story", STORIES)
def test_an_interruption_anywhere_changes_no_ending(story: str, shard: int) -> None:
    """The promise of a restart: at any call, before or after its effect, dying and failing alike."""
    for world, what, live in interrupted(story, shard):
        try:
            check_ending(world, live(), story)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error
        assert world.trap.sprung


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", ["dies", "fails"])
def test_no_abort_is_lost_whatever_is_interrupted(way: Way, when: When) -> None:
    """An operator's abort at 50 %: every call from then on is interrupted once."""
    for n in range(40):
        world = World()
        while world.split != world.saved.plan.spec.steps[1].weight:
            world.tick()
            world.clock.at += 1
        world.ask("abort", reason="smells")
        world.trap.n, world.trap.way, world.trap.when = len(world.trap.calls) + n, way, when
        run = world.live()
        assert (run.outcome, run.reason, world.split) == (Outcome.ABORTED, "aborted by ada: smells", NOTHING)
        check_traffic(world)


RETURNING = {"after_promotion": "return", "on_no_data": {"hold": "10h"}}


def stable_follows(world: World) -> None:
    """Somebody rolls out in stable what the canary runs, some time after the run began to wait for it."""
    run = world.saved
    if run.returning_since is not None and world.clock.at > run.returning_since + 4:
        world.mesh.around = surroundings(
            pods=[pod("v1", n, template="new") for n in range(2)] + [pod("v3", n) for n in range(2)],
            deployments=[running("v1", "reviews:3"), running("v3", "reviews:3")],
        )


def running(version: str, image: str) -> dict[str, Any]:
    found = deployment(version)
    found["spec"]["template"]["spec"] = {"containers": [{"name": "reviews", "image": image}]}
    return found


def returning_world(trap: Trap | None = None) -> World:
    world = World(plan=small_plan(**RETURNING), trap=trap)
    world.mesh.around = surroundings(deployments=[running("v1", "reviews:1"), running("v3", "reviews:3")])
    return world


def test_an_interruption_anywhere_on_the_way_back_to_stable_changes_no_ending() -> None:
    """Stable has everything in the end, as one promotion, whatever dies, fails or conflicts from the watch on."""
    first: list[int] = []

    def watched(world: World) -> None:
        if world.saved.phase is Phase.WATCHING and not first:
            first.append(len(world.trap.calls))
        stable_follows(world)

    world = returning_world()
    world.live(then=watched)
    calls = world.trap.calls
    assert len(calls) - first[0] > 30
    assert "mesh.retreat" in calls[first[0] :]
    for n in range(first[0], len(calls)):
        for way, when in WAYS:
            if way == "conflicts" and calls[n] not in CAN_CONFLICT:
                continue
            world = returning_world(Trap(n, way, when))
            run = world.live(then=stable_follows)
            what = f"{way} {when} call {n}, {calls[n]}: {run.phase}: {run.reason}"
            assert (run.outcome, run.latch, run.returned) == (Outcome.PROMOTED, None, True), what
            assert world.split == NOTHING, what
            assert [split for split, _ in world.seen if split == NOTHING], what
            assert world.mesh.virtual_service == returned(world), what
            check_traffic(world)


def returned(world: World) -> dict[str, Any]:
    """The object as it was before the run, but for what the API server counts."""
    found = world.mesh.virtual_service
    assert found is not None
    before = at(100, 0)
    before["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    return {**before, "metadata": before["metadata"] | {"annotations": {}}}


def test_dying_at_every_third_tick_changes_no_ending() -> None:
    """One interruption is a trifle; this is a crash loop."""
    for story in STORIES:
        world = told(story)
        ticks = itertools.count()

        def crash(world: World, ticks: itertools.count[int] = ticks) -> None:
            if next(ticks) % 3 == 2:
                world.start()

        check_ending(world, world.live(then=crash), story)


def test_a_downtime_is_fetched_from_what_prometheus_kept() -> None:
    """The cells of the downtime are evaluated after it, in their order, and the faulty canary is found."""
    world = World(canary_errors=0.02)
    while world.split == NOTHING:
        world.tick()
        world.clock.at += 1
    world.start()
    world.clock.at += 20
    run = world.live()
    assert run.outcome is Outcome.FAILED
    assert run.cells[-1].end > START + 10
    check_cells(world, run)

"""
Looking for what keeps callers from the new weight: seldom, beside everything else, and never in a retreat's way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from canaryd.errors import Unavailable
from canaryd.model.cells import Caller, Cell, Counts, Gap, Sought, Window
from canaryd.model.traffic import NOTHING, Split
from tests.mesh.objects import V1, destination
from tests.world import Remembered, World, small_plan

TEN = Split.percent(10)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Deaf(Remembered):
    """Proxies that never hear of a weight."""

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        found = super().count(sought, window)
        if isinstance(found, Gap) or window.split == NOTHING:
            return found
        callers = (Caller("web.shop", 4000.0, 0.0),)
        return replace(found, canary=Counts(0.0, 0.0), stable=Counts(4000.0, 4.0), callers=callers)


def deaf() -> World:
    """A world at its first weight, of which nobody has heard, with an entry of somebody else's before ours."""
    world = World(plan=small_plan(onInconclusive={"hold": "30s", "then": "rollback"}))
    world.metrics = Deaf(0.001)
    world.start()
    before = {"match": [{"headers": {"x": {"exact": "y"}}}], "route": [destination(V1)]}
    world.mesh.edit(lambda found: found["spec"]["http"].insert(0, before))
    return world


def until_held(world: World) -> World:
    for _ in range(40):
        world.tick()
        world.clock.at += 1
        if (hold := world.saved.hold) and "web.shop" in hold.why and "Likely causes" in hold.why:
            return world
    raise AssertionError(world.saved.waiting)


def test_a_weight_that_nobody_hears_of_is_held_with_its_likely_causes() -> None:
    """The run says who, how much, and where to look; then it ends as the plan says."""
    world = until_held(deaf())
    hold = world.saved.hold
    assert hold is not None
    assert hold.kind == "inconclusive"
    assert hold.why.startswith("share: no client follows the split of 10 %: web.shop gave it 0 % of ")
    assert "Likely causes, the likeliest first: http[0] stands before ours" in hold.why
    assert world.split == TEN
    assert world.live().reason.startswith("inconclusive after 30s of holding: share: ")
    assert world.split == NOTHING


def test_it_is_looked_for_seldom() -> None:
    """Lists of all namespaces, a tick a second for four hours, would be an attack on the API server."""
    world = until_held(deaf())
    for _ in range(20):
        world.tick()
        world.clock.at += 0.5
    assert world.mesh.calls.count("suspects") == 2, "once for all callers, and once when the client is known"


def test_what_cannot_be_looked_at_stops_nothing() -> None:
    """It only helps a person."""
    world = deaf()
    for _ in range(100):
        world.mesh.fail_before(Unavailable("no answer"), "suspects")
    assert world.live().reason.startswith("inconclusive after 30s of holding: share: ")


def test_nothing_is_looked_for_where_traffic_is_on_its_way_back() -> None:
    """A retreat waits for nobody."""
    world = until_held(deaf())
    before = world.mesh.calls.count("suspects")
    world.clock.at += 120
    world.ask("abort")
    world.live()
    assert world.mesh.calls.count("suspects") == before


def test_nothing_is_looked_for_where_callers_meet_the_weights() -> None:
    """The common case costs nothing."""
    world = World()
    world.live()
    assert "suspects" not in world.mesh.calls

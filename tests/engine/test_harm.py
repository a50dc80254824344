"""
The requests that a run has harmed, over ticks, deaths and a new canary image.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from canaryd.model.run import Outcome, Record
from canaryd.model.traffic import NOTHING
from canaryd.store.folder import FolderStore
from tests.world import World, small_plan


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def blind_to_evidence(most: int) -> World:
    """A canary that fails twice as often as stable, 0.2 % more, for a judge who is to be all but certain."""
    return World(canary_errors=0.003, plan=small_plan(analysis={"maxHarmed": most, "alpha": 1e-12}))


def test_a_run_ends_at_its_cap_though_the_evidence_would_wait() -> None:
    """2,000 requests a second: the cap is passed within seconds of the first step."""
    world = blind_to_evidence(3)
    run = world.live()
    assert run.outcome is Outcome.FAILED
    assert run.latch is not None
    assert "of at most 3, maxHarmed" in run.latch.reason
    assert world.split == NOTHING


def test_dying_in_between_forgets_nothing_and_counts_nothing_twice() -> None:
    """A crash at every second tick, and the sum is the same to the last bit."""
    calm, crashing = blind_to_evidence(100_000), blind_to_evidence(100_000)
    expected = calm.live().harmed

    def crash(world: World) -> None:
        if int(world.clock.at / 1.5) % 2:
            world.start()

    assert expected.requests > 0
    assert crashing.live(then=crash).harmed == expected


def test_what_a_former_image_did_last_counts_too() -> None:
    """Its last cells come after the restart: for the judge they are of nobody, for the cap they are somebody's."""
    world = World(canary_errors=0.3, plan=small_plan(analysis={"maxHarmed": 100_000, "alpha": 1e-12}))
    while world.split == NOTHING:
        world.tick()
        world.clock.at += 1
    run = world.saved
    world.store.save(Record(replace(run, judged_from=len(run.segments)), world.store.load(run.uid).version))
    world.clock.at += 4
    world.tick()
    assert world.saved.judged is None
    assert world.saved.harmed.requests > 50


def test_the_sum_is_saved(tmp_path) -> None:
    """A store gives back what it was given."""
    run = blind_to_evidence(3).live()
    store = FolderStore(tmp_path)
    store.save(Record(run))
    assert store.load(run.uid).run.harmed == run.harmed

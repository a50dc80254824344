"""Electors under random faults, pauses and hands: never two at once, and always one in the end."""

from __future__ import annotations

import pytest

from tests.cluster.election import DURATION, RETRY, World

FAULTS = ("before", "after", "conflict", "throttled", "hang", "late")


@pytest.mark.parametrize("candidates", [2, 3])
@pytest.mark.parametrize("hands", [False, True])
def test_never_two_valid_whatever_stands_still(candidates: int, hands: bool) -> None:
    """Pauses between any two looks at the clock and in any request, also for longer than the Lease."""
    led = 0
    for seed in range(80):
        world = World(seed, candidates, pauses=True, faults=FAULTS, hands=hands)
        world.run(200)
        led += any(one.terms for one in world.all + world.former)
    assert led > 30  # otherwise nothing was shown


@pytest.mark.parametrize("candidates", [2, 3])
def test_never_two_at_work_where_nothing_stands_still(candidates: int) -> None:
    """on_stopped returns before anybody else is started, and nobody has to be ended for it."""
    led = 0
    for seed in range(40):
        world = World(seed, candidates, pauses=False, faults=FAULTS)
        world.run(200)
        assert not world.deaths
        led += any(one.terms for one in world.all + world.former)
    assert led > 25


def test_when_the_holder_dies_another_leads() -> None:
    """Within the Lease, one retry with its jitter, and what the requests take."""
    longest = 0.0
    for seed in range(50):
        world = World(seed, 3, pauses=False)
        world.run(60)
        holder = world.leader()
        assert holder is not None
        holder.alive = False
        died = world.now
        while world.leader() is None:
            assert world.now - died < DURATION + RETRY * 1.2 + 1.0
            world.run(0.1)
        longest = max(longest, world.now - died)
    assert longest > DURATION - RETRY * 1.2  # nobody is robbed either


def test_terms_only_rise() -> None:
    """A term is a fencing number: no two of one Lease are alike, whoever's they are."""
    for seed in range(40):
        world = World(seed, 3, pauses=True, faults=FAULTS)
        world.run(300)
        terms = [term for one in world.all + world.former for term in one.terms]
        assert len(terms) == len(set(terms)), world.log
        assert all(one.terms == sorted(one.terms) for one in world.all)


def test_after_all_troubles_somebody_leads() -> None:
    """Whatever was done to the Lease and to the requests."""
    for seed in range(40):
        world = World(seed, 3, pauses=True, faults=FAULTS, hands=True)
        world.run(150)
        world.faults, world.pauses, world.hands = (), False, False
        world.later.clear()
        since = world.now
        while world.leader() is None:
            assert world.now - since < 20 + 3 * DURATION, (seed, world.lease, world.log[-5:])
            world.run(0.5)

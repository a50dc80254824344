"""Load shapes are functions of time, and the load generator follows them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.lab.scenarios.shapes import Constant, Diurnal, Ramp, Spikes, Steps

TIMES = st.floats(min_value=0, max_value=1e5)


def test_a_constant_is_the_same_at_all_times() -> None:
    assert {Constant(300)(seconds) for seconds in (0, 1, 1e6)} == {300}


def test_a_day_begins_at_night_and_is_at_its_height_at_noon() -> None:
    day = Diurnal(100, 400, 60)
    assert (day(0), day(30), day(60)) == (100, 400, 100)
    assert (day(15), day(45)) == (pytest.approx(250), pytest.approx(250))


@given(TIMES)
def test_a_day_stays_between_night_and_noon(seconds: float) -> None:
    assert 100 <= Diurnal(100, 400, 60)(seconds) <= 400.0001


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(0, 50))
def test_each_stretch_has_one_whole_spike(seed: int, turn: int) -> None:
    """However the seed draws it, a burst is as long as the file says, so that runs with other seeds compare."""
    spikes = Spikes(200, 800, every=20, lasting=3, seed=seed)
    rates = [spikes(turn * 20 + step / 100) for step in range(2000)]
    assert set(rates) == {200, 800}
    assert abs(rates.count(800) - 300) <= 1
    first = rates.index(800)
    assert set(rates[first : first + 299]) == {800}


def test_a_seed_repeats_its_spikes_and_another_has_others() -> None:
    begins = [[Spikes(1, 2, 20, 3, seed).begins(turn) for turn in range(5)] for seed in (1, 1, 2)]
    assert begins[0] == begins[1] != begins[2]
    assert len(set(begins[0])) == 5


def test_a_ramp_ends_where_it_says_and_stays() -> None:
    ramp = Ramp(100, 50, over=10)
    assert [ramp(seconds) for seconds in (0, 5, 10, 99)] == [100, 75, 50, 50]


def test_steps_follow_each_other_and_the_last_stays() -> None:
    steps = Steps([(100, 10), (0, 5), (300, 0)])
    assert [steps(seconds) for seconds in (0, 9.9, 10, 14.9, 15, 1e6)] == [100, 100, 0, 0, 300, 300]

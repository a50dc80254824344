"""
Recent stable's histogram under "times as slow".
"""

from __future__ import annotations

from math import log

import pytest
from scipy.stats import norm

from canaryd.judge.histogram import active_bounds, faded, moved, shape_of, too_close

from .population import BOUNDS, lognormal


@pytest.mark.parametrize("times", [1.05, 1.25])
@pytest.mark.parametrize("bound", [25.0, 50.0, 100.0, 250.0])
def test_a_log_normal_is_slowed_exactly(times, bound):
    """Probit interpolation is exact for log-normals; linear interpolation made the tail four times too wide."""
    shape = shape_of(BOUNDS, tuple(1e9 * lognormal(20, 100)))
    index = BOUNDS.index(bound)
    sigma = log(5) / norm.ppf(0.99)
    crossed = norm.cdf(log(bound / 20) / sigma) - norm.cdf(log(bound / times / 20) / sigma)
    assert moved(shape, index, times) * shape.bucket(index) == pytest.approx(crossed, rel=1e-5)


def test_nothing_moves_at_the_same_speed():
    """A tolerance of 1.0 times is none."""
    shape = shape_of(BOUNDS, tuple(1e6 * lognormal(20, 100)))
    assert max(moved(shape, index, 1.0) for index in range(len(BOUNDS))) == pytest.approx(0, abs=1e-9)


def test_an_empty_bucket_moves_its_uniform_share():
    """Where there is nothing to interpolate, the share is that of the bucket's width."""
    shape = shape_of((100.0, 200.0, 400.0), (50.0, 0.0, 50.0, 0.0))
    assert moved(shape, 1, 1.25) == pytest.approx(40 / 100)


def test_judged_bounds_are_those_where_something_happens():
    """Bounds that every request exceeds, those far beyond all requests, and those above ten seconds are left out."""
    judged = [BOUNDS[index] for index in active_bounds(shape_of(BOUNDS, tuple(1e5 * lognormal(20, 100))))]
    assert judged == [5, 10, 25, 50, 100, 250, 500, 1000, 2500]
    assert BOUNDS[max(active_bounds(shape_of(BOUNDS, tuple(1e5 * lognormal(4000, 9000)))))] == 10000


def test_bounds_closer_than_the_margin_are_found():
    """A request could cross two bounds at once, and the arithmetic of one would be wrong."""
    assert too_close(BOUNDS, 1.25) is None
    assert too_close((100.0, 110.0, 200.0), 1.25) == (100.0, 110.0)


def test_history_halves_in_half_an_hour():
    """What stable was like this morning must not decide what is tolerated tonight."""
    assert faded((8.0, 4.0), 1800) == (4.0, 2.0)

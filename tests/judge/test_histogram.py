"""
Recent stable's histogram under "times as slow".
"""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from scipy.stats import norm

from canaryd.judge.histogram import active_bounds, below_at, crossing, faded, moved, shape_of, too_close

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


def mixed(median, sigma, rest, rest_median, rest_sigma=1.0):
    """The distribution of a narrow log-normal with a share of something broad."""

    def below(milliseconds):
        narrow, broad = (
            norm.cdf((np.log(milliseconds) - log(middle)) / width)
            for middle, width in ((median, sigma), (rest_median, rest_sigma))
        )
        return (1 - rest) * narrow + rest * broad

    return below


def excess(below, times, slower):
    """By how much a canary ``slower`` times as slow is beyond the tolerance, at the bound where it is most."""
    at_bounds = below(np.array(BOUNDS))
    shape = shape_of(BOUNDS, tuple(180_000 * np.diff(np.concatenate([[0], at_bounds, [1]]))))
    beyond = 1 - below(np.array(BOUNDS) / slower)
    return max(
        beyond[index] - shape.above(index) - crossing(shape, index, times) * shape.bucket(index)
        for index in active_bounds(shape)
    )


@pytest.mark.parametrize("rest", [0, 0.001, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
def test_a_harmless_slow_down_is_within_the_tolerance_wherever_the_bounds_are(sigma, rest):
    """
    3 % slower is less than 5 %, also where a narrow latency crosses a bound at once, alone or beside slower requests.

    "Within" is nearly so: thousands of requests could not tell.
    """
    for median in np.geomspace(3, 3000, 41):
        for rest_median in (20, median) if rest else (20,):
            assert excess(mixed(median, sigma, rest, rest_median), 1.05, 1.03) < 0.012


def test_a_narrow_latency_at_a_bound_is_within_the_tolerance():
    """48 ms give or take 5 %, a bound at 50 ms, 3 % slower: interpolation alone tolerates a third of what moves."""
    assert excess(mixed(48, 0.05, 0, 20), 1.05, 1.03) <= 0
    shape = shape_of(BOUNDS, tuple(180_000 * np.diff(norm.cdf([-9, *((np.log(BOUNDS) - log(48)) / 0.05), 9]))))
    assert crossing(shape, BOUNDS.index(50.0), 1.05) == 1


@pytest.mark.parametrize(("median", "sigma"), [(20, 0.69), (50, 0.69), (70, 1), (30, 0.5), (45, 0.4)])
def test_a_smooth_latency_is_tolerated_no_more_than_exactly(median, sigma):
    """What is given to spikes must not be given to everybody: that would be power lost."""
    shape = shape_of(BOUNDS, tuple(180_000 * np.diff(np.concatenate([[0], mixed(median, sigma, 0, 1)(BOUNDS), [1]]))))
    for index in active_bounds(shape):
        if shape.above(index) > 1e-3:
            assert crossing(shape, index, 1.05) == pytest.approx(moved(shape, index, 1.05), rel=0.01)


def test_the_share_below_any_latency_is_interpolated():
    """Exact for a log-normal, between the bounds as at them."""
    shape = shape_of(BOUNDS, tuple(1e9 * lognormal(20, 100)))
    sigma = log(5) / norm.ppf(0.99)
    for latency in (10.0, 17.0, 25.0, 99.0):
        assert below_at(shape, latency) == pytest.approx(norm.cdf(log(latency / 20) / sigma), rel=1e-6)
    assert below_at(shape, 0.25) == shape.below[0] / 2


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

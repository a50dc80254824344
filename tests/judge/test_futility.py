"""
What a plan is said to be able to prove before it starts.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from canaryd.judge import advance, begin, weigh
from canaryd.judge.futility import detectable, needed_requests, prospect
from canaryd.model.cells import BEFORE
from canaryd.model.plan import Analysis, Check, OnInconclusive, Spec, Step, Tolerance
from canaryd.model.traffic import Split

from .population import BOUNDS, cell, counts, lognormal

MARGIN = Tolerance(times=1.5, plus=0.0015)
TARGET = {"virtual_service": "reviews", "host": "reviews", "canary": {"subset": "v2"}}


def spec(hold=timedelta(hours=4), checks=None):
    analysis = Analysis(checks=checks) if checks else Analysis()
    steps = (Step(weight=5), Step(weight=50, bake=timedelta(minutes=10)))
    return Spec(target=TARGET, steps=steps, analysis=analysis, on_inconclusive=OnInconclusive(hold=hold))


@pytest.mark.parametrize(("percent", "needed"), [(10, 4149), (50, 7438), (95, 70135)])
def test_the_requests_needed_are_those_of_the_bound(percent, needed):
    """Computed by somebody else: 1.5 times the bound for unknown rates, at 0.5 % of errors."""
    assert needed_requests(0.005, Split.percent(percent), MARGIN, 0.05) == pytest.approx(needed, rel=1e-4)


def test_failures_that_come_together_need_more():
    """Requests that fail in threes are worth a third."""
    once = needed_requests(0.005, Split.percent(50), MARGIN, 0.05)
    assert needed_requests(0.005, Split.percent(50), MARGIN, 0.05, dispersion=3) == pytest.approx(3 * once)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.3, 0.9, 1.0])
def test_any_rate_has_an_answer(rate):
    """A service without failures, or with nothing else, is asked about too."""
    assert needed_requests(rate, Split.percent(50), MARGIN, 0.05) > 0


def test_a_plan_that_can_prove_nothing_says_so_and_what_it_would_need():
    """Four hours later is too late to learn that."""
    found = prospect(spec(hold=timedelta(minutes=30)), 3, 0.005)
    assert not found.possible
    assert found.sentence == (
        "at 3 requests a second this plan can prove nothing: a proof takes about 7,400 canary requests, "
        "10 min at 50 % bring about 900; it would need 83 min there, or 25 requests a second"
    )


def test_a_late_proof_is_told_from_none():
    """With four hours of holding it comes, if somebody waits."""
    found = prospect(spec(), 3, 0.005)
    assert found.possible
    assert "the proof comes late, by a hold after the last step" in found.sentence
    assert found.sentence.endswith("83 min would do")


def test_a_plan_with_traffic_enough_says_that():
    """The sentence is there in any case, so that nobody wonders whether it was asked."""
    found = prospect(spec(), 100, 0.001)
    assert found.possible
    assert "can prove that the canary is no worse" in found.sentence


def test_no_traffic_proves_nothing():
    """Nothing to divide by."""
    assert prospect(spec(), 0, 0.001).sentence.startswith("at 0 requests a second this plan can prove nothing")


def test_without_errors_latency_decides():
    """Its proof needs fewer requests."""
    latency = (Check(name="latency", metric="latency", compare="stable"),)
    assert prospect(spec(checks=latency), 3, 0.005).needed == 1000


def test_the_forecast_is_about_right():
    """Half of the healthy canaries are proven after about as many requests as were said."""
    analysis = Analysis(clump=1, proof_cells=1, checks=(Check(name="errors", metric="error-rate", compare="stable"),))
    needed = needed_requests(0.005, Split.percent(50), MARGIN, analysis.beta)
    rng, found = np.random.default_rng(5), []
    for _ in range(25):
        state = begin(analysis)
        for index in range(400):
            state = advance(
                analysis, state, cell(index, 50, *(counts(100, rng.binomial(100, 0.005)) for _ in range(2)))
            )
            if weigh(analysis, state).proven:
                found.append(100.0 * (index + 1))
                break
    assert np.median(found) == pytest.approx(needed, rel=0.4)


TOLERANCE = Check(name="errors", metric="error-rate", compare="stable").accepted
SHAPE = lognormal(20, 100)


def side(rng, requests, failing):
    failed = rng.binomial(requests, failing)
    return counts(requests, failed, tuple(rng.multinomial(requests - failed, SHAPE)))


def found_after(rate, rise, percent, each_second, seconds, seed):
    """Canary requests until the judge fails a canary that fails by ``rise`` more often than stable; None if never."""
    rng, analysis, seen = np.random.default_rng(seed), Analysis(), 0
    past = (cell(at - 31, 0, counts(), side(rng, 60 * each_second, rate), BEFORE, 60, BOUNDS) for at in range(30))
    state = begin(analysis, past)
    for index in range(int(seconds // 15)):
        requests = rng.poisson(each_second * 15)
        ours = rng.binomial(requests, percent / 100)
        seen += ours
        sides = side(rng, ours, rate + rise), side(rng, requests - ours, rate)
        state = advance(analysis, state, cell(index, percent, *sides, bounds=BOUNDS))
        if state.failure:
            return seen
    return None


@pytest.mark.parametrize(
    ("rate", "percent", "each_second"), [(0.001, 5, 100), (0.005, 5, 20), (0.005, 25, 100), (0.02, 1, 300)]
)
def test_a_rise_that_is_said_to_be_found_is_found(rate, percent, each_second):
    """Nine times of ten at least, within the requests that were said, and a third of it is mostly not."""
    requests = each_second * 600 * percent / 100
    rise = detectable(rate, Split.percent(percent), requests, TOLERANCE, 0.01)
    found = [found_after(rate, rise, percent, each_second, 600, seed) for seed in range(30)]
    assert sum(one is not None for one in found) >= 26
    assert np.median([one or requests for one in found]) <= 0.7 * requests
    less = [found_after(rate, rise / 3, percent, each_second, 600, seed) for seed in range(30)]
    assert sum(one is not None for one in less) <= 10


def test_more_requests_find_a_smaller_rise():
    """And a higher error rate of stable hides more."""
    few, many = (detectable(0.01, Split.percent(10), requests, TOLERANCE, 0.01) for requests in (1_000, 100_000))
    assert many < few / 3
    assert detectable(0.1, Split.percent(10), 1_000, TOLERANCE, 0.01) > few


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.5])
def test_a_handful_of_requests_finds_nothing(rate):
    """Not even a canary that always fails; nor does none at all."""
    assert detectable(rate, Split.percent(10), 1, TOLERANCE, 0.01) == np.inf
    assert detectable(rate, Split.percent(10), 0, TOLERANCE, 0.01) == np.inf


def test_where_everything_fails_nothing_can_rise():
    assert detectable(1.0, Split.percent(10), 1_000, TOLERANCE, 0.01) == np.inf

"""
What a plan is said to be able to prove before it starts.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from canaryd.judge import advance, begin, weigh
from canaryd.judge.futility import needed_requests, prospect
from canaryd.model.plan import Analysis, Check, OnInconclusive, Spec, Step, Tolerance
from canaryd.model.traffic import Split

from .population import cell, counts

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

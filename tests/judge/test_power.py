"""
Whole runs on simulated traffic: what is found, how soon, and what is left alone.

The numbers of runs are small; each bound below is far from what was measured, so that a failure means something.
"""

from __future__ import annotations

import numpy as np
import pytest

from canaryd.judge import advance, begin, weigh
from canaryd.model.cells import Cell, Counts
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import Split

from .population import LAB, World, lognormal, played

SAME = lognormal(20, 100)


def test_two_percent_of_errors_are_found_before_half_of_the_traffic():
    """The main job: 2 % against 0.1 % at 300 requests a second, with cells of two seconds."""
    endings = [played(World(seed, failing=lambda moment: (0.001, 0.02))) for seed in range(20)]
    assert all(ending.percent == 5 for ending in endings)
    assert np.median([ending.at for ending in endings]) <= 30 + 30


def test_a_doubled_p99_is_found_before_half_of_the_traffic():
    """The median is the same: only the tail tells."""
    slow = lognormal(20, 200)
    endings = [played(World(100 + seed, shapes=lambda moment: (SAME, slow))) for seed in range(20)]
    assert sum(ending.percent is not None and ending.percent < 50 for ending in endings) >= 19


def test_a_median_a_fifth_longer_is_found():
    """No single bound moves much: the shifts gather what is little at each. Steps alone need half as much again."""
    slow = lognormal(24, 120)
    endings = [played(World(700 + seed, shapes=lambda moment: (SAME, slow))) for seed in range(10)]
    assert sum(ending.percent is not None and ending.percent < 50 for ending in endings) >= 9
    assert np.median([ending.at for ending in endings]) <= 76


@pytest.mark.parametrize("median", [23, 48, 50, 98, 245])
@pytest.mark.parametrize("width", [0.02, 0.05])
def test_a_narrow_latency_beside_a_bound_may_be_a_little_slower(median, width):
    """3 % slower is less than the tolerance of 5 %, though a third of the requests crosses the bound."""
    usual, slow = (lognormal(median * times, median * times * np.exp(2.3263 * width)) for times in (1, 1.03))
    endings = [played(World(800 + seed, shapes=lambda moment: (usual, slow))) for seed in range(3)]
    assert [ending.at for ending in endings] == [None] * 3


def test_a_healthy_canary_is_left_alone():
    """0.5 % of errors on both sides, five minutes, again and again."""
    failures = [
        seed for seed in range(40) if played(World(200 + seed, failing=lambda moment: (0.005, 0.005))).at is not None
    ]
    assert failures == []


def test_a_healthy_canary_is_proven_at_half_of_the_traffic():
    """Otherwise nothing would ever be promoted."""
    proven = [
        weigh(LAB, played(World(300 + seed, failing=lambda moment: (0.002, 0.002))).state).proven for seed in range(10)
    ]
    assert sum(proven) >= 9


def test_a_shared_incident_is_no_evidence():
    """Errors and latency of both versions leap together: a database, a node. Nobody is rolled back for that."""
    slow = lognormal(80, 900)

    def failing(moment):
        return (0.2, 0.2) if 60 <= moment < 120 else (0.002, 0.002)

    def shapes(moment):
        return (slow, slow) if 60 <= moment < 120 else (SAME, SAME)

    endings = [played(World(400 + seed, failing=failing, shapes=shapes)) for seed in range(15)]
    assert [ending.at for ending in endings] == [None] * 15


def test_a_late_onset_is_found():
    """A canary that turns bad at 25 % was healthy for long: mass is kept for that."""
    endings = [
        played(World(500 + seed, failing=lambda moment: (0.001, 0.02 if moment > 110 else 0.001))) for seed in range(10)
    ]
    assert all(ending.at is not None and 110 < ending.at <= 140 for ending in endings)


def test_a_drained_canary_is_found_within_two_cells():
    """All its pods are gone at 25 %: only failures without a version are left."""
    for seed in range(5):
        ending = played(World(600 + seed, dead=110))
        assert ending.at is not None
        assert ending.at <= 110 + 2 * 2
        assert ending.state.failure.startswith("reachability: ")


@pytest.mark.parametrize("rate", [0.002, 0.05])
def test_false_failures_keep_to_alpha_at_the_very_boundary(rate):
    """
    A canary that is exactly as bad as tolerated, judged at alpha = 20 %, by the whole machinery.

    300 runs: with a true rate of 20 % more than 84 failures have a chance of 0.1 %.
    """
    analysis = Analysis(alpha=0.2, checks=(Check(name="errors", metric="error-rate", compare="stable"),))
    accepted = analysis.checks[0].accepted
    rng, failures = np.random.default_rng(7), 0
    for _ in range(300):
        state = begin(analysis)
        for index in range(40):
            stable, canary = rng.poisson(1500), rng.poisson(500)
            # The baseline drifts and leaps; the boundary moves with it.
            now = rate * (1 + index / 20) * (3 if 15 <= index < 20 else 1)
            sides = (
                Counts(float(stable), float(rng.binomial(stable, now))),
                Counts(float(canary), float(rng.binomial(canary, accepted.times * now + accepted.plus))),
            )
            state = advance(
                analysis, state, Cell(1, index * 15.0, index * 15.0 + 15, Split.percent(25), True, (), *sides)
            )
        failures += bool(state.failure)
    assert failures <= 84


def test_false_proofs_keep_to_beta_at_the_very_margin():
    """A canary exactly at the margin all along the step is proven in at most beta of the runs, at any time of it."""
    analysis = Analysis(beta=0.2, proof_cells=1, checks=(Check(name="errors", metric="error-rate", compare="stable"),))
    margin = analysis.checks[0].allowed
    rng, proven = np.random.default_rng(8), 0
    for _ in range(300):
        state, ever = begin(analysis), False
        for index in range(40):
            sides = (
                Counts(1000.0, float(rng.binomial(1000, 0.01))),
                Counts(1000.0, float(rng.binomial(1000, margin.times * 0.01 + margin.plus))),
            )
            state = advance(
                analysis, state, Cell(1, index * 15.0, index * 15.0 + 15, Split.percent(50), True, (), *sides)
            )
            ever = ever or weigh(analysis, state).proven
        proven += ever
    assert proven <= 84

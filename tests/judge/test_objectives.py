"""
Objectives: minimum traffic, and hard limits, for which no evidence is asked.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from canaryd.judge import advance, begin, weigh
from canaryd.judge.shares import shares_of
from canaryd.model.check import Check, HardLimit
from canaryd.model.passing import objection
from canaryd.model.plan import Analysis

from .population import cell, counts, folded, gap

ERRORS = Check(name="errors", metric="error-rate", compare="stable")
LATENCY = Check(name="latency", metric="latency", compare="stable")
TRAFFIC = Check(name="traffic", metric="traffic", at_least=5.0)
WITH_TRAFFIC = Analysis(checks=(ERRORS, TRAFFIC))


def at_rate(rate: float, number: int, start: int = 0, percent: float = 25, **more):
    """Cells of 15 s with ``rate`` canary requests a second."""
    others = counts(rate * 15 * (100 - percent) / percent)
    return [cell(index, percent, counts(rate * 15), others, **more) for index in range(start, start + number)]


def limited(bound: float = 0.01, **keys) -> Analysis:
    check = Check(name="slo", metric="error-rate", at_most=bound, hard_limit=HardLimit(**keys))
    return Analysis(checks=(ERRORS, check))


# Minimum traffic.


def test_too_little_traffic_keeps_the_weight_and_harms_nobody():
    """It is said in the unit of the plan, and is no reason to go back."""
    state = folded(WITH_TRAFFIC, at_rate(2, 4))
    evidence = weigh(WITH_TRAFFIC, state)
    assert not evidence.objectives_hold
    assert objection(evidence).startswith(
        "an objective is in doubt: traffic: 2 requests a second reach the canary at 25 % (120 in 60 s), at least 5 must"
    )
    assert (state.harm <= 1, state.failure) == (True, "")
    assert not folded(WITH_TRAFFIC, at_rate(0, 400)).failure


def test_one_quiet_cell_is_no_objection():
    """Traffic comes in gusts."""
    for quiet in range(6):
        state = folded(WITH_TRAFFIC, [*at_rate(6, quiet), *at_rate(4, 1, quiet)])
        assert weigh(WITH_TRAFFIC, state).objectives_hold


def test_traffic_that_comes_back_ends_the_objection_soon():
    """After a quiet night nobody waits for a quiet night's worth of requests."""
    quiet = folded(WITH_TRAFFIC, at_rate(2, 2000))
    assert not weigh(WITH_TRAFFIC, quiet).objectives_hold
    for one in at_rate(8, 4, 2000):
        quiet = advance(WITH_TRAFFIC, quiet, one)
    assert weigh(WITH_TRAFFIC, quiet).objectives_hold


def test_another_weight_is_asked_anew():
    """At 5 % too few, at 50 % ten times as many: the former weight's evidence says nothing of the present one's."""
    state = folded(WITH_TRAFFIC, at_rate(2, 8, percent=5))
    assert not weigh(WITH_TRAFFIC, state).objectives_hold
    state = advance(WITH_TRAFFIC, state, cell(8, 50, counts(300), segment=2))
    assert weigh(WITH_TRAFFIC, state).objectives_hold


def test_at_a_hundred_percent_a_quiet_night_rolls_nothing_back():
    """How much traffic there is at all is not the canary's doing."""
    state = folded(WITH_TRAFFIC, [*at_rate(2, 8), *at_rate(0.1, 40, 8, percent=100, segment=2)])
    evidence = weigh(WITH_TRAFFIC, state)
    assert evidence.objectives_hold
    assert "not judged now: at 100 %" in evidence.readings[1].sentence


def test_traffic_at_the_minimum_is_objected_to_as_seldom_as_said():
    """One look in five at most, however often one looks."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(100):
        state, objected = begin(WITH_TRAFFIC), False
        for index in range(60):
            state = advance(WITH_TRAFFIC, state, cell(index, canary=counts(rng.poisson(75))))
            objected = objected or not weigh(WITH_TRAFFIC, state).objectives_hold
        wrong += objected
    assert wrong <= 20


# Hard limits.


def test_a_hard_limit_fails_at_once_and_says_what_it_is():
    """No evidence is asked, and the sentence does not claim any."""
    state = folded(limited(), [cell(0, canary=counts(100, 2))])
    assert state.failure == (
        "slo: 2.0 % of the canary's 100 requests failed in the last 15 s, at most 1 % may, "
        "as a hard limit over 60 s and 100 requests or more; a hard limit asks for no evidence"
    )
    assert folded(Analysis(checks=(ERRORS,)), [cell(0, canary=counts(100, 2))]).failure == ""


def test_ten_requests_do_not_reach_a_hard_limit():
    """The plan says how many are enough."""
    assert not folded(limited(), [cell(0, canary=counts(10, 1))]).failure
    assert folded(limited(min_requests=10), [cell(0, canary=counts(10, 1))]).failure


def test_a_hard_limit_counts_the_cells_of_its_stretch_and_no_others():
    """Errors of long ago are the evidence's business."""
    plan = limited(0.02, over=timedelta(seconds=30), min_requests=50)
    spread = [cell(0, canary=counts(40, 1)), *[cell(index, canary=counts(40)) for index in range(1, 4)]]
    assert not folded(plan, spread).failure
    late = [*spread, cell(4, canary=counts(40, 2))]
    assert folded(plan, late).failure.startswith("slo: 2.5 % of the canary's 80 requests failed in the last 30 s")
    assert not folded(limited(0.02, over=timedelta(seconds=75), min_requests=50), late).failure
    assert not folded(plan, [cell(0, canary=counts(49, 1)), gap(1), gap(2), cell(3, canary=counts(2, 0))]).failure


def test_a_share_that_is_the_limit_is_not_beyond_it():
    """`atMost: 1%` allows one in a hundred."""
    assert not folded(limited(), [cell(0, canary=counts(100, 1))]).failure


def test_a_hard_limit_judges_at_a_hundred_percent():
    """That is where it is all that there is besides the objectives."""
    assert folded(limited(), [cell(0, 100, counts(1000, 11), counts())]).failure
    assert not folded(limited(), [cell(0, 0, counts(1000, 11))]).failure


@pytest.mark.parametrize(("slow", "fails"), [(1, False), (3, True)])
def test_a_hard_limit_on_latency(slow, fails):
    """At most two in a hundred may take longer than 100 ms."""
    slo = Check(name="slo", metric="latency", within=timedelta(milliseconds=100), at_least=0.98, hard_limit=HardLimit())
    plan = Analysis(warmup=timedelta(0), checks=(ERRORS, slo))
    sides = counts(100, 0, (0, 100 - slow, slow)), counts(300, 0, (0, 300, 0))
    one = cell(0, 25, *sides, bounds=(50.0, 100.0))
    assert bool(folded(plan, [one]).failure) == fails


# Shares of the evidence.


def test_the_shares_of_the_default_plan_are_what_they_were():
    """Checks that a plan does not have cost it nothing."""
    slo = Check(name="slo", metric="error-rate", at_most=0.01)
    values = Check(name="queue", metric="promql", query="x${workload}", compare="stable")
    heap = Check(name="heap", metric="promql", query="x", at_most=3)
    known = {
        (ERRORS, LATENCY): (0.475, 0.475, 0.05),
        (ERRORS, LATENCY, slo): (0.425, 0.425, 0.1, 0.05),
        (ERRORS, slo): (0.85, 0.1, 0.05),
        (slo,): (0.95, 0.05),
        (ERRORS, LATENCY, TRAFFIC): (0.475, 0.475, 0.0, 0.05),
        (ERRORS, LATENCY, values): (0.425, 0.425, 0.1, 0.05),
        (ERRORS, LATENCY, values, slo, heap): (0.375, 0.375, 0.1, 0.05, 0.05, 0.05),
        (values, slo): (0.475, 0.475, 0.05),
        (values,): (0.95, 0.05),
        (TRAFFIC,): (0.0, 1.0),
    }
    for checks, shares in known.items():
        assert shares_of(Analysis(checks=checks)) == pytest.approx(shares, abs=1e-12)
        assert sum(shares_of(Analysis(checks=checks))) == pytest.approx(1, abs=1e-12)

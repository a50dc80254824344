"""
The requests that a canary has harmed: what is counted, and what is not.
"""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from canaryd.judge import advance, begin, harmed
from canaryd.model.cells import Counts
from canaryd.model.harm import Harmed
from canaryd.model.plan import Analysis

from .population import World, cell, counts, gap

ANALYSIS = Analysis()


def summed(*cells, start=None):
    state, total = begin(ANALYSIS), start or Harmed()
    for one in cells:
        total, state = harmed(total, state, one), advance(ANALYSIS, state, one)
    return total.requests


def test_it_is_what_fails_beyond_stables_rate():
    """Stable fails 1 % of 300; of the canary's 100 one would have failed anyway."""
    assert summed(cell(0, 25, counts(100, 11), counts(300, 3))) == pytest.approx(10)


def test_it_counts_from_the_first_request_settled_or_not():
    """A person who met a failure during the settle time has met it."""
    assert summed(cell(0, 25, counts(100, 10), counts(300), settled=False)) == pytest.approx(10)


def test_an_incident_of_both_harms_nobody():
    """Going back would not have helped."""
    assert summed(*(cell(n, 25, counts(100, 40), counts(300, 120)) for n in range(10))) == pytest.approx(0)


def test_what_is_done_better_pays_back_and_is_not_saved_up():
    """An hour of good luck must not allow an outage afterwards."""
    good, bad = cell(0, 25, counts(100, 0), counts(300, 30)), cell(1, 25, counts(100, 10), counts(300))
    assert summed(*(replace(good, start=n * 15.0, end=n * 15.0 + 15) for n in range(20)), bad) == pytest.approx(10)
    assert summed(bad, good, start=Harmed(5)) == pytest.approx(5)


def test_failures_without_a_version_are_charged_as_far_as_the_canary_is_missing():
    """A dead canary has no series of its own, and its users fail all the same."""
    dead = cell(0, 25, counts(0), counts(300), unattributed=100)
    assert summed(dead) == pytest.approx(100)


def test_what_the_service_always_loses_is_nobodys_harm():
    """UH rows of another cause, seen before the canary had any share."""
    quiet = [cell(n, 0, counts(0), counts(400), unattributed=20, segment=0) for n in range(3)]
    assert summed(*quiet, cell(3, 25, counts(90), counts(290), unattributed=20)) == pytest.approx(0)


def test_without_stable_its_rate_so_far_is_what_counts():
    """At 100 % nothing is left to compare with: what stable did in the run is."""
    before = [cell(n, 50, counts(100, 1), counts(100, 1)) for n in range(3)]
    assert summed(*before, cell(3, 100, counts(200, 12), counts(0), segment=2)) == pytest.approx(10)


def test_one_request_of_stable_that_fails_forgives_nothing_to_speak_of():
    """A cell with one request of stable, and that failed: no rate of 100 %."""
    known = [cell(n, 50, counts(100, 0), counts(100, 0)) for n in range(3)]
    total = summed(*known, cell(3, 99, counts(99, 20), counts(1, 1), segment=2))
    assert total == pytest.approx(20 - 99 / 20)


@pytest.mark.parametrize("odd", [gap(1), cell(1, 25, Counts(100.0, nan), counts(300)), cell(1, 0, counts(50, 50))])
def test_gaps_and_what_cannot_be_believed_count_for_nothing(odd):
    """A gap is no harm, a broken number is none, and a canary without a share was met by nobody whom we sent."""
    assert summed(cell(0), odd) == 0


def test_a_leap_of_the_total_is_not_believed_here_either():
    """A relabelled series is born with its history in it."""
    usual = [cell(n, 25, counts(100), counts(300)) for n in range(8)]
    assert summed(*usual, cell(8, 25, counts(90_000, 9_000), counts(270_000))) == 0


def test_a_healthy_canary_stays_far_below_a_cap_worth_the_name():
    """Chance adds up like a walk, not like a sum: 1 % on both sides, 90,000 requests, twenty canaries."""
    most = max(summed(*World(seed, failing=lambda _: (0.01, 0.01)).cells()) for seed in range(20))
    assert 0 < most < 120

"""
How stable's failures scatter, and what follows for the evidence.
"""

from __future__ import annotations

import numpy as np
import pytest

from canaryd.judge import advance, begin, weigh
from canaryd.judge.dispersion import PAIRS, between_pods, of_errors, over_time, scattered, scattered_pods
from canaryd.model.cells import Counts
from canaryd.model.judgement import SCATTERS, PodScatter
from canaryd.model.plan import Analysis, Check

from .population import cell, counts, folded

ERRORS = Analysis(checks=(Check(name="errors", metric="error-rate", compare="stable"),))
CELLS = 120


def known_after(failures, requests=1500.0):
    """The estimate after a history of cells with these failures."""
    scatters = SCATTERS
    for failed in failures:
        scatters = scattered(scatters, float(failed), requests, 15)
    return over_time(scatters)


def clumps(rng, size, mean=7.5):
    return size * rng.poisson(mean / size, CELLS)


def test_independent_failures_are_taken_as_such():
    """Else every service would pay for a few that need it; a false alarm in eight costs some requests."""
    found = [known_after(np.random.default_rng(seed).binomial(1500, 0.005, CELLS)) for seed in range(100)]
    assert found.count(1.0) >= 84


def test_clumps_are_found_by_their_size():
    """Three failures of one request are one event."""
    found = [known_after(clumps(np.random.default_rng(seed), 3)) for seed in range(50)]
    assert np.median(found) == pytest.approx(3, rel=0.2)
    assert sum(one > 1 for one in found) >= 48


def test_an_incident_is_not_noise():
    """One leap up and one down: the largest tenth is left out."""
    failed = np.random.default_rng(1).binomial(1500, 0.005, CELLS)
    failed[60:64] = 300
    assert known_after(failed) == 1.0


def test_few_failures_say_nothing():
    """With too little history nobody knows, and that is what is said; the plan's constant is then used."""
    assert known_after([0] * 500) is None
    assert known_after([10] * PAIRS) is None
    assert known_after([10] * (PAIRS + 1)) is not None
    empty = of_errors(SCATTERS, PodScatter(), 1.5, cell())
    assert (empty.clump, empty.canary, empty.stable) == (1.5, 0, 0)


@pytest.mark.parametrize("failed", [0, 3, 20, 200])
def test_where_a_stretch_ends_does_not_depend_on_what_failed_in_it(failed):
    """Stretches that end where failures happen to be many scatter less than they should, or more."""
    scatters = SCATTERS
    for _ in range(5):
        scatters = scattered(scatters, 10.0, 1000.0, 60.0)
    assert all(one.requests == 0 for one in scatters)
    assert all(one.requests == 400 for one in scattered(scatters, failed, 400.0, 60.0))
    assert all(one.requests == 0 for one in scattered(scatters, failed, 1000.0, 60.0))


def test_another_bound_starts_anew():
    """Shares above different bounds cannot be compared."""
    both = scattered(scattered(SCATTERS, 50, 1000, 60, 3), 50, 1000, 60, 3)
    assert all(one.squares for one in both)
    assert not any(one.squares for one in scattered(both, 50, 1000, 60, 4))


def podded(rng, icc, pods=10, each=150, rate=0.005):
    """One side's counts with a beta-binomial pod by pod."""
    rates = rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc, pods) if icc else np.full(pods, rate)
    failed = rng.binomial(each, rates)
    return Counts(float(pods * each), float(failed.sum()), (), tuple((float(each), float(bad)) for bad in failed))


def correlation(icc, seed):
    rng, pods = np.random.default_rng(seed), PodScatter()
    for _ in range(CELLS):
        pods = scattered_pods(pods, podded(rng, icc), 60, 60)
    return between_pods(pods)


def test_pods_that_differ_are_found():
    """A beta-binomial of a known correlation, and one of none."""
    found = [correlation(0.01, seed) for seed in range(20)]
    assert np.median(found) == pytest.approx(0.01, rel=0.3)
    assert [correlation(0.0, seed) for seed in range(20)].count(0.0) >= 18


def hiccups(rng, pods=10, each=150, minutes=30):
    """Cells of 15 s of pods that fail 3 % more for a whole minute, each in one minute of thirty."""
    for _ in range(minutes):
        rates = 0.001 + 0.03 * (rng.random(pods) < 1 / 30)
        for _ in range(4):
            failed = rng.binomial(each, rates)
            yield Counts(
                float(pods * each), float(failed.sum()), (), tuple((float(each), float(bad)) for bad in failed)
            )


def test_a_hiccup_of_a_minute_is_seen_whole():
    """Between cells of 15 s it hides: what four of them have in common is compared, and held against four."""
    found = []
    for seed in range(20):
        pods = PodScatter()
        for one in hiccups(np.random.default_rng(seed)):
            pods = scattered_pods(pods, one, 15, 15)
        found.append(between_pods(pods))
        short, long = (of_errors(SCATTERS, pods, 1.5, cell(seconds=length)) for length in (15, 30))
        assert short.canary == pytest.approx(2 * long.canary)
    # The variance between pods over that of one request, 0.03² · 29/900 / 0.002; divided by the rate of each minute,
    # which the hiccups themselves raise, it would seem half of that.
    assert np.median(found) == pytest.approx(0.0145, rel=0.25)


def test_an_incident_of_all_pods_does_not_hide_that_they_differ():
    """Its last three minutes hold nearly all failures, and pods fail alike in them; half of what was known is kept."""
    found = []
    for seed in range(12):
        rng, pods = np.random.default_rng(seed), PodScatter()
        for minute in range(30):
            one = podded(rng, 0.01, each=600) if minute < 27 else podded(rng, 0.0, each=600, rate=0.2)
            pods = scattered_pods(pods, one, 60, 60)
        found.append(between_pods(pods))
    assert np.median(found) > 0.005


def test_a_scatter_from_minute_to_minute_is_found_in_short_cells():
    """The rate changes each minute, so that three of four differences between cells see nothing of it."""
    rng = np.random.default_rng(5)
    failed = [rng.binomial(1500, rate) for rate in 0.005 * rng.gamma(4, 1 / 4, 40) for _ in range(4)]
    scatters = SCATTERS
    for one in failed:
        scatters = scattered(scatters, float(one), 1500.0, 15)
    assert over_time((scatters[0], SCATTERS[1])) < 0.6 * over_time(scatters)


def test_pods_that_come_and_go_begin_their_minute_anew():
    """Eleven pods cannot be added to ten: nobody knows which of them is new."""
    ten, eleven = (Counts(100.0 * n, 1.0 * n, (), ((100.0, 1.0),) * n) for n in (10, 11))
    pods = scattered_pods(scattered_pods(PodScatter(), ten, 15, 15), eleven, 15, 15)
    assert (pods.seconds, len(pods.gathered), pods.freedom) == (15, 11, 0)
    assert scattered_pods(pods, eleven, 45, 15).freedom == pytest.approx(10)


def test_pods_make_the_canary_as_uncertain_as_its_pods_are_large():
    """One canary pod with all of its requests scatters more than ten stable ones with a tenth each."""
    pods = PodScatter(squares=400.0, freedom=200.0, spread=200 * 149.0, doubt=200.0, failures=1000.0, requests=2e5)
    canary = Counts(1500.0, 0.0, (), ((1500.0, 0.0),))
    stable = Counts(1500.0, 0.0, (), ((150.0, 0.0),) * 10)
    by = of_errors(SCATTERS, pods, 1.5, cell(0, 50, canary, stable, seconds=60))
    assert by.canary == pytest.approx(10 * by.stable)
    assert by.stable == pytest.approx(150 * 2 / 149, rel=0.05)


def test_pods_that_serve_nobody_do_not_make_the_canary_surer():
    """Nine of ten requests at one pod are nearly one pod, however many others were started beside it."""
    pods = PodScatter(squares=400.0, freedom=200.0, doubt=200.0, spread=200 * 149.0, failures=1000.0)
    stable = Counts(1500.0, 0.0, (), ((150.0, 0.0),) * 10)

    def scatter(*canary):
        side = Counts(1500.0, 0.0, (), tuple((requests, 0.0) for requests in canary))
        return of_errors(SCATTERS, pods, 1.5, cell(0, 50, side, stable, seconds=60)).canary

    assert scatter(1500.0, *[0.0] * 9) == pytest.approx(scatter(1500.0))
    assert scatter(1350.0, *[15.0] * 10) == pytest.approx(scatter(1500.0), rel=0.2)
    assert 0 < scatter(1500.0) == scatter() == pytest.approx(10 * scatter(*[150.0] * 10))


@pytest.mark.parametrize("nonsense", [((1e12, 1e9), (1e12, 0.0)) * 5, ((150.0, 151.0),) * 10])
def test_pods_that_contradict_their_side_are_taken_as_unknown(nonsense):
    """A single such cell would drown for half an hour what was known of how pods differ, or bend it."""
    rng, state = np.random.default_rng(2), begin(ERRORS)
    for index in range(40):
        stable = podded(rng, 0.05)
        state = advance(ERRORS, state, cell(index, 0, counts(), stable, segment=0, seconds=60))
    assert between_pods(state.history.pods) > 0
    unknown, odd = (
        advance(ERRORS, state, cell(40, 50, Counts(1500.0, 9.0, (), pods), Counts(1500.0, 9.0, (), pods), seconds=60))
        for pods in ((), nonsense)
    )
    assert odd == unknown
    assert between_pods(odd.history.pods) > 0


def test_what_a_cell_scatters_is_learned_after_it_was_judged():
    """A dispersion that had seen the cell would make the bet depend on its outcome."""
    calm = [cell(index, 0, counts(), counts(1500, 8), segment=0) for index in range(21)]
    wild = cell(21, 25, counts(500, 9), counts(1500, 90))
    state = folded(ERRORS, calm)
    after = advance(ERRORS, state, wild)
    same = advance(ERRORS, folded(ERRORS, calm), wild)
    assert over_time(state.history.failing) == 1.0
    assert len(after.history.failing[0].squares) == len(state.history.failing[0].squares) + 1
    assert after.checks == same.checks


def ending(seed, *, bad, clump=1, icc=0.0):
    """True when an hour of a canary that fails ``bad`` times as often is rolled back; half an hour of history."""
    rng, state = np.random.default_rng(seed), begin(ERRORS)
    for index in range(120 + 160):
        percent = 0 if index < 120 else 5 if index < 160 else 50
        sides = []
        for requests, times, pods in ((1500 - 15 * percent, 1, 10), (15 * percent, bad, 1 if percent == 5 else 5)):
            if icc and requests:
                one = podded(rng, icc, pods, requests // pods, 0.005 * times)
            else:
                one = counts(requests, min(requests, clump * rng.poisson(0.005 * times * requests / clump)))
            sides.append(one)
        state = advance(ERRORS, state, cell(index, percent, sides[1], sides[0], segment=percent))
        if state.failure:
            return True
    return False


@pytest.mark.parametrize("how", [{"clump": 3}, {"icc": 0.01}])
def test_failures_that_come_together_are_no_evidence(how):
    """Retries that fail together, pods that differ: a canary like stable is left alone, a far worse one is found."""
    assert [ending(seed, bad=1, **how) for seed in range(15)] == [False] * 15
    assert [ending(seed, bad=6, **how) for seed in range(3)] == [True] * 3


def test_a_reading_says_that_failures_come_together():
    """Who sees that a verdict takes longer than elsewhere wants to know why."""
    rng = np.random.default_rng(3)
    calm = [cell(index, 0, counts(), counts(1500, 3 * rng.poisson(2.5)), segment=0) for index in range(CELLS)]
    reading = weigh(ERRORS, folded(ERRORS, calm)).readings[0]
    assert "stable's failures vary " in reading.sentence
    assert "times as much as independent ones, and that is allowed for" in reading.sentence

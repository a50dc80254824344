"""
What a cell does to the evidence, held against the arithmetic written out: which numbers go in, in which order.

The e-values themselves are proven elsewhere; a right e-value of the wrong cell, at the wrong moment or of the wrong
segment promises nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import log

import numpy as np
import pytest
from scipy.stats import norm

from canaryd.judge import advance, begin, comparison, errors, latency, objectives, weigh
from canaryd.judge.dispersion import Dispersion, over_time, tempered
from canaryd.judge.histogram import shape_of
from canaryd.judge.mixture import grow, lay, worth
from canaryd.model.judgement import Proof
from canaryd.model.plan import Analysis, Check, Tolerance
from canaryd.model.traffic import Split

from .population import BOUNDS, cell, counts, folded, lognormal

COARSE = (10.0, 50.0, 250.0, 1000.0)
USUAL, SLOW = (20.0, 1000.0, 5000.0, 300.0, 20.0), (20.0, 200.0, 2000.0, 3000.0, 1120.0)
ERRORS = Check(name="errors", metric="error-rate", compare="stable")
LATENCY = Check(name="latency", metric="latency", compare="stable")
SLO = Check(name="slo", metric="error-rate", at_most=0.01)
FAST = Check(name="fast", metric="latency", within=timedelta(milliseconds=250), at_least=0.9)
WARM = timedelta(0)
UNCUT = 1e-200
"""An alpha at which no leap is large enough to be cut."""


def timed(index, percent=25, canary=USUAL, stable=USUAL, failed=(0, 0), **more):
    """A cell with latencies, scaled to its split, and failures besides."""
    sides = []
    for buckets, share, bad in ((canary, percent / 100, failed[0]), (stable, 1 - percent / 100, failed[1])):
        part = tuple(count * share for count in buckets)
        sides.append(counts(sum(part) + bad, bad, part))
    return cell(index, percent, *sides, bounds=COARSE, **more)


def scattered_history(cells):
    """Stable alone; its failures come in fours, and its slow requests by the dozen: there is something to see."""
    rng = np.random.default_rng(5)
    for index in range(cells):
        slow = 12.0 * rng.poisson(25)
        yield timed(index, 0, stable=(20, 1000, 5000 - slow, 300 + slow, 20), failed=(0, 4 * rng.poisson(8)), segment=0)


# What a bet is made from.


def test_a_bet_is_made_from_the_history_before_its_cell():
    """
    Of errors, latency and objectives alike: a shape or a dispersion that had seen the cell would depend on its outcome.

    The cell is a surprise in every respect, so that it changes all of them.
    """
    analysis = Analysis(warmup=WARM, alpha=UNCUT, checks=(ERRORS, LATENCY, SLO))
    state = folded(analysis, scattered_history(19))
    history = state.history
    surprise = timed(32, 50, SLOW, tuple(3 * count for count in reversed(SLOW)), failed=(40, 900))
    after = advance(analysis, state, surprise)
    failing, slow = over_time(history.failing), over_time(history.slow)
    assert failing is not None
    assert slow is not None
    assert min(failing, slow) > 1.5
    assert over_time(after.history.failing) != failing
    assert over_time(after.history.slow) != slow
    assert after.history.basis != history.basis

    ours, theirs = surprise.canary, surprise.stable
    requests, failed = (ours.requests, theirs.requests), (ours.errors, theirs.errors)
    values = errors.harm(failed, requests, ERRORS.accepted, Dispersion(failing, failing - 1, failing - 1))
    assert after.checks[0].wager == laid_and_grown(state.checks[0].wager, surprise, errors.RATIO_PRIOR, values)

    shape = shape_of(COARSE, history.basis)
    played = latency.bets(shape, LATENCY.accepted, surprise.split)
    sides = latency.side(ours.buckets), latency.side(theirs.buckets)
    values = tempered(latency.harm(*sides, played, LATENCY.accepted), slow)
    assert after.checks[1].wager == laid_and_grown(state.checks[1].wager, surprise, played.prior, values)
    null = latency.margins(shape, after.checks[1].proof.bounds, LATENCY.allowed.times)[2]
    values = tempered(latency.proof(*sides, shape, null, LATENCY.allowed), slow)
    assert after.checks[1].proof.rows[2] == tuple(
        held + step for held, step in zip(latency.fresh_row(), values, strict=True)
    )

    values = tempered(objectives.harm(ours.errors, ours.requests, 0.01), failing)
    assert after.checks[2].wager == laid_and_grown(state.checks[2].wager, surprise, objectives.PRIOR, values)


def laid_and_grown(wager, one, prior, values):
    return grow(lay(wager, one.split.canary, one.seconds, prior), values)


def test_a_short_history_is_taken_for_clumps():
    """Nothing is known of how failures and slow requests come: then as the plan assumes, for every kind of check."""
    analysis = Analysis(warmup=WARM, clump=3, alpha=UNCUT, checks=(ERRORS, LATENCY, SLO))
    state = folded(analysis, [timed(0, 0, segment=0)])
    one = timed(1, 50, SLOW, failed=(9, 2))
    after = advance(analysis, state, one)
    requests = (one.canary.requests, one.stable.requests)
    values = errors.harm((9.0, 2.0), requests, ERRORS.accepted, Dispersion(3.0))
    assert after.checks[0].wager == laid_and_grown(state.checks[0].wager, one, errors.RATIO_PRIOR, values)
    values = tuple(value / 3 for value in objectives.harm(9.0, one.canary.requests, 0.01))
    assert after.checks[2].wager == laid_and_grown(state.checks[2].wager, one, objectives.PRIOR, values)
    careless = advance(analysis.model_copy(update={"clump": 1}), state, one)
    assert worth(careless.checks[1].wager) > worth(after.checks[1].wager) > 1


@pytest.mark.parametrize(("times", "index"), [(1.05, 4), (1.25, 4), (1.05, 5), (1.25, 6), (1.25, 7)])
def test_tolerance_and_margin_are_what_the_plan_says(times, index):
    """1.05 times as slow is that, not its square: a log-normal is slowed exactly, and what is tolerated is known."""
    shape, sigma = shape_of(BOUNDS, tuple(1e9 * lognormal(20, 100))), log(5) / norm.ppf(0.99)
    exact = norm.sf(log(BOUNDS[index] / times / 20) / sigma)
    played = latency.bets(shape, Tolerance(times=times, plus=0.0003), Split.percent(10))
    tolerated = next(null for null in played.nulls if null.index == index)
    assert tolerated.above == pytest.approx(exact, rel=1e-3)
    assert latency.margins(shape, (index,), times)[0].above == pytest.approx(exact, rel=1e-3)


def test_failures_without_a_version_excuse_only_what_comes_before_the_canary():
    """A service that loses requests since the canary has a share may have caught it from the canary."""
    analysis = Analysis(checks=(ERRORS,))
    before = folded(analysis, [cell(0, 0, counts(), counts(390), segment=0, unattributed=10)])
    assert (before.history.quiet_failures, before.history.quiet_requests) == (10, 400)
    during = advance(analysis, before, cell(1, 25, counts(10), counts(300), unattributed=90))
    assert (during.history.quiet_failures, during.history.quiet_requests) == (10, 400)


def test_certainty_without_end_overflows_nothing():
    """A hundred thousand failures are hundreds of thousands of nats; sums of capital stay numbers."""
    analysis = Analysis(checks=(ERRORS, SLO))
    state = begin(analysis)
    for index in range(5):
        state = advance(analysis, state, cell(index, 50, counts(1e5, 1e5), counts(1e5)))
    assert 1e200 < weigh(analysis, state).harm < 1e300


# When it counts.


def test_proven_is_what_has_reached_the_bound_of_beta():
    """Not that of alpha, and not half of it: looked at cell by cell, with nothing else to wait for."""
    analysis = Analysis(checks=(ERRORS,), proof_cells=1, min_requests=1)
    state, found = begin(analysis), []
    for index in range(100):
        state = advance(analysis, state, cell(index, 50, counts(100), counts(100)))
        evidence = weigh(analysis, state)
        found.append((evidence.proof, evidence.proven))
    assert evidence.proof_bound == 20
    assert any(10 < proof < 20 for proof, _ in found)
    assert any(20 <= proof < 100 for proof, _ in found)
    assert all(proven == (proof >= 20) for proof, proven in found)


def test_the_requests_of_a_proof_are_those_of_its_weight():
    """A plan asks for canary requests at the step; those of an earlier one were under another split."""
    analysis = Analysis(checks=(ERRORS,), proof_cells=1, min_requests=5000)
    state = folded(analysis, [cell(index, 50, counts(400), counts(400)) for index in range(12)])
    assert weigh(analysis, state).proof > 20
    assert not weigh(analysis, state).proven
    assert weigh(analysis, advance(analysis, state, cell(12, 50, counts(400), counts(400)))).proven
    moved = advance(analysis, state, cell(12, 60, counts(480), counts(320), segment=2))
    assert weigh(analysis, moved).canary_requests == 480


def test_the_cells_of_a_proof_are_those_of_its_weight():
    """One strong cell at a new weight may be a lucky stretch, however many there were at the old one."""
    analysis = Analysis(checks=(ERRORS,))
    state = folded(analysis, [cell(index, 50, counts(2000), counts(2000)) for index in range(12)])
    assert weigh(analysis, state).proven
    moved = advance(analysis, state, cell(12, 60, counts(10_800), counts(7_200), segment=2))
    assert weigh(analysis, moved).proof > 20
    assert not weigh(analysis, moved).proven


def test_a_bound_that_is_not_proven_keeps_the_whole_from_being():
    """Nine bounds at which the canary is fast say nothing of the tenth."""
    assert comparison.proof_of(Proof(((log(50.0),), (log(0.5), log(0.25)), (log(9.0),)), (0, 1, 2))) == 0.75


def test_cells_that_have_not_settled_prove_nothing_of_latency():
    """Slow requests end late: right after a change of weight the canary looks faster than it is."""
    analysis = Analysis(warmup=WARM, checks=(LATENCY,))
    state = folded(analysis, [timed(0, 0, segment=0), timed(1, 50, settled=False)])
    assert state.checks[0].proof == Proof()
    assert advance(analysis, state, timed(2, 50)).checks[0].proof.rows


def test_an_objective_of_latency_waits_for_warmth_and_counts_what_is_slower():
    """Cold caches fail no objective; afterwards it is the requests above the bound that are held against it."""
    analysis = Analysis(warmup=timedelta(seconds=30), alpha=UNCUT, checks=(ERRORS, FAST))
    cold = folded(analysis, [timed(0, 50, SLOW), timed(1, 50, SLOW)])
    assert worth(cold.checks[1].wager) == 1
    assert cold.checks[1].waiting == "the canary is warming up"
    one = timed(2, 50, tuple(count / 20 for count in SLOW))
    warm = advance(analysis, cold, one)
    slow, served = sum(one.canary.buckets[3:]), sum(one.canary.buckets)
    values = tempered(objectives.harm(slow, served, 1 - 0.9), analysis.clump)
    assert warm.checks[1].wager == laid_and_grown(cold.checks[1].wager, one, objectives.PRIOR, values)


def test_a_leap_is_cut_in_the_capital_and_not_only_in_what_is_said():
    """What was thrown away is gone: the next cell multiplies what is left of it."""
    analysis = Analysis(checks=(ERRORS,))
    state = folded(analysis, [cell(0), cell(1, 25, counts(100, 40), counts(300))])
    shares = (0.95, 0.05)
    held = sum(share * worth(one.wager) for share, one in zip(shares, (*state.checks, state.unattributed), strict=True))
    assert state.harm == pytest.approx(0.5 / analysis.alpha) == pytest.approx(held)


def test_the_same_failures_without_a_version_weigh_more_the_less_stable_had_to_lose():
    """When stable gets less than half of its own, it is failing too, and nothing is charged."""
    dead = cell(1, 25, counts(), counts(300), unattributed=100)
    both_dead = replace(dead, stable=counts(140), unattributed=260.0)
    analysis = Analysis(checks=(ERRORS,))
    assert folded(analysis, [dead]).failure
    assert worth(folded(analysis, [both_dead]).unattributed.wager) < 1

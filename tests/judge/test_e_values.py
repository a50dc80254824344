"""
Every e-value has an expectation of at most 1 at the boundary of its null: the whole promise rests on it.

Exact, by enumerating all outcomes of small cells through the code that judges real ones. The boundary is where the
expectation is greatest; inside the null there is room, and an error in a sign, an exponent or a bound uses it up.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from math import comb, exp, expm1, factorial, inf, isclose, log1p

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canaryd.judge import advance, begin, comparison, custom, errors, latency, objectives, traffic, unattributed
from canaryd.judge.dispersion import INDEPENDENT, Dispersion, harm_bet, proof_bet, tempered
from canaryd.judge.histogram import shape_of
from canaryd.judge.mixture import Wager, cash, grow, lay, worth
from canaryd.model.cells import Value
from canaryd.model.judgement import History
from canaryd.model.plan import Analysis, Check, Tolerance
from canaryd.model.traffic import Split

from .population import BOUNDS, cell, counts, lognormal

ROUNDING = 1e-9
FEW = st.integers(1, 9)
RATES = st.floats(0, 0.6) | st.sampled_from([0.0, 0.001, 0.01, 0.5])
TIMES = st.floats(1, 3)
PLUS = st.floats(0, 0.3) | st.sampled_from([0.0, 0.00005, 0.0015])


def binomial(trials: int, chance: float) -> list[float]:
    return [comb(trials, hits) * chance**hits * (1 - chance) ** (trials - hits) for hits in range(trials + 1)]


def multinomial(trials: int, chances: tuple[float, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Every outcome with its probability."""
    found = []
    for head in product(range(trials + 1), repeat=len(chances) - 1):
        if (rest := trials - sum(head)) < 0:
            continue
        outcome = (*head, rest)
        weight = float(factorial(trials))
        for hits, chance in zip(outcome, chances, strict=True):
            weight *= chance**hits / factorial(hits)
        found.append((outcome, weight))
    return found


def error_expectations(bets, requests, chances):
    """Expectation of each e-value that ``bets(failed)`` gives as logarithms."""
    totals = None
    for (canary, at_canary), (stable, at_stable) in product(
        enumerate(binomial(requests[0], chances[0])), enumerate(binomial(requests[1], chances[1]))
    ):
        values = [exp(value) * at_canary * at_stable for value in bets((canary, stable))]
        totals = values if totals is None else [a + b for a, b in zip(totals, values, strict=True)]
    return totals


@given(FEW, FEW, RATES, TIMES, PLUS)
@settings(max_examples=60, deadline=None)
def test_errors_harm_expects_at_most_one_at_the_tolerance(canary, stable, rate, times, plus):
    """A canary that fails exactly as often as tolerated earns no evidence, whatever stable's rate is."""
    worst = times * rate + plus
    if worst > 1:
        rate, worst = rate * (1 - plus) / (worst - plus), 1.0
    tolerance, requests = Tolerance(times=times, plus=plus), (float(canary), float(stable))
    found = error_expectations(
        lambda failed: errors.harm(failed, requests, tolerance), (canary, stable), (min(worst, 1.0), rate)
    )
    assert max(found) <= 1 + ROUNDING


@given(FEW, FEW, RATES, TIMES, PLUS)
@settings(max_examples=60, deadline=None)
def test_errors_proof_expects_at_most_one_at_the_margin(canary, stable, rate, times, plus):
    """A canary that is as bad as the margin is not proven harmless, whatever stable's rate is."""
    worst = times * rate + plus
    if worst > 1:
        rate, worst = rate * (1 - plus) / (worst - plus), 1.0
    margin, requests = Tolerance(times=times, plus=plus), (float(canary), float(stable))
    found = error_expectations(
        lambda failed: errors.proof(failed, requests, margin), (canary, stable), (min(worst, 1.0), rate)
    )
    assert max(found) <= 1 + ROUNDING


SCALES = st.sampled_from([0.0, 0.1, 0.9, 4.0, 30.0, 1e9])
DISPERSIONS = st.sampled_from([1.0, 1.5, 2.0, 3.0, 50.0]).flatmap(
    lambda clump: (
        st.just(Dispersion(clump))
        | st.builds(lambda one, other: Dispersion(clump, clump - 1 + one, clump - 1 + other), SCALES, SCALES)
    )
)


def growing_together(scale, value):
    """Log of the negative binomial's E[exp(value x)] per expected failure; infinite where that does not exist."""
    up = expm1(value)
    if not scale:
        return up
    return -log1p(-scale * up) / scale if scale * up < 1 else inf


@given(st.floats(1e-5, 1e4), TIMES, DISPERSIONS)
@settings(max_examples=300, deadline=None)
def test_errors_that_come_together_earn_no_evidence_at_the_tolerance(rho, times, by):
    """
    The moment generating functions of negative-binomial counts and of clumps, in closed form, at the boundary.

    With ``p`` stable's rate, the log expectation per ``p`` and request is r rho A'(a) + A'(b) - r rho A, and per ``d``
    it is A'(a) - A; both must be at most 0, for either shape and every smaller one.
    """
    for ratio in errors.RATIOS:
        a, b, paid = harm_bet((rho * 1000, 1000), times, ratio, by)
        assert a > 0 > b
        for part in (1, 0.5, 0):
            scaled = growing_together(part * by.canary, a), growing_together(part * by.stable, b)
            size = 1 + part * (by.clump - 1)
            clumped = expm1(size * a) / size, expm1(size * b) / size
            for ours, theirs in (scaled, clumped):
                assert times * rho * ours + theirs <= ROUNDING * (1 + times * rho)
                assert ours <= paid * (1 + ROUNDING)


@given(st.floats(1e-5, 1e4), TIMES, DISPERSIONS)
@settings(max_examples=300, deadline=None)
def test_errors_that_come_together_prove_nothing_at_the_margin(rho, times, by):
    """The same the other way round, where the allowance is paid out instead of in."""
    for bet in errors.PROOF_BETS:
        a, b, paid = proof_bet((rho * 1000, 1000), times, bet, by)
        assert b > 0 > a
        for part in (1, 0.5, 0):
            scaled = growing_together(part * by.canary, a), growing_together(part * by.stable, b)
            size = 1 + part * (by.clump - 1)
            clumped = expm1(size * a) / size, expm1(size * b) / size
            for ours, theirs in (scaled, clumped):
                assert times * rho * ours + theirs <= ROUNDING * (1 + times * rho)
                assert ours <= paid * (1 - ROUNDING)


def test_latency_that_comes_in_clumps_expects_at_most_one():
    """Clumps of two, whole: the square root of the e-value for independent requests."""
    shape = shape_of(EDGES, (300.0, 60.0, 40.0))
    tolerance = Tolerance(times=1.1, plus=0.01)
    played = latency.bets(shape, tolerance, Split.percent(50))

    def bets(ours, theirs):
        twice = (latency.side(tuple(2 * count for count in one.buckets)) for one in (ours, theirs))
        return tempered(latency.harm(*twice, played, tolerance), 2.0)

    stable = (0.75, 0.15, 0.1)
    found = latency_expectations(bets, (3, 3), slower(played.phis, stable, 0.01), stable)
    assert 0.8 < max(found) <= 1 + ROUNDING


@given(FEW, FEW, RATES, st.floats(0, 0.4))
@settings(max_examples=60, deadline=None)
def test_a_bound_on_the_excess_expects_at_most_one_at_the_bound(canary, stable, rate, more):
    """Each x of "at most x more" is an e-process of its own, and the sums are their logarithms."""
    requests, worst = (float(canary), float(stable)), min(1.0, rate + more)

    def bets(failed):
        sums = errors.excess((), failed, requests, INDEPENDENT)
        return [fixed + (worst - rate) * slope for fixed, slope in sums]

    assert max(error_expectations(bets, (canary, stable), (worst, rate))) <= 1 + ROUNDING


def test_the_bound_on_the_excess_is_where_the_evidence_reaches_its_bound():
    """Read off by halving: just above, the larger excess is refuted; just below, it is not."""
    sums = ()
    for _ in range(30):
        sums = errors.excess(sums, (1.0, 1.0), (100.0, 100.0), INDEPENDENT)
    found = errors.at_most(sums, 0.05)
    assert 0.001 < found < 0.02
    for more, refuted in ((found * 1.001, True), (found * 0.999, False)):
        capital = sum(exp(fixed + more * slope) for fixed, slope in sums) / len(sums)
        assert (capital >= 20) == refuted
    assert errors.at_most((), 0.05) is None
    assert errors.at_most(errors.excess((), (0.0, 0.0), (1.0, 9.0), INDEPENDENT), 0.05) is None


def test_errors_harm_is_the_conditional_likelihood_ratio():
    """Without an absolute tolerance the e-value is known in closed form: nothing is given away."""
    requests, ratio, times = (40.0, 160.0), 3.8, 1.1
    q = times * requests[0] / requests[1]
    tolerance = Tolerance(times=times, plus=0.0)
    value = errors.harm((3.0, 2.0), requests, tolerance)[errors.RATIOS.index(ratio)]
    null, other = q / (1 + q), q * ratio / (1 + q * ratio)
    assert isclose(exp(value), (other / null) ** 3 * ((1 - other) / (1 - null)) ** 2)


SHARES = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.05, 1)).map(
    lambda raw: tuple(one / sum(raw) for one in raw)
)
SHAPES = st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
EDGES = (50.0, 100.0)
SPLITS = st.sampled_from([0.1, 1, 10, 50, 95, 100]).map(Split.percent)


def slower(phis, shares, plus):
    """Stable's shares (3 buckets), slowed by T, and ``plus`` of the requests moved from the best to the worst."""
    first, second, third = shares
    moved = [first * (1 - phis[0]), first * phis[0] + second * (1 - phis[1]), third + second * phis[1]]
    for place in range(3):
        take = min(plus, moved[place])
        moved[place] -= take
        moved[2] += take
        plus -= take
    return tuple(moved)


def latency_expectations(bets, requests, canary, stable):
    totals = None
    for (ours, at_ours), (theirs, at_theirs) in product(
        multinomial(requests[0], canary), multinomial(requests[1], stable)
    ):
        sides = (latency.side(tuple(map(float, counted))) for counted in (ours, theirs))
        values = [exp(value) * at_ours * at_theirs for value in bets(*sides)]
        totals = values if totals is None else [a + b for a, b in zip(totals, values, strict=True)]
    return totals


@given(st.integers(1, 4), st.integers(1, 4), SHARES, SHAPES, st.floats(1, 1.9), st.floats(0, 0.2), SPLITS)
@settings(max_examples=60, deadline=None)
def test_latency_harm_expects_at_most_one_at_the_tolerance(canary, stable, shares, history, times, plus, split):
    """The history may be wrong about stable, and the split about the traffic: that costs power, and earns nothing."""
    shape = shape_of(EDGES, tuple(map(float, history)))
    tolerance = Tolerance(times=times, plus=plus)
    played = latency.bets(shape, tolerance, split)
    found = latency_expectations(
        lambda ours, theirs: latency.harm(ours, theirs, played, tolerance),
        (canary, stable),
        slower(played.phis, shares, plus),
        shares,
    )
    assert max(found) <= 1 + ROUNDING


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    SHARES,
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0.1, 1), st.floats(0, 3), st.floats(0, 30)),
    st.floats(0, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_a_shift_expects_at_most_one_whatever_it_bets(canary, stable, shares, phis, raw, plus):
    """Likelihood ratios that do not fall are all that its proof needs; where they come from does not matter."""
    ratios = (raw[0], raw[0] + raw[1], raw[0] + raw[1] + raw[2])
    found = latency_expectations(
        lambda ours, theirs: [latency.shift_log_e(ours, theirs, ratios, phis, plus)],
        (canary, stable),
        slower(phis, shares, plus),
        shares,
    )
    assert found[0] <= 1 + ROUNDING


@given(st.integers(1, 4), st.integers(1, 4), SHARES, SHAPES, st.floats(1, 1.9), st.floats(0, 0.2), st.booleans())
@settings(max_examples=40, deadline=None)
def test_latency_proof_expects_at_most_one_at_the_margin(canary, stable, shares, history, times, plus, last):
    """A canary that is as slow as the margin at one bound is not proven harmless at that bound."""
    index = int(last)
    shape = shape_of(EDGES, tuple(map(float, history)))
    margin = Tolerance(times=times, plus=plus)
    null = latency.margins(shape, (index,), times)[0]
    above = sum(shares[index + 1 :]) + null.phi * shares[index] + plus
    if above >= 1:
        return
    split = (1 - above, 0.0, above) if index else (1 - above, above, 0.0)
    found = latency_expectations(
        lambda ours, theirs: latency.proof(ours, theirs, shape, null, margin), (canary, stable), split, shares
    )
    assert max(found) <= 1 + ROUNDING


@given(st.lists(st.sampled_from([0, 1, 30, 4000]) | st.integers(0, 5000), min_size=20, max_size=20), SPLITS)
@settings(max_examples=60, deadline=None)
def test_a_shift_never_scores_a_slower_request_lower(counted, split):
    """The null speaks of the canary being slower, nothing else: only scores that do not fall ask about that."""
    shape = shape_of(BOUNDS, tuple(float(count) for count in (*counted[:-1], counted[-1] + 200)))
    for ratios in latency.bets(shape, Tolerance(times=1.05, plus=0.0003), split).shifts:
        assert list(ratios) == sorted(ratios)


def test_the_bets_on_latency_are_of_both_kinds():
    """An expectation of a bet that is never made says nothing."""
    shape = shape_of(BOUNDS, tuple(1e5 * lognormal(20, 100)))
    played = latency.bets(shape, Tolerance(times=1.05, plus=0.0003), Split.percent(10))
    assert len(played.nulls) > 5
    assert all(played.shifts)
    laid = played.prior
    assert sum(laid) == pytest.approx(1, abs=1e-12)
    assert sum(laid[-len(latency.SLOWER) :]) == pytest.approx(latency.SHIFTS_SHARE)


@given(st.integers(1, 40), st.floats(0, 1))
@example(1, 1 - 2**-53)
@example(40, 0.0)
@example(40, 1.0)
@example(40, 5e-324)
@settings(max_examples=80, deadline=None)
def test_an_objective_expects_at_most_one_at_its_bound(requests, bound):
    """A canary that just keeps its objective is not failed for it."""
    found = [0.0] * len(objectives.RATIOS)
    for bad, chance in enumerate(binomial(requests, bound)):
        if chance:
            values = objectives.harm(float(bad), float(requests), bound)
            found = [total + exp(value) * chance for total, value in zip(found, values, strict=True)]
    assert max(found) <= 1 + ROUNDING


@given(st.integers(1, 7), st.sampled_from([0.001, 1.0, 5.0, 50.0, 99.0, 100.0]), st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_unattributed_failures_expect_at_most_one_at_their_bound(total, percent, quiet):
    """A canary that loses as many requests as is allowed, beside a service that always loses some, is not failed."""
    share = percent / 100
    lost = min(1.0, unattributed.ALLOWED + (2 * quiet - (1 - share) * quiet) / share)
    history = History(quiet_requests=1e6, quiet_failures=quiet * 1e6)
    chances = (share * (1 - lost), share * lost, (1 - share) * (1 - quiet), (1 - share) * quiet)
    found = [0.0] * len(unattributed.BETS)
    for (canary, dead, stable, unlucky), chance in multinomial(total, chances):
        if chance:
            one = cell(percent=percent, canary=counts(canary), stable=counts(stable), unattributed=dead + unlucky)
            values = unattributed.harm(one, history)
            found = [sum_ + exp(value) * chance for sum_, value in zip(found, values, strict=True)]
    assert max(found) <= 1 + ROUNDING


@given(st.lists(st.tuples(st.sampled_from([1000, 5000, 25000]), st.floats(1, 3600)), min_size=1, max_size=60))
def test_laying_mass_makes_none(cells):
    """All mass ever laid comes out of one: cells without information leave the capital at 1, however long it takes."""
    prior = (0.5, 0.0, 0.5)
    wager = Wager(capital=(None, None, None))
    for split, seconds in cells:
        wager = grow(lay(wager, split, seconds, prior), (0.0, 0.0, 0.0))
        assert isclose(worth(wager), 1.0, rel_tol=1e-12)
        assert wager.unspent >= 0
    assert wager.capital[1] is None


def test_mass_never_runs_dry():
    """After a week at one weight a late onset still finds mass, so that a long plan is judged to its end."""
    wager = Wager(capital=(None,))
    for _ in range(7 * 24 * 4):
        wager = lay(wager, 1000, 15 * 60, (1.0,))
    assert wager.unspent > 0
    assert sum(lay(wager, 5000, 15, (1.0,)).capital) == pytest.approx(0, abs=1e-9)


def test_cashing_in_makes_no_capital():
    """Other bounds start latency anew with what is left of its capital, not with a new one."""
    poor = grow(lay(Wager(capital=(None,)), 1000, 15, (1.0,)), (-9.0,))
    again = lay(cash(poor, 2), 1000, 15, (0.5, 0.5))
    assert worth(again) == pytest.approx(worth(poor))
    assert again.unspent == pytest.approx(0.25 * worth(poor))


SIZES = st.lists(st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.001, 1000), min_size=5, max_size=5)


def over_all_signs(check, centre, sizes, what):
    """The mean of ``what`` over all ways in which values lie above or below ``centre``, each as likely as the other."""
    plan = Analysis(warmup=timedelta(0), checks=(check,))
    found = []
    for signs in product((1, -1), repeat=len(sizes)):
        state = begin(plan)
        for index, (sign, size) in enumerate(zip(signs, sizes, strict=True)):
            value = Value(check.name, 10.0, centre + sign * size)
            state = advance(plan, state, cell(index, 25, values=(value,)))
        found.append(what(state.checks[0]))
    return sum(found) / len(found)


def valued(**keys):
    return Check.model_validate({"name": "v", "metric": "promql", "query": "x", "window": "15s"} | keys)


COMPARED = {"compare": "stable", "query": "x${workload}"}


@given(SIZES, st.sampled_from(["higher", "lower", "either"]), st.sampled_from([1.0, 1.5]))
@settings(max_examples=12, deadline=None)
def test_values_expect_at_most_one_where_the_canary_is_as_often_beyond_as_not(sizes, direction, times):
    """Through the whole fold: sizes may come in any order and be anything, if the sign is a fair coin's."""
    check = valued(direction=direction, tolerance={"times": times, "plus": 1}, **COMPARED)
    centre = 10 / times - 1 if direction == "lower" else 10 * times + 1
    found = over_all_signs(check, centre, sizes, lambda one: worth(one.wager))
    assert found <= 1 + ROUNDING
    assert direction == "either" or found == pytest.approx(1)


@given(SIZES, st.sampled_from(["higher", "lower"]))
@settings(max_examples=12, deadline=None)
def test_values_prove_nothing_where_the_canary_is_as_often_beyond_the_margin_as_not(sizes, direction):
    """A median at the margin is the best of all canaries that must not be promoted."""
    margin = {"times": 2.0, "plus": 1}
    check = valued(direction=direction, margin=margin, **COMPARED)
    centre = 4.0 if direction == "lower" else 21.0
    found = over_all_signs(check, centre, sizes, lambda one: comparison.proof_of(one.proof))
    assert found == pytest.approx(1)


@given(SIZES, st.sampled_from(["at_most", "at_least"]))
@settings(max_examples=8, deadline=None)
def test_a_value_expects_at_most_one_where_its_median_is_the_bound(sizes, bound):
    """However far beyond it is: half of the values may be."""
    assert over_all_signs(valued(**{bound: 7.0}), 7.0, sizes, lambda one: worth(one.wager)) == pytest.approx(1)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 1e6))
def test_the_weight_of_a_pair_is_between_a_half_and_one(former, size):
    """Above one a bet could lose more than there is."""
    assert 0.5 <= custom.weight(size, tuple(former)) <= 1


@given(st.floats(0.01, 10), st.floats(1, 60))
@settings(max_examples=60, deadline=None)
def test_too_little_traffic_expects_at_most_one_at_the_minimum(least, seconds):
    """Poisson counts at exactly the rate that is asked for."""
    expected, chance, found = least * seconds, exp(-least * seconds), [0.0] * len(traffic.BETS)
    for requests in range(int(expected + 40 * (1 + expected**0.5))):
        values = traffic.log_e(float(requests), seconds, least)
        found = [total + exp(value) * chance for total, value in zip(found, values, strict=True)]
        chance *= expected / (requests + 1)
    assert max(found) <= 1 + 1e-6

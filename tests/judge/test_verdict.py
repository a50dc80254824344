"""
The fold over cells: what counts when, what is remembered, and what the judge says.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from canaryd.judge import JudgeState, advance, begin, comparison, errors, latency, weigh
from canaryd.judge.dispersion import Dispersion, tempered
from canaryd.judge.histogram import shape_of
from canaryd.judge.mixture import grow, lay, worth
from canaryd.judge.readings import UNATTRIBUTED
from canaryd.judge.shares import shares_of
from canaryd.model.cells import BEFORE, Counts
from canaryd.model.plan import Analysis, Check

from .population import BOUNDS, LAB, World, cell, counts, folded, gap, lognormal, played

STATES = TypeAdapter(JudgeState)
ERRORS = Analysis(checks=(Check(name="errors", metric="error-rate", compare="stable"),))
FEW = (20.0, 1000.0, 5000.0, 300.0, 20.0)
COARSE = (10.0, 50.0, 250.0, 1000.0)


def both(index, percent=25, canary_errors=0, stable_errors=0, requests=400, **more):
    """A cell with errors on both sides."""
    ours = requests * percent / 100
    return cell(index, percent, counts(ours, canary_errors), counts(requests - ours, stable_errors), **more)


def with_buckets(index, percent=25, canary=FEW, stable=FEW, bounds=COARSE, **more):
    """A cell with latencies, scaled to its split."""
    sides = [
        tuple(count * part for count in side) for side, part in ((canary, percent / 100), (stable, 1 - percent / 100))
    ]
    ours, theirs = (Counts(sum(buckets), 0.0, buckets) for buckets in sides)
    return cell(index, percent, ours, theirs, bounds=bounds, **more)


def reading(analysis, state, check):
    return next(one for one in weigh(analysis, state).readings if one.check == check)


# What is remembered.


def test_the_same_cells_give_the_same_bits():
    """A verdict that a replay does not reproduce cannot be explained to anybody."""
    cells = list(World(1, failing=lambda moment: (0.005, 0.008)).cells())
    assert folded(LAB, cells) == folded(LAB, cells)
    assert STATES.dump_json(folded(LAB, cells)) == STATES.dump_json(folded(LAB, cells))


def test_a_state_that_went_through_json_goes_on_with_the_same_bits():
    """A restart in mid-run must not change the ending."""
    cells = list(World(2, failing=lambda moment: (0.005, 0.01), steps=((0, 20), (5, 30), (25, 30))).cells())
    plain, stored = begin(LAB), begin(LAB)
    for one in cells:
        plain = advance(LAB, plain, one)
        stored = advance(LAB, STATES.validate_json(STATES.dump_json(stored)), one)
        assert stored == plain
    assert weigh(LAB, stored) == weigh(LAB, plain)


def test_a_gap_changes_no_evidence():
    """A gap is not a pass and not a failure; only that it was there is remembered."""
    state = folded(ERRORS, [both(0, canary_errors=2), both(1)])
    after = advance(ERRORS, state, gap(2))
    assert after.gap == "no answer"
    assert replace(after, gap="") == state
    assert advance(ERRORS, after, both(3)).gap == ""


# Bets come before outcomes.


def test_a_bet_on_a_cell_knows_only_the_cells_before_it():
    """A history that had seen the cell would make the bet depend on the outcome, and its expectation exceed 1."""
    analysis = Analysis(warmup=timedelta(0), checks=(Check(name="latency", metric="latency", compare="stable"),))
    state = folded(analysis, [with_buckets(0, 0, segment=0)])
    surprise = with_buckets(1, stable=(20.0, 200.0, 200.0, 3000.0, 900.0))
    after = advance(analysis, state, surprise)
    check, shape = analysis.checks[0], shape_of(COARSE, state.history.buckets)
    played = latency.bets(shape, check.accepted, surprise.split)
    wager = lay(state.checks[0].wager, surprise.split.canary, 15, played.prior)
    sides = latency.side(surprise.canary.buckets), latency.side(surprise.stable.buckets)
    values = latency.harm(*sides, played, check.accepted)
    assert after.checks[0].wager == grow(wager, tempered(values, analysis.clump))
    assert after.history.buckets != state.history.buckets


def test_mass_is_laid_before_the_cell_is_counted():
    """Mass laid after a cell would never have been at risk in it; laid late on purpose it would be at none."""
    after = advance(ERRORS, begin(ERRORS), both(0, canary_errors=3))
    values = errors.harm((3.0, 0.0), (100.0, 300.0), ERRORS.checks[0].accepted, Dispersion(clump=ERRORS.clump))
    wager = grow(lay(begin(ERRORS).checks[0].wager, 25000, 15, errors.RATIO_PRIOR), values)
    assert after.checks[0].wager == wager


def test_shares_of_the_evidence_sum_to_one():
    """Ville's bound holds for an average of e-processes: more than one in all would break the promise on alpha."""
    objective = Check(name="slo", metric="error-rate", at_most=0.01)
    twice = Check(name="errors-2", metric="error-rate", compare="stable")
    for checks in (LAB.checks, (*LAB.checks, objective), (*LAB.checks, twice), (objective,), ERRORS.checks):
        assert sum(shares_of(Analysis(checks=checks))) == pytest.approx(1, abs=1e-12)


# What counts when.


def test_harm_counts_before_a_cell_is_settled_and_proof_does_not():
    """A bad canary is bad from its first request; a good one has to show it under the weight that is asked about."""
    unsettled = folded(ERRORS, [both(0, canary_errors=5, settled=False)])
    assert unsettled.harm > 1
    assert unsettled.checks[0].proof.rows == ()
    assert weigh(ERRORS, unsettled).canary_requests == 0
    assert weigh(ERRORS, folded(ERRORS, [both(0)])).canary_requests == 100


def test_proof_starts_anew_with_each_segment():
    """Proof gathered at another weight would promote a canary that turned bad at this one."""
    proven = folded(ERRORS, [both(index, 50, requests=2000) for index in range(20)])
    assert weigh(ERRORS, proven).proven
    moved = advance(ERRORS, proven, both(20, 60, requests=2000, segment=2))
    assert not weigh(ERRORS, moved).proven
    assert weigh(ERRORS, moved).proof < weigh(ERRORS, proven).proof
    assert moved.checks[0].wager.capital != proven.checks[0].wager.capital


def test_a_gap_that_opens_a_segment_takes_the_proof_with_it():
    """Otherwise the old segment's proof would stand for a weight of which nothing is known."""
    proven = folded(ERRORS, [both(index, 50, requests=2000) for index in range(20)])
    assert not weigh(ERRORS, advance(ERRORS, proven, gap(20, 60, segment=2))).proven


def test_proof_needs_enough_settled_cells():
    """However strong the evidence of one moment is, it is that of one moment."""
    cells = [both(index, 50, requests=200_000) for index in range(ERRORS.proof_cells)]
    assert not weigh(ERRORS, folded(ERRORS, cells[:-1])).proven
    assert weigh(ERRORS, folded(ERRORS, cells)).proven


def test_proof_is_the_least_of_all_comparisons():
    """A canary with good errors and unknown latency is not proven."""
    cells = [both(index, 50, requests=2000) for index in range(20)]
    evidence = weigh(LAB, folded(LAB, cells))
    assert evidence.proof == 1
    assert not evidence.proven
    assert "no latency buckets" in evidence.readings[1].sentence


def test_a_canary_at_the_margin_is_not_proven():
    """0.5 % and 0.9 % are as far apart as the margin allows: nothing may promote that."""
    cells = [both(index, 50, canary_errors=9, stable_errors=5, requests=2000) for index in range(100)]
    assert not weigh(ERRORS, folded(ERRORS, cells)).proven


def test_at_a_hundred_percent_only_objectives_judge():
    """Without stable there is nothing to compare with; the comparison must neither fail nor prove."""
    analysis = Analysis(checks=(*ERRORS.checks, Check(name="slo", metric="error-rate", at_most=0.01)))
    quiet = folded(analysis, [cell(0, 100, counts(400, 40), counts())])
    assert quiet.checks[0].wager.capital == begin(analysis).checks[0].wager.capital
    failed = folded(analysis, [cell(index, 100, counts(400, 40), counts()) for index in range(3)])
    assert failed.failure.startswith("slo: 10.0 % of the canary's")
    assert not weigh(analysis, failed).objectives_hold


def test_latency_waits_for_warmth_and_for_history():
    """Cold caches are no regression, and without stable's shape there is no bet."""
    analysis = Analysis(warmup=timedelta(seconds=30))
    history = with_buckets(0, 0, segment=0)
    cold = folded(analysis, [history, with_buckets(1), with_buckets(2)])
    assert "warming up" in reading(analysis, cold, "latency").sentence
    assert worth(cold.checks[1].wager) == 1
    warm = advance(analysis, cold, with_buckets(3))
    assert worth(warm.checks[1].wager) != 1
    little = tuple(count / 100 for count in FEW)
    ignorant = folded(Analysis(warmup=timedelta(0)), [with_buckets(1, canary=little, stable=little)])
    assert "of the 200 requests" in reading(analysis, ignorant, "latency").sentence


def test_of_no_requests_no_bound_is_said():
    """Latency that waits for warmth has counted nobody yet: a dash, and not a dash beyond some bound."""
    state = advance(LAB, begin(LAB), with_buckets(0, settled=False))
    waiting = reading(LAB, state, "latency")
    assert (waiting.stable, waiting.canary) == ("–", "–")
    assert "–" not in reading(LAB, folded(LAB, [with_buckets(index) for index in range(60)]), "latency").canary


def test_other_bucket_bounds_start_latency_anew():
    """Counts of other buckets cannot be added; what the evidence was worth is kept, and the sentence says it."""
    analysis = Analysis(warmup=timedelta(0))
    state = folded(analysis, [with_buckets(0, 0, segment=0), *(with_buckets(index, 50) for index in range(1, 20))])
    assert state.checks[1].proof.rows
    other = (10.0, 60.0, 250.0, 1000.0)
    changed = advance(analysis, state, with_buckets(20, 50, bounds=other))
    assert changed.checks[1].proof.rows == ()
    assert worth(changed.checks[1].wager) == pytest.approx(worth(state.checks[1].wager))
    assert changed.history.bounds == other
    assert "bounds changed" in reading(analysis, changed, "latency").sentence


def test_bounds_closer_than_the_margin_are_not_judged_and_said():
    """The arithmetic holds for bounds that are further apart than the margin; others prove nothing, visibly."""
    narrow = (100.0, 110.0, 120.0, 1000.0)
    analysis = Analysis(warmup=timedelta(0))
    state = folded(analysis, [with_buckets(index, 50, bounds=narrow) for index in range(20)])
    assert "the bucket bounds 100 ms and 110 ms" in reading(analysis, state, "latency").sentence
    assert not weigh(analysis, state).proven


# Leaps and outages.


def test_a_leap_within_one_cell_waits_for_the_next():
    """A late scrape of one side looks like a disaster for one cell."""
    state = folded(ERRORS, [both(0), both(1, canary_errors=40, requests=400)])
    assert state.harm == pytest.approx(0.5 / ERRORS.alpha)
    assert not state.failure
    assert weigh(ERRORS, state).suspicious
    assert folded(ERRORS, [both(0), both(1, canary_errors=40), both(2, canary_errors=40)]).failure


def test_a_leap_from_where_harm_was_suspected_is_the_confirmation():
    """The cells before it said the same already: waiting for one more would only harm people."""
    rising = [both(0), both(1, canary_errors=2, requests=400), both(2, canary_errors=2, requests=400)]
    suspected = folded(ERRORS, rising)
    assert weigh(ERRORS, suspected).suspicious
    assert not suspected.failure
    leap = both(3, canary_errors=20, requests=400)
    assert advance(ERRORS, suspected, leap).failure
    assert not folded(ERRORS, [both(0), leap]).failure


def test_a_leap_that_the_next_cell_denies_fades():
    """Capital that was cut is not given back."""
    calm = [both(index, stable_errors=1) for index in range(2, 12)]
    state = folded(ERRORS, [both(0), both(1, canary_errors=40), *calm])
    assert not state.failure
    assert not weigh(ERRORS, state).suspicious


def test_a_plain_outage_fails_within_one_cell():
    """Half of the canary's requests fail, stable's do not: nobody needs a second cell for that."""
    assert folded(ERRORS, [both(0), both(1, canary_errors=60)]).failure
    assert not folded(ERRORS, [both(0), both(1, canary_errors=60, stable_errors=60)]).failure


def test_a_canary_without_pods_fails_within_one_cell():
    """It has no series of its own: only failures without a version, and requests that are missing."""
    dead = cell(1, canary=counts(), stable=counts(39), unattributed=12)
    state = folded(ERRORS, [both(0, requests=52), dead])
    assert state.failure.startswith(
        "reachability: 12 requests found no healthy canary (503 UH/UF/NC) of about 13 sent to it; evidence of harm "
    )


@pytest.mark.parametrize("lost", [6, 8, 20])
def test_a_few_lost_requests_are_enough_for_a_first_outage(lost):
    """At a low weight an outage is a handful of failures."""
    dead = cell(0, 5, canary=counts(), stable=counts(19 * lost), unattributed=lost)
    assert folded(ERRORS, [dead]).failure


def test_failures_without_a_version_that_stable_shares_are_not_the_canarys():
    """When stable is gone too, going back to it helps nobody."""
    for ours, theirs in ((100, 20), (50, 50), (0, 0)):
        lost = 400 - ours - theirs
        down = [cell(index, canary=counts(ours), stable=counts(theirs), unattributed=lost) for index in range(20)]
        assert not folded(ERRORS, down).failure


def test_failures_that_were_there_before_are_tolerated():
    """A service that always loses some requests did not catch it from the canary."""
    before = [cell(index, 0, counts(), counts(380), segment=0, unattributed=20) for index in range(20)]
    during = [cell(index, canary=counts(95), stable=counts(285), unattributed=20) for index in range(20, 120)]
    assert not folded(ERRORS, before + during).failure


def test_a_failure_stays():
    """Ville's promise is about the first time; a verdict is not taken back by the cells that came in beside it."""
    bad = [both(index, canary_errors=3) for index in range(6)]
    state = folded(ERRORS, bad + [both(index, stable_errors=5) for index in range(6, 60)])
    assert state.harm < 100 <= state.peak
    assert weigh(ERRORS, state).failure


# Objectives.


def test_one_bad_minute_of_ten_requests_rolls_nothing_back():
    """An objective is a bound on the true rate, not on a sample."""
    analysis = Analysis(checks=(*ERRORS.checks, Check(name="slo", metric="error-rate", at_most=0.01)))
    state = folded(analysis, [cell(0, 5, counts(10, 1), counts(190, 19))])
    assert not state.failure
    assert (
        "slo: 10.0 % of the canary's 10 requests failed at 5 %, at most 1 % may"
        in reading(analysis, state, "slo").sentence
    )


def test_an_objective_between_bounds_is_judged_above_and_says_so():
    """At the bound below, requests that were in time would be called late, and the promise on alpha would not hold."""
    slo = Check(name="slo", metric="latency", within=timedelta(milliseconds=300), at_least=0.99)
    analysis = Analysis(warmup=timedelta(0), checks=(*ERRORS.checks, slo))
    between = (0.0, 0.0, 0.0, 400.0, 0.0)
    state = folded(analysis, [with_buckets(index, canary=between, stable=between) for index in range(20)])
    assert not state.failure
    assert "judged at 1 s, the next bound of the histogram above" in reading(analysis, state, "slo").sentence


def test_an_objective_above_all_bounds_does_not_hold():
    """What cannot be judged must not pass."""
    slo = Check(name="slo", metric="latency", within=timedelta(seconds=3), at_least=0.99)
    analysis = Analysis(warmup=timedelta(0), checks=(*ERRORS.checks, slo))
    state = folded(analysis, [with_buckets(0)])
    assert not weigh(analysis, state).objectives_hold
    assert "cannot be judged: the histogram's last bound is 1 s" in reading(analysis, state, "slo").sentence


# Guards.


def test_a_total_that_cannot_be_is_a_gap():
    """A relabelled series is born with its whole history in it."""
    cells = [both(index) for index in range(10)]
    state = folded(ERRORS, cells)
    leap = cell(10, 25, counts(1_000_000, 20_000), counts(300))
    after = advance(ERRORS, state, leap)
    assert after.checks == state.checks
    assert "1,000,300 requests in a cell where 400 are usual" in weigh(ERRORS, after).doubt
    assert not weigh(ERRORS, advance(ERRORS, after, both(11))).doubt


def test_a_load_that_really_rose_is_believed_in_the_end():
    """A guard that never gives in would hold a run for ever."""
    cells = [both(index) for index in range(20)] + [both(index, requests=8000) for index in range(20, 40)]
    assert not weigh(ERRORS, folded(ERRORS, cells)).doubt


HOSTILE = st.sampled_from([-1.0, nan, inf, -inf, 1e300, 1e13, -0.5])
STRANGE = HOSTILE | st.sampled_from([0.0, 0.3, 1e-320, 1e-9, 1e11]) | st.floats()


@given(STRANGE, STRANGE, STRANGE, STRANGE, STRANGE, st.lists(STRANGE, max_size=6).map(tuple))
@settings(max_examples=300, deadline=None)
def test_hostile_numbers_never_crash_the_judge(requests, failed, theirs, their_failed, unattributed, buckets):
    """Metrics are input from outside: whatever they say, state and sentences come out, and survive JSON."""
    state = folded(LAB, [with_buckets(index) for index in range(3)])
    sides = Counts(requests, failed, buckets), Counts(theirs, their_failed, FEW)
    one = cell(3, canary=sides[0], stable=sides[1], bounds=COARSE, unattributed=unattributed)
    after = advance(LAB, state, one)
    assert STATES.validate_json(STATES.dump_json(after)) == after
    assert weigh(LAB, after).readings


@given(HOSTILE, st.integers(0, 7), st.sampled_from([0, 1]))
def test_hostile_numbers_strengthen_no_verdict(value, place, side):
    """A cell with one impossible number is a gap as a whole, whichever number it is."""
    state = folded(LAB, [with_buckets(index) for index in range(3)])
    numbers = [7000.0, 600.0, *FEW, 1.0]
    numbers[place] = value
    bad = Counts(numbers[0], numbers[1], tuple(numbers[2:7]), ((3500.0, 1.0), (3500.0, numbers[7])))
    sides = (bad, counts(sum(FEW), 0, FEW)) if side else (counts(sum(FEW), 0, FEW), bad)
    after = advance(LAB, state, cell(3, canary=sides[0], stable=sides[1], bounds=COARSE))
    assert after.checks == state.checks
    assert (after.harm, after.unattributed) == (state.harm, state.unattributed)
    assert after.gap.startswith("refused: ")
    assert not weigh(LAB, after).proven
    assert weigh(LAB, after).doubt


def test_fractions_are_counts():
    """Exact deltas of some Prometheus set-ups are not whole numbers; a fraction is weaker evidence, never stronger."""
    whole = folded(ERRORS, [both(0), both(1, canary_errors=4)])
    part = folded(ERRORS, [both(0), both(1, canary_errors=3.5)])
    assert 1 < part.harm < whole.harm


# Words.


def test_a_failure_names_both_sides_their_sizes_and_the_evidence():
    """The sentence goes to a page at night: it has to hold everything."""
    cells = [both(index, 5, canary_errors=2, stable_errors=2, requests=2000) for index in range(3)]
    state = folded(ERRORS.model_copy(update={"clump": 1}), cells)
    assert state.failure == (
        "errors: canary 2.0 % of 300 requests, stable 0.11 % of 5,700 in the last 45 s; "
        "evidence of harm 881 against a bound of 100"
    )


def test_a_latency_failure_names_its_bound():
    """ "Slower" is not a finding; "longer than 100 ms" is."""
    ending = played(World(5, shapes=lambda moment: (lognormal(20, 100), lognormal(20, 200))))
    assert ending.state.failure.startswith("latency: ")
    assert " of the canary's " in ending.state.failure
    assert " requests took longer than 100 ms, " in ending.state.failure
    assert " of stable's " in ending.state.failure


def test_every_check_has_a_reading_while_all_is_well():
    """A table that only speaks of trouble leaves people guessing."""
    evidence = weigh(LAB, played(World(6, steps=((0, 30), (5, 60)))).state)
    assert [one.check for one in evidence.readings] == ["errors", "latency", UNATTRIBUTED]
    assert all("evidence of harm" in one.sentence for one in evidence.readings)
    assert evidence.readings[1].stable.endswith(" % over 100 ms")
    assert evidence.readings[0].harm_bound == pytest.approx(1 / (0.475 * 0.01))
    assert evidence.harm_bound == 100
    assert evidence.segment == 1


def test_little_traffic_gets_an_answer():
    """ "Inconclusive" alone helps nobody; "at most so much worse" may be enough for a person to decide."""
    few = [both(index, 50, requests=15) for index in range(120)]
    found = reading(ERRORS, folded(ERRORS, few), "errors")
    assert found.proof < found.proof_bound
    assert 0.001 < found.at_most < 0.01
    percent = f"{100 * found.at_most:.2f}"
    assert f"at most {percent} % of its requests more than of stable's fail (95 % sure, at any time)" in found.sentence
    assert "at most" not in reading(ERRORS, folded(ERRORS, few[:1]), "errors").sentence


def test_the_bound_on_the_excess_covers_the_truth_at_all_times():
    """Half a percent more, looked at after every cell: said to be less in at most 5 % of the runs."""
    rng, wrong = np.random.default_rng(11), 0
    for _ in range(100):
        state, missed = begin(ERRORS), False
        for index in range(60):
            sides = (counts(100, rng.binomial(100, chance)) for chance in (0.015, 0.01))
            state = advance(ERRORS, state, cell(index, 50, *sides))
            now = weigh(ERRORS, state).readings[0].at_most
            missed = missed or (now is not None and now < 0.005)
        wrong += missed
    assert wrong <= 5 + 7


def test_a_judge_without_cells_has_something_to_say():
    """The first look comes before the first cell."""
    evidence = weigh(LAB, begin(LAB))
    assert (evidence.harm, evidence.proven, evidence.failure, evidence.doubt) == (1, False, "", "")
    assert comparison.proof_of(begin(LAB).checks[0].proof) == 1
    assert BOUNDS[0] == 0.5


# What stable did before.


def before(index, stable_errors=0, unattributed=0, buckets=None, canary=None):
    """A minute of stable from before the evidence; ``index`` counts down to it."""
    bad = float(stable_errors)
    stable = Counts(5000.0, bad, buckets or tuple((5000 - bad) / 5 for _ in range(5)))
    return cell(
        index, 0, canary or counts(0), stable, BEFORE, 60, COARSE, settled=False, unattributed=float(unattributed)
    )


def test_stable_s_past_tells_how_its_failures_come_together():
    """Twelve minutes whose failures swing more than chance: that is allowed for from the canary's first cell."""
    swinging = [before(index - 12, stable_errors=(10, 90)[index % 2]) for index in range(12)]
    state = advance(ERRORS, begin(ERRORS, swinging), both(0, stable_errors=2))
    assert "stable's failures vary" in reading(ERRORS, state, "errors").sentence
    assert "assumed" not in reading(ERRORS, state, "errors").sentence
    assert state.settled_cells == 1


def test_without_a_past_it_is_said_what_is_assumed():
    """A figure that nobody measured must not pass for one that was."""
    state = advance(ERRORS, begin(ERRORS), both(0, canary_errors=2))
    assert "how they come together, clumps of 1.5 are assumed" in reading(ERRORS, state, "errors").sentence
    independent = ERRORS.model_copy(update={"clump": 1.0})
    state = advance(independent, begin(independent), both(0, canary_errors=2))
    assert "none is assumed to bring another" in reading(independent, state, "errors").sentence


def test_stable_s_past_lets_latency_be_judged_at_once():
    """Without it, the first minutes of a slow service are a shape that nobody knows yet."""
    analysis = Analysis(warmup=timedelta(0), checks=(Check(name="latency", metric="latency", compare="stable"),))
    past = [before(index - 5) for index in range(5)]
    few = tuple(count / 1000 for count in FEW)
    known = advance(analysis, begin(analysis, past), with_buckets(0, canary=few, stable=few))
    unknown = advance(analysis, begin(analysis), with_buckets(0, canary=few, stable=few))
    assert known.checks[0].waiting == ""
    assert "needed to know its shape" in unknown.checks[0].waiting


def test_what_failed_before_for_want_of_a_host_does_not_excuse_the_canary():
    """A former run's dead canary left failures that no version is named for, and no request of its own."""
    state = begin(ERRORS, [before(index - 5, unattributed=500) for index in range(5)])
    assert (state.history.quiet_requests, state.history.quiet_failures) == (0, 0)
    assert advance(ERRORS, state, cell(0, 0, counts(0), segment=0, unattributed=3)).history.quiet_failures == 3


def test_a_former_canary_in_the_past_is_evidence_of_nothing():
    """Only stable is learned from; no bet is laid, no exposure counted."""
    plain = begin(ERRORS, [before(index - 5, canary=counts(0)) for index in range(5)])
    broken = begin(ERRORS, [before(index - 5, canary=counts(1000, 900)) for index in range(5)])
    assert replace(broken, history=replace(broken.history, rates=plain.history.rates)) == plain
    assert (broken.harm, broken.canary_since) == (1.0, None)


# What the canary's failures were.


def failing_as(index, *causes, injected=0, requests=100, **more):
    """A cell in which the canary fails in these ways."""
    ours = Counts(float(requests), sum(count for _, count in causes), causes=causes)
    return replace(cell(index, 25, ours, counts(300, 1), **more), injected=float(injected))


def test_a_reading_says_what_the_failures_came_to():
    """A release manager has to know whom to call: the version's authors, the network's, or the clients'."""
    cells = [failing_as(0, ("500", 2.0), ("DC", 1.0)), failing_as(1, ("500", 1.0))]
    sentence = reading(ERRORS, folded(ERRORS, cells), "errors").sentence
    assert "canary 2.0 % of 200 requests (3 answered 500, 1 given up by the client), stable 0.33 % of 600" in sentence


def test_few_causes_are_named_and_the_rest_is_others():
    """The most frequent first; all of them would be a table."""
    found = (("502", 1.0), ("503", 30.0), ("UC", 2.0), ("UF", 5.0), ("UT", 7.0), ("grpc 14", 9.0))
    words = reading(ERRORS, folded(ERRORS, [failing_as(0, *found)]), "errors").sentence
    assert "(30 answered 503, 9 ended in gRPC status 14 UNAVAILABLE, 7 timed out, 8 others)" in words


def test_nothing_is_said_of_failures_that_are_not_there_or_not_known():
    """``canaryd judge`` knows none."""
    assert "requests, stable" in reading(ERRORS, folded(ERRORS, [failing_as(0)]), "errors").sentence
    assert "requests, stable" in reading(ERRORS, folded(ERRORS, [both(0, canary_errors=3)]), "errors").sentence


def test_a_failure_is_told_with_its_causes():
    """The reason for a rollback is read by who has to repair it."""
    state = folded(ERRORS, [failing_as(index, ("DC", 60.0)) for index in range(3)])
    assert "(180 given up by the client)" in state.failure or "(60 given up by the client)" in state.failure


def test_what_the_mesh_s_own_fault_rule_answered_is_said_and_not_counted():
    """Somebody forgot a chaos test: the figures must not seem to be wrong."""
    state = folded(ERRORS, [failing_as(0, ("500", 1.0), injected=40)])
    words = reading(ERRORS, state, "errors").sentence
    assert "100 requests (1 answered 500)" in words
    assert "; 40 more were answered by the mesh's own fault rule (FI) and are not counted;" in words


def test_a_destination_that_the_mesh_does_not_know_is_said():
    """503 NC is a DestinationRule without the subset, and no repair of the canary helps."""
    lost = replace(cell(0, 25, counts(0), counts(300), unattributed=90), no_cluster=80.0)
    words = reading(ERRORS, folded(ERRORS, [lost]), UNATTRIBUTED).sentence
    assert "found no healthy canary" in words
    assert "; for 80 the proxies knew no destination (NC): is the subset in the DestinationRule of the client" in words
    other = reading(ERRORS, folded(ERRORS, [replace(lost, no_cluster=0.0)]), UNATTRIBUTED).sentence
    assert "destination" not in other


def test_causes_decide_nothing():
    """Whatever the failures came to, they are as many."""
    known = [failing_as(index, ("500", 1.0), ("DC", 2.0), injected=9) for index in range(4)]
    unknown = [replace(one, injected=0.0, canary=replace(one.canary, causes=())) for one in known]
    assert weigh(ERRORS, folded(ERRORS, known)).harm == weigh(ERRORS, folded(ERRORS, unknown)).harm
    state = folded(ERRORS, known)
    assert STATES.validate_json(STATES.dump_json(state)) == state

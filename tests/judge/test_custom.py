"""
Values without counts: pairs of them are bets on signs, and whatever is odd about them is no evidence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf, log1p, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from canaryd.judge import JudgeState, advance, begin, custom, weigh
from canaryd.judge.mixture import grow, lay, worth
from canaryd.model.cells import Cell, Value
from canaryd.model.check import Check, Tolerance
from canaryd.model.part import Amount
from canaryd.model.plan import Analysis

from .population import cell, counts, folded, gap

STATES = TypeAdapter(JudgeState)
QUERY = 'sum(queue{app="${workload}"})'
ERRORS = Check(name="errors", metric="error-rate", compare="stable")


def analysis(**keys) -> Analysis:
    """Errors beside one check on a query's values, judged from the first cell on."""
    keys = {"compare": "stable"} | keys
    check = Check.model_validate({"name": "queue", "metric": "promql", "query": QUERY, "window": "15s"} | keys)
    return Analysis(warmup=timedelta(0), checks=(ERRORS, check))


def pair(index: int, canary: float | None, stable: float | None = 10.0, percent: float = 25, **more) -> Cell:
    return cell(index, percent, values=(Value("queue", stable, canary),), **more)


def worse(number: int, by: float = 3.0, start: int = 0, **more) -> list[Cell]:
    """Pairs of which each is worse, and by more than the one before."""
    return [pair(index, 11 + by + index / 100, **more) for index in range(start, start + number)]


def reading(plan, state):
    return weigh(plan, state).readings[1]


def test_a_canary_that_is_worse_in_every_cell_fails():
    """And the sentence says what was compared, how often, and how sure it is."""
    plan = analysis()
    state = folded(plan, worse(20))
    assert state.failure.startswith("queue: canary 14.")
    assert ", stable 10 on average of the last " in state.failure
    assert "cells paired, higher than allowed (1.1 times) in 1" in state.failure
    assert "evidence of harm" in state.failure


def test_it_says_how_many_cells_it_needs_and_cannot_fail_before():
    """Without counts there is nothing but cells: whoever waits for it must know for how long."""
    plan = analysis()
    first = reading(plan, folded(plan, worse(1)))
    needed = custom.least_cells(first.harm_bound, 25_000, 60.0, 1)
    assert 10 <= needed <= 14
    assert f"1 so far, at least {needed} are needed even if every one is worse" in first.sentence
    assert not folded(plan, worse(needed - 1)).failure
    assert "are needed" not in reading(plan, folded(plan, worse(needed))).sentence


def test_a_canary_within_its_tolerance_earns_no_evidence():
    """Worse by a tenth is what the default allows."""
    plan = analysis()
    state = folded(plan, [pair(index, 10.9) for index in range(200)])
    assert worth(state.checks[1].wager) < 1
    assert not weigh(plan, state).suspicious


@pytest.mark.parametrize("keys", [{}, {"compare": None, "at_most": 11}])
def test_a_value_that_is_the_bound_is_no_evidence_either_way(keys):
    """Counts of threads are the same in most cells; a bet on those would be lost or won by nothing."""
    plan = analysis(margin={"times": 2, "plus": 0}) if not keys else analysis(**keys)
    state = folded(plan, [pair(index, 11.0) for index in range(50)])
    assert worth(state.checks[1].wager) == pytest.approx(1)


@pytest.mark.parametrize(
    ("direction", "canary", "fails"),
    [
        ("higher", 20.0, True),
        ("higher", 2.0, False),
        ("lower", 2.0, True),
        ("lower", 20.0, False),
        ("either", 2.0, True),
        ("either", 20.0, True),
    ],
)
def test_the_direction_says_what_is_worse(direction, canary, fails):
    """A hit ratio that falls is harm, one that rises is none."""
    plan = analysis(direction=direction)
    assert bool(folded(plan, [pair(index, canary) for index in range(40)]).failure) == fails


def test_a_tolerance_widens_a_negative_value_too():
    """A balance of -10 may fall to -11, not to -9.1 only."""
    check = analysis(direction="either", tolerance={"times": 1.25, "plus": 1}).checks[1]
    assert custom.excesses(check, -6.5, -10.0) == pytest.approx((0.0, -6.5), abs=1e-9)
    assert custom.excesses(check, -13.0, -10.0) == pytest.approx((-6.5, 0.0), abs=1e-9)


@pytest.mark.parametrize("canary", [nan, inf, -inf, 1e31, -1e300, None])
def test_what_is_no_measurement_is_no_evidence_and_says_so(canary):
    """Neither for nor against the canary, in any amount."""
    plan = analysis(margin={"times": 2, "plus": 0})
    before = folded(plan, worse(3))
    after = folded(plan, [*worse(3), *[pair(index, canary) for index in range(3, 60)]])
    assert after.checks[1].wager == before.checks[1].wager
    assert after.checks[1].proof == before.checks[1].proof
    assert after.checks[1].valued == before.checks[1].valued
    assert "not judged now: " in reading(plan, after).sentence
    STATES.validate_json(STATES.dump_json(after))


HOSTILE = st.one_of(st.none(), st.floats(), st.sampled_from([nan, inf, -inf, 1e30, -1e30, 1e308, 5e-324, 0.0]))


@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=30), st.sampled_from(["higher", "lower", "either"]))
@settings(max_examples=60, deadline=None)
def test_any_values_leave_a_state_that_can_be_stored_and_said(pairs, direction):
    """Whatever a query answers, the run goes on, and a restart goes on with the same bits."""
    plan = analysis(direction=direction, margin={"times": 2, "plus": 5})
    state = folded(plan, [pair(index, canary, stable) for index, (canary, stable) in enumerate(pairs)])
    assert STATES.validate_json(STATES.dump_json(state)) == state
    assert "nan" not in reading(plan, state).sentence.replace("nan of", "")


def test_a_reason_that_came_with_the_value_is_said():
    """An empty answer, several series and NaN are different mistakes, and the release manager made one of them."""
    plan = analysis()
    odd = cell(0, values=(Value("queue", 3.0, None, "canary: the query finds nothing"),))
    assert "not judged now: canary: the query finds nothing" in reading(plan, folded(plan, [odd])).sentence
    assert "the cell has no value of it" in reading(plan, folded(plan, [cell(0)])).sentence


def test_a_check_that_was_never_measured_lets_no_step_pass():
    """A misspelt query must not be the same as a healthy canary."""
    plan = analysis(at_most=5, compare=None)
    blind = folded(plan, [cell(index) for index in range(3)])
    assert weigh(plan, blind).unmeasured == "queue: the cell has no value of it"
    seen = folded(plan, [cell(0), pair(1, 3.0)])
    assert weigh(plan, seen).unmeasured == ""
    assert weigh(plan, advance(plan, seen, gap(2, 50, segment=2))).unmeasured


def test_values_that_overlap_count_once():
    """rate(x[1m]) every 15 s holds each request four times: as evidence it is one value, not four."""
    plan = analysis(window="1m")
    state = folded(plan, worse(41))
    assert state.checks[1].valued.cells == 11
    assert analysis(window=None).window_of(plan.checks[1]) == timedelta(minutes=1)


def test_ranks_are_those_of_the_cells_before():
    """What the bets of a cell are made from is there before the cell is."""
    plan = analysis()
    state = folded(plan, [pair(0, 12.0), pair(1, 13.0)])
    assert state.checks[1].valued.sizes == (pytest.approx((1.0, 2.0)),)
    after = advance(plan, state, pair(2, 14.0))
    laid = lay(state.checks[1].wager, 25_000, 15, custom.prior(1))
    assert custom.weight(3.0, (1.0, 2.0)) == 1
    assert after.checks[1].wager == grow(laid, tuple(log1p(bet) for bet in custom.BETS))


def test_only_a_margin_makes_it_part_of_the_proof():
    """How much worse may be promoted nobody can guess for an unknown unit."""
    assert not analysis().checks[1].proves
    with_margin = analysis(margin={"times": 1.5, "plus": 0})
    cells = [
        replace(pair(index, 10.0, percent=50), stable=counts(1000), canary=counts(1000), segment=1)
        for index in range(30)
    ]
    assert weigh(analysis(), folded(analysis(), cells)).proven
    assert weigh(with_margin, folded(with_margin, cells)).proven
    at_margin = [replace(one, values=(Value("queue", 10.0, 15.0 + (-1) ** place),)) for place, one in enumerate(cells)]
    assert not weigh(with_margin, folded(with_margin, at_margin)).proven


def test_a_value_that_reaches_back_before_the_segment_proves_nothing():
    """rate(x[1m]) shortly after a write is of the former weight."""
    plan = analysis(window="1m", margin={"times": 1.5, "plus": 0})
    early = folded(plan, [pair(0, 10.0), *[pair(index, 10.0, segment=2) for index in range(4, 7)]])
    assert early.checks[1].proof.rows == ()
    later = folded(plan, [pair(0, 10.0), *[pair(index, 10.0, segment=2) for index in range(4, 12)]])
    assert later.checks[1].proof.rows


@pytest.mark.parametrize(("bound", "value"), [("at_most", 41.0), ("at_least", 39.0)])
def test_a_bound_is_on_the_median_and_judges_at_a_hundred_percent(bound, value):
    """Nothing is left to compare with there; a comparison waits."""
    plan = analysis(compare=None, **{bound: 40})
    state = folded(plan, [pair(index, value, None, percent=100) for index in range(20)])
    assert state.failure.startswith("queue: 4" if value > 40 else "queue: 39")
    assert not weigh(plan, state).objectives_hold
    kept = folded(plan, [pair(index, 40 + (-1) ** index, None) for index in range(200)])
    assert weigh(plan, kept).objectives_hold
    compared = analysis()
    alone = folded(compared, worse(30, percent=100))
    assert "at 100 % there is nothing to compare with" in reading(compared, alone).sentence
    assert worth(alone.checks[1].wager) == 1


def test_healthy_noise_of_any_shape_rolls_back_as_seldom_as_promised():
    """Heavy tails, far apart from cell to cell: only which of the two is greater is looked at."""
    plan, rng, failed = analysis(tolerance={"times": 1, "plus": Amount(0)}), np.random.default_rng(5), 0
    for _ in range(60):
        level = np.exp(np.cumsum(rng.normal(0, 0.5, 150)))
        both = level[:, None] * (1 + rng.standard_cauchy((150, 2)) ** 2)
        state = folded(plan, [pair(index, float(ours), float(theirs)) for index, (ours, theirs) in enumerate(both)])
        failed += bool(state.failure)
    assert failed <= 1


def test_a_default_tolerance_is_a_tenth():
    check = analysis().checks[1]
    assert check.accepted == Tolerance(times=1.1, plus=Amount(0))


def test_begin_has_a_component_for_each_bet():
    """Lengths that differ would stop the run at its first cell."""
    for keys in ({}, {"direction": "either"}, {"compare": None, "at_most": 3}):
        plan = analysis(**keys)
        assert len(begin(plan).checks[1].wager.capital) == custom.components(plan.checks[1])

"""
Which checks decide: rows of a hard limit, checks for the report only, and checks that are asked at some weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from math import fsum, inf, nan

import pytest
from pydantic import TypeAdapter

from canaryd.judge import JudgeState, advance, weigh
from canaryd.judge.alone import Rules
from canaryd.judge.mixture import worth
from canaryd.judge.shares import shares_of
from canaryd.model.cells import Value
from canaryd.model.passing import lack, objection
from canaryd.model.plan import Analysis, read_plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import Split

from .population import cell, counts, folded, gap

STATES = TypeAdapter(JudgeState)
ERRORS = {"name": "errors", "metric": "error-rate", "compare": "stable"}
HEAP = {"name": "heap", "metric": "promql", "query": "max(heap)", "atMost": 900, "window": "15s"}
BROKEN = counts(100, 60)


def plan(*checks: dict, **keys) -> Analysis:
    return Analysis.model_validate({"warmup": "0s", "checks": [ERRORS, *checks], **keys})


def heap(index: int, value: float | None, percent: float = 25, **more):
    return cell(index, percent, values=(Value("heap", None, value),), **more)


def reading(analysis: Analysis, state: JudgeState, name: str):
    return next(one for one in weigh(analysis, state).readings if one.check == name)


# Rows


ROW = plan(HEAP | {"hardLimit": {"consecutive": 3}})


def test_values_in_a_row_beyond_the_objective_fail_at_once():
    """Observed, outside of alpha; the sentence says how many and the last one."""
    state = folded(ROW, [heap(0, 950), heap(1, 950)])
    assert not state.failure
    assert "2 in a row beyond it now, and 3 fail at once" in reading(ROW, state, "heap").sentence
    state = advance(ROW, state, heap(2, 1000))
    assert state.failure == ("heap: 3 values in a row above 900, the last one 1,000; a hard limit asks for no evidence")


def test_a_value_within_the_objective_ends_a_row():
    """Two of three are no three."""
    assert not folded(ROW, [heap(index, 950 if index % 3 else 900) for index in range(9)]).failure


@pytest.mark.parametrize("nothing", [None, nan, inf])
def test_a_cell_without_a_value_neither_goes_on_with_a_row_nor_ends_it(nothing):
    """A gap is not evidence, in either direction."""
    cells = [heap(0, 950), heap(1, 950), heap(2, nothing), gap(3), heap(4, 950)]
    assert not folded(ROW, cells[:4]).failure
    assert folded(ROW, cells).failure


def test_values_that_overlap_count_once_in_a_row():
    """Three values of one minute are one observation of it, four times over."""
    slow = plan(HEAP | {"hardLimit": {"consecutive": 3}, "window": "1m"})
    assert not folded(slow, [heap(index, 950) for index in range(8)]).failure
    assert folded(slow, [heap(index, 950) for index in range(9)]).failure


def test_a_row_goes_on_across_a_change_of_weight_and_a_restart():
    """It is kept with the run, and a process that dies in the middle of it begins nothing anew."""
    state = folded(ROW, [heap(0, 950), heap(1, 950)])
    kept = STATES.validate_json(STATES.dump_json(state))
    assert kept == state
    assert (
        advance(ROW, kept, heap(2, 950, 50, segment=2)).failure
        == advance(ROW, state, heap(2, 950, 50, segment=2)).failure
    )
    assert advance(ROW, kept, heap(2, 950, 50, segment=2)).failure
    old = json.loads(STATES.dump_json(state))
    for one in old["checks"]:
        del one["row"]
    assert [one.row for one in STATES.validate_python(old).checks] == [0, 0]


def test_cells_in_a_row_beyond_a_share_fail_at_once():
    """For errors and latency the cells are counted that have requests enough each."""
    slo = {"name": "slo", "metric": "error-rate", "atMost": "1%", "hardLimit": {"consecutive": 2, "minRequests": 50}}
    analysis = plan(slo)
    bad, good, few = counts(100, 2), counts(100, 1), counts(10, 1)
    assert not folded(analysis, [cell(0, canary=bad), cell(1, canary=good), cell(2, canary=bad)]).failure
    state = folded(analysis, [cell(0, canary=bad), cell(1, canary=few), cell(2, canary=bad)])
    assert state.failure == (
        "slo: 2.0 % of the canary's 200 requests failed in the last 45 s, at most 1 % may, "
        "as a hard limit for 2 cells in a row of 50 requests or more; a hard limit asks for no evidence"
    )


# For the report only


REPORTED = plan(
    HEAP | {"reportOnly": True},
    {"name": "queue", "metric": "promql", "query": "q", "compare": "stable", "stableQuery": "r", "reportOnly": True},
    {"name": "slo", "metric": "error-rate", "atMost": "0.1%", "reportOnly": True},
    {"name": "fast", "metric": "latency", "within": "100ms", "atLeast": "99%", "reportOnly": True},
    {"name": "traffic", "metric": "traffic", "atLeast": 1000, "reportOnly": True},
)


def test_what_is_for_the_report_only_decides_nothing_however_bad_it_is():
    """No rollback, no hold, and PASS does not miss it."""
    analysis = plan(
        HEAP | {"reportOnly": True}, {"name": "slo", "metric": "traffic", "atLeast": 1000, "reportOnly": True}
    )
    state = folded(analysis, [heap(index, 1e6) for index in range(300)])
    evidence = weigh(analysis, state)
    assert (state.failure, objection(evidence)) == ("", "")
    assert state.harm < 1
    assert lack(evidence, Split.percent(25), 50, 300, promotes=True) == ""
    said = reading(analysis, state, "heap")
    assert said.sentence.endswith("; for the report only, it decides nothing")
    assert (said.harm_bound, said.holds, said.canary) == (0.0, True, "1e+06")


def test_what_is_for_the_report_only_has_no_share_and_costs_the_others_nothing():
    """The evidence of the others is the same to the last bit."""
    assert shares_of(REPORTED)[1:-1] == (0.0,) * 5
    assert fsum(shares_of(REPORTED)) == pytest.approx(1)
    cells = [cell(index, canary=counts(100, index % 3), values=(Value("queue", 1.0, 50.0),)) for index in range(40)]
    assert folded(REPORTED, cells).harm == folded(plan(), cells).harm


def test_a_query_for_the_report_only_that_finds_nothing_keeps_nothing_waiting():
    """It is said, and no more."""
    state = folded(REPORTED, [cell(index) for index in range(20)])
    evidence = weigh(REPORTED, state)
    assert evidence.unmeasured == ""
    assert "not judged now: the cell has no value of it" in reading(REPORTED, state, "queue").sentence


def test_what_is_for_the_report_only_proves_nothing():
    """A plan that only reports its comparison needs a reason to promote without proof."""
    content = {
        "metadata": {"name": "r"},
        "spec": {
            "target": {"virtualService": "r", "host": "r", "canary": {"subset": "v2"}},
            "steps": [{"weight": 50}],
            "analysis": {"checks": [ERRORS | {"reportOnly": True}]},
        },
    }
    with pytest.raises(Refused, match="acceptUnproven: a reason"):
        read_plan(json.dumps(content))


# At some weights


EARLY = {"name": "early", "metric": "error-rate", "atMost": "20%", "weights": {"to": 5}}
LATE = {"name": "late", "metric": "error-rate", "atMost": "1%", "weights": {"from": 25}}
STEPPED = plan(EARLY, LATE, HEAP | {"weights": {"from": 25}})


def test_a_check_bets_nothing_at_a_weight_at_which_it_is_not_asked():
    """Its capital stays as it is to the last bit, laid mass and all; so its evidence is an e-process as ever."""
    state = folded(STEPPED, [cell(0, 5, canary=counts(100, 9))])
    early, late = state.checks[1], state.checks[2]
    assert (late.wager.unspent, late.level, late.waiting) == (1.0, late.level.__class__(), "not asked at 5 %")
    assert early.wager.unspent < 1
    at_25 = advance(STEPPED, state, cell(1, 25, canary=BROKEN, segment=2))
    assert at_25.checks[1].wager == early.wager
    assert worth(at_25.checks[2].wager) > 1
    assert fsum(shares_of(STEPPED)) == pytest.approx(1)


def test_a_bound_holds_at_the_weights_that_it_is_for():
    """10 % of failures are allowed at 5 %, and are not at 25 %."""
    absolute = Analysis.model_validate({"warmup": "0s", "checks": [EARLY, LATE]})
    at_5 = folded(absolute, [cell(index, 5, canary=counts(100, 10)) for index in range(60)])
    assert (at_5.failure, objection(weigh(absolute, at_5))) == ("", "")
    at_25 = at_5
    for index in range(60, 64):
        at_25 = advance(absolute, at_25, cell(index, 25, canary=counts(100, 10), segment=2))
    assert at_25.failure.startswith("late: 10.0 % of the canary's")


def test_pass_asks_only_what_is_asked_at_the_weight():
    """A query that has no value at a weight where nobody asks it keeps nothing waiting; and it is said."""
    state = folded(STEPPED, [cell(index, 5) for index in range(20)])
    assert weigh(STEPPED, state).unmeasured == ""
    assert reading(STEPPED, state, "heap").sentence == "heap: not asked at 5 %"
    at_25 = advance(STEPPED, state, cell(20, 25, segment=2))
    assert weigh(STEPPED, at_25).unmeasured == "heap: the cell has no value of it"
    back = advance(STEPPED, folded(STEPPED, [heap(0, 950, 25)]), cell(1, 5, segment=2))
    assert weigh(STEPPED, back).objectives_hold


def test_a_hard_limit_is_asked_at_its_weights_only():
    """What it had counted elsewhere is no row here."""
    limited = plan(HEAP | {"hardLimit": {"consecutive": 2}, "weights": {"from": 25}})
    assert not folded(limited, [heap(index, 950, 5) for index in range(5)]).failure
    assert folded(limited, [heap(index, 950, 25) for index in range(2)]).failure


def test_nothing_is_proven_where_a_part_of_the_proof_is_not_asked():
    """Errors are compared at 25 % only: what latency proves at 50 % is not the whole of it."""
    latency = {"name": "latency", "metric": "latency", "compare": "stable"}
    whole = Analysis.model_validate({"checks": [ERRORS, latency | {"weights": {"to": 25}}]})
    state = folded(whole, [cell(index, 50, counts(3000), counts(3000)) for index in range(40)])
    evidence = weigh(whole, state)
    assert evidence.proof >= evidence.proof_bound
    assert not evidence.proven
    assert weigh(plan(), folded(plan(), [cell(index, 50, counts(3000), counts(3000)) for index in range(40)])).proven


def spec(checks: list[dict], steps: list[dict], **more) -> dict:
    return {
        "metadata": {"name": "r"},
        "spec": {
            "target": {"virtualService": "r", "host": "r", "canary": {"subset": "v2"}},
            "steps": steps,
            "analysis": {"checks": checks},
        }
        | more,
    }


STEPS = [{"weight": 5}, {"weight": 50}]


@pytest.mark.parametrize(
    ("checks", "steps", "said"),
    [
        (
            [ERRORS | {"weights": {"to": 5}}, HEAP],
            STEPS,
            "analysis.checks.0.weights: 50 % among them, or another check of error-rate that is asked there",
        ),
        ([ERRORS, HEAP | {"weights": {"from": 10, "to": 20}}], STEPS, "analysis.checks.1.weights: weights that a step"),
        (
            [ERRORS, ERRORS | {"name": "b", "metric": "latency", "weights": {"from": 50}}],
            [{"weight": 5, "until": "evidence"}, {"weight": 50}],
            "steps.0.until: bake, for b is not asked at 5 %",
        ),
        ([ERRORS], [{"weight": 50, "minRequests": 20}], "steps.0.minRequests: at least analysis.minRequests (50)"),
    ],
)
def test_a_plan_that_asks_too_little_is_refused(checks, steps, said):
    """With the path of what has to change."""
    with pytest.raises(Refused) as refused:
        read_plan(json.dumps(spec(checks, steps)))
    assert f"spec.{said}" in str(refused.value)


def test_a_looser_comparison_at_first_and_a_stricter_one_at_the_end():
    """Two checks of one metric with bounds of their own: the one at the last step is the proof."""
    loose = ERRORS | {"name": "loose", "margin": {"times": 3, "plus": "1%"}, "weights": {"to": 5}}
    read = read_plan(json.dumps(spec([loose, ERRORS | {"weights": {"from": 50}}], STEPS)))
    assert not read.spec.analysis.unproven_at(Split.percent(50))


def test_each_step_has_its_own_least_requests():
    """In a run, and for the judge alone."""
    read = read_plan(json.dumps(spec([ERRORS], [{"weight": 5, "minRequests": 7}, {"weight": 50}])))
    assert [read.spec.least_requests(step) for step in read.spec.steps] == [7, 50]
    assert Rules.of(read.spec).leasts == {Split.percent(5): 7, Split.percent(50): 50}


def test_a_value_that_nobody_measured_is_said():
    """`onEmpty: zero` is the plan's word, and a misspelt metric would look the same."""
    zero = replace(
        heap(0, 0.0), values=(Value("heap", None, 0.0, "", "taken as 0, for the query finds nothing: canary"),)
    )
    analysis = plan(HEAP)
    said = reading(analysis, folded(analysis, [zero]), "heap").sentence
    assert said.endswith("; taken as 0, for the query finds nothing: canary")
    assert "taken as 0" not in reading(analysis, folded(analysis, [zero, heap(1, 5.0)]), "heap").sentence

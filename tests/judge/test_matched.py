"""Cells in which the canary answers other people than stable does: nothing is compared, objectives judge."""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge import JudgeState, advance, begin, weigh
from canaryd.model.cells import Cell, Gap
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import NOTHING

from .population import cell, counts

CHECKS = (
    Check(name="errors", metric="error-rate", compare="stable"),
    Check(name="slo", metric="error-rate", at_most=0.02),
)
BOTH = Analysis(checks=CHECKS)
ERRORS = Analysis(checks=CHECKS[:1])


def matched(
    index: int, requests: float = 100, errors: float = 0, *, unattributed: float = 0, settled: bool = True
) -> Cell:
    found = cell(index, 0, counts(requests, errors), counts(3000, 3), unattributed=unattributed, settled=settled)
    return replace(found, matched=True)


def judged(analysis: Analysis, *cells: Cell | Gap) -> JudgeState:
    state = begin(analysis)
    for one in cells:
        state = advance(analysis, state, one)
    return state


def test_people_who_fail_more_than_others_are_not_compared_with_them() -> None:
    """Internal people may use what nobody else does; the guarantee speaks of one population."""
    evidence = weigh(ERRORS, judged(ERRORS, *(matched(index, 100, 30) for index in range(40))))
    assert not evidence.failure
    assert not evidence.suspicious
    assert evidence.readings[0].sentence == "errors: not compared at a step with a match"


def test_an_objective_judges_them() -> None:
    state = judged(BOTH, *(matched(index, 100, 30) for index in range(4)))
    assert "slo: " in state.failure
    assert "at most 2 % may" in state.failure


def test_what_is_well_is_no_harm_and_no_proof() -> None:
    evidence = weigh(BOTH, judged(BOTH, *(matched(index) for index in range(40))))
    assert not evidence.suspicious
    assert not evidence.proven
    assert evidence.canary_requests == 4000
    assert (evidence.doubt, evidence.unmeasured, evidence.astray) == ("", "", False)


def test_it_counts_from_when_any_of_them_came() -> None:
    """Otherwise a match that nobody fits would pass a whole bake of nothing."""
    nobody = [matched(index, 0) for index in range(8)]
    assert weigh(BOTH, judged(BOTH, *nobody)).shared_from is None
    evidence = weigh(BOTH, judged(BOTH, *nobody, matched(8), matched(9)))
    assert evidence.shared_from == matched(8).start
    unsettled = weigh(BOTH, judged(BOTH, matched(0, settled=False)))
    assert unsettled.shared_from is None


def test_requests_that_no_version_answers_are_harm_without_any_objective() -> None:
    """A subset that the canary's entry names and nobody has: every matched request is a 503."""
    state = judged(ERRORS, *(matched(index, 0, unattributed=20) for index in range(4)))
    assert state.failure
    stray = judged(ERRORS, *(matched(index, 100, unattributed=1 if index % 20 == 0 else 0) for index in range(200)))
    assert not stray.failure


def test_what_stable_does_meanwhile_is_learned_and_no_quiet_time() -> None:
    """Failures that no version is known for may be the canary's: they excuse nothing later."""
    history = judged(BOTH, matched(0, unattributed=5)).history
    assert history.quiet_requests == 0
    assert history.end == matched(0).end


def test_the_next_step_begins_with_its_own_share_and_compares() -> None:
    state = judged(BOTH, *(matched(index) for index in range(10)))
    state = advance(BOTH, state, Gap(2, 150, 165, NOTHING, settled=False, why="no answer"))
    for index in range(11, 40):
        state = advance(BOTH, state, cell(index, 25, segment=2))
    evidence = weigh(BOTH, state)
    assert not state.matched
    assert "not compared" not in evidence.readings[0].sentence
    assert evidence.readings[0].canary_requests > 0


def test_a_custom_comparison_that_is_not_made_is_not_missed() -> None:
    query = Check(name="queue", metric="promql", query='queue{pod=~"${workload}-.*"}', compare="stable")
    analysis = Analysis(checks=(*CHECKS, query))
    assert weigh(analysis, judged(analysis, *(matched(index) for index in range(10)))).unmeasured == ""

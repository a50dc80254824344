"""Checks that count for themselves: one bad route of many is found, and a rare one neither hurts nor helps."""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge import advance, begin, weigh
from canaryd.judge.shares import shares_of
from canaryd.model.cells import Cell, Counts, Portion
from canaryd.model.check import Check, Tolerance
from canaryd.model.passing import lack
from canaryd.model.plan import Analysis
from canaryd.model.traffic import Split

from .population import cell, counts, folded

ERRORS = Check(name="errors", metric="error-rate", compare="stable")
PAY = Check(name="pay", metric="error-rate", compare="stable", where={"path": "/pay"})  # type: ignore[arg-type]
BOTH = Analysis(checks=(ERRORS, PAY))


def shop(index: int, pay: tuple[float, float], *, percent: float = 25, stable_pay: float = 0, **more: float) -> Cell:
    """A cell of a large service, of whose requests to the canary ``pay`` (failed, all) are payments."""
    failed, asked = pay
    canary, stable = counts(1000, 1 + failed), counts(3000, 3 + stable_pay)
    portion = Portion("pay", counts(3 * asked, stable_pay), Counts(asked, failed, causes=(("503", failed),)))
    return replace(cell(index, percent, canary, stable, **more), portions=(portion,))


def test_one_bad_route_of_many_is_found_by_its_own_check() -> None:
    """Half of the payments fail, two in a thousand of all requests: its own check says so, in its own requests."""
    state = begin(BOTH)
    for index in range(40):
        state = advance(BOTH, state, shop(index, (2, 4)))
        if state.failure:
            break
    assert state.failure.startswith(
        "pay of path=/pay: canary 50.0 % of 24 requests (12 answered 503), stable 0 % of 72"
    )
    without = folded(Analysis(checks=(ERRORS,)), [shop(one, (2, 4)) for one in range(index + 1)])
    assert not without.failure


def test_a_route_that_fails_on_both_sides_is_no_harm() -> None:
    """An incident of that route alone, while the rest of the service is well."""
    cells = [shop(index, (8, 20), stable_pay=24) for index in range(60)]
    assert not folded(BOTH, cells).failure


def test_the_rest_of_the_service_keeps_most_of_the_evidence() -> None:
    """Five routes must not take from the whole what finds a canary that is bad everywhere."""
    routes = tuple(PAY.model_copy(update={"name": f"route-{number}"}) for number in range(5))
    latency = Check(name="latency", metric="latency", compare="stable")
    assert shares_of(Analysis(checks=(ERRORS, latency, *routes))) == (0.425, 0.425, *(0.02,) * 5, 0.05)
    assert shares_of(Analysis(checks=(PAY,), where=())) == (0.95, 0.05)


def test_a_step_without_a_request_to_the_route_does_not_pass() -> None:
    """It was not measured; and what was not measured is not well."""
    state = folded(BOTH, [shop(index, (0, 0)) for index in range(4)])
    evidence = weigh(BOTH, state)
    assert evidence.unmeasured == "pay: no requests of the canary"
    assert "not measured at 25 %: pay" in lack(evidence, Split.percent(25), 50, 4, promotes=False)
    assert not weigh(BOTH, advance(BOTH, state, shop(4, (0, 3)))).unmeasured


def test_a_rare_route_holds_no_proof_up() -> None:
    """It is evidence of harm; part of the proof it is only with a margin of its own."""
    cells = [replace(shop(index, (0, 1)), split=Split.percent(50), stable=counts(1000, 1)) for index in range(60)]
    assert weigh(BOTH, folded(BOTH, cells)).proof > 20
    strict = Analysis(checks=(ERRORS, PAY.model_copy(update={"margin": Tolerance(times=2, plus=0.01)})))
    assert weigh(strict, folded(strict, cells)).proof < 20


def test_a_check_without_its_counts_says_why_and_nothing_else_suffers() -> None:
    """Its query was refused; errors are judged all the same."""
    blind = (Portion("pay", why="Prometheus refuses the query"),)
    state = folded(BOTH, [replace(shop(index, (0, 0)), portions=blind) for index in range(4)])
    errors, pay = weigh(BOTH, state).readings[:2]
    assert pay.sentence.endswith("not judged now: Prometheus refuses the query")
    assert errors.canary_requests == 4000


def test_how_a_route_s_failures_come_together_is_learned_from_the_route() -> None:
    """Bursts of one route are not the service's: they must not pass for harm, nor make the rest look restless."""
    quiet = [shop(index, (0, 40), percent=0, stable_pay=90 * (index % 4 == 0), segment=0) for index in range(240)]
    state = folded(BOTH, quiet)
    assert "vary" in weigh(BOTH, state).readings[1].sentence
    assert state.checks[1].failing[0].squares != state.history.failing[0].squares


def test_impossible_counts_of_a_part_are_a_cell_that_cannot_be_believed() -> None:
    """As those of the whole are."""
    [wrong] = (replace(shop(0, (0, 0)), portions=(Portion("pay", counts(3), counts(2, 5)),)),)
    state = folded(BOTH, [wrong])
    assert state.gap.startswith("refused: more errors of pay (5) than requests (2)")


def test_whether_callers_meet_the_weight_is_asked_of_all_requests() -> None:
    """Few payments go to the canary by chance; the share of all requests is what the split says."""
    plan = Analysis(checks=(ERRORS,), where={"path": "/pay"})  # type: ignore[arg-type]
    few = [replace(cell(index, 25, counts(2), counts(90)), whole=(3000, 1000)) for index in range(12)]
    evidence = weigh(plan, folded(plan, few))
    assert evidence.share.startswith("the canary got 25.0 % of 48,000 requests")
    assert not evidence.doubt
    assert evidence.canary_requests == 24
    assert evidence.readings[0].sentence.startswith("errors of path=/pay: canary 0 % of 24 requests")


def test_a_dead_canary_is_held_against_its_share_of_all_requests() -> None:
    """None of its payments has a label; its absence from the whole tells."""
    plan = Analysis(checks=(ERRORS,), where={"path": "/pay"})  # type: ignore[arg-type]
    dead = [replace(cell(index, 25, counts(0), counts(90), unattributed=900), whole=(3000, 100)) for index in range(3)]
    assert folded(plan, dead).failure.startswith("reachability: ")

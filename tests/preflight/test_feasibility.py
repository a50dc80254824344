"""What is said of a plan at today's traffic, and that the judge does what is said."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from canaryd.model.finding import Finding
from canaryd.model.traffic import Side, Sides, Split
from canaryd.preflight import feasibility
from canaryd.preflight.feasibility import TAKEN_BACK, StepOutlook, outlook
from canaryd.preflight.heard import Heard, Served
from canaryd.preflight.survey import Survey
from tests.judge.population import World, played
from tests.preflight.stage import HEARD, Town, plan

SIDES = Sides(*(Side((f"reviews-{v}",), "default", (), (), 2, 2, rolled_out=True) for v in ("v1", "v3")))


def at(rate: float, failing: float = 0.001) -> Heard:
    """A Bookinfo that gets so many requests a second."""
    return replace(HEARD, served=(Served("reviews-v1", "default", rate, failing),))


def found(heard: Heard, **spec: Any) -> list[Finding]:
    return list(feasibility.check(Survey(plan(**spec), heard=heard)))


def codes(heard: Heard, **spec: Any) -> list[tuple[str, str]]:
    return [(one.code, one.level) for one in found(heard, **spec)]


def steps(rate: float, failing: float = 0.001, **spec: Any) -> tuple[StepOutlook, ...]:
    return outlook(plan(**spec), at(rate, failing))


def test_with_traffic_enough_there_is_an_outlook_and_nothing_else() -> None:
    [finding] = found(at(150))
    assert (finding.code, finding.level) == ("Outlook", "info")
    assert finding.sentence == (
        "at 150 requests a second this plan can prove that the canary is no worse: a proof takes about 6,300 canary "
        "requests, 10 min at 50 % bring about 45,000; the steps take about 32 min; a rise of failures "
        "by 0.40 % of all requests is found at 5 %, a rise of failures by 0.17 % of all requests is found at 50 %; "
        "a canary that always fails would fail about 338 requests at 5 % before it is taken back"
    )


def test_the_outlook_is_told_step_by_step() -> None:
    """How long each needs, what can be found in it, and what it would harm at worst."""
    [finding] = found(at(150))
    low, middle, high = finding.details
    assert low.startswith("at 5 %: 7.5 canary requests a second, 4,500 in its bake; it lasts about 11 min; ")
    assert "; a rise of failures by 0.40 % of all requests is found, up to 18 failures below that stay unseen; " in low
    assert low.endswith("; a canary that always fails costs about 338 requests")
    for detail, step in zip((low, middle, high), steps(150), strict=True):
        assert detail.startswith(f"at {step.weight}: ")
        assert f" {step.requests:,.0f} in its bake" in detail
        assert detail.endswith(f" costs about {step.harmed:,.0f} requests")


def test_where_nothing_can_be_found_or_ended_the_details_say_so() -> None:
    detail = found(at(0.001))[0].details[0]
    assert "; no rise of failures is found; " in detail
    assert "it lasts for ever" in found(at(0))[0].details[0]


def test_where_no_traffic_was_heard_nothing_is_said(town: Town) -> None:
    """Such as where Prometheus was not asked; a healthy Bookinfo has its outlook."""
    assert found(HEARD) == []
    assert outlook(plan(), Heard(silent="away")) == ()
    town.heard = at(150)
    assert [one.level for one in town.found(feasibility)] == ["info"]


def test_each_step_has_its_requests_and_its_time() -> None:
    """Settle time, bake and lag; the canary's share of the requests."""
    low, middle, high = steps(100)
    assert (low.weight, middle.weight, high.weight) == tuple(map(Split.percent, (5, 25, 50)))
    assert [one.requests for one in (low, middle, high)] == [3_000, 15_000, 30_000]
    assert [one.seconds for one in (low, middle, high)] == [22 + 600 + 25] * 3
    assert low.rate == 5


def test_a_step_lasts_until_it_has_its_requests_and_the_last_one_until_it_is_proven() -> None:
    low, _, high = steps(1)
    assert low.requests == 30
    assert low.seconds == 22 + 50 / 0.05 + 25
    assert high.seconds > 22 + 600 + 25
    assert steps(1, acceptUnproven="a demo")[-1].seconds == 22 + 600 + 25
    assert steps(0)[0].seconds == inf


def test_what_stays_unseen_is_less_the_more_is_seen() -> None:
    low, middle, high = steps(100)
    rises = [one.detectable or 0.0 for one in (low, middle, high)]
    assert rises[0] > rises[1] > rises[2] > 0
    assert low.unseen == pytest.approx(rises[0] * low.requests)


def test_a_plan_that_does_not_compare_errors_says_nothing_of_their_rise() -> None:
    latency = {"checks": [{"name": "latency", "metric": "latency", "compare": "stable"}]}
    assert {one.detectable for one in steps(100, analysis=latency)} == {None}
    assert "is found at" not in found(at(100), analysis=latency)[0].sentence


@pytest.mark.parametrize(("rate", "percent"), [(300, 5), (40, 25), (10, 10)])
def test_a_canary_that_always_fails_harms_no_more_than_was_said(rate: float, percent: float) -> None:
    """The judge's own cells; what is said counts the lag and the way back too."""
    [one] = outlook(plan(steps=[{"weight": percent}], acceptUnproven="a test"), at(rate))
    lag = 25 + TAKEN_BACK
    for seed in range(20):
        world = World(
            seed, failing=lambda _: (0.001, 1.0), rate=rate, seconds=15, steps=((0, 600), (percent, 600)), settle=30
        )
        ending = played(world, plan().spec.analysis)
        assert ending.at is not None
        assert (ending.at - 600 + lag) * one.rate <= 1.001 * one.harmed


def test_too_little_for_the_least_number_of_requests_takes_longer_and_passes_by_itself() -> None:
    [finding] = [one for one in found(at(1, 0.0)) if one.code == "TooLittleTraffic"]
    assert (finding.level, finding.transient) == ("warning", True)
    assert finding.sentence == (
        "a step needs 50 canary requests: 5 % brings about 30 within its bake, and takes 17 min"
    )
    assert "TooLittleTraffic" not in [code for code, _ in codes(at(2, 0.0))]


def test_so_little_that_the_hold_is_over_before_is_an_error() -> None:
    """Four hours at 5 % of a tenth of a request a second are 72, of a fiftieth 14."""
    assert ("TooLittleTraffic", "warning") in codes(at(0.1, 0.0))
    assert ("TooLittleTraffic", "error") in codes(at(0.02, 0.0))
    assert ("TooLittleTraffic", "error") in codes(at(0, 0.0))
    staying = {"onInconclusive": {"hold": "4h", "then": "hold"}}
    assert ("TooLittleTraffic", "warning") in codes(at(0.02, 0.0), **staying)


def test_a_check_of_the_traffic_has_its_own_least() -> None:
    checks = [
        {"name": "errors", "metric": "error-rate", "compare": "stable"},
        {"name": "load", "metric": "traffic", "atLeast": 10},
    ]
    [finding] = [one for one in found(at(100), analysis={"checks": checks}) if one.code == "TooLittleTraffic"]
    assert (finding.where, finding.level) == ("spec.analysis.checks, load", "warning")
    assert finding.sentence == "asks for 10 canary requests a second, 5 % brings 5"
    assert [code for code, _ in codes(at(400), analysis={"checks": checks})] == ["Outlook"]


def test_a_proof_that_comes_late_is_told_from_none() -> None:
    """At 3 requests a second, with 0.5 % failing, it takes 83 minutes; four hours of hold have them."""
    assert ("ProofComesLate", "warning") in codes(at(3, 0.005))
    short = {"onInconclusive": {"hold": "30m"}}
    assert ("CannotBeProven", "error") in codes(at(3, 0.005), **short)
    [finding] = [one for one in found(at(3, 0.005), **short) if one.code == "CannotBeProven"]
    assert finding.transient
    assert finding.sentence.endswith("or 25 requests a second; held for 30m more it would have about 3,600")


def test_what_may_do_without_proof_or_stays_held_is_not_stopped() -> None:
    short: dict[str, Any] = {"onInconclusive": {"hold": "30m"}}
    assert [code for code, _ in codes(at(3, 0.005), acceptUnproven="a demo", **short)] == ["Outlook"]
    staying = {"onInconclusive": {"hold": "30m", "then": "hold"}}
    assert ("CannotBeProven", "warning") in codes(at(3, 0.005), **staying)


MATCHED = [{"match": [{"headers": {"a": {"exact": "x"}}}]}, {"weight": 5}, {"weight": 50}]


def test_a_step_with_a_match_has_no_outlook_and_stands_in_no_way() -> None:
    """Nobody knows before how many people it brings."""
    told = [code for code, _ in codes(at(100), steps=MATCHED)]
    assert told == ["MatchUnjudged", "Outlook"]
    assert [one.weight for one in steps(100, steps=MATCHED)] == [Split.percent(5), Split.percent(50)]


def test_a_match_that_no_objective_judges_is_told() -> None:
    compared = [{"name": "errors", "metric": "error-rate", "compare": "stable"}]
    objective = [*compared, {"name": "slo", "metric": "error-rate", "atMost": "2%"}]
    traffic = [*compared, {"name": "some", "metric": "traffic", "atLeast": 1}]
    for checks, told in ((compared, True), (objective, False), (traffic, True)):
        names = [code for code, _ in codes(at(100), steps=MATCHED, analysis={"checks": checks})]
        assert ("MatchUnjudged" in names) is told
    [finding] = [one for one in found(at(100), steps=MATCHED) if one.code == "MatchUnjudged"]
    assert finding.sentence.endswith("nothing judges step 1")


def test_the_requests_of_a_third_version_prove_nothing() -> None:
    """Only those of the two sides count, where it is known which workloads they are."""
    heard = replace(
        HEARD, served=(Served("reviews-v2", "default", 900, 0.5), *at(100).served, Served("unknown", "", 9))
    )
    assert feasibility.traffic(heard, SIDES) == (100, 0.001)
    assert feasibility.traffic(heard, None)[0] == 1_000


def test_a_service_of_which_every_request_fails_has_an_outlook_too() -> None:
    """Nothing can rise there, and nothing be proven."""
    everything = steps(100, 1.0)
    assert everything[0].detectable == inf
    assert "; no rise of failures is found at 5 %, no rise" in found(at(100, 1.0))[0].sentence

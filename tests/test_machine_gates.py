"""
What a gate's answers mean, one example each: no answer is never a yes, an outage never a no.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.model.asking import FRESH, START
from canaryd.model.decision import Told
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import NOTHING
from tests.stage import Stage, percent, plan

FIVE, QUARTER, HALF = percent(5), percent(25), percent(50)
BOARD = {"name": "change-board", "limit": "30m"}
ALERT = {"names": ["CheckoutDown", "PaymentErrors"], "limit": "20m"}
YES, NO, LATER, SILENT = (
    ("yes", "200 OK"),
    ("no", "over budget"),
    ("later", "423 Locked: no reviewer yet"),
    ("silent", "no answer within 5 s"),
)
CLEAR, FIRES = (
    ("yes", "none fires: CheckoutDown, PaymentErrors"),
    ("no", 'an alert fires: CheckoutDown{namespace="shop"}'),
)


def gated(*, at: int | None = 0, start: Any = None, promotion: Any = None, **gate: Any) -> Stage:
    """A stage whose step ``at`` has a gate."""
    spec: dict[str, Any] = {"gates": {"start": start, "promotion": promotion}}
    steps: list[dict[str, Any]] = [{"weight": weight, "bake": "60s"} for weight in (5, 25, 50)]
    if at is not None and gate:
        steps[at]["gate"] = gate
    return Stage(plan=plan(**spec, steps=steps))


def held(run: Run) -> bool:
    return run.hold is not None and run.hold.kind == "gate"


def at_the_gate(stage: Stage) -> Run:
    return stage.until(held)


# ---------------------------------------------------------------------------------------------------------------------
# Webhooks


def test_a_webhook_is_asked_once_the_step_has_passed_and_its_yes_goes_on() -> None:
    """Not a moment earlier: before that there is nothing to ask for."""
    stage = gated(webhooks=[BOARD])
    stage.baking()
    assert not stage.run.gates
    run = at_the_gate(stage)
    assert [(one.said, one.times) for one in run.gates] == [("", 0)]
    assert stage.rest(120).split == FIVE
    stage.answers = {"change-board": YES}
    stage.tick()
    assert stage.splits[-1] == QUARTER
    assert [event.reason for event in stage.told if event.told is Told.ANSWERED] == [
        "webhook change-board before 25 %: yes: 200 OK"
    ]


def test_what_is_waited_for_is_a_sentence_with_the_last_answer_and_the_end() -> None:
    """How often, what was said, until when, and what then."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    stage.answers = {"change-board": LATER}
    for _ in range(4):
        stage.tick()
    assert stage.run.waiting == (
        "waiting for webhook change-board before 25 %, asked 4 times, "
        "last answer 423 Locked: no reviewer yet, until 14:18 UTC, then it is rolled back"
    )


@pytest.mark.parametrize("answer", [None, LATER, SILENT])
def test_without_a_yes_the_limit_ends_it(answer: Any) -> None:
    """No answer, a "not yet" and an outage wait alike, and not for ever."""
    stage = gated(webhooks=[BOARD])
    since = at_the_gate(stage).hold.since  # type: ignore[union-attr]  # it is held
    stage.answers = {"change-board": answer} if answer else {}
    run = stage.rest(29 * 60)
    assert (run.latch, run.split) == (None, FIVE)
    run = stage.until(Phase.ROLLED_BACK)
    assert run.outcome is Outcome.INCONCLUSIVE
    assert run.latch is not None
    assert run.latch.at - since == pytest.approx(30 * 60, abs=10)


def test_where_the_plan_holds_on_a_late_yes_still_counts() -> None:
    """``otherwise: hold``."""
    stage = gated(webhooks=[{**BOARD, "otherwise": "hold"}])
    at_the_gate(stage)
    assert stage.rest(3 * 3600).split == FIVE
    stage.answers = {"change-board": YES}
    assert stage.rest(10).split == QUARTER


def test_a_no_rolls_back_at_once_and_for_good() -> None:
    """It is somebody's word, as an abort is."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    stage.answers = {"change-board": NO}
    stage.tick()
    assert stage.splits[-1] == NOTHING
    stage.answers = {"change-board": YES}
    run = stage.until(Phase.ROLLED_BACK)
    assert (run.outcome, run.reason) == (
        Outcome.ABORTED,
        "webhook change-board said no before 25 %: over budget",
    )


@pytest.mark.parametrize("how", ["blind", "hidden", "gap"])
def test_a_no_needs_no_sight_of_anything(how: str) -> None:
    """Neither Prometheus nor the mesh has to answer for it: the retreat is sent in the tick of the answer."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    setattr(stage, how, "connection refused")
    stage.tick()
    stage.answers = {"change-board": NO}
    write = stage.tick().write
    assert write is not None
    assert (write.toward, write.marker.split) == ("stable", NOTHING)


def test_a_no_may_be_taken_back_where_the_plan_holds_for_it() -> None:
    """``onNo: hold`` goes on asking until the limit."""
    stage = gated(webhooks=[{**BOARD, "onNo": "hold"}])
    at_the_gate(stage)
    stage.answers = {"change-board": NO}
    run = stage.rest(300)
    assert (run.latch, run.split) == (None, FIVE)
    assert "last answer no: over budget, until " in run.waiting
    stage.answers = {"change-board": YES}
    assert stage.rest(10).split == QUARTER


def test_a_yes_stays_whatever_is_said_later() -> None:
    """A receiver that has said yes is not asked again; a no from a straggling thread counts for nothing."""
    stage = gated(webhooks=[BOARD], approve={"limit": "1h"})
    at_the_gate(stage)
    stage.answers = {"change-board": YES}
    stage.tick()
    stage.answers = {"change-board": NO}
    assert stage.rest(60).latch is None
    stage.ask("approve")
    assert stage.rest(10).split == QUARTER


def test_after_the_gate_the_step_is_looked_at_again() -> None:
    """Hours may have passed: a doubt that came up meanwhile holds, and the yes is kept for when it is gone."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    stage.says = {"harm": 7.0}
    stage.rest(60)
    stage.answers = {"change-board": YES}
    run = stage.rest(60)
    assert run.hold is not None
    assert (run.hold.kind, run.split) == ("inconclusive", FIVE)
    stage.answers, stage.says = {}, {}
    assert stage.rest(30).split == QUARTER


def test_an_abort_does_not_wait_for_a_gate() -> None:
    """Rule 7."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    stage.ask("abort")
    assert stage.tick().write.marker.split == NOTHING  # type: ignore[union-attr]  # there is one


def test_the_same_question_has_the_same_id_and_after_a_restart_another() -> None:
    """Another image is another question; a process that died and asks again is not."""
    stage = gated(webhooks=[BOARD])
    before = at_the_gate(stage).terms
    assert [term.id for term in before] == ["run-1_0_step-1_change-board"]
    assert replace(stage.run, gates=()).terms == before
    stage.sides(canary={"hashes": ("new",)})
    stage.tick()
    assert stage.run.gates == ()
    assert [term.id for term in at_the_gate(stage).terms] == ["run-1_1_step-1_change-board"]


# ---------------------------------------------------------------------------------------------------------------------
# Alerts


def test_an_alert_that_fires_holds_and_one_that_has_gone_does_not() -> None:
    """The usual: something else is burning, and this is no time for more."""
    stage = gated(alert=ALERT)
    at_the_gate(stage)
    stage.answers = {"alert": FIRES}
    assert stage.rest(300).split == FIVE
    assert 'last answer an alert fires: CheckoutDown{namespace="shop"}' in stage.run.waiting
    stage.answers = {"alert": CLEAR}
    assert stage.rest(10).split == QUARTER


def test_an_alert_that_fires_may_roll_back() -> None:
    """``whileFiring: rollback``."""
    stage = gated(alert={**ALERT, "whileFiring": "rollback"})
    at_the_gate(stage)
    stage.answers = {"alert": FIRES}
    run = stage.until(Phase.ROLLED_BACK)
    assert (run.outcome, run.reason) == (
        Outcome.FAILED,
        'an alert fires: CheckoutDown{namespace="shop"} before 25 %',
    )


@pytest.mark.parametrize("answer", [None, SILENT])
def test_prometheus_that_does_not_answer_is_no_silence(answer: Any) -> None:
    """What is not known to be quiet may be loud."""
    stage = gated(alert=ALERT)
    at_the_gate(stage)
    stage.answers = {"alert": answer} if answer else {}
    assert stage.rest(19 * 60).split == FIVE
    assert stage.until(Phase.ROLLED_BACK).outcome is Outcome.INCONCLUSIVE


def test_silence_does_not_keep() -> None:
    """A person came after an hour; whether an alert fires by then is asked anew."""
    stage = gated(alert=ALERT, approve={"limit": "4h"})
    at_the_gate(stage)
    stage.answers = {"alert": CLEAR}
    stage.rest(30)
    stage.answers = {}
    stage.rest(FRESH + 10)
    stage.ask("approve")
    assert stage.rest(60).split == FIVE
    stage.answers = {"alert": CLEAR}
    assert stage.rest(10).split == QUARTER


def test_an_alerts_limit_counts_from_when_it_began_to_fire() -> None:
    """Two hours of waiting for a person are none of the alert's twenty minutes."""
    stage = gated(alert=ALERT, approve={"limit": "4h"})
    at_the_gate(stage)
    stage.answers = {"alert": CLEAR}
    stage.rest(2 * 3600)
    stage.answers = {"alert": FIRES}
    assert stage.rest(19 * 60).latch is None
    assert stage.rest(120).latch is not None


# ---------------------------------------------------------------------------------------------------------------------
# All of them, and where


def test_every_condition_has_to_hold() -> None:
    """Whatever the order in which they come to hold."""
    stage = gated(webhooks=[BOARD, {"name": "load-test"}], alert=ALERT, approve={})
    run = at_the_gate(stage)
    assert run.waiting.count("waiting for ") == 4
    stage.answers = {"change-board": YES, "load-test": LATER, "alert": CLEAR}
    stage.ask("approve")
    assert stage.rest(60).split == FIVE
    assert stage.run.waiting.startswith("waiting for webhook load-test before 25 %")
    stage.answers["load-test"] = YES
    assert stage.rest(10).split == QUARTER


def test_the_nearest_limit_that_rolls_back_counts() -> None:
    """One condition that would hold on does not keep another from its rollback."""
    stage = gated(webhooks=[{"name": "a", "limit": "5m", "otherwise": "hold"}, {"name": "b", "limit": "10m"}])
    at_the_gate(stage)
    assert stage.rest(9 * 60).latch is None
    assert stage.rest(2 * 60).latch is not None


def test_a_start_gate_comes_before_any_traffic() -> None:
    """Once both versions are ready, and before the first weight."""
    stage = gated(at=None, start={"webhooks": [BOARD]})
    stage.sides(canary={"rolled_out": False, "why": "1 of 2 pods"})
    stage.rest(60)
    assert not stage.run.gates
    stage.sides()
    run = stage.rest(60)
    assert (run.phase, run.split, held(run)) == (Phase.PENDING, NOTHING, True)
    assert run.waiting.startswith("waiting for webhook change-board before the start, not answered yet, until ")
    stage.answers = {"change-board": YES}
    run = stage.until(Phase.PROMOTED)
    assert run.outcome is Outcome.PROMOTED


def test_a_no_before_the_start_ends_the_run_without_a_write() -> None:
    """Nothing was shifted, and nothing is."""
    stage = gated(at=None, start={"webhooks": [BOARD]})
    stage.answers = {"change-board": NO}
    run = stage.until(Phase.ROLLED_BACK)
    assert (run.outcome, run.seq, stage.splits) == (Outcome.ABORTED, 0, [NOTHING])


def test_an_approval_of_the_start_opens_no_step() -> None:
    """The same word, and another gate."""
    stage = gated(start={"approve": {}}, approve={"limit": "1h"})
    stage.rest(30)
    assert stage.run.place == START
    stage.ask("approve", step=0)
    assert stage.rest(5).split == NOTHING
    assert any("approve was meant for step 1" in event.reason for event in stage.told)
    stage.ask("approve", step=START)
    at_the_gate(stage)
    assert stage.rest(120).split == FIVE
    stage.ask("approve", step=0)
    assert stage.rest(10).split == QUARTER


def test_a_promotion_gate_comes_beside_that_of_the_last_step() -> None:
    """A policy's gate and the plan's: both."""
    stage = gated(at=2, promotion={"webhooks": [BOARD]}, approve={})
    stage.until(lambda run: held(run) and run.step == 2)
    assert [term.before for term in stage.run.terms] == ["100 %", "100 %"]
    stage.ask("approve")
    assert stage.rest(60).split == HALF
    stage.answers = {"change-board": YES}
    assert stage.until(Phase.PROMOTED).outcome is Outcome.PROMOTED


def test_an_approval_is_kept_and_told_with_who_gave_it() -> None:
    """Who, when and why."""
    stage = gated(approve={})
    at_the_gate(stage)
    stage.ask("approve", reason="looks good")
    stage.tick()
    assert [(one.place, one.by, one.reason, one.at) for one in stage.run.approvals] == [
        (0, "ada", "looks good", stage.now)
    ]
    assert stage.has_told(Told.APPROVED)
    assert [event.reason for event in stage.told if event.told is Told.APPROVED] == [
        "approved by ada before 25 %: looks good"
    ]


def test_only_those_whom_the_plan_names_may_approve() -> None:
    """Another's word is void, and says so."""
    stage = gated(approve={"by": ["grace", "barbara"]})
    at_the_gate(stage)
    assert stage.run.waiting.startswith(
        "waiting for approval of grace or barbara at 5 %: canaryd approve reviews (until "
    )
    stage.ask("approve")
    assert stage.rest(60).split == FIVE
    assert stage.told[-1].reason == "approve by ada does not count: the plan asks for grace or barbara"
    stage.commands[-1] = replace(stage.commands[-1], id="another", by="grace")
    assert stage.rest(10).split == QUARTER


@pytest.mark.parametrize("apart", [0.0, 5.0, 20.0, 45.0])
def test_two_who_approve_one_gate_open_one(apart: float) -> None:
    """The second meant the gate that it saw; the next one nobody has seen yet."""
    gate = {"gate": {"approve": {}}}
    steps = [{"weight": 5, "bake": "60s", **gate}, {"weight": 25, "bake": "60s", **gate}, {"weight": 50, "bake": "60s"}]
    stage = Stage(plan=plan(steps=steps))
    at_the_gate(stage)
    stage.ask("approve")
    if apart:
        stage.rest(apart)
        assert stage.run.step == 1
    stage.ask("approve")
    run = stage.until(lambda run: held(run) and run.step == 1)
    assert (stage.rest(300).split, run.approved) == (QUARTER, (0,))
    assert [one.place for one in stage.run.approvals] == [0]
    assert [event.reason for event in stage.told if event.told is Told.COMMAND_VOID] == [
        'approve without a step is for the gate that the run waits at, and it waits at none: give "step": 1 to approve '
        "50 % ahead"
        if apart
        else "approve opens nothing: 25 % is approved already"
    ]
    stage.ask("approve")
    assert stage.rest(10).split == HALF


def test_a_gate_ahead_is_approved_by_its_step() -> None:
    """While the step still bakes."""
    stage = gated(approve={})
    stage.baking()
    stage.ask("approve", step=0)
    assert stage.until(lambda run: run.step == 1).approved == (0,)


def test_an_approval_that_nobody_asks_for_is_void() -> None:
    """Said, so that nobody believes to have opened something."""
    stage = gated(webhooks=[BOARD])
    at_the_gate(stage)
    stage.ask("approve")
    assert stage.rest(60).split == FIVE
    assert stage.told[-1].reason == "approve opens nothing: no approval is asked for before 25 %"


def test_who_only_observes_asks_no_receiver() -> None:
    """Nothing is moved, so that nobody has to allow it; an alert is only read."""
    stage = Stage(plan=plan(mode="observe", gates={"start": {"webhooks": [BOARD], "alert": ALERT}}))
    assert [term.kind for term in stage.run.terms] == ["alert"]


def test_a_person_who_promotes_does_not_wait_for_a_gate() -> None:
    """``canaryd promote`` is a word of its own, and marks the run for ever."""
    stage = gated(at=2, webhooks=[BOARD])
    stage.until(lambda run: held(run) and run.step == 2)
    stage.ask("promote", reason="the board's system is down")
    assert stage.rest(10).phase is Phase.PROMOTING
    assert stage.run.unproven == "ada: the board's system is down"

"""
What a decision leaves in the outbox of its run: which events, for whom, and until when.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from canaryd.engine.posting import posted, reminder, with_messages, without
from canaryd.model.decision import Event, Told
from canaryd.model.message import FAILED, GATE, LONGEST, MOST, USUAL, EventName
from canaryd.model.run import Phase, Run
from tests.stage import START, Stage, new_run, plan

TEAM = {"channel": "team"}


def told(stage: Stage, seconds: float = 5.0) -> Run:
    """One tick of the stage, with its messages; nothing is taken."""
    decision = stage.tick(seconds)
    stage.run = with_messages(decision, stage.now, ()).run
    return stage.run


def at_its_gate(**spec: Any) -> Stage:
    """A run that waits for a person, with an hour's limit."""
    stage = Stage(plan=plan(5, 50, gate_at=0, messages=[TEAM], **spec))
    while stage.run.hold is None:
        told(stage)
    return stage


def names(run: Run) -> list[str]:
    return [message.event for message in run.outbox.waiting]


def test_a_plan_may_route_every_event_and_no_other() -> None:
    """A name in a plan that nothing ever tells would wait for ever; one that is missing could not be asked for."""
    assert set(get_args(EventName)) == {one.value for one in Told} | {GATE, FAILED}
    assert set(USUAL) <= set(get_args(EventName))


def test_what_the_plan_names_becomes_messages_in_order_and_nothing_else_does() -> None:
    """Numbered from one, each with the sentence of its event."""
    run = new_run(plan(messages=[{"channel": "team", "events": ["run.started", "step.passed"]}]))
    events = (Event(Told.STARTED, "it begins"), Event(Told.SHIFTING, "5 %"), Event(Told.PASSED, "it passed"))
    box = posted(run, events, START).outbox
    assert [(one.number, one.event, one.reason, one.to) for one in box.waiting] == [
        (1, "run.started", "it begins", ("team",)),
        (2, "step.passed", "it passed", ("team",)),
    ]
    assert posted(run, events[1:2], START) is run


def test_an_event_is_one_message_for_all_its_channels() -> None:
    """And a channel that is named twice for it gets it once."""
    messages = [TEAM, {"channel": "pager", "events": ["run.held"]}, {"channel": "team", "events": ["run.held"]}]
    run = posted(new_run(plan(messages=messages)), (Event(Told.HELD, "no data"),), START)
    assert [one.to for one in run.outbox.waiting] == [("team", "pager")]


def test_the_id_follows_from_the_run_alone() -> None:
    """Whoever sends it, and however often: run, time of the decision, and number."""
    run = posted(new_run(plan(messages=[TEAM])), (Event(Told.STARTED, "it begins"),), START)
    assert run.outbox.waiting[0].id_in(run.uid) == f"run-1_{START:.0f}_1"


def test_numbers_go_on_after_what_was_taken() -> None:
    """An id is never given twice."""
    run = posted(new_run(plan(messages=[TEAM])), (Event(Told.STARTED, "it begins"),), START)
    run = without(run, {(run.outbox.waiting[0].id_in(run.uid), "team")})
    assert run.outbox.waiting == ()
    run = posted(run, (Event(Told.HELD, "no data"),), START)
    assert [one.number for one in run.outbox.waiting] == [2]


def test_a_message_waits_for_each_channel_by_itself() -> None:
    """One that is away keeps no other from having had it."""
    run = posted(new_run(plan(messages=[TEAM, {"channel": "pager"}])), (Event(Told.HELD, "no data"),), START)
    (message,) = run.outbox.waiting
    run = without(run, {(message.id_in(run.uid), "team"), ("run-1_0_99", "pager")})
    assert [one.to for one in run.outbox.waiting] == [("pager",)]


def test_of_too_many_the_oldest_go_and_are_counted() -> None:
    """A record has its limit, and what is new matters more."""
    run = new_run(plan(messages=[{"channel": "team", "events": ["run.held"]}]))
    for _ in range(MOST + 3):
        run = posted(run, (Event(Told.HELD, "no data"),), START)
    assert (run.outbox.waiting[0].number, len(run.outbox.waiting), run.outbox.dropped) == (4, MOST, 3)


def test_a_reason_is_cut_where_it_would_fill_the_record() -> None:
    """A proof has every figure of every check."""
    run = posted(new_run(plan(messages=[TEAM])), (Event(Told.HELD, "x" * 9999),), START)
    reason = run.outbox.waiting[0].reason
    assert len(reason) == LONGEST
    assert reason.endswith("xxx...")


def test_a_gate_is_told_as_such_with_how_to_approve_and_what_happens_otherwise() -> None:
    """It is no trouble, and whoever reads it can act."""
    stage = at_its_gate()
    message = stage.run.outbox.waiting[-1]
    assert message.event == GATE
    assert stage.run.hold is not None
    assert (message.until, message.otherwise) == (stage.run.hold.limit, "rollback")
    assert message.commands == (("approve", "canaryd approve reviews"), ("abort", "canaryd abort reviews"))
    assert message.reason == stage.run.hold.why


def test_another_hold_is_no_gate_and_asks_for_no_approval() -> None:
    """Also where the step has a gate, to which the run has not come."""
    stage = Stage(plan=plan(5, 50, gate_at=0, messages=[TEAM]))
    while stage.run.phase is not Phase.BAKING:
        told(stage)
    stage.gap = "no series"
    while stage.run.hold is None:
        told(stage)
    message = stage.run.outbox.waiting[-1]
    assert (message.event, message.commands) == ("run.held", (("abort", "canaryd abort reviews"),))


def test_a_hold_by_a_person_is_told_with_how_to_end_it() -> None:
    """Whoever reads of it need not look up the word."""
    stage = Stage(plan=plan(messages=[TEAM]))
    while stage.run.phase is not Phase.BAKING:
        told(stage)
    stage.ask("hold")
    while stage.run.hold is None:
        told(stage)
    commands = stage.run.outbox.waiting[-1].commands
    assert commands == (("resume", "canaryd resume reviews"), ("abort", "canaryd abort reviews"))


def test_drift_is_told_with_how_to_resume() -> None:
    """Only a person ends it, where the weights do not come back by themselves."""
    stage = Stage(plan=plan(messages=[TEAM]))
    while stage.run.phase is not Phase.BAKING:
        told(stage)
    stage.by_hand(1)
    while stage.run.hold is None:
        told(stage)
    assert ("resume", "canaryd resume reviews") in stage.run.outbox.waiting[-1].commands


@pytest.mark.parametrize(
    ("why", "pages"), [("verdict", ["run.rolling_back"]), ("person", [])], ids=["a verdict", "a person's word"]
)
def test_a_pager_can_be_told_of_failures_alone(why: str, pages: list[str]) -> None:
    """Who aborts by hand knows of it."""
    stage = Stage(plan=plan(messages=[{"channel": "pager", "events": ["run.failed"]}]))
    stage.baking()
    if why == "verdict":
        stage.says = {"failure": "errors: canary 9 %, stable 0.1 %"}
    else:
        stage.ask("abort")
    for _ in range(10):
        told(stage)
    assert names(stage.run) == pages


def test_who_listens_for_a_restart_hears_of_the_one_that_was_adopted() -> None:
    """Its own event died with the process that had decided it; the mesh's marker told the next."""
    run = new_run(plan(messages=[{"channel": "team", "events": ["run.restarted"]}]))
    assert names(posted(run, (Event(Told.ADOPTED, "the mesh holds our write 4"),), START)) == ["run.adopted"]
    baking = replace(run, phase=Phase.BAKING)
    assert names(posted(baking, (Event(Told.ADOPTED, "the mesh holds our write 4"),), START)) == []


def test_a_reminder_comes_when_a_quarter_of_the_limit_is_left_and_once() -> None:
    """Of an hour's limit, 15 minutes before; it says when, and what then."""
    stage = at_its_gate()
    hold = stage.run.hold
    assert hold is not None
    assert hold.limit is not None
    stage.run = without(stage.run, {(one.id_in("run-1"), "team") for one in stage.run.outbox.waiting})
    stage.now = hold.limit - 15 * 60 - 10
    assert names(told(stage)) == []
    run = told(stage)
    (message,) = run.outbox.waiting
    assert message.event == "run.reminded"
    assert message.reason.startswith("in 15m, at 14:")
    assert ", the run is rolled back: waiting for a person's approval at 5 %: canaryd approve reviews" in message.reason
    assert message.commands[0] == ("approve", "canaryd approve reviews")
    told(stage)
    assert names(told(stage)) == ["run.reminded"]


def test_a_reminder_is_an_event_like_any_other() -> None:
    """It goes to log, journal and Kubernetes Events as well, whether or not anybody is sent a message."""
    stage = at_its_gate()
    assert stage.run.hold is not None
    assert stage.run.hold.limit is not None
    stage.now = stage.run.hold.limit - 60
    decision = with_messages(stage.tick(), stage.now, ())
    assert [event.told for event in decision.events] == [Told.REMINDED]


@pytest.mark.parametrize(("remind", "limit", "before"), [("30m", "4h", 1800), ("10m", "4h", 600), ("30m", "8m", 120)])
def test_when_a_reminder_comes(remind: str, limit: str, before: float) -> None:
    """As the plan says, and never before three quarters have gone by."""
    stage = Stage(plan=plan(5, 50, gate_at=0, gate={"limit": limit}, remind=remind))
    run = stage.until(lambda run: run.hold is not None)
    assert run.hold is not None
    assert run.hold.limit is not None
    assert reminder(run, run.hold.limit - before - 1) is None
    assert reminder(run, run.hold.limit - before) is not None
    assert reminder(run, run.hold.limit) is None


def test_nobody_is_reminded_where_the_plan_says_so_or_the_limit_stands_still() -> None:
    """While a window is closed nothing runs out."""
    stage = at_its_gate(remind="0s")
    run, hold = stage.run, stage.run.hold
    assert hold is not None
    assert hold.limit is not None
    assert reminder(run, hold.limit - 1) is None
    run = at_its_gate().run
    assert reminder(run, hold.limit - 1) is not None
    assert reminder(replace(run, barred_since=START), hold.limit - 1) is None


def test_a_hold_that_goes_on_is_reminded_of_as_such() -> None:
    """Nothing is said that will not happen."""
    stage = Stage(plan=plan(5, 50, gate_at=0, gate={"limit": "1h", "otherwise": "hold"}))
    run = stage.until(lambda run: run.hold is not None)
    assert run.hold is not None
    assert run.hold.limit is not None
    said = reminder(run, run.hold.limit - 60)
    assert said is not None
    assert "its limit is over; it stays held" in said.reason

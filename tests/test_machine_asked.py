"""What people ask of a run: an example for each word, for each moment when it is void, and for what it cannot do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.machine import decide
from canaryd.model.decision import Told, Unseen
from canaryd.model.run import Outcome, Phase
from canaryd.model.traffic import EVERYTHING, NOTHING, Sides
from tests.stage import Stage, percent, plan, side

THREE, FIVE, TEN, QUARTER, HALF = percent(3), percent(5), percent(10), percent(25), percent(50)
LONG = {"hold": "2h", "then": "rollback"}


def void(stage: Stage) -> list[str]:
    """Why commands were void, in order."""
    return [event.reason for event in stage.told if event.told is Told.COMMAND_VOID]


def held(stage: Stage) -> str:
    """The kind of the hold that lies over the run."""
    return stage.run.hold.kind if stage.run.hold else ""


def limit(stage: Stage) -> float | None:
    return stage.run.hold.limit if stage.run.hold else 0.0


def said(stage: Stage, told: Told) -> list[str]:
    return [event.reason for event in stage.told if event.told is told]


# -- hold and resume


def test_a_held_run_goes_on_measuring_and_nothing_rises_until_resume() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold", reason="the shop has a sale")
    stage.tick()
    assert (held(stage), limit(stage)) == ("person", None)
    assert stage.run.waiting.startswith("held by ada: the shop has a sale; ")
    cells = len(stage.run.cells)
    stage.rest(1200)
    assert (stage.run.split, stage.run.phase, len(stage.run.cells) > cells) == (FIVE, Phase.BAKING, True)
    assert stage.run.waiting == "step 1 has passed at 5 %, the next one waits: held by ada: the shop has a sale"
    stage.ask("resume")
    stage.tick()
    assert (stage.splits[-1], held(stage), str(stage.run.held_by)) == (QUARTER, "", "None")
    assert said(stage, Told.RESUMED)
    assert not void(stage)


def test_a_hold_is_told_once_and_not_again_in_every_tick() -> None:
    stage = Stage(plan=plan(5, 50, on_inconclusive=LONG))
    stage.baking()
    stage.ask("hold")
    stage.rest(30)
    assert said(stage, Told.HELD) == ["held by ada"]
    assert stage.run.waiting.count("held by ada") == 1


def test_a_held_run_does_not_start() -> None:
    stage = Stage()
    stage.ask("hold")
    stage.rest(600)
    assert (stage.run.phase, stage.splits) == (Phase.PENDING, [NOTHING])
    stage.ask("resume")
    stage.tick()
    assert (stage.run.phase, stage.run.hold) == (Phase.SHIFTING, None)


@pytest.mark.parametrize("wrong", [{"failure": "errors"}, None])
def test_a_held_run_is_rolled_back_where_it_does_harm(wrong: dict[str, Any] | None) -> None:
    """By the judge's word, and by a canary without pods."""
    stage = Stage()
    stage.baking()
    stage.ask("hold")
    stage.tick()
    if wrong:
        stage.says = wrong
    else:
        stage.sides(canary={"ready": 0})
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.mesh.split) == (Outcome.FAILED, NOTHING)


def test_a_held_run_can_be_aborted() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold")
    stage.ask("abort")
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.ABORTED


def test_while_held_no_limit_of_an_inconclusive_canary_runs_out_and_resume_does_not_make_it() -> None:
    stage = Stage(plan=plan(5, 50, on_inconclusive={"hold": "5m", "then": "rollback"}), says={"canary_requests": 3})
    stage.until(lambda run: run.hold is not None and run.hold.kind == "inconclusive")
    stage.ask("hold")
    stage.rest(3600)
    stage.ask("resume")
    stage.tick()
    assert stage.run.latch is None
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.INCONCLUSIVE


def test_without_data_a_held_run_does_not_wait_for_ever() -> None:
    stage = Stage(plan=plan(5, 50, on_no_data={"hold": "5m", "then": "rollback"}))
    stage.baking()
    stage.ask("hold")
    stage.tick()
    stage.blind = "connection refused"
    stage.until(Phase.ROLLED_BACK)


def test_a_hold_lasts_through_a_new_image_of_the_canary() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold")
    stage.tick()
    stage.sides(canary={"hashes": ("new",)})
    stage.rest(600)
    assert (stage.run.phase, stage.run.split, stage.mesh.split) == (Phase.PENDING, NOTHING, NOTHING)
    stage.ask("resume")
    stage.baking()


def test_the_first_who_holds_is_the_one_who_is_named() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold", reason="first")
    stage.ask("hold", reason="second")
    [void] = [event.reason for event in stage.tick().events if event.told is Told.COMMAND_VOID]
    assert str(stage.run.held_by) == "ada: first"
    assert void == "hold adds nothing: the run is held by ada: first already, until one resume"


@pytest.mark.parametrize("phase", [Phase.WATCHING, Phase.ROLLING_BACK])
def test_what_cannot_rise_any_more_is_not_held(phase: Phase) -> None:
    stage = Stage()
    if phase is Phase.ROLLING_BACK:
        stage.baking()
        stage.lands = False
        stage.ask("abort")
    stage.until(phase)
    stage.ask("hold")
    stage.tick()
    assert void(stage) == [f"hold is for a run that can still rise; this one is {phase.value} at {stage.run.split}"]
    assert stage.run.held_by is None


def test_resume_with_nothing_to_resume_is_void() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("resume")
    stage.tick()
    assert void(stage) == ["resume counts only after a person's hold or after drift, and there is none"]


def test_resume_ends_a_hold_while_the_mesh_cannot_be_read() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold")
    stage.tick()
    stage.hidden = "no answer"
    stage.ask("resume")
    stage.tick()
    assert (stage.run.held_by, stage.run.hold) == (None, None)


def test_after_drift_under_a_hold_resume_answers_both() -> None:
    stage = Stage()
    stage.baking(1)
    stage.ask("hold")
    stage.tick()
    stage.by_hand(10)
    stage.rest(20)
    assert (held(stage), stage.mesh.split) == ("drift", TEN)
    stage.ask("resume")
    stage.rest(10)
    assert (stage.mesh.split, str(stage.run.held_by), held(stage)) == (QUARTER, "None", "")


def test_under_a_hold_weights_that_somebody_brought_down_are_not_set_again() -> None:
    """Also where the plan says reassert: that would rise."""
    stage = Stage(plan=plan(on_drift="reassert"))
    stage.baking(1)
    stage.ask("hold")
    stage.tick()
    stage.by_hand(10)
    stage.rest(120)
    assert stage.mesh.split == TEN


# -- adopt


def adrift(weight: float, step: int = 1, **spec: Any) -> Stage:
    """A run in ``step`` whose weight somebody has set to ``weight``."""
    stage = Stage(plan=plan(5, 25, 50, **spec))
    stage.baking(step)
    stage.by_hand(weight)
    stage.rest(15)
    assert held(stage) == "drift"
    return stage


def test_adopt_measures_at_the_weight_that_was_set_and_then_goes_to_the_steps_own() -> None:
    stage = adrift(10)
    stage.ask("adopt")
    stage.tick()
    assert said(stage, Told.TOOK_OVER) == ["10 % at v3 is taken over as the run's own weight, in step 2"]
    assert (stage.run.split, stage.run.step, stage.mesh.split) == (TEN, 1, TEN)
    assert stage.mesh.marker is not None
    assert (stage.mesh.marker.split, stage.mesh.marker.seq) == (TEN, stage.run.seq)
    stage.until(lambda run: run.phase is Phase.BAKING)
    assert stage.run.segment.ours
    stage.until(lambda run: run.split == QUARTER)
    assert stage.run.step == 1
    stage.until(Phase.PROMOTED)
    assert [split for split in stage.splits if split > TEN] == [QUARTER, QUARTER, HALF, EVERYTHING]


def test_adopting_the_weight_of_an_earlier_step_is_being_in_that_step() -> None:
    stage = adrift(5)
    stage.ask("adopt")
    stage.tick()
    stage.until(lambda run: run.phase is Phase.BAKING)
    assert (stage.run.step, stage.run.split, stage.run.taken_over) == (0, FIVE, False)
    stage.until(lambda run: run.split == QUARTER)


def test_a_promotion_is_not_proven_at_a_weight_below_the_last_steps() -> None:
    stage = adrift(30, step=2)
    stage.ask("adopt")
    stage.until(Phase.PROMOTED)
    assert [split for split in stage.splits if split > percent(30)][-2:] == [HALF, EVERYTHING]
    assert not stage.run.unproven


def test_a_gate_after_the_step_is_not_asked_for_before_it() -> None:
    """Its weight comes first, then its gate."""
    stage = adrift(10, gate_at=1)
    stage.ask("adopt")
    stage.until(lambda run: run.split == QUARTER)
    assert stage.run.terms
    stage.rest(600)
    assert (stage.run.split, held(stage)) == (QUARTER, "gate")


@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (0, "the canary is at 0 %; to end the run abort it"),
        (None, "what is there is not one weight that could be taken over: "),
    ],
)
def test_what_cannot_be_taken_over_is_said_and_held_on(weight: float | None, why: str) -> None:
    stage = adrift(10)
    stage.by_hand(weight)
    stage.ask("adopt")
    stage.tick()
    assert void(stage)[0].startswith(f"adopt does nothing: {why}")
    assert held(stage) == "drift"


def test_more_than_the_run_had_come_to_is_not_taken_over() -> None:
    """It is brought down in the tick that sees it; adopt is then a word to go on at the run's own weight."""
    stage = Stage()
    stage.baking(1)
    stage.by_hand(40)
    stage.ask("adopt")
    stage.tick()
    assert (stage.mesh.split, held(stage)) == (QUARTER, "drift")
    assert not stage.has_told(Told.TOOK_OVER)


def test_adopt_without_drift_is_void() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("adopt")
    stage.tick()
    assert void(stage) == ["adopt counts only after drift, and there is none"]


def test_adopting_is_possible_while_nothing_may_rise_and_lets_nothing_rise() -> None:
    stage = adrift(10)
    stage.barred = "frozen"
    stage.ask("adopt")
    stage.rest(600)
    assert (stage.run.split, stage.mesh.split, stage.has_told(Told.TOOK_OVER)) == (TEN, TEN, True)


@pytest.mark.parametrize("marker", [True, False])
def test_a_death_between_save_and_patch_loses_nothing_that_was_taken_over(marker: bool) -> None:
    """The marker is the former one, or gone; the weights are the run's. It is sent again, by itself."""
    stage = adrift(10)
    if not marker:
        stage.mesh = replace(stage.mesh, marker=None)
    stage.ask("adopt")
    stage.lands = False
    stage.tick()
    assert (stage.run.split, stage.mesh.split) == (TEN, TEN)
    stage.lands = True
    stage.until(lambda run: run.phase is Phase.BAKING)
    assert stage.mesh.marker is not None
    assert (stage.mesh.marker.split, stage.run.hold) == (TEN, None)
    stage.until(Phase.PROMOTED)


def test_the_marker_of_another_run_is_anothers_claim() -> None:
    stage = adrift(10)
    stage.ask("adopt")
    stage.lands = False
    stage.tick()
    assert stage.mesh.marker is not None
    stage.mesh = replace(stage.mesh, marker=replace(stage.mesh.marker, run="another"))
    stage.lands = True
    stage.rest(30)
    assert held(stage) == "drift"
    assert stage.mesh.marker is not None
    assert stage.mesh.marker.run == "another"


def test_what_is_brought_down_rises_nowhere() -> None:
    """Somebody puts other entries in front and sets less behind them: those go, and the rest stays as little."""
    stage = Stage(plan=plan(1, 5, 50))
    stage.baking(1)
    stage.mesh = replace(stage.mesh, match="another", split=percent(1))
    stage.tick()
    assert (stage.mesh.split, stage.mesh.match) == (percent(1), "")
    stage.rest(60)
    assert (held(stage), stage.mesh.split) == ("drift", percent(1))
    stage.ask("resume")
    stage.until(lambda run: run.split == FIVE)
    stage.until(Phase.PROMOTED)


def test_brought_down_to_nothing_a_person_lets_it_begin_the_step_again() -> None:
    stage = Stage(plan=plan(5, 50))
    stage.baking()
    stage.mesh = replace(stage.mesh, match="another", split=NOTHING)
    stage.tick()
    assert stage.mesh.split == NOTHING
    stage.barred = "frozen"
    stage.ask("resume")
    stage.rest(60)
    assert stage.mesh.split == NOTHING
    stage.barred = ""
    stage.tick()
    assert stage.mesh.split == FIVE
    stage.until(Phase.PROMOTED)


def test_in_the_watch_nothing_is_measured_at_less_and_nothing_is_put_up_again() -> None:
    stage = Stage()
    stage.until(Phase.WATCHING)
    stage.mesh = replace(stage.mesh, match="another", split=QUARTER)
    stage.rest(300)
    assert (stage.run.phase, stage.run.split, stage.mesh.split) == (Phase.WATCHING, EVERYTHING, QUARTER)
    assert stage.run.hold is not None


# -- advance


def test_advance_ends_the_step_without_a_pass_and_says_who_and_how_far_it_was() -> None:
    stage = Stage(says={"canary_requests": 3})
    stage.baking()
    stage.rest(40)
    stage.ask("advance", reason="tried by hand")
    stage.tick()
    assert (stage.run.step, stage.splits[-1]) == (1, QUARTER)
    [reason] = said(stage, Told.ADVANCED)
    assert reason.startswith("step 1 ended at 5 % by ada: tried by hand; ")
    assert reason.endswith(" of 6 cells were baked")
    assert not said(stage, Told.PASSED)


def test_advance_is_one_step_and_does_not_stand_in_for_the_proof() -> None:
    stage = Stage(plan=plan(5, 50, on_inconclusive=LONG))
    stage.baking()
    stage.ask("advance")
    stage.baking(1)
    stage.says = {"proven": False}
    stage.rest(600)
    assert (stage.run.split, held(stage)) == (HALF, "inconclusive")
    stage.says = {}
    stage.until(Phase.PROMOTED)
    assert not stage.run.unproven


def test_advance_while_the_weight_is_on_its_way_waits_for_it() -> None:
    stage = Stage(lands=False)
    stage.until(Phase.SHIFTING)
    stage.ask("advance", step=0)
    stage.rest(30)
    assert (stage.run.step, void(stage)) == (0, [])
    stage.lands = True
    stage.until(lambda run: run.step == 1)
    assert said(stage, Told.ADVANCED)


def test_advance_opens_no_gate() -> None:
    stage = Stage(plan=plan(5, 50, gate_at=0))
    stage.baking()
    stage.ask("advance")
    stage.rest(60)
    assert (stage.run.split, held(stage)) == (FIVE, "gate")
    stage.ask("approve")
    stage.tick()
    assert (stage.run.split, stage.has_told(Told.ADVANCED)) == (HALF, True)


def test_advance_waits_while_nothing_may_rise() -> None:
    stage = Stage(barred="")
    stage.baking()
    stage.barred = "frozen by eve"
    stage.ask("advance")
    stage.rest(60)
    assert stage.run.split == FIVE
    assert stage.run.waiting.endswith("; the next one waits: frozen by eve")
    stage.barred = ""
    stage.tick()
    assert stage.run.split == QUARTER


@pytest.mark.parametrize("pods", [Unseen("no answer"), None])
def test_advance_waits_for_a_canary_that_can_take_more(pods: Unseen | None) -> None:
    stage = Stage(plan=plan(5, 50, on_inconclusive=LONG))
    stage.baking()
    stage.pods = pods or Sides(side("v1"), side("v3", rolled_out=False, why="1 of 2 pods"))
    stage.ask("advance")
    stage.rest(60)
    assert (stage.run.split, held(stage)) == (FIVE, "inconclusive")
    stage.sides()
    stage.tick()
    assert stage.run.split == HALF


def test_advance_does_not_go_blindly() -> None:
    stage = Stage()
    stage.baking()
    stage.blind = "connection refused"
    stage.ask("advance")
    stage.rest(60)
    assert stage.run.split == FIVE


def test_harm_is_stronger_than_advance() -> None:
    stage = Stage()
    stage.baking()
    stage.says = {"failure": "errors"}
    while not stage.see().cells:  # the word and the harm come in one tick
        stage.tick(0)
        stage.now += 5
    stage.ask("advance")
    stage.tick(0)
    assert stage.run.latch is not None
    stage.until(Phase.ROLLED_BACK)
    assert QUARTER not in stage.splits


def test_advance_lapses_where_others_change_the_weights_meanwhile() -> None:
    """It was about what was measured before."""
    stage = Stage(plan=plan(5, 50, gate_at=0))
    stage.baking()
    stage.ask("advance")
    stage.tick()
    stage.by_hand(1)
    stage.rest(10)
    stage.by_hand(5)
    stage.ask("approve")
    stage.rest(30)
    assert (stage.run.split, stage.run.advanced) == (FIVE, None)


@pytest.mark.parametrize("step", [0, 2])
def test_advance_is_void_where_there_is_nothing_to_advance_to(step: int) -> None:
    stage = Stage()
    if step:
        stage.baking(step)
    stage.ask("advance")
    stage.tick()
    expected = (
        "after the last step comes the promotion: promote says that its proof may be missing"
        if step
        else "advance is for a step that is measured; the run is pending at 0 %"
    )
    assert void(stage) == [expected]


# -- skip


def test_a_skipped_step_is_left_out() -> None:
    stage = Stage(plan=plan(1, 5, 25, 50))
    stage.baking()
    stage.ask("skip", skips=1, reason="boring")
    stage.ask("skip", skips=2)
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, percent(1), HALF, EVERYTHING]
    assert said(stage, Told.SKIPPED) == [
        "step 2 (5 %) is left out, by ada: boring",
        "step 3 (25 %) is left out, by ada",
    ]


@pytest.mark.parametrize(
    ("skips", "why"),
    [
        (0, "skip step 1: step 2 can be skipped, of 3"),
        (2, "skip step 3: step 2 can be skipped, of 3"),
        (7, "skip step 8: step 2 can be skipped, of 3"),
        (None, "skip nothing: step 2 can be skipped, of 3"),
    ],
)
def test_only_a_later_step_before_the_last_is_skipped(skips: int | None, why: str) -> None:
    stage = Stage()
    stage.baking()
    stage.ask("skip", skips=skips)
    stage.tick()
    assert (void(stage), stage.run.skipped) == ([why], ())


def test_a_gate_is_not_skipped_with_its_step() -> None:
    stage = Stage(plan=plan(gate_at=1))
    stage.baking()
    stage.ask("skip", skips=1)
    stage.tick()
    assert (void(stage), stage.run.skipped) == (["step 2 has a gate, and a gate is not skipped"], ())


def test_at_the_end_no_step_can_be_skipped_any_more() -> None:
    stage = Stage()
    stage.baking(1)
    stage.ask("skip", skips=1)
    stage.tick()
    assert void(stage) == ["skip step 2: no step can be skipped any more, of 3"]
    stage.until(Phase.WATCHING)
    stage.ask("skip", skips=1)
    stage.tick()
    assert void(stage)[1] == "skip is for a run that has steps ahead; this one is watching at 100 %"


def test_a_new_canary_walks_all_steps() -> None:
    """The word was about the former one."""
    stage = Stage()
    stage.baking()
    stage.ask("skip", skips=1)
    stage.tick()
    stage.sides(canary={"hashes": ("new",)})
    stage.until(Phase.PROMOTED)
    assert QUARTER in stage.splits


# -- promote from any step


def test_promote_from_any_step_is_for_the_forced_only_and_marks_the_run() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("promote", reason="it is well")
    stage.tick()
    assert len(void(stage)) == 1
    stage.ask("promote", reason="it is well", force=True)
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, FIVE, EVERYTHING]
    assert stage.run.unproven == "ada: it is well"


def test_a_forced_promotion_waits_for_what_bars_it_and_for_the_pods() -> None:
    stage = Stage(barred="", plan=plan(on_inconclusive=LONG))
    stage.baking()
    stage.barred = "frozen"
    stage.ask("promote", force=True)
    stage.rest(30)
    assert stage.run.split == FIVE
    stage.barred = ""
    stage.sides(canary={"rolled_out": False})
    stage.rest(30)
    assert stage.run.split == FIVE
    stage.sides()
    stage.tick()
    assert stage.run.split == EVERYTHING


@pytest.mark.parametrize(("names", "counts"), [(["ada"], True), (["eve"], False), ([], False)])
def test_who_may_not_approve_what_is_ahead_may_not_promote_past_it(names: list[str], counts: bool) -> None:
    """Whoever promotes goes past every approval that is still ahead, at a later step or before the promotion."""
    gate = {"limit": "1h", **({"by": names} if names else {})}
    for spec in ({"gate_at": 1, "gate": gate}, {"gates": {"promotion": {"approve": gate}}}):
        stage = Stage(plan=plan(5, 25, 50, **spec))
        stage.baking()
        stage.ask("promote", reason="it is well", force=True)
        stage.tick()
        assert (stage.run.split == EVERYTHING) == counts
        if not counts:
            whose = names[0] if names else "a person"
            assert void(stage) == [f"promote by ada does not count: an approval of {whose} is ahead"]


def test_an_approval_that_was_given_is_not_ahead_any_more() -> None:
    stage = Stage(plan=plan(5, 50, gate_at=0, gate={"limit": "1h", "by": ["eve"]}))
    stage.baking()
    stage.run = replace(stage.run, approved=(0,))
    stage.ask("promote", force=True)
    stage.tick()
    assert stage.run.split == EVERYTHING


# -- all of them


@pytest.mark.parametrize("verb", ["hold", "adopt", "advance", "skip", "retry", "undo", "promote"])
def test_a_run_on_its_way_back_listens_to_nothing_but_abort(verb: str) -> None:
    stage = Stage()
    stage.baking()
    stage.lands = False
    stage.ask("abort")
    stage.tick()
    stage.ask(verb, force=True, skips=1)
    stage.rest(30)
    assert len(void(stage)) == 1
    stage.lands = True
    stage.until(Phase.ROLLED_BACK)


@pytest.mark.parametrize("verb", ["retry", "undo"])
def test_words_for_ended_runs_are_void_in_mid_run(verb: str) -> None:
    stage = Stage()
    stage.baking()
    stage.ask(verb)
    stage.tick()
    assert len(void(stage)) == 1
    assert stage.run.phase is Phase.BAKING


@pytest.mark.parametrize("verb", ["hold", "adopt", "advance", "skip", "promote"])
def test_a_word_for_another_step_is_void(verb: str) -> None:
    stage = Stage()
    stage.baking(1)
    stage.ask(verb, step=0, skips=1, force=True)
    before = stage.run
    stage.tick()
    assert void(stage) == [f"{verb} was meant for step 1; it has passed"]
    assert (stage.run.held_by, stage.run.advanced, stage.run.skipped, stage.run.unproven, stage.run.split) == (
        before.held_by,
        before.advanced,
        before.skipped,
        before.unproven,
        before.split,
    )


def test_a_word_is_obeyed_once() -> None:
    stage = Stage()
    stage.baking()
    stage.ask("hold")
    stage.tick()
    stage.ask("resume")
    stage.tick()
    assert stage.run.held_by is None
    assert decide(stage.run, stage.see()).run.held_by is None

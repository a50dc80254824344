"""
One example per arrow of the machine's diagram and per rule.

Random walks reach rare paths too seldom; each of these is a path that somebody's traffic depends on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.machine import Standing, decide, standing
from canaryd.model.cells import Cell, Gap, Past
from canaryd.model.decision import Observation, Told, Unseen
from canaryd.model.judgement import CheckState, JudgeState
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, OTHERWISE, Marker, Sighting
from tests.stage import ROUTE, START, Stage, percent, plan, side

FIVE, QUARTER, HALF = percent(5), percent(25), percent(50)


def marker(stage: Stage, **changes: object) -> Marker:
    assert stage.mesh.marker is not None
    return replace(stage.mesh.marker, **changes)  # type: ignore[arg-type]


def put(stage: Stage, marker: Marker | None, split: float) -> None:
    stage.mesh = Sighting(percent(split), marker)


# ---------------------------------------------------------------------------------------------------------------------
# The way up


def test_a_healthy_canary_walks_the_plan_and_is_promoted() -> None:
    """The main job: each weight of the plan once, in order, then 100 %, watched, and released."""
    stage = Stage()
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, FIVE, QUARTER, HALF, EVERYTHING]
    assert stage.run.outcome is Outcome.PROMOTED
    assert stage.last is not None
    assert stage.last.release


def test_every_write_toward_the_canary_is_saved_first() -> None:
    """Rule 4: a rise is written only by a process that can prove it had decided so."""
    stage = Stage()
    while not stage.run.final:
        write = stage.tick().write
        assert write is None or write.toward == "canary"


def test_a_run_waits_until_the_canary_is_rolled_out() -> None:
    """Rule 11: what is measured must be one thing."""
    stage = Stage()
    stage.sides(canary={"rolled_out": False, "why": "1 of 2 pods are available"})
    stage.rest(60)
    assert (stage.run.phase, stage.splits) == (Phase.PENDING, [NOTHING])
    assert "1 of 2 pods" in stage.run.waiting
    stage.sides()
    stage.tick()
    assert stage.run.phase is Phase.SHIFTING


@pytest.mark.parametrize("pods", [Unseen("no answer"), "no canary", "no stable"])
def test_a_run_does_not_begin_without_ready_pods_on_both_sides(pods: Unseen | str) -> None:
    """Rule 12: begins where both can be compared."""
    stage = Stage()
    if isinstance(pods, Unseen):
        stage.pods = pods
    elif pods == "no canary":
        stage.sides(canary={"ready": 0})
    else:
        stage.sides(stable={"ready": 0})
    assert stage.tick().write is None


def test_a_run_pins_both_sides_as_it_begins() -> None:
    """Rule 11: uid and template hash of both are recorded."""
    stage = Stage()
    run = stage.until(Phase.SHIFTING)
    assert run.canary_pin is not None
    assert run.stable_pin is not None
    assert (run.canary_pin.hashes, run.stable_pin.uids) == (("hash-v3",), ("uid-v1",))


def test_a_shift_becomes_a_bake_when_the_mesh_shows_marker_and_weights() -> None:
    """Rule 3, arrived."""
    stage = Stage()
    stage.until(Phase.SHIFTING)
    stage.tick()
    assert (stage.run.phase, stage.run.arrived_at) == (Phase.BAKING, stage.now)


def test_no_step_passes_before_its_bake_is_full_of_settled_cells() -> None:
    """Rule 5: six cells of ten seconds after twenty of settling, and none of them a gap."""
    stage = Stage()
    run = stage.baking(1)
    baked = [cell for cell in run.cells if cell.segment == 1 and cell.settled]
    assert len(baked) == 6
    assert baked[0].start >= run.segments[1].origin + 20
    assert all(isinstance(cell, Cell) for cell in baked)


def test_a_gap_does_not_fill_a_bake() -> None:
    """Rule 6: a gap is not evidence of anything."""
    stage = Stage()
    stage.baking()
    stage.gap = "no series"
    run = stage.rest(300)
    assert (run.phase, run.step, run.hold is not None) == (Phase.BAKING, 0, True)
    assert run.hold is not None
    assert run.hold.why == "no data: no series"


def test_gaps_between_good_cells_do_not_fill_a_bake() -> None:
    """The last cell may be good, and the six before it gaps."""
    stage = Stage()
    stage.baking()
    stage.gap = "no series"
    stage.rest(150)
    stage.gap = ""
    stage.until(lambda run: len(run.baked) == 1)
    assert stage.rest(15).split == FIVE


def test_settled_cells_of_another_segment_fill_no_bake() -> None:
    """A bake is measured under its own split."""
    stage = Stage()
    run = stage.baking(1)
    assert [cell for cell in run.cells if isinstance(cell, Cell) and cell.settled]
    assert run.baked == ()


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ({"harm": 5.0}, "evidence of harm is building"),
        ({"objectives_hold": False}, "an objective is in doubt"),
        ({"canary_requests": 49}, "only 49 canary requests"),
        ({"unmeasured": "queue: the query finds nothing"}, "not measured at 5 %: queue: the query finds nothing"),
        ({"doubt": "exposure: no request reaches the canary"}, "exposure"),
    ],
)
def test_a_full_bake_in_doubt_holds_and_goes_on_when_the_doubt_is_gone(says: dict[str, object], why: str) -> None:
    """Rule 5: what can neither pass nor fail is inconclusive, and traffic stays."""
    stage = Stage(says=dict(says))
    stage.until(lambda run: run.hold is not None)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.split) == ("inconclusive", FIVE)
    assert why in stage.run.waiting
    stage.says.clear()
    stage.baking(1)
    assert stage.has_told(Told.RESUMED)


def test_a_step_wants_its_own_least_requests_and_the_next_one_the_plan_s() -> None:
    """Twenty are enough at 5 %, where the plan says so, and at 25 % they are not."""
    steps = [{"weight": 5, "bake": "60s", "minRequests": 20}, {"weight": 25, "bake": "60s"}, {"weight": 50}]
    stage = Stage(plan(steps=steps), says={"canary_requests": 20})
    stage.until(lambda run: run.hold is not None)
    assert stage.splits == [NOTHING, FIVE, QUARTER]
    assert "only 20 canary requests at 25 %; the plan wants 50" in stage.run.waiting


def test_a_canary_that_is_not_ready_for_more_gets_no_more() -> None:
    """Rule 5: readiness for the next weight is part of PASS."""
    stage = Stage()
    stage.baking()
    stage.sides(canary={"rolled_out": False, "why": "1 of 2 pods are available"})
    run = stage.rest(200)
    assert (run.split, "not ready for more" in run.waiting) == (FIVE, True)


def test_no_step_passes_while_the_pods_cannot_be_seen() -> None:
    """Never advance while blind."""
    stage = Stage()
    stage.baking()
    stage.pods = Unseen("no answer")
    assert stage.rest(200).split == FIVE


def test_evidence_of_an_earlier_segment_passes_nothing() -> None:
    """Proof and counts belong to the split they were gathered at."""
    stage = Stage(plan=plan(50))
    stage.baking()
    stage.says["segment"] = 0
    run = stage.rest(200)
    assert (run.split, run.hold is not None) == (HALF, True)


def test_a_bake_begins_when_the_new_share_is_proven() -> None:
    """Cells of before it was are of users who met the old weight."""
    stage = Stage(plan=plan(50))
    stage.baking()
    stage.says = {"shared_from": None, "share": "the canary got 5 % of 300 requests, wanted 50 %"}
    run = stage.rest(60)
    assert (run.hold, run.baked, len(run.settled)) == (None, (), 3)
    assert run.waiting == (
        "waiting for the share at 50 %, for 45s: it is not proven yet that callers meet the split of 50 %: "
        "the canary got 5 % of 300 requests, wanted 50 %"
    )
    stage.says = {"shared_from": run.settled[-1].start}
    assert stage.rest(10).waiting == "baking at 50 %: 2 of 6 cells"


def test_a_share_that_is_not_proven_for_a_whole_bake_is_held() -> None:
    """Too little traffic to tell, say: that has a limit as everything has."""
    stage = Stage(plan=plan(50))
    stage.baking()
    stage.says = {"shared_from": None, "share": "the canary got 1 of 2 requests, wanted 50 %"}
    run = stage.rest(110)
    assert run.hold is not None
    assert (run.hold.kind, run.hold.then, run.split) == ("inconclusive", "rollback", HALF)
    assert "the canary got 1 of 2 requests" in run.waiting


def test_traffic_that_goes_astray_is_held_at_once_with_its_likely_causes() -> None:
    """Before the bake is full, and after it: the weight does not rise on other users than it was for."""
    stage = Stage(plan=plan(5, 50))
    stage.baking(1)
    stage.rest(50)
    stage.says = {"shared_from": None, "astray": True, "doubt": "share: not every client follows", "lagging": ("a.b",)}
    stage.suspects = ("a.b has no sidecar", "another VirtualService")
    run = stage.rest(20)
    assert run.hold is not None
    assert run.hold.why == (
        "share: not every client follows. Likely causes, the likeliest first: a.b has no sidecar; "
        "another VirtualService"
    )
    stage.says = {}
    assert stage.rest(10).hold is None


def test_a_share_that_is_astray_at_everything_is_not_the_end() -> None:
    """Promoted means that users meet the canary."""
    stage = Stage(plan=plan(50))
    stage.until(Phase.WATCHING)
    stage.says = {"astray": True, "doubt": "share: the canary got 60 %"}
    run = stage.rest(200)
    assert run.hold is not None
    assert run.hold.why == "callers do not meet the canary at 100 %: share: the canary got 60 %"
    stage.says = {}
    assert stage.rest(20).outcome is Outcome.PROMOTED


def test_promotion_needs_proof() -> None:
    """Rule 5: the last step without proof is inconclusive, then rolled back; never silently promoted."""
    stage = Stage(says={"proven": False, "proof": 3.0})
    stage.until(lambda run: run.hold is not None)
    assert stage.run.split == HALF
    assert "not yet proven" in stage.run.waiting
    stage.until(lambda run: run.final, within=5 * 3600, every=60)
    assert stage.run.outcome is Outcome.INCONCLUSIVE
    assert EVERYTHING not in stage.splits


def eager(**says: Any) -> Stage:
    """At the first weight of a plan whose steps may end on evidence after twenty of their sixty seconds."""
    steps = [{"weight": weight, "bake": "60s", "until": "evidence", "least": "20s"} for weight in (5, 50)]
    stage = Stage(plan=plan(steps=steps), says=says)
    stage.until(Phase.BAKING)
    return stage


def seconds_until_left(stage: Stage) -> float:
    """How long the first weight is kept from its arrival on."""
    arrived = stage.now
    while stage.run.split == FIVE:
        stage.tick()
    return stage.now - arrived


def test_a_step_may_end_on_evidence_before_its_bake_is_full() -> None:
    """``until: evidence``: proven is proven; waiting on would only harm nobody later."""
    assert seconds_until_left(eager()) < seconds_until_left(eager(proven=False))


def test_a_step_that_may_end_on_evidence_keeps_its_least() -> None:
    """Settle, the least and the lag of the cells: a proof from the first moments ends nothing."""
    assert seconds_until_left(eager()) >= 40


def test_harm_that_builds_keeps_a_proven_step_from_ending_early() -> None:
    """Proof of one check beside growing evidence of harm in another is no reason to hurry."""
    stage = eager(harm=7.0)
    stage.rest(50)
    assert (stage.run.split, stage.run.hold) == (FIVE, None)  # it bakes on, and is not yet held either


def test_earlier_steps_need_no_proof() -> None:
    """A few requests at 5 % cannot prove anything, and need not."""
    stage = Stage(says={"proven": False})
    stage.baking(2)


def test_a_plan_that_accepts_no_proof_promotes_and_is_marked_for_ever() -> None:
    """``acceptUnproven`` is a word of the plan's author; the run carries it."""
    stage = Stage(plan=plan(accept_unproven="internal tool"), says={"proven": False})
    stage.until(Phase.PROMOTED)
    assert (stage.run.unproven, "unproven" in stage.run.reason) == ("internal tool", True)


def test_a_proven_run_is_not_marked_unproven() -> None:
    """The mark means something."""
    stage = Stage(plan=plan(accept_unproven="internal tool"))
    assert stage.until(Phase.PROMOTED).unproven == ""


def test_a_person_may_promote_without_proof_at_the_last_step() -> None:
    """Rule 5: a person's word, marked with name and reason."""
    stage = Stage(says={"proven": False})
    stage.baking(2)
    stage.rest(200)
    stage.ask("promote", reason="seen it at the other site")
    stage.until(Phase.PROMOTED)
    assert stage.run.unproven == "ada: seen it at the other site"


def test_a_person_cannot_promote_before_the_last_step() -> None:
    """No word skips a step."""
    stage = Stage()
    stage.baking()
    stage.ask("promote", reason="hurry")
    stage.tick()
    assert stage.has_told(Told.COMMAND_VOID)
    assert (stage.run.split, stage.run.unproven) == (FIVE, "")


def test_after_everything_comes_a_settle_and_a_watch() -> None:
    """Rule 12: 100 % is not the end; twenty seconds of settling and sixty of watching are."""
    stage = Stage()
    stage.until(Phase.PROMOTING)
    arrived = stage.until(Phase.WATCHING).arrived_at
    stage.until(Phase.PROMOTED)
    assert arrived is not None
    assert stage.now - arrived >= 80


def test_an_objective_in_doubt_at_everything_is_not_promoted() -> None:
    """At 100 % objectives are all there is; while one is in doubt the rollback stays armed."""
    stage = Stage()
    stage.until(Phase.WATCHING)
    stage.says["objectives_hold"] = False
    stage.rest(300)
    assert (stage.run.phase, stage.run.hold is not None) == (Phase.WATCHING, True)
    stage.says.clear()
    stage.until(Phase.PROMOTED)


def test_a_watch_in_the_dark_is_longer() -> None:
    """Without metrics the watch goes on for as long as the plan waits for data."""
    stage = Stage()
    stage.until(Phase.WATCHING)
    stage.blind = "connection refused"
    assert stage.rest(300).phase is Phase.WATCHING
    stage.until(Phase.PROMOTED)


# ---------------------------------------------------------------------------------------------------------------------
# Gates and commands


def test_a_gate_holds_until_a_person_approves() -> None:
    """The step has passed; somebody has to say yes."""
    stage = Stage(plan=plan(gate_at=0))
    stage.until(lambda run: run.hold is not None)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.split) == ("gate", FIVE)
    stage.ask("approve", step=0)
    stage.baking(1)


def test_a_gate_that_nobody_opens_rolls_back_at_its_limit() -> None:
    """A limit never raises the weight."""
    stage = Stage(plan=plan(gate_at=0))
    stage.until(lambda run: run.final, within=2 * 3600, every=30)
    assert (stage.run.outcome, max(stage.splits)) == (Outcome.INCONCLUSIVE, FIVE)


def test_a_gate_that_shall_hold_holds_on() -> None:
    """``otherwise: hold``."""
    stage = Stage(plan=plan(gate_at=0, gate={"limit": "1h", "otherwise": "hold"}))
    stage.rest(2 * 3600)
    assert (stage.run.phase, stage.run.split) == (Phase.BAKING, FIVE)


def test_a_gate_at_the_last_step_guards_the_promotion() -> None:
    """The most common gate of all."""
    stage = Stage(plan=plan(gate_at=2))
    stage.rest(1500)
    assert stage.run.split == HALF
    stage.ask("approve")
    stage.until(Phase.PROMOTED)


def test_an_approval_after_a_doubt_has_come_up_does_not_pass() -> None:
    """Evidence is asked when the person has come, and the hold for it has its whole limit."""
    stage = Stage(plan=plan(gate_at=0, gate={"limit": "8h"}))
    stage.until(lambda run: run.hold is not None)
    stage.says["harm"] = 6.0
    stage.until(lambda run: stage.now > START + 5 * 3600, within=6 * 3600, every=60)
    stage.ask("approve")
    stage.rest(60)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.split, stage.run.latch) == ("inconclusive", FIVE, None)


def test_gaps_do_not_prolong_a_gate() -> None:
    """A limit that starts anew after each gap would never come."""
    stage = Stage(plan=plan(gate_at=0))
    stage.until(lambda run: run.hold is not None)
    begun = stage.now
    while not stage.run.final:
        stage.gap = "no series" if (stage.now // 60) % 10 == 0 else ""
        stage.tick(10)
    assert stage.now - begun < 3600 + 120


def test_a_command_for_a_step_that_has_passed_is_void() -> None:
    """A late click must not open the next gate."""
    stage = Stage(plan=plan(gate_at=1))
    stage.until(lambda run: run.hold is not None)
    stage.ask("approve", step=0)
    stage.rest(30)
    assert (stage.run.split, stage.has_told(Told.COMMAND_VOID)) == (QUARTER, True)


def test_a_command_is_obeyed_once() -> None:
    """The list of commands is never emptied; an approval of the first step must not approve the second."""
    stage = Stage(plan=plan(gate_at=0))
    stage.ask("approve", step=0)
    stage.baking(1)
    assert stage.run.obeyed == ("c0",)
    assert stage.run.approved == (0,)
    before = stage.run.approved
    stage.rest(30)
    assert stage.run.approved == before


def test_an_old_approval_does_not_open_a_later_gate() -> None:
    """Obeyed once, for the step it met."""
    stage = Stage(plan=plan(gate_at=1))
    stage.ask("approve")
    stage.until(lambda run: run.hold is not None and run.hold.kind == "gate")
    assert stage.run.split == QUARTER


# ---------------------------------------------------------------------------------------------------------------------
# The way down


def at(phase: str) -> Stage:
    """A stage that has come to a phase; the second step has a gate."""
    stage = Stage(plan=plan(gate_at=1))
    if phase == "shifting":
        stage.until(Phase.SHIFTING)
    elif phase == "baking":
        stage.baking()
    elif phase != "pending":
        stage.until(lambda run: run.hold is not None)
    if phase in ("promoting", "watching"):
        stage.ask("approve", step=1)
        stage.until(Phase(phase))
    return stage


@pytest.mark.parametrize("phase", ["shifting", "baking", "gate", "promoting", "watching"])
def test_an_abort_rolls_back_from_every_phase(phase: str) -> None:
    """The operator's word: at once, toward stable, first the patch."""
    stage = at(phase)
    stage.ask("abort", reason="smells")
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.toward, decision.write.marker.split, decision.write.marker.latch) == (
        "stable",
        NOTHING,
        "abort",
    )
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.run.reason) == (Outcome.ABORTED, "aborted by ada: smells")


def test_an_abort_before_anything_was_written_ends_where_the_object_is_gone() -> None:
    """No marker of ours can be in it; but while nobody answers there may be one."""
    stage = Stage()
    stage.sides(canary={"rolled_out": False})
    stage.tick()
    stage.hidden = "no answer"
    stage.ask("abort")
    stage.rest(60)
    assert stage.run.phase is Phase.ROLLING_BACK
    assert "whether the mesh has a marker of this run" in stage.run.waiting
    stage.gone = True
    stage.tick()
    assert stage.run.phase is Phase.ROLLED_BACK


def test_an_abort_before_anything_was_written_writes_nothing() -> None:
    """Pending: there is nothing to take back."""
    stage = at("pending")
    stage.ask("abort")
    assert stage.tick().write is None
    assert stage.run.outcome is Outcome.ABORTED


def test_a_run_that_lost_its_memory_is_told_by_its_marker_that_it_has_traffic() -> None:
    """Rebuilt after a restore, and aborted for it: it remembers no write, and one of it stands in the mesh."""
    former, stage = at("baking"), Stage()
    stage.mesh, stage.hidden = former.mesh, "the API does not answer"
    stage.ask("abort")
    assert stage.tick().write is None
    assert stage.run.phase is Phase.ROLLING_BACK
    stage.hidden = ""
    decision = stage.tick()
    assert decision.write is not None
    assert former.mesh.marker is not None
    assert (decision.write.marker.split, decision.write.marker.seq) == (NOTHING, former.mesh.marker.seq + 1)
    stage.until(Phase.ROLLED_BACK)


@pytest.mark.parametrize("phase", ["shifting", "baking", "gate", "promoting", "watching"])
def test_a_verdict_rolls_back_from_every_phase(phase: str) -> None:
    """Rule 6: evidence of harm counts at once, settled or not, at 100 % too."""
    stage = at(phase)
    stage.says["failure"] = "errors: canary 2 %, stable 0.1 %"
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.run.reason) == (Outcome.FAILED, "errors: canary 2 %, stable 0.1 %")
    assert stage.mesh.split == NOTHING


def test_a_failure_is_for_ever() -> None:
    """Latched: what metrics say afterwards raises nothing."""
    stage = at("baking")
    stage.says["failure"] = "errors"
    stage.until(Phase.ROLLING_BACK)
    stage.says.clear()
    stage.ask("approve")
    stage.ask("promote")
    stage.ask("resume")
    stage.until(Phase.ROLLED_BACK)
    assert max(stage.splits[stage.splits.index(FIVE) + 1 :]) == NOTHING


def test_the_first_latch_stays() -> None:
    """An abort during a rollback does not change why it was rolled back."""
    stage = at("baking")
    stage.says["failure"] = "errors"
    stage.until(Phase.ROLLING_BACK)
    stage.ask("abort")
    assert stage.until(Phase.ROLLED_BACK).outcome is Outcome.FAILED


def test_a_canary_without_ready_pods_is_a_failure_the_second_time() -> None:
    """Rule 6: once may be a look in an unlucky moment, twice is dead; needs no metrics."""
    stage = at("baking")
    stage.blind = "connection refused"
    stage.sides(canary={"ready": 0, "rolled_out": False})
    assert stage.tick().run.latch is None
    assert stage.tick().write is not None
    assert stage.until(Phase.ROLLED_BACK).outcome is Outcome.FAILED
    assert "no ready endpoint" in stage.run.reason


def test_two_looks_within_one_moment_are_one() -> None:
    """A wake may tick a run twice within milliseconds; that is not twice."""
    stage = at("baking")
    stage.sides(canary={"ready": 0})
    for _ in range(5):
        assert stage.tick(0.01).run.latch is None
    assert stage.tick(1.0).run.latch is not None


def test_a_canary_that_is_ready_again_is_not_dead() -> None:
    """Twice in a row, not twice ever."""
    stage = at("baking")
    for _ in range(3):
        stage.sides(canary={"ready": 0})
        stage.tick()
        stage.sides()
        stage.tick()
    assert stage.run.latch is None


def test_a_dead_canary_without_traffic_is_no_failure() -> None:
    """At 0 % nobody is harmed."""
    stage = Stage()
    stage.sides(canary={"ready": 0})
    assert stage.rest(60).latch is None


def test_a_rollback_ends_when_nothing_was_seen_through_one_settle() -> None:
    """Rule 12: final is what was observed, not what was sent."""
    stage = at("baking")
    stage.ask("abort")
    stage.tick()
    stage.tick()
    arrived = stage.now
    stage.until(Phase.ROLLED_BACK)
    assert stage.now - arrived == 20


def test_a_retreat_that_does_not_land_is_sent_until_it_does() -> None:
    """Rule 7: until accepted; each with a new sequence."""
    stage = at("baking")
    stage.ask("abort")
    stage.lands = False
    sequences = [write.marker.seq for _ in range(4) if (write := stage.tick().write)]
    assert sequences == [2, 3, 4, 5]
    assert stage.rest(100).phase is Phase.ROLLING_BACK
    stage.lands = True
    stage.until(Phase.ROLLED_BACK)


def test_a_rollback_needs_no_sight_of_mesh_pods_or_metrics() -> None:
    """Rule 7: nothing blocks it."""
    stage = at("baking")
    stage.ask("abort")
    stage.hidden = "no answer"
    stage.pods = Unseen("no answer")
    stage.blind = "no answer"
    decision = stage.tick()
    assert decision.write is not None
    assert decision.write.marker.split == NOTHING
    assert "no answer" in stage.run.waiting


def test_a_rollback_is_not_over_while_the_mesh_cannot_be_seen() -> None:
    """What was sent is not what is."""
    stage = at("baking")
    stage.ask("abort")
    stage.tick()
    stage.hidden = "no answer"
    assert stage.rest(300).phase is Phase.ROLLING_BACK


def test_a_shift_in_flight_at_an_abort_is_overtaken_by_a_retreat() -> None:
    """The weights are at 0 % already, and yet a newer write must be seen there before the rollback is done."""
    stage = Stage(lands=False)
    stage.until(Phase.SHIFTING)
    stage.ask("abort")
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.marker.split, decision.write.marker.seq) == (NOTHING, 2)
    stage.rest(100)
    assert stage.run.phase is Phase.ROLLING_BACK
    stage.lands = True
    stage.until(Phase.ROLLED_BACK)


def test_an_older_retreat_of_ours_does_not_stand_for_the_new_one() -> None:
    """After a restart from zero the mesh holds a marker at 0 %; a shift after it may still be on its way."""
    stage = at("baking")
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.until(lambda run: run.phase is Phase.SHIFTING and stage.has_told(Told.RESTARTED), every=5)
    put(stage, marker(stage, split=NOTHING, seq=2, latch="restart"), 0)
    stage.lands = False
    stage.ask("abort")
    assert stage.tick().write is not None
    assert stage.rest(100).phase is Phase.ROLLING_BACK


def test_a_hand_that_raises_the_canary_during_a_rollback_is_brought_down() -> None:
    """After a failure the split never rises, whoever raises it."""
    stage = at("baking")
    stage.ask("abort")
    stage.rest(15)
    stage.by_hand(50)
    decision = stage.tick()
    assert decision.write is not None
    assert decision.write.marker.split == NOTHING
    stage.until(Phase.ROLLED_BACK)


def test_a_marker_lost_at_nothing_does_not_stop_the_end() -> None:
    """Once our retreat was seen, nothing of ours is in flight any more."""
    stage = at("baking")
    stage.ask("abort")
    stage.rest(10)
    put(stage, None, 0)
    stage.until(Phase.ROLLED_BACK, within=60)


def test_final_is_final() -> None:
    """No command, verdict or edit moves a run that has ended."""
    stage = Stage()
    stage.until(Phase.PROMOTED)
    stage.ask("abort")
    stage.by_hand(50)
    stage.says["failure"] = "errors"
    decision = stage.tick()
    assert (decision.write, stage.run.phase, decision.release) == (None, Phase.PROMOTED, True)
    assert not decide(replace(stage.run, released=True), stage.see()).release


@pytest.mark.parametrize("way", ["missing", "not ready"])
def test_without_a_way_back_a_rollback_holds_and_pages_once(way: str) -> None:
    """Rule 7: moving users onto nothing helps nobody; a person decides."""
    stage = at("baking")
    if way == "missing":
        stage.mesh = replace(stage.mesh, stable_missing=True)
    else:
        stage.sides(stable={"ready": 0})
    stage.ask("abort")
    stage.rest(60)
    assert (stage.run.phase, stage.mesh.split) == (Phase.ROLLING_BACK, FIVE)
    assert len([event for event in stage.told if event.told is Told.NO_WAY_BACK]) == 1
    assert "abort --force" in stage.run.waiting
    stage.ask("abort", force=True)
    assert stage.tick().write is not None


def test_a_rollback_goes_on_when_stable_is_back() -> None:
    """The hold has no limit, and ends by itself."""
    stage = at("baking")
    stage.sides(stable={"ready": 0})
    stage.ask("abort")
    stage.rest(60)
    stage.sides()
    stage.until(Phase.ROLLED_BACK)


def test_cells_of_a_step_that_fails_at_once_stay_under_their_own_split() -> None:
    """An abort before the first cell of a step must not hand its traffic to the step before."""
    stage = at("baking")
    stage.baking(1)
    arrived = stage.run.segment
    stage.ask("abort")
    stage.tick()
    assert arrived in stage.run.segments
    assert [segment.split for segment in stage.run.segments] == [NOTHING, FIVE, QUARTER, NOTHING]


def test_a_step_that_may_have_arrived_keeps_its_segment() -> None:
    """An abort while the mesh cannot be read: whether traffic followed the last shift is not known."""
    stage = at("baking")
    stage.baking(1)
    stage.ask("abort")
    stage.hidden = "no answer"
    stage.tick()
    assert [segment.split for segment in stage.run.segments] == [NOTHING, FIVE, QUARTER, NOTHING]


def test_a_step_seen_to_arrive_in_the_tick_of_the_abort_keeps_its_segment() -> None:
    """The sighting says that traffic followed the write."""
    stage = at("shifting")
    stage.ask("abort")
    stage.tick()
    assert [segment.split for segment in stage.run.segments] == [NOTHING, FIVE, NOTHING]


# ---------------------------------------------------------------------------------------------------------------------
# Without data


def test_blindness_holds_traffic_and_ends_at_the_limit() -> None:
    """Rule 6: ten minutes by default, then back; it never rises in between."""
    stage = at("baking")
    stage.blind = "connection refused"
    stage.rest(300)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.split) == ("no-data", FIVE)
    stage.until(lambda run: run.final)
    assert (stage.run.outcome, max(stage.splits)) == (Outcome.INCONCLUSIVE, FIVE)


def test_blindness_that_ends_in_time_loses_nothing() -> None:
    """Prometheus kept what fell into it."""
    stage = at("baking")
    stage.blind = "connection refused"
    stage.rest(300)
    stage.blind = ""
    stage.baking(1)
    assert stage.has_told(Told.RESUMED)


def test_a_full_bake_does_not_pass_while_blind() -> None:
    """Never advance while blind."""
    stage = at("baking")
    stage.until(lambda run: len(run.baked) >= 5)
    stage.blind = "connection refused"
    stage.rest(120)
    assert stage.run.split == FIVE


def test_a_bake_that_is_full_in_a_tick_that_is_blind_does_not_pass() -> None:
    """The last cell came, and the next question went unanswered: never advance while blind."""
    stage = at("baking")
    stage.until(lambda run: len(run.baked) == 5)
    stage.now += 15
    full = stage.see()
    assert decide(stage.run, full).write is not None
    assert decide(stage.run, replace(full, blind="connection refused")).write is None


def test_a_downtime_of_ours_is_nobodys_gap() -> None:
    """After an hour without canaryd the plan's ten minutes begin when it is back."""
    stage = at("baking")
    stage.blind = "starting"
    stage.tick(3600)
    assert stage.run.latch is None
    stage.blind = ""
    stage.baking(1)


def test_what_this_process_has_not_asked_for_yet_is_no_gap() -> None:
    """Back after a minute, canaryd has no cells of that minute before it has asked Prometheus for them."""
    stage = at("baking")
    back = replace(stage.see(), now=stage.now + 100, cells=(), since=stage.now + 99)
    assert decide(stage.run, back).run.hold is None
    waited = replace(back, now=back.now + 100)
    held = decide(stage.run, waited).run.hold
    assert held is not None
    assert held.kind == "no-data"


def test_no_cell_for_a_while_is_no_data() -> None:
    """A collector that brings nothing and says nothing is not trusted either."""
    stage = at("baking")
    stage.blind = "x"
    seen = stage.see()
    silent = Observation(stage.now + 100, stage.mesh, stage.pods)
    assert seen.blind
    held = decide(stage.run, silent).run.hold
    assert held is not None
    assert held.kind == "no-data"


# ---------------------------------------------------------------------------------------------------------------------
# What the mesh says


def test_a_lost_write_is_sent_again_and_its_segment_forgotten() -> None:
    """Rule 3, lost: no traffic ever followed it."""
    stage = Stage(lands=False)
    stage.until(Phase.SHIFTING)
    stage.rest(20)
    assert stage.run.phase is Phase.SHIFTING
    stage.lands = True
    stage.baking()
    assert [segment.split for segment in stage.run.segments] == [NOTHING, FIVE]
    assert stage.run.segment.seq == stage.run.seq
    assert stage.run.segment.origin == stage.run.at


def test_a_lost_write_that_lands_late_keeps_its_place_in_history() -> None:
    """The former attempt arrived after all: from then on traffic followed it."""
    stage = at("baking")
    stage.until(Phase.SHIFTING)
    late = marker(stage)
    put(stage, replace(late, seq=1, split=FIVE), 5)  # the shift to 25 % is on its way
    stage.lands = False
    stage.tick()
    put(stage, late, 25)
    stage.lands = True
    stage.tick()
    assert [(segment.seq, segment.split) for segment in stage.run.segments][-2:] == [(2, QUARTER), (4, QUARTER)]
    assert stage.run.segments[-2].origin == late.at


def test_an_old_state_put_back_by_hand_is_drift() -> None:
    """`kubectl apply` of last week's object has our old marker: it is no lost write, and is respected."""
    stage = at("baking")
    old = stage.mesh
    stage.baking(1)
    stage.mesh = old
    assert stage.tick().write is None
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.mesh.split) == ("drift", FIVE)


def test_a_marker_and_weights_forged_alike_are_drift() -> None:
    """Compare with the stored split, never with the observed one."""
    stage = at("baking")
    put(stage, marker(stage, split=HALF), 50)
    decision = stage.tick()
    assert decision.write is not None
    assert decision.write.marker.split == FIVE


@pytest.mark.parametrize("latch", ["fail", "abort", "inconclusive"])
def test_a_retreat_whose_save_was_lost_is_adopted_with_its_latch(latch: str) -> None:
    """Rule 3, ahead: a restart that knows nothing of the failure must not go on."""
    stage = at("baking")
    put(stage, marker(stage, seq=2, split=NOTHING, latch=latch, reason="errors", at=stage.now), 0)
    stage.says["proven"] = True
    assert stage.tick().run.latch is not None
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.reason, stage.has_told(Told.ADOPTED)) == ("errors", True)
    assert stage.run.segment.seq == 2


def test_an_adopted_restart_starts_over() -> None:
    """The marker says which retreat it was."""
    stage = at("baking")
    put(stage, marker(stage, seq=2, split=NOTHING, latch="restart", at=stage.now), 0)
    stage.saves, before = False, stage.run
    decision = stage.tick()
    assert before.phase is Phase.BAKING
    assert decision.run.evidence is None
    assert decision.run.latch is None
    assert decision.run.split == FIVE  # begun again in the same tick, for both sides are ready
    assert decision.run.seq == 3


def test_an_adopted_restart_does_not_take_up_the_former_evidence() -> None:
    """The cells of that tick were judged before anybody knew that the canary is another one."""
    stage = at("baking")
    put(stage, marker(stage, seq=2, split=NOTHING, latch="restart", at=stage.now), 0)
    stage.now += 30
    seen = replace(stage.see(), judged=JudgeState((), CheckState("unattributed failures")))
    assert seen.evidence is not None
    assert seen.cells
    run = decide(stage.run, seen).run
    assert (run.judged, run.evidence) == (None, None)
    assert run.wants_past


def test_what_stable_did_before_is_kept_and_told_once() -> None:
    """The judge learned of it first: without it no replay is the run."""
    stage = at("baking")
    past = Past(0, (), "its pods are too young")
    run = decide(stage.run, replace(stage.see(), past=past))
    assert run.run.past == past
    assert [event.reason for event in run.events if event.told is Told.HISTORY] == [past.sentence]
    assert not run.run.wants_past


def test_an_adopted_bring_down_is_held() -> None:
    """Somebody had raised the weight; a person has to say that it goes on."""
    stage = at("baking")
    put(stage, marker(stage, seq=2, latch="drift", reason="somebody set 50 %", at=stage.now), 5)
    stage.rest(60)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.hold.sticky) == ("drift", True)


def test_a_newer_marker_that_rises_is_not_ours() -> None:
    """Toward the canary we save first: what we do not know of we did not do, and it is brought down."""
    stage = at("baking")
    put(stage, marker(stage, seq=9, split=HALF), 50)
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.marker.split, decision.write.marker.seq) == (FIVE, 10)
    assert not stage.has_told(Told.ADOPTED)


def test_an_adopted_marker_is_adopted_even_if_weights_contradict_it() -> None:
    """A failure is a failure, whatever somebody did to the weights afterwards."""
    stage = at("baking")
    put(stage, marker(stage, seq=2, split=NOTHING, latch="fail", reason="errors", at=stage.now), 50)
    decision = stage.tick()
    assert decision.write is not None
    assert decision.write.marker.split == NOTHING


def test_a_run_that_wrote_nothing_has_arrived_where_it_began() -> None:
    """Before the first write there is no marker to see."""
    run: Run = Stage().run
    assert standing(run, Sighting(NOTHING, None)) is Standing.ARRIVED
    assert standing(run, Sighting(FIVE, None)) is Standing.DRIFT
    other = Marker("run-0", 3, NOTHING, NOTHING, ROUTE.stable, ROUTE.canary, START)
    assert standing(run, Sighting(NOTHING, other)) is Standing.DRIFT


def test_another_runs_marker_is_drift() -> None:
    """Two runs on one entry: neither goes on."""
    stage = at("baking")
    put(stage, marker(stage, run="run-2"), 5)
    stage.tick()
    assert stage.run.hold is not None
    assert "another run" in stage.run.hold.why


def test_an_unreadable_mesh_holds_everything() -> None:
    """Blind to the mesh nothing is written, and the sentence says why."""
    stage = at("baking")
    stage.hidden = "no answer"
    stage.rest(300)
    assert stage.run.split == FIVE
    assert "no answer" in stage.run.waiting


# ---------------------------------------------------------------------------------------------------------------------
# Drift


def test_weights_raised_by_hand_are_brought_down_at_once_and_held() -> None:
    """Rule 8: above what the plan allows, then a person has to say `resume`."""
    stage = at("baking")
    stage.by_hand(60)
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.toward, decision.write.marker.split, decision.write.marker.latch) == (
        "stable",
        FIVE,
        "drift",
    )
    stage.rest(600)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.split) == ("drift", FIVE)
    stage.ask("resume")
    stage.baking(1)


def test_one_entry_raised_among_several_is_brought_down() -> None:
    """Rule 8 counts what users meet: entries that disagree are no split, and yet too much may be above the plan's."""
    stage = at("baking")
    stage.by_hand(None, highest=percent(60), why="the entries disagree")
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.toward, decision.write.marker.split) == ("stable", FIVE)
    assert decision.run.hold is not None


def test_entries_that_disagree_below_the_plan_are_respected() -> None:
    """Whoever takes traffic from the canary, in one entry too, has a reason."""
    stage = at("baking")
    stage.by_hand(None, highest=FIVE, why="the entries disagree")
    assert stage.tick().write is None
    assert stage.run.hold is not None


def test_a_bring_down_that_got_lost_is_sent_again_and_still_held() -> None:
    """The marker says again what the write was for."""
    stage = at("baking")
    stage.by_hand(60)
    stage.lands = False
    stage.tick()
    stage.lands = True
    decision = stage.tick()
    assert decision.write is not None
    assert decision.write.marker.latch == "drift"
    stage.rest(300)
    assert stage.run.hold is not None


def test_weights_lowered_by_hand_are_respected() -> None:
    """Rule 8: toward stable somebody may know better; and what is measured then is no bake."""
    stage = at("baking")
    stage.baking(1)
    stage.by_hand(5)
    stage.rest(600)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.mesh.split, stage.run.step) == ("drift", FIVE, 1)
    assert not stage.run.segment.ours
    assert stage.run.baked == ()


def test_cells_under_a_foreign_split_are_no_bake() -> None:
    """They are evidence of harm only."""
    stage = at("baking")
    stage.baking(1)
    stage.by_hand(5)
    stage.rest(300)
    foreign = [cell for cell in stage.run.cells if cell.segment == stage.run.segment.index]
    assert foreign
    assert not any(cell.settled for cell in foreign)


def test_harm_under_a_foreign_split_rolls_back() -> None:
    """Held is not asleep."""
    stage = at("baking")
    stage.baking(1)
    stage.by_hand(5)
    stage.tick()
    stage.says["failure"] = "errors"
    assert stage.until(Phase.ROLLED_BACK).outcome is Outcome.FAILED


def test_weights_put_back_by_hand_go_on_with_a_fresh_bake() -> None:
    """The drift is over; what was measured before it does not count twice."""
    stage = Stage()
    stage.baking()
    stage.baking(1)
    stage.by_hand(5)
    stage.rest(60)
    stage.by_hand(25)
    stage.tick()
    assert (stage.run.hold, stage.run.baked, stage.run.segment.ours) == (None, (), True)
    stage.baking(2)


def test_a_resume_sets_lowered_weights_again() -> None:
    """A person's word raises the weight to what the plan has reached, not beyond."""
    stage = at("baking")
    stage.baking(1)
    stage.by_hand(5)
    stage.tick()
    stage.ask("resume")
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.toward, decision.write.marker.split) == ("canary", QUARTER)


def test_a_resume_that_cannot_be_carried_out_is_not_lost() -> None:
    """The mesh was not to be seen in the tick that read the command."""
    stage = at("baking")
    stage.by_hand(0)
    stage.tick()
    stage.hidden = "no answer"
    stage.ask("resume")
    stage.rest(20)
    stage.hidden = ""
    stage.rest(20)
    assert (stage.run.hold, stage.mesh.split) == (None, FIVE)


def test_a_resume_without_drift_is_void() -> None:
    """It must not lie in wait for a drift to come."""
    stage = at("baking")
    stage.ask("resume")
    stage.tick()
    assert stage.has_told(Told.COMMAND_VOID)
    stage.by_hand(0)
    stage.rest(30)
    assert stage.run.hold is not None


def test_a_marker_taken_out_is_drift() -> None:
    """A GitOps tool has put its own object back: hold, even where the weights look right."""
    stage = at("baking")
    put(stage, None, 5)
    stage.rest(60)
    assert stage.run.hold is not None
    assert "marker" in stage.run.hold.why


def test_an_entry_that_is_gone_is_drift() -> None:
    """There is nothing to write to; the sentence says what was found."""
    stage = at("baking")
    stage.by_hand(None, why="http[0] is gone")
    assert stage.tick().write is None
    assert stage.run.hold is not None
    assert "http[0] is gone" in stage.run.hold.why


@pytest.mark.parametrize("split", [0, 60])
def test_drift_is_reasserted_where_the_plan_says_so(split: float) -> None:
    """``onDrift: reassert``, in both directions, without a hold."""
    stage = Stage(plan=plan(on_drift="reassert"))
    stage.baking()
    stage.by_hand(split)
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.marker.split, decision.write.toward) == (FIVE, "stable" if split else "canary")
    assert stage.run.hold is None


@pytest.mark.parametrize("split", [0, 60])
def test_drift_aborts_where_the_plan_says_so(split: float) -> None:
    """``onDrift: abort``."""
    stage = Stage(plan=plan(on_drift="abort"))
    stage.baking()
    stage.by_hand(split)
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.ABORTED


def test_drift_that_nobody_resolves_is_inconclusive_in_the_end() -> None:
    """No hold is for ever unless the plan says so."""
    stage = at("baking")
    stage.by_hand(0)
    stage.until(lambda run: run.final, within=5 * 3600, every=30)
    assert stage.run.outcome is Outcome.INCONCLUSIVE


def test_an_emergency_move_to_the_canary_is_not_undone_onto_a_dead_stable() -> None:
    """Somebody moved everything to the only version that lives: hold, and say so."""
    stage = at("baking")
    stage.sides(stable={"ready": 0})
    stage.by_hand(100)
    assert stage.tick().write is None
    assert stage.run.hold is not None


def test_weights_moved_before_the_first_write_hold_the_start() -> None:
    """Rule 12: a run starts only when stable holds everything."""
    stage = Stage()
    stage.sides(canary={"rolled_out": False})
    stage.tick()
    stage.by_hand(50)
    stage.sides()
    assert stage.tick().write is None
    assert stage.run.hold is not None


# ---------------------------------------------------------------------------------------------------------------------
# Changed images


def test_a_new_canary_image_goes_to_nothing_and_starts_over() -> None:
    """Rule 11: the evidence is of something that is no longer there."""
    stage = Stage()
    stage.baking()
    stage.sides(canary={"hashes": ("hash-v3", "hash-new"), "rolled_out": False})
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.marker.split, decision.write.marker.latch) == (NOTHING, "restart")
    assert (stage.run.phase, stage.run.evidence, stage.run.canary_pin) == (Phase.PENDING, None, None)
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, FIVE, NOTHING, FIVE, QUARTER, HALF, EVERYTHING]


def test_cells_of_the_former_canary_count_for_nothing() -> None:
    """The judge begins anew after the restart."""
    stage = at("baking")
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.tick()
    assert stage.run.judged_from == len(stage.run.segments)


def test_a_new_canary_image_aborts_where_the_plan_says_so() -> None:
    """``onCanaryChange: abort``."""
    stage = Stage(plan=plan(on_canary_change="abort"))
    stage.baking()
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.ABORTED


def test_a_restart_does_not_move_users_onto_a_dead_stable() -> None:
    """Rule 7 holds for every retreat."""
    stage = at("baking")
    stage.sides(canary={"hashes": ("hash-new",)}, stable={"ready": 0})
    assert stage.tick().write is None
    assert stage.has_told(Told.NO_WAY_BACK)
    stage.sides(canary={"hashes": ("hash-new",)})
    assert stage.tick().write is not None


def test_the_retreat_of_a_restart_is_sent_blindly_too() -> None:
    """Users are on an image that nobody has measured; a mesh that cannot be read is no reason to wait."""
    stage = at("baking")
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.hidden = "no answer"
    stage.lands = False
    assert stage.tick().write is not None
    decision = stage.tick()
    assert decision.write is not None
    assert (decision.write.marker.split, decision.write.marker.latch) == (NOTHING, "restart")


def test_a_new_stable_image_holds_and_is_measured_anew() -> None:
    """Rule 11: history anew, this step from its beginning; the canary's traffic stays."""
    stage = Stage()
    stage.baking()
    stage.until(lambda run: len(run.baked) >= 3)
    stage.sides(stable={"hashes": ("hash-v1", "hash-new"), "rolled_out": False})
    stage.tick()
    assert stage.run.hold is not None
    assert stage.run.hold.kind == "stable-changed"
    stage.sides(stable={"hashes": ("hash-new",)})
    stage.tick()
    assert stage.has_told(Told.STABLE_CHANGED)
    assert (stage.run.hold, stage.run.baked, stage.run.evidence, stage.run.split) == (None, (), None, FIVE)
    stage.until(Phase.PROMOTED)


def test_a_stable_rollout_that_was_undone_leaves_no_hold() -> None:
    """Back to the pinned template: the run goes on."""
    stage = at("watching")
    stage.sides(stable={"hashes": ("hash-v1", "hash-new"), "rolled_out": False})
    stage.tick()
    assert stage.run.hold is not None
    stage.sides()
    stage.tick()
    assert stage.run.hold is None


def test_gaps_are_cells_of_the_run_too() -> None:
    """Evaluated once: a gap has its place in the record, with its reason."""
    stage = at("baking")
    stage.gap = "partial answer"
    stage.rest(60)
    assert any(isinstance(cell, Gap) and cell.why == "partial answer" for cell in stage.run.cells)


def test_a_new_side_is_pinned_by_uid_too() -> None:
    """A workload deleted and made anew with the same template is another one."""
    stage = at("baking")
    assert stage.run.canary_pin is not None
    assert stage.run.canary_pin.differs_from(side("v3", uids=("uid-new",)))
    assert not stage.run.canary_pin.differs_from(side("v3", ready=0))


# ---------------------------------------------------------------------------------------------------------------------
# A step with a match


AUDIENCE = plan(match_first=True).spec.steps[0].audience


def matched() -> Stage:
    """A run that bakes at a step with a match."""
    stage = Stage(plan=plan(match_first=True))
    stage.baking()
    assert (stage.run.split, stage.run.match) == (NOTHING, AUDIENCE)
    return stage


def test_matched_people_meet_the_canary_first_and_then_a_part_of_everybody() -> None:
    stage = Stage(plan=plan(match_first=True))
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, NOTHING, FIVE, QUARTER, HALF, EVERYTHING]
    assert [segment.matched for segment in stage.run.segments] == [False, True, False, False, False, False]
    assert stage.mesh.match == ""


def test_matched_people_are_sent_there_only_by_a_process_that_has_saved_it() -> None:
    stage = Stage(plan=plan(match_first=True))
    write = stage.tick().write
    assert write is not None
    assert (write.toward, write.marker.match) == ("canary", AUDIENCE)


def test_harm_at_a_match_takes_the_entries_away_at_once() -> None:
    stage = matched()
    stage.says = {"failure": "errors-slo: 30 %"}
    decision = stage.until(lambda run: run.latch is not None) and stage.last
    assert decision is not None
    assert decision.write is not None
    assert (decision.write.toward, decision.write.marker.split, decision.write.marker.match) == ("stable", NOTHING, "")
    assert stage.until(Phase.ROLLED_BACK).match == ""


def test_a_canary_without_ready_pods_is_dead_for_matched_people_too() -> None:
    stage = matched()
    stage.sides(canary={"ready": 0})
    assert "matched requests" in stage.until(Phase.ROLLED_BACK).reason


def test_an_abort_at_a_match_is_not_over_before_its_entries_are_gone() -> None:
    stage = matched()
    stage.lands = False
    stage.ask("abort")
    stage.rest(120)
    assert stage.run.phase is Phase.ROLLING_BACK
    stage.lands = True
    stage.until(Phase.ROLLED_BACK)
    assert stage.mesh.match == ""


def test_entries_that_somebody_takes_away_are_respected_and_held() -> None:
    stage = matched()
    stage.mesh = replace(stage.mesh, match="")
    stage.tick()
    assert stage.run.hold is not None
    assert "took canaryd's entries" in stage.run.hold.why
    assert stage.last is not None
    assert stage.last.write is None
    stage.ask("resume")
    stage.tick()
    assert stage.mesh.match == AUDIENCE


def test_entries_that_somebody_widens_are_taken_out_until_a_person_says_so() -> None:
    stage = matched()
    stage.mesh = replace(stage.mesh, match=OTHERWISE)
    stage.tick()
    assert (stage.mesh.match, stage.mesh.split) == ("", NOTHING)
    stage.rest(120)
    assert stage.mesh.match == ""
    stage.ask("resume")
    stage.tick()
    assert stage.mesh.match == AUDIENCE
    assert stage.baking().match == AUDIENCE


def test_entries_of_ours_that_come_back_at_a_weight_are_taken_out() -> None:
    """Git has an old state of the object: nobody but the weight's part may meet the canary."""
    stage = Stage(plan=plan(match_first=True))
    stage.baking(step=1)
    stage.mesh = replace(stage.mesh, match=OTHERWISE)
    stage.tick()
    assert (stage.mesh.match, stage.mesh.split) == ("", FIVE)


def test_a_new_canary_at_a_match_starts_over() -> None:
    stage = matched()
    stage.sides(canary={"hashes": ("hash-new",)})
    stage.tick()
    assert stage.mesh.match == ""
    assert (stage.baking().match, stage.run.step) == (AUDIENCE, 0)


def test_a_write_at_a_match_that_was_lost_is_sent_again() -> None:
    stage = Stage(plan=plan(match_first=True))
    stage.lands = False
    stage.tick()
    stage.lands = True
    stage.baking()
    assert stage.mesh.match == AUDIENCE


def test_a_retreat_from_a_match_whose_save_was_lost_is_adopted() -> None:
    stage = matched()
    stage.says, stage.saves = {"failure": "errors-slo"}, False
    stage.tick(15)
    assert stage.mesh.match == ""
    stage.says, stage.saves = {}, True
    stage.tick()
    assert stage.run.latch is not None
    assert stage.until(Phase.ROLLED_BACK).match == ""


def test_a_newer_marker_that_brings_people_to_the_canary_is_not_ours() -> None:
    stage = Stage(plan=plan(match_first=True))
    stage.baking(step=1)
    forged = marker(stage, seq=stage.run.seq + 1, match=AUDIENCE)
    stage.mesh = Sighting(FIVE, forged, match=AUDIENCE)
    stage.tick()
    assert not stage.has_told(Told.ADOPTED)
    assert stage.mesh.match == ""


def test_cells_counted_after_a_write_that_was_forgotten_belong_to_no_former_split() -> None:
    """The process that counted them did not know of the retreat; after it the canary had nothing."""
    stage = Stage()
    stage.baking(step=1)
    stage.rest(30)
    stage.says, stage.saves = {"failure": "errors"}, False
    stage.tick(15)
    forgotten = stage.now
    stage.says, stage.saves = {}, True
    stage.tick(60)
    assert stage.has_told(Told.ADOPTED)
    stage.rest(60)
    for cell in stage.run.cells:
        assert cell.end <= forgotten or cell.split == NOTHING


def test_a_rollback_is_not_over_while_people_are_still_matched() -> None:
    """Git has put the entries back while it was watched that they stay away."""
    stage = matched()
    stage.ask("abort")
    stage.until(lambda run: run.phase is Phase.ROLLING_BACK and run.arrived_at is not None)
    stage.lands = False
    stage.mesh = replace(stage.mesh, match=OTHERWISE)
    stage.rest(120)
    assert not stage.run.final
    stage.lands = True
    stage.until(Phase.ROLLED_BACK)
    assert stage.mesh.match == ""

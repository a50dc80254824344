"""While a window is closed or a freeze is in force: an example for each way in which traffic could rise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.model.decision import Told
from canaryd.model.run import Outcome, Phase
from canaryd.model.traffic import EVERYTHING, NOTHING, Sighting
from tests.stage import Stage, percent, plan

FIVE, QUARTER, HALF = percent(5), percent(25), percent(50)
FROZEN = "frozen by ada until it is lifted: incident 4711 (freeze-1)"
LONG = 2 * 3600.0


def pause(stage: Stage, seconds: float) -> None:
    """Much time, in few ticks."""
    for _ in range(int(seconds // 60)):
        stage.tick(60)


def test_nothing_starts() -> None:
    """A run that was begun a moment before the freeze waits at its stable weight, for as long as it lasts."""
    stage = Stage(barred=FROZEN)
    stage.rest(600)
    assert (stage.run.phase, stage.splits, stage.run.hold) == (Phase.PENDING, [NOTHING], None)
    assert stage.run.waiting == f"waiting to start: {FROZEN}"
    stage.barred = ""
    stage.tick()
    assert stage.run.phase is Phase.SHIFTING


def test_what_bakes_goes_on_baking_and_its_step_waits() -> None:
    """The step is measured to its end and passes; the next one waits, and says for whom."""
    stage = Stage()
    stage.baking()
    stage.barred = FROZEN
    stage.rest(300)
    run = stage.run
    assert (run.phase, run.step, run.split, len(run.baked) >= run.needed) == (Phase.BAKING, 0, FIVE, True)
    assert run.hold is not None
    assert (run.hold.kind, run.hold.limit) == ("barred", None)
    assert run.waiting == f"step 1 has passed at 5 %, the next one waits: {FROZEN}"
    stage.barred = ""
    stage.tick()
    assert (stage.run.step, stage.run.hold, stage.splits[-1]) == (1, None, QUARTER)
    assert stage.has_told(Told.HELD)
    assert stage.has_told(Told.RESUMED)


def test_a_closed_window_holds_for_long_and_runs_out_of_nothing() -> None:
    """No limit of the plan speaks of it."""
    stage = Stage(plan=plan(on_inconclusive={"hold": "5m"}))
    stage.baking()
    stage.barred = "outside of the change window until Mon 09:00 Europe/Berlin"
    pause(stage, LONG)
    assert (stage.run.phase, stage.run.latch, stage.run.split) == (Phase.BAKING, None, FIVE)


def test_the_promotion_waits() -> None:
    """100 % is a rise like any other."""
    stage = Stage()
    stage.baking(2)
    stage.barred = FROZEN
    stage.rest(600)
    assert (stage.run.phase, stage.run.split) == (Phase.BAKING, HALF)
    assert stage.run.waiting == f"the promotion waits: {FROZEN}"
    stage.barred = ""
    stage.until(Phase.PROMOTED)


def test_a_persons_word_to_promote_waits_too() -> None:
    """It is taken down, and carried out when the freeze ends."""
    stage = Stage(says={"proven": False})
    stage.baking(2)
    stage.barred = FROZEN
    stage.ask("promote", reason="I have looked")
    stage.rest(120)
    assert (stage.run.split, stage.run.unproven) == (HALF, "ada: I have looked")
    stage.barred = ""
    stage.tick()
    assert stage.run.split == EVERYTHING


def test_watching_may_end() -> None:
    """All the traffic is there already; nothing rises any more."""
    stage = Stage()
    stage.until(Phase.WATCHING)
    stage.barred = FROZEN
    stage.until(Phase.PROMOTED)


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.BAKING, Phase.PROMOTING, Phase.WATCHING])
def test_every_way_back_is_open(phase: Phase) -> None:
    """Harm rolls back in the tick in which it is known, whatever is frozen."""
    stage = Stage()
    stage.until(phase)
    stage.barred, stage.says = FROZEN, {"failure": "errors"}
    stage.until(lambda run: run.latch is not None)
    assert stage.mesh.split == NOTHING
    stage.until(Phase.ROLLED_BACK)


def test_an_abort_is_obeyed_at_once() -> None:
    """A frozen cluster is where people abort."""
    stage = Stage()
    stage.baking(1)
    stage.barred = FROZEN
    stage.rest(60)
    stage.ask("abort", reason="enough")
    stage.tick()
    assert (stage.mesh.split, stage.run.latch is not None) == (NOTHING, True)


def test_a_new_canary_goes_to_nothing_and_starts_over_only_later() -> None:
    """To 0 % at once; the first step again is a start."""
    stage = Stage()
    stage.baking(1)
    stage.barred = FROZEN
    stage.sides(canary={"hashes": ("other",)})
    stage.rest(120)
    assert (stage.run.phase, stage.mesh.split) == (Phase.PENDING, NOTHING)
    stage.barred = ""
    stage.until(Phase.SHIFTING)


@pytest.mark.parametrize("policy", ["hold", "reassert"])
def test_weights_that_somebody_brought_down_are_not_set_again(policy: str) -> None:
    """Neither by the plan's policy nor by `resume`, which is not forgotten: it is obeyed when the freeze ends."""
    stage = Stage(plan=plan(on_drift=policy))
    stage.baking(1)
    stage.barred = FROZEN
    stage.by_hand(5)
    stage.ask("resume")
    stage.rest(60)
    assert (stage.mesh.split, stage.run.obeyed) == (FIVE, ())
    stage.barred = ""
    stage.tick()
    assert stage.mesh.split == QUARTER


def test_weights_that_somebody_raised_are_brought_down() -> None:
    """Toward stable there is no bar."""
    stage = Stage()
    stage.baking(1)
    stage.barred = FROZEN
    stage.by_hand(60)
    stage.tick()
    assert stage.mesh.split == QUARTER


def test_the_plans_policy_sets_raised_weights_again_behind_a_bar() -> None:
    """That is on the way down, and needs nobody's word."""
    stage = Stage(plan=plan(on_drift="reassert"))
    stage.baking(1)
    stage.barred = FROZEN
    stage.by_hand(60)
    stage.rest(10)
    assert (stage.mesh.split, stage.run.hold) == (QUARTER, None)
    assert stage.has_told(Told.REASSERTED)


def lost_shift(step: int) -> Stage:
    """The write of ``step`` was decided, saved and lost; then somebody freezes."""
    stage = Stage()
    if step:
        stage.baking(step - 1)
    stage.lands = False
    stage.until(lambda run: run.phase is Phase.SHIFTING and run.step == step)
    stage.lands, stage.barred = True, FROZEN
    return stage


def test_a_lost_write_is_not_sent_again_and_the_former_step_is_measured_further() -> None:
    """A run that waited for its write to arrive would measure nothing at 5 %, for as long as the freeze lasts."""
    stage = lost_shift(1)
    stage.tick()
    assert (stage.run.phase, stage.run.step, stage.run.split) == (Phase.SHIFTING, 0, FIVE)
    assert stage.has_told(Told.TAKEN_BACK)
    cells = len(stage.run.cells)
    stage.rest(300)
    assert max(stage.splits) == FIVE
    assert len(stage.run.cells) > cells + 10
    stage.says = {"failure": "errors"}
    stage.until(Phase.ROLLED_BACK)


def test_what_was_taken_back_goes_on_after_the_freeze() -> None:
    """The step is baked again, and the walk is the plan's."""
    stage = lost_shift(1)
    stage.rest(300)
    stage.barred = ""
    stage.until(Phase.PROMOTED)
    assert stage.splits == [NOTHING, FIVE, FIVE, QUARTER, HALF, EVERYTHING]


def test_a_lost_beginning_is_a_beginning_that_waits() -> None:
    """Nothing was ever seen in the mesh: pending again, and the late write finds a newer marker."""
    stage = lost_shift(0)
    stage.rest(120)
    assert (stage.run.phase, stage.run.split, stage.mesh.split) == (Phase.PENDING, NOTHING, NOTHING)
    assert stage.mesh.marker is not None
    assert stage.mesh.marker.seq > 1
    stage.barred = ""
    stage.until(Phase.PROMOTED)


def test_a_lost_promotion_is_the_last_step_again() -> None:
    """At half of the traffic, and proven anew."""
    stage = Stage()
    stage.baking(2)
    stage.lands = False
    stage.until(Phase.PROMOTING)
    stage.lands, stage.barred = True, FROZEN
    stage.rest(120)
    assert (stage.run.phase, stage.run.step, stage.mesh.split) == (Phase.BAKING, 2, HALF)
    stage.barred = ""
    stage.until(Phase.PROMOTED)


def test_a_rise_that_reached_one_of_two_objects_is_taken_back_in_it() -> None:
    """The other one must not rise, and a run that waited for it would measure nothing meanwhile."""
    stage = Stage()
    stage.baking()
    former = stage.mesh
    stage.lands = False
    stage.until(lambda run: run.phase is Phase.SHIFTING and run.step == 1)
    assert stage.last is not None
    assert stage.last.write is not None
    marker = stage.last.write.marker
    risen = Sighting(marker.split, marker)
    stage.mesh = Sighting(None, marker, highest=marker.split, parts=(risen, former))
    stage.lands, stage.barred = True, FROZEN
    write = stage.tick().write
    assert write is not None
    assert (write.toward, write.marker.split) == ("stable", FIVE)
    stage.rest(60)
    assert (stage.run.phase, stage.run.step, stage.mesh.split) == (Phase.BAKING, 0, FIVE)


# ---------------------------------------------------------------------------------------------------------------------
# Requests that are matched, beside the weights


def test_a_lost_match_is_a_beginning_that_waits() -> None:
    """Nobody was sent anywhere yet, and nobody is."""
    stage = Stage(plan=plan(match_first=True))
    stage.lands = False
    stage.until(Phase.SHIFTING)
    stage.lands, stage.barred = True, FROZEN
    stage.rest(60)
    assert (stage.run.phase, stage.mesh.match, stage.run.match) == (Phase.PENDING, "", "")
    stage.barred = ""
    stage.until(Phase.PROMOTED)


def test_a_lost_weight_after_a_match_is_the_matchs_step_again() -> None:
    """Those who met the canary before go on meeting it, and nobody else does."""
    stage = Stage(plan=plan(match_first=True))
    stage.baking()
    audience = stage.mesh.match
    stage.lands = False
    stage.until(lambda run: run.phase is Phase.SHIFTING and run.step == 1)
    stage.lands, stage.barred = True, FROZEN
    stage.rest(60)
    assert (stage.run.phase, stage.run.step, stage.mesh.split) == (Phase.BAKING, 0, NOTHING)
    assert stage.mesh.match == audience != ""


def test_entries_that_somebody_took_away_are_not_put_back() -> None:
    """They would send people to the canary again."""
    stage = Stage(plan=plan(match_first=True, on_drift="reassert"))
    stage.baking()
    stage.barred = FROZEN
    stage.mesh = replace(stage.mesh, match="")
    stage.ask("resume")
    stage.rest(60)
    assert (stage.mesh.match, stage.run.obeyed) == ("", ())
    stage.barred = ""
    stage.tick()
    assert stage.mesh.match != ""


def test_entries_that_were_changed_and_taken_out_come_back_when_it_is_lifted() -> None:
    """A person's word behind the bar is not forgotten, and sends nobody to the canary before its end."""
    stage = Stage(plan=plan(match_first=True))
    stage.baking()
    stage.barred = FROZEN
    stage.mesh = replace(stage.mesh, match="everybody's")
    stage.ask("resume")
    stage.rest(60)
    assert (stage.mesh.match, stage.run.obeyed) == ("", ())
    stage.barred = ""
    stage.rest(20)
    assert stage.mesh.match == stage.run.current_step.audience != ""


# ---------------------------------------------------------------------------------------------------------------------
# Limits


def limits(stage: Stage) -> tuple[float, float | None]:
    assert stage.run.hold is not None
    return stage.run.hold.since, stage.run.hold.limit


@pytest.mark.parametrize(
    ("kind", "of", "says"),
    [
        ("inconclusive", {"on_inconclusive": {"hold": "10m"}}, {"canary_requests": 3}),
        ("gate", {"gate_at": 0, "gate": {"limit": "10m"}}, {}),
    ],
)
def test_a_limit_stands_still_while_a_window_is_closed(kind: str, of: Any, says: Any) -> None:
    """Five of ten minutes are gone on Friday evening; on Monday morning the other five are left."""
    stage = Stage(plan=plan(**of), says=says)
    stage.until(lambda run: run.hold is not None and run.hold.kind == kind)
    stage.rest(300)
    stage.barred = "outside of the change window"
    pause(stage, LONG)
    assert (stage.run.latch, stage.run.phase) == (None, Phase.BAKING)
    stage.barred = ""
    stage.rest(240)
    assert stage.run.latch is None
    stage.rest(120)
    assert stage.run.latch is not None
    assert stage.run.latch.reason.startswith("inconclusive after 10m")


def test_a_hold_that_began_behind_closed_windows_has_its_whole_limit() -> None:
    """Time counts from when somebody could have let it go on."""
    stage = Stage(plan=plan(on_inconclusive={"hold": "10m"}), says={"canary_requests": 3})
    stage.baking()
    stage.barred = "outside of the change window"
    pause(stage, LONG)
    stage.barred = ""
    stage.rest(570)
    assert stage.run.latch is None
    stage.rest(60)
    assert stage.run.latch is not None


def test_without_data_the_limit_runs_on() -> None:
    """Nobody knows what the canary does to its users: no window makes that bearable."""
    stage = Stage(plan=plan(on_no_data={"hold": "10m"}))
    stage.baking(1)
    stage.barred, stage.blind = FROZEN, "connection refused"
    stage.rest(900)
    assert stage.run.latch is not None
    assert stage.mesh.split == NOTHING


# ---------------------------------------------------------------------------------------------------------------------
# Stops


STOP = "stopped by ada until it is lifted: incident 4711 (stop-1)"


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.SHIFTING, Phase.BAKING, Phase.PROMOTING, Phase.WATCHING])
def test_a_stop_aborts_in_its_first_tick(phase: Phase) -> None:
    """Also where the metrics are away: 0 % in the tick that sees it, and aborted for good."""
    stage = Stage()
    stage.until(phase)
    stage.stopped, stage.barred, stage.blind = STOP, STOP, "connection refused"
    stage.tick()
    assert stage.mesh.split == NOTHING
    stage.stopped = stage.barred = ""
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.run.reason) == (Outcome.ABORTED, STOP)


def test_a_stop_changes_no_reason_of_a_run_that_is_on_its_way_back() -> None:
    """The first latch stays."""
    stage = Stage()
    stage.baking()
    stage.says = {"failure": "errors"}
    stage.until(lambda run: run.latch is not None)
    latch = stage.run.latch
    stage.stopped = STOP
    stage.tick()
    assert stage.run.latch == latch

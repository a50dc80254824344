"""
The way back to stable after a promotion (``afterPromotion: return``), arrow by arrow.

Stable is half old and half new for a while in every one of these releases: what the run waits for, what it does when
the canary turns bad meanwhile, and what a death in between may cost, is each an example here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.machine import decide
from canaryd.model.decision import Told, Unseen
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, Difference, Marker, Sides, Sighting
from tests.stage import Stage, percent, plan, side

IMAGE = Difference("containers.reviews.image", "containers.reviews.image is reviews:2, not reviews:3")
ROLE = Difference("containers.reviews.env.ROLE", "containers.reviews.env.ROLE differs")


def returning(**spec: Any) -> Stage:
    """A promoted canary whose run waits for stable, which runs the former image still."""
    stage = Stage(plan=plan(after_promotion="return", **spec))
    pods(stage, IMAGE)
    stage.until(Phase.RETURNING)
    return stage


def pods(stage: Stage, *unlike: Difference, stable: dict[str, Any] | None = None, canary: Any = None) -> None:
    stage.pods = Sides(side("v1", **(stable or {})), side("v3", **(canary or {})), unlike)


def updated(stage: Stage, **changes: Any) -> None:
    """Stable's Deployment runs the new image, on pods with a new hash."""
    pods(stage, stable={"hashes": ("hash-new",), **changes})


def test_a_promoted_canary_waits_for_stable_and_gives_the_traffic_back() -> None:
    """The point of it: at the end traffic, roles and Git are as before, with the new version in both."""
    stage = returning()
    assert stage.run.split == EVERYTHING
    stage.rest(600)
    assert stage.run.phase is Phase.RETURNING
    assert stage.run.waiting == (
        "waiting for stable reviews-v1 to run what the canary runs: containers.reviews.image is reviews:2, not "
        "reviews:3"
    )
    updated(stage)
    stage.until(Phase.PROMOTED)
    assert stage.splits[-2:] == [EVERYTHING, NOTHING]
    assert (stage.run.outcome, stage.run.split, stage.run.latch) == (Outcome.PROMOTED, NOTHING, None)
    assert stage.last is not None
    assert stage.last.release
    assert [event.told for event in stage.told[-4:]] == [
        Told.WATCHING,
        Told.AWAITING_STABLE,
        Told.RETURNING,
        Told.PROMOTED,
    ]


def test_without_it_a_promotion_keeps_the_canary() -> None:
    stage = Stage()
    pods(stage)
    stage.until(Phase.PROMOTED)
    assert stage.run.split == EVERYTHING


def test_a_run_that_only_observes_waits_for_nobody() -> None:
    """It moves nothing, so that there is nothing to give back."""
    stage = Stage(plan=plan(after_promotion="return", mode="observe"))
    pods(stage, IMAGE)
    stage.until(Phase.PROMOTED)
    assert stage.run.split == EVERYTHING


def test_the_traffic_goes_back_at_once_toward_stable_first() -> None:
    """Rule 4: the mesh hears of it before the store; the marker says what the write is."""
    stage = returning()
    updated(stage)
    write = stage.tick().write
    assert write is not None
    assert (write.toward, write.marker.split, write.marker.latch) == ("stable", NOTHING, "return")


@pytest.mark.parametrize(
    ("stable", "said"),
    [
        ({"rolled_out": False, "why": "1 of 2 pods run the newest template"}, "1 of 2 pods run the newest template"),
        ({"ready": 0}, "no ready pod"),
        ({"ready": 1}, "room for all the traffic: it has 1 ready pods, the canary 2"),
    ],
)
def test_stable_must_be_able_to_take_everything(stable: dict[str, Any], said: str) -> None:
    """Stable may have been scaled down while it had no traffic."""
    stage = returning()
    updated(stage, **stable)
    stage.rest(300)
    assert (stage.run.phase, stage.run.split) == (Phase.RETURNING, EVERYTHING)
    assert said in stage.run.waiting
    updated(stage)
    stage.until(Phase.PROMOTED)


def test_what_nobody_has_compared_is_not_the_same() -> None:
    stage = returning()
    stage.pods = Sides(side("v1"), side("v3"))
    stage.rest(60)
    assert stage.run.split == EVERYTHING


def test_the_plan_says_what_may_differ() -> None:
    """A path with all below it, and nothing beside it."""
    stage = returning(returning={"ignore": ["containers.reviews.env"]})
    pods(stage, ROLE, Difference("containers.reviews.environment", "containers.reviews.environment differs"))
    stage.rest(30)
    assert stage.run.waiting.endswith("to run what the canary runs: containers.reviews.environment differs")
    pods(stage, ROLE)
    stage.until(Phase.PROMOTED)


def test_many_differences_are_counted() -> None:
    stage = returning()
    pods(stage, *(Difference(f"volumes.{n}", f"volumes.{n} differs") for n in range(5)))
    stage.tick()
    assert stage.run.waiting.endswith("volumes.0 differs; volumes.1 differs; volumes.2 differs; and 2 more")


def test_after_the_limit_it_is_held_and_never_fails() -> None:
    """A person is told, and the run still goes on by itself when stable is there at last."""
    stage = returning(returning={"within": "10m"})
    stage.rest(590)
    assert stage.run.hold is None
    stage.rest(7200)
    hold = stage.run.hold
    assert hold is not None
    assert (hold.kind, hold.limit, stage.run.latch) == ("not-returned", None, None)
    assert stage.has_told(Told.HELD)
    updated(stage)
    stage.until(Phase.PROMOTED)
    assert stage.run.hold is None


def test_a_persons_word_stands_for_what_differs() -> None:
    """And for the number of pods, which an autoscaler may never give to a version without traffic; not for their
    rollout."""
    stage = returning()
    pods(stage, ROLE, stable={"ready": 1, "rolled_out": False, "why": "not yet"})
    stage.ask("approve", step=stage.run.step, reason="roles differ on purpose")
    stage.rest(60)
    assert stage.run.split == EVERYTHING
    pods(stage, ROLE, stable={"ready": 1})
    stage.until(Phase.PROMOTED)
    assert stage.run.returned_by == "ada: roles differ on purpose"
    assert any("ada: roles differ on purpose" in event.reason for event in stage.told if event.told is Told.RETURNING)


def test_an_undo_is_nothing_for_a_run_in_flight() -> None:
    """There is no promotion to take back yet; it is told, and nothing moves: least of all toward the canary."""
    stage = Stage(says={"proven": False})
    stage.baking(2)
    stage.ask("undo", force=True)
    stage.rest(120)
    assert (stage.run.phase, stage.run.split, stage.run.latch) == (Phase.BAKING, percent(50), None)
    assert any(event.told is Told.COMMAND_VOID and "can be aborted" in event.reason for event in stage.told)


def test_an_approval_of_a_step_says_nothing_of_the_return() -> None:
    stage = Stage(plan=plan(after_promotion="return", gate_at=2))
    pods(stage, IMAGE)
    stage.until(lambda run: run.hold is not None)
    stage.ask("approve", step=2)
    stage.until(Phase.RETURNING)
    stage.rest(300)
    assert stage.run.split == EVERYTHING


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong meanwhile


@pytest.mark.parametrize("stable", [{}, {"rolled_out": False, "hashes": ("hash-v1", "hash-new")}])
def test_a_canary_that_turns_bad_while_it_waits_is_rolled_back(stable: dict[str, Any]) -> None:
    """Watched as before: to stable as it is, half new or not, for the canary is known to be bad."""
    stage = returning()
    pods(stage, IMAGE, stable=stable)
    stage.says = {"failure": "errors: canary 9 %"}
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.run.split) == (Outcome.FAILED, NOTHING)
    assert ("undo that rollout" in stage.run.reason) is bool(stable)


def test_a_dead_canary_is_rolled_back_while_it_waits() -> None:
    stage = returning()
    pods(stage, IMAGE, canary={"ready": 0})
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.FAILED


def test_there_is_no_way_back_to_a_stable_without_endpoints() -> None:
    """Rule 7: hold and page, as in any other phase."""
    stage = returning()
    pods(stage, stable={"ready": 0, "hashes": ("hash-new",)})
    stage.says = {"failure": "errors: canary 9 %"}
    stage.rest(60)
    assert stage.run.split == EVERYTHING
    assert stage.has_told(Told.NO_WAY_BACK)
    updated(stage)
    stage.until(Phase.ROLLED_BACK)


def test_an_abort_while_it_waits_is_an_abort() -> None:
    stage = returning()
    stage.ask("abort", reason="smells")
    stage.until(Phase.ROLLED_BACK)
    assert (stage.run.outcome, stage.run.split) == (Outcome.ABORTED, NOTHING)


def test_an_abort_while_stable_settles_is_kept_too() -> None:
    """The traffic is where it belongs; that somebody aborted is not forgotten."""
    stage = returning()
    updated(stage)
    stage.until(lambda run: run.split == NOTHING)
    stage.ask("abort")
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.ABORTED
    assert stage.splits[-1] == NOTHING


def test_a_new_image_of_the_canary_while_it_waits_starts_over() -> None:
    """Rule 11: nobody has judged it, and it has all the traffic."""
    stage = returning()
    pods(stage, IMAGE, canary={"hashes": ("hash-next",)})
    stage.tick()
    assert (stage.run.phase, stage.run.split, stage.run.returning_since) == (Phase.PENDING, NOTHING, None)


def test_a_new_image_of_the_canary_after_the_return_is_the_next_release() -> None:
    """It has no traffic any more."""
    stage = returning()
    updated(stage)
    stage.until(lambda run: run.split == NOTHING)
    pods(stage, IMAGE, stable={"hashes": ("hash-new",)}, canary={"hashes": ("hash-next",)})
    stage.until(Phase.PROMOTED)
    assert stage.run.outcome is Outcome.PROMOTED


def test_weights_that_git_put_back_are_held_until_stable_is_there() -> None:
    """Rule 8: drift toward stable is respected. Where stable runs the new version by then, it is what was to be."""
    stage = returning()
    stage.mesh = Sighting(NOTHING, None)
    stage.rest(60)
    assert stage.run.hold is not None
    assert stage.run.hold.kind == "drift"
    updated(stage)
    stage.until(Phase.PROMOTED)
    assert stage.run.returned


def test_the_weights_of_another_run_are_left_alone() -> None:
    stage = returning()
    assert stage.mesh.marker is not None
    foreign = replace(stage.mesh.marker, run="another")
    stage.mesh = Sighting(NOTHING, foreign)
    updated(stage)
    stage.rest(60)
    assert stage.mesh.marker == foreign


# ---------------------------------------------------------------------------------------------------------------------
# What is lost


def test_a_lost_save_of_the_return_is_adopted_from_the_mesh() -> None:
    """Rule 3: our own newer marker is right, and says that it was no rollback."""
    stage = returning()
    updated(stage)
    stage.saves = False
    stage.tick()
    assert stage.mesh.split == NOTHING
    assert stage.run.split == EVERYTHING
    stage.saves = True
    stage.until(Phase.PROMOTED)
    assert stage.splits[-2:] == [EVERYTHING, NOTHING]


def test_a_return_is_adopted_by_a_run_that_only_knows_of_its_watch() -> None:
    """More than one save was lost."""
    stage = Stage(plan=plan(after_promotion="return"))
    pods(stage, IMAGE)
    stage.until(Phase.WATCHING)
    watching: Run = stage.run
    stage.until(Phase.RETURNING)
    updated(stage)
    stage.tick()
    stage.run = watching
    stage.tick()
    assert (stage.run.phase, stage.run.returning_since) == (Phase.RETURNING, stage.mesh.marker and stage.mesh.marker.at)
    stage.until(Phase.PROMOTED)
    assert stage.run.outcome is Outcome.PROMOTED
    assert not stage.has_told(Told.STABLE_CHANGED)
    assert stage.splits[-1] == NOTHING


def test_a_lost_return_is_sent_again_but_never_to_a_dead_stable() -> None:
    stage = returning()
    updated(stage)
    stage.lands = False
    stage.tick()
    assert stage.mesh.split == EVERYTHING
    stage.lands = True
    updated(stage, ready=0)
    stage.rest(60)
    assert stage.mesh.split == EVERYTHING
    updated(stage)
    stage.until(Phase.PROMOTED)
    assert stage.mesh.split == NOTHING


def test_a_return_is_not_sent_blindly() -> None:
    """It is no rollback: while the mesh cannot be read it can wait."""
    stage = returning()
    updated(stage)
    stage.lands = False
    stage.tick()
    stage.hidden = "no answer"
    assert stage.tick().write is None


def test_it_does_not_end_on_a_stable_that_died_at_once() -> None:
    stage = returning()
    updated(stage)
    stage.until(lambda run: run.split == NOTHING)
    stage.tick()
    updated(stage, ready=0)
    stage.rest(300)
    assert stage.run.phase is Phase.RETURNING
    assert stage.run.hold is not None
    updated(stage)
    stage.until(Phase.PROMOTED)


def test_deciding_it_twice_is_the_same() -> None:
    stage = returning()
    updated(stage)
    stage.now += 5
    seen = stage.see()
    assert decide(stage.run, seen) == decide(stage.run, seen)


def test_a_marker_of_a_return_is_read_back() -> None:
    stage = returning()
    updated(stage)
    stage.tick()
    assert stage.mesh.marker is not None
    assert Marker.parse(stage.mesh.marker.dump()) == stage.mesh.marker
    assert isinstance(stage.pods, Sides)
    assert not isinstance(stage.pods, Unseen)
    assert percent(0) == stage.mesh.split

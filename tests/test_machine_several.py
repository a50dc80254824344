"""
A route in several VirtualServices: an advance has arrived when all have it, and is never undone; a retreat goes to all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canaryd.machine import Standing, standing
from canaryd.mesh.several import together
from canaryd.model.cells import Segment
from canaryd.model.decision import Told
from canaryd.model.run import Latch, Outcome, Phase
from canaryd.model.traffic import EVERYTHING, NOTHING, OTHERWISE, Difference, Marker, Sides, Sighting, Split
from tests.stage import ROUTE, Stage, percent, plan, side

IMAGE = Difference("containers.reviews.image", "containers.reviews.image is reviews:2, not reviews:3")

FIVE, QUARTER, HALF = percent(5), percent(25), percent(50)
TWO = replace(ROUTE, also=(replace(ROUTE, virtual_service="reviews-gateway"),))


@dataclass
class Objects(Stage):
    """Two objects; a write reaches those in ``reaches``, as it is sent to those only that have it not."""

    reaches: set[int] = field(default_factory=lambda: {0, 1})
    parts: list[Sighting] = field(default_factory=lambda: [Sighting(NOTHING, None), Sighting(NOTHING, None)])
    sent: list[Marker] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.run = replace(self.run, route=TWO)
        self.mesh = together(self.parts, TWO)

    def land(self, marker: Marker) -> None:
        self.sent.append(marker)
        for place in self.reaches:
            self.parts[place] = Sighting(marker.split, marker, match=marker.match)
        self.show()

    def show(self) -> None:
        self.mesh = together(self.parts, TWO)
        self.splits.append(max((part.split or NOTHING) for part in self.parts))

    def by_hand_in(self, place: int, split: float) -> None:
        self.parts[place] = replace(self.parts[place], split=percent(split))
        self.show()

    @property
    def weights(self) -> list[Split | None]:
        return [part.split for part in self.parts]


def partly() -> Objects:
    """A run whose step to 25 % has reached the first object only."""
    stage = Objects()
    stage.baking()
    stage.reaches = {0}
    stage.until(lambda run: run.step == 1)
    stage.tick()
    assert stage.weights == [QUARTER, FIVE]
    return stage


def test_both_walk_the_plan_and_are_promoted() -> None:
    stage = Objects()
    stage.until(Phase.PROMOTED)
    assert stage.weights == [EVERYTHING, EVERYTHING]
    assert stage.run.outcome is Outcome.PROMOTED


def test_an_advance_that_reached_one_is_sent_to_the_other_and_not_undone() -> None:
    stage = partly()
    assert standing(stage.run, stage.mesh) is Standing.PARTLY
    seq = stage.run.seq
    stage.rest(10)
    assert "1 of 2 objects have 25 %" in stage.run.waiting
    assert {marker.seq for marker in stage.sent[-2:]} == {seq}  # the same write, not a new one
    stage.reaches = {0, 1}
    stage.rest(10)
    assert stage.weights == [QUARTER, QUARTER]
    assert stage.run.phase is Phase.BAKING
    assert stage.run.segment.split == QUARTER
    assert stage.run.segment.ours
    assert not stage.run.segment.matched
    stage.until(Phase.PROMOTED)


def test_what_is_measured_while_one_has_it_is_no_bake_and_compares_nothing() -> None:
    """People at one way in are not those at the other."""
    stage = partly()
    stage.rest(200)
    during = [cell for cell in stage.run.cells if cell.segment == stage.run.segment.index]
    assert during
    assert not any(cell.settled for cell in during)
    assert all(getattr(cell, "matched", True) for cell in during)


def test_no_step_passes_while_one_object_lacks_the_weight() -> None:
    stage = partly()
    stage.rest(1200)
    assert max(stage.splits) == QUARTER
    assert stage.run.hold is not None
    assert stage.run.hold.kind == "inconclusive"


def test_an_advance_that_never_reaches_all_goes_back_at_its_limit() -> None:
    stage = Objects(plan=plan(on_inconclusive={"hold": "5m", "then": "rollback"}))
    stage.baking()
    stage.reaches = {0}
    stage.until(lambda run: run.latch is not None)
    stage.reaches = {0, 1}
    stage.until(Phase.ROLLED_BACK)
    assert stage.run.outcome is Outcome.INCONCLUSIVE
    assert stage.weights == [NOTHING, NOTHING]


def test_harm_counts_while_one_object_lacks_the_weight() -> None:
    stage = partly()
    stage.says = {"failure": "slo: 30 %"}
    stage.until(lambda run: run.latch is not None, within=60)


def test_a_rollback_is_not_over_before_it_has_reached_all() -> None:
    for reached in (0, 1):
        stage = Objects()
        stage.baking(step=1)
        stage.reaches = {reached}
        stage.ask("abort")
        stage.rest(300)
        assert stage.run.phase is Phase.ROLLING_BACK
        assert stage.weights[reached] == NOTHING
        assert stage.weights[1 - reached] == QUARTER
        stage.reaches = {0, 1}
        stage.until(Phase.ROLLED_BACK)
        assert stage.weights == [NOTHING, NOTHING]


def test_a_retreat_whose_save_was_lost_is_adopted_from_the_object_that_has_it() -> None:
    stage = Objects()
    stage.baking(step=1)
    stage.says, stage.saves, stage.reaches = {"failure": "errors"}, False, {1}
    stage.tick(15)
    assert stage.weights == [QUARTER, NOTHING]
    stage.says, stage.saves, stage.reaches = {}, True, {0, 1}
    stage.tick()
    assert stage.has_told(Told.ADOPTED)
    assert stage.run.latch is not None
    stage.until(Phase.ROLLED_BACK)
    assert stage.weights == [NOTHING, NOTHING]


def test_a_hand_in_one_object_is_drift_of_the_run_and_the_object_is_named() -> None:
    stage = Objects()
    stage.baking(step=1)
    stage.by_hand_in(1, 5)
    stage.tick()
    assert stage.run.hold is not None
    assert "5 % in VirtualService default/reviews-gateway" in stage.run.hold.why
    assert stage.weights == [QUARTER, FIVE]  # toward stable: respected
    stage.ask("resume")
    stage.rest(10)
    assert stage.weights == [QUARTER, QUARTER]


def test_a_hand_above_the_plan_in_one_object_is_brought_down() -> None:
    stage = Objects()
    stage.baking(step=1)
    stage.by_hand_in(1, 80)
    stage.tick()
    assert stage.weights == [QUARTER, QUARTER]
    assert stage.last is not None
    assert stage.last.write is not None
    assert stage.last.write.toward == "stable"


def test_what_is_measured_while_they_differ_is_not_compared() -> None:
    stage = Objects()
    stage.baking(step=1)
    stage.by_hand_in(1, 5)
    stage.tick()
    assert not stage.run.segment.ours
    assert stage.run.segment.matched


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([{0, 1}, {0}, {1}, set()]),
            st.sampled_from(["", "", "", "abort", "failure", "lost", "hand"]),
            st.sampled_from([5.0, 15.0, 60.0]),
        ),
        max_size=14,
    )
)
def test_whatever_reaches_whom_it_ends_alike_and_never_rises_after_a_failure(
    story: list[tuple[set[int], str, float]],
) -> None:
    stage, failed = Objects(), False
    for reaches, what, seconds in story:
        stage.reaches, stage.saves = reaches, what != "lost"
        stage.says = {"failure": "errors"} if what == "failure" else {}
        if what == "abort":
            stage.ask("abort")
        if what == "hand" and stage.run.seq and not failed and not stage.run.final:
            stage.by_hand_in(0, 1)
        before = list(stage.weights)
        stage.rest(seconds)
        if failed:
            rose = [now for was, now in zip(before, stage.weights, strict=True) if (now or NOTHING) > (was or NOTHING)]
            assert not rose
        failed = failed or stage.run.latch is not None
    stage.reaches, stage.saves, stage.says = {0, 1}, True, {}
    stage.rest(60)
    if stage.run.latch:
        stage.until(Phase.ROLLED_BACK)
        assert stage.weights == [NOTHING, NOTHING]
    elif stage.run.hold is None or stage.run.hold.kind != "drift":
        stage.until(lambda run: run.final, within=20_000)
        assert stage.weights in ([EVERYTHING] * 2, [NOTHING] * 2)


def test_weights_that_were_brought_down_in_one_object_wait_for_a_person_though_the_other_lags() -> None:
    """A hand gave one way in 80 %; the write that took it back has not reached the other, which had 25 % all along."""
    stage = Objects()
    stage.baking(step=1)
    stage.by_hand_in(0, 80)
    stage.reaches = {0}
    stage.rest(120)
    assert stage.weights == [QUARTER, QUARTER]
    stage.reaches = {0, 1}
    stage.rest(1200)
    assert stage.run.hold is not None
    assert (stage.run.hold.kind, stage.run.hold.sticky) == ("drift", True)
    assert max(stage.splits[-20:], default=QUARTER) == QUARTER
    stage.ask("resume")
    stage.until(Phase.PROMOTED)


def test_entries_that_stand_in_front_make_the_canarys_people_others() -> None:
    """Nobody can take them out, because there is nowhere to go back to: what is measured meanwhile is not compared."""
    stage = Stage(plan=plan(match_first=True))
    stage.baking(step=1)
    stage.sides(stable={"ready": 0})
    stage.mesh = replace(stage.mesh, match=OTHERWISE)
    stage.tick()
    assert not stage.run.segment.ours
    assert stage.run.segment.matched


# ---------------------------------------------------------------------------------------------------------------------
# Back after a promotion


def promoted(*, alike: bool = True) -> Objects:
    """Everything is at the canary in both objects, and the run waits for stable, which runs the same (or not yet)."""
    stage = Objects(plan=plan(after_promotion="return"))
    stage.pods = Sides(side("v1"), side("v3"), (IMAGE,))
    stage.until(Phase.RETURNING)
    assert stage.weights == [EVERYTHING, EVERYTHING]
    if alike:
        stable_follows(stage)
    return stage


def stable_follows(stage: Objects) -> None:
    stage.pods = Sides(side("v1", hashes=("hash-new",)), side("v3"), ())


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "lost"])
@pytest.mark.parametrize("reached", [set(), {0}, {1}], ids=str)
def test_a_return_that_reached_some_is_sent_to_the_others_and_over_when_all_have_it(
    reached: set[int], saved: bool
) -> None:
    """Also where nothing of it was saved: its marker says what it was."""
    stage = promoted()
    stage.reaches, stage.saves = reached, saved
    stage.tick()
    stage.saves = True
    stage.rest(300)
    assert stage.run.phase is Phase.RETURNING
    assert stage.weights == [NOTHING if place in reached else EVERYTHING for place in (0, 1)]
    stage.reaches = {0, 1}
    stage.until(Phase.PROMOTED)
    assert stage.weights == [NOTHING, NOTHING]
    assert (stage.run.outcome, stage.run.latch) == (Outcome.PROMOTED, None)


def test_a_canary_that_turns_bad_in_the_middle_of_a_return_goes_back_in_all() -> None:
    stage = promoted()
    stage.reaches = {0}
    stage.rest(30)
    stage.ask("abort")
    stage.rest(30)
    assert stage.weights == [NOTHING, EVERYTHING]
    stage.reaches = {0, 1}
    stage.until(Phase.ROLLED_BACK)
    assert (stage.weights, stage.run.outcome) == ([NOTHING, NOTHING], Outcome.ABORTED)


@pytest.mark.parametrize("place", [0, 1])
def test_one_object_that_git_gives_back_to_stable_is_what_the_run_wants_once_stable_runs_the_same(place: int) -> None:
    """It is drift before; afterwards the other follows, and nothing is rolled back for it."""
    stage = promoted(alike=False)
    stage.parts[place] = Sighting(NOTHING, None)
    stage.show()
    stage.rest(60)
    assert stage.run.hold is not None
    assert stage.run.hold.kind == "drift"
    stable_follows(stage)
    stage.until(Phase.PROMOTED)
    assert (stage.weights, stage.run.outcome) == ([NOTHING, NOTHING], Outcome.PROMOTED)


def test_a_return_does_not_follow_a_hand_that_gave_one_object_something_between() -> None:
    """30 % are neither what the run wrote nor what it wants."""
    stage = promoted(alike=False)
    stage.parts[0] = Sighting(NOTHING, None)
    stage.by_hand_in(1, 30)
    stage.rest(10)
    stable_follows(stage)
    stage.rest(600)
    assert stage.weights == [NOTHING, percent(30)]
    assert stage.run.hold is not None
    assert stage.run.hold.kind == "drift"


def test_an_undo_brings_every_object_back_however_they_differ() -> None:
    """Forced: a hand had moved one of them since the promotion."""
    stage = Objects()
    stage.parts = [Sighting(percent(60), None), Sighting(EVERYTHING, None)]
    stage.show()
    begun = Segment(0, 0, EVERYTHING, stage.now)
    latch = Latch("undo", "undone by anna", stage.now, forced=True)
    stage.run = replace(stage.run, split=EVERYTHING, started_from=EVERYTHING, segments=(begun,), latch=latch)
    stage.reaches = {1}
    stage.rest(60)
    assert (stage.run.phase, stage.weights) == (Phase.ROLLING_BACK, [percent(60), NOTHING])
    stage.reaches = {0, 1}
    stage.until(Phase.ROLLED_BACK)
    assert (stage.weights, stage.run.outcome) == ([NOTHING, NOTHING], Outcome.UNDONE)

"""What follows from a plan and the runs it has had: one example per arrow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd.controller.following import Course, deleted, follow
from canaryd.model.plan import Plan
from canaryd.model.run import Latch, Outcome, Phase, Run
from tests.stage import new_run, plan


def asking(release: str, **spec: object) -> Plan:
    return plan(5, 50, release=release, **spec)


def run(release: str, uid: str = "", **changes: object) -> Run:
    found = replace(new_run(asking(release)), uid=uid or f"reviews-{release}")
    return replace(found, **changes)  # type: ignore[arg-type]


def ended(release: str, outcome: Outcome = Outcome.PROMOTED, uid: str = "") -> Run:
    phase = Phase.PROMOTED if outcome is Outcome.PROMOTED else Phase.ROLLED_BACK
    return run(release, uid, phase=phase, outcome=outcome, released=True)


def test_a_release_that_was_never_run_begins() -> None:
    """With no run at all, and after another release's end."""
    assert follow(asking("v3"), []).course is Course.BEGIN
    assert follow(asking("v4"), [ended("v3")]).course is Course.BEGIN
    assert follow(asking("v4"), [ended("v3", Outcome.FAILED)]).course is Course.BEGIN


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_settled_release_rests_however_it_ended(outcome: Outcome) -> None:
    """And the status goes on to show its run."""
    answer = follow(asking("v3"), [ended("v3", outcome)])
    assert answer.course is Course.REST
    assert answer.run is not None
    assert answer.run.uid == "reviews-v3"


def test_the_release_of_before_a_failed_one_starts_nothing() -> None:
    """A revert in Git, after the rollback: what is there is what is asked for."""
    answer = follow(asking("v3"), [ended("v3"), ended("v4", Outcome.FAILED)])
    assert answer.course is Course.REST
    assert answer.reason == "release 'v3' was settled by run reviews-v3"


def test_the_release_of_before_a_promoted_one_is_a_release() -> None:
    """To go back to what was there before is judged like any other."""
    assert follow(asking("v3"), [ended("v3"), ended("v4")]).course is Course.BEGIN


def test_an_annotation_remembers_what_a_lost_run_had_settled() -> None:
    """Restored from a backup without runs: nothing is released twice."""
    assert follow(asking("v3"), [], settled="v3").course is Course.REST
    assert follow(asking("v4"), [], settled="v3").course is Course.BEGIN


def test_the_run_in_flight_goes_on() -> None:
    """With the plan as it was, and with an edited one of the same release, which is said."""
    assert follow(asking("v3"), [run("v3")]) == follow(asking("v3"), [run("v3")])
    assert not follow(asking("v3"), [run("v3")]).changed
    edited = follow(asking("v3", watch="5m"), [run("v3")])
    assert (edited.course, edited.changed) == (Course.REST, True)


def test_a_new_release_in_mid_run_does_what_the_plan_says() -> None:
    """Replace aborts, queue waits, refuse turns it down."""
    flying = run("v3")
    replaced = follow(asking("v4"), [flying])
    assert (replaced.course, replaced.run) == (Course.ABORT, flying)
    assert replaced.reason == "release 'v4' replaces release 'v3'"
    assert follow(asking("v4", onNewRelease="queue"), [flying]).course is Course.QUEUE
    assert follow(asking("v4", onNewRelease="refuse"), [flying]).course is Course.TURN_DOWN


def test_a_run_that_goes_back_already_is_not_aborted_again() -> None:
    """The next release waits for it."""
    latched = run("v3", latch=Latch("fail", "errors", 0.0))
    assert follow(asking("v4"), [latched]).course is Course.QUEUE


def test_a_release_that_was_turned_down_stays_so_after_the_end() -> None:
    """Until the plan asks for another."""
    over = [ended("v3")]
    assert follow(asking("v4"), over, turned_down="v4").course is Course.TURN_DOWN
    assert follow(asking("v5"), over, turned_down="v4").course is Course.BEGIN


def test_asked_for_what_was_settled_before_the_run_is_aborted() -> None:
    """A `git revert` in mid-run, whatever onNewRelease says."""
    for policy in ("replace", "queue", "refuse"):
        answer = follow(asking("v3", onNewRelease=policy), [ended("v3"), run("v4")])
        assert answer.course is Course.ABORT
        assert "asks for release 'v3' again, which run reviews-v3 had settled" in answer.reason


def test_a_deleted_plan_ends_its_run() -> None:
    """Once; and one that has no run needs nothing."""
    assert deleted([run("v3")]).course is Course.ABORT
    assert deleted([run("v3", latch=Latch("abort", "by ada", 0.0))]).course is Course.REST
    assert deleted([ended("v3")]).course is Course.REST
    assert deleted([]).course is Course.REST


def test_an_unreadable_plan_leaves_its_run_alone() -> None:
    """A slip of the keyboard in Git must not end a release."""
    assert follow(None, [run("v3")]).course is Course.REST


def test_while_draining_what_runs_goes_back_and_nothing_begins() -> None:
    """Also where the plan cannot be read."""
    assert follow(asking("v3"), [], draining="by ada").course is Course.REST
    assert follow(asking("v3"), [run("v3")], draining="by ada").course is Course.ABORT
    assert follow(None, [run("v3")], draining="by ada").course is Course.ABORT


def test_a_run_that_has_ended_but_left_its_marker_is_in_flight() -> None:
    """The next one begins when the object is clean."""
    left = run("v3", phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, released=False)
    assert follow(asking("v4"), [left]).course is Course.REST

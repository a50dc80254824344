"""What a person is offered is what the machine obeys, and the other way round."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from canaryd.desk import void
from canaryd.model.run import Hold, Phase, Run, Word
from canaryd.report.explain import explain
from tests.desk.test_asking import RUNS
from tests.report import stories

OFFERED = re.compile(r"canaryd (\S+) reviews(?: -n \S+)?((?: --(?!reason)\S+| \d+)*)")
WAITS = {"no-data", "inconclusive"}


def offered(run: Run) -> set[tuple[str, bool, int | None]]:
    """The words among the advice: verb, forced, and the step to leave out."""
    found = set()
    for name, said in OFFERED.findall(explain(run).partition("What you can do:")[2]):
        number = re.search(r"\d+", said)
        verb = "adopt" if "--adopt" in said else "skip" if name == "skip-step" else name
        found.add((verb, "--to-100" in said, int(number.group()) - 1 if number else None))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_offered_that_would_do_nothing(name: str) -> None:
    run = RUNS[name]()
    words = offered(run)
    assert words or run.phase is Phase.ROLLING_BACK
    for verb, forced, step in words:
        assert not void(verb, run, "eve", force=forced, skips=step), (verb, forced, step)


@pytest.mark.parametrize("name", RUNS)
def test_what_would_do_something_is_offered(name: str) -> None:
    """But for a second hold, and for advance where more than evidence is in the way."""
    run = RUNS[name]()
    words = {verb for verb, _, _ in offered(run)}
    for verb in ("hold", "resume", "adopt", "approve", "promote"):
        if not void(verb, run, "eve", force=True) and not (verb == "hold" and run.held_by):
            assert verb in words, verb
    for step in range(len(run.plan.spec.steps)):
        if not void("skip", run, "eve", skips=step):
            assert "skip" in words, step
    if run.phase is Phase.BAKING and run.following is not None and (run.hold is None or run.hold.kind in WAITS):
        assert "advance" in words


@pytest.mark.parametrize(
    ("story", "kept", "again"),
    [
        (stories.rolled_back, "canaryrun", "canaryd retry reviews -n default"),
        (stories.aborted, "", "canaryd run PLAN.yaml --again"),
    ],
)
def test_what_was_rolled_back_can_be_run_again(story: Callable[[], stories.Story], kept: str, again: str) -> None:
    """In a cluster by a word, in a folder by whoever has the plan's file."""
    run = replace(story()[0], kept=kept)  # type: ignore[arg-type]  # one of the two that there are
    assert f"Run the same release again, unless another has begun since: {again}" in explain(run)


def test_who_promoted_is_not_told_to_run_it_again() -> None:
    assert "again" not in explain(stories.promoted()[0])


def test_a_gate_that_names_people_names_them_for_a_promotion_too() -> None:
    run = RUNS["with an approver"]()
    assert "(only who may approve: eve)" in explain(run)


def test_a_step_that_is_left_out_already_is_not_offered() -> None:
    run = stories.pending()[0]
    assert "canaryd skip-step reviews 2" in explain(run)
    assert "skip-step" not in explain(replace(run, skipped=(1,)))


def test_a_hold_that_lies_under_another_can_be_let_go() -> None:
    """The run waits for two things, and a person's is one of them."""
    run = replace(stories.blind()[0], held_by=Word("ana", 1.0))
    assert "Let go what ana holds: canaryd resume reviews" in explain(run)
    assert "canaryd hold" not in explain(run)
    alone = replace(run, hold=Hold("person", "held by ana", 1.0, None))
    assert "Let go what ana holds: canaryd resume reviews" in explain(alone)
    assert "Wait: more requests" not in explain(alone)

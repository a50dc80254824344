"""The next release after one that gave stable its traffic back: it begins as the first one did."""

from __future__ import annotations

from typing import Any

from canaryd.engine.admission import settled_by
from canaryd.model.traffic import EVERYTHING, NOTHING
from tests.engine.test_deaths import returning_world, stable_follows


def test_the_next_release_needs_no_other_target() -> None:
    """That is the point: one line changes, and the plan may start from stable again."""
    world = returning_world()
    run = world.live(then=stable_follows)
    assert max(split for split, _ in world.seen) == EVERYTHING
    assert settled_by(run.plan, [run]) == run
    spec = run.plan.spec.model_copy(update={"release": "2"})
    following = run.plan.model_copy(update={"spec": spec})
    assert settled_by(following, [run]) is None
    admitted = world.mesh.admit(following)
    assert (admitted.route, admitted.split) == (run.route, NOTHING)


def test_the_differences_are_looked_at_only_where_they_are_waited_for() -> None:
    """A journal has an entry a tick, and templates are long."""
    world = returning_world()
    run = world.live(then=stable_follows)
    entries: list[Any] = world.journal.read(run.uid)
    unlike = {entry["phase"]: entry["saw"]["sides"]["unlike"] for entry in entries}
    assert unlike["baking"] is None
    told = {one["words"] for entry in entries for one in entry["saw"]["sides"]["unlike"] or ()}
    assert told == {"containers.reviews.image is reviews:1, not reviews:3"}

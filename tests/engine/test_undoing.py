"""
Undo: what was promoted is taken back in one write, and only where that brings back what there was.

Each reason not to is an example; which of them a person's force lets pass is part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from canaryd.engine.admission import settled_by
from canaryd.engine.undoing import obeyed, undo
from canaryd.errors import Unavailable
from canaryd.machine import decide
from canaryd.model.decision import Told
from canaryd.model.problem import Refused
from canaryd.model.run import Command, Outcome, Phase, Record, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, Entry, Split
from tests.engine.test_deaths import WAYS, returning_world, stable_follows
from tests.mesh.objects import deployment, marker, pod, surroundings
from tests.world import Trap, World

ASKED = Command("c1", "undo", "the basket is empty", "anna")


def promoted() -> World:
    world = World()
    assert world.live().outcome is Outcome.PROMOTED
    world.clock.at += 3600
    return world


def begun(world: World, command: Command = ASKED, uid: str = "run-1") -> Run:
    record = undo(uid, command, mesh=world.mesh, store=world.store, clock=world.clock, name="undo-1")
    return record.run


def carried_out(world: World, every: float = 1.5) -> Run:
    """The run that undoes, ticked to its end by a canaryd that may die on the way."""
    end = world.clock.at + 120
    while not (run := world.store.load("undo-1").run).final or not run.released:
        assert world.clock.at < end, run.waiting
        try:
            world.reconciler.tick("undo-1")
        except BaseException:  # noqa: BLE001  # a death, or an answer that did not come
            world.start()
        world.clock.at += every
    return run


def test_the_traffic_goes_back_in_one_write_and_at_once() -> None:
    """An hour later, from the first tick, with the reason of who asked."""
    world = promoted()
    writes = len(world.mesh.writes)
    run = begun(world)
    world.reconciler.tick("undo-1")
    assert world.split == NOTHING
    assert len(world.mesh.writes) == writes + 1
    run = carried_out(world)
    assert (run.outcome, run.phase, run.undoes) == (Outcome.UNDONE, Phase.ROLLED_BACK, "run-1")
    assert run.reason == "undone by anna: the basket is empty"
    assert run.cells == ()
    found: Any = world.mesh.virtual_service
    assert not found["metadata"]["annotations"]
    assert [one["weight"] for one in found["spec"]["http"][0]["route"]] == [100, 0]


def test_the_release_that_was_undone_is_not_begun_again() -> None:
    """The plan in Git still asks for it. The one before it is settled, and a new one is none."""
    world = promoted()
    begun(world)
    undone = carried_out(world)
    last = world.store.load("run-1").run
    before = replace(last, uid="run-0", plan=_released(last, "0"), created=1.0)
    runs = [before, last, undone]
    assert settled_by(last.plan, runs) == undone
    assert settled_by(_released(last, "0"), runs) == before
    assert settled_by(_released(last, "2"), runs) is None
    assert settled_by(_released(last, "0"), [before, last]) is None


def _released(run: Run, release: str) -> Any:
    return run.plan.model_copy(update={"spec": run.plan.spec.model_copy(update={"release": release})})


def test_dying_anywhere_in_it_changes_no_ending() -> None:
    """From the first tick on: what was decided is in the saved run."""
    world = promoted()
    begun(world)
    first = len(world.trap.calls)
    carried_out(world)
    calls = len(world.trap.calls)
    assert calls - first > 10
    for n in range(first, calls):
        for way, when in WAYS:
            world = promoted()
            begun(world)
            world.trap.n, world.trap.way, world.trap.when = n, way, when
            run = carried_out(world)
            assert (run.outcome, world.split) == (Outcome.UNDONE, NOTHING), f"{way} {when} {n}"
    assert isinstance(world.trap, Trap)


def test_asked_again_it_goes_on_with_the_one_that_is_not_over() -> None:
    world = promoted()
    assert begun(world) == begun(world, uid="undo-1")
    assert len(world.store.records()) == 2


def test_an_undo_whose_save_was_lost_is_known_by_its_marker() -> None:
    """It was latched from its first moment, and the write that landed is adopted."""
    world = promoted()
    run = begun(world)
    seen = world.reconciler._observe(run)
    decision = decide(run, seen)
    assert decision.write is not None
    world.mesh.retreat(run.route, decision.write.marker)
    again = decide(run, world.reconciler._observe(run))
    assert Told.ADOPTED in {event.told for event in again.events}
    assert again.run.latch == run.latch


# ---------------------------------------------------------------------------------------------------------------------
# What speaks against it


def _weighed(world: World) -> None:
    world.mesh.weigh(40, 60)


def _late(world: World) -> None:
    world.clock.at += 86_400


def _another_image(world: World) -> None:
    world.mesh.around = surroundings(pods=[pod("v1", template="new"), *(pod("v3", n) for n in range(2))])


def _no_pod(world: World) -> None:
    world.mesh.around = surroundings(pods=[pod("v1", ready=False), pod("v3"), pod("v3", 1)])


def _one_pod(world: World) -> None:
    world.mesh.around = surroundings(
        pods=[pod("v1"), pod("v3"), pod("v3", 1)], deployments=[deployment("v1", 1), deployment("v3")]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_weighed, "60 % at v3"),
        (_late, "a promotion not older than 1d (undoWithin)"),
        (_another_image, "what it ran when the release was promoted, pod template abc"),
        (_no_pod, "ready pods that the traffic could go back to"),
        (_one_pod, "1 ready pods"),
    ],
)
def test_what_a_person_may_know_better_is_refused_and_forced(change: Callable[[World], None], said: str) -> None:
    world = promoted()
    change(world)
    with pytest.raises(Refused) as refused:
        begun(world)
    assert said in str(refused.value)
    assert "--force" in str(refused.value)
    assert len(world.store.records()) == 1
    begun(world, replace(ASKED, force=True))
    assert carried_out(world).outcome is Outcome.UNDONE
    assert world.split == NOTHING


def test_every_reason_is_said_at_once() -> None:
    world = promoted()
    _late(world)
    _weighed(world)
    with pytest.raises(Refused) as refused:
        begun(world)
    assert len(refused.value.problems) == 2


def _lost_its_stable(world: World) -> None:
    world.mesh.edit(lambda found: found["spec"]["http"][0]["route"].pop(0))


def _marked(world: World) -> None:
    def mark(found: Any) -> None:
        found["metadata"]["annotations"] = {"marker.canaryd.io/reviews": marker(100, run="other").dump()}

    world.mesh.edit(mark)


def _changed(world: World, **changes: Any) -> None:
    record = world.store.load("run-1")
    world.store.save(replace(record, run=replace(record.run, **changes)))


def _in_flight(world: World) -> None:
    _changed(world, phase=Phase.WATCHING)


def _failed(world: World) -> None:
    _changed(world, outcome=Outcome.FAILED, phase=Phase.ROLLED_BACK, split=NOTHING)


def _followed(world: World) -> None:
    run = world.store.load("run-1").run
    world.store.save(Record(replace(run, uid="run-2", created=run.created + 9)))


def _beside_another_plan(world: World) -> None:
    run = world.store.load("run-1").run
    meta = run.plan.metadata.model_copy(update={"name": "other"})
    other = replace(run, uid="other-1", plan=run.plan.model_copy(update={"metadata": meta}), phase=Phase.BAKING)
    world.store.save(Record(other))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_lost_its_stable, "no destination v1 any more"),
        (_marked, "carries the marker of run other"),
        (_in_flight, "a run that has ended"),
        (_failed, "has the traffic already"),
        (_followed, "run run-2 came after it"),
        (_beside_another_plan, "being moved by plan default/other"),
    ],
)
def test_what_is_impossible_no_force_lets_pass(change: Callable[[World], None], said: str) -> None:
    world = promoted()
    change(world)
    with pytest.raises(Refused) as refused:
        begun(world, replace(ASKED, force=True))
    assert said in str(refused.value)
    assert not any(record.run.undoes for record in world.store.records())


def test_a_run_on_another_entry_of_the_object_is_in_nobodys_way() -> None:
    world = promoted()
    _beside_another_plan(world)
    record = world.store.load("other-1")
    elsewhere = replace(record.run.route, entries=(Entry(1, "elsewhere"),))
    world.store.save(replace(record, run=replace(record.run, route=elsewhere)))
    assert begun(world).undoes == "run-1"


def test_what_was_undone_cannot_be_undone() -> None:
    world = promoted()
    begun(world)
    carried_out(world)
    for uid in ("run-1", "undo-1"):
        with pytest.raises(Refused):
            begun(world, replace(ASKED, force=True), uid)


def test_after_a_return_there_is_no_former_version() -> None:
    """Stable runs what was promoted: weights bring nothing back."""
    world = returning_world()
    world.live(then=stable_follows)
    with pytest.raises(Refused, match="kubectl rollout undo"):
        begun(world, replace(ASKED, force=True))


def test_who_cannot_see_the_mesh_says_so_and_it_passes() -> None:
    world = promoted()
    world.mesh.fail_before(Unavailable("nobody answered"), "look")
    with pytest.raises(Refused) as refused:
        begun(world)
    assert refused.value.transient


def test_an_answered_command_is_noted_once() -> None:
    world = promoted()
    assert obeyed("run-1", ASKED, world.store).obeyed == ("c1",)
    assert obeyed("run-1", ASKED, world.store).obeyed == ("c1",)
    assert world.store.load("run-1").run.split == EVERYTHING
    assert Split.percent(100) == EVERYTHING
    assert Entry(0) in world.store.load("run-1").run.route.entries

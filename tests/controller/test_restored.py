"""A cluster restored from a backup of the objects: no uid, no status, other resourceVersions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from canaryd.model.run import Outcome, Phase
from tests.cli.stage import Json, Process
from tests.controller.past import Past
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
GIVEN_BY_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
EVERYTHING = ("CanaryPlan", "VirtualService", "CanaryRun", "CanaryRecord")
WITHOUT_RECORDS = EVERYTHING[:3]
PLAN_ALONE = EVERYTHING[:2]


def backup(stage: Stage, kinds: Iterable[str]) -> list[Json]:
    """What a backup tool keeps."""
    kept = []
    for kind in kinds:
        for found in stage.cluster.objects(kind):
            if kind == "VirtualService" and found["metadata"]["name"] != "reviews":
                continue
            meta = {key: value for key, value in found["metadata"].items() if key not in GIVEN_BY_SERVER}
            kept.append({key: value for key, value in found.items() if key != "status"} | {"metadata": meta})
    return kept


def aged(kept: list[Json], seconds: float = 3600.0) -> list[Json]:
    """As if the backup had been made ``seconds`` ago: what tells the age of a run is when it was created."""
    for found in kept:
        if found["kind"] == "CanaryRun":
            moment = time.time() - seconds
            found["spec"]["created"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))
    return kept


def promoted(tmp_path: Path, kinds: Iterable[str]) -> list[Json]:
    """The backup of a cluster in which v3 was promoted."""
    (tmp_path / "former").mkdir()
    with Stage(tmp_path / "former") as former:
        former.apply()
        former.ends(process=former.controller())
        former.until(
            lambda: "canaryd.io/settled" in str(former.plan_object()["metadata"].get("annotations")), "the note"
        )
        return aged(backup(former, kinds))


def in_flight(tmp_path: Path, kinds: Iterable[str]) -> list[Json]:
    """The backup of a cluster in which v3 has 10 %."""
    (tmp_path / "former").mkdir()
    with Stage(tmp_path / "former") as former:
        former.apply(steps=LONG)
        process = former.controller()
        former.until(lambda: former.is_at(Phase.BAKING), "baking", process)
        return aged(backup(former, kinds))


def restore(stage: Stage, kept: list[Json]) -> None:
    for found in kept:
        stage.cluster.apply(found)


def settles(stage: Stage, process: Process) -> None:
    """Until nothing goes on any more."""
    process.says('"event": "daemon.leads"')
    time.sleep(3)
    stage.until(lambda: all(run.released or not run.final for run in stage.records()), "the ends", process)


@pytest.mark.parametrize("kinds", [EVERYTHING, WITHOUT_RECORDS, PLAN_ALONE], ids=["all", "no records", "plan alone"])
def test_what_was_promoted_is_left_alone(stage: Stage, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Not released again, and not rolled back either; and the next release begins."""
    restore(stage, promoted(tmp_path, kinds))
    process = stage.controller()
    settles(stage, process)
    assert stage.weights() == (0, 100), process.output
    assert len(stage.run_objects()) == kinds.count("CanaryRun"), process.output
    stage.set_weights(100, 0)
    stage.apply(release="v4")
    stage.until(lambda: any(run.plan.spec.release == "v4" and run.released for run in stage.records()), "v4", process)
    assert stage.newest().outcome is Outcome.PROMOTED


def test_what_was_in_flight_without_its_run_goes_back_before_anything_begins(stage: Stage, tmp_path: Path) -> None:
    """The marker is an orphan; the plan's release was never settled, and begins anew, from nothing."""
    restore(stage, in_flight(tmp_path, PLAN_ALONE))
    past = Past(stage.cluster)
    process = stage.controller()
    stage.until(lambda: bool(stage.records()) and stage.weights() == (90, 10), "a run anew", process)
    marked = [(moment.weight, moment.marker) for moment in past.moments if moment.marker]
    *former, (weight, anew) = marked
    assert former, str(past)
    assert all((at, marker.latch) == (0, "abort") for at, marker in former), str(past)
    assert (weight, anew.run, anew.seq) == (10, stage.newest().uid, 1), str(past)


def test_what_was_in_flight_without_its_record_is_rolled_back(stage: Stage, tmp_path: Path) -> None:
    """Nobody knows what became of it since; it is not begun again by itself."""
    restore(stage, in_flight(tmp_path, WITHOUT_RECORDS))
    process = stage.controller()
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)
    settles(stage, process)
    assert stage.weights() == (100, 0), process.output


def test_one_in_flight_with_its_record_goes_on(stage: Stage, tmp_path: Path) -> None:
    """Its memory is whole; it is one run, and it ends."""
    restore(stage, in_flight(tmp_path, EVERYTHING))
    process = stage.controller()
    settles(stage, process)
    assert len(stage.run_objects()) == 1
    assert stage.weights() in ((90, 10), (100, 0))


def test_a_restore_into_a_controller_that_runs(stage: Stage, tmp_path: Path) -> None:
    """It was up before the objects came, in the order that they come in."""
    kept = in_flight(tmp_path, WITHOUT_RECORDS)
    process = stage.controller()
    process.says('"event": "daemon.leads"')
    restore(stage, sorted(kept, key=lambda one: one["kind"] != "CanaryRun"))
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)
    settles(stage, process)
    assert stage.weights() == (100, 0), process.output


def test_the_note_in_the_plan_is_enough(stage: Stage, tmp_path: Path) -> None:
    """A plan alone, to a cluster in which stable has everything: the release is not begun."""
    (kept,) = (one for one in promoted(tmp_path, ("CanaryPlan",)) if one["kind"] == "CanaryPlan")
    stage.cluster.apply(kept)
    process = stage.controller()
    settles(stage, process)
    assert stage.run_objects() == []
    assert stage.weights() == (100, 0)
    assert "was settled before" in str(stage.plan_object()["status"])

"""What the store in a cluster promises beyond the port: two processes, lost halves, backups, and few requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.kube import CANARY_RECORDS, CANARY_RUNS, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.cells import Cell
from canaryd.model.run import Command, Outcome, Phase, Record, Run
from canaryd.model.traffic import NOTHING
from tests.conftest import REAL
from tests.stage import Stage, new_run, percent, plan
from tests.store.places import NAMESPACE, Process, prepare


class Place:
    """An API server, and how to make it fail where it takes such orders."""

    def __init__(self, kube: Kube, server: ApiServer | None) -> None:
        self.kube, self._server = kube, server

    def __call__(self, **options: Any) -> Process:
        return Process(self.kube, **options)

    @property
    def server(self) -> ApiServer:
        if self._server is None:
            pytest.skip("a real API server takes no orders to fail, and shows no requests")
        return self._server

    def edit(self, uid: str, **fields: Any) -> None:
        found = self.kube.get(CANARY_RECORDS, NAMESPACE, uid)
        self.kube.replace(CANARY_RECORDS, NAMESPACE, uid, found | fields)


@pytest.fixture(params=["emulator", REAL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "emulator":
        with ApiServer(Cluster()) as server:
            kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=2)
            prepare(kube)
            yield Place(kube, server)
    else:
        kube = connect(str(request.getfixturevalue("real_api")), timeout=10)
        prepare(kube)
        yield Place(kube, None)


def fresh(uid: str = "run-1", *, at: float | None = None) -> Record:
    return Record(replace(new_run(plan(), at=at or round(time.time(), 3)), uid=uid))


def baking() -> Run:
    stage = Stage(now=round(time.time(), 3))
    stage.baking()
    stage.rest(40)
    return replace(stage.run, waiting="4 of 12 cells")


def more_cells(record: Record, count: int = 1) -> Record:
    run = record.run
    for _ in range(count):
        last = run.cells[-1]
        cell = replace(last, start=last.end, end=last.end + 10)
        run = replace(run, cells=(*run.cells, cell), waiting=f"{len(run.cells)} of 12 cells")
    return replace(record, run=run)


# -- two processes


def test_of_two_processes_one_saves_and_the_other_reads_what_it_saved(place: Place) -> None:
    """Also where its own cache has not heard of it yet: a leader that was is fenced by this."""
    one, other = place(), place()
    record = one.store.save(fresh())
    other.look()
    assert other.store.load("run-1") == record
    saved = one.store.save(replace(record, run=replace(record.run, phase=Phase.SHIFTING)))
    with pytest.raises(Conflict):
        other.store.save(replace(record, run=replace(record.run, phase=Phase.PROMOTING)))
    assert other.store.load("run-1") == saved


def test_a_command_of_anybody_does_not_make_a_save_conflict(place: Place) -> None:
    """People's words and the machine's memory are two objects."""
    one = place()
    record = one.store.save(fresh())
    place().store.ask("run-1", Command("a", "abort", "because"))
    one.store.save(replace(record, run=replace(record.run, phase=Phase.SHIFTING)))


def test_a_save_whose_answer_was_lost_is_found_out(place: Place) -> None:
    """It may have happened: who saves again is told so, and reads it."""
    one = place()
    record = one.store.save(fresh())
    place.server.faults.reset("update", "canaryrecords", after_write=True)
    shifting = replace(record, run=replace(record.run, phase=Phase.SHIFTING))
    with pytest.raises(Unavailable):
        one.store.save(shifting)
    with pytest.raises(Conflict):
        one.store.save(shifting)
    found = one.store.load("run-1")
    assert (found.version, found.run.phase) == (2, Phase.SHIFTING)


# -- written on change, else once a minute


def version(place: Place) -> int:
    return int(place.kube.get(CANARY_RECORDS, NAMESPACE, "run-1")["version"])


def test_cells_alone_wait_for_a_minute(place: Place) -> None:
    """Nothing is decided by them yet, and Prometheus has them."""
    one = place()
    saved = one.store.save(Record(baking()))
    waiting = one.store.save(more_cells(saved))
    assert (waiting.version, version(place)) == (1, 1)
    assert one.store.load("run-1") == waiting
    one.now = 61
    assert one.store.save(more_cells(waiting)).version == version(place) == 2
    assert place().store.load("run-1").run == more_cells(saved, 2).run


@pytest.mark.parametrize(
    "change",
    [
        {"phase": Phase.SHIFTING},
        {"split": percent(25)},
        {"seq": 9},
        {"obeyed": ("a",)},
        {"waiting": "somebody's yes"},
        {"released": True},
        {"blind_since": 5.0},
    ],
    ids=str,
)
def test_anything_else_is_written_at_once_and_the_cells_with_it(place: Place, change: dict[str, Any]) -> None:
    """Toward the canary the intent is in the store before the mesh hears of it."""
    one = place()
    waiting = one.store.save(more_cells(one.store.save(Record(baking()))))
    saved = one.store.save(replace(waiting, run=replace(waiting.run, **change)))
    assert saved.version == version(place) == 2
    assert place().store.load("run-1") == saved


def test_a_good_end_leaves_nothing_in_memory(place: Place) -> None:
    """The next leader goes on with the last cell."""
    one = place()
    waiting = one.store.save(more_cells(one.store.save(Record(baking()))))
    one.store.flush()
    assert place().store.load("run-1").run == waiting.run


def test_what_waits_is_void_when_another_has_saved(place: Place) -> None:
    """Its cells are its own; the version in memory is not a version any more."""
    one, other = place(), place()
    saved = one.store.save(Record(baking()))
    one.store.save(more_cells(saved))
    other.look()
    others = other.store.save(replace(saved, run=replace(saved.run, phase=Phase.SHIFTING)))
    one.look()
    assert one.store.load("run-1") == others


# -- few requests


def test_a_tick_of_a_run_that_waits_costs_no_request(place: Place) -> None:
    """Two hundred runs at a gate must not be two hundred requests every few seconds."""
    one = place()
    saved = one.store.save(Record(baking()))
    before = len(place.server.requests)
    for _ in range(3):
        assert one.store.load("run-1") == saved
        assert one.store.commands("run-1") == ()
        saved = one.store.save(more_cells(saved))
        assert len(list(one.store.records())) == 1
    assert len(place.server.requests) == before


def test_a_cache_that_has_heard_nothing_for_long_is_not_believed(place: Place) -> None:
    """The server is asked; where it is silent too, that is said."""
    one, other = place(), place()
    record = one.store.save(fresh())
    other.look()
    saved = other.store.save(replace(record, run=replace(record.run, phase=Phase.SHIFTING)))
    one.records.is_fresh = False
    assert one.store.load("run-1") == saved
    place.server.faults.reset("get", "canaryrecords", times=None)
    with pytest.raises(Unavailable):
        one.store.load("run-1")
    place.server.faults.clear()


# -- half of it lost


def test_a_run_whose_record_was_not_created_is_there_and_goes_on(place: Place) -> None:
    """Death between the two halves: the run has not begun, and is saved by whoever ticks it first."""
    one = place()
    place.server.faults.fail("create", "canaryrecords", 500)
    with pytest.raises(Unavailable):
        one.store.save(fresh())
    two = place()
    [record] = two.store.records()
    assert (record.version, record.run.phase, record.run.latch) == (0, Phase.PENDING, None)
    assert two.store.save(record).version == 1
    with pytest.raises(Conflict):
        one.store.save(fresh())


def test_a_run_restored_without_its_record_is_aborted_and_nothing_is_released_twice(place: Place) -> None:
    """What became of it since the backup nobody knows."""
    one = place()
    one.store.save(fresh(at=round(time.time() - 3600, 3)))
    place.kube.delete(CANARY_RECORDS, NAMESPACE, "run-1")
    two = place()
    record = two.store.load("run-1")
    assert record.run.latch is not None
    assert record.run.latch.kind == "abort"
    assert "restored from a backup" in record.run.latch.reason
    stage = Stage(now=time.time())
    stage.run = record.run
    stage.until(Phase.ROLLED_BACK)
    assert {split.canary for split in stage.splits} == {0}
    assert two.store.save(replace(record, run=stage.run)).version == 1


def test_a_record_of_a_former_object_of_that_name_counts_only_when_it_has_ended(place: Place) -> None:
    """A backup brings the record back too, with the uid of a CanaryRun that is no more."""
    one = place()
    record = one.store.save(fresh(at=round(time.time() - 3600, 3)))
    one.store.save(replace(record, run=replace(record.run, phase=Phase.SHIFTING, seq=3)))
    found = place.kube.get(CANARY_RUNS, NAMESPACE, "run-1")
    place.kube.delete(CANARY_RUNS, NAMESPACE, "run-1")
    found["metadata"] = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
    place.kube.create(CANARY_RUNS, NAMESPACE, found)
    two = place()
    lost = two.store.load("run-1")
    assert (lost.version, lost.run.seq) == (0, 0)
    assert lost.run.latch is not None
    assert two.store.save(lost).version == 1
    assert place().store.load("run-1").run == lost.run


def test_a_run_that_its_status_calls_promoted_stays_so(place: Place) -> None:
    """Its record was lost after the end: an abort would roll back what is live."""
    one = place()
    one.store.save(fresh(at=round(time.time() - 3600, 3)))
    status = {"outcome": "promoted", "ended": "2026-01-01T00:00:00Z", "why": "proven"}
    place.kube.patch_merge(CANARY_RUNS, NAMESPACE, "run-1", {"status": status}, subresource="status")
    place.kube.delete(CANARY_RECORDS, NAMESPACE, "run-1")
    run = place().store.load("run-1").run
    assert (run.final, run.outcome, run.latch, run.reason) == (True, Outcome.PROMOTED, None, "proven")


def test_a_run_that_was_deleted_is_rejected(place: Place) -> None:
    """And no longer listed; the record goes with it."""
    one = place()
    record = one.store.save(fresh())
    for kind in (CANARY_RUNS, CANARY_RECORDS):
        place.kube.delete(kind, NAMESPACE, "run-1")
    one.look()
    with pytest.raises(Rejected):
        one.store.load("run-1")
    with pytest.raises(Rejected):
        one.store.save(replace(record, run=replace(record.run, phase=Phase.SHIFTING)))
    assert list(one.store.records()) == []
    assert one.store.commands("run-1") == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schema": 7}, "written with schema 7, and this canaryd knows 1"),
        ({"judge": "99"}, "written with judge 99, and this canaryd knows 1"),
        ({"data": "bm90aGluZw=="}, "is not a record that this canaryd wrote"),
        ({"data": ""}, "is not a record that this canaryd wrote"),
    ],
    ids=["schema", "judge", "damaged", "empty"],
)
def test_what_another_canaryd_wrote_is_not_guessed_at(place: Place, fields: dict[str, Any], said: str) -> None:
    """Named, rejected, and no obstacle to the other runs; nor is it written over."""
    one = place()
    one.store.save(fresh())
    one.store.save(fresh("run-2"))
    place.edit("run-1", **fields)
    two = place()
    with pytest.raises(Rejected, match=said):
        two.store.load("run-1")
    with pytest.raises(Rejected):
        two.store.save(replace(fresh(), version=1))
    assert [record.run.uid for record in two.store.records()] == ["run-2"]
    assert said in two.store.unreadable()["run-1"]


# -- what people ask


def test_commands_as_kubectl_writes_them(place: Place) -> None:
    """Without an id the place is the id; what is no command is no obstacle."""
    one = place()
    one.store.save(fresh())
    spec = {"abort": {"reason": "wrong version"}, "commands": [{"verb": "approve", "step": 0}, {"verb": "resume"}]}
    place.kube.patch_merge(CANARY_RUNS, NAMESPACE, "run-1", {"spec": spec})
    one.look()
    assert one.store.commands("run-1") == (
        Command("#0", "approve", step=0),
        Command("#1", "resume"),
        Command("abort", "abort", "wrong version"),
    )


def test_an_abort_is_sticky_and_a_second_one_is_heard_all_the_same(place: Place) -> None:
    """``--force`` comes after the first abort found no way back."""
    one = place()
    one.store.save(fresh())
    one.store.ask("run-1", Command("a", "abort"))
    one.store.ask("run-1", Command("b", "abort", "now", force=True))
    assert one.store.commands("run-1") == (Command("b", "abort", "now", force=True), Command("a", "abort"))
    assert place.kube.get(CANARY_RUNS, NAMESPACE, "run-1")["spec"]["abort"] == {"id": "a"}


def test_two_first_commands_at_the_same_moment_are_both_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each creates the list; the second must not write over the first."""
    one, other = place(), place()
    one.store.save(fresh())
    other.look()
    patch, asked = place.kube.patch_json, [Command("b", "resume")]

    def late(*arguments: Any) -> Any:
        if asked:
            other.store.ask("run-1", asked.pop())
        return patch(*arguments)

    monkeypatch.setattr(place.kube, "patch_json", late)
    one.store.ask("run-1", Command("a", "approve"))
    assert [command.id for command in one.store.commands("run-1")] == ["b", "a"]


def test_a_command_is_sent_again_while_others_write(place: Place) -> None:
    """A status is written at any moment."""
    one = place()
    one.store.save(fresh())
    place.server.faults.fail("patch", "canaryruns", 409, times=3)
    one.store.ask("run-1", Command("a", "approve"))
    assert [command.id for command in one.store.commands("run-1")] == ["a"]


def test_old_cells_are_thinned_and_the_bake_is_not(place: Place) -> None:
    """What a step's PASS counts stays countable after a day."""
    one = place()
    run = more_cells(Record(baking()), 600).run
    saved = one.store.save(Record(run))
    found = place().store.load("run-1")
    assert found == saved
    assert len(found.run.baked) == len(run.baked)
    assert found.run.done == run.done
    assert [(cell.start, cell.end, cell.settled) for cell in found.run.cells] == [
        (cell.start, cell.end, cell.settled) for cell in run.cells
    ]
    assert all(isinstance(cell, Cell) for cell in found.run.cells)
    assert found.run.split != NOTHING

"""
The contract of the port `Store`, in memory, on a folder, and in a cluster; and what a folder promises beyond it.

The cluster is the lab's API server, and a real one where there is one. tests/store has what a cluster promises beyond.

A state that is half written, saved twice or read wrong is a rollout that nobody steers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from canaryd.cluster.informer import Informer
from canaryd.engine.ports import Store
from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.kube import CANARY_RECORDS, CANARY_RUNS, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Command, Record, Run
from canaryd.store.cluster import ClusterStore
from canaryd.store.folder import FolderJournal, FolderStore
from tests.conftest import REAL
from tests.stage import Stage, new_run, plan
from tests.store.memory import MemoryStore
from tests.store.places import NAMESPACE, prepare


@pytest.fixture(params=["memory", "folder", "emulator", REAL])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "folder":
        yield FolderStore(tmp_path)
    elif request.param == "emulator":
        with (
            ApiServer(Cluster()) as server,
            cluster_store(kubeconfig(server.address, tmp_path / "kubeconfig")) as found,
        ):
            yield found
    else:
        with cluster_store(request.getfixturevalue("real_api")) as found:
            yield found


@contextmanager
def cluster_store(config: Path) -> Iterator[Store]:
    """As the controller has it: on informers that watch."""
    kube = connect(str(config), timeout=10)
    prepare(kube)
    informers = [Informer(kube, kind, (NAMESPACE,)) for kind in (CANARY_RUNS, CANARY_RECORDS)]
    for one in informers:
        one.start()
    try:
        assert all(one.wait(20) for one in informers)
        yield ClusterStore(kube, *informers, namespaces=(NAMESPACE,))
    finally:
        for one in informers:
            one.stop()


@pytest.fixture
def fresh() -> Record:
    return Record(new_run(plan()))


def as_kept(store: Store, run: Run) -> Run:
    """The run as ``store`` gives it back: it says where it is kept."""
    return replace(run, kept="canaryrun") if isinstance(store, ClusterStore) else run


def held(record: Record, why: str) -> Record:
    return replace(record, run=replace(record.run, waiting=why))


def test_a_saved_record_is_loaded_as_it_was(store: Store) -> None:
    """All of it: plan, cells, gaps, evidence, latch, to the last bit."""
    stage = Stage(plan=plan(gate_at=0, accept_unproven="tool"))
    stage.baking()
    stage.gap = "no series"
    stage.rest(40)
    stage.says["failure"] = "errors"
    stage.gap = ""
    stage.rest(60)
    saved = store.save(Record(stage.run))
    assert saved.version == 1
    assert store.load("run-1") == saved
    assert store.load("run-1").run == as_kept(store, stage.run)


def test_a_plan_between_two_hosts_is_loaded_as_it_was(store: Store) -> None:
    """A side that is a host has no subset, and a run of such a plan once could not be read back at all."""
    target = {"virtualService": "reviews", "host": "reviews", "stable": {"host": "old"}, "canary": {"host": "new"}}
    record = Record(new_run(plan(target=target)))
    saved = store.save(record)
    assert store.load("run-1") == saved
    assert saved.run.plan == record.run.plan


def test_a_save_needs_the_version_that_it_was_loaded_with(store: Store, fresh: Record) -> None:
    """Two writers: the second learns that it was not first, and nothing of it is kept."""
    first = store.save(fresh)
    second = store.save(held(first, "one"))
    with pytest.raises(Conflict):
        store.save(held(first, "two"))
    assert store.load("run-1") == second


def test_a_run_is_created_once(store: Store, fresh: Record) -> None:
    """Two processes begin the same run: one of them."""
    store.save(fresh)
    with pytest.raises(Conflict):
        store.save(fresh)


def test_a_run_that_is_not_there_is_rejected(store: Store) -> None:
    """Trying again would not help."""
    with pytest.raises(Rejected):
        store.load("nobody")
    with pytest.raises(Rejected):
        store.ask("nobody", Command("a", "abort"))


def test_records_come_the_oldest_first(store: Store, fresh: Record) -> None:
    """Who began first is looked for by age."""
    for uid, created in (("b", 2.0), ("a", 3.0), ("c", 1.0)):
        store.save(Record(replace(fresh.run, uid=uid, created=created)))
    assert [record.run.uid for record in store.records()] == ["c", "b", "a"]


def test_commands_are_kept_in_order_and_never_taken_away(store: Store, fresh: Record) -> None:
    """Obeyed or not: the run knows which it has obeyed."""
    store.save(fresh)
    asked = (Command("a", "approve", step=0), Command("b", "abort", "because }", "ada", force=True))
    for command in asked:
        store.ask("run-1", command)
    assert store.commands("run-1") == store.commands("run-1") == asked


def test_a_run_without_commands_has_none(store: Store, fresh: Record) -> None:
    """And that is no error."""
    store.save(fresh)
    assert store.commands("run-1") == ()


# ---------------------------------------------------------------------------------------------------------------------
# A folder


def test_a_death_before_the_rename_leaves_the_former_record(
    tmp_path: Path, fresh: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is there, the record is the old one; the next save writes over it."""
    store = FolderStore(tmp_path)
    first = store.save(fresh)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            store.save(held(first, "lost"))
    (tmp_path / "run-1" / "run.new").write_text('{"version": 2, "ru')
    assert FolderStore(tmp_path).load("run-1") == first
    assert FolderStore(tmp_path).save(held(first, "kept")).version == 2


def test_a_save_is_on_the_disk_before_it_returns(
    tmp_path: Path, fresh: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, then name, then folder: each is flushed in that order."""
    done: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), sync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("rename"), rename(path, to))[1])
    FolderStore(tmp_path).save(fresh)
    assert done == ["sync", "rename", "sync"]


@pytest.mark.parametrize("content", [b"", b'{"version": 1', b"\xff\xfe", b'{"version": 1, "run": {"uid": 3}}', b"[]"])
def test_a_damaged_record_says_so(tmp_path: Path, fresh: Record, content: bytes) -> None:
    """Named, rejected, and no obstacle to the other runs."""
    store = FolderStore(tmp_path)
    store.save(fresh)
    store.save(Record(replace(fresh.run, uid="run-2")))
    (tmp_path / "run-1" / "run.json").write_bytes(content)
    with pytest.raises(Rejected, match=r"run-1/run\.json is not a run that this canaryd wrote"):
        store.load("run-1")
    assert [record.run.uid for record in store.records()] == ["run-2"]


@pytest.mark.parametrize("torn", [b'{"id":"x","verb":"ab', b'{"id":"x","reason":"}', b"\xff\xfe"])
def test_a_command_cut_short_takes_no_other_with_it(tmp_path: Path, fresh: Record, torn: bytes) -> None:
    """The death of who asked for something must not swallow the next abort."""
    store = FolderStore(tmp_path)
    store.save(fresh)
    store.ask("run-1", Command("a", "approve"))
    with (tmp_path / "run-1" / "commands.jsonl").open("ab") as file:
        file.write(torn)
    store.ask("run-1", Command("b", "abort"))
    assert [command.id for command in store.commands("run-1")] == ["a", "b"]


def test_a_journal_entry_cut_short_takes_no_other_with_it(tmp_path: Path, fresh: Record) -> None:
    """What happened stays told."""
    FolderStore(tmp_path).save(fresh)
    journal = FolderJournal(tmp_path)
    journal.tell("run-1", {"at": 1})
    with (tmp_path / "run-1" / "journal.jsonl").open("ab") as file:
        file.write(b'{"at": 2, "sa')
    journal.tell("run-1", {"at": 3})
    assert [entry["at"] for entry in journal.read("run-1")] == [1, 3]


def test_a_run_has_one_owner(tmp_path: Path, fresh: Record) -> None:
    """Two processes on one folder: the second is told, and may come when the first has gone."""
    store = FolderStore(tmp_path)
    store.save(fresh)
    with store.held("run-1"), pytest.raises(Rejected, match="already being carried out"), store.held("run-1"):
        pass
    with store.held("run-1"):
        pass


def test_a_disk_that_does_not_play_along_is_unavailable(tmp_path: Path, fresh: Record) -> None:
    """Trying again may help; nobody above knows an OSError."""
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        FolderStore(tmp_path / "state").save(fresh)
    with pytest.raises(Unavailable):
        FolderStore(tmp_path / "state").records()
    with pytest.raises(Unavailable):
        FolderJournal(tmp_path / "state").tell("run-1", {})

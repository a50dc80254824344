"""
The contract of the port `Freezes`: what people type is what the engine sees, in a folder and in a cluster.

The cluster is the lab's API server, and a real one where there is one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import structlog

from canaryd.cli.freezes import InCluster, InFolder, Place
from canaryd.cluster.informer import Informer
from canaryd.engine.ports import Freezes
from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.kube import CANARY_FREEZES, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.guards import Freeze
from canaryd.store.freezes import ClusterFreezes, FolderFreezes, ListedFreezes
from tests.conftest import REAL
from tests.store.places import NAMESPACE, prepare

HOME = "canaryd"
UNTIL = 4_070_908_800.0


@dataclass(frozen=True)
class Both:
    """Where it is written, and where it is read."""

    written: Place
    read: Freezes
    seen: Callable[[Callable[[], bool]], None]

    def present(self) -> list[Freeze]:
        """Without when they were made, which a cluster says itself."""
        return sorted((replace(one, since=0.0) for one in self.read.freezes()), key=lambda one: one.name)


class Listed:
    """Freezes that are listed, as a reader of all that there are."""

    def __init__(self, kube: Kube) -> None:
        self._freezes = ListedFreezes(kube, HOME)

    def freezes(self) -> tuple[Freeze, ...]:
        return self._freezes.read(NAMESPACE)


@pytest.fixture(params=["folder", "emulator", "emulator, listed", REAL])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if request.param == "folder":
        yield Both(InFolder(tmp_path), FolderFreezes(tmp_path), lambda _: None)
    elif request.param == "emulator":
        with ApiServer(Cluster()) as server:
            yield from in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
    elif request.param == "emulator, listed":
        with ApiServer(Cluster()) as server:
            kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=10)
            prepare(kube)
            yield Both(InCluster(kube, HOME, "canaryd"), Listed(kube), lambda _: None)
    else:
        yield from in_cluster(request.getfixturevalue("real_api"))


def in_cluster(config: Path) -> Iterator[Both]:
    kube = connect(str(config), timeout=10)
    prepare(kube)
    informer = Informer(kube, CANARY_FREEZES, (NAMESPACE,))
    informer.start()

    def until(fact: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not fact():
            assert time.monotonic() < end
            time.sleep(0.05)

    try:
        assert informer.wait(20)
        yield Both(InCluster(kube, HOME, "canaryd"), ClusterFreezes(informer.all, HOME), until)
    finally:
        for one in kube.list(CANARY_FREEZES, NAMESPACE):
            kube.delete(CANARY_FREEZES, NAMESPACE, one["metadata"]["name"])
        informer.stop()


def freeze(**changes: object) -> Freeze:
    name = f"night-{uuid.uuid4().hex[:6]}"
    return replace(Freeze(name, NAMESPACE, "incident 4711"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"until": UNTIL}, {"until": UNTIL, "stop": True}], ids=str)
def test_what_is_written_is_read(both: Both, changes: dict[str, object]) -> None:
    """Reason, owner, end and whether it stops."""
    made = freeze(owner=both.written.me(), **changes)
    both.written.add(made)
    both.seen(lambda: bool(both.present()))
    assert both.present() == [made]
    assert [one.name for one in both.written.freezes(NAMESPACE)] == [made.name]


def test_what_is_lifted_is_gone(both: Both) -> None:
    made = freeze()
    both.written.add(made)
    both.seen(lambda: bool(both.present()))
    both.written.lift(made)
    both.seen(lambda: not both.present())
    assert both.present() == []


def test_a_name_is_given_once(both: Both) -> None:
    """The second would hide the first."""
    both.written.add(freeze(name="night"))
    with pytest.raises((Conflict, Rejected)):
        both.written.add(freeze(name="night", reason="another"))


def test_a_file_that_cannot_be_read_freezes_everything(tmp_path: Path) -> None:
    """Somebody wanted something to stand still."""
    freezes = FolderFreezes(tmp_path)
    freezes.add(freeze(name="good"))
    (tmp_path / "freezes" / "bad.json").write_text("{")
    bad, good = freezes.freezes()
    assert (bad.name, bad.namespace, bad.until, bad.stop) == ("bad", "", None, False)
    assert "cannot be read" in bad.reason
    assert good.namespace == NAMESPACE


def test_a_disk_that_does_not_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "freezes").mkdir()
    (tmp_path / "freezes" / "night.json").mkdir()
    with pytest.raises(Unavailable):
        FolderFreezes(tmp_path).freezes()


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(Rejected):
        FolderFreezes(tmp_path).lift("../run")
    assert (tmp_path / "run.json").exists()


def test_no_freeze_is_no_trouble(tmp_path: Path) -> None:
    """Nobody ever froze anything here."""
    assert FolderFreezes(tmp_path / "nothing").freezes() == ()


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "freezes").write_text("no folder")
    with pytest.raises(Unavailable):
        FolderFreezes(tmp_path).freezes()


# ---------------------------------------------------------------------------------------------------------------------
# Listed: a cluster without the kind, or an account without the right


DENIED = (("list", "canaryfreezes"),)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One that has the kinds, and a freeze."""
    found = Cluster()
    with ApiServer(found) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=10)
        prepare(kube)
        InCluster(kube, HOME, "canaryd").add(freeze(name="night"))
        yield found


def listed(server: ApiServer, folder: Path) -> ListedFreezes:
    return ListedFreezes(connect(kubeconfig(server.address, folder / "kubeconfig"), timeout=10), HOME)


def test_where_there_is_no_such_kind_nobody_has_frozen_anything(tmp_path: Path) -> None:
    """`canaryd run` needs none of canaryd's kinds."""
    with ApiServer(Cluster()) as server, structlog.testing.capture_logs() as logs:
        freezes = listed(server, tmp_path)
        assert [freezes.read(NAMESPACE) for _ in range(3)] == [(), (), ()]
    assert [(one["event"], one["log_level"]) for one in logs] == [("freezes.unseen", "info")]


def test_who_may_not_list_them_is_told_once(cluster: Cluster, tmp_path: Path) -> None:
    """A warning: what somebody has frozen does not count for them."""
    with ApiServer(cluster, denied=DENIED) as server, structlog.testing.capture_logs() as logs:
        freezes = listed(server, tmp_path)
        assert [freezes.read(NAMESPACE) for _ in range(3)] == [(), (), ()]
    assert [(one["event"], one["log_level"], one["namespace"]) for one in logs] == [
        ("freezes.unseen", "warning", NAMESPACE),
        ("freezes.unseen", "warning", HOME),
    ]


def test_a_kind_that_appears_counts_from_then_on(tmp_path: Path) -> None:
    """canaryd was installed while a pipeline's job waited."""
    with ApiServer(Cluster()) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=10)
        freezes = ListedFreezes(kube, HOME)
        assert freezes.read(NAMESPACE) == ()
        prepare(kube)
        InCluster(kube, HOME, "canaryd").add(freeze(name="night"))
        assert [one.name for one in freezes.read(NAMESPACE)] == ["night"]


def test_what_could_be_listed_once_has_to_be_listed(cluster: Cluster, tmp_path: Path) -> None:
    """A right that is taken away in a freeze lifts nothing."""
    server = ApiServer(cluster)
    port = int(server.start().rsplit(":", 1)[1])
    freezes = listed(server, tmp_path)
    assert [one.name for one in freezes.read(NAMESPACE)] == ["night"]
    server.stop()
    with ApiServer(cluster, port=port, denied=DENIED), pytest.raises(Unavailable, match="can be listed no more"):
        freezes.read(NAMESPACE)

"""What is at hand is what the server has, for no request; and where a watch does not work, the server is asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from canaryd.cluster.cache import Change
from canaryd.cluster.informer import FRESH, Informer
from canaryd.cluster.shelf import Care, Shelf
from canaryd.kube import PODS, SERVICES, Forbidden, Kind, Kube, Missing, Unserved, connect
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.workloads import install, set_ready
from canaryd.mesh.slim import CARE
from tests.cluster.wire import Wire

Object = dict[str, Any]
HOME = bookinfo.NAMESPACE


class Clock:
    """The monotonic clock, which can be put forward."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Scene:
    """Bookinfo on the lab's server, a client through a wire that can be cut, and a shelf on it."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.server, self.cluster = server, server.cluster
        given = kubeconfig(server.address, folder / "kubeconfig")
        self.hands = connect(given)
        self.wire = Wire(server.address)
        self.kube = connect(self.wire.kubeconfig(given, folder / "wire"), timeout=2)
        self.clock = Clock()
        self.changes: list[tuple[Kind, Change]] = []
        self.shelves: list[Shelf] = []

    def shelf(self, kube: Kube | None = None, **more: Any) -> Shelf:
        told: Any = lambda kind, change: self.changes.append((kind, change))  # noqa: E731
        made = Shelf(kube or self.kube, clock=self.clock, **{"on_change": told, "care": CARE, **more})
        self.shelves.append(made)
        return made

    def asked(self, *verbs: str, kind: Kind = PODS) -> int:
        return sum(one.resource == kind.plural and one.verb in verbs for one in list(self.server.requests))

    def pods(self) -> list[Object]:
        return self.cluster.objects("Pod", HOME)

    def turn(self, ready: bool) -> None:
        set_ready(self.cluster, [one for one in self.pods() if _version(one) == "v3"], ready=ready)


def _version(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("version"))


def ready(shelf: Shelf) -> set[bool]:
    found = shelf.list(PODS, HOME, labels={"app": "reviews", "version": "v3"})
    return {one["status"]["conditions"][-1]["status"] == "True" for one in found}


def believed(shelf: Shelf) -> bool:
    return bool(shelf.watched()) and all(shelf.watched().values())


def until(what: Callable[[], Any], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def _scene(folder: Path, **more: Any) -> Iterator[Scene]:
    cluster = Cluster(history=200)
    install(cluster, bookinfo.objects())
    with ApiServer(cluster, **{"bookmark_every": 600.0, **more}) as server:
        scene = Scene(folder, server)
        with scene.wire:
            yield scene
            scene.wire.thaw()
            for one in scene.shelves:
                one.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    yield from _scene(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Scene]:
    """Pods may be listed and not watched: the rights of an older Role."""
    yield from _scene(tmp_path, denied=(("watch", "pods"),))


# -- while the watch works


def test_nothing_is_asked_before_somebody_asks(scene: Scene) -> None:
    """A kind in a namespace begins with the first question, and the others cost nothing."""
    shelf = scene.shelf()
    assert shelf.watched() == {}
    assert ready(shelf) == {True}
    until(lambda: believed(shelf))
    before = scene.asked("get", "list", "watch")
    for _ in range(20):
        ready(shelf)
        shelf.get(PODS, HOME, scene.pods()[0]["metadata"]["name"])
    assert scene.asked("get", "list", "watch") == before
    assert list(shelf.watched()) == [(PODS, HOME)]


def test_many_who_begin_at_once_ask_once(scene: Scene) -> None:
    """One list and one watch for all runs, also at the start of a term."""
    shelf = scene.shelf()
    with ThreadPoolExecutor(16) as pool:
        assert {frozenset(one) for one in pool.map(lambda _: ready(shelf), range(64))} == {frozenset({True})}
    assert scene.asked("list") <= 4  # and not 64; one, if the machine has time


def test_a_change_is_read_and_told(scene: Scene) -> None:
    """Without a request."""
    shelf = scene.shelf()
    ready(shelf)
    until(lambda: believed(shelf))
    before = scene.asked("get", "list", "watch")
    scene.turn(ready=False)
    until(lambda: ready(shelf) == {False}, 2)
    assert scene.asked("get", "list", "watch") == before
    kind, change = scene.changes[-1]
    assert (kind, change.kind, _version(change.object)) == (PODS, "changed", "v3")


def test_only_what_carries_the_labels_is_listed(scene: Scene) -> None:
    """As the server does it."""
    shelf = scene.shelf()
    ready(shelf)
    until(lambda: believed(shelf))
    for labels in ({}, {"app": "reviews"}, {"app": "reviews", "version": "v1"}, {"app": "nobody"}):
        names = {one["metadata"]["name"] for one in shelf.list(PODS, HOME, labels=labels)}
        assert names == {one["metadata"]["name"] for one in scene.hands.list(PODS, HOME, labels=labels)}


def test_what_is_not_there_is_asked_of_the_server(scene: Scene) -> None:
    """It may have been created just now; and the error is the server's."""
    shelf = scene.shelf()
    assert shelf.get(SERVICES, HOME, "reviews")["spec"]["selector"]
    until(lambda: believed(shelf))
    with pytest.raises(Missing, match="nobody"):
        shelf.get(SERVICES, HOME, "nobody")
    assert scene.asked("get", kind=SERVICES) >= 1


def test_an_informer_that_there_is_is_not_doubled(scene: Scene) -> None:
    """And believed only while it lives, like one's own."""
    shared = Informer(scene.kube, PODS, ("",), clock=scene.clock)
    shelf = scene.shelf(shared=[shared])
    assert ready(shelf) == {True}  # it has not begun yet: the server was asked
    assert scene.asked("list") == 1
    shared.start()
    until(shared.live)
    before = scene.asked("get", "list", "watch")
    assert ready(shelf) == {True}
    assert shelf.known(PODS, HOME, scene.pods()[0]["metadata"]["name"])
    assert shelf.watched() == {}
    assert scene.asked("get", "list", "watch") == before
    shared.stop()
    until(lambda: not shared.live())
    ready(shelf)
    assert scene.asked("list") == 3


def test_an_answer_to_a_write_of_ours_is_read_at_once(scene: Scene) -> None:
    """Before the watch has told of it; here it cannot."""
    shelf = scene.shelf()
    shelf.get(SERVICES, HOME, "reviews")
    until(lambda: believed(shelf))
    scene.wire.freeze()
    note = {"metadata": {"labels": {"note": "mine"}}}
    shelf.took(SERVICES, scene.hands.patch_merge(SERVICES, HOME, "reviews", note))
    assert shelf.get(SERVICES, HOME, "reviews")["metadata"]["labels"]["note"] == "mine"


def test_little_is_kept_and_what_is_looked_at_is(scene: Scene) -> None:
    """Of a pod, whose it is and whether it is ready; neither its containers nor who owns its fields."""
    shelf = scene.shelf()
    name = scene.pods()[0]["metadata"]["name"]
    full = shelf.get(PODS, HOME, name)
    until(lambda: believed(shelf))
    kept = shelf.get(PODS, HOME, name)
    assert "spec" not in kept
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["ownerReferences"][0]["uid"] == scene.pods()[0]["metadata"]["ownerReferences"][0]["uid"]
    assert len(json.dumps(kept)) < len(json.dumps(scene.hands.get(PODS, HOME, name))) / 2
    assert full["metadata"]["uid"] == kept["metadata"]["uid"]


def test_watches_that_nobody_asks_end(scene: Scene) -> None:
    """After ten minutes; who asks again begins anew."""
    shelf = scene.shelf(keep=600.0)
    ready(shelf)
    shelf.get(SERVICES, HOME, "reviews")
    scene.clock.ahead = 599
    shelf.get(SERVICES, HOME, "reviews")
    scene.clock.ahead = 601
    shelf.sweep()
    assert list(shelf.watched()) == [(SERVICES, HOME)]
    assert not any(one.name == f"informer-pods-{HOME}" for one in threading.enumerate())
    assert ready(shelf) == {True}
    assert (PODS, HOME) in shelf.watched()


def test_they_end_by_themselves(scene: Scene) -> None:
    """Also where nobody asks anything any more."""
    shelf = scene.shelf(keep=0.2)
    ready(shelf)
    until(lambda: shelf.watched() == {}, 5)


def test_after_the_end_the_server_is_asked(scene: Scene) -> None:
    """A tick may still be under way."""
    shelf = scene.shelf()
    ready(shelf)
    shelf.stop()
    before = scene.asked("list")
    assert ready(shelf) == {True}
    assert scene.asked("list") == before + 1
    assert shelf.watched() == {}


# -- while it does not


def test_without_the_right_to_watch_each_question_is_asked_and_that_is_said_once(bare: Scene) -> None:
    """What the informer could list is not believed: nobody would hear of what comes after."""
    with capture_logs() as logs:
        shelf = bare.shelf()
        for state in (True, False, True):
            bare.turn(ready=state)
            assert ready(shelf) == {state}
    said = [one for one in logs if one["event"] == "informer.unavailable"]
    assert len(said) == 1
    assert "pods" in said[0]["error"]


def test_errors_are_the_servers(tmp_path: Path) -> None:
    """Forbidden and Unserved, as without a shelf."""
    for scene in _scene(tmp_path, denied=(("list", "pods"), ("get", "pods"))):
        shelf = scene.shelf()
        with pytest.raises(Forbidden, match="pods"):
            shelf.list(PODS, HOME)
        with pytest.raises(Forbidden, match="pods"):
            shelf.get(PODS, HOME, "any")
        with pytest.raises(Unserved):
            shelf.list(Kind("nobody.example", "v1", "things"), HOME)


def test_a_watch_that_is_silent_for_too_long_is_not_believed(scene: Scene) -> None:
    """The server has changed, and nothing came: this server sends no bookmarks, and the wire lets nothing through."""
    shelf = scene.shelf(care={PODS: Care(renewed=(240, 480))})
    ready(shelf)
    until(lambda: believed(shelf))
    scene.clock.ahead = FRESH - 1
    before = scene.asked("list")
    assert ready(shelf) == {True}
    assert scene.asked("list") == before
    scene.clock.ahead = FRESH + 1
    assert ready(shelf) == {True}
    assert scene.asked("list") == before + 1


def test_a_watch_that_is_renewed_often_is_doubted_sooner(scene: Scene) -> None:
    """Within seconds of when its end was due."""
    shelf = scene.shelf()
    ready(shelf)
    until(lambda: believed(shelf))
    scene.clock.ahead = CARE[PODS].renewed[1] + 6
    assert not believed(shelf)


def test_a_cut_watch_is_not_believed_until_it_has_caught_up(scene: Scene) -> None:
    """Meanwhile each question is answered by the server, and never by an older state than before."""
    shelf = scene.shelf()
    ready(shelf)
    until(lambda: believed(shelf))
    scene.server.faults.fail("watch", "pods", 500, times=2)
    scene.wire.cut()
    until(lambda: not believed(shelf), 5)
    scene.turn(ready=False)
    while not believed(shelf):
        assert ready(shelf) == {False}
    assert ready(shelf) == {False}


def test_a_version_too_old_to_go_on_from(scene: Scene) -> None:
    """410: listed anew, and what was missed is told."""
    shelf = scene.shelf()
    ready(shelf)
    until(lambda: believed(shelf))
    scene.server.faults.fail("watch", "pods", 500)
    scene.wire.cut()
    until(lambda: not believed(shelf), 5)
    scene.turn(ready=False)
    scene.cluster.compact()
    until(lambda: believed(shelf))
    assert ready(shelf) == {False}
    assert [change.kind for _, change in scene.changes[-2:]] == ["changed", "changed"]

"""
What is relied on from an informer, over the lab's API server and over a real one.

Both are reached through a wire that can be cut; a real server takes no orders to fail, and the tests that need them run
on the lab's alone.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.informer import Change, Informer
from canaryd.kube import NAMESPACES, Kind, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.cluster.wire import Wire
from tests.conftest import REAL

CONFIG_MAPS = Kind("", "v1", "configmaps")
SOON = 15.0
Object = dict[str, Any]


class Scene:
    """A namespace, a client for the hands of others, and one through a wire for the informer."""

    def __init__(self, config: Path, folder: Path, server: ApiServer | None) -> None:
        self.server = server
        self.hands = connect(config)
        self.wire = Wire(self.hands.address)
        self.kube = connect(self.wire.kubeconfig(config, folder / "wire"), timeout=5)
        self.namespace = self.new_namespace()
        self.changes: list[Change] = []
        self.informers: list[Informer] = []

    def new_namespace(self) -> str:
        name = f"canaryd-test-{uuid.uuid4().hex[:8]}"
        self.hands.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def informer(self, *namespaces: str, wait: bool = True, **more: Any) -> Informer:
        named = namespaces or (self.namespace,)
        more = {"on_change": self.changes.append, **more}
        made = Informer(self.kube, CONFIG_MAPS, named, **more)
        self.informers.append(made)
        made.start()
        assert made.wait(SOON) or not wait
        return made

    def create(self, name: str, namespace: str = "", **data: str) -> Object:
        metadata = {"name": name, "labels": {"made": "here"}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        return self.hands.create(CONFIG_MAPS, namespace or self.namespace, body)

    def change(self, name: str, **data: str) -> Object:
        return self.hands.patch_merge(CONFIG_MAPS, self.namespace, name, {"data": data})

    def delete(self, name: str) -> None:
        self.hands.delete(CONFIG_MAPS, self.namespace, name)

    @property
    def told(self) -> list[tuple[str, str]]:
        """A real server puts a ConfigMap of its own into each namespace, where its controllers run."""
        found = [(one.kind, one.object["metadata"]["name"]) for one in self.changes]
        return [one for one in found if one[1] != "kube-root-ca.crt"]

    def asked(self, verb: str) -> int:
        assert self.server is not None
        return sum(one.verb == verb and one.resource == "configmaps" for one in self.server.requests)


@pytest.fixture(params=["emulator", REAL])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if request.param == "real":
        yield from _open(Scene(request.getfixturevalue("real_api"), tmp_path, None))
        return
    with ApiServer(Cluster(), bookmark_every=0.3) as server:
        yield from _open(Scene(kubeconfig(server.address, tmp_path / "kubeconfig"), tmp_path, server))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Scene]:
    """The lab's server alone, which takes orders to fail."""
    with ApiServer(Cluster(history=50), bookmark_every=0.3) as server:
        yield from _open(Scene(kubeconfig(server.address, tmp_path / "kubeconfig"), tmp_path, server))


def _open(scene: Scene) -> Iterator[Scene]:
    with scene.wire:
        yield scene
        for one in scene.informers:
            one.stop()


def until(what: Callable[[], Any], seconds: float = SOON) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


# -- how soon a silence is noticed


def test_a_watch_that_is_renewed_often_stays_believed(scene: Scene) -> None:
    """A bookmark comes before the end that was asked for: the next watch goes on from there, and nothing is listed."""
    scene.create("a")  # a server that has seen no event of a kind since it began sends no bookmark of it
    lists: list[object] = []
    listed = scene.kube.listed
    scene.kube.listed = lambda *given, **more: lists.append(given) or listed(*given, **more)  # type: ignore[method-assign,func-returns-value]
    informer = scene.informer(renewed=(5, 6))
    until(informer.live)
    end = time.monotonic() + 14
    while time.monotonic() < end:
        assert informer.live()
        time.sleep(0.1)
    assert len(lists) == 1


# -- what is told


def test_what_there_is_and_what_becomes_of_it(scene: Scene) -> None:
    """Once each, in order, with what it was before."""
    scene.create("a", x="1")
    informer = scene.informer()
    scene.create("b")
    scene.change("a", x="2")
    scene.delete("b")
    until(lambda: len(scene.told) == 4)
    assert scene.told == [("added", "a"), ("added", "b"), ("changed", "a"), ("removed", "b")]
    changed = next(one for one in scene.changes if one.kind == "changed")
    assert (changed.former or {})["data"] == {"x": "1"}
    assert changed.object["data"] == {"x": "2"}
    assert (informer.get(scene.namespace, "a") or {})["data"] == {"x": "2"}
    assert informer.get(scene.namespace, "b") is None


def test_a_list_of_many_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the page, all are there."""
    monkeypatch.setattr("canaryd.kube.PAGE", 3)
    for number in range(10):
        scene.create(f"c{number}")
    informer = scene.informer(labels={"made": "here"})
    assert [one["metadata"]["name"] for one in informer.all()] == [f"c{number}" for number in range(10)]


def test_namespaces_and_labels(scene: Scene) -> None:
    """Those that were named, and no others; what loses the label is removed."""
    second, third = scene.new_namespace(), scene.new_namespace()
    informer = scene.informer(scene.namespace, second, labels={"made": "here"})
    for namespace in (scene.namespace, second, third):
        scene.create("a", namespace)
    until(lambda: len(scene.changes) == 2)
    scene.hands.patch_merge(CONFIG_MAPS, second, "a", {"metadata": {"labels": {"made": None}}})
    until(lambda: len(scene.changes) == 3)
    assert [one.kind for one in scene.changes] == ["added", "added", "removed"]
    assert [one["metadata"]["namespace"] for one in informer.all()] == [scene.namespace]


def test_all_namespaces(scene: Scene) -> None:
    """The empty name is all of them."""
    informer = scene.informer("", labels={"made": "here"})
    other = scene.new_namespace()
    scene.create("all", other)
    until(lambda: informer.get(other, "all"))


def test_a_callback_that_raises_stops_nothing(scene: Scene) -> None:
    """It is the callback's defect."""
    seen = []

    def on_change(change: Change) -> None:
        seen.append(change)
        raise ZeroDivisionError

    informer = scene.informer(on_change=on_change, labels={"made": "here"})
    scene.create("a")
    scene.create("b")
    until(lambda: len(seen) == 2)
    assert informer.get(scene.namespace, "b")


# -- our own writes


def test_what_we_wrote_is_there_at_once(scene: Scene) -> None:
    """Before the watch tells of it; and the watch still tells of it, once."""
    informer = scene.informer()
    scene.wire.freeze()
    made = scene.create("a", x="1")
    informer.took(made)
    assert (informer.get(scene.namespace, "a") or {})["data"] == {"x": "1"}
    later = scene.change("a", x="2")
    informer.took(later)
    informer.took(made)  # an answer that comes late
    assert (informer.get(scene.namespace, "a") or {})["data"] == {"x": "2"}
    assert scene.told == []
    scene.wire.thaw()
    until(lambda: len(scene.told) == 2)
    assert scene.told == [("added", "a"), ("changed", "a")]


def test_what_was_deleted_since_stays_so(scene: Scene) -> None:
    """The answer to a write that comes after the news of the deletion is no resurrection."""
    informer = scene.informer()
    made = scene.create("a")
    scene.delete("a")
    until(lambda: scene.told == [("added", "a"), ("removed", "a")])
    informer.took(made)
    assert informer.get(scene.namespace, "a") is None
    again = scene.create("a")
    informer.took(again)
    assert informer.get(scene.namespace, "a")


# -- troubles


def test_after_a_cut_it_goes_on(scene: Scene) -> None:
    """What happened in between is told, what was told is not told again."""
    scene.create("a")
    informer = scene.informer(labels={"made": "here"})
    for number in range(5):
        scene.wire.cut()
        scene.create(f"b{number}")
    until(lambda: len(scene.told) == 6)
    time.sleep(0.5)
    assert scene.told == [("added", "a"), *[("added", f"b{number}") for number in range(5)]]
    assert len(informer.all()) == 6


def test_a_connection_that_died_silently(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says that it is gone; that nothing comes says it."""
    monkeypatch.setattr("canaryd.kube.SILENCE", 1.0)
    informer = scene.informer(labels={"made": "here"})
    scene.wire.freeze()
    scene.create("a")
    time.sleep(1.5)
    assert not informer.fresh(1.2)
    scene.wire.cut()  # what was under way is lost
    scene.wire.thaw()
    until(lambda: informer.get(scene.namespace, "a"))
    assert informer.fresh(5)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_stop_does_not_wait_for_the_watch(scene: Scene, frozen: bool) -> None:
    """Nor for a dead connection."""
    informer = scene.informer()
    time.sleep(0.3)
    if frozen:
        scene.wire.freeze()
    before = {one for one in threading.enumerate() if one.name.startswith("informer-")}
    started = time.monotonic()
    informer.stop()
    assert time.monotonic() - started < 0.5
    assert not [one for one in before if one.is_alive()]
    scene.wire.thaw()
    scene.create("late")
    time.sleep(0.3)
    assert ("added", "late") not in scene.told


# -- orders to fail


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("fault", ["409", "429", "500", "503", "410", "reset", "hang"])
def test_whatever_fails_it_comes_again(lab: Scene, verb: str, fault: str) -> None:
    """Twice in a row; nothing is lost and nothing is told twice."""
    assert lab.server is not None
    faults = lab.server.faults
    lab.kube = lab.kube.another(timeout=0.5)
    lab.create("a")
    if fault == "reset":
        faults.reset(verb, "configmaps", times=2)
    elif fault == "hang":
        faults.hang(verb, "configmaps", 3, times=2)
    else:
        faults.fail(verb, "configmaps", int(fault), times=2, retry_after=1 if fault == "429" else 0)
    started = time.monotonic()
    informer = lab.informer(wait=False)
    until(lambda: informer.get(lab.namespace, "a"))
    until(lambda: faults.hits == 2)
    lab.create("b")
    until(lambda: informer.get(lab.namespace, "b"))
    assert lab.told == [("added", "a"), ("added", "b")]
    if fault == "429":
        assert time.monotonic() - started >= 2.0


def test_a_forgotten_version_is_listed_anew(lab: Scene) -> None:
    """And only what differs is told: gone, changed, new, made anew."""
    assert lab.server is not None
    for name in ("same", "gone", "changed", "anew"):
        lab.create(name)
    informer = lab.informer(labels={"made": "here"})
    lab.server.faults.fail("watch", "configmaps", 503, times=3)
    lab.wire.cut()
    lab.delete("gone")
    lab.delete("anew")
    lab.create("anew")
    lab.create("new")
    for number in range(60):  # more than the server keeps
        lab.change("changed", x=str(number))
    lab.changes.clear()
    until(lambda: len(lab.told) >= 5)
    time.sleep(0.5)
    assert sorted(lab.told) == [
        ("added", "anew"), ("added", "new"), ("changed", "changed"), ("removed", "anew"), ("removed", "gone"),
    ]  # fmt: skip
    assert (informer.get(lab.namespace, "changed") or {})["data"] == {"x": "59"}
    assert lab.asked("list") == 2


def test_a_server_that_is_down_is_not_hammered(lab: Scene) -> None:
    """Backoff: a handful of requests in three seconds, not thousands."""
    assert lab.server is not None
    lab.server.faults.fail("*", "configmaps", 503, times=None)
    lab.informer(wait=False)
    time.sleep(3)
    assert 3 <= lab.asked("list") <= 25
    lab.server.faults.clear()


def test_idleness_costs_nothing(lab: Scene) -> None:
    """One list, and the one watch that is still open; bookmarks keep it fresh."""
    informer = lab.informer()
    time.sleep(2.5)
    assert (lab.asked("list"), lab.asked("watch")) == (1, 0)  # a watch is noted when it ends
    assert lab.wire.connections <= 2
    assert informer.fresh(1.0)


def test_missing_rights_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And asked for again slowly; when they come it works."""
    said: list[str] = []
    monkeypatch.setattr("canaryd.cluster.informer.SLOW", 0.4)
    monkeypatch.setattr(
        "canaryd.cluster.informer.log.warning", lambda event, **more: said.append(f"{event} {more.get('error')}")
    )
    with ApiServer(Cluster(), denied=(("list", "configmaps"),)) as server:
        informer = Informer(connect(kubeconfig(server.address, tmp_path / "k")), CONFIG_MAPS)
        informer.start()
        time.sleep(1.5)
        assert not informer.wait(0)
        assert not informer.fresh(60)
        assert len(said) == 1
        assert "kubectl auth can-i" in said[0]
        assert 3 <= len(server.requests) <= 8
        server._denied = ()
        assert informer.wait(5)
        informer.stop()


def test_a_kind_that_is_not_installed_yet(lab: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be, later."""
    monkeypatch.setattr("canaryd.cluster.informer.SLOW", 0.2)
    informer = Informer(lab.kube, Kind("canaryd.io", "v9", "nothings"))
    informer.start()
    assert not informer.wait(0.7)
    informer.stop()


class Scripted:
    """An API that answers lists and watches from a script; ``None`` ends the watch at once."""

    def __init__(self, *watches: Any) -> None:
        self.watches = list(watches)
        self.asked: list[tuple[str, float]] = []

    def listed(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        self.asked.append(("list", time.monotonic()))
        return [], "5"

    def watch(self, *_: Any, since: str, **__: Any) -> Any:
        self.asked.append((since, time.monotonic()))
        return _Empty()


class _Empty:
    def __iter__(self) -> Iterator[Object]:
        return iter(())

    def close(self) -> None: ...


def test_a_server_that_ends_each_watch_at_once_is_not_hammered() -> None:
    """Nothing failed, so there is no backoff; there is a floor."""
    kube = Scripted()
    informer = Informer(kube, CONFIG_MAPS)  # type: ignore[arg-type]
    informer.start()
    time.sleep(2.5)
    informer.stop()
    assert [one for one, _ in kube.asked] == ["list", "5", "5", "5"]

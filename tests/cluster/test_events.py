"""Events on the lab's API server, with each fault: nobody waits for them, and little is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster import events as module
from canaryd.cluster.events import Events, cut
from canaryd.kube import EVENTS, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig

ABOUT = {
    "apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryRun", "namespace": "default", "name": "r", "uid": "u-1",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(Cluster()) as found:
        yield found


@pytest.fixture
def kube(server: ApiServer, tmp_path: Path) -> Kube:
    return connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=0.5)


@pytest.fixture
def events(kube: Kube) -> Iterator[Events]:
    made = Events(kube, instance="canaryd-0")
    made.start()
    yield made
    made.stop()


def found(kube: Kube) -> list[dict[str, Any]]:
    return kube.list(EVENTS, "default")


def writes(server: ApiServer) -> list[str]:
    return [one.verb for one in server.requests if one.resource == "events" and one.verb != "list"]


def test_an_event_is_beside_its_object(events: Events, kube: Kube) -> None:
    """With all that kubectl shows of it."""
    events.tell(ABOUT, "RollingBack", "errors: canary 2 %, stable 0.1 %", warning=True)
    assert events.flush(5)
    (one,) = found(kube)
    assert one["involvedObject"] == ABOUT
    assert (one["type"], one["reason"], one["message"]) == (
        "Warning",
        "RollingBack",
        "errors: canary 2 %, stable 0.1 %",
    )
    assert (one["count"], one["reportingComponent"], one["reportingInstance"]) == (1, "canaryd", "canaryd-0")
    assert one["source"] == {"component": "canaryd"}
    assert one["firstTimestamp"] == one["lastTimestamp"]


def test_the_same_again_is_counted(events: Events, kube: Kube, server: ApiServer) -> None:
    """One object, and its last time; anything else is another."""
    for _ in range(3):
        events.tell(ABOUT, "Held", "waits")
        assert events.flush(5)
    events.tell(ABOUT, "Held", "waits for something else")
    events.tell(ABOUT, "Held", "waits", warning=True)
    events.tell({**ABOUT, "uid": "u-2"}, "Held", "waits")
    assert events.flush(5)
    assert sorted(one["count"] for one in found(kube)) == [1, 1, 1, 3]
    assert writes(server) == ["create", "patch", "patch", "create", "create", "create"]


def test_what_waits_is_counted_before_it_is_sent(events: Events, kube: Kube, server: ApiServer) -> None:
    """A storm of one sentence is one request."""
    server.faults.hang("create", "events", 0.4)
    events.tell(ABOUT, "First", "first")
    time.sleep(0.1)
    for _ in range(500):
        events.tell(ABOUT, "Held", "waits")
    assert events.flush(10)
    assert {one["reason"]: one["count"] for one in found(kube)} == {"First": 1, "Held": 500}
    assert events.dropped == 0


def test_an_event_that_the_server_forgot_is_made_anew(events: Events, kube: Kube) -> None:
    """It forgets them after an hour, or sooner."""
    events.tell(ABOUT, "Held", "waits")
    assert events.flush(5)
    kube.delete(EVENTS, "default", found(kube)[0]["metadata"]["name"])
    events.tell(ABOUT, "Held", "waits")
    assert events.flush(5)
    assert [one["count"] for one in found(kube)] == [1]


@pytest.mark.parametrize("fault", ["429", "500", "reset", "reset after", "hang", "late"])
@pytest.mark.parametrize("verb", ["create", "patch"])
def test_what_fails_is_tried_again(events: Events, kube: Kube, server: ApiServer, verb: str, fault: str) -> None:
    """In order, and made once though the answer was lost."""
    if verb == "patch":
        events.tell(ABOUT, "Held", "waits")
        assert events.flush(5)
    match fault:
        case "reset" | "reset after":
            server.faults.reset(verb, "events", times=2, after_write=fault == "reset after")
        case "hang" | "late":
            server.faults.hang(verb, "events", 0.8, times=2, perform=fault == "late")
        case _:
            server.faults.fail(verb, "events", int(fault), times=2, retry_after=1 if fault == "429" else 0)
    events.tell(ABOUT, "Held", "waits")
    events.tell(ABOUT, "Later", "and this")
    assert events.flush(10)
    assert server.faults.hits == 2
    held, later = sorted(found(kube), key=lambda one: str(one["reason"]))
    assert (held["reason"], later["reason"]) == ("Held", "Later")
    assert held["count"] == (2 if verb == "patch" else 1)
    assert events.dropped == 0


def test_what_is_refused_is_dropped_and_said_once(
    kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rights: nothing else may wait for it."""
    said: list[str] = []
    monkeypatch.setattr(module.log, "warning", lambda event, **more: said.append(event))
    server._denied = (("create", "events"),)
    events = Events(kube)
    events.start()
    for number in range(5):
        events.tell(ABOUT, "Held", f"waits {number}")
    assert events.flush(5)
    assert (events.dropped, said) == (5, ["events.refused"])
    events.stop()


def test_it_never_waits_and_never_fills_the_memory(
    kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead server: the newest are dropped at the bound, the rest after a while, and all are counted."""
    monkeypatch.setattr(module, "GIVEN_UP", 0.5)
    server.faults.fail("*", "events", 503, times=None)
    events = Events(kube)
    events.start()
    started = time.monotonic()
    for number in range(module.WAITING + 200):
        events.tell(ABOUT, "Held", f"waits {number}")
    assert time.monotonic() - started < 5
    assert not events.flush(0.1)
    assert events.dropped >= 199
    before = events.dropped
    until(lambda: events.dropped > before)
    started = time.monotonic()
    events.stop()
    assert time.monotonic() - started < 2.5
    events.tell(ABOUT, "Held", "after the end")
    assert events.dropped >= module.WAITING + 200


def test_about_something_without_a_namespace(events: Events, kube: Kube) -> None:
    """Events of cluster-scoped objects live in `default`."""
    events.tell({"apiVersion": "v1", "kind": "Namespace", "name": "n", "uid": "u"}, "Held", "waits")
    assert events.flush(5)
    assert found(kube)[0]["involvedObject"]["name"] == "n"


def test_long_messages_are_cut_between_characters() -> None:
    """1024 bytes, as the API's own limit is."""
    assert cut("x" * 1024) == "x" * 1024
    assert cut("é" * 600) == "é" * 510 + "..."
    assert len(cut("漢" * 5000).encode()) <= 1024


def until(what: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)

"""
What is relied on from an elector, over the lab's API server and over a real one, in real time and with real processes.

The rules themselves are in tests/cluster/test_elector.py; orders to fail are for the lab's server alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.elector import EXIT, Elector
from canaryd.kube import LEASES, NAMESPACES, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.cluster.wire import Wire
from tests.conftest import REAL

DURATION, DEADLINE, RETRY = 3.0, 2.0, 0.4
SLACK = 1.5  # what a busy machine may add
RELEASED = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 7}
MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Scene:
    def __init__(self, config: Path, folder: Path, server: ApiServer | None) -> None:
        self.config, self.folder, self.server = config, folder, server
        self.hands = connect(config)
        self.namespace = f"canaryd-test-{uuid.uuid4().hex[:8]}"
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self.hands.create(NAMESPACES, "", namespace)
        self.calls: list[tuple[str, str, Any, float]] = []
        self.deaths: list[str] = []
        self.electors: list[Elector] = []

    def elector(self, name: str, kube: Kube | None = None, **more: Any) -> Elector:
        def note(what: str) -> Callable[[Any], None]:
            return lambda value: self.calls.append((name, what, value, time.monotonic()))

        more = {"on_started": note("started"), "on_stopped": note("stopped"), **more}
        made = Elector(
            kube or self.hands, self.namespace, "canaryd", name,
            duration=DURATION, renew_deadline=DEADLINE, retry=RETRY, die=self.deaths.append, **more,
        )  # fmt: skip
        self.electors.append(made)
        made.start()
        return made

    def free(self) -> None:
        """A Lease that was given back, so that the first to come leads at once."""
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "canaryd"}}
        self.hands.create(LEASES, self.namespace, body | {"spec": RELEASED})

    @property
    def lease(self) -> dict[str, Any]:
        return self.hands.get(LEASES, self.namespace, "canaryd")

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(who, what) for who, what, _, _ in self.calls]


@pytest.fixture(params=["emulator", REAL])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if request.param == "real":
        yield from _open(Scene(request.getfixturevalue("real_api"), tmp_path, None))
        return
    with ApiServer(Cluster()) as server:
        yield from _open(Scene(kubeconfig(server.address, tmp_path / "kubeconfig"), tmp_path, server))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Scene]:
    with ApiServer(Cluster()) as server:
        yield from _open(Scene(kubeconfig(server.address, tmp_path / "kubeconfig"), tmp_path, server))


def _open(scene: Scene) -> Iterator[Scene]:
    yield scene
    if scene.server:
        scene.server.faults.clear()
    for one in scene.electors:
        one.stop()


def until(what: Callable[[], Any], seconds: float = 15.0) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not come"
        time.sleep(0.01)
    return time.monotonic() - began


def test_the_first_leads_and_says_so(scene: Scene) -> None:
    """What others read in the Lease, in the form that other clients understand."""
    scene.free()
    one = scene.elector("one")
    assert until(one.valid) < SLACK
    spec = scene.lease["spec"]
    assert spec["holderIdentity"] == one.identity == one.holder
    assert one.identity.startswith("one_")
    assert (spec["leaseDurationSeconds"], spec["leaseTransitions"], one.term) == (3, 8, 8)
    assert MICRO.fullmatch(spec["renewTime"])
    assert MICRO.fullmatch(spec["acquireTime"])
    time.sleep(1.5)
    later = scene.lease["spec"]
    assert later["renewTime"] > spec["renewTime"]
    assert (later["acquireTime"], later["leaseTransitions"]) == (spec["acquireTime"], 8)
    assert scene.told == [("one", "started")]


def test_where_there_is_no_lease_one_is_made(scene: Scene) -> None:
    """After a Lease's time, because somebody may have deleted a leader's."""
    one = scene.elector("one")
    assert DURATION - 0.1 <= until(one.valid) <= DURATION + RETRY + SLACK
    assert scene.lease["spec"]["leaseTransitions"] == 1


def test_a_stop_hands_over_at_once(scene: Scene) -> None:
    """The standby leads at its next look, not when the Lease expires; and not before on_stopped returned."""
    scene.free()
    first = scene.elector("first")
    until(first.valid)
    second = scene.elector("second")
    time.sleep(1)
    assert not second.valid()
    first.stop()
    assert not first.valid()
    assert until(second.valid) <= RETRY * 1.2 + SLACK
    assert scene.told == [("first", "started"), ("first", "stopped"), ("second", "started")]
    assert (first.term, second.term) == (8, 9)
    second.stop()
    assert scene.lease["spec"]["holderIdentity"] == ""
    assert scene.lease["spec"]["leaseDurationSeconds"] == 1


def test_a_lease_deleted_under_its_leader_is_made_anew(scene: Scene) -> None:
    """The leader goes on in its term; nobody else begins."""
    scene.free()
    first = scene.elector("first")
    until(first.valid)
    second = scene.elector("second")
    time.sleep(0.6)
    scene.hands.delete(LEASES, scene.namespace, "canaryd")
    for _ in range(40):
        time.sleep(0.1)
        assert not second.valid()
        assert first.valid()
    assert scene.lease["spec"]["leaseTransitions"] == 8


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": "x"}, {"leaseTransitions": 3, "holderIdentity": ""}])
def test_whatever_stands_in_the_lease(scene: Scene, spec: dict[str, Any]) -> None:
    """Our own time is waited for where the Lease has none."""
    scene.free()
    body = scene.lease
    scene.hands.replace(LEASES, scene.namespace, "canaryd", {**body, "spec": spec})
    one = scene.elector("one")
    assert DURATION - 0.1 <= until(one.valid) <= DURATION + RETRY + SLACK


def test_annotations_are_seen_and_kept(scene: Scene) -> None:
    """They are how a leader is asked to hand over."""
    seen: list[Any] = []
    scene.free()
    one = scene.elector("one", on_lease=lambda lease: seen.append(lease["metadata"].get("annotations")))
    until(one.valid)
    note = {"metadata": {"annotations": {"canaryd.io/drain": "yes"}}}
    scene.hands.patch_merge(LEASES, scene.namespace, "canaryd", note)
    until(lambda: {"canaryd.io/drain": "yes"} in seen)
    time.sleep(DEADLINE + 0.5)
    assert one.valid()
    assert scene.lease["metadata"]["annotations"] == {"canaryd.io/drain": "yes"}


def test_a_dead_connection_ends_the_term_in_time(scene: Scene) -> None:
    """Frozen, so that nobody says anything: on_stopped comes at the deadline, another leads after the Lease."""
    scene.free()
    with Wire(scene.hands.address) as wire:
        kube = connect(wire.kubeconfig(scene.config, scene.folder / "wire"))
        first = scene.elector("first", kube)
        until(first.valid)
        second = scene.elector("second")
        time.sleep(1)
        wire.freeze()
        frozen = time.monotonic()
        until(second.valid)
        took = time.monotonic() - frozen
        assert scene.told == [("first", "started"), ("first", "stopped"), ("second", "started")]
        stopped, started = scene.calls[1][3], scene.calls[2][3]
        assert stopped - frozen <= DEADLINE + 0.3
        assert started - stopped >= DURATION - DEADLINE - 0.3
        assert took <= DURATION + RETRY * 1.2 + SLACK
        assert not scene.deaths
        wire.cut()
        wire.thaw()


@pytest.mark.parametrize("verb", ["get", "update"])
@pytest.mark.parametrize("fault", ["409", "429", "500", "reset", "reset after", "hang", "late"])
def test_a_failing_server_once_and_for_ever(lab: Scene, verb: str, fault: str) -> None:
    """Once is nothing; for ever ends the term in time, and afterwards somebody leads again."""
    assert lab.server is not None
    lab.free()
    first = lab.elector("first")
    until(first.valid)

    def order(times: int | None) -> None:
        assert lab.server is not None
        match fault:
            case "reset" | "reset after":
                lab.server.faults.reset(verb, "leases", times=times, after_write=fault == "reset after")
            case "hang" | "late":
                lab.server.faults.hang(verb, "leases", 1.2, times=times, perform=fault == "late")
            case _:
                lab.server.faults.fail(verb, "leases", int(fault), times=times, retry_after=1 if fault == "429" else 0)

    order(1)
    time.sleep(DEADLINE + 0.5)
    assert first.valid()
    assert lab.told == [("first", "started")]
    order(None)
    ordered = time.monotonic()
    until(lambda: len(lab.calls) == 2)
    assert lab.told[1] == ("first", "stopped")
    assert time.monotonic() - ordered <= DEADLINE + 0.5
    lab.server.faults.clear()
    until(first.valid)
    assert lab.calls[2][2] > lab.calls[0][2]  # the term
    assert not lab.deaths


def test_what_does_not_stop_is_ended(lab: Scene) -> None:
    """By the time the Lease expires, and with a reason."""
    assert lab.server is not None
    lab.free()
    one = lab.elector("one", on_stopped=lambda reason: time.sleep(2.5))
    until(one.valid)
    lab.server.faults.fail("*", "leases", 500, times=None)
    failed = time.monotonic()
    until(lambda: lab.deaths)
    assert DURATION - RETRY * 1.3 <= time.monotonic() - failed <= DURATION + 0.5
    assert "had not stopped" in lab.deaths[0]


def test_several_in_one_process(scene: Scene) -> None:
    """Of different Leases: shards, later."""
    made = [
        Elector(
            scene.hands, scene.namespace, f"shard-{number}", "one", duration=2, renew_deadline=1.2, retry=0.3,
            on_started=lambda term: None, on_stopped=lambda reason: None, die=scene.deaths.append,
        )
        for number in range(3)
    ]  # fmt: skip
    for one in made:
        one.start()
    until(lambda: all(one.valid() for one in made))
    for one in made:
        one.stop()
    assert not scene.deaths


# -- processes


class Process:
    """tests/cluster/candidate.py."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.log = scene.folder / f"{name}.jsonl"
        self.errors = scene.folder / f"{name}.err"
        arguments = [str(scene.config), scene.namespace, name, str(self.log)]
        with self.errors.open("w") as errors:
            self.run = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.candidate", *arguments],
                stdin=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip

    def lines(self, what: str = "") -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [one for one in found if what in ("", one["what"])]


@pytest.fixture
def processes(scene: Scene) -> Iterator[Callable[[str], Process]]:
    made: list[Process] = []

    def start(name: str) -> Process:
        made.append(Process(scene, name))
        return made[-1]

    yield start
    for one in made:
        if one.run.poll() is None:
            one.run.send_signal(signal.SIGCONT)
            one.run.kill()
        one.run.wait()


def test_a_process_that_stood_still(scene: Scene, processes: Callable[[str], Process]) -> None:
    """Stopped past its Lease, it finds out before it does anything; the other leads meanwhile, and no act overlaps."""
    scene.free()
    first = processes("first")
    until(lambda: first.lines("acted"), 30)
    second = processes("second")
    until(lambda: "second" in second.errors.read_text() or second.errors.stat().st_size, 30)  # it has seen the Lease
    time.sleep(1)
    first.run.send_signal(signal.SIGSTOP)
    stopped = time.clock_gettime(time.CLOCK_BOOTTIME)
    until(lambda: second.lines("acted"), 20)
    took_over = second.lines("started")[0]["at"] - stopped
    assert 4 - 0.5 * 1.3 - 0.5 <= took_over <= 4 + 0.5 * 1.2 + SLACK
    time.sleep(0.5)
    resumed = time.clock_gettime(time.CLOCK_BOOTTIME)
    first.run.send_signal(signal.SIGCONT)
    # Two threads see it at once: one stops what was led, the other ends the process if that is not done by now.
    until(lambda: first.run.poll() is not None or first.lines("stopped"))
    time.sleep(0.5)
    if first.run.poll() is not None:
        assert first.run.returncode == EXIT
        assert "had not stopped" in first.errors.read_text()
    assert not [one for one in first.lines("acted") if one["asked"] > resumed]
    assert second.lines("started")[0]["term"] > first.lines("started")[0]["term"]


def test_a_process_that_stood_still_for_less(scene: Scene, processes: Callable[[str], Process]) -> None:
    """Past its deadline and not past its Lease: stopped in order, and a new term where nobody else wanted it."""
    scene.free()
    first = processes("first")
    until(lambda: first.lines("acted"), 30)
    time.sleep(0.7)
    first.run.send_signal(signal.SIGSTOP)
    time.sleep(3.2)
    resumed = time.clock_gettime(time.CLOCK_BOOTTIME)
    first.run.send_signal(signal.SIGCONT)
    until(lambda: first.run.poll() is not None or [one for one in first.lines("acted") if one["asked"] > resumed])
    what = [one["what"] for one in first.lines() if one["what"] != "acted" or one["asked"] > resumed]
    if first.run.poll() is None:
        assert what[:4] == ["started", "stopped", "started", "acted"]


def test_a_killed_process_is_followed(scene: Scene, processes: Callable[[str], Process]) -> None:
    """After the Lease, one retry and its jitter."""
    scene.free()
    first = processes("first")
    until(lambda: first.lines("acted"), 30)
    second = processes("second")
    until(lambda: second.errors.stat().st_size, 30)
    time.sleep(1)
    first.run.kill()
    killed = time.clock_gettime(time.CLOCK_BOOTTIME)
    until(lambda: second.lines("acted"), 20)
    took_over = second.lines("started")[0]["at"] - killed
    print(f"took over {took_over:.2f} s after the kill")
    assert took_over <= 4 + 0.5 * 1.2 + SLACK
    second.run.stdin.close()  # type: ignore[union-attr]
    assert second.run.wait(10) == 0
    assert [one["what"] for one in second.lines()][-2:] == ["stopped", "ended"]
    assert scene.lease["spec"]["holderIdentity"] == ""

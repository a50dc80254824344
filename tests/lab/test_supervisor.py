"""A lab in a process of its own, handled from outside."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.lab import supervisor
from canaryd.lab.processes import Child
from canaryd.lab.supervisor import State, control

from .conftest import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "lab.json"


@pytest.fixture(scope="module")
def detached(place: Path) -> Iterator[State]:
    state = supervisor.up(detach=True, state=place, until_measured=False, rps=50, weights={"v1": 50, "v3": 50})
    yield state
    supervisor.down(place)


def test_a_detached_lab_tells_where_everything_is(detached: State, place: Path) -> None:
    """`canaryd lab status` is what a newcomer copies the URLs from."""
    status = supervisor.status(place)
    assert status is not None
    assert (status["kubeconfig"], status["prometheusUrl"]) == (detached.kubeconfig, detached.prometheus_url)
    assert (status["api"], status["prometheus"], status["rps"]) == ("running", "running", 50)
    assert (status["weights"], status["problem"]) == ({"v1": 50, "v3": 50}, None)
    assert Path(detached.kubeconfig).is_file()
    assert (status["pods"]["v3"], status["faultsOn"]["v3"], status["run"]) == ([2, 2], {}, "")


def test_a_second_lab_is_refused_with_the_way_out(detached: State, place: Path) -> None:
    """Two labs under one state file would make `down` stop only one of them."""
    with pytest.raises(Conflict, match=r"a lab runs already \(pid \d+\); stop it with `canaryd lab down`"):
        supervisor.up(detach=True, state=place)


def test_faults_load_pods_and_weights_are_on_dials(detached: State) -> None:
    """Trials set their scene from another process."""
    assert control(detached, "/faults", {"version": "v3", "error_rate": 1.0})["error_rate"] == 1.0
    assert control(detached, "/status")["faultsOn"]["v3"] == {"error_rate": 1.0}
    assert control(detached, "/rate", {"rps": 100}) == {"rps": 100.0}
    wait_for(lambda: control(detached, "/counts")["byVersion"].get("v3", {}).get("failed", 0) > 5, "failures of v3")
    assert control(detached, "/drain", {"version": "v3"}) == {"pods": 2}
    wait_for(lambda: "unknown" in control(detached, "/counts")["byVersion"], "requests without a host")
    assert control(detached, "/restore", {"version": "v3"}) == {"pods": 2}
    assert control(detached, "/weights", {"v1": 100}) == {"v1": 100}
    former = control(detached, "/image", {"version": "v3", "image": "reviews-v3:2"})["podTemplateHash"]
    assert former != control(detached, "/image", {"version": "v3", "image": "reviews-v3:3"})["podTemplateHash"]
    assert control(detached, "/protocol", {"protocol": "grpc"}) == {"protocol": "grpc"}
    assert control(detached, "/faults", {"reset": True}) == {}
    assert len(control(detached, "/seconds")["seconds"]) >= 1
    books = control(detached, "/books")
    v1 = books["byVersion"]["v1"]
    assert v1["answered"] == sum(v1["byMillisecond"].values()) > 0
    assert sum(row.get("v1", 0) for row in books["seconds"]) <= v1["answered"]


def test_clients_gateways_and_pods_are_on_dials(detached: State, place: Path) -> None:
    """Whatever an experimenter does to the data plane, another process can do."""
    status = supervisor.status(place) or {}
    assert set(status["vantage"]) == {"client", "other", "ingress"} == set(detached.vantage)
    host, port = status["vantage"]["client"]["9080"].split(":")
    assert status["gatewayUrl"] == f"http://{host}:{port}"
    assert control(detached, "/faults", {"version": "v3", "pod": 0, "error_rate": 0.5})["error_rate"] == 0.5
    assert (supervisor.status(place) or {})["faults"]["v3"]["error_rate"] == 0
    assert len(control(detached, "/refuse", {"version": "v3", "pod": 1})["pods"]) == 1
    assert control(detached, "/refuse", {}) == {"pods": []}
    assert control(detached, "/stream", {"name": "more", "vantage": "other", "rps": 20}) == {"rps": 20}
    assert control(detached, "/stream", {"name": "more", "rps": 30}) == {"rps": 30}
    assert control(detached, "/lag", {"vantage": "other", "seconds": 0}) == {}
    assert control(detached, "/sidecar", {"vantage": "other", "present": True}) == {}
    assert set((supervisor.status(place) or {})["streams"]) == {"trial", "more"}
    wait_for(lambda: control(detached, "/status")["streams"]["more"]["answered"] > 5, "the stream flows")
    final = control(detached, "/stream", {"name": "more", "stop": True})
    assert (final["failed"], final["lost"], final["inFlight"]) == (0, 0, 0)
    with pytest.raises(Rejected, match="ingress: a gateway is a proxy and nothing else"):
        control(detached, "/sidecar", {"vantage": "ingress", "present": False})


@pytest.mark.parametrize("part", ["api", "prometheus"])
def test_an_outage_keeps_the_address(detached: State, part: str) -> None:
    """After an outage canaryd must find things where they were, as in a cluster."""
    assert control(detached, f"/{part}", {"running": False}) == {"running": False}
    assert control(detached, "/status")[part] == "stopped"
    assert control(detached, f"/{part}", {"running": True}) == {"running": True}
    status = control(detached, "/status")
    assert (status[part], status["prometheusUrl"]) == ("running", detached.prometheus_url)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/faults", {"version": "v9"}, "v9: no such version; there are v1, v2, v3"),
        ("/faults", {"version": "v3", "error_rate": 2}, "error_rate: must be a fraction from 0 to 1, got 2"),
        ("/faults", {"version": "v3", "errors": 1}, "errors: no such dial"),
        ("/protocol", {"protocol": "smtp"}, "must be http or grpc, got 'smtp'"),
        ("/rate", {}, "'rps'"),
        ("/nowhere", {}, "POST /nowhere: there are /api, /controller, /drain"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(detached: State, path: str, body: dict[str, object], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        control(detached, path, body)


def test_down_stops_it_and_says_whether_there_was_one(detached: State, place: Path) -> None:
    """Last in this module: it takes the lab away."""
    assert supervisor.down(place)
    assert not place.exists()
    assert not supervisor.down(place)
    assert supervisor.status(place) is None
    with pytest.raises(Unavailable):
        control(detached, "/status")
    assert not Path(detached.directory).exists(), "a lab removes the directory that it made"


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.6, 1.0, 1.5])
def test_what_a_killed_lab_leaves_is_swept_up_by_the_next_command(tmp_path: Path, seconds: float) -> None:
    """Killed at any moment, while it starts too: its directory holds keys, and gigabytes after some days of demos."""
    arguments = {"directory": None, "state": str(tmp_path / "lab.json"), "options": {"until_measured": False}}
    argv = [sys.executable, "-m", "canaryd.lab.supervisor", json.dumps(arguments)]
    lab = subprocess.Popen(argv, start_new_session=True)
    own = lambda: list(Path(tempfile.gettempdir()).glob(f"{supervisor.OWN}{lab.pid}-*"))  # noqa: E731
    wait_for(lambda: bool(own()), "its directory")
    time.sleep(seconds)
    lab.kill()
    lab.wait()
    assert own()
    assert not supervisor.down(tmp_path / "lab.json")
    assert not own()
    assert not (tmp_path / "lab.json").exists()


def test_the_directories_of_others_are_nobodys_business() -> None:
    """Only what a lab of ours has made and left is removed: by the process in its name, and by its owner."""
    alive = Path(tempfile.mkdtemp(prefix=f"{supervisor.OWN}{os.getpid()}-{supervisor.start_time(os.getpid())}-"))
    other = Path(tempfile.mkdtemp(prefix=f"{supervisor.OWN}notes-"))
    try:
        supervisor.sweep()
        assert alive.is_dir()
        assert other.is_dir()
    finally:
        alive.rmdir()
        other.rmdir()


def test_a_stale_state_file_does_not_stop_anybody_else(place: Path, detached: State) -> None:
    """Pids are used again: a state file from before a reboot must not kill a stranger."""
    stranger = Child("stranger", ["sleep", "60"], place.parent / "stranger.log", place.parent)
    former = dataclasses.replace(detached, pid=stranger.pid, started="0")
    place.write_text(json.dumps(dataclasses.asdict(former)))
    assert not supervisor.down(place)
    assert stranger.running
    stranger.stop()

"""The controller's process in the lab: kept alive, and ended with the lab."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from canaryd.errors import Rejected
from canaryd.lab import supervisor
from canaryd.lab.controller import LONGEST_WAIT, pause
from canaryd.lab.local_http import exchange
from canaryd.lab.supervisor import State, control
from canaryd.model.plan import read_plan

from .conftest import wait_for


def test_one_that_dies_again_and_again_is_started_ever_more_rarely() -> None:
    """The first time at once, as a kubelet does."""
    assert [pause(deaths) for deaths in range(1, 8)] == [0, 1, 2, 4, 8, LONGEST_WAIT, LONGEST_WAIT]


@pytest.fixture(scope="module")
def detached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    place = tmp_path_factory.mktemp("state") / "lab.json"
    yield supervisor.up(detach=True, state=place, until_measured=False, rps=20, controller=True)
    supervisor.down(place)


def scraped(lab: State) -> str:
    url = urlsplit(lab.controller_url)
    return exchange((str(url.hostname), int(url.port or 0)), "/metrics")[1]


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_a_lab_with_a_controller_is_up_when_that_leads(detached: State) -> None:
    """And says where it is, and which plan there is to begin with."""
    status = control(detached, "/status")
    assert status["controller"] == "leads"
    assert status["controllerUrl"] == detached.controller_url
    assert "canaryd_leader 1.0" in scraped(detached)
    text = Path(detached.plan).read_text()
    assert read_plan(text, detached.plan).spec.release == "v3"
    assert status["plan"] == detached.plan


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_it_is_stopped_and_started_and_killed_from_outside(detached: State) -> None:
    """Told to end it gives its Lease back, so the next leads at once; killed it is started again."""
    assert control(detached, "/controller", {"running": False}) == {"controller": "away"}
    assert control(detached, "/status")["controllerPid"] is None
    control(detached, "/controller", {"running": True})
    wait_for(lambda: bool(control(detached, "/status")["controller"] == "leads"), "that it leads", 8)
    former = control(detached, "/status")["controllerPid"]
    control(detached, "/controller", {"kill": True})
    wait_for(lambda: control(detached, "/status")["controllerPid"] not in (None, former), "another process", 8)
    wait_for(lambda: bool(control(detached, "/status")["controller"] == "leads"), "that it leads", 30)
    assert control(detached, "/status")["controllerRestarts"] == 1


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_it_ends_with_the_lab(detached: State) -> None:
    """Last of those that use it."""
    pid = control(detached, "/status")["controllerPid"]
    os.kill(detached.pid, signal.SIGTERM)
    wait_for(lambda: not detached.alive(), "the lab's end", 20)
    wait_for(lambda: supervisor.start_time(pid) == "", "the controller's end", 2)


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_a_lab_without_one_says_how_to_get_one(running_lab: object) -> None:
    with pytest.raises(Rejected, match="canaryd lab up --controller"):
        supervisor.ORDERS["/controller"](running_lab, {"running": True})  # type: ignore[arg-type]

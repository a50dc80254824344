"""The lab's children do not outlive it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from canaryd.errors import Unavailable
from canaryd.lab import supervisor
from canaryd.lab.processes import Child

from .conftest import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


def children(pid: int) -> set[int]:
    """The processes whose parent is `pid`, with any of its threads as the forking one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(each) for each in (task / "children").read_text().split()}
    return found


def listening(pid: int) -> set[int]:
    """The TCP ports on which a process listens."""
    inodes = set()
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))
    ports = set()
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def exists(pid: int) -> bool:
    return supervisor.start_time(pid) != ""


def shared_memory() -> set[str]:
    return {each.name for each in Path("/dev/shm").iterdir() if "envoy" in each.name}


def test_a_killed_lab_leaves_no_process_no_port_and_no_shared_memory(tmp_path: Path) -> None:
    """SIGKILL cannot be caught: only the kernel can clean up after it, and people do kill demos."""
    memory = shared_memory()
    lab = supervisor.up(tmp_path / "lab", detach=True, state=tmp_path / "lab.json", until_measured=False)
    family = {lab.pid, *children(lab.pid)}
    ports = {port for pid in family for port in listening(pid)}
    assert len(family) == 3, "the lab, Envoy and Prometheus"
    assert len(ports) > 5, "API, control, Envoy's admin and the proxies' listeners, Prometheus"
    assert all(is_open(port) for port in ports)
    os.kill(lab.pid, signal.SIGKILL)
    wait_for(lambda: not any(exists(pid) for pid in family), "every process is gone")
    wait_for(lambda: not any(is_open(port) for port in ports), "no port is open")  # the last thread closes them
    assert shared_memory() <= memory
    assert supervisor.status(tmp_path / "lab.json") is None, "its state file is known to be stale"


def test_a_child_survives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    """The kernel's parent-death signal means the forking thread; a request handler's thread ends at once."""
    born: list[Child] = []

    def ask() -> None:
        child = Child("sleeper", ["sh", "-c", "echo up; exec sleep 60"], tmp_path / "log", tmp_path)
        child.wait_until(lambda: "up" in child.last_words(), 5)  # by now its parent-death signal is armed
        born.append(child)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    time.sleep(0.1)  # long enough for a signal to arrive that should not
    assert born[0].running
    born[0].stop()
    assert not born[0].running


def test_a_child_that_ends_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """`not ready after 10 s` helps nobody; what the program itself said does."""
    child = Child("envoy", ["sh", "-c", "echo no such option; exit 3"], tmp_path / "log", tmp_path)
    with pytest.raises(Unavailable, match=r"envoy ended with 3(.|\n)*no such option"):
        child.wait_until(lambda: False, 5)


def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children(tmp_path: Path) -> None:
    """Nothing of the lab may linger, also not what one of its programs has started."""
    script = "trap '' TERM; sleep 60 & echo $!; wait; wait"
    child = Child("stubborn", ["sh", "-c", script], tmp_path / "log", tmp_path)
    child.wait_until(lambda: child.last_words().strip().isdigit(), 5)
    grandchild = int(child.last_words())
    child.stop(patience=0.2)
    assert not child.running
    wait_for(lambda: not exists(grandchild), "the grandchild is gone")

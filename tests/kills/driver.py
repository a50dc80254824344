"""
A canaryd on real adapters that kills itself at a call of a port.

    python -m tests.kills.driver   then one JSON object a line: a Life; the answer is its exit status, one a line

The process that reads the lines forks for each life, so that a life costs no imports; a life ends by SIGKILL, as when
the kernel or a kubelet ends it: no `finally`, no flush, no goodbye.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from canaryd.engine.collector import Collector
from canaryd.engine.courier import Courier
from canaryd.engine.reconciler import Reconciler
from canaryd.kube import connect
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.metrics.prometheus import Prometheus
from canaryd.notify import Channels
from canaryd.settings import Channel, Kept
from canaryd.store.folder import FolderJournal, FolderStore
from tests.world import Trapped

POINTS = {
    "load": ("store.load",),
    "save": ("store.save",),
    "patch": ("mesh.shift", "mesh.retreat"),
    "tell": ("journal.tell",),
}
SEND = {"send": ("channels.send",)}
"""Where messages go out; only of a run that has a receiver."""
OVER = 0
STUCK = 3


@dataclass(frozen=True)
class Scaled:
    """The clock port, ``speed`` times as fast as the wall clock since ``since``."""

    since: float
    speed: float

    def now(self) -> float:
        return self.since + (time.time() - self.since) * self.speed


@dataclass(frozen=True)
class Life:
    """
    Where a canaryd finds its world, and when it dies: at the ``n``-th call (from 0; -1 never) of ``point``.

    ``receiver`` is the URL of the channel ``team``, and ``key`` the file with its key; empty where there is none.
    """

    kubeconfig: str
    prometheus: str
    state: str
    since: float
    speed: float
    point: str = "load"
    n: int = -1
    when: str = "before"
    receiver: str = ""
    key: str = ""


class Failpoint:
    """Kills this process at one call."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._seen = 0

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        if name not in (POINTS | SEND)[self._life.point] or self._life.n < 0:
            return call()
        now, self._seen = self._seen == self._life.n, self._seen + 1
        if not now:
            return call()
        if self._life.when == "after":
            call()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")


def live(life: Life, uid: str = "run-1", within: float = 100.0) -> int:
    """Tick the run until it is over; this does not return where the life ends before."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock = Scaled(life.since, life.speed)
    point: Any = Failpoint(life)
    store: Any = Trapped("store", FolderStore(Path(life.state)), point, ("load", "save"))
    mesh: Any = Trapped("mesh", IstioMesh(connect(life.kubeconfig, timeout=5)), point, ("shift", "retreat"))
    journal: Any = Trapped("journal", FolderJournal(Path(life.state)), point, ("tell",))
    woken = threading.Event()
    collector = Collector(
        Prometheus(life.prometheus, clock=clock.now), clock, ThreadPoolExecutor(1), lambda uid: woken.set()
    )
    courier = Courier(_channels(life, point), clock, lambda uid: woken.set())
    reconciler = Reconciler(store, mesh, collector, journal, clock, ThreadPoolExecutor(2), courier=courier)
    end = time.monotonic() + within
    while time.monotonic() < end:
        run = reconciler.tick(uid)
        if run.final and run.released and not run.outbox.waiting:
            return OVER
        woken.wait(0.5 / life.speed)
        woken.clear()
    return STUCK


def _channels(life: Life, point: Any) -> Any:
    known = {}
    if life.receiver:
        known["team"] = Channel(cloudevents=life.receiver, namespaces=("*",), key=Kept(from_file=Path(life.key)))
    return Trapped("channels", Channels(known), point, ("send",))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = live(Life(**json.loads(line)))
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()

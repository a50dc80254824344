"""
canaryd itself in the lab's cluster: the real `canaryd controller`, kept alive as a kubelet keeps a container.

It is started by its command line with what a pod is given (name, namespace, a kubeconfig, a Prometheus, a port) and
nothing else; canaryd knows of no lab. One that dies is started again: at once the first time, later ones wait, as with
CrashLoopBackOff, only that a lab's waits are short.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canaryd.errors import CanarydError, Unavailable
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.local_http import exchange
from canaryd.lab.processes import Child, free_port
from canaryd.store.definitions import definitions

Json = dict[str, Any]
NAMESPACE = "canaryd"
POD = "canaryd-0"
LEASE = "canaryd"
LEASE_SECONDS = 9
"""How long a killed one's Lease still holds: production's 15 s would be a long time at the lab's pace."""
LONGEST_WAIT = 10.0
"""Seconds between two starts at most."""
GOOD = 30.0
"""Seconds after which one that runs is taken to be well, and its next death is its first."""
LOOK = 0.1


def install(cluster: Cluster) -> None:
    """canaryd's kinds, its namespace, and a Lease that nobody holds, so that the first one leads at once."""
    for definition in definitions():
        cluster.apply(definition)
    labels = {"kubernetes.io/metadata.name": NAMESPACE}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    cluster.apply(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": NAMESPACE},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0},
        }
    )


def pause(deaths: int) -> float:
    """Seconds until one is started again that has died so often in a row."""
    return 0.0 if deaths <= 1 else float(min(LONGEST_WAIT, 2 ** (deaths - 2)))


class Controller:
    """One process of the controller. Its port and its files survive its restarts."""

    def __init__(
        self,
        directory: Path,
        cluster: Cluster,
        kubeconfig: Path,
        prometheus_url: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings`: further ones of canaryd's, as its environment names them (`CANARYD_MAX_RUNS`)."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._cluster = cluster
        self._kubeconfig = kubeconfig
        self._prometheus_url = prometheus_url
        self._settings = dict(settings or {})
        self._port = free_port()
        self._child: Child | None = None
        self._wanted = threading.Event()
        self._keeper: threading.Thread | None = None
        self._lock = threading.Lock()
        self._former = ""  # who held the Lease when the present process was started
        self.restarts = 0

    @property
    def url(self) -> str:
        """Under which /metrics, /healthz and /readyz are."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self._port)

    @property
    def log(self) -> Path:
        """What it writes, all of its processes."""
        return self.directory / "controller.log"

    @property
    def pid(self) -> int | None:
        """Of the process that runs, None while none does."""
        child = self._child
        return child.pid if child is not None and child.running else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def leads(self) -> bool:
        """Whether the process that runs holds the Lease."""
        holder = self._holder()
        return self.running and holder.startswith(f"{POD}_") and holder != self._former

    @property
    def standing(self) -> str:
        """`leads`, `stands by` (it waits for the Lease, or is starting), `away` (it died, or was stopped)."""
        return "leads" if self.leads else "stands by" if self.running else "away"

    def start(self) -> None:
        """Start it, and keep it alive from now on. Use `wait_until_leading` to know that it is at work."""
        with self._lock:
            if self._wanted.is_set():
                return
            self._wanted.set()
            self._spawn()
            self._keeper = threading.Thread(target=self._keep, name="lab-controller", daemon=True)
            self._keeper.start()

    def stop(self) -> None:
        """Let it hand over and end, as a deleted pod does, and start no other."""
        with self._lock:
            self._wanted.clear()
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.join()
        if self._child is not None:
            self._child.stop()

    def kill(self) -> int:
        """SIGKILL, and it is gone; another one is started. Which it was. Raises Unavailable when none runs."""
        child = self._child
        if child is None or not child.running:
            raise Unavailable("the controller does not run")
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        while not _is_gone(child):
            time.sleep(0.01)
        return child.pid

    def wait_until_leading(self, deadline: float = 30.0) -> None:
        """Wait until it is at work. Raises Unavailable with the end of its log when it is not in time."""
        end = time.monotonic() + deadline
        while not (self.leads and self._is_ready()):
            if time.monotonic() > end or self.restarts > 2:
                words = self._child.last_words() if self._child else ""
                raise Unavailable(f"the controller did not lead within {deadline:g} s; {self.log}:\n{words}")
            time.sleep(LOOK)

    def _keep(self) -> None:
        """Start it again when it has died."""
        deaths, began = 0, time.monotonic()
        while self._wanted.is_set():
            time.sleep(LOOK)
            if self.running:
                continue
            deaths = 1 if time.monotonic() - began > GOOD else deaths + 1
            due = time.monotonic() + pause(deaths)
            while self._wanted.is_set() and time.monotonic() < due:
                time.sleep(LOOK)
            if self._wanted.is_set():
                self.restarts += 1
                began = time.monotonic()
                self._spawn()

    def _spawn(self) -> None:
        self._former = self._holder()
        argv = [sys.executable, "-m", "canaryd", "controller"]
        argv += ["--kubeconfig", str(self._kubeconfig), "--prometheus", self._prometheus_url]
        # Whatever of canaryd's settings the person has exported is for another canaryd than this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CANARYD_")}
        own = {
            "POD_NAME": POD,
            "POD_NAMESPACE": NAMESPACE,
            "CANARYD_STATE": str(self.directory / "state"),
            "CANARYD_HTTP": str(self._port),
            "CANARYD_LEASE": LEASE,
            "CANARYD_LEASE_SECONDS": str(LEASE_SECONDS),
            "CANARYD_LOG_FORMAT": "json",
        }
        self._child = Child(
            "canaryd controller", argv, self.log, self.directory, environment={**inherited, **own, **self._settings}
        )

    def _holder(self) -> str:
        lease = self._cluster.find("Lease", NAMESPACE, LEASE) or {}
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    def _is_ready(self) -> bool:
        with contextlib.suppress(CanarydError):
            return exchange(self.address, "/readyz")[0] == 200
        return False


def _is_gone(child: Child) -> bool:
    return not child.running

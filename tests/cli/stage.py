"""
The stage for tests of the command line: Bookinfo's reviews behind the lab's Kubernetes API, and a recorded Prometheus.

There is no Envoy: the clients' counters are functions of time that follow the weights in the VirtualService, as the
counters of a real proxy would. The plan's cells are half a second, so that a whole run takes seconds; what is real here
is the command, its process, its signals, its files, HTTP to both servers, and kubectl.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from typer.testing import CliRunner

from canaryd.cli import app
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.workloads import install
from canaryd.metrics import promql
from canaryd.model.run import Run
from canaryd.store.folder import FolderStore
from tests.metrics.book import Book, Series
from tests.metrics.recorded import Recorded

Json = dict[str, Any]
SCRAPE = 0.25
RPS = 40_000.0
"""Many requests a second cost nothing here and make proof quick."""

PLAN: Json = {
    "apiVersion": "canaryd.io/v1alpha1",
    "kind": "CanaryPlan",
    "metadata": {"name": "reviews", "namespace": "default"},
    "spec": {
        "release": "v3",
        "target": {
            "virtualService": "reviews",
            "host": "reviews",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v3"},
        },
        "steps": [{"weight": 10, "bake": "500ms"}, {"weight": 50, "bake": "1s"}],
        "analysis": {"scrape": "250ms", "cell": "500ms", "settle": "0s", "warmup": "0s", "proofCells": 2},
        "watch": "250ms",
    },
}


class Clients:
    """
    Those who call a service: ``RPS`` requests a second, divided as an entry of a VirtualService says.

    ``see`` is to be told of each object as it changes. ``entry`` is the entry's name; empty for the first one. ``book``
    is another's, where Prometheus scrapes both.
    """

    def __init__(
        self,
        namespace: str = bookinfo.NAMESPACE,
        *,
        service: str = bookinfo.SERVICE,
        virtual_service: str = bookinfo.SERVICE,
        entry: str = "",
        book: Book | None = None,
    ) -> None:
        self._service, self._namespace = service, namespace
        self._virtual_service, self._entry = virtual_service, entry
        self.failing: dict[str, float] = {"v1": 0.002, "v3": 0.002}
        self._shares: dict[str, float] = {"v1": 1.0, "v3": 0.0}
        self._meters = {(version, bad): Meter() for version in ("v1", "v3") for bad in (False, True)}
        self.book = book or Book(scrape=SCRAPE, born=time.time() - 90)
        self.book.series.extend(self._series())
        self._turn(self.book.born)
        self._turn(time.time())

    def fail(self, version: str, share: float) -> None:
        """From now on that share of the version's answers are 500."""
        self.failing[version] = share
        self._turn(time.time())

    def see(self, found: Json) -> None:
        """Divide as ``found`` says, if it is the VirtualService."""
        about = found["metadata"]
        if found["kind"] != "VirtualService" or about["name"] != self._virtual_service:
            return
        entries = [one for one in found["spec"].get("http") or [] if self._entry in ("", one.get("name"))]
        if about["namespace"] != self._namespace or not entries:
            return
        route = entries[0].get("route") or []
        weights = {one["destination"].get("subset"): one.get("weight", 0) for one in route}
        if len(route) == 1:
            weights = dict.fromkeys(weights, 1)
        total = sum(weights.values()) or 1
        self._shares = {version: weights.get(version, 0) / total for version in ("v1", "v3")}
        self._turn(time.time())

    def _turn(self, at: float) -> None:
        for (version, bad), meter in self._meters.items():
            failing = self.failing[version]
            meter.turn(at, RPS * self._shares[version] * (failing if bad else 1 - failing))

    def _series(self) -> Any:
        for (version, bad), meter in self._meters.items():
            labels = {
                "reporter": "source",
                "source_workload": "productpage-v1",
                "source_workload_namespace": self._namespace,
                "destination_service": f"{self._service}.{self._namespace}.svc.cluster.local",
                "destination_workload": f"{self._service}-{version}",
                "destination_workload_namespace": self._namespace,
                "request_protocol": "http",
                "response_code": "500" if bad else "200",
                "response_flags": "-",
            }
            yield Series(promql.REQUESTS, labels, meter.value)
            for bound, within in (("5", 0.1), ("25", 0.9), ("100", 0.99), ("+Inf", 1.0)):
                yield Series(promql.BUCKETS, labels | {"le": bound}, _part(meter, within))


class Meter:
    """A counter that runs at a rate, which may be turned."""

    def __init__(self) -> None:
        self._turns: list[tuple[float, float, float]] = []  # from when on, what was counted until then, how fast now

    def turn(self, at: float, rate: float) -> None:
        self._turns = [*self._turns, (at, self.exact(at), rate)]

    def exact(self, moment: float) -> float:
        since = next((turn for turn in reversed(self._turns) if turn[0] <= moment), None)
        return since[1] + (moment - since[0]) * since[2] if since else 0.0

    def value(self, moment: float) -> float | None:
        """Whole requests; a series that never counted anything does not exist."""
        return float(math.floor(self.exact(moment))) or None


def _part(meter: Meter, share: float) -> Callable[[float], float | None]:
    return lambda moment: None if (value := meter.value(moment)) is None else float(math.floor(value * share))


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Stage:
    """Everything that a command needs; use as a context manager."""

    def __init__(self, folder: Path, *, denied: tuple[tuple[str, str], ...] = ()) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.cluster = Cluster()
        install(self.cluster, bookinfo.objects())
        self.clients = Clients()
        self.cluster.subscribe(lambda change: self.clients.see(change.object))
        self.prometheus = Recorded(self.clients.book)
        self.prometheus_url = self.prometheus.url
        self._denied = denied
        self._port = 0
        self.api: ApiServer | None = None
        self.kubeconfig = folder / "kubeconfig"
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        self.prometheus.__enter__()
        self.start_api()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
        self.stop_api()
        self.prometheus.close()

    def start_api(self) -> None:
        self.api = ApiServer(self.cluster, port=self._port, denied=self._denied)
        self._port = int(self.api.start().rsplit(":", 1)[1])
        kubeconfig(self.api.address, self.kubeconfig)

    def stop_api(self) -> None:
        if self.api is not None:
            self.api.stop()
            self.api = None

    # -- what is there

    def change(self, kind: str, name: str, edit: Callable[[Json], None]) -> None:
        """Edit an object as a person with kubectl would."""
        found = self.cluster.find(kind, "default", name)
        assert found is not None
        edit(found)
        self.cluster.apply(found)

    def virtual_service(self) -> Json:
        found = self.cluster.find("VirtualService", "default", "reviews")
        assert found is not None
        return found

    def weights(self) -> tuple[int, int]:
        """Of v1 and of v3."""
        route = self.virtual_service()["spec"]["http"][0]["route"]
        weights = {one["destination"]["subset"]: one.get("weight", 0) for one in route}
        return (weights.get("v1", 0), weights.get("v3", 0))

    def set_weights(self, v1: int, v3: int) -> None:
        """By hand: the marker stays."""

        def edit(found: Json) -> None:
            found["spec"]["http"][0]["route"] = bookinfo.virtual_service({"v1": v1, "v3": v3})["spec"]["http"][0][
                "route"
            ]

        self.change("VirtualService", "reviews", edit)

    def runs(self) -> list[Run]:
        """The runs in the state folder, the oldest first."""
        return [record.run for record in FolderStore(self.state).records()]

    def run(self) -> Run:
        """The newest run."""
        return self.runs()[-1]

    # -- commands

    def plan(self, name: str = "reviews.yaml", **changes: Any) -> Path:
        """A file with the plan; ``changes`` replace keys of its spec."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(PLAN | {"spec": PLAN["spec"] | changes}, sort_keys=False))
        return file

    def options(self) -> list[str]:
        return [
            *("--kubeconfig", str(self.kubeconfig)),
            *("--prometheus", self.prometheus_url),
            *("--state", str(self.state)),
        ]

    def canaryd(self, *arguments: str | Path) -> Said:
        """The command, in this process."""
        return canaryd(*arguments)

    def try_run(self, plan: Path, *more: str) -> Said:
        """``canaryd run``, in this process."""
        return canaryd("run", plan, *self.options(), *more)

    def start(self, *arguments: str | Path, options: bool = True) -> Process:
        """The command in a process of its own, ended with the stage."""
        process = Process([*map(str, arguments), *(self.options() if options else [])], self.folder)
        self._started.append(process)
        return process

    def kubectl(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command line that canaryd gave as a remedy, carried out by the real kubectl."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)}
        if shutil.which("kubectl") is None:
            pytest.skip("no kubectl on PATH")
        return subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=30, check=False
        )


def canaryd(*arguments: str | Path, given: str | None = None) -> Said:
    """The command, in this process, with ``given`` on its standard input."""
    result = CliRunner().invoke(app, [*map(str, arguments)], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


class Process:
    """``canaryd`` in a process of its own, its output in a file."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        module: str = "canaryd",
    ) -> None:
        self._log = folder / f"canaryd-{time.monotonic_ns()}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=folder,
                # A job in the background of a script ignores ctrl-C, and canaryd respects that; here it is pressed.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        if self.running:
            self._process.kill()
        self._process.wait()

    def ended(self, deadline: float = 60.0) -> int:
        """Its exit code, waited for."""
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"canaryd did not end within {deadline:g} s:\n{self.output}") from None

    def says(self, words: str, deadline: float = 60.0) -> None:
        """Wait until the words are in its output."""
        wait_for(lambda: words in self.output or not self.running, f"{words!r} in the output", deadline, self)
        assert words in self.output, f"{words!r} is not in:\n{self.output}"


def wait_for(fact: Callable[[], bool], what: str, deadline: float = 60.0, process: Process | None = None) -> None:
    end = time.monotonic() + deadline
    while not fact():
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}\n{process.output if process else ''}"
        time.sleep(0.05)

"""
Worlds to try the port `Metrics` in: clients whose counters a test moves, and something that scrapes them.

In two of them time is a number that `edge` moves on; in the third a real Prometheus scrapes a real exporter, and `edge`
waits until it has.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import socket
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from canaryd.engine.ports import Metrics
from canaryd.errors import Rejected, Unavailable
from canaryd.lab.processes import Child, free_port
from canaryd.lab.prometheus import find_or_fetch
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Sought, Window
from canaryd.model.traffic import Split
from canaryd.settings import Source
from tests.metrics.book import Book, Series
from tests.metrics.guarded import Guard
from tests.metrics.memory import MemoryMetrics
from tests.metrics.recorded import Recorded

BOUNDS = ("5", "25", "100", "500", "+Inf")
PODS = ("pod-a", "pod-b")
Key = tuple[str, str, frozenset[tuple[str, str]]]
"""Target, metric, labels."""

_hosts = itertools.count(1)


def sought(host: str = "") -> Sought:
    """Two workloads behind a host that no other test uses."""
    host = host or f"svc{next(_hosts)}.shop.svc.cluster.local"
    return Sought((host,), "shop", ("app-v1",), ("app-v3",), (2, 4, 12, 13, 14, 15), 1.0)


def window(start: float, end: float, percent: float = 10) -> Window:
    """A window of a split of ``percent``."""
    return Window(0, start, end, Split.percent(percent), True)


class World(Protocol):
    """Counters, scrapes, and the port that reads them."""

    @property
    def metrics(self) -> Metrics: ...

    def move(self, pod: str, name: str, labels: Mapping[str, str], by: float) -> None:
        """Add to a counter of a client pod."""

    def restart(self, pod: str) -> None:
        """All counters of the pod are gone; what is moved afterwards starts from 0."""

    def edge(self) -> float:
        """A moment by which everything so far has been scraped, and nothing that comes later."""

    def blind(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile every scrape fails."""

    def partial(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile answers are partial."""

    def down(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile nobody answers."""


def send(
    world: World,
    to: Sought,
    workload: str,
    count: float,
    *,
    ms: float = 20.0,
    pod: str = "pod-a",
    bounds: tuple[str, ...] = BOUNDS,
    **labels: str,
) -> None:
    """``count`` requests to ``workload`` that took ``ms``, as a client's proxy counts them."""
    known = workload != "unknown"
    outcome = {
        "reporter": "source",
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "destination_service": to.hosts[0],
        "destination_workload": workload,
        "destination_workload_namespace": to.namespace if known else "unknown",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
    } | labels
    world.move(pod, "istio_requests_total", outcome, count)
    for bound in bounds:
        inside = ms <= float(bound)
        world.move(pod, "istio_request_duration_milliseconds_bucket", outcome | {"le": bound}, count * inside)


class Timeline:
    """A world whose time is a number. Counters are kept as what happened when."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.book = Book(scrape=1.0, born=self.now - 60)
        self._moves: dict[Key, list[tuple[float, float]]] = defaultdict(list)
        self._restarts: dict[str, list[float]] = defaultdict(list)

    def move(self, pod: str, name: str, labels: Mapping[str, str], by: float) -> None:
        key = (pod, name, frozenset(labels.items()))
        if key not in self._moves:
            target = {"pod": pod, "instance": f"{pod}:15020"}
            self.book.series.append(Series(name, {**labels, **target}, lambda moment: self._value(key, moment), pod))
        self._moves[key].append((self.now, by))

    def restart(self, pod: str) -> None:
        self._restarts[pod].append(self.now)

    def edge(self) -> float:
        self.now += 4.5
        return self.now - 1.0

    @contextlib.contextmanager
    def blind(self) -> Iterator[None]:
        start = self.now
        self.book.outages.append((start, math.inf))
        yield
        self.book.outages[-1] = (start, self.now)

    def _value(self, key: Key, moment: float) -> float | None:
        since = max((at for at in self._restarts[key[0]] if at <= moment), default=-math.inf)
        moves = [by for at, by in self._moves[key] if since <= at <= moment]
        return sum(moves) if moves else None


class MemoryWorld(Timeline):
    """The fake that other rooms' tests use."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = MemoryMetrics(self.book)

    @property
    def metrics(self) -> Metrics:
        return self._memory

    @contextlib.contextmanager
    def partial(self) -> Iterator[None]:
        self._memory.partial = "a store is missing"
        yield
        self._memory.partial = ""

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self._memory.failing = Unavailable("nobody answers")
        yield
        self._memory.failing = None


class RecordedWorld(Timeline):
    """The adapter on the recorded Prometheus."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded = Recorded(self.book, clock=lambda: self.now)
        self.metrics = Prometheus(self.recorded.url, clock=lambda: self.now)

    @contextlib.contextmanager
    def partial(self) -> Iterator[None]:
        self.recorded.warnings = ["a store is missing"]
        yield
        self.recorded.warnings = []

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        working, self.metrics = self.metrics, Prometheus(closed_url())
        yield
        self.metrics = working


@contextlib.contextmanager
def real_world(folder: Path, guard: Guard | None = None) -> Iterator[RealWorld]:
    """A real Prometheus in ``folder``, behind ``guard`` if there is one; the test skips where none can be had."""
    try:
        world = RealWorld(folder, guard)
    except Rejected as error:
        pytest.skip(f"no Prometheus: {error}")
    yield world
    world.close()


class RealWorld:
    """
    The adapter on a real Prometheus, which scrapes an exporter, one path per client pod, seven times a second.

    ``guard`` stands before its API, if there is one.
    """

    def __init__(self, directory: Path, guard: Guard | None = None) -> None:
        self._exporter = Exporter()
        self._directory = directory
        self._guard = guard
        self._port = free_port()
        self._write_config(remote_read=False)
        argv = [
            str(find_or_fetch()),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
            *(guard.arguments if guard else ()),
        ]
        self._child = Child("prometheus", argv, directory / "log", directory)
        self.source = guard.source(self._port) if guard else Source(url=f"http://127.0.0.1:{self._port}")
        self.url = self.source.url
        try:
            self._child.wait_until(self._ready, 15)
            self.metrics = Prometheus(self.source)
            self.edge()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop Prometheus and the exporter."""
        self._child.stop()
        self._exporter.close()

    def move(self, pod: str, name: str, labels: Mapping[str, str], by: float) -> None:
        self._exporter.move((pod, name, frozenset(labels.items())), by)

    def restart(self, pod: str) -> None:
        self._exporter.forget(pod)

    def edge(self) -> float:
        # A pod's second scrape from now begins after the first, which began after now, has been stored.
        self._exporter.wait_for_scrapes(2)
        return time.time()

    @contextlib.contextmanager
    def blind(self) -> Iterator[None]:
        self._exporter.failing = True
        try:
            yield
        finally:
            self._exporter.failing = False

    @contextlib.contextmanager
    def partial(self) -> Iterator[None]:
        # A remote store that cannot be read makes Prometheus answer what it has itself, with a warning.
        self._reload(remote_read=True)
        try:
            yield
        finally:
            self._reload(remote_read=False)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        working, self.metrics = self.metrics, Prometheus(closed_url())
        try:
            yield
        finally:
            self.metrics = working

    def _reload(self, *, remote_read: bool) -> None:
        self._write_config(remote_read=remote_read)
        self._open(urllib.request.Request(f"{self.url}/-/reload", method="POST"), 5)

    def _write_config(self, *, remote_read: bool) -> None:
        config: dict[str, Any] = {
            "global": {"scrape_interval": "150ms", "scrape_timeout": "150ms"},
            "scrape_configs": [
                {
                    "job_name": pod,
                    "metrics_path": f"/{pod}",
                    "static_configs": [{"targets": [self._exporter.address], "labels": {"pod": pod}}],
                }
                for pod in PODS
            ],
        }
        if remote_read:
            config["remote_read"] = [{"url": closed_url(), "read_recent": True}]
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(config))

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self._open(urllib.request.Request(f"{self.url}/-/ready"), 1) == 200
        return False

    def _open(self, request: urllib.request.Request, seconds: float) -> int:
        if self._guard:
            return self._guard.open(request, seconds)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return int(answer.status)


class Exporter:
    """The clients' metrics endpoints, one path per pod."""

    def __init__(self) -> None:
        self.failing = False
        self._values: dict[Key, float] = {}
        self._scraped: dict[str, int] = dict.fromkeys(PODS, 0)
        self._changed = threading.Condition()
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pod = self.path.strip("/")
                body = exporter.exposition(pod)
                self.send_response(500 if exporter.failing else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)
                exporter.scraped(pod)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="exporter")
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def move(self, key: Key, by: float) -> None:
        with self._changed:
            self._values[key] = self._values.get(key, 0.0) + by

    def forget(self, pod: str) -> None:
        with self._changed:
            self._values = {key: value for key, value in self._values.items() if key[0] != pod}

    def exposition(self, pod: str) -> bytes:
        with self._changed:
            lines = [
                f"{name}{{{','.join(f'{label}={json.dumps(text)}' for label, text in labels)}}} {value}"
                for (its_pod, name, labels), value in self._values.items()
                if its_pod == pod
            ]
        return ("\n".join(lines) + "\n").encode()

    def scraped(self, pod: str) -> None:
        with self._changed:
            self._scraped[pod] = self._scraped.get(pod, 0) + 1
            self._changed.notify_all()

    def wait_for_scrapes(self, number: int, deadline: float = 20.0) -> None:
        """Wait until every pod has been scraped ``number`` more times, not counting a scrape that is under way."""
        with self._changed:
            wanted = {pod: count + number + 1 for pod, count in self._scraped.items()}
            if not self._changed.wait_for(
                lambda: all(self._scraped[pod] >= count for pod, count in wanted.items()), deadline
            ):
                raise Unavailable(f"Prometheus did not scrape within {deadline:g} s: {self._scraped}, wanted {wanted}")


def closed_url() -> str:
    """A URL of 127.0.0.1 at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"

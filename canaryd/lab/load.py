"""
The traffic: an open-loop load generator that keeps books of its own.

Open loop: requests leave at their time whether or not earlier ones came back, as they do from many independent users; a
slow upstream gets no mercy. The books are the truth against which Prometheus is checked, so every request that was sent
ends up in exactly one of answered or lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from canaryd.errors import Unavailable
from canaryd.lab.envoy.application import CALLS_HEADER
from canaryd.lab.envoy.statistics import VERSION_HEADER

HTTP, GRPC = "http", "grpc"
UNKNOWN = "unknown"  # no host was picked, so no version answered
PATIENCE = 30.0  # seconds until an unanswered request counts as lost
LATE = 2.0  # seconds behind schedule (a stopped machine) that are not caught up with
KEPT_SECONDS = 7200

Rate = Callable[[float], float]
"""Seconds since it began -> requests a second."""


@dataclass(slots=True)
class Tally:
    """Requests of one version: how many, how many failed, by status (`500`, `grpc 13`) and by whole milliseconds."""

    answered: int = 0
    failed: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_millisecond: Counter[int] = field(default_factory=Counter)

    def quantile(self, q: float) -> float:
        """Latency in ms below which a share `q` of the requests lies; nan without requests."""
        left = q * self.answered
        for millisecond in sorted(self.by_millisecond):
            left -= self.by_millisecond[millisecond]
            if left <= 0:
                return float(millisecond)
        return float("nan")


@dataclass(slots=True)
class Counts:
    """What the client saw. `sent` = answered + lost + in flight; `failed` = bad answers + lost."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    lost: int = 0
    by_version: dict[str, Tally] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        return self.sent - self.answered - self.lost

    def of(self, version: str) -> Tally:
        return self.by_version.get(version, Tally())

    def as_json(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "lost": self.lost,
            "inFlight": self.in_flight,
            "byVersion": {
                version: {
                    "answered": tally.answered,
                    "failed": tally.failed,
                    "byStatus": dict(tally.by_status),
                    "p50": tally.quantile(0.5),
                    "p99": tally.quantile(0.99),
                }
                for version, tally in sorted(self.by_version.items())
            },
        }


class Load:
    """
    Requests to one address at a rate, from a thread of its own.

    `protocol` http sends plain requests, grpc sends what looks like a unary gRPC call (the lab's Envoy speaks HTTP/1.1
    here, and classifies by content type as it does for HTTP/2). `poisson` False spaces the requests evenly.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        rps: float,
        seed: int = 0,
        protocol: str = HTTP,
        poisson: bool = True,
        host: str = "reviews:9080",
        path: str = "/reviews/0",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        service: str = "",
    ) -> None:
        """
        `host`, `path`, `method` and `headers` shape every request. The books are by the version that answered, or with
        `service` by that service's among those that took part (see `x-lab-calls` in envoy/application.py).
        """
        self._address = address
        self._followed: tuple[Rate, float] = (lambda _: rps), 0.0  # and since when; one value, for other threads set it
        self._random = random.Random(seed)
        self._poisson = poisson
        self._host = host
        self._path = path
        self._method = method
        self._service = service
        self._headers = dict(headers or {})
        self._request = b""
        self.protocol = protocol
        self._counts = Counts()
        self._seconds: dict[int, Counter[str]] = {}
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._compose(protocol)

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="lab-load", daemon=True)
        self._thread.start()

    def stop(self, patience: float = 5.0) -> Counts:
        """Send nothing more, wait for the answers (at most `patience` seconds), and return the final counts."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(patience + 1)
        return self.counts()

    @property
    def rps(self) -> float:
        """Requests per second as they leave now."""
        rate, since = self._followed
        return max(0.0, rate(time.monotonic() - since))

    def set_rate(self, rps: float) -> None:
        """Requests per second from now on; 0 pauses."""
        self.follow(lambda _: rps)

    def follow(self, rate: Rate) -> Rate:
        """From now on as many requests per second as ``rate`` says of the seconds since now; the rate until now."""
        former, self._followed = self._followed, (rate, time.monotonic())
        return former[0]

    def set_arrivals(self, *, seed: int, poisson: bool) -> None:
        """Draw the arrivals anew from ``seed``, as of independent users or (not ``poisson``) evenly."""
        self._random, self._poisson = random.Random(seed), poisson

    def set_protocol(self, protocol: str) -> None:
        """http or grpc, from the next request on."""
        self._compose(protocol)

    def settle(self, patience: float = 5.0) -> Counts:
        """Pause, wait until nothing is in flight, and return the counts. Raises Unavailable when it takes too long."""
        self.set_rate(0)
        time.sleep(0.25)  # a request that was due may still leave: the sender looks up at least every 0.1 s
        end = time.monotonic() + patience
        while (counts := self.counts()).in_flight:
            if time.monotonic() > end:
                raise Unavailable(f"{counts.in_flight} requests were not answered within {patience:g} s")
            time.sleep(0.01)
        return counts

    def counts(self) -> Counts:
        """A copy of the books."""
        with self._lock:
            mine = self._counts
            copied = {
                version: Tally(each.answered, each.failed, Counter(each.by_status), Counter(each.by_millisecond))
                for version, each in mine.by_version.items()
            }
            return Counts(mine.sent, mine.answered, mine.failed, mine.lost, copied)

    def seconds(self, last: int = 60) -> list[dict[str, Any]]:
        """The last seconds, oldest first: `{"second", "sent", "failed", "v1", "v1 failed", ...}`."""
        with self._lock:
            return [{"second": second, **self._seconds[second]} for second in sorted(self._seconds)[-last:]]

    # In the loop's thread

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle, self._open, self._opening = [], set(), set()
        watch = self._loop.create_task(self._give_up_on_old())
        await self._send_until_stopped(self._loop)
        end = self._loop.time() + 5
        while any(one.busy for one in self._open) and self._loop.time() < end:
            await asyncio.sleep(0.005)
        watch.cancel()
        for connection in list(self._open):
            connection.close()

    async def _send_until_stopped(self, loop: asyncio.AbstractEventLoop) -> None:
        # A request is due for each unit of the rate's integral (Poisson: on average): the rate may change at will.
        seen, owed, needed = loop.time(), 0.0, self._draw()
        while not self._stopping.is_set():
            now, rps = loop.time(), self.rps  # read once: it may become 0 at any moment
            passed, seen = now - seen, now
            owed += rps * (passed if passed <= LATE else 0.0)
            while owed >= needed:
                self._send(loop)
                owed, needed = owed - needed, self._draw()
            await asyncio.sleep(min((needed - owed) / rps, 0.1) if rps > 0 else 0.05)

    def _draw(self) -> float:
        return self._random.expovariate(1.0) if self._poisson else 1.0

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._counts.sent += 1
            self._second()["sent"] += 1
        started = loop.time()
        if self._idle:
            self._idle.pop().send(self._request, started)
            return
        task = loop.create_task(self._open_and_send(loop, started))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_and_send(self, loop: asyncio.AbstractEventLoop, started: float) -> None:
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), *self._address)
        except OSError:
            self.lose()
            await asyncio.sleep(0)
            return
        self._open.add(connection)
        connection.send(self._request, started)

    async def _give_up_on_old(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            for connection in list(self._open):
                if connection.busy and loop.time() - connection.started > PATIENCE:
                    connection.close()

    def answer(self, connection: _Connection, status: str, headers: dict[str, str], latency: float) -> None:
        if headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._idle.append(connection)
        version = self._version(headers)
        failed = status >= "500" if not status.startswith("grpc") else status != "grpc 0"
        with self._lock:
            self._counts.answered += 1
            tally = self._counts.by_version.setdefault(version or UNKNOWN, Tally())
            tally.answered += 1
            tally.by_status[status] += 1
            tally.by_millisecond[round(latency * 1000)] += 1
            second = self._second()
            second[version or UNKNOWN] += 1
            if failed:
                self._counts.failed += 1
                tally.failed += 1
                second["failed"] += 1
                second[f"{version or UNKNOWN} failed"] += 1

    def _version(self, headers: dict[str, str]) -> str:
        if not self._service:
            return headers.get(VERSION_HEADER, "")
        calls = dict(each.partition("=")[::2] for each in headers.get(CALLS_HEADER, "").split(","))
        version = calls.get(self._service, "").partition(":")[0]
        return "" if version == "-" else version

    def lose(self) -> None:
        """A request that got no answer."""
        with self._lock:
            self._counts.lost += 1
            self._counts.failed += 1
            self._second()["failed"] += 1

    def forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _second(self) -> Counter[str]:
        now = int(time.time())
        if now not in self._seconds:
            self._seconds[now] = Counter(sent=0, failed=0)
            self._seconds.pop(now - KEPT_SECONDS, None)
        return self._seconds[now]

    def _compose(self, protocol: str) -> None:
        headers = {"host": self._host, "user-agent": "canaryd-lab", **self._headers}
        body = b""
        if protocol == GRPC:
            body = b"\0\0\0\0\0"  # one empty message: not compressed, length 0
            headers |= {"content-type": "application/grpc", "te": "trailers", "content-length": str(len(body))}
        elif self._method not in ("GET", "HEAD"):
            headers["content-length"] = "0"
        lines = [f"{'POST' if protocol == GRPC else self._method} {self._path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.protocol = protocol
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class _Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request on it."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self.started = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def send(self, request: bytes, started: float) -> None:
        self.started, self.busy = started, True
        if self._transport is None or self._transport.is_closing():
            self._lost()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length or not self.busy:
            return
        self._buffer = rest[length:]
        status = first.split(" ")[1]
        if "grpc-status" in headers:
            status = f"grpc {headers['grpc-status']}"
        self.busy = False
        self._load.answer(self, status, headers, self._clock() - self.started)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        self._lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _lost(self) -> None:
        self._load.forget(self)
        if self.busy:
            self.busy = False
            self._load.lose()

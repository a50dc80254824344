"""The load generator keeps its promises whatever the other side does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from canaryd.lab.load import Load
from canaryd.lab.processes import free_port

from .conftest import wait_for

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nx-lab-version: v1\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """A TCP server that treats each connection as it is told; in a thread of its own."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self._ready.wait()

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.address = ("127.0.0.1", int(server.sockets[0].getsockname()[1]))
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    servers: list[Server] = []

    def start(handle: Handler) -> Server:
        servers.append(Server(handle))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


def run(load: Load, seconds: float) -> None:
    load.start()
    time.sleep(seconds)
    load.stop()


def test_requests_leave_at_the_asked_rate(serve: Callable[[Handler], Server]) -> None:
    """Even arrivals are exact but for the ends; the books add up."""
    load = Load(serve(polite).address, rps=200, poisson=False)
    run(load, 1.0)
    counts = load.counts()
    assert 180 <= counts.sent <= 215
    assert counts.sent == counts.answered == counts.of("v1").answered
    assert counts.of("v1").by_status == {"200": counts.answered}
    assert sum(row["sent"] for row in load.seconds()) == counts.sent


def test_the_rate_can_be_changed_and_the_traffic_paused(serve: Callable[[Handler], Server]) -> None:
    """Trials change the rate in mid-run; 0 is a pause, not a division by zero."""
    load = Load(serve(polite).address, rps=50, seed=1)
    load.start()
    for rps in (400, 0, 300, 0, 500):
        load.set_rate(rps)
        time.sleep(0.1)
    paused = load.settle()
    time.sleep(0.2)
    assert load.counts().sent == paused.sent > 60
    load.set_rate(300)
    wait_for(lambda: load.counts().answered > paused.answered + 10, "traffic again")
    load.stop()


def test_the_traffic_follows_a_shape(serve: Callable[[Handler], Server]) -> None:
    """A rate is a function of time; however low it has been, the next request does not wait for the former rate."""
    load = Load(serve(polite).address, rps=0.01, poisson=False)
    load.start()
    time.sleep(0.2)
    began = time.monotonic()
    former = load.follow(lambda seconds: 400 if seconds < 0.5 else 100)
    time.sleep(1.0)
    load.follow(former)
    ended = time.monotonic()
    assert load.stop().sent == pytest.approx(200 + 100 * (ended - began - 0.5), abs=45)


def test_a_slow_server_gets_no_mercy(serve: Callable[[Handler], Server]) -> None:
    """Open loop: users do not wait for each other, so requests leave while earlier ones hang."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(0.5)
            writer.write(OK)

    load = Load(serve(slow).address, rps=100, poisson=False)
    load.start()
    wait_for(lambda: load.counts().in_flight >= 30, "requests in flight")
    counts = load.stop()
    assert (counts.in_flight, counts.lost) == (0, 0)
    assert counts.of("v1").quantile(0.01) >= 450


def test_connections_cut_in_mid_answer_are_lost_requests(serve: Callable[[Handler], Server]) -> None:
    """A lost request is a failure for its user; it must not vanish from the books nor stop the traffic."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK[:20])
        writer.close()

    load = Load(serve(rude).address, rps=200)
    run(load, 0.6)
    counts = load.counts()
    assert counts.lost > 10
    assert counts.failed == counts.lost
    assert counts.sent == counts.answered + counts.lost


def test_nobody_listening_loses_every_request() -> None:
    load = Load(("127.0.0.1", free_port()), rps=200)
    run(load, 0.3)
    counts = load.counts()
    assert counts.sent == counts.lost == counts.failed > 20


def test_a_seed_repeats_the_arrivals(serve: Callable[[Handler], Server]) -> None:
    """Seeded: the same seed draws the same gaps, another seed others."""
    address = ("127.0.0.1", 1)
    first, again, other = (Load(address, rps=1, seed=seed)._random.random() for seed in (5, 5, 6))
    assert first == again != other


def test_a_server_that_ends_its_connections_costs_no_request(serve: Callable[[Handler], Server]) -> None:
    """A proxy that gets another configuration says `connection: close`; whoever goes on using it loses a request."""

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        await asyncio.sleep(0.05)  # late enough for a second request that should not come
        writer.close()

    load = Load(serve(leaving).address, rps=100, poisson=False)
    run(load, 0.6)
    counts = load.counts()
    assert counts.lost == 0
    assert counts.answered == counts.sent > 40


def test_a_request_looks_as_it_was_asked_for(serve: Callable[[Handler], Server]) -> None:
    """Routes are chosen by method, path, host and headers; the books may be another service's."""
    seen: list[bytes] = []

    async def remembering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            seen.append(head)
            writer.write(OK.replace(b"v1", b"v1\r\nx-lab-calls: details=v1:200,reviews=v3:500,reviews=v2:200"))

    shape = {"host": "shop", "path": "/cart", "method": "DELETE", "headers": {"end-user": "jason"}}
    load = Load(serve(remembering).address, rps=50, service="reviews", **shape)
    run(load, 0.2)
    line, *headers = seen[0].decode().strip().split("\r\n")
    assert line == "DELETE /cart HTTP/1.1"
    assert {"host: shop", "end-user: jason", "content-length: 0"} <= set(headers)
    assert set(load.counts().by_version) == {"v2"}, "the last try counts"

"""
One lab for all tests of this folder: starting it costs eight seconds, resetting it costs none.

Every test gets it calm: reviews at v1 100, every version healthy and ready, 300 rps of HTTP, everything running.
Counters only ever grow, so a test compares two readings (`books`), never one with zero.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab
from canaryd.lab.load import Counts
from canaryd.lab.prometheus import find_or_fetch

RPS = 300
started_within: list[float] = []


@pytest.fixture(scope="session")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    find_or_fetch()  # a download is not part of a lab's start
    began = time.monotonic()
    with Lab.up(tmp_path_factory.mktemp("lab"), rps=RPS, seed=7) as lab:
        started_within.append(time.monotonic() - began)
        yield lab


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    calm(running_lab)
    yield running_lab
    calm(running_lab)


def calm(lab: Lab) -> None:
    lab.start_api()
    lab.prometheus.start()
    lab.faults.reset()
    for version in bookinfo.VERSIONS:
        lab.restore(version)
    lab.refuse_nobody()
    lab.cluster.apply(bookinfo.destination_rule())
    lab.cluster.apply(bookinfo.peer_authentication())
    lab.lag("other", 0)
    lab.sidecar("other", True)
    lab.set_weights({"v1": 100})
    lab.load.set_protocol("http")
    lab.load.set_rate(RPS)


def put(lab: Lab, *objects: dict[str, Any]) -> None:
    """Apply objects, as somebody with kubectl would; pods and routes follow before it returns."""
    for each in objects:
        lab.cluster.apply(each)
    lab.workloads.reconcile()
    lab.control_plane.settle()
    assert lab.control_plane.problem is None


def wait_for(fact: Callable[[], bool], what: str, deadline: float = 8.0) -> None:
    end = time.monotonic() + deadline
    while not fact():
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.02)


def answered(lab: Lab, at_least: int, deadline: float = 20.0) -> None:
    """Let traffic flow until that many more requests were answered."""
    goal = lab.counts().answered + at_least
    wait_for(lambda: lab.counts().answered >= goal, f"{at_least} answers", deadline)


Row = tuple[str, str]  # the version that answered, the status as the load generator writes it


def client_books(counts: Counts) -> Counter[Row]:
    return Counter(
        {(version, status): n for version, tally in counts.by_version.items() for status, n in tally.by_status.items()}
    )


def prometheus_books(lab: Lab, reporter: str = "source") -> Counter[Row]:
    """Prometheus' counters in the client's words."""
    labels = "destination_version,response_code,request_protocol,grpc_response_status"
    mine = f'reporter="{reporter}",source_workload="productpage-v1",destination_service_name=~"reviews(:9080)?"'
    rows = lab.prometheus.query(f"sum by ({labels})(istio_requests_total{{{mine}}})")
    books: Counter[Row] = Counter()
    for found, value in rows:
        grpc = found["request_protocol"] == "grpc"
        status = f"grpc {found['grpc_response_status']}" if grpc else found["response_code"]
        books[found["destination_version"], status] += int(value)
    return books


def settled_books(lab: Lab) -> Counter[Row]:
    """Stop the traffic, wait until Prometheus has seen all of it, and return the books that both agree on."""
    counts = lab.load.settle()
    mine = client_books(counts)
    wait_for(lambda: prometheus_books(lab) == mine, f"Prometheus says {prometheus_books(lab)}, the client {mine}", 5)
    return mine


@pytest.fixture
def corpus() -> Path:
    import os

    place = Path(os.environ.get("CANARYD_CORPUS") or Path(__file__).parents[3] / "shared" / "istio-corpus")
    if not place.is_dir():
        pytest.skip(f"no corpus of Istio objects at {place} (CANARYD_CORPUS names another place)")
    return place

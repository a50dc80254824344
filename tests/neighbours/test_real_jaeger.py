"""
A real Jaeger, where one is to be had: spans as Envoy tells them, put in by OTLP and found by both of its APIs.

    cd "$(mktemp -d)" && go mod init jaeger && go get -tool github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0
    go build -o ~/.cache/canaryd/jaeger github.com/jaegertracing/jaeger/cmd/jaeger   # that is Jaeger 2.13
    CANARYD_JAEGER=~/.cache/canaryd/jaeger pytest tests/neighbours/test_real_jaeger.py

What it answers is what the stand-in was made after; without it these tests are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from canaryd.model.run import Run
from canaryd.neighbours import neighbourhood
from canaryd.preflight.neighbourhood import Neighbourhood
from tests.mesh.objects import ROUTE
from tests.neighbours.standing_in import Told, attributes, mesh, wait_for
from tests.neighbours.stories import given, rolled_back

PROGRAM = os.environ.get("CANARYD_JAEGER", "")
pytestmark = pytest.mark.skipif(not Path(PROGRAM).is_file(), reason="CANARYD_JAEGER names no Jaeger")


@dataclass(frozen=True)
class Real:
    """Where it answers, and where it takes spans."""

    url: str
    spans: str

    def tell(self, spans: list[Told]) -> None:
        """As a proxy's OpenTelemetry tracer does."""
        resources = [
            {
                "resource": {"attributes": attributes({"service.name": span.service})},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": span.trace,
                                "spanId": span.id,
                                "name": span.name,
                                "kind": {"server": 2, "client": 3}[span.kind],
                                "startTimeUnixNano": str(round(span.at * 1e9)),
                                "endTimeUnixNano": str(round((span.at + span.took) * 1e9)),
                                "attributes": attributes(span.tags),
                                "status": {"code": 2} if "error" in span.tags else {},
                            }
                        ]
                    }
                ],
            }
            for span in spans
        ]
        body, headers = json.dumps({"resourceSpans": resources}).encode(), {"content-type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(self.spans, body, headers), timeout=5).close()


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """With a base path, as Istio's add-on has it."""
    ui, grpc, otlp = (_free_port() for _ in range(3))
    config = {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "base_path": "/jaeger",
                "http": {"endpoint": f"127.0.0.1:{ui}"},
                "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
            },
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 1000}}}},
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }
    folder = tmp_path_factory.mktemp("jaeger")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    real = Real(f"http://127.0.0.1:{ui}/jaeger", f"http://127.0.0.1:{otlp}/v1/traces")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "--config", folder / "config.yaml"], stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is None and _answers(f"{real.url}/api/services"), 30)
        yield real
    finally:
        process.kill()  # told to end it takes its time, and it keeps nothing
        process.wait(10)


def recent() -> Run:
    """A run that ended just now: a Jaeger is asked about today."""
    run = rolled_back()
    later = time.time() - 52 - run.created
    segments = tuple(replace(one, origin=one.origin + later) for one in run.segments)
    return replace(run, created=run.created + later, ended=(run.ended or 0) + later, segments=segments)


def test_a_jaeger_without_spans_has_none(jaeger: Real) -> None:
    """Before anything else is told: both APIs say so, each in its way."""
    for api in ("auto", "jaeger", "jaeger-v3"):
        traces = neighbourhood(recent(), given(tracing={"url": jaeger.url, "api": api}))[1]
        assert traces.why == f"no traces: {jaeger.url} has none of reviews.default or reviews"


@pytest.mark.parametrize("api", ["auto", "jaeger", "jaeger-v3"])
def test_the_canary_s_failures_and_its_slowest_are_found(jaeger: Real, api: str) -> None:
    run = recent()
    jaeger.tell(mesh(time.time()))
    settings = given(tracing={"url": jaeger.url, "api": api})
    wait_for(lambda: len(neighbourhood(run, settings)[1].found) == 6)
    traces = neighbourhood(run, settings)[1]
    assert [int(one.id, 16) - 1 for one in traces.found] == [24, 12, 0, 27, 21, 18]
    assert {one.status for one in traces.found} == {"503", "200"}
    assert all(len(one.failed) == 2 for one in traces.found if one.kind == "failing")
    with urllib.request.urlopen(traces.found[0].url.replace("/trace/", "/api/traces/"), timeout=5) as answer:
        assert json.load(answer)["data"][0]["spans"], "it knows the trace that is linked to"


def test_a_service_that_it_does_not_know_has_none(jaeger: Real) -> None:
    run = recent()
    spec = run.plan.spec.model_copy(update={"target": run.plan.spec.target.model_copy(update={"host": "carts"})})
    route = replace(run.route, canary=replace(run.route.canary, host="carts"))
    other = replace(run, plan=run.plan.model_copy(update={"spec": spec}), route=route)
    traces = neighbourhood(other, given(tracing=jaeger.url))[1]
    assert traces.why == f"no traces: {jaeger.url} has none of carts.default or carts"


def test_preflight_knows_it(jaeger: Real) -> None:
    answer = Neighbourhood(given(tracing=jaeger.url)).look(ROUTE)["tracing"]
    assert (answer.fault, answer.speaks) == ("", "jaeger")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
        return True
    return False

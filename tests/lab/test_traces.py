"""Spans reach a collector as Istio's do: whose, with which tags, and joined from first client to last server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from canaryd.errors import Rejected
from canaryd.lab.envoy.tracing import OTLP, ZIPKIN, Tracing, body_of
from canaryd.lab.lab import Lab
from canaryd.lab.local_http import exchange

from .conftest import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]
Json = dict[str, Any]


@dataclass(frozen=True)
class Span:
    service: str
    kind: str
    trace: str
    id: str
    parent: str
    tags: Json


class Collector:
    """A receiver of spans, of either kind."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                read = zipkin if self.path == ZIPKIN else otlp if self.path == OTLP else None
                outer.spans += read(body_of(self)) if read else []
                self.send_response(202 if read else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def zipkin(body: bytes) -> list[Span]:
    return [
        Span(
            each["localEndpoint"]["serviceName"],
            each["kind"],
            each["traceId"],
            each["id"],
            each.get("parentId", ""),
            each["tags"],
        )
        for each in json.loads(body)
    ]


def otlp(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    kinds = {2: "SERVER", 3: "CLIENT"}
    return [
        Span(
            {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"],
            kinds[span.kind],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            {each.key: each.value.string_value for each in span.attributes},
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def ancestry(spans: list[Span], last: Span) -> list[tuple[str, str]]:
    """Who called whom, from the first client to `last`; an application's own call is its proxy's."""
    by_id = {each.id: each for each in spans if each.trace == last.trace}
    found = [last]
    while found[-1].parent:
        found.append(by_id[found[-1].parent])
    path = [(each.service, each.kind) for each in reversed(found)]
    return [step for step, before in zip(path, [None, *path], strict=False) if step != before]


@pytest.mark.parametrize("path", [ZIPKIN, OTLP])
def test_one_trace_joins_everybody_who_took_part(tmp_path: Path, collector: Collector, path: str) -> None:
    """A failing request is followed from the user to the culprit; a trace in pieces shows neither."""
    options: Json = {"rps": 0, "until_measured": False, "weights": {"v3": 100}, "traces": collector.url + path}
    with Lab.up(tmp_path, **options) as lab:
        status, _ = exchange(lab.vantage["ingress"].address(8080), "/productpage", headers={"host": "bookinfo.lab"})
        assert status == 200
        of = lambda service, kind: [s for s in collector.spans if (s.service, s.kind) == (service, kind)]  # noqa: E731
        gateway = "istio-ingressgateway.istio-system"
        wait_for(lambda: bool(of("ratings.default", "SERVER") and of(gateway, "CLIENT")), "spans", 12)
        ratings = of("ratings.default", "SERVER")[0]
        assert len({each.trace for each in collector.spans}) == 1
        assert ancestry(collector.spans, ratings) == [
            (gateway, "CLIENT"),
            ("productpage.default", "SERVER"),
            ("productpage.default", "CLIENT"),
            ("reviews.default", "SERVER"),
            ("reviews.default", "CLIENT"),
            ("ratings.default", "SERVER"),
        ]
        reviews = of("reviews.default", "SERVER")[0].tags
        wanted = {
            "istio.canonical_revision": "v3",
            "istio.canonical_service": "reviews",
            "istio.namespace": "default",
            "istio.mesh_id": "cluster.local",
            "istio.cluster_id": "Kubernetes",
            "node_id": "sidecar~reviews-v3.default",
            "http.status_code": "200",
            "component": "proxy",
        }
        assert {key: reviews.get(key) for key in wanted} == wanted
        client = of("productpage.default", "CLIENT")
        names = {each.tags.get("upstream_cluster.name") for each in client}
        assert "outbound|9080|v3|reviews.default.svc.cluster.local" in names


def test_a_sampling_of_nothing_tells_nothing_and_a_collector_that_is_away_costs_nothing(
    tmp_path: Path, collector: Collector
) -> None:
    """Istio samples one percent by default; and no trace may ever cost a request."""
    with Lab.up(tmp_path, rps=0, until_measured=False, traces=collector.url + OTLP, trace_sampling=0) as lab:
        address = lab.vantage["client"].address()
        assert exchange(address, "/", headers={"host": "reviews:9080"})[0] == 200
        collector.stop()
        assert all(exchange(address, "/", headers={"host": "reviews:9080"})[0] == 200 for _ in range(20))
    assert collector.spans == []


@pytest.mark.parametrize("url", ["localhost:9411", "ftp://host/v1/traces", "http://host/spans", "http:///v1/traces"])
def test_what_is_no_collector_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(Rejected, match="no collector's URL; Zipkin's looks like http"):
        Tracing(url)

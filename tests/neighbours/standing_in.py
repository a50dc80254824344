"""
Stand-ins for Grafana, Jaeger (both APIs) and Tempo: real servers that answer as the real ones document, or misbehave.

Formats: Grafana "Annotations HTTP API" and "Folder/Dashboard Search HTTP API"
(https://grafana.com/docs/grafana/latest/developers/http_api/annotations/, .../folder_dashboard_search/); Jaeger
https://github.com/jaegertracing/jaeger/blob/main/internal/uimodel/model.go (v1) and
https://github.com/jaegertracing/jaeger-idl/blob/main/proto/api_v3/query_service.proto (v3), as a Jaeger 2.13 was seen
to write them (tests/neighbours/test_real_jaeger.py asks one); Tempo https://grafana.com/docs/tempo/latest/api_docs/#search.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
Fault = Literal["", "slow", "drips", "500", "404", "401", "403", "page", "redirect", "huge", "no json", "deep", "shape"]
FAULTS: tuple[Fault, ...] = (
    "slow", "drips", "500", "404", "401", "403", "page", "redirect", "huge", "no json", "deep", "shape",
)  # fmt: skip
LOGIN = b"<!doctype html><title>Log in</title><form action=/login></form>"


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any = None

    def one(self, name: str) -> str:
        [value] = self.query[name]
        return value


@dataclass
class StandIn:
    """A server; ``fault`` is how it misbehaves from now on, and ``base`` the path below which it answers."""

    url: str = ""
    base: str = ""
    fault: Fault = ""
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        raise NotImplementedError


def json_answer(content: object, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(content).encode()


@dataclass(frozen=True)
class Told:
    """A span as a proxy tells it; times in seconds."""

    trace: str
    id: str
    service: str
    at: float
    took: float
    tags: Mapping[str, str]
    kind: str = "server"
    name: str = "reviews.default.svc.cluster.local:9080/*"


def by_proxy(pod: str, code: str, revision: str = "", namespace: str = "default", **more: str) -> dict[str, str]:
    """The tags that the proxy of ``pod`` gives a span (Istio pilot/pkg/networking/core/tracing.go)."""
    return {
        "node_id": f"sidecar~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local",
        "http.status_code": code,
        "response_flags": "-",
        **({"istio.canonical_revision": revision} if revision else {}),
        **({"error": "true"} if code.startswith("5") else {}),
        **more,
    }


@dataclass
class Jaeger(StandIn):
    """
    Jaeger over ``spans``. ``first`` and ``third`` say which APIs it has; the UI's page is at every other path.

    With ``boolean_errors`` a search for the text "true" in the tag ``error`` finds nothing, as in Jaeger 2's memory.
    """

    spans: list[Told] = field(default_factory=list)
    first: bool = True
    third: bool = True
    filters: bool = True
    boolean_errors: bool = False
    streams: bool = False

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        services = sorted({span.service for span in self.spans})
        if asked.path == "/api/services" and self.first:
            return json_answer(
                {"data": services or None, "total": len(services), "limit": 0, "offset": 0, "errors": None}
            )
        if asked.path == "/api/v3/services" and self.third:
            return 200, "text/plain; charset=utf-8", json.dumps({"services": services} if services else {}).encode()
        if asked.path == "/api/traces" and self.first:
            start, end = (float(asked.one(name)) / 1e6 for name in ("start", "end"))
            tags = json.loads(asked.query.get("tags", ["{}"])[0])
            least = float(asked.query.get("minDuration", ["0us"])[0].removesuffix("us")) / 1e6
            found = self._found(asked.one("service"), start, end, tags, least, int(asked.one("limit")))
            data = [self._v1(trace) for trace in found]
            return json_answer({"data": data, "total": 0, "limit": 0, "offset": 0, "errors": None})
        if asked.path == "/api/v3/traces" and self.third:
            return self._third(asked)
        return 200, "text/html; charset=utf-8", b"<!doctype html><title>Jaeger UI</title>"

    def _third(self, asked: Asked) -> tuple[int, str, bytes]:
        start, end = (asked.query.get(f"query.start_time_{end}") for end in ("min", "max"))
        if not start or not end:
            message = "query.start_time_min and query.start_time_max are required"
            return json_answer({"error": {"httpCode": 400, "message": message}}, 400)
        tags = json.loads(asked.query.get("query.attributes", ["{}"])[0]) if self.filters else {}
        least = float(asked.query.get("query.duration_min", ["0us"])[0].removesuffix("us")) / 1e6
        few = int(asked.one("query.num_traces"))
        times = [_seconds(one[0]) for one in (start, end)]
        found = self._found(asked.one("query.service_name"), times[0], times[1], tags, least, few)
        if not found:
            return json_answer({"error": {"httpCode": 404, "message": "No traces found"}}, 404)
        results = [{"result": {"resourceSpans": [self._v3(span) for span in trace]}} for trace in found]
        if self.streams:
            return 200, "application/json", b"\n".join(json.dumps(one).encode() for one in results)
        whole = [resource for one in results for resource in one["result"]["resourceSpans"]]
        return json_answer({"result": {"resourceSpans": whole}})

    def _found(
        self, service: str, start: float, end: float, tags: Mapping[str, str], least: float, few: int
    ) -> list[list[Told]]:
        def fits(span: Told) -> bool:
            if self.boolean_errors and "error" in tags:
                return False
            return (
                span.service == service
                and start <= span.at <= end
                and span.took >= least
                and all(span.tags.get(key) == value for key, value in tags.items())
            )

        ids = dict.fromkeys(span.trace for span in sorted(self.spans, key=lambda one: -one.at) if fits(span))
        return [[span for span in self.spans if span.trace == one] for one in list(ids)[:few]]

    @staticmethod
    def _v1(trace: list[Told]) -> Json:
        return {
            "traceID": trace[0].trace,
            "spans": [
                {
                    "traceID": span.trace,
                    "spanID": span.id,
                    "operationName": span.name,
                    "references": [],
                    "startTime": round(span.at * 1e6),
                    "duration": round(span.took * 1e6),
                    "tags": [
                        *({"key": key, "type": "string", "value": value} for key, value in span.tags.items()),
                        *([{"key": "error", "type": "bool", "value": True}] if "error" in span.tags else []),
                        {"key": "span.kind", "type": "string", "value": span.kind},
                    ],
                    "logs": [],
                    "processID": f"p{number}",
                    "warnings": None,
                }
                for number, span in enumerate(trace)
            ],
            "processes": {f"p{number}": {"serviceName": span.service, "tags": []} for number, span in enumerate(trace)},
            "warnings": None,
        }

    @staticmethod
    def _v3(span: Told) -> Json:
        status = {"code": 2} if "error" in span.tags else {}
        return {
            "resource": {"attributes": attributes({"service.name": span.service})},
            "scopeSpans": [
                {
                    "scope": {},
                    "spans": [
                        {
                            "traceId": span.trace,
                            "spanId": span.id,
                            "name": span.name,
                            "kind": {"server": 2, "client": 3}[span.kind],
                            "startTimeUnixNano": str(round(span.at * 1e9)),
                            "endTimeUnixNano": str(round((span.at + span.took) * 1e9)),
                            "attributes": attributes(span.tags),
                            "status": status,
                        }
                    ],
                }
            ],
        }


@dataclass
class Tempo(StandIn):
    """Tempo over ``spans``. It reads as much of TraceQL as canaryd writes."""

    spans: list[Told] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        if asked.path != "/api/search":
            return 404, "text/plain; charset=utf-8", b"404 page not found\n"
        query = asked.one("q")
        start, end = (float(asked.query.get(name, [str(other)])[0]) for name, other in (("start", 0), ("end", 9e9)))
        found: dict[str, list[Told]] = {}
        for span in self.spans:
            if start <= span.at <= end and self._fits(query, span):
                found.setdefault(span.trace, []).append(span)
        traces = [self._shown(trace, spans) for trace, spans in found.items()][: int(asked.one("limit"))]
        metrics = {"inspectedTraces": len(self.spans), "inspectedBytes": "1024", "completedJobs": 1, "totalJobs": 1}
        return json_answer({"traces": traces, "metrics": metrics} if traces else {"metrics": metrics})

    @staticmethod
    def _fits(query: str, span: Told) -> bool:
        if query == "{}":
            return True
        named = f'resource.service.name = "{span.service}"' in query
        revision = query.partition('span."istio.canonical_revision" = "')[2].partition('"')[0]
        failing = "status = error" in query and not span.tags.get("error")
        longer = float(query.partition("duration > ")[2].partition("ms")[0] or 0) / 1000
        return (
            named
            and not failing
            and span.took > longer
            and (not revision or span.tags.get("istio.canonical_revision") == revision)
        )

    @staticmethod
    def _shown(trace: str, spans: list[Told]) -> Json:
        listed = [
            {
                "spanID": span.id,
                "name": span.name,
                "startTimeUnixNano": str(round(span.at * 1e9)),
                "durationNanos": str(round(span.took * 1e9)),
                "attributes": attributes(
                    {**span.tags, "service.name": span.service, "kind": span.kind}
                    | ({"status": "error"} if span.tags.get("error") else {})
                ),
            }
            for span in spans
        ]
        return {
            "traceID": trace.lstrip("0"),  # it leaves zeros in front out
            "rootServiceName": "istio-ingressgateway.istio-system",
            "rootTraceName": "productpage.default.svc.cluster.local:9080/productpage",
            "startTimeUnixNano": str(round(spans[0].at * 1e9)),
            "durationMs": round(spans[0].took * 1000),
            "spanSet": {"spans": listed, "matched": len(listed)},
            "spanSets": [{"spans": listed, "matched": len(listed)}],
        }


@dataclass
class Grafana(StandIn):
    """Grafana with Istio's dashboards. ``token`` is who may; ``annotations`` are those it keeps."""

    token: str = ""
    annotations: list[Json] = field(default_factory=list)
    loses_answers: int = 0
    dashboards: tuple[Json, ...] = (
        {"id": 1, "uid": "ab-C_d1", "title": "Istio Workload Dashboard", "type": "dash-db"},
        {"id": 2, "uid": "ef2", "title": "Istio Workload Dashboard (old)", "type": "dash-db"},
    )

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return json_answer({"message": "Invalid API key", "messageId": "api-key.invalid", "statusCode": 401}, 401)
        if asked.path == "/api/search":
            words = asked.one("query").lower()
            found = [{**one, "url": f"{self.base}/d/{one['uid']}/x"} for one in self.dashboards]
            return json_answer([one for one in found if words in one["title"].lower()])
        if asked.path == "/api/annotations" and asked.method == "GET":
            wanted, on = set(asked.query["tags"]), asked.query.get("dashboardUID", [None])[0]
            found = [
                one for one in self.annotations if wanted <= set(one["tags"]) and on in (None, one["dashboardUID"])
            ]
            return json_answer(found[: int(asked.one("limit"))])
        if asked.path == "/api/annotations":
            if not asked.body.get("text"):
                return json_answer({"message": "Failed to save annotation"}, 400)
            self.annotations.append({"id": len(self.annotations) + 1, "dashboardUID": "", **asked.body})
            if self.loses_answers:
                self.loses_answers -= 1
                return json_answer({"message": "Bad Gateway"}, 502)
            return json_answer({"message": "Annotation added", "id": len(self.annotations)})
        return json_answer({"message": "Not found"}, 404)


@contextlib.contextmanager
def standing_in(one: StandIn) -> Iterator[None]:
    """Let it answer at a free port of this machine."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            asked = Asked(
                self.command,
                parts.path.removeprefix(one.base),
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(body) if body else None,
            )
            one.asked.append(asked)
            with contextlib.suppress(OSError):
                self._answered(asked, parts.path)

        def do_POST(self) -> None:
            self.do_GET()

        def _answered(self, asked: Asked, path: str) -> None:
            fault = one.fault
            if fault == "slow":
                over.wait(20)
            if fault == "redirect":
                self.send_response(302)
                self.send_header("location", f"{one.url}/login")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            if not path.startswith(one.base):
                self._whole(404, "text/plain", b"404 page not found")
            elif fault in ("500", "404", "401", "403"):
                self._whole(int(fault), "text/plain", b"upstream \x1b[31mconnect error")
            elif fault == "page":
                self._whole(200, "text/html", LOGIN)
            elif fault == "huge":
                self._huge()
            elif fault == "no json":
                self._whole(200, "application/json", b'{"data": [')
            elif fault == "deep":
                self._whole(200, "application/json", b"[" * 200_000)
            elif fault == "shape":
                self._whole(
                    200, "application/json", b'{"data": {"spans": 7}, "result": [], "traces": "many", "services": 3}'
                )
            elif fault == "drips":
                self._drips()
            else:
                self._whole(*one.answer(asked))

        def _whole(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _huge(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            for _ in range(64):
                self.wfile.write(b" " * (1 << 20))

        def _drips(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            while not over.wait(0.05):
                self.wfile.write(b" ")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_address[1]}{one.base}"
    try:
        yield
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def mesh(now: float, **of: Any) -> list[Told]:
    """
    Thirty requests in half a minute, the first of them 50 seconds before ``now``; later ones take longer.

    Each third is the canary's (v3), each fourth fails. What the caller's proxy tells of each is there, too.
    """
    found = []
    for number in range(30):
        trace, at, took = f"{number + 1:032x}", now - 50 + number, 0.001 + number / 25
        canary, code = number % 3 == 0, "503" if number % 4 == 0 else "200"
        pod, revision = ("reviews-v3-h3-abcde", "v3") if canary else ("reviews-v1-h1-xyzzy", "v1")
        caller = by_proxy("productpage-v1-7c9-q2w3e", code)
        answered = Told(trace, f"{number * 2 + 1:016x}", "reviews.default", at, took, by_proxy(pod, code, revision))
        found += [
            Told(trace, f"{number * 2 + 2:016x}", "productpage.default", at - 0.001, took + 0.002, caller, "client"),
            replace(answered, **of),
        ]
    return found


def attributes(tags: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in tags.items()]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    """Until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.01)

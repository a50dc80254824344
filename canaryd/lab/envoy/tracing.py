"""
Traces: every proxy tells a collector of its spans, as Istio's do, when a collector is given.

The URL says which kind it is: Zipkin's ends in `/api/v2/spans` (JSON), OpenTelemetry's in `/v1/traces` (OTLP over
HTTP). Spans carry Istio's tags, and their service is `<app>.<namespace>`. Envoy's Zipkin tracer takes that name from
the *process*, which is every proxy here; so with Zipkin the spans go through a relay of the lab's, which writes the
names.

Sources: Istio pilot/pkg/networking/core/tracing.go (tags, sampling, service names); Envoy's tracer configurations.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import urllib.request
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, urlsplit

from canaryd.errors import Rejected
from canaryd.lab.envoy.resources import extension

Json = dict[str, Any]
CLUSTER = "lab/tracing"
ZIPKIN, OTLP = "/api/v2/spans", "/v1/traces"
PATIENCE = 5.0  # seconds that a collector has to take spans


class Tracing:
    """Where spans go, and what of Envoy's configuration follows from it."""

    def __init__(self, url: str, sampling: float = 100.0) -> None:
        """`sampling` is in percent of requests. Raises Rejected for a URL that is no collector's."""
        self._url = _checked(url)
        self._sampling = sampling
        if not 0 <= sampling <= 100:
            raise Rejected(f"traces: the sampling must be a percentage from 0 to 100, got {sampling:g}")
        self._relay = Relay(url) if self._url.path.endswith(ZIPKIN) else None

    def stop(self) -> None:
        if self._relay is not None:
            self._relay.stop()

    def clusters(self) -> list[Json]:
        """What Envoy must know from its start: the way to the collector, or to the relay."""
        target = urlsplit(self._relay.url) if self._relay else self._url
        port = target.port or (443 if target.scheme == "https" else 80)
        address = {"socket_address": {"address": target.hostname, "port_value": port}}
        cluster: Json = {
            "name": CLUSTER,
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        if target.scheme == "https":
            message = "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
            cluster["transport_socket"] = extension("envoy.transport_sockets.tls", message, sni=target.hostname)
        return [cluster]

    def of(self, service: str, tags: Mapping[str, str]) -> Json:
        """The tracing part of a proxy's connection manager."""
        if self._relay is not None:
            self._relay.services[tags["node_id"].partition("~")[2]] = service
        return {
            "provider": self._zipkin() if self._relay else self._otlp(service),
            "random_sampling": {"value": self._sampling},
            "max_path_tag_length": 256,
            "custom_tags": [{"tag": tag, "literal": {"value": value}} for tag, value in tags.items() if value],
        }

    def _zipkin(self) -> Json:
        return extension(
            "envoy.tracers.zipkin",
            "config.trace.v3.ZipkinConfig",
            collector_cluster=CLUSTER,
            collector_endpoint=ZIPKIN,
            collector_endpoint_version="HTTP_JSON",
            trace_id_128bit=True,
            shared_span_context=False,
        )

    def _otlp(self, service: str) -> Json:
        uri = {"uri": self._url.geturl(), "cluster": CLUSTER, "timeout": f"{PATIENCE:g}s"}
        return extension(
            "envoy.tracers.opentelemetry",
            "config.trace.v3.OpenTelemetryConfig",
            service_name=service,
            http_service={"http_uri": uri},
        )


class Relay:
    """Takes Envoy's Zipkin spans, writes into each whose it is, and hands them on. `services`: proxy -> service."""

    def __init__(self, url: str) -> None:
        self.services: dict[str, str] = {}
        self._target = url
        self._waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=1000)
        waiting = self._waiting

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = body_of(self)
                if not waiting.full():  # a collector that is away costs spans, never memory
                    waiting.put(body)
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="lab-spans-in", daemon=True).start()
        self._sender = threading.Thread(target=self._hand_on, name="lab-spans-out", daemon=True)
        self._sender.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._waiting.put(None)
        self._sender.join(PATIENCE)

    def _hand_on(self) -> None:
        while (body := self._waiting.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # a collector that is away loses spans, as with Envoy itself
                spans = json.dumps([named(each, self.services) for each in json.loads(body)]).encode()
                headers = {"content-type": "application/json"}
                request = urllib.request.Request(self._target, spans, headers)  # noqa: S310  # the user's own URL
                urllib.request.urlopen(request, timeout=PATIENCE).close()  # noqa: S310


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, in chunks too: Envoy sends its spans so, and `http.server` leaves them to us."""
    if request.headers.get("transfer-encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("content-length") or 0))
    body = b""
    while size := int(request.rfile.readline().partition(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def named(span: Json, services: Mapping[str, str]) -> Json:
    """
    A Zipkin span with its service where Zipkin looks for it.

    Whose it is stands in the tag `node_id`; what Envoy's Lua filter adds for an application's own call has no tags of
    ours, but the way to the sidecar in its name.
    """
    node = (span.get("tags") or {}).get("node_id", "").partition("~")[2]
    caller = str(span.get("name", "")).removeprefix("async ").partition("~")[0]
    service = services.get(node) or services.get(caller)
    return {
        **span,
        "localEndpoint": {**(span.get("localEndpoint") or {}), **({"serviceName": service} if service else {})},
    }


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    known = parts.path.endswith((ZIPKIN, OTLP))
    if parts.scheme not in ("http", "https") or not parts.hostname or not known:
        raise Rejected(
            f"traces: {url!r} is no collector's URL; Zipkin's looks like http://127.0.0.1:9411{ZIPKIN}, "
            f"OpenTelemetry's like http://127.0.0.1:4318{OTLP}"
        )
    return parts

"""
PURE: the answers of Jaeger (both APIs) and Tempo as spans.

Sources: Jaeger internal/uimodel (v1 JSON), api_v3/query_service.proto with OTLP as its resourceSpans;
opentelemetry-proto "JSON Protobuf Encoding" (ids in hex, 64-bit integers as texts; Jaeger's older gateway writes ids in
base64); Tempo "HTTP API: Search". A place in an answer that is otherwise than written there is left out, and never
guessed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 20_000
"""Spans of one answer that are read."""
ERROR = ("2", "STATUS_CODE_ERROR", "ERROR", "error")
"""How a span's status says that it failed."""
KINDS = {"2": "server", "SPAN_KIND_SERVER": "server", "3": "client", "SPAN_KIND_CLIENT": "client"}


@dataclass(frozen=True, slots=True)
class Span:
    """A span: ``at`` is its beginning (Unix seconds), ``took`` its seconds, and ``tags`` are texts."""

    trace: str
    id: str
    service: str
    name: str
    at: float
    took: float
    kind: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """How the request was answered, such as ``503``, ``200 grpc 14`` or ``0 DC``; empty where it does not say."""
        code, grpc = self.tags.get("http.status_code", ""), self.tags.get("grpc.status_code", "")
        flags = self.tags.get("response_flags", "")
        parts = (code, f"grpc {grpc}" if grpc not in ("", "0") else "", flags if flags != "-" else "")
        return " ".join(part for part in parts if part)

    @property
    def failed(self) -> bool:
        """Whether it says of itself that it failed."""
        code = self.tags.get("http.status_code", "")
        said = self.tags.get("error", "").lower() == "true" or self.tags.get("otel.status_code") in ERROR
        return said or self.tags.get("status") in ERROR or (len(code) == 3 and code.startswith("5"))


def of_jaeger(answer: Any) -> tuple[Span, ...]:
    """Those of ``{"data": [...]}``. Raises ValueError where it is another answer."""
    return tuple(_first(span for trace in _mappings(_listed(answer, "data")) for span in _of_trace(trace)))


def of_otlp(answer: Any) -> tuple[Span, ...]:
    """Those of one ``{"result": {"resourceSpans": [...]}}``, or of several. Raises ValueError for another answer."""
    parts = answer if isinstance(answer, list) else [answer]
    results = _mappings([one.get("result") for one in _mappings(parts)])
    if not results or len(results) < len(parts):
        raise ValueError("no result in it")
    return tuple(_first(span for result in results for span in _of_result(result)))


def of_tempo(answer: Any) -> tuple[Span, ...]:
    """The matched spans of ``{"traces": [...]}``. Raises ValueError where it is another answer."""
    if isinstance(answer, dict) and "metrics" in answer:
        answer = {"traces": [], **answer}  # an empty list is left out
    return tuple(_first(span for trace in _mappings(_listed(answer, "traces")) for span in _of_found(trace)))


def _listed(answer: Any, key: str) -> list[Any]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if isinstance(found, list):
        return found
    raise ValueError(f"no {key} in it")


def _of_trace(trace: Mapping[str, Any]) -> Iterator[Span]:
    processes = trace.get("processes")
    processes = processes if isinstance(processes, dict) else {}
    for span in _mappings(trace.get("spans")):
        process = processes.get(str(span.get("processID")))
        process = process if isinstance(process, dict) else {}
        tags = {**_tags(process.get("tags")), **_tags(span.get("tags"))}
        yield Span(
            _id(span.get("traceID")),
            _id(span.get("spanID")),
            str(process.get("serviceName") or ""),
            str(span.get("operationName") or ""),
            _number(span.get("startTime")) / 1e6,
            _number(span.get("duration")) / 1e6,
            tags.get("span.kind", ""),
            tags,
        )


def _of_result(result: Mapping[str, Any]) -> Iterator[Span]:
    for resource in _mappings(result.get("resourceSpans")):
        of = resource.get("resource")
        about = _attributes(of.get("attributes") if isinstance(of, dict) else None)
        for scope in _mappings(resource.get("scopeSpans")):
            for span in _mappings(scope.get("spans")):
                yield _otlp(span, about)


def _otlp(span: Mapping[str, Any], about: Mapping[str, str]) -> Span:
    status = span.get("status")
    tags = {**about, **_attributes(span.get("attributes"))}
    if isinstance(status, dict) and (code := str(status.get("code", ""))) in ERROR:
        tags["status"] = code
    begun, ended = _number(span.get("startTimeUnixNano")), _number(span.get("endTimeUnixNano"))
    return Span(
        _id(span.get("traceId")),
        _id(span.get("spanId")),
        about.get("service.name", ""),
        str(span.get("name") or ""),
        begun / 1e9,
        max(0.0, ended - begun) / 1e9,
        KINDS.get(str(span.get("kind")), ""),
        tags,
    )


def _of_found(trace: Mapping[str, Any]) -> Iterator[Span]:
    sets = _mappings(trace.get("spanSets")) or _mappings([trace.get("spanSet")])
    for span in (span for one in sets for span in _mappings(one.get("spans"))):
        tags = _attributes(span.get("attributes"))
        yield Span(
            _id(trace.get("traceID")),
            _id(span.get("spanID")),
            tags.get("service.name") or tags.get("resource.service.name") or str(trace.get("rootServiceName") or ""),
            str(span.get("name") or tags.get("name") or trace.get("rootTraceName") or ""),
            _number(span.get("startTimeUnixNano")) / 1e9,
            _number(span.get("durationNanos")) / 1e9,
            tags.get("kind", ""),
            tags,
        )


def _first(spans: Iterable[Span]) -> Iterator[Span]:
    """Those with an id, no more than can be meant."""
    for number, span in enumerate(spans):
        if number >= MOST:
            return
        if span.trace:
            yield span


def _mappings(found: object) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _tags(found: object) -> dict[str, str]:
    return {str(tag.get("key")): _text(tag.get("value")) for tag in _mappings(found)}


def _attributes(found: object) -> dict[str, str]:
    """OTLP's ``{"key", "value": {"stringValue": ...}}``."""
    return {
        str(tag.get("key")): _text(next(iter(tag["value"].values()), ""))
        for tag in _mappings(found)
        if isinstance(tag.get("value"), dict)
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, str | int | float) else ""


def _number(value: object) -> float:
    """A number, also one that is written as a text; 0 for anything else, and for what no clock has shown."""
    try:
        found = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return found if 0 <= found < 1e20 else 0.0


def _id(value: object) -> str:
    """An id in hex; one in base64 is turned into that."""
    text = value if isinstance(value, str) else ""
    if not text or len(text) > 64:
        return ""
    if all(one in "0123456789abcdefABCDEF" for one in text):
        return text.lower()
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""

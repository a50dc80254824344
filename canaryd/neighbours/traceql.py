"""
PURE: questions to Tempo. Names with dots are quoted, and what stands in quotes cannot end them.

Source: Tempo, "TraceQL: construct a query" (scopes, quoted attribute names, durations, ``select``).
"""

from __future__ import annotations

from collections.abc import Sequence

from canaryd.neighbours.naming import REVISION

SELECTED = (
    'span."http.status_code"',
    'span."grpc.status_code"',
    'span."response_flags"',
    'span."node_id"',
    f'span."{REVISION}"',
    'span."error"',
    "resource.service.name",
    "kind",
    "status",
    "name",
)
"""What is told of the spans that are found."""


def query(
    services: Sequence[str], revision: str = "", *, failing: bool = False, longer_ms: float = 0.0, select: bool = False
) -> str:
    """The spans of ``services`` (any of them) that fail, or took longer than so many milliseconds."""
    named = " || ".join(f"resource.service.name = {quoted(one)}" for one in services)
    parts = [f"({named})" if len(services) > 1 else named]
    if revision:
        parts.append(f'span."{REVISION}" = {quoted(revision)}')
    if failing:
        # Envoy marks a failure by a tag, and only some of its tracers by the status.
        parts.append('(status = error || span."error" = "true" || span."http.status_code" =~ "5..")')
    if longer_ms:
        parts.append(f"duration > {round(longer_ms)}ms")
    wanted = f" | select({', '.join(SELECTED)})" if select else ""
    return f"{{ {' && '.join(parts)} }}{wanted}"


def quoted(text: str) -> str:
    """A text of TraceQL's."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'

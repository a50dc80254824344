"""
What counts as a failure: which HTTP answers, and which gRPC statuses.

A plan lists classes and codes, ``[5xx, 429, not 501]`` and ``[server, RESOURCE_EXHAUSTED]``; the word about one code
goes before that about its class. That a client got no answer at all (``0``) is a failure unless the list says ``not
0``: it is how a version that hangs shows, and nobody should lose it by adding 4xx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

NO_ANSWER = "0"
"""Istio's ``response_code`` of a request that ended without an answer: the client gave up."""
UNAVAILABLE = 14
GRPC = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of gRPC's statuses, each at its number (grpc/grpc, doc/statuscodes.md)."""
SERVER = (2, 4, 12, 13, 14, 15)
"""Those that a server answers for; the others are said about a request, as 4xx are."""
CLASSES = {"server": SERVER, "any": tuple(range(1, 17))}
"""What a plan may write for several gRPC statuses at once."""

_HTTP = re.compile(r"[45]xx|[45]\d\d|not (0|[45]\d\d)")
_NOT = "not "


@dataclass(frozen=True, slots=True)
class Failures:
    """``http`` as a plan lists it, in order (``5xx``, ``404``, ``not 501``, ``not 0``), and the gRPC statuses."""

    http: tuple[str, ...] = ("5xx",)
    grpc: tuple[int, ...] = SERVER

    def among(self, labels: Mapping[str, str]) -> bool:
        """Whether requests with Istio's ``labels`` failed."""
        if self.of_http(labels.get("response_code", "")):
            return True
        status = labels.get("grpc_response_status", "")
        return labels.get("request_protocol") == "grpc" and status.isdigit() and int(status) in self.grpc

    def of_http(self, code: str) -> bool:
        """Whether a ``response_code`` is a failure."""
        if f"{_NOT}{code}" in self.http:
            return False
        return code == NO_ANSWER or (len(code) == 3 and (code in self.http or f"{code[0]}xx" in self.http))

    @property
    def words(self) -> str:
        """What counts otherwise than by default; empty where nothing does."""
        usual = Failures()
        told = []
        if self.http != usual.http:
            counted = [one for one in self.http if not one.startswith(_NOT)]
            counted += ["no answer"] if self.of_http(NO_ANSWER) else []
            spared = [one.removeprefix(_NOT) for one in self.http if one not in (*counted, f"{_NOT}{NO_ANSWER}")]
            without = f" (not {', '.join(spared)})" if spared else ""
            told.append((", ".join(counted) or "no HTTP answer") + without)
        more = [grpc_name(one) for one in self.grpc if one not in usual.grpc]
        fewer = [grpc_name(one) for one in usual.grpc if one not in self.grpc]
        if len(more) + len(fewer) >= len(self.grpc):
            told.append(f"gRPC {', '.join(map(grpc_name, self.grpc))}" if self.grpc else "no gRPC status")
        elif more or fewer:
            told.append(
                "gRPC as usual"
                + (f" and {', '.join(more)}" if more else "")
                + (f" (not {', '.join(fewer)})" if fewer else "")
            )
        return "; ".join(told)


def grpc_name(status: int | str) -> str:
    """``14 UNAVAILABLE``; the number alone where gRPC has no name for it."""
    number = int(status) if str(status).isdigit() else len(GRPC)
    return f"{status} {GRPC[number]}" if number < len(GRPC) else str(status)


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError("a list")  # noqa: TRY004  # pydantic wants ValueError
    return value


def read_http(value: object) -> tuple[str, ...]:
    """The HTTP answers that ``value`` lists, in one order and each once. Raises ValueError."""
    read = [_http(place, one) for place, one in enumerate(_listed(value))]
    if twice := [one for one in read if f"{_NOT}{one}" in read]:
        raise ValueError(f"{twice[0]} either as a failure or as none, got both")
    return tuple(sorted(dict.fromkeys(read), key=lambda one: (one.startswith(_NOT), not one.endswith("xx"), one)))


def _http(place: int, value: object) -> str:
    text = " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not _HTTP.fullmatch(text):
        raise ValueError(f"{place}: 4xx, 5xx, a code from 400 to 599, `not CODE` or `not 0`, got {value!r}"[:160])
    return text


def read_grpc(value: object) -> tuple[int, ...]:
    """The gRPC statuses that ``value`` lists, rising. Raises ValueError."""
    counted: set[int] = set()
    spared: set[int] = set()
    for place, one in enumerate(_listed(value)):
        text = one.strip() if isinstance(one, str) else one
        negated = isinstance(text, str) and text.startswith(_NOT)
        (spared if negated else counted).update(_grpc(place, text[len(_NOT) :].strip() if negated else text))  # type: ignore[index]  # a text
    return tuple(sorted(counted - spared))


def _grpc(place: int, value: Any) -> Iterable[int]:
    if isinstance(value, str):
        if value in CLASSES:
            return CLASSES[value]
        if value in GRPC[1:]:
            return (GRPC.index(value),)
        value = int(value) if value.isdigit() else value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < len(GRPC):
        return (value,)
    raise ValueError(
        f"{place}: a gRPC status from 1 to 16, its name such as UNAVAILABLE, `server`, `any`, or `not` before one, "
        f"got {value!r}"[:200]
    )


_CODE = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
HttpFailures = Annotated[tuple[str, ...], BeforeValidator(read_http), WithJsonSchema({"type": "array", "items": _CODE})]
"""In a plan: the HTTP answers that are failures."""
GrpcFailures = Annotated[tuple[int, ...], BeforeValidator(read_grpc), WithJsonSchema({"type": "array", "items": _CODE})]
"""In a plan: the gRPC statuses that are failures."""

"""
Which of the requests are counted, by labels of their series: one route of many, one operation, one tenant.

Istio's own metrics name no route; a Telemetry object can add a label that does (``tagOverrides``), and both versions
have it then, for it is the callers' proxies that set it. Labels by which sides, hosts and outcomes are told apart are
not for the plan to restrict: a share of failures among the failures says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Labels with the values of which a request has to have one, in the order of the labels."""

RESERVED = frozenset(
    {"reporter", "response_code", "response_flags", "grpc_response_status", "le", "pod", "instance", "job", "canaryd"}
)
_RESERVED_PREFIX = ("destination_", "__")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def read_where(value: object) -> Where:
    """The labels that ``value`` names, each with a text or a list of texts. Raises ValueError."""
    if isinstance(value, tuple):  # it has been read before
        value = dict(value)
    if not isinstance(value, Mapping):
        raise ValueError("a mapping from labels to values")  # noqa: TRY004  # pydantic wants ValueError
    return tuple(sorted((_label(label), _values(label, wanted)) for label, wanted in value.items()))


def _label(label: object) -> str:
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise ValueError(f"a label of Prometheus, such as request_operation, got {label!r}"[:160])
    if label in RESERVED or label.startswith(_RESERVED_PREFIX):
        raise ValueError(
            f"{label}: a label of the requests' own, such as request_operation: this one tells apart what is compared"
        )
    return label


def _values(label: object, wanted: object) -> tuple[str, ...]:
    values = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(values, Sequence) and values and all(isinstance(one, str) and one for one in values):
        return tuple(dict.fromkeys(values))
    raise ValueError(f"{label}: a text that is not empty, or a list of them, got {wanted!r} (numbers in quotes)"[:160])


def written(where: Where) -> dict[str, str | list[str]]:
    """As a plan has it."""
    return {label: values[0] if len(values) == 1 else list(values) for label, values in where}


def both(wide: Where, narrow: Where) -> Where:
    """What satisfies both; where they name the same label, the narrow one's word holds."""
    return tuple(sorted((dict(wide) | dict(narrow)).items()))


def words(where: Where) -> str:
    """``request_operation=/pay or /refund, tenant=a``."""
    return ", ".join(f"{label}={' or '.join(values)}" for label, values in where)


_SCHEMA = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
PlanWhere = Annotated[
    Where, BeforeValidator(read_where), PlainSerializer(written, return_type=dict), WithJsonSchema(_SCHEMA)
]
"""In a plan."""

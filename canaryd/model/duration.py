"""
Durations as people write them: ``90s``, ``5m``, ``1h30m``, ``500ms``.

The parser and the renderer are a pair: what one writes the other reads back to the same duration.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PART = re.compile(r"(\d+)(ms|[dhms])")
_PATTERN = r"^(\d+(ms|[dhms]))+$"


def parse_duration(text: object) -> timedelta:
    """The duration in ``text``. Raises ValueError for anything but numbers with units, such as ``1h30m``."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(_PATTERN, text):
        raise ValueError('a duration with a unit, such as "90s", "5m" or "1h30m"')
    return timedelta(milliseconds=sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))


def render_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back as ``duration`` (to the millisecond)."""
    rest = round(duration.total_seconds() * 1000)
    parts = []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def render_seconds(seconds: float) -> str:
    """Seconds as a person reads them, without fractions: ``4h``, ``2m30s``."""
    return render_duration(timedelta(seconds=round(seconds)))


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(render_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN}),
]

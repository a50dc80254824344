"""Durations, percentages and names of other tools in the form that a plan has them."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import timedelta
from decimal import Decimal
from typing import Any

from canaryd.model.duration import render_duration

_SIZES = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|h|m|s)")


def span(value: Any) -> timedelta | None:
    """
    The duration that Go's ``time.ParseDuration`` reads, or None; a bare number means seconds.

    Source: Argo Rollouts, docs/features/specification.md (pause.duration); Flagger's CRD (interval).
    """
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip()
    if re.fullmatch(r"\d+", text):
        return timedelta(seconds=int(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(seconds=sum(float(number) * _SIZES[unit] for number, unit in parts))


def duration(value: timedelta) -> str:
    """As a plan writes it."""
    return render_duration(value)


def number(value: Any) -> Decimal | None:
    """The number that YAML or JSON had there, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    found = Decimal(str(value))
    return found if found.is_finite() else None


def percent(share: Decimal) -> str:
    """Percent as a plan writes them."""
    return f"{plain(share)}%"


def plain(value: Decimal) -> str:
    """Without an exponent and without zeros behind it."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def figure(value: Decimal) -> int | float:
    """The number as YAML has it: whole where it is whole."""
    return int(value) if value == value.to_integral_value() else float(value)


def label(text: str, taken: Container[str] = ()) -> str:
    """``text`` as a name of a plan or a check: small letters, digits and hyphens; none that is ``taken``."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:56].strip("-") or "check"
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found

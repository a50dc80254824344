"""Percentages as Istio hands them to Envoy."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def of_percent(percent: Json) -> Json:
    """From Istio's `{value: 12.5}`, cut to whole millionths as Istio does (translatePercentToFractionalPercent)."""
    return {"numerator": int((percent.get("value") or 0) * 10000), "denominator": "MILLION"}


def of_integer(percent: int) -> Json:
    return {"numerator": percent, "denominator": "HUNDRED"}

"""
Durations as Go writes them (``1h30m``, ``0.5s``, ``-1ms``), which Kubernetes and Istio read in their objects.
"""

from __future__ import annotations

import re

_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_NANOSECONDS["h"] = 3600 * 10**9
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_WHOLE = re.compile(rf"[-+]?(?:0|(?:{_PART})+)", re.ASCII)

MILLISECOND = 10**6


def nanoseconds(text: str) -> int:
    """Exact; fractions of a nanosecond are cut off. Raises ValueError for what is no duration."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"not a duration: {text!r}")
    total = 0
    for amount, unit in re.findall(_PART, text, re.ASCII):
        whole, _, fraction = amount.partition(".")
        size = _NANOSECONDS[unit]
        total += int(whole or 0) * size + int(fraction or 0) * size // 10 ** len(fraction)
    return -total if text.startswith("-") else total

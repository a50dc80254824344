"""
Queries of other tools in the words of a plan: ``{{ target }}`` becomes ``${workload}``, what is known becomes a text.

The two tools fill their templates with one value for a run. A plan's query is asked for each side, and only
``${workload}``, ``${namespace}`` and ``${window}`` differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from canaryd.importing.units import duration
from canaryd.model.queries import span_of

_HOLE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
MOST_IN_A_ROW = 1000
DEFAULT_WINDOW = timedelta(seconds=60)
"""What a plan with scrapes every 15 s takes where a check says no window."""


def filled(query: str, known: Mapping[str, str]) -> tuple[str, list[str]]:
    """``query`` with every hole filled from ``known``, and the holes that are not in it."""
    unknown: list[str] = []

    def fill(hole: re.Match[str]) -> str:
        if hole[1] not in known:
            unknown.append(hole[1])
        return known.get(hole[1], hole[0])

    return _HOLE.sub(fill, query).strip(), list(dict.fromkeys(unknown))


def in_a_row(failed: int, apart: timedelta, query: str, asked: timedelta | None = None) -> int | None:
    """
    How many values in a row, a window apart, say that ``failed`` looks ``apart`` from one another had failed.

    So what it ends the other tool would have ended, too. None for more values than a plan can say.
    """
    wanted = max(span_of(query), asked or DEFAULT_WINDOW)
    count = max(failed, ceil(failed * apart / wanted))
    return count if count <= MOST_IN_A_ROW else None


def window(query: str, asked: timedelta | None = None) -> dict[str, Any]:
    """The key ``window`` of a check with ``query``: as long as its longest range, and as ``asked``."""
    wanted = max(span_of(query), asked or DEFAULT_WINDOW)
    return {} if wanted == DEFAULT_WINDOW else {"window": duration(wanted)}

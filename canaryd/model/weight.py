"""
A weight as a plan writes it: a number of percent, in which fractions are allowed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from canaryd.model.traffic import EVERYTHING, Split

BETWEEN = "a weight between 0 and 100, both excluded: 0 is where a run starts, 100 is its promotion"


def parse_weight(value: object) -> object:
    """The split that ``value`` means. Raises ValueError for what is no weight on the way."""
    if isinstance(value, Split):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("a number of percent between 0 and 100, both excluded")  # noqa: TRY004  # pydantic wants ValueError
    try:
        split = Split.percent(Decimal(str(value)))
    except (ValueError, ArithmeticError):
        raise ValueError("a number of percent between 0 and 100, both excluded, in multiples of 0.001") from None
    if split == EVERYTHING:
        raise ValueError(BETWEEN)
    return split


def _render_weight(split: Split) -> int | float:
    return split.canary // 1000 if split.canary % 1000 == 0 else split.canary / 1000


Weight = Annotated[
    Split,
    BeforeValidator(parse_weight),
    PlainSerializer(_render_weight),
    WithJsonSchema({"type": "number", "minimum": 0, "exclusiveMaximum": 100}),
]

"""
What the parts of a plan are made of: the base of its models, and its shares, durations and names.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from canaryd.model.duration import Duration


class Part(BaseModel):
    """A part of the plan: frozen, camelCase in YAML, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        strict=False,
        use_attribute_docstrings=True,
    )


def _parse_share(value: object) -> float:
    if isinstance(value, str) and value.rstrip().endswith("%"):
        try:
            return float(Decimal(value.rstrip()[:-1].strip()) / 100)
        except ArithmeticError:
            pass
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    raise ValueError('a share with a percent sign, such as "99.5%"')


def _in_unit(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError('a share between "0%" and "100%"')
    return value


def _render_share(share: float) -> str:
    return f"{Decimal(repr(share)) * 100:f}%"


_SHARE = {"type": "string", "pattern": r"^\d+(\.\d+)?%$"}
Share = Annotated[
    float,
    BeforeValidator(_parse_share),
    AfterValidator(_in_unit),
    PlainSerializer(_render_share, return_type=str),
    WithJsonSchema(_SHARE),
]


class Amount(float):
    """A number in the unit of what is measured, where most checks have a share of requests."""


Quantity = Annotated[
    float,
    PlainValidator(lambda value: value if isinstance(value, Amount) else _in_unit(_parse_share(value))),
    PlainSerializer(lambda value: float(value) if isinstance(value, Amount) else _render_share(value)),
    WithJsonSchema({"anyOf": [_SHARE, {"type": "number"}]}),
]
"""A share, or an :class:`Amount`: which of the two is for the check to say."""


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("a duration longer than nothing")
    return duration


PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Name = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


def no_url(value: object, wanted: str) -> object:
    """``value``, which is a name: where a thing is stands in canaryd's settings, never in a plan."""
    if isinstance(value, str) and ("/" in value or ":" in value):
        raise ValueError(f"{wanted}, never a URL")
    return value


Text = Annotated[str, Field(strict=True, min_length=1)]

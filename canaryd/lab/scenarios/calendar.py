"""
When a scenario's plan lets nothing rise: seconds since canaryd was started, as the dates and cron lines of a plan.

A plan knows days and minutes of a real calendar, a scenario knows none. So the player writes the plan's windows and
blackouts when it starts canaryd, and the product is given nothing but a plan. A blackout's moments are exact to the
second; a window opens at a full minute, as cron has it, so that one may be closed for up to a minute longer than said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, model_validator

from canaryd.model.duration import Duration, render_seconds
from canaryd.model.part import Part, PositiveDuration, Text

Json = dict[str, Any]
MINUTE = 60
OPEN_AGAIN = "1h"
"""How long a window is open that opens for the second time: longer than any telling."""


class Shut(Part):
    """A blackout of the plan."""

    from_: Annotated[Duration, Field(alias="from")]
    """When it begins, since canaryd was started."""
    to: PositiveDuration
    """When it ends, since then; later than ``from``."""
    reason: Text
    """Why."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to <= self.from_:
            raise ValueError("to: a duration longer than from")
        return self


class Window(Part):
    """A change window of the plan that is open when canaryd begins, and its next one."""

    closes: PositiveDuration
    """When it closes, since canaryd was started."""
    opens: PositiveDuration
    """When the next one opens: at the first full minute from then on, as a cron line can say it."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.opens <= self.closes:
            raise ValueError("opens: a duration longer than closes")
        return self


class Calendar(Part):
    """When nothing may start or rise; written into the plan as its ``windows`` and ``blackouts``."""

    window: Window | None = None
    """A window that closes, and opens again."""
    blackouts: tuple[Shut, ...] = ()
    """Blackouts."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing may rise from ``began`` on until before ``ended`` (Unix seconds); ``what`` says it in words."""

    what: str
    began: float
    ended: float


def closed_times(calendar: Calendar, started: int) -> tuple[Closed, ...]:
    """When nothing may rise, where canaryd was started at ``started`` (Unix seconds)."""
    found = [
        Closed(f"blackout: {one.reason}", started + one.from_.total_seconds(), started + one.to.total_seconds())
        for one in calendar.blackouts
    ]
    if window := calendar.window:
        closes = started + window.closes.total_seconds()
        found.append(Closed("outside of the change window", closes, _opens(window, started)))
    return tuple(found)


def plan_on_calendar(text: str, calendar: Calendar, started: int) -> str:
    """The plan ``text`` with what the calendar says, where canaryd is started at ``started`` (Unix seconds)."""
    if calendar == Calendar():
        return text
    plan = yaml.safe_load(text)
    plan["spec"] |= _keys(calendar, started)
    return yaml.safe_dump(plan, sort_keys=False)


def _keys(calendar: Calendar, started: int) -> Json:
    keys: Json = {}
    if calendar.blackouts:
        keys["blackouts"] = [
            {"from": _moment(started, one.from_), "to": _moment(started, one.to), "reason": one.reason}
            for one in calendar.blackouts
        ]
    if window := calendar.window:
        minute = started - started % MINUTE
        keys["windows"] = [
            {"opens": _cron(minute), "for": render_seconds(started + window.closes.total_seconds() - minute)},
            {"opens": _cron(_opens(window, started)), "for": OPEN_AGAIN},
        ]
    return keys


def _opens(window: Window, started: int) -> int:
    """The first full minute from when it says on."""
    return -MINUTE * int(-(started + window.opens.total_seconds()) // MINUTE)


def _moment(started: int, after: timedelta) -> str:
    return f"{datetime.fromtimestamp(started, UTC) + after:%Y-%m-%dT%H:%M:%S}"


def _cron(at: int) -> str:
    """A cron line, in UTC, that comes to pass at that minute and not again for a day."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.minute} {moment.hour} * * *"

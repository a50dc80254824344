"""
When a plan may move: windows that open as a cron line says, and blackouts that close them.

APScheduler's cron trigger computes on the clock on the wall, as if that were UTC; what the wall shows becomes a moment
here, by one rule for all time zones: an opening that the clock jumps over in spring comes as much later, and one that
it shows twice in autumn is the first of the two. How long a window is open is time that passes, and no wall's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from math import inf
from typing import Annotated, Self
from zoneinfo import ZoneInfo, available_timezones

from apscheduler.triggers.cron import CronTrigger
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from canaryd.model.duration import render_duration
from canaryd.model.part import Part, PositiveDuration, Text

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST = timedelta(days=366)
"""How long a window can be open: what is open for longer than a year is no window."""
CYCLE = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2064, 1, 1, tzinfo=UTC))
"""Forty years: each date of a leap year meets each day of the week in them. What opens never in those opens never."""
JUMP = timedelta(hours=3)
"""More than any clock is put forward at once."""
TRIES = 1000
"""Windows and blackouts that are followed to find when everything is open again."""

EXAMPLE = '"0 9 * * mon-thu"'
_MOMENT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?$"


def _zone(value: object) -> object:
    if isinstance(value, str) and _known(value):
        return value
    close = get_close_matches(value, available_timezones(), n=1) if isinstance(value, str) else []
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"a time zone of the IANA database, such as Europe/Berlin{hint}")


@lru_cache(maxsize=256)
def _known(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _cron(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"a cron line, such as {EXAMPLE}")  # noqa: TRY004  # pydantic wants ValueError
    line = " ".join(value.lower().split())
    if _trigger(line).get_next_fire_time(None, CYCLE[0]) is None:
        raise ValueError("a cron line that comes to pass; this one opens never")
    return line


@lru_cache(maxsize=1024)
def _trigger(line: str) -> CronTrigger:
    """The trigger on the wall's time. Raises ValueError where ``line`` is no cron line."""
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"a cron line of five fields (minute, hour, day, month, day of week), such as {EXAMPLE}")
    minute, hour, day, month, weekday = fields
    named = {"minute": minute, "hour": hour, "day": day, "month": month, "day_of_week": _weekdays(weekday)}
    for name, field in named.items():
        try:
            CronTrigger(**{name: field}, timezone=UTC)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"a cron line, such as {EXAMPLE}; not {field!r} for the {name.replace('_', ' ')}"
            ) from error
    return CronTrigger(**named, second=0, timezone=UTC, end_date=CYCLE[1])


def _weekdays(field: str) -> str:
    """
    The days by name, one by one; ``fri-mon`` goes over the week's end.

    By name only: 0 is Sunday to cron and Monday to APScheduler, and a window that is open on the wrong day is found out
    on that day.
    """
    if field == "*":
        return field
    days: list[str] = []
    for part in field.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or bool(dash) != bool(last):
            raise ValueError(f"days of the week by name, such as mon-thu or sat,sun; not {field!r}")
        begin, count = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7
        days += [DAYS[(begin + step) % 7] for step in range(count + 1)]
    return ",".join(dict.fromkeys(days))


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise ValueError("a date or a time without an offset: timeZone says whose time it is")
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    try:
        if not isinstance(value, str) or not re.fullmatch(_MOMENT, value):
            raise ValueError  # noqa: TRY301  # one sentence for both
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a date or a time, such as 2026-12-20 or 2026-12-20T18:00") from None
    return value.replace(" ", "T")


Zone = Annotated[str, BeforeValidator(_zone)]
Moment = Annotated[str, BeforeValidator(_moment), WithJsonSchema({"type": "string", "pattern": _MOMENT})]


class ChangeWindow(Part):
    """A time in which runs may start and rise."""

    opens: Annotated[str, BeforeValidator(_cron)]
    """When it opens: minute, hour, day, month, day of week (by name), as in cron; where day and day of week are both
    given, both must fit."""
    for_: Annotated[PositiveDuration, Field(alias="for")]
    """How long it is open."""
    time_zone: Zone = "UTC"
    """Whose clock that is, by its name in the IANA database."""

    @model_validator(mode="after")
    def _not_for_ever(self) -> Self:
        if self.for_ > LONGEST:
            raise ValueError(f"for: at most {render_duration(LONGEST)}, got {render_duration(self.for_)}")
        return self

    def opening(self, now: float) -> float:
        """When it opened, if it is open at ``now`` (Unix seconds), else when it opens next."""
        return _first_after(self.opens, self.time_zone, now - self.for_.total_seconds())


class Blackout(Part):
    """A time in which nothing starts and nothing rises, whatever the windows say."""

    from_: Annotated[Moment, Field(alias="from")]
    """The first day, or the moment at which it begins."""
    to: Moment
    """The last day, which is part of it; or the moment at which it ends."""
    reason: Text
    """Why; who waits is told."""
    time_zone: Zone = "UTC"
    """Whose days they are, by its name in the IANA database."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.ends <= self.begins:
            raise ValueError(f"to: a day or a moment after from ({self.from_}), got {self.to}")
        return self

    @property
    def begins(self) -> float:
        """Unix seconds."""
        return datetime.fromisoformat(self.from_).replace(tzinfo=ZoneInfo(self.time_zone)).timestamp()

    @property
    def ends(self) -> float:
        """Unix seconds; no longer part of it."""
        last = datetime.fromisoformat(self.to) + timedelta(days="T" not in self.to)
        return last.replace(tzinfo=ZoneInfo(self.time_zone), fold=1).timestamp()


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing may move: ``why``, and until when (Unix seconds; None: for as long as can be seen)."""

    why: str
    until: float | None


def closed(windows: Iterable[ChangeWindow], blackouts: Iterable[Blackout], now: float) -> Closed | None:
    """Why nothing may start or rise at ``now``; None where it may. No windows at all: any time is one."""
    windows, blackouts = tuple(windows), tuple(blackouts)
    at, zone, first = now, "UTC", ""
    for _ in range(TRIES):
        if blackout := next((one for one in blackouts if one.begins <= at < one.ends), None):
            first = first or f"in a blackout ({blackout.reason})"
            at, zone = blackout.ends, blackout.time_zone
        elif windows and (opening := min((one.opening(at), one.time_zone) for one in windows))[0] > at:
            first = first or "outside of the change window"
            at, zone = opening
        else:
            return Closed(f"{first} until {shown(at, zone, now)}", at) if first else None
        if at == inf:
            break
    return Closed(f"{first}, and no window opens again", None)


def shown(at: float, zone: str, now: float) -> str:
    """The moment ``at`` as the clocks of ``zone`` show it: the day of the week alone, where it comes within a week."""
    moment = datetime.fromtimestamp(at, ZoneInfo(zone))
    days = (moment.date() - datetime.fromtimestamp(now, ZoneInfo(zone)).date()).days
    day = "" if days == 0 else f"{moment:%a} " if 0 < days < 7 else f"{moment:%a} {moment.day} {moment:%b %Y} "
    return f"{day}{moment:%H:%M} {zone}"


def left(seconds: float) -> str:
    """How long that is, without figures that are news each minute: what waits for days must not be written anew."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} hours"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _first_after(line: str, zone_name: str, after: float) -> float:
    """The first opening later than ``after`` (Unix seconds); infinity where the forty years have none left."""
    zone, trigger = ZoneInfo(zone_name), _trigger(line)
    moment = datetime.fromtimestamp(after, UTC)
    # A clock that was just put forward jumped over openings which come that much later, so that they are still ahead.
    offset = min(_offset(moment, zone), _offset(moment - JUMP, zone))
    wall, best = moment + offset, inf
    while (wall := trigger.get_next_fire_time(None, wall)) is not None:
        shown_there = wall.replace(tzinfo=zone)
        at: float = shown_there.timestamp()
        if at > after:
            best = min(best, at)
            jumped_over = datetime.fromtimestamp(at, zone).replace(tzinfo=UTC) != wall
            if not jumped_over:
                return best
        wall += timedelta(minutes=1)
    return best


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)

"""Seconds of a scenario on a plan's calendar: what the plan is given closes and opens when the scenario says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from canaryd.lab.scenarios.calendar import closed_times, plan_on_calendar
from canaryd.lab.scenarios.format import Script, read_scenario
from canaryd.model.calendar import closed
from canaryd.model.plan import read_plan


def script(calendar: str) -> Script:
    return read_scenario(f"name: one\nabout: A.\ncalendar: {calendar}\nexpect: {{ending: promoted}}\n")


def at(hour: int, minute: int, second: int, day: int = 26) -> int:
    return int(datetime(2026, 11, day, hour, minute, second, tzinfo=UTC).timestamp())


def barred(script: Script, started: int, moment: float) -> bool:
    """Whether the plan that canaryd is given lets nothing rise at ``moment``."""
    spec = read_plan(plan_on_calendar(script.plan_text, script.scenario.calendar, started), "plan").spec
    return closed(spec.windows or (), spec.blackouts or (), moment) is not None


TWICE = "{blackouts: [{from: 9s, to: 45s, reason: a sale}, {from: 90s, to: 2m, reason: another}]}"
WINDOW = "{window: {closes: 9s, opens: 40s}}"


@pytest.mark.parametrize("started", [at(10, 53, 11), at(10, 54, 0), at(23, 59, 55), at(23, 59, 40, day=30)])
@pytest.mark.parametrize("calendar", [TWICE, WINDOW])
def test_what_the_plan_closes_is_what_the_comparison_takes_for_closed(calendar: str, started: int) -> None:
    """The comparison computes it for itself: over midnight and over the end of a month, to the second."""
    one = script(calendar)
    times = closed_times(one.scenario.calendar, started)
    assert len(times) == (2 if calendar == TWICE else 1)
    for second in range(180):
        moment = started + second
        expected = any(each.began <= moment < each.ended for each in times)
        assert barred(one, started, moment) is expected, f"{second} s after the start"


def test_a_window_opens_at_a_full_minute_as_cron_can_say_it() -> None:
    one = script(WINDOW)
    assert [(each.began, each.ended) for each in closed_times(one.scenario.calendar, at(10, 53, 11))] == [
        (at(10, 53, 20), at(10, 54, 0))
    ]
    [later] = closed_times(one.scenario.calendar, at(10, 53, 25))
    assert later.ended == at(10, 55, 0)


def test_a_scenario_without_a_calendar_leaves_the_plan_as_it_is_written() -> None:
    one = script("{}")
    assert plan_on_calendar(one.plan_text, one.scenario.calendar, at(10, 0, 0)) is one.plan_text
    assert closed_times(one.scenario.calendar, at(10, 0, 0)) == ()

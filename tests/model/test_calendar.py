"""Windows and blackouts: when they open, over every change of a clock, and what is refused at the door."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.model.calendar import Blackout, ChangeWindow, _trigger, closed, left
from canaryd.model.plan import Plan, read_plan
from canaryd.model.policy import read_policy
from canaryd.model.problem import Refused
from tests.stage import plan

BERLIN = "Europe/Berlin"
OFFICE = {"opens": "0 9 * * mon-thu", "for": "8h", "timeZone": BERLIN}


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def window(opens: str = "0 9 * * mon-thu", lasting: str = "8h", zone: str = BERLIN) -> ChangeWindow:
    return ChangeWindow.model_validate({"opens": opens, "for": lasting, "timeZone": zone})


def blackout(begin: Any, end: Any, zone: str = BERLIN) -> Blackout:
    return Blackout.model_validate({"from": begin, "to": end, "reason": "the year's end", "timeZone": zone})


def why(of: list[ChangeWindow], blackouts: list[Blackout], now: float) -> str:
    found = closed(of, blackouts, now)
    return found.why if found else ""


# ---------------------------------------------------------------------------------------------------------------------
# Open or not


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-11-26T09:00", True),  # a Thursday
        ("2026-11-26T16:59:59", True),
        ("2026-11-26T17:00", False),
        ("2026-11-26T08:59:59", False),
        ("2026-11-27T12:00", False),
        ("2026-11-30T12:00", True),
    ],
)
def test_a_window_is_open_from_its_opening_for_as_long_as_it_says(now: str, is_open: bool) -> None:
    assert (closed([window()], [], at(now)) is None) is is_open


def test_no_windows_are_no_bar() -> None:
    """Who says nothing may release at any time, as ever."""
    assert closed([], [], 0.0) is None


def test_who_waits_is_told_until_when_in_the_windows_own_time() -> None:
    """The day alone within a week, the date beyond it; today the time alone."""
    friday = at("2026-11-27T18:00")
    assert why([window()], [], friday) == "outside of the change window until Mon 09:00 Europe/Berlin"
    assert why([window()], [], at("2026-11-30T01:00")) == "outside of the change window until 09:00 Europe/Berlin"
    yearly = window("0 9 1 mar *")
    assert why([yearly], [], friday) == "outside of the change window until Mon 1 Mar 2027 09:00 Europe/Berlin"


def test_any_of_several_windows_will_do_and_the_next_is_told() -> None:
    """A team in two cities."""
    both = [window(), window("0 9 * * mon-fri", "4h", "America/New_York")]
    assert closed(both, [], at("2026-11-27T17:30")) is None
    assert why(both, [], at("2026-11-27T20:00")) == "outside of the change window until Mon 09:00 Europe/Berlin"
    assert why(both, [], at("2026-11-26T08:00")).endswith("until 09:00 Europe/Berlin")


def test_a_window_goes_over_midnight() -> None:
    """Saturday night is over on Sunday morning."""
    night = window("0 22 * * sat", "6h")
    assert closed([night], [], at("2026-11-29T03:59")) is None
    assert closed([night], [], at("2026-11-29T04:00")) is not None


def test_a_range_of_days_goes_over_the_weeks_end() -> None:
    """`fri-mon` is four days."""
    days = window("0 0 * * fri-mon", "24h")
    opened = [closed([days], [], at(f"2026-11-{day}T12:00")) is None for day in range(23, 30)]
    assert opened == [True, False, False, False, True, True, True]  # the 23rd was a Monday


def test_a_blackout_goes_before_every_window_and_its_last_day_is_part_of_it() -> None:
    """From the first moment of the first day to the last of the last, in its own time zone."""
    days = blackout("2026-12-20", "2027-01-02")
    assert closed([window()], [days], at("2026-12-17T12:00")) is None
    assert closed([], [days], at("2026-12-19T23:59:59")) is None
    assert closed([], [days], at("2026-12-20T00:00")) is not None
    assert closed([], [days], at("2027-01-02T23:59:59")) is not None
    assert closed([], [days], at("2027-01-03T00:00")) is None


def test_who_waits_in_a_blackout_is_told_when_a_window_opens_after_it() -> None:
    """Its end is of no use to anybody at midnight on a Sunday."""
    days = blackout("2026-12-20", "2027-01-02")
    said = why([window()], [days], at("2026-12-22T12:00"))
    assert said == "in a blackout (the year's end) until Mon 4 Jan 2027 09:00 Europe/Berlin"
    later = blackout("2027-01-04", "2027-01-04T12:00")
    assert why([window()], [days, later], at("2026-12-22T12:00")).endswith("until Mon 4 Jan 2027 12:00 Europe/Berlin")


def test_a_window_that_only_blackouts_ever_meet_opens_when_they_let_it() -> None:
    """Thursday's window closed by a blackout is Monday's."""
    thursday = blackout("2026-11-26", "2026-11-26")
    assert why([window()], [thursday], at("2026-11-25T18:00")) == (
        "outside of the change window until Mon 09:00 Europe/Berlin"
    )


def test_how_long_is_left_is_no_news_each_minute() -> None:
    """A run that waits for days is saved when its sentence changes."""
    assert left(62 * 3600) == "3 days"
    assert left(5 * 3600 + 123) == "5 hours"
    assert left(90) == "2 minutes"
    assert left(1) == "1 minute"
    assert len({left(seconds) for seconds in range(0, 14 * 86_400, 5)}) < 200


# ---------------------------------------------------------------------------------------------------------------------
# Clocks that are put forward and back


def test_an_opening_that_the_clock_jumps_over_comes_as_much_later() -> None:
    """On 29 March 2026 there is no 02:30 in Berlin: the window opens at 03:30, once, and the next night at 02:30."""
    night = window("30 2 * * *", "1h")
    before = at("2026-03-29T01:59")
    assert night.opening(before) == at("2026-03-29T03:30")
    assert closed([night], [], at("2026-03-29T03:29")) is not None
    assert closed([night], [], at("2026-03-29T03:30")) is None
    assert night.opening(at("2026-03-29T04:31")) == at("2026-03-30T02:30")


def test_an_opening_that_comes_twice_is_the_first_of_the_two() -> None:
    """On 25 October 2026 the clocks in Berlin show 02:30 twice; a window does not open twice in a night."""
    night = window("30 2 * * *", "30m")
    assert closed([night], [], at("2026-10-25T02:45")) is None
    assert closed([night], [], at("2026-10-25T02:45", fold=1)) is not None
    assert night.opening(at("2026-10-25T02:45", fold=1)) == at("2026-10-26T02:30")


def test_a_window_over_a_change_of_the_clock_lasts_as_long_as_it_says() -> None:
    """Eight hours are eight hours: in spring they end at seven on the clock on the wall."""
    night = window("0 22 * * sat", "8h")
    assert closed([night], [], at("2026-03-29T06:59")) is None
    assert closed([night], [], at("2026-03-29T07:00")) is not None


LINES = [
    "0 9 * * mon-thu",
    "30 2 * * *",
    "*/30 1-3 * * *",
    "15,45 2,3 * * sun",
    "0 0 1 * *",
    "0 2 29 mar *",
    "59 23 * * *",
    "0 * * * sat-sun",
]
ZONES = [BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "UTC", "Africa/Cairo"]
YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def openings(line: str, zone: str, begin: float, days: int) -> list[float]:
    """Every opening near ``begin``, found by looking at each minute of the wall's clock."""
    trigger, here = _trigger(line), ZoneInfo(zone)
    wall = datetime.fromtimestamp(begin, here).replace(tzinfo=UTC, second=0, microsecond=0) - timedelta(days=1)
    found = []
    for _ in range((days + 2) * 1440):
        if trigger.get_next_fire_time(None, wall) == wall:
            found.append(wall.replace(tzinfo=here).timestamp())
        wall += timedelta(minutes=1)
    return sorted(found)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    line=st.sampled_from(LINES),
    zone=st.sampled_from(ZONES),
    hours=st.one_of(st.integers(0, 365 * 24), st.sampled_from([2063, 2064, 7128, 7129, 2230, 2231, 7295])),
    minutes=st.integers(0, 180),
)
def test_a_window_opens_when_its_clock_says_so(line: str, zone: str, hours: int, minutes: int) -> None:
    """Against every minute of the wall's clock, nights in which clocks change among them."""
    now = float(YEAR + hours * 3600 + minutes * 60)
    all_of_them = openings(line, zone, now, days=2)
    expected = next((one for one in all_of_them if one > now - 1800), None)
    if expected is not None:
        assert window(line, "30m", zone).opening(now) == expected


def test_a_window_costs_a_tick_next_to_nothing() -> None:
    """It is asked in each tick of each run: one that opens each minute for a year, too."""
    often = window("* * * * *", "366d")
    often.opening(float(YEAR))
    began = time.perf_counter()
    for step in range(100):
        often.opening(float(YEAR + step))
    assert (time.perf_counter() - began) / 100 < 0.005


# ---------------------------------------------------------------------------------------------------------------------
# At the door


def refused(**spec: Any) -> str:
    content = plan(5, 50).model_dump(mode="json", by_alias=True, exclude_unset=True)
    content["spec"] |= spec
    with pytest.raises(Refused) as caught:
        read_plan(yaml.safe_dump(content))
    return str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"opens": "0 0 31 feb *"}, "spec.windows.0.opens: a cron line that comes to pass; this one opens never"),
        ({"opens": "0 9 * *"}, "five fields (minute, hour, day, month, day of week)"),
        ({"opens": "@daily"}, "five fields"),
        ({"opens": "0 25 * * *"}, "not '25' for the hour"),
        ({"opens": "0 9 * * 1-5"}, "days of the week by name, such as mon-thu or sat,sun; not '1-5'"),
        ({"opens": "0 9 * * monday"}, "not 'monday'"),
        ({"opens": "0 9 * * mon-"}, "not 'mon-'"),
        ({"opens": "x 9 * * *"}, "not 'x' for the minute"),
        ({"opens": 9}, "a cron line, such as"),
        ({"for": "0s"}, "a duration longer than nothing"),
        ({"for": "8"}, "a duration with a unit"),
        ({"for": "367d"}, "for: at most 366d"),
        ({"timeZone": "Europe/Berln"}, "did you mean Europe/Berlin?"),
        ({"timeZone": "Europe"}, "a time zone of the IANA database"),
        ({"timeZone": "/etc/passwd"}, "a time zone of the IANA database"),
        ({"timeZone": "../zone"}, "a time zone of the IANA database"),
        ({"timezone": BERLIN}, "did you mean timeZone"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_what_was_expected(changed: dict[str, Any], said: str) -> None:
    assert said in refused(windows=[OFFICE | changed])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"to": "2026-12-19"}, "to: a day or a moment after from (2026-12-20), got 2026-12-19"),
        ({"from": "2026-13-01"}, "a date or a time, such as 2026-12-20"),
        ({"from": "next week"}, "a date or a time"),
        ({"from": "2026-12-20T18:00+01:00"}, "a date or a time"),
        ({"reason": ""}, "spec.blackouts.0.reason"),
        ({"timeZone": "Mars"}, "a time zone of the IANA database"),
    ],
)
def test_a_blackout_that_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    assert said in refused(blackouts=[{"from": "2026-12-20", "to": "2027-01-02", "reason": "x"} | changed])


def test_dates_are_read_as_yaml_has_them() -> None:
    """YAML makes dates of them unless they are quoted; the API server's JSON does not."""
    text = """
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {name: reviews}
spec:
  target: {virtualService: reviews, host: reviews, canary: {subset: v3}}
  steps: [{weight: 50}]
  windows: [{opens: "0 9 * * MON-thu", for: 8h, timeZone: Europe/Berlin}]
  blackouts:
    - {from: 2026-12-20, to: 2027-01-02, reason: a}
    - {from: "2026-12-20", to: "2026-12-20 18:00", reason: b}
    - {from: 2026-12-20 10:00:00, to: 2026-12-20T18:00:00, reason: c}
"""
    read = read_plan(text)
    assert [(one.from_, one.to) for one in read.spec.blackouts] == [
        ("2026-12-20", "2027-01-02"),
        ("2026-12-20", "2026-12-20T18:00"),
        ("2026-12-20T10:00:00", "2026-12-20T18:00:00"),
    ]
    assert Plan.model_validate(read.model_dump(mode="json", by_alias=True)) == read


def test_a_policy_says_windows_for_many_plans_and_a_plan_may_say_its_own() -> None:
    """They lie under plans like everything else in a policy; what nobody may overrule is a freeze."""
    policy = read_policy(
        "{apiVersion: canaryd.io/v1alpha1, kind: CanaryPolicy, metadata: {name: default}, "
        'spec: {windows: [{opens: "0 9 * * mon-thu", for: 8h}]}}'
    )
    text = (
        "{metadata: {name: reviews}, spec: {target: {virtualService: reviews, host: reviews, canary: {subset: v3}}, "
        "steps: [{weight: 50}]}}"
    )
    policies = {"default": policy.content}
    assert [one.opens for one in read_plan(text, "plan", policies).spec.windows] == ["0 9 * * mon-thu"]
    own = text.replace("steps:", "windows: [], steps:")
    assert read_plan(own, "plan", policies).spec.windows == ()


def test_time_zones_are_known_where_the_system_has_none() -> None:
    """A slim image: Python's own package of them is installed with canaryd."""
    made = "ChangeWindow(opens='0 9 * * *', for_='1h', time_zone='Europe/Berlin')"
    code = f"from canaryd.model.calendar import ChangeWindow; {made}"
    environment = {**os.environ, "PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr

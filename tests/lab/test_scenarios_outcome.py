"""The comparison: each expectation is held against what was observed, and each can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.lab.scenarios.calendar import Closed
from canaryd.lab.scenarios.format import Script, read_scenario
from canaryd.lab.scenarios.outcome import (
    Facts,
    Happened,
    Told,
    Weighed,
    as_expected,
    changes,
    compare,
    timeline,
    wanted,
)

ROLLED_BACK = Facts(
    exit_code=10,
    ending="rolled back",
    reason="errors: canary 2 % of 400 requests",
    began=1000.0,
    seconds=40.0,
    weights=(
        Weighed(1000.0, 0, "scenario"),
        Weighed(1001.0, 5, "canaryd"),
        Weighed(1020.0, 25, "canaryd"),
        Weighed(1033.0, 0, "canaryd"),
    ),
    told=(Told(1001.0, "run.started", "v1 -> v3"), Told(1033.0, "run.rolling_back", "errors")),
    happened=(Happened("crash", "v3 fails", 1030.0, 1031.0),),
    entry={"timeout": "3s"},
    answered=9000,
    failed=30,
    canary=900,
    canary_failed=18,
    harmed=20,
)  # fmt: skip


def script(expect: str, timeline: str = "[{at: 3, name: crash, drain: {version: v3}}]") -> Script:
    return read_scenario(f"name: one\nabout: A sentence.\ntimeline: {timeline}\nexpect: {{{expect}}}\n")


def wrong(expect: str, **otherwise: Any) -> list[str]:
    """The lines of the comparison that are not good."""
    lines = compare(script(expect), replace(ROLLED_BACK, **otherwise))
    bad = [line.what for line in lines if not line.good]
    assert as_expected(lines) is not bool(bad)
    return bad


@pytest.mark.parametrize(
    "expect",
    [
        "ending: rolled back",
        "ending: [promoted, rolled back]",
        "ending: rolled back, before: 50, atLeast: 25",
        "ending: rolled back, within: {limit: 3s, of: crash}",
        "ending: rolled back, within: {limit: 2s, of: crash, from: end}",
        'ending: rolled back, reason: ["errors: canary", requests]',
        "ending: rolled back, told: [run.started, run.rolling_back], neverTold: run.drifted",
        'ending: rolled back, said: ["v1 -> v3", err]',
        "ending: rolled back, harmed: 20, failed: 30, entry: {timeout: 3s}, weight: 0",
    ],
)
def test_what_happened_as_expected_is_good(expect: str) -> None:
    assert wrong(expect) == []


@pytest.mark.parametrize(
    ("expect", "what"),
    [
        ("ending: promoted", ["ending", "exit code"]),
        ("ending: rolled back, before: 25", ["largest weight"]),
        ("ending: rolled back, atLeast: 50", ["largest weight"]),
        ("ending: rolled back, within: {limit: 2s, of: crash}", ["canary without traffic after crash"]),
        ("ending: rolled back, within: {limit: 1s, of: crash, from: end}",
         ["canary without traffic after the end of crash"]),
        ("ending: rolled back, reason: latency", ["reason"]),
        ("ending: rolled back, told: run.drifted", ["told"]),
        ("ending: rolled back, neverTold: run.started", ["never told"]),
        ("ending: rolled back, said: [errors, v1 -> v2]", ["said"]),
        ("ending: rolled back, harmed: 19", ["requests harmed at the canary"]),
        ("ending: rolled back, failed: 29", ["requests failed"]),
        ("ending: rolled back, entry: {timeout: 4s}", ["timeout at the end"]),
        ("ending: rolled back, weight: 5", ["weight at the end"]),
    ],
)  # fmt: skip
def test_each_expectation_can_fail_alone(expect: str, what: list[str]) -> None:
    """An expectation that nothing can violate would be decoration."""
    assert wrong(expect) == what


def test_an_exit_code_that_contradicts_the_ending_is_seen() -> None:
    """A pipeline reads the code, a person the word."""
    assert wrong("ending: rolled back", exit_code=1) == ["exit code"]


def test_a_rollback_that_left_the_canary_its_weight_is_seen() -> None:
    """The word alone is not a rollback: the mesh must show it."""
    assert wrong("ending: rolled back", weights=ROLLED_BACK.weights[:-1]) == ["weight at the end"]


def test_a_refusal_changes_nothing() -> None:
    refused = {"exit_code": 13, "ending": "refused", "told": ()}
    there = (Weighed(1000.0, 50, "scenario"),)
    assert wrong("ending: refused", **refused, weights=there) == []
    moved = (*there, Weighed(1001.0, 0, "canaryd"))
    assert wrong("ending: refused", **refused, weights=moved) == ["weight at the end"]


def test_a_rise_after_a_failure_is_seen_without_being_asked_for() -> None:
    """The latch is a promise of every run."""
    again = (*ROLLED_BACK.weights, Weighed(1034.0, 5, "canaryd"), Weighed(1035.0, 0, "canaryd"))
    assert wrong("ending: rolled back", weights=again) == ["after a failure"]
    hand = (*ROLLED_BACK.weights, Weighed(1034.0, 5, "scenario"), Weighed(1035.0, 0, "canaryd"))
    assert wrong("ending: rolled back", weights=hand) == []


def test_a_weight_that_the_plan_does_not_have_is_seen_without_being_asked_for() -> None:
    odd = (*ROLLED_BACK.weights[:2], Weighed(1020.0, 26, "canaryd"), ROLLED_BACK.weights[-1])
    assert wrong("ending: rolled back", weights=odd) == ["weights written by canaryd"]


def test_a_foreign_weight_above_the_plan_must_not_stand() -> None:
    """Toward the canary somebody else's edit is not respected; toward stable it is."""
    up = Weighed(1010.0, 50, "scenario")
    after = (Weighed(1012.0, 5, "canaryd"), ROLLED_BACK.weights[-1])
    assert wrong("ending: rolled back", weights=(*ROLLED_BACK.weights[:2], up, *after)) == []
    late = (replace(after[0], at=1013.5), after[1])
    assert wrong("ending: rolled back", weights=(*ROLLED_BACK.weights[:2], up, *late)) == ["a foreign 50 %"]
    assert wrong("ending: rolled back", weights=(*ROLLED_BACK.weights[:2], up)) == [
        "weight at the end",
        "a foreign 50 %",
    ]
    down = Weighed(1010.0, 1, "scenario")
    assert wrong("ending: rolled back", weights=(*ROLLED_BACK.weights[:2], down, ROLLED_BACK.weights[-1])) == []


@pytest.mark.parametrize(
    ("began", "ended", "what"),
    [
        (1022.0, 1035.0, []),  # nothing but a rollback in it
        (1018.5, 1035.0, []),  # the write was under way
        (1017.0, 1035.0, ["blackout: a sale"]),
        (1017.0, 1020.0, []),  # it rises as that ends
        (1041.0, 1050.0, ["blackout: a sale"]),  # the run had ended before
    ],
)
def test_a_rise_while_it_is_closed_is_seen_and_so_is_a_closed_time_that_never_came(
    began: float, ended: float, what: list[str]
) -> None:
    assert wrong("ending: rolled back", closed=(Closed("blackout: a sale", began, ended),)) == what


def test_entries_that_did_not_move_together_are_seen() -> None:
    """Asked where the plan names several: one entry at a new weight and the other not yet is two releases."""
    target = "{virtualService: reviews, routes: [a, b], host: reviews, stable: {subset: v1}, canary: {subset: v3}}"
    text = f"name: one\nabout: A.\nplan: {{target: {target}}}\nexpect: {{ending: rolled back}}\n"
    several = read_scenario(text)
    assert as_expected(compare(several, ROLLED_BACK))
    lines = compare(several, replace(ROLLED_BACK, apart=((25.0, 5.0),)))
    assert [(line.what, line.happened) for line in lines if not line.good] == [("entries of the plan", "25 % and 5 %")]


def test_an_event_that_never_came_is_not_as_expected() -> None:
    """Else a run that ended too soon would pass for one that stood the test."""
    assert wrong("ending: rolled back", happened=(), missing=("crash",)) == ["events"]
    late = wrong("ending: rolled back, within: {limit: 9s, of: crash}", happened=(), missing=("crash",))
    assert late == ["canary without traffic after crash", "events"]


def test_a_canary_that_had_nothing_already_was_without_traffic_at_once() -> None:
    gone = (*ROLLED_BACK.weights[:2], Weighed(1029.0, 0, "canaryd"))
    assert wrong("ending: rolled back, within: {limit: 1ms, of: crash}", weights=gone) == []


def test_the_timeline_has_what_was_closed_until_the_run_ended() -> None:
    rows = timeline(replace(ROLLED_BACK, closed=(Closed("a blackout", 1022.0, 1300.0),)))
    assert [row for row in rows if "blackout" in row[2]] == [(22.0, "scenario", "a blackout")]


def test_the_timeline_is_in_order_and_says_who() -> None:
    rows = timeline(ROLLED_BACK)
    assert [seconds for seconds, _, _ in rows] == sorted(seconds for seconds, _, _ in rows)
    assert (30.0, "scenario", "v3 fails") in rows
    assert (31.0, "scenario", "over: v3 fails") in rows
    assert (20.0, "mesh", "the canary's weight is 25 % (was 5 %), written by canaryd") in rows
    assert (33.0, "canaryd", "run.rolling_back: errors") in rows


def test_the_expectation_in_words() -> None:
    expect = script("ending: rolled back, before: 50, within: {limit: 4s, of: crash, from: end}").scenario.expect
    assert wanted(expect) == "rolled back before 50 % within 4 s of the end of crash"


def test_what_is_left_in_an_object_is_seen_without_being_asked_for() -> None:
    assert wrong("ending: rolled back", changed=("default/reviews: labels {}, not {a: b}",)) == [
        "VirtualServices at the end"
    ]
    edited = script("ending: rolled back", "[{at: 3, name: crash, edit: {entry: {timeout: 3s}}}]")
    lines = compare(edited, replace(ROLLED_BACK, changed=("default/reviews: its spec is ...",)))
    assert as_expected(lines)  # a hand of the scenario's own may leave something


def virtual_service(*route: tuple[str, int], **meta: Any) -> dict[str, dict[str, Any]]:
    destinations = [{"destination": {"host": "reviews", "subset": name}, "weight": weight} for name, weight in route]
    return {"default/reviews": {"metadata": meta, "spec": {"hosts": ["reviews"], "http": [{"route": destinations}]}}}


def test_what_counts_as_changed() -> None:
    before = virtual_service(("v1", 100))
    assert changes(before, virtual_service(("v1", 0), ("v3", 100))) == ()  # released
    assert changes(before, virtual_service(("v1", 100), ("v3", 0)))  # inserted and left behind
    assert changes(virtual_service(("v1", 100), ("v3", 0)), virtual_service(("v1", 50), ("v3", 50))) == ()
    assert changes(before, virtual_service(("v1", 100), annotations={"marker.canaryd.io/reviews": "{}"}))
    assert changes(before, virtual_service(("v1", 100), labels={"a": "b"}))
    assert changes(before, {}) == ("default/reviews is gone",)
    assert changes({}, before) == ("default/reviews is new",)
    inserted = virtual_service(("v1", 100))
    inserted["default/reviews"]["spec"]["http"].insert(0, {"match": [{"headers": {}}]})
    assert changes(before, inserted)


def test_requests_of_a_stream_are_counted_by_version() -> None:
    streams = "streams: [{name: internal, headers: {x-user: anna}}]\n"
    expect = "expect: {ending: rolled back, reached: {internal: {v3: 10, v1: 0}}}\n"
    read = read_scenario(f"name: one\nabout: A.\n{streams}{expect}")
    good = replace(ROLLED_BACK, reached={"internal": {"v3": 10}})
    assert as_expected(compare(read, good))
    lines = compare(read, replace(ROLLED_BACK, reached={"internal": {"v1": 9, "v3": 9}}))
    assert [line.what for line in lines if not line.good] == ["requests of internal at v3"]

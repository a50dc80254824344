"""`canaryd judge`: the judge alone on JSON lines, played by somebody else."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from canaryd import judge
from canaryd.cli.judge import LONGEST, judge_lines
from canaryd.judge.alone import Rules, Sample, play
from canaryd.model.cells import Cell, Counts
from canaryd.model.plan import Analysis
from canaryd.model.traffic import Split

BOUNDS = [25.0, 50.0, 100.0, 250.0, 500.0, 1000.0]
HEAD = {"bounds_ms": BOUNDS}
SHAPE = (0.1, 0.4, 0.4, 0.08, 0.015, 0.004, 0.001)
SECONDS = 60
RATE = 6000
"""Requests a cell."""


def side(requests: float, errors: float = 0.0) -> dict[str, Any]:
    return {"requests": requests, "errors": errors, "buckets": [share * (requests - errors) for share in SHAPE]}


def cell(run: str, place: int, weight: float, *, bad: float = 0.001, seconds: float = SECONDS) -> dict[str, Any]:
    """A cell in which 0.1 % of stable's and ``bad`` of the canary's requests fail."""
    canary, rate = weight / 100, RATE * seconds / 60
    return {
        "run": run,
        "t": 1000 + place * seconds,
        "duration_s": seconds,
        "weight": weight,
        "stable": side(rate * (1 - canary), rate * (1 - canary) * 0.001),
        "canary": side(rate * canary, rate * canary * bad),
    }


def played(run: str, weights: Iterable[float], **how: float) -> list[dict[str, Any]]:
    return [cell(run, place, weight, **how) for place, weight in enumerate(weights)]


HISTORY = [0.0] * 30
HEALTHY = [*HISTORY, *[5.0] * 10, *[50.0] * 8]


def say(*lines: Any) -> bytes:
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def answered(*lines: Any) -> tuple[int, list[dict[str, Any]], str]:
    """(exit code, what came out, what was said of faults)."""
    out, err = io.StringIO(), io.StringIO()
    code = judge_lines(io.BytesIO(say(*lines)), out, err)
    return code, [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()], err.getvalue()


def decisions(*lines: Any) -> list[str]:
    return [line["decision"] for line in answered(*lines)[1]]


def test_a_healthy_canary_is_promoted_by_proof_of_the_present_weight() -> None:
    """The whole of the main path: history, a step, and promotion after three minutes of proof at 50 %."""
    code, lines, err = answered(HEAD, *played("a", HEALTHY))
    assert (code, err) == (0, "")
    assert [line["decision"] for line in lines] == ["continue"] * 43 + ["promote"] * 5
    last = lines[-1]
    assert last["run"] == "a"
    assert last["t"] == 1000 + 47 * SECONDS
    assert last["proof"] >= last["proof_bound"] == pytest.approx(20)
    assert last["harm"] < last["hold_bound"] == 3 < last["harm_bound"] == pytest.approx(100)
    assert [check["check"] for check in last["checks"]] == ["errors", "latency", "unattributed failures"]
    assert last["checks"][0]["proof_bound"] == pytest.approx(20)
    assert last["checks"][2]["proof"] is None
    assert 0 <= last["checks"][0]["at_most"] < 0.0015  # nearer than the margin: that is what was proven
    assert last["reason"].startswith("proven at 50 %: errors: canary 0.10 % of ")


def test_proof_below_fifty_percent_promotes_nothing() -> None:
    """At low weights few have met the canary; however long one waits there, proof begins anew at 50 %."""
    assert "promote" not in decisions(HEAD, *played("a", [*HISTORY, *[25.0] * 60]))


def test_a_faulty_canary_is_rolled_back_for_good() -> None:
    """Harm is final: no later cell, however good, calls it back, and the sentence stays that of the failure."""
    lines = answered(HEAD, *played("a", [*HISTORY, *[5.0] * 10], bad=0.05), cell("a", 40, 50), cell("a", 41, 100))[1]
    first = [line["decision"] for line in lines].index("rollback")
    assert 30 <= first < 34
    assert {line["decision"] for line in lines[first:]} == {"rollback"}
    assert len({line["reason"] for line in lines[first:]}) == 1
    assert "evidence of harm" in lines[first]["reason"]
    assert lines[first]["reason"].startswith("errors: canary 5.0 % of ")


def test_a_cap_on_harmed_requests_rolls_back_for_good() -> None:
    """The same as in a run of the daemon: at once and without evidence, and what is better later calls nothing back."""
    head = {**HEAD, "plan": {"maxHarmed": 3, "alpha": 1e-12}}
    lines = answered(head, *played("a", [*HISTORY, *[5.0] * 4], bad=0.01), *played("a", [0.0] * 60)[34:])[1]
    assert "rollback" not in {line["decision"] for line in lines[:31]}
    assert {line["decision"] for line in lines[32:]} == {"rollback"}
    assert lines[-1]["reason"] == (
        "harmed: about 5 requests failed at the canary beyond stable's rate (of at most 3, maxHarmed)"
    )


def test_harm_that_builds_holds_the_step() -> None:
    """Between suspicion and certainty the weight must not rise."""
    lines = answered(HEAD, *played("a", [*HISTORY, *[5.0] * 30], bad=0.0035))[1]
    held = [line for line in lines if line["decision"] == "hold"]
    assert held
    assert all(3 <= line["harm"] < 100 for line in held)
    assert "evidence of harm is building" in held[0]["reason"]


def test_without_a_control_nothing_but_continue_is_said() -> None:
    """At 100 % there is nothing to compare with; neither proof nor harm follows from the canary alone."""
    assert set(decisions(HEAD, *played("a", [*HEALTHY, *[100.0] * 20]))[len(HEALTHY) :]) == {"continue"}


def test_a_hold_that_ran_out_is_inconclusive_and_stays_so() -> None:
    """Too little traffic to prove anything: the plan's limit ends it, and no silent promotion follows."""
    plan = {"onInconclusive": {"hold": "20m"}}
    lines = [cell("a", place, weight) for place, weight in enumerate([*HISTORY, *[50.0] * 40])]
    for line in lines:
        for name in ("stable", "canary"):
            line[name] = side(line[name]["requests"] / 600)
    out = [line["decision"] for line in answered({**HEAD, "plan": plan}, *lines, *played("a", HEALTHY)[:0])[1]][30:]
    assert out == ["continue"] * 10 + ["hold"] * 19 + ["inconclusive"] * 11
    later = [cell("a", place, 50) for place in range(70, 90)]
    assert decisions({**HEAD, "plan": plan}, *lines, *later)[-1] == "inconclusive"


def test_what_little_traffic_can_say_is_said_with_the_hold() -> None:
    """Who decides by hand whether to go on wants to know how bad it can be at most, not only that nobody knows."""
    lines = [cell("a", place, weight) for place, weight in enumerate([*HISTORY, *[50.0] * 30])]
    for line in lines[len(HISTORY) :]:
        for name in ("stable", "canary"):
            line[name] = side(line[name]["requests"] / 40)
    last = answered(HEAD, *lines)[1][-1]
    errors = next(check for check in last["checks"] if check["check"] == "errors")
    assert last["decision"] == "hold"
    assert last["reason"].startswith("not yet proven to be within the margin: proof ")
    assert f"; errors: at most {100 * errors['at_most']:.2g}" in last["reason"]
    assert last["reason"].endswith(" of its requests more than of stable's fail (95 % sure, at any time)")


def test_a_whole_plan_its_spec_and_its_analysis_alone_mean_the_same() -> None:
    """Whoever has a plan gives it as it is; whoever has none names the one knob that matters."""
    analysis = {"alpha": 0.05, "beta": 0.1}
    spec = {
        "target": {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v2"}},
        "steps": [{"weight": 50}],
        "analysis": analysis,
    }
    whole = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPlan", "metadata": {"name": "p"}, "spec": spec}
    answers = [answered({**HEAD, "plan": plan}, *played("a", HEALTHY))[1] for plan in (whole, spec, analysis)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]["harm_bound"] == pytest.approx(20)
    assert answers[0][0]["proof_bound"] == pytest.approx(10)


def test_proof_takes_the_same_time_whatever_the_length_of_a_cell() -> None:
    """A plan counts proof in its own cells; three minutes are three cells of a minute and twelve of 15 s."""
    quarters = [*[0.0] * 120, *[5.0] * 40, *[50.0] * 20]
    out = decisions(HEAD, *played("a", quarters, seconds=15))
    assert out.index("promote") == 160 + 2 + 12 - 1  # two of the settle time first


def test_interleaving_runs_changes_nothing() -> None:
    """The line of a run depends on that run alone, to the last bit."""
    one, two = played("a", HEALTHY), played("b", [*HISTORY, *[5.0] * 18], bad=0.01)
    apart = {"a": answered(HEAD, *one)[1], "b": answered(HEAD, *two)[1]}
    mixed = answered(HEAD, *(line for pair in zip(one, two, strict=True) for line in pair))[1]
    for run, lines in apart.items():
        assert [line for line in mixed if line["run"] == run] == lines


def test_the_judge_is_the_daemons() -> None:
    """The same cells through the room's three functions give the same bits: there is no second judge in the command."""
    lines = played("a", HEALTHY)
    out = answered(HEAD, *lines)[1]
    analysis = Analysis().model_copy(update={"cell": timedelta(seconds=SECONDS), "proof_cells": 3})
    state, segment, origin, former = judge.begin(analysis), -1, 0.0, None
    for line, answer in zip(lines, out, strict=True):
        split = Split.percent(line["weight"])
        if split != former:
            segment, origin, former = segment + 1, line["t"], split
        sides = [
            Counts(line[name]["requests"], line[name]["errors"], tuple(line[name]["buckets"]))
            for name in ("stable", "canary")
        ]
        start = float(line["t"])
        bounds = tuple(BOUNDS)
        seen = Cell(segment, start, start + SECONDS, split, start >= origin + 30, bounds, sides[0], sides[1])
        state = judge.advance(analysis, state, seen)
        evidence = judge.weigh(analysis, state)
        assert (answer["harm"], answer["proof"], answer["proven"]) == (evidence.harm, evidence.proof, evidence.proven)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{oops\n", "line 3: expected a JSON object"),
        (b"[1, 2]\n", "line 3: expected a JSON object, got [1, 2]"),
        (b"\xff\xfe\n", "line 3: expected a JSON object"),
        (b'{"run": ' + b"[" * 90_000 + b"\n", "line 3: expected a JSON object"),
        (b'{"x": "' + b"y" * (2 * LONGEST) + b'"}\n', f"line 3: expected a line of less than {LONGEST:,} bytes"),
        ({"t": 1}, "line 3: run: expected the run's id, a text, got nothing"),
        ({**cell("a", 1, 5), "weight": 101}, "line 3: weight: expected the canary's percent, from 0 to 100, got 101"),
        ({**cell("a", 1, 5), "weight": "5"}, 'line 3: weight: expected a number, got "5"'),
        ({**cell("a", 1, 5), "t": None}, "line 3: t: expected a number, got nothing"),
        (
            {**cell("a", 1, 5), "stable": 7},
            'line 3: stable: expected {"requests", "errors", "buckets", "pods"?}, got 7',
        ),
        ({**cell("a", 1, 5), "canary": {"requests": 1}}, "line 3: canary.errors: expected a number, got nothing"),
        ({**cell("a", 1, 5), "canary": {**side(5), "pods": [[1]]}}, "canary.pods.0: expected [requests, errors], got"),
        ({**cell("a", 0, 5)}, 'line 3: run "a": a cell that begins at 1000, before the end'),
        ({**cell("a", 1, 5), "duration_s": 0}, 'line 3: run "a": a cell that begins at 1060 and lasts 0 s'),
    ],
)
def test_a_line_without_the_form_of_a_cell_is_told_and_stops_nobody(line: Any, expected: str) -> None:
    """Number, place, expectation and finding; the run itself, and all others, go on as if it had not been there."""
    code, out, err = answered(HEAD, cell("a", 0, 5), line, cell("a", 1, 5), cell("b", 0, 5))
    assert code == 2
    assert expected in err
    assert len(err.splitlines()) == 1
    rest = answered(HEAD, cell("a", 0, 5), cell("a", 1, 5), cell("b", 0, 5))[1]
    assert [out[0], *out[-2:]] == rest
    assert all(extra["decision"] == "hold" for extra in out[1:-2])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\n", "line 1: expected a JSON object"),
        (b"", 'line 1: expected {"bounds_ms": [...], "plan"?: {...}} before the first cell, got no bounds_ms'),
        ({"bounds": []}, 'line 1: expected {"bounds_ms": [...], "plan"?: {...}} before the first cell'),
        ({"bounds_ms": [5, 1]}, "line 1: bounds_ms: expected positive milliseconds that rise, got [5, 1]"),
        ({"bounds_ms": [1, "x"]}, 'line 1: bounds_ms.1: expected a number, got "x"'),
        ({**HEAD, "plan": {"alhpa": 0.1}}, "spec.analysis.alhpa: a key that canaryd knows (did you mean alpha?)"),
        ({**HEAD, "plan": {"alpha": 3}}, "spec.analysis.alpha: a number of at most 0.2, got 3"),
        ({**HEAD, "plan": [1]}, "line 1: plan: expected an object, got [1]"),
        ({**HEAD, "plan": {"spec": 1}}, "line 1: plan.spec: expected an object, got 1"),
    ],
)
def test_without_a_first_line_nothing_is_judged(head: Any, expected: str) -> None:
    """A guess at the bounds or at the plan would give verdicts that nobody asked for."""
    code, out, err = answered(head, cell("a", 0, 5))
    assert (code, out) == (2, [])
    assert expected in err


HOSTILE = [float("nan"), float("inf"), -float("inf"), -1, -1e-9, 1e13, 1e300, 10**400, -(10**400)]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", ["requests", "errors", "buckets", "pods", "t", "duration_s", "unattributed"])
@pytest.mark.parametrize("name", ["stable", "canary"])
def test_hostile_numbers_neither_crash_nor_strengthen(value: float, place: str, name: str) -> None:
    """What cannot be a count teaches nothing: evidence after it is what it was, and the weight stays."""
    before = played("a", [*HISTORY, 5.0, 5.0], bad=0.002)
    bad = cell("a", 32, 5)
    if place in ("t", "duration_s", "unattributed"):
        bad[place] = value
    else:
        several = {"buckets": [value] * len(SHAPE), "pods": [[100, value], [value, 1]]}
        bad[name][place] = several.get(place, value)
    out = answered(HEAD, *before, bad, cell("a", 33, 5))[1]
    former, hostile = out[31], out[32]
    if place == "t" and value in (1e13, 1e300):  # a time like any other
        return
    assert hostile["decision"] == "hold", hostile["reason"]
    assert "refused" in hostile["reason"] or "not believed" in hostile["reason"]
    assert (hostile["harm"], hostile["proof"]) == (former["harm"], former["proof"])
    assert not hostile["proven"]


def test_a_cell_told_twice_counts_once() -> None:
    """A replayed pipe must not double the evidence, neither for harm nor for proof."""
    once = played("a", [*HISTORY, *[5.0] * 3], bad=0.003)
    twice = [line for line in once for _ in range(2)]
    out = answered(HEAD, *twice)[1]
    assert out[1::2][-1]["harm"] == answered(HEAD, *once)[1][-1]["harm"]


def test_memory_is_steady_over_a_long_run() -> None:
    """A run of a week is judged in what a run of an hour needs."""
    rules, standing = Rules(Analysis()), None
    sizes = []
    for place in range(600):
        line = cell("a", place, 0 if place < 30 else 25)
        sides = {
            name: Counts(line[name]["requests"], line[name]["errors"], tuple(line[name]["buckets"]))
            for name in ("stable", "canary")
        }
        sample = Sample(float(line["t"]), 60.0, Split.percent(line["weight"]), tuple(BOUNDS), **sides)
        standing, _ = play(rules, standing, sample)
        sizes.append(len(repr(replace(standing, reason=""))))
    assert max(sizes[300:]) < 1.1 * max(sizes[:300])


def test_the_example_of_the_docs_is_read() -> None:
    """Who copies the two lines of docs/judge.md gets an answer."""
    page = (Path(__file__).parents[2] / "docs" / "judge.md").read_text()
    lines = [line.encode() + b"\n" for line in page.splitlines() if line.startswith("{")]
    code, out, err = answered(*lines)
    assert (code, err, len(out)) == (0, "", 1)


def test_every_line_is_answered_before_the_next_is_asked_for() -> None:
    """Whoever plays in lockstep waits for the answer: nothing may stay in a buffer, on either side."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-m", "canaryd", "judge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=buffered
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(say(HEAD))
        for line in played("a", [0, 5, 5]):
            process.stdin.write(say(line))
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 20)[0], "no answer"
            assert json.loads(process.stdout.readline())["t"] == line["t"]
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    """``canaryd judge < cells | head -1`` is no crash."""
    with subprocess.Popen(
        [sys.executable, "-m", "canaryd", "judge"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdin
        process.stdin.write(say(HEAD, cell("a", 0, 0)))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(say(*played("b", [0] * 50)))
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


QUEUE = {"name": "queue", "metric": "promql", "query": 'x{w="${workload}"}', "compare": "stable"}
WITH_QUEUE = {**HEAD, "plan": {"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}, QUEUE]}}


def with_queue(value: Any, number: int, weight: float = 5) -> list[dict[str, Any]]:
    """History, and cells with a value of both sides."""
    cells = played("a", [*HISTORY, *[weight] * number])
    return [{**one, "values": {"queue": value}} for one in cells]


def test_values_without_counts_are_judged_by_their_cells() -> None:
    """Ten times as long a queue, and nobody can tell of how many requests: it takes cells, and they are counted."""
    lines = answered(WITH_QUEUE, *with_queue({"stable": 3.0, "canary": 30.0}, 40))[1]
    first = [line["decision"] for line in lines].index("rollback")
    assert 40 <= first <= 55
    assert lines[first]["reason"].startswith("queue: canary 30, stable 3 on average of the last ")
    queue = lines[35]["checks"][1]
    assert (queue["check"], queue["stable"], queue["canary"]) == ("queue", "3", "30")
    assert "are needed even if every one is worse" in queue["sentence"]
    assert set(decisions(WITH_QUEUE, *with_queue({"stable": 3.0, "canary": 3.1}, 40))) == {"continue"}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"stable": 3.0, "canary": float("nan")}, "nan of canary is no measurement"),
        ({"stable": float("-inf"), "canary": 3.0}, "-inf of stable is no measurement"),
        ({"stable": 3, "canary": 10**400}, "inf of canary is no measurement"),
        ({"stable": 3, "canary": "a lot"}, 'values.queue.canary: expected a number, got "a lot"'),
        ({"stable": 3, "canary": [30]}, "values.queue.canary: expected a number, got [30]"),
        ({"stable": 3}, "no value of canary"),
        ({"canary": 3}, "no value of stable"),
        (30, 'values.queue: expected {"stable"?, "canary"}, got 30'),
        (None, 'values.queue: expected {"stable"?, "canary"}, got nothing'),
    ],
)
def test_values_that_are_none_are_said_and_weigh_nothing(value: Any, why: str) -> None:
    """The counts beside them stand; the step does not pass, for the plan asked for the check."""
    code, lines, err = answered(WITH_QUEUE, *with_queue(value, 30))
    assert (code, err) == (0, "")
    assert why in lines[-1]["checks"][1]["sentence"]
    assert lines[-1]["checks"][1]["harm"] == pytest.approx(1)
    assert lines[-1]["decision"] == "hold"
    assert lines[-1]["reason"].startswith("not measured at 5 %: queue: ")


def test_values_that_are_no_mapping_are_no_cell() -> None:
    """The line has not the form of a cell; the run is answered all the same."""
    code, lines, err = answered(WITH_QUEUE, {**cell("a", 0, 5), "values": [1]})
    assert code == 2
    assert "values: expected" in err
    assert lines[0]["decision"] == "hold"


def test_a_hard_limit_and_a_minimum_of_traffic_work_alone_too() -> None:
    """The former ends the run at once, also at 100 %; the latter only holds it."""
    slo = {"name": "slo", "metric": "error-rate", "atMost": "1%", "hardLimit": {}}
    plan = {"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}, slo]}
    lines = answered({**HEAD, "plan": plan}, *played("a", [*HISTORY, 100.0], bad=0.02))[1]
    assert lines[-1]["decision"] == "rollback"
    assert lines[-1]["reason"].endswith("; a hard limit asks for no evidence")
    plan = {"checks": [plan["checks"][0], {"name": "traffic", "metric": "traffic", "atLeast": 20}]}
    lines = answered({**HEAD, "plan": plan}, *played("a", [*HISTORY, *[5.0] * 30]))[1]
    assert lines[-1]["decision"] == "hold"
    assert "traffic: 5 requests a second reach the canary at 5 %" in lines[-1]["reason"]
    assert "rollback" not in [line["decision"] for line in lines]

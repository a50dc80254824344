"""`canaryd judge` as a stranger meets it: through pipes, in lockstep, with lines that nobody should send."""

from __future__ import annotations

import io
import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canaryd.cli.judge import judge_lines

BOUNDS = [25.0, 50.0, 100.0, 250.0, 500.0, 1000.0]
HEAD = {"bounds_ms": BOUNDS}
SHAPE = (0.1, 0.4, 0.4, 0.08, 0.015, 0.004, 0.001)
JUDGE = [sys.executable, "-m", "canaryd", "judge"]
SECONDS = 60
PATIENCE = 20.0
"""Seconds without an answer after which there will be none."""
WEIGHTS = (0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 33.333, 50.0, 50.0, 50.0, 50.0, 50.0)
"""Percent of a short run; five cells of history, so that totals are known before the canary comes."""
QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Line = dict[str, Any]


def side(chance: random.Random, requests: float, bad: float) -> Line:
    """One side of a cell: some failures, some scatter over the buckets, now and then not whole numbers."""
    errors = min(requests, chance.choice((1.0, 0.93)) * chance.randint(0, int(2 * bad * requests) + 1))
    weights = [share * chance.uniform(0.8, 1.2) for share in SHAPE]
    return {
        "requests": requests,
        "errors": errors,
        "buckets": [(requests - errors) * weight / sum(weights) for weight in weights],
        "pods": [[requests / 3, errors / 3]] * 3,
    }


def cell(run: str, chance: random.Random, place: int, weight: float, bad: float) -> Line:
    total = chance.randint(3000, 9000)
    return {
        "run": run,
        "t": 1000 + 2 * place * SECONDS,  # every other minute, so that there is room for others
        "duration_s": SECONDS,
        "weight": weight,
        "stable": side(chance, total * (1 - weight / 100), 0.002),
        "canary": side(chance, total * weight / 100, bad),
    }


def run_of(run: str, seed: int, bad: float) -> list[Line]:
    chance = random.Random(seed)
    return [cell(run, chance, place, weight, bad) for place, weight in enumerate(WEIGHTS)]


def said(line: Any) -> bytes:
    return line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"


def heard(line: bytes) -> Line:
    """An answer, which has to be JSON as JSON knows it."""
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(found, dict)
    return found


class Lockstep:
    """One process of `canaryd judge`, and a player who waits for each answer before saying more."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._numbers = count()

    def fresh(self, name: str) -> str:
        """A run that was never heard of."""
        return f"{name} {next(self._numbers)}"

    def tell(self, line: Any) -> None:
        into = self._pipe(self._process.stdin)
        into.write(said(line))
        into.flush()

    def ask(self, line: Any) -> Line:
        self.tell(line)
        out = self._pipe(self._process.stdout)
        assert select.select([out], [], [], PATIENCE)[0], f"no answer to {said(line)[:200]!r}"
        return heard(out.readline())

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lockstep]:
    with (tmp_path_factory.mktemp("judge") / "stderr").open("w+b") as faults:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with subprocess.Popen(
            JUDGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=faults, env=buffered
        ) as process:
            player = Lockstep(process)
            player.tell(HEAD)
            yield player
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            assert process.stdout.read() == b""  # one answer a line, no more
            assert process.wait(30) == 2
        faults.seek(0)
        assert b"Traceback" not in faults.read()


# Hostile cells among good ones.

NOT_COUNTS = (float("nan"), float("inf"), -float("inf"), -1, -1e-9, -(2**64), 1e13, 1e300, 10**400)
PLACES = ("requests", "errors", "buckets", "unattributed")


@st.composite
def hostile(draw: st.DrawFn) -> tuple[int, str, Any, str]:
    """(which cell it stands beside, what is done to it, with which value, to which side)."""
    where = draw(st.integers(5, len(WEIGHTS) - 1))
    name = draw(st.sampled_from(("stable", "canary")))
    kind = draw(st.sampled_from((*PLACES, "t", "duration_s", "weight", "form", "again", "overlap", "leap", "failures")))
    if kind in PLACES:
        return where, kind, draw(st.sampled_from(NOT_COUNTS)), name
    values: dict[str, tuple[Any, ...]] = {
        "t": (float("nan"), float("inf"), -1e300, 0, 1e9, 1e18, 1e300, 10**400, True, None, "5", []),
        "duration_s": (0, -60, float("nan"), float("inf"), 1e-310, 1e-9, 86_401, 1e300, None, False),
        "weight": (-1, -1e-9, 100.001, 1e300, float("nan"), 10**400, "5", None, True),
        "form": (7, None, {}, [], {"requests": 1}, {"requests": "1", "errors": 0}, {"requests": True, "errors": 0}),
        "leap": (1e3, 1e6),
    }
    return where, kind, draw(st.sampled_from(values.get(kind, (None,)))), name


def spoilt(good: Line, kind: str, value: Any, name: str) -> Line:
    """A cell after ``good`` that must not be believed."""
    bad = json.loads(json.dumps(good))
    bad["t"] += SECONDS
    if kind in ("t", "duration_s", "weight", "unattributed"):
        bad[kind] = value
    elif kind == "buckets":
        bad[name]["buckets"][2] = value
    elif kind in PLACES:
        bad[name][kind] = value
    elif kind == "form":
        bad[name] = value
    elif kind == "leap":
        for one in ("stable", "canary"):
            bad[one] = {key: _times(what, value) for key, what in bad[one].items()}
    elif kind == "failures":
        bad[name]["errors"] = 2 * bad[name]["requests"] + 1
    else:
        bad["t"] -= {"again": SECONDS, "overlap": SECONDS / 2}[kind]
    return bad


def _times(what: Any, factor: float) -> Any:
    return [_times(one, factor) for one in what] if isinstance(what, list) else what * factor


@given(st.integers(0, 10**6), st.sampled_from([0.001, 0.01, 0.04]), st.lists(hostile(), min_size=1, max_size=4))
@QUICK
def test_cells_that_cannot_be_change_no_answer_to_the_others(
    judge: Lockstep, seed: int, bad: float, garbage: list[tuple[int, str, Any, str]]
) -> None:
    """
    Bit for bit: evidence, decision and sentence are what they are without the hostile cells, wherever those stand.

    The two runs are played in turn, so that neither knows of the other either.
    """
    clean, dirty = judge.fresh("clean"), judge.fresh("dirty")
    lines = run_of(dirty, seed, bad)
    for place, line in enumerate(lines):
        expected, found = judge.ask({**line, "run": clean}), judge.ask(line)
        assert {**found, "run": clean} == expected
        for where, *how in garbage:
            if where == place:
                answer = judge.ask(spoilt(line, *how))
                assert (answer["run"], answer["harm"], answer["proof"]) == (dirty, found["harm"], found["proof"])
                assert answer["decision"] == ("rollback" if found["decision"] == "rollback" else "hold")


@pytest.mark.parametrize(
    "spoil",
    [
        {"duration_s": 0},
        {"duration_s": 1e-310},
        {"duration_s": 86_400, "stable": {"requests": -1, "errors": 0}},
        {"t": float("nan")},
        {"weight": 50, "canary": {"requests": 1, "errors": 2}},
    ],
    ids=str,
)
def test_a_hostile_first_cell_decides_nothing_for_the_run(judge: Lockstep, spoil: Line) -> None:
    """How long a run's cells are, and so when its proof is long enough, is told by the first one that is believed."""
    clean, dirty = judge.fresh("clean"), judge.fresh("dirty")
    lines = run_of(dirty, 3, 0.001)
    assert judge.ask({**lines[0], "t": 0, **spoil})["decision"] == "hold"
    for line in lines:
        assert {**judge.ask(line), "run": clean} == judge.ask({**line, "run": clean})


def test_a_wrong_time_is_not_believed_until_it_is_confirmed(judge: Lockstep) -> None:
    """One bad clock must not make every later cell too late; a recording that was paused for a week goes on."""
    run = judge.fresh("paused")
    lines = run_of(run, 4, 0.001)
    for line in lines[:3]:
        assert judge.ask(line)["decision"] == "continue"
    week = 7 * 86_400
    answer = judge.ask({**lines[3], "t": lines[3]["t"] + week})
    assert answer["decision"] == "hold"
    assert "more than a day after the end of the one before it" in answer["reason"]
    for line in lines[4:6]:
        assert judge.ask({**line, "t": line["t"] + week})["decision"] == "continue"


def test_refused_cells_bring_no_ending_nearer_than_others(judge: Lockstep) -> None:
    """Their time is not believed either: a cell of "tomorrow" must not use up the patience of four hours."""
    run = judge.fresh("patient")
    lines = run_of(run, 5, 0.001)
    for line in lines[:6]:
        judge.ask(line)
    late = {**lines[6], "t": lines[6]["t"] + 80_000, "canary": {"requests": -1, "errors": 0}}
    assert [judge.ask(late)["decision"] for _ in range(100)] == ["hold"] * 100
    assert judge.ask({**late, "duration_s": 50_000})["decision"] == "hold"
    assert judge.ask(lines[6])["decision"] == "continue"
    assert {judge.ask(late)["decision"] for _ in range(250)} == {"hold", "inconclusive"}  # four hours of minutes


def test_a_run_that_was_rolled_back_stays_so_whatever_is_said(judge: Lockstep) -> None:
    """Also to lines that cannot be read: who acts on the last answer must not take a "hold" for a change of mind."""
    run = judge.fresh("failed")
    lines = run_of(run, 17, 0.5)
    assert [judge.ask(line)["decision"] for line in lines[:7]][-1] == "rollback"
    for spoil in ({"t": 0}, {"weight": "5"}, {"canary": 7}, {"duration_s": -1}, {"unattributed": -1}):
        answer = judge.ask({**lines[7], **spoil})
        assert answer["decision"] == "rollback"
        assert answer["reason"].startswith("errors: ")


def test_proof_takes_its_time_when_cells_grow_shorter(judge: Lockstep) -> None:
    """Three minutes are three minutes: a history of hours must not make one second enough."""
    run, chance = judge.fresh("shorter"), random.Random(6)
    for place in range(3):
        judge.ask({**cell(run, chance, 0, 0.0, 0.001), "t": 3600 * place, "duration_s": 3600})
    decisions = []
    for place in range(240):
        now = cell(run, chance, 0, 50.0, 0.001)
        decisions.append(judge.ask({**now, "t": 3600 * 3 + place, "duration_s": 1})["decision"])
    assert "promote" in decisions
    assert decisions.index("promote") >= 22 + 180 - 1  # the settle time of nobody's istiod, and proofCells


def test_a_cell_without_any_request_is_a_gap(judge: Lockstep) -> None:
    """Nobody was served: that is neither bake nor proof, as in a run of the daemon."""
    run = judge.fresh("empty")
    nothing = {"requests": 0, "errors": 0, "buckets": [0] * 7}
    empty = {"run": run, "duration_s": 60, "stable": nothing, "canary": nothing}
    assert judge.ask({**empty, "t": 0, "weight": 0})["decision"] == "continue"
    answers = [judge.ask({**empty, "t": 60 * place, "weight": 50}) for place in range(1, 30)]
    assert {(one["decision"], one["reason"]) for one in answers} == {("hold", "no requests in this cell")}
    assert "baking at 50 %: 60 of 600 s" in judge.ask({**cell(run, random.Random(7), 20, 50.0, 0), "t": 1800})["reason"]


@pytest.mark.parametrize(("more", "told"), [(1e9, 0.0), (1.5, 1.0), (1.0, 1.0)])
def test_durations_beyond_the_requests_are_no_evidence(judge: Lockstep, more: float, told: float) -> None:
    """A thousand durations of ten requests are worth ten at most, and a billion are worth nothing."""
    runs = judge.fresh("slow"), judge.fresh("slow")
    harm = []
    for run, factor in zip(runs, (more, told), strict=True):
        lines = run_of(run, 8, 0.002)[:8]
        for line in lines:
            slow = [0.0, 0.0, 0.0, 0.0, 0.0, line["canary"]["requests"], 0.0]
            line["canary"] |= {"errors": 0.0, "buckets": [factor * one for one in slow] if factor else []}
            answer = judge.ask(line)
        harm.append(answer["harm"])
    assert harm[0] == pytest.approx(harm[1], rel=1e-6)


# Anything at all.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, 1e-320, -0.0, "\x00", "\ud800", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢\u2028", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PATHS = (
    ("run",), ("t",), ("duration_s",), ("weight",), ("unattributed",), ("stable",), ("canary",), ("canary", "requests"),
    ("canary", "errors"), ("canary", "buckets"), ("canary", "pods"), ("stable", "requests"), ("stable", "buckets"),
    ("stable", "pods"), ("canary", "buckets", 0), ("stable", "buckets", 6), ("canary", "pods", 0), ("values",),
    ("extra",),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=3), st.integers(0, len(WEIGHTS) - 1))
@settings(QUICK, max_examples=120)
def test_whatever_a_line_holds_its_run_gets_one_answer(
    judge: Lockstep, changes: list[tuple[tuple[Any, ...], Any]], place: int
) -> None:
    """Who plays in lockstep waits for it; and a line that names no run is passed over without one."""
    line: Any = run_of(judge.fresh("any"), place, 0.01)[place]
    for path, value in changes:
        at = line
        for step in path[:-1]:
            at = at.get(step, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict) or (isinstance(at, list) and isinstance(path[-1], int) and len(at) > path[-1]):
            at[path[-1]] = value
    named = isinstance(line["run"], int | str) and not isinstance(line["run"], bool)
    if named:
        answer = judge.ask(line)
        assert answer["run"] == line["run"]
        assert answer["decision"] in ("continue", "hold", "rollback", "promote", "inconclusive")
    else:
        judge.tell(line)
    follower = judge.fresh("follower")
    assert judge.ask({"run": follower})["run"] == follower


def test_a_line_that_says_two_things_is_not_believed(judge: Lockstep) -> None:
    """JSON lets the last of two keys win; which of two counts of errors is true, nobody knows."""
    run = judge.fresh("twice")
    for place, line in enumerate(run_of(run, 16, 0.001)[:6]):
        text = said(line)
        if place == 3:
            answer = judge.ask(text.replace(b'"errors": ', b'"errors": 0, "errors": ', 1))
            assert (answer["run"], answer["decision"]) == (run, "hold")
            assert answer["reason"] == "refused: errors: expected once in an object, got twice"
        assert judge.ask(text)["decision"] == "continue"
    code, out, faults = alone(b'{"bounds_ms": [1], "plan": {"alpha": 0.01, "alpha": 0.2}}\n', {"run": "a"})
    assert (code, out) == (2, [])
    assert faults == b"canaryd judge: line 1: alpha: expected once in an object, got twice\n"


@pytest.mark.parametrize(
    "line",
    [
        b"{oops\n", b"\x00\n", b"\xff\xfe{\x00\n", b"[1, 2]\n", b'"run"\n', b"NaN\n", b"\n", b" \t \r\n", b"{}\n",
        b'{"run": ' + b"[" * 400_000 + b"\n", b'{"x": "' + b"y" * 2_500_000 + b'"}\n', b'{"run": 1.5}\n',
        *(b'{"run": ' + b"[" * depth + b"]" * depth + b"}\n" for depth in range(930, 1000, 3)),
    ],
    ids=lambda line: repr(line[:12]),
)  # fmt: skip
def test_a_line_that_names_no_run_gets_no_answer_and_stops_nothing(judge: Lockstep, line: bytes) -> None:
    """The next one is answered, and nothing is left over of the one before."""
    judge.tell(line)
    follower = judge.fresh("follower")
    assert judge.ask({"run": follower})["run"] == follower


@pytest.mark.parametrize(
    "run", [1, 10**300, 10**4000, "1", "", "é\u2028\x00", "\ud800", "x" * 100_000], ids=lambda run: str(run)[:5]
)
def test_runs_are_known_by_exactly_what_they_are_called(judge: Lockstep, run: Any) -> None:
    """1 and "1" are two runs; whatever the name is, the answer bears it."""
    for line in run_of(judge.fresh("other"), 10, 0.001)[:2]:
        assert judge.ask({**line, "run": run})["run"] == run


def alone(*lines: Any, seed: str = "0") -> tuple[int, list[bytes], bytes]:
    """(exit code, answers, faults) of a process of its own, with ``seed`` for what Python leaves to chance."""
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        JUDGE, input=b"".join(map(said, lines)), capture_output=True, env=environment, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_a_replay_gives_the_same_bytes_whatever_is_played_beside_it() -> None:
    """Another process, another seed of Python's, other runs in between: the answers are equal to the last digit."""
    runs = [run_of(name, seed, 0.004) for seed, name in enumerate(("a", "b", "c"))]
    mixed = [line for lines in runs for line in lines]
    random.Random(11).shuffle(mixed)
    mixed.sort(key=lambda line: float(line["t"]) // 600)  # about in order, and each run exactly so
    order = {
        line["run"]: iter(sorted((one for one in mixed if one["run"] == line["run"]), key=_time)) for line in mixed
    }
    mixed = [next(order[line["run"]]) for line in mixed]
    _, together, faults = alone(HEAD, *mixed, seed="1")
    assert faults == b""
    for lines in runs:
        code, apart, _ = alone(HEAD, *lines, seed="2")
        assert code == 0
        assert [line for line in together if heard(line)["run"] == lines[0]["run"]] == apart


def _time(line: Line) -> float:
    return float(line["t"])


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text[:-1],
        lambda text: text.replace(b"\n", b"\n\r\n\n"),
        lambda text: text.replace(b", ", b",\t "),
    ],
    ids=["CRLF", "byte order mark", "no newline at the end", "blank lines", "tabs"],
)
def test_lines_as_other_tools_write_them_are_read(dress: Any) -> None:
    """A recording from Windows, or cut with printf, is a recording."""
    text = b"".join(map(said, (HEAD, *run_of("a", 12, 0.001)[:4])))
    assert alone(dress(text)) == alone(text)


@pytest.mark.parametrize("bounds", [[], [100], [1e-320, 1e300], [1.3**place for place in range(60)], [1, 10**308]])
def test_any_bounds_that_rise_are_judged(bounds: list[float]) -> None:
    """One bound or sixty: histograms differ, and none of them is a crash."""
    line = run_of("a", 13, 0.001)[-1]
    for name in ("stable", "canary"):
        line[name]["buckets"] = [1 + line[name]["requests"] / (len(bounds) + 1)] * (len(bounds) + 1)
    code, out, faults = alone({"bounds_ms": bounds}, *({**line, "t": 60 * place} for place in range(20)))
    assert (code, len(out), faults) == (0, 20, b"")
    assert all(heard(one)["decision"] in ("continue", "promote", "hold") for one in out)


@pytest.mark.parametrize(("weight", "split"), [(1e-9, "0.001 %"), (33.3333333, "33.333 %"), (99.9999, "99.999 %")])
def test_a_share_is_never_rounded_to_nothing_or_to_everything(weight: float, split: str) -> None:
    """At nothing there is no canary, and at everything no comparison: a canary with a share is judged."""
    line = {**run_of("a", 14, 0.001)[-1], "weight": weight}
    assert heard(alone(HEAD, line)[1][0])["reason"].startswith(f"baking at {split}")


def test_a_plan_that_cannot_be_meant_is_refused_and_a_strange_key_is_told() -> None:
    """A knob beside the plan, where nobody reads it, is a verdict with another alpha than was asked for."""
    code, out, faults = alone({**HEAD, "alpha": 0.2}, {"run": "a"})
    assert (code, len(out)) == (2, 1)
    assert b'line 1: "alpha" is no key of the first line (bounds_ms, plan) and changes nothing' in faults
    code, out, faults = alone({**HEAD, "plan": {"alpha": 0.2, "spec": {"analysis": {}}}}, {"run": "a"})
    assert (code, out) == (2, [])
    assert b"line 1: plan: alpha: a key that canaryd knows" in faults


def test_a_plan_of_lists_in_lists_is_refused() -> None:
    """The depth at which reading ends and the one at which writing does are not the same."""
    readable = max(depth for depth in range(800, 1000) if _readable(depth))
    for depth in (*range(readable - 6, readable + 2), 100_000):
        out, err = io.StringIO(), io.StringIO()
        head = b'{"bounds_ms": [1], "plan": {"alpha": ' + b"[" * depth + b"]" * depth + b"}}\n"
        assert judge_lines(io.BytesIO(head), out, err) == 2
        assert (out.getvalue(), err.getvalue()[:22]) == ("", "canaryd judge: line 1:")


def _readable(depth: int) -> bool:
    try:
        json.loads(b"[" * depth + b"]" * depth)
    except RecursionError:
        return False
    return True


def test_a_number_of_five_thousand_digits_is_infinite(judge: Lockstep) -> None:
    """Python will not read it; the line names its run all the same, and that has to be answered."""
    run = judge.fresh("digits")
    for place in ("t", "weight", "duration_s"):
        line = run_of(run, 15, 0.001)[0] | {place: "HERE"}
        answer = judge.ask(said(line).replace(b'"HERE"', b"9" * 5000))
        assert (answer["run"], answer["decision"]) == (run, "hold")
        assert answer["t"] == (None if place == "t" else line["t"])


@pytest.mark.parametrize(
    ("closing", "code", "told"),
    [
        ("<&-", 2, b"standard input is closed"),
        (">&-", 2, b"standard output is closed"),
        (">/dev/full", 1, b"No space left on device"),
    ],
)
def test_streams_that_do_not_work_are_said_so(closing: str, code: int, told: bytes, tmp_path: Path) -> None:
    """A full disk under the answers is not a fault of canaryd, and not a success either."""
    cells = tmp_path / "cells.jsonl"
    cells.write_bytes(b"".join(map(said, (HEAD, {"run": "a"}))))
    command = f"exec '{sys.executable}' -m canaryd judge {closing}" + ("" if "<" in closing else f" < '{cells}'")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
    assert told in done.stderr


@pytest.mark.parametrize("closing", ["2>&-", "2>/dev/full"])
def test_faults_that_nobody_hears_stop_no_answer(closing: str, tmp_path: Path) -> None:
    """Standard error is for people; answers go on without it, and are nothing but answers."""
    cells = tmp_path / "cells.jsonl"
    cells.write_bytes(b"".join(map(said, (HEAD, b"{oops\n", {"run": "a"}, b"{oops\n", {"run": "b"}))))
    command = f"unset PYTHONUNBUFFERED; exec '{sys.executable}' -m canaryd judge < '{cells}' {closing}"
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 2
    assert [heard(line)["run"] for line in done.stdout.splitlines()] == ["a", "b"]

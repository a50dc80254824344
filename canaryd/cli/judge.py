"""
``canaryd judge``: cells in as JSON lines, one ruling out for each, at once.

Somebody else plays the runs and reads the answers, perhaps in lockstep: so every line that names a run is answered,
even one that cannot be read, and nothing waits in a buffer. What is in a cell may be anything; what cannot be counts is
refused by the judge, as it is for the daemon, and what has not the form of a cell is told on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import inf, isfinite
from typing import Any, BinaryIO, NoReturn, TextIO

from canaryd.cli.exits import Exit
from canaryd.judge import alone
from canaryd.judge.alone import Rules, Ruling, Sample, Standing
from canaryd.model.cells import Counts, Value
from canaryd.model.evidence import Reading
from canaryd.model.plan import Analysis, Plan, Spec, read_plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import EVERYTHING, NOTHING, Split

LONGEST = 1_000_000
"""Bytes of a line: a hundred times a long one."""
SHOWN = 60
_SPEC = {field.alias or name for name, field in Spec.model_fields.items()}
_ANALYSIS = {field.alias or name for name, field in Analysis.model_fields.items()}


class Misshapen(ValueError):  # noqa: N818  # it is an answer, not a fault
    """A line that has not the form it should have; its text says where, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line: the bucket bounds of all cells, the rules, and which keys say nothing to us."""

    bounds_ms: tuple[float, ...]
    rules: Rules
    unknown: tuple[str, ...] = ()


def judge_lines(source: BinaryIO, out: TextIO, err: TextIO | None) -> Exit:
    """
    Answer every line of ``source`` on ``out``; faults go to ``err``, if anybody is there to read them.

    Exits 0, or 2 when a line had not the form of a cell, or a time that cannot be. Without a first line that can be
    read nothing is answered.
    """
    lines = _lines(source)
    try:
        head = _head(next(lines, (1, b""))[1])
    except Misshapen as fault:
        _tell(err, f"line 1: {fault}")
        return Exit.USAGE
    for key in head.unknown:
        _tell(err, f"line 1: {_shown(key)} is no key of the first line (bounds_ms, plan) and changes nothing")
    runs: dict[str | int, Standing] = {}
    faults = 0
    for number, line in lines:
        if line is not None and not line.strip():
            continue
        if why := _answer(head, runs, line, out):
            faults += 1
            _tell(err, f"line {number}: {why}")
    return Exit.USAGE if faults else Exit.PROMOTED


def judge_stdin() -> Exit:
    """``judge_lines`` on this process's own streams; a reader that has gone ends it quietly."""
    for name, stream in (("standard input", sys.stdin), ("standard output", sys.stdout)):
        if stream is None:  # closed by whoever started us
            _tell(sys.stderr, f"{name} is closed: cells come in there, or answers go out")
            return Exit.USAGE
    try:
        return judge_lines(sys.stdin.buffer, sys.stdout, sys.stderr)
    except BrokenPipeError:
        _drop_output()
        return Exit.PROMOTED
    except OSError as error:
        _drop_output()
        _tell(sys.stderr, f"the answers cannot be written, or the cells not be read: {error.strerror}")
        return Exit.INTERNAL_ERROR


def _drop_output() -> None:
    """What is still in the buffer goes nowhere, so that Python's own flush at the end does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(err: TextIO | None, why: str) -> None:
    """
    Say what is wrong; that nobody listens stops no answer.

    What could not be written stays in the buffer, and would be what the process ends with (Python's exit code 120): it
    goes nowhere.
    """
    if err is None:
        return
    try:
        print(f"canaryd judge: {why}", file=err, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, err.fileno())
        os.close(nowhere)


def _answer(head: Head, runs: dict[str | int, Standing], line: bytes | None, out: TextIO) -> str:
    """Answer one line, and say what was wrong with it, if anything."""
    run: str | int | None = None
    t: Any = None
    try:
        cell, twice = _object(line)
        run, t = _run(cell), cell.get("t")
        _once(twice)
        sample = _sample(cell, head.bounds_ms)
    except Misshapen as fault:
        if run is not None:
            standing = runs.get(run) or alone.opened(head.rules)
            _say(out, run, t, alone.refused(standing, str(fault)))
        return str(fault)
    standing = runs.get(run) or alone.opened(head.rules)
    why = alone.out_of_order(standing, sample)
    runs[run], ruling = alone.play(head.rules, standing, sample)
    _say(out, run, t, ruling)
    return f"run {_shown(run)}: {why}" if why else ""


def _say(out: TextIO, run: str | int, t: Any, ruling: Ruling) -> None:
    evidence = ruling.evidence
    if not isinstance(t, int | float) or isinstance(t, bool) or not isfinite(_float(t)):
        t = None  # what was no number, or NaN, has no place in JSON
    said = {
        "run": run,
        "t": t,
        "decision": ruling.decision,
        "harm": evidence.harm,
        "harm_bound": evidence.harm_bound,
        "hold_bound": evidence.hold_bound,
        "proof": evidence.proof,
        "proof_bound": evidence.proof_bound,
        "proven": evidence.proven,
        "canary_requests": evidence.canary_requests,
        "shared": evidence.shared_from is not None,
        "share": evidence.share,
        "checks": [_check(reading) for reading in evidence.readings],
        "reason": ruling.reason,
    }
    out.write(json.dumps(said) + "\n")
    out.flush()


def _check(reading: Reading) -> dict[str, Any]:
    return {
        "check": reading.check,
        "harm": reading.harm,
        "harm_bound": reading.harm_bound,
        "proof": reading.proof if reading.proof_bound else None,
        "proof_bound": reading.proof_bound or None,
        "at_most": reading.at_most,
        "stable": reading.stable,
        "canary": reading.canary,
        "stable_requests": reading.stable_requests,
        "canary_requests": reading.canary_requests,
        "sentence": reading.sentence,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Reading lines


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long, whose rest is skipped without being kept."""
    number = 0
    while line := source.readline(LONGEST):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LONGEST
        while not whole:
            rest = source.readline(LONGEST)
            whole, line = rest.endswith(b"\n") or len(rest) < LONGEST, b""
        yield number, line or None


def _object(line: bytes | None) -> tuple[Mapping[str, Any], list[str]]:
    """The object in a line, and the keys that are there twice: the last would win without a word."""
    if line is None:
        raise Misshapen(f"expected a line of less than {LONGEST:,} bytes")
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return found

    try:
        read = json.loads(line, parse_int=_integer, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Misshapen(f"expected a JSON object: {str(error)[:SHOWN]}") from error
    if not isinstance(read, dict):
        raise Misshapen(f"expected a JSON object, got {_shown(read)}")
    return read, twice


def _once(twice: list[str]) -> None:
    if twice:
        raise Misshapen(f"{twice[0][:SHOWN]}: expected once in an object, got twice")


def _head(line: bytes | None) -> Head:
    first, twice = _object(line)
    _once(twice)
    if "bounds_ms" not in first:
        raise Misshapen('expected {"bounds_ms": [...], "plan"?: {...}} before the first cell, got no bounds_ms')
    bounds = _list(first["bounds_ms"], "bounds_ms")
    numbers = tuple(_number(bound, f"bounds_ms.{place}") for place, bound in enumerate(bounds))
    if any(not 0 < bound < inf for bound in numbers) or sorted(set(numbers)) != list(numbers):
        raise Misshapen(f"bounds_ms: expected positive milliseconds that rise, got {_shown(bounds)}")
    return Head(numbers, _rules(first.get("plan")), tuple(sorted(first.keys() - {"bounds_ms", "plan"})))


def _rules(plan: Any) -> Rules:
    """
    The rules in a plan, in its ``spec``, or in its ``spec.analysis`` alone; without one the defaults of a plan.

    What is missing of the target and the steps is filled in: nothing is moved here.
    """
    if plan is None:
        plan = {}
    if not isinstance(plan, dict):
        raise Misshapen(f"plan: expected an object, got {_shown(plan)}")
    of_spec = bool(plan.keys() & (_SPEC - _ANALYSIS))
    spec = plan.get("spec", plan if of_spec else {"analysis": plan})
    if not isinstance(spec, dict):
        raise Misshapen(f"plan.spec: expected an object, got {_shown(spec)}")
    target = {"virtualService": "any", "host": "any", "canary": {"subset": "canary"}}
    whole = {
        "apiVersion": Plan.model_fields["api_version"].default,
        "kind": "CanaryPlan",
        "metadata": {"name": "judge"},
        **(plan if "spec" in plan else {}),
        "spec": {"target": target, "steps": [{"weight": 50}], **spec},
    }
    try:
        return Rules.of(read_plan(json.dumps(whole), "plan").spec)
    except RecursionError as error:
        raise Misshapen("plan: expected what a plan says, got lists in lists without an end") from error
    except Refused as refused:
        raise Misshapen("plan: " + "; ".join(str(problem) for problem in refused.problems)) from refused


def _run(cell: Mapping[str, Any]) -> str | int:
    run = cell.get("run")
    if not isinstance(run, str | int) or isinstance(run, bool):
        _expected("run", "the run's id, a text", run)
    return run


def _sample(cell: Mapping[str, Any], bounds: tuple[float, ...]) -> Sample:
    weight = _number(cell.get("weight"), "weight")
    if not 0 <= weight <= 100:
        _expected("weight", "the canary's percent, from 0 to 100", cell.get("weight"))
    return Sample(
        start=_number(cell.get("t"), "t"),
        seconds=_number(cell.get("duration_s"), "duration_s"),
        split=_split(weight),
        bounds_ms=bounds,
        stable=_counts(cell.get("stable"), "stable"),
        canary=_counts(cell.get("canary"), "canary"),
        unattributed=_number(cell.get("unattributed", 0), "unattributed"),
        values=_values(cell.get("values", {})),
    )


def _split(weight: float) -> Split:
    """The split nearest to a percentage; a share that is not nothing or everything does not become that."""
    split = Split(round(Decimal(repr(weight)) * 1000))
    if split == NOTHING and weight > 0:
        return Split(NOTHING.canary + 1)
    return Split(EVERYTHING.canary - 1) if split == EVERYTHING and weight < 100 else split


def _counts(side: Any, name: str) -> Counts:
    if not isinstance(side, dict):
        _expected(name, '{"requests", "errors", "buckets", "pods"?}', side)
    buckets = _list(side.get("buckets", []), f"{name}.buckets")
    return Counts(
        _number(side.get("requests"), f"{name}.requests"),
        _number(side.get("errors"), f"{name}.errors"),
        tuple(_number(count, f"{name}.buckets.{place}") for place, count in enumerate(buckets)),
        _pods(side.get("pods", []), f"{name}.pods"),
    )


def _values(values: Any) -> tuple[Value, ...]:
    """The values of checks with a query. What is odd in one of them is said by its check; the cell stands."""
    if not isinstance(values, dict):
        _expected("values", 'a check\'s name and {"stable", "canary"}', values)
    return tuple(_value(check, sides) for check, sides in values.items())


def _value(check: str, sides: Any) -> Value:
    try:
        if not isinstance(sides, dict):
            _expected(f"values.{check}", '{"stable"?, "canary"}', sides)
        stable, canary = (
            None if sides.get(side) is None else _number(sides[side], f"values.{check}.{side}")
            for side in ("stable", "canary")
        )
    except Misshapen as odd:
        return Value(check, None, None, str(odd))
    return Value(check, stable, canary)


def _pods(pods: Any, where: str) -> tuple[tuple[float, float], ...]:
    found = []
    for place, pod in enumerate(_list(pods, where)):
        if not isinstance(pod, list) or len(pod) != 2:
            _expected(f"{where}.{place}", "[requests, errors]", pod)
        found.append((_number(pod[0], f"{where}.{place}.0"), _number(pod[1], f"{where}.{place}.1")))
    return tuple(found)


def _list(value: Any, where: str) -> list[Any]:
    return value if isinstance(value, list) else _expected(where, "a list", value)


def _number(value: Any, where: str) -> float:
    """Any number, also NaN and infinity: what cannot be a count is the judge's to refuse."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        _expected(where, "a number", value)
    return _float(value)


def _float(value: float) -> float:
    """A number as one of finite size, or infinity."""
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _integer(text: str) -> float:
    """An integer; one that is too long for Python to read is infinite, as a number of that size is."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _expected(where: str, what: str, found: Any) -> NoReturn:
    raise Misshapen(f"{where}: expected {what}, got {'nothing' if found is None else _shown(found)}")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "lists in lists without an end"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."

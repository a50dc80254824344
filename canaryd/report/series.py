"""
A run over time: evidence after each cell; failures, slow requests and the share observed in stretches of cells.

The journal kept what the judge said at each tick, and is preferred: it is what the machine decided by. Without it the
cells are judged again, which gives the same numbers, because the judge is a pure fold over them; of thinned cells it
does not, and then the evidence is shown that the run kept as the grounds of its decisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd import judge
from canaryd.judge import comparison, exposure, objectives
from canaryd.judge.mixture import worth
from canaryd.model.cells import Cell, Counts, Gap
from canaryd.model.check import Check
from canaryd.model.evidence import Evidence
from canaryd.model.judgement import JudgeState
from canaryd.model.run import PROVEN, Run
from canaryd.model.traffic import EVERYTHING, Split

Journal = Iterable[Mapping[str, Any]]
STRETCHES = 60
"""About how many points a curve has at most: more cannot be told apart, and their bands would hide each other."""


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence at the end of a cell (Unix seconds); ``proof`` is of that cell's segment."""

    at: float
    segment: int
    harm: float
    proof: float


def evidence_over_time(run: Run, journal: Journal = ()) -> tuple[Point, ...]:
    """The evidence after each cell, from the journal if it holds any, else from the cells or the run's grounds."""
    if points := recorded(journal):
        return points
    points = replayed(run)
    return points if _as_then(run, points) else grounded(run)


def _as_then(run: Run, points: Sequence[Point]) -> bool:
    """Whether what the cells give is what the judge said then, wherever that is known."""
    again = {point.at: point for point in points}
    for ground in grounded(run):
        if (point := again.get(ground.at)) and not (
            math.isclose(point.harm, ground.harm) and math.isclose(point.proof, ground.proof)
        ):
            return False
    return True


def grounded(run: Run) -> tuple[Point, ...]:
    """The evidence that decisions stood on, since the judge last began anew: a point for each."""
    return tuple(
        Point(one.until, one.evidence.segment, one.evidence.harm, one.evidence.proof)
        for one in run.grounds
        if one.evidence and one.evidence.segment is not None and one.evidence.segment >= run.judged_from
    )


def recorded(journal: Journal) -> tuple[Point, ...]:
    """The evidence as the journal has it: one point for each entry that brought cells."""
    points = []
    for entry in journal:
        saw = entry.get("saw") or {}
        cells, evidence = saw.get("cells") or (), saw.get("evidence")
        if cells and evidence:
            points.append(
                Point(cells[-1]["end"], cells[-1]["segment"], _some(evidence["harm"]), _some(evidence["proof"]))
            )
    return tuple(points)


def _some(value: float | None) -> float:
    """JSON has no infinity; what was beyond all numbers is null there."""
    return math.inf if value is None else value


def replayed(run: Run) -> tuple[Point, ...]:
    """The evidence from judging the run's cells again; those before the judge last began anew are left out."""
    analysis = run.plan.spec.analysis
    state, points = judge.begin(analysis, run.past_cells), []
    for cell in run.cells:
        if cell.segment < run.judged_from:
            continue
        state = judge.advance(analysis, state, cell)
        evidence = judge.weigh(analysis, state)
        points.append(Point(cell.end, cell.segment, evidence.harm, evidence.proof))
    return tuple(points)


def last_word(run: Run) -> Evidence | None:
    """The judge's last word on the canary beside stable: at 100 % there is nothing left to compare it with."""
    if run.phase not in PROVEN:
        return run.evidence
    splits = {segment.index: segment.split for segment in run.segments}
    beside = (one.evidence for one in reversed(run.grounds) if one.evidence)
    return next((one for one in beside if one.segment is not None and splits.get(one.segment) != EVERYTHING), None)


def _last_state(run: Run) -> JudgeState:
    """The judge after the last cell in which the canary stood beside stable."""
    if run.phase not in PROVEN and run.judged is not None:
        return run.judged
    analysis = run.plan.spec.analysis
    state = judge.begin(analysis, run.past_cells)
    for cell in run.cells:
        if cell.segment >= run.judged_from and cell.split != EVERYTHING:
            state = judge.advance(analysis, state, cell)
    return state


def bounds_of(run: Run) -> Evidence:
    """The run's evidence; before the first cell that of no cell at all, which holds the bounds."""
    analysis = run.plan.spec.analysis
    return run.evidence or judge.weigh(analysis, judge.begin(analysis))


def error_rate(counts: Counts) -> float | None:
    """The share of failed requests, None where there were none."""
    return counts.errors / counts.requests if counts.requests else None


def measured(run: Run) -> tuple[Cell, ...]:
    """The cells that hold data."""
    return tuple(cell for cell in run.cells if isinstance(cell, Cell))


@dataclass(frozen=True, slots=True)
class Rate:
    """
    ``count`` of ``total`` requests; the ``share`` lies between ``low`` and ``high`` with a confidence of 95 %.

    The band is Wilson's interval, each point for itself: for people who look once. Decisions have bounds of their own.
    """

    count: float
    total: float
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, count: float, total: float) -> Rate | None:
        """The rate, None of no requests."""
        if total <= 0:
            return None
        low, high = exposure.interval(min(count, total), total)
        return cls(count, total, count / total, low, high)


@dataclass(frozen=True, slots=True)
class Stretch:
    """
    Some ``cells`` in a row under one split, from ``start`` to ``end`` (Unix seconds), added up.

    ``stable`` and ``canary`` are the failed among the requests of each side, ``observed`` the canary's among the
    requests of both, as callers counted them: failures that no version can be named for are the canary's.
    """

    segment: int
    start: float
    end: float
    cells: int
    wanted: Split
    stable: Rate | None
    canary: Rate | None
    observed: Rate | None


@dataclass(frozen=True, slots=True)
class SlowStretch:
    """The requests that did not fail and took longer than a bound, among those of each side that did not fail."""

    segment: int
    start: float
    end: float
    stable: Rate | None
    canary: Rate | None


@dataclass(frozen=True, slots=True)
class Slow:
    """How much of the traffic is slower than ``bound_ms``, for each of ``checks``; ``why`` says why that bound."""

    bound_ms: float
    checks: tuple[str, ...]
    why: str
    stretches: tuple[SlowStretch, ...]


def stretches(run: Run) -> tuple[Stretch, ...]:
    """The run's cells in stretches: none goes beyond its segment, or over a gap."""
    return tuple(
        Stretch(
            cells[0].segment,
            cells[0].start,
            cells[-1].end,
            len(cells),
            cells[0].split,
            Rate.of(*_failed(cell.stable for cell in cells)),
            Rate.of(*_failed(cell.canary for cell in cells)),
            Rate.of(*map(math.fsum, zip(*map(_sent, cells), strict=True))),
        )
        for cells in _groups(run)
    )


def slow(run: Run) -> tuple[Slow, ...]:
    """The slow requests over time, bound by bound; none where no check asks for latency."""
    groups = list(_groups(run))
    return tuple(
        Slow(bound, checks, why, tuple(_slow(bound, cells) for cells in groups)) for bound, checks, why in _bounds(run)
    )


def _groups(run: Run) -> Iterator[list[Cell]]:
    size = max(1, math.ceil(len(run.cells) / STRETCHES))
    group: list[Cell] = []
    for cell in run.cells:
        if group and (isinstance(cell, Gap) or cell.segment != group[-1].segment or len(group) == size):
            yield group
            group = []
        if isinstance(cell, Cell):
            group.append(cell)
    if group:
        yield group


def _failed(counts: Iterable[Counts]) -> tuple[float, float]:
    gathered = tuple(counts)
    return math.fsum(one.errors for one in gathered), math.fsum(one.requests for one in gathered)


def _sent(cell: Cell) -> tuple[float, float]:
    """(what was sent to the canary, to both)."""
    sent = cell.all_canary + cell.unattributed
    return sent, sent + cell.all_stable


def _slow(bound: float, cells: Sequence[Cell]) -> SlowStretch:
    known = [(cell, cell.bounds_ms.index(bound)) for cell in cells if bound in cell.bounds_ms]
    stable = [comparison.split_at(cell.stable.buckets, place) for cell, place in known]
    canary = [comparison.split_at(cell.canary.buckets, place) for cell, place in known]
    return SlowStretch(cells[0].segment, cells[0].start, cells[-1].end, _summed(stable), _summed(canary))


def _summed(pairs: Sequence[tuple[float, float]]) -> Rate | None:
    return Rate.of(math.fsum(pair[0] for pair in pairs), math.fsum(pair[1] for pair in pairs))


def _bounds(run: Run) -> list[tuple[float, tuple[str, ...], str]]:
    """The bucket bounds (ms) that latency checks are about, each with its checks and why it is that one."""
    state, analysis = _last_state(run), run.plan.spec.analysis
    found: dict[float, tuple[tuple[str, ...], str]] = {}
    for check, one in zip(analysis.checks, state.checks, strict=True):
        if check.metric != "latency" or not state.history.bounds:
            continue
        if check.compare:
            rising = worth(one.wager) >= bounds_of(run).hold_bound
            place: int | None = comparison.place_shown(check, one, rising)
            why = _why(rising=rising)
        else:
            place, why = objectives.place_of(state.history.bounds, objectives.within_ms(check)), _objective(check)
        if place is not None and place < len(state.history.bounds):
            bound = state.history.bounds[place]
            checks, told = found.get(bound, ((), why))
            found[bound] = (*checks, check.name), told
    return [(bound, *found[bound]) for bound in sorted(found)]


def _why(*, rising: bool) -> str:
    if rising:
        return "the bound of the histogram at which the canary differs most from stable"
    return "the first bound of the histogram that few of stable's requests exceed"


def _objective(check: Check) -> str:
    return f"the objective of {check.name}, or the next bound of the histogram above"

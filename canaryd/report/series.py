"""
A run over time: evidence after each cell, and error rates per cell.

The journal kept what the judge said at each tick, and is preferred: it is what the machine decided by. Without it the
cells are judged again, which gives the same numbers, because the judge is a pure fold over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd import judge
from canaryd.model.cells import Cell, Counts
from canaryd.model.evidence import Evidence
from canaryd.model.run import PROVEN, Run
from canaryd.model.traffic import EVERYTHING

Journal = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence at the end of a cell (Unix seconds); ``proof`` is of that cell's segment."""

    at: float
    segment: int
    harm: float
    proof: float


def evidence_over_time(run: Run, journal: Journal = ()) -> tuple[Point, ...]:
    """The evidence after each cell, from the journal if it holds any, else from the cells."""
    return recorded(journal) or replayed(run)


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
    analysis = run.plan.spec.analysis
    state = judge.begin(analysis, run.past_cells)
    for cell in run.cells:
        if cell.segment >= run.judged_from and cell.split != EVERYTHING:
            state = judge.advance(analysis, state, cell)
    return judge.weigh(analysis, state)


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

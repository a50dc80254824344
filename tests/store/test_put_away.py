"""A run that is over takes little room, in the API server and in memory."""

from __future__ import annotations

from dataclasses import replace

from canaryd.model.cells import Cell
from canaryd.model.run import Outcome, Record
from canaryd.store import objects
from tests.report.real import real


def test_a_run_that_is_over_keeps_how_it_went_and_nothing_for_a_next_cell() -> None:
    """Its newest cells stay whole; the judge's state and stable's history go."""
    run = replace(real("promoted").run, released=True)
    away = objects.put_away(run)
    assert away.judged is None
    assert away.past is None
    assert (away.outcome, away.reason, away.evidence) == (Outcome.PROMOTED, run.reason, run.evidence)
    assert len(away.cells) == len(run.cells)
    assert away.cells == run.cells
    assert away.grounds == run.grounds != ()
    owner = {"metadata": {"uid": "u-1"}}
    read = objects.record_of(
        {**objects.record_object(Record(replace(away, kept="canaryrun"), 3), owner), "metadata": {"name": run.uid}}
    )
    assert read.run == replace(away, kept="canaryrun")


def test_of_very_many_cells_the_newest_are_kept() -> None:
    """Days of holding are told by the journal."""
    run = real("promoted").run
    many = replace(run, cells=run.cells * (objects.KEPT_CELLS // len(run.cells) + 1))
    away = objects.put_away(many).cells
    assert len(away) == objects.KEPT_CELLS
    assert away[-objects.FULL_CELLS :] == many.cells[-objects.FULL_CELLS :]
    assert [cell.canary.requests for cell in away if isinstance(cell, Cell)] == [
        round(cell.canary.requests, 2) for cell in many.cells[-objects.KEPT_CELLS :] if isinstance(cell, Cell)
    ]
    assert not any(cell.bounds_ms for cell in away[: -objects.FULL_CELLS] if isinstance(cell, Cell))

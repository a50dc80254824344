"""A run that is over takes little room, in the API server and in memory."""

from __future__ import annotations

from dataclasses import replace

from canaryd.model.cells import Cell
from canaryd.model.run import Outcome, Phase, Record
from canaryd.store import objects
from tests.stage import Stage, plan


def test_a_run_that_is_over_keeps_how_it_went_and_nothing_for_a_next_cell() -> None:
    """Its counts stay, to a hundredth; its buckets, the judge's state and stable's history go."""
    stage = Stage(plan=plan())
    stage.until(Phase.PROMOTED)
    run = replace(stage.run, released=True)
    away = objects.put_away(run)
    assert away.judged is None
    assert away.past is None
    assert (away.outcome, away.reason, away.evidence) == (Outcome.PROMOTED, run.reason, run.evidence)
    assert len(away.cells) == len(run.cells)
    assert [cell.canary.requests for cell in away.cells if isinstance(cell, Cell)] == [
        cell.canary.requests for cell in run.cells if isinstance(cell, Cell)
    ]
    owner = {"metadata": {"uid": "u-1"}}
    read = objects.record_of(
        {**objects.record_object(Record(replace(away, kept="canaryrun"), 3), owner), "metadata": {"name": run.uid}}
    )
    assert read.run == replace(away, kept="canaryrun")


def test_of_very_many_cells_the_newest_are_kept() -> None:
    """Days of holding are told by the journal."""
    stage = Stage(plan=plan())
    stage.until(Phase.PROMOTED)
    many = replace(stage.run, cells=stage.run.cells * (objects.KEPT_CELLS // len(stage.run.cells) + 1))
    assert objects.put_away(many).cells[-1] == objects.put_away(stage.run).cells[-1]
    assert len(objects.put_away(many).cells) == objects.KEPT_CELLS

"""A run keeps what its decisions stood on: the evidence of then, not of now."""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine import decide
from canaryd.model.cells import Cell
from canaryd.model.decision import Observation, Told
from canaryd.model.run import GROUNDS, Command, Phase
from tests.stage import Stage, evidence, plan


def test_each_decision_finds_the_evidence_of_its_tick() -> None:
    """Also the decisions that follow it at once, which stand on the same."""
    stage, then = Stage(plan=plan(5, 50)), {}
    while not stage.run.final:
        stage.says = {"harm": stage.now}
        decision = stage.tick()
        if decision.events:
            then[stage.now] = stage.run.evidence
    grounds = stage.run.grounds
    assert len(grounds) > 2
    for at, known in then.items():
        found = [one.evidence for one in grounds if one.at <= at]
        assert (found[-1] if found else None) == known, at
    assert len({one.at for one in grounds}) == len(grounds)
    assert set(then) >= {one.at for one in grounds}


def test_it_says_on_how_many_cells_it_stands() -> None:
    """Those of its own segment, and until when: a report has it when they are thinned."""
    stage = Stage(plan=plan(5, 50))
    run = stage.until(Phase.PROMOTED)
    for one in run.grounds:
        assert one.evidence is not None
        under = [cell for cell in run.cells if cell.segment == one.evidence.segment and cell.end <= one.until]
        assert one.cells == sum(isinstance(cell, Cell) for cell in under) > 0
        assert one.until == under[-1].end < one.at


def test_a_tick_that_decides_nothing_leaves_no_ground() -> None:
    """Or a run that bakes for a day would keep the evidence of a day."""
    stage = Stage(plan=plan(5, 50))
    stage.baking()
    stage.says = {"harm": 1.5}
    before = stage.run.grounds
    while not stage.tick().events:
        assert stage.run.grounds == before
    assert stage.run.grounds != before


def test_the_newest_are_kept() -> None:
    stage = Stage(plan=plan(5, 50))
    run = stage.baking()
    for number in range(GROUNDS + 20):
        void = Command(str(number), "adopt", by="ada")
        run = replace(run, evidence=evidence(segment=0, harm=float(number)))
        decision = decide(run, Observation(stage.now, stage.mesh, stage.pods, (), None, None, "", (void,)))
        assert [event.told for event in decision.events] == [Told.COMMAND_VOID]
        run = decision.run
    assert len(run.grounds) == GROUNDS
    assert run.grounds[-1].evidence.harm == GROUNDS + 19


def test_what_begins_over_stands_on_nothing_that_was_before() -> None:
    """The evidence was of another image."""
    stage = Stage(plan=plan(5, 50))
    stage.baking(step=1)
    assert stage.run.grounds[-1].evidence is not None
    stage.sides(canary={"hashes": ("hash-other",)})
    stage.until(lambda run: run.restarts == 1)
    assert stage.run.evidence is None
    assert stage.run.grounds[-1].evidence is not None, "to begin over was decided on what was known then"
    stage.until(lambda run: run.phase is Phase.SHIFTING)
    assert (stage.run.grounds[-1].evidence, stage.run.grounds[-1].cells) == (None, 0)

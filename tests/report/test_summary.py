"""What a run came to."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from canaryd.judge.shares import hold_bound
from canaryd.model.cells import Cell
from canaryd.model.run import Outcome
from canaryd.model.traffic import Split
from canaryd.report.series import replayed
from canaryd.report.summary import summary, table
from tests.report import stories


def test_a_promotion_reached_every_weight():
    run, _ = stories.promoted()
    came_to = summary(run)
    assert came_to.outcome is Outcome.PROMOTED
    assert came_to.weights == tuple(Split.percent(weight) for weight in (5, 25, 50, 100))
    assert came_to.detection is None
    assert came_to.reason == run.reason
    assert came_to.seconds == run.ended - run.created


def test_requests_are_those_of_the_cells():
    """A gap is no request, and no side's errors are the other's."""
    run, _ = stories.promoted()
    cells = [cell for cell in run.cells if isinstance(cell, Cell)]
    assert len(cells) < len(run.cells)
    came_to = summary(run)
    assert came_to.served == sum(cell.stable.requests + cell.canary.requests for cell in cells)
    assert came_to.harmed == sum(cell.canary.errors for cell in cells)
    assert came_to.stable.errors == sum(cell.stable.errors for cell in cells)


def test_a_rollback_says_how_long_it_took():
    """From the canary's first request to the mesh without it: that is what the release cost."""
    run, _ = stories.rolled_back()
    found = summary(run).detection
    assert found is not None
    assert found.exposed == run.cells[0].start
    assert found.decided == run.latch.at
    assert found.back == run.arrived_at
    assert found.seconds == run.arrived_at - run.cells[0].start
    bound = hold_bound(run.plan.spec.analysis)
    before = [point.harm for point in replayed(run) if point.at < found.suspected]
    assert all(harm < bound for harm in before)
    assert found.exposed < found.suspected <= found.decided <= found.back


def test_an_abort_was_not_suspected():
    found = summary(stories.aborted()[0]).detection
    assert found is not None
    assert found.suspected is None


def test_a_weight_that_never_arrived_was_not_reached():
    run, _ = stories.baking()
    lost = replace(run, arrived_at=None)
    assert summary(run).weights == (Split.percent(5), Split.percent(25))
    assert summary(lost).weights == (Split.percent(5),)


def test_a_promotion_without_proof_is_marked():
    run, _ = stories.promoted()
    assert summary(run).sentence == "promoted"
    assert summary(replace(run, unproven="ada: urgent")).sentence == "promoted without proof"
    accepted = replace(run, reason="unproven, accepted by the plan: a small fix")
    assert summary(accepted).sentence == "promoted without proof"


def test_the_table_holds_what_the_demo_promises():
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table(summary(story()[0]) for story in (stories.promoted, stories.rolled_back)))
    text = " ".join(capture.get().split())
    good, bad = (summary(story()[0]) for story in (stories.promoted, stories.rolled_back))
    for expected in ("5, 25, 50, 100 %", f"{good.served:,.0f}", f"{bad.harmed:,.0f} (", good.reason, bad.reason, "3m"):
        assert expected in text

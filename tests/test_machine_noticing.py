"""
What is said of the traffic beside the evidence: what callers and pods count differently.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine import decide
from canaryd.machine.noticing import noted
from canaryd.model.cells import Cell, Counts
from canaryd.model.decision import Unseen
from canaryd.model.run import Run
from tests.stage import Stage, plan


def seen(canary: Counts, *, uninjected: float = 0.0, ready: int = 2) -> str:
    """What is said after a bake in which each cell had these counts."""
    stage = Stage(plan=plan(50))
    stage.baking()
    stage.sides(canary={"ready": ready, "desired": ready})
    run = stage.rest(60)
    cells = [replace(one, canary=canary, uninjected=uninjected) if isinstance(one, Cell) else one for one in run.cells]
    return noted(replace(run, cells=tuple(cells)), stage.see())


def test_nothing_is_said_of_traffic_that_is_as_it_seems() -> None:
    """A few requests more at the pods are a scrape that was later."""
    assert seen(Counts(100, 0, pods=((54, 0), (53, 0)))) == ""
    assert seen(Counts(100, 0)) == "", "pods may count nothing: the Telemetry API can turn that off"


def test_attempts_that_callers_do_not_count_are_said() -> None:
    """A retry that succeeds hides a failure from users, and from the verdict."""
    assert seen(Counts(100, 0, pods=((70, 35), (65, 30)))).startswith(
        "the canary's pods counted 1.4 attempts per request: retries that hide failures"
    )


def test_ready_pods_that_get_nothing_are_said() -> None:
    """Outlier detection takes a bad pod out of the figures, and its capacity with it."""
    assert seen(Counts(100, 0, pods=((100, 0),)), ready=3).startswith("2 of 3 ready canary pods got no request")
    assert seen(Counts(3, 0, pods=((3, 0),)), ready=3) == "", "so few requests need not meet every pod"


def test_callers_without_a_sidecar_are_said() -> None:
    """No weight holds for them."""
    said = seen(Counts(100, 0, pods=((54, 0), (53, 0))), uninjected=400)
    assert said.startswith("1,200 requests came from callers without a sidecar, beside 1,800 that were measured")


def test_pods_that_cannot_be_seen_are_not_called_silent() -> None:
    """How many are ready is then not known."""
    stage = Stage(plan=plan(50))
    stage.baking()
    stage.rest(60)
    stage.pods = Unseen("no answer")
    run = stage.run
    cells = [replace(one, canary=Counts(500, 0, pods=((500, 0),))) for one in run.cells if isinstance(one, Cell)]
    assert noted(replace(run, cells=tuple(cells)), stage.see()) == ""


def test_what_is_noticed_is_kept_with_the_evidence_and_decides_nothing() -> None:
    """The live table, explain and the report show it."""

    def walked(uninjected: float) -> Run:
        stage = Stage(plan=plan(50))
        stage.baking()
        for _ in range(12):
            stage.now += 5
            found = stage.see()
            cells = [replace(one, uninjected=uninjected) if isinstance(one, Cell) else one for one in found.cells]
            stage.run = decide(stage.run, replace(found, cells=tuple(cells))).run
        return stage.run

    noisy, quiet = walked(400.0), walked(0.0)
    assert noisy.evidence is not None
    assert "without a sidecar" in noisy.evidence.notes
    assert (noisy.phase, noisy.split, noisy.step) == (quiet.phase, quiet.split, quiet.step)

"""
A cap on harmed requests: beyond it a run fails at once and for good, whatever the evidence says.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.model.harm import Harmed
from canaryd.model.run import Outcome, Phase
from canaryd.model.traffic import NOTHING
from tests.stage import Stage, percent, plan

CAPPED = plan(5, 25, 50, analysis={"maxHarmed": 500})


def test_beyond_the_cap_a_run_fails_at_once() -> None:
    """In the tick in which the count comes in, with no evidence of harm at all."""
    stage = Stage(plan=CAPPED)
    stage.baking(1)
    stage.harmed = Harmed(512.4)
    stage.until(lambda run: run.latch is not None, within=30)
    assert stage.splits[-1] == NOTHING
    run = stage.until(Phase.ROLLED_BACK)
    assert run.outcome is Outcome.FAILED
    assert run.reason == (
        "harmed: about 512 requests failed at the canary beyond stable's rate (of at most 500, maxHarmed)"
    )


def test_the_cap_itself_is_still_allowed() -> None:
    """At most 500 means that 500 may be."""
    stage = Stage(plan=CAPPED, harmed=Harmed(500.0))
    assert stage.until(Phase.PROMOTED).outcome is Outcome.PROMOTED


def test_without_a_cap_the_count_decides_nothing() -> None:
    """It is told, and the evidence decides."""
    stage = Stage(harmed=Harmed(9_999.0))
    run = stage.until(Phase.PROMOTED)
    assert run.harmed_so_far.startswith("harmed: about 9,999 requests failed")


def test_it_holds_over_a_new_canary_image() -> None:
    """The cap is the run's: what the former image cost counts on, and the new one does not begin again beyond it."""
    stage = Stage(plan=CAPPED, harmed=Harmed(480.0))
    stage.baking(1)
    stage.sides(canary={"hashes": ("new",), "rolled_out": False})
    assert stage.rest(60).harmed == Harmed(480.0)
    stage.sides(canary={"hashes": ("new",)})
    stage.harmed = Harmed(501.0)
    run = stage.until(Phase.ROLLED_BACK)
    assert run.outcome is Outcome.FAILED
    assert stage.splits[-2:] == [percent(5), NOTHING]


def test_a_run_that_waits_to_start_over_does_not_when_it_is_beyond_the_cap() -> None:
    """The former image's last cells were asked for already: they come in while the run stands at 0 %."""
    stage = Stage(plan=CAPPED)
    stage.baking(1)
    stage.sides(canary={"hashes": ("new",), "rolled_out": False})
    assert stage.rest(60).phase is Phase.PENDING
    stage.sides(canary={"hashes": ("new",)})
    stage.run = replace(stage.run, harmed=Harmed(501.0))
    before = len(stage.splits)
    assert stage.until(Phase.ROLLED_BACK).outcome is Outcome.FAILED
    assert set(stage.splits[before:]) <= {NOTHING}


def test_beyond_the_cap_nothing_rises_again() -> None:
    """Latched: what is paid back afterwards calls no rollback back."""
    stage = Stage(plan=CAPPED, harmed=Harmed(501.0))
    stage.until(lambda run: run.latch is not None)
    stage.harmed = Harmed(0.0)
    run = stage.rest(600)
    assert (run.phase, run.split) == (Phase.ROLLED_BACK, NOTHING)

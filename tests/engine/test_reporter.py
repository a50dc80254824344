"""Whose counts a run reads: learned as it begins, kept in its own plan, and never changed after that."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import pytest
import structlog

from canaryd.engine.admission import begin
from canaryd.errors import Unavailable
from canaryd.model.cells import Cell, Sought, Window, reporter_of
from canaryd.model.plan import Plan
from canaryd.model.run import Outcome, Run
from canaryd.model.traffic import NOTHING
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import at, surroundings
from tests.metrics.book import Book
from tests.store.memory import MemoryStore
from tests.world import Remembered, World, ports, small_plan


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Behind(Remembered):
    """The same counts, as a waypoint reports them, and nobody else."""

    answers: dict = {}  # type: ignore[misc,type-arg]  # noqa: RUF012  # of its own, not those of the other reporter

    def __init__(self, canary_errors: float = 0.001) -> None:
        super().__init__(canary_errors)
        counters = self._book

        def book(sought: Sought, window: Window) -> Book:
            found = counters(sought, window)
            found.series = [replace(one, labels={**one.labels, "reporter": "waypoint"}) for one in found.series]
            return found

        self._book = book


class Silent(Remembered):
    def reporters(self, sought: Sought) -> Mapping[str, float]:
        raise Unavailable("too slow")


def begun(metrics: Remembered, reporter: Literal["auto", "source", "waypoint"] = "auto") -> Run:
    plan = small_plan(analysis={"reporter": reporter})
    mesh = MemoryMesh(at(100, 0), surroundings())
    return begin(plan, ports(mesh, metrics, MemoryStore())).record.run


@pytest.mark.parametrize(("errors", "outcome"), [(0.001, Outcome.PROMOTED), (0.1, Outcome.FAILED)])
def test_a_run_behind_a_waypoint_is_carried_out_by_its_counts(errors: float, outcome: Outcome) -> None:
    """From the plan to the verdict: the callers' own proxies report nothing at all."""
    world = World(plan=begun(Behind()).plan)
    world.metrics = Behind(errors)
    world.start()
    run = world.live()
    assert run.outcome is outcome, run.reason
    assert all(cell.canary.requests for cell in run.cells if isinstance(cell, Cell) and cell.split != NOTHING)


def test_who_counts_is_learned_and_kept_in_the_run() -> None:
    """A restart, or another leader, measures what was measured before."""
    assert begun(Behind()).plan.spec.analysis.reporter == "waypoint"
    assert begun(Remembered(0.001)).plan.spec.analysis.reporter == "source"
    assert begun(Silent(0.001)).plan.spec.analysis.reporter == "source"


def test_who_counts_most_is_read() -> None:
    """And where nobody does, or both as much, the callers."""
    assert reporter_of({"source": 5.0, "waypoint": 95.0}) == "waypoint"
    assert reporter_of({"source": 95.0, "waypoint": 5.0}) == "source"
    assert reporter_of({"source": 5.0, "waypoint": 5.0}) == reporter_of({}) == "source"


def test_the_plan_s_word_goes_before_what_is_seen() -> None:
    """Somebody may know that the waypoint has been there for a minute only."""
    assert begun(Remembered(0.001), "source").plan.spec.analysis.reporter == "source"
    asked = begun(Behind(), "waypoint").plan.spec.analysis
    assert asked.sought(("h",), "n", (), (), asker="n", called="h").reporter == "waypoint"


def test_what_was_learned_is_no_edit_of_the_plan() -> None:
    """Else each tick would tell a person that the plan was edited; a word of the plan's that differs is one."""
    plan, run = small_plan(), begun(Behind())
    assert plan.same_as(run.plan)
    assert not small_plan(analysis={"reporter": "source"}).same_as(run.plan)
    assert small_plan(analysis={"reporter": "waypoint"}).same_as(run.plan)


def test_a_run_saved_before_reads_the_callers_proxies() -> None:
    """There was no choice then, and what it has counted must go on being counted."""
    content = small_plan().model_dump(mode="json", by_alias=True)
    del content["spec"]["analysis"]["reporter"]
    analysis = Plan.model_validate(content).spec.analysis
    assert analysis.sought(("h",), "n", (), (), asker="n", called="h").reporter == "source"

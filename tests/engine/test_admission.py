"""How a run begins: what the records of other plans have to say to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.engine.admission import begin
from canaryd.errors import Unavailable
from canaryd.model.cells import Pace
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.run import Outcome, Phase, Record, Run
from canaryd.model.traffic import Entry
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import at, surroundings
from tests.stage import new_run
from tests.store.memory import MemoryStore
from tests.world import START, Remembered, ports, small_plan


def another(**changes: Any) -> Run:
    """A run of the plan ``rival`` on the same entry, that has written nothing yet."""
    plan = small_plan()
    rival = plan.model_copy(update={"metadata": plan.metadata.model_copy(update={"name": "rival"})})
    return replace(new_run(rival), uid="rival-1", **changes)


def begun(store: MemoryStore, plan: Plan | None = None, metrics: Remembered | None = None) -> Run:
    mesh = MemoryMesh(at(100, 0), surroundings())
    return begin(plan or small_plan(), ports(mesh, metrics or Remembered(0.0), store)).record.run


def test_an_entry_that_another_plan_is_about_to_move_is_not_free() -> None:
    """Before its first write there is no marker that would say so; with the command that ends it."""
    store = MemoryStore()
    store.save(Record(another()))
    with pytest.raises(Refused, match="about to be moved by plan default/rival, run rival-1") as refused:
        begun(store)
    assert "canaryd abort rival" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"arrived_at": START, "seq": 1},
        {"phase": Phase.ROLLED_BACK, "outcome": Outcome.ABORTED, "released": True},
        {"route": replace(new_run(small_plan()).route, entries=(Entry(1),))},
        {"route": replace(new_run(small_plan()).route, virtual_service="elsewhere")},
        {"plan": small_plan(mode="observe")},
    ],
    ids=["it has a marker that speaks for it", "it has ended", "another entry", "another object", "it only observes"],
)
def test_what_is_in_nobodys_way_stops_nothing(changes: dict[str, Any]) -> None:
    """Once the marker is there, the claim in the mesh is what counts."""
    store, run = MemoryStore(), another()
    if "plan" in changes:
        plan = changes["plan"]
        changes = {"plan": plan.model_copy(update={"metadata": plan.metadata.model_copy(update={"name": "rival"})})}
    store.save(Record(replace(run, **changes)))
    assert begun(store).plan.name == "reviews"


@pytest.mark.parametrize(
    ("converges", "scraped", "settles"),
    [
        (None, None, 2 + 15 + 5),
        (0.4, None, 2 + 15 + 5),
        (3.2, None, 24.0),
        (30.0, None, 50.0),
        (None, 5.0, 2 + 5 + 5),
        (3.2, 20.0, 29.0),
    ],
    ids=["nobody counts", "quicker than any", "a busy istiod", "in trouble", "scraped often", "scraped seldom"],
)
def test_the_settle_time_is_learned_once_and_kept(
    converges: float | None, scraped: float | None, settles: float
) -> None:
    """What istiod needs, a scrape, and Envoy's flush, rounded up; the cells lie on it also after a restart."""
    metrics = Remembered(0.0)
    metrics.converges, metrics.scraped = converges, scraped
    plan = small_plan(analysis={"settle": "auto", "scrape": "15s", "cell": "15s"})
    run = begun(MemoryStore(), plan, metrics)
    assert run.settles == run.settle == settles


def test_a_plan_that_says_its_settle_time_keeps_it() -> None:
    """Whatever istiod does."""
    metrics = Remembered(0.0)
    metrics.converges = 30.0
    run = begun(MemoryStore(), small_plan(), metrics)
    assert (run.settles, run.settle) == (None, 2.0)


def test_a_prometheus_that_does_not_tell_the_pace_stops_no_run() -> None:
    """It is asked for once, as the run begins; the least that is known to do is taken."""
    metrics = Remembered(0.0)
    metrics.pace = lambda sought: raised(Unavailable("no answer"))  # type: ignore[method-assign]
    plan = small_plan(analysis={"settle": "auto"})
    assert begun(MemoryStore(), plan, metrics).settle == 2 + 1 + 5


def raised(error: Exception) -> Pace:
    raise error

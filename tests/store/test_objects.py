"""Runs as objects and back: to the last bit, and small enough after a day."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from canaryd import judge
from canaryd.model.cells import Caller, Cell, Counts, Gap, Past, Portion, Segment, Value
from canaryd.model.run import GROUNDS, Ground, Hold, Latch, Outcome, Phase, Pin, Record, Run
from canaryd.model.traffic import Split
from canaryd.store import objects
from tests.stage import Stage, evidence, new_run, percent, plan

BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
OWNER = {"metadata": {"uid": "owner"}}
ORIGIN = 1_769_000_000.123457
KIB = 1024


def counts(chance: random.Random, rate: float, fraction: float) -> Counts:
    """Fifteen seconds of a service at ``rate`` requests a second, on three pods."""

    def some(mean: float) -> float:
        return max(0.0, round(chance.gauss(mean, mean**0.5)) + fraction * chance.random())

    shape = (0.0, 0.0, 0.02, 0.1, 0.3, 0.3, 0.15, 0.08, 0.03, 0.015, 0.004, 0.001)
    buckets = tuple(some(rate * 15 * share) for share in shape) + (0.0,) * (len(BOUNDS) + 1 - len(shape))
    errors = some(rate * 15 * 0.001)
    pods = tuple((some(rate * 5), some(rate * 5 * 0.001)) for _ in range(3))
    return Counts(sum(buckets) + errors, errors, buckets, pods, (("503 UF", errors),) if errors else ())


def a_day(fraction: float) -> Run:
    """24 h in cells of 15 s at a real service's traffic: three steps, gaps, a hold for the rest of the day."""
    chance = random.Random(7)
    long = plan(5, 25, 50, analysis={"cell": "15s", "settle": "30s"})
    origins = (ORIGIN, ORIGIN + 600.25, ORIGIN + 1500.125, ORIGIN + 3000.0625)
    segments = tuple(
        Segment(index, index, percent(share), origin)
        for index, (share, origin) in enumerate(zip((0, 5, 25, 50), origins, strict=True))
    )
    cells: list[Cell | Gap] = []
    state = None
    began = new_run(long, at=ORIGIN)
    run = replace(began, segments=segments, split=percent(50), phase=Phase.BAKING, step=2, arrived_at=origins[-1])
    for window in run.windows(ORIGIN + 24 * 3600):
        place = (window.segment, window.start, window.end, window.split, window.settled)
        if chance.random() < 0.02:
            cells.append(Gap(*place, "Prometheus answered with 503: query timed out"))
            continue
        stable = counts(chance, 300 * (1 - window.split.share), fraction)
        canary = counts(chance, 300 * window.split.share, fraction)
        seen = Value("queue", chance.random(), chance.random())
        callers = tuple(Caller(f"client-{name}.namespace-{name}", stable.requests / 21, 7.0) for name in range(21))
        cells.append(
            Cell(*place, BOUNDS, stable, canary, chance.randrange(2), chance.random(), values=(seen,), callers=callers)
        )
    grounds = []
    for place, cell in enumerate(cells[-300:]):
        state = judge.advance(long.spec.analysis, state or judge.begin(long.spec.analysis, ()), cell)
        if place % (300 // GROUNDS) == 0:
            grounds.append(Ground(cell.end + 20.0, judge.weigh(long.spec.analysis, state), place, cell.end))
    past = Past(0, tuple(replace(cell, segment=-1) for cell in cells[:120] if isinstance(cell, Cell)))
    said = judge.weigh(long.spec.analysis, state) if state else None
    said = replace(said, shared_from=origins[-1]) if said else None
    return replace(run, cells=tuple(cells), judged=state, past=past, evidence=said, grounds=tuple(grounds))


@pytest.mark.parametrize("fraction", [0.0, 1.0], ids=["whole counts", "fractional counts"])
def test_a_day_of_cells_stays_far_below_what_etcd_takes(fraction: float) -> None:
    """Bytes of the whole object, as it is sent; etcd's limit is 1.5 MiB, ours a quarter of it."""
    run = objects.thinned(a_day(fraction))
    found = objects.record_object(Record(run, 7), OWNER)
    size = len(json.dumps(found))
    assert len(run.cells) > 5700
    assert len(run.grounds) == GROUNDS
    assert size < 384 * KIB, f"{size / KIB:.0f} KiB"
    assert objects.record_of(json.loads(json.dumps(found))) == Record(run, 7)


def test_what_only_some_requests_amount_to_is_kept_with_a_cell() -> None:
    """All requests beside those that count, and what a check counts for itself; thinned with the rest."""
    run = a_day(0.0)
    pay = Portion("pay", Counts(7.0, 1.0), Counts(2.0, 1.0, causes=(("503", 1.0),)))
    run = replace(run, cells=tuple(_restricted(cell, pay) for cell in run.cells))
    found = objects.record_of(
        json.loads(json.dumps(objects.record_object(Record(run := objects.thinned(run), 7), OWNER)))
    )
    assert found == Record(run, 7)
    assert [cell.whole for cell in (run.cells[0], run.cells[-1]) if isinstance(cell, Cell)] == [None, (9.0, 3.0)]


def _restricted(cell: Cell | Gap, pay: Portion) -> Cell | Gap:
    return replace(cell, whole=(9.0, 3.0), portions=(pay,)) if isinstance(cell, Cell) else cell


def test_what_is_thinned_keeps_its_times_and_what_counts_for_the_bake() -> None:
    """The grid goes on where it was, and a step's PASS is not taken back."""
    run = a_day(1.0)
    thin = objects.thinned(run)
    places = [(cell.segment, cell.start, cell.end, cell.split, cell.settled, cell.kind) for cell in run.cells]
    assert [(cell.segment, cell.start, cell.end, cell.split, cell.settled, cell.kind) for cell in thin.cells] == places
    assert (len(thin.baked), thin.done) == (len(run.baked), run.done)
    assert thin.cells[-objects.FULL_CELLS :] == run.cells[-objects.FULL_CELLS :]
    assert (thin.judged, thin.past, thin.evidence) == (run.judged, run.past, run.evidence)
    assert objects.thinned(thin) is thin
    old, kept = run.cells[100], thin.cells[100]
    assert isinstance(old, Cell)
    assert isinstance(kept, Cell)
    assert kept.canary == Counts(round(old.canary.requests, 2), round(old.canary.errors, 2))


def test_a_run_that_is_held_for_days_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its step's bake needs is kept, however long ago it was, and gaps since are not."""
    monkeypatch.setattr(objects, "MOST_CELLS", 200)
    run = a_day(0.0)
    gaps = [Gap(3, cell.start, cell.end, cell.split, cell.settled, "away") for cell in run.cells[-1000:]]
    run = replace(run, cells=(*run.cells[:-1000], *gaps))
    few = objects.thinned(run)
    assert len(few.cells) <= 200
    assert len(few.baked) >= few.needed
    assert few.done == run.done
    assert objects.thinned(few) == few


def test_a_cell_off_the_grid_keeps_its_times() -> None:
    """Another cell length in a former version, or a clock that was set: exact all the same."""
    run = a_day(0.0)
    odd = replace(run.cells[0], start=run.cells[0].start + 0.1, end=run.cells[0].end + 0.3, split=Split(123))
    run = objects.thinned(replace(run, cells=(odd, *run.cells[1:])))
    found = objects.record_of(objects.record_object(Record(run, 1), OWNER))
    assert found.run == run


def full_run() -> Run:
    """Every field of a run set to something."""
    stage = Stage(plan=plan(gate_at=0, accept_unproven="tool"))
    stage.baking()
    return replace(
        stage.run,
        kept="canaryrun",
        judged=judge.begin(stage.run.plan.spec.analysis, ()),
        stable_pin=Pin(("a",), "default", ("u",), ("h",), 1.5),
        unready_since=0.1 + 0.2,
        approved=(0,),
        obeyed=("a", "b"),
        latch=Latch("fail", 'errors: "much"', 1.25, forced=True),
        hold=Hold("gate", "yes?", 1.0, None, "rollback", sticky=True),
        blind_since=3.0,
        unproven="so",
        outcome=Outcome.FAILED,
        reason="ä — why",
        ended=9.75,
        released=True,
    )


def test_every_field_comes_back() -> None:
    """A field that is forgotten is a run that does something else after a restart."""
    run = full_run()
    assert objects.record_of(objects.record_object(Record(run, 3), OWNER)) == Record(run, 3)


def test_a_run_begins_again_from_its_object() -> None:
    """As admission made it, but for the fraction of a second that a time of Kubernetes' kind cannot tell."""
    run = replace(new_run(plan(gate_at=1), at=ORIGIN, started_from=percent(2.5)), kept="canaryrun")
    found = json.loads(json.dumps(objects.run_object(run)))
    again = objects.begun(found)
    assert again == replace(run, waiting="about to start")


# -- what people see


def conditions(run: Run, **more: Any) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in objects.conditions_of(run, **more)}


@pytest.mark.parametrize(
    ("outcome", "promoted"),
    [
        (Outcome.PROMOTED, ("True", "Promoted")),
        (Outcome.FAILED, ("False", "Failed")),
        (Outcome.ABORTED, ("False", "Aborted")),
        (Outcome.INCONCLUSIVE, ("False", "Inconclusive")),
    ],
)
def test_every_ending_is_finished_and_one_is_promoted(outcome: Outcome, promoted: tuple[str, str]) -> None:
    """A pipeline waits for Finished, and then asks for Promoted."""
    phase = Phase.PROMOTED if outcome is Outcome.PROMOTED else Phase.ROLLED_BACK
    found = conditions(replace(new_run(plan()), phase=phase, outcome=outcome, reason="because", ended=1.0))
    assert found["Finished"] == ("True", promoted[1])
    assert found["Promoted"] == promoted


def test_before_the_end_nothing_is_promised() -> None:
    """Unknown is neither: `kubectl wait` goes on waiting for both."""
    found = conditions(new_run(plan()))
    assert found["Finished"] == ("False", "Pending")
    assert found["Promoted"] == ("Unknown", "NotFinished")
    assert found["Held"] == ("False", "NotHeld")
    assert found["PlanChanged"] == ("False", "AsItBegan")
    assert found["TrafficAsDecided"] == ("Unknown", "NothingShifted")


def test_what_was_seen_after_the_end_is_the_word_on_traffic() -> None:
    """Git put the weights back: said, though the run is over."""
    found = conditions(new_run(plan()), plan_changed="release 2", traffic=objects.Traffic(False, "v3 has 0 %"))
    assert found["TrafficAsDecided"] == ("False", "ChangedByOthers")
    assert found["PlanChanged"] == ("True", "Edited")


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """The time says since when, not when it was last written."""
    first = objects.timed(objects.conditions_of(new_run(plan())), (), 1000.0)
    held = replace(new_run(plan()), hold=Hold("drift", "by hand", 1.0, None))
    second = {one["type"]: one for one in objects.timed(objects.conditions_of(held), first, 2000.0, 4)}
    assert second["Finished"]["lastTransitionTime"] == "1970-01-01T00:16:40Z"
    assert second["Held"]["lastTransitionTime"] == "1970-01-01T00:33:20Z"
    assert second["Held"]["observedGeneration"] == 4


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, ""),
        ({"phase": Phase.PROMOTED, "outcome": Outcome.PROMOTED}, "PASS"),
        ({"phase": Phase.PROMOTED, "outcome": Outcome.PROMOTED, "unproven": "tool"}, "INCONCLUSIVE"),
        ({"latch": Latch("fail", "errors", 1.0)}, "FAIL"),
        ({"latch": Latch("abort", "no", 1.0)}, ""),
        ({"latch": Latch("inconclusive", "time", 1.0)}, "INCONCLUSIVE"),
        ({"hold": Hold("gate", "yes?", 1.0, None)}, ""),
        ({"phase": Phase.BAKING, "hold": Hold("gate", "yes?", 1.0, None)}, "PASS"),
        ({"hold": Hold("no-data", "blind", 1.0, None)}, "INCONCLUSIVE"),
        ({"evidence": evidence(segment=0, failure="errors")}, "FAIL"),
    ],
)
def test_the_verdict_in_one_word(changes: dict[str, Any], verdict: str) -> None:
    """Nothing where none is due: an open question is no result."""
    assert objects.verdict_of(replace(new_run(plan()), **changes)) == verdict


def test_a_status_is_bounded() -> None:
    """Fifty decisions, the last ones, and no field that is empty."""
    decisions = [{"event": "run.held", "reason": str(number)} for number in range(120)]
    status = objects.status_of(new_run(plan()), decisions, "kubectl patch")
    assert [one["reason"] for one in status["decisions"]] == [str(number) for number in range(70, 120)]
    assert "outcome" not in status
    assert status["breakGlass"] == "kubectl patch"


def test_a_sentence_that_is_too_long_is_cut_and_a_command_is_not() -> None:
    """Else the API server would refuse the whole status; half a command would do harm."""
    found = objects.clipped({"why": "x" * 9000, "breakGlass": "x" * 9000, "evidence": ["x" * 9000] * 120})
    assert (len(found["why"]), len(found["breakGlass"]), len(found["evidence"])) == (4096, 9000, 100)
    assert len(found["evidence"][0]) == 4096


def test_figures_alone_are_no_news() -> None:
    """Three of twelve cells or four: a minute is soon enough. Anything else is told."""
    run = replace(new_run(plan()), waiting="3 of 12 cells, 1,204 requests")
    assert objects.only_evidence_differs(replace(run, waiting="4 of 12 cells, 1,633 requests"), run)
    assert not objects.only_evidence_differs(replace(run, waiting="a person's yes"), run)
    assert not objects.only_evidence_differs(replace(run, seq=1), run)

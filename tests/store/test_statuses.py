"""Statuses: written at once when something happened, seldom while figures change, and never in anybody's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.kube import CANARY_PLANS, CANARY_RUNS, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Hold, Outcome, Phase, Record, Run
from canaryd.store import statuses
from canaryd.store.statuses import PlanStatuses, RunStatuses
from tests.stage import new_run, percent, plan
from tests.store.caches import Looked
from tests.store.places import NAMESPACE, Process, prepare

Object = dict[str, Any]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(Cluster()) as found:
        yield found


@pytest.fixture
def kube(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kube:
    monkeypatch.setattr(statuses, "PAUSES", (0.05, 0.2))
    found = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=2)
    prepare(found)
    return found


@pytest.fixture
def process(kube: Kube) -> Process:
    found = Process(kube)
    found.store.save(Record(new_run(plan())))
    return found


@pytest.fixture
def shown(process: Process) -> Iterator[RunStatuses]:
    found = RunStatuses(process.kube, process.runs)
    found.start()
    yield found
    found.stop()


def status(kube: Kube) -> Object:
    return dict(kube.get(CANARY_RUNS, NAMESPACE, "run-1").get("status") or {})


def until(reached: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def writes(server: ApiServer) -> int:
    return sum(one.verb == "patch" and one.resource.startswith("canaryruns") for one in server.requests)


def run(**changes: Any) -> Run:
    return replace(new_run(plan()), waiting="3 of 12 cells", **changes)


def entry(*events: tuple[str, str], split: int = 5000, **more: Any) -> Object:
    told = [list(one) for one in events]
    return {"at": 1_769_000_000.5, "phase": "baking", "split": split, "events": told} | more


def asked(verb: str, by: str) -> Object:
    return {"id": f"{verb}-{by}", "verb": verb, "by": by, "reason": "so"}


def test_what_happened_is_there_at_once(kube: Kube, shown: RunStatuses) -> None:
    """Phase, decisions, conditions, and the command for the worst case."""
    shown.tell("run-1", entry(("step.shifted", "5 % to v3")))
    shown.show(run(phase=Phase.BAKING, split=percent(5), seq=1), "kubectl patch virtualservice reviews")
    until(lambda: status(kube).get("phase") == "baking")
    found = status(kube)
    assert found["weight"] == "5 %"
    assert found["decisions"] == [
        {
            "at": "2026-01-21T12:53:20.500000Z",
            "event": "step.shifted",
            "phase": "baking",
            "weight": "5 %",
            "reason": "5 % to v3",
        }
    ]
    assert found["breakGlass"] == "kubectl patch virtualservice reviews"
    assert {one["type"] for one in found["conditions"]} >= {"Finished", "Promoted", "Held"}


def test_a_decision_says_who_asked_for_it(process: Process) -> None:
    """By the tick that obeyed the word; a word that was heard before is nobody's any more, under a new leader, too."""
    hold, resume, late = asked("hold", "ada"), asked("resume", "bob"), asked("resume", "eve")
    shown = RunStatuses(process.kube, process.runs)
    shown.start()
    saw = {"commands": [hold, resume, late]}
    shown.tell("run-1", entry(("run.held", "held by ada"), saw=saw, heard=["hold-ada"]))
    shown.tell("run-1", entry(saw=saw, heard=["resume-bob"]))  # it waits, and is carried out later
    shown.tell("run-1", entry(("step.shifted", "5 % to v3"), saw=saw, heard=[]))
    shown.tell("run-1", entry(("run.resumed", "no longer held"), ("step.passed", "step 1"), saw=saw, heard=[]))
    shown.show(run())
    shown.stop()
    told = [(one["event"], one.get("by")) for one in status(process.kube)["decisions"]]
    assert told == [("run.held", "ada"), ("step.shifted", None), ("run.resumed", "bob"), ("step.passed", "bob")]
    process.look()
    next_leader = RunStatuses(process.kube, process.runs)
    next_leader.start()
    next_leader.tell("run-1", entry(("run.promoting", "proven"), saw=saw, heard=[]))
    next_leader.show(run())
    next_leader.stop()
    assert "by" not in status(process.kube)["decisions"][-1]


def test_figures_alone_wait_and_news_do_not(server: ApiServer, kube: Kube, shown: RunStatuses) -> None:
    """A status that is written with every cell is a watch event for everybody with every cell."""
    shown.show(run())
    until(lambda: status(kube).get("why") == "3 of 12 cells")
    before = writes(server)
    shown.show(replace(run(), waiting="4 of 12 cells"))
    time.sleep(0.3)
    assert writes(server) == before
    shown.show(replace(run(), waiting="5 of 12 cells", split=percent(25)))
    until(lambda: status(kube)["weight"] == "25 %")
    assert status(kube)["why"] == "5 of 12 cells"


def test_figures_are_written_after_a_while(process: Process) -> None:
    """Once a minute; here a minute is short."""
    shown = RunStatuses(process.kube, process.runs, rest=0.3)
    shown.start()
    shown.show(run())
    until(lambda: status(process.kube).get("why") == "3 of 12 cells")
    shown.show(replace(run(), waiting="4 of 12 cells"))
    until(lambda: status(process.kube).get("why") == "4 of 12 cells")
    shown.stop()


def test_the_same_shown_again_is_not_written(server: ApiServer, kube: Kube, shown: RunStatuses) -> None:
    """Each tick shows the run."""
    shown.show(run())
    until(lambda: bool(status(kube)))
    before = writes(server)
    for _ in range(5):
        shown.show(run())
    time.sleep(0.3)
    assert writes(server) == before


def test_a_write_that_fails_is_tried_again_with_the_newest(server: ApiServer, kube: Kube, shown: RunStatuses) -> None:
    """And who shows it never waits for it."""
    server.faults.fail("patch", "*", 500, times=3)
    began = time.monotonic()
    shown.show(run())
    shown.show(run(split=percent(5)))
    assert time.monotonic() - began < 0.1
    until(lambda: status(kube).get("weight") == "5 %")


def test_a_run_that_was_deleted_is_nobody_to_tell(server: ApiServer, process: Process, shown: RunStatuses) -> None:
    """No trial without end."""
    process.kube.delete(CANARY_RUNS, NAMESPACE, "run-1")
    shown.show(run())
    until(lambda: writes(server) > 0)
    time.sleep(0.3)
    assert writes(server) == 1


def test_a_stop_writes_what_is_not_written_yet(process: Process) -> None:
    """The last word of this process, figures included."""
    shown = RunStatuses(process.kube, process.runs)
    shown.start()
    shown.show(run())
    until(lambda: bool(status(process.kube)))
    shown.show(replace(run(), waiting="9 of 12 cells"))
    shown.stop()
    assert status(process.kube)["why"] == "9 of 12 cells"


def test_another_process_goes_on_with_the_decisions_and_the_times(process: Process) -> None:
    """What the former leader told stays told, and `since` stays since then."""
    one = RunStatuses(process.kube, process.runs)
    one.start()
    one.tell("run-1", entry(*[("run.held", str(number)) for number in range(49)]))
    one.show(run(hold=Hold("gate", "yes?", 1.0, None)))
    one.stop()
    before = status(process.kube)
    process.look()
    time.sleep(1.1)
    two = RunStatuses(process.kube, process.runs)
    two.start()
    two.tell("run-1", entry(("run.resumed", "ada said yes"), ("step.passed", "step 1")))
    two.show(run(split=percent(25)))
    two.stop()
    found = status(process.kube)
    assert [one["reason"] for one in found["decisions"]][-3:] == ["48", "ada said yes", "step 1"]
    assert len(found["decisions"]) == 50
    times = [{one["type"]: one["lastTransitionTime"] for one in each["conditions"]} for each in (before, found)]
    assert times[0]["Finished"] == times[1]["Finished"]
    assert times[0]["Held"] != times[1]["Held"]


def test_a_field_that_is_gone_goes(kube: Kube, shown: RunStatuses) -> None:
    """A merge patch leaves what it does not name."""
    shown.show(run(outcome=Outcome.FAILED), "kubectl patch")
    until(lambda: "breakGlass" in status(kube))
    shown.show(run(seq=2))
    until(lambda: "breakGlass" not in status(kube))
    assert "outcome" not in status(kube)


def test_the_traffic_after_the_end_is_told(kube: Kube, shown: RunStatuses) -> None:
    """Git put the former weights back an hour later."""
    shown.show(run(phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, ended=5.0))
    shown.traffic("run-1", False, "v3 has 0 %, and 100 % was decided")

    def told() -> bool:
        found = {one["type"]: one for one in status(kube).get("conditions", ())}
        return found.get("TrafficAsDecided", {}).get("message") == "v3 has 0 %, and 100 % was decided"

    until(told)


def test_a_plan_has_a_status_too(kube: Kube) -> None:
    """What it was refused for stands where its author looks."""
    spec = {"target": {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}}}
    body = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPlan", "metadata": {"name": "reviews"}, "spec": spec}
    kube.create(CANARY_PLANS, NAMESPACE, body)
    plans = Looked(kube, CANARY_PLANS, NAMESPACE)
    shown = PlanStatuses(kube, plans)
    shown.start()
    refused = statuses.objects.condition("Accepted", False, "Refused", "spec.steps: nothing; expected a value")
    shown.show(NAMESPACE, "reviews", {"observedGeneration": 1, "why": "refused", "conditions": [refused]})
    shown.stop()
    found = kube.get(CANARY_PLANS, NAMESPACE, "reviews")["status"]
    [condition] = found["conditions"]
    assert (condition["status"], condition["observedGeneration"]) == ("False", 1)
    assert condition["lastTransitionTime"]

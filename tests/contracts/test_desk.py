"""
The contract of the port `Desk`: the same run is seen alike, and hears the same word, in a folder and in a cluster.

The cluster is the lab's API server, and a real one where there is one. What only one of the two can say (who may, and
whose plan it is) is in tests/desk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.desk import VERBS, ClusterDesk, Desk, FolderDesk, Unknown, ask_for, find, find_plan
from canaryd.engine.ports import Journal, Store
from canaryd.errors import Rejected
from canaryd.kube import CANARY_PLANS, CANARY_RECORDS, CANARY_RUNS, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Command, Outcome, Phase, Record, Run
from canaryd.model.traffic import Split
from canaryd.store import objects
from canaryd.store.cluster import ClusterStore
from canaryd.store.folder import FolderJournal, FolderStore
from tests.conftest import REAL
from tests.stage import new_run, plan
from tests.store.places import NAMESPACE, Process, prepare

DECISION = {"at": 1_000_030.0, "phase": "baking", "split": 5000, "events": [["step.shifting", "from 0 % to 5 %"]]}


@dataclass(frozen=True)
class Place:
    """A desk, and the store that who carries runs out has."""

    desk: Desk
    store: Store
    journal: Journal
    kube: Kube | None = None

    def put(self, run: Run, *entries: dict[str, object]) -> Run:
        """Begin ``run`` as it stands, and tell of it as who carries it out does."""
        saved = self.store.save(Record(run)).run
        for entry in entries:
            self.journal.tell(run.uid, entry)
        if self.kube is not None:
            decisions = [_decision(one) for one in entries]
            status = objects.status_of(saved, decisions)
            status["conditions"] = objects.timed(status["conditions"], (), run.created)
            self.kube.patch_merge(CANARY_RUNS, NAMESPACE, run.uid, {"status": status}, subresource="status")
        return saved


def _decision(entry: dict[str, Any]) -> dict[str, str]:
    """An entry with one event as it stands in a status."""
    [[event, reason]] = entry["events"]
    at, weight = objects.time_text(entry["at"], fraction=False), str(Split(entry["split"]))
    return {"at": at, "event": event, "phase": entry["phase"], "weight": weight, "reason": reason}


class Unheard:
    """The journal of a cluster lies where no desk sees it."""

    def tell(self, uid: str, entry: object) -> None: ...


@pytest.fixture(params=["folder", "emulator", REAL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield Place(FolderDesk(tmp_path), FolderStore(tmp_path), FolderJournal(tmp_path))
    elif request.param == "emulator":
        with ApiServer(Cluster()) as server:
            yield in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
    else:
        yield in_cluster(request.getfixturevalue("real_api"))


def in_cluster(config: Path) -> Place:
    kube = connect(str(config), timeout=10)
    prepare(kube)
    return Place(ClusterDesk(kube, (NAMESPACE,), context="lab"), Process(kube).store, Unheard(), kube)


def run(uid: str = "run-1", **changes: object) -> Run:
    """A run that has stood at 5 % for a while."""
    begun = new_run(plan(gate_at=0, release="3.0.1"))
    standing = {"phase": Phase.BAKING, "split": Split.percent(5), "seq": 1, "waiting": "baking at 5 %: 1 of 6 cells"}
    return replace(begun, uid=uid, **(standing | changes))  # type: ignore[arg-type]


def test_a_run_is_seen_as_it_stands(place: Place) -> None:
    """Everything that a line of a table has."""
    place.put(run(), DECISION)
    [seen] = place.desk.runs()
    assert (seen.namespace, seen.name, seen.plan, seen.release) == ("default", "run-1", "reviews", "3.0.1")
    assert (seen.phase, seen.step, seen.steps, seen.weight) == ("baking", 0, 3, "5 %")
    assert (seen.why, seen.began, seen.ended) == ("baking at 5 %: 1 of 6 cells", 1_000_000.0, None)
    assert not seen.over
    assert not seen.unread


def test_one_run_is_looked_at_with_its_decisions(place: Place) -> None:
    place.put(run(), DECISION)
    seen = place.desk.look("default", "run-1")
    [decided] = seen.decisions
    assert (decided.at, decided.event, decided.phase) == (1_000_030.0, "step.shifting", "baking")
    assert (decided.weight, decided.reason) == ("5 %", "from 0 % to 5 %")
    [entry] = place.desk.journal(seen)
    assert (entry["at"], entry["events"]) == (1_000_030.0, [["step.shifting", "from 0 % to 5 %"]])


def test_a_run_that_has_ended_says_how(place: Place) -> None:
    place.put(
        run(phase=Phase.ROLLED_BACK, outcome=Outcome.FAILED, reason="errors: 8 % of 88", ended=1_000_060.0, waiting="")
    )
    [seen] = place.desk.runs()
    assert seen.over
    assert (seen.outcome, seen.phase, seen.why) == ("failed", "rolled back", "errors: 8 % of 88")
    assert seen.ended == 1_000_060.0


def test_all_that_the_machine_knows_can_be_read(place: Place) -> None:
    saved = place.put(run())
    assert place.desk.run(place.desk.look("default", "run-1")) == saved


def test_runs_come_the_oldest_first_and_can_be_those_of_a_plan(place: Place) -> None:
    other = plan(release="1")
    other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"name": "ratings"})})
    for uid, created, of in (("b", 2.0, None), ("a", 3.0, None), ("c", 1.0, other)):
        place.put(run(uid, created=created, **({"plan": of} if of else {})))
    assert [seen.name for seen in place.desk.runs()] == ["c", "b", "a"]
    assert [seen.name for seen in place.desk.runs("reviews")] == ["b", "a"]
    assert [seen.name for seen in place.desk.runs("nobody")] == []


def test_a_name_is_a_runs_or_its_plans(place: Place) -> None:
    """Of a plan the newest run is meant; either may have its namespace before it."""
    for uid, created in (("old", 1.0), ("new", 2.0)):
        place.put(run(uid, created=created))
    assert [find(place.desk, which).name for which in ("old", "default/old", "reviews", "default/reviews")] == [
        *("old", "old"),
        *("new", "new"),
    ]


def test_a_name_that_is_none_is_answered_with_those_near_it(place: Place) -> None:
    place.put(run())
    with pytest.raises(Unknown, match=r"there is no run or plan revews in .* \(there: reviews\)"):
        find(place.desk, "revews")


def test_where_there_is_nothing_that_is_said(place: Place) -> None:
    assert (place.desk.runs(), place.desk.plans()) == ((), ())
    with pytest.raises(Unknown, match="there is none at all"):
        find(place.desk, "reviews")
    with pytest.raises(Unknown, match="there is no plan reviews"):
        find_plan(place.desk, "reviews")


def test_a_run_that_is_not_there_is_rejected(place: Place) -> None:
    with pytest.raises(Rejected):
        place.desk.look("default", "nobody")
    place.put(run())
    with pytest.raises(Rejected):
        place.desk.look("another", "run-1")


def test_a_word_reaches_who_carries_the_run_out(place: Place) -> None:
    """All of it, and the one to roll back too, which lies in a place of its own in a cluster."""
    begun = place.put(run())
    seen, me = place.desk.look("default", "run-1"), place.desk.me()
    assert me
    asked = [
        ask_for("approve", begun, me, "seen by two"),
        ask_for("skip", begun, me, skips=1),
        ask_for("promote", begun, me, "Friday", force=True),
        ask_for("abort", begun, me, "the shop calls"),
    ]
    for command in asked:
        place.desk.ask(seen, command)
    heard = commands(place)
    assert [replace(one, step=None) for one in heard] == [replace(one, step=None) for one in asked]
    assert [one.step for one in heard] == [0, 0, 0, None]


@pytest.mark.parametrize("verb", VERBS)
def test_every_word_is_taken(place: Place, verb: str) -> None:
    """By the schema of a real API server, too."""
    begun = place.put(run())
    place.desk.ask(place.desk.look("default", "run-1"), ask_for(verb, begun, "ana", "why", skips=0))
    assert [one.verb for one in commands(place)] == [verb]


def test_what_was_heard_is_seen(place: Place) -> None:
    """So that who asked can be told."""
    place.put(run(obeyed=("1234",)))
    assert place.desk.look("default", "run-1").obeyed == ("1234",)


def commands(place: Place) -> tuple[Command, ...]:
    """As who carries the run out hears them."""
    if place.kube is None:
        return place.store.commands("run-1")
    return Process(place.kube).store.commands("run-1")


def test_plans_are_seen_with_where_their_release_stands(place: Place) -> None:
    """In a folder they are known from their runs; in a cluster they are objects of their own."""
    begun = place.put(run())
    if place.kube is not None:
        put_plan(place.kube, begun)
    [seen] = place.desk.plans()
    assert (seen.place, seen.release, seen.phase, seen.weight, seen.run) == (
        *("default/reviews", "3.0.1", "baking", "5 %"),
        "run-1",
    )
    assert find_plan(place.desk, "reviews") == find_plan(place.desk, "default/reviews") == seen


def put_plan(kube: Kube, of: Run) -> None:
    body = of.plan.model_dump(mode="json", by_alias=True, exclude_none=True)
    made = kube.create(CANARY_PLANS, NAMESPACE, body)
    status = objects.plan_status_of(of)
    status["conditions"] = objects.timed(status["conditions"], (), of.created)
    kube.patch_merge(CANARY_PLANS, NAMESPACE, made["metadata"]["name"], {"status": status}, subresource="status")


def test_a_run_without_its_record_is_seen_as_it_began(place: Place) -> None:
    """It was just begun, or its record is lost; of a folder it cannot be said apart from a run that is not there."""
    if place.kube is None:
        assert not isinstance(place.store, ClusterStore)
        return
    place.put(run())
    place.kube.delete(CANARY_RECORDS, NAMESPACE, "run-1")
    known = place.desk.run(place.desk.look("default", "run-1"))
    assert (known.uid, known.seq) == ("run-1", 0)

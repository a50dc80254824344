"""
The contract of the port `Desk`: the same run is seen alike, and hears the same word, in a folder and in a cluster.

The cluster is the lab's API server, and a real one where there is one. What only one of the two can say (who may, and
whose plan it is) is in tests/desk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.desk import VERBS, Unknown, ask_for, find, find_plan
from canaryd.errors import Rejected
from canaryd.kube import CANARY_RECORDS
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Outcome, Phase
from canaryd.store.cluster import ClusterStore
from tests.conftest import REAL
from tests.desk.places import Place, in_cluster, in_folder, standing
from tests.stage import plan
from tests.store.places import NAMESPACE

DECISION = {"at": 1_000_030.0, "phase": "baking", "split": 5000, "events": [["step.shifting", "from 0 % to 5 %"]]}


@pytest.fixture(params=["folder", "emulator", REAL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield in_folder(tmp_path)
    elif request.param == "emulator":
        with ApiServer(Cluster()) as server:
            yield in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
    else:
        yield in_cluster(request.getfixturevalue("real_api"))


def test_a_run_is_seen_as_it_stands(place: Place) -> None:
    """Everything that a line of a table has."""
    place.put(standing(), [DECISION])
    [seen] = place.desk.runs()
    assert (seen.namespace, seen.name, seen.plan, seen.release) == ("default", "run-1", "reviews", "3.0.1")
    assert (seen.phase, seen.step, seen.steps, seen.weight) == ("baking", 0, 3, "5 %")
    assert (seen.why, seen.began, seen.ended) == ("baking at 5 %: 1 of 6 cells", 1_000_000.0, None)
    assert not seen.over
    assert not seen.unread


def test_one_run_is_looked_at_with_its_decisions(place: Place) -> None:
    place.put(standing(), [DECISION])
    seen = place.desk.look("default", "run-1")
    [decided] = seen.decisions
    assert (decided.at, decided.event, decided.phase) == (1_000_030.0, "step.shifting", "baking")
    assert (decided.weight, decided.reason) == ("5 %", "from 0 % to 5 %")
    [entry] = place.desk.journal(seen)
    assert (entry["at"], entry["events"]) == (1_000_030.0, [["step.shifting", "from 0 % to 5 %"]])


def test_a_run_that_has_ended_says_how(place: Place) -> None:
    ended: dict[str, Any] = {"phase": Phase.ROLLED_BACK, "outcome": Outcome.FAILED, "ended": 1_000_060.0, "waiting": ""}
    place.put(standing(reason="errors: 8 % of 88", **ended))
    [seen] = place.desk.runs()
    assert seen.over
    assert (seen.outcome, seen.phase, seen.why) == ("failed", "rolled back", "errors: 8 % of 88")
    assert seen.ended == 1_000_060.0


def test_all_that_the_machine_knows_can_be_read(place: Place) -> None:
    saved = place.put(standing())
    assert place.desk.run(place.desk.look("default", "run-1")) == saved


def test_runs_come_the_oldest_first_and_can_be_those_of_a_plan(place: Place) -> None:
    other = plan(release="1")
    other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"name": "ratings"})})
    for uid, created, of in (("b", 2.0, None), ("a", 3.0, None), ("c", 1.0, other)):
        place.put(standing(uid, created=created, **({"plan": of} if of else {})))
    assert [seen.name for seen in place.desk.runs()] == ["c", "b", "a"]
    assert [seen.name for seen in place.desk.runs("reviews")] == ["b", "a"]
    assert [seen.name for seen in place.desk.runs("nobody")] == []


def test_a_name_is_a_runs_or_its_plans(place: Place) -> None:
    """Of a plan the newest run is meant; either may have its namespace before it."""
    for uid, created in (("old", 1.0), ("new", 2.0)):
        place.put(standing(uid, created=created))
    assert [find(place.desk, which).name for which in ("old", "default/old", "reviews", "default/reviews")] == [
        *("old", "old"),
        *("new", "new"),
    ]


def test_a_name_that_is_none_is_answered_with_those_near_it(place: Place) -> None:
    place.put(standing())
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
    place.put(standing())
    with pytest.raises(Rejected):
        place.desk.look("another", "run-1")


def test_a_word_reaches_who_carries_the_run_out(place: Place) -> None:
    """All of it, and the one to roll back too, which lies in a place of its own in a cluster."""
    begun = place.put(standing())
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
    heard = place.commands("run-1")
    assert [replace(one, step=None) for one in heard] == [replace(one, step=None) for one in asked]
    assert [one.step for one in heard] == [0, 0, 0, None]


@pytest.mark.parametrize("verb", VERBS)
def test_every_word_is_taken(place: Place, verb: str) -> None:
    """By the schema of a real API server, too."""
    begun = place.put(standing())
    place.desk.ask(place.desk.look("default", "run-1"), ask_for(verb, begun, "ana", "why", skips=0))
    assert [one.verb for one in place.commands("run-1")] == [verb]


def test_what_was_heard_is_seen(place: Place) -> None:
    """So that who asked can be told."""
    place.put(standing(obeyed=("1234",)))
    assert place.desk.look("default", "run-1").obeyed == ("1234",)


def test_plans_are_seen_with_where_their_release_stands(place: Place) -> None:
    """In a folder they are known from their runs; in a cluster they are objects of their own."""
    begun = place.put(standing())
    place.put_plan(begun)
    [seen] = place.desk.plans()
    assert (seen.place, seen.release, seen.phase, seen.weight, seen.run) == (
        *("default/reviews", "3.0.1", "baking", "5 %"),
        "run-1",
    )
    assert find_plan(place.desk, "reviews") == find_plan(place.desk, "default/reviews") == seen


def test_a_run_without_its_record_is_seen_as_it_began(place: Place) -> None:
    """It was just begun, or its record is lost; of a folder it cannot be said apart from a run that is not there."""
    if place.kube is None:
        assert not isinstance(place.store, ClusterStore)
        return
    place.put(standing())
    place.kube.delete(CANARY_RECORDS, NAMESPACE, "run-1")
    known = place.desk.run(place.desk.look("default", "run-1"))
    assert (known.uid, known.seq) == ("run-1", 0)

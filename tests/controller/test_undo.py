"""Undo in a cluster: asked of the CanaryRun that has ended, by kubectl, so that the API server's rights decide."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from canaryd.model.run import Outcome
from tests.controller.stage import Stage


def ask(stage: Stage, run: str, **more: object) -> None:
    value = json.dumps({"verb": "undo", "by": "anna", "reason": "the basket is empty", **more})
    patch = f'[{{"op":"add","path":"/spec/commands/-","value":{value}}}]'
    said = stage.kubectl(f"kubectl patch canaryrun {run} --type=json -p '{patch}'")
    assert said.returncode == 0, said.stderr


def test_an_ended_run_is_undone_by_one_patch(stage: Stage) -> None:
    """A run of its own; the plan says what is in force, begins nothing, and goes on with the next release."""
    process = stage.controller()
    stage.apply()
    name = stage.ends(process=process)["metadata"]["name"]
    ask(stage, name)
    stage.until(lambda: stage.weights() == (100, 0), "the former version", process, deadline=10.0)
    undone = stage.ends(2, process)
    assert undone["spec"]["undoes"] == {"run": name, "why": "undone by anna: the basket is empty", "force": False}
    assert (undone["status"]["outcome"], undone["status"]["why"]) == ("undone", "undone by anna: the basket is empty")
    assert stage.newest().outcome is Outcome.UNDONE
    stage.until(
        lambda: "has the traffic; a new spec.release" in stage.condition("Accepted", stage.plan_object())["message"],
        "what is in force",
        process,
    )
    assert stage.plan_object()["status"]["settled"]["outcome"] == "undone"
    process.kill()
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: "daemon.leads" in process.output, "the next leader", process)
    stage.apply(watch="500ms")
    stage.until(lambda: stage.is_so("TrafficAsDecided", stage.run_objects()[-1]), "a look", process)
    assert len(stage.run_objects()) == 2
    stage.apply(release="v4")
    assert stage.is_so("Promoted", stage.ends(3, process))


def test_what_is_refused_is_told_and_never_done_later(stage: Stage) -> None:
    """An answer that is hours late would be an incident."""
    process = stage.controller()
    stage.apply()
    name = stage.ends(process=process)["metadata"]["name"]
    stage.set_weights(40, 60)
    ask(stage, name, id="one")
    stage.until(
        lambda: any(one["reason"] == "UndoRefused" for one in stage.cluster.objects("Event")), "its Event", process
    )
    told = next(one["message"] for one in stage.cluster.objects("Event") if one["reason"] == "UndoRefused")
    assert "60 % at v3" in told
    stage.until(lambda: stage.newest().obeyed == ("one",), "that it was answered", process)
    stage.set_weights(0, 100)
    process.kill()
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: stage.is_so("TrafficAsDecided", stage.run_objects()[-1]), "a look", process)
    assert len(stage.run_objects()) == 1
    assert stage.weights() == (0, 100)
    ask(stage, name, id="two")
    stage.until(lambda: stage.weights() == (100, 0), "the former version", process, deadline=20.0)


def test_a_leader_that_dies_as_it_begins_it_is_followed_by_one_that_undoes(stage: Stage) -> None:
    """Only the CanaryRun was created, not its record: what it is for stands in its spec."""
    process = stage.controller()
    stage.apply()
    first = stage.ends(process=process)
    process.kill()
    run = stage.newest()
    begun = {
        **first,
        "metadata": {"name": "reviews-undo-1", "namespace": "default", "labels": first["metadata"]["labels"]},
        "spec": first["spec"]
        | {
            "created": _now(),
            "split": 100,
            "undoes": {"run": run.uid, "why": "undone by anna: the basket is empty"},
            "commands": [],
        },
    }
    begun.pop("status")
    stage.cluster.apply(begun)
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: stage.weights() == (100, 0), "the former version", process)
    assert stage.ends(2, process)["status"]["outcome"] == "undone"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

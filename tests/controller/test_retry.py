"""Retry in a cluster: asked of the CanaryRun that has ended, so that the same release is run once more."""

from __future__ import annotations

import json

from canaryd.model.run import Outcome
from tests.controller.stage import Stage


def ask(stage: Stage, run: str, **more: object) -> None:
    value = json.dumps({"verb": "retry", "by": "anna", "reason": "the database is back", **more})
    patch = f'[{{"op":"add","path":"/spec/commands/-","value":{value}}}]'
    said = stage.kubectl(f"kubectl patch canaryrun {run} --type=json -p '{patch}'")
    assert said.returncode == 0, said.stderr


def abort(stage: Stage, run: str) -> None:
    patch = '{"spec":{"abort":{"reason":"the database is away","by":"anna"}}}'
    said = stage.kubectl(f"kubectl patch canaryrun {run} --type=merge -p '{patch}'")
    assert said.returncode == 0, said.stderr


def test_a_release_that_was_rolled_back_is_run_again_at_a_persons_word(stage: Stage) -> None:
    """Once for each word: also where the next leader reads it again."""
    process = stage.controller()
    stage.apply()
    stage.until(lambda: stage.run_objects(), "its run", process)
    first = stage.run_objects()[0]["metadata"]["name"]
    abort(stage, first)
    stage.ends(process=process)
    assert stage.newest().outcome is Outcome.ABORTED
    ask(stage, first)
    second = stage.ends(2, process)
    assert stage.is_so("Promoted", second)
    assert second["metadata"]["name"] != first
    process.kill()
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: "daemon.leads" in process.output, "the next leader", process)
    stage.until(lambda: stage.is_so("TrafficAsDecided", stage.run_objects()[-1]), "a look", process)
    assert len(stage.run_objects()) == 2


def test_a_retry_that_cannot_be_is_told_and_never_done_later(stage: Stage) -> None:
    """The canary has all the traffic: there is nothing to run."""
    process = stage.controller()
    stage.apply()
    name = stage.ends(process=process)["metadata"]["name"]
    ask(stage, name, id="one")
    stage.until(
        lambda: any(one["reason"] == "RetryRefused" for one in stage.cluster.objects("Event")), "its Event", process
    )
    stage.until(lambda: stage.newest().obeyed == ("one",), "that it was answered", process)
    stage.set_weights(100, 0)
    process.kill()
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: "daemon.leads" in process.output, "the next leader", process)
    decided = "TrafficAsDecided"
    stage.until(lambda: stage.condition(decided, stage.run_objects()[-1])["status"] == "False", "a look", process)
    assert len(stage.run_objects()) == 1
    ask(stage, name, id="two")
    assert stage.is_so("Promoted", stage.ends(2, process))


def test_a_leader_that_dies_before_it_has_answered_runs_it_once(stage: Stage) -> None:
    """The run that was begun is itself the answer."""
    process = stage.controller()
    stage.apply()
    stage.until(lambda: stage.run_objects(), "its run", process)
    first = stage.run_objects()[0]["metadata"]["name"]
    abort(stage, first)
    stage.ends(process=process)
    ask(stage, first, id="one")
    stage.until(lambda: len(stage.run_objects()) == 2, "the second run", process)
    process.kill()
    process = stage.controller(name="canaryd-1")
    stage.ends(2, process)
    assert len(stage.run_objects()) == 2

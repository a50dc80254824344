"""``canaryd undo`` after a real ``canaryd run``: one command, and the traffic is where it came from."""

from __future__ import annotations

import json
from pathlib import Path

from canaryd.lab import bookinfo
from canaryd.model.run import Outcome
from tests.cli.stage import Said, Stage, wait_for


def undo(stage: Stage, *more: str) -> Said:
    where = ("--kubeconfig", str(stage.kubeconfig), "--state", str(stage.state))
    return stage.canaryd("undo", "reviews", *where, *more)


def promoted(stage: Stage) -> Path:
    plan = stage.plan()
    assert stage.try_run(plan).code == 0
    assert stage.weights() == (0, 100)
    return plan


def test_one_command_takes_a_promotion_back(stage: Stage) -> None:
    """And the plan, which still asks for that release, begins nothing; explain says what is in force."""
    plan = promoted(stage)
    told = stage.canaryd("explain", "reviews", "--state", str(stage.state)).out
    assert "Take it back, until" in told
    assert "canaryd undo reviews" in told
    said = undo(stage, "--reason", "the basket is empty")
    assert said.code == 0, said.err
    assert "v1 has all the traffic" in said.out
    assert stage.weights() == (100, 0)
    assert not stage.virtual_service()["metadata"].get("annotations")
    run = stage.run()
    assert (run.outcome, run.undoes) == (Outcome.UNDONE, stage.runs()[0].uid)
    told = stage.canaryd("explain", "reviews", "--state", str(stage.state)).out
    assert "was undone at" in told
    assert "undone by" in told
    assert "the basket is empty" in told
    again = stage.try_run(plan)
    assert again.code == 13
    assert "was settled by run" in again.err
    assert stage.weights() == (100, 0)
    assert "undone" in stage.canaryd("status", "--state", str(stage.state)).out
    assert stage.try_run(stage.plan(release="v4")).code == 0


def test_what_was_not_promoted_is_refused(stage: Stage) -> None:
    stage.clients.fail("v3", 0.3)
    assert stage.try_run(stage.plan()).code == 10
    said = undo(stage)
    assert said.code == 13
    assert "v1 has the traffic already" in said.err


def test_a_former_version_that_is_gone_is_refused_with_what_differs(stage: Stage) -> None:
    """The template hash of stable is not what it was when the release was promoted."""
    promoted(stage)
    for found in stage.cluster.objects("Pod", bookinfo.NAMESPACE):
        if found["metadata"]["labels"].get("version") == "v1" and found["metadata"]["labels"]["app"] == "reviews":
            found["metadata"]["labels"]["pod-template-hash"] = "other"
            stage.cluster.apply(found)
    said = undo(stage)
    assert said.code == 13
    assert "what it ran when the release was promoted" in said.err
    assert stage.weights() == (0, 100)
    forced = undo(stage, "--force", "-o", "json")
    assert stage.weights() == (100, 0)
    found = json.loads(forced.out)
    assert (found["said"], found["outcome"], found["undoes"]) == ("undo", "undone", stage.runs()[0].uid)
    assert "v1 has all the traffic" in forced.err, "what is said on the way is no data"


def test_killed_on_the_way_it_is_asked_for_again(stage: Stage) -> None:
    """The API is away when it is killed: what was decided is on the disk, and is carried out by whoever comes."""
    plan = promoted(stage)
    where = ("--kubeconfig", str(stage.kubeconfig), "--state", str(stage.state))
    process = stage.start("undo", "reviews", *where, options=False)
    wait_for(lambda: len(stage.runs()) == 2, "the run that undoes", process=process)
    process.kill()
    assert stage.run().undoes
    said = undo(stage) if not stage.run().final else None
    assert said is None or said.code == 0, said.err
    assert stage.weights() == (100, 0)
    assert stage.run().outcome is Outcome.UNDONE
    assert stage.try_run(plan).code == 13

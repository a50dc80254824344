"""A new image is pushed into the canary in mid-run."""

from __future__ import annotations

import pytest

from canaryd.lab.workloads import install
from canaryd.model.run import Outcome, Phase
from canaryd.model.traffic import NOTHING
from tests.cli.stage import Json
from tests.controller.past import Past
from tests.controller.stage import Stage


@pytest.mark.parametrize("policy", ["restart", "abort"])
def test_the_canary_loses_its_traffic_at_once(stage: Stage, policy: str) -> None:
    """Its evidence is void: the run begins anew with the new image, or ends."""
    past = Past(stage.cluster)
    process = stage.controller()
    steps = [{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "1s"}]
    stage.apply(steps=steps, onCanaryChange=policy)
    stage.until(lambda: bool(stage.records()) and len(stage.newest().cells) >= 2, "evidence", process)
    former = stage.newest()
    push(stage)
    stage.until(  # in the past, because a run that begins anew is soon at 10 % again
        lambda: any(moment.weight == 0 and moment.marker and moment.marker.latch for moment in past.moments),
        "0 %",
        process,
        deadline=10,
    )
    run = stage.ends(process=process)
    kept = stage.newest()
    assert former.canary_pin is not None
    if policy == "abort":
        assert kept.outcome is Outcome.ABORTED, kept.reason
        assert stage.weights() == (100, 0)
        assert "canary" in run["status"]["why"]
        return
    assert kept.outcome is Outcome.PROMOTED, kept.reason
    assert kept.canary_pin != former.canary_pin
    assert kept.judged_from > former.judged_from, "it was judged by what the former image did"
    marked = [(moment.weight, moment.marker.latch) for moment in past.moments if moment.marker]
    dropped = marked.index((0, "restart"))
    assert [weight for weight, _ in marked[dropped:]][:3] == [0, 10, 50], str(past)
    assert any(segment.split == NOTHING for segment in kept.segments[1:])
    assert kept.phase is Phase.PROMOTED


def push(stage: Stage) -> None:
    """``kubectl set image``, and what the cluster makes of it."""

    def edit(found: Json) -> None:
        found["spec"]["template"]["spec"]["containers"][0]["image"] = "reviews:next"

    stage.change("Deployment", "reviews-v3", edit)
    install(stage.cluster, [])

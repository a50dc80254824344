"""What a run in flight costs the API server, and how soon it sees what happens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from canaryd.lab.workloads import set_ready
from canaryd.model.run import Phase
from tests.cli.stage import Process
from tests.controller.stage import Stage

RARE = {"scrape": "15s", "cell": "15s", "settle": "0s", "warmup": "0s"}
"""Cells so long that due times are five seconds apart, and no evidence wakes a run meanwhile."""
LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
AT_ONCE = 3.0
"""Seconds: the machine wants to see a dead canary for one, and the machine that runs the tests may be busy."""


def bakes(stage: Stage, *more: str, **plan: object) -> Process:
    """A controller whose run has been baking for a while."""
    process = stage.controller(*more)
    stage.apply(**{"steps": LONG, "analysis": RARE, **plan})
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    time.sleep(1.5)
    return process


def asked(stage: Stage) -> Counter[tuple[str, str]]:
    assert stage.api
    about = ("virtualservices", "destinationrules", "services", "pods", "deployments", "canaryruns", "canaryrecords")
    return Counter((one.verb, one.resource) for one in stage.api.requests if one.resource in about)


def seconds_until(fact: Callable[[], bool], stage: Stage, process: Process) -> float:
    began = time.monotonic()
    stage.until(fact, "what was to be seen at once", process)
    return time.monotonic() - began


def pods(stage: Stage, ready: bool) -> None:
    found = [one for one in stage.cluster.objects("Pod") if one["metadata"]["labels"].get("version") == "v3"]
    set_ready(stage.cluster, [one for one in found if one["metadata"]["labels"].get("app") == "reviews"], ready=ready)


def test_a_run_that_bakes_reads_nothing(stage: Stage) -> None:
    """Some twenty ticks: its cells are half a second long. What is written is the status, at most."""
    bakes(stage, analysis={**RARE, "scrape": "250ms", "cell": "500ms"})
    before = asked(stage)
    time.sleep(5)
    spent = asked(stage) - before
    assert {verb for verb, _ in spent} <= {"watch", "patch"}, spent


def test_a_canary_without_a_ready_pod_is_rolled_back_at_once(stage: Stage) -> None:
    """And not when it is due."""
    process = bakes(stage)
    pods(stage, ready=False)
    assert seconds_until(lambda: stage.weights() == (100, 0), stage, process) < AT_ONCE
    assert "no ready endpoint" in stage.ends(process=process)["status"]["why"]


def test_a_hand_edit_of_the_weights_is_brought_down_at_once(stage: Stage) -> None:
    """Above what the plan allows."""
    process = bakes(stage)
    stage.set_weights(20, 80)
    assert seconds_until(lambda: stage.weights() == (90, 10), stage, process) < AT_ONCE
    stage.until(lambda: stage.is_so("Held", stage.run_objects()[0]), "a hold", process)


def test_where_watching_is_forbidden_it_asks_as_before(stage: Stage) -> None:
    """The rights of an older Role: a little later, and said once for each kind."""
    stage.stop_api()
    stage._denied = tuple(("watch", kind) for kind in ("pods", "services", "deployments", "destinationrules"))
    stage.start_api()
    process = bakes(stage)
    pods(stage, ready=False)
    assert seconds_until(lambda: stage.weights() == (100, 0), stage, process) < AT_ONCE + 10
    said = [line for line in process.output.splitlines() if '"informer.unavailable"' in line]
    assert sorted(line.split('"kind": "')[1].split('"')[0].split(".")[0] for line in said) == [
        "deployments",
        "destinationrules",
        "pods",
        "services",
    ]

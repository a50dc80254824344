"""What canaryd costs while nothing happens, and how soon a person is heard."""

from __future__ import annotations

import time

from canaryd.model.run import Phase
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
ABORT = """-p '{"spec":{"abort":{"reason":"enough","by":"ada"}}}'"""


def test_an_idle_plan_costs_no_request(stage: Stage) -> None:
    """But Lease renewals, and watches that are open already; with a standby beside."""
    process = stage.controller()
    stage.controller(name="canaryd-1").says('"event": "daemon.started"')
    stage.apply()
    stage.ends(process=process)
    time.sleep(2)
    assert stage.api
    before = len(stage.api.requests)
    time.sleep(6)
    asked = [one for one in stage.api.requests[before:] if one.resource != "leases" and one.verb != "watch"]
    assert asked == []


def test_an_abort_while_prometheus_hangs_needs_two_requests_of_its_own(stage: Stage) -> None:
    """The tick looks at what is watched; the retreat is one look and one patch."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    stage.prometheus.slow = ("istio", 60.0)
    time.sleep(1.5)
    assert stage.api
    before = len(stage.api.requests)
    name = stage.run_objects()[0]["metadata"]["name"]
    assert stage.kubectl(f"kubectl patch canaryrun {name} --type=merge {ABORT}").returncode == 0
    began = time.monotonic()
    stage.until(lambda: stage.weights() == (100, 0), "0 %", process, deadline=5)
    took = time.monotonic() - began
    since = [one for one in stage.api.requests[before:] if one.resource not in ("leases", "watch")]
    heard = next(index for index, one in enumerate(since) if (one.verb, one.resource) == ("patch", "canaryruns"))
    after = since[heard + 1 :]
    patched = next(index for index, one in enumerate(after) if (one.verb, one.resource) == ("patch", "virtualservices"))
    of_mesh = [(one.verb, one.code) for one in after[: patched + 1] if one.resource == "virtualservices"]
    assert of_mesh == [("get", 200), ("patch", 200)], after
    assert not any(one.verb in ("create", "update") for one in after[:patched]), "something was written before"
    print(f"an abort was in the mesh {took:.2f} s after kubectl returned")
    assert took < 2.0


def test_an_abort_takes_effect_at_once(stage: Stage) -> None:
    """Not at the next due tick: cells of a minute are looked at every five seconds."""
    process = stage.controller()
    slow = {"scrape": "15s", "cell": "60s", "settle": "0s", "warmup": "0s"}
    stage.apply(steps=LONG, analysis=slow, watch="1m")
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    name, took = stage.run_objects()[0]["metadata"]["name"], 0.0
    assert stage.kubectl(f"kubectl patch canaryrun {name} --type=merge {ABORT}").returncode == 0
    began = time.monotonic()
    stage.until(lambda: stage.weights() == (100, 0), "0 %", process, deadline=5)
    took = time.monotonic() - began
    print(f"an abort was in the mesh {took:.2f} s after kubectl returned")
    assert took < 1.5

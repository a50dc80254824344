"""Freezes, stops, windows and the queue in a cluster: typed as people type them, seen as kubectl shows them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from canaryd.model.run import Outcome, Phase
from tests.cli.stage import Said
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
SHORT = [{"weight": 10, "bake": "1s"}, {"weight": 50, "bake": "1s"}]


def typed(stage: Stage, *arguments: str) -> Said:
    """A command on this cluster, which must succeed."""
    said = stage.canaryd(*arguments, "--kubeconfig", str(stage.kubeconfig))
    assert said.code == 0, said.err
    return said


def why(stage: Stage, name: str = "reviews") -> str:
    return str((stage.plan_object(name).get("status") or {}).get("why", ""))


def phase(stage: Stage, name: str = "reviews") -> str:
    return str((stage.plan_object(name).get("status") or {}).get("phase", ""))


def test_while_it_is_frozen_a_plan_waits_and_begins_when_it_is_lifted(stage: Stage) -> None:
    """It is not refused: pending, with whose freeze it is, why and until when; and it costs nothing."""
    typed(stage, "freeze", "--namespace", "default", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    process = stage.controller()
    stage.apply(steps=SHORT)
    stage.until(lambda: phase(stage) == "pending" and "frozen" in why(stage), "a plan that waits", process)
    assert why(stage).startswith("frozen by ")
    assert why(stage).endswith("UTC: incident 4711 (night)")
    assert stage.condition("Accepted", stage.plan_object())["reason"] == "Waiting"
    assert stage.run_objects() == []
    time.sleep(1.5)
    assert stage.api
    before = len(stage.api.requests)
    time.sleep(6)
    asked = [one for one in stage.api.requests[before:] if one.resource != "leases" and one.verb != "watch"]
    assert asked == []
    assert "night" in typed(stage, "freezes").out
    typed(stage, "thaw", "night")
    assert stage.is_so("Promoted", stage.ends(process=process))
    assert "asked" not in stage.plan_object()["status"]


def test_a_freeze_of_all_lies_in_canaryds_own_namespace(stage: Stage) -> None:
    """One of another namespace is none of this plan's business."""
    stage.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    typed(stage, "freeze", "--namespace", "elsewhere", "--reason", "theirs", "--for", "4h")
    process = stage.controller()
    typed(stage, "freeze", "--all", "--reason", "the year's end", "--until", "2099-01-02T00:00Z", "--name", "all")
    assert stage.cluster.find("CanaryFreeze", "canaryd", "all") is not None
    stage.apply(steps=SHORT)
    stage.until(lambda: "until Fri 2 Jan 2099 00:00 UTC: the year's end (all)" in why(stage), "waiting", process)
    typed(stage, "thaw", "all", "--all")
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_a_freeze_in_mid_run_holds_and_a_killed_controller_holds_on(stage: Stage) -> None:
    """What bakes is baked to the end; the next weight waits, also for a process that begins in the freeze."""
    process = stage.controller()
    stage.apply(steps=[{"weight": 10, "bake": "2s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    typed(stage, "freeze", "--namespace", "default", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    stage.until(lambda: "step 1 has passed" in why(stage), "a step that waits", process)
    assert stage.is_so("Held", stage.run_objects()[0])
    process.kill()
    again = stage.controller(CANARYD_LEASE_SECONDS="2")
    again.says("daemon.leads")
    time.sleep(2)
    assert stage.weights() == (90, 10)
    typed(stage, "thaw", "night")
    assert stage.is_so("Promoted", stage.ends(process=again))


def test_a_freeze_ends_by_itself(stage: Stage) -> None:
    """Nobody has to remember it; its object stays, for people to see."""
    process = stage.controller()
    typed(stage, "freeze", "--namespace", "default", "--reason", "a moment", "--for", "6s", "--name", "short")
    stage.apply(steps=SHORT)
    stage.until(lambda: "a moment" in why(stage), "waiting", process)
    assert stage.is_so("Promoted", stage.ends(process=process))
    assert "short  namespace default: over by" in typed(stage, "freezes").out


def test_a_stop_rolls_back_while_prometheus_hangs_and_nothing_begins(stage: Stage) -> None:
    """
    Long before Prometheus answers; after it is lifted the same release stays settled, and a new one begins.

    How soon that is (a second or two where the machine is idle) is printed, and no matter of a test.
    """
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    stage.prometheus.slow = ("istio", 60.0)
    time.sleep(1)
    typed(stage, "stop", "--all", "--reason", "the shop is down", "--name", "red")
    began = time.monotonic()
    stage.until(lambda: stage.weights() == (100, 0), "0 %", process, deadline=30)
    print(f"a stop was in the mesh {time.monotonic() - began:.2f} s after the command returned")
    stage.prometheus.slow = ("", 0.0)
    stage.ends(process=process)
    run = stage.newest()
    assert run.outcome is Outcome.ABORTED
    assert run.reason.startswith("stopped by ")
    assert run.reason.endswith("until it is lifted: the shop is down (red)")
    stage.apply(release="v4", steps=SHORT)
    stage.until(lambda: "the shop is down" in why(stage), "waiting", process)
    typed(stage, "thaw", "red", "--all")
    assert stage.is_so("Promoted", stage.ends(2, process=process))


def test_outside_of_its_window_a_plan_waits_without_a_request(stage: Stage) -> None:
    """Until when, in the window's own time."""
    opens = datetime.now(UTC) + timedelta(days=2)
    window = {"opens": f"0 9 {opens.day} {opens.month} *", "for": "1h", "timeZone": "Europe/Berlin"}
    process = stage.controller()
    stage.apply(steps=SHORT, windows=[window])
    expected = f"outside of the change window until {opens:%a} 09:00 Europe/Berlin"
    stage.until(lambda: why(stage) == expected, expected, process)
    stage.apply(steps=SHORT, windows=[])
    assert stage.is_so("Promoted", stage.ends(process=process))


def places(stage: Stage, *names: str) -> list[str]:
    return [why(stage, name).removeprefix("waiting in the queue: ").partition(",")[0] for name in names]


def test_who_asked_first_is_first_whoever_leads(stage: Stage) -> None:
    """One run at once; the places are shown, and survive the leader."""
    process = stage.controller(CANARYD_MAX_RUNS="1")
    stage.apply("reviews", steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    for name in ("zebra", "adder"):  # by age, not by name
        stage.apply(name, steps=LONG)
        stage.until(lambda name=name: "queue" in why(stage, name), f"{name} in the queue", process)  # type: ignore[misc]
    stage.until(lambda: places(stage, "zebra", "adder") == ["1st of 2", "2nd of 2"], "two places", process)
    assert "at most 1 run goes on at once in this cluster" in why(stage, "adder")
    process.kill()
    process = stage.controller(name="canaryd-1", CANARYD_MAX_RUNS="1", CANARYD_LEASE_SECONDS="2")
    process.says("daemon.leads")
    patch = """-p '{"spec":{"abort":{"reason":"enough","by":"ada"}}}'"""
    stage.kubectl(f"kubectl patch canaryrun {stage.run_objects()[0]['metadata']['name']} --type=merge {patch}")
    stage.until(lambda: len(stage.run_objects()) == 2, "the next run", process)
    assert stage.run_objects()[-1]["spec"]["plan"]["metadata"]["name"] == "zebra"
    stage.until(lambda: places(stage, "adder") == ["1st of 1"], "the other moves up", process)


def test_a_plan_that_is_refused_is_in_nobodys_way(stage: Stage) -> None:
    """It keeps its place for when it is mended, and those behind it go on."""
    process = stage.controller(CANARYD_MAX_RUNS="1")
    nowhere = {"virtualService": "nowhere", "host": "nowhere", "canary": {"subset": "v3"}}
    stage.apply("first", target=nowhere, steps=SHORT)
    stage.until(lambda: phase(stage, "first") == "refused", "a refusal", process)
    stage.apply("second", steps=SHORT)
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_a_freeze_that_cannot_be_read_freezes(stage: Stage) -> None:
    """Somebody wanted something to stand still; an end that nobody can read is none."""
    stage.cluster.apply(
        {
            "apiVersion": "canaryd.io/v1alpha1",
            "kind": "CanaryFreeze",
            "metadata": {"name": "odd", "namespace": "default"},
            "spec": {"reason": "by hand"},
        }
    )
    process = stage.controller()
    stage.apply(steps=SHORT)
    stage.until(lambda: why(stage) == "frozen until it is lifted: by hand (odd)", "waiting", process)


def test_the_api_server_knows_what_a_freeze_is(stage: Stage) -> None:
    """A freeze without a reason, or with a key that there is none of, is refused; kubectl lists the others."""
    for spec in ("{}", "{reason: ''}", "{reason: x, until: tomorrow}"):
        meta = "apiVersion: canaryd.io/v1alpha1\nkind: CanaryFreeze\nmetadata: {name: bad}\n"
        made = stage.kubectl(f"kubectl create -f - <<'E'\n{meta}spec: {spec}\nE")
        assert made.returncode != 0, spec
    typed(stage, "freeze", "--namespace", "default", "--reason", "incident", "--for", "4h", "--name", "night")
    listed = stage.kubectl("kubectl get canaryfreezes")
    assert "night" in listed.stdout
    assert "incident" in listed.stdout


def test_a_controller_whose_kinds_are_not_there_yet_says_what_to_type(stage: Stage) -> None:
    """An API server of a former version: who cannot see a freeze must not begin anything."""
    stage.kubectl("kubectl delete crd canaryfreezes.canaryd.io")
    process = stage.controller()
    assert process.ended() == 13
    assert "does not know CanaryFreezes yet: canaryd crds | kubectl apply" in process.output


@pytest.mark.parametrize("command", ["freeze", "stop"])
def test_all_of_a_cluster_without_canaryd_is_refused(stage: Stage, command: str) -> None:
    """Written where nobody reads it, it would freeze nothing, and nobody would know."""
    more = ["--for", "1h"] if command == "freeze" else []
    stage.kubectl("kubectl delete lease canaryd -n canaryd")
    said = stage.canaryd(command, "--all", "--reason", "x", *more, "--kubeconfig", str(stage.kubeconfig))
    assert said.code == 13
    assert "no canaryd is led from namespace canaryd" in said.err


def test_what_is_listed_is_json_for_machines(stage: Stage) -> None:
    """Ended ones are among them, and say so."""
    typed(stage, "stop", "--namespace", "default", "--reason", "red", "--name", "red")
    typed(stage, "stop", "--namespace", "default", "--hold", "--reason", "still", "--name", "still")
    listed = json.loads(typed(stage, "freezes", "--namespace", "default", "-o", "json").out)
    assert [(one["name"], one["state"], one["until"]) for one in listed] == [
        ("red", "stopped", None),
        ("still", "frozen", None),
    ]

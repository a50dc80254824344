"""The controller as a process: what people do with kubectl, and what follows."""

from __future__ import annotations

import signal
from pathlib import Path

from canaryd.model.run import Outcome, Phase
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


def test_a_plan_is_applied_and_promoted(stage: Stage) -> None:
    """Its run says so in conditions; nothing of ours is left in the VirtualService; the plan notes what was settled."""
    process = stage.controller()
    stage.apply()
    run = stage.ends(process=process)
    assert stage.weights() == (0, 100)
    assert stage.is_so("Promoted", run)
    assert run["status"]["verdict"] == "PASS"
    assert stage.newest().outcome is Outcome.PROMOTED
    stage.until(lambda: stage.is_so("Promoted", stage.plan_object()), "the plan's status", process)
    plan = stage.plan_object()
    assert plan["metadata"]["annotations"]["canaryd.io/settled"] == "v3"
    assert plan["status"]["settled"]["run"] == run["metadata"]["name"]
    assert "finalizers" not in plan["metadata"]
    process.send(signal.SIGTERM)
    assert process.ended() == 0, process.output
    assert "Traffic" not in [line for line in process.output.splitlines() if "Traceback" in line]


def test_a_faulty_canary_is_rolled_back_with_its_reason_everywhere(stage: Stage) -> None:
    """One sentence: status of both, Event, log."""
    stage.clients.fail("v3", 0.3)
    process = stage.controller()
    stage.apply()
    run = stage.ends(process=process)
    assert stage.weights() == (100, 0)
    why = run["status"]["why"]
    assert why.startswith("errors: canary 30")
    assert stage.condition("Promoted", run)["reason"] == "Failed"
    stage.until(lambda: stage.plan_object()["status"].get("why") == why, "the plan's status", process)
    stage.until(
        lambda: "RollingBack" in {one["reason"] for one in stage.cluster.objects("Event")}, "its Event", process
    )
    told = [one["message"] for one in stage.cluster.objects("Event") if one["reason"] == "RollingBack"]
    assert told[0].removesuffix("...")[:200] in why
    assert process.output.count('"event": "run.rolled_back"') == 1


def test_the_same_applied_again_starts_nothing_and_a_new_release_does(stage: Stage) -> None:
    """Also after another edit of the plan, and after a restart."""
    process = stage.controller()
    stage.apply()
    stage.ends(process=process)
    stage.set_weights(100, 0)
    stage.apply(watch="500ms")
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: "was settled by run" in str(stage.plan_object()["status"]), "what is settled", process)
    stage.apply(release="v4")
    assert stage.is_so("Promoted", stage.ends(2, process))


def test_an_abort_takes_effect_at_once(stage: Stage) -> None:
    """By kubectl, on the run's spec."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    name = stage.run_objects()[0]["metadata"]["name"]
    said = stage.kubectl(
        f"kubectl patch canaryrun {name} --type=merge "
        """-p '{"spec":{"abort":{"reason":"the ads were wrong","by":"ada"}}}'"""
    )
    assert said.returncode == 0, said.stderr
    stage.until(lambda: stage.weights() == (100, 0), "0 %", process, deadline=3.0)
    assert stage.ends(process=process)["status"]["why"] == "aborted by ada: the ads were wrong"


def test_a_leader_that_is_told_to_end_says_its_last_words(stage: Stage) -> None:
    """An Event that waits for a slow API server when SIGTERM comes is sent all the same."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    stage.until(lambda: "StepShifted" in {one["reason"] for one in stage.cluster.objects("Event")}, "Events", process)
    assert stage.api
    stage.api.faults.hang("create", "events", 0.3, times=2, perform=True)
    assert stage.kubectl("kubectl delete canaryplan reviews").returncode == 0
    process.says('"event": "run.rolled_back"')
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    assert {"RollingBack", "RolledBack"} <= {one["reason"] for one in stage.cluster.objects("Event")}


def test_a_release_in_mid_run_replaces_the_one_before(stage: Stage) -> None:
    """Rolled back first, then begun."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    stage.apply(release="v4")
    stage.ends(2, process)
    first, second = stage.records()
    assert (first.outcome, second.outcome) == (Outcome.ABORTED, Outcome.PROMOTED)
    assert first.reason == "aborted by canaryd: release 'v4' replaces release 'v3'"


def test_a_revert_in_mid_run_aborts_and_starts_nothing(stage: Stage) -> None:
    """What was settled before is asked for again."""
    process = stage.controller()
    stage.apply()
    stage.ends(process=process)
    stage.set_weights(100, 0)
    stage.apply(release="v4", steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    stage.apply()
    run = stage.ends(2, process)
    assert "asks for release 'v3' again" in run["status"]["why"]
    stage.until(lambda: "was settled by run" in str(stage.plan_object()["status"]), "what is settled", process)
    assert stage.weights() == (100, 0)


def test_a_deleted_plan_is_gone_at_once_and_its_run_goes_back(stage: Stage) -> None:
    """No finalizer keeps it."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    assert stage.kubectl("kubectl delete canaryplan reviews --timeout=5s").returncode == 0
    run = stage.ends(process=process)
    assert run["status"]["why"] == "aborted by canaryd: the plan was deleted"
    assert stage.weights() == (100, 0)


def test_a_deleted_run_leaves_no_traffic_behind(stage: Stage) -> None:
    """Its marker is rolled back from its own content, and its release is not begun again."""
    process = stage.controller()
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    name = stage.run_objects()[0]["metadata"]["name"]
    assert stage.kubectl(f"kubectl delete canaryrun {name}").returncode == 0
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)
    stage.until(
        lambda: "MarkerOrphaned" in {one["reason"] for one in stage.cluster.objects("Event")}, "its Event", process
    )
    stage.until(
        lambda: (stage.plan_object()["metadata"].get("annotations") or {}).get("canaryd.io/settled") == "v3",
        "the note in the plan",
        process,
    )
    assert stage.run_objects() == []


def test_orphans_of_a_downtime_are_found_at_the_start(stage: Stage) -> None:
    """Who deletes runs while canaryd is away."""
    process = stage.controller(CANARYD_LEASE_SECONDS="3")
    stage.apply(steps=LONG)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    process.kill()
    name = stage.run_objects()[0]["metadata"]["name"]
    assert stage.kubectl(f"kubectl delete canaryrun/{name} canaryplan/reviews").returncode == 0
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)


def test_drift_holds_and_after_the_end_it_is_said(stage: Stage) -> None:
    """Git reverts the weights while a run bakes, and after it has ended."""
    process = stage.controller()
    stage.apply(steps=LONG, onDrift="hold")
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    stage.set_weights(100, 0)
    stage.until(lambda: stage.is_so("Held", stage.run_objects()[0]), "a hold", process)
    held = stage.run_objects()[0]
    assert stage.condition("TrafficAsDecided", held)["status"] == "False"
    stage.apply(release="v4", steps=[{"weight": 50, "bake": "1s"}])
    stage.ends(2, process)
    assert stage.weights() == (0, 100)
    stage.set_weights(100, 0)
    stage.until(
        lambda: stage.condition("TrafficAsDecided", stage.run_objects()[-1]).get("status") == "False",
        "that the traffic is not as decided",
        process,
    )
    said = stage.condition("TrafficAsDecided", stage.run_objects()[-1])["message"]
    assert said == "somebody set the canary v3 to 0 % in VirtualService default/reviews; 100 % was decided"
    stage.set_weights(0, 100)
    stage.until(lambda: stage.is_so("TrafficAsDecided", stage.run_objects()[-1]), "that it is again", process)


def test_a_second_plan_on_the_entry_is_refused_with_a_reason(stage: Stage) -> None:
    """In its status; and begins when the first has ended."""
    process = stage.controller()
    stage.apply(steps=[{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    stage.apply("rival")
    stage.until(lambda: stage.plan_object("rival").get("status", {}).get("phase") == "refused", "a refusal", process)
    accepted = stage.condition("Accepted", stage.plan_object("rival"))
    assert (accepted["status"], accepted["reason"]) == ("False", "Refused")
    assert "claimed by plan reviews" in accepted["message"]
    stage.ends(process=process)
    assert len(stage.run_objects()) == 1


def test_a_plan_that_is_wrong_says_everything_in_its_status(stage: Stage) -> None:
    """And is taken up as soon as it is mended."""
    process = stage.controller()
    checks = [{"name": "errors", "metric": "error-rate", "compare": "stable"}] * 2
    stage.apply(steps=[{"weight": 10}, {"weight": 5}], analysis={"checks": checks})
    stage.until(lambda: stage.condition("Accepted", stage.plan_object()).get("reason") == "Invalid", "it", process)
    said = stage.condition("Accepted", stage.plan_object())["message"]
    assert "check names that differ" in said
    assert "weights that rise" in said
    stage.apply()
    assert stage.is_so("Promoted", stage.ends(process=process))


def test_a_run_that_a_later_canaryd_wrote_holds_and_nothing_is_guessed(stage: Stage) -> None:
    """Its status says so, its traffic stays, its plan begins nothing; the canaryd that knows it goes on."""
    process = stage.controller()
    stage.apply(steps=[{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    process.kill()
    (record,) = stage.cluster.objects("CanaryRecord")
    stage.cluster.apply({**record, "judge": "99"})
    process = stage.controller(name="canaryd-1")
    stage.until(lambda: stage.is_so("Held", stage.run_objects()[0]), "a hold", process)
    (run,) = stage.run_objects()
    assert stage.condition("Held", run)["reason"] == "UnreadableRecord"
    assert "99" in run["status"]["why"]
    stage.apply(release="v4")
    stage.until(lambda: stage.plan_object()["status"].get("phase") == "refused", "a refusal", process)
    assert f"CanaryRun {run['metadata']['name']}" in stage.plan_object()["status"]["why"]
    assert stage.weights() == (90, 10)
    process.kill()
    stage.apply(release="v3", steps=[{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "1s"}])
    written = stage.cluster.find("CanaryRecord", "default", record["metadata"]["name"])
    assert written is not None
    stage.cluster.apply({**written, "judge": record["judge"]})
    assert stage.is_so("Promoted", stage.ends(process=stage.controller(name="canaryd-2")))


def test_a_lost_lease_keeps_no_run_from_going_back(stage: Stage) -> None:
    """Nobody else leads, the API server does not renew, and the retreat is accepted late: it is sent until then."""
    process = stage.controller(CANARYD_LEASE_SECONDS="3")
    stage.apply(steps=LONG)
    stage.until(lambda: stage.is_at(Phase.BAKING), "baking", process)
    assert stage.api
    faults = stage.api.faults
    faults.fail("patch", "virtualservices", 500, times=None)
    name = stage.run_objects()[0]["metadata"]["name"]
    asked = stage.kubectl(f"""kubectl patch canaryrun {name} --type=merge -p '{{"spec":{{"abort":{{"by":"ada"}}}}}}'""")
    assert asked.returncode == 0, asked.stderr
    process.says("mesh.retreat_failed")
    for verb in ("get", "update"):
        faults.fail(verb, "leases", 500, times=None)
    process.says("daemon.term_ended")
    assert stage.weights() == (90, 10)
    faults.clear()
    for verb in ("get", "update"):
        faults.fail(verb, "leases", 500, times=None)
    stage.until(lambda: stage.weights() == (100, 0), "0 %", process, deadline=15)
    assert process.output.count('"event": "daemon.leads"') == 1
    faults.clear()
    stage.ends(process=process)


def test_a_cluster_without_our_kinds_is_said_with_the_command(stage: Stage, tmp_path: Path) -> None:
    """Exit code 13."""
    for definition in stage.cluster.objects("CustomResourceDefinition"):
        if definition["spec"]["group"] == "canaryd.io":
            stage.kubectl(f"kubectl delete crd {definition['metadata']['name']}")
    process = stage.controller()
    assert process.ended() == 13
    assert "canaryd crds | kubectl apply --server-side -f -" in process.output

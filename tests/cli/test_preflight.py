"""``canaryd preflight``, ``canaryd diff`` and ``canaryd run --wait``, as a person or a pipeline types them."""

from __future__ import annotations

import json
import signal

import jsonpatch
import pytest
import yaml

from tests.cli.stage import Stage, canaryd, wait_for

READY, REFUSED = 0, 13


def prometheus_is_away(stage: Stage) -> None:
    stage.prometheus.status, stage.prometheus.body = 503, b"it starts"


def kubeconfig(stage: Stage) -> list[str]:
    return ["--kubeconfig", str(stage.kubeconfig)]


def test_a_plan_that_may_start_is_ready(stage: Stage) -> None:
    answer = canaryd("preflight", stage.plan(), *stage.options())
    assert answer.code == READY, answer.err
    assert (answer.out + answer.err).rstrip().splitlines()[-1].startswith("plan default/reviews: ")
    assert "error" not in (answer.out + answer.err)


def test_what_stops_a_run_is_told_with_its_code_and_what_to_type(stage: Stage) -> None:
    stage.set_weights(50, 50)
    answer = canaryd("preflight", stage.plan(), *stage.options())
    assert answer.code == REFUSED
    assert "error    NotAtStable  VirtualService default/reviews" in (answer.out + answer.err)
    assert "         $ kubectl patch virtualservice reviews -n default --type=json -p " in (answer.out + answer.err)
    assert "a run would be refused" in (answer.out + answer.err)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_findings_are_for_machines_too(stage: Stage, form: str) -> None:
    stage.set_weights(50, 50)
    answer = canaryd("preflight", stage.plan(), "-o", form, *stage.options())
    assert answer.code == REFUSED
    content = json.loads(answer.out) if form == "json" else yaml.safe_load(answer.out)
    assert (content["plan"], content["release"], content["worst"]) == ("default/reviews", "v3", "error")
    [found] = [one for one in content["findings"] if one["level"] == "error"]
    assert found.keys() == {"code", "level", "where", "sentence", "remedy", "transient", "details"}
    assert found["code"] == "NotAtStable"


def test_nothing_is_changed_by_looking(stage: Stage) -> None:
    before = stage.virtual_service()
    canaryd("preflight", stage.plan(), *stage.options())
    canaryd("diff", stage.plan(), *kubeconfig(stage))
    assert stage.virtual_service() == before
    assert stage.runs() == []


def test_waiting_is_for_what_passes_by_itself_only(stage: Stage) -> None:
    """Weights that somebody has to put right are not waited for."""
    stage.set_weights(50, 50)
    process = stage.start("preflight", stage.plan(), "--wait", "60s")
    assert process.ended(20) == REFUSED
    assert "waiting" not in process.output


def test_a_prometheus_that_comes_back_is_waited_for(stage: Stage) -> None:
    prometheus_is_away(stage)
    process = stage.start("preflight", stage.plan(), "--wait", "60s")
    wait_for(lambda: "waiting, for at most" in process.output, "that it waits", process=process)
    stage.prometheus.status = 200
    assert process.ended(30) == READY
    assert "PrometheusUnreachable" not in process.output.splitlines()[-1]


def test_a_run_waits_likewise_and_then_begins(stage: Stage) -> None:
    prometheus_is_away(stage)
    process = stage.start("run", stage.plan(), "--wait", "60s")
    wait_for(lambda: "waiting, for at most" in process.output, "that it waits", process=process)
    assert stage.runs() == []
    stage.prometheus.status = 200
    assert process.ended(60) == READY


def test_a_run_that_is_told_to_end_while_it_waits_ends(stage: Stage) -> None:
    prometheus_is_away(stage)
    process = stage.start("run", stage.plan(), "--wait", "10m")
    wait_for(lambda: "waiting, for at most" in process.output, "that it waits", process=process)
    process.send(signal.SIGTERM)
    assert process.ended(20) == REFUSED


def test_a_wait_that_is_no_duration_is_refused(stage: Stage) -> None:
    answer = canaryd("preflight", stage.plan(), "--wait", "soon", *stage.options())
    assert answer.code == REFUSED
    assert "--wait" in (answer.out + answer.err)


def test_a_diff_shows_each_write_and_what_the_api_server_says(stage: Stage) -> None:
    answer = canaryd("diff", stage.plan(), *kubeconfig(stage))
    assert answer.code == READY, answer.err
    heads = [line for line in (answer.out + answer.err).splitlines() if line.startswith("# ")]
    assert heads == [
        "# step 1: 10 %: accepted in a dry run",
        "# step 2: 50 %: accepted in a dry run",
        "# promotion: 100 %: accepted in a dry run",
        "# the end: not rehearsed (it follows from the writes before, which were not made)",
    ]
    assert "-      weight: 90\n" in (answer.out + answer.err)
    assert "+      weight: 50\n" in (answer.out + answer.err)


def test_a_diff_for_machines_has_the_patches_themselves(stage: Stage) -> None:
    """Each is what would be sent to the object as it is now."""
    answer = canaryd("diff", stage.plan(), "-o", "json", *kubeconfig(stage))
    content = json.loads(answer.out)
    assert [one["accepted"] for one in content] == [True, True, True, False]
    now = stage.virtual_service()
    for weights, write in zip([(90, 10), (50, 50), (0, 100)], content, strict=False):
        after = jsonpatch.apply_patch(now, write["patch"])
        assert [one.get("weight", 0) for one in after["spec"]["http"][0]["route"]] == list(weights)
    assert [one["path"] for one in content[3]["patch"] if one["op"] == "remove"] == [
        "/metadata/annotations/marker.canaryd.io~1reviews",
        "/metadata/annotations/origin.canaryd.io~1reviews",
    ]


def test_a_diff_of_a_plan_that_may_not_start_says_why(stage: Stage) -> None:
    stage.set_weights(50, 50)
    answer = canaryd("diff", stage.plan(), *kubeconfig(stage))
    assert answer.code == REFUSED
    assert "kubectl patch virtualservice" in (answer.out + answer.err)

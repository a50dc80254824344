"""
canaryd's kinds as people meet them through kubectl, on the lab's API server and on a real one.

Only the real one evaluates CEL.
"""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.kube import CANARY_PLANS, CANARY_RUNS, Kube, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.finding import Finding
from canaryd.model.plan import Plan
from canaryd.model.run import Command, Hold, Outcome, Phase, Record
from canaryd.store import objects
from canaryd.store.definitions import definitions
from tests.conftest import REAL
from tests.lab.test_kubectl import kubectls
from tests.stage import evidence, new_run, percent, plan
from tests.store.places import NAMESPACE, Process, prepare

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


class Place:
    """An API server with canaryd's kinds, and kubectl."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.kube: Kube = connect(str(config), timeout=10)
        prepare(self.kube)

    def kubectl(self, *words: str, manifest: Object | None = None, wanted: int = 0) -> str:
        """What it prints, both streams."""
        if not kubectls():
            pytest.skip("no kubectl on PATH or in the virtual environment")
        said = subprocess.run(
            [kubectls()[0], "--kubeconfig", str(self.config), "-n", NAMESPACE, *words],
            input=yaml.safe_dump(manifest) if manifest else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"HOME": str(self.config.parent), "PATH": "/usr/bin:/bin"},
        )
        assert said.returncode == wanted, said.stdout + said.stderr
        return said.stdout + said.stderr


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Place:
    return Place(request.getfixturevalue("real_api"))


@pytest.fixture(params=["emulator", REAL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "emulator":
        with ApiServer(Cluster()) as server:
            yield Place(Path(kubeconfig(server.address, tmp_path / "kubeconfig")))
    else:
        yield request.getfixturevalue("real")


def canary_plan(**spec: Any) -> Object:
    found = {
        "target": {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}},
        "steps": [{"weight": 5, "bake": "2m"}, {"weight": 50}],
    }
    return {
        "apiVersion": "canaryd.io/v1alpha1",
        "kind": "CanaryPlan",
        "metadata": {"name": "reviews"},
        "spec": {key: one for key, one in (found | spec).items() if one is not None},
    }


def begin(place: Place, uid: str = "reviews-0a1b2c3d") -> Process:
    process = Process(place.kube)
    process.store.save(Record(replace(new_run(plan(gate_at=1)), uid=uid)))
    return process


# -- the files


def test_the_manifests_are_what_the_models_say() -> None:
    """A stale CRD refuses, or prunes, what the controller understands."""
    wanted = runpy.run_path(str(ROOT / "tools/crds.py"))["manifests"]()
    files = [*(ROOT / "deploy/crds").glob("canary*.yaml"), *(ROOT / "deploy/argocd").glob("*.yaml")]
    there = {str(path.relative_to(ROOT / "deploy")): path.read_text() for path in files}
    assert there == wanted, "run `make crds`"


def test_no_plan_gets_a_default_from_the_api_server() -> None:
    """What is left out is for a policy to say, and a default would hide that it was left out."""
    for one in definitions():
        assert '"default":' not in json.dumps(one["spec"]["versions"][0]["schema"])


def test_every_key_of_a_plan_is_in_the_schema_and_described() -> None:
    """A key that the schema does not have is pruned without a word."""
    [version] = definitions()[0]["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    whole = Plan.model_json_schema(by_alias=True)["$defs"]
    assert schema["properties"].keys() == whole["Spec"]["properties"].keys()
    check = schema["properties"]["analysis"]["properties"]["checks"]["items"]
    assert check["properties"].keys() == whole["Check"]["properties"].keys()
    assert all("description" in one for one in (*schema["properties"].values(), *check["properties"].values()))


def test_model_plans_are_taken_as_they_are(place: Place) -> None:
    """Every plan of config/plans, with kubectl's strict validation, and read back to the same plan."""
    for path in sorted((ROOT / "config/plans").glob("*.yaml")):
        written = yaml.safe_load(path.read_text())
        written["metadata"]["namespace"] = NAMESPACE
        assert "created" in place.kubectl("apply", "-f", "-", manifest=written), path
        found = place.kube.get(CANARY_PLANS, NAMESPACE, written["metadata"]["name"])
        assert found["spec"] == written["spec"]
        place.kubectl("delete", "cplan", written["metadata"]["name"])


# -- what is refused


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"target": None}, "spec.target: Required value"),
        ({"release": 3}, "spec.release in body must be of type string"),
        ({"onDrift": "shrug"}, 'Unsupported value: "shrug": supported values: "hold", "reassert", "abort"'),
        ({"watch": "ten minutes"}, "spec.watch in body should match"),
        ({"steps": [{"weight": 100}]}, "spec.steps[0].weight in body should be less than 100"),
        ({"analysis": {"checks": [{"name": "a", "metric": "luck"}]}}, 'Unsupported value: "luck"'),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_wrong_plan_is_refused_with_its_path(place: Place, spec: Object, said: str) -> None:
    """By the API server, when it is applied: before anybody waits for a controller."""
    assert said in place.kubectl("apply", "-f", "-", manifest=canary_plan(**spec), wanted=1)


def test_an_unknown_key_is_refused(place: Place) -> None:
    """Not pruned in silence: kubectl asks for strict validation."""
    told = place.kubectl("apply", "-f", "-", manifest=canary_plan(stepz=[]), wanted=1)
    assert 'unknown field "spec.stepz"' in told


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"steps": [{"weight": 5}, {"weight": 5}]}, "spec.steps: Invalid value"),
        ({"steps": [{"weight": 5}, {"weight": 5}]}, "weights that rise from step to step"),
        ({"steps": [{"weight": 5}, {"match": [{"headers": {"a": {"exact": "x"}}}]}]}, "weights that rise"),
        ({"steps": [{"bake": "5m"}]}, "spec.steps[0]: Invalid value"),
        ({"steps": [{"weight": 0}]}, "a weight above 0, or a match"),
        (
            {"target": {"virtualService": "a", "host": "a", "canary": {}}},
            "a subset of the host's DestinationRule, or a host of its own",
        ),
    ],
)
@REAL.marks[0]
def test_what_the_schema_cannot_say_is_said_in_cel(real: Place, spec: Object, said: str) -> None:
    """With the sentence that `canaryd validate` has for it."""
    assert said in real.kubectl("apply", "-f", "-", manifest=canary_plan(**spec), wanted=1)


@REAL.marks[0]
def test_a_name_that_no_annotation_can_carry_is_refused(real: Place) -> None:
    """The plan's name names our annotation."""
    wrong = canary_plan() | {"metadata": {"name": "re.views"}}
    assert "at most 63 characters" in real.kubectl("apply", "-f", "-", manifest=wrong, wanted=1)


FIXED = "a run's plan is fixed when it begins"
STICKY = "an abort cannot be taken back or changed"
APPENDED = "commands are only added, at the end"


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ([{"op": "replace", "path": "/spec/split", "value": 50}], FIXED),
        ([{"op": "replace", "path": "/spec/created", "value": "2026-01-01T00:00:00Z"}], FIXED),
        ([{"op": "add", "path": "/spec/plan/spec/release", "value": "9"}], FIXED),
        ([{"op": "replace", "path": "/spec/route/canary/subset", "value": "v9"}], FIXED),
        ([{"op": "remove", "path": "/spec/abort"}], STICKY),
        ([{"op": "replace", "path": "/spec/abort/reason", "value": "none"}], STICKY),
        ([{"op": "remove", "path": "/spec/commands"}], APPENDED),
        ([{"op": "remove", "path": "/spec/commands/1"}], APPENDED),
        ([{"op": "replace", "path": "/spec/commands/0/verb", "value": "promote"}], APPENDED),
        ([{"op": "add", "path": "/spec/commands/0", "value": {"verb": "resume"}}], APPENDED),
        ([{"op": "replace", "path": "/spec/commands/0/by", "value": "eve"}], APPENDED),
    ],
    ids=lambda one: f"{one[0]['op']} {one[0]['path']}" if isinstance(one, list) else "",
)
@REAL.marks[0]
def test_what_is_written_of_a_run_stays(real: Place, patch: list[Object], said: str) -> None:
    """Everything but new words: an order that was heard must not be rewritten behind whoever obeyed it."""
    one = begin(real)
    for command in (Command("a", "approve", by="ada"), Command("b", "resume"), Command("c", "abort", "why")):
        one.store.ask("reviews-0a1b2c3d", command)
    name = "reviews-0a1b2c3d"
    assert said in real.kubectl("patch", "crun", name, "--type=json", "-p", json.dumps(patch), wanted=1)


def test_people_ask_with_kubectl(place: Place) -> None:
    """As docs/operations.md says it, without any tool of ours."""
    begin(place)
    name = "reviews-0a1b2c3d"
    place.kubectl(
        "patch", "crun", name, "--type=merge", "-p", '{"spec": {"commands": [{"verb": "approve", "step": 1}]}}'
    )
    append = [{"op": "add", "path": "/spec/commands/-", "value": {"verb": "resume"}}]
    place.kubectl("patch", "crun", name, "--type=json", "-p", json.dumps(append))
    place.kubectl("patch", "crun", name, "--type=merge", "-p", '{"spec": {"abort": {"reason": "wrong image"}}}')
    asked = Process(place.kube).store.commands(name)
    assert [(command.verb, command.step) for command in asked] == [("approve", 1), ("resume", None), ("abort", None)]


# -- what is seen


def show(place: Place, **changes: Any) -> None:
    run = replace(new_run(plan(gate_at=1)), **changes)
    generation = place.kube.get(CANARY_RUNS, NAMESPACE, "reviews-0a1b2c3d")["metadata"]["generation"]
    found = objects.status_of(run, [], "kubectl patch virtualservice reviews")
    found["conditions"] = objects.timed(found["conditions"], (), 1.8e9, generation)
    place.kube.patch_merge(CANARY_RUNS, NAMESPACE, "reviews-0a1b2c3d", {"status": found}, subresource="status")


def test_what_preflight_found_stands_in_the_status(place: Place) -> None:
    """The schema takes each field; a tool finds a code by itself."""
    begin(place)
    odd = Finding(
        "PortSniffed", "warning", "Service default/reviews", "it has no protocol", "kubectl patch", True, ("so it is",)
    )
    show(place, findings=(odd, replace(odd, code="Outlook", level="info", remedy="", transient=False)))
    found = place.kube.get(CANARY_RUNS, NAMESPACE, "reviews-0a1b2c3d")["status"]["findings"]
    assert found[0] == asdict(odd) | {"details": ["so it is"]}
    assert [one["code"] for one in found] == ["PortSniffed", "Outlook"]


def test_get_tells_where_the_release_stands(place: Place) -> None:
    """In one line, in words, the sentence last."""
    begin(place)
    hold = Hold("gate", "step 2 waits for a person's yes", 1.0, None)
    show(
        place, phase=Phase.BAKING, step=1, split=percent(25), hold=hold, waiting=hold.why, evidence=evidence(segment=0)
    )
    head, line = place.kubectl("get", "crun").splitlines()
    assert head.split() == ["NAME", "PLAN", "RELEASE", "PHASE", "STEP", "WEIGHT", "VERDICT", "AGE", "WHY"]
    assert line.split()[:8] == ["reviews-0a1b2c3d", "reviews", "1", "held", "2/3", "25", "%", "PASS"]
    assert line.endswith("step 2 waits for a person's yes")
    place.kubectl("apply", "-f", "-", manifest=canary_plan(release="v3"))
    head, line = place.kubectl("get", "cplan").splitlines()
    assert head.split() == ["NAME", "RELEASE", "PHASE", "STEP", "WEIGHT", "VERDICT", "AGE", "WHY"]
    assert line.split()[:2] == ["reviews", "v3"]


def test_the_category_shows_what_people_want_and_no_records(place: Place) -> None:
    """`kubectl get canaryd`."""
    begin(place)
    place.kubectl("apply", "-f", "-", manifest=canary_plan())
    told = place.kubectl("get", "canaryd")
    assert "canaryplan.canaryd.io/reviews" in told
    assert "canaryrun.canaryd.io/reviews-0a1b2c3d" in told
    assert "record" not in told


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_pipeline_waits_for_the_end(place: Place, outcome: Outcome) -> None:
    """Finished comes in every ending; Promoted in one."""
    begin(place)
    name = "crun/reviews-0a1b2c3d"
    show(place)
    place.kubectl("wait", "--for=condition=Finished", name, "--timeout=1s", wanted=1)
    phase = Phase.PROMOTED if outcome is Outcome.PROMOTED else Phase.ROLLED_BACK
    show(place, phase=phase, outcome=outcome, reason="because", ended=1.0)
    assert "condition met" in place.kubectl("wait", "--for=condition=Finished", name, "--timeout=20s")
    wanted = 0 if outcome is Outcome.PROMOTED else 1
    place.kubectl("wait", "--for=condition=Promoted", name, "--timeout=1s", wanted=wanted)


def test_describe_tells_people_what_they_can_read(place: Place) -> None:
    """Sentences, the last decisions, the command for the worst case; nothing of the machine's memory."""
    begin(place)
    show(place, phase=Phase.BAKING, split=percent(5), seq=1, evidence=evidence(segment=0))
    told = place.kubectl("describe", "crun", "reviews-0a1b2c3d")
    for words in ("Break Glass:  kubectl patch virtualservice reviews", "errors: canary 0.1 %", "Phase:  baking"):
        assert words in told.replace("        ", "  ").replace("   ", "  ").replace("   ", "  "), told
    assert "eJ" not in told.split("Status:")[1]


def test_explain_knows_a_plan(place: Place) -> None:
    """With the default in words."""
    told = " ".join(place.kubectl("explain", "cplan.spec.steps").split())
    assert "How long cells are gathered" in told
    assert "Default: 10m." in told

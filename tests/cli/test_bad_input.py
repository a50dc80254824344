"""
What bad input gets: what is wrong, what was expected, and what to do about it; and nothing is patched.

Everything goes through the command, against the Kubernetes API of the lab. Where the remedy is a kubectl command it is
carried out by the real kubectl, and the plan that was refused then starts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canaryd.lab import bookinfo
from tests.cli.stage import PLAN, Said, Stage, canaryd

Json = dict[str, Any]
TARGET = PLAN["spec"]["target"]
REFUSED, USAGE = 13, 2
MARKER = (
    '{"at":1.0,"canary":{"host":"reviews","subset":"v3"},"latch":"","reason":"","run":"other-1234","seq":3,'
    '"split":0,"stable":{"host":"reviews","subset":"v1"},"was":0}'
)
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")


def to(subset: str, weight: int | None = None) -> Json:
    found: Json = {"destination": {"host": "reviews", "subset": subset}}
    return found if weight is None else found | {"weight": weight}


def http(*entries: Json) -> Callable[[Stage], None]:
    """The VirtualService's entries are these."""
    return lambda stage: stage.change("VirtualService", "reviews", lambda it: it["spec"].update(http=list(entries)))


def annotated(key: str, value: str) -> Callable[[Stage], None]:
    """The VirtualService has this annotation."""
    return lambda stage: stage.change(
        "VirtualService", "reviews", lambda it: it["metadata"].setdefault("annotations", {}).update({key: value})
    )


def another_way(stage: Stage) -> None:
    """A second VirtualService sends everything to the canary."""
    other = bookinfo.virtual_service({"v3": 100})
    other["metadata"]["name"] = "reviews-admin"
    stage.cluster.apply(other)


def refused(stage: Stage, plan: Path, *more: str, code: int = REFUSED) -> str:
    """Try to run it: what is said, after looking that nothing was patched and nothing is there to go on with."""
    before = stage.virtual_service()
    said = stage.try_run(plan, *more)
    assert said.code == code, said
    assert "Traceback" not in said.err + said.out
    assert stage.virtual_service() == before, "the VirtualService was patched"
    assert not stage.state.exists() or stage.runs() == [], "the next start would go on with a run that never began"
    assert not [found for found in stage.state.glob("*") if found.is_dir()]
    return said.err


# -- the plan


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"onDrfit": "hold"}, ["spec.onDrfit", "a key that canaryd knows", "did you mean onDrift?"]),
        ({"release": 3}, ["spec.release", "found     3", "expected  text", 'put it in quotes: "3"']),
        ({"watch": 10}, ["spec.watch", "found     10", 'a duration with a unit, such as "90s"']),
        ({"onDrift": "abrt"}, ["spec.onDrift", '"abrt"', "hold, reassert or abort", "did you mean abort?"]),
        ({"steps": [{"weight": "ten"}]}, ["spec.steps.0.weight", '"ten"', "a number of percent between 0 and 100"]),
        ({"steps": []}, ["spec.steps", "found     []", "a list with at least one item"]),
        ({"steps": "all"}, ["spec.steps", '"all"', "expected  a list"]),
        (
            {"steps": [{"weight": 50}, {"weight": 10}]},
            ["spec.steps.1.weight", "weights that rise, got 10 % after 50 %"],
        ),
        ({"steps": [{"weight": 0}, {"weight": 50}]}, ["spec.steps.0.weight", "0 is where a run starts", "got 0"]),
        ({"steps": [{"weight": 50}, {"weight": 100}]}, ["spec.steps.1.weight", "found     100", "100 is its promot"]),
        ({"steps": [{"weight": float("nan")}]}, ["spec.steps.0.weight", "a number of percent between 0 and 100"]),
        ({"steps": [{"weight": 10}]}, ["spec.steps.0.weight", "a last step of 50 % or more", "acceptUnproven"]),
        ({"analysis": {"history": "3h"}}, ["spec.analysis.history", "at most 2h"]),
        (
            {"target": TARGET | {"stable": {"subset": "v3"}}},
            ["spec.target.canary", "another version than stable, got v3 for both"],
        ),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value)[:40],
)
def test_a_wrong_plan_is_refused(stage: Stage, changes: Json, expected: list[str]) -> None:
    """Path, value, expectation, and what to write instead; and no cluster is asked."""
    said = refused(stage, stage.plan(**changes))
    assert all(words in said for words in expected), said
    assert "1 problem, nothing was changed" in said
    assert stage.api is not None
    assert stage.api.requests == ()


def test_all_problems_of_a_plan_are_shown_together(stage: Stage) -> None:
    """One correction, one more try; also what pydantic alone would hide: weights that fall beside a wrong bake."""
    steps = [{"weight": 50, "bake": "1s"}, {"weight": 20, "bake": "1x"}, {"weight": 10}]
    file = stage.plan(steps=steps, onDrift="x", relaese="v4", target=TARGET | {"host": 5})
    said = canaryd("validate", file)
    assert said.code == REFUSED
    assert f"{file}: 6 problems" in said.err
    for words in (
        "spec.steps.1.bake",
        "spec.onDrift",
        "did you mean release?",
        "spec.target.host",
        "got 20 % after 50 %",
        "got 10 % after 20 %",
    ):
        assert words in said.err


# -- the objects


@needs_kubectl
@pytest.mark.parametrize(
    ("set_up", "changes", "expected"),
    [
        pytest.param(
            lambda stage: stage.change(
                "DestinationRule", "reviews", lambda it: it["spec"].update(subsets=it["spec"]["subsets"][:1])
            ),
            {},
            ["DestinationRule default/reviews", "no subset v3; subsets there: v1", "fail with 503"],
            id="a missing subset",
        ),
        pytest.param(
            http({"route": [to("v1", 80), to("v2", 20)]}),
            {},
            ["http[0]", "reviews v2 with weight 20", "no destinations but v1 and v3"],
            id="a third destination",
        ),
        pytest.param(
            lambda stage: stage.set_weights(50, 50),
            {},
            ["VirtualService default/reviews", "50 % at v3", "v1 with all the traffic at the start"],
            id="at 50/50, as Bookinfo's sample is",
        ),
        pytest.param(
            annotated("marker.canaryd.io/other", MARKER),
            {},
            ["marker.canaryd.io/other", "claimed by plan other, run other-1234", "no other run works on"],
            id="another plan's marker",
        ),
        pytest.param(
            annotated("marker.canaryd.io/reviews", MARKER),
            {},
            ["marker.canaryd.io/reviews", "claimed by an earlier run of this plan"],
            id="a marker of our own, its run lost",
        ),
        pytest.param(
            annotated("flagger.kubernetes.io/original-configuration", "{}"),
            {},
            ["weights that Flagger does not set", "kubectl get canaries.flagger.app"],
            id="Flagger's mark",
        ),
    ],
)
def test_the_remedy_command_repairs_it(
    stage: Stage, set_up: Callable[[Stage], None], changes: Json, expected: list[str]
) -> None:
    """The command is copied from the refusal into a shell, and the same plan then begins."""
    set_up(stage)
    plan = stage.plan(**changes)
    said = refused(stage, plan)
    assert all(words in said for words in expected), said
    done = stage.kubectl(command_in(said))
    assert done.returncode == 0, done.stderr
    process = stage.start("run", plan)
    process.says("baking at 10 %")
    process.kill()


def command_in(said: str) -> str:
    """The last kubectl command that changes something."""
    [*_, found] = re.findall(r"kubectl (?:patch|annotate) .*", said)
    return str(found)


@needs_kubectl
def test_two_entries_that_fit_are_named_by_the_remedy(stage: Stage) -> None:
    """The command names them, and the list is there to be copied into the plan."""
    http({"match": [{"uri": {"prefix": "/x"}}], "route": [to("v1")]}, {"route": [to("v1")]})(stage)
    said = refused(stage, stage.plan())
    assert "2 of VirtualService default/reviews fit" in said
    assert stage.kubectl(command_in(said)).returncode == 0
    [names] = re.findall(r"routes: \[(.*?)\]", said)
    process = stage.start("run", stage.plan(target=TARGET | {"routes": names.split(", ")}))
    process.says("baking at 10 %")


@pytest.mark.parametrize(
    ("set_up", "changes", "expected"),
    [
        pytest.param(
            lambda stage: None,
            {"target": TARGET | {"host": "reveiws"}},
            ["spec.target.host", "found     reveiws", "hosts there: reviews"],
            id="an unknown host",
        ),
        pytest.param(
            lambda stage: None,
            {"target": TARGET | {"virtualService": "reveiws"}},
            ["spec.target.virtualService", "found     reveiws", "a VirtualService in namespace default", "reviews"],
            id="an unknown VirtualService",
        ),
        pytest.param(
            http({"delegate": {"name": "inner", "namespace": "deep"}}),
            {},
            ["http[0]", "delegate deep/inner", "target.virtualService: inner, metadata.namespace: deep"],
            id="a delegate",
        ),
        pytest.param(
            lambda stage: stage.set_weights(0, 100),
            {},
            ["already at the canary: v3 holds 100 %", "nothing is left to do"],
            id="at the canary already",
        ),
        pytest.param(
            http(
                {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v3")]}, {"route": [to("v1")]}
            ),
            {},
            ["http[0]", "a destination reviews v3", "one population", "target.routes"],
            id="a header entry that reaches the canary",
        ),
        pytest.param(
            another_way,
            {},
            ["VirtualService default/reviews-admin http[0]", "one population", "compare: stable"],
            id="another VirtualService that reaches the canary",
        ),
    ],
)
def test_objects_that_do_not_fit_are_refused(
    stage: Stage, set_up: Callable[[Stage], None], changes: Json, expected: list[str]
) -> None:
    """The thing by name, what was expected, and what to do."""
    set_up(stage)
    said = refused(stage, stage.plan(**changes))
    assert all(words in said for words in expected), said


def test_several_problems_of_the_objects_are_shown_together(stage: Stage) -> None:
    """The first one hides none."""
    another_way(stage)
    http({"route": [to("v1", 40), to("v3", 60)], "fault": {"abort": {"httpStatus": 500}}})(stage)
    annotated("marker.canaryd.io/other", MARKER)(stage)
    said = refused(stage, stage.plan())
    assert "4 problems, nothing was changed" in said
    for words in ("fault injection", "60 % at v3", "claimed by plan other", "reviews-admin"):
        assert words in said


# -- the world


def test_an_unreachable_api_is_named(stage: Stage) -> None:
    """With its address, and how to look."""
    address = stage.api.address if stage.api else ""
    stage.stop_api()
    said = refused(stage, stage.plan())
    assert f"the Kubernetes API at {address} is not reachable" in said
    assert "kubectl cluster-info" in said


def test_an_api_that_hangs_is_given_up_after_the_timeout(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead connection must not hang a pipeline."""
    monkeypatch.setenv("CANARYD_TIMEOUT", "0.5")
    assert stage.api is not None
    stage.api.faults.hang("*", "*", 20, times=None)
    assert "did not answer" in refused(stage, stage.plan())


@needs_kubectl
def test_an_unreachable_prometheus_is_named(stage: Stage) -> None:
    """A run that could not be measured does not start; the remedy is a command that shows the same failure."""
    stage.prometheus.close()
    said = refused(stage, stage.plan())
    assert f"Prometheus at {stage.prometheus_url} cannot be asked: " in said
    assert "a Prometheus that answers" in said
    [check] = re.findall(r"curl .*", said)
    assert stage.kubectl(f"{check} --silent --show-error").returncode == 7


def test_a_prometheus_without_the_hosts_requests_is_refused(stage: Stage) -> None:
    """Blind from the start: refused, not held later."""
    stage.clients.book.series.clear()
    said = refused(stage, stage.plan())
    assert "istio_requests_total" in said
    assert "within the last hour" in said


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--prometheus", "prometheus:9090"], ["--prometheus", "prometheus:9090", "http://"]),
        (["--kubeconfig", "/nowhere/config"], ["no kubeconfig at /nowhere/config", "--kubeconfig"]),
        (["--context", "prod"], ["there is no context prod", "canaryd-lab", "kubectl config get-contexts"]),
        (["--config", "/nowhere/canaryd.yaml"], ["--config", "/nowhere/canaryd.yaml", "config/canaryd.yaml"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_refused(stage: Stage, options: list[str], expected: list[str]) -> None:
    """What was looked for, and where."""
    said = refused(stage, stage.plan(), *options)
    assert all(words in said for words in expected), said


def test_a_kubeconfig_that_is_none_is_refused(stage: Stage) -> None:
    """Not with the client library's TypeError."""
    stage.kubeconfig.write_text("hello\n")
    said = refused(stage, stage.plan())
    assert f"{stage.kubeconfig} is no kubeconfig" in said
    assert "kubectl config view" in said


def test_missing_rights_are_listed_with_the_commands_that_grant_them(tmp_path: Path) -> None:
    """Asked before anything is done, all of them at once."""
    with Stage(tmp_path, denied=(("patch", "virtualservices"), ("list", "pods"))) as stage:
        said = refused(stage, stage.plan())
    assert "2 problems" in said
    for right in ("patch virtualservices.networking.istio.io", "list pods"):
        verb, resource = right.split()
        assert f"the right to {right}" in said
        assert re.search(rf"kubectl create role \S+ -n default --verb={verb} --resource={resource} ", said)


def test_no_rights_at_all_are_said(tmp_path: Path) -> None:
    """Where even the question for rights is denied, the API's own refusal is passed on, with what to check."""
    with Stage(tmp_path, denied=(("*", "*"),)) as stage:
        said = refused(stage, stage.plan())
    assert 'cannot get resource "virtualservices"' in said
    assert "kubectl auth can-i --list" in said


# -- canaryd validate


def test_a_valid_plan_is_said_to_be_valid(stage: Stage) -> None:
    said = canaryd("validate", stage.plan())
    assert said.code == 0
    assert "plan default/reviews is valid" in said.out
    assert said.err == ""


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "plan.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", ['["a", "b"]', "a mapping with apiVersion, kind, metadata and spec"]),
        ("", ["null", "a mapping"]),
        ("a: [b\nc: d\n", ["line 2", "YAML that can be read"]),
        ("kind: CanaryPlan\nspec:\n\ttarget: x\n", ["line 3", "found     a tab", "spaces"]),
        ("a: 1\nb: 2\na: 3\n", ["line 3", "a again, after line 1", "each key once"]),
        ("a: {b: 1, b: 2}\n", ["line 1", "b again"]),
        ("kind: CanaryPlan\n---\nkind: CanaryPlan\n", ["line 2", "a second document", "one plan in a file"]),
        ("a: \0\n", ["line 1", "0x00"]),
        ("# " + "x" * 300_000, ["at most 200,000"]),
        ("[" * 20_000, ["YAML that can be read"]),
        ("spec: {steps: &a [*a]}\n", ["spec.steps.0", "a mapping"]),
        ("1: 2\nkind: CanaryPlan\n", ["metadata"]),
    ],
    ids=["list", "empty", "broken", "tab", "twice", "twice inside", "two", "NUL", "huge", "deep", "endless", "number"],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str, expected: list[str]) -> None:
    """With the line where there is one, and within seconds whatever it is."""
    said = canaryd("validate", written(tmp_path, text))
    assert said.code == REFUSED, said
    assert all(words in said.err for words in expected), said.err


def test_aliases_that_stand_for_gigabytes_are_refused_at_once(tmp_path: Path) -> None:
    """The "billion laughs": each line repeats the former nine times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    said = canaryd("validate", written(tmp_path, "\n".join(lines) + "\nmetadata: *a11\n"))
    assert said.code == REFUSED
    assert "metadata" in said.err


@pytest.mark.parametrize("make", [lambda file: None, lambda file: file.mkdir(), lambda file: file.write_bytes(b"\xff")])
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Nothing there, a folder, not text: exit 2, as for a wrong option."""
    make(tmp_path / "plan.yaml")
    said: Said = canaryd("validate", tmp_path / "plan.yaml")
    assert said.code == USAGE
    assert "cannot be read" in said.err

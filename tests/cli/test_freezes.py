"""``canaryd freeze``, ``stop``, ``freezes`` and ``thaw`` on a state folder; ``run`` and ``serve``, which obey them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.cli.serve import Plans
from canaryd.engine.admission import Begun
from canaryd.engine.guarding import Queue, Waits
from canaryd.model.queue import Limits
from canaryd.model.run import Outcome
from canaryd.store.definitions import definitions
from canaryd.store.freezes import FolderQueue
from tests.cli.stage import PLAN, Process, Said, Stage, canaryd, wait_for

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]
SHORT = [{"weight": 10, "bake": "1s"}, {"weight": 50, "bake": "1s"}]
REFUSED, USAGE = 13, 2


def typed(folder: Path, *arguments: str) -> Said:
    return canaryd(*arguments, "--state", str(folder))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("freeze", "--reason", "x", "--for", "4h"), ["-n or -A", "one of the two"]),
        (("freeze", "--all", "-n", "shop", "--reason", "x", "--for", "4h"), ["-n shop -A"]),
        (("freeze", "--all", "--reason", "x"), ["--until or --for", "neither"]),
        (("freeze", "--all", "--reason", "x", "--for", "4h", "--until", "2099-01-01"), ["one of the two"]),
        (("freeze", "--all", "--reason", " ", "--for", "4h"), ["--reason", "whoever waits is told"]),
        (("freeze", "--all", "--reason", "x", "--for", "4"), ["--for", "a duration with a unit"]),
        (("freeze", "--all", "--reason", "x", "--for", "0s"), ["--for", "an end that is not over yet"]),
        (("freeze", "--all", "--reason", "x", "--until", "2020-01-01"), ["an end that is not over yet"]),
        (("freeze", "--all", "--reason", "x", "--until", "tomorrow"), ["--until", "2026-12-24T18:00+01:00"]),
        (("freeze", "--all", "--reason", "x", "--for", "99999999d"), ["--for"]),
        (("freeze", "--all", "--reason", "x", "--for", "4h", "--name", "../x"), ["--name", "small letters"]),
        (("freeze", "-n", "Shop", "--reason", "x", "--for", "4h"), ["--namespace", "the name of a namespace"]),
        (("freeze", "--reason", "", "--for", "x"), ["3 problems"]),
        (("thaw", "night"), ["there is no freeze night in the folder", "(there: none)"]),
        (("thaw", "night", "--all", "-n", "shop"), ["one of the two"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_was_expected(
    arguments: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    """All faults at once, and nothing is written."""
    said = typed(tmp_path, *arguments)
    assert said.code == REFUSED
    for words in expected:
        assert words in said.err
    assert not (tmp_path / "freezes").exists()


def test_without_a_reason_there_is_no_freeze(tmp_path: Path) -> None:
    said = typed(tmp_path, "freeze", "--all", "--for", "4h")
    assert said.code == USAGE
    assert "--reason" in said.err


def test_a_freeze_is_listed_with_owner_reason_and_end_and_lifted(tmp_path: Path) -> None:
    """What was typed is what is printed."""
    made = typed(tmp_path, "freeze", "-n", "shop", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    assert made.code == 0
    assert "namespace shop: nothing starts and nothing rises, until " in made.out
    assert "(4 hours left)" in made.out
    assert f"canaryd thaw night --state {tmp_path}" in made.out
    listed = typed(tmp_path, "freezes").out
    assert listed.startswith("night  namespace shop: frozen by ")
    assert listed.rstrip().endswith("incident 4711")
    again = typed(tmp_path, "freeze", "--all", "--reason", "x", "--for", "1h", "--name", "night")
    assert (again.code, "there is a freeze night already" in again.err) == (REFUSED, True)
    assert typed(tmp_path, "thaw", "night").code == 0
    assert "nothing is frozen" in typed(tmp_path, "freezes").err


def test_the_command_that_lifts_it_is_one_that_can_be_typed(tmp_path: Path) -> None:
    """Where the freeze lies in a state folder, so does the thaw."""
    said = typed(tmp_path, "freeze", "--all", "--reason", "x", "--for", "1h", "--name", "a")
    assert f"to lift it: canaryd thaw a --state {tmp_path}" in said.out


@pytest.mark.parametrize("everywhere", ["-A", "--all-namespaces", "--all"])
def test_every_namespace_is_typed_as_kubectl_has_it(tmp_path: Path, everywhere: str) -> None:
    """And as it was before."""
    assert typed(tmp_path, "freeze", everywhere, "--reason", "x", "--for", "1h", "--name", "a").code == 0
    assert typed(tmp_path, "freezes", everywhere).out.startswith("a  all namespaces: frozen by ")
    assert typed(tmp_path, "thaw", "a", everywhere).code == 0


def test_where_nothing_is_frozen_is_said(tmp_path: Path) -> None:
    """Who looks in the wrong place must not take it for silence in the right one."""
    assert f"nothing is frozen in the folder {tmp_path}" in typed(tmp_path, "freezes").err
    assert (
        f"nothing is frozen in namespace shop of the folder {tmp_path}" in typed(tmp_path, "freezes", "-n", "shop").err
    )
    said = typed(tmp_path, "thaw", "night", "-A")
    assert f"there is no freeze night of all namespaces in the folder {tmp_path} (there: none)" in said.err
    both = typed(tmp_path, "freezes", "-A", "-n", "shop")
    assert (both.code, "one of the two" in both.err) == (REFUSED, True)


def test_a_freeze_without_a_cluster_says_what_there_is_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    said = canaryd("stop", "-A", "--reason", "x")
    assert said.code == REFUSED
    assert "there is no kubeconfig at" in said.err
    assert "for canaryd run and serve on a state folder: --state DIR" in said.err


def test_a_stop_lasts_until_it_is_lifted_and_holding_is_its_second_form(tmp_path: Path) -> None:
    typed(tmp_path, "stop", "--all", "--reason", "red", "--name", "red")
    typed(tmp_path, "stop", "--all", "--hold", "--reason", "still", "--name", "still", "--for", "1h")
    found = json.loads(typed(tmp_path, "freezes", "-o", "json").out)
    assert yaml.safe_load(typed(tmp_path, "freezes", "-o", "yaml").out) == found
    assert [(one["name"], one["state"], one["namespace"], one["until"] is None) for one in found] == [
        ("red", "stopped", None, True),
        ("still", "frozen", None, False),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# run and serve


def test_run_does_not_begin_in_a_freeze_and_waits_when_told_to(stage: Stage) -> None:
    """A pipeline job ends with a reason, or waits for as long as it was told."""
    typed(stage.state, "freeze", "--all", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    said = stage.try_run(stage.plan(steps=SHORT))
    assert said.code == REFUSED
    assert "frozen by" in said.err
    assert "incident 4711 (night)" in said.err
    assert stage.runs() == []
    process = stage.start("run", stage.plan(steps=SHORT), "--wait", "2m")
    process.says("waiting, for at most 120 s: frozen by")
    assert typed(stage.state, "thaw", "night").code == 0
    assert process.ended() == 0, process.output


@pytest.fixture
def kinds(stage: Stage) -> Stage:
    """A cluster with canaryd's kinds, in which a platform team freezes things."""
    for definition in definitions():
        stage.cluster.apply(definition)
    return stage


def frozen(stage: Stage, name: str, namespace: str, **spec: object) -> None:
    about = {"name": name, "namespace": namespace}
    body = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryFreeze", "metadata": about}
    stage.cluster.apply({**body, "spec": {"reason": "the platform team says so", **spec}})


def thawed(stage: Stage, name: str, scope: str) -> None:
    said = stage.canaryd("thaw", name, scope, "--kubeconfig", stage.kubeconfig)
    assert said.code == 0, said.err


@pytest.mark.parametrize("namespace", ["default", "canaryd"])
def test_a_freeze_in_the_cluster_binds_a_pipelines_job(kinds: Stage, namespace: str) -> None:
    """That of its namespace, and one for all; and another namespace's does not."""
    frozen(kinds, "theirs", "elsewhere")
    frozen(kinds, "night", namespace)
    said = kinds.try_run(kinds.plan(steps=SHORT))
    assert said.code == REFUSED
    assert "frozen until it is lifted: the platform team says so (night)" in said.err
    assert kinds.runs() == []
    thawed(kinds, "night", "--all" if namespace == "canaryd" else "--namespace=default")
    assert kinds.try_run(kinds.plan(steps=SHORT)).code == 0


def test_freezes_that_a_pipelines_account_may_not_list_are_told_before_it_begins(tmp_path: Path) -> None:
    """By canaryd run and canaryd preflight, which alone depend on that right."""
    with Stage(tmp_path, denied=(("list", "canaryfreezes"),)) as stage:
        for definition in definitions():
            stage.cluster.apply(definition)
        said = stage.canaryd("preflight", stage.plan(steps=SHORT), "-o", "json", *stage.options())
        found = [one for one in json.loads(said.out)["findings"] if one["code"] == "FreezesUnseen"]
        assert [one["where"] for one in found] == ["CanaryFreezes of default", "CanaryFreezes of canaryd"]
        ended = stage.try_run(stage.plan(steps=SHORT))
        assert (ended.code, "a freeze or a stop of all plans there does not bind this run" in ended.out) == (0, True)


def test_a_namespace_that_is_not_there_cannot_be_frozen(kinds: Stage) -> None:
    """Said as that, and not as a request that failed."""
    asked = ("--reason", "x", "--for", "1h", "--kubeconfig", kinds.kubeconfig)
    said = kinds.canaryd("freeze", "-n", "nope", *asked)
    assert said.code == REFUSED
    assert "there is no namespace nope in context" in said.err


def test_a_stop_in_the_cluster_takes_a_pipelines_canary_back(kinds: Stage) -> None:
    """Within seconds, by the job itself."""
    process = kinds.start("run", kinds.plan(steps=LONG))
    wait_for(lambda: kinds.weights() == (90, 10), "10 %", process=process)
    frozen(kinds, "red", "canaryd", stop=True, owner="ana")
    assert process.ended() == 11, process.output
    assert kinds.weights() == (100, 0)
    assert kinds.run().reason == "stopped by ana until it is lifted: the platform team says so (red)"


def test_serve_obeys_a_freeze_in_the_cluster(kinds: Stage) -> None:
    """A plan waits for it, and begins by itself when it is lifted."""
    (kinds.folder / "plans").mkdir()
    kinds.plan(steps=SHORT).rename(kinds.folder / "plans" / "reviews.yaml")
    frozen(kinds, "night", "default")
    process = serving(kinds)
    process.says("frozen until it is lifted: the platform team says so (night)")
    assert kinds.runs() == []
    thawed(kinds, "night", "--namespace=default")
    wait_for(lambda: bool(kinds.runs()) and kinds.run().outcome is Outcome.PROMOTED, "the end", process=process)


def test_a_job_that_may_not_see_freezes_runs_and_says_so(tmp_path: Path) -> None:
    """It needs no rights on canaryd's kinds."""
    with Stage(tmp_path, denied=(("list", "canaryfreezes"),)) as stage:
        for definition in definitions():
            stage.cluster.apply(definition)
        frozen(stage, "night", "default")
        process = stage.start("run", stage.plan(steps=SHORT))
        assert process.ended() == 0, process.output
        assert process.output.count("freezes.unseen") == 2  # of the plan's namespace, and of all


def test_run_is_refused_outside_of_its_windows(stage: Stage) -> None:
    """With until when."""
    said = stage.try_run(stage.plan(windows=[{"opens": "0 0 29 feb *", "for": "1h", "timeZone": "Asia/Tokyo"}]))
    assert said.code == REFUSED
    assert "outside of the change window until Tue 29 Feb 2028 00:00 Asia/Tokyo" in said.err


def test_run_in_flight_is_held_killed_thawed_and_stopped(stage: Stage) -> None:
    """The whole of it on one run: frozen it holds, also over a kill -9; thawed it rises; stopped it goes back."""
    plan = stage.plan(steps=[{"weight": 10, "bake": "3s"}, {"weight": 50, "bake": "10m"}])
    process = stage.start("run", plan)
    wait_for(lambda: stage.weights() == (90, 10), "10 %", process=process)
    typed(stage.state, "freeze", "--all", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    wait_for(lambda: "step 1 has passed" in stage.run().waiting, "a step that waits", process=process)
    process.kill()
    process = stage.start("run", plan)
    process.says("goes on")
    time.sleep(2)
    assert stage.weights() == (90, 10)
    typed(stage.state, "thaw", "night")
    wait_for(lambda: stage.weights() == (50, 50), "50 %", process=process)
    typed(stage.state, "stop", "--all", "--reason", "the shop is down")
    assert process.ended() == 11, process.output
    assert stage.weights() == (100, 0)
    assert stage.run().outcome is Outcome.ABORTED


def serving(stage: Stage, **settings: int) -> Process:
    file = stage.folder / "settings.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    return stage.start("serve", stage.folder / "plans", "--config", file)


def test_serve_lets_a_plan_wait_and_others_behind_it_begin(stage: Stage) -> None:
    """A frozen namespace is not refused, and told once."""
    typed(stage.state, "freeze", "-n", "default", "--reason", "incident 4711", "--for", "4h", "--name", "night")
    stage.plan("plans/reviews.yaml", steps=SHORT)
    process = serving(stage)
    process.says("plan.waits")
    typed(stage.state, "thaw", "night")
    process.says("run.promoted")
    assert process.output.count("plan.waits") == 1
    assert "plan.refused" not in process.output
    process.send(signal.SIGTERM)
    assert process.ended() == 0


class OnPaper:
    """What ``serve`` asks of a Canaryd, with its real queue; ``free`` is whether a run may begin."""

    def __init__(self) -> None:
        self.queue = Queue(Limits(1))
        self.free = False
        self.begun: list[str] = []

    def unfinished(self) -> list[Any]:
        return []

    def tell_what_is_left(self) -> None:
        """No run was ever here."""

    def begin(self, plan: Any, *, asked: float) -> Begun:
        key = str(plan)
        self.queue.enter(key, asked)
        turn = self.queue.turn(key, [] if self.free else ["default"])
        if turn.place:
            raise Waits(turn.sentence)
        self.free = False
        self.begun.append(plan.name)
        raise Waits("begun, as far as this test cares")


def put(folder: Path, file: str, name: str) -> None:
    text = json.dumps(PLAN | {"metadata": {"name": name, "namespace": "default"}})
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(text)


def test_serve_remembers_who_asked_first_over_a_restart(tmp_path: Path) -> None:
    """The folder is read by name; the queue is by time."""
    folder, state = tmp_path / "plans", tmp_path / "state"
    first = Plans(folder, OnPaper(), queue=FolderQueue(state))  # type: ignore[arg-type]
    put(folder, "z.yaml", "zebra")
    first.scan()
    put(folder, "a.yaml", "adder")
    first.scan()
    paper = OnPaper()
    again = Plans(folder, paper, queue=FolderQueue(state))  # type: ignore[arg-type]
    again.go_on()
    paper.free = True
    again.scan()
    assert paper.begun == ["zebra"]
    (folder / "z.yaml").unlink()
    again.scan()
    assert list(FolderQueue(state).read()) == ["default/adder"]


def test_a_queue_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    """The order is lost, and nothing else."""
    (tmp_path / "queue.json").write_text('{"default/reviews": 3}')
    assert FolderQueue(tmp_path).read() == {}
    assert FolderQueue(tmp_path / "nothing").read() == {}

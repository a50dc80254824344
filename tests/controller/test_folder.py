"""``--plans DIR``, a mounted ConfigMap: its files become CanaryPlans, and stay what the folder says."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.controller import folder
from canaryd.model.run import Outcome
from tests.cli.stage import PLAN, Json
from tests.controller.stage import Stage

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


class ConfigMap:
    """
    A volume as the kubelet writes it: a folder of symlinks into `..data`, itself a symlink that is swapped atomically.

    Source: kubernetes, pkg/volume/util/atomic_writer.go.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = 0
        path.mkdir()

    def hold(self, **files: str) -> None:
        """From now on the volume has these files: NAME.yaml with the text."""
        self._number += 1
        data = self.path / f"..2026_01_01_{self._number}"
        data.mkdir()
        for name, text in files.items():
            (data / f"{name}.yaml").write_text(text)
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(data.name)
        fresh.replace(self.path / "..data")
        for name in files:
            if not (link := self.path / f"{name}.yaml").is_symlink():
                link.symlink_to(Path("..data") / link.name)
        for link in self.path.glob("*.yaml"):
            if link.stem not in files:
                link.unlink()


@pytest.fixture
def volume(tmp_path: Path) -> ConfigMap:
    return ConfigMap(tmp_path / "plans")


def text(name: str = "reviews", **changes: Any) -> str:
    return yaml.safe_dump(PLAN | {"metadata": {"name": name, "namespace": "default"}, "spec": PLAN["spec"] | changes})


def elsewhere(name: str, **changes: Any) -> str:
    """A plan that is in nobody's way: there is no such VirtualService."""
    return text(name, target=PLAN["spec"]["target"] | {"virtualService": "other"}, **changes)


def found(stage: Stage, name: str = "reviews") -> Json | None:
    return stage.cluster.find("CanaryPlan", "default", name)


def release(stage: Stage, name: str = "reviews") -> str:
    plan = found(stage, name)
    return plan["spec"]["release"] if plan else ""


def test_a_file_is_released_changed_and_taken_away(stage: Stage, volume: ConfigMap) -> None:
    """Marked as from the folder; a file that is gone ends its run, an empty folder ends nothing."""
    volume.hold(reviews=text(), keep=elsewhere("keep"))
    process = stage.controller("--plans", volume.path)
    assert stage.is_so("Promoted", stage.ends(process=process))
    assert stage.plan_object()["metadata"]["labels"]["canaryd.io/source"] == "folder"
    stage.set_weights(100, 0)
    volume.hold(reviews=text(release="v4", steps=LONG), keep=elsewhere("keep"))
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    volume.hold()
    stage.until(lambda: not list(volume.path.glob("*.yaml")), "an empty folder")
    wait_a_scan(stage)
    assert (release(stage), stage.weights()) == ("v4", (90, 10))
    volume.hold(keep=elsewhere("keep"))
    stage.until(lambda: found(stage) is None, "the plan's end", process)
    stage.until(lambda: stage.weights() == (100, 0) and not stage.marked(), "0 %", process)
    stage.until(lambda: stage.records()[1].released, "the run's end", process)
    assert stage.records()[1].outcome is Outcome.ABORTED


def test_dates_are_kept_as_text_and_written_once(stage: Stage, volume: ConfigMap) -> None:
    """YAML makes dates of them, the API server knows none; a plan that always differs would be written for ever."""
    days = {"from": date(2026, 12, 20), "to": date(2027, 1, 2), "reason": "the year's end"}
    volume.hold(other=elsewhere("other", blackouts=[days]))
    process = stage.controller("--plans", volume.path)
    stage.until(lambda: found(stage, "other") is not None, "the plan", process)
    plan = found(stage, "other")
    assert plan is not None
    assert plan["spec"]["blackouts"] == [{"from": "2026-12-20", "to": "2027-01-02", "reason": "the year's end"}]
    time.sleep(2 * folder.SCAN)
    assert process.output.count('"event": "plan.applied"') == 1
    assert "Traceback" not in process.output


def test_a_broken_file_is_reported_and_the_others_go_on(stage: Stage, volume: ConfigMap) -> None:
    """In the log, in Events on the Pod and on the plan that the file held, and in a metric; nothing is pruned."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "canaryd-0", "namespace": "canaryd"}}
    stage.cluster.apply(pod | {"spec": {"containers": [{"name": "canaryd", "image": "canaryd"}]}})
    volume.hold(reviews=text(steps=LONG), other=elsewhere("other"))
    process = stage.controller("--plans", volume.path)
    stage.until(lambda: stage.weights() == (90, 10), "10 %", process)
    volume.hold(reviews="spec: [", other=elsewhere("other", release="v5"))
    process.says('"event": "plan_file.broken"')
    stage.until(lambda: release(stage, "other") == "v5", "the other file's change", process)
    stage.until(lambda: {"Pod", "CanaryPlan"} <= told(stage), f"Events: {told(stage)}", process)
    assert stage.weights() == (90, 10), "a file that cannot be read ended its run"
    assert process.output.count('"event": "plan_file.broken"') == 1
    volume.hold(other=elsewhere("other", release="v5"), bad="{}")
    wait_a_scan(stage)
    assert found(stage) is not None, "pruned while a file was broken"


def test_what_a_person_wrote_is_not_taken_over_and_what_a_person_edits_is_put_back(
    stage: Stage, volume: ConfigMap
) -> None:
    """The folder is the source of what it holds, and of nothing else."""
    stage.apply("mine", release="by hand", target=PLAN["spec"]["target"] | {"virtualService": "other"})
    volume.hold(mine=elsewhere("mine"), reviews=text(steps=LONG))
    process = stage.controller("--plans", volume.path)
    process.says("written by somebody else")
    stage.until(lambda: release(stage) == "v3", "the plan", process)
    assert release(stage, "mine") == "by hand"
    edited = stage.kubectl("""kubectl patch canaryplan reviews --type=merge -p '{"spec":{"release":"by hand"}}'""")
    assert edited.returncode == 0, edited.stderr
    stage.until(lambda: release(stage) == "v3", "the file's release", process, deadline=3 * folder.SCAN)
    edited = stage.kubectl("kubectl label canaryplan reviews team=shop")
    wait_a_scan(stage)
    plan = found(stage)
    assert plan is not None
    assert plan["metadata"]["labels"]["team"] == "shop", "what the file does not speak of is nobody's to take away"


def told(stage: Stage) -> set[str]:
    events = [one for one in stage.cluster.objects("Event") if one["reason"] == "PlanFileBroken"]
    return {one["involvedObject"]["kind"] for one in events}


def wait_a_scan(stage: Stage) -> None:
    """Longer than the folder is left alone between two readings."""
    time.sleep(folder.SCAN + 1.5)

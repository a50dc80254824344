"""`canaryd import`: the plan to standard output, the rest to standard error, and a code for pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from canaryd.cli import app
from canaryd.cli.exits import Exit
from canaryd.model.plan import plan_of, read_plan
from tests.importing.manifests import CANARY, HERE, ROLLOUT, flagger

WHOLE = yaml.safe_dump(flagger({"threshold": None}))


def run(*words: str, given: str = "") -> tuple[int, str, str]:
    said = CliRunner().invoke(app, ["import", *words], input=given)
    return said.exit_code, said.stdout, said.stderr


def test_a_pipe_gets_the_plan_and_a_person_what_is_not_in_it() -> None:
    code, out, err = run("-", given=(HERE / "flagger-weights.yaml").read_text())
    assert code == Exit.LEFT_OUT
    assert str(read_plan(out)) == "test/podinfo"
    assert "left out  spec.analysis.threshold: 5" in err
    assert "because: canaryd counts no failed checks" in err
    assert "instead: an autoscaler of its own" in err
    assert "carried  " not in err


def test_where_nothing_is_lost_it_is_zero() -> None:
    code, out, err = run("-", given=WHOLE)
    assert (code, "left out  " in err) == (0, False)
    assert read_plan(out).name == "podinfo"


def test_everything_can_be_said() -> None:
    _, _, err = run("-", "--all", given=WHOLE)
    assert "carried   spec.analysis.stepWeight: 10" in err
    assert "idle      spec.service.port: 9898" in err


@pytest.mark.parametrize("file", sorted(HERE.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_becomes_a_valid_plan_in_both_forms(file: Path) -> None:
    _, out, _ = run(str(file))
    _, as_json, _ = run(str(file), "-o", "json")
    assert plan_of(json.loads(as_json)) == read_plan(out)


def test_several_become_several(tmp_path: Path) -> None:
    """As documents for kubectl, or as a List."""
    canary, rollout = tmp_path / "canary.yaml", tmp_path / "rollout.json"
    canary.write_text(WHOLE)
    rollout.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [ROLLOUT]}))
    code, out, _ = run(str(canary), str(rollout))
    assert code == 0
    assert [plan_of(one).name for one in yaml.safe_load_all(out)] == ["podinfo", "reviews"]
    listed = json.loads(run(str(canary), str(rollout), "-o", "json")[1])
    assert (listed["kind"], [plan_of(one).name for one in listed["items"]]) == ("List", ["podinfo", "reviews"])


def test_what_is_given_in_vain_is_said() -> None:
    other = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "podinfo"}}
    assert "not read  Service podinfo" in run("-", given=f"{WHOLE}---\n{yaml.safe_dump(other)}")[2]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("", "a Canary of Flagger"),
        ("kind: Service\napiVersion: v1\n", "Service (v1)"),
        ("kind: Canary\napiVersion: monitoring.example/v1\n", "a Canary of Flagger"),
        ("- 1", "Kubernetes objects"),
        ("{a: b", "YAML that can be read"),
        ("kind: Canary\nkind: Rollout\n", "kind again"),
        (yaml.safe_dump(flagger(provider="nginx")), "istio"),
    ],
)
def test_what_is_not_ours_is_refused_and_nothing_is_printed(given: str, word: str) -> None:
    code, out, err = run("-", given=given)
    assert (code, out) == (Exit.REFUSED, "")
    assert word in err


def test_one_that_cannot_be_takes_the_others_with_it() -> None:
    """Half a migration that looks whole is worse than none."""
    code, out, err = run(
        "-", given=f"{WHOLE}---\n{yaml.safe_dump(flagger(provider='nginx') | {'metadata': CANARY['metadata']})}"
    )
    assert (code, out) == (Exit.REFUSED, "")
    assert "spec.provider" in err


def test_a_file_that_cannot_be_read_is_usage(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    assert run(str(tmp_path / "none.yaml"))[0] == Exit.USAGE
    assert run(str(tmp_path / "bytes.yaml"))[0] == Exit.USAGE

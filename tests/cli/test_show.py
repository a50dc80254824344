"""`canaryd show`, and `--policies` wherever plans are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canaryd.cli.exits import Exit
from canaryd.model.layers import layers_of
from canaryd.model.plan import plan_of, read_plan
from canaryd.model.policy import read_policy
from canaryd.report.effective import effective_yaml
from tests.cli.stage import Stage, canaryd

ROOT = Path(__file__).parents[2]
PLAN = """\
metadata: {name: reviews}
spec:
  from: careful
  release: v3
  target: {virtualService: reviews, host: reviews, canary: {subset: v3}}
  analysis: {minRequests: 80}
"""
CAREFUL = """\
kind: CanaryPolicy
metadata: {name: careful}
spec:
  steps: [{weight: 1, bake: 5m}, {weight: 50}]
"""
DEFAULT = """\
kind: CanaryPolicy
metadata: {name: default}
spec:
  onNoData: {hold: 5m, then: hold}
  analysis: {cell: 30s, checks: [{name: errors, metric: error-rate, compare: stable}]}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A plan, and two policies beside it."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "policies/careful.yaml").write_text(CAREFUL)
    (tmp_path / "policies/default.yaml").write_text(DEFAULT)
    return tmp_path


def shown(files: Path, *more: str) -> str:
    said = canaryd("show", files / "plan.yaml", "--policies", files / "policies", *more)
    assert said.code == 0, said.err
    return said.out


def test_a_plan_is_shown_as_it_is_written(files: Path) -> None:
    """In YAML and in JSON."""
    assert yaml.safe_load(shown(files)) == yaml.safe_load(PLAN)
    assert json.loads(shown(files, "-o", "json")) == yaml.safe_load(PLAN)


def test_what_is_in_force_says_where_it_comes_from(files: Path) -> None:
    """One comment for a block of one origin, one on each line that is another's."""
    lines = shown(files, "--effective").splitlines()
    for line in (
        "  target:  # plan",
        "    virtualService: reviews",
        "  steps:  # policy careful",
        "    - weight: 1",
        "      bake: 5m",
        "      until: bake  # canaryd's default",
        "    cell: 30s  # policy default",
        "    minRequests: 80  # plan",
        "  onNoData:  # policy default",
        "    then: hold",
        "  onDrift: hold  # canaryd's default",
    ):
        assert line in lines, f"{line!r} is not in:\n" + "\n".join(lines)
    assert lines[0].startswith("# In force for plan default/reviews")
    assert "plan over policy careful over policy default over canaryd's defaults" in lines[0]


def test_what_is_in_force_is_a_plan_again(files: Path) -> None:
    """Without any policy; and the same one, by its digest."""
    policies = {one["metadata"]["name"]: one for one in map(yaml.safe_load, (CAREFUL, DEFAULT))}
    whole = read_plan(PLAN, policies=policies)
    again = read_plan(shown(files, "--effective"))
    assert again.digest == whole.digest
    assert again.spec.model_copy(update={"from_": "careful"}) == whole.spec
    assert plan_of(json.loads(shown(files, "--effective", "-o", "json"))).digest == whole.digest


@pytest.mark.parametrize("file", sorted((ROOT / "config/plans").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_plan_of_ours_comes_back(file: Path) -> None:
    """Custom checks, gates, hard limits, queries."""
    said = canaryd("show", file, "--effective")
    assert said.code == 0, said.err
    assert read_plan(said.out) == read_plan(file.read_text())


@pytest.mark.parametrize("file", sorted((ROOT / "config/policies").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_policy_of_ours_is_one(file: Path) -> None:
    """People copy them."""
    assert read_policy(file.read_text()).name == file.stem


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(release=words, reason=words, labels=st.dictionaries(words, words, max_size=2))
def test_any_text_comes_back(release: str, reason: str, labels: dict[str, str]) -> None:
    """Quotes, colons, hashes, words that YAML takes for numbers."""
    content: dict[str, Any] = yaml.safe_load(PLAN)
    content["metadata"]["labels"] = labels
    content["spec"] |= {"release": release, "acceptUnproven": reason, "steps": [{"weight": 5}], "from": ""}
    plan = plan_of(content)
    assert read_plan(effective_yaml(plan, layers_of(content, None))) == plan


def test_both_spellings_of_a_key_meet(files: Path) -> None:
    """The plan's word counts, however it is spelt."""
    (files / "plan.yaml").write_text(PLAN + "  on_no_data: {hold: 1m}\n")
    assert "    hold: 1m  # plan" in shown(files, "--effective").splitlines()


@pytest.mark.parametrize("command", ["validate", "show", "run"])
def test_without_policies_the_plan_is_refused_with_what_to_do(files: Path, command: str) -> None:
    """Wherever a plan is read."""
    said = canaryd(command, files / "plan.yaml")
    assert said.code == Exit.REFUSED
    assert "--policies DIR" in said.err


def test_validate_takes_policies(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the option, and from the environment as every setting."""
    said = canaryd("validate", files / "plan.yaml", "--policies", files / "policies")
    assert (said.code, "1 %, 50 %" in said.out) == (0, True)
    monkeypatch.setenv("CANARYD_POLICIES", str(files / "policies"))
    assert canaryd("validate", files / "plan.yaml").code == 0


@pytest.mark.parametrize("command", ["validate", "show", "run"])
def test_broken_policies_are_told_with_their_files(files: Path, command: str) -> None:
    """All of them, and nothing runs on half of the rules."""
    (files / "policies/a.yaml").write_text("metadata: {name: a}\nspec: {onDrft: hold}")
    (files / "policies/b.yaml").write_bytes(b"\xff\xfe\xff")
    said = canaryd(command, files / "plan.yaml", "--policies", files / "policies")
    assert said.code == Exit.REFUSED
    assert "b.yaml" in said.err
    (files / "policies/b.yaml").write_text("[")
    said = canaryd(command, files / "plan.yaml", "--policies", files / "policies")
    assert "a.yaml: spec.onDrft" in said.err
    assert "b.yaml" in said.err


def test_a_folder_that_is_none_is_refused(files: Path) -> None:
    """A mount that failed must not read as no policies."""
    said = canaryd("validate", files / "plan.yaml", "--policies", files / "nowhere")
    assert said.code == Exit.REFUSED
    assert "a folder of policies" in said.err


def test_a_run_observes_where_the_settings_say_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its plan says: nobody's weights are moved, and the end says so."""
    monkeypatch.setenv("CANARYD_MODE", "observe")
    before = stage.kubectl("kubectl get virtualservice reviews -o json").stdout
    assert '"weight"' in before
    plan = stage.plan("plan.yaml", onInconclusive={"hold": "1s"})
    said = stage.try_run(plan)
    assert said.code == Exit.INCONCLUSIVE, said.out + said.err
    assert "observed only, nothing was moved" in said.out
    assert stage.kubectl("kubectl get virtualservice reviews -o json").stdout == before

"""``canaryd lab run`` on real parts: what a person types, what is printed, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("trials"), pytest.mark.timeout(300)]


def lab_run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "canaryd", "lab", "run", *arguments, "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_scenarios_in_turn_on_one_lab(tmp_path: Path) -> None:
    """
    A refusal, a hand that is brought down, and a person who aborts: each from a clean start, all as expected.

    The second and third would be refused, or drift at once, were the stage not set anew.
    """
    (tmp_path / "hand.yaml").write_text(HAND)
    done = lab_run("half-and-half", str(tmp_path / "hand.yaml"), "abort", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kubectl patch virtualservice reviews" in done.stderr + done.stdout
    for name in ("half-and-half", "hand", "abort"):
        assert f"{name}: as expected" in done.stdout
    assert "the canary's weight is 5 % (was 50 %), written by canaryd" in done.stdout
    kept = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["as_expected"] for line in kept] == [True, True, True]
    assert "| abort | aborted before 50 % within 3 s of abort | aborted |" in done.stdout


def test_what_is_not_as_expected_is_said_and_ends_with_1(tmp_path: Path) -> None:
    """The comparison must be able to fail on real facts, and a pipeline must hear of it."""
    (tmp_path / "wrong.yaml").write_text(WRONG)
    done = lab_run(str(tmp_path / "wrong.yaml"), folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong: NOT as expected" in done.stdout


def test_a_wrong_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\nabout: x\nexpct: {}\n")
    done = lab_run(str(tmp_path / "bad.yaml"), folder=tmp_path)
    assert done.returncode == 13
    assert "did you mean expect?" in done.stderr
    assert lab_run(folder=tmp_path).returncode == 2


HAND = """
name: hand
about: A hand gives the canary 50 % where the plan allows 5.
plan:
  steps: [{weight: 5, bake: 30s}, {weight: 50, bake: 24s}]
  onInconclusive: {hold: 3s, then: rollback}
  acceptFindings:
    - {code: CannotBeProven, reason: a hold this short is for the story}
timeline:
  - at: {step: 5, after: 3s}
    name: hand
    edit: {weights: {v1: 50, v3: 50}}
expect: {ending: inconclusive, before: 50, told: [run.brought_down, run.held]}
"""
WRONG = """
name: wrong
about: A person aborts, and somebody expects a promotion.
timeline:
  - at: {step: 5, after: 1s}
    name: abort
    say: {verb: abort}
expect: {ending: promoted}
"""

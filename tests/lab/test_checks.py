"""
Checks of a plan's own on real Envoy and Prometheus: what a query finds decides, or does not, at the weights it is for.

In each of them canaryd is killed (kill -9) in the middle, and goes on with what was saved.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("trials"), pytest.mark.timeout(300)]


def played(name: str, folder: Path) -> dict[str, object]:
    """What a scenario of the library came to."""
    command = [sys.executable, "-m", "canaryd", "lab", "run", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name}: as expected" in done.stdout
    [line] = (folder / "results.jsonl").read_text().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def last_readings(folder: Path, name: str) -> dict[str, str]:
    """The sentences of the run's last evidence, by check."""
    [record] = folder.glob(f"{name}-1.state/*/run.json")
    run = json.loads(record.read_text())["run"]
    return {one["check"]: one["sentence"] for one in run["evidence"]["readings"]}


def test_the_third_bad_value_of_a_query_in_a_row_rolls_back_over_a_death(tmp_path: Path) -> None:
    """429 is no error to the other check; the row was begun by a process that is gone."""
    assert played("own-query", tmp_path)["as_expected"] is True
    said = last_readings(tmp_path, "own-query")["turned-away"]
    assert "3 in a row beyond it now, and 3 fail at once" in said


def test_a_bad_check_for_the_report_only_stops_nothing(tmp_path: Path) -> None:
    """It is promoted, and the reading says how bad it was and that it decides nothing."""
    assert played("report-only", tmp_path)["as_expected"] is True
    said = last_readings(tmp_path, "report-only")["turned-away"]
    assert said.endswith("for the report only, it decides nothing")
    assert "above 0.2 in " in said


def test_a_bound_holds_at_the_step_that_it_is_for(tmp_path: Path) -> None:
    """3 % of failures pass at 5 %, and are the end at 25 %."""
    assert played("bound-of-a-step", tmp_path)["as_expected"] is True
    assert last_readings(tmp_path, "bound-of-a-step")["first"] == "first: not asked at 25 %"

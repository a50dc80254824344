"""A short part of ``make trials``: what canaryd promises, once each, on a real Envoy and a real Prometheus."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
import yaml

from canaryd.lab.scenarios.format import LIBRARY
from canaryd.lab.scenarios.suite import tell
from canaryd.lab.trials import TRIALS, failed, table

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("trials"), pytest.mark.timeout(400)]


@pytest.mark.parametrize("name", ["errors", "drained"])
def test_a_trial_ends_as_promised(name: str, tmp_path: Path) -> None:
    """The main job on real parts: a faulty canary goes back before half of the users have met it."""
    result = tell(name, seed=1, folder=tmp_path)
    assert result["as_expected"], result


def test_a_regression_of_half_a_percent_is_found_while_few_meet_it(tmp_path: Path) -> None:
    """
    0.6 % of errors against 0.1 %, at 40 canary requests a second: found at 5 %, and said so that nobody has to look.

    The sentence has what failed, on both sides, of how many requests, the evidence and its bound; and it is the same
    one wherever somebody reads it.
    """
    result = tell("small", seed=1, folder=tmp_path)
    assert result["as_expected"], result
    found = re.fullmatch(
        r"errors: canary ([\d.]+) % of ([\d,]+) requests \(([\d,]+) answered 500\), stable ([\d.]+) % of ([\d,]+) "
        r"in the last \d+ (?:s|min); evidence of harm ([\d,]+) against a bound of 100",
        result["reason"],
    )
    assert found, result["reason"]
    canary, ours, failures, stable, theirs, evidence = (float(group.replace(",", "")) for group in found.groups())
    assert 0.3 < canary < 4  # 0.6 % on average; found after ten seconds it was a bad ten seconds
    assert canary == pytest.approx(100 * failures / ours, abs=0.06)
    assert 0.02 < stable < 0.3
    assert 200 < ours < result["canary"] + 100
    assert theirs == pytest.approx(19 * ours, rel=0.25)
    assert evidence >= 100
    name = "small-1"
    assert result["reason"] in unescape((tmp_path / f"{name}.html").read_text())
    assert (tmp_path / f"{name}.log").read_text().splitlines()[-1] == f"rolled back: {result['reason']}"


def test_an_incident_that_both_versions_share_rolls_nothing_back(tmp_path: Path) -> None:
    """A database that is slow and fails for everybody says nothing of the canary; going back would not help anybody."""
    scenario = yaml.safe_load((LIBRARY / "incident.yaml").read_text())
    unproven = "only the incident is of interest"
    scenario["plan"] = {"steps": [{"weight": 25, "bake": "30s"}], "acceptUnproven": unproven}
    (tmp_path / "incident.yaml").write_text(yaml.safe_dump(scenario))
    result = tell(str(tmp_path / "incident.yaml"), seed=1, folder=tmp_path)
    assert result["as_expected"], result
    assert result["canary_failed"] > 50, "there was no incident"


def test_a_trial_below_its_promise_fails_the_whole() -> None:
    """A table that nobody reads must still end the command with an error."""
    trial = next(trial for trial in TRIALS if trial.runs == 10)
    result = {"scenario": trial.scenario, "expected": "rolled back", "largest": 25.0, "seconds": 1.0, "harmed": 0}
    good, bad = result | {"as_expected": True}, result | {"as_expected": False}
    assert failed([good] * 9 + [bad]) == []
    assert failed([good] * 8 + [bad] * 2) == [trial.scenario]
    assert "8 of 10" in table([good] * 8 + [bad] * 2)

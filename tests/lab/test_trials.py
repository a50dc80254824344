"""A short part of ``make trials``: what canaryd promises, once each, on a real Envoy and a real Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from canaryd.lab.trials import TRIALS, failed, table, tell

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("trials"), pytest.mark.timeout(400)]


@pytest.mark.parametrize("name", ["errors", "drained"])
def test_a_trial_ends_as_promised(name: str, tmp_path: Path) -> None:
    """The main job on real parts: a faulty canary goes back before half of the users have met it."""
    result = tell(name, seed=1, folder=tmp_path)
    assert result["as_expected"], result


def test_a_trial_below_its_promise_fails_the_whole() -> None:
    """A table that nobody reads must still end the command with an error."""
    trial = TRIALS[0]
    result = {"trial": trial.story.name, "reached": 0, "seconds": 1.0, "harmed": 0}
    good, bad = result | {"as_expected": True}, result | {"as_expected": False}
    assert failed([good] * 9 + [bad]) == []
    assert failed([good] * 8 + [bad] * 2) == [trial.story.name]
    assert "8 of 10" in table([good] * 8 + [bad] * 2)

"""When events happen: each at its moment in the life of the run, for as long as it lasts, and not before."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.load import Load
from canaryd.lab.scenarios.acts import Daemon, Stage, share_of
from canaryd.lab.scenarios.format import read_scenario
from canaryd.lab.scenarios.player import _Happenings
from canaryd.model.run import Hold, Phase, Record, Run
from canaryd.model.traffic import Split
from canaryd.store.folder import FolderStore
from tests.stage import new_run, plan


class Played:
    """A scenario's timeline beside a run that the test moves; its lab is only a load."""

    def __init__(self, timeline: str, folder: Path) -> None:
        text = f"name: one\nabout: A sentence.\ntimeline: [{timeline}]\nexpect: {{ending: promoted}}\n"
        lab: Any = SimpleNamespace(load=Load(("127.0.0.1", 1), rps=1))
        self.load: Load = lab.load
        self.store = FolderStore(folder)
        self.told: list[str] = []
        self.happenings = _Happenings(Stage(lab, read_scenario(text), folder, seed=1), self.told.append)
        self.record = Record(new_run(plan(), at=time.time()))
        self.at()

    def at(self, **changes: Any) -> None:
        """The run is so now."""
        run: Run = replace(self.record.run, **changes)
        self.record = self.store.save(replace(self.record, run=run))
        self.happenings.look()

    @property
    def rps(self) -> float:
        return self.load.rps


def test_nothing_happens_before_the_run_has_begun(tmp_path: Path) -> None:
    text = "name: one\nabout: A.\ntimeline: [{at: 0, load: {rps: 9}}]\nexpect: {ending: promoted}\n"
    lab: Any = SimpleNamespace(load=Load(("127.0.0.1", 1), rps=1))
    happenings = _Happenings(Stage(lab, read_scenario(text), tmp_path, seed=1), lambda _: None)
    happenings.look()
    assert (lab.load.rps, happenings.missing) == (1, ("event",))


def test_seconds_count_from_when_the_run_began(tmp_path: Path) -> None:
    played = Played("{at: 30, load: {rps: 9}}", tmp_path)
    assert played.rps == 1
    played.at(created=time.time() - 29)
    assert played.rps == 1
    played.at(created=time.time() - 31)
    assert played.rps == 9


def test_a_step_is_reached_when_its_weight_bakes(tmp_path: Path) -> None:
    """Not while the weight is only wanted: the fault of a scenario must meet a canary that has its traffic."""
    played = Played("{at: {step: 25, after: 4s}, load: {rps: 9}}", tmp_path)
    now = time.time()
    played.at(split=Split.percent(25), phase=Phase.SHIFTING, at=now - 60)
    played.at(split=Split.percent(5), phase=Phase.BAKING, at=now - 60)
    assert played.rps == 1
    played.at(split=Split.percent(25), at=now - 3)
    assert played.rps == 1
    played.happenings.reached["step 25"] -= 2
    played.at(split=Split.percent(50))  # its moment came, though the run has gone on
    assert played.rps == 9


def test_a_hold_is_a_moment(tmp_path: Path) -> None:
    played = Played("{at: {phase: held}, load: {rps: 9}}", tmp_path)
    assert played.rps == 1
    played.at(hold=Hold("drift", "somebody", time.time(), None))
    assert played.rps == 9


def test_what_lasts_is_undone(tmp_path: Path) -> None:
    played = Played("{at: 0, for: 100ms, load: {rps: 9}}", tmp_path)
    assert played.rps == 9
    time.sleep(0.15)
    played.happenings.look()
    assert played.rps == 1
    [happened] = played.happenings.happened
    assert happened.ended is not None
    assert 0.1 <= happened.ended - happened.began < 1


def test_what_still_lasts_at_the_end_is_undone(tmp_path: Path) -> None:
    """The next scenario on the same lab must not find Prometheus away."""
    played = Played("{at: 0, for: 5m, load: {rps: 9}}", tmp_path)
    played.happenings.end()
    assert played.rps == 1


def test_an_act_that_cannot_be_done_is_an_event_that_did_not_happen(tmp_path: Path) -> None:
    """An approval of a step without a gate, by the real command: it is said, and the other events go on."""
    later = "{at: 1h, name: later, load: {rps: 8}}"
    played = Played(f"{{at: 0, name: word, say: {{verb: approve}}}}, {{at: 0, load: {{rps: 9}}}}, {later}", tmp_path)
    played.happenings.look()
    assert sum("cannot be done" in words for words in played.told) == 1, "it is not tried again"
    missing, _ = played.happenings.missing
    assert missing.startswith("word (canaryd approve: ")
    assert "has no gate" in missing
    assert played.rps == 9


@pytest.mark.parametrize(
    ("route", "share"),
    [
        ([("v1", 75), ("v3", 25)], 25),
        ([("v1", 1), ("v3", 3)], 75),
        ([("v3", 0)], 100),
        ([("v1", 100)], 0),
        ([("v1", 0), ("v3", 0)], 0),
    ],
)
def test_the_share_of_a_version_is_what_istio_makes_of_the_weights(route: list[tuple[str, int]], share: float) -> None:
    """A single destination has everything whatever its weight: a rollback that left only the canary is none."""
    destinations = [
        {"destination": {"host": "reviews", "subset": subset}, "weight": weight} for subset, weight in route
    ]
    assert share_of(bookinfo.scene(), {"spec": {"http": [{"route": destinations}]}}, "v3") == share


def test_canaryd_dies_and_comes_again_with_the_same_command(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    code = f"import time; open({str(lives)!r}, 'a').write('x'); time.sleep(60)"
    with (tmp_path / "log").open("wb") as log:
        daemon = Daemon([sys.executable, "-c", code], log, log)
        try:
            _until(lambda: lives.exists() and lives.read_text() == "x")
            daemon.kill(again=0.2)
            assert daemon.alive()  # it is about to come again
            _until(lambda: daemon.alive() and lives.read_text() == "xx")
        finally:
            assert daemon.end() == -signal.SIGTERM
    assert not daemon.alive()


def _until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)

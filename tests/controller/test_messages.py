"""
Messages through a change of leader: two processes of the controller, a real receiver, and a SIGKILL in between.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.model.run import Outcome, Phase
from tests.cli.stage import Process
from tests.controller.stage import Stage
from tests.gates.receiver import KEY, Receiver, receiving
from tests.kills.test_messages import PASSING

pytestmark = pytest.mark.xdist_group("succession")

LEASE = "3"
EVENTS = ["run.started", "step.passed", "gate.waiting", "gate.approved", "run.promoted", "run.rolling_back",
          "run.rolled_back"]  # fmt: skip
GATE = {"approve": {"limit": "1h"}}
STEPS = [{"weight": 10, "bake": "500ms", "gate": GATE}, {"weight": 50, "bake": "1s"}]


class House:
    """A cluster, a receiver, and what the controllers are told of it."""

    def __init__(self, stage: Stage, receiver: Receiver, key: Path) -> None:
        self.stage, self.receiver = stage, receiver
        channel = {"cloudevents": receiver.url, "namespaces": ["*"], "key": {"from_file": str(key)}}
        self.settings = json.dumps({"team": channel})

    def another(self, name: str) -> Process:
        return self.stage.controller(name=name, CANARYD_LEASE_SECONDS=LEASE, CANARYD_CHANNELS=self.settings)

    def first(self) -> Process:
        process = self.another("canaryd-0")
        process.says('"event": "daemon.leads"', deadline=30)
        return process

    def apply(self, **changes: Any) -> None:
        self.stage.apply(messages=[{"channel": "team", "events": EVENTS}], **changes)

    @property
    def told(self) -> list[str]:
        """The types of what was received, each id once, in order."""
        seen = {asked.event["id"]: asked.event["type"].removeprefix("io.canaryd.") for asked in self.receiver.asked}
        return [kind for kind in seen.values() if kind not in PASSING]

    @property
    def numbers(self) -> list[int]:
        return list({asked.event["id"]: asked.event["data"]["number"] for asked in self.receiver.asked}.values())

    def empty(self) -> bool:
        """Whether the record of the newest run says that everything was taken."""
        return not self.stage.newest().outbox.waiting


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "key").write_text(KEY)
    with Stage(tmp_path) as stage, receiving() as receiver:
        yield House(stage, receiver, tmp_path / "key")


def test_what_the_killed_leader_could_not_send_its_successor_sends(house: House) -> None:
    """The receiver is away while the run comes to its gate; who led by then knows nothing any more."""
    stage = house.stage
    leader = house.first()
    house.receiver.says(503)
    house.apply(steps=STEPS)
    stage.until(lambda: bool(stage.records()) and stage.newest().hold is not None, "the gate", leader)
    stage.until(lambda: bool(house.receiver.asked), "an attempt", leader)
    waiting = [message.event for message in stage.newest().outbox.waiting]
    assert waiting == ["run.started", "gate.waiting"]
    leader.send(signal.SIGKILL)
    house.receiver.asked.clear()
    house.receiver.says(204)
    successor = house.another("canaryd-1")
    stage.until(lambda: house.told == ["run.started", "gate.waiting"], "both messages", successor)
    said = house.receiver.asked[-1].event["data"]
    uid = stage.newest().uid
    assert said["commands"]["approve"].startswith(f"kubectl patch canaryrun {uid} -n default --type=json -p ")
    hold = stage.newest().hold
    assert hold is not None
    assert said["reason"] == hold.why
    patched = stage.kubectl(said["commands"]["approve"])
    assert patched.returncode == 0, patched.stderr
    stage.ends(process=successor)
    stage.until(house.empty, "everything taken", successor)
    assert house.told == ["run.started", "gate.waiting", "gate.approved", "step.passed", "run.promoted"]
    assert house.numbers == list(range(1, 6))


def test_a_run_that_was_over_before_its_end_was_told_is_told_by_the_successor(house: House) -> None:
    """Ended and released, it is nobody's business any more but for its messages; then it rests."""
    stage = house.stage
    leader = house.first()
    house.apply(steps=[{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "1s"}])
    stage.until(lambda: stage.is_at(Phase.BAKING) and house.empty(), "baking", leader)
    house.receiver.says(503)
    stage.clients.fail("v3", 0.3)
    stage.ends(process=leader)
    assert stage.newest().outcome is Outcome.FAILED
    stage.until(lambda: stage.newest().released, "the release", leader)
    assert [message.event for message in stage.newest().outbox.waiting] == ["run.rolling_back", "run.rolled_back"]
    leader.send(signal.SIGKILL)
    house.receiver.says(204)
    successor = house.another("canaryd-1")
    stage.until(house.empty, "everything taken", successor)
    assert house.told == ["run.started", "run.rolling_back", "run.rolled_back"]
    assert house.numbers == [1, 2, 3]
    last = house.receiver.asked[-1].event["data"]
    assert last["reason"] == stage.newest().reason
    assert last["level"] == "failure"


def test_a_plan_that_names_no_channel_of_the_settings_is_not_accepted(house: House) -> None:
    """It says so, and nothing moves."""
    stage = house.stage
    leader = house.first()
    stage.apply(messages=[{"channel": "taem"}])
    stage.until(lambda: "did you mean team" in stage.condition("Accepted", stage.plan_object()).get("message", ""),
                "the refusal", leader)  # fmt: skip
    assert stage.weights() == (100, 0)

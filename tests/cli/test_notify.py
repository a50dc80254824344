"""
``canaryd notify``, and what becomes of the messages of ``canaryd run`` when nobody takes them or it is killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from canaryd.model.run import Outcome
from tests.cli.stage import Stage, canaryd, wait_for
from tests.gates.receiver import KEY, Receiver, receiving

PROMOTED, REFUSED = 0, 13
MESSAGES = [{"channel": "audit", "events": ["run.started", "run.promoted"]}]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def config(receiver: Receiver, tmp_path: Path) -> Path:
    """Settings with two channels: a receiver, and a service whose URL nobody has set."""
    (tmp_path / "key").write_text(KEY)
    audit = {"cloudevents": receiver.url, "namespaces": ["*"], "key": {"from_file": str(tmp_path / "key")}}
    service = {"url": {"from_env": "CANARYD_TEST_NO_SUCH_URL"}, "namespaces": ["*"]}
    file = tmp_path / "canaryd.yaml"
    file.write_text(yaml.safe_dump({"channels": {"audit": audit, "mail": service}}))
    return file


def test_a_test_message_says_what_came_back(config: Path, receiver: Receiver) -> None:
    """By exit code, too: a pipeline may ask before it relies on it."""
    said = canaryd("notify", "audit", "--config", config)
    assert (said.code, said.out) == (0, "channel audit: taken: 200 OK\n")
    receiver.says(401, b"who are you?")
    said = canaryd("notify", "audit", "--config", config)
    assert (said.code, said.out) == (REFUSED, "")
    assert said.err == "channel audit: not taken: 401 Unauthorized: who are you?\n"


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ("adit", "the settings have no channel adit; there are: audit, mail"),
        ("mail", "channels.mail.url: the environment variable CANARYD_TEST_NO_SUCH_URL is not set"),
    ],
)
def test_a_channel_that_is_none_says_so(config: Path, channel: str, why: str) -> None:
    """Nothing is sent."""
    said = canaryd("notify", channel, "--config", config)
    assert said.code == REFUSED
    assert why in said.err


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as found:
        yield found


def types(receiver: Receiver) -> list[str]:
    """What was received, each id once."""
    return list({asked.event["id"]: asked.event["type"] for asked in receiver.asked}.values())


BOTH = ["io.canaryd.run.started", "io.canaryd.run.promoted"]


def test_what_a_run_could_not_send_the_next_canaryd_on_the_folder_sends(
    stage: Stage, config: Path, receiver: Receiver
) -> None:
    """The run ends as it ends, says what is left, and the daemon takes it up."""
    receiver.says(503)
    process = stage.start("run", stage.plan(messages=MESSAGES), "--config", config)
    assert process.ended() == PROMOTED, process.output
    assert "note: 2 of this run's messages not taken yet (audit); the next canaryd here sends them" in process.output
    assert [message.event for message in stage.run().outbox.waiting] == ["run.started", "run.promoted"]
    receiver.asked.clear()
    receiver.says(204)
    plans = stage.folder / "plans"
    plans.mkdir()
    serve = stage.start("serve", plans, "--config", config)
    wait_for(lambda: not stage.run().outbox.waiting, "everything taken", process=serve)
    assert types(receiver) == BOTH
    assert len(receiver.asked) == 2


def test_a_run_that_is_killed_after_its_decision_tells_of_it_when_it_goes_on(
    stage: Stage, config: Path, receiver: Receiver
) -> None:
    """SIGKILL while the first message is under way, which so is never known to be taken."""
    receiver.slow = 3.0
    plan = stage.plan(messages=MESSAGES)
    process = stage.start("run", plan, "--config", config)
    wait_for(lambda: bool(receiver.asked), "a message under way", process=process)
    process.kill()
    assert [message.event for message in stage.run().outbox.waiting][:1] == ["run.started"]
    receiver.slow = 0.0
    process = stage.start("run", plan, "--config", config)
    assert process.ended() == PROMOTED, process.output
    assert stage.run().outcome is Outcome.PROMOTED
    assert types(receiver) == BOTH
    first, second = [asked for asked in receiver.asked if asked.event["type"] == BOTH[0]]
    assert first.body == second.body
    assert stage.run().outbox.waiting == ()

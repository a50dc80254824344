"""
The contract of the port ``Channels``: on the fake, as CloudEvents over real connections, and as e-mail by real SMTP.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from canaryd.engine.ports import Channels as Port
from canaryd.engine.posting import posted
from canaryd.errors import Rejected
from canaryd.model.asking import Reply
from canaryd.model.decision import Event, Told
from canaryd.model.run import Run
from canaryd.notify import Channels
from canaryd.settings import Channel, Kept
from tests.gates.receiver import KEY, Receiver, receiving
from tests.notify.memory import MemoryChannels
from tests.notify.smtp import Mailbox, mail
from tests.stage import START, new_run, plan

REASON = "errors: canary 9 %, stable 0.1 %"
RUN = posted(new_run(plan(messages=[{"channel": "team"}])), (Event(Told.HELD, REASON),), START)
MESSAGE = RUN.outbox.waiting[0]
ID = f"run-1_{START:.0f}_1"


class World(Protocol):
    @property
    def port(self) -> Port: ...

    def refuses(self) -> None: ...

    def goes(self) -> None: ...

    @property
    def ids(self) -> list[str]: ...


class Memory:
    def __init__(self) -> None:
        self.port = MemoryChannels({"team": ("default",)})

    def refuses(self) -> None:
        self.port.refuses = lambda channel, message: "500 Internal Server Error"

    def goes(self) -> None:
        self.port.refuses = lambda channel, message: "no answer: Connection refused"

    @property
    def ids(self) -> list[str]:
        return [identity for _, identity in self.port.taken]


class Events:
    def __init__(self, receiver: Receiver, key: Path) -> None:
        self.receiver = receiver
        self.channel = Channel(cloudevents=receiver.url, namespaces=("default",), key=Kept(from_file=key), timeout=10)
        self.port = Channels({"team": self.channel})

    def refuses(self) -> None:
        self.receiver.says(500)

    def goes(self) -> None:
        self.port = Channels({"team": self.channel.model_copy(update={"cloudevents": "http://127.0.0.1:1/x"})})

    @property
    def ids(self) -> list[str]:
        taken = self.receiver.asked if self.receiver.answers[-1][0] < 300 else []
        return [one.event["id"] for one in taken]


class Mail:
    def __init__(self, box: Mailbox, folder: Path) -> None:
        self.box = box
        self._url = folder / "url"
        self._url.write_text(box.url)
        self.port = Channels({"team": Channel(url=Kept(from_file=self._url), namespaces=("default",))})

    def refuses(self) -> None:
        self.box.refuses = True

    def goes(self) -> None:
        self._url.write_text("mailto://127.0.0.1:1/?from=canaryd@example.org&to=team@example.org")

    @property
    def ids(self) -> list[str]:
        texts = [email.message_from_bytes(one, policy=email.policy.default).as_string() for one in self.box.got]
        return [text.partition("message ")[2].partition(",")[0] for text in texts]


@pytest.fixture(params=["memory", "cloudevents", "mail"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield Memory()
    elif request.param == "cloudevents":
        (tmp_path / "key").write_text(KEY)
        with receiving() as receiver:
            yield Events(receiver, tmp_path / "key")
    else:
        with mail() as box:
            yield Mail(box, tmp_path)


def sent(world: World, run: Run = RUN) -> Reply:
    return world.port.send(run, MESSAGE, "team", 1)


def test_what_is_taken_arrives_under_its_id(world: World) -> None:
    """The same id each time it is sent."""
    assert sent(world).said == "yes"
    assert sent(world).said == "yes"
    assert world.ids == [ID, ID]


def test_what_is_refused_is_not_taken(world: World) -> None:
    """It is for the courier to try again, and a sentence says why."""
    world.refuses()
    reply = sent(world)
    assert reply.said == "silent"
    assert reply.why
    assert world.ids == []


def test_nobody_there_is_not_taken(world: World) -> None:
    """An outage."""
    world.goes()
    reply = sent(world)
    assert reply.said == "silent"
    assert reply.why
    assert world.ids == []


def test_a_plan_can_only_name_what_the_settings_know_for_it(world: World) -> None:
    """Unknown names and other namespaces: refused before a run, and nothing is sent for one."""
    unknown = new_run(plan(messages=[{"channel": "team"}, {"channel": "taem"}]))
    elsewhere = RUN.plan.metadata.model_copy(update={"namespace": "shop"})
    foreign = replace(RUN, plan=RUN.plan.model_copy(update={"metadata": elsewhere}))
    assert world.port.problems(RUN.plan) == ()
    assert [(one.path, one.value, one.code) for one in world.port.problems(unknown.plan)] == [
        ("spec.messages.1.channel", "taem", "ChannelBarred")
    ]
    assert [one.path for one in world.port.problems(foreign.plan)] == ["spec.messages.0.channel"]
    with pytest.raises(Rejected):
        sent(world, foreign)
    with pytest.raises(Rejected):
        world.port.send(unknown, MESSAGE, "taem", 1)
    assert world.ids == []

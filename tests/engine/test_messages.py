"""
Dying or failing at any call loses no message, whichever call it is: a decision that is saved is told, in order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import get_args

import pytest
import structlog

from canaryd.errors import Unavailable
from canaryd.model.message import EventName
from canaryd.model.run import Outcome, Record, Run
from tests.notify.memory import MemoryChannels
from tests.world import Trap, Way, When, World, small_plan

EVERY = [{"channel": "team", "events": list(get_args(EventName))}]
STORIES = {"healthy": 0.001, "faulty": 0.3}
END = {"healthy": ("run.promoting", "run.watching", "run.promoted"), "faulty": ("run.rolling_back", "run.rolled_back")}
WAYS: tuple[tuple[Way, When], ...] = (("dies", "before"), ("dies", "after"), ("fails", "before"), ("fails", "after"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Receiver(MemoryChannels):
    """Remembers what each id said."""

    def __init__(self) -> None:
        super().__init__({"team": ("default",)})
        self.said: dict[str, str] = {}

    def send(self, run: Run, message: object, channel: str, attempt: int) -> object:  # type: ignore[override]
        reply = super().send(run, message, channel, attempt)  # type: ignore[arg-type]
        if reply.said == "yes":
            identity, event = self.taken[-1][1], message.event  # type: ignore[attr-defined]
            assert self.said.setdefault(identity, event) == event, "one id, two contents"
        return reply


def lived(story: str, trap: Trap | None = None) -> tuple[World, Receiver, Run]:
    receiver = Receiver()
    world = World(canary_errors=STORIES[story], plan=small_plan(messages=EVERY), trap=trap, channels=receiver)
    return world, receiver, world.live()


def check(run: Run, receiver: Receiver, story: str) -> None:
    numbers = [int(identity.rsplit("_", 1)[1]) for identity in receiver.said]
    assert numbers == list(range(1, run.outbox.numbered + 1)), "each once at least, in order"
    told = list(receiver.said.values())
    assert [one for one in told if one in END[story]] == list(END[story])
    assert run.outcome is (Outcome.PROMOTED if story == "healthy" else Outcome.FAILED)


@pytest.mark.parametrize("story", STORIES)
def test_an_interruption_anywhere_loses_no_message(story: str) -> None:
    """At any call of any port, before or after its effect; under one id each, and the ids without a gap."""
    calls = lived(story)[0].trap.calls
    assert "channels.send" in calls
    for n in range(len(calls)):
        for way, when in WAYS:
            if way == "fails" and n % 3:
                continue  # a third of them: a failure is a death that remembers
            world, receiver, run = lived(story, Trap(n, way, when))
            assert world.trap.sprung
            try:
                check(run, receiver, story)
            except AssertionError as error:
                raise AssertionError(f"{way} {when} call {n}, {calls[n]}: {error}") from error


def test_what_is_not_saved_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process would decide again, and number again: one id would have two contents. Then it is sent."""
    receiver = Receiver()
    world = World(plan=small_plan(messages=EVERY), channels=receiver)

    def away(record: Record) -> Record:
        raise Unavailable("no answer")

    monkeypatch.setattr(world.store, "save", away)
    world.start()
    for _ in range(5):
        world.tick()
        world.clock.at += 1
    assert receiver.attempts == []
    monkeypatch.undo()
    world.start()
    world.tick()
    assert list(receiver.said.values())[:1] == ["run.started"]


def test_a_run_that_is_over_looks_at_nothing_while_its_messages_wait() -> None:
    """It only waits to be rid of them; and then it rests."""
    receiver = Receiver()
    world = World(plan=small_plan(messages=EVERY), channels=receiver)
    receiver.refuses = lambda channel, message: "503" if message.event == "run.promoted" else ""
    while not world.saved.released:
        world.tick()
        world.clock.at += 1
    before = len(world.trap.calls)
    world.tick()
    assert {call for call in world.trap.calls[before:] if call != "channels.send"} == {"store.load"}
    receiver.refuses = lambda channel, message: ""
    world.clock.at += 60
    world.tick()
    assert world.saved.outbox.waiting == ()
    assert world.saved.phase.value == "promoted"

"""
Messages through a SIGKILL: between the decision and the sending, and around the sending itself, on real adapters.

The receiver is a real one, and remembers ids as a receiver that knows them does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from canaryd.model.run import Run
from tests.gates.receiver import Receiver, receiving
from tests.kills.test_kills import nursery
from tests.kills.trial import Kill, Nursery, trial

__all__ = ["nursery"]
KILLS = [
    Kill("healthy", "send", 0, "before"),
    Kill("healthy", "send", 0, "after"),
    Kill("healthy", "send", 4, "before"),
    Kill("healthy", "save", 1, "after"),
    Kill("healthy", "save", 4, "after"),
    Kill("healthy", "patch", 1, "before"),
    Kill("faulty", "send", 3, "before"),
    Kill("faulty", "send", 5, "after"),
    Kill("faulty", "save", 5, "after"),
    Kill("faulty", "tell", 6, "before"),
    Kill("faulty", "patch", 1, "before"),
    Kill("faulty", "patch", 1, "after"),
]
HISTORY = {
    "healthy": [
        "run.started",
        "step.shifting",
        "step.shifted",
        "step.passed",
        "step.shifting",
        "step.shifted",
        "run.promoting",
        "run.watching",
        "run.promoted",
    ],
    "faulty": ["run.started", "step.shifting", "step.shifted", "run.rolling_back", "run.rolled_back"],
}
PASSING = {"run.history", "run.held", "run.resumed", "run.adopted"}
"""What a busy machine, or a death, may add: a hold for want of data, or a rollback that the mesh told of."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def check(run: Run, receiver: Receiver, story: str) -> dict[str, int]:
    """
    Every message of the run was received, in order, under one id and with one content; how often, by id.
    """
    times: dict[str, int] = defaultdict(int)
    content: dict[str, bytes] = {}
    for asked in receiver.asked:
        identity = asked.event["id"]
        assert asked.headers["webhook-id"] == identity
        assert content.setdefault(identity, asked.body) == asked.body, "one id, two contents"
        times[identity] += 1
    firsts = [asked.event for asked in receiver.asked if content.pop(asked.event["id"], None)]
    assert [event["data"]["number"] for event in firsts] == list(range(1, run.outbox.numbered + 1))
    types = [event["type"].removeprefix("io.canaryd.") for event in firsts]
    assert [one for one in types if one not in PASSING] == HISTORY[story]
    assert (run.outbox.waiting, run.outbox.dropped) == ((), 0)
    return times


@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_every_message_arrives_through_a_kill(kill: Kill, nursery: Nursery, receiver: Receiver) -> None:
    """At least once: whoever forgets the ids that it has seen sees what a life without deaths would have told."""
    times = check(trial(kill, nursery, receiver), receiver, kill.story)
    twice = [identity for identity, count in times.items() if count > 1]
    assert len(twice) <= (1 if kill.point == "send" and kill.when == "after" else 2)
    if (kill.point, kill.when) == ("send", "after"):
        assert len(twice) == 1, "it was killed before it knew that the message was taken"
    if (kill.point, kill.when) == ("send", "before"):
        assert not twice


@pytest.mark.xdist_group("kills")
def test_in_a_life_without_deaths_each_arrives_once(nursery: Nursery, receiver: Receiver) -> None:
    """At least once, and not more often without a reason."""
    times = check(trial(Kill("healthy", "load", -1, "before"), nursery, receiver), receiver, "healthy")
    assert set(times.values()) == {1}

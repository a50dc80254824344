"""
The courier: in order, again and again, each channel by itself, and never in anybody's way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from canaryd.engine.courier import GIVEN_UP, OVERTAKEN, REST, SELDOM, Courier, Lane
from canaryd.engine.posting import posted, without
from canaryd.errors import Unavailable
from canaryd.model.decision import Event, Told
from canaryd.model.message import Message
from canaryd.model.run import Run
from tests.notify.memory import MemoryChannels
from tests.stage import START, new_run, plan
from tests.test_app import eventually

TEAM = (("team", "default"),)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Clock:
    at = START

    def now(self) -> float:
        return self.at


def run_of(events: int, *, uid: str = "run-1", channels: tuple[str, ...] = ("team",)) -> Run:
    """A run with so many messages in its outbox."""
    messages = [{"channel": name, "events": ["run.held"]} for name in channels]
    run = new_run(plan(messages=messages))
    run = Run(uid, run.plan, run.route, START, segments=run.segments)
    return posted(run, (Event(Told.HELD, "no data"),) * events, START)


class Round:
    """A courier whose lanes go when the test says so."""

    def __init__(self, **channels: Any) -> None:
        self.channels = MemoryChannels({"team": ("default",), "pager": ("default",)}, **channels)
        self.clock, self.woken = Clock(), list[str]()
        self.courier = Courier(self.channels, self.clock, self.woken.append, lambda go, channel: None)

    def lane(self, channel: str = "team") -> Lane:
        return self.courier._lanes[channel]

    def go(self, channel: str = "team") -> int:
        """Send what is due now; how many attempts that was."""
        count = 0
        while self.lane(channel).step():
            count += 1
        return count

    def over(self, seconds: int, channel: str = "team") -> int:
        """Attempts in so many seconds."""
        count = 0
        for _ in range(seconds):
            count += self.go(channel)
            self.clock.at += 1
        return count


def ids(*numbers: int, uid: str = "run-1") -> list[tuple[str, str]]:
    return [("team", f"{uid}_{START:.0f}_{number}") for number in numbers]


def test_messages_are_sent_in_order_and_what_was_taken_is_known() -> None:
    """Until a tick has saved it; the run is woken for that."""
    round_ = Round()
    round_.courier.post(run_of(3))
    assert round_.go() == 3
    assert round_.channels.taken == ids(1, 2, 3)
    assert round_.courier.taken("run-1") == {(identity, "team") for _, identity in ids(1, 2, 3)}
    assert round_.woken == ["run-1"] * 3


def test_what_was_taken_is_not_sent_again_while_it_is_not_saved_yet() -> None:
    """Each tick posts the run anew."""
    round_ = Round()
    for _ in range(3):
        round_.courier.post(run_of(2))
        round_.go()
    assert round_.channels.taken == ids(1, 2)


def test_what_is_saved_as_taken_is_forgotten() -> None:
    """A process may lead for months."""
    round_ = Round()
    run = run_of(2)
    round_.courier.post(run)
    round_.go()
    round_.courier.post(without(run, round_.courier.taken("run-1")))
    assert round_.courier.taken("run-1") == frozenset()
    assert round_.courier._taken == {}


def test_the_next_process_sends_what_is_not_saved_as_taken() -> None:
    """At least once: under the same id."""
    first, second = Round(), Round()
    run = run_of(2)
    for one in (first, second):
        one.courier.post(run)
        one.go()
    assert first.channels.taken == second.channels.taken == ids(1, 2)


def test_a_message_that_is_not_taken_is_tried_less_and_less_and_holds_back_those_after_it() -> None:
    """Two seconds, four, eight, at most a minute; the order stays."""
    round_ = Round(refuses=lambda channel, message: "503 Service Unavailable")
    round_.courier.post(run_of(2))
    assert 4 <= round_.over(29) <= 5
    assert set(round_.channels.attempts) == set(ids(1))
    round_.channels.refuses = lambda channel, message: ""
    round_.over(int(REST))
    assert round_.channels.taken == ids(1, 2)


def test_a_clock_that_was_set_back_holds_no_message() -> None:
    round_ = Round(refuses=lambda channel, message: "503 Service Unavailable")
    round_.courier.post(run_of(1))
    round_.go()
    round_.clock.at -= 3600
    round_.channels.refuses = lambda channel, message: ""
    round_.over(2)
    assert round_.channels.taken == ids(1)


def test_an_outage_is_asked_for_at_least_once_a_minute_whatever_waits() -> None:
    """What is new is not late when the channel is back; and a hundred messages are not tried a hundred times."""
    round_ = Round(refuses=lambda channel, message: "503 Service Unavailable")
    for number in range(100):
        round_.courier.post(run_of(1, uid=f"run-{number}"))
    round_.over(300)
    assert 9 <= round_.over(600) <= 11


def test_one_message_that_is_never_taken_is_overtaken() -> None:
    """By those of other runs at once, by those of its own after a few attempts."""
    round_ = Round(refuses=lambda channel, message: "400 Bad Request" if message.number == 1 else "")
    round_.courier.post(run_of(2))
    round_.courier.post(posted_only_second("run-2"))
    round_.over(4)
    assert round_.channels.taken == ids(2, uid="run-2")
    round_.over(2 * int(REST))
    assert round_.channels.taken == [*ids(2, uid="run-2"), *ids(2)]


def posted_only_second(uid: str) -> Run:
    run = run_of(2, uid=uid)
    return without(run, {(run.outbox.waiting[0].id_in(uid), "team")})


def test_a_channel_may_say_when_it_is_asked_again() -> None:
    """``Retry-After``, within reason."""
    round_ = Round(refuses=lambda channel, message: "429 Too Many Requests", after=40.0)
    round_.courier.post(run_of(1))
    assert round_.over(40) == 1
    assert round_.over(2) == 1


def test_a_message_is_given_up_after_hours_and_the_run_is_rid_of_it() -> None:
    """Not before it was tried a few times by this process: it may have been down for as long."""
    round_ = Round(refuses=lambda channel, message: "503 Service Unavailable")
    round_.courier.post(run_of(1))
    round_.clock.at += GIVEN_UP + 1
    assert round_.over(int(SELDOM)) == OVERTAKEN
    assert round_.courier.taken("run-1") == {(ids(1)[0][1], "team")}
    assert round_.channels.taken == []


def test_a_channel_that_the_settings_have_no_more_is_told_nothing() -> None:
    """It is logged, and the run is rid of it at once."""
    round_ = Round()
    run = run_of(1)
    round_.channels.known = {}
    round_.courier.post(run)
    assert round_.go() == 1
    assert round_.courier.taken("run-1") == {(ids(1)[0][1], "team")}


@pytest.mark.parametrize("error", [Unavailable("channels.team.url: not set"), RuntimeError("a fault of ours")])
def test_whatever_goes_wrong_is_tried_again(error: Exception) -> None:
    """A secret that is being replaced loses no message."""
    round_ = Round(failing=error)
    round_.courier.post(run_of(1))
    assert round_.over(10) > 1
    round_.channels.failing = None
    round_.over(30)
    assert round_.channels.taken == ids(1)


def test_a_run_that_is_gone_is_told_of_no_more() -> None:
    """It was deleted."""
    round_ = Round(refuses=lambda channel, message: "503 Service Unavailable")
    round_.courier.post(run_of(1))
    round_.go()
    round_.courier.forget("run-1")
    assert round_.over(60) == 0


def test_nothing_is_sent_after_the_end() -> None:
    """The next process does."""
    round_ = Round()
    round_.courier.post(run_of(1))
    round_.courier.end()
    assert round_.go() == 0
    round_.courier.post(run_of(2))
    assert round_.channels.taken == []


class Hangs(MemoryChannels):
    """Whose channel ``pager`` does not answer until it is told to."""

    free = threading.Event()

    def send(self, run: Run, message: Message, channel: str, attempt: int) -> Any:
        if channel == "pager":
            self.free.wait(20)
        return super().send(run, message, channel, attempt)


def test_a_channel_that_hangs_is_in_nobodys_way() -> None:
    """Neither a tick's, which posts and reads what was taken, nor another channel's."""
    channels = Hangs({"team": ("default",), "pager": ("default",)})
    courier = Courier(channels, Clock(), lambda uid: None)
    run = run_of(2, channels=("pager", "team"))
    try:
        posts: list[Callable[[], None]] = [lambda: courier.post(run)] * 3
        for post in posts:
            post()
        eventually(lambda: channels.taken == ids(1, 2))
        assert courier.taken("run-1") == {(identity, "team") for _, identity in ids(1, 2)}
    finally:
        channels.free.set()
    eventually(lambda: len(channels.taken) == 4)
    courier.end()

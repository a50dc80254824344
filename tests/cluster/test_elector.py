"""The elector's rules one by one, by a clock that stands where it is put."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from canaryd.cluster.elector import Elector, micro_time
from canaryd.errors import Unavailable
from canaryd.kube import Throttled
from tests.cluster.election import DEADLINE, DURATION, RETRY, Candidate, World

RELEASED = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 4}


@pytest.fixture
def world() -> World:
    """Two candidates, no faults, no pauses, no time but what a test lets pass."""
    made = World(1, 2, pauses=False)
    made.strict = False  # a test lets one stand still as it likes
    made.pass_time = lambda who: None  # type: ignore[method-assign]
    made.work = lambda who: None  # type: ignore[method-assign]
    return made


def put(world: World, spec: Any, **metadata: Any) -> None:
    world.version += 1
    world.lease = {"metadata": {"name": "canaryd", "resourceVersion": str(world.version), "uid": "u", **metadata}}
    if spec is not None:
        world.lease["spec"] = spec


def leading(world: World) -> Candidate:
    """The first candidate, in its term."""
    put(world, dict(RELEASED))
    first = world.all[0]
    first.ask()
    first.call()
    assert first.elector.valid()
    return first


def wait_for(world: World, one: Candidate, longest: float = 100.0) -> float:
    """Let it ask twice a second until it leads; how long that took."""
    began = world.now
    while not one.elector.valid():
        assert world.now - began < longest
        world.now += 0.5
        one.ask()
        one.call()
    return world.now - began


# -- whose turn it is


def test_what_was_given_back_is_free_at_once(world: World) -> None:
    """That is what a release is for."""
    first = leading(world)
    assert first.calls == [("started", 5)]
    assert world.lease is not None
    assert world.lease["spec"]["leaseTransitions"] == 5
    assert world.lease["spec"]["holderIdentity"] == first.elector.identity == first.elector.holder
    assert world.lease["spec"]["leaseDurationSeconds"] == 15


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (None, DURATION),
        ({}, DURATION),
        ({"holderIdentity": ""}, DURATION),
        ({"holderIdentity": None, "leaseDurationSeconds": 5}, DURATION),
        ({"holderIdentity": "x"}, DURATION),
        ({"holderIdentity": "x", "leaseDurationSeconds": 5}, 5),
        ({"holderIdentity": "x", "leaseDurationSeconds": 40}, 40),
        ({"holderIdentity": "x", "leaseDurationSeconds": 0}, DURATION),
        ({"holderIdentity": "x", "leaseDurationSeconds": -3}, DURATION),
        ({"holderIdentity": "x", "leaseDurationSeconds": "soon"}, DURATION),
        ({"holderIdentity": 7, "leaseTransitions": "many", "renewTime": "yesterday"}, DURATION),
        ({"holderIdentity": "x", "leaseDurationSeconds": 10**9}, 3600),
        ("nonsense", DURATION),
    ],
)
def test_others_have_their_time(world: World, spec: Any, seconds: float) -> None:
    """Their own, from when we saw the Lease; whatever is no time is ours, and no time is longer than an hour."""
    put(world, spec)
    assert seconds <= wait_for(world, world.all[0], 4000) <= seconds + 1


def test_a_lease_that_is_gone_may_have_a_leader_still(world: World) -> None:
    """Who deleted it did not tell the leader: its time is waited for, and the leader makes it anew."""
    first, second = leading(world), world.all[1]
    second.ask()
    world.lease = None
    second.ask()
    second.call()
    assert not second.elector.valid()
    first.ask()
    assert world.lease is not None
    assert world.lease["spec"]["holderIdentity"] == first.elector.identity
    assert first.calls == [("started", 5)]
    first.alive = False
    assert wait_for(world, second) >= DURATION


def test_an_emptied_lease_may_have_a_leader_still(world: World) -> None:
    """As above; only the form of a release is a release."""
    leading(world)
    put(world, {})
    assert wait_for(world, world.all[1]) >= DURATION


def test_annotations_are_no_sign_of_life(world: World) -> None:
    """Whoever annotates a dead holder's Lease does not keep it alive; nor are annotations lost by a take-over."""
    put(world, {"holderIdentity": "x", "leaseDurationSeconds": 15, "strategy": "OldestEmulationVersion"})
    first, began = world.all[0], world.now
    while not first.elector.valid():
        world.now += 0.5
        put(world, world.lease["spec"], annotations={"at": str(world.now)})  # type: ignore[index]
        first.ask()
        first.call()
        assert world.now - began <= DURATION + 1
    assert world.lease is not None
    assert world.lease["metadata"]["annotations"]
    assert world.lease["spec"]["strategy"] == "OldestEmulationVersion"


def test_a_renewal_begins_others_wait_anew(world: World) -> None:
    """A living holder is never robbed."""
    first, second = leading(world), world.all[1]
    for _ in range(60):
        world.now += 1
        first.ask()
        second.ask()
        second.call()
        assert first.elector.valid()
        assert not second.calls


# -- for how long


def test_valid_is_counted_from_before_the_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may count from the moment the server had it, which is after we sent it, and before we heard."""
    first = leading(world)
    sent = world.now + 3
    world.now = sent

    def slow(what: Any) -> Any:
        answer = what()
        world.now += 1
        return answer

    monkeypatch.setattr(first.elector._kube, "_ask", slow)
    first.ask()  # a read and a write, a second each
    world.now = sent + 1 + DEADLINE - 0.01
    assert first.elector.valid()
    world.now = sent + 1 + DEADLINE
    assert not first.elector.valid()


def test_a_term_that_is_over_is_stopped_before_it_can_be_anothers(world: World) -> None:
    """At the renew deadline, whatever the requests do."""
    first, began = leading(world), world.now
    while len(first.calls) == 1:
        world.now += 0.1
        first.call()
    assert first.calls[1:] == [("stopping", "the Lease was not renewed in time"), ("stopped", first.calls[1][1])]
    assert DEADLINE <= world.now - began < DEADLINE + 0.2
    assert not world.deaths


def test_a_term_that_was_over_does_not_come_back(world: World) -> None:
    """A renewal after the deadline begins a new term, when the old one has been stopped."""
    first = leading(world)
    world.now += DEADLINE
    written = len(world.log)
    first.ask()
    assert len(world.log) == written
    assert not first.elector.valid()
    first.call()
    first.ask()
    first.call()
    assert [one for one in first.calls if one[0] != "stopping"] == [
        ("started", 5), ("stopped", "the Lease was not renewed in time"), ("started", 6),
    ]  # fmt: skip


def test_an_answer_after_the_deadline_is_no_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was sent in time; the process stood still until its answer came."""
    first = leading(world)
    world.now += DEADLINE - 0.1

    def slow(what: Any) -> Any:
        answer = what()
        world.now += 1 if world.log and world.log[-1][0] == world.now else 0
        return answer

    monkeypatch.setattr(first.elector._kube, "_ask", slow)
    first.ask()
    assert not first.elector.valid()
    first.call()
    assert first.calls[-1] == ("stopped", "the Lease was not renewed in time")


def test_who_finds_another_in_the_lease_has_lost(world: World) -> None:
    """At once, without waiting for the deadline."""
    first = leading(world)
    put(world, {"holderIdentity": "somebody", "leaseDurationSeconds": 15})
    first.ask()
    assert not first.elector.valid()
    first.call()
    assert first.calls[-1] == ("stopped", "somebody holds the Lease")


def test_what_does_not_stop_is_ended(world: World) -> None:
    """When the Lease expires, and not before."""
    first = leading(world)
    world.now += DURATION - 0.1
    first.guard()
    assert not world.deaths
    world.now += 0.1
    first.guard()
    assert world.deaths == [("a", "overdue")]


def test_what_fails_to_stop_is_ended(world: World) -> None:
    """Nobody knows what of it still goes on."""
    first = leading(world)
    first.elector._on_stopped = lambda reason: 1 / 0
    world.now += DEADLINE
    first.call()
    assert [who for who, _ in world.deaths] == ["a"]
    assert "could not be stopped: division by zero" in world.deaths[0][1]


def test_what_fails_to_start_gives_the_lease_back(world: World) -> None:
    """And rests, because another may fare better."""
    put(world, dict(RELEASED))
    first, second = world.all
    first.elector._on_started = lambda term: 1 / 0
    first.ask()
    first.call()
    first.calls.append(("started", 5))
    first.call()
    assert first.calls[-1] == ("stopped", "on_started failed: division by zero")
    first.ask()
    first.call()
    second.ask()
    second.call()
    assert second.elector.valid()


def test_without_its_callbacks_the_process_is_ended(world: World) -> None:
    """Otherwise the Lease would be renewed for ever, and nobody would act."""
    put(world, dict(RELEASED))
    first = world.all[0]

    def leave(term: int) -> None:
        raise SystemExit

    first.elector._on_started = leave
    first.ask()
    with pytest.raises(SystemExit):
        first.elector._call()
    assert [who for who, _ in world.deaths] == ["a"]


def test_a_lost_answer_is_found_again(world: World) -> None:
    """The Lease is ours, and nobody told us: it is taken up at the next trial."""
    put(world, dict(RELEASED))
    first, faults = world.all[0], itertools.chain(["", "after"], itertools.repeat(""))
    world.faults, world.trouble = ("x",), 1.0
    world.chance.choice = lambda among: next(faults)  # type: ignore[method-assign]
    first.ask()
    first.call()
    assert not first.calls
    first.ask()
    first.call()
    assert first.calls == [("started", 6)]


@pytest.mark.parametrize(("after", "longest"), [(1.0, 1.2), (60.0, DEADLINE / 2 * 1.2)])
def test_a_busy_server_is_left_alone_but_not_for_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch, after: float, longest: float
) -> None:
    """A leader tries again while there is time."""
    first = leading(world)

    def busy(what: Any) -> Any:
        raise Throttled("busy", after)

    monkeypatch.setattr(first.elector._kube, "_ask", busy)
    assert min(after, DEADLINE / 2) <= first.elector._turn() <= longest
    second = world.all[1]
    monkeypatch.setattr(second.elector._kube, "_ask", busy)
    assert min(after, DURATION) <= second.elector._turn() <= DURATION * 1.2


def test_whatever_a_request_raises_is_no_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what nobody foresaw; and the term goes on until its deadline."""
    first = leading(world)
    for error in (Unavailable("x"), RuntimeError("x"), KeyError("x")):

        def fail(what: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(first.elector._kube, "_ask", fail)
        world.now += 3
        assert 0 < first.elector._turn() <= RETRY * 1.2
        assert first.elector.valid()
    world.now += 1
    assert not first.elector.valid()


def test_a_failing_on_lease_is_its_own_affair(world: World) -> None:
    """The Lease is renewed all the same; what it is called with is the Lease as it was read."""
    seen: list[Any] = []

    def on_lease(lease: Any) -> None:
        seen.append(lease["metadata"].get("annotations"))
        raise ZeroDivisionError

    first = leading(world)
    first.elector._on_lease = on_lease
    put(world, world.lease["spec"], annotations={"canaryd.io/drain": "now"})  # type: ignore[index]
    world.now += 5
    first.ask()
    world.now += 6
    assert first.elector.valid()
    assert seen[0] == {"canaryd.io/drain": "now"}


# -- words and numbers


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_west")
def test_times_are_utc_with_six_digits() -> None:
    """A microsecond of zero is written too, and nobody's local time."""
    west = timezone(timedelta(hours=-5))
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 0, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=west)) == "2026-01-02T08:04:05.000006Z"


def test_the_wall_clock_is_nobodys_business(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by a day in the middle of a term, nothing changes but what is written for people."""
    first = leading(world)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr("canaryd.cluster.elector.datetime", Yesterday)
    world.now += 5
    first.ask()
    world.all[1].ask()
    world.all[1].call()
    world.now += 9
    assert first.elector.valid()
    assert not world.all[1].calls


@pytest.mark.parametrize("times", [(10, 10, 2), (15, 10, 10), (15, 16, 2), (15, 10, 0)])
def test_times_that_cannot_work_are_refused(world: World, times: tuple[float, float, float]) -> None:
    """Before anything is asked of the server."""
    duration, deadline, retry = times
    with pytest.raises(ValueError, match="duration > renew_deadline > retry > 0"):
        Elector(
            world.all[0].elector._kube, "a", "b", "c",
            duration=duration, renew_deadline=deadline, retry=retry, on_started=print, on_stopped=print,
        )  # fmt: skip

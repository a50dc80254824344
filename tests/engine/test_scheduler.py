"""When runs are ticked: no wake is lost, no run is ticked twice at once, and one run's fault is nobody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from canaryd import telemetry
from canaryd.engine.scheduler import Scheduler


@contextmanager
def running(tick: Callable[[str], object], workers: int = 4) -> Iterator[Scheduler]:
    scheduler = Scheduler(tick, workers=workers)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def eventually(fact: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


class Slow:
    """A tick that waits until it is let go, and watches who else is in it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self.go = threading.Semaphore(0)
        self._inside: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, uid: str) -> None:
        with self._lock:
            self.begun.append(uid)
            self._inside.append(uid)
            self.most = max(self.most, self._inside.count(uid))
        self.go.acquire()
        with self._lock:
            self._inside.remove(uid)


def test_a_wake_during_a_tick_makes_it_run_again_at_once() -> None:
    """An abort that comes while the tick reads the commands waits for no due time."""
    tick = Slow()
    with running(tick) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: len(tick.begun) == 1)
        scheduler.wake("a")
        scheduler.wake("a")
        time.sleep(0.05)
        assert len(tick.begun) == 1
        tick.go.release()
        eventually(lambda: len(tick.begun) == 2)
        tick.go.release(5)
        time.sleep(0.05)
    assert (len(tick.begun), tick.most) == (2, 1)


def test_a_run_has_one_tick_at_a_time() -> None:
    """However many workers and wakes there are."""
    tick = Slow()
    tick.go.release(10_000)
    with running(tick, workers=8) as scheduler:
        scheduler.add("a", every=0.01)
        for _ in range(300):
            scheduler.wake("a")
        eventually(lambda: len(tick.begun) > 20)
    assert tick.most == 1


def test_runs_are_ticked_beside_each_other() -> None:
    """One that waits for its mesh does not keep the others waiting."""
    tick = Slow()
    with running(tick) as scheduler:
        for uid in "abc":
            scheduler.add(uid, every=3600)
        eventually(lambda: sorted(tick.begun) == ["a", "b", "c"])
        tick.go.release(10)


def test_a_tick_that_fails_ends_no_worker() -> None:
    """With one worker: the other run is still ticked, and the failing one again."""
    ticked: list[str] = []

    def tick(uid: str) -> None:
        ticked.append(uid)
        if uid == "bad":
            raise RuntimeError("a fault of ours")

    with running(tick, workers=1) as scheduler:
        scheduler.add("bad", every=0.05)
        scheduler.add("good", every=0.05)
        eventually(lambda: ticked.count("bad") > 2 and ticked.count("good") > 2)


def test_a_due_time_that_comes_late_is_not_dropped() -> None:
    """APScheduler drops a job that is a second late by default; a tick longer than its interval makes it so."""
    ticked: list[float] = []

    def tick(uid: str) -> None:
        ticked.append(time.monotonic())
        time.sleep(1.3 if len(ticked) == 1 else 0)

    with running(tick, workers=1) as scheduler:
        scheduler.add("a", every=0.2)
        eventually(lambda: len(ticked) > 3)
        assert scheduler._due._job_defaults["misfire_grace_time"] is None


def test_a_removed_run_is_left_alone() -> None:
    """Neither due nor woken."""
    ticked: list[str] = []
    with running(ticked.append) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: ticked == ["a"])
        scheduler.remove("a")
        scheduler.remove("a")
        scheduler.wake("a")
        scheduler.wake("unknown")
        time.sleep(0.05)
    assert ticked == ["a"]


@pytest.mark.parametrize("how", ["added", "woken"])
def test_what_comes_while_a_tick_wants_to_rest_is_not_lost(how: str) -> None:
    """A plan that is deleted and applied anew, a run deleted while its marker is looked at: there is one tick more."""
    rested: list[bool] = []
    entered, go = threading.Event(), threading.Event()

    def tick(uid: str) -> None:
        entered.set()
        assert go.wait(5)
        rested.append(scheduler.rest(uid))

    with running(tick) as scheduler:
        scheduler.add("a", every=3600)
        assert entered.wait(5)
        if how == "added":
            scheduler.add("a", every=3600)
        else:
            scheduler.wake("a")
        go.set()
        eventually(lambda: rested == [False, True])
        scheduler.wake("a")
        time.sleep(0.05)
        assert rested == [False, True]
        scheduler.add("a", every=3600)
        eventually(lambda: rested == [False, True, True])


def test_stopping_waits_for_ticks_and_begins_none() -> None:
    """What is in the queue by then is for the next process."""
    tick = Slow()
    scheduler = Scheduler(tick, workers=1)
    scheduler.start()
    scheduler.add("a", every=3600)
    eventually(lambda: tick.begun == ["a"])
    scheduler.add("b", every=3600)
    stopping = threading.Thread(target=scheduler.stop)
    stopping.start()
    eventually(scheduler._stopping.is_set)
    assert stopping.is_alive()
    tick.go.release(5)
    stopping.join(5)
    assert not stopping.is_alive()
    assert tick.begun == ["a"]


def lateness() -> tuple[float, float]:
    """How many ticks have begun in this process, and how late they were in all (seconds)."""
    values = [telemetry.REGISTRY.get_sample_value(f"canaryd_tick_lateness_seconds_{what}") for what in ("count", "sum")]
    return values[0] or 0.0, values[1] or 0.0


def test_a_tick_that_waits_for_a_worker_is_told_as_late() -> None:
    """All else may be well, and a rollback waits."""
    tick = Slow()
    before = lateness()
    with running(tick, workers=1) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: tick.begun == ["a"])
        scheduler.add("b", every=3600)
        time.sleep(0.3)
        tick.go.release(2)
        eventually(lambda: tick.begun == ["a", "b"])
    after = lateness()
    assert after[0] - before[0] == 2
    assert 0.25 < after[1] - before[1] < 1


def test_ticks_that_come_when_due_or_woken_are_not_late() -> None:
    """A wake begins a tick before it is due, and the due one after it is no later for that."""
    begun: list[str] = []
    before = lateness()
    with running(begun.append) as scheduler:
        scheduler.add("a", every=0.3)
        for _ in range(10):
            time.sleep(0.1)
            scheduler.wake("a")
    after = lateness()
    assert after[0] - before[0] > 10
    assert after[1] - before[1] < 0.1 * (after[0] - before[0])


def test_a_tick_that_does_not_end_is_a_fault() -> None:
    """The liveness probe has the process started anew: what hangs cannot roll back."""
    tick = Slow()
    with running(tick) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: tick.begun == ["a"])
        assert scheduler.fault() == ""
        time.sleep(0.15)
        assert scheduler.fault(hung=0.1) == "the tick of run a has not ended for 0.1 s"
        tick.go.release()
        eventually(lambda: scheduler.fault(hung=0.1) == "")


def test_what_waits_for_a_worker_is_no_fault() -> None:
    """To start the process anew would make an overload worse."""
    tick = Slow()
    with running(tick, workers=1) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: tick.begun == ["a"])
        scheduler.add("b", every=3600)
        time.sleep(0.15)
        assert "run b" not in scheduler.fault(hung=0.1)
        tick.go.release(2)


def test_a_clock_that_no_longer_marks_due_times_is_a_fault() -> None:
    """Nothing is late then, because nothing begins."""
    begun: list[str] = []
    with running(begun.append) as scheduler:
        scheduler.add("a", every=0.05)
        eventually(lambda: len(begun) > 2)
        assert scheduler.fault(hung=0.5) == ""
        scheduler._due.pause()
        time.sleep(0.4)
        assert scheduler.fault(hung=0.3) == "run a has been due for 0.3 s and nothing marks it"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_has_died_is_a_fault() -> None:
    """One less carries out ticks, and nobody would notice before the last."""

    def die(uid: str) -> None:
        raise KeyboardInterrupt

    with running(die, workers=2) as scheduler:
        assert scheduler.fault() == ""
        scheduler.add("a", every=3600)
        eventually(lambda: "has died" in scheduler.fault())


def test_a_scheduler_that_was_not_started_has_no_fault() -> None:
    """A standby is healthy."""
    assert Scheduler(lambda uid: None).fault() == ""


def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    """A term that lost its Lease in mid-rollback is stopped in two strides; one that could not begin never started."""
    scheduler = Scheduler(lambda _: None, workers=1)
    scheduler.stop()
    scheduler = Scheduler(lambda _: None, workers=1)
    scheduler.start()
    scheduler.stop()
    scheduler.stop()


def test_a_run_is_woken_once_at_a_later_moment() -> None:
    """A plan that was refused is tried again when it is time, and not at the next due look; never after it is gone."""
    ticks: list[str] = []
    scheduler = Scheduler(ticks.append, workers=1)
    scheduler.start()
    try:
        for uid in ("a", "gone"):
            scheduler.add(uid, every=60.0)
            scheduler.wake(uid, after=0.4)
        eventually(lambda: set(ticks) == {"a", "gone"})
        scheduler.remove("gone")
        eventually(lambda: ticks.count("a") == 2)
        time.sleep(0.3)
        assert (ticks.count("a"), ticks.count("gone")) == (2, 1)
    finally:
        scheduler.stop()


def test_later_wakes_before_the_start_and_after_the_end_are_harmless() -> None:
    """A watch may tell of something at any moment."""
    ticks: list[str] = []
    scheduler = Scheduler(ticks.append)
    scheduler.add("a", every=3600)
    for _ in range(2):
        scheduler.wake("a", 0.1)
    scheduler.start()
    eventually(lambda: ticks == ["a"])
    scheduler.stop()
    scheduler.wake("a", 0.1)
    time.sleep(0.3)
    assert ticks == ["a"]


def test_a_wake_that_is_to_come_later_comes_once() -> None:
    """A rollout changes many pods in a moment: who looks after each of them looks once."""
    ticks: list[float] = []
    with running(lambda _: ticks.append(time.monotonic())) as scheduler:
        scheduler.add("a", every=3600)
        eventually(lambda: len(ticks) == 1)
        began = time.monotonic()
        for _ in range(20):
            scheduler.wake("a", 0.3)
        eventually(lambda: len(ticks) == 2)
        assert ticks[1] - began >= 0.3
        time.sleep(0.5)
        assert len(ticks) == 2
        scheduler.wake("a", 0.3)
        eventually(lambda: len(ticks) == 3)
        scheduler.wake("a", 0.2)
        scheduler.remove("a")
        time.sleep(0.5)
        assert len(ticks) == 3

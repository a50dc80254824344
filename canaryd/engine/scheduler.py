"""
When runs are ticked.

APScheduler only marks due times; the ticks themselves are carried out by workers of our own. A run has one tick at a
time, and a wake that comes during a tick makes it run again at once: no abort waits for a due time, and none is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue

import structlog
from apscheduler.jobstores.base import ConflictingIdError
from apscheduler.schedulers.background import BackgroundScheduler

from canaryd import telemetry

HUNG = 120.0
"""Seconds after which a tick does not end any more: each of its requests has a deadline, and there are few."""

log = structlog.get_logger()


class Scheduler:
    """
    Calls ``tick(uid)`` for every run it knows, when due and when woken; or for whatever else is looked at by a key.

    ``measured`` says whether its ticks are those that canaryd's metrics speak of.
    """

    def __init__(self, tick: Callable[[str], object], *, workers: int = 8, measured: bool = True) -> None:
        self._tick = tick
        self._measured: Callable[[float], AbstractContextManager[object]] = telemetry.tick if measured else nullcontext
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._queued: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._again: set[str] = set()
        self._every: dict[str, float] = {}
        self._next: dict[str, float] = {}
        self._known: set[str] = set()
        self._stopping = threading.Event()
        # A job that is late runs late, once; the default would drop it after a second.
        self._due = BackgroundScheduler(job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        self._workers = [threading.Thread(target=self._work, name=f"tick-{n}", daemon=True) for n in range(workers)]

    def start(self) -> None:
        self._due.start()
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """No tick begins after this; those that run are waited for. Harmless when stopped already, or never started."""
        self._stopping.set()
        if not self._due.running:
            return
        self._due.shutdown(wait=False)
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()

    def add(self, uid: str, every: float) -> None:
        """Tick ``uid`` now and then ``every`` so many seconds; if it is being ticked, once more afterwards."""
        with self._lock:
            self._known.add(uid)
            self._every[uid], self._next[uid] = every, time.monotonic()
            if uid in self._running:
                self._again.add(uid)  # here, so that a tick that wants to rest sees it
            self._due.add_job(self.wake, "interval", seconds=every, args=[uid], id=uid, replace_existing=True)
        self.wake(uid)

    def remove(self, uid: str) -> None:
        """Tick ``uid`` no more, whatever woke it."""
        with self._lock:
            self._drop(uid)

    def rest(self, uid: str) -> bool:
        """
        Said by the tick of ``uid`` itself: tick it no more, unless it was woken since this tick began.

        Whether it rests. A plain :meth:`remove` would lose what woke it, which this tick has not seen.
        """
        with self._lock:
            if uid in self._again:
                return False
            self._drop(uid)
            return True

    def _drop(self, uid: str) -> None:
        self._known.discard(uid)
        self._every.pop(uid, None)
        self._next.pop(uid, None)
        if self._due.get_job(uid):
            self._due.remove_job(uid)

    def wake(self, uid: str, after: float = 0.0) -> None:
        """
        Tick ``uid`` as soon as possible, or ``after`` so many seconds; if it is being ticked then, once more afterward.

        Wakes with the same delay are one: the first says when.
        """
        if after > 0:
            if not self._due.running:  # every run is ticked at the start, and none after the end
                return
            with suppress(ConflictingIdError):
                due = datetime.now(UTC) + timedelta(seconds=after)
                self._due.add_job(self.wake, "date", run_date=due, args=[uid], id=f"{uid} after {after:g}")
            return
        with self._lock:
            if uid not in self._known or uid in self._queued:
                return
            if uid in self._running:
                self._again.add(uid)
                return
            self._queued[uid] = time.monotonic()
        self._queue.put(uid)

    def fault(self, hung: float = HUNG) -> str:
        """
        Why ticks do not go on as they should, in one sentence: a tick that does not end, or a thread that has died.

        Empty while they do, and before the start.
        """
        now = time.monotonic()
        with self._lock:
            slow = [uid for uid, since in self._running.items() if now - since > hung]
            # One that is queued waits for a worker, and to start the process anew would not make it faster.
            waited_for = self._running.keys() | self._queued.keys()
            overdue = [uid for uid, due in self._next.items() if uid not in waited_for and now - due > hung]
        dead = [worker.name for worker in self._workers if worker.ident is not None and not worker.is_alive()]
        if slow:
            return f"the tick of run {slow[0]} has not ended for {hung:g} s"
        if dead and not self._stopping.is_set():
            return f"the thread {dead[0]}, which carries out ticks, has died"
        if overdue and not self._stopping.is_set() and self._workers[0].ident is not None:
            return f"run {overdue[0]} has been due for {hung:g} s and nothing marks it"
        return ""

    def _late(self, uid: str) -> float:
        """Seconds by which the tick of ``uid`` begins late: after it was due, or woken for if that was before."""
        now = time.monotonic()
        queued, due = self._queued.pop(uid, now), self._next.get(uid, now)
        if uid in self._every:
            self._next[uid] = now + self._every[uid]
        return max(0.0, now - min(queued, due))

    def _work(self) -> None:
        while (uid := self._queue.get()) is not None:
            if self._stopping.is_set():
                continue
            with self._lock:
                late = self._late(uid)
                self._running[uid] = time.monotonic()
            try:
                with self._measured(late):
                    self._tick(uid)
            except Exception:
                # One run's fault must not end the worker that other runs need; the next due time tries again.
                log.exception("tick.failed", run=uid)
            with self._lock:
                self._running.pop(uid, None)
                again = uid in self._again
                self._again.discard(uid)
            if again:
                self.wake(uid)

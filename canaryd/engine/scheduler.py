"""
When runs are ticked.

APScheduler only marks due times; the ticks themselves are carried out by workers of our own. A run has one tick at a
time, and a wake that comes during a tick makes it run again at once: no abort waits for a due time, and none is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

log = structlog.get_logger()


class Scheduler:
    """Calls ``tick(uid)`` for every run it knows, when due and when woken."""

    def __init__(self, tick: Callable[[str], object], *, workers: int = 8) -> None:
        self._tick = tick
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._queued: set[str] = set()
        self._running: set[str] = set()
        self._again: set[str] = set()
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
        """No tick begins after this; those that run are waited for."""
        self._stopping.set()
        self._due.shutdown(wait=False)
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()

    def add(self, uid: str, every: float) -> None:
        """Tick ``uid`` now and then ``every`` so many seconds."""
        with self._lock:
            self._known.add(uid)
        self._due.add_job(self.wake, "interval", seconds=every, args=[uid], id=uid, replace_existing=True)
        self.wake(uid)

    def remove(self, uid: str) -> None:
        with self._lock:
            self._known.discard(uid)
        if self._due.get_job(uid):
            self._due.remove_job(uid)

    def wake(self, uid: str) -> None:
        """Tick ``uid`` as soon as possible; if it is being ticked, once more afterwards."""
        with self._lock:
            if uid not in self._known or uid in self._queued:
                return
            if uid in self._running:
                self._again.add(uid)
                return
            self._queued.add(uid)
        self._queue.put(uid)

    def _work(self) -> None:
        while (uid := self._queue.get()) is not None:
            if self._stopping.is_set():
                continue
            with self._lock:
                self._queued.discard(uid)
                self._running.add(uid)
            try:
                self._tick(uid)
            except Exception:
                # One run's fault must not end the worker that other runs need; the next due time tries again.
                log.exception("tick.failed", run=uid)
            with self._lock:
                self._running.discard(uid)
                again = uid in self._again
                self._again.discard(uid)
            if again:
                self.wake(uid)

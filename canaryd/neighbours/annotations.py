"""
Annotations in Grafana: a mark on every graph where a weight changed, and why.

Written by a thread of its own, one after the other: who tells of an event only puts it into a queue, and a Grafana
that hangs keeps nobody but that thread. Grafana has no key of ours that could be unique; so each annotation has a tag
that follows from the run and the event alone, and is looked for before it is written. Told twice, or by the process
after a death, it is there once; only two processes that tell the same at the same moment may write it twice.

Source: Grafana "Annotations HTTP API" (time in milliseconds; tags are matched all together).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from html import escape
from threading import Condition, Thread

import structlog

from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.model.decision import Event, Told
from canaryd.model.run import Run
from canaryd.neighbours.asking import ask, bearing
from canaryd.neighbours.wording import plainly
from canaryd.settings import Grafana

MARKED = frozenset(
    {
        Told.SHIFTING,
        Told.PASSED,
        Told.ADVANCED,
        Told.TOOK_OVER,
        Told.PROMOTING,
        Told.PROMOTED,
        Told.ROLLING_BACK,
        Told.ROLLED_BACK,
        Told.RESTARTED,
        Told.BROUGHT_DOWN,
        Told.REASSERTED,
        Told.TAKEN_BACK,
        Told.RETURNING,
    }
)
"""Weight changes, and verdicts."""
MOST = 1000
"""Annotations that wait; beyond that the oldest are given up."""
TRIES = 5
"""How often one is tried while Grafana does not answer."""
SOON, SELDOM = 1.0, 30.0
"""Seconds before the second try, doubled for each further one, and at most."""
EACH = 5.0
"""Seconds that one try may take."""
LAST = 5.0
"""Seconds that the end waits for what is still to be written."""
WORDS = 1000
"""Characters of a reason."""
TAG = 100
"""Characters of a tag: what Grafana's database has room for."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: ``at`` is in Unix seconds, ``text`` is HTML, and ``tags`` end with the one that only it has."""

    run: str
    at: float
    text: str
    tags: tuple[str, ...]

    def content(self, dashboard: str) -> dict[str, object]:
        """What is posted; ``dashboard`` is the uid of the one that it belongs to, empty for none."""
        of = {"dashboardUID": dashboard} if dashboard else {}
        return {**of, "time": round(self.at * 1000), "tags": list(self.tags), "text": self.text}


def mark_of(run: Run, event: Event, at: float) -> Mark | None:
    """PURE: the mark for what ``run`` told at ``at`` (Unix seconds); None for what changes no weight."""
    if event.told not in MARKED or run.plan.observes:
        return None
    title = f"{run.plan.name} {run.plan.spec.release}: {event.told.value.partition('.')[2].replace('_', ' ')}"
    own = f"{event.told.value}-{run.restarts}-{run.seq}"
    tags = ("canaryd", f"plan:{run.plan}", f"run:{run.uid}", own)
    return Mark(
        run.uid,
        at,
        f"<b>{escape(plainly(title))}</b>: {escape(plainly(event.reason, WORDS))}",
        tuple(tag[:TAG] for tag in tags),
    )


class Annotations:
    """Writes marks into ``grafana``; its thread begins with the first one."""

    def __init__(self, grafana: Grafana) -> None:
        self._grafana = grafana
        self._waiting: deque[Mark] = deque()
        self._changed = Condition()
        self._ending: float | None = None
        self._thread: Thread | None = None

    def annotate(self, run: Run, event: Event, at: float) -> None:
        """Have what ``run`` told at ``at`` (Unix seconds) marked. Costs nothing, and raises nothing."""
        mark = mark_of(run, event, at)
        if mark is None:
            return
        with self._changed:
            if self._ending is not None:
                return
            if len(self._waiting) >= MOST:
                lost = self._waiting.popleft()
                log.warning("annotation.lost", run=lost.run, error=f"{MOST} others are waiting")
            self._waiting.append(mark)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="annotate", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def end(self) -> None:
        """Write what waits, for a few seconds at most, and then nothing any more."""
        with self._changed:
            self._ending = time.monotonic() + LAST
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(LAST + 1.0)

    def _work(self) -> None:
        while (mark := self._next()) is not None:
            try:
                why = self._tried(mark)
            except Exception as error:
                log.exception("neighbour.fault", run=mark.run, neighbour=self._grafana.url)
                why = f"a fault of canaryd's ({error!r})"
            if why:
                log.warning("annotation.lost", run=mark.run, error=f"{self._grafana.url}: {why}")

    def _next(self) -> Mark | None:
        """The next one to write, once there is one; None at the end."""
        with self._changed:
            while not self._waiting and self._ending is None:
                self._changed.wait()
            over = self._ending is not None and time.monotonic() >= self._ending
            if over and self._waiting:
                log.warning(
                    "annotation.lost", run=self._waiting[0].run, error="canaryd ends", number=len(self._waiting)
                )
            return None if over or not self._waiting else self._waiting.popleft()

    def _tried(self, mark: Mark) -> str:
        """Write it, if it is not there yet; why that cannot be done, empty where it was."""
        why = ""
        for attempt in range(TRIES):
            if attempt and not self._paused(min(SOON * 2.0 ** (attempt - 1), SELDOM)):
                break
            try:
                self._write(mark)
            except Unavailable as error:
                why = str(error)
            except CanarydError as error:
                return str(error)
            else:
                return ""
        return why

    def _paused(self, seconds: float) -> bool:
        """Wait for so long; whether to go on then, for the end waits for nobody's recovery."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._ending is not None, seconds)

    def _write(self, mark: Mark) -> None:
        on, headers = self._grafana.annotate_on, bearing(self._grafana)
        deadline = time.monotonic() + EACH
        known = [("tags", tag) for tag in mark.tags] + [("type", "annotation"), ("limit", "1")]
        known += [("dashboardUID", on)] if on else []
        found = ask(self._grafana, "/api/annotations", deadline, known, headers)
        if not isinstance(found, list):
            raise Rejected("an answer of another shape than Grafana's")
        if not found:
            ask(self._grafana, "/api/annotations", deadline, (), headers, mark.content(on))

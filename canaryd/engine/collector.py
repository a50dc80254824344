"""
Collectors: they ask Prometheus beside the tick, so that the tick never waits for it.

A collector fills an inbox with cells; the tick takes from it what comes next on the run's grid. What is in the inbox is
only a cache: a cell that was lost with the process is asked for again, for Prometheus has kept it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock

import structlog

from canaryd.engine.ports import Clock, Metrics
from canaryd.errors import CanarydError
from canaryd.model.cells import Cell, Gap, Sought, Window
from canaryd.model.run import Run

AT_ONCE = 20
"""Windows asked for in one go; after a long downtime the tick sees the evidence grow in between."""

log = structlog.get_logger()


class Collector:
    """
    Gathers the cells of runs. ``wake`` is called with a run's uid when there is something new for its tick.
    """

    def __init__(self, metrics: Metrics, clock: Clock, executor: Executor, wake: Callable[[str], None]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._executor = executor
        self._wake = wake
        self._lock = Lock()
        self._inbox: dict[str, dict[Window, Cell | Gap]] = {}
        self._blind: dict[str, str] = {}
        self._busy: set[str] = set()
        self._ended = False

    def ask(self, run: Run, sought: Sought) -> None:
        """Begin to gather what ``run`` lacks, unless that is going on already."""
        with self._lock:
            if run.uid in self._busy or not self._missing(run):
                return
            self._busy.add(run.uid)
        self._executor.submit(self._gather, run, sought)

    def take(self, run: Run) -> tuple[tuple[Cell | Gap, ...], str]:
        """The cells that follow the run's last, in order; and why metrics do not answer, empty while they do."""
        with self._lock:
            inbox = self._inbox.get(run.uid, {})
            cells = []
            for window in run.windows(self._until(run)):
                if window not in inbox:
                    break
                cells.append(inbox[window])
            done = cells[-1].end if cells else 0.0
            self._inbox[run.uid] = {window: cell for window, cell in inbox.items() if cell.end > done}
            return tuple(cells), self._blind.get(run.uid, "")

    def forget(self, uid: str) -> None:
        """Drop what was gathered for a run that has ended."""
        with self._lock:
            self._inbox.pop(uid, None)
            self._blind.pop(uid, None)

    def end(self) -> None:
        """Ask for no further window: what has not been gathered is gathered by the next process."""
        self._ended = True

    def _until(self, run: Run) -> float:
        return self._clock.now() - run.plan.spec.analysis.lag.total_seconds()

    def _missing(self, run: Run) -> list[Window]:
        inbox = self._inbox.get(run.uid, {})
        return [window for window in run.windows(self._until(run)) if window not in inbox][:AT_ONCE]

    def _gather(self, run: Run, sought: Sought) -> None:
        news = False
        try:
            with self._lock:
                missing = self._missing(run)
            for window in missing:
                if self._ended:
                    break
                answered, told = self._fetch(run.uid, sought, window)
                news = news or told
                if not answered:
                    break
        finally:
            with self._lock:
                self._busy.discard(run.uid)
            if news:  # a wake for an old failure would ask again at once, for as long as Prometheus is away
                self._wake(run.uid)

    def _fetch(self, uid: str, sought: Sought, window: Window) -> tuple[bool, bool]:
        """Whether there was an answer, and whether that is news for the tick."""
        try:
            cell = self._metrics.count(sought, window)
        except CanarydError as error:
            with self._lock:
                news = uid not in self._blind
                self._blind[uid] = str(error)
            if news:  # once an outage; what lasts stands in what the run waits for
                log.warning("metrics.unavailable", run=uid, error=str(error))
            return False, news
        with self._lock:
            self._inbox.setdefault(uid, {})[window] = cell
            self._blind.pop(uid, None)
        return True, True

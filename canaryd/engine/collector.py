"""
Collectors: they ask Prometheus beside the tick, so that the tick never waits for it.

A collector fills an inbox with cells; the tick takes from it what comes next on the run's grid. What is in the inbox is
only a cache: a cell that was lost with the process is asked for again, for Prometheus has kept it.

Before the judge begins, stable's history is asked for; the first cells wait for it, because the judge has to learn of
it first. They do not wait for ever: a Prometheus that answers for cells and not for history has none to give.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock

import structlog

from canaryd.engine.ports import Clock, Metrics
from canaryd.errors import CanarydError, Rejected
from canaryd.model.cells import Cell, Gap, Past, Sought, Window
from canaryd.model.run import Run

AT_ONCE = 20
"""Windows asked for in one go; after a long downtime the tick sees the evidence grow in between."""
TRIES = 3
"""How often history may fail while a cell waits for it; then the run goes on without."""

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
        self._past: dict[str, Past] = {}
        self._in_vain: dict[tuple[str, int], int] = {}
        self._busy: set[str] = set()
        self._since: dict[str, float] = {}
        self._ended = False

    def ask(self, run: Run, sought: Sought) -> None:
        """Begin to gather what ``run`` lacks, unless that is going on already."""
        with self._lock:
            if run.uid in self._busy or not (self._missing(run) or self._past_is_due(run)):
                return
            self._busy.add(run.uid)
        self._executor.submit(self._gather, run, sought)

    def take(self, run: Run) -> tuple[tuple[Cell | Gap, ...], str, Past | None]:
        """
        What is new for ``run``.

        The cells that follow the run's last, in order; why metrics do not answer, empty while they do; and stable's
        history, once it is decided and until the run has it.
        """
        with self._lock:
            inbox, past = self._inbox.get(run.uid, {}), self._decided(run)
            waits = run.wants_past and past is None
            cells = []
            for window in run.windows(self._until(run)):
                if window not in inbox or (waits and window.segment >= run.judged_from):
                    break
                cells.append(inbox[window])
            done = cells[-1].end if cells else 0.0
            self._inbox[run.uid] = {window: cell for window, cell in inbox.items() if cell.end > done}
            return tuple(cells), self._blind.get(run.uid, ""), past

    def since(self, uid: str) -> float:
        """When this process first looked at the run (Unix seconds): what it has not asked for yet is no gap."""
        return self._since.setdefault(uid, self._clock.now())

    def forget(self, uid: str) -> None:
        """Drop what was gathered for a run that has ended."""
        self._since.pop(uid, None)
        with self._lock:
            self._inbox.pop(uid, None)
            self._blind.pop(uid, None)
            self._past.pop(uid, None)
            self._in_vain = {place: count for place, count in self._in_vain.items() if place[0] != uid}

    def end(self) -> None:
        """Ask for no further window: what has not been gathered is gathered by the next process."""
        self._ended = True

    def _until(self, run: Run) -> float:
        return self._clock.now() - run.plan.spec.analysis.lag.total_seconds()

    def _missing(self, run: Run) -> list[Window]:
        inbox = self._inbox.get(run.uid, {})
        return [window for window in run.windows(self._until(run)) if window not in inbox][:AT_ONCE]

    def _past_is_due(self, run: Run) -> bool:
        """Whether stable's history is over, lag included, and nobody has decided what it was."""
        if not run.wants_past or self._decided(run) or run.judged_from >= len(run.segments):
            return False
        return run.segments[run.judged_from].origin <= self._until(run)

    def _decided(self, run: Run) -> Past | None:
        past = self._past.get(run.uid)
        return past if past and run.wants_past and past.segment == run.judged_from else None

    def _gather(self, run: Run, sought: Sought) -> None:
        news = False
        try:
            with self._lock:
                missing, past_is_due = self._missing(run), self._past_is_due(run)
            silent = self._fetch_past(run, sought) if past_is_due and not self._ended else ""
            news = past_is_due and not silent
            for window in missing:
                if self._ended:
                    break
                answered, told = self._fetch(run.uid, sought, window)
                news = news or told
                if not answered:
                    break
            if silent and self._go_without_past(run, silent):
                news = True
        finally:
            with self._lock:
                self._busy.discard(run.uid)
            if news:  # a wake for an old failure would ask again at once, for as long as Prometheus is away
                self._wake(run.uid)

    def _fetch_past(self, run: Run, sought: Sought) -> str:
        """Decide what the judge learns of stable; why there was no answer, empty where it is decided."""
        windows = run.past_windows
        why = "its pods are too young" if run.plan.spec.analysis.history else "the plan wants none (analysis.history)"
        found: tuple[Cell | Gap, ...] = ()
        try:
            found = self._metrics.history(sought, windows) if windows else ()
        except Rejected as error:
            why = str(error)
        except CanarydError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours here must not keep the cells from the judge
            why = f"a fault of canaryd's ({error!r})"
        cells = tuple(cell for cell in found if isinstance(cell, Cell))
        why = next((gap.why for gap in reversed(found) if isinstance(gap, Gap)), why)
        self._decide(run, Past(run.judged_from, cells, "" if cells else why))
        return ""

    def _go_without_past(self, run: Run, why: str) -> bool:
        """Prometheus answers for cells and not for history: when that was so often enough, there is none."""
        place = (run.uid, run.judged_from)
        with self._lock:
            if run.uid in self._blind or not self._inbox.get(run.uid):
                return False
            self._in_vain[place] = self._in_vain.get(place, 0) + 1
        if self._in_vain[place] < TRIES:
            return False
        self._decide(run, Past(run.judged_from, (), why))
        return True

    def _decide(self, run: Run, past: Past) -> None:
        with self._lock:
            self._past[run.uid] = past

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

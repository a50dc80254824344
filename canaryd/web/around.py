"""
Links and example traces for a run's page.

The neighbours may take seconds to answer, and a page renews itself every other one: so they are asked beside it, once a
minute for each run that somebody looks at, and what they said last is what is shown.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from canaryd.app import around, links_of
from canaryd.model.links import Link
from canaryd.model.run import Run
from canaryd.settings import Settings

FRESH = 60.0
"""Seconds for which an answer is not asked for again; of a run that has ended, ten times that."""
MOST = 200

Found = tuple[tuple[Link, ...], tuple[Link, ...]]


class Around:
    """What the neighbours in ``settings`` show of a run. Thread-safe, and waits for nobody."""

    def __init__(
        self,
        settings: Settings,
        ask: Callable[[Run, Settings], Found] = around,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._ask, self._clock = settings, ask, clock
        self._set = bool(settings.kiali or settings.grafana or settings.tracing)
        self._known: OrderedDict[str, tuple[float, Found]] = OrderedDict()
        self._asking: set[str] = set()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(2, "around")

    def __call__(self, run: Run) -> Found:
        """As far as it is known by now: the links at once, the traces when somebody has answered."""
        if not self._set:
            return (), ()
        with self._lock:
            at, found = self._known.get(run.uid, (float("-inf"), None))
            stale = self._clock() - at > (10 * FRESH if run.final else FRESH)
            if stale and run.uid not in self._asking:
                self._asking.add(run.uid)
                self._threads.submit(self._learn, run)
        return found if found is not None else (links_of(run, self._settings), ())

    def _learn(self, run: Run) -> None:
        try:
            found = self._ask(run, self._settings)
            with self._lock:
                self._known[run.uid] = (self._clock(), found)
                self._known.move_to_end(run.uid)
                while len(self._known) > MOST:
                    self._known.popitem(last=False)
        finally:
            with self._lock:
                self._asking.discard(run.uid)

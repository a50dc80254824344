"""
After the end: whether the weights are still what was decided.

Git, or a hand, may put back the weights of before a promotion, or bring a canary back that was rolled off. That is
nobody's fault to mend and everybody's interest to know: it is said in the run's condition ``TrafficAsDecided``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog

from canaryd.mesh.orphans import decided
from canaryd.model.run import Run
from canaryd.model.traffic import Route

Object = dict[str, Any]
log = structlog.get_logger()


class Aftermath:
    """
    Watches over the last run of each plan once it has ended.

    ``ended`` gives those runs, ``show`` is given a run and why its traffic is not as decided, empty where it is.
    """

    def __init__(self, ended: Callable[[], Iterable[Run]], show: Callable[[Run, str], None]) -> None:
        self._ended = ended
        self._show = show
        self._known: dict[str, str] = {}
        self._parts: dict[str, dict[str, str]] = {}

    def changed(self, namespace: str, name: str, virtual_service: Object | None) -> None:
        """The VirtualService is now ``virtual_service``, None where it was deleted."""
        for run in self._ended():
            for part in run.route.parts:
                if part.lies_in(namespace, name):
                    self.look(run, part, virtual_service)

    def look(self, run: Run, part: Route, virtual_service: Object | None) -> None:
        """Compare the object of one part of the run's route, and show what is known of all where it is news."""
        if run.plan.spec.mode == "observe" or not run.seq:
            return  # nothing was ever decided about this traffic
        known = self._parts.setdefault(run.uid, {})
        known[str(part)] = decided(virtual_service, part, run.split) if virtual_service else f"{part} is gone"
        why = "; ".join(filter(None, known.values()))
        if self._known.get(run.uid) == why:
            return
        if why or self._known.get(run.uid):
            log.warning("traffic.not_as_decided" if why else "traffic.as_decided", run=run.uid, why=why)
        self._known[run.uid] = why
        self._show(run, why)

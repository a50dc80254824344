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

    def changed(self, namespace: str, name: str, virtual_service: Object | None) -> None:
        """The VirtualService is now ``virtual_service``, None where it was deleted."""
        for run in self._ended():
            if (run.route.namespace, run.route.virtual_service) == (namespace, name):
                self.look(run, virtual_service)

    def look(self, run: Run, virtual_service: Object | None) -> None:
        """Compare, and show it where it is news."""
        if run.plan.spec.mode == "observe" or not run.seq:
            return  # nothing was ever decided about this traffic
        why = decided(virtual_service, run.route, run.split) if virtual_service else f"{run.route} is gone"
        if self._known.get(run.uid) == why:
            return
        if why or self._known.get(run.uid):
            log.warning("traffic.not_as_decided" if why else "traffic.as_decided", run=run.uid, why=why)
        self._known[run.uid] = why
        self._show(run, why)

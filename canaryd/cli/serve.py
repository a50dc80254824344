"""
``canaryd serve``: every plan in a folder, each new release once.

The folder is read again and again, so that a ConfigMap's symlink swap is seen like any other change. A file that is
broken, or a plan that is refused, is told once per text and tried again; the others go on.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import structlog

from canaryd.app import Canaryd, command, world
from canaryd.engine.admission import Settled
from canaryd.errors import CanarydError
from canaryd.logs import set_up
from canaryd.model.plan import Plan, read_plan
from canaryd.model.run import Run
from canaryd.settings import Settings

SCAN = 5.0
"""Seconds between two readings of the folder."""

log = structlog.get_logger()


def serve(folder: Path, settings: Settings) -> None:
    """Carry out the plans in ``folder`` until SIGINT or SIGTERM; runs in flight go on at the next start."""
    set_up(settings.log_format, settings.log_level)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with Canaryd(world(settings), workers=settings.workers) as canaryd:
        plans = Plans(folder, canaryd)
        log.info("daemon.started", plans=str(folder), state=str(settings.state))
        while not end.is_set():
            plans.scan()
            end.wait(SCAN)
        log.info("daemon.stopping")


class Plans:
    """The plans of a folder and what became of them."""

    def __init__(self, folder: Path, canaryd: Canaryd) -> None:
        self._folder = folder
        self._canaryd = canaryd
        self._runs: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._settled: dict[str, str] = {}

    def scan(self) -> None:
        """Read every file once and begin what is new."""
        for file in sorted(self._folder.glob("*.y*ml")):
            try:
                plan = read_plan(file.read_text(encoding="utf-8"), file.name)
                self._take(plan)
            except Settled as settled:
                self._say(file.name, "plan.settled", str(settled))
            except (CanarydError, OSError, UnicodeDecodeError) as error:
                self._say(file.name, "plan.refused", str(error))

    def _take(self, plan: Plan) -> None:
        run = self._run_of(plan)
        if run is not None and not run.final:
            self._compare(plan, run)
            return
        if run is not None:
            self._settled[str(plan)] = run.plan.spec.release
        if self._settled.get(str(plan)) == plan.spec.release:
            return
        begun = self._canaryd.begin(plan)
        self._runs[str(plan)] = begun.record.run.uid
        for remark in begun.remarks:
            log.info("plan.remark", plan=str(plan), remark=remark)

    def _run_of(self, plan: Plan) -> Run | None:
        uid = self._runs.get(str(plan))
        return self._canaryd.see(uid) if uid else None

    def _compare(self, plan: Plan, run: Run) -> None:
        """The file changed under a run: told, and obeyed only where it asks for the release settled before."""
        if plan.digest == run.plan.digest or not self._news(f"{plan} {plan.digest}"):
            return
        if plan.spec.release == self._settled.get(str(plan)):
            reason = f"the plan asks for release {plan.spec.release!r} again, which was settled before"
            self._canaryd.ask(run.uid, command("abort", reason=reason, by="the plan"))
        log.warning("plan.changed", plan=str(plan), run=run.uid, release=plan.spec.release)

    def _say(self, name: str, event: str, sentence: str) -> None:
        if self._said.get(name) != sentence:
            self._said[name] = sentence
            log.warning(event, file=name, error=sentence)

    def _news(self, key: str) -> bool:
        if key in self._said:
            return False
        self._said[key] = ""
        return True

"""
``canaryd serve``: every plan in a folder, each new release once.

The folder is read again and again, so that a ConfigMap's symlink swap is seen like any other change. What was settled
and what is unfinished is known from the store alone: a daemon that starts again goes on where it was, also with runs
whose plan is gone or broken by now. A file that is broken, or a plan that is refused, is told once per text and tried
again, less and less often; the others go on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from canaryd.app import Canaryd, limits, world
from canaryd.cli.policies import policies_in
from canaryd.engine.admission import Settled
from canaryd.engine.guarding import Waits
from canaryd.errors import CanarydError
from canaryd.logs import set_up
from canaryd.model.layers import Content
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused
from canaryd.model.run import Run
from canaryd.settings import Settings
from canaryd.store.freezes import FolderQueue
from canaryd.store.objects import without_figures

SCAN = 5.0
"""Seconds between two readings of the folder."""
LONGEST_WAIT = 300.0
"""Seconds between two tries of a plan that is refused, at most; each wait is twice the one before."""

log = structlog.get_logger()


def serve(folder: Path, settings: Settings, *, every: float = SCAN) -> None:
    """Carry out the plans in ``folder`` until SIGINT or SIGTERM; runs in flight go on at the next start."""
    set_up(settings.log_format, settings.log_level)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    policies_in(settings.policies)  # a daemon that begins says what is wrong with them; one that runs holds on to them
    with Canaryd(world(settings), workers=settings.workers, mode=settings.mode, limits=limits(settings)) as canaryd:
        queue = FolderQueue(settings.state)
        plans = Plans(folder, canaryd, every, policies=settings.policies, mode=settings.mode, queue=queue)
        log.info("daemon.started", plans=str(folder), state=str(settings.state))
        plans.go_on()
        while not end.is_set():
            plans.scan()
            end.wait(every)
        log.info("daemon.stopping", in_flight=plans.in_flight())


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A text that was refused, and when (monotonic seconds) it is tried again, ``wait`` after the last try."""

    text: str
    sentence: str
    wait: float
    again: float


class Plans:
    """The plans of a folder and what became of them."""

    def __init__(
        self,
        folder: Path,
        canaryd: Canaryd,
        every: float = SCAN,
        *,
        policies: Path | None = None,
        mode: Literal["active", "observe"] = "active",
        queue: FolderQueue,
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._asked: dict[str, tuple[str, float]] = {}
        self._written: dict[str, tuple[str, float]] = {}
        self._said: dict[str, str] = {}
        self._policies = policies
        self._mode: Literal["active", "observe"] = mode
        self._known: dict[str, Content] | None = None
        self._broken = ""
        self._canaryd = canaryd
        self._every = every
        self._runs: dict[str, str] = {}
        self._done: dict[str, str] = {}
        self._refused: dict[str, _Refusal] = {}
        self._compared: dict[str, str] = {}

    def go_on(self) -> None:
        """Carry out what a former daemon left unfinished, whatever became of the files; who asked first is first."""
        self._asked = self._queue.read()
        self._written = dict(self._asked)
        for plan, (_, asked) in self._asked.items():
            self._canaryd.queue.enter(plan, asked)
        self._canaryd.tell_what_is_left()
        for run in self._canaryd.unfinished():
            try:
                self._canaryd.carry_out(run)
            except CanarydError as error:
                log.error("run.not_carried_out", run=run.uid, error=str(error))  # noqa: TRY400  # it is expected
            else:
                self._runs[str(run.plan)] = run.uid
                log.info("run.goes_on", run=run.uid, phase=run.phase.value, split=str(run.split))

    def in_flight(self) -> list[str]:
        """The runs that have not ended."""
        return [run.uid for uid in self._runs.values() if not (run := self._canaryd.see(uid)).final]

    def scan(self) -> None:
        """Read every file once and begin what is new."""
        try:
            files = sorted(self._folder.glob("*.y*ml"))
        except OSError as error:
            log.warning("plans.unreadable", folder=str(self._folder), error=str(error))
            return
        self._read_policies()
        holders: dict[str, str] = {}
        for file in files:
            text = ""
            try:
                text = file.read_text(encoding="utf-8")
                if self._waits(file.name, text):
                    continue
                plan = read_plan(text, file.name, self._known).in_mode(self._mode)
                if (holder := holders.setdefault(str(plan), file.name)) != file.name:
                    self._refuse(file.name, text, f"plan {plan} is in {holder} already; this file is left alone")
                    continue
                self._take(plan)
            except (CanarydError, OSError, UnicodeDecodeError) as error:
                self._refuse(file.name, text, str(error))
            except Exception:
                # One plan's fault, ours perhaps, must not stop the others' runs from being looked after.
                log.exception("plan.failed", file=file.name)
            else:
                self._refused.pop(file.name, None)
        if all(file.name not in self._refused for file in files):
            self._forget_all_but(holders)
        self._note_queue()

    def _forget_all_but(self, plans: Mapping[str, str]) -> None:
        """A plan whose file is gone waits for nothing any more."""
        for plan in [one for one in self._asked if one not in plans]:
            self._leave(plan)

    def _leave(self, plan: str) -> None:
        self._asked.pop(plan, None)
        self._said.pop(plan, None)
        self._canaryd.queue.leave(plan)

    def _note_queue(self) -> None:
        """Write down who asked when, where that has changed."""
        if self._asked == self._written:
            return
        try:
            self._queue.write(self._asked)
        except CanarydError as error:
            log.warning("store.unavailable", error=str(error))
        else:
            self._written = dict(self._asked)

    def _read_policies(self) -> None:
        """The policies as they are now. While they are broken, those that were read last go on."""
        try:
            known = policies_in(self._policies)
        except Refused as refused:
            if self._broken != str(refused):
                log.warning("policies.refused", folder=str(self._policies), error=str(refused))
            self._broken = str(refused)
            return
        self._broken = ""
        if known != self._known:
            self._known = known
            self._refused.clear()  # what a plan lacked may be there now

    def _take(self, plan: Plan) -> None:
        key, release = str(plan), plan.spec.release
        if self._done.get(key) == plan.digest:
            return
        run = self._run_of(plan)
        if run is not None and not (run.final and run.released):
            self._compare(plan, run)
            return
        if key not in self._asked or self._asked[key][0] != release:
            self._canaryd.queue.leave(key)  # another release than before: it asks now
            self._asked[key] = (release, time.time())
        try:
            begun = self._canaryd.begin(plan, asked=self._asked[key][1])
        except Waits as waits:
            if without_figures(self._said.get(key, "")) != without_figures(str(waits)):
                log.info("plan.waits", plan=key, why=str(waits))
            self._said[key] = str(waits)
            return
        except Settled as settled:
            self._leave(key)
            self._done[str(plan)] = plan.digest
            log.info("plan.settled", plan=str(plan), why=str(settled))
            return
        self._leave(key)
        self._runs[str(plan)] = begun.record.run.uid
        self._done.pop(str(plan), None)
        for remark in begun.remarks:
            log.info("plan.remark", plan=str(plan), remark=remark)

    def _run_of(self, plan: Plan) -> Run | None:
        uid = self._runs.get(str(plan))
        return self._canaryd.see(uid) if uid else None

    def _compare(self, plan: Plan, run: Run) -> None:
        """The file changed under a run: told, and obeyed only where it asks for the release settled before."""
        if plan.same_as(run.plan) or self._compared.get(run.uid) == plan.digest:
            return
        why = self._canaryd.abort_if_reverted(plan, run)
        self._compared[run.uid] = plan.digest
        log.warning("plan.changed", plan=str(plan), run=run.uid, release=plan.spec.release, aborted=why)

    def _waits(self, name: str, text: str) -> bool:
        """Whether this text was refused, and it is not yet time to try it again."""
        refusal = self._refused.get(name)
        return refusal is not None and refusal.text == text and time.monotonic() < refusal.again

    def _refuse(self, name: str, text: str, sentence: str) -> None:
        former = self._refused.get(name)
        same = former is not None and former.text == text
        wait = min(2 * former.wait, LONGEST_WAIT) if former is not None and same else self._every
        self._refused[name] = _Refusal(text, sentence, wait, time.monotonic() + wait)
        if former is None or not same or former.sentence != sentence:
            log.warning("plan.refused", file=name, error=sentence)

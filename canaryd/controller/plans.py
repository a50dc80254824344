"""
CanaryPlans become runs: each plan is looked at when it, a policy, one of its runs or its VirtualService changes.

Between two looks nothing is asked of the API server. A plan that is refused is tried again, less and less often, and at
once when something that it was refused for may have changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Literal, Protocol

import structlog

from canaryd.app import Canaryd, command
from canaryd.controller.following import Course, Following, deleted, follow, is_over
from canaryd.engine.admission import Settled
from canaryd.engine.guarding import Waits
from canaryd.engine.scheduler import Scheduler
from canaryd.errors import CanarydError, Conflict, Unavailable
from canaryd.kube import Missing
from canaryd.model.plan import Plan
from canaryd.model.policy import plan_of
from canaryd.model.problem import Problem, Refused
from canaryd.model.run import Command, Run
from canaryd.store.objects import seconds_of, without_figures

Object = dict[str, Any]
Policies = Callable[[], Mapping[str, Mapping[str, Any]]]

FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds before a refused plan is tried again; each wait is twice the one before, and at most the longest."""
HISTORY = 10
"""How many runs of a plan that have ended are kept."""
SETTLED = "canaryd.io/settled"
"""A plan's annotation: the release that was settled last."""
RESYNC = 60.0
"""Seconds between two looks at a plan that nothing happened to; none of them asks the API server anything."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """
    Where a plan stands, for its status.

    ``plan`` is None where its text is refused; ``problems`` say why it is, or why its release cannot start. ``text`` is
    the object as it was looked at. ``waits`` says what a release waits for that may not begin yet, and ``asked`` when a
    release that has not begun was asked for first (Unix seconds).
    """

    text: Object
    plan: Plan | None
    following: Following
    problems: str = ""
    waits: str = ""
    asked: float | None = None
    remarks: tuple[str, ...] = ()


class Objects(Protocol):
    """The CanaryPlans as they were last seen."""

    def get(self, namespace: str, name: str) -> Object | None: ...
    def all(self) -> list[Object]: ...


@dataclass(slots=True)
class _Desk:
    """What is remembered of one plan between two looks."""

    runs: dict[str, Run]
    uid: str = ""
    strangers: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    turned_down: str = ""
    settled: str = ""
    refused: str = ""
    of: str = ""
    wait: float = 0.0
    again: float = 0.0
    asked: tuple[str, float] | None = None
    waits: str = ""
    remarks: tuple[str, ...] = ()


class Plans:
    """
    The plans and what became of them.

    ``show`` is given where each plan stands after a look. ``settle`` notes in a plan (namespace, name) the release that
    was run to its end, or whose run was deleted. ``tidy`` deletes a run that has ended and is older than the
    ``history`` that is kept. ``forget`` is told the key of a plan that is gone with its last run.
    ``declined`` is told which run that has ended is not undone, or not retried, though a person asked for it, and why.
    ``mode`` is the process's. ``unreadable`` gives runs whose record cannot be read (the key of the plan, the run's
    name, why): while a plan has one, nothing of it begins.
    """

    def __init__(
        self,
        canaryd: Canaryd,
        objects: Objects,
        policies: Policies,
        *,
        show: Callable[[Standing], None],
        unreadable: Callable[[], Iterable[tuple[str, str, str]]] = tuple,
        settle: Callable[[str, str, str], None] = lambda *_: None,
        tidy: Callable[[Run], None] = lambda _: None,
        forget: Callable[[str], None] = lambda _: None,
        declined: Callable[[Run, Literal["undo", "retry"], str], None] = lambda *_: None,
        mode: Literal["active", "observe"] = "active",
        history: int = HISTORY,
        first_wait: float = FIRST_WAIT,
        workers: int = 4,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._canaryd = canaryd
        self._objects = objects
        self._policies = policies
        self._show = show
        self._unreadable = unreadable
        self._settle = settle
        self._tidy = tidy
        self._forget = forget
        self._declined = declined
        self._mode: Literal["active", "observe"] = mode
        self._history = history
        self._first_wait = first_wait
        self._now = now
        self._desks: dict[str, _Desk] = {}
        self._lock = Lock()
        self._draining = ""
        self._scheduler = Scheduler(self.look, workers=workers, measured=False)

    def start(self, known: list[Run]) -> None:
        """Go on with what a former leader left unfinished among the ``known`` runs, and look at every plan."""
        for run in known:
            self._desk(key_of(run.plan)).runs[run.uid] = run
        for run in known:
            if not is_over(run):
                self._go_on(run)
        for found in self._objects.all():
            if asked := _asked(found):  # before anybody looks: who looks first is chance
                self._canaryd.queue.enter(key_of_object(found), asked[1])
        self._scheduler.start()
        for key in {*self._desks, *map(key_of_object, self._objects.all())}:
            self._scheduler.add(key, RESYNC)

    def stop(self) -> None:
        """No look begins after this."""
        self._scheduler.stop()

    # -- what happens

    def changed(self, namespace: str, name: str) -> None:
        """The plan was created, edited or deleted."""
        key = f"{namespace}/{name}"
        self._desk(key).again = 0.0
        self._scheduler.add(key, RESYNC)

    def policies_changed(self) -> None:
        for key in list(self._desks):
            self._desk(key).again = 0.0
            self._scheduler.wake(key)

    def freezes_changed(self) -> None:
        """Somebody froze, stopped or let go: runs look at once, and so do plans that would begin."""
        for run in self.in_flight():
            self._canaryd.wake(run.uid)
        for key in list(self._desks):
            self._scheduler.wake(key)

    def route_changed(self, namespace: str, name: str) -> None:
        """The VirtualService changed: a run on it looks at once, and a plan that was refused for it tries again."""
        for key, desk in list(self._desks.items()):
            for run in list(desk.runs.values()):
                if not is_over(run) and run.route.lies_in(namespace, name):
                    self._canaryd.wake(run.uid)
            if desk.refused and key.startswith(f"{namespace}/"):
                desk.again = 0.0
                self._scheduler.wake(key)

    def ticked(self, run: Run) -> None:
        """A run was ticked; called on the tick's thread."""
        key = key_of(run.plan)
        if run.uid in self._desk(key).deleted:
            return  # during the tick
        former = self._desk(key).runs.get(run.uid)
        self._desk(key).runs[run.uid] = run
        if is_over(run) and former is not None and not is_over(former) and not run.plan.observes:
            self._desk(key).settled = run.plan.spec.release
        if former is None or _showable(former) != _showable(run):
            self._scheduler.wake(key)
        if is_over(run) and former is not None and not is_over(former):
            self._next_in_queue()

    def gone(self, namespace: str, plan: str, uid: str) -> None:
        """
        A run's object was deleted: it is not carried out any more; its marker, if it left one, is an orphan.

        Its release counts as settled: who deletes a run does not want it again.
        """
        desk = self._desk(f"{namespace}/{plan}")
        desk.deleted.add(uid)
        run = desk.runs.pop(uid, None)
        self._canaryd.let_go(uid)
        later = run is not None and any(one.created > run.created for one in list(desk.runs.values()))
        if run is not None and not run.plan.observes and not later:
            desk.settled = run.plan.spec.release
        # Also for a run of a former plan of that name: what it had settled is settled no more.
        self._scheduler.wake(f"{namespace}/{plan}")
        self._next_in_queue()

    def appeared(self, namespace: str, plan: str, uid: str) -> None:
        """A run's object was created: by us, or as part of a backup, or by a former leader that did not know better."""
        desk = self._desk(f"{namespace}/{plan}")
        desk.deleted.discard(uid)
        if uid not in desk.runs:
            desk.strangers.add(uid)
            self._scheduler.add(f"{namespace}/{plan}", RESYNC)

    def asked(self, namespace: str, plan: str) -> None:
        """Somebody has asked something of one of the plan's runs: where it has ended, that is for the plan to hear."""
        self._scheduler.wake(f"{namespace}/{plan}")

    def drain(self, why: str) -> None:
        """Begin nothing any more, and roll back what runs; an empty ``why`` ends that."""
        if why == self._draining:
            return
        self._draining = why
        log.warning("daemon.draining" if why else "daemon.drained_no_more", why=why)
        for key in list(self._desks):
            self._scheduler.wake(key)

    def in_flight(self) -> list[Run]:
        """The runs that are not over."""
        return [run for desk in list(self._desks.values()) for run in list(desk.runs.values()) if not is_over(run)]

    def last_runs(self) -> list[Run]:
        """The last run of each plan that has none in flight."""
        found = []
        for desk in list(self._desks.values()):
            runs = sorted(desk.runs.values(), key=lambda run: run.created)
            if runs and is_over(runs[-1]):
                found.append(runs[-1])
        return found

    # -- one look

    def look(self, key: str) -> None:
        """Do what follows for one plan now, and show where it stands."""
        namespace, _, name = key.partition("/")
        found = self._objects.get(namespace, name)
        desk = self._desk(key)
        self._adopt(desk)
        runs = self._kept(desk)
        if found is None:
            self._abort(deleted(runs))
            self._leave_queue(key)
            if all(map(is_over, runs)) and self._scheduler.rest(key):  # else it was applied anew meanwhile
                with self._lock:
                    self._desks.pop(key, None)
                self._forget(key)
            return
        self._undo(key, desk, runs)
        runs = self._kept(desk)
        try:
            plan = plan_of(_content(found), f"CanaryPlan {key}", self._policies()).in_mode(self._mode)
        except Refused as refused:
            following = follow(None, runs, draining=self._draining)
            self._abort(following)
            self._say_refused(key, desk, str(refused))
            self._leave_queue(key)
            self._show(Standing(found, None, following, str(refused)))
            return
        self._meet(desk, found)
        desk.turned_down = desk.turned_down or _turned_down(found)
        settled = "" if plan.observes else self._settled(found, desk, runs)
        retry = self._retry(key, plan, runs)
        following = follow(
            plan, runs, turned_down=desk.turned_down, settled=settled, draining=self._draining, again=retry is not None
        )
        self._show(self._done(key, desk, Standing(found, plan, following), retry))

    def _retry(self, key: str, plan: Plan, runs: list[Run]) -> Command | None:
        """A person's word to run the release once more that the last run has ended with, not answered yet."""
        last = runs[-1] if runs else None
        if last is None or not is_over(last) or last.plan.spec.release != plan.spec.release:
            return None
        try:
            return next((one for one in self._canaryd.asked(last) if one.verb == "retry"), None)
        except CanarydError as error:
            log.warning("retry.not_carried_out", run=last.uid, error=str(error))
            self._scheduler.wake(key, FIRST_WAIT)
            return None

    def _undo(self, key: str, desk: _Desk, runs: list[Run]) -> None:
        """
        Take back what the last run has promoted, where a person asks for that; asked in vain it is answered as well.

        A later run that undoes is itself the answer, so that a death between the two writes does nothing twice.
        """
        last = runs[-1] if runs else None
        if last is None or not is_over(last) or self._draining:
            return
        try:
            for command in (one for one in self._canaryd.asked(last) if one.verb == "undo"):
                self._answer(desk, last, command)
        except CanarydError as error:
            log.warning("undo.not_carried_out", run=last.uid, error=str(error))
            self._scheduler.wake(key, FIRST_WAIT)

    def _answer(self, desk: _Desk, last: Run, command: Command) -> None:
        try:
            run = self._canaryd.undo(last.uid, command, name=undo_name(last, command))
        except Refused as refused:
            if refused.transient:
                raise
            why = "; ".join(str(refused).splitlines())
            log.warning("undo.refused", run=last.uid, by=command.by, why=why)
            self._declined(last, "undo", why)
        else:
            log.warning("undo.begun", run=run.uid, undoes=last.uid, by=command.by)
            desk.runs.setdefault(run.uid, run)
        self._answered(desk, last, command)

    def _answered(self, desk: _Desk, last: Run, command: Command) -> None:
        desk.runs[last.uid] = self._canaryd.answered(last.uid, command)

    def _not_again(self, desk: _Desk, last: Run, retry: Command, error: CanarydError) -> str:
        """A retry that cannot be is answered now, and never done later; why, in a sentence."""
        why = "; ".join(str(error).splitlines())
        log.warning("retry.refused", run=last.uid, by=retry.by, why=why)
        self._declined(last, "retry", why)
        self._answered(desk, last, retry)
        return f"release {last.plan.spec.release!r} is not run again: {why}"

    @staticmethod
    def _meet(desk: _Desk, found: Object) -> None:
        """Forget what was noted of a former plan of that name: who deleted it and its runs begins anew."""
        uid = str(found["metadata"].get("uid") or "")
        if desk.uid and uid != desk.uid:
            desk.settled = desk.turned_down = desk.refused = ""
        desk.uid = uid

    def _adopt(self, desk: _Desk) -> None:
        """Carry out what appeared and was not begun here."""
        for uid in list(desk.strangers - desk.runs.keys()):
            try:
                run = self._canaryd.load(uid)
            except Missing:
                pass
            except CanarydError as error:
                log.warning("run.not_read", run=uid, error=str(error))
                continue
            else:
                log.warning("run.appeared", run=uid, phase=run.phase.value)
                desk.runs[uid] = run
                if not is_over(run):
                    self._go_on(run)
            desk.strangers.discard(uid)
        desk.strangers -= desk.runs.keys()

    def _settled(self, found: Object, desk: _Desk, runs: list[Run]) -> str:
        """The release that was settled last; noted in the plan, so that it is known where the runs are gone."""
        noted = settled_release(found)
        runs = [run for run in runs if not run.plan.observes]  # who only looked has settled nothing
        if not desk.settled and runs and is_over(runs[-1]):
            *before, last = (run.plan.spec.release for run in runs)
            if not noted or noted in before:  # else it speaks of a later run, which is not kept any more
                desk.settled = last
        if desk.settled and desk.settled != noted:
            try:
                self._settle(found["metadata"].get("namespace") or "default", found["metadata"]["name"], desk.settled)
            except CanarydError as error:
                log.warning("plan.not_noted", plan=key_of_object(found), error=str(error))
        return desk.settled or noted

    def _kept(self, desk: _Desk) -> list[Run]:
        """The runs of a plan, the oldest first; those that are over and too many are deleted."""
        runs = sorted(desk.runs.values(), key=lambda run: run.created)
        over = [run for run in runs if is_over(run)]
        for run in over[: max(0, len(over) - self._history)]:
            try:
                self._tidy(run)
            except CanarydError as error:
                log.warning("run.not_deleted", run=run.uid, error=str(error))
            else:
                desk.runs.pop(run.uid, None)
        return [run for run in runs if run.uid in desk.runs]

    def _done(self, key: str, desk: _Desk, standing: Standing, retry: Command | None) -> Standing:
        following, plan, last = standing.following, standing.plan, standing.following.run
        assert plan is not None  # noqa: S101  # for the type checker: only called with a plan
        if following.course is Course.ABORT:
            self._abort(following)
        desk.turned_down = plan.spec.release if following.course is Course.TURN_DOWN else ""
        if following.course is not Course.BEGIN:
            desk.refused, desk.wait, desk.waits, desk.asked = "", 0.0, "", None
            self._leave_queue(key)
            return replace(standing, remarks=desk.remarks)
        if desk.asked is None or desk.asked[0] != plan.spec.release:
            self._leave_queue(key)
            noted = _asked(standing.text)
            same = noted is not None and noted[0] == plan.spec.release
            desk.asked = noted if same else (plan.spec.release, self._now())
        assert desk.asked is not None  # noqa: S101  # for the type checker: it was asked for just now
        asked = desk.asked[1]
        standing = replace(standing, asked=asked)
        if self._waits(desk, plan):
            self._later(key, desk)  # a wake for an earlier refusal may have taken the place of this one's
            if self._canaryd.queue.pass_over(key, asked):
                self._next_in_queue()
            return replace(standing, problems=desk.refused)
        try:
            if damaged := self._damaged(key):
                raise Refused(damaged)
            name = run_name(standing.text, plan, desk.runs.values())
            begun = self._canaryd.begin(plan, uid=name, asked=asked, again=retry is not None)
        except Waits as waits:
            self._wait(key, desk, waits)
            return replace(standing, waits=desk.waits)
        except Settled as settled:
            why = f"release {plan.spec.release!r} was settled by run {settled.run.uid}"
            return replace(standing, following=Following(Course.REST, settled.run, why))
        except CanarydError as error:
            if retry and last and not _passes(error):
                why = self._not_again(desk, last, retry, error)
                desk.waits, desk.asked = "", None
                self._leave_queue(key)
                return replace(standing, following=Following(Course.REST, last, why))
            desk.waits = ""
            self._say_refused(key, desk, str(error))
            self._put_off(key, desk, plan, passing=_passes(error))
            self._next_in_queue()  # it stood in the way of those behind it until now
            return replace(standing, problems=desk.refused)
        run = begun.record.run
        desk.runs.setdefault(run.uid, run)  # it may have been ticked already
        desk.refused, desk.wait, desk.remarks = "", 0.0, begun.remarks
        desk.waits, desk.asked = "", None
        if retry and last:
            log.info("retry.begun", run=run.uid, retries=last.uid, by=retry.by)
            self._answered(desk, last, retry)
        self._next_in_queue()  # their places have changed
        for remark in begun.remarks:
            log.info("plan.remark", plan=key, remark=remark)
        return replace(standing, following=Following(Course.REST, run), remarks=begun.remarks)

    def _wait(self, key: str, desk: _Desk, waits: Waits) -> None:
        """What keeps it passes by itself: looked at again when it is over, and told when it becomes another one."""
        desk.refused, desk.wait = "", 0.0
        if without_figures(desk.waits) != without_figures(str(waits)):
            log.info("plan.waits", plan=key, why=str(waits))
        desk.waits = str(waits)
        if waits.until is not None and 0 <= (ahead := waits.until - self._now()) < RESYNC:
            self._scheduler.wake(key, 1.0 + math.floor(ahead))

    def _next_in_queue(self) -> None:
        """Somebody's place in the queue may be another one by now."""
        for key in self._canaryd.queue.waiting():
            self._scheduler.wake(key)

    def _leave_queue(self, key: str) -> None:
        if self._canaryd.queue.leave(key):
            self._next_in_queue()

    def _abort(self, following: Following) -> None:
        run = following.run
        if following.course is not Course.ABORT or run is None:
            return
        log.warning("plan.ends_run", run=run.uid, why=following.reason)
        self._canaryd.order(run.uid, command("abort", reason=following.reason, by="canaryd"))

    def _damaged(self, key: str) -> list[Problem]:
        """The runs of a plan that cannot be read: nobody knows what they were about to do, so that nothing begins."""
        remedy = "run the canaryd that wrote it, or bring the traffic back by hand and delete it"
        return [
            Problem(f"CanaryRun {uid}", why, "a run that this canaryd can read", remedy)
            for plan, uid, why in self._unreadable()
            if plan == key
        ]

    def _waits(self, desk: _Desk, plan: Plan) -> bool:
        """Whether this text was refused, and it is not yet time to try it again."""
        return bool(desk.refused) and desk.of == plan.digest and time.monotonic() < desk.again

    def _put_off(self, key: str, desk: _Desk, plan: Plan, *, passing: bool) -> None:
        """Try again after a wait; ``passing`` is a trouble of the API server's, whose end nobody tells."""
        same = desk.of == plan.digest and desk.wait and not passing
        desk.wait = min(2 * desk.wait, LONGEST_WAIT) if same else self._first_wait
        desk.of, desk.again = plan.digest, time.monotonic() + desk.wait
        self._later(key, desk)

    def _later(self, key: str, desk: _Desk) -> None:
        """Look again when it is time, in whole seconds: wakes of one delay are one."""
        self._scheduler.wake(key, 1.0 + math.floor(max(0.0, desk.again - time.monotonic())))

    @staticmethod
    def _say_refused(key: str, desk: _Desk, why: str) -> None:
        if desk.refused != why:  # once per text; it is tried again and again
            log.warning("plan.refused", plan=key, why=why)
        desk.refused = why

    def _go_on(self, run: Run) -> None:
        try:
            self._canaryd.carry_out(run)
        except CanarydError as error:
            log.error("run.not_carried_out", run=run.uid, error=str(error))  # noqa: TRY400  # it is expected
        else:
            log.info("run.goes_on", run=run.uid, phase=run.phase.value, split=str(run.split))

    def _desk(self, key: str) -> _Desk:
        with self._lock:
            return self._desks.setdefault(key, _Desk({}))


def _passes(error: CanarydError) -> bool:
    """Whether what kept a plan from beginning passes by itself, so that it is worth to try again soon."""
    if isinstance(error, Refused) and error.transient:
        return True
    return isinstance(error.__cause__ or error, Unavailable | Conflict)


def run_name(found: Object, plan: Plan, runs: Iterable[Run]) -> str:
    """
    What the next run of a plan is called: the same for everybody who would begin it after the same ``runs``.

    So that a leader that was suspended while it began one cannot begin it once more when it is woken: a name is given
    once.
    """
    last = max(runs, key=lambda run: run.created, default=None)
    seed = [found["metadata"].get("uid"), plan.spec.release, last.uid if last else ""]
    return f"{plan.name}-{hashlib.sha256(json.dumps(seed).encode()).hexdigest()[:8]}"


def undo_name(run: Run, command: Command) -> str:
    """What the run is called that carries out an undo: the same for everybody who would begin it."""
    seed = [run.uid, command.id]
    return f"{run.plan.name}-undo-{hashlib.sha256(json.dumps(seed).encode()).hexdigest()[:8]}"


def key_of(plan: Plan) -> str:
    return str(plan)


def key_of_object(found: Object) -> str:
    meta = found["metadata"]
    return f"{meta.get('namespace') or 'default'}/{meta['name']}"


def settled_release(found: Object) -> str:
    """The release that was settled last, as the plan's own annotation remembers it."""
    return str((found["metadata"].get("annotations") or {}).get(SETTLED) or "")


def _asked(found: Object) -> tuple[str, float] | None:
    """The release that waits to begin and when it was asked for, as the plan's status remembers it."""
    asked = (found.get("status") or {}).get("asked") or {}
    try:
        return str(asked["release"]), seconds_of(str(asked["at"]))
    except (KeyError, ValueError):
        return None


def _turned_down(found: Object) -> str:
    return str((found.get("status") or {}).get("turnedDown") or "")


def _content(found: Object) -> Object:
    """What a person wrote: the API server's own additions would be unknown keys."""
    meta = found["metadata"]
    kept = {"name": meta["name"], "namespace": meta.get("namespace") or "default"}
    return {
        "apiVersion": found.get("apiVersion"),
        "kind": found.get("kind"),
        "metadata": kept,
        "spec": found.get("spec") or {},
    }


def _showable(run: Run) -> tuple[object, ...]:
    """What of a run its plan shows."""
    return (run.phase, run.step, run.split, run.hold, run.latch, run.outcome, run.released, run.waiting)

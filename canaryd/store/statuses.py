"""
What people see: the statuses of CanaryRuns and CanaryPlans, written by a thread of their own.

Nothing is decided by a status, so that it may be late, and never holds up who shows it: what is shown replaces what was
not written yet. A change is written at once; where only figures have changed, after a minute. A write that fails is
tried again, with longer and longer pauses.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from canaryd.errors import CanarydError, Conflict
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, Kind, Kube, Missing
from canaryd.model.askers import Asked, Askers, Events, names
from canaryd.model.run import Run
from canaryd.model.traffic import Split
from canaryd.store import objects
from canaryd.store.cluster import Cache
from canaryd.store.definitions import DECISIONS
from canaryd.store.objects import Traffic

Object = dict[str, Any]
Key = tuple[str, str]

REST = 60.0
"""Seconds after a write in which figures alone are not written again."""
PAUSES = (1.0, 60.0)
"""Seconds before a failed write is tried again: at first, and at most."""
SOON = 0.2
"""The same where somebody else wrote to the object: until the watch has told what."""
MOST = 10_000
"""Objects whose status is kept in mind."""
FAREWELL = 3.0
"""Seconds that :meth:`Statuses.stop` takes at most for what is not written yet."""

log = structlog.get_logger()


@dataclass
class _Shown:
    """
    What is to stand in one status, and what does.

    ``render`` makes it; ``gist`` is what was written without its figures. Times are of the monotonic clock.
    """

    render: Callable[[], Object]
    due: float = 0.0
    dirty: bool = True
    gist: str = ""
    written: str = ""
    at: float = float("-inf")
    failures: int = 0
    conditions: list[Object] = field(default_factory=list)


class Statuses:
    """
    A thread that writes the statuses of one kind, while ``may`` says so: what a former leader has to say is outdated.
    """

    def __init__(
        self, kube: Kube, kind: Kind, cache: Cache, *, rest: float = REST, may: Callable[[], bool] = lambda: True
    ) -> None:
        self._kube = kube
        self._may = may
        self._kind = kind
        self._cache = cache
        self._rest = rest
        self._shown: dict[Key, _Shown] = {}
        self._news = threading.Condition()
        self._ends = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write; what was shown before is written now."""
        self._ends = False
        self._thread = threading.Thread(target=self._go, name=f"statuses of {self._kind.plural}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what has changed and is not written yet is written, if that takes no longer than a moment."""
        with self._news:
            self._ends = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(FAREWELL)

    def _show(self, key: Key, render: Callable[[], Object]) -> None:
        with self._news:
            shown = self._shown.pop(key, None)
            if shown is None:
                shown = _Shown(render)
                while len(self._shown) >= MOST:
                    del self._shown[next(iter(self._shown))]
            self._shown[key] = shown  # the last shown is the last to be dropped
            shown.render, shown.dirty = render, True
            if not shown.failures:
                shown.due = 0.0
            self._news.notify_all()

    def _again(self, key: Key) -> None:
        """What is rendered has changed."""
        with self._news:
            if shown := self._shown.get(key):
                self._show(key, shown.render)

    def _go(self) -> None:
        while (work := self._next()) is not None:
            key, shown = work
            try:
                self._write(key, shown)
            except CanarydError as error:
                self._failed(key, shown, error)
            except Exception:
                log.exception("status.broken", kind=self._kind.plural, object="/".join(key))

    def _next(self) -> tuple[Key, _Shown] | None:
        """What is due; waits for it. None at the end."""
        with self._news:
            while True:
                now = time.monotonic()
                waiting = [
                    (shown.due, key)
                    for key, shown in self._shown.items()
                    if shown.dirty and not (self._ends and shown.failures)
                ]
                due = min(waiting, default=None)
                if due is not None and (self._ends or due[0] <= now):
                    shown = self._shown[due[1]]
                    shown.dirty = False
                    return due[1], shown
                if self._ends:
                    return None
                self._news.wait(None if due is None else max(0.0, due[0] - now))

    def _write(self, key: Key, shown: _Shown) -> None:
        status = objects.clipped(shown.render())
        text = json.dumps(status, sort_keys=True)
        gist = objects.without_figures(json.dumps(_gist(status), sort_keys=True))
        if text == shown.written:
            return
        early = shown.at + self._rest - time.monotonic()
        if gist == shown.gist and early > 0 and not self._ends:
            with self._news:
                shown.dirty = True
                shown.due = time.monotonic() + early
            return
        namespace, name = key
        present = self._cache.get(namespace, name) or self._kube.get(self._kind, namespace, name)
        before = present.get("status") or {}
        former = shown.conditions or before.get("conditions") or []
        status = status | {
            "conditions": objects.timed(
                status.get("conditions") or [], former, time.time(), present["metadata"].get("generation") or 0
            )
        }
        gone = {field: None for field in before if field not in status}
        # Whoever wrote since is heard first: this may be a process that was suspended, and has a successor.
        body = {"metadata": {"resourceVersion": present["metadata"]["resourceVersion"]}, "status": gone | status}
        if not self._may():
            return
        self._cache.took(self._kube.patch_merge(self._kind, namespace, name, body, subresource="status"))
        with self._news:
            shown.gist, shown.written, shown.at, shown.failures = gist, text, time.monotonic(), 0
            shown.conditions = status["conditions"]

    def _failed(self, key: Key, shown: _Shown, error: CanarydError) -> None:
        with self._news:
            if isinstance(error, Missing):
                self._shown.pop(key, None)  # deleted: there is nobody to tell
                return
            shown.failures += 1
            first, most = (SOON, SOON) if isinstance(error, Conflict) else PAUSES
            pause = min(most, first * 2 ** (shown.failures - 1)) * random.uniform(0.5, 1)  # noqa: S311  # spreads
            shown.dirty, shown.due = True, time.monotonic() + pause
        if shown.failures == 1 and not isinstance(error, Conflict):
            log.warning("status.not_written", kind=self._kind.plural, object="/".join(key), error=str(error))


class RunStatuses(Statuses):
    """The statuses of CanaryRuns; it is the journal port too, for the last decisions stand in them."""

    def __init__(self, kube: Kube, runs: Cache, *, rest: float = REST, may: Callable[[], bool] = lambda: True) -> None:
        super().__init__(kube, CANARY_RUNS, runs, rest=rest, may=may)
        self._runs: dict[str, Run] = {}
        self._decisions: dict[str, deque[Object]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._met: set[str] = set()
        self._askers: dict[str, Askers] = {}

    def show(self, run: Run, break_glass: str = "", *, plan_changed: str = "") -> None:
        """
        Show ``run`` in its CanaryRun's status.

        ``break_glass`` is the command that gives stable everything; ``plan_changed`` says in what the CanaryPlan
        differs from the run's copy, empty where it does not.
        """
        uid, key = run.uid, (run.plan.namespace, run.uid)
        self._runs[uid] = run

        def render() -> Object:
            traffic = self._traffic.get(uid)
            return objects.status_of(run, self._told(key), break_glass, plan_changed=plan_changed, traffic=traffic)

        self._show(key, render)

    def tell(self, uid: str, entry: Mapping[str, object]) -> None:
        """The journal port: the entry's events are the run's next decisions."""
        told: Any = entry.get("events") or ()
        at, split, saw = entry.get("at"), entry.get("split"), entry.get("saw")
        heard: Any = entry.get("heard") or ()
        commands = saw.get("commands") or () if isinstance(saw, Mapping) else ()
        by = self._by(uid, [one for one in commands if one["id"] in heard], told)
        if not told:
            return
        decisions = [
            {
                "at": objects.time_text(float(at)) if isinstance(at, int | float) else "",
                "event": event,
                "phase": str(entry.get("phase", "")),
                "weight": str(Split(split)) if isinstance(split, int) else "",
                "reason": reason,
                **({"by": by} if by else {}),
            }
            for event, reason in told
        ]
        with self._news:
            self._decisions.setdefault(uid, deque(maxlen=DECISIONS)).extend(decisions)
            if run := self._runs.get(uid):
                self._again((run.plan.namespace, uid))

    def _by(self, uid: str, commands: Iterable[Asked], told: Events) -> str:
        """Who asked for what a tick decided."""
        with self._news:
            _, asked = self._askers.setdefault(uid, Askers()).of(commands, told)
        return names(asked)

    def traffic(self, uid: str, as_decided: bool, why: str) -> None:
        """What was seen of the traffic after the run's end, for the condition TrafficAsDecided."""
        with self._news:
            self._traffic[uid] = Traffic(as_decided, why)
            if run := self._runs.get(uid):
                self._again((run.plan.namespace, uid))

    def unreadable(self, namespace: str, uid: str, why: str) -> None:
        """Show a run that cannot be read: it holds where it is, and says why. What stands there stays."""

        def render() -> Object:
            present = (self._cache.get(namespace, uid) or {}).get("status") or {}
            held = objects.condition("Held", True, "UnreadableRecord", why)
            others = [one for one in present.get("conditions") or () if one["type"] != "Held"]
            return present | {"phase": "held", "why": why, "conditions": [*others, held]}

        self._show((namespace, uid), render)

    def forget(self, uid: str) -> None:
        """Keep nothing of the run in mind; what is written stays."""
        with self._news:
            run = self._runs.pop(uid, None)
            self._decisions.pop(uid, None)
            self._traffic.pop(uid, None)
            self._met.discard(uid)
            self._askers.pop(uid, None)
            if run:
                self._shown.pop((run.plan.namespace, uid), None)

    def _told(self, key: Key) -> Sequence[Object]:
        """The last decisions: those that the status had when this process came to the run, and what followed."""
        namespace, uid = key
        present = self._cache.get(namespace, uid) if uid not in self._met else None  # outside of our lock: it has one
        with self._news:
            known = self._decisions.get(uid, deque())
            if present is not None and uid not in self._met:
                self._met.add(uid)
                former = (present.get("status") or {}).get("decisions") or []
                known = self._decisions[uid] = deque([*former, *known], maxlen=DECISIONS)
            return list(known)


class PlanStatuses(Statuses):
    """The statuses of CanaryPlans."""

    def __init__(self, kube: Kube, plans: Cache, *, rest: float = REST, may: Callable[[], bool] = lambda: True) -> None:
        super().__init__(kube, CANARY_PLANS, plans, rest=rest, may=may)

    def show(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """
        Show ``status``, whole, in the CanaryPlan's status; its ``conditions`` are as ``objects.condition`` makes them.
        """
        fields = dict(status)
        self._show((namespace, name), lambda: fields)


def _gist(status: Mapping[str, Any]) -> Object:
    """What of a status is told at once when it changes; its numbers are taken out of the sentences."""
    exact = ("phase", "step", "weight", "verdict", "seq", "obeyed", "outcome", "decisions", "settled", "run", "release")
    # Figures in these are news: marked so that without_figures leaves them alone.
    return {key: _spelled(one) if key in exact else one for key, one in status.items()}


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True).translate(_LETTERS)


_LETTERS = str.maketrans("0123456789", "abcdefghij")

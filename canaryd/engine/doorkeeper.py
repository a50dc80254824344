"""
The doorkeeper: asks what a run's gates want to know, beside the tick.

As with cells, the tick only reads what is there. An answer is kept here until the run has it; one that was lost with
the process is asked for again, and its question has the same id, so that a receiver can tell. Only a run that stands at
a gate asks, and none that is on its way back: nothing here is anything that a rollback could wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event, Lock

import structlog

from canaryd.engine.ports import Alerts, Clock, Webhooks
from canaryd.errors import CanarydError
from canaryd.model.asking import Answer, Condition, Reply, Term
from canaryd.model.gate import Alert, Webhook
from canaryd.model.run import Run

SOON, SELDOM = 2.0, 60.0
"""Seconds after the first question without an answer, doubled for each further one, and at most."""
EVERY = 10.0
"""Seconds between two looks at alerts; a cell, where that is shorter."""
LEAST, MOST = 1.0, 600.0
"""Seconds that a receiver may ask us to wait."""
TELLINGS = 5
"""How often a process tells the end to a receiver that does not take it."""
LATE = 86400.0
"""Seconds after which an end is no news any more, and nobody is told."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last answer to a question, when to ask again (Unix seconds), and how often there was none in a row."""

    answer: Answer
    due: float
    silent: int


@dataclass(frozen=True, slots=True)
class _Telling:
    """How often an end was told to a receiver, when to try again (Unix seconds; None: under way), and if it is over."""

    times: int = 0
    due: float | None = None
    over: bool = False


class Doorkeeper:
    """
    Asks for runs. ``wake`` is called with a run's uid when there is an answer for its tick.

    ``asking`` and ``telling`` are pools of its own: a receiver that hangs keeps nobody else's thread.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        alerts: Alerts,
        clock: Clock,
        asking: Executor,
        telling: Executor,
        wake: Callable[[str], None],
    ) -> None:
        self._webhooks = webhooks
        self._alerts = alerts
        self._clock = clock
        self._asking = asking
        self._telling = telling
        self._wake = wake
        self._lock = Lock()
        self._asked: dict[str, dict[str, _Asked]] = {}
        self._busy: set[str] = set()
        self._tellings: dict[str, dict[str, _Telling]] = {}
        self._ended = Event()

    def ask(self, run: Run) -> None:
        """Begin to ask what ``run`` waits for at its gate, where it is due and nobody is asking already."""
        if run.latch or run.hold is None or run.hold.kind != "gate" or self._ended.is_set():
            return
        for term in run.terms:
            condition = run.condition(term)
            if condition is None or term.kind == "approve" or (term.kind == "webhook" and run.holds(term)):
                continue
            with self._lock:
                asked = self._asked.get(run.uid, {}).get(term.id)
                answered = asked and asked.answer.said == "yes" and term.kind == "webhook"
                if term.id in self._busy or answered or (asked and self._is_early(asked.due)):
                    continue
                self._busy.add(term.id)
            self._asking.submit(self._put, run, term, condition)

    def take(self, run: Run) -> tuple[Answer, ...]:
        """The last answers to the questions of ``run``."""
        with self._lock:
            return tuple(asked.answer for asked in self._asked.get(run.uid, {}).values())

    def tell(self, run: Run) -> None:
        """Begin to tell those who are still to hear of it how ``run`` has ended, where it is due; nobody waits."""
        for name in run.untold:
            with self._lock:
                known = self._tellings.setdefault(run.uid, {}).get(name, _Telling(due=0.0))
                if known.over or known.due is None or self._is_early(known.due) or self._ended.is_set():
                    continue
                self._tellings[run.uid][name] = _Telling(known.times)
            self._telling.submit(self._tell, run, name, known.times + 1)

    def told(self, run: Run) -> frozenset[str]:
        """Of those who were to hear of the end of ``run``, who need not be told any more."""
        with self._lock:
            known = self._tellings.get(run.uid, {})
            return frozenset(name for name in run.untold if name in known and known[name].over)

    def forget(self, uid: str) -> None:
        """Keep nothing of a run that has ended."""
        with self._lock:
            self._asked.pop(uid, None)
            self._tellings.pop(uid, None)

    def end(self) -> None:
        """Ask nothing more, and begin to tell nobody: the next process does."""
        self._ended.set()

    def _put(self, run: Run, term: Term, condition: Condition) -> None:
        try:
            reply = self._reply(run, term, condition)
        except CanarydError as error:
            reply = Reply("silent", str(error))
        except Exception as error:
            log.exception("gate.fault", run=run.uid, question=term.id)
            reply = Reply("silent", f"a fault of canaryd's ({error!r})")
        with self._lock:
            now = self._clock.now()
            former = self._asked.get(run.uid, {}).get(term.id)
            times = max(condition.times, former.answer.times if former else 0) + 1
            silent = (former.silent if former else 0) + 1 if reply.said == "silent" else 0
            answer = Answer(term.id, reply.said, reply.why, now, times)
            asked = _Asked(answer, now + self._pause(run, reply, silent), silent)
            self._asked.setdefault(run.uid, {})[term.id] = asked
            self._busy.discard(term.id)
        self._wake(run.uid)

    def _is_early(self, due: float) -> bool:
        """Whether it is not yet time. Longer than any pause that we make is nothing: the clock was set back."""
        return 0 < due - self._clock.now() <= MOST

    def _reply(self, run: Run, term: Term, condition: Condition) -> Reply:
        if isinstance(term.part, Webhook):
            return self._webhooks.ask(run, term, condition)
        assert isinstance(term.part, Alert)  # noqa: S101  # for the type checker: a person is not asked here
        firing = self._alerts.firing(run.plan, term.part)
        if firing:
            return Reply("no", f"{'alerts fire' if len(firing) > 1 else 'an alert fires'}: {', '.join(firing)}")
        return Reply("yes", f"none fires: {', '.join(term.part.names)}")

    @staticmethod
    def _pause(run: Run, reply: Reply, silent: int) -> float:
        if reply.after is not None:
            return min(max(reply.after, LEAST), MOST)
        if reply.said == "silent":
            return min(SOON * 2.0 ** min(silent - 1, 10), SELDOM)
        return min(EVERY, run.plan.spec.analysis.cell.total_seconds())

    def _tell(self, run: Run, name: str, times: int) -> None:
        """Tell it once; what was taken is over, and so is what nobody takes."""
        why = self._untaken(run, name)
        over = not why or times >= TELLINGS or self._late(run)
        if why and (over or self._ended.is_set()):
            log.warning("gate.end_untold", run=run.uid, webhook=name, error=why, again=not over)
        with self._lock:
            due = self._clock.now() + SOON * 2.0 ** (times - 1)
            self._tellings.setdefault(run.uid, {})[name] = _Telling(times, due, over)
        if over:
            self._wake(run.uid)

    def _untaken(self, run: Run, name: str) -> str:
        """Why ``name`` has not taken the end of ``run``; empty if it has."""
        try:
            reply = self._webhooks.tell(run, name)
        except CanarydError as error:
            return str(error)
        except Exception as error:
            log.exception("gate.fault", run=run.uid, webhook=name)
            return f"a fault of canaryd's ({error!r})"
        return reply.why if reply.said == "silent" else ""

    def _late(self, run: Run) -> bool:
        return run.ended is not None and self._clock.now() - run.ended > LATE

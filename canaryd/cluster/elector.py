"""
Which of several processes acts: leader election on a Lease, by canaryd's own rule.

    following --(Lease written)--> leading --(deadline, lost, stop)--> stopping --(on_stopped returned)--> following

The rule, with t0 the moment before the request of the last renewal that succeeded was sent:

    t0 ............... t0 + renew_deadline ............. t0 + duration
    |  valid()         |  on_stopped runs                |  on_stopped has returned, or this process ends
                                                         |  not before this moment does anybody else take over

because others count ``duration`` from the moment at which *they* saw that renewal, and that is after t0. Clocks are
monotonic and count suspend; no wall clock is compared with anything. Whatever goes wrong with a request, the Lease
counts as not renewed. Several electors in one process are fine.
"""

from __future__ import annotations

import copy
import enum
import math
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog

from canaryd import telemetry
from canaryd.errors import CanarydError, Conflict
from canaryd.kube import LEASES, Kube, Missing, Object, Throttled

log = structlog.get_logger()

LONGEST = 3600.0
"""Seconds that another's leaseDurationSeconds is believed at most; what is beyond is a slip of somebody's hand."""
NEVER = float("-inf")
LOOK = 0.5
"""Seconds between two looks at the clock where it may have jumped (a suspend does not wake a waiting thread)."""
EXIT = 70  # EX_SOFTWARE of sysexits.h


def since_boot() -> float:
    """Seconds by a clock that nobody sets and that goes on while the machine is suspended, where there is one."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def die(why: str) -> NoReturn:
    """End this process now, without a word to any thread of it."""
    # By a thread of its own: a log that nobody reads must not keep the process alive.
    teller = threading.Thread(target=log.critical, args=("lease.process_ended",), kwargs={"reason": why}, daemon=True)
    teller.start()
    teller.join(1.0)
    os._exit(EXIT)


class _State(enum.Enum):
    FOLLOWING = "following"
    TAKEN = "taken"  # the Lease is ours, on_started is to be called
    LEADING = "leading"  # on_started was called
    STOPPING = "stopping"  # on_stopped is to be called, or runs


class Elector:
    """
    One candidate for the Lease ``name`` in ``namespace``.

    ``identity`` is completed by a random part, as client-go advises, so that two processes are never one candidate;
    see :attr:`identity`. Times are in seconds. ``on_started(term)`` and ``on_stopped(reason)`` are called by turns by a
    thread of the elector and should return soon: on_stopped when nothing of that term goes on any more. When it has not
    by the time the Lease expires, or raises, ``die`` is called, which does not return. What ``on_started`` raises gives
    the Lease back. ``on_lease`` is called with every Lease that was read, and must not wait for anything.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry: float = 2.0,
        on_started: Callable[[int], None],
        on_stopped: Callable[[str], None],
        on_lease: Callable[[Object], None] | None = None,
        clock: Callable[[], float] = since_boot,
        die: Callable[[str], Any] = die,
    ) -> None:
        if not duration > renew_deadline > retry > 0:
            raise ValueError(
                f"a Lease needs duration > renew_deadline > retry > 0, got {duration:g}, {renew_deadline:g}, {retry:g}"
            )
        self._timeout = renew_deadline / 3 * 0.9
        self._kube = kube.another(timeout=self._timeout)
        self._namespace, self._name = namespace, name
        self._identity = f"{identity}_{uuid.uuid4().hex[:8]}"
        self._duration, self._deadline, self._retry = duration, renew_deadline, retry
        self._on_started, self._on_stopped, self._on_lease = on_started, on_stopped, on_lease
        self._clock, self._die = clock, die

        self._changed = threading.Condition()  # guards all that follows
        self._state = _State.FOLLOWING
        self._renewed = NEVER  # t0
        self._ours = False  # not given back, and not seen in other hands
        self._reason = ""
        self._term = 0
        self._holder = ""
        self._ended = False
        # Of the thread that asks the server alone:
        self._seen: tuple[Any, float] | None = None
        self._highest = 0
        self._may_hold = False
        self._rest_until = NEVER
        self._failures = 0

        self._asker = threading.Thread(target=self._ask, name=f"lease-{name}", daemon=True)
        self._caller = threading.Thread(target=self._call, name=f"lease-{name}-callbacks", daemon=True)
        self._guard = threading.Thread(target=self._watch_over, name=f"lease-{name}-guard", daemon=True)
        self._stopping = threading.Event()

    # -- what anybody may ask

    @property
    def identity(self) -> str:
        """What stands in the Lease while we hold it."""
        return self._identity

    @property
    def holder(self) -> str:
        """Who held the Lease when it was read last; empty for nobody."""
        return self._holder

    @property
    def term(self) -> int:
        """The fencing number of our present or last term, leaseTransitions of the Lease; 0 before the first."""
        return self._term

    @property
    def leading(self) -> bool:
        """Whether on_started was called and on_stopped not yet; for display. Before acting ask :meth:`valid`."""
        return self._state is _State.LEADING

    def valid(self) -> bool:
        """Whether nobody else can have the Lease at this moment, so that something may be begun. Never waits."""
        with self._changed:
            return (
                self._state is _State.LEADING
                and not self._stopping.is_set()
                and self._clock() < self._renewed + self._deadline
            )

    def held(self) -> bool:
        """
        The same while a term ends: whether nobody else can have the Lease at this moment.

        For the last words of a leader that hands over; nothing may be begun. Never waits.
        """
        with self._changed:
            return self._ours and self._clock() < self._renewed + self._deadline

    def start(self) -> None:
        for thread in (self._guard, self._caller, self._asker):
            thread.start()

    def stop(self) -> None:
        """End the term if there is one, wait for on_stopped, and give the Lease back so that another leads at once."""
        self._stopping.set()
        with self._changed:
            self._give_up("stopped")
            self._changed.notify_all()
        for thread in (self._caller, self._asker, self._guard):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(self._duration + 2 * self._timeout)

    # -- asking the server

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                wait = self._turn()
            except Exception:  # noqa: BLE001  # not even the log could be written
                wait = self._retry
            self._stopping.wait(wait)
        self._caller.join()
        if self._state is _State.FOLLOWING:  # otherwise on_stopped never returned
            self._release()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _turn(self) -> float:
        """One trial to get or to keep the Lease; how long to wait before the next. Raises nothing."""
        try:
            wait = self._attempt()
            self._failures = 0
        except Conflict as error:  # somebody wrote first: most likely a rival, perhaps an annotation
            log.debug("lease.conflict", lease=self._name, error=str(error))
            wait = self._retry / 4
        except CanarydError as error:
            if not self._failures:
                log.warning("lease.unavailable", lease=self._name, error=str(error))
            self._failures += 1
            wait = self._retry / 2
            if isinstance(error, Throttled):
                wait = max(wait, self._patience(error.after))
        except Exception:
            log.exception("lease.failed", lease=self._name)
            wait = self._retry
        return wait * random.uniform(1.0, 1.2)  # noqa: S311  # spreads load, guards nothing

    def _patience(self, asked: float) -> float:
        """For how long a server is left alone that asks for it: a leader tries again before its time is over."""
        with self._changed:
            if self._state is _State.FOLLOWING:
                return min(asked, self._duration)
            return min(asked, max(0.0, self._renewed + self._deadline - self._clock()) / 2)

    def _attempt(self) -> float:
        """
        Read the Lease, and write it where it is ours or free.

        Raises Conflict, Unavailable or Rejected: the Lease is not renewed.
        """
        with self._changed:
            state = self._state
        if state is _State.STOPPING or self._clock() < self._rest_until:
            return self._retry
        try:
            lease = self._kube.get(LEASES, self._namespace, self._name)
        except Missing:
            lease = None
        now = self._clock()  # after the answer: others' time is counted from when we saw it, never from before
        self._observe(lease, now)
        ours = state in (_State.TAKEN, _State.LEADING)
        if ours and lease is not None and _text(_spec(lease).get("holderIdentity")) != self._identity:
            self._lose(f"{_text(_spec(lease).get('holderIdentity')) or 'nobody'} holds the Lease")
            return self._retry
        if not ours:
            left = self._taken_for(lease, now)
            if left > 0:
                return min(self._retry, left + self._retry * 0.05)
        return self._write(lease, ours)

    def _write(self, lease: Object | None, ours: bool) -> float:
        term = self._term if ours else self._highest + 1
        began = self._clock()
        if ours and began >= self._renewed + self._deadline:
            self._lose("the Lease was not renewed in time")
            return self._retry
        body = self._body(lease, term, new=not ours)
        self._may_hold = True
        if lease is None:
            written = self._kube.create(LEASES, self._namespace, body)
        else:
            written = self._kube.replace(LEASES, self._namespace, self._name, body)
        self._highest = max(self._highest, term)
        self._observe(written, self._clock())
        with self._changed:
            if ours and self._state not in (_State.TAKEN, _State.LEADING):
                return self._retry  # the term ended while the request was under way
            if ours and self._clock() >= self._renewed + self._deadline:
                self._give_up("the Lease was not renewed in time")
                return self._retry
            if not ours and self._stopping.is_set():
                return self._retry
            self._renewed, self._ours = began, True
            telemetry.lease(term)
            if not ours:
                self._term, self._state = term, _State.TAKEN
            self._changed.notify_all()
        return self._retry

    def _observe(self, lease: Object | None, now: float) -> None:
        """Remember since when the Lease is as it is. Annotations do not count: they are no sign of life."""
        spec = _spec(lease)
        mark = None if lease is None else ((lease.get("metadata") or {}).get("uid"), copy.deepcopy(spec))
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, now)
        self._highest = max(self._highest, _whole(spec.get("leaseTransitions")) or 0)
        holder = _text(spec.get("holderIdentity"))
        if holder != self._holder:
            log.info("lease.holder", lease=self._name, holder=holder, former=self._holder)
        self._holder = holder
        if lease is not None and self._on_lease is not None:
            try:
                self._on_lease(lease)
            except Exception:
                log.exception("lease.callback_failed", lease=self._name)

    def _taken_for(self, lease: Object | None, now: float) -> float:
        """
        For how many seconds the Lease cannot be ours yet.

        A Lease that is gone, or whose holder is, may have been taken away from a leader that has not noticed: its time
        is waited for as if it were there. Only what a holder writes when it gives the Lease back is free at once.
        """
        assert self._seen is not None  # noqa: S101  # observed a moment ago
        spec = _spec(lease)
        if _text(spec.get("holderIdentity")) == self._identity:
            return 0.0  # a write of ours whose answer was lost, or a term of ours that is over
        if lease is not None and _is_released(spec):
            return 0.0
        seconds = _whole(spec.get("leaseDurationSeconds"))
        held = min(float(seconds), LONGEST) if seconds and spec.get("holderIdentity") else self._duration
        return self._seen[1] + held - now

    def _body(self, lease: Object | None, term: int, *, new: bool) -> Object:
        """The Lease with us in it; what others wrote beside (annotations, fields that we do not know) stays."""
        now = micro_time(datetime.now(UTC))
        body = (
            copy.deepcopy(lease)
            if lease is not None
            else {"metadata": {"name": self._name, "namespace": self._namespace}}
        )
        body |= {"apiVersion": f"{LEASES.group}/{LEASES.version}", "kind": "Lease"}
        spec = dict(_spec(lease))
        acquired = now if new else spec.get("acquireTime") or now
        body["spec"] = spec | {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, math.ceil(self._duration)),
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": term,
        }
        return body

    def _release(self) -> None:
        """Give the Lease back, in the form that client-go has for it. Best effort: otherwise it expires."""
        if not self._may_hold:
            return
        with self._changed:
            self._ours = False
        try:
            lease = self._kube.get(LEASES, self._namespace, self._name)
            spec = _spec(lease)
            if _text(spec.get("holderIdentity")) != self._identity:
                return
            now = micro_time(datetime.now(UTC))
            given = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
            self._kube.replace(LEASES, self._namespace, self._name, {**lease, "spec": {**spec, **given}})
            self._may_hold = False
            log.info("lease.released", lease=self._name, term=self._term)
        except CanarydError as error:
            log.warning("lease.release_failed", lease=self._name, error=str(error))

    # -- states

    def _lose(self, reason: str) -> None:
        with self._changed:
            self._ours = False
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """With the lock held: the term is over, and nothing may begin any more."""
        if self._state is _State.TAKEN:
            self._state = _State.FOLLOWING
        elif self._state is _State.LEADING:
            self._state, self._reason = _State.STOPPING, reason
        self._changed.notify_all()

    def _call(self) -> None:
        """The thread of the callbacks."""
        try:
            while self._step():
                pass
        except BaseException as error:
            # Without this thread the Lease would be renewed for ever, and nobody would act.
            self._die(f"the thread that starts and stops what the leader does has failed: {error!r}")
            raise

    def _step(self) -> bool:
        """Wait for what is due and do it; False when there is nothing more to come."""
        with self._changed:
            while (due := self._due()) is None:
                if self._stopping.is_set():
                    return False
                self._changed.wait(self._until_look(self._deadline))
        due()
        return True

    def _due(self) -> Callable[[], None] | None:
        """With the lock held: the callback to make now."""
        self._expire()
        if self._state is _State.TAKEN:
            self._state = _State.LEADING
            return self._begin
        return self._end if self._state is _State.STOPPING else None

    def _expire(self) -> None:
        if self._state in (_State.TAKEN, _State.LEADING) and self._clock() >= self._renewed + self._deadline:
            self._give_up("the Lease was not renewed in time")

    def _until_look(self, limit: float) -> float | None:
        if self._state is _State.FOLLOWING:
            return None
        return max(0.0, min(LOOK, self._renewed + limit - self._clock()))

    def _begin(self) -> None:
        term = self._term
        log.info("lease.leading", lease=self._name, term=term, identity=self._identity)
        try:
            self._on_started(term)
        except Exception as error:
            log.exception("lease.start_failed", lease=self._name, term=term)
            self._rest_until = self._clock() + self._duration  # somebody else may fare better
            self._lose(f"on_started failed: {error}")

    def _end(self) -> None:
        reason = self._reason
        log.warning("lease.lost", lease=self._name, term=self._term, reason=reason)
        try:
            self._on_stopped(reason)
        except Exception as error:
            log.exception("lease.stop_failed", lease=self._name, term=self._term)
            self._die(f"what this process led could not be stopped: {error}")
        with self._changed:
            self._state = _State.FOLLOWING
            self._changed.notify_all()
        if reason.startswith("on_started failed"):
            self._release()

    def _watch_over(self) -> None:
        """The thread that ends the process when what it leads has not stopped in time."""
        with self._changed:
            while not self._ended and not self._overdue():
                self._changed.wait(self._until_look(self._duration))
            if self._ended:
                return
        self._die(f"the Lease {self._namespace}/{self._name} expired, and what this process led had not stopped")

    def _overdue(self) -> bool:
        """With the lock held: whether others may have the Lease while we still lead."""
        led = self._state in (_State.LEADING, _State.STOPPING)
        return led and self._clock() >= self._renewed + self._duration


def micro_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always six of them. Source: apimachinery, metav1.MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_released(spec: Object) -> bool:
    """Whether a holder gave it back. Source: client-go, tools/leaderelection (release)."""
    return not spec.get("holderIdentity") and spec.get("leaseDurationSeconds") == 1


def _spec(lease: Object | None) -> Object:
    found = (lease or {}).get("spec")
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

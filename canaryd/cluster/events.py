"""
Events: what `kubectl describe` and `kubectl events` show beside an object.

They are for people and may be lost: a queue with a bound, a thread of its own, and never an error for who tells. The
same sentence told again raises the count of the Event that is there, as client-go's correlator does.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from canaryd.cluster.backoff import Backoff
from canaryd.errors import CanarydError, Conflict, Unavailable
from canaryd.kube import EVENTS, Kube, Missing, Object

log = structlog.get_logger()

LONGEST_MESSAGE = 1024
WAITING = 1000
REMEMBERED = 2048
GIVEN_UP = 180.0
FORGOTTEN = 3000.0
"""Seconds after which the same sentence is a new Event: the server forgets an Event after an hour by default."""
_ABOUT = ("apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath")


@dataclass(slots=True)
class _Said:
    """One thing said, waiting to be sent."""

    about: Object
    reason: str
    message: str
    warning: bool
    first: datetime
    last: datetime
    since: float
    times: int = 1

    @property
    def key(self) -> tuple[Any, ...]:
        one = self.about
        return (one.get("kind"), one.get("namespace"), one.get("name"), one.get("uid"), self.reason, self.message,
                self.warning)  # fmt: skip


@dataclass(slots=True)
class _Sent:
    """An Event that is on the server, as far as we know."""

    namespace: str
    name: str
    count: int
    at: float


class Events:
    """Tells events in the name of ``component``; ``instance`` is which one of several it is, such as the pod."""

    def __init__(
        self,
        kube: Kube,
        component: str = "canaryd",
        instance: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube.another()
        self._component, self._instance = component, instance
        self._clock = clock
        self._mark = uuid.uuid4()
        self._queue: deque[_Said] = deque()
        self._busy = False
        self._stopping = False
        self._dropped = 0
        self._changed = threading.Condition()
        self._sent: OrderedDict[tuple[Any, ...], _Sent] = OrderedDict()
        self._refusals: set[str] = set()
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    @property
    def dropped(self) -> int:
        """How many were not told, because too many waited or nobody took them."""
        return self._dropped

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what still waits is dropped. Call :meth:`flush` before, to give it a moment."""
        with self._changed:
            self._stopping = True
            self._dropped += len(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def flush(self, seconds: float) -> bool:
        """Wait until all that was told is sent or dropped, at most ``seconds``; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, seconds)

    def tell(self, about: Mapping[str, Any], reason: str, message: str, warning: bool = False) -> None:
        """
        Put an Event beside the object ``about`` (apiVersion, kind, namespace, name, uid). Never waits, never raises.

        ``reason`` is one CamelCase word; ``message`` is cut at 1024 bytes.
        """
        now = datetime.now(UTC)
        reference = {key: about[key] for key in _ABOUT if about.get(key)}
        said = _Said(reference, reason, cut(message), warning, now, now, self._clock())
        with self._changed:
            waiting = next((one for one in self._queue if one.key == said.key), None)
            if waiting is not None:
                waiting.times, waiting.last = waiting.times + 1, now
            elif self._stopping or len(self._queue) >= WAITING:
                self._dropped += 1
            else:
                self._queue.append(said)
            self._changed.notify_all()

    # -- sending

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if self._stopping:
                    return
                said, self._busy = self._queue.popleft(), True
            wait = self._try(said)
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if wait:
                    self._changed.wait_for(lambda: self._stopping, wait)

    def _try(self, said: _Said) -> float:
        """Send it, or put it back; how long to wait before the next."""
        try:
            self._send(said)
        except Unavailable as error:
            wait = self._backoff.after(error)
            with self._changed:
                if self._stopping or self._clock() - said.since > GIVEN_UP:
                    self._dropped += 1
                else:
                    self._queue.appendleft(said)
            if self._backoff.failures == 1:
                log.warning("events.unavailable", error=str(error))
            return wait
        except Exception as error:  # noqa: BLE001  # a lost event is no reason to lose the next
            self._refused(said, error)
        self._backoff.reset()
        return 0.0

    def _refused(self, said: _Said, error: Exception) -> None:
        with self._changed:
            self._dropped += 1
        text = str(error)
        if text not in self._refusals and len(self._refusals) < REMEMBERED:
            self._refusals.add(text)
            known = isinstance(error, CanarydError)
            log.warning("events.refused", reason=said.reason, error=text, exc_info=not known)

    def _send(self, said: _Said) -> None:
        known = self._sent.get(said.key)
        if known is not None and self._clock() - known.at < FORGOTTEN:
            body = {"count": known.count + said.times, "lastTimestamp": timestamp(said.last)}
            try:
                self._kube.patch_merge(EVENTS, known.namespace, known.name, body)
            except Missing:
                pass  # the server forgot it sooner
            else:
                known.count, known.at = known.count + said.times, self._clock()
                self._sent.move_to_end(said.key)
                return
        self._create(said)

    def _create(self, said: _Said) -> None:
        namespace = str(said.about.get("namespace") or "default")  # where Events about what has none live
        name = self._name(said)
        with suppress(Conflict):  # it is there already: the answer to a former trial was lost
            self._kube.create(EVENTS, namespace, self._event(said, namespace, name))
        self._sent[said.key] = _Sent(namespace, name, said.times, self._clock())
        self._sent.move_to_end(said.key)
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)

    def _name(self, said: _Said) -> str:
        """The same for each trial to create it, and nobody else's."""
        mark = uuid.uuid5(self._mark, repr((said.key, said.since)))
        return f"{str(said.about.get('name'))[:200]}.{mark.hex[:16]}"

    def _event(self, said: _Said, namespace: str, name: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": said.about,
            "reason": said.reason,
            "message": said.message,
            "type": "Warning" if said.warning else "Normal",
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            "firstTimestamp": timestamp(said.first),
            "lastTimestamp": timestamp(said.last),
            "count": said.times,
        }


def cut(message: str) -> str:
    """At most 1024 bytes of it, and a sign that something is missing."""
    text = message.encode()
    if len(text) <= LONGEST_MESSAGE:
        return message
    return text[: LONGEST_MESSAGE - 3].decode(errors="ignore") + "..."


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds. Source: apimachinery, metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

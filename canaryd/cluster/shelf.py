"""
What is read again and again, kept at hand: the reading half of ``Kube``, out of lists and watches that all share.

An informer begins when a kind is first asked for in a namespace, and ends when nobody has asked for a while. It is
believed only while its watch works. In every other case the request goes to the API server itself, as if there were no
shelf: nothing ever waits for a watch, and errors are the server's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from canaryd import telemetry
from canaryd.cluster.cache import Change
from canaryd.cluster.informer import LAST_WORDS, RENEWED, Informer
from canaryd.kube import Kind, Kube, Object, Objects

KEEP = 600.0
"""Seconds for which a watch is kept that nobody asks any more."""
BEGIN = 0.5
"""Seconds that a question waits for the first list of an informer: many runs that begin at once need not all ask."""


@dataclass(frozen=True, slots=True)
class Care:
    """How a kind is kept: what is left of each object, and within how many seconds its watch is begun anew."""

    slim: Callable[[Object], Object] = lambda found: found
    renewed: tuple[int, int] = RENEWED


@dataclass(slots=True)
class _Place:
    """One kind in one namespace; ``begun`` and ``asked`` are times of the clock."""

    informer: Informer
    begun: float
    asked: float


class Shelf:
    """
    Reads like ``kube``, and asks it less.

    ``shared`` are informers that somebody else starts and stops; what they cover is not watched twice. ``on_change`` is
    told of every change in what this shelf itself watches, by an informer's thread. ``care`` has what is special about
    some kinds. ``clock`` is monotonic. Thread-safe. What is given out is shared and must not be changed.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        shared: Iterable[Informer] = (),
        on_change: Callable[[Kind, Change], None] | None = None,
        care: Mapping[Kind, Care] | None = None,
        keep: float = KEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._shared = tuple(shared)
        self._on_change = on_change
        self._care = dict(care or {})
        self._keep = keep
        self._clock = clock
        self._places: dict[tuple[Kind, str], _Place] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sweeper: threading.Thread | None = None

    # -- reading

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """
        As :meth:`Kube.get`, with its exceptions.

        That there is no such object is always the API server's own word.
        """
        found = self.peek(kind, namespace, name)
        return self._kube.get(kind, namespace, name) if found is None else found

    def list(self, kind: Kind, namespace: str = "", *, labels: Mapping[str, str] | None = None) -> Objects:
        """As :meth:`Kube.list`. A list of all namespaces always comes from the API server."""
        informer = self._believed(kind, namespace) if namespace else None
        if informer is None:
            return self._kube.list(kind, namespace, labels=labels)
        return [found for found in informer.within(namespace) if carries(found, labels or {})]

    def peek(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object where it is at hand and to be believed, without a request; None does not mean that it is gone."""
        informer = self._believed(kind, namespace)
        return informer.get(namespace, name) if informer else None

    def known(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object where it is at hand, however old; begins nothing and waits for nothing."""
        informer = self._covering(kind, namespace)
        if informer is None and (place := self._places.get((kind, namespace))):
            informer = place.informer
        return informer.get(namespace, name) if informer else None

    def took(self, kind: Kind, found: Object) -> None:
        """What the API server answered to a write of ours: from now on it is what is read, until the watch has more."""
        namespace = str(found["metadata"].get("namespace") or "")
        if informer := self._covering(kind, namespace):
            informer.took(found)
        elif place := self._places.get((kind, namespace)):
            place.informer.took(found)

    def watched(self) -> dict[tuple[Kind, str], bool]:
        """What this shelf itself watches now, and whether that is believed."""
        return {key: place.informer.live() for key, place in list(self._places.items())}

    # -- life

    def stop(self) -> None:
        """End the watches. What is asked afterwards is asked of the API server."""
        self._stopping.set()
        with self._lock:
            ended, self._places = self._places, {}
        _end(ended)

    def sweep(self) -> None:
        """End the watches that nobody has asked for ``keep`` seconds."""
        now = self._clock()
        with self._lock:
            ended = {key: place for key, place in self._places.items() if now - place.asked >= self._keep}
            for key in ended:
                del self._places[key]
        _end(ended)

    def _follow_up(self) -> None:
        while not self._stopping.wait(max(1.0, self._keep / 10)):
            self.sweep()

    # -- whom to believe

    def _believed(self, kind: Kind, namespace: str) -> Informer | None:
        """The informer that knows, begun if need be; None where the API server is to be asked."""
        if covering := self._covering(kind, namespace):
            return covering if covering.live() else None
        place = self._place(kind, namespace)
        if place is None:
            return None
        if place.informer.live():
            return place.informer
        if not place.informer.wait(max(0.0, place.begun + BEGIN - self._clock())):
            return None
        while not place.informer.live():  # it is listed; what is left is that the watch is answered
            if self._clock() >= place.begun + BEGIN:
                return None
            self._stopping.wait(0.01)
        return place.informer

    def _covering(self, kind: Kind, namespace: str) -> Informer | None:
        for informer in self._shared:
            if informer.kind == kind and ("" in informer.namespaces or namespace in informer.namespaces):
                return informer
        return None

    def _place(self, kind: Kind, namespace: str) -> _Place | None:
        now = self._clock()
        place = self._places.get((kind, namespace))
        if place is not None:
            place.asked = now
            return place
        with self._lock:
            if self._stopping.is_set():
                return None
            if (place := self._places.get((kind, namespace))) is None:
                place = self._places[kind, namespace] = _Place(self._informer(kind, namespace), now, now)
                place.informer.start()
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._follow_up, name="shelf", daemon=True)
                self._sweeper.start()
        return place

    def _informer(self, kind: Kind, namespace: str) -> Informer:
        care = self._care.get(kind, Care())
        told = None if self._on_change is None else self._teller(kind, self._on_change)
        return Informer(
            self._kube, kind, (namespace,), on_change=told, slim=care.slim, renewed=care.renewed, clock=self._clock
        )

    @staticmethod
    def _teller(kind: Kind, on_change: Callable[[Kind, Change], None]) -> Callable[[Change], None]:
        return lambda change: on_change(kind, change)


def carries(found: Object, labels: Mapping[str, str]) -> bool:
    """Whether the object has all the labels."""
    carried = found["metadata"].get("labels") or {}
    return all(carried.get(key) == value for key, value in labels.items())


def _end(places: Mapping[tuple[Kind, str], _Place]) -> None:
    for place in places.values():  # all at once: an API server that hangs must not be waited for once for each
        place.informer.stop(0)
    until = time.monotonic() + LAST_WORDS
    for (kind, namespace), place in places.items():
        place.informer.stop(max(0.0, until - time.monotonic()))
        telemetry.silent(kind.plural, namespace)

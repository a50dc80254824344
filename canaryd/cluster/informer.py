"""
Objects of one kind as the API server has them, kept up to date by a list and a watch.

    list --> watch --> watch --> ...      one thread per namespace
     ^         |  410: too old a version to go on from
     +---------+

An informer that has nothing to tell costs one request in four to eight minutes. What ``get`` and ``all`` give is shared
and must not be changed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from canaryd.cluster.backoff import Backoff
from canaryd.cluster.cache import Cache, Change, version_of
from canaryd.errors import Rejected, Unavailable
from canaryd.kube import Expired, Forbidden, Kind, Kube, Object, Unserved, Watch

__all__ = ["Change", "Informer"]

log = structlog.get_logger()

FLOOR = 1.0
"""Seconds from the beginning of a watch to that of the next, at least: a proxy may answer with nothing at once."""
LIVED = 5.0
"""Seconds after which a watch counts as one that works: what ends it then is a failure of its own."""
STUBBORN = 5
"""Failures of a watch in a row after which we list anew: our version may be one that the server never had."""
SLOW = 30.0
"""Seconds between two trials, at most, while a person has to act (rights, a kind that is not installed)."""
LAST_WORDS = 2.0
"""Seconds that a stop waits for threads that are in the middle of a request or a callback."""
FRESH = 90.0
"""Seconds of silence after which what is known is no longer believed; a server sends a bookmark about every minute."""
RENEWED = (240, 480)
"""Between how many seconds a watch is begun anew, by chance, so that not all end together."""
SLACK = 5.0
"""Seconds that a bookmark, and the next watch, may be late."""
CATCH_UP = 1.0
"""Seconds after a failure that a new watch is given to tell of what happened meanwhile, before it is believed."""


class Informer:
    """
    Follows the objects of a kind in ``namespaces`` (``""`` is all of them) that carry ``labels``.

    ``on_change`` is called for one change at a time, in the server's order, by a thread of the informer; what it raises
    is logged. It hears of our own writes too, when the watch does.

    ``renewed`` says within how many seconds each watch ends and the next begins, or gives it before each: this is how
    soon a watch is found out that has died in silence. Where nothing came of one, not even a bookmark, the next begins
    with a list: so it is with kinds that are quiet, for a server sends bookmarks about every minute (kube-apiserver
    1.35 sent none of custom resources within 25 s, also not before the end that was asked for). ``slim`` makes of an
    object what is kept of it; it must leave the metadata's names, uid, labels and version.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        namespaces: Sequence[str] = ("",),
        *,
        on_change: Callable[[Change], None] | None = None,
        labels: Mapping[str, str] | None = None,
        renewed: tuple[int, int] | Callable[[], tuple[int, int]] = RENEWED,
        slim: Callable[[Object], Object] = lambda found: found,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self.namespaces = tuple(dict.fromkeys(namespaces))
        self._renewed: Callable[[], tuple[int, int]] = renewed if callable(renewed) else lambda: renewed
        self._slim = slim
        self._cache = Cache(self.namespaces, labels or {}, on_change, clock)
        self._followers = [
            _Follower(kube, kind, namespace, labels or {}, self._cache, clock, self._renewed, slim)
            for namespace in self.namespaces
        ]

    def start(self) -> None:
        for one in self._followers:
            one.start()

    def stop(self, seconds: float = LAST_WORDS) -> None:
        """Close the watches and end the threads, waiting ``seconds`` at most. Nothing is told afterwards."""
        self._cache.hush()
        for one in self._followers:
            one.close()
        until = time.monotonic() + seconds
        for one in self._followers:
            one.join(until - time.monotonic())

    def hurry(self) -> None:
        """End the watches of now and begin new ones, by what ``renewed`` says now."""
        for one in self._followers:
            one.hurry()

    def wait(self, seconds: float) -> bool:
        """Whether every namespace was listed once, within ``seconds``."""
        return self._cache.wait(seconds)

    def get(self, namespace: str, name: str) -> Object | None:
        """The newest state that we know of; None where there is none."""
        return self._cache.get(namespace, name)

    def all(self) -> list[Object]:
        """All of them, by namespace and name."""
        return self._cache.all()

    def within(self, namespace: str) -> list[Object]:
        """Those of one namespace, in no order."""
        return self._cache.within(namespace)

    def fresh(self, seconds: float) -> bool:
        """Whether a list, an event or a bookmark came from every namespace within the last ``seconds``."""
        return self._cache.fresh(seconds)

    def live(self) -> bool:
        """
        Whether what is known may be taken for what is: all is listed and watched, and no watch has been silent for
        longer than a living one would be.
        """
        return all(one.is_watching for one in self._followers) and self._cache.fresh(
            min(FRESH, self._renewed()[1] + SLACK)
        )

    def took(self, found: Object) -> None:
        """
        What the server answered to a write of ours: shown from now on, until the watch tells of it or of more.

        An older state than what is known, and one of an object that was deleted since, changes nothing.
        """
        self._cache.took(self._slim(found))


class _Follower:
    """The list and the watches of one namespace, and their thread."""

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        namespace: str,
        labels: Mapping[str, str],
        cache: Cache,
        clock: Callable[[], float],
        renewed: Callable[[], tuple[int, int]] = lambda: RENEWED,
        slim: Callable[[Object], Object] = lambda found: found,
    ) -> None:
        self._renewed, self._slim = renewed, slim
        self._kube, self._kind, self._namespace, self._labels = kube, kind, namespace, labels
        self._cache, self._clock = cache, clock
        self._since = ""
        self._live_from = float("inf")
        self._failing = False
        self._closed = float("-inf")
        self._opened: float | None = None
        self._fruitful = False
        self._watch: Watch | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._said: set[str] = set()
        name = f"informer-{kind.plural}-{namespace or 'all'}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_watching(self) -> bool:
        """Whether there is a watch, or was one until just now that has ended as it should."""
        now = self._clock()
        return now >= self._live_from and (self._watch is not None or now - self._closed < 2 * FLOOR)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self.hurry()

    def hurry(self) -> None:
        with self._lock:
            if self._watch is not None:
                self._watch.close()

    def join(self, seconds: float) -> None:
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(max(seconds, 0.0))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self.turn())

    def turn(self) -> float:
        """List if need be, watch as long as it lasts; how long to wait before the next turn. Raises nothing."""
        wait = self._tried()
        if self._failing:
            self._live_from = float("inf")
        if self._lived() >= LIVED and not self._fruitful:
            # Not even a bookmark. So does a server answer whose store was restored from a backup: our version is in its
            # future, and it would stay silent until it gets there (seen on kube-apiserver 1.35).
            self._since = ""
        return wait

    def _tried(self) -> float:
        self._opened, self._fruitful = None, False
        try:
            if not self._since:
                self._list()
            self._follow()
        except (Forbidden, Unserved) as error:
            self._failing = True
            self._since = ""
            self._say(error)
            return random.uniform(SLOW / 2, SLOW)  # noqa: S311  # spreads load, guards nothing
        except Expired as error:
            self._since = ""
            log.info("informer.relist", kind=str(self._kind), namespace=self._namespace, error=str(error))
            return self._failed(error)
        except (Unavailable, Rejected) as error:
            self._say(error)
            return self._failed(error)
        except Exception as error:
            self._since = ""
            log.exception("informer.failed", kind=str(self._kind), namespace=self._namespace)
            return self._failed(error)
        self._works()
        return max(0.0, FLOOR - self._lived())

    def _list(self) -> None:
        found, since = self._kube.listed(self._kind, self._namespace, labels=self._labels)
        self._cache.relisted(self._namespace, [self._slim(one) for one in found], since)
        self._since = since

    def _follow(self) -> None:
        seconds = random.randint(*self._renewed())  # noqa: S311  # so that not all watches end together
        watch = self._kube.watch(self._kind, self._namespace, since=self._since, seconds=seconds, labels=self._labels)
        self._opened = self._clock()
        self._live_from = min(self._live_from, self._opened + (CATCH_UP if self._failing else 0.0))
        self._failing = False
        with self._lock:
            self._watch = watch
            if self._stopping.is_set():  # close() may have looked before there was one
                watch.close()
        try:
            for event in watch:
                if self._stopping.is_set():
                    return
                self._fruitful = True
                found = event.get("object") or {}
                self._cache.happened(self._namespace, event | {"object": self._slim(found)} if found else event)
                self._since = version_of(found) or self._since
        finally:
            watch.close()
            with self._lock:
                self._watch, self._closed = None, self._clock()

    def _lived(self) -> float:
        """For how long the watch of this turn was open."""
        return 0.0 if self._opened is None else self._clock() - self._opened

    def _failed(self, error: Exception) -> float:
        self._failing = True
        if self._lived() >= LIVED:
            self._works()
        wait = self._backoff.after(error)
        if self._backoff.failures >= STUBBORN:
            self._since = ""
        return wait

    def _works(self) -> None:
        self._backoff.reset()
        self._said.clear()

    def _say(self, error: Exception) -> None:
        """Once per text, until it works again."""
        if str(error) in self._said:
            return
        self._said.add(str(error))
        log.warning("informer.unavailable", kind=str(self._kind), namespace=self._namespace, error=str(error))

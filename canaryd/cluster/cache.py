"""
What is known of the objects of one kind: what a server's list and watch have told, and what ran ahead of it.

A write of ours is answered before the watch tells of it. The answer is shown at once (read your writes) but *told* only
when the watch tells it, so that ``on_change`` hears everything once and in the server's order.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from canaryd.kube import Object

log = structlog.get_logger()
Key = tuple[str, str]

AHEAD_FOR = 120.0
"""Seconds for which an answer to our own write is believed against a watch that works and does not confirm it."""
GRAVES = 4096


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an object; ``object`` of one that was removed is its last state."""

    kind: Literal["added", "changed", "removed"]
    object: Object
    former: Object | None = None


class Cache:
    """The objects in ``namespaces`` (``""`` is all) with ``labels``. ``clock`` is monotonic. Thread-safe."""

    def __init__(
        self,
        namespaces: Sequence[str],
        labels: Mapping[str, str],
        on_change: Callable[[Change], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._namespaces = tuple(namespaces)
        self._labels = dict(labels)
        self._on_change = on_change
        self._clock = clock
        self._told: dict[Key, Object] = {}
        self._ahead: dict[Key, tuple[Object, float]] = {}
        self._graves: OrderedDict[Key, tuple[str, str]] = OrderedDict()
        self._heard: dict[str, float] = {}
        self._silent = False
        self._lock = threading.Lock()  # the maps above
        self._listed = threading.Condition(self._lock)
        self._telling = threading.Lock()  # one change at a time

    def wait(self, seconds: float) -> bool:
        """Whether every namespace was listed once, within ``seconds``."""
        with self._listed:
            return self._listed.wait_for(lambda: len(self._heard) == len(self._namespaces), seconds)

    def hush(self) -> None:
        """Tell nothing any more."""
        self._silent = True

    def get(self, namespace: str, name: str) -> Object | None:
        """The newest state that we know of; None where there is none."""
        key = (namespace, name)
        with self._lock:
            ahead = self._ahead.get(key)
            return ahead[0] if ahead else self._told.get(key)

    def all(self) -> list[Object]:
        """All of them, by namespace and name."""
        with self._lock:
            found = self._told | {key: ahead for key, (ahead, _) in self._ahead.items()}
        return [found[key] for key in sorted(found)]

    def within(self, namespace: str) -> list[Object]:
        """Those of one namespace, in no order."""
        with self._lock:
            found = self._told | {key: ahead for key, (ahead, _) in self._ahead.items()} if self._ahead else self._told
            return [one for key, one in found.items() if key[0] == namespace]

    def fresh(self, seconds: float) -> bool:
        """Whether something was heard of the server (a list, an event, a bookmark) in every namespace since."""
        now = self._clock()
        with self._lock:
            return all(now - self._heard.get(one, float("-inf")) <= seconds for one in self._namespaces)

    def took(self, found: Object) -> None:
        """
        What the server answered to a write of ours: from now on it is shown, until the watch tells of it or of more.

        An older answer than what is known, and one about an object that was deleted since, changes nothing.
        """
        key, version = _key(found), version_of(found)
        with self._lock:
            if not self._is_ours(found) or self._is_buried(key, found):
                return
            known = self._told.get(key)
            if known is not None and newer(version, version_of(known)) is not True:
                return
            ahead = self._ahead.get(key)
            if ahead is None or newer(version, version_of(ahead[0])) is not False:
                self._ahead[key] = (found, self._clock())

    # -- what the server says

    def relisted(self, namespace: str, found: Sequence[Object], version: str) -> None:
        """A whole list at ``version``: only what differs from what was told is told."""
        present = {_key(one): one for one in found}
        with self._telling:
            with self._lock:
                gone = [one for key, one in self._told.items() if key not in present and namespace in ("", key[0])]
            for one in gone:
                self._removed(_key(one), one, version)
            for key, one in present.items():
                self._became(key, one)
            with self._listed:
                self._settled(namespace, version)
                self._heard[namespace] = self._clock()
                self._listed.notify_all()

    def happened(self, namespace: str, event: Object) -> None:
        """An event of a watch."""
        what, found = str(event.get("type")), event.get("object") or {}
        with self._telling:
            if what in ("ADDED", "MODIFIED"):
                self._became(_key(found), found)
            elif what == "DELETED":
                self._removed(_key(found), found, version_of(found))
            with self._lock:
                if what == "BOOKMARK":
                    self._settled(namespace, version_of(found))
                self._heard[namespace] = self._clock()

    def _became(self, key: Key, found: Object) -> None:
        with self._lock:
            former = self._told.get(key)
            if former is not None and version_of(former) == version_of(found) and _uid(former) == _uid(found):
                return
            self._told[key] = found
            self._graves.pop(key, None)
            self._caught_up(key, version_of(found))
        if former is not None and _uid(former) != _uid(found):
            self._tell(Change("removed", former, former))
            former = None
        self._tell(Change("changed" if former is not None else "added", found, former))

    def _removed(self, key: Key, last: Object, version: str) -> None:
        with self._lock:
            former = self._told.pop(key, None)
            self._graves[key] = (_uid(last), version)
            self._graves.move_to_end(key)
            while len(self._graves) > GRAVES:
                self._graves.popitem(last=False)
            self._caught_up(key, version, _uid(last))
        if former is not None:
            self._tell(Change("removed", last, former))

    def _tell(self, change: Change) -> None:
        if self._on_change is None or self._silent:
            return
        try:
            self._on_change(change)
        except Exception:
            about = "/".join(_key(change.object))
            kind = change.object.get("kind")
            log.exception("informer.callback_failed", change=change.kind, kind=kind, about=about)

    def _is_ours(self, found: Object) -> bool:
        namespace = _key(found)[0]
        carried = (found.get("metadata") or {}).get("labels") or {}
        return ("" in self._namespaces or namespace in self._namespaces) and all(
            carried.get(key) == value for key, value in self._labels.items()
        )

    def _is_buried(self, key: Key, found: Object) -> bool:
        """Whether it is known to have been deleted after that state."""
        if key not in self._graves:
            return False
        uid, version = self._graves[key]
        return uid == _uid(found) or newer(version_of(found), version) is not True

    def _caught_up(self, key: Key, version: str, gone: str = "") -> None:
        """The server told of an object as of ``version``: an answer to a write that is not newer is dropped."""
        ahead = self._ahead.get(key)
        if ahead and (_uid(ahead[0]) == gone or newer(version_of(ahead[0]), version) is not True):
            del self._ahead[key]

    def _settled(self, namespace: str, version: str) -> None:
        """All up to ``version`` was told: what ran ahead of less is no news, and what stays unconfirmed was undone."""
        now = self._clock()
        for key, (ahead, since) in list(self._ahead.items()):
            late = now - since > AHEAD_FOR
            if namespace in ("", key[0]) and (late or newer(version_of(ahead), version) is not True):
                del self._ahead[key]


def newer(one: str, other: str) -> bool | None:
    """
    Whether resource version ``one`` is later than ``other``; None where the two cannot be compared.

    Versions of one kind are decimal integers of any length without leading zeros, and may be compared: by length, then
    by digits. Source: KEP-5504, "Comparable Resource Version", stable since Kubernetes 1.35; every kube-apiserver
    before it numbers them so too, by etcd's revision. Others are opaque, and only equal or not.
    """
    if one == other:
        return False
    if not (_is_number(one) and _is_number(other)):
        return None
    return (len(one), one) > (len(other), other)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit() and not version.startswith("0")


def _key(found: Object) -> Key:
    metadata = found.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def version_of(found: Object) -> str:
    return str((found.get("metadata") or {}).get("resourceVersion") or "")


def _uid(found: Object) -> str:
    return str((found.get("metadata") or {}).get("uid") or "")

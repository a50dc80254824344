"""
Runs in a cluster: the store port on CanaryRuns and CanaryRecords.

What is read comes from the informers' caches, so that a tick costs no request; a save is a PUT of the CanaryRecord with
the resourceVersion that it was read at. A save that brings nothing but more cells may wait in memory for a minute: what
is lost with the process is in Prometheus still, and cells that have decided anything are saved with the decision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from canaryd.errors import CanarydError, Conflict, Rejected
from canaryd.kube import CANARY_RECORDS, CANARY_RUNS, Kube, Missing
from canaryd.model.run import Command, Record
from canaryd.store import objects

Object = dict[str, Any]

REST = 60.0
"""Seconds for which a save of cells alone may stay in memory."""
FRESH = 90.0
"""Seconds of silence after which a cache is no longer believed; a server sends a bookmark about every minute."""
ATTEMPTS = 5
"""How often a command is sent while others write to the same object."""

log = structlog.get_logger()


class Cache(Protocol):
    """What is needed of an informer."""

    def get(self, namespace: str, name: str) -> Object | None:
        """The object as last heard of, or as our own last write answered it."""

    def all(self) -> list[Object]:
        """Every object."""

    def fresh(self, seconds: float) -> bool:
        """Whether something was heard of the server in every namespace within ``seconds``."""

    def took(self, found: Object) -> None:
        """What a write of ours answered."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A record as it was last read or written, ``at`` a time of the monotonic clock; ``now`` is what is not written."""

    written: Record
    uid: str
    resource_version: str
    at: float
    now: Record


class ClusterStore:
    """
    The store port on the Kubernetes API.

    ``namespaces`` are those that the two informers watch; ``("",)`` is all of them. ``may`` says whether this process
    is (still) the one to begin runs; what it saves of those that there are is guarded by compare-and-swap.
    """

    def __init__(
        self,
        kube: Kube,
        runs: Cache,
        records: Cache,
        *,
        namespaces: Sequence[str] = ("",),
        rest: float = REST,
        may: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._may = may
        self._runs = runs
        self._records = records
        self._namespaces = namespaces
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._doubted: set[str] = set()
        self._where: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}

    def load(self, uid: str) -> Record:
        """As the port says. Raises Rejected also where another canaryd wrote the record in a way unknown to this."""
        found = self._record_object(uid)
        return self._lost(self._run_object(uid)) if found is None else self._read(uid, found)

    def save(self, record: Record) -> Record:
        """As the port says; a save of nothing but cells is kept in memory for a minute, and has the same version."""
        uid = record.run.uid
        run = replace(record.run, kept="canaryrun")
        over = run.final and run.released
        record = replace(record, run=objects.put_away(run) if over else objects.thinned(run))
        if record.version == 0:
            return self._create(record)
        held = self._held.get(uid)
        if held is None or uid in self._doubted:
            self.load(uid)
            held = self._held.get(uid)
        if held is None or held.written.version != record.version:
            present = held.written.version if held else 0
            raise Conflict(f"run {uid} was saved by somebody else: version {present}, expected {record.version}")
        if self._clock() - held.at < self._rest and objects.only_evidence_differs(record.run, held.written.run):
            with self._lock:
                self._held[uid] = replace(held, now=record)
            return record
        return self._put(record, held)

    def records(self) -> Iterator[Record]:
        """As the port says, of every namespace that is watched; those that cannot be read are logged."""
        readable, unreadable = [], {}
        for run in self._runs.all():
            uid = run["metadata"]["name"]
            try:
                readable.append(self.load(uid))
            except Rejected as error:
                unreadable[uid] = str(error)
                if self._unreadable.get(uid) != str(error):
                    log.error("store.damaged", run=uid, error=str(error))  # noqa: TRY400  # expected, and said
        self._unreadable = unreadable
        with self._lock:
            for gone in self._held.keys() - {run["metadata"]["name"] for run in self._runs.all()}:
                del self._held[gone]
        return iter(sorted(readable, key=lambda record: record.run.created))

    def unreadable(self) -> dict[str, str]:
        """The runs that could not be read when records were last asked for, and why, in a sentence each."""
        return dict(self._unreadable)

    def commands(self, uid: str) -> tuple[Command, ...]:
        """As the port says."""
        try:
            return objects.commands_of(self._run_object(uid))
        except Missing:
            return ()

    def ask(self, uid: str, command: Command) -> None:
        """As the port says."""
        namespace = self._run_object(uid)["metadata"]["namespace"]
        for attempt in range(ATTEMPTS):
            found = self._kube.get(CANARY_RUNS, namespace, uid)
            patch = objects.command_patch(found, command)
            try:
                self._runs.took(self._kube.patch_json(CANARY_RUNS, namespace, uid, patch))
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def flush(self) -> None:
        """Write what waits in memory, as at a good end; what cannot be written is only cells, and is logged."""
        for uid, held in list(self._held.items()):
            if held.now is not held.written:
                try:
                    self._put(held.now, held)
                except CanarydError as error:
                    log.warning("store.save_failed", run=uid, error=str(error))

    def forget(self) -> None:
        """Forget all that was read and all that waits: another process may have carried the runs out since."""
        with self._lock:
            self._held.clear()
            self._doubted.clear()

    # -- the two objects of a run

    def _record_object(self, uid: str) -> Object | None:
        """The CanaryRecord; None where there is none for the CanaryRun that there is."""
        run = self._run_object(uid)
        namespace = run["metadata"]["namespace"]
        found = None
        if uid not in self._doubted and self._records.fresh(FRESH):
            found = self._records.get(namespace, uid)
        if found is None:
            try:
                found = self._kube.get(CANARY_RECORDS, namespace, uid)
            except Missing:
                with self._lock:
                    self._held.pop(uid, None)
                return None
            self._records.took(found)
            self._doubted.discard(uid)
        return found if _owned(found, run) or _ended(found) else None

    def _run_object(self, uid: str) -> Object:
        """The CanaryRun. Raises Missing where there is none."""
        namespace = self._where.get(uid)
        found = self._runs.get(namespace, uid) if namespace else None
        if found is None:
            found = next((one for one in self._runs.all() if one["metadata"]["name"] == uid), None)
        if found is None:
            found = self._sought(uid, namespace)
            self._runs.took(found)
        self._where[uid] = found["metadata"]["namespace"]
        return found

    def _sought(self, uid: str, namespace: str | None) -> Object:
        if namespace:
            return self._kube.get(CANARY_RUNS, namespace, uid)
        for one in self._namespaces:
            for found in self._kube.list(CANARY_RUNS, one):
                if found["metadata"]["name"] == uid:
                    return found
        where = ", ".join(filter(None, self._namespaces)) or "any namespace"
        raise Missing(f"there is no CanaryRun {uid} in {where}")

    def _read(self, uid: str, found: Object) -> Record:
        """The record in ``found``, or what waits in memory where ``found`` is what was last written."""
        meta = found["metadata"]
        held = self._held.get(uid)
        if held is not None and held.resource_version == meta["resourceVersion"]:
            return held.now
        record = objects.record_of(found)
        with self._lock:
            held = self._held.get(uid)
            if held is not None and held.uid == meta["uid"] and held.written.version > record.version:
                return held.now  # saved by us while this was being read
            self._held[uid] = _Held(record, meta["uid"], meta["resourceVersion"], self._clock(), record)
        return record

    def _lost(self, run: Object) -> Record:
        """A CanaryRun without a record."""
        return Record(objects.begun(run))

    # -- writing

    def _create(self, record: Record) -> Record:
        uid, namespace = record.run.uid, record.run.plan.namespace
        body = objects.run_object(record.run)
        if not self._may():
            raise Conflict(f"run {uid} is not begun: another process leads by now")
        try:
            run = self._kube.create(CANARY_RUNS, namespace, body)
        except Conflict:
            # It is there: begun by another, or by us when the second half failed. Who creates the record wins.
            run = self._kube.get(CANARY_RUNS, namespace, uid)
            if not objects.same_beginning(run, body):
                raise
        self._where[uid] = namespace
        self._runs.took(run)
        saved = replace(record, version=1)
        try:
            found = self._kube.create(CANARY_RECORDS, namespace, objects.record_object(saved, run))
        except Conflict:
            present = self._kube.get(CANARY_RECORDS, namespace, uid)
            if _owned(present, run):
                self._doubted.add(uid)
                raise
            # It was left behind by the CanaryRun that this one was restored from.
            body = objects.record_object(saved, run, present["metadata"]["resourceVersion"])
            found = self._kube.replace(CANARY_RECORDS, namespace, uid, body)
        return self._took(saved, found)

    def _put(self, record: Record, held: _Held) -> Record:
        uid, namespace = record.run.uid, record.run.plan.namespace
        saved = replace(record, version=record.version + 1)
        body = objects.record_object(saved, self._run_object(uid), held.resource_version)
        try:
            found = self._kube.replace(CANARY_RECORDS, namespace, uid, body)
        except CanarydError:
            # What was asked may have happened, or somebody else was first: the server is asked what is there.
            self._doubted.add(uid)
            raise
        return self._took(saved, found)

    def _took(self, saved: Record, found: Object) -> Record:
        self._records.took(found)
        uid = saved.run.uid
        self._doubted.discard(uid)
        meta = found["metadata"]
        with self._lock:
            self._held[uid] = _Held(saved, meta["uid"], meta["resourceVersion"], self._clock(), saved)
        return saved


def _owned(record: Object, run: Object) -> bool:
    """Whether the record belongs to this very CanaryRun, and not to one of the same name from before a restore."""
    owners = record["metadata"].get("ownerReferences") or ()
    return any(one.get("uid") == run["metadata"].get("uid") for one in owners)


def _ended(record: Object) -> bool:
    try:
        return objects.record_of(record).run.final
    except Rejected:
        return True  # read again by the caller, who is told

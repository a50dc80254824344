"""
``canaryd drain``: before canaryd goes, everything that it runs is rolled back and what it left in objects is taken out.

The word is left on the Lease, where the leader reads it: it begins nothing any more and rolls back what runs. Where
nobody leads, this process stands for election itself and does the same; so it works with a controller, beside a broken
one, and after it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from canaryd.controller.daemon import DRAIN, FOR_GOOD, LISTED_WITHIN, Daemon
from canaryd.controller.folder import is_from_folder
from canaryd.controller.orphans import marked
from canaryd.controller.term import Caches
from canaryd.errors import Conflict, Unavailable
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, LEASES, Kube, Missing, connect
from canaryd.settings import Settings, lease_place

Object = dict[str, Any]

LOOK = 0.5
"""Seconds between two looks at what is left."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is still there: runs that have not ended, and VirtualServices with a marker of a run in this cluster."""

    runs: tuple[str, ...]
    markers: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.runs or self.markers)

    def __str__(self) -> str:
        runs = f"runs in flight: {', '.join(self.runs)}" if self.runs else ""
        markers = f"markers in: {', '.join(self.markers)}" if self.markers else ""
        return "; ".join(filter(None, (runs, markers))) or "nothing"


def drain(
    settings: Settings, *, by: str, within: float, keep_runs: bool, for_good: bool = False, say: Callable[[str], None]
) -> Left:
    """
    Roll back and clean up; what is left after ``within`` seconds, nothing where all went well.

    ``for_good``: the word ends with the last process that stands for election, so that a later installation is free.
    ``say`` is given a line whenever something changes. Raises what the API server's refusals raise.
    """
    kube = connect(settings.kubeconfig, settings.context, timeout=settings.timeout)
    namespace, name = lease_place(settings)
    holder = _mark(kube, namespace, name, {DRAIN: by} | ({FOR_GOOD: by} if for_good else {}))
    say(f"Lease {namespace}/{name} says that canaryd is drained: nothing begins any more")
    daemon = Daemon(settings.model_copy(update={"http": 0}))
    end, said = time.monotonic() + within, ""
    with ExitStack() as stack:
        daemon.start(stack)
        if not daemon.caches.wait(LISTED_WITHIN):
            raise Unavailable("the API server did not list what canaryd works on")
        while (left := _left(daemon.caches)) and time.monotonic() < end:
            who = "this process" if daemon.elector.leading else daemon.elector.holder or holder or "nobody yet"
            if (line := f"{left} (carried out by {who})") != said:
                said = line
                say(line)
            time.sleep(LOOK)
        if not left:
            _clean(kube, daemon.caches, keep_runs=keep_runs, say=say)
        alone = daemon.elector.leading
    if alone and not left:
        kube.delete(LEASES, namespace, name)
    return left


def undrain(settings: Settings) -> bool:
    """Take the word back; whether there was one."""
    kube = connect(settings.kubeconfig, settings.context, timeout=settings.timeout)
    namespace, name = lease_place(settings)
    try:
        lease = kube.get(LEASES, namespace, name)
    except Missing:
        return False
    if DRAIN not in (lease["metadata"].get("annotations") or {}):
        return False
    kube.patch_merge(LEASES, namespace, name, {"metadata": {"annotations": {DRAIN: None, FOR_GOOD: None}}})
    return True


def _mark(kube: Kube, namespace: str, name: str, words: Mapping[str, str]) -> str:
    """Leave the words on the Lease; who holds it."""
    annotated = {"metadata": {"annotations": dict(words)}}
    try:
        lease = kube.patch_merge(LEASES, namespace, name, annotated)
    except Missing:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}
        try:
            kube.create(LEASES, namespace, {**lease, "metadata": {"name": name, **annotated["metadata"]}})
        except Conflict:
            lease = kube.patch_merge(LEASES, namespace, name, annotated)
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _left(caches: Caches) -> Left:
    runs = [f"{_place(found)} ({_where(found)})" for found in caches.runs.all() if not _finished(found)]
    return Left(
        tuple(sorted(runs)), tuple(sorted(_place(found) for found in caches.routes.all() if any(marked(found))))
    )


def _clean(kube: Kube, caches: Caches, *, keep_runs: bool, say: Callable[[str], None]) -> None:
    for found in caches.plans.all():
        if is_from_folder(found):
            kube.delete(CANARY_PLANS, found["metadata"]["namespace"], found["metadata"]["name"])
            say(f"deleted CanaryPlan {_place(found)}, which came from a folder")
    if keep_runs:
        return
    for found in caches.runs.all():
        kube.delete(CANARY_RUNS, found["metadata"]["namespace"], found["metadata"]["name"])
        say(f"deleted CanaryRun {_place(found)}")


def _finished(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Finished" and one.get("status") == "True" for one in conditions)


def _where(found: Object) -> str:
    status = found.get("status") or {}
    return f"{status.get('phase') or 'not begun'}, {status.get('weight') or '0 %'}"


def _place(found: Object) -> str:
    return f"{found['metadata'].get('namespace')}/{found['metadata']['name']}"

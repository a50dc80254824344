"""
A term of leadership: everything that carries plans out while this process leads, and what the watches tell it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from canaryd import telemetry
from canaryd.app import Canaryd, cluster_world, limits
from canaryd.cluster.events import Events
from canaryd.cluster.informer import Change, Informer
from canaryd.cluster.shelf import Shelf
from canaryd.controller.aftermath import Aftermath
from canaryd.controller.folder import Folder
from canaryd.controller.following import is_over
from canaryd.controller.nearby import GATHER, concerned
from canaryd.controller.orphans import Orphans
from canaryd.controller.plans import SETTLED, Plans, Standing
from canaryd.controller.policies import Policies
from canaryd.controller.telling import Journals, plan_event, plan_status, reference
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, Kind, Kube, Missing
from canaryd.mesh.orphans import break_glass
from canaryd.mesh.slim import CARE
from canaryd.model.run import Run
from canaryd.settings import Settings
from canaryd.store.cluster import ClusterStore
from canaryd.store.folder import FolderJournal
from canaryd.store.freezes import ClusterFreezes
from canaryd.store.objects import PLAN_LABEL, Traffic, without_figures
from canaryd.store.statuses import PlanStatuses, RunStatuses

Object = dict[str, Any]

LAST_WORDS = 1.0
"""Seconds that the end of a term waits for the Events that are not sent yet."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caches:
    """What is watched, by leader and standby alike."""

    plans: Informer
    policies: Informer
    runs: Informer
    records: Informer
    routes: Informer
    freezes: Informer

    def all(self) -> tuple[Informer, ...]:
        return (self.plans, self.policies, self.runs, self.records, self.routes, self.freezes)

    def wait(self, seconds: float) -> bool:
        """Whether everything has been listed once."""
        return all(one.wait(seconds) for one in self.all())


class Term:
    """What one term of leadership consists of."""

    def __init__(
        self,
        settings: Settings,
        kube: Kube,
        caches: Caches,
        valid: Callable[[], bool],
        held: Callable[[], bool],
        folder: Path | None,
        identity: str,
        home: str,
    ) -> None:
        self._caches = caches
        self._kube = kube
        self._store = ClusterStore(
            kube, caches.runs, caches.records, namespaces=tuple(settings.namespaces) or ("",), may=valid
        )
        self._runs = RunStatuses(kube, caches.runs, may=held)
        self._plan_statuses = PlanStatuses(kube, caches.plans, may=held)
        self._events = Events(kube, instance=identity)
        self._journals = Journals(
            (FolderJournal(settings.state), self._runs), self._events, caches.runs, caches.plans, self._see
        )
        # Of this term alone: what it begins with was listed in it, and so is not older than what a former leader saw.
        self._shelf = Shelf(kube, shared=(caches.routes,), on_change=self._nearby, care=CARE)
        freezes = ClusterFreezes(caches.freezes.all, home)
        world = cluster_world(settings, kube, self._store, self._journals, freezes, self._shelf)
        self.canaryd = Canaryd(
            world,
            workers=settings.workers,
            mode=settings.mode,
            may=valid,
            shown=self._ticked,
            limits=limits(settings),
        )
        policies = Policies(caches.policies.all)
        self.plans = Plans(
            self.canaryd,
            caches.plans,
            policies,
            show=self._show,
            unreadable=self._unreadable,
            settle=self._settle,
            tidy=self._tidy,
            forget=self._forget,
            declined=self._declined,
            mode=settings.mode,
            history=settings.run_history,
        )
        self._aftermath = Aftermath(self.plans.last_runs, self._not_as_decided)
        self._orphans = Orphans(world.mesh, caches.routes, self._exists, world.clock, tell=self._orphaned, may=valid)
        self._folder: Folder | None = None
        if folder:
            self._folder = Folder(folder, kube, caches.plans, policies, tell=self._broken, may=valid)
        self.busy = False
        self._accepted: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._changed: dict[str, str] = {}
        self._traffic: dict[str, Traffic] = {}
        self._open = ExitStack()

    def start(self, number: int, draining: str) -> None:
        """Go on with what the former leader left, and begin what is new."""
        open_ = self._open
        open_.callback(self._shelf.stop)
        for part in (self._runs, self._plan_statuses, self._events):
            part.start()
            open_.callback(part.stop)
        open_.callback(self._events.flush, LAST_WORDS)
        open_.callback(self._store.flush)
        open_.enter_context(self.canaryd)
        known = [record.run for record in self._store.records()]
        self._tell_unreadable()
        telemetry.leading(True)
        log.info("daemon.leads", term=number, unfinished=[run.uid for run in known if not run.final])
        self.drain(draining)
        self.plans.start(known)
        open_.callback(self.plans.stop)
        self.canaryd.tell_what_is_left()
        self._orphans.start()
        open_.callback(self._orphans.stop)
        if self._folder:
            self._folder.start()
            open_.callback(self._folder.stop)
        for run in self.plans.last_runs():
            telemetry.observed(run, (), time.time())
            for route in run.route.parts:
                self._aftermath.look(run, route, self._caches.routes.get(route.namespace, route.virtual_service))

    def drain(self, why: str) -> None:
        """Begin nothing any more, and roll back what runs; an empty ``why`` ends that."""
        if self._folder:
            self._folder.paused = bool(why)
        self.plans.drain(why)

    def only_retreat(self) -> None:
        """The Lease is lost: begin nothing; runs that are on their way back are ticked further."""
        if self._folder:
            self._folder.stop()
        self._orphans.stop()
        self.plans.stop()

    def stop(self) -> None:
        """Let ticks end, and write nothing after that."""
        self._open.close()

    def heard(self, kind: str, change: Change) -> None:
        """A watch told of a change."""
        meta = change.object["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        if kind == "plan":
            if not _status_only(change):
                self.plans.changed(namespace, name)
        elif kind == "policy":
            self.plans.policies_changed()
        elif kind == "freeze":
            self.plans.freezes_changed()
        elif kind == "route":
            gone = change.kind == "removed"
            self.plans.route_changed(namespace, name)
            self._aftermath.changed(namespace, name, None if gone else change.object)
            if not gone:
                self._orphans.changed(change.object)
        elif change.kind == "removed":
            self._run_deleted(namespace, change.object)
        elif change.kind == "added":
            self.plans.appeared(namespace, _plan_of(change.object), name)
        elif not _status_only(change):
            self.canaryd.wake(name)
            self.plans.asked(namespace, _plan_of(change.object))

    def _nearby(self, kind: Kind, change: Change) -> None:
        """Something around the routes of runs has changed: who would see it looks now, and not when it is due."""
        for run in concerned(self.plans.in_flight(), kind, change, self._shelf):
            self.canaryd.wake(run.uid, GATHER)

    def _run_deleted(self, namespace: str, found: Object) -> None:
        self.plans.gone(namespace, _plan_of(found), found["metadata"]["name"])
        self._drop(found["metadata"]["name"])
        for route in self._caches.routes.all():
            if route["metadata"].get("namespace") == namespace:
                self._orphans.changed(route)

    def _see(self, uid: str) -> Run:
        return self.canaryd.see(uid)

    def _ticked(self, run: Run) -> None:
        if not self.busy:
            self.busy = True
            self._caches.routes.hurry()
        self._show_run(run)
        self.plans.ticked(run)
        if is_over(run):
            self.busy = bool(self.plans.in_flight())

    def _show_run(self, run: Run) -> None:
        self._runs.show(run, self._break_glass(run), plan_changed=self._changed.get(run.uid, ""))

    def _not_as_decided(self, run: Run, why: str) -> None:
        self._traffic[run.uid] = Traffic(not why, why or f"{run.split} was seen in the mesh")
        self._show_run(run)
        self._runs.traffic(run.uid, self._traffic[run.uid].as_decided, self._traffic[run.uid].why)
        self.plans.changed(run.plan.namespace, run.plan.name)
        if why and (found := self._caches.runs.get(run.plan.namespace, run.uid)):
            self._events.tell(reference(found), "TrafficNotAsDecided", why, warning=True)

    def _declined(self, run: Run, verb: Literal["undo", "retry"], why: str) -> None:
        about = (
            self._caches.runs.get(run.plan.namespace, run.uid),
            self._caches.plans.get(run.plan.namespace, run.plan.name),
        )
        for found in filter(None, about):
            if verb == "undo":
                self._events.tell(reference(found), "UndoRefused", why, warning=True)
            else:
                self._events.tell(reference(found), "RetryRefused", why, warning=True)

    def _break_glass(self, run: Run) -> str:
        if run.released:
            return ""
        found = [(self._caches.routes.get(part.namespace, part.virtual_service), part) for part in run.route.parts]
        return " && ".join(filter(None, (break_glass(one, part) for one, part in found if one)))

    def _show(self, standing: Standing) -> None:
        meta, run = standing.text["metadata"], standing.following.run
        glass = self._break_glass(run) if run else ""
        fields = plan_status(standing, glass, self._traffic.get(run.uid) if run else None)
        if run and (changed := standing.following.reason if standing.following.changed else "") != self._changed.get(
            run.uid, ""
        ):
            self._changed[run.uid] = changed
            self._show_run(run)
        self._plan_statuses.show(meta.get("namespace") or "", meta["name"], fields)
        reason, message, warning = plan_event(standing)
        key = f"{meta.get('namespace')}/{meta['name']}"
        gist = without_figures(message) if standing.waits else message  # another place in the queue is no event
        if reason and self._accepted.get(key) != gist:
            self._events.tell(reference(standing.text), reason, message, warning=warning)
        self._accepted[key] = gist
        self._states[key] = "invalid" if standing.plan is None else "refused" if warning else "accepted"
        self._count_plans()

    def _forget(self, key: str) -> None:
        self._accepted.pop(key, None)
        self._states.pop(key, None)
        self._count_plans()
        telemetry.plan_gone(*key.split("/", 1))

    def _count_plans(self) -> None:
        states = list(self._states.values())
        counts = {state: states.count(state) for state in ("accepted", "refused", "invalid")}
        telemetry.plans(**counts)

    def _settle(self, namespace: str, name: str, release: str) -> None:
        noted = {"metadata": {"annotations": {SETTLED: release}}}
        self._caches.plans.took(self._kube.patch_merge(CANARY_PLANS, namespace, name, noted))

    def _unreadable(self) -> list[tuple[str, str, str]]:
        """The runs that nobody ticks, because what was written of them means nothing to this canaryd."""
        unreadable = self._store.unreadable()
        return [
            (f"{found['metadata']['namespace']}/{_plan_of(found)}", name, unreadable[name])
            for found in self._caches.runs.all()
            if (name := found["metadata"]["name"]) in unreadable
        ]

    def _tell_unreadable(self) -> None:
        for plan, name, why in self._unreadable():
            namespace = plan.partition("/")[0]
            self._runs.unreadable(namespace, name, why)
            if found := self._caches.runs.get(namespace, name):
                self._events.tell(reference(found), "RunUnreadable", why, warning=True)

    def _tidy(self, run: Run) -> None:
        """Delete a run that is older than what is kept."""
        self._kube.delete(CANARY_RUNS, run.plan.namespace, run.uid)
        self._drop(run.uid)

    def _drop(self, uid: str) -> None:
        """Keep nothing of a run in mind: a process may lead for months."""
        self.canaryd.let_go(uid)
        self._runs.forget(uid)
        self._changed.pop(uid, None)
        self._traffic.pop(uid, None)

    def _exists(self, namespace: str, uid: str) -> bool:
        try:
            self._kube.get(CANARY_RUNS, namespace, uid)
        except Missing:
            return False
        return True

    def _orphaned(self, virtual_service: Object, why: str) -> None:
        self._events.tell(reference(virtual_service), "MarkerOrphaned", why, warning=True)

    def _broken(self, file: str, why: str, plan: str) -> None:
        namespace, _, name = plan.partition("/")
        found = self._caches.plans.get(namespace, name) if plan else None
        said = f"{file}: {'; '.join(why.splitlines())}"
        if found:
            self._events.tell(reference(found), "PlanFileBroken", said, warning=True)
        pod, home = os.environ.get("POD_NAME"), os.environ.get("POD_NAMESPACE")
        if pod and home:
            about = {"apiVersion": "v1", "kind": "Pod", "namespace": home, "name": pod}
            self._events.tell(about, "PlanFileBroken", said, warning=True)


def _plan_of(run: Object) -> str:
    """The name of the plan that a CanaryRun is of."""
    return str((run["metadata"].get("labels") or {}).get(PLAN_LABEL) or "")


def _status_only(change: Change) -> bool:
    """Whether nothing that a person writes has changed: ours to write, and not to hear."""
    if change.former is None or change.kind != "changed":
        return False
    return bool(change.object.get("spec") == change.former.get("spec")) and _annotated(change.object) == _annotated(
        change.former
    )


def _annotated(found: Object) -> Object:
    return found["metadata"].get("annotations") or {}

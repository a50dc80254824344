"""
The daemon: watches, an election, and, while this process leads, everything that carries plans out.

A standby watches as well, so that it can take over at once. Losing the Lease ends a term: no tick begins any more but
those of runs that are on their way back, which nothing may block, and those end too once another leader is seen.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from canaryd import telemetry
from canaryd.app import Canaryd, cluster_world
from canaryd.cluster.elector import Elector
from canaryd.cluster.events import Events
from canaryd.cluster.informer import RENEWED, Change, Informer
from canaryd.cluster.shelf import Shelf
from canaryd.controller.aftermath import Aftermath
from canaryd.controller.folder import Folder
from canaryd.controller.following import is_over
from canaryd.controller.nearby import GATHER, concerned
from canaryd.controller.orphans import Orphans
from canaryd.controller.plans import SETTLED, Plans, Standing
from canaryd.controller.policies import Policies
from canaryd.controller.telling import Journals, plan_event, plan_status, reference
from canaryd.errors import CanarydError, Rejected
from canaryd.kube import (
    CANARY_PLANS,
    CANARY_POLICIES,
    CANARY_RECORDS,
    CANARY_RUNS,
    LEASES,
    VIRTUAL_SERVICES,
    Kind,
    Kube,
    Missing,
    Unserved,
    connect,
)
from canaryd.mesh.orphans import break_glass
from canaryd.mesh.slim import CARE
from canaryd.mesh.virtualservice import VERSIONS
from canaryd.model.run import Run
from canaryd.settings import Settings
from canaryd.store.cluster import ClusterStore
from canaryd.store.folder import FolderJournal
from canaryd.store.objects import PLAN_LABEL, Traffic
from canaryd.store.statuses import PlanStatuses, RunStatuses

Object = dict[str, Any]

LOOK = 0.5
"""Seconds after which a signal is noticed at the latest, and a term that was lost before it began."""
LISTED_WITHIN = 60.0
"""Seconds in which a new leader waits for its caches before it says why it waits."""
ROUTES_RENEWED = (10, 15)
"""
Seconds between two watches of the VirtualServices while a run is in flight. Runs look at the weights through this one
watch. If it dies without a word (a proxy that forgot the connection), drift is seen when the silence is found out:
after twenty seconds at most, from when on each tick asks the API server again. That costs a controller ten requests a
minute at most, however many runs there are; asking for each run at each tick costs some 40 a second with 200 of them.
"""
DRAIN = "canaryd.io/drain"
"""On the Lease: who asked that everything be rolled back and nothing begin."""
FOR_GOOD = "canaryd.io/drain-for-good"
"""Beside it: canaryd is being taken out of the cluster, so that the word must not outlive the last process."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caches:
    """What is watched, by leader and standby alike."""

    plans: Informer
    policies: Informer
    runs: Informer
    records: Informer
    routes: Informer

    def all(self) -> tuple[Informer, ...]:
        return (self.plans, self.policies, self.runs, self.records, self.routes)

    def wait(self, seconds: float) -> bool:
        """Whether everything has been listed once."""
        return all(one.wait(seconds) for one in self.all())


class Daemon:
    """One process of the controller. ``plans`` is a folder whose files become CanaryPlans, if there is one."""

    def __init__(self, settings: Settings, plans: Path | None = None) -> None:
        self._settings = settings
        self._folder = plans
        self._kube = connect(settings.kubeconfig, settings.context, timeout=settings.timeout)
        namespaces = tuple(settings.namespaces) or ("",)
        self.caches = Caches(
            plans=Informer(self._kube, CANARY_PLANS, namespaces, on_change=self._on("plan")),
            policies=Informer(self._kube, CANARY_POLICIES, on_change=self._on("policy")),
            runs=Informer(self._kube, CANARY_RUNS, namespaces, on_change=self._on("run")),
            records=Informer(self._kube, CANARY_RECORDS, namespaces),
            routes=Informer(
                self._kube,
                _served(self._kube, namespaces[0]),
                namespaces,
                on_change=self._on("route"),
                renewed=self._routes_renewed,
            ),
        )
        self._pod = os.environ.get("POD_NAME") or socket.gethostname()
        self.elector = Elector(
            self._kube,
            *lease_place(settings),
            self._pod,
            duration=settings.lease_seconds,
            renew_deadline=settings.lease_seconds * 2 / 3,
            retry=settings.lease_seconds * 2 / 15,
            on_started=self._begin_term,
            on_stopped=self._end_term,
            on_lease=self._see_lease,
        )
        self._term: Term | None = None
        self._retreating: Term | None = None
        self._draining = ""
        self._ending = threading.Event()

    def run(self) -> None:
        """Until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._ending.set())
        with ExitStack() as stack:
            self.start(stack)
            # Not without a limit: a signal that the kernel gives to another thread does not wake a lock that waits.
            while not self._ending.wait(LOOK):
                pass
            log.info("daemon.stopping", in_flight=[run.uid for run in self.in_flight()])

    def start(self, stack: ExitStack) -> None:
        """Begin to watch and to stand for election; ``stack`` ends it again, the election before the watches."""
        _has_our_kinds(self._kube)
        if self._settings.http:
            server = telemetry.serve(self._settings.http, healthy=self._unhealthy, ready=self._unready)
            stack.callback(server.close)
        for cache in self.caches.all():
            cache.start()
            stack.callback(cache.stop)
        stack.callback(self._end_retreats)
        stack.callback(self._take_lease_away)
        self.elector.start()
        stack.callback(self.elector.stop)
        log.info("daemon.started", identity=self.elector.identity, namespaces=self._settings.namespaces or "all")

    def in_flight(self) -> list[Run]:
        """The runs that are not over, where this process leads."""
        return self._term.plans.in_flight() if self._term else []

    # -- terms of leadership

    def _begin_term(self, number: int) -> None:
        self._end_retreats()
        said = time.monotonic()
        while not self.caches.wait(LOOK):
            if not self.elector.valid():
                return
            if time.monotonic() - said > LISTED_WITHIN:
                said = time.monotonic()
                log.warning("daemon.waits", why=self._unready())
        elector = self.elector
        self._term = Term(self._settings, self._kube, self.caches, elector.valid, elector.held, self._folder, self._pod)
        self._term.start(number, self._draining)

    def _end_term(self, reason: str) -> None:
        term, self._term = self._term, None
        telemetry.leading(False)
        if term is None:
            return
        log.warning("daemon.term_ended", why=reason)
        if self._ending.is_set() or not any(run.latch for run in term.plans.in_flight()):
            term.stop()
            return
        term.only_retreat()
        self._retreating = term

    def _end_retreats(self) -> None:
        term, self._retreating = self._retreating, None
        if term:
            term.stop()

    def _see_lease(self, lease: Object) -> None:
        meta, spec = lease.get("metadata") or {}, lease.get("spec") or {}
        by = str((meta.get("annotations") or {}).get(DRAIN) or "")
        self._draining = by and f"canaryd is drained by {by}; `canaryd drain --undo` lets releases begin again"
        if self._term:
            self._term.drain(self._draining)
        if self._retreating and spec.get("holderIdentity") not in ("", None, self.elector.identity):
            threading.Thread(target=self._end_retreats, name="end-retreats", daemon=True).start()

    def _take_lease_away(self) -> None:
        """
        Delete the Lease that says that canaryd goes for good, if nobody holds it.

        It would outlive us, and a canaryd that is installed later would obey it: nothing would ever begin.
        """
        namespace, name = lease_place(self._settings)
        try:
            lease = self._kube.get(LEASES, namespace, name)
            meta, spec = lease["metadata"], lease.get("spec") or {}
            if FOR_GOOD in (meta.get("annotations") or {}) and not spec.get("holderIdentity"):
                self._kube.delete(LEASES, namespace, name, uid=meta["uid"], version=meta["resourceVersion"])
        except Missing:
            return
        except CanarydError as error:
            log.warning("lease.not_taken_away", lease=f"{namespace}/{name}", error=str(error))

    def _routes_renewed(self) -> tuple[int, int]:
        """Where nothing is in flight nobody looks at weights, and a watch may last."""
        return ROUTES_RENEWED if self._term is not None and self._term.busy else RENEWED

    # -- what the watches say

    def _on(self, kind: str) -> Callable[[Change], None]:
        def heard(change: Change) -> None:
            term = self._term
            if term is not None:
                term.heard(kind, change)

        return heard

    # -- probes

    def _unhealthy(self) -> str:
        term = self._term
        return term.canaryd.stuck() if term else ""

    def _unready(self) -> str:
        missing = [str(cache.kind) for cache in self.caches.all() if not cache.wait(0)]
        return f"not listed yet: {', '.join(missing)}" if missing else ""


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
        world = cluster_world(settings, kube, self._store, self._journals, self._shelf)
        self.canaryd = Canaryd(world, workers=settings.workers, mode=settings.mode, may=valid, shown=self._ticked)
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
        open_.callback(self._store.flush)
        open_.enter_context(self.canaryd)
        known = [record.run for record in self._store.records()]
        self._tell_unreadable()
        telemetry.leading(True)
        log.info("daemon.leads", term=number, unfinished=[run.uid for run in known if not run.final])
        self.drain(draining)
        self.plans.start(known)
        open_.callback(self.plans.stop)
        self._orphans.start()
        open_.callback(self._orphans.stop)
        if self._folder:
            self._folder.start()
            open_.callback(self._folder.stop)
        for run in self.plans.last_runs():
            telemetry.observed(run, (), time.time())
            self._aftermath.look(run, self._caches.routes.get(run.route.namespace, run.route.virtual_service))

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

    def _break_glass(self, run: Run) -> str:
        found = self._caches.routes.get(run.route.namespace, run.route.virtual_service)
        return break_glass(found, run.route) if found and not run.released else ""

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
        if reason and self._accepted.get(key) != message:
            self._events.tell(reference(standing.text), reason, message, warning=warning)
        self._accepted[key] = message
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


def lease_place(settings: Settings) -> tuple[str, str]:
    """Namespace and name of the Lease."""
    return settings.lease_namespace or os.environ.get("POD_NAMESPACE") or "canaryd", settings.lease


def _served(kube: Kube, namespace: str) -> Kind:
    """VirtualServices, in the version that is served; ``namespace`` is one that we may list, empty for all."""
    for version in VERSIONS:
        kind = replace(VIRTUAL_SERVICES, version=version)
        try:
            kube.listed(kind, namespace)
        except Unserved:
            continue
        except CanarydError:
            pass
        return kind
    raise Rejected("the API server serves no VirtualServices: canaryd needs Istio's CRDs")


def _has_our_kinds(kube: Kube) -> None:
    try:
        kube.list(CANARY_POLICIES)
    except Unserved as error:
        raise Rejected(
            "the API server does not know CanaryPlans yet: canaryd crds | kubectl apply --server-side -f -"
        ) from error
    except CanarydError as error:
        log.warning("daemon.waits", why=str(error))


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

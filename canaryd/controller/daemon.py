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
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from canaryd import telemetry
from canaryd.cluster.elector import Elector
from canaryd.cluster.informer import RENEWED, Change, Informer
from canaryd.controller.term import Caches, Term
from canaryd.errors import CanarydError, Rejected
from canaryd.kube import (
    CANARY_FREEZES,
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
from canaryd.mesh.virtualservice import VERSIONS
from canaryd.model.run import Run
from canaryd.settings import Settings, lease_place

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


class Daemon:
    """One process of the controller. ``plans`` is a folder whose files become CanaryPlans, if there is one."""

    def __init__(self, settings: Settings, plans: Path | None = None) -> None:
        self._settings = settings
        self._folder = plans
        self._kube = connect(settings.kubeconfig, settings.context, timeout=settings.timeout)
        namespaces = tuple(settings.namespaces) or ("",)
        home, _ = lease_place(settings)  # where a freeze counts for all
        self.caches = Caches(
            plans=Informer(self._kube, CANARY_PLANS, namespaces, on_change=self._on("plan")),
            policies=Informer(self._kube, CANARY_POLICIES, on_change=self._on("policy")),
            runs=Informer(self._kube, CANARY_RUNS, namespaces, on_change=self._on("run")),
            records=Informer(self._kube, CANARY_RECORDS, namespaces),
            freezes=Informer(
                self._kube,
                CANARY_FREEZES,
                namespaces if namespaces == ("",) else tuple(dict.fromkeys((*namespaces, home))),
                on_change=self._on("freeze"),
            ),
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
        _has_our_kinds(self._kube, lease_place(self._settings)[0])
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
        self._term = Term(
            self._settings,
            self._kube,
            self.caches,
            elector.valid,
            elector.held,
            self._folder,
            self._pod,
            lease_place(self._settings)[0],
        )
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


def _has_our_kinds(kube: Kube, home: str) -> None:
    """The youngest of them and one that is as old as canaryd: an API server of a former version knows not all."""
    for kind, namespace, name in ((CANARY_POLICIES, "", "CanaryPlans"), (CANARY_FREEZES, home, "CanaryFreezes")):
        try:
            kube.list(kind, namespace)
        except Unserved as error:
            raise Rejected(
                f"the API server does not know {name} yet: canaryd crds | kubectl apply --server-side -f -"
            ) from error
        except CanarydError as error:
            log.warning("daemon.waits", why=str(error))

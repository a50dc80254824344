"""
Seconds between a verdict and the retreat that the API server has accepted, over HTTP, with what was asked meanwhile.

    make bench-retreat             or: python bench/retreat.py [N]

Each of the N runs bakes at 50 % on the lab's Kubernetes API when its evidence turns to failure. One tick of the real
reconciler follows, with the real mesh adapter and a folder on the disk. The clock starts where the machine has decided
and stops where the API server has stored weight 0; the whole tick is shown beside it. Prometheus does not answer at
all. Promised: at most two requests to the API, none to Prometheus, and a 99th percentile below two seconds.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles

import structlog

from canaryd.app import SystemClock
from canaryd.engine import reconciler
from canaryd.engine.collector import Collector
from canaryd.engine.reconciler import Reconciler
from canaryd.kube import connect
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Change, Cluster, kubeconfig
from canaryd.lab.workloads import install
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Segment
from canaryd.model.decision import Decision, Observation
from canaryd.model.evidence import Evidence
from canaryd.model.plan import Plan
from canaryd.model.run import Phase, Pin, Record, Run
from canaryd.model.traffic import NOTHING, Marker, Sides, Split
from canaryd.store.folder import FolderJournal, FolderStore

HALF = Split.percent(50)
PROMISED = 2.0
PLAN = Plan.model_validate(
    {
        "metadata": {"name": "reviews"},
        "spec": {
            "target": {
                "virtualService": "reviews",
                "host": "reviews",
                "stable": {"subset": "v1"},
                "canary": {"subset": "v3"},
            },
            "steps": [{"weight": 50}],
        },
    }
)
FAILED = Evidence(
    harm=1e9, harm_bound=100, hold_bound=5, proof=0.0, proof_bound=20, proven=False,
    failure="errors: canary 5.00 %, stable 0.10 %", canary_requests=1000, readings=(), segment=1,
)  # fmt: skip


@dataclass
class Stopwatch:
    """When the tick began, when the machine had decided, and when the API server had stored the answer."""

    began: float = 0.0
    decided: float = 0.0
    accepted: float = 0.0
    asked: int = 0

    def see(self, change: Change) -> None:
        if change.object["kind"] == "VirtualService" and change.object["spec"]["http"][0]["route"][-1]["weight"] == 0:
            self.accepted = time.perf_counter()


def main(count: int) -> int:
    """Print the figures; 1 where a promise is broken."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    watch, decide = Stopwatch(), reconciler.decide
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent, ApiServer(Cluster()) as api:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connections are taken and nothing is ever said
        install(api.cluster, bookinfo.objects())
        mesh = IstioMesh(connect(kubeconfig(api.address, Path(folder) / "kubeconfig")))
        store, clock = FolderStore(Path(folder)), SystemClock()
        with ThreadPoolExecutor(8) as pool:
            collector = Collector(
                Prometheus(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1), clock, pool, lambda _: None
            )
            ticks = Reconciler(store, mesh, collector, FolderJournal(Path(folder)), clock, pool)

            def decided(run: Run, seen: Observation) -> Decision:
                answer = decide(run, seen)
                watch.decided, watch.asked = time.perf_counter(), len(api.requests)
                return answer

            reconciler.decide = decided
            api.cluster.subscribe(watch.see)
            before, whole, requests = [], [], []
            for number in range(count):
                uid = _baking(f"run-{number}", api.cluster, mesh, store)
                watch.began = time.perf_counter()
                before_tick = len(api.requests)
                run = ticks.tick(uid)
                assert run.phase is Phase.ROLLING_BACK, run
                before.append(watch.accepted - watch.decided)
                whole.append(watch.accepted - watch.began)
                requests.append((len(api.requests) - watch.asked, watch.asked - before_tick))
    most = max(after for after, _ in requests)
    print(f"{count} retreats from 50 % on the lab's Kubernetes API, Prometheus silent")
    print(f"  verdict to accepted retreat   {_figures(before)}   at most {most} API requests")
    print(f"  the whole tick until then     {_figures(whole)}   {requests[-1][1]} API requests before the verdict")
    kept = _percentile(before, 99) < PROMISED and _percentile(whole, 99) < PROMISED and most <= 2
    print("kept" if kept else f"BROKEN: a 99th percentile below {PROMISED:g} s and at most two requests are promised")
    return 0 if kept else 1


def _baking(uid: str, cluster: Cluster, mesh: IstioMesh, store: FolderStore) -> str:
    """A run that bakes at 50 %, in the store and in the mesh, and whose evidence has just turned."""
    cluster.apply(bookinfo.virtual_service({"v1": 100, "v3": 0}))
    admitted = mesh.admit(PLAN)
    route, now = admitted.route, time.time()
    mesh.shift(route, Marker(uid, 1, HALF, NOTHING, route.stable, route.canary, now), mesh.look(route))
    sides: Sides = admitted.sides
    run = Run(
        uid=uid, plan=PLAN, route=route, created=now, phase=Phase.BAKING, split=HALF, seq=1, at=now, arrived_at=now,
        segments=(Segment(0, 0, NOTHING, now), Segment(1, 1, HALF, now)),
        stable_pin=Pin.of(sides.stable), canary_pin=Pin.of(sides.canary), evidence=replace(FAILED),
    )  # fmt: skip
    return store.save(Record(run)).run.uid


def _percentile(seconds: list[float], percent: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]


def _figures(seconds: list[float]) -> str:
    return (
        f"p50 {1000 * _percentile(seconds, 50):.1f} ms, p99 {1000 * _percentile(seconds, 99):.1f} ms, "
        f"max {1000 * max(seconds):.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))

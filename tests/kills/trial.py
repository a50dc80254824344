"""
Kills by failpoint: canaryd on real adapters is killed at a call of a port, started again, and its end compared.

    python -m tests.kills.trial 200     so many kills, spread over load, save, patch and tell, both stories; a table

The Kubernetes API is the lab's, Prometheus answers from counters that are functions of time and follow the weights in
the API. What is compared: the ending, the weights, and the saved cells with the same windows asked for anew.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from canaryd.lab.kubernetes import ApiServer, Change, Cluster, kubeconfig
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Segment, Sought
from canaryd.model.message import EventName
from canaryd.model.plan import Plan
from canaryd.model.run import Outcome, Record, Run
from canaryd.model.traffic import NOTHING
from canaryd.store.folder import FolderStore
from tests.gates.receiver import KEY, Receiver
from tests.kills.driver import OVER, POINTS, Life, Scaled
from tests.mesh.objects import ROUTE, at, deployment, destination_rule, pod, service
from tests.metrics.recorded import Recorded
from tests.world import Few, place_of, small_plan

SPEED = 6.0
"""Virtual seconds a second. A machine too busy to bring a cell of two in a third of a second never gets to the end."""
STORIES = {"healthy": 0.001, "faulty": 0.3}
CALLS = {"load": 14, "save": 9, "patch": 2, "tell": 14}
"""Calls of each point that every story makes before it is over, at least."""
KILLED = -9


@dataclass(frozen=True)
class Kill:
    story: str
    point: str
    n: int
    when: str

    def __str__(self) -> str:
        return f"{self.story}, killed {self.when} {self.point} {self.n}"


def kills(number: int) -> Iterator[Kill]:
    """``number`` kills: the points in turn, and of each every story, side and call."""
    each = {point: itertools.cycle(_at(point)) for point in POINTS}
    for point in itertools.islice(itertools.cycle(POINTS), number):
        yield next(each[point])


def _at(point: str) -> list[Kill]:
    sides = itertools.product(range(CALLS[point]), ("before", "after"), STORIES)
    return [Kill(story, point, n, when) for n, when, story in sides]


class Nursery:
    """The process that lives are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=90)

    def live(self, life: Life) -> int:
        """Exit status of the life; -9 when it was killed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(life)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def trial(kill: Kill, nursery: Nursery, receiver: Receiver | None = None) -> Run:
    """
    One kill; the run at its end. Raises AssertionError when anything is otherwise than without it.

    A ``receiver`` is told of every event of the run.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = Cluster()
        server = stack.enter_context(ApiServer(cluster))
        clock = Scaled(time.time(), SPEED)
        load = Few(since=clock.since - 60)
        load.turn(clock.since - 60, rate=2000.0, canary_errors=STORIES[kill.story])
        stack.callback(cluster.subscribe(lambda change: _follow(load, clock, change)))
        furnish(cluster)
        recorded = stack.enter_context(Recorded(lambda: load.book(1.0), clock.now))
        store = FolderStore(folder / "state")
        store.save(Record(Run("run-1", patient_plan(receiver), ROUTE, clock.now(), segments=(_first(clock),))))
        (folder / "key").write_text(KEY)
        life = Life(
            kubeconfig=str(kubeconfig(server.address, folder / "kubeconfig")),
            prometheus=recorded.url,
            state=str(folder / "state"),
            since=clock.since,
            speed=SPEED,
            point=kill.point,
            n=kill.n,
            when=kill.when,
            receiver=receiver.url if receiver else "",
            key=str(folder / "key"),
        )
        if kill.n >= 0:
            assert nursery.live(life) == KILLED, "it was not killed"
        assert nursery.live(replace(life, n=-1)) == OVER, f"it did not end: {store.load('run-1').run.waiting}"
        run = store.load("run-1").run
        _check(kill, run, cluster, Prometheus(recorded.url))
        return run


def patient_plan(receiver: Receiver | None = None) -> Plan:
    """A busy machine is slow, and slowness is not what is tried here."""
    every = [{"channel": "team", "events": list(get_args(EventName))}] if receiver else []
    return small_plan(on_no_data={"hold": "10h"}, on_inconclusive={"hold": "10h"}, messages=every)


def _first(clock: Scaled) -> Segment:
    return Segment(0, 0, NOTHING, clock.now())


def furnish(cluster: Cluster) -> None:
    """`reviews` with both versions, as the mesh expects to find it."""
    versions = {"Deployment": "apps/v1", "DestinationRule": "networking.istio.io/v1"}
    beside = {
        "Service": [service()],
        "DestinationRule": [destination_rule()],
        "Deployment": [deployment(one) for one in ("v1", "v3")],
        "Pod": [pod(one, number) for one in ("v1", "v3") for number in range(2)],
        "VirtualService": [at(100, 0)],
    }
    for kind, several in beside.items():
        for one in several:
            one.setdefault("apiVersion", versions.get(kind, "v1"))
            one["metadata"].pop("resourceVersion", None)
            cluster.apply({**one, "kind": kind})


def _follow(load: Few, clock: Scaled, change: Change) -> None:
    """The traffic does what the weights say."""
    found = change.object
    if found["kind"] == "VirtualService":
        load.turn(clock.now(), share=_weights(found)[1] / 100)


def _weights(virtual_service: dict[str, Any]) -> list[int]:
    return [one.get("weight", 0) for one in virtual_service["spec"]["http"][0]["route"]]


def _check(kill: Kill, run: Run, cluster: Cluster, prometheus: Prometheus) -> None:
    healthy = kill.story == "healthy"
    assert run.outcome is (Outcome.PROMOTED if healthy else Outcome.FAILED), f"{run.outcome}: {run.reason}"
    found = cluster.find("VirtualService", "default", "reviews")
    assert found is not None
    assert _weights(found) == ([0, 100] if healthy else [100, 0])
    assert "annotations" not in found["metadata"] or not found["metadata"]["annotations"]
    assert run.stable_pin is not None
    assert run.canary_pin is not None
    hosts, failures = ("reviews.default.svc.cluster.local",), run.plan.spec.analysis.grpc_failures
    sought = Sought(hosts, "default", run.stable_pin.workloads, run.canary_pin.workloads, failures, 1.0)
    places = [(cell.segment, cell.start) for cell in run.cells]
    assert places == sorted(set(places))
    for cell in run.cells:
        window = place_of(cell)
        assert prometheus.count(sought, window) == cell, f"the cell of {window} is not what Prometheus says"


def main(number: int) -> int:
    """All kills, two at a time; the number of those after which something was otherwise."""
    wrong: Counter[str] = Counter()
    done: Counter[str] = Counter()
    begun = time.monotonic()

    def some(share: list[Kill]) -> None:
        with Nursery() as nursery:
            for kill in share:
                done[kill.point] += 1
                if done.total() % 20 == 0:
                    print(f"{done.total()} of {number}", flush=True)
                try:
                    trial(kill, nursery)
                except AssertionError as error:
                    wrong[kill.point] += 1
                    print(f"WRONG  {kill}: {error}", flush=True)

    every = list(kills(number))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, (every[0::2], every[1::2])))
    for point in POINTS:
        print(f"{point:6} {done[point]:4} kills  {wrong[point]:3} wrong")
    print(f"{number} kills in {time.monotonic() - begun:.0f} s, {wrong.total()} wrong")
    return wrong.total()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])) > 0)

"""
What one controller process with many runs in flight costs: requests, CPU, memory, and how late its ticks are.

    make bench-controller          or: python -m bench.controller [--plans 100] [--seconds 60] [--code DIR]

All plans bake at 10 % with cells of 15 s, ten of them in each namespace, each with a VirtualService of its own and two
pods a version. The controller is a process, as it is deployed; the lab's Kubernetes API and a recorded Prometheus are
in this one, and their CPU is not counted. ``--code`` runs the controller from another checkout, to compare.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.workloads import install
from canaryd.metrics import promql
from canaryd.store.definitions import definitions
from tests.metrics.book import Book, Series
from tests.metrics.recorded import Recorded

Json = dict[str, Any]
ROOT = Path(__file__).parents[1]
IN_A_NAMESPACE = 10
RPS = 500.0
WARM = 40.0
"""Seconds from when all bake until their first cells are counted, which are 15 s long and asked for 15 s later."""
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
TICK = os.sysconf("SC_CLK_TCK")


class Everybodys(Recorded):
    """A Prometheus in which every app has the traffic of the first."""

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        query = form.get("query", "")
        asked = re.search(r"app-(\d+)", query)
        number = int(asked.group(1)) if asked else 0
        query = re.sub(r"team-\d+", "team-0", re.sub(r"app-\d+", "app-0", query))
        status, body = super().answer({**form, "query": query})
        return status, body.replace(b"app-0", b"app-%d" % number).replace(b"team-0", b"team-%d" % team(number))


def team(number: int) -> int:
    return number // IN_A_NAMESPACE


def traffic(share: float) -> Iterator[Series]:
    """Of the first app: ``share`` of its requests to the canary, two in a thousand bad on both sides."""
    born = time.time() - 3600
    for version, part in (("v1", 1 - share), ("v3", share)):
        for code, of in (("200", 0.998), ("500", 0.002)):
            labels = {
                "reporter": "source", "source_workload": "web", "source_workload_namespace": "team-0",
                "destination_service": "app-0.team-0.svc.cluster.local", "destination_workload": f"app-0-{version}",
                "destination_workload_namespace": "team-0", "request_protocol": "http", "response_code": code,
                "response_flags": "-",
            }  # fmt: skip
            yield Series(promql.REQUESTS, labels, _meter(born, RPS * part * of))
            for bound, within in (("5", 0.1), ("25", 0.9), ("100", 0.99), ("+Inf", 1.0)):
                yield Series(promql.BUCKETS, labels | {"le": bound}, _meter(born, RPS * part * of * within))


def _meter(born: float, rate: float) -> Any:
    return lambda moment: float(int((moment - born) * rate))


def objects(number: int) -> list[Json]:
    app, home = f"app-{number}", f"team-{team(number)}"
    route = bookinfo.virtual_service({"v1": 100, "v3": 0})
    route["metadata"]["name"], route["spec"]["hosts"] = app, [app]
    for one in route["spec"]["http"][0]["route"]:
        one["destination"]["host"] = app
    made = [
        bookinfo.namespace(home), bookinfo.service(app), bookinfo.destination_rule(app), route,
        bookinfo.deployment(app, "v1", 2), bookinfo.deployment(app, "v3", 2),
    ]  # fmt: skip
    made[1]["spec"].pop("clusterIP")
    for one in made[1:]:
        one["metadata"]["namespace"] = home
    return made


def settle(cluster: Cluster, made: list[Json]) -> None:
    """Install an app with its pods; by itself first, for the lab's controllers look at everything that there is."""
    scratch = Cluster()
    install(scratch, made)
    for kind in ("Namespace", "Service", "DestinationRule", "VirtualService", "Deployment", "ReplicaSet", "Pod"):
        for one in scratch.objects(kind, None if kind == "Namespace" else made[1]["metadata"]["namespace"]):
            for key in ("resourceVersion", "uid", "generation", "creationTimestamp"):
                one["metadata"].pop(key, None)
            cluster.apply(one)


def plan(number: int) -> Json:
    app = f"app-{number}"
    target = {"virtualService": app, "host": app, "stable": {"subset": "v1"}, "canary": {"subset": "v3"}}
    analysis = {"scrape": "15s", "cell": "15s", "settle": "0s", "warmup": "0s", "history": "0s"}
    steps = [{"weight": 10, "bake": "4h"}, {"weight": 50, "bake": "4h"}]
    return {
        "apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPlan",
        "metadata": {"name": app, "namespace": f"team-{team(number)}"},
        "spec": {"release": "v3", "target": target, "steps": steps, "analysis": analysis},
    }  # fmt: skip


class Controller:
    """The process, and what it and the kernel say of it."""

    def __init__(self, folder: Path, config: Path, prometheus: str, code: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        given = {
            "CANARYD_HTTP": str(self.port), "POD_NAMESPACE": "canaryd", "POD_NAME": "bench", "PYTHONPATH": str(code),
            "CANARYD_STATE": str(folder / "state"), "CANARYD_LOG_FORMAT": "json",
        }  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "canaryd",
            "controller",
            "--kubeconfig",
            str(config),
            "--prometheus",
            prometheus,
        ]
        self.log = folder / "controller.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **given}, cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )

    def metrics(self) -> dict[tuple[str, str], float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {(name, labels or ""): float(value) for name, labels, value in SAMPLE.findall(text)}

    def cpu(self) -> float:
        """Seconds so far, the system's for it included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def status(self, key: str) -> str:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{key}:"))


@contextmanager
def controller(folder: Path, plans: int, code: Path) -> Iterator[tuple[Controller, Cluster]]:
    cluster = Cluster(history=100_000)
    for definition in definitions():
        cluster.apply(definition)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "canaryd"}})
    for number in range(plans):
        settle(cluster, objects(number))
    book = Book(scrape=15.0, born=time.time() - 3600, series=list(traffic(0.1)))
    with Everybodys(book) as prometheus, ApiServer(cluster, bookmark_every=60.0) as api:
        config = kubeconfig(api.address, folder / "kubeconfig")
        made = Controller(folder, config, prometheus.url, code)
        try:
            for number in range(plans):
                cluster.apply(plan(number))
            yield made, cluster
        finally:
            made.process.terminate()
            made.process.wait(30)


def baking(cluster: Cluster) -> int:
    return sum((one.get("status") or {}).get("phase") == "baking" for one in cluster.objects("CanaryRun"))


def main(plans: int, seconds: float, code: Path) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, controller(Path(name), plans, code) as (process, cluster):
        began = time.monotonic()
        while baking(cluster) < plans:
            if process.process.poll() is not None or time.monotonic() - began > 400:
                raise SystemExit(f"{baking(cluster)} of {plans} runs bake:\n{process.log.read_text()[-3000:]}")
            time.sleep(0.5)
        started = time.monotonic() - began
        time.sleep(WARM)
        before, cpu, at = process.metrics(), process.cpu(), time.monotonic()
        time.sleep(seconds)
        after, used, took = process.metrics(), process.cpu() - cpu, time.monotonic() - at
        spent = {key: (value - before.get(key, 0.0)) / took for key, value in after.items()}
        print(f"{plans} plans in flight, over {took:.0f} s; all baked {started:.0f} s after they were applied")
        print(f"  Kubernetes API, requests/s  {_requests(spent)}")
        print(f"  Prometheus, queries/s       {_sum(spent, 'canaryd_prometheus_queries_total'):.1f}")
        ticks = _sum(spent, "canaryd_tick_lateness_seconds_count")
        late = ", ".join(f"p{100 * share:g} {_quantile(spent, share)}" for share in (0.5, 0.99))
        print(f"  ticks/s                     {ticks:.1f}, late by {late}")
        lasts = _sum(spent, "canaryd_tick_duration_seconds_sum") / ticks
        print(f"  a tick takes                {1000 * lasts:.1f} ms")
        share = used / took
        print(f"  CPU                         {100 * share:.1f} % of a core, {1000 * share / ticks:.1f} ms a tick")
        print(f"  memory                      {process.status('VmRSS')}, {process.status('Threads')} threads")


def _sum(spent: dict[tuple[str, str], float], name: str) -> float:
    return sum(value for (one, _), value in spent.items() if one == name)


def _requests(spent: dict[tuple[str, str], float]) -> str:
    verbs: Counter[str] = Counter()
    for (name, labels), value in spent.items():
        if name == "canaryd_kube_requests_total" and value > 0:
            verbs[re.findall(r'verb="(\w+)"', labels)[0]] += value  # type: ignore[assignment]
    parts = ", ".join(f"{verb} {value:.2f}" for verb, value in verbs.most_common())
    return f"{sum(verbs.values()):.1f}: {parts}"


def _quantile(spent: dict[tuple[str, str], float], share: float) -> str:
    """The bound of the bucket that holds it."""
    buckets = sorted(
        (float(re.findall(r'le="([^"]+)"', labels)[0]), value)
        for (name, labels), value in spent.items()
        if name == "canaryd_tick_lateness_seconds_bucket"
    )
    return next((f"< {bound:g} s" for bound, value in buckets if value >= share * buckets[-1][1]), "?")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--code", type=Path, default=ROOT)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the controller ends with us
    main(given.plans, given.seconds, given.code)

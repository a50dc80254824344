"""
The stage on a real API server, with canaryd's manifests in force.

Nothing there makes pods of Deployments: what the lab's controller makes of them is copied, statuses too. The clients'
counters follow the weights that a watch of this process sees.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from canaryd.cluster.informer import Change, Informer
from canaryd.kube import (
    CANARY_PLANS,
    CANARY_RECORDS,
    CANARY_RUNS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    EVENTS,
    LEASES,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Kind,
    Kube,
)
from canaryd.lab import bookinfo
from canaryd.lab.kubernetes import Cluster
from canaryd.lab.processes import free_port
from canaryd.lab.workloads import install
from canaryd.model.run import Run
from canaryd.store.objects import record_of
from tests.cli.stage import PLAN, Clients, Json, Process
from tests.controller.stage import LEASE, Watched
from tests.deploy.conftest import Installed, apply
from tests.deploy.manifests import DEPLOY, built, documents
from tests.metrics.recorded import Recorded

REPLICA_SETS = Kind("apps", "v1", "replicasets")
KINDS = {
    "Service": SERVICES,
    "DestinationRule": DESTINATION_RULES,
    "VirtualService": VIRTUAL_SERVICES,
    "Deployment": DEPLOYMENTS,
    "ReplicaSet": REPLICA_SETS,
    "Pod": PODS,
}
"""Of what reviews consists, owners before what they own."""
REFUSALS = ("400", "401", "403", "422")
ROLE = ("ClusterRole", "canaryd")
SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")


class RealStage(Watched):
    """Reviews in a namespace of its own, with its clients and their Prometheus; use as a context manager."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.namespace = f"shop-{uuid.uuid4().hex[:6]}"
        self._namespaces = [self.namespace]
        self.installed = replace(installed, namespace=self.namespace, folder=folder)
        self.folder = folder
        self.admin: Kube = installed.admin
        self.clients = Clients(self.namespace)
        self.moments: list[tuple[float, int]] = []
        """When which weight of the canary was seen, by the monotonic clock."""
        self.prometheus = Recorded(self.clients.book)
        self._routes = Informer(self.admin, VIRTUAL_SERVICES, (self.namespace,), on_change=self._see)
        self._ports: dict[str, int] = {}
        self._controllers: dict[str, Process] = {}
        self._started: list[Process] = []
        self._applied: list[str] = []

    def __enter__(self) -> Self:
        done = self.kubectl(f"kubectl create namespace {self.namespace}")
        assert done.returncode == 0, done.stderr
        self.furnish(self.namespace)
        self._clear()
        self._give_lease_back()
        self.prometheus.__enter__()
        self._routes.start()
        assert self._routes.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
        self._routes.stop()
        self.prometheus.close()
        for text in self._applied:
            self.kubectl("kubectl delete --ignore-not-found -f -", text=text)
        for namespace in self._namespaces:  # which stay, because nothing there collects garbage
            for kind in (CANARY_PLANS, CANARY_RUNS, CANARY_RECORDS, VIRTUAL_SERVICES):
                for found in self.admin.list(kind, namespace):
                    self.admin.delete(kind, namespace, found["metadata"]["name"])

    def _clear(self) -> None:
        """Runs that other tests have left on the server that all share are none of this controller's."""
        for kind in (CANARY_PLANS, CANARY_RUNS, CANARY_RECORDS):
            for found in self.admin.list(kind):
                self.admin.delete(kind, found["metadata"]["namespace"], found["metadata"]["name"])

    def furnish(self, namespace: str, weights: dict[str, int] | None = None) -> None:
        """Reviews in ``namespace``."""
        emulated = Cluster()
        install(emulated, bookinfo.objects(weights=weights or {"v1": 100, "v3": 0}))
        uids: dict[str, str] = {}
        for kind_name, kind in KINDS.items():
            for found in emulated.objects(kind_name):
                if found["metadata"]["name"].startswith(bookinfo.SERVICE):
                    self._copy(kind, found, namespace, uids)

    def _copy(self, kind: Kind, found: Json, namespace: str, uids: dict[str, str]) -> None:
        body = copy.deepcopy(found)
        status, former = body.pop("status", None), body["metadata"]["uid"]
        body["metadata"] = {key: one for key, one in body["metadata"].items() if key not in SERVERS_OWN}
        body["metadata"]["namespace"] = namespace
        for assigned in ("clusterIP", "clusterIPs"):
            body["spec"].pop(assigned, None)
        for owner in body["metadata"].get("ownerReferences") or ():
            owner["uid"] = uids[owner["uid"]]
        made = self.admin.create(kind, namespace, body)
        uids[former] = made["metadata"]["uid"]
        if status and kind in (DEPLOYMENTS, REPLICA_SETS, PODS):
            if "observedGeneration" in status:
                status["observedGeneration"] = made["metadata"]["generation"]
            self.admin.patch_merge(kind, namespace, made["metadata"]["name"], {"status": status}, subresource="status")

    def _see(self, change: Change) -> None:
        self.clients.see(change.object)
        if change.kind != "removed" and change.object["metadata"]["name"] == bookinfo.SERVICE:
            self.moments.append((time.monotonic(), _weights(change.object)[1]))

    def _give_lease_back(self) -> None:
        """The first leader of a test need not wait for a killed one's time to run out, nor obey a former drain."""
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0}
        meta = {"name": "canaryd", "namespace": "canaryd"}
        self.admin.delete(LEASES, "canaryd", "canaryd")
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        self.admin.create(LEASES, "canaryd", lease)

    # -- processes

    def controller(self, *more: str, name: str = "canaryd-0", account: str = "canaryd", **environment: str) -> Process:
        """A process of the controller, which has its service account's token and nothing more."""
        self._ports[name] = free_port()
        given = {
            **LEASE,
            "POD_NAME": name,
            "CANARYD_HTTP": str(self._ports[name]),
            "CANARYD_STATE": str(self.folder / name),
            **environment,
        }
        arguments = ("controller", "--prometheus", self.prometheus.url, *more)
        self._controllers[name] = self.process(*arguments, account=account, environment=given)
        return self._controllers[name]

    def process(self, *arguments: str, account: str, environment: dict[str, str] | None = None) -> Process:
        """``canaryd arguments`` with the token of a service account of ours."""
        self.installed.as_account(account)
        config = self.folder / f"canaryd-{account}.kubeconfig"
        process = Process([*arguments, "--kubeconfig", str(config)], self.folder, environment or LEASE)
        self._started.append(process)
        return process

    def answers(self, name: str = "canaryd-0") -> dict[tuple[str, str, str], int]:
        """What the API server answered to a controller's requests, as its /metrics count: (verb, kind, code)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[name]}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return {
            (sample.labels["verb"], sample.labels["kind"], sample.labels["code"]): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "canaryd_kube_requests_total"
        }

    def refused(self) -> dict[tuple[str, str, str], int]:
        """What was refused to the controllers that run, for want of rights or by a policy or schema."""
        running = [name for name, process in self._controllers.items() if process.running]
        return {asked: times for name in running for asked, times in self.answers(name).items() if asked[2] in REFUSALS}

    # -- ways of installing

    def drain_account(self) -> None:
        """The account that the chart's hook runs with, bound as the chart binds it."""
        account = "--serviceaccount=canaryd:canaryd-drain"
        for command in (
            "kubectl create serviceaccount canaryd-drain -n canaryd",
            f"kubectl create clusterrolebinding canaryd-drain --clusterrole=canaryd {account}",
            f"kubectl create clusterrolebinding canaryd-policies-drain --clusterrole=canaryd-policies {account}",
            f"kubectl create rolebinding canaryd-leader-drain --role=canaryd-leader {account} -n canaryd",
        ):
            done = self.kubectl(command)
            assert done.returncode == 0 or "already exists" in done.stderr, done.stderr

    def another_namespace(self) -> str:
        """A namespace with reviews and a plan for it, which nobody carries out."""
        other = f"{self.namespace}-other"
        assert self.kubectl(f"kubectl create namespace {other}").returncode == 0
        self.furnish(other)
        self.admin.create(CANARY_PLANS, other, {**PLAN, "metadata": {"name": "reviews", "namespace": other}})
        self._namespaces.append(other)
        return other

    @contextmanager
    def namespaced(self) -> Iterator[None]:
        """Installed by the namespaced overlay, with our namespace in the place of its example's."""
        deploy = self.folder / "deploy"
        shutil.copytree(DEPLOY, deploy)
        overlay = deploy / "overlays" / "namespaced"
        for file in overlay.glob("*.yaml"):
            file.write_text(re.sub(r"\bshop\b", self.namespace, file.read_text()))
        ours = [one for one in built(overlay) if one["kind"] != "CustomResourceDefinition"]
        everywhere = [
            one for one in built(DEPLOY / "overlays/cluster-wide") if one["kind"] != "CustomResourceDefinition"
        ]
        apply(self.installed.config, ours)
        assert self.kubectl("kubectl delete clusterrolebinding/canaryd clusterrole/canaryd").returncode == 0
        try:
            yield
        finally:
            apply(self.installed.config, everywhere)

    @contextmanager
    def without_right(self, resource: str, verb: str) -> Iterator[None]:
        """The cluster-wide role lacks a right for a while."""
        [role] = [
            one for one in built(DEPLOY / "overlays/cluster-wide") if (one["kind"], one["metadata"]["name"]) == ROLE
        ]
        less = copy.deepcopy(role)
        for rule in less["rules"]:
            if rule["resources"] == [resource]:
                rule["verbs"].remove(verb)
        assert less != role
        apply(self.installed.config, [less])
        try:
            yield
        finally:
            apply(self.installed.config, [role])

    def applied(self, what: Path | Json) -> None:
        """A manifest, as the administrator applies it; it goes with the stage."""
        text = what.read_text() if isinstance(what, Path) else yaml.safe_dump(what)
        apply(self.installed.config, documents(text))
        self._applied.append(text)

    # -- people

    def kubectl(self, command: str, *, by: str = "", text: str = "") -> subprocess.CompletedProcess[str]:
        """A command line as typed by a person (``Installed.person`` made it), else by the administrator."""
        config = self.folder / f"{self.namespace}-{by}.kubeconfig" if by else self.installed.config
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(config)}
        assert shutil.which("kubectl"), "no kubectl on PATH"
        return subprocess.run(
            ["bash", "-c", command],
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def apply(self, name: str = "reviews", *, by: str = "", **changes: Any) -> Json:
        """Apply a plan; ``changes`` replace keys of its spec."""
        body = {
            **PLAN,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": PLAN["spec"] | changes,
        }
        done = self.kubectl("kubectl apply -f -", by=by, text=yaml.safe_dump(body))
        assert done.returncode == 0, done.stderr
        return self.plan_object(name)

    def ask(self, spec: str, *, by: str) -> subprocess.CompletedProcess[str]:
        """Merge into the newest run's spec, as ``by``; ``ME`` in it is that person's user name."""
        name = self.run_objects()[-1]["metadata"]["name"]
        said = spec.replace("ME", self.installed.user(by))
        return self.kubectl(
            f"kubectl patch canaryrun {name} -n {self.namespace} --type=merge -p '{{\"spec\":{said}}}'", by=by
        )

    # -- objects

    def set_route(self, *route: Json) -> Json:
        """By hand: the only entry's destinations."""
        operations = [{"op": "replace", "path": "/spec/http/0/route", "value": list(route)}]
        return self.admin.patch_json(VIRTUAL_SERVICES, self.namespace, bookinfo.SERVICE, operations)

    def virtual_service(self) -> Json:
        return self.admin.get(VIRTUAL_SERVICES, self.namespace, bookinfo.SERVICE)

    def weights(self) -> tuple[int, int]:
        """Of v1 and of v3."""
        return _weights(self.virtual_service())

    def plan_object(self, name: str = "reviews") -> Json:
        return self.admin.get(CANARY_PLANS, self.namespace, name)

    def run_objects(self) -> list[Json]:
        return sorted(self.admin.list(CANARY_RUNS, self.namespace), key=lambda one: str(one["spec"]["created"]))

    def records(self) -> list[Run]:
        runs = [record_of(found).run for found in self.admin.list(CANARY_RECORDS, self.namespace)]
        return sorted(runs, key=lambda run: run.created)

    def events(self) -> list[Json]:
        return self.admin.list(EVENTS, self.namespace)


def _weights(virtual_service: Json) -> tuple[int, int]:
    route = virtual_service["spec"]["http"][0]["route"]
    if len(route) == 1:
        return (100, 0)
    weights = {one["destination"]["subset"]: one.get("weight", 0) for one in route}
    return (weights.get("v1", 0), weights.get("v3", 0))

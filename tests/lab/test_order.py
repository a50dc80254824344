"""In which order Envoy is told: at no moment does anything point at what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.envoy.process import Envoy, tables_of
from canaryd.lab.istiod.control import ControlPlane
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.workloads import Controller, install

Json = dict[str, Any]


class Watched(Envoy):
    """An Envoy that does not run, and looks at what it would have after each write."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.has: dict[str, dict[str, Json]] = {"lds": {}, "cds": {}, "rds": {}, "rtds": {}}
        self.complete = False
        self.looked = 0
        self.dangling: list[str] = []

    def write(self, kind: str, resources: Sequence[Json]) -> int:
        named = {each["name"]: each for each in resources}
        self.has[kind] = {**self.has[kind], **named} if kind == "rds" else named
        if self.complete:  # the first time, Envoy finds all files at once
            self.looked += 1
            self.dangling += [f"{kind}: {each}" for each in self._dangling()]
        return super().write(kind, resources)

    def _dangling(self) -> Iterator[str]:
        """From where clients stand to the routes there, their clusters, and the listeners of their endpoints."""
        clients = [each for each in self.has["lds"].values() if "address" in each]
        followed = {name for listener in clients for name in tables_of(listener)}
        for name in sorted(followed):
            if not name.endswith("~9080"):
                continue  # a VirtualService is told on ports at which its host has no Service, too: Istio does that
            for cluster in clusters_in(self.has["rds"][name]):
                if cluster not in self.has["cds"]:
                    yield f"{name} -> {cluster}"
                for place in listeners_of(self.has["cds"].get(cluster, {})):
                    if place not in self.has["lds"]:
                        yield f"{cluster} -> {place}"


def clusters_in(table: Json) -> Iterator[str]:
    for host in table["virtual_hosts"]:
        for route in host["routes"]:
            action = route.get("route", {})
            if "cluster" in action:
                yield action["cluster"]
            yield from (each["name"] for each in action.get("weighted_clusters", {}).get("clusters", []))


def listeners_of(cluster: Json) -> Iterator[str]:
    for locality in cluster.get("load_assignment", {}).get("endpoints", []):
        for each in locality["lb_endpoints"]:
            yield each["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"]


@pytest.fixture
def envoy(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_nothing_points_at_what_is_not_there(envoy: Watched) -> None:
    """A pod that goes, a version that comes, a subset that is taken away: a request in between would be 503."""
    cluster = Cluster()
    install(cluster, bookinfo.objects(weights={"v1": 50, "v3": 50}))
    controller = Controller(cluster)
    controller.reconcile()
    control_plane = ControlPlane(cluster, envoy, vantage={"client": Proxy()})
    control_plane.start()
    control_plane.settle()
    envoy.complete = True

    def changed(*objects: Json) -> None:
        for each in objects:
            cluster.apply(each)
        controller.reconcile()
        control_plane.settle()
        assert control_plane.problem is None

    try:
        changed(bookinfo.deployment("reviews", "v3", 2, "reviews-v3:next"))
        changed(bookinfo.deployment("reviews", "v3", 0))
        changed(bookinfo.deployment("reviews", "v3", 3))
        changed(bookinfo.virtual_service({"v1": 100}), bookinfo.destination_rule(versions=("v1",)))
        changed(bookinfo.destination_rule(), bookinfo.virtual_service({"v2": 50, "v3": 50}))
        changed(bookinfo.service("extra"), bookinfo.deployment("extra", "v1"))
        cluster.remove("Service", "default", "extra")
        cluster.remove("Deployment", "default", "extra-v1")
        changed()
    finally:
        control_plane.stop()
    assert not envoy.dangling, "\n".join(envoy.dangling)
    assert envoy.looked > 20

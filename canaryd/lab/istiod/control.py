"""
The lab's control plane: when an object changes, Envoy gets the configuration that follows from it.

Nothing is half done: clusters that routes still use stay until Envoy has the new routes, and what cannot be translated
leaves the last good configuration in force, as a refused push does in Istio; `problem` says why.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

from canaryd.errors import CanarydError, Unavailable
from canaryd.lab.envoy.bootstrap import ROUTES, listener_name
from canaryd.lab.envoy.process import Envoy
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.objects import is_ready, workload_of
from canaryd.lab.istiod.proxy import Proxy, Wiring
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.statuses import tell_routes
from canaryd.lab.istiod.translation import Translation, translate

Json = dict[str, Any]
RETRY_AFTER = 0.5
KINDS = (
    "VirtualService",
    "DestinationRule",
    "Service",
    "Pod",
    "Gateway",
    "PeerAuthentication",
    "HTTPRoute",
    "gateways.gateway.networking.k8s.io",
    "ReferenceGrant",
    "Namespace",
)


def _address(pod: Json, _: int) -> Json:
    place = {"server_listener_name": listener_name(workload_of(pod)), "endpoint_id": pod["metadata"]["name"]}
    return {"envoy_internal_address": place}


WIRING = Wiring(
    address=_address, identity=lambda _: None, cluster=lambda _, port, subset, host: cluster_name(port, subset, host)
)


class Change(Protocol):
    """What the cluster tells about a change."""

    @property
    def object(self) -> Json: ...


class Watched(Protocol):
    """What is asked of the cluster: objects of a kind, a call at every change, and writing endpoints."""

    def objects(self, kind: str) -> list[Json]: ...

    def subscribe(self, callback: Callable[[Any], None]) -> Any: ...

    def apply(self, obj: Json) -> Json: ...

    def set_status(self, kind: str, namespace: str, name: str, status: Json) -> None: ...


class ControlPlane:
    """A thread that keeps Envoy true to the cluster."""

    def __init__(self, cluster: Watched, envoy: Envoy, proxy: Proxy | None = None) -> None:
        self.problem: str | None = None
        self._cluster = cluster
        self._envoy = envoy
        self._proxy = proxy or Proxy()
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._stopping = False
        self._lagging = False  # Envoy did not answer in time: ask again though nothing changed
        self._in_force: Translation | None = None
        self._thread = threading.Thread(target=self._follow, name="lab-istiod", daemon=True)

    def start(self) -> None:
        """Translate what there is (before Envoy starts: it will find the files), then follow the changes."""
        self.push()
        self._cluster.subscribe(self._wake)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5)

    def settle(self, deadline: float = 5.0) -> None:
        """
        Wait until every change made before this call is in force in Envoy (or found untranslatable, see `problem`).

        Raises Unavailable when that takes more than `deadline` seconds.
        """
        with self._changed:
            asked = self._asked
            if not self._changed.wait_for(lambda: self._done >= asked, deadline):
                raise Unavailable(f"Envoy's configuration lagged behind the cluster for more than {deadline:g} s")

    def push(self) -> None:
        """Translate the cluster as it is and hand it to Envoy. A failure is kept in `problem`, nothing is raised."""
        try:
            self._publish_endpoints()
            registry = Registry.of(each for kind in KINDS for each in self._cluster.objects(kind))
            self._hand_over(translate(registry, self._proxy, WIRING))
            tell_routes(self._cluster, registry)
            self.problem, self._lagging = None, False
        except CanarydError as error:
            self.problem, self._lagging = str(error), isinstance(error, Unavailable)

    def _hand_over(self, new: Translation) -> None:
        fresh = {cluster["name"] for cluster in new.clusters}
        leaving = [one for one in (self._in_force.clusters if self._in_force else []) if one["name"] not in fresh]
        self._write("cds", [*new.clusters, *leaving])
        self._write("rds", [new.routes[ROUTES]])
        if leaving:
            self._write("cds", new.clusters)
        self._in_force = new

    def _write(self, kind: str, resources: list[Json]) -> None:
        version = self._envoy.write(kind, resources)
        if self._envoy.running:
            self._envoy.confirm(kind, version)

    def _wake(self, change: Change) -> None:
        if change.object["kind"] not in KINDS:
            return  # Leases and our own EndpointSlices say nothing about routes
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def _follow(self) -> None:
        while True:
            with self._changed:
                pause = RETRY_AFTER if self._lagging else None
                self._changed.wait_for(lambda: self._asked > self._done or self._stopping, pause)
                if self._stopping:
                    return
                asked = self._asked
            self.push()
            with self._changed:
                self._done = asked
                self._changed.notify_all()

    def _publish_endpoints(self) -> None:
        """What Kubernetes' own controller would do: one EndpointSlice per Service, true to its pods."""
        pods = self._cluster.objects("Pod")
        published = {each["metadata"]["name"]: each for each in self._cluster.objects("EndpointSlice")}
        for service in self._cluster.objects("Service"):
            if not service["spec"].get("selector"):
                continue
            wanted = endpoint_slice(service, pods)
            there = published.get(wanted["metadata"]["name"])
            if there is None or there["endpoints"] != wanted["endpoints"] or there["ports"] != wanted["ports"]:
                with contextlib.suppress(KeyError):  # a cluster that does not serve EndpointSlices needs none
                    self._cluster.apply(wanted)


def endpoint_slice(service: Json, pods: list[Json]) -> Json:
    """The EndpointSlice of a Service over its pods, ready or not."""
    about = service["metadata"]
    selected = [
        pod
        for pod in pods
        if pod["metadata"].get("namespace") == about["namespace"]
        and service["spec"]["selector"].items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{about['name']}-lab",
            "namespace": about["namespace"],
            "labels": {"kubernetes.io/service-name": about["name"]},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [pod.get("status", {}).get("podIP", "")],
                "conditions": {"ready": is_ready(pod), "serving": is_ready(pod), "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": about["namespace"], "name": pod["metadata"]["name"]},
            }
            for pod in selected
        ],
        "ports": [{"name": p.get("name", ""), "port": p["port"], "protocol": "TCP"} for p in service["spec"]["ports"]],
    }

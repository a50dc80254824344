"""
The lab's control plane: when an object changes, Envoy gets the configuration that follows from it.

One Envoy is every proxy of the mesh. Each has route tables, clusters and listeners of its own, told apart by its name
in theirs: the clients where an experimenter stands (its vantage points), and the sidecar of every workload whose
application calls others. Every port of every pod is a listener.

Nothing is half done: what routes still use stays until Envoy has the new routes, and what cannot be translated for a
proxy leaves its last good configuration in force, as a refused push does in Istio; `problem` says why.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.lab.envoy.application import CALLS, Call, calls_of
from canaryd.lab.envoy.certificates import Authority
from canaryd.lab.envoy.listeners import DISABLE, Inbound, inbound, outbound, passing_on, way_to
from canaryd.lab.envoy.process import Envoy
from canaryd.lab.envoy.resources import internal
from canaryd.lab.envoy.statistics import NOTHING_ADDED, VERSION_HEADER, Added, peer_of, told_to_servers, untold
from canaryd.lab.istiod.authentication import mtls_mode
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.hosts import ports_of, service_domains, service_host
from canaryd.lab.istiod.objects import (
    age_of,
    full_name,
    has_labels,
    is_ready,
    labels_of,
    namespace_of,
    where_of,
    workload_of,
)
from canaryd.lab.istiod.ports import is_http, is_stream, target_of
from canaryd.lab.istiod.proxy import GATEWAY, Proxy, Wiring
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.statuses import tell_routes
from canaryd.lab.istiod.streams import Stream
from canaryd.lab.istiod.telemetry import added_labels
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
    "Telemetry",
)
STEERING = {"VirtualService", "HTTPRoute"}  # they choose among clusters and make none
ISTIO_PROXY = "istio-proxy"
TEMPLATES = "inject.istio.io/templates"
DATAPLANE = "istio.io/dataplane-mode"


def _endpoint(pod: Json, port: int) -> Json:
    return internal(listener_of(pod, port), str(pod["metadata"]["name"]))


WIRING = Wiring(  # of one proxy alone, in plain text
    address=_endpoint, identity=lambda _: None, cluster=lambda _, port, subset, host: cluster_name(port, subset, host)
)


def key_of(proxy: Proxy) -> str:
    """How a proxy's own clusters, route tables and listeners begin."""
    return f"{proxy.name}.{proxy.namespace}"


def listener_of(pod: Json, port: int) -> str:
    return f"{pod['metadata']['name']}.{namespace_of(pod)}:{port}"


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


@dataclass(frozen=True, slots=True)
class Served:
    """What a port of a pod is to its clients: the host of its first Service, and whether that passes it on whole."""

    host: str = ""
    stream: bool = False


@dataclass(slots=True)
class _Seat:
    """A proxy: what it has, what it will have, and what it serves."""

    proxy: Proxy
    vantage: str = ""  # its name there, empty for the sidecar of an application only
    calls: set[Call] = field(default_factory=set)  # what its application calls
    in_force: Translation = field(default_factory=lambda: Translation({}, []))
    peer: bool = True  # whether it has a sidecar
    added: Added = NOTHING_ADDED  # labels beside the standard ones, of what it counts
    clusters: list[Json] | None = None  # the last that were translated, with what the lab adds
    coming: list[tuple[float, Translation]] = field(default_factory=list)  # when, what: of a proxy that lags


class ControlPlane:
    """A thread that keeps Envoy true to the cluster."""

    def __init__(
        self,
        cluster: Watched,
        envoy: Envoy,
        authority: Authority | None = None,
        *,
        vantage: Mapping[str, Proxy],
        version_of: Callable[[Json], str | None] = lambda _: None,
        cover: Callable[[list[Json]], None] = lambda _: None,
        tracing: Callable[[str, Json], Json | None] = lambda *_: None,
    ) -> None:
        """
        `authority`: who signs the proxies' certificates; without one they speak plain text. `vantage`: the proxies at
        which an experimenter stands, by name. `version_of`: the version on trial that a pod is of, which it tells to
        clients; None for its own label. `cover` is told all pods before they get listeners. `tracing`: a proxy's
        service name and tags -> the tracing part of its listeners.
        """
        self.problem: str | None = None
        self._cluster = cluster
        self._envoy = envoy
        self._authority = authority
        self.vantage = dict(vantage)
        self._version_of = version_of
        self._cover = cover
        self._tracing = tracing
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._stopping = False
        self._lagging = False  # Envoy did not answer in time: ask again though nothing changed
        self._stale = set(KINDS)
        self._objects: dict[str, list[Json]] = {}
        self._lag: dict[str, float] = {}
        self._without_sidecar: set[str] = set()
        self._refusing: frozenset[str] = frozenset()
        self._serving: tuple[dict[str, Json], list[str]] = ({}, [])
        self._sound = False  # whether everything could be translated the last time
        self._seats: dict[str, _Seat] = {}
        self._built: dict[tuple[Any, ...], Json] = {}
        self._listeners: dict[str, Json] = {}
        self._clusters: dict[str, Json] = {}
        self._thread = threading.Thread(target=self._follow, name="lab-istiod", daemon=True)

    def start(self) -> None:
        """Translate what there is (before Envoy starts: it will find the files), then follow the changes."""
        self._cluster.subscribe(self._wake)
        self.push()
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5)

    def settle(self, deadline: float = 5.0) -> None:
        """
        Wait until every change made before this call is in force in Envoy (or found untranslatable, see `problem`), at
        a proxy that lags: on its way.

        Raises Unavailable when that takes more than `deadline` seconds.
        """
        with self._changed:
            asked = self._asked
            if not self._changed.wait_for(lambda: self._done >= asked, deadline):
                raise Unavailable(f"Envoy's configuration lagged behind the cluster for more than {deadline:g} s")

    def lag(self, vantage: str, seconds: float) -> None:
        """From now on, what changes reaches that proxy so much later. Raises Rejected for an unknown one."""
        self._known(vantage)
        self._lag[vantage] = seconds
        self._ask()

    def sidecar(self, vantage: str, present: bool) -> None:
        """Take a client's sidecar away, or give it back; in force when it returns. Raises Rejected at a gateway."""
        self._known(vantage)
        if self.vantage[vantage].kind == GATEWAY:
            raise Rejected(f"{vantage}: a gateway is a proxy and nothing else; take the sidecar of another")
        (self._without_sidecar.discard if present else self._without_sidecar.add)(vantage)
        self._ask("Pod")
        self.settle()

    def refuse(self, pods: Iterable[str]) -> None:
        """Nothing listens at these pods (by name), and at no others; in force when it returns."""
        self._refusing = frozenset(pods)
        self._ask("Pod")
        self.settle()

    def ports(self, vantage: str) -> dict[int, str]:
        """The ports of a vantage point, as its clients name them, and the listeners that stand for them."""
        seat = next(each for each in self._seats.values() if each.vantage == vantage)
        return {port_of(table): _outbound_name(seat, table) for table in seat.in_force.routes}

    def streams(self, vantage: str) -> dict[str, str]:
        """Where a vantage point passes connections on: `<host>:<port>` (at a gateway `:<port>`), and its listeners."""
        seat = next(each for each in self._seats.values() if each.vantage == vantage)
        return {f"{each.host}:{each.port}": _stream_name(seat, each) for each in seat.in_force.streams}

    def push(self) -> None:
        """Translate the cluster as it is and hand it to Envoy. A failure is kept in `problem`, nothing is raised."""
        problems: list[str] = []
        try:
            registry, pods, stale = self._read()
            steered = stale <= STEERING and self._sound  # a weight is to be in force within milliseconds
            if not steered:
                self._cover([pod for pod in pods if served_ports(pod, registry)])
                self._seat(pods)
                self._serving = self._serve(registry, pods)
            self._translate(registry, problems, steered=steered)
            self._hand_over(problems)
            tell_routes(self._cluster, registry)
            self._lagging = False
        except CanarydError as error:
            problems.append(str(error))
            self._lagging = isinstance(error, Unavailable)
        self.problem = problems[0] if problems else None
        self._sound = not problems

    # What is there

    def _read(self) -> tuple[Registry, list[Json], set[str]]:
        with self._changed:
            stale, self._stale = self._stale, set()
        for kind in KINDS:
            if kind in stale:
                with contextlib.suppress(KeyError):  # a kind that the cluster does not serve
                    self._objects[kind] = self._cluster.objects(kind)
        pods = [pod for pod in self._objects["Pod"] if "deletionTimestamp" not in pod["metadata"]]
        if stale & {"Pod", "Service"}:
            self._publish_endpoints(pods)
        return Registry.of(each for objects in self._objects.values() for each in objects), pods, stale

    def _seat(self, pods: list[Json]) -> None:
        """A seat for each vantage point and each workload that calls."""
        seats: dict[str, _Seat] = {}
        found = {(workload_of(pod), namespace_of(pod)): pod for pod in pods}

        def seat(proxy: Proxy) -> _Seat:
            key = key_of(proxy)
            there = seats.get(key) or self._seats.get(key) or _Seat(proxy)
            there.proxy = proxy
            seats[key] = there
            return there

        for name, proxy in self.vantage.items():
            pod = found.get((proxy.name, proxy.namespace))
            seat(_proxy_of(pod, proxy.kind) if pod else proxy).vantage = name
        for each in seats.values():
            each.calls = set()
        for pod in found.values():
            for call in self._calls(pod):
                seat(_proxy_of(pod)).calls.add(call)
        self._seats = seats

    # What follows

    def _translate(self, registry: Registry, problems: list[str], *, steered: bool) -> None:
        wiring = Wiring(_endpoint, self._identity, _cluster)
        now = time.monotonic()
        for seat in self._seats.values():
            seat.peer = seat.vantage not in self._without_sidecar
            try:
                if seat.peer:
                    new = translate(registry, seat.proxy, wiring, clusters=seat.clusters if steered else None)
                    seat.added = added_labels(registry, seat.proxy)
                else:
                    new = straight(registry, seat.proxy, wiring)
                new = self._completed(new, seat)
            except CanarydError as error:
                problems.append(str(error))
                continue
            late = self._lag.get(seat.vantage, 0.0)
            newest = seat.coming[-1][1] if seat.coming else seat.in_force
            if new != newest:
                first = not seat.in_force.routes
                seat.coming.append((now if first else now + late, new))
            while seat.coming and (seat.coming[0][0] <= now or not late):
                seat.in_force = seat.coming.pop(0)[1]

    def _completed(self, translation: Translation, seat: _Seat) -> Translation:
        """What the lab adds to Istio's translation: the names of one proxy, and who calls."""
        proxy = seat.proxy
        told = told_to_servers(_peer_of(proxy)) if seat.peer else untold()
        routes = {}
        for table, config in translation.routes.items():
            kept = [
                each
                for each in config.get("response_headers_to_add", [])
                if each["header"]["key"] != VERSION_HEADER  # pods tell it themselves
            ]
            added = [*config.get("request_headers_to_add", []), *told.get("request_headers_to_add", [])]
            removed = [*config.get("request_headers_to_remove", []), *told["request_headers_to_remove"]]
            hosts = config["virtual_hosts"]
            if not seat.vantage:  # what nobody asks for there need not be told anew whenever it changes
                hosts = [each for each in hosts if _is_called(each["domains"], seat.calls)]
            routes[table] = {
                **config,
                "virtual_hosts": hosts,
                "name": _table_name(proxy, table),
                "request_headers_to_add": added,
                "request_headers_to_remove": removed,
                "response_headers_to_add": kept,
            }
        clusters = translation.clusters
        if clusters is not seat.clusters:
            clusters = [{**each, "alt_stat_name": each["name"].partition("/")[2]} for each in clusters]
            seat.clusters = clusters if seat.peer else None
        return Translation(routes, clusters, translation.streams)

    def _serve(self, registry: Registry, pods: list[Json]) -> tuple[dict[str, Json], list[str]]:
        """The listeners of all pods, and what could not be read of them."""
        problems: list[str] = []
        listeners: dict[str, Json] = {}
        for pod in pods:
            if pod["metadata"]["name"] not in self._refusing:
                listeners |= self._inbound(pod, registry, problems)
        return listeners, problems

    def _hand_over(self, problems: list[str]) -> None:
        clusters: dict[str, Json] = {}
        tables: dict[str, Json] = {}
        listeners, unread = dict(self._serving[0]), self._serving[1]
        problems += unread
        for key, seat in self._seats.items():
            clusters |= {each["name"]: each for each in seat.in_force.clusters}
            if seat.vantage:
                listeners |= self._streams(seat)
            for table, config in seat.in_force.routes.items():
                tables[config["name"]] = config
                if seat.vantage:
                    listeners |= self._outbound(seat, table, tcp=True)
                if any(call.port == port_of(table) for call in seat.calls):
                    listeners |= self._outbound(seat, table, tcp=False)
                    clusters[_own_way(key, port_of(table))] = way_to(_own_way(key, port_of(table)))
        fresh = [each for name, each in tables.items() if not self._is_followed(name)]
        self._envoy.write("rds", fresh)  # a listener waits for its table
        self._write("lds", [*listeners.values(), *_leaving(self._listeners, listeners)])
        self._write("cds", [*clusters.values(), *_leaving(self._clusters, clusters)])
        self._listeners, self._clusters = self._listeners | listeners, self._clusters | clusters
        self._write("rds", list(tables.values()))
        self._write("lds", list(listeners.values()))
        self._write("cds", list(clusters.values()))
        self._listeners, self._clusters = listeners, clusters

    def _inbound(self, pod: Json, registry: Registry, problems: list[str]) -> dict[str, Json]:
        """A listener for each port of a pod."""
        found = {}
        for number, served in served_ports(pod, registry).items():
            try:
                calls = self._calls(pod)
            except Rejected as error:
                problems.append(str(error))
                calls = ()
            labels = labels_of(pod)
            workload, home = workload_of(pod), namespace_of(pod)
            injected = any(each["name"] == ISTIO_PROXY for each in pod["spec"]["containers"])
            mode = mtls_mode(registry, pod, number) if injected and self._authority else DISABLE
            peer = peer_of(workload, home, labels)
            port = Inbound(
                listener_of(pod, number),
                pod["metadata"]["name"],
                peer,
                served.host,
                mode,
                injected,
                calls,
                served.stream,
                self._version_of(pod) or peer.version,
            )
            account = pod["spec"].get("serviceAccountName", "default")
            key = (port, account)
            if key not in self._built:
                certificate = self._authority.server(home, account) if self._authority and mode != DISABLE else None
                own = key_of(_proxy_of(pod))
                self._built[key] = inbound(
                    port,
                    certificate,
                    lambda call, own=own: _own_way(own, call.port),  # type: ignore[misc]
                    self._tracing_of(_proxy_of(pod)),
                )
            found[port.name] = self._built[key]
        return found

    def _outbound(self, seat: _Seat, table: str, *, tcp: bool) -> dict[str, Json]:
        name = _outbound_name(seat, table) if tcp else _own_way(key_of(seat.proxy), port_of(table))
        peer = _peer_of(seat.proxy) if seat.peer else None
        waypoint = self._is_ambient(seat.proxy)
        key = (name, table, peer, waypoint, seat.added)
        if key not in self._built:
            own = _table_name(seat.proxy, table)
            gateway = seat.proxy.kind == GATEWAY
            self._built[key] = outbound(
                name,
                own,
                self._envoy.routes_file(own),
                peer,
                gateway=gateway,
                waypoint=waypoint,
                added=seat.added,
                tcp=tcp,
                tracing=self._tracing_of(seat.proxy) if peer else None,
            )
        return {name: self._built[key]}

    def _is_ambient(self, proxy: Proxy) -> bool:
        """
        Whether a client is in ambient mode: its requests are then routed, and counted, by a waypoint.

        The lab has no ztunnel: each such client meets the waypoint of the service at once, in plain text.
        """
        home = next((one for one in self._objects["Namespace"] if one["metadata"]["name"] == proxy.namespace), {})
        mode = proxy.labels.get(DATAPLANE) or (labels_of(home) if home else {}).get(DATAPLANE)
        return mode == "ambient" and proxy.kind != GATEWAY

    def _streams(self, seat: _Seat) -> dict[str, Json]:
        """A listener for each place where connections are passed on whole."""
        places: dict[str, list[Stream]] = {}
        for each in seat.in_force.streams:
            places.setdefault(_stream_name(seat, each), []).append(each)
        return {name: passing_on(name, streams) for name, streams in places.items()}

    def _tracing_of(self, proxy: Proxy) -> Json | None:
        peer = _peer_of(proxy)
        service = f"{peer.app or peer.workload}.{peer.namespace}"
        tags = {
            "istio.canonical_service": peer.canonical_service,
            "istio.canonical_revision": peer.canonical_revision,
            "istio.namespace": peer.namespace,
            "istio.mesh_id": "cluster.local",
            "istio.cluster_id": "Kubernetes",
            "node_id": f"{proxy.kind if proxy.kind == GATEWAY else 'sidecar'}~{key_of(proxy)}",
        }
        return self._tracing(service, tags)

    def _identity(self, proxy: Proxy) -> Json | None:
        return self._authority.client(proxy.namespace, proxy.service_account) if self._authority else None

    def _calls(self, pod: Json) -> tuple[Call, ...]:
        annotation = (pod["metadata"].get("annotations") or {}).get(CALLS, "")
        return calls_of(annotation, where_of(pod))

    # To Envoy

    def _is_followed(self, table: str) -> bool:
        return any(name for name, each in self._listeners.items() if _follows(each, table))

    def _write(self, kind: str, resources: list[Json]) -> None:
        version = self._envoy.write(kind, resources)
        if self._envoy.running:
            self._envoy.confirm(kind, version)

    def _known(self, vantage: str) -> None:
        if vantage not in self.vantage:
            raise Rejected(f"{vantage}: no such vantage point; there are {', '.join(self.vantage)}")

    def _ask(self, *stale: str) -> None:
        with self._changed:
            self._stale |= set(stale)
            self._asked += 1
            self._changed.notify_all()

    def _wake(self, change: Change) -> None:
        kind = change.object["kind"]
        if kind not in KINDS:
            return  # Leases and our own EndpointSlices say nothing about routes
        with self._changed:
            self._stale |= {each for each in KINDS if each == kind or each.startswith(f"{kind.lower()}s.")}
            self._asked += 1
            self._changed.notify_all()

    def _follow(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._done or self._stopping, self._pause())
                if self._stopping:
                    return
                asked = self._asked
            self.push()
            with self._changed:
                self._done = asked
                self._changed.notify_all()

    def _pause(self) -> float | None:
        """Until when nothing has to be done, if nothing changes."""
        now = time.monotonic()
        due = [max(0.0, seat.coming[0][0] - now) for seat in self._seats.values() if seat.coming]
        if self._lagging:
            due.append(RETRY_AFTER)
        return min(due, default=None)

    def _publish_endpoints(self, pods: list[Json]) -> None:
        """What Kubernetes' own controller would do: one EndpointSlice per Service, true to its pods."""
        published = {full_name(each): each for each in self._cluster.objects("EndpointSlice")}
        for service in self._objects["Service"]:
            if not service["spec"].get("selector"):
                continue
            wanted = endpoint_slice(service, pods)
            there = published.get(full_name(wanted))
            if there is None or there["endpoints"] != wanted["endpoints"] or there["ports"] != wanted["ports"]:
                with contextlib.suppress(KeyError):  # a cluster that does not serve EndpointSlices needs none
                    self._cluster.apply(wanted)


# Pure parts


def straight(registry: Registry, proxy: Proxy, wiring: Wiring) -> Translation:
    """What a client without a sidecar has: names of Services, and a ready pod of them at random, as kube-proxy does."""
    clusters, routes = [], {}
    spoken = {
        port["port"] for service in registry.services for port in service["spec"].get("ports", []) if is_http(port)
    }
    for port in sorted(spoken):
        hosts = []
        for service in registry.services:
            if port not in ports_of(service):
                continue
            name = wiring.cluster(proxy, port, "", service_host(service))
            clusters.append(_straight_cluster(name, service, port, registry, wiring))
            domains = service_domains(service, proxy.namespace, port)
            way = {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}
            hosts.append({"name": name, "domains": domains, "routes": [way]})
        routes[str(port)] = {"name": str(port), "virtual_hosts": hosts}
    return Translation(routes, clusters)


def _straight_cluster(name: str, service: Json, port: int, registry: Registry, wiring: Wiring) -> Json:
    selector = service["spec"].get("selector") or {}
    told = next(each for each in service["spec"]["ports"] if each["port"] == port)
    behind = [
        (pod, target)
        for pod in registry.pods
        if selector and namespace_of(pod) == namespace_of(service) and has_labels(pod, selector)
        if (target := target_of(told, pod)) is not None
    ]
    places = [{"endpoint": {"address": wiring.address(pod, target)}} for pod, target in behind]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "RANDOM",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": places}]},
        "common_lb_config": {"healthy_panic_threshold": {}},
    }


def served_ports(pod: Json, registry: Registry) -> dict[int, Served]:
    """The ports at which a pod listens: those that its containers declare, else those that Services target."""
    if (pod["metadata"].get("annotations") or {}).get(TEMPLATES) == "gateway":
        return {}  # the gateway is a proxy itself
    targeted: dict[int, Served] = {}
    for service in sorted(registry.services, key=age_of):
        selector = service["spec"].get("selector") or {}
        if namespace_of(service) == namespace_of(pod) and selector and has_labels(pod, selector):
            for port in service["spec"].get("ports", []):
                target = target_of(port, pod)
                if target is not None:
                    targeted.setdefault(target, Served(service_host(service), is_stream(port)))
    declared = [int(each["containerPort"]) for each in _container_ports(pod)]
    return {port: targeted.get(port, Served()) for port in declared or targeted}


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


def port_of(table: str) -> int:
    """The port in the name of a route table: `9080`, `http.8080`, `https.8443.https.gateway.default`."""
    return next(int(part) for part in table.split(".") if part.isdigit())


def _container_ports(pod: Json) -> list[Json]:
    return [
        port
        for container in pod["spec"].get("containers", [])
        if container["name"] != ISTIO_PROXY
        for port in container.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    ]


def _cluster(proxy: Proxy, port: int, subset: str, host: str) -> str:
    return f"{key_of(proxy)}/{cluster_name(port, subset, host)}"


def _table_name(proxy: Proxy, table: str) -> str:
    return f"{key_of(proxy)}~{table}"


def _outbound_name(seat: _Seat, table: str) -> str:
    return f"{seat.vantage}~{table}"


def _stream_name(seat: _Seat, stream: Stream) -> str:
    return f"{seat.vantage}~stream~{stream.host}:{stream.port}"


def _own_way(key: str, port: int) -> str:
    """The listener, and the cluster that leads there, of a workload's own sidecar."""
    return f"{key}~{port}"


def _proxy_of(pod: Json, kind: str = "sidecar") -> Proxy:
    account = pod["spec"].get("serviceAccountName", "default")
    labels = {key: value for key, value in labels_of(pod).items() if key != "pod-template-hash"}
    return Proxy(workload_of(pod), namespace_of(pod), labels, kind, account)


def _peer_of(proxy: Proxy) -> Any:
    return peer_of(proxy.name, proxy.namespace, proxy.labels)


def _is_called(domains: Iterable[str], calls: Iterable[Call]) -> bool:
    """Whether an application's calls may meet a virtual host with these domains."""
    return any(
        "*" in domain or domain in (call.host, f"{call.host}:{call.port}") for domain in domains for call in calls
    )


def _leaving(former: dict[str, Json], now: dict[str, Json]) -> list[Json]:
    return [each for name, each in former.items() if name not in now]


def _follows(listener: Json, table: str) -> bool:
    return any(
        each["typed_config"].get("rds", {}).get("route_config_name") == table
        for chain in listener["filter_chains"]
        for each in chain["filters"]
    )

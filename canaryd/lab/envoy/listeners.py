"""
Listeners: one for each pod, where its requests come in, and one for each port of a proxy, where they go out.

A pod's listener is internal (no port of the machine, no process) and has a filter chain for mTLS, one for plain text,
or both, by the PeerAuthentication that holds for it. Its fault filters are off until `faults.py` turns their runtime
keys. A proxy's listener is a TCP port of this machine where the experimenter stands, internal where an application
calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from canaryd.lab.envoy import application
from canaryd.lab.envoy.application import Call
from canaryd.lab.envoy.resources import extension, from_file, http_connection_manager, internal, loopback, router
from canaryd.lab.envoy.statistics import (
    GRPC,
    NOT_GRPC,
    NOTHING_ADDED,
    VERSION_HEADER,
    Added,
    Peer,
    at_destination,
    at_source,
    told_to_clients,
)

Json = dict[str, Any]
STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"  # PeerAuthentication's modes
INSPECTOR = "envoy.filters.listener.tls_inspector"
PART_HEADER = "x-lab-part"  # of requests to a part of the application that has a dial of its own
OUTBOUND = "outbound"  # what all listeners of proxies are called in Envoy's own statistics


@dataclass(frozen=True, slots=True)
class Inbound:
    """One port of a pod, as its proxy serves it. `service`: the host of the port's first Service, empty if none."""

    name: str  # of the listener
    pod: str
    peer: Peer
    service: str
    mode: str  # of mTLS
    injected: bool = True  # whether the pod has a sidecar: without one nobody counts there
    calls: tuple[Call, ...] = ()
    stream: bool = False  # whether its proxy sees connections only, though what they carry is HTTP
    version: str = ""  # as it is called in the lab, for the load generator's own books


def inbound(port: Inbound, certificate: Json | None, cluster: Callable[[Call], str], tracing: Json | None) -> Json:
    """The internal listener of a pod's port. `certificate`: the socket with which it proves who it is."""
    chains = []
    if port.mode != DISABLE and certificate is not None:
        chains.append({**_served(port, cluster, tracing, tls=True), "transport_socket": certificate})
    if port.mode != STRICT or certificate is None:
        chains.append(_served(port, cluster, tracing, tls=False))
    return {
        "name": port.name,
        "internal_listener": {},
        "listener_filters": [_inspector()] if certificate is not None and port.mode != DISABLE else [],
        "filter_chains": chains,
        "traffic_direction": "INBOUND",
    }


def _served(port: Inbound, cluster: Callable[[Call], str], tracing: Json | None, *, tls: bool) -> Json:
    seen = port.injected and not port.stream
    told = told_to_clients(port.peer) if seen else {}
    manager = http_connection_manager(
        stat_prefix="inbound",
        route_config={"name": "inbound", **application.routes(port.peer, port.calls, cluster)},
        http_filters=[
            application.names({VERSION_HEADER: port.version, **told}),
            *fault_filters(port.pod),
            application.scripts(),
            router(),
        ],
        access_log=at_destination(port.peer, port.service, tls=tls) if seen else [],
        **({"tracing": tracing} if tracing and seen else {}),
    )
    kind = "tls" if tls else "raw_buffer"
    return {"name": kind, "filter_chain_match": {"transport_protocol": kind}, "filters": [manager]}


def passing_on(name: str, streams: Iterable[Stream]) -> Json:
    """A TCP listener that passes connections on whole, by the name that a TLS client asks for where that is told."""
    chains, looks = [], False
    for number, each in enumerate(streams):
        looks = looks or bool(each.server_names)
        match = {"server_names": list(each.server_names)} if each.server_names else {}
        chains.append({"name": str(number), "filter_chain_match": match, "filters": [each.filter]})
    return {
        "name": name,
        "address": loopback(),
        "listener_filters": [_inspector()] if looks else [],
        "filter_chains": chains,
        "traffic_direction": "OUTBOUND",
    }


def _inspector() -> Json:
    return extension(INSPECTOR, "extensions.filters.listener.tls_inspector.v3.TlsInspector")


class Stream(Protocol):
    """What is asked of a stream here: the names and the filter of its chain (see istiod/streams.py)."""

    @property
    def server_names(self) -> tuple[str, ...]: ...

    @property
    def filter(self) -> Json: ...


def outbound(
    name: str,
    table: str,
    file: str,
    peer: Peer | None,
    *,
    gateway: bool = False,
    waypoint: bool = False,
    added: Added = NOTHING_ADDED,
    tcp: bool = True,
    tracing: Json | None = None,
) -> Json:
    """
    A port of a proxy, that follows the route table of that name in `file`.

    Without `peer` there is no proxy: what is sent there is not measured. With `waypoint` it is the waypoint's, for the
    requests of `peer`, which is in ambient mode.
    """
    manager = http_connection_manager(
        stat_prefix=OUTBOUND,
        rds={"route_config_name": table, "config_source": from_file(file)},
        http_filters=[  # as Istio orders them; a route configures the first two
            extension("envoy.filters.http.fault", "extensions.filters.http.fault.v3.HTTPFault"),
            extension("envoy.filters.http.cors", "extensions.filters.http.cors.v3.Cors"),
            router(),
        ],
        access_log=at_source(peer, gateway=gateway, waypoint=waypoint, added=added) if peer else [],
        # an open-loop client keeps its connections for the whole run
        common_http_protocol_options={"idle_timeout": "3600s"},
        normalize_path=True,
        **({"use_remote_address": True} if gateway else {}),
        **({"tracing": tracing} if tracing else {}),
    )
    address = {"address": loopback()} if tcp else {"internal_listener": {}}
    return {"name": name, **address, "filter_chains": [{"filters": [manager]}], "traffic_direction": "OUTBOUND"}


def way_to(listener: str) -> Json:
    """The cluster by which an application reaches its own sidecar."""
    endpoint = {"endpoint": {"address": internal(listener)}}
    return {
        "name": listener,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": listener, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def fault_filters(pod: str) -> list[Json]:
    """Three delays that add up, then three aborts; all off until `faults.py` turns their runtime keys."""
    return [
        *(_delay(pod, dial) for dial in ("base", "spread", "tail")),
        _fault(
            "fault_http",
            abort={"http_status": 500, "percentage": _never()},
            abort_percent_runtime=runtime_key(pod, "http.percent"),
            abort_http_status_runtime=runtime_key(pod, "http.status"),
            headers=[NOT_GRPC],
        ),
        _fault(
            "fault_part",
            abort={"http_status": 500, "percentage": _never()},
            abort_percent_runtime=runtime_key(pod, "part.percent"),
            abort_http_status_runtime=runtime_key(pod, "http.status"),
            headers=[NOT_GRPC, {"name": PART_HEADER, "present_match": True}],
        ),
        _fault(
            "fault_grpc",
            abort={"grpc_status": 13, "percentage": _never()},
            abort_percent_runtime=runtime_key(pod, "grpc.percent"),
            abort_grpc_status_runtime=runtime_key(pod, "grpc.status"),
            headers=[GRPC],
        ),
    ]


def runtime_key(pod: str, dial: str) -> str:
    return f"lab.{pod}.{dial}"


def _delay(pod: str, dial: str) -> Json:
    return _fault(
        f"fault_{dial}",
        delay={"fixed_delay": "0.001s", "percentage": _never()},
        delay_percent_runtime=runtime_key(pod, f"{dial}.percent"),
        delay_duration_runtime=runtime_key(pod, f"{dial}.ms"),
    )


def _fault(name: str, **settings: Any) -> Json:
    return extension(name, "extensions.filters.http.fault.v3.HTTPFault", **settings)


def _never() -> Json:
    return {"numerator": 0, "denominator": "MILLION"}

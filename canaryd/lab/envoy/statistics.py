"""
Istio's standard metrics, written by Envoy's stats access logger.

The source side writes what callers got, once a request: workload and canonical names are those of the *endpoint* that
was picked, so a request for which none was picked has none; `app` and `version` are told by the peer in its response,
so without a response there are none; the service is the *cluster's*, else the Host header (not at gateways). The
destination side writes every attempt, under the labels of its own pod and of the peer that called.

Envoy leaves empty what is not there; `prometheus.py` then writes Istio's `unknown` or `latest`. HTTP and gRPC have a
logger each, because only the latter has `grpc_response_status`.

Sources: Istio's stats filter (istio/proxy source/extensions/filters/http/istio_stats/istio_stats.cc, populatePeerInfo),
Envoy's `envoy.access_loggers.stats`. Istio's proxies exchange their metadata in headers too (peer_metadata filter).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.lab.envoy.resources import extension, header

Json = dict[str, Any]

VERSION_HEADER = "x-lab-version"  # the version that answered, for the load generator's own books
PEER_HEADER = "x-lab-peer-{}"  # who answered: the server's proxy writes it, the client's reads it
SOURCE_HEADER = "x-lab-source-{}"  # who calls: the client's proxy writes it, the server's reads it
CLUSTER = "Kubernetes"
GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
# Without the last member a request that has no content-type at all would match neither.
NOT_GRPC = {**GRPC, "invert_match": True, "treat_missing_header_as_empty": True}


@dataclass(frozen=True, slots=True)
class Peer:
    """A workload as Istio's labels name it; empty where it has no such label."""

    workload: str
    namespace: str
    app: str = ""
    version: str = ""
    canonical_service: str = ""
    canonical_revision: str = "latest"

    def labels(self, side: str) -> dict[str, str]:
        """Its labels on one side of a metric, `source` or `destination`."""
        return {
            f"{side}_workload": self.workload,
            f"{side}_workload_namespace": self.namespace,
            f"{side}_app": self.app,
            f"{side}_version": self.version,
            f"{side}_canonical_service": self.canonical_service,
            f"{side}_canonical_revision": self.canonical_revision,
            f"{side}_cluster": CLUSTER,
        }


@dataclass(frozen=True, slots=True)
class Added:
    """
    The labels that a proxy's counter of requests has beside the standard ones, and its histogram of durations, with
    Envoy's words for their values.
    """

    count: tuple[tuple[str, str], ...] = ()
    duration: tuple[tuple[str, str], ...] = ()


NOTHING_ADDED = Added()
PEER_LABELS = tuple(label.removeprefix("source_") for label in Peer("", "").labels("source"))


def peer_of(workload: str, namespace: str, labels: Mapping[str, str]) -> Peer:
    """
    A workload's labels from those of its pod.

    Source: istio/istio pkg/model/proxy.go, canonical name and revision.
    """

    def first(*names: str, otherwise: str) -> str:
        return next((labels[name] for name in names if labels.get(name)), otherwise)

    return Peer(
        workload,
        namespace,
        app=labels.get("app", ""),
        version=labels.get("version", ""),
        canonical_service=first("service.istio.io/canonical-name", "app.kubernetes.io/name", "app", otherwise=workload),
        canonical_revision=first(
            "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version", otherwise="latest"
        ),
    )


def told_to_servers(peer: Peer) -> Json:
    """The part of a RouteConfiguration that tells servers who calls, whatever the client itself wrote there."""
    told = {label: peer.labels("source")[f"source_{label}"] for label in PEER_LABELS}
    return {
        "request_headers_to_remove": [_source_header(label) for label in PEER_LABELS],
        "request_headers_to_add": [header(_source_header(label), value) for label, value in told.items() if value],
    }


def told_to_clients(peer: Peer) -> Json:
    """What a server's proxy puts on every answer, by name."""
    return {PEER_HEADER.format("app"): peer.app, PEER_HEADER.format("version"): peer.version}


def untold() -> Json:
    """The same for a client without a sidecar: nobody vouches for it."""
    return {"request_headers_to_remove": [_source_header(label) for label in PEER_LABELS]}


def at_source(peer: Peer, *, gateway: bool, waypoint: bool = False, added: Added = NOTHING_ADDED) -> list[Json]:
    """
    The loggers of a client's proxy. A gateway does not take the Host header for the service's name.

    With `waypoint` it is the waypoint that the client's requests go through, and counts as one: who calls is the client
    (istio_stats.cc, populatePeerInfo, ServerGateway; istio/proxy#5472).
    """
    otherwise = () if gateway or waypoint else ("%REQ(:AUTHORITY)%",)
    return _loggers(
        {
            "reporter": "waypoint" if waypoint else "source",
            **peer.labels("source"),
            "source_principal": "%UPSTREAM_LOCAL_URI_SAN%",
            "destination_workload": _of_host("workload"),
            "destination_workload_namespace": _of_host("namespace"),
            "destination_principal": "%UPSTREAM_PEER_URI_SAN%",
            "destination_app": f"%RESP({PEER_HEADER.format('app')})%",
            "destination_version": f"%RESP({PEER_HEADER.format('version')})%",
            "destination_service": _first(_of_cluster("host"), *otherwise),
            "destination_service_name": _first(_of_cluster("name"), *otherwise),
            "destination_service_namespace": _of_host("namespace"),  # sic: the peer's, so unknown without a host
            "destination_canonical_service": _of_host("canonical_service"),
            "destination_canonical_revision": _of_host("canonical_revision"),
            "destination_cluster": _of_host("cluster"),
            "response_code": "%RESPONSE_CODE%",
            "response_flags": "%RESPONSE_FLAGS%",
            "connection_security_policy": "unknown",
        },
        added=added,
    )


def at_destination(peer: Peer, service: str, *, tls: bool) -> list[Json]:
    """
    The loggers of a pod's proxy; `service` is the host of the first Service of the port, empty if none has it.

    The injected fault plays the application, so Envoy's own flags for it (DI, FI) would tell on us: a request that was
    answered has no flag, one whose client went away is `0` with `DC`.
    """
    name, _, rest = service.partition(".")
    tags = {
        "reporter": "destination",
        **{f"source_{label}": f"%REQ({_source_header(label)})%" for label in PEER_LABELS},
        "source_principal": "%DOWNSTREAM_PEER_URI_SAN%" if tls else "unknown",
        **peer.labels("destination"),
        "destination_principal": "%DOWNSTREAM_LOCAL_URI_SAN%" if tls else "unknown",
        "destination_service": service or "unknown",
        "destination_service_name": name or "unknown",
        "destination_service_namespace": rest.partition(".")[0] or peer.namespace,
        "response_code": "%RESPONSE_CODE%",
        "connection_security_policy": "mutual_tls" if tls else "none",
        # In a cluster Prometheus writes it from the scrape's target; here one scrape brings all pods.
        "pod": "%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%",
    }
    answered = _loggers({**tags, "response_flags": "-"}, _status("GE", 1))
    left = _loggers({**tags, "response_flags": "DC"}, _status("LE", 0))
    return [*answered, *left]


def _source_header(label: str) -> str:
    return SOURCE_HEADER.format(label.replace("_", "-"))


def _loggers(tags: dict[str, str], *conditions: Json, added: Added = NOTHING_ADDED) -> list[Json]:
    return [
        _logger([_header_is(NOT_GRPC), *conditions], {**tags, "request_protocol": "http"}, added),
        _logger(
            [_header_is(GRPC), *conditions],
            {**tags, "request_protocol": "grpc", "grpc_response_status": "%GRPC_STATUS_NUMBER%"},
            added,
        ),
    ]


def _logger(conditions: list[Json], tags: dict[str, str], added: Added) -> Json:
    logger = extension(
        "envoy.access_loggers.stats",
        "extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "istio"},
        counters=[{"value_fixed": 1, "stat": {"name": "requests_total", "tags": _named(tags | dict(added.count))}}],
        histograms=[
            {
                "stat": {"name": "request_duration_milliseconds", "tags": _named(tags | dict(added.duration))},
                "unit": "Milliseconds",
                "value_format": "%DURATION%",
            }
        ],
    )
    return {**logger, "filter": conditions[0] if len(conditions) == 1 else {"and_filter": {"filters": conditions}}}


def _named(tags: Mapping[str, str]) -> list[Json]:
    return [{"name": name, "value_format": value} for name, value in tags.items() if value]


def _header_is(condition: Json) -> Json:
    return {"header_filter": {"header": condition}}


def _status(comparison: str, code: int) -> Json:
    value = {"default_value": code, "runtime_key": "lab.never.set"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _of_host(key: str) -> str:
    return f"%METADATA(UPSTREAM_HOST:istio:{key})%"


def _of_cluster(key: str) -> str:
    return f"%METADATA(CLUSTER:istio:{key})%"


def _first(*formats: str) -> str:
    """The first of these that is not empty, in Envoy's COALESCE."""
    if len(formats) == 1:
        return formats[0]
    operators = []
    for command in formats:
        name, _, parameter = command.strip("%").rstrip(")").partition("(")
        operators.append({"command": name, "param": parameter})
    return f"%COALESCE({json.dumps({'operators': operators})})%"

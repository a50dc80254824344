"""
Envoy's start-up configuration: one process that is productpage's sidecar and every pod of the upstream workloads.

The outbound listener stands for the client's sidecar and writes Istio's metrics with `reporter="source"`; each upstream
workload is an internal listener (no port, no process) that answers by itself, is made slow or faulty by fault filters,
and writes `reporter="destination"`. Labels follow Istio's stats filter: workload, version and app are those of the
*upstream host*, so a request for which no host was picked has none, and Prometheus' relabelling (`prometheus.py`)
writes `unknown` there; the service is that of the *cluster*, else the Host header.

The pods of a workload share its listener, and are told apart by the endpoint's id, which is the pod's name.

HTTP and gRPC have a logger each, because only the latter has `grpc_response_status`.
Sources: Istio's stats filter (istio/proxy source/extensions/filters/http/istio_stats/istio_stats.cc, populatePeerInfo),
Envoy's `envoy.access_loggers.stats`, fault filter and internal listeners.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

ROUTES = "9080"  # a sidecar names its outbound route configurations by port
VERSION_HEADER = "x-lab-version"  # the version that answered, for the load generator's own books
TYPES = "type.googleapis.com/envoy"
BUCKETS = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
)
GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
# Without the last member a request that has no content-type at all would match neither.
NOT_GRPC = {**GRPC, "invert_match": True, "treat_missing_header_as_empty": True}
ECHOED = {"path": "%REQ(:PATH)%", "method": "%REQ(:METHOD)%", "authority": "%REQ(:AUTHORITY)%"}
ECHO = r"""
function envoy_on_request(handle)
  if not handle:headers():get("x-lab-echo") then return end
  local seen = {}
  for name, value in pairs(handle:headers()) do
    seen[name] = seen[name] and seen[name] .. "," .. value or value
  end
  local told = {}
  for name, value in pairs(seen) do
    table.insert(told, string.format('"%s": "%s"', name, (value:gsub('[\\"]', "\\%0"))))
  end
  handle:streamInfo():dynamicMetadata():set("lab", "headers", "{" .. table.concat(told, ", ") .. "}")
end
function envoy_on_response(handle)
  local told = handle:streamInfo():dynamicMetadata():get("lab")
  if told then handle:headers():add("x-lab-request-headers", told["headers"]) end
end
"""
CLIENT = {
    "source_workload": "productpage-v1",
    "source_workload_namespace": "default",
    "source_principal": "unknown",
    "source_app": "productpage",
    "source_version": "v1",
    "source_canonical_service": "productpage",
    "source_canonical_revision": "v1",
    "source_cluster": "Kubernetes",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A workload that answers in the lab, with the labels that its pods' sidecars write."""

    workload: str
    namespace: str
    version: str
    app: str
    service: str  # its fully qualified host

    @property
    def listener(self) -> str:
        return listener_name(self.workload)


def listener_name(workload: str) -> str:
    """The internal listener that stands for a workload's pods."""
    return f"up_{workload}"


def bootstrap(upstreams: Sequence[Upstream], buckets: Sequence[float] = BUCKETS) -> Json:
    """The bootstrap, for a directory with `xds/{cds,rds,rtds}.json`; both TCP ports are the kernel's choice."""
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": _loopback()},
        "bootstrap_extensions": [
            _extension(
                "envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener"
            )
        ],
        "overload_manager": {  # only to silence a start-up warning
            "resource_monitors": [
                _extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=10000,
                )
            ]
        },
        "layered_runtime": {
            "layers": [{"name": "faults", "rtds_layer": {"name": "faults", "rtds_config": _from_file("rtds")}}]
        },
        "stats_flush_interval": "1s",  # histograms appear at a flush; the default of 5 s would lag five scrapes
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"safe_regex": {"regex": ".*request_duration_milliseconds.*"}}, "buckets": list(buckets)}
            ],
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"prefix": "istio."},
                        {"prefix": "server."},
                        {"contains": ".rds."},
                        {"contains": "cds."},
                        {"prefix": "runtime."},
                    ]
                }
            },
        },
        "dynamic_resources": {"cds_config": _from_file("cds")},
        "static_resources": {"listeners": [_outbound(), *(_upstream(upstream) for upstream in upstreams)]},
    }


def _outbound() -> Json:
    tags = {
        "reporter": "source",
        **CLIENT,
        "destination_workload": _of_host("workload"),
        "destination_workload_namespace": _of_host("namespace"),
        "destination_principal": "unknown",
        "destination_app": _of_host("app"),
        "destination_version": _of_host("version"),
        "destination_service": _first(_of_cluster("host"), "%REQ(:AUTHORITY)%"),
        "destination_service_name": _first(_of_cluster("name"), "%REQ(:AUTHORITY)%"),
        "destination_service_namespace": _of_host("namespace"),  # sic: the peer's, so unknown without a host
        "destination_canonical_service": _of_host("canonical_service"),
        "destination_canonical_revision": _of_host("canonical_revision"),
        "destination_cluster": _of_host("cluster"),
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "connection_security_policy": "unknown",
    }
    manager = {
        "stat_prefix": "outbound",
        "rds": {"route_config_name": ROUTES, "config_source": _from_file("rds")},
        "http_filters": [  # a route configures the first two, as in Istio
            _extension("envoy.filters.http.fault", "extensions.filters.http.fault.v3.HTTPFault"),
            _extension("envoy.filters.http.cors", "extensions.filters.http.cors.v3.Cors"),
            _router(),
        ],
        "access_log": _loggers(tags),
        # an open-loop client keeps its connections for the whole run
        "common_http_protocol_options": {"idle_timeout": "3600s"},
    }
    return {"name": "outbound", "address": _loopback(), "filter_chains": [_chain(manager)]}


def _upstream(upstream: Upstream) -> Json:
    tags = {
        "reporter": "destination",
        **CLIENT,
        "destination_workload": upstream.workload,
        "destination_workload_namespace": upstream.namespace,
        "destination_principal": "unknown",
        "destination_app": upstream.app,
        "destination_version": upstream.version,
        "destination_service": upstream.service,
        "destination_service_name": upstream.service.split(".")[0],
        "destination_service_namespace": upstream.namespace,
        "destination_canonical_service": upstream.app,
        "destination_canonical_revision": upstream.version,
        "destination_cluster": "Kubernetes",
        "response_code": "%RESPONSE_CODE%",
        # The injected fault plays the application: Envoy's own flags for it (DI, FI) would tell on us.
        "response_flags": "-",
        "connection_security_policy": "none",
        # In a cluster Prometheus writes it from the scrape's target; here one scrape brings all pods.
        "pod": "%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%",
    }
    body = json.dumps({"app": upstream.app, "version": upstream.version})
    manager = {
        "stat_prefix": upstream.listener,
        "http_filters": [*_fault_filters(upstream.workload), _echo(), _router()],
        "access_log": _loggers(tags),
        "route_config": {
            "virtual_hosts": [
                {
                    "name": upstream.app,
                    "domains": ["*"],
                    "routes": [
                        # Envoy turns a local reply to a gRPC request into "HTTP 200, grpc-status 2": make it OK.
                        {
                            "match": {"prefix": "/", "grpc": {}},
                            "direct_response": {"status": 200},
                            "response_headers_to_add": [
                                {
                                    "header": {"key": "grpc-status", "value": "0"},
                                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                                }
                            ],
                        },
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": body}},
                            "response_headers_to_add": [
                                {"header": {"key": f"x-lab-{name}", "value": value}} for name, value in ECHOED.items()
                            ],
                        },
                    ],
                }
            ]
        },
    }
    return {"name": upstream.listener, "internal_listener": {}, "filter_chains": [_chain(manager)]}


def _echo() -> Json:
    """Tells a request with `x-lab-echo` which headers arrived."""
    return _extension(
        "envoy.filters.http.lua",
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": ECHO},
    )


def _fault_filters(workload: str) -> list[Json]:
    """Three delays that add up, then two aborts; all off until `faults.py` turns their runtime keys."""
    return [
        *(_delay(workload, dial) for dial in ("base", "spread", "tail")),
        _fault(
            f"fault_{workload}_http",
            abort={"http_status": 500, "percentage": _never()},
            abort_percent_runtime=f"lab.{workload}.http.percent",
            abort_http_status_runtime=f"lab.{workload}.http.status",
            headers=[NOT_GRPC],
        ),
        _fault(
            f"fault_{workload}_grpc",
            abort={"grpc_status": 13, "percentage": _never()},
            abort_percent_runtime=f"lab.{workload}.grpc.percent",
            abort_grpc_status_runtime=f"lab.{workload}.grpc.status",
            headers=[GRPC],
        ),
    ]


def _delay(workload: str, dial: str) -> Json:
    return _fault(
        f"fault_{workload}_{dial}",
        delay={"fixed_delay": "0.001s", "percentage": _never()},
        delay_percent_runtime=f"lab.{workload}.{dial}.percent",
        delay_duration_runtime=f"lab.{workload}.{dial}.ms",
    )


def _fault(name: str, **settings: Any) -> Json:
    return _extension(name, "extensions.filters.http.fault.v3.HTTPFault", **settings)


def _loggers(tags: dict[str, str]) -> list[Json]:
    return [
        _logger(NOT_GRPC, {**tags, "request_protocol": "http"}),
        _logger(GRPC, {**tags, "request_protocol": "grpc", "grpc_response_status": "%GRPC_STATUS_NUMBER%"}),
    ]


def _logger(condition: Json, tags: dict[str, str]) -> Json:
    named = [{"name": name, "value_format": value} for name, value in tags.items()]
    logger = _extension(
        "envoy.access_loggers.stats",
        "extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "istio"},
        counters=[{"value_fixed": 1, "stat": {"name": "requests_total", "tags": named}}],
        histograms=[
            {
                "stat": {"name": "request_duration_milliseconds", "tags": named},
                "unit": "Milliseconds",
                "value_format": "%DURATION%",
            }
        ],
    )
    return {**logger, "filter": {"header_filter": {"header": condition}}}


def _of_host(key: str) -> str:
    return f"%METADATA(UPSTREAM_HOST:istio:{key})%"


def _of_cluster(key: str) -> str:
    return f"%METADATA(CLUSTER:istio:{key})%"


def _first(*formats: str) -> str:
    """The first of these that is not empty, in Envoy's COALESCE."""
    operators = []
    for command in formats:
        name, _, parameter = command.strip("%").rstrip(")").partition("(")
        operators.append({"command": name, "param": parameter})
    return f"%COALESCE({json.dumps({'operators': operators})})%"


def _extension(name: str, message: str, **settings: Any) -> Json:
    return {"name": name, "typed_config": {"@type": f"{TYPES}.{message}", **settings}}


def _router() -> Json:
    return _extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")


def _chain(manager: Json) -> Json:
    name = "envoy.filters.network.http_connection_manager"
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"filters": [_extension(name, kind, **manager)]}


def _from_file(kind: str) -> Json:
    source = {"path": f"xds/{kind}.json", "watched_directory": {"path": "xds"}}
    return {"resource_api_version": "V3", "path_config_source": source}


def _loopback() -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def _never() -> Json:
    return {"numerator": 0, "denominator": "MILLION"}

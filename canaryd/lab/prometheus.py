"""
The lab's Prometheus: found, else fetched from Debian without root; started, stopped.

A Debian package may be downloaded and unpacked by anybody: nothing is installed, no service is started, and the binary
needs only libc. The first scrape comes 5-6 s after the start (a throttle in service discovery that no flag changes).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from canaryd.errors import Rejected, Unavailable
from canaryd.lab.local_http import exchange
from canaryd.lab.processes import Child, free_port

REMEDY = (
    "install it (`sudo apt install prometheus`, or https://prometheus.io/download) so that `prometheus` is on PATH, "
    "or copy an executable to {place}"
)
CANARYD_TARGETS = "canaryd.json"
RULES = "rules.yml"
DATA = "tsdb"
PEER = ("workload", "workload_namespace", "app", "version", "canonical_service", "cluster")
SERVICE = ("destination_service", "destination_service_name", "destination_service_namespace")
PRINCIPALS = ("source_principal", "destination_principal")


class Prometheus:
    """
    One Prometheus process that scrapes Envoy, and canaryd where it runs, every second.

    Its port and data survive `stop` and `start`.
    """

    def __init__(self, directory: Path, target: tuple[str, int], scrape_interval: float = 1.0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / "prometheus.yml").write_text(yaml.safe_dump(_config(target, scrape_interval), sort_keys=False))
        self.scrape_canaryd(None)
        self._executable = find_or_fetch()
        self._child: Child | None = None
        self._port: int | None = None
        self.set_rules()

    @property
    def url(self) -> str:
        host, port = self._address
        return f"http://{host}:{port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        if self._child is None:
            raise Unavailable("Prometheus was not started")
        return self._child.pid

    def start(self, deadline: float = 10.0) -> None:
        """Start and wait until it is ready to answer. Raises Unavailable with the log's end."""
        fixed = self._port
        for attempt in range(3):
            if not self.running:
                self._port = fixed or free_port()
                with contextlib.suppress(_PortTaken) if attempt < 2 else contextlib.nullcontext():
                    self._run(deadline)

    def stop(self) -> None:
        """Stop it; what it has measured stays on disk for the next start."""
        if self._child is not None:
            self._child.stop()

    def forget(self) -> None:
        """Lose all that was measured, as one without a volume does when its pod goes; it runs afterwards."""
        self.stop()
        shutil.rmtree(self.directory / DATA, ignore_errors=True)
        self.start()

    def scrape_canaryd(self, address: tuple[str, int] | None) -> None:
        """Scrape a controller's own metrics at that address too, within seconds; None ends that."""
        targets = [{"targets": [f"{address[0]}:{address[1]}"]}] if address else []
        fresh = self.directory / f"{CANARYD_TARGETS}.new"
        fresh.write_text(json.dumps(targets))
        fresh.rename(self.directory / CANARYD_TARGETS)  # Prometheus watches the folder

    def set_rules(self, **expressions: str) -> None:
        """Let an alert of each name fire while its PromQL expression has a value; the rules of before are gone."""
        rules = [{"alert": name, "expr": expression} for name, expression in expressions.items()]
        groups = [{"name": "lab", "interval": "1s", "rules": rules}] if rules else []
        (self.directory / RULES).write_text(yaml.safe_dump({"groups": groups}))
        if self.running:
            os.kill(self.pid, signal.SIGHUP)  # reads its configuration again

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """An instant query: the labels and value of each series. For the lab's own use; raises Unavailable."""
        path = f"/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
        try:
            result = json.loads(exchange(self._address, path)[1])["data"]["result"]
        except (ValueError, LookupError) as error:
            raise Unavailable(f"the lab's Prometheus does not answer: {error}") from error
        return [(row["metric"], float(row["value"][1])) for row in result]

    def _run(self, deadline: float) -> None:
        argv = [
            str(self._executable),
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={self.directory / DATA}",
            "--storage.tsdb.retention.time=12h",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        self._child = Child("prometheus", argv, self.directory / "prometheus.log", self.directory)
        try:
            self._child.wait_until(self._ready, deadline)
        except Unavailable as error:
            raise (_PortTaken if "address already in use" in str(error) else Unavailable)(str(error)) from error

    def _ready(self) -> bool:
        with contextlib.suppress(Unavailable):
            return exchange(self._address, "/-/ready")[0] == 200
        return False

    @property
    def _address(self) -> tuple[str, int]:
        if self._port is None:
            raise Unavailable("Prometheus was not started")
        return ("127.0.0.1", self._port)


class _PortTaken(Unavailable):
    """Somebody was faster: another port may do."""


def find_or_fetch() -> Path:
    """
    The prometheus executable: on PATH, else cached, else fetched with apt-get and cached.

    Raises Rejected with the remedy where neither can be had.
    """
    on_path = shutil.which("prometheus")
    if on_path:
        return Path(on_path)
    place = cache_directory() / "prometheus" / "prometheus"
    if not place.exists():
        with _one_at_a_time(place.parent):
            if not place.exists():
                _fetch(place)
    return place


def cache_directory() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/canaryd`, by default `~/.cache/canaryd`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canaryd"


def unpack(package: Path, member: str) -> bytes:
    """One file of a Debian package, read in Python: for machines that have apt-get but not dpkg."""
    for name, content in _ar_members(package.read_bytes()):
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                found = archive.extractfile(member)
                if found is not None:
                    return found.read()
    raise Rejected(f"{package.name} holds no {member}")


def _fetch(place: Path) -> None:
    """Download Debian's package, take the one executable out of it, and rename it to its place."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise Rejected(
            f"the lab needs Prometheus, and there is no apt-get to fetch it with: {REMEDY.format(place=place)}"
        )
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=place.parent) as scratch:
        package = _download(apt, Path(scratch), place)
        fresh = Path(scratch) / "prometheus"
        fresh.write_bytes(unpack_any(package, Path(scratch)))
        fresh.chmod(0o755)
        fresh.rename(place)


def unpack_any(package: Path, scratch: Path) -> bytes:
    """The prometheus executable of a Debian package, by `dpkg -x`, or in Python where there is no dpkg."""
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        return unpack(package, "./usr/bin/prometheus")
    done = subprocess.run(
        [dpkg, "-x", str(package), str(scratch / "tree")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Rejected(f"dpkg could not unpack {package.name}: {done.stderr.strip()}")
    return (scratch / "tree/usr/bin/prometheus").read_bytes()


def _download(apt: str, scratch: Path, place: Path) -> Path:
    """`apt-get download prometheus`: with the system's package lists, else with lists of our own (no root needed)."""
    (scratch / "state/lists/partial").mkdir(parents=True)
    (scratch / "cache/archives/partial").mkdir(parents=True)
    own_lists = [f"-oDir::State={scratch / 'state'}", f"-oDir::Cache={scratch / 'cache'}"]
    own_lists += ["-oDir::State::status=/var/lib/dpkg/status"]
    attempts = [
        [[apt, f"-oDir::Cache={scratch / 'cache'}", "download", "prometheus"]],
        [[apt, *own_lists, "update"], [apt, *own_lists, "download", "prometheus"]],
    ]
    words = ""
    for commands in attempts:
        for command in commands:
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
            words = (done.stderr or done.stdout).strip()
        packages = sorted(scratch.glob("prometheus_*.deb"))
        if packages:
            return packages[0]
    remedy = REMEDY.format(place=place)
    raise Rejected(f"the lab needs Prometheus, and apt-get could not download it: {remedy}. apt-get said: {words}")


@contextlib.contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an `ar` archive: 60-byte headers, bodies padded to even length."""
    at = len(b"!<arch>\n")
    while at < len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        yield name, data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _config(target: tuple[str, int], scrape_interval: float) -> dict[str, Any]:
    milliseconds = round(scrape_interval * 1000)
    wanted = "envoy_istio_(requests_total|request_duration_milliseconds_(bucket|sum|count))"
    return {
        "global": {
            "scrape_interval": f"{milliseconds}ms",
            "scrape_timeout": f"{milliseconds * 9 // 10}ms",
            "evaluation_interval": f"{milliseconds}ms",
        },
        "rule_files": [RULES],
        "scrape_configs": [
            {
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "params": {"usedonly": [""]},
                "static_configs": [{"targets": [f"{target[0]}:{target[1]}"]}],
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": wanted, "action": "keep"},
                    {
                        "source_labels": ["__name__"],
                        "regex": "envoy_(istio_.+)",
                        "target_label": "__name__",
                        "replacement": "$1",
                    },
                    *_peers(),
                ],
            },
            {
                "job_name": "canaryd",
                "honor_labels": True,  # its `namespace` is the plan's
                "file_sd_configs": [{"files": [CANARYD_TARGETS]}],
            },
        ],
    }


def _peers() -> list[dict[str, Any]]:
    """
    Istio's words for what its proxies were not told: `unknown`, for a revision `latest`.

    Only for the peer, that is the other side: of itself a proxy knows that it has no such label, and leaves it out
    (istio_stats.cc, populatePeerInfo).
    """
    rules = []
    for reporter, side in (("source", "destination"), ("destination", "source")):
        rules += [_default(reporter, f"{side}_{label}", "unknown") for label in PEER]
        rules.append(_default(reporter, f"{side}_canonical_revision", "latest"))
    rules += [_default("source", label, "unknown") for label in SERVICE]
    return rules + [
        _default(reporter, each, "unknown") for each in PRINCIPALS for reporter in ("source", "destination")
    ]


def _default(reporter: str, label: str, value: str) -> dict[str, Any]:
    """The word for a label that Envoy left empty; series of other names were dropped before."""
    return {
        "source_labels": ["reporter", label],
        "regex": f"{reporter};",
        "target_label": label,
        "replacement": value,
    }

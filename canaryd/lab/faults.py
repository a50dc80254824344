"""
The dial of each version, and of each of its pods: how slow it is and how often it fails.

Every draw is Envoy's own, per request and independent: a rate is exact in expectation and binomial in a run. Delays add
up (base, spread, tail); an HTTP failure hits plain requests, a gRPC failure hits requests with `application/grpc` and
comes on HTTP 200, as a real gRPC service fails. The default for HTTP is 500, because a retry may hide a 503. A part of
an application may fail by itself: `part_error_rate` is of plain requests with the header `x-lab-part` only.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.envoy.listeners import runtime_key
from canaryd.lab.envoy.process import Envoy
from canaryd.lab.istiod.objects import workload_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One version's behaviour. Rates are fractions (0 to 1), times are milliseconds. The default is healthy."""

    error_rate: float = 0.0
    http_status: int = 500
    part_error_rate: float = 0.0
    grpc_error_rate: float = 0.0
    grpc_status: int = 13
    base_ms: int = 12
    spread_rate: float = 0.4
    spread_ms: int = 6
    tail_rate: float = 0.1
    tail_ms: int = 30

    def __post_init__(self) -> None:
        for name in ("error_rate", "part_error_rate", "grpc_error_rate", "spread_rate", "tail_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise Rejected(f"{name}: must be a fraction from 0 to 1, got {getattr(self, name)}")
        for name in ("base_ms", "spread_ms", "tail_ms"):
            if getattr(self, name) < 0:
                raise Rejected(f"{name}: must be 0 or more milliseconds, got {getattr(self, name)}")
        if not 200 <= self.http_status <= 599:  # what Envoy's fault filter can answer
            raise Rejected(f"http_status: must be from 200 to 599, got {self.http_status}")
        if not 0 <= self.grpc_status <= 16:
            raise Rejected(f"grpc_status: must be from 0 to 16, got {self.grpc_status}")

    def beside_healthy(self, healthy: Fault | None = None) -> dict[str, float]:
        """The dials that are not where a healthy version has them, by name."""
        rest = dataclasses.asdict(healthy or Fault())
        return {name: value for name, value in dataclasses.asdict(self).items() if value != rest[name]}


QUICK = Fault(base_ms=0, spread_rate=0.0, tail_rate=0.0)  # whoever is not on trial answers at once


class Faults:
    """
    The dials of all versions and pods; a change is in force when `set` returns.

    A version of the service on trial is called by its `version` label (`v3`), any other workload by its name
    (`ratings-v1`). What is set for a version holds for its pods, those to come too; what is set for a pod goes with it.
    """

    def __init__(self, envoy: Envoy, versions: Iterable[str], version_of: Callable[[Json], str | None]) -> None:
        """`versions`: of the service on trial; `version_of`: which of them a pod is of, None for anybody else's pod."""
        self._envoy = envoy
        self._version_on_trial = version_of
        self._faults: dict[str, Fault] = dict.fromkeys(versions, Fault())
        self._trial = set(self._faults)
        self._own: dict[str, dict[str, Any]] = {}  # of single pods: what differs from their version
        self._pods: dict[str, str] = {}  # pod -> version
        self._lock = threading.Lock()

    def get(self, version: str, pod: str | int | None = None) -> Fault:
        self._known(version)
        if pod is None:
            return self._faults[version]
        return self._of_pod(self._pod(version, pod), self._faults, self._own)

    def all(self) -> dict[str, Fault]:
        """The dials of all versions and other workloads."""
        return dict(self._faults)

    def pods(self, version: str) -> list[str]:
        """The names of a version's pods, in the order in which `set` counts them."""
        self._known(version)
        return sorted(name for name, of in self._pods.items() if of == version)

    def set(self, version: str, *, pod: str | int | None = None, **changes: Any) -> Fault:
        """
        Change some of a version's values, e.g. `set("v3", error_rate=0.02)`, or of one of its pods, by name or number.

        What is set for the version holds for its pods whatever was set for them. Raises Rejected for a senseless one.
        """
        self._known(version)
        unknown = sorted(changes.keys() - {each.name for each in dataclasses.fields(Fault)})
        if unknown:
            raise Rejected(
                f"{unknown[0]}: no such dial; there are {', '.join(f.name for f in dataclasses.fields(Fault))}"
            )
        with self._lock:
            if pod is not None:
                name = self._pod(version, pod)
                own = {**self._own, name: {**self._own.get(name, {}), **changes}}
                fault = self._of_pod(name, self._faults, own)
                self._apply(self._faults, own)
                return fault
            fault = dataclasses.replace(self._faults[version], **changes)
            others = {
                name: {dial: value for dial, value in each.items() if dial not in changes}
                if self._pods.get(name) == version
                else each
                for name, each in self._own.items()
            }
            self._apply({**self._faults, version: fault}, others)
        return fault

    def reset(self) -> None:
        """Every version and pod healthy."""
        with self._lock:
            self._apply({version: self.healthy(version) for version in self._faults}, {})

    def cover(self, pods: list[Json]) -> None:
        """Have dials for these pods and no others."""
        with self._lock:
            named = {str(pod["metadata"]["name"]): self._version_of(pod) for pod in pods}
            if named == self._pods:
                return
            self._pods = named
            faults = {
                version: self._faults.get(version) or self.healthy(version)
                for version in dict.fromkeys((*self._faults, *named.values()))
            }
            self._apply(faults, {name: each for name, each in self._own.items() if name in named})

    def _apply(self, faults: dict[str, Fault], own: dict[str, dict[str, Any]]) -> None:
        layer: dict[str, Any] = {}
        for pod in self._pods:
            layer |= _keys(pod, self._of_pod(pod, faults, own))
        written = self._envoy.write("rtds", [{"name": "faults", "layer": layer}])
        if self._envoy.running:
            self._envoy.confirm("rtds", written)
        self._faults, self._own = faults, own

    def _of_pod(self, pod: str, faults: dict[str, Fault], own: dict[str, dict[str, Any]]) -> Fault:
        return dataclasses.replace(faults[self._pods[pod]], **own.get(pod, {}))

    def _pod(self, version: str, pod: str | int) -> str:
        there = self.pods(version)
        if isinstance(pod, int) and 0 <= pod < len(there):
            return there[pod]
        if pod not in there:
            raise Rejected(f"{version}: no pod {pod}; there are {', '.join(there) or 'none'}, or 0 to {len(there) - 1}")
        return str(pod)

    def _version_of(self, pod: Json) -> str:
        version = self._version_on_trial(pod)
        if version is None:
            return workload_of(pod)
        self._trial.add(version)
        return version

    def healthy(self, version: str) -> Fault:
        """The dials of a version where nothing is wrong."""
        return Fault() if version in self._trial else QUICK

    def _known(self, version: str) -> None:
        if version not in self._faults:
            raise Rejected(f"{version}: no such version; there are {', '.join(self._faults)}")


def _keys(pod: str, fault: Fault) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "http.percent": _fraction(fault.error_rate),
        "http.status": fault.http_status,
        "part.percent": _fraction(fault.part_error_rate),
        "grpc.percent": _fraction(fault.grpc_error_rate),
        "grpc.status": fault.grpc_status,
    }
    for dial, rate, delay in (
        ("base", 1.0, fault.base_ms),
        ("spread", fault.spread_rate, fault.spread_ms),
        ("tail", fault.tail_rate, fault.tail_ms),
    ):
        keys[f"{dial}.percent"] = _fraction(rate if delay else 0.0)
        keys[f"{dial}.ms"] = delay
    return {runtime_key(pod, key): value for key, value in keys.items()}


def _fraction(rate: float) -> dict[str, Any]:
    return {"numerator": round(rate * 1_000_000), "denominator": "MILLION"}

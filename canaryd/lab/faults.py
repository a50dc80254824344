"""
The dial of each version: how slow it is and how often it fails.

Every draw is Envoy's own, per request and independent: a rate is exact in expectation and binomial in a run. Delays add
up (base, spread, tail); an HTTP failure hits plain requests, a gRPC failure hits requests with `application/grpc` and
comes on HTTP 200, as a real gRPC service fails. The default for HTTP is 500, because a retry may hide a 503.
"""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.envoy.process import Envoy


@dataclass(frozen=True, slots=True)
class Fault:
    """One version's behaviour. Rates are fractions (0 to 1), times are milliseconds. The default is healthy."""

    error_rate: float = 0.0
    http_status: int = 500
    grpc_error_rate: float = 0.0
    grpc_status: int = 13
    base_ms: int = 12
    spread_rate: float = 0.4
    spread_ms: int = 6
    tail_rate: float = 0.1
    tail_ms: int = 30

    def __post_init__(self) -> None:
        for name in ("error_rate", "grpc_error_rate", "spread_rate", "tail_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise Rejected(f"{name}: must be a fraction from 0 to 1, got {getattr(self, name)}")
        for name in ("base_ms", "spread_ms", "tail_ms"):
            if getattr(self, name) < 0:
                raise Rejected(f"{name}: must be 0 or more milliseconds, got {getattr(self, name)}")
        if not 200 <= self.http_status <= 599:  # what Envoy's fault filter can answer
            raise Rejected(f"http_status: must be from 200 to 599, got {self.http_status}")
        if not 0 <= self.grpc_status <= 16:
            raise Rejected(f"grpc_status: must be from 0 to 16, got {self.grpc_status}")

    def beside_healthy(self) -> dict[str, float]:
        """The dials that are not where a healthy version has them, by name."""
        rest = dataclasses.asdict(Fault())
        return {name: value for name, value in dataclasses.asdict(self).items() if value != rest[name]}


class Faults:
    """The dials of all versions; a change is in force when `set` returns."""

    def __init__(self, envoy: Envoy, workloads: dict[str, str]) -> None:
        """`workloads`: version -> workload name."""
        self._envoy = envoy
        self._workloads = dict(workloads)
        self._faults = dict.fromkeys(workloads, Fault())
        self._lock = threading.Lock()

    def get(self, version: str) -> Fault:
        self._known(version)
        return self._faults[version]

    def all(self) -> dict[str, Fault]:
        return dict(self._faults)

    def set(self, version: str, **changes: Any) -> Fault:
        """Change some of a version's values, e.g. `set("v3", error_rate=0.02)`. Raises Rejected for a senseless one."""
        self._known(version)
        unknown = sorted(changes.keys() - {each.name for each in dataclasses.fields(Fault)})
        if unknown:
            raise Rejected(
                f"{unknown[0]}: no such dial; there are {', '.join(f.name for f in dataclasses.fields(Fault))}"
            )
        with self._lock:
            fault = dataclasses.replace(self._faults[version], **changes)
            self._apply({**self._faults, version: fault})
        return fault

    def reset(self) -> None:
        """Every version healthy."""
        with self._lock:
            self._apply(dict.fromkeys(self._workloads, Fault()))

    def _apply(self, faults: dict[str, Fault]) -> None:
        layer = {key: value for version, fault in faults.items() for key, value in self._keys(version, fault).items()}
        written = self._envoy.write("rtds", [{"name": "faults", "layer": layer}])
        if self._envoy.running:
            self._envoy.confirm("rtds", written)
        self._faults = faults

    def _keys(self, version: str, fault: Fault) -> dict[str, Any]:
        keys: dict[str, Any] = {
            "http.percent": _fraction(fault.error_rate),
            "http.status": fault.http_status,
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
        return {f"lab.{self._workloads[version]}.{key}": value for key, value in keys.items()}

    def _known(self, version: str) -> None:
        if version not in self._workloads:
            raise Rejected(f"{version}: no such version; there are {', '.join(self._workloads)}")


def _fraction(rate: float) -> dict[str, Any]:
    return {"numerator": round(rate * 1_000_000), "denominator": "MILLION"}

"""
A check of the plan: one thing measured, and what of it is tolerated.

Which keys belong to which metric is in one table, ``_KEYS``. Errors and latency speak in shares of requests, traffic
and PromQL values in numbers of their own unit (:class:`~canaryd.model.part.Amount`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from canaryd.model.failures import GrpcFailures, HttpFailures
from canaryd.model.part import Amount, Name, Part, PositiveDuration, Quantity, Text
from canaryd.model.where import PlanWhere

VARIABLES = ("workload", "namespace", "window")
"""What a query may name as ``${...}``."""

LARGEST = 1e30
"""Values beyond this are no measurement of anything, and their differences would not be finite for long."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_RANGE = re.compile(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*(?::[^\]]*)?\]")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


class Tolerance(Part):
    """Worse by this much is accepted: ``times`` the stable value ``plus`` a share of all requests."""

    times: Annotated[float, Field(ge=1, le=100)]
    """This many times the stable value (for latency: the durations)."""
    plus: Quantity
    """And this share of all requests on top; for promql a number in the query's unit."""


class HardLimit(Part):
    """The observed share decides, without any evidence: beyond the objective is a rollback at once."""

    over: PositiveDuration = timedelta(minutes=1)
    """The last cells that together make this long are counted; at least one."""
    min_requests: Annotated[int, Field(ge=1)] = 100
    """Canary requests in them, at least; with fewer the limit says nothing."""


_ACCEPTED = {
    "error-rate": Tolerance(times=1.1, plus=0.00005),
    "latency": Tolerance(times=1.05, plus=0.0003),
    "promql": Tolerance(times=1.1, plus=Amount(0)),
}
_ALLOWED = {"error-rate": Tolerance(times=1.5, plus=0.0015), "latency": Tolerance(times=1.25, plus=0.005)}
_OWN = {"where", "http_failures", "grpc_failures"}
"""What makes a check count for itself."""
_KEYS = {
    "error-rate": {*_OWN, "compare", "tolerance", "margin", "at_most", "hard_limit"},
    "latency": {"compare", "tolerance", "margin", "within", "at_least", "hard_limit"},
    "traffic": {"at_least"},
    "promql": {"compare", "tolerance", "margin", "at_most", "at_least", "query", "direction", "window"},
}
_OBJECTIVES = {
    "error-rate": "atMost",
    "latency": "within and atLeast",
    "traffic": "atLeast",
    "promql": "one of atMost and atLeast",
}


class Check(Part):
    """One thing measured, and what is tolerated. Compared with stable, or held against an objective of its own."""

    name: Name
    """The check's name in verdicts and reports."""
    metric: Literal["error-rate", "latency", "traffic", "promql"]
    """The share of failed requests, the duration of the others, the canary's requests a second, or a query's value."""
    compare: Literal["stable"] | None = None
    """``stable``: the canary is compared with the stable version."""
    tolerance: Tolerance | None = None
    """How much worse than stable is no harm. Errors: 1.1 times plus 0.005 %; latency: 1.05 times slower plus 0.03 %;
    promql: 1.1 times."""
    margin: Tolerance | None = None
    """How much worse may be promoted at most. Errors: 1.5 times plus 0.15 %; latency: 1.25 times slower plus 0.5 %;
    promql: none, and without one the check is no part of the proof."""
    at_most: Quantity | None = None
    """Objective for error-rate: at most this share of requests fails, whatever stable does. For promql: a number."""
    within: PositiveDuration | None = None
    """Objective for latency, with ``atLeast``: a bound of the histogram's buckets."""
    at_least: Quantity | None = None
    """Objective for latency, with ``within``: at least this share of requests is that fast. For traffic: requests a
    second of the canary. For promql: a number."""
    hard_limit: HardLimit | None = None
    """With an objective for error-rate or latency: what was observed beyond it fails at once, outside of ``alpha``."""
    query: Text | None = None
    """For promql: a query with one value, at the cell's end; it may name ``${workload}``, ``${namespace}``,
    ``${window}``."""
    direction: Literal["higher", "lower", "either"] = "higher"
    """For promql with ``compare``: which difference from stable is worse."""
    where: PlanWhere = ()
    """For error-rate: only requests with these labels, on both sides, such as `{request_operation: /checkout}`; beside
    ``analysis.where``. Like the next two it makes the check count for itself: part of the proof only with a margin."""
    http_failures: HttpFailures | None = None
    """For error-rate: other HTTP answers than ``analysis.httpFailures``."""
    grpc_failures: GrpcFailures | None = None
    """For error-rate: other gRPC statuses than ``analysis.grpcFailures``."""
    window: PositiveDuration | None = None
    """For promql: how much time a value speaks of; values closer together count once. Default: four scrapes, or a cell
    where that is longer."""

    @model_validator(mode="before")
    @classmethod
    def _in_its_unit(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or raw.get("metric") not in ("traffic", "promql"):
            return raw
        counted = dict(raw)
        for key in ("at_most", "atMost", "at_least", "atLeast"):
            if counted.get(key) is not None:
                counted[key] = _amount(counted[key], to_camel(key))
        for key in ("tolerance", "margin"):
            part = counted.get(key)
            if isinstance(part, Mapping) and "plus" in part:
                counted[key] = {**part, "plus": _amount(part["plus"], f"{key}.plus", least=0)}
        return counted

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        for name in type(self).model_fields.keys() - {"name", "metric"} - _KEYS[self.metric]:
            if getattr(self, name) != type(self).model_fields[name].default:
                owners = [metric for metric, keys in _KEYS.items() if name in keys]
                raise ValueError(f"{to_camel(name)}: no such key for {self.metric}; it belongs to {', '.join(owners)}")
        if self.metric == "latency" and (self.within is None) != (self.at_least is None):
            raise ValueError("within and atLeast belong together")
        objectives = (self.at_most is not None) + (self.at_least is not None)
        if (self.compare is not None) + objectives != 1:
            compare = "" if self.metric == "traffic" else "either compare: stable, or "
            raise ValueError(f"{compare}{_OBJECTIVES[self.metric]}")
        if self.compare is None and (self.tolerance or self.margin or self.direction != "higher"):
            raise ValueError("tolerance, margin and direction belong to compare: stable")
        if self.compare and self.hard_limit:
            raise ValueError("hardLimit: an objective beside it; what is compared with stable needs evidence")
        if self.metric == "traffic" and (self.at_least or 0) <= 0:
            raise ValueError("atLeast: a number of requests a second above 0")
        if self.proves and not _clearly_above(self.allowed, self.accepted, either=self.metric == "promql"):
            raise ValueError(
                "a margin clearly above the tolerance, in times and in plus: "
                "between the two neither harm nor its absence can be shown"
            )
        if self.metric == "promql":
            self._check_query()
        return self

    def _check_query(self) -> None:
        if self.query is None:
            raise ValueError("query: a PromQL query with one value")
        for found in _VARIABLE.findall(self.query):
            if found not in VARIABLES:
                known = ", ".join(f"${{{name}}}" for name in VARIABLES)
                raise ValueError(f"query: variables that canaryd knows ({known}), got ${{{found}}}")
        if self.compare and "${workload}" not in self.query:
            raise ValueError("query: ${workload} in it; without it both sides have the same value")
        for side in (self.tolerance, self.margin):
            if side and not isinstance(side.plus, Amount):
                raise ValueError("plus: a number in the query's unit")

    @property
    def accepted(self) -> Tolerance:
        """The tolerance, or its default."""
        return self.tolerance or _ACCEPTED[self.metric]

    @property
    def allowed(self) -> Tolerance:
        """The margin of non-inferiority, or its default; only a check that proves has one."""
        return self.margin or _ALLOWED[self.metric]

    @property
    def proves(self) -> bool:
        """Whether the check is part of the proof: it compares with stable, and it is known how much worse may pass."""
        usually = self.metric in _ALLOWED and not self.apart
        return self.compare is not None and (self.margin is not None or usually)

    @property
    def apart(self) -> bool:
        """Whether the check counts for itself."""
        return any(getattr(self, name) != type(self).model_fields[name].default for name in _OWN)

    @property
    def longest_range(self) -> float:
        """Seconds of the longest range that is written out in the query, such as ``[5m]``; 0 without one."""
        units = (re.findall(r"(\d+)(ms|[smhdwy])", found) for found in _RANGE.findall(self.query or ""))
        return max((sum(int(number) * _SECONDS[unit] for number, unit in parts) for parts in units), default=0.0)


def _amount(value: Any, where: str, least: float | None = None) -> Amount:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST or not isfinite(value):
        raise ValueError(f"{where}: a number, got {value!r}"[:80])
    if least is not None and value < least:
        raise ValueError(f"{where}: a number of at least {least:g}, got {value:g}")
    return Amount(value)


def _clearly_above(margin: Tolerance, tolerance: Tolerance, *, either: bool) -> bool:
    """Above in ``times`` and in ``plus``; with ``either`` one of them is enough if the other is not below."""
    if either:
        return margin != tolerance and tolerance.times <= margin.times and tolerance.plus <= margin.plus
    return tolerance.times < margin.times and tolerance.plus < margin.plus

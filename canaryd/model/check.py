"""
A check of the plan: one thing measured, and what of it is tolerated.

Which keys belong to which metric is in one table, ``_KEYS``. Errors and latency speak in shares of requests, traffic
and PromQL values in numbers of their own unit (:class:`~canaryd.model.part.Amount`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from canaryd.model.failures import GrpcFailures, HttpFailures
from canaryd.model.part import Amount, Name, Part, PositiveDuration, Quantity, Text
from canaryd.model.traffic import Split
from canaryd.model.weight import Weight
from canaryd.model.where import PlanWhere

LARGEST = 1e30
"""Values beyond this are no measurement of anything, and their differences would not be finite for long."""


class Tolerance(Part):
    """Worse by this much is accepted: ``times`` the stable value ``plus`` a share of all requests."""

    times: Annotated[float, Field(ge=1, le=100)]
    """This many times the stable value (for latency: the durations)."""
    plus: Quantity
    """And this share of all requests on top; for promql a number in the query's unit."""


class HardLimit(Part):
    """What was observed decides, without any evidence: beyond the objective is a rollback at once."""

    over: PositiveDuration = timedelta(minutes=1)
    """The last cells that together make this long are counted; at least one. Not for promql."""
    min_requests: Annotated[int, Field(ge=1)] = 100
    """Canary requests in them, at least, or in each cell of a row; with fewer it says nothing. Not for promql."""
    consecutive: Annotated[int, Field(ge=1, le=1000)] | None = None
    """In place of ``over``: so many cells in a row, each beyond the objective by itself. For promql so many values."""

    @model_validator(mode="after")
    def _one_stretch(self) -> Self:
        if self.consecutive is not None and self.over != type(self).model_fields["over"].default:
            raise ValueError("over: either over, a stretch of time, or consecutive, cells in a row")
        return self


class Weights(Part):
    """The weights at which a check is asked, both ends among them."""

    from_: Annotated[Weight | None, Field(alias="from")] = None
    """The lowest one; when left out: from the first step on."""
    to: Weight | None = None
    """The highest one; when left out: to the end, the watch at 100 % with it."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.from_ is None and self.to is None:
            raise ValueError("from, to, or both: weights in percent")
        if self.from_ is not None and self.to is not None and self.to < self.from_:
            raise ValueError(f"to: a weight of at least from ({self.from_}), got {self.to}")
        return self

    def have(self, split: Split) -> bool:
        """Whether ``split`` is among them."""
        return (self.from_ is None or self.from_ <= split) and (self.to is None or split <= self.to)


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
    "promql": {
        "compare",
        "tolerance",
        "margin",
        "at_most",
        "at_least",
        "hard_limit",
        "query",
        "stable_query",
        "on_empty",
        "direction",
        "window",
    },
}
_FOR_ALL = {"name", "metric", "report_only", "weights"}
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
    """With an objective: what was observed beyond it fails at once, outside of ``alpha``."""
    report_only: bool = False
    """Measured and shown, but it decides nothing: no rollback, no hold, no part of the proof, and none of ``alpha``."""
    weights: Weights | None = None
    """At which weights it is asked; when left out: at all of them. Elsewhere nothing is bet on it and PASS does not ask
    it."""
    query: Text | None = None
    """For promql: a query with one value, at the cell's end; it may name ``${workload}``, ``${subset}``,
    ``${podTemplateHash}``, ``${host}``, ``${namespace}``, ``${window}``."""
    stable_query: Text | None = None
    """For promql with ``compare``: another query for stable, where one does not fit both."""
    on_empty: Literal["gap", "zero"] = "gap"
    """For promql: a query that finds nothing is no value; ``zero``: it is 0, as of a counter of errors that there is
    none of yet."""
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
        for name in type(self).model_fields.keys() - _FOR_ALL - _KEYS[self.metric]:
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
        if self.stable_query is not None and self.compare is None:
            raise ValueError("stableQuery: compare: stable beside it; without that stable is not asked")
        if self.report_only and self.hard_limit:
            raise ValueError("hardLimit: none where reportOnly says that the check decides nothing")
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
        for side in (self.tolerance, self.margin):
            if side and not isinstance(side.plus, Amount):
                raise ValueError("plus: a number in the query's unit")
        limit = self.hard_limit
        if limit and limit != HardLimit(consecutive=limit.consecutive):
            raise ValueError("hardLimit: consecutive alone; a query's value has no requests to count")
        if limit and limit.consecutive is None:
            raise ValueError("hardLimit.consecutive: how many values in a row")

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
        return self.compares and (self.margin is not None or usually)

    @property
    def apart(self) -> bool:
        """Whether the check counts for itself."""
        return any(getattr(self, name) != type(self).model_fields[name].default for name in _OWN)

    @property
    def compares(self) -> bool:
        """Whether something is decided by comparing the canary with stable."""
        return self.compare is not None and not self.report_only

    @property
    def question(self) -> tuple[object, ...]:
        """What is asked, whatever is tolerated of the answer."""
        return self.metric, self.query, self.where, self.http_failures, self.grpc_failures

    @property
    def query_of_stable(self) -> str:
        """The query that is asked about stable."""
        return self.stable_query or self.query or ""

    def asked_at(self, split: Split) -> bool:
        """Whether the check is asked under ``split``."""
        return self.weights is None or self.weights.have(split)


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

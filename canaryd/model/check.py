"""
A check of the plan: one thing measured, and what of it is tolerated.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from canaryd.model.part import Name, Part, PositiveDuration, Share


class Tolerance(Part):
    """Worse by this much is accepted: ``times`` the stable value ``plus`` a share of all requests."""

    times: Annotated[float, Field(ge=1, le=100)]
    """This many times the stable value (for latency: the durations)."""
    plus: Share
    """And this share of all requests on top."""


_ACCEPTED = {"error-rate": Tolerance(times=1.1, plus=0.00005), "latency": Tolerance(times=1.05, plus=0.0003)}
_ALLOWED = {"error-rate": Tolerance(times=1.5, plus=0.0015), "latency": Tolerance(times=1.25, plus=0.005)}


class Check(Part):
    """One thing measured, and what is tolerated. Compared with stable, or held against an objective of its own."""

    name: Name
    """The check's name in verdicts and reports."""
    metric: Literal["error-rate", "latency"]
    """What is measured: the share of failed requests, or the duration of those that did not fail."""
    compare: Literal["stable"] | None = None
    """``stable``: the canary is compared with the stable version."""
    tolerance: Tolerance | None = None
    """How much worse than stable is no harm. Errors: 1.1 times plus 0.005 %; latency: 1.05 times slower plus 0.03 %."""
    margin: Tolerance | None = None
    """How much worse may be promoted at most. Errors: 1.5 times plus 0.15 %; latency: 1.25 times slower plus 0.5 %."""
    at_most: Share | None = None
    """Objective for error-rate: at most this share of requests fails, whatever stable does."""
    within: PositiveDuration | None = None
    """Objective for latency, with ``atLeast``: a bound of the histogram's buckets."""
    at_least: Share | None = None
    """Objective for latency, with ``within``: at least this share of requests is that fast."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        objective = {
            "error-rate": self.at_most is not None,
            "latency": self.within is not None and self.at_least is not None,
        }
        if (self.compare is None) == (not objective[self.metric]):
            wanted = "atMost" if self.metric == "error-rate" else "within and atLeast"
            raise ValueError(f"either compare: stable, or {wanted}")
        stray = (
            (self.within is not None or self.at_least is not None)
            if self.metric == "error-rate"
            else self.at_most is not None
        )
        if stray or (self.within is None) != (self.at_least is None):
            raise ValueError("atMost belongs to error-rate; within and atLeast belong to latency, together")
        if self.compare is None and (self.tolerance or self.margin):
            raise ValueError("tolerance and margin belong to compare: stable")
        tolerance, margin = self.accepted, self.allowed
        if self.compare and not (tolerance.times < margin.times and tolerance.plus < margin.plus):
            raise ValueError(
                "a margin clearly above the tolerance, in times and in plus: "
                "between the two neither harm nor its absence can be shown"
            )
        return self

    @property
    def accepted(self) -> Tolerance:
        """The tolerance, or its default."""
        return self.tolerance or _ACCEPTED[self.metric]

    @property
    def allowed(self) -> Tolerance:
        """The margin of non-inferiority, or its default."""
        return self.margin or _ALLOWED[self.metric]

"""
A plan at the lab's pace: one second of the lab stands for many, and so many times the requests are sent in it.

The judge sees the same counts in every cell as it would in production, so its verdicts come at the same weight and
after the same number of requests; only nobody has to wait an hour for them. Latencies are not touched.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic.alias_generators import to_camel

from canaryd.model.duration import render_seconds
from canaryd.model.gate import Gates
from canaryd.model.part import Part
from canaryd.model.plan import Analysis, Plan
from canaryd.model.traffic import NOTHING

LAB_SCRAPE = timedelta(seconds=1)
MOST_RPS = 600.0
"""Requests a second that the lab can send and answer on two cores, with room for Prometheus and canaryd."""
LONGEST_HOLD = timedelta(seconds=45)
"""Nobody waits in the lab for more evidence as long as in production."""
NOT_OF_THE_RUN = {"within"}
"""Durations that are no time of the run but a latency."""


def pace(plan: Plan, rps: float) -> float:
    """How many seconds of production one second of the lab can stand for: as its scrapes and its load allow."""
    return max(1.0, min(plan.spec.analysis.scrape / LAB_SCRAPE, MOST_RPS / rps))


def quickened(plan: Plan, times: float) -> tuple[Plan, tuple[str, ...]]:
    """
    `plan` with every duration divided by `times`, and sentences on what else had to differ.

    Gates are taken out, because nobody is there to approve, or to be asked; custom checks too, because their queries
    ask for metrics that the lab has not.
    """
    spec, notes = plan.spec, []
    checks = [check for check in spec.analysis.checks if check.metric != "promql"]
    if left_out := [check.name for check in spec.analysis.checks if check.metric == "promql"]:
        notes.append(f"left out in the lab: {', '.join(left_out)}, whose metrics are not there")
    if gated := [str(step.weight) for step in spec.steps if step.gate]:
        notes.append(f"the gate after {', '.join(gated)} opens by itself in the lab")
    if beside := [name for name in ("start", "promotion") if getattr(spec.gates, name)]:
        notes.append(f"the gate before the {' and the '.join(beside)} opens by itself in the lab")
    held = {
        name: part.model_copy(update={"hold": min(part.hold, LONGEST_HOLD * times)})
        for name, part in (("on_inconclusive", spec.on_inconclusive), ("on_no_data", spec.on_no_data))
    }
    if cut := [name for name, part in held.items() if part.hold < getattr(spec, name).hold]:
        limit = render_seconds((LONGEST_HOLD * times).total_seconds())
        notes.append(f"holds ({', '.join(to_camel(name) for name in cut)}) end after {limit} instead of later")
    if matched := [place for place, step in enumerate(spec.steps, start=1) if step.match]:
        notes.append(f"the match of step {', '.join(map(str, matched))} is left out: the lab sends no such requests")
    steps = [step.model_copy(update={"gate": None, "match": ()}) for step in spec.steps if step.weight != NOTHING]
    kept: dict[str, Any] = {"checks": tuple(checks)} if checks else {"checks": Analysis().checks}
    kept["settle"] = spec.analysis.settle_for()  # what is learned there is of a mesh at the lab's pace
    steps_alone = {"steps": tuple(steps), "gates": Gates()}
    changed = spec.model_copy(update={**steps_alone, "analysis": spec.analysis.model_copy(update=kept), **held})
    quick = _divided(changed, times)
    quick = quick.model_copy(update={"analysis": _of_the_lab(quick.analysis, times)})
    whole = plan.model_copy(update={"spec": quick})
    return Plan.model_validate(whole.model_dump(mode="json", by_alias=True, exclude_none=True)), tuple(notes)


def _of_the_lab(analysis: Any, times: float) -> Any:
    """Scrapes and cells are whole for the lab's Prometheus; a demanded rate is as many times larger."""
    checks = tuple(
        check.model_copy(update={"at_least": type(check.at_least)(check.at_least * times)})
        if check.metric == "traffic"
        else check
        for check in analysis.checks
    )
    cell = max(analysis.cell, LAB_SCRAPE)
    return analysis.model_copy(update={"scrape": LAB_SCRAPE, "cell": cell, "checks": checks})


def _divided(value: Any, times: float) -> Any:
    if isinstance(value, timedelta):
        return timedelta(milliseconds=round(value.total_seconds() * 1000 / times))
    if isinstance(value, tuple):
        return tuple(_divided(each, times) for each in value)
    if isinstance(value, Part):
        fields = {name: getattr(value, name) for name in type(value).model_fields if name not in NOT_OF_THE_RUN}
        return value.model_copy(update={name: _divided(each, times) for name, each in fields.items()})
    return value

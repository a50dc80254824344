"""PURE: what is seen, as data for other programs: the keys of ``-o json`` and ``-o yaml``, which stay as they are."""

from __future__ import annotations

import re
from typing import Any

from canaryd.desk.port import Decided, SeenPlan, SeenRun
from canaryd.store.objects import time_text

Data = dict[str, Any]


def plan_data(plan: SeenPlan) -> Data:
    """A plan with where its release stands; what is not known yet is None."""
    step, _, steps = plan.step.partition("/")
    return {
        "namespace": plan.namespace,
        "plan": plan.name,
        "release": plan.release,
        "run": plan.run or None,
        "phase": plan.phase or None,
        "step": _number(step),
        "steps": _number(steps),
        "weight": percent(plan.weight),
        "share": plan.weight or None,
        "verdict": plan.verdict or None,
        "why": plan.why,
        "astray": plan.astray or None,
        "since": _time(plan.since),
        "attended": plan.attended,
    }


def run_data(run: SeenRun) -> Data:
    """A run in a line: ``step`` counts from 1, ``weight`` is in percent and None where it is a match, times are UTC."""
    return {
        "namespace": run.namespace,
        "run": run.name,
        "plan": run.plan,
        "release": run.release,
        "phase": run.phase,
        "step": run.step + 1 if run.steps else None,
        "steps": run.steps or None,
        "weight": percent(run.weight),
        "share": run.weight or None,
        "verdict": run.verdict or None,
        "outcome": run.outcome or None,
        "why": run.why,
        "astray": run.astray or None,
        "began": _time(run.began),
        "ended": _time(run.ended),
        "attended": run.attended,
        "undoes": run.undoes or None,
    }


def depth_data(run: SeenRun) -> Data:
    """The same in depth."""
    return run_data(run) | {
        "evidence": list(run.evidence),
        "decisions": [decision_data(one) for one in run.decisions],
        "breakGlass": run.break_glass or None,
    }


def decision_data(one: Decided) -> Data:
    return {
        "at": _time(one.at),
        "event": one.event,
        "phase": one.phase,
        "share": one.weight or None,
        "reason": one.reason,
        "by": one.by or None,
    }


def percent(share: str) -> float | int | None:
    """The number in ``12.5 %``; None for a match, and for nothing."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", share)
    if found is None:
        return None
    number = float(found[1])
    return int(number) if number == int(number) else number


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _time(at: float | None) -> str | None:
    return time_text(at, fraction=False) if at else None

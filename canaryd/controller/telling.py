"""
What is told where: the journal in full, decisions in a run's status, Kubernetes Events, and where a plan stands.

One sentence goes everywhere; it is never worded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from canaryd.controller.following import Course
from canaryd.controller.plans import Standing
from canaryd.engine.ports import Journal
from canaryd.errors import CanarydError
from canaryd.model.decision import Told
from canaryd.model.run import Run
from canaryd.store.objects import Traffic, condition, in_short, plan_status_of, time_text

Object = dict[str, Any]
log = structlog.get_logger()

TROUBLE = frozenset(
    {
        Told.HELD,
        Told.REMINDED,
        Told.DRIFTED,
        Told.BROUGHT_DOWN,
        Told.RESTARTED,
        Told.STABLE_CHANGED,
        Told.TAKEN_BACK,
        Told.COMMAND_VOID,
        Told.ADOPTED,
        Told.ROLLING_BACK,
        Told.ROLLED_BACK,
        Told.NO_WAY_BACK,
    }
)
"""What is told as a Warning; the rest is Normal."""
PROOFS = frozenset({Told.PASSED, Told.PROMOTING, Told.PROMOTED})
"""What is told with every figure of the evidence; an Event says the first, the run's decisions have them all."""


class Tells(Protocol):
    """Kubernetes Events."""

    def tell(self, about: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None: ...


class Objects(Protocol):
    """The CanaryRuns and CanaryPlans as they were last seen."""

    def get(self, namespace: str, name: str) -> Object | None: ...


class Journals:
    """
    The journal port for a run in the cluster: every entry to each of ``journals``, and its events to Kubernetes.

    ``see`` gives a run by its uid. Events are told of the run and of its plan, so that ``kubectl describe`` of either
    shows them.
    """

    def __init__(
        self, journals: tuple[Journal, ...], events: Tells, runs: Objects, plans: Objects, see: Callable[[str], Run]
    ) -> None:
        self._journals = journals
        self._events = events
        self._runs = runs
        self._plans = plans
        self._see = see

    def tell(self, uid: str, entry: Mapping[str, object]) -> None:
        for journal in self._journals:
            try:
                journal.tell(uid, entry)
            except CanarydError as error:
                log.warning("journal.unavailable", error=str(error))
        events = entry.get("events")
        if not isinstance(events, list) or not events:
            return
        try:
            run = self._see(uid)
        except KeyError:
            return  # its object was deleted during the tick
        plan = run.plan
        about = (self._runs.get(plan.namespace, uid), self._plans.get(plan.namespace, plan.name))
        for told, reason in events:
            said = in_short(reason) if Told(told) in PROOFS and not run.unproven else reason
            for found in filter(None, about):
                self._events.tell(reference(found), reason_of(told), said, warning=Told(told) in TROUBLE)


def reason_of(told: str) -> str:
    """An event's name as Kubernetes writes reasons: ``run.rolling_back`` is ``RollingBack``."""
    room, _, word = told.partition(".")
    words = word.split("_") if room == "run" else [room, *word.split("_")]
    return "".join(one.capitalize() for one in words)


def reference(found: Mapping[str, Any]) -> Object:
    """The object as an Event names it."""
    meta = found["metadata"]
    fields = {
        "apiVersion": found.get("apiVersion"),
        "kind": found.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta["name"],
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    return {key: value for key, value in fields.items() if value}


def plan_status(standing: Standing, break_glass: str = "", traffic: Traffic | None = None) -> Object:
    """The status of a CanaryPlan; conditions are without their times."""
    following, plan, run = standing.following, standing.plan, standing.following.run
    changed = following.reason if following.changed else ""
    shown = plan_status_of(run, break_glass, traffic, plan_changed=changed) if run else {}
    status: Object = {**shown, "observedGeneration": standing.text["metadata"].get("generation") or 0}
    if plan is not None:
        status["release"] = plan.spec.release
    if following.course is Course.TURN_DOWN and plan is not None:
        status["turnedDown"] = plan.spec.release
    accepted = _accepted(standing)
    if standing.asked is not None and plan is not None:
        status["asked"] = {"release": plan.spec.release, "at": time_text(standing.asked)}
    if standing.waits and (run is None or run.final):
        status |= {"phase": "pending", "why": standing.waits}
        for of_the_former in ("verdict", "step"):
            status.pop(of_the_former, None)
    elif accepted["status"] == "False" and (run is None or run.final):
        status |= {"phase": "refused", "why": _first(standing.problems) or accepted["message"]}
        for of_the_former in ("verdict", "step"):
            status.pop(of_the_former, None)
    elif run is None:
        status |= {"phase": "pending", "why": accepted["message"]}
    elif following.course in (Course.QUEUE, Course.TURN_DOWN):
        status["why"] = accepted["message"]  # beside the new release; what its run waits for stands with the run
    status["conditions"] = [accepted, *(status.get("conditions") or [])]
    return status


def _accepted(standing: Standing) -> Object:
    following = standing.following
    if standing.plan is None:
        return condition("Accepted", False, "Invalid", "; ".join(standing.problems.splitlines()))
    if standing.problems:
        return condition("Accepted", False, "Refused", "; ".join(standing.problems.splitlines()))
    if following.course is Course.TURN_DOWN:
        return condition("Accepted", False, "TurnedDown", following.reason)
    if standing.waits:
        return condition("Accepted", True, "Waiting", standing.waits)
    if following.course is Course.QUEUE:
        return condition("Accepted", True, "Queued", following.reason)
    over = following.run is not None and following.run.final
    remarks = () if over else standing.remarks  # they spoke of what was ahead
    return condition("Accepted", True, "Accepted", "; ".join(filter(None, (following.reason, *remarks))))


def _first(problems: str) -> str:
    """The first of some problems, for where there is room for one; the condition Accepted has them all."""
    first, *others = problems.splitlines() or [""]
    return f"{first} (and {len(others)} more, see the condition Accepted)" if others else first


def plan_event(standing: Standing) -> tuple[str, str, bool]:
    """The Event that follows from where a plan stands: reason, message, whether it is trouble; empty for none."""
    said = _accepted(standing)
    if said["status"] == "False":
        return f"Plan{said['reason']}", _first(standing.problems) or said["message"], True
    if said["reason"] == "Queued":
        return "PlanQueued", said["message"], False
    if said["reason"] == "Waiting":
        return "PlanWaiting", said["message"], False
    return "", "", False

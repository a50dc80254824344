"""Which run, or which plan, a person means by a name, what there is instead where they mean none; and all of a run."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

from canaryd.desk.port import Desk, SeenPlan, SeenRun
from canaryd.errors import Rejected
from canaryd.kube import Unidentified
from canaryd.model.run import Run

T = TypeVar("T", SeenRun, SeenPlan)

FEW = 8
"""How many names are told where none is near."""


class Unknown(Rejected):
    """There is no such run or plan; ``near`` are names that are."""

    def __init__(self, what: str, wanted: str, desk: Desk, names: Iterable[str]) -> None:
        there = tuple(dict.fromkeys(names))
        self.near = tuple(get_close_matches(wanted, there, n=3, cutoff=0.5)) or there[-FEW:]
        instead = f"there: {', '.join(self.near)}" if self.near else "there is none at all"
        super().__init__(f"there is no {what} {wanted} in {desk.where} ({instead})")


def find(desk: Desk, which: str) -> SeenRun:
    """
    The run of that name, or the newest of the plan of that name; either may have its namespace before it (shop/web).

    Raises :class:`Unknown` where there is none, and Rejected where plans of several namespaces are meant.
    """
    runs = desk.runs()
    if exact := [run for run in runs if which in (run.name, run.place)]:
        return _one(which, exact)
    of_plan = [run for run in runs if which in (run.plan, f"{run.namespace}/{run.plan}")]
    if not of_plan:
        raise Unknown("run or plan", which, desk, [name for run in runs for name in (run.plan, run.name)])
    return _one(which, list({run.namespace: run for run in of_plan}.values()))


def find_plan(desk: Desk, which: str) -> SeenPlan:
    """The plan of that name, which may have its namespace before it. Raises as :func:`find`."""
    plans = desk.plans()
    found = [plan for plan in plans if which in (plan.name, plan.place)]
    if not found:
        raise Unknown("plan", which, desk, (plan.name for plan in plans))
    return _one(which, found)


def known(desk: Desk, seen: SeenRun, verb: str = "") -> Run | str:
    """
    All that is known of the run, before ``verb`` is said to it; or why it cannot be read, in a sentence.

    An abort needs none of it, so that no record that is damaged, gone or far away stands in the way of one.
    """
    if verb == "abort":
        return "an abort asks for nothing of it"
    try:
        return desk.run(seen)
    except Unidentified:
        raise
    except Rejected as error:
        return str(error)


def _one(which: str, found: list[T]) -> T:
    if len(found) > 1:
        places = ", ".join(one.place for one in found)
        raise Rejected(f"{which} is ambiguous: {places}; say which as NAMESPACE/NAME, or with --namespace")
    return found[0]

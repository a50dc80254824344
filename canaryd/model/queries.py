"""
The queries of a plan: read by their grammar where a person's plan comes in, and made whole for each side of a run.

Only the door (``plan_of``, ``policy_of``) asks what is wrong with a query. The models themselves do not, because a run
that was saved must be read again whatever is thought of its queries later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from canaryd.model import expression, variables
from canaryd.model.cells import Question
from canaryd.model.duration import render_duration, render_seconds
from canaryd.model.expression import Fault
from canaryd.model.problem import Problem
from canaryd.model.reading import shown
from canaryd.model.traffic import EVERYTHING, NOTHING, Version
from canaryd.model.variables import VARIABLES, WINDOW, Known

if TYPE_CHECKING:
    from canaryd.model.check import Check
    from canaryd.model.plan import Analysis, Plan

SOME = timedelta(minutes=1)
"""A window for a query that is read where nobody knows the check's."""
KEYS = ("query", "stableQuery")


@dataclass(frozen=True, slots=True)
class Names:
    """What a side is called; empty where that is not known."""

    workloads: tuple[str, ...] = ()
    namespace: str = ""
    subset: str = ""
    host: str = ""
    hashes: tuple[str, ...] = ()


def known_of(side: Names, window: timedelta) -> Known:
    """What the variables are for a side."""
    return {
        "workload": side.workloads,
        "namespace": (side.namespace,) if side.namespace else (),
        "subset": (side.subset,) if side.subset else (),
        "host": (side.host,) if side.host else (),
        "podTemplateHash": side.hashes,
        WINDOW: (f"{round(window.total_seconds() * 1000)}ms",),
    }


def questions(analysis: Analysis, stable: Names, canary: Names) -> tuple[Question, ...]:
    """What the checks ask of each side, those that decide something first: they must not wait for the others."""
    asking = sorted((check for check in analysis.checks if check.query is not None), key=lambda one: one.report_only)
    return tuple(_question(analysis, check, stable, canary) for check in asking)


def _question(analysis: Analysis, check: Check, stable: Names, canary: Names) -> Question:
    window = analysis.window_of(check)
    try:
        of_canary = variables.filled(check.query or "", known_of(canary, window))
        of_stable = variables.filled(check.query_of_stable, known_of(stable, window)) if check.compare else None
    except ValueError as error:
        return Question(check.name, "", None, why=str(error))
    weights = check.weights
    return Question(
        check.name,
        of_canary,
        of_stable,
        zero=check.on_empty == "zero",
        lowest=weights.from_ if weights and weights.from_ is not None else NOTHING,
        highest=weights.to if weights and weights.to is not None else EVERYTHING,
    )


def problems_of_queries(content: Mapping[Any, Any], plan: Plan | None = None) -> Iterator[Problem]:
    """
    What is wrong with the queries in a plan's or a policy's ``content``; with what the whole ``plan`` tells, if it is
    one.
    """
    for place, key, query in _queries(content):
        problem = of_query(f"spec.analysis.checks.{place}.{key}", query)
        if problem:
            yield problem
        elif plan is not None:
            yield from _in_the_plan(plan, place, key, query)


def span_of(query: str) -> timedelta:
    """How much time a value of the query speaks of by itself; nothing where the query cannot be read."""
    try:
        return timedelta(seconds=expression.read(variables.measured(query)).span)
    except Fault:
        return timedelta(0)


def of_query(path: str, query: str) -> Problem | None:
    """What is wrong with the text of a query, whatever is put in; None where nothing is."""
    for place in variables.places(query):
        if place.name not in VARIABLES:
            listed = ", ".join(f"${{{name}}}" for name in VARIABLES)
            close = get_close_matches(place.name, VARIABLES, n=1)
            remedy = f"did you mean ${{{close[0]}}}?" if close else ""
            return Problem(path, f"${{{place.name}}}", f"variables that canaryd knows ({listed})", remedy)
        if place.name != WINDOW and not place.quote:
            return Problem(path, f"${{{place.name}}}", "names inside quotes, as a matcher's value is")
    sample = variables.measured(query)
    try:
        read = expression.read(sample)
    except Fault as fault:
        where = f" at character {fault.at}, after {query[: fault.at][-24:]!r}" if fault.at else ""
        return Problem(path, shown(query), f"a query in PromQL's grammar: {fault}{where}")
    if read.kind in ("matrix", "string"):
        found = "a range of values" if read.kind == "matrix" else "a text"
        remedy = "put a function around it, such as rate() or max_over_time()" if read.kind == "matrix" else ""
        return Problem(path, shown(query), f"a query with one number as its value, and this is {found}", remedy)
    if not read.selectors:
        return Problem(path, shown(query), "a query that asks for a metric; this says the same whatever happens")
    if read.fixed:
        return Problem(path, shown(query), "a query of the moment: with @ and a time it says the same in every cell")
    for selector in read.selectors:
        if why := expression.contradiction(selector):
            return Problem(path, shown(query), f"matchers that can be met together: {why}")
    return None


def _queries(content: Mapping[Any, Any]) -> Iterator[tuple[int, str, str]]:
    """(place of the check, key, text) of each query in a plan as a person wrote it, whatever else is wrong there."""
    found: Any = content
    for key in ("spec", "analysis", "checks"):
        found = found.get(key) if isinstance(found, Mapping) else None
    for place, check in enumerate(found if isinstance(found, list | tuple) else ()):
        if isinstance(check, Mapping):
            for key in KEYS:
                if isinstance(check.get(key), str) and check[key]:
                    yield place, key, check[key]


def _in_the_plan(plan: Plan, place: int, key: str, query: str) -> Iterator[Problem]:
    analysis, path = plan.spec.analysis, f"spec.analysis.checks.{place}.{key}"
    check = analysis.checks[place]
    window = analysis.window_of(check)
    stable, canary = _examples(plan)
    try:
        of_canary = variables.filled(query, known_of(canary, window))
        of_stable = variables.filled(query, known_of(stable, window))
        span = expression.read(of_canary).span
    except Fault as fault:
        yield Problem(path, shown(of_canary), f"a query in PromQL's grammar with its variables put in: {fault}")
        return
    except ValueError as error:
        yield Problem(path, shown(query), f"variables that the plan's target has; {error}")
        return
    if span > window.total_seconds() * (1 + 1e-9):
        yield Problem(
            path,
            render_seconds(span),
            f"ranges no longer than the check's window ({render_duration(window)})",
            "what is in two values would count twice; give the check a longer window",
        )
    if check.compare and key == "query" and check.stable_query is None and of_canary == of_stable:
        yield Problem(
            path,
            shown(query),
            "${workload}, or another variable by which the sides differ; without it both have the same value",
        )


def _examples(plan: Plan) -> tuple[Names, Names]:
    """Stable and canary as they may be called."""
    target = plan.spec.target
    canary = target.version(target.canary)
    # Where the plan does not say who stable is, it is another subset of the canary's host, or another host.
    unsaid = Version(canary.host, "stable") if canary.subset else Version(f"not-{canary.host}", "")
    stable = target.version(target.stable) if target.stable else unsaid
    of_stable = Names(("stable",), plan.namespace, stable.subset, stable.host, ("1",))
    return of_stable, Names(("canary",), plan.namespace, canary.subset, canary.host, ("2",))

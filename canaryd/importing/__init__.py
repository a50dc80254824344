"""
Plans from what Flagger and Argo Rollouts are told: a Canary or a Rollout in; a CanaryPlan out, and all that it lacks.

Pure: objects in, plans out. :mod:`~canaryd.importing.ledger` is why no field gets lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterable

from canaryd.importing import argo, flagger
from canaryd.importing.beside import given
from canaryd.importing.draft import Imported
from canaryd.model.problem import Problem, Refused


def imported(texts: Iterable[tuple[str, str]]) -> tuple[list[Imported], list[str]]:
    """
    A plan for each Canary and Rollout in ``texts`` (pairs of a source and its YAML or JSON), and what was not read.

    Raises Refused with every problem of every object; then there is no plan at all.
    """
    found = given(texts)
    plans: list[Imported] = []
    problems: list[Problem] = []
    for one in found.sources:
        try:
            plans.append((flagger if one["kind"] == "Canary" else argo).plan_from(one, found))
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused(problems)
    return plans, found.idle

"""The whole of preflight for one plan: admission, what was read around it, and every check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from canaryd.errors import CanarydError
from canaryd.kube import Kube
from canaryd.model import codes
from canaryd.model.finding import Finding, in_order
from canaryd.model.plan import Plan
from canaryd.model.traffic import Admission, Route, Sides
from canaryd.preflight.answers import Answer
from canaryd.preflight.groups import checked
from canaryd.preflight.heard import NOTHING_HEARD, Heard
from canaryd.preflight.looking import survey


class Ears(Protocol):
    """Who knows what Prometheus has heard of a route."""

    def hear(self, plan: Plan, route: Route, sides: Sides | None = None) -> Heard:
        """Raises nothing: a Prometheus that does not answer is a finding."""


ELSEWHERE = frozenset({"CallersInMeshNotReached", "GatewayNotReached"})
"""Callers that one object means nothing to may be those of another, where a route lies in several."""


class Preflight:
    """
    Findings about plans, by reading only.

    ``ears`` asks Prometheus, if there is one to ask; ``clock`` gives Unix seconds, ``neighbours`` what Kiali and the
    like answer. ``home`` is as of :func:`survey`: who follows freezes by a watch of its own has nothing to look for.
    """

    def __init__(
        self,
        kube: Kube,
        ears: Ears | None,
        clock: Callable[[], float],
        neighbours: Callable[[Route], Mapping[str, Answer]] = lambda _: {},
        home: str = "",
    ) -> None:
        self._kube = kube
        self._ears = ears
        self._clock = clock
        self._neighbours = neighbours
        self._home = home

    def examine(self, plan: Plan, admitted: Admission | None = None) -> tuple[Finding, ...]:
        """
        What is to be said of ``plan`` beyond what admission says, what stops it first. Raises nothing.

        ``admitted`` is admission's answer; without one the route is found as well as can be. A route in several objects
        is looked at object by object.
        """
        parts = admitted.route.parts if admitted else ()
        each = [replace(admitted, route=part) for part in parts] if admitted else [None] * len(plan.parts)
        found = [self._examined(part, of) for part, of in zip(plan.parts, each, strict=True)]
        kept = [
            one
            for findings in found
            for one in findings
            if one.code not in ELSEWHERE or all(any(one.code == other.code for other in rest) for rest in found)
        ]
        return in_order(dict.fromkeys(kept))

    def _examined(self, plan: Plan, admitted: Admission | None) -> tuple[Finding, ...]:
        sides = admitted.sides if admitted else None
        try:
            seen = survey(
                self._kube,
                plan,
                admitted=admitted,
                hear=lambda route: self._ears.hear(plan, route, sides) if self._ears else NOTHING_HEARD,
                neighbours=self._neighbours,
                now=self._clock(),
                home=self._home,
            )
        except CanarydError as error:
            return (codes.KUBERNETES_AWAY.at("the Kubernetes API", f"{error} (check with: kubectl cluster-info)"),)
        return tuple(checked(seen))

"""
Several Prometheus, by name: each question goes to the one that the run's copy of the plan names.

Which one that is was chosen when the run began. It is never chosen anew: the settings may change in mid-run, and the
counts of another Prometheus would be another measurement. But it has to be there still, and allowed still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from canaryd.errors import CanarydError, Rejected
from canaryd.metrics.prometheus import Answer, Prometheus
from canaryd.model import codes
from canaryd.model.cells import Cell, Gap, Pace, Sought, Window
from canaryd.model.gate import Alert
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.settings import Settings

PATH = "spec.analysis.prometheus"


class Sources:
    """
    The port ``Metrics`` over the Prometheus of ``settings``.

    Raises Rejected where one of them cannot be used: each has a URL, and the environment variables that it names.
    """

    def __init__(self, settings: Settings) -> None:
        self._named = settings.prometheuses
        self._adapters = {"": Prometheus(settings.prometheus, timeout=settings.timeout)} | {
            name: Prometheus(source, name=name, timeout=settings.timeout) for name, source in self._named.items()
        }

    def choose(self, plan: Plan) -> str:
        """As the port says: the one that the plan names, else the one that the settings bind its namespace to."""
        named = plan.spec.analysis.prometheus
        if not named:
            return next((name for name, each in self._named.items() if plan.namespace in each.default_for), "")
        if problem := self._problem(named, plan.namespace):
            raise Refused([problem])
        return named

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        """As the port says. Raises Rejected where the source is gone, or no more for this namespace."""
        return self._of(sought).count(sought, window)

    def history(self, sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        """As the port says; otherwise as :meth:`count`."""
        return self._of(sought).history(sought, windows)

    def pace(self, sought: Sought) -> Pace:
        """As the port says; otherwise as :meth:`count`."""
        return self._of(sought).pace(sought)

    def reporters(self, sought: Sought) -> Mapping[str, float]:
        """As the port says; otherwise as :meth:`count`."""
        return self._of(sought).reporters(sought)

    def probe(self, sought: Sought) -> tuple[Problem, ...]:
        """As the port says."""
        try:
            return self._of(sought).probe(sought)
        except CanarydError as error:
            return (Problem(PATH, str(error), "a Prometheus that may be asked", code=codes.PROMETHEUS_BARRED.name),)

    def ask(self, sought: Sought, query: str, deadline: float) -> Answer:
        """What the source of ``sought`` answers to an instant query. Raises Unavailable or Rejected."""
        return self._of(sought).ask(sought, query, deadline)

    def names(self, sought: Sought, deadline: float) -> tuple[str, ...]:
        """The metrics' names that the source of ``sought`` has of late. Raises Unavailable or Rejected."""
        return self._of(sought).names(sought, deadline)

    def firing(self, plan: Plan, alert: Alert) -> tuple[str, ...]:
        """The alerts that fire, by the source that measures ``plan``. Raises as :meth:`count`."""
        return self._named_by(plan.spec.analysis.prometheus, plan.namespace).firing(plan, alert)

    def rules(self, plan: Plan) -> frozenset[str]:
        """The names of the alerts that the source which measures ``plan`` has rules for. Raises as :meth:`count`."""
        return self._named_by(plan.spec.analysis.prometheus, plan.namespace).rules(plan)

    def _of(self, sought: Sought) -> Prometheus:
        return self._named_by(sought.source, sought.asker)

    def _named_by(self, source: str, asker: str) -> Prometheus:
        if source and (problem := self._problem(source, asker)):
            raise Rejected(str(problem))
        return self._adapters[source]

    def _problem(self, name: str, namespace: str) -> Problem | None:
        """Why a plan of ``namespace`` may not be measured by ``name``; None if it may."""
        barred = codes.PROMETHEUS_BARRED.name
        allowed = sorted(one for one, each in self._named.items() if each.allows(namespace))
        there = (
            f"there are, for namespace {namespace}: {', '.join(allowed)}"
            if allowed
            else f"there is none for {namespace}"
        )
        if name not in self._named:
            close = get_close_matches(name, allowed, n=1)
            remedy = (
                f"did you mean {close[0]}? {there}" if close else f"{there}; leave it out, or add it to the settings"
            )
            return Problem(PATH, name, "a Prometheus of the settings (prometheuses)", remedy, barred)
        if name not in allowed:
            remedy = f"{there}; add {namespace} to prometheuses.{name}.namespaces in the settings"
            expected = f"a Prometheus that plans of namespace {namespace} may be measured by"
            return Problem(PATH, name, expected, remedy, barred)
        return None

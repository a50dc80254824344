"""
Asks Prometheus once what it knows of a route, for all checks: ten queries, within one deadline.

Where Prometheus cannot be used at all, the probe of ``metrics`` says why and nothing else is asked. A single query that
gets no answer, or a partial one, costs only what it would have told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from canaryd.errors import CanarydError, Rejected
from canaryd.mesh.hosts import fully_qualified
from canaryd.metrics.parse import Row
from canaryd.metrics.prometheus import Answer
from canaryd.model import codes
from canaryd.model.cells import Sought, reporter_of
from canaryd.model.finding import Finding, as_finding
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import Route, Sides
from canaryd.preflight import questions
from canaryd.preflight.heard import AT_THE_PODS, DURATIONS, Heard
from canaryd.preflight.trials import trials

ANSWERED = {code.name for code in (codes.CLOCK_SKEW, codes.NO_SERIES, codes.LABEL_MISSING, codes.SCRAPED_TOO_SELDOM)}
"""What a probe finds of a Prometheus that answers: the rest can still be asked."""


class Sources(Protocol):
    """The Prometheus that there are; each plan is measured by one of them."""

    def choose(self, plan: Plan) -> str:
        """Its name. Raises Refused."""

    def probe(self, sought: Sought) -> tuple[Problem, ...]:
        """Why it cannot be used; empty when it can. Raises nothing."""

    def reporters(self, sought: Sought) -> Mapping[str, float]:
        """Requests a second of late, by who counts them. Raises Unavailable or Rejected."""

    def rules(self, plan: Plan) -> frozenset[str]:
        """The names of the alerts that there are rules for. Raises Unavailable or Rejected."""

    def ask(self, sought: Sought, query: str, deadline: float) -> Answer:
        """The answer to an instant query, by ``deadline`` (monotonic). Raises Unavailable or Rejected."""

    def names(self, sought: Sought, deadline: float) -> tuple[str, ...]:
        """The names of the metrics of the last hour, by ``deadline``. Raises Unavailable or Rejected."""


class Hearing:
    """
    Who knows what Prometheus has heard of a route.

    ``within`` are the seconds that all queries together may take, the probe's apart, which has a deadline of its own.
    """

    def __init__(self, sources: Sources, within: float = 10.0) -> None:
        self._sources = sources
        self._within = within

    def hear(self, plan: Plan, route: Route, sides: Sides | None = None) -> Heard:
        """
        What Prometheus knows of the hosts of ``route``, by the source that measures ``plan``. Raises nothing.

        The checks' own queries are tried where the pods behind both versions are known.
        """
        try:
            source = self._sources.choose(plan)
        except Refused as error:
            return Heard(
                silent=str(error),
                probed=tuple(as_finding(problem) for problem in error.problems),
            )
        sought = sought_by(plan, route, source)
        rates = self._rates(sought)
        if plan.spec.analysis.reporter == "auto":
            sought = replace(sought, reporter=reporter_of(rates))
        probed = tuple(as_finding(problem) for problem in self._sources.probe(sought))
        if deaf := next((one for one in probed if one.code not in ANSWERED), None):
            return Heard(silent=str(deaf), probed=probed)
        asking = _Asking(self._sources, sought, time.monotonic() + self._within)
        heard = _heard(sought, asking, probed)
        rules = asking.rules(plan.measured_by(source)) if plan.alerts else None
        heard = replace(
            heard,
            reporter=sought.reporter,
            rates=tuple(sorted(rates.items())),
            rules=rules,
            missed=tuple(asking.missed),
        )
        if sides is None:
            return heard
        tried = trials(asking, plan, route, sides)
        return replace(heard, trials=tried, missed=tuple(asking.missed))

    def _rates(self, sought: Sought) -> Mapping[str, float]:
        """Requests a second by who counts them; nothing where that is not answered, and then the probe says why."""
        try:
            return self._sources.reporters(sought)
        except CanarydError:
            return {}


def _heard(sought: Sought, asking: _Asking, probed: tuple[Finding, ...]) -> Heard:
    hosts, reporter = sought.hosts, sought.reporter
    samples = asking.rows("how often there is a scrape", questions.samples(hosts, reporter))
    lately = questions.known_for(samples)
    recent = min(lately, questions.RECENT)
    outcomes = asking.rows("today's requests", questions.outcomes(hosts, recent, reporter))
    served = questions.served(outcomes, recent, sought.failures)
    calls = asking.rows("who calls", questions.calls(hosts, lately, reporter))
    pods, uninjected = questions.arrived(asking.rows(AT_THE_PODS, questions.arrivals(hosts, served, recent)), recent)
    histograms, native = questions.histograms(asking.rows(DURATIONS, questions.buckets(hosts, reporter)))
    places = asking.rows("where it is scraped", questions.places(hosts, reporter))
    wheres = tuple(dict.fromkeys(filter(None, (sought.where, *(one.where for one in sought.apart)))))
    matched = (
        asking.rows("which requests are counted", questions.matched(hosts, wheres, recent, reporter)) if wheres else ()
    )
    heard_of = bool(outcomes) and not any(what == "which requests are counted" for what, _ in asking.missed)
    control = asking.rows("istiod's own metrics", questions.control())
    return Heard(
        callers=questions.callers(calls, lately),
        served=served,
        labels=questions.labels(outcomes),
        protocols=questions.protocols(outcomes),
        pods=pods,
        uninjected=uninjected,
        histograms=histograms,
        native=native,
        reporters=questions.reporters(places),
        interval=questions.interval(samples),
        clusters=questions.clusters(places),
        scrapers=questions.scrapers(places),
        istiod=questions.istiod(control),
        counted=questions.counted(matched, wheres, recent) if heard_of else (),
        probed=probed,
        missed=tuple(asking.missed),
    )


@dataclass
class _Asking:
    """Asks one source, and keeps in mind what it did not answer."""

    sources: Sources
    sought: Sought
    deadline: float
    missed: list[tuple[str, str]] = field(default_factory=list)

    def rows(self, what: str, query: str) -> tuple[Row, ...]:
        """The rows of an instant query; none where they do not come whole."""
        found = self.tried(what, query)
        if isinstance(found, str):
            self.missed.append((what, found))
        return found if isinstance(found, tuple) else ()

    def tried(self, what: str, query: str) -> tuple[Row, ...] | str | None:
        """The rows of a query; why Prometheus refuses it; None where no whole answer came."""
        try:
            answer = self.sources.ask(self.sought, query, self.deadline)
        except Rejected as error:
            return str(error)
        except CanarydError as error:
            self.missed.append((what, str(error)))
            return None
        if answer.partial:
            self.missed.append((what, f"Prometheus gave a partial answer: {answer.partial}"))
            return None
        return answer.rows

    def names(self) -> tuple[str, ...]:
        """The names of all metrics of late; none where they do not come, for they are only a help."""
        try:
            return self.sources.names(self.sought, self.deadline)
        except CanarydError:
            return ()

    def rules(self, plan: Plan) -> frozenset[str] | None:
        """The names of the alerts that there are rules for; None where that is not said."""
        try:
            return self.sources.rules(plan)
        except CanarydError as error:
            self.missed.append(("which alerts there are", str(error)))
            return None


def sought_by(plan: Plan, route: Route, source: str) -> Sought:
    """What is asked about the hosts of ``route``; which workloads are behind them is not known yet."""
    hosts = (fully_qualified(version.host, route.namespace) for version in (route.stable, route.canary))
    analysis = plan.measured_by(source).spec.analysis
    return analysis.sought(
        tuple(dict.fromkeys(hosts)), namespace="", stable=(), canary=(), asker=plan.namespace, called=plan.called
    )

"""
Receivers and alerts without a network: the fakes of the ports ``Webhooks`` and ``Alerts``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from canaryd.errors import CanarydError, Rejected
from canaryd.gates import events
from canaryd.gates.answers import reply_of
from canaryd.metrics import alerts, parse
from canaryd.model.asking import Condition, Reply, Term
from canaryd.model.gate import Alert, Webhook
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Run

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class MemoryWebhooks:
    """``known`` are the receivers that there are, each with the namespaces that may ask it and what it answers."""

    known: dict[str, tuple[tuple[str, ...], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """As the port says."""
        return tuple(
            Problem(path, name, "a webhook of the settings (webhooks)", code="WebhookBarred")
            for name, path in sorted(plan.webhooks.items())
            if name not in self.known or plan.namespace not in self.known[name][0]
        )

    def ask(self, run: Run, term: Term, condition: Condition) -> Reply:
        """As the port says."""
        assert isinstance(term.part, Webhook)
        return self._answer(run, term.part.name, term.id)

    def tell(self, run: Run, name: str) -> Reply:
        """As the port says."""
        return self._answer(run, name, events.end_id(run, name))

    def _answer(self, run: Run, name: str, identity: str) -> Reply:
        if name not in self.known or run.plan.namespace not in self.known[name][0]:
            raise Rejected(f"{name}: expected a webhook of the settings")
        if self.away:
            return Reply("silent", "no answer within 0.5 s")
        self.asked.append((name, identity))
        return reply_of(*self.known[name][1], 0.0)


@dataclass
class MemoryAlerts:
    """``fires`` are the alerts that fire, by name and labels; ``failing`` is raised instead of an answer."""

    fires: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    failing: CanarydError | None = None
    asked: int = 0

    def firing(self, plan: Plan, alert: Alert) -> tuple[str, ...]:
        """As the port says."""
        self.asked += 1
        if self.failing:
            raise self.failing
        there = [
            parse.Row({"alertname": name, "alertstate": "firing", **labels}, 1.0)
            for name, labels in self.fires
            if name in alert.names and alert.labels.items() <= labels.items()
        ]
        return alerts.shown(there)

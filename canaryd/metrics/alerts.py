"""
Alerts as Prometheus itself keeps them: the series ``ALERTS``, one for each alert that is pending or fires.

An alert that does not fire has no series, so that an empty answer is a good one; it counts only where it came whole.
Source: Prometheus, "Alerting rules", inspecting alerts during runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from canaryd.metrics import promql
from canaryd.metrics.parse import Row
from canaryd.model.gate import Alert

NAME, STATE = "alertname", "alertstate"
SHOWN = 5
"""Labels of an alert that are shown."""


def query(alert: Alert) -> str:
    """The series of those of ``alert`` that fire."""
    names = promql.text("|".join(promql.pattern(name) for name in alert.names))
    matchers = [f"{NAME}=~{names}", f'{STATE}="firing"']
    matchers += [f"{label}={promql.text(value)}" for label, value in sorted(alert.labels.items())]
    return f"ALERTS{{{','.join(matchers)}}}"


def named_by(groups: Any) -> frozenset[str]:
    """The alerts' names in an answer of ``/api/v1/rules``. Raises KeyError or TypeError where it is none."""
    return frozenset(str(rule["name"]) for group in groups for rule in group["rules"])


def shown(rows: Iterable[Row]) -> tuple[str, ...]:
    """The alerts of ``rows``, each by its name and what else it is told apart by; in order."""
    return tuple(sorted({_one(row.labels) for row in rows}))


def _one(labels: Mapping[str, str]) -> str:
    rest = sorted((name, value) for name, value in labels.items() if name not in (NAME, STATE, "__name__"))[:SHOWN]
    told = ", ".join(f'{name}="{value}"' for name, value in rest)
    return f"{labels.get(NAME, '?')}{{{told}}}" if told else labels.get(NAME, "?")

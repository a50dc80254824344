"""What Kiali, Grafana and the tracing backend answered when they were looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DASHBOARDS = ("Istio Workload Dashboard", "Istio Service Dashboard")
"""Titles: these two have no uid of their own in Istio's files, so that a link has to be looked up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a neighbour at ``url`` answers; ``fault`` says why it is none.

    ``dashboards`` are Grafana's links by title, empty where there is none of that title, and None where it lists them
    only for who logs in. ``speaks`` is the API of the tracing backend: ``jaeger``, ``jaeger v3`` or ``tempo``; empty
    where that is not known. ``services`` are those that it has traces of, and ``knows_route`` says whether Kiali shows
    the VirtualService; None where that is told only to who logs in.
    """

    url: str
    fault: str = ""
    dashboards: Mapping[str, str] | None = None
    speaks: str = ""
    services: frozenset[str] | None = None
    knows_route: bool | None = None

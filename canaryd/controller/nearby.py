"""
Which runs a change of pods, Deployments, Services or DestinationRules concerns, so that they look at once.

Asked by an informer's thread for every change in the namespaces of all runs: nothing here sends a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from canaryd.cluster.cache import Change
from canaryd.cluster.shelf import Shelf, carries
from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, PODS, SERVICES, Kind
from canaryd.mesh.admission import ROOT_NAMESPACE
from canaryd.mesh.hosts import service_of
from canaryd.model.run import Run
from canaryd.model.traffic import Route

Object = dict[str, Any]

GATHER = 0.2
"""Seconds in which changes are gathered before a run looks: a rollout changes many pods in a moment."""


def concerned(runs: Iterable[Run], kind: Kind, change: Change, shelf: Shelf) -> Iterator[Run]:
    """Those of ``runs`` that would see something else than before; the shelf's objects are what is left of them."""
    if change.former is not None and _content(change.former) == _content(change.object):
        return
    namespace = str(change.object["metadata"].get("namespace") or "")
    for run in runs:
        services = _services(run.route)
        if kind.plural == DESTINATION_RULES.plural:
            if namespace in (run.route.namespace, ROOT_NAMESPACE, *(home for home, _ in services)):
                yield run
        elif any(home == namespace and _is_behind(kind, change, home, name, shelf) for home, name in services):
            yield run


def _is_behind(kind: Kind, change: Change, home: str, service: str, shelf: Shelf) -> bool:
    if kind == SERVICES:
        return bool(change.object["metadata"]["name"] == service)
    found = shelf.known(SERVICES, home, service)
    if found is None:
        return True
    selector: Mapping[str, str] = (found.get("spec") or {}).get("selector") or {}
    states = [change.object] if change.former is None else [change.object, change.former]
    if kind == PODS:
        return any(carries(one, selector) for one in states)
    return kind == DEPLOYMENTS and any(carries(one["spec"]["template"], selector) for one in states)


@lru_cache(maxsize=4096)
def _services(route: Route) -> tuple[tuple[str, str], ...]:
    """Namespace and name of the Services behind both versions."""
    found = (service_of(version.host, route.namespace) for version in (route.stable, route.canary))
    return tuple(dict.fromkeys((home, name) for name, home in found))


def _content(found: Object) -> Object:
    return found | {"metadata": {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}}

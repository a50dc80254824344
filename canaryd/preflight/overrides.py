"""
Which Telemetry objects take from the callers' metrics what canaryd reads there. Pure.

Three levels stack for each proxy: the mesh's, its namespace's, and its workload's; of several at one level the oldest
is in force, and what is nearer overrides tag by tag. (Istio, pilot/pkg/model/telemetry.go, mergeMetrics.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.kube import PODS
from canaryd.mesh.pods import workload_of
from canaryd.metrics.promql import CALL, OUTCOME
from canaryd.preflight.kinds import TELEMETRIES
from canaryd.preflight.survey import ROOT_NAMESPACE, Object, Survey, labels_of, name_of, selects, spec_of

REQUESTS, DURATIONS = "REQUEST_COUNT", "REQUEST_DURATION"
"""The Telemetry API's names of the two metrics that canaryd reads."""
NEEDED = {"reporter", *OUTCOME, *CALL}
AT_CALLERS = ("", "UNDEFINED", "CLIENT_AND_SERVER", "CLIENT")
"""Modes that reach what callers report."""


@dataclass(frozen=True, slots=True)
class Override:
    """
    Something of ``metric`` that ``telemetry`` takes from ``caller``: its ``tag``, or, where that is empty, all of it.

    ``path`` is the JSON pointer of the words that do it. A ``rewritten`` tag is there still, and says something else.
    """

    telemetry: str
    caller: str
    metric: str
    path: str
    tag: str = ""
    rewritten: bool = False


def overrides(survey: Survey) -> Iterator[Override]:
    """Every override in force that takes from a caller's metrics what canaryd needs."""
    telemetries = survey.all(TELEMETRIES)
    providers = _prometheus(survey.mesh)
    for name, namespace, labels in _callers(survey):
        yield from _in_force(_stacked(telemetries, namespace, labels), name, providers)


def _callers(survey: Survey) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Name, namespace and labels of each caller; the namespaces alone where no caller is known."""
    if not survey.heard.callers:
        yield from ((f"namespace {namespace}", namespace, {}) for namespace in survey.client_namespaces)
    for caller in survey.heard.callers:
        pods = (pod for pod in survey.all(PODS, caller.namespace) if workload_of(pod)[1] == caller.workload)
        yield str(caller), caller.namespace, next(map(labels_of, pods), {})


def _stacked(telemetries: Sequence[Object], namespace: str, labels: Mapping[str, str]) -> list[Object]:
    """What is in force for a proxy, the widest first."""
    plain = [one for one in telemetries if not _selector(one) and not _attached(one)]
    levels = (
        [one for one in plain if one["metadata"].get("namespace") == ROOT_NAMESPACE],
        [one for one in plain if one["metadata"].get("namespace") == namespace != ROOT_NAMESPACE],
        [
            one
            for one in telemetries
            if one["metadata"].get("namespace") == namespace and _selector(one) and selects(_selector(one), labels)
        ],
    )
    return [min(level, key=_age) for level in levels if level]


def _selector(telemetry: Object) -> Mapping[str, str]:
    return (spec_of(telemetry).get("selector") or {}).get("matchLabels") or {}


def _attached(telemetry: Object) -> bool:
    """Whether it is a gateway's or a waypoint's alone."""
    return bool(spec_of(telemetry).get("targetRefs") or spec_of(telemetry).get("targetRef"))


def _age(telemetry: Object) -> tuple[str, str]:
    meta = telemetry["metadata"]
    return meta.get("creationTimestamp") or "", meta["name"]


def _in_force(stack: Sequence[Object], caller: str, providers: set[str]) -> Iterator[Override]:
    """What of ``stack`` is not overridden by a nearer one."""
    found: dict[tuple[str, str], Override | None] = {}
    for telemetry in stack:
        for path, override in _listed(telemetry, providers):
            match = override.get("match") or {}
            if (match.get("mode") or "") not in AT_CALLERS or match.get("customMetric"):
                continue
            named = match.get("metric") or "ALL_METRICS"
            for metric in (REQUESTS, DURATIONS) if named == "ALL_METRICS" else {named} & {REQUESTS, DURATIONS}:
                for tag, words, change in _said(override):
                    its = Override(name_of(telemetry), caller, metric, f"{path}/{words}", tag, change == "rewritten")
                    found[metric, tag] = its if change else None
    yield from filter(None, found.values())


def _listed(telemetry: Object, providers: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The overrides of what Prometheus gets, each with its JSON pointer."""
    for place, metrics in enumerate(spec_of(telemetry).get("metrics") or ()):
        named = {(one or {}).get("name") for one in (metrics or {}).get("providers") or ()}
        if named and not named & providers:
            continue
        for number, override in enumerate((metrics or {}).get("overrides") or ()):
            yield f"/spec/metrics/{place}/overrides/{number}", override or {}


def _said(override: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Tag (empty: the whole metric), where it is said, and what becomes of it: ``gone``, ``rewritten`` or nothing."""
    if override.get("disabled") is not None:
        yield "", "disabled", "gone" if override["disabled"] else ""
    for tag, how in (override.get("tagOverrides") or {}).items():
        if tag in NEEDED:
            yield tag, f"tagOverrides/{tag}", "gone" if (how or {}).get("operation") == "REMOVE" else "rewritten"


def _prometheus(mesh: Mapping[str, Any]) -> set[str]:
    """The names of the providers that are Prometheus."""
    named = [one for one in mesh.get("extensionProviders") or () if isinstance(one, dict)]
    return {"prometheus"} | {str(one.get("name")) for one in named if "prometheus" in one}

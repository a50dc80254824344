"""
The pods behind a version or a caller, their workloads, and the words and commands in which people name them.

A pod tells its workload as istiod guesses it, which is the name in Istio's metrics. What kubectl is told must exist:
behind a ReplicaSet may stand an Argo Rollout that istiod takes for a Deployment, and no command is made for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, PODS, SERVICES
from canaryd.mesh import admission
from canaryd.mesh.admission import Surroundings, selection_of
from canaryd.mesh.pods import is_ready, is_terminating, selected, workload_of
from canaryd.model.traffic import Sides, Version
from canaryd.preflight.heard import Caller
from canaryd.preflight.saying import patching, some
from canaryd.preflight.survey import Object, Survey

RESTARTED = ("Deployment", "StatefulSet", "DaemonSet")
"""Kinds that ``kubectl rollout restart`` gives new pods."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload of pods; ``kind`` is empty where it is none that kubectl could be told to change."""

    kind: str
    name: str

    @property
    def argument(self) -> str:
        """As kubectl takes it."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True, slots=True)
class Behind:
    """
    The pods of one side that are not on their way out, and their workloads.

    ``side`` is how it is called (``canary v3``), ``version`` which one it is, None for a caller.
    """

    side: str
    namespace: str
    pods: tuple[Object, ...]
    workloads: tuple[Workload, ...]
    version: Version | None = None

    @property
    def ready(self) -> tuple[Object, ...]:
        """The pods that get requests."""
        return tuple(filter(is_ready, self.pods))

    def __str__(self) -> str:
        return f"pods of {some(one.name for one in self.workloads)} in namespace {self.namespace}"


def behind_versions(survey: Survey) -> tuple[Behind, ...]:
    """Stable's and canary's pods; nothing where it is not known which these are."""
    if {PODS, SERVICES} & survey.unread.keys():
        return ()
    return tuple(
        found
        for side, version in zip(("stable", "canary"), survey.versions, strict=False)
        if (found := _behind_version(survey, f"{side} {version}", version)).pods
    )


def _behind_version(survey: Survey, side: str, version: Version) -> Behind:
    selection, _ = selection_of(version, survey.namespace, _around(survey))
    found = _behind(survey, side, selection.namespace, selected(survey.all(PODS), selection))
    return replace(found, version=version)


def sides_of(survey: Survey) -> Sides | None:
    """What admission saw of both versions; as it was read here where admission has refused."""
    if survey.sides or survey.route is None:
        return survey.sides
    return admission.sides_of(survey.route, _around(survey))


def _around(survey: Survey) -> Surroundings:
    return Surroundings(
        services=survey.all(SERVICES),
        destination_rules=survey.all(DESTINATION_RULES),
        pods=survey.all(PODS),
        deployments=survey.all(DEPLOYMENTS),
    )


def behind_caller(survey: Survey, caller: Caller) -> Behind:
    """The pods of a workload that sends requests; none where they are not known."""
    pods = [one for one in survey.all(PODS, caller.namespace) if workload_of(one)[1] == caller.workload]
    return _behind(survey, f"caller {caller}", caller.namespace, pods)


def _behind(survey: Survey, side: str, namespace: str, pods: Iterable[Object]) -> Behind:
    staying = tuple(one for one in pods if not is_terminating(one))
    return Behind(side, namespace, staying, workloads_of(survey, namespace, staying))


def workloads_of(survey: Survey, namespace: str, pods: Iterable[Object]) -> tuple[Workload, ...]:
    """The workloads of pods of one namespace, each once."""
    found = dict.fromkeys(workload_of(one)[:2] for one in pods)
    return tuple(Workload(kind if _is_there(survey, kind, namespace, name) else "", name) for kind, name in found)


def _is_there(survey: Survey, kind: str, namespace: str, name: str) -> bool:
    if kind == "Deployment" and DEPLOYMENTS not in survey.unread:
        return survey.one(DEPLOYMENTS, namespace, name) is not None
    return kind in RESTARTED


def restart(namespace: str, workloads: Sequence[Workload]) -> str:
    """The command that gives the workloads new pods; empty where one of them is of a kind without such a command."""
    if not workloads or any(not one.kind for one in workloads):
        return ""
    return f"kubectl rollout restart {' '.join(one.argument for one in workloads)} -n {namespace}"


def retemplate(namespace: str, workloads: Sequence[Workload], meta: Mapping[str, Any]) -> str:
    """The command that writes ``meta`` into the workloads' templates, which gives them new pods; empty as above."""
    if not workloads or any(not one.kind for one in workloads):
        return ""
    body = {"spec": {"template": {"metadata": meta}}}
    found = [{"metadata": {"name": one.name, "namespace": namespace}} for one in workloads]
    return " && ".join(patching(one.kind.lower(), each, body) for one, each in zip(workloads, found, strict=True))

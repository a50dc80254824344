"""
Sidecars: whether the proxies are there that carry out the weights and count the requests.

The truth is in the pods: labels say what becomes of pods that are born now, and a pod that is older than its label has
no sidecar whatever the label says. A version without sidecars is still called by weights and counted, for its callers
do both; a *caller* without one does neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from canaryd.kube import DEPLOYMENTS, NAMESPACES, PODS
from canaryd.mesh.pods import INJECTED, SIDECAR, has_sidecar, workload_of
from canaryd.model.finding import Code, Finding
from canaryd.preflight.behind import (
    Behind,
    behind_caller,
    behind_versions,
    restart,
    retemplate,
)
from canaryd.preflight.destinations import service
from canaryd.preflight.kinds import GATEWAY_API_GATEWAYS, INJECTORS
from canaryd.preflight.rules import root_of
from canaryd.preflight.saying import some
from canaryd.preflight.survey import Object, Survey, containers_of, labels_of, marks_of, name_of, spec_of

TITLE = "Sidecars"

INJECTION, REVISION, TAG = "istio-injection", "istio.io/rev", "istio.io/tag"
INJECT = "sidecar.istio.io/inject"
DATAPLANE, REDIRECTED = "istio.io/dataplane-mode", "ambient.istio.io/redirection"
WAYPOINT, WAYPOINT_HOME, WAYPOINT_FOR = (
    "istio.io/use-waypoint",
    "istio.io/use-waypoint-namespace",
    "istio.io/waypoint-for",
)
NOTABLE = 0.01
"""The share of requests from beyond the mesh below which they are mentioned only (a probe, a scrape)."""

SIDECAR_MISSING = Code(
    "SidecarMissing",
    "warning",
    "Pods of a version have no sidecar: what they answer is counted by their callers alone, so that attempts per "
    "request and differences between pods are not seen; what they call themselves follows no VirtualService and has no "
    "mTLS. Where only one of the versions has sidecars, the comparison is one of proxies too (Istio: IST0102, "
    "IST0103).",
    "Have their namespace injected, and restart them: a pod gets its sidecar when it is born.",
)
CALLER_WITHOUT_SIDECAR = Code(
    "CallerWithoutSidecar",
    "warning",
    "Pods of a workload that calls the service have no sidecar: their requests go to the pods of both versions "
    "whatever the weights say, also after a rollback, and are not counted.",
    "Have their namespace injected, and restart them.",
)
BESIDE_THE_MESH = Code(
    "RequestsBesideTheMesh",
    "warning",
    "Requests reach the pods from callers without a sidecar. They go to all pods of the Service, the canary's among "
    "them, whatever the weights say and also after a rollback, and only the pods' own sidecars count them.",
    "Give those callers sidecars; a pod without one shows no container `istio-proxy` in `kubectl get pods -o wide`. "
    "Where they are probes or a Prometheus that scrapes the application's port, nothing is to be done.",
)
HOST_NETWORK = Code(
    "HostNetwork",
    "warning",
    "Pods are on their node's network, where Istio injects no sidecar; for them it is as if the mesh were not there.",
    "Take `hostNetwork: true` out of their template if they can do without it.",
)
CONTRADICTS = Code(
    "InjectionContradicts",
    "warning",
    "A namespace has both labels, `istio-injection` and `istio.io/rev`; the first holds and the revision does not "
    "count, so that pods get another sidecar than thought, or none (Istio: IST0123).",
    "Take off the one that is not meant.",
)
REVISION_UNSERVED = Code(
    "RevisionUnserved",
    "warning",
    "A namespace asks for the sidecars of a revision that no injector serves: pods that are born now get none.",
    "Name a revision or a tag that is served; `istioctl tag list` shows them.",
)
SIDECARS_DIFFER = Code(
    "SidecarsDiffer",
    "info",
    "The sidecars of stable and canary are of different revisions or images: what differs may be the proxies' doing.",
    "Restart the older version's pods before the run, so that both have the sidecar of today.",
)
AMBIENT_WITHOUT_WAYPOINT = Code(
    "AmbientWithoutWaypoint",
    "error",
    "The versions are in ambient mode and their Service has no waypoint: nobody reads requests there, so that weights "
    "do nothing for callers in ambient mode and nothing is counted. A warning where callers with a proxy are known.",
    "Give the Service a waypoint, or the callers and versions sidecars.",
)
AMBIENT_UNMEASURED = Code(
    "AmbientUnmeasured",
    "error",
    "The versions are in ambient mode, where a waypoint carries out the weights and counts, and a run would not be "
    "measured by its counts: Prometheus does not have them, or the plan wants those of callers' sidecars and gateways "
    "(`reporter: source`). A warning where such callers are known; then only these are measured.",
    "Have Prometheus scrape the waypoint's pods (port 15020, /stats/prometheus); leave `spec.analysis.reporter` out.",
)

CODES = (
    SIDECAR_MISSING,
    CALLER_WITHOUT_SIDECAR,
    BESIDE_THE_MESH,
    HOST_NETWORK,
    CONTRADICTS,
    REVISION_UNSERVED,
    SIDECARS_DIFFER,
    AMBIENT_WITHOUT_WAYPOINT,
    AMBIENT_UNMEASURED,
)


def check(survey: Survey) -> Iterator[Finding]:
    """Who has no sidecar, and why; labels that will have an effect on the next pods; ambient mode."""
    versions = behind_versions(survey)
    yield from _labels(survey, versions)
    yield from _beside(survey)
    for side in versions:
        yield from _without(survey, side, SIDECAR_MISSING)
    yield from _differing(versions)
    yield from _ambient(survey, versions)
    if PODS in survey.unread:
        return
    seen = {(one.workload, one.namespace): one for one in survey.heard.callers}
    for caller in seen.values():
        yield from _without(survey, behind_caller(survey, caller), CALLER_WITHOUT_SIDECAR)


# Labels of namespaces


def _labels(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    places = dict.fromkeys((*(side.namespace for side in versions), *survey.client_namespaces))
    served = _served(survey)
    for place in places:
        labels = namespace_labels(survey, place)
        asked, revision = labels.get(INJECTION), labels.get(REVISION)
        if asked and revision:
            drop = REVISION if asked == "enabled" else INJECTION
            yield CONTRADICTS.at(
                f"Namespace {place}",
                f"has {INJECTION}={asked} and {REVISION}={revision}: the first holds, so that pods get "
                f"{'the sidecar of the default revision' if asked == 'enabled' else 'no sidecar'}",
                f"kubectl label namespace {place} {drop}-",
            )
        elif revision and served and revision not in served:
            best = "default" if "default" in served else min(served)
            yield REVISION_UNSERVED.at(
                f"Namespace {place}",
                f"has {REVISION}={revision}, which no injector serves (served: {some(sorted(served))}): the next pods "
                "get no sidecar",
                f"kubectl label namespace {place} {REVISION}={best} --overwrite",
            )


def _served(survey: Survey) -> set[str]:
    """The revisions and tags that injectors serve; nothing where they were not seen."""
    if INJECTORS in survey.unread:
        return set()
    hooks = [labels_of(one) for one in survey.all(INJECTORS)]
    control = [labels_of(one) for one in survey.all(DEPLOYMENTS, root_of(survey))]
    istiods = [one for one in control if one.get("app") == "istiod"]
    return {found for one in (*hooks, *istiods) for key in (REVISION, TAG) if (found := one.get(key))}


def namespace_labels(survey: Survey, name: str) -> Mapping[str, str]:
    """A namespace's labels; none where it may not be read."""
    found = next((one for one in survey.all(NAMESPACES) if one["metadata"]["name"] == name), None)
    return labels_of(found) if found else {}


# Requests and pods without a proxy


def _beside(survey: Survey) -> Iterator[Finding]:
    beyond = survey.heard.uninjected
    if beyond <= 0:
        return
    whole = beyond + sum(one.rate for one in survey.heard.callers)
    share = beyond / whole
    yield BESIDE_THE_MESH.at(
        f"requests to {some(survey.hosts)}",
        f"{beyond:.3g} of {whole:.3g} requests a second come from callers without a sidecar: they reach both versions "
        "whatever the weights say, and no rollback takes them off the canary",
        level="warning" if share >= NOTABLE else "info",
    )


def _without(survey: Survey, side: Behind, code: Code) -> Iterator[Finding]:
    """The pods of one side that have no sidecar and should, told apart by what would give them one."""
    labels = namespace_labels(survey, side.namespace)
    bare = [pod for pod in side.pods if not has_sidecar(pod) and not is_ambient(pod, labels)]
    on_nodes = [pod for pod in bare if spec_of(pod).get("hostNetwork")]
    if on_nodes:
        yield HOST_NETWORK.at(str(side), f"{_counted(on_nodes, side)} on their node's network and get no sidecar")
    others = [pod for pod in bare if pod not in on_nodes]
    if not others:
        return
    why, remedy = _injecting(survey, side, others, labels)
    consequence = (
        "their requests go to both versions whatever the weights say, and are not counted"
        if code is CALLER_WITHOUT_SIDECAR
        else f"only callers count what {side.side} answers"
    )
    yield code.at(str(side), f"{_counted(others, side)} without a sidecar, {why}; {consequence}", remedy)


def _counted(pods: list[Object], side: Behind) -> str:
    names = some(pod["metadata"]["name"] for pod in pods)
    return f"{len(pods)} of {len(side.pods)} ({names}) {'is' if len(pods) == 1 else 'are'}"


def _injecting(survey: Survey, side: Behind, pods: list[Object], labels: Mapping[str, str]) -> tuple[str, str]:
    """
    Why the pods have no sidecar, and the command that gives them one.

    Source: Istio, pkg/kube/inject/inject.go injectRequired, and the selectors of the injector's webhooks.
    """
    if NAMESPACES in survey.unread:
        return "and the labels of their namespace may not be read", ""
    bare = [one for one in side.workloads if one.name in {workload_of(pod)[1] for pod in pods}]
    again = restart(side.namespace, bare)
    refusing = any(_refuses(pod) for pod in pods)
    asked = labels.get(INJECTION) == "enabled" or (bool(labels.get(REVISION)) and INJECTION not in labels)
    why = "because their namespace has no label that asks for one"
    if asked:
        why = "though their namespace is injected: they are older than its label, or the injector was away"
    if refusing:
        why = f"because their template says {INJECT}: false"
        again = retemplate(side.namespace, bare, {"labels": {INJECT: "true"}})
        asked = asked or INJECTION not in labels  # where the namespace says nothing the pods' own label will do
    return why, again if asked or not again else f"{_labelling(survey, side, labels)} && {again}"


def _labelling(survey: Survey, side: Behind, labels: Mapping[str, str]) -> str:
    wanted = next((found for pod in survey.all(PODS) if (found := _revision(pod))), "")
    label = f"{INJECTION}=enabled" if wanted in ("", "default") else f"{REVISION}={wanted}"
    if INJECTION in labels and label.startswith(REVISION):
        label = f"{INJECTION}- {label}"
    return f"kubectl label namespace {side.namespace} {label} --overwrite"


def _refuses(pod: Object) -> bool:
    """The label goes before the annotation."""
    return (labels_of(pod).get(INJECT) or marks_of(pod).get(INJECT)) == "false"


def _revision(pod: Object) -> str:
    try:
        status = json.loads(marks_of(pod).get(INJECTED) or "{}")
    except ValueError:
        return ""
    return str(status.get("revision") or "") if isinstance(status, dict) else ""


def _differing(versions: tuple[Behind, ...]) -> Iterator[Finding]:
    said = [sorted({_told(pod) for pod in side.pods if has_sidecar(pod)}) for side in versions]
    if len(said) < 2 or not all(said) or said[0] == said[1]:  # two sides
        return
    words = "; ".join(f"{side.side} has {some(one)}" for side, one in zip(versions, said, strict=True))
    stable = versions[0]
    yield SIDECARS_DIFFER.at(
        f"sidecars of {stable.side} and {versions[1].side}", words, restart(stable.namespace, stable.workloads)
    )


def _told(pod: Object) -> str:
    """The sidecar's image, and its revision where it has one."""
    image = next((one.get("image") or "" for one in containers_of(pod) if one.get("name") == SIDECAR), "")
    revision = _revision(pod)
    return f"{image} (revision {revision})" if revision else str(image)


# Ambient mode


def is_ambient(pod: Object, namespace: Mapping[str, str]) -> bool:
    """Whether the node's ztunnel takes the pod's traffic; a pod with a sidecar is never in ambient mode."""
    if has_sidecar(pod) or spec_of(pod).get("hostNetwork"):
        return False
    asked = labels_of(pod).get(DATAPLANE) or namespace.get(DATAPLANE)
    return marks_of(pod).get(REDIRECTED) == "enabled" or asked == "ambient"


def _ambient(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    inside = [
        side for side in versions if any(is_ambient(pod, namespace_labels(survey, side.namespace)) for pod in side.pods)
    ]
    hosts = dict.fromkeys(side.version.host for side in inside if side.version)
    level: Any = "warning" if survey.heard.callers else "error"
    measured = (
        f"only what {some(map(str, survey.heard.callers))} send can be moved and measured"
        if survey.heard.callers
        else "no caller with a sidecar and no gateway is known, so that nothing could be measured"
    )
    for found in filter(None, (service(survey, host) for host in hosts)):
        where, missing = f"Service {name_of(found)}", _without_waypoint(survey, found)
        if missing:
            said = f"is in ambient mode and {missing}: weights do nothing for callers in ambient mode; {measured}"
            yield AMBIENT_WITHOUT_WAYPOINT.at(where, said, _waypoint(found), level=level)
        else:
            yield from _unread(survey, where, level, measured)


def _unread(survey: Survey, where: str, level: Any, measured: str) -> Iterator[Finding]:
    """That a Service's waypoint is not what the run is measured by."""
    heard = survey.heard
    if heard.reporter == "waypoint" or heard.silent:
        return
    why = "whose counts Prometheus does not have"
    if "waypoint" in heard.reporters:
        wanted = survey.plan.spec.analysis.reporter == "source"
        why = (
            "and the plan says reporter: source" if wanted else "which counts fewer requests than the callers' proxies"
        )
    yield AMBIENT_UNMEASURED.at(where, f"is in ambient mode, behind a waypoint, {why}; {measured}", level=level)


def _without_waypoint(survey: Survey, found: Object) -> str:
    """Why the Service has no waypoint; empty where it has one, or where it may not be read whether it is there."""
    home = found["metadata"]["namespace"]
    labels = next((each for each in (labels_of(found), namespace_labels(survey, home)) if each.get(WAYPOINT)), {})
    name = labels.get(WAYPOINT) or ""
    if name in ("", "none"):
        return "has no waypoint"
    if GATEWAY_API_GATEWAYS in survey.unread:
        return ""
    place = labels.get(WAYPOINT_HOME) or home
    gateway = survey.one(GATEWAY_API_GATEWAYS, place, name)
    if gateway is None:
        return f"its waypoint {place}/{name} is not there"
    if labels_of(gateway).get(WAYPOINT_FOR) in ("workload", "none"):
        return f"its waypoint {place}/{name} is not for Services"
    return ""


def _waypoint(found: Object) -> str:
    """The command that gives a Service a waypoint of its own namespace, as `istioctl waypoint apply` makes it."""
    home, name = found["metadata"]["namespace"], found["metadata"]["name"]
    return (
        f"kubectl apply -f - <<'EOF' && kubectl label service {name} -n {home} {WAYPOINT}=waypoint --overwrite\n"
        "apiVersion: gateway.networking.k8s.io/v1\n"
        "kind: Gateway\n"
        f"metadata: {{name: waypoint, namespace: {home}, labels: {{{WAYPOINT_FOR}: service}}}}\n"
        "spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n"
        "EOF"
    )

"""
Whom the weights reach: callers that the VirtualService is not bound to, or that do not see it.

Whoever is not reached goes to the Service and so to all of its pods, the canary's among them, whatever the weights say.
A VirtualService obeys its ``gateways`` to the letter: bound to a gateway alone it means nothing to sidecars, bound to
the mesh alone nothing to gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from canaryd.kube import NAMESPACES, PODS
from canaryd.mesh.pods import is_terminating, workload_of
from canaryd.mesh.routing import EVERYBODY, MESH, NOBODY, OWN, exported_to, overlap, seen_from
from canaryd.model.finding import Code, Finding, Level
from canaryd.preflight.fronts import Front, bound_to, fronts
from canaryd.preflight.heard import Caller
from canaryd.preflight.kinds import GATEWAYS, SIDECARS
from canaryd.preflight.saying import named, patching, some
from canaryd.preflight.survey import (
    ROOT_NAMESPACE,
    Object,
    Survey,
    containers_of,
    labels_of,
    marks_of,
    name_of,
    selects,
    spec_of,
)

TITLE = "Whom the weights reach"

MESH_NOT_REACHED = Code(
    "CallersInMeshNotReached",
    "warning",
    "The VirtualService is bound to gateways only (as Bookinfo's `bookinfo` is to `bookinfo-gateway`), but sidecars in "
    "the mesh call the Service: weights do nothing for their requests, which go to all of its pods. It is an error "
    "where nobody else calls.",
    "Bind it to the mesh as well and name the Service's host in it, or plan on the VirtualService of the Service.",
)
GATEWAY_NOT_REACHED = Code(
    "GatewayNotReached",
    "info",
    "A gateway sends requests to the Service, and the plan's VirtualService is not bound to it: weights do nothing for "
    "them (IST0140). It is an error where nobody else calls.",
    "Send the gateway's requests by the plan's VirtualService: bind it to the Gateway, or make it a delegate of both.",
)
NOT_EXPORTED = Code(
    "NotExportedToCallers",
    "warning",
    "`exportTo` (or the mesh's default) keeps the VirtualService from a namespace that calls the Service: weights do "
    "nothing for its requests. It is an error where nobody else calls.",
    "Export it to the callers' namespaces.",
)
SIDECAR_HIDES = Code(
    "SidecarHidesHost",
    "warning",
    "A Sidecar object of a calling namespace does not import the VirtualService's host: those proxies know no weights, "
    "and their requests go past them as to an unknown host, or fail. It is an error where nobody else calls.",
    "Add the host to the Sidecar's `egress`.",
)
OTHER_REVISION = Code(
    "OtherRevision",
    "error",
    "The VirtualService's label `istio.io/rev` gives it to one revision of istiod, and the callers' proxies are "
    "configured by another: weights do nothing for them.",
    "Take the label off, or give it the revision (or the tag) of the callers.",
)

CODES = (
    MESH_NOT_REACHED,
    GATEWAY_NOT_REACHED,
    NOT_EXPORTED,
    SIDECAR_HIDES,
    OTHER_REVISION,
)
REVISION = "istio.io/rev"


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of bindings, exports, Sidecars and revisions between the callers and the plan's entries."""
    if survey.virtual_service is None or survey.route is None:
        return
    callers = _Callers.of(survey)
    for front in fronts(survey):
        bound = bound_to(survey, front)
        yield from _unbound(survey, front, bound, callers)
        if MESH in bound:
            yield from _unseen(survey, front, callers)
        yield from _revision(survey, front, callers)


# -- who calls


@dataclass(frozen=True, slots=True)
class _Callers:
    """
    Those who called lately, told apart by what their proxies are; ``pods`` are theirs.

    Of ``unknown`` ones no pod was seen, so that either may be true.
    """

    sidecars: tuple[Caller, ...]
    gateways: tuple[Caller, ...]
    unknown: tuple[Caller, ...]
    pods: Mapping[Caller, tuple[Object, ...]]

    @classmethod
    def of(cls, survey: Survey) -> _Callers:
        pods = {
            caller: tuple(
                pod
                for pod in survey.all(PODS, caller.namespace)
                if workload_of(pod)[1] == caller.workload and not is_terminating(pod)
            )
            for caller in survey.heard.callers
        }
        selectors = [spec_of(one).get("selector") or {} for one in survey.all(GATEWAYS)]
        gateways = tuple(caller for caller in pods if any(_is_gateway(pod, selectors) for pod in pods[caller]))
        unknown = tuple(caller for caller in pods if not pods[caller])
        sidecars = tuple(caller for caller in pods if caller not in (*gateways, *unknown))
        return cls(sidecars, gateways, unknown, pods)


def _is_gateway(pod: Object, selectors: Sequence[Mapping[str, str]]) -> bool:
    """Whether the pod's proxy is a gateway's: injected as one, started as one, or chosen by a Gateway."""
    if marks_of(pod).get("inject.istio.io/templates") == "gateway":
        return True
    proxies = [one for one in containers_of(pod) if one.get("name") == "istio-proxy"]
    if any("router" in (one.get("args") or ()) for one in proxies):
        return True
    return any(selector and selects(selector, labels_of(pod)) for selector in selectors)


# -- callers


def _unbound(survey: Survey, front: Front, bound: Sequence[str], callers: _Callers) -> Iterator[Finding]:
    """Callers whose kind of proxy the front means nothing to."""
    host = survey.hosts[0] if survey.hosts else ""
    if MESH not in bound and callers.sidecars:
        said = (
            f"is bound to {', '.join(sorted(bound))} only, and {some(callers.sidecars)} in the mesh sent requests to "
            f"{host} lately: weights do nothing for those"
        )
        level: Level | None = None if callers.gateways or callers.unknown else "error"
        yield MESH_NOT_REACHED.at(str(front), said, _into_the_mesh(survey, front), level=level)
    if set(bound) == {MESH} and callers.gateways:
        said = (
            f"is bound to no gateway, and gateway {some(callers.gateways)} sent requests to {host} lately: weights do "
            "nothing for those (IST0140)"
        )
        yield GATEWAY_NOT_REACHED.at(str(front), said, level=None if callers.sidecars or callers.unknown else "error")


def _into_the_mesh(survey: Survey, front: Front) -> str:
    """The command that binds the front to the mesh; there is none for the host ``*``, which the mesh does not allow."""
    written = spec_of(front.found)
    if EVERYBODY in (written.get("hosts") or ()) or not written.get("gateways"):
        return ""
    operations = [{"op": "add", "path": "/spec/gateways/-", "value": MESH}]
    missing = [one for one in survey.hosts if not any(overlap(each, one) for each in front.hosts)]
    operations += [{"op": "add", "path": "/spec/hosts/-", "value": one} for one in missing]
    return patching("virtualservice", front.found, operations)


def _unseen(survey: Survey, front: Front, callers: _Callers) -> Iterator[Finding]:
    """Sidecars that the front is not exported to, or whose own Sidecar object does not import it."""
    places = dict.fromkeys(one.namespace for one in (*callers.sidecars, *callers.unknown))
    hidden = [place for place in places if not seen_from(place, front.found, survey.mesh)]
    if hidden:
        exported = exported_to(front.found, survey.mesh)
        said = (
            f"is exported to {', '.join(exported) or 'nobody'} only, and namespaces {some(hidden)} call: weights do "
            "nothing for their requests"
        )
        remedy = patching("virtualservice", front.found, {"spec": {"exportTo": sorted({*exported, *hidden})}})
        yield NOT_EXPORTED.at(str(front), said, remedy, level=_level(hidden, callers))
    if SIDECARS in survey.unread:
        return
    said_of: set[str] = set()
    for caller in callers.sidecars:
        sidecar = _sidecar_of(survey, caller, callers.pods[caller])
        if sidecar is None or caller.namespace in hidden or name_of(sidecar) in said_of:
            continue
        if not _imports(sidecar, front, caller.namespace):
            said_of.add(name_of(sidecar))
            yield SIDECAR_HIDES.at(
                f"Sidecar {name_of(sidecar)}",
                f"its egress imports no host of {front} ({', '.join(front.hosts)}), and {caller} calls: weights do "
                "nothing for its requests",
                _importing(sidecar, front),
                level=_level([caller.namespace], callers),
            )


def _level(places: Iterable[str], callers: _Callers) -> Level | None:
    """An error where every caller is in one of ``places``: then nobody is reached at all."""
    return "error" if {one.namespace for one in callers.pods} <= set(places) else None


def _sidecar_of(survey: Survey, caller: Caller, pods: Sequence[Object]) -> Object | None:
    """
    The Sidecar object that configures the caller's proxies.

    One that selects them goes before the namespace's own, and that before the root namespace's.
    Source: Istio, networking/v1alpha3/sidecar.proto.
    """
    near = survey.all(SIDECARS, caller.namespace)
    chosen = [one for one in near if _selector(one) and any(selects(_selector(one), labels_of(pod)) for pod in pods)]
    whole = [one for one in near if not _selector(one)]
    root = [one for one in survey.all(SIDECARS, ROOT_NAMESPACE) if not _selector(one)]
    return next(iter([*chosen, *whole, *root]), None)


def _selector(sidecar: Object) -> Mapping[str, str]:
    return (spec_of(sidecar).get("workloadSelector") or {}).get("labels") or {}


def _imports(sidecar: Object, front: Front, namespace: str) -> bool:
    """Whether a proxy in ``namespace`` imports a host of the front; a Sidecar without ``egress`` imports everything."""
    listeners = spec_of(sidecar).get("egress")
    if not listeners:
        return True
    for written in (each for one in listeners for each in (one or {}).get("hosts") or ()):
        home, slash, host = str(written).partition("/")
        if not slash or home == NOBODY:
            continue
        place = namespace if home == OWN else home
        if place in (EVERYBODY, front.namespace) and any(overlap(host, one) for one in front.hosts):
            return True
    return False


def _importing(sidecar: Object, front: Front) -> str:
    listeners = spec_of(sidecar).get("egress") or ()
    index = next((at for at, one in enumerate(listeners) if one and not one.get("port") and one.get("hosts")), None)
    if index is None:
        return ""
    operations = [
        {"op": "add", "path": f"/spec/egress/{index}/hosts/-", "value": f"{front.namespace}/{one}"}
        for one in front.hosts
    ]
    return patching(str(SIDECARS), sidecar, operations)


def _revision(survey: Survey, front: Front, callers: _Callers) -> Iterator[Finding]:
    """The front's revision against those of the callers' pods and namespaces (a namespace may name a tag)."""
    wanted = labels_of(front.found).get(REVISION)
    if not wanted or NAMESPACES in survey.unread:
        return
    pods = [pod for caller in callers.pods for pod in callers.pods[caller]]
    known = {found for pod in pods if (found := marks_of(pod).get(REVISION) or labels_of(pod).get(REVISION))}
    places = {one.namespace for one in survey.heard.callers}
    for namespace in survey.all(NAMESPACES):
        if namespace["metadata"]["name"] in places:
            labels = labels_of(namespace)
            revision = labels.get(REVISION) or ("default" if labels.get("istio-injection") == "enabled" else "")
            known |= {revision} - {""}
    if known and wanted not in known:
        yield OTHER_REVISION.at(
            str(front),
            f"is for revision {wanted} (label {REVISION}), and its callers' proxies are of {', '.join(sorted(known))}: "
            "weights do nothing for them",
            f"kubectl label {named('virtualservice', front.found)} {REVISION}-",
        )

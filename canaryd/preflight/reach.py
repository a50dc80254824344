"""
Whom the weights reach: gateways that the VirtualService is bound to, and callers that do not see it.

Whoever is not reached goes to the Service and so to all of its pods, the canary's among them, whatever the weights say.
A VirtualService obeys its ``gateways`` to the letter: bound to a gateway alone it means nothing to sidecars, bound to
the mesh alone nothing to gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.kube import NAMESPACES, PODS, SERVICES
from canaryd.mesh.entries import HttpEntry, http_entries, managed_entries
from canaryd.mesh.pods import is_terminating, workload_of
from canaryd.model.finding import Code, Finding, Level
from canaryd.preflight.heard import Caller
from canaryd.preflight.kinds import GATEWAY_API_GATEWAYS, GATEWAYS, SIDECARS
from canaryd.preflight.routing import (
    EVERYBODY,
    MESH,
    NOBODY,
    OWN,
    Front,
    age_of,
    exported_to,
    fronts,
    gateways_of,
    namespace_of,
    overlap,
    seen_from,
)
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

GATEWAY_MISSING = Code(
    "GatewayMissing",
    "warning",
    "The VirtualService is bound to a Gateway that is not there (Istio: IST0101; Kiali: KIA1102), so that no request "
    "comes by it. It is an error where there is nothing else that it is bound to.",
    "Correct the name (`namespace/name` for a Gateway elsewhere), or take it out of `spec.gateways`.",
)
GATEWAY_WITHOUT_HOST = Code(
    "GatewayWithoutHost",
    "warning",
    "No server of the Gateway is for a host of the VirtualService (IST0132), so that its requests do not come to it. "
    "It is an error where there is nothing else that it is bound to.",
    "Add the host to a server of the Gateway (the command does, to its first), or correct the VirtualService's.",
)
GATEWAY_WITHOUT_PODS = Code(
    "GatewayWithoutPods",
    "info",
    "No pod that preflight has seen carries the labels of the Gateway's selector (IST0101). Gateways may run in a "
    "namespace that preflight does not look at: those of the plan, its callers and istio-system are.",
    "Nothing where they run elsewhere; otherwise correct the selector or install the gateway.",
)
GATEWAY_PORT = Code(
    "GatewayPortNotOnService",
    "warning",
    "The Service in front of the gateway's pods has no port for a server of the Gateway (IST0162): nobody reaches it.",
    "Add the port to the Service, or name one that it has.",
)
GATEWAY_PUSHED_OUT = Code(
    "GatewayPushedOut",
    "warning",
    "An older Gateway for the same pods has the same port with another protocol, or the same host with TLS (IST0145): "
    "the proxies open that one's server and leave this one's out, and with it the routes that are bound to it. It is "
    "an error where there is nothing else that the VirtualService is bound to.",
    "Let one Gateway have the host, or give the other a port or pods of its own.",
)
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
    GATEWAY_MISSING,
    GATEWAY_WITHOUT_HOST,
    GATEWAY_WITHOUT_PODS,
    GATEWAY_PORT,
    GATEWAY_PUSHED_OUT,
    MESH_NOT_REACHED,
    GATEWAY_NOT_REACHED,
    NOT_EXPORTED,
    SIDECAR_HIDES,
    OTHER_REVISION,
)
REVISION = "istio.io/rev"
HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY")


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of gateways, exports, Sidecars and revisions between the callers and the plan's entries."""
    if survey.virtual_service is None or survey.route is None:
        return
    callers = _Callers.of(survey)
    for front in fronts(survey):
        bound = _bound(survey, front)
        for gateway in sorted({one for one in bound if one != MESH}):
            yield from _gateway(survey, front, gateway, alone=len(bound) == 1)
        yield from _unbound(survey, front, bound, callers)
        if MESH in bound:
            yield from _unseen(survey, front, callers)
        yield from _revision(survey, front, callers)


def _bound(survey: Survey, front: Front) -> tuple[str, ...]:
    """What the plan's entries are bound to by this front: a match's own gateways go before those of the whole."""
    if survey.route is None or front.entries:
        entries = [entry for entry in http_entries(front.found) if entry.index in front.entries]
    else:
        entries = [entry for _, entry in managed_entries(front.found, survey.route) if entry is not None]
    found: dict[str, None] = {}
    for entry in entries:
        for match in _matches(entry):
            found |= dict.fromkeys(gateways_of(front.found, match.get("gateways") or ()))
    # A VirtualService is looked up by its own gateways only; what a match names beyond them reaches nobody.
    return tuple(one for one in found or front.gateways if one in front.gateways)


def _matches(entry: HttpEntry) -> list[Mapping[str, Any]]:
    """The entry's matches; an entry without any is one that everything fits."""
    written: Sequence[Mapping[str, Any] | None] = entry.rest.get("match") or ({},)
    return [one or {} for one in written]


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


# -- gateways


def _gateway(survey: Survey, front: Front, gateway: str, *, alone: bool) -> Iterator[Finding]:
    if GATEWAYS in survey.unread:
        return
    home, _, name = gateway.partition("/")
    level: Level | None = "error" if alone else None
    found = survey.one(GATEWAYS, home, name)
    if found is None and survey.one(GATEWAY_API_GATEWAYS, home, name) is not None:
        return  # its listeners say in their status what is attached to them
    if found is None:
        said = f"is bound to Gateway {gateway}, which is not there (IST0101)"
        yield GATEWAY_MISSING.at(str(front), said, "" if alone else _without_gateway(front, gateway), level=level)
        return
    servers = [one or {} for one in spec_of(found).get("servers") or ()]
    serving = [one for one in servers if _shares(one, found, front)]
    where = f"Gateway {gateway}"
    if not serving:
        said = f"none of its servers has a host of {front} ({', '.join(front.hosts)}) (IST0132)"
        yield GATEWAY_WITHOUT_HOST.at(where, said, _with_host(found, servers, front), level=level)
    for server in serving:
        if (older := _opened_instead(survey, found, server)) is not None:
            said = (
                f"port {_port(server).get('number')} is opened for the older Gateway {name_of(older)}, with another "
                "protocol or with TLS for the same host: the proxies leave this one's server out (IST0145)"
            )
            yield GATEWAY_PUSHED_OUT.at(where, said, level=level)
    yield from _gateway_pods(survey, found, serving)


def _shares(server: Mapping[str, Any], gateway: Object, front: Front) -> bool:
    """Whether a server is for a host of the front; a server's host may name the namespace that it takes them from."""
    for written in server.get("hosts") or ():
        home, slash, host = str(written).rpartition("/")
        place = namespace_of(gateway) if home == OWN else home
        if slash and place not in (EVERYBODY, front.namespace):
            continue
        if any(overlap(host, one) for one in front.hosts):
            return True
    return False


def _opened_instead(survey: Survey, gateway: Object, server: Mapping[str, Any]) -> Object | None:
    """
    The older Gateway whose server takes the place of this one's on the same pods, if there is one.

    Source: Istio, pilot/pkg/model/gateway.go (mergeGateways, canMergeProtocols, CheckDuplicates).
    """
    selector = spec_of(gateway).get("selector") or {}
    for other in sorted(survey.all(GATEWAYS), key=age_of):
        if age_of(other) >= age_of(gateway) or (spec_of(other).get("selector") or {}) != selector:
            continue
        for their in filter(None, spec_of(other).get("servers") or ()):
            if _port(their).get("number") != _port(server).get("number"):
                continue
            same_hosts = set(their.get("hosts") or ()) & set(server.get("hosts") or ())
            if _is_http(their) != _is_http(server) or (same_hosts and not _is_http(server)):
                return other
    return None


def _port(server: Mapping[str, Any]) -> Mapping[str, Any]:
    return server.get("port") or {}


def _is_http(server: Mapping[str, Any]) -> bool:
    """Whether it is plain HTTP, of which any number of servers share a port."""
    return str(_port(server).get("protocol") or "").upper() in HTTP


def _without_gateway(front: Front, gateway: str) -> str:
    written = list(spec_of(front.found).get("gateways") or ())
    index = next((at for at, one in enumerate(front.gateways) if one == gateway), None)
    if index is None or len(written) != len(front.gateways):
        return ""
    path = f"/spec/gateways/{index}"
    return patching(
        "virtualservice",
        front.found,
        [{"op": "test", "path": path, "value": written[index]}, {"op": "remove", "path": path}],
    )


def _with_host(gateway: Object, servers: Sequence[Mapping[str, Any]], front: Front) -> str:
    for index, server in enumerate(servers):
        if _is_http(server) and server.get("hosts"):
            operations = [{"op": "add", "path": f"/spec/servers/{index}/hosts/-", "value": one} for one in front.hosts]
            return patching(str(GATEWAYS), gateway, operations)
    return ""


def _gateway_pods(survey: Survey, gateway: Object, serving: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    selector = spec_of(gateway).get("selector") or {}
    if PODS in survey.unread or not selector:
        return
    where = f"Gateway {name_of(gateway)}"
    pods = [pod for pod in survey.all(PODS) if selects(selector, labels_of(pod))]
    if not pods:
        wanted = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        places = ", ".join(sorted({namespace_of(pod) for pod in survey.all(PODS)})) or "those looked at"
        yield GATEWAY_WITHOUT_PODS.at(where, f"no pod in namespaces {places} carries {wanted} (IST0101)")
        return
    services = [
        one
        for one in survey.all(SERVICES)
        if spec_of(one).get("selector")
        and any(
            namespace_of(pod) == namespace_of(one) and selects(spec_of(one)["selector"], labels_of(pod)) for pod in pods
        )
    ]
    if not services or SERVICES in survey.unread:
        return
    open_ports = {
        port.get(key) for one in services for port in spec_of(one).get("ports") or () for key in ("port", "targetPort")
    }
    for server in serving:
        number = _port(server).get("number")
        if number is not None and number not in open_ports and str(number) not in open_ports:
            port = {"name": f"http-{number}", "port": number, "targetPort": number}
            said = f"opens port {number}, which Service {name_of(services[0])} in front of its pods has not (IST0162)"
            adding = [{"op": "add", "path": "/spec/ports/-", "value": port}]
            yield GATEWAY_PORT.at(where, said, patching("service", services[0], adding))


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

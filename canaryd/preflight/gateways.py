"""
The gateways that the plan's VirtualService is bound to: whether they are there, for its hosts, and open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from canaryd.kube import PODS, SERVICES
from canaryd.mesh.routing import EVERYBODY, MESH, OWN, age_of, namespace_of, overlap
from canaryd.model.finding import Code, Finding, Level
from canaryd.preflight.fronts import Front, bound_to, fronts
from canaryd.preflight.kinds import GATEWAY_API_GATEWAYS, GATEWAYS
from canaryd.preflight.saying import patching
from canaryd.preflight.survey import Object, Survey, labels_of, name_of, selects, spec_of

TITLE = "The gateways"

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

CODES = (GATEWAY_MISSING, GATEWAY_WITHOUT_HOST, GATEWAY_WITHOUT_PODS, GATEWAY_PORT, GATEWAY_PUSHED_OUT)
HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY")


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of each gateway by which requests come to the plan's entries."""
    if survey.virtual_service is None or survey.route is None or GATEWAYS in survey.unread:
        return
    for front in fronts(survey):
        bound = bound_to(survey, front)
        for gateway in sorted({one for one in bound if one != MESH}):
            yield from _gateway(survey, front, gateway, alone=len(bound) == 1)


def _gateway(survey: Survey, front: Front, gateway: str, *, alone: bool) -> Iterator[Finding]:
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

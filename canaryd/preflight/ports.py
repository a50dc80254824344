"""
Services and their ports: whether requests are read as requests at all.

What a port is called decides, and not what is spoken there: `tcp-web` on port 80 is a stream of bytes to Istio, knows
no weights per request and is counted nowhere in `istio_requests_total`. A gateway reads requests as its own servers
say.

Sources: Istio, pkg/config/kube/conversion.go ConvertProtocol, pilot/pkg/networking/core/route/route.go
GetDestinationCluster, pilot/pkg/networking/core/cluster_builder.go convertResolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from canaryd.kube import DEPLOYMENTS
from canaryd.model.finding import Code, Finding
from canaryd.preflight.behind import Behind, behind_versions
from canaryd.preflight.destinations import MESH, Destined, destined, is_headless, pod_port, service, tcp_ports
from canaryd.preflight.kinds import GATEWAYS
from canaryd.preflight.rules import root_of
from canaryd.preflight.saying import patching, some
from canaryd.preflight.survey import Object, Survey, containers_of, name_of, spec_of

TITLE = "Services and ports"

HTTP = frozenset({"http", "http2", "grpc", "grpc-web", "http_proxy"})
TLS = frozenset({"https", "tls"})
OPAQUE = frozenset({"tcp", "udp", "mongo", "redis", "mysql"})
KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
SNIFFED = "sniffed"
NEVER_SNIFFED = frozenset({25, 53, 3306, 27017})
"""Ports on which the server speaks first, so that there is nothing to guess from."""

PORT_NOT_HTTP = Code(
    "PortNotHttp",
    "error",
    "Istio takes the port for something else than HTTP, by its `appProtocol` or by its name before the first `-`, or "
    "because it never guesses on this number: http entries do nothing there and no request is counted.",
    "If HTTP is spoken there, say so: `appProtocol: http`, `http2` or `grpc`. Where TLS is spoken through to the pods "
    "(`https`, `tls`), or a protocol of its own, canaryd has nothing to count.",
)
PORT_SNIFFED = Code(
    "PortSniffed",
    "warning",
    "Neither `appProtocol` nor the port's name says what is spoken, so that Istio guesses from the first bytes of each "
    "connection; what it cannot guess in time goes by no weights and is not counted (Istio: IST0118).",
    "Say what is spoken. Beware of `http` where gRPC is spoken: that is `grpc`.",
)
PORT_UNCLEAR = Code(
    "PortUnclear",
    "warning",
    "A destination names no port and its Service has several. Sidecars then keep the port that was called, so that all "
    "of the Service's ports are in one measurement; a gateway takes its own port's number, and where the Service has "
    "no such port its requests fail with 503 (NC), which makes it an error (Istio: IST0112).",
    "Name the port in the destination.",
)
PORT_MISSING = Code(
    "PortMissing",
    "error",
    "A destination names a port that its Service does not have: requests fail with 503 (NC).",
    "Name a port of the Service (its `port`, not its `targetPort`).",
)
HEADLESS = Code(
    "HeadlessService",
    "error",
    "A version's Service is headless (`clusterIP: None`): sidecars send each request to the very pod whose address the "
    "caller has looked up, whichever version the weights choose. Gateways balance it like any other, and so do "
    "sidecars where istiod has `PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES`.",
    "Name a Service with an address as the destination; the headless one can stay beside it.",
)
TARGET_PORT_MISSING = Code(
    "TargetPortMissing",
    "error",
    "The Service's `targetPort` is a name that no container of a version's pods gives to a port: Kubernetes leaves "
    "those pods out of the port's endpoints, and requests to the version fail with 503 (UH).",
    "Give the container's port that name, or let the Service name the number.",
)

CODES = (PORT_NOT_HTTP, PORT_SNIFFED, PORT_UNCLEAR, PORT_MISSING, HEADLESS, TARGET_PORT_MISSING)


def check(survey: Survey) -> Iterator[Finding]:
    """What the destinations' ports are to Istio, each Service's port once."""
    ways = [one for one in destined(survey) if one.service is not None and one.ports]
    yield from _unclear(survey, [one for one in ways if one.number is None and len(one.ports) > 1])
    yield from _missing(survey, [one for one in ways if one.number is not None and one.port is None])
    yield from _protocols(survey, [one for one in ways if one.from_sidecars])
    if not _balances_headless(survey):
        yield from _headless([one for one in ways if one.from_sidecars])
    yield from _targets(ways, behind_versions(survey))


def protocol_of(port: Mapping[str, Any]) -> str:
    """What Istio takes a Service's port for, in small letters; SNIFFED where it guesses."""
    said = str(port.get("appProtocol") or "")
    if said in KUBERNETES:
        return KUBERNETES[said]
    name = (said or str(port.get("name") or "")).lower()
    if name.startswith("grpc-web"):
        return "grpc-web"
    prefix = name.partition("-")[0]
    if prefix in HTTP | TLS | OPAQUE:
        return prefix
    return "tcp" if port.get("port") in NEVER_SNIFFED else SNIFFED


# Which port


def _unclear(survey: Survey, ways: list[Destined]) -> Iterator[Finding]:
    if not ways:
        return
    lost = sorted({number for way in ways for number in _gateway_ports(survey, way) if not _has(way, number)})
    numbers = {str(each.get("port")) for way in ways for each in way.ports}
    said = f"names no port for {_who(ways)}, whose Service has several ({', '.join(sorted(numbers))}): "
    said += (
        f"requests from a gateway's port {some(map(str, lost))} fail with 503, because the Service has no such port"
        if lost
        else "requests keep the port that was called, and all ports are measured together"
    )
    yield PORT_UNCLEAR.at(
        f"{survey.route} {_entries(ways)}", said, _naming(survey, ways), level="error" if lost else "warning"
    )


def _gateway_ports(survey: Survey, way: Destined) -> Iterator[int]:
    """The ports of the servers of the gateways that follow the entry, as far as they are known."""
    for bound in way.gateways - {MESH}:
        home, _, name = bound.rpartition("/")
        gateway = survey.one(GATEWAYS, home or survey.namespace, name)
        for server in spec_of(gateway).get("servers") or () if gateway else ():
            number = ((server or {}).get("port") or {}).get("number")
            if number is not None:
                yield int(number)


def _has(way: Destined, number: int) -> bool:
    return any(each.get("port") == number for each in way.ports)


def _missing(survey: Survey, ways: list[Destined]) -> Iterator[Finding]:
    if not ways:
        return
    wrong = ", ".join(sorted({f"{way.number}" for way in ways}))
    known = ", ".join(sorted({str(each.get("port")) for way in ways for each in way.ports}))
    yield PORT_MISSING.at(
        f"{survey.route} {_entries(ways)}",
        f"sends {_who(ways)} to port {wrong}, which the Service does not have (there: {known}): requests fail with 503",
        _naming(survey, ways),
    )


def _naming(survey: Survey, ways: list[Destined]) -> str:
    """The command that names each destination's port, where only one can be meant."""
    operations = []
    for way in ways:
        fitting = [each for each in way.ports if protocol_of(each) in HTTP] or list(way.ports)
        if len(fitting) != 1:
            return ""
        if way.pointer:
            port = {"number": fitting[0]["port"]}
            operations.append({"op": "add", "path": f"{way.pointer}/port", "value": port})
    found = survey.virtual_service
    return patching("virtualservice", found, operations) if found and operations else ""


# What is spoken there


def _protocols(survey: Survey, ways: list[Destined]) -> Iterator[Finding]:
    """
    The ports that callers call decide who reads a request; those are the VirtualService's own hosts' ports.

    Where these are not known they are taken to be the destinations' ones.
    """
    called = [found for host in _hosts(survey) if (found := service(survey, host)) is not None and tcp_ports(found)]
    seen: set[tuple[str, int]] = set()
    for way in ways:
        wanted = [way.port] if way.port else _of_kind(way.ports)
        numbers = {each.get("port") for each in wanted}
        for found in called or [one for one in (way.service,) if one is not None]:
            ports = [each for each in tcp_ports(found) if each.get("port") in numbers or len(tcp_ports(found)) == 1]
            for index, port in _indexed(found, ports):
                key = (name_of(found), index)
                if key not in seen:
                    seen.add(key)
                    yield from _protocol(found, index, port, ways)


def _of_kind(ports: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of several ports those that requests could be meant for: the ones that are HTTP, else all."""
    known = list(ports)
    return [each for each in known if protocol_of(each) in HTTP] or known


def _hosts(survey: Survey) -> list[str]:
    return [str(each) for each in spec_of(survey.virtual_service or {"metadata": {}}).get("hosts") or ()]


def _indexed(found: Object, ports: list[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, each in enumerate(spec_of(found).get("ports") or ()):
        if any(each is one for one in ports):
            yield index, each


def _protocol(found: Object, index: int, port: Mapping[str, Any], ways: list[Destined]) -> Iterator[Finding]:
    spoken, number = protocol_of(port), port.get("port")
    where = f"Service {name_of(found)} port {number}"
    name = port.get("appProtocol") or port.get("name")
    said = f"appProtocol {name}" if port.get("appProtocol") else f"named {name}" if name else "without a name"
    saying = {"op": "add", "path": f"/spec/ports/{index}/appProtocol", "value": "http"}
    remedy = patching("service", found, [saying])
    hint = "if it speaks gRPC, `grpc` must stand in the command instead of `http`"
    if spoken == SNIFFED:
        yield PORT_SNIFFED.at(
            where,
            f"{said}, which names no protocol: Istio guesses what is spoken for {_who(ways)} from each connection's "
            f"first bytes ({hint})",
            remedy,
        )
    elif spoken not in HTTP:
        declared = spoken in TLS or spoken in OPAQUE - {"tcp"}
        never = " on a port on which Istio never guesses" if spoken == "tcp" and number in NEVER_SNIFFED else ""
        yield PORT_NOT_HTTP.at(
            where,
            f"{said}{never}: Istio takes it for {spoken}, so that weights do nothing for {_who(ways)} and no request "
            f"is counted{'' if declared else f' ({hint})'}",
            "" if declared else remedy,
        )


# Who is behind it


def _balances_headless(survey: Survey) -> bool:
    """Whether an istiod that is seen has sidecars choose the pods of a headless Service themselves."""
    return any(
        each.get("name") == "PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES" and each.get("value") == "true"
        for found in survey.all(DEPLOYMENTS, root_of(survey))
        for container in containers_of((spec_of(found).get("template")) or {})
        for each in container.get("env") or ()
    )


def _headless(ways: list[Destined]) -> Iterator[Finding]:
    found = {name_of(way.service): way.service for way in ways if way.service is not None and is_headless(way.service)}
    for name in found:
        mine = [way for way in ways if way.service is not None and name_of(way.service) == name]
        yield HEADLESS.at(
            f"Service {name}",
            f"is headless (clusterIP: None): sidecars send requests for {_who(mine)} to the pod that the caller has "
            "looked up, so that the weights choose nothing",
        )


def _targets(ways: list[Destined], versions: tuple[Behind, ...]) -> Iterator[Finding]:
    for side in versions:
        for way in ways:
            port = way.port
            if way.version != side.version or way.service is None or port is None or not side.ready:
                continue
            lacking = [pod for pod in side.ready if pod_port(port, pod) is None]
            if len(lacking) == len(side.ready):
                yield TARGET_PORT_MISSING.at(
                    f"Service {name_of(way.service)} port {port.get('port')}",
                    f"targetPort {port.get('targetPort')} is the name of no port in the {side}: requests to "
                    f"{side.side} fail with 503",
                    _numbering(way.service, port, versions),
                )
                break


def _numbering(found: Object, port: Mapping[str, Any], versions: tuple[Behind, ...]) -> str:
    """The command that lets the Service name the number, where all pods behind it listen on one and the same."""
    numbers = {
        each.get("containerPort")
        for side in versions
        for pod in side.ready
        for container in spec_of(pod).get("containers") or ()
        for each in container.get("ports") or ()
        if container.get("name") != "istio-proxy"
    }
    if len(numbers) != 1:
        return ""
    index = next(index for index, each in _indexed(found, [port]))
    return patching(
        "service", found, [{"op": "add", "path": f"/spec/ports/{index}/targetPort", "value": numbers.pop()}]
    )


def _who(ways: Iterable[Destined]) -> str:
    return " and ".join(dict.fromkeys(str(way.version) for way in ways))


def _entries(ways: Iterable[Destined]) -> str:
    return some(dict.fromkeys(str(way.entry) for way in ways))

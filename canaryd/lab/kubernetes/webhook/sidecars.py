"""
Sidecars (who sees which hosts) and PeerAuthentications (who has to speak mutual TLS).

Source: Istio, pkg/config/validation/validation.go (ValidateSidecar, ValidatePeerAuthentication).
"""

from __future__ import annotations

import re

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.destination_rules import connection_pool
from canaryd.lab.kubernetes.webhook.destinations import destination
from canaryd.lab.kubernetes.webhook.gateways import HTTP_PROTOCOLS, TLS_PROTOCOLS, protocol, tls_options
from canaryd.lab.kubernetes.webhook.hosts import fqdn, namespaced_host
from canaryd.lab.kubernetes.webhook.problems import Problem, Problems, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.service_entries import known_protocol
from canaryd.lab.kubernetes.webhook.values import UNIX_PREFIX, ip_address, port, port_name, selector, unix_address

_EMPTY_UNLESS = ("outboundTrafficPolicy", "inboundConnectionPool")


def sidecar(spec: Object, metadata: Object) -> Problems:
    chosen = spec.get("workloadSelector")
    ingress, egress = ([one or {} for one in spec.get(kind) or []] for kind in ("ingress", "egress"))
    unfit = list(selector(chosen, "labels"))
    if not unfit and not ingress and not egress and all(spec.get(field) is None for field in _EMPTY_UNLESS):
        unfit = [wrong("sidecar: empty configuration provided")]
    if unfit:  # Istio looks no further
        yield from unfit
        return
    if chosen is not None and not chosen.get("labels"):
        yield warning(
            "sidecar: workload selector specified without labels, will be applied to all services in namespace"
        )
    yield from _ingress(ingress)
    yield from connection_pool(spec.get("inboundConnectionPool"))
    yield from _egress(egress, metadata.get("namespace") or "")
    yield from _outbound(spec.get("outboundTrafficPolicy") or {})


def _ingress(listeners: list[Object]) -> Problems:
    seen: set[int] = set()
    for listener in listeners:
        found = listener.get("port")
        if found is None:
            yield wrong("sidecar: port is required for ingress listeners")
            continue
        number = int(found.get("number") or 0)
        yield from _no_target_port(found)
        yield from _named_port(found)
        yield from known_protocol(found)
        yield from port(number)
        if listener.get("bind"):
            yield from ip_address(listener["bind"])
        if number in seen:
            yield wrong("sidecar: ports on IP bound listeners must be unique")
        seen.add(number)
        if listener.get("defaultEndpoint"):
            yield from _default_endpoint(listener["defaultEndpoint"])
        yield from _ingress_tls(listener.get("tls"), found)
        yield from connection_pool(listener.get("connectionPool"))
        if (listener.get("connectionPool") or {}).get("http") is not None and protocol(found) not in HTTP_PROTOCOLS:
            yield _not_http(found)


def _not_http(found: Object) -> Problem:
    where = f"port {int(found.get('number') or 0)} ({quoted(found.get('name') or '')})"
    spoken = f"but its protocol is not HTTP ({found.get('protocol') or ''}); only TCP settings will apply"
    return warning(f"sidecar: HTTP connection pool settings are configured for {where} {spoken}")


def _no_target_port(found: Object) -> Problems:
    if found.get("targetPort"):
        yield wrong("targetPort has no impact on Sidecars")


def _named_port(found: Object) -> Problems:
    if found.get("name"):
        yield from port_name(found["name"])


_LOCAL = ("", "127.0.0.1", "0.0.0.0", "::1", "::")


def _default_endpoint(endpoint: str) -> Problems:
    if endpoint.startswith(UNIX_PREFIX):
        yield from unix_address(endpoint.removeprefix(UNIX_PREFIX))
        return
    host, number, refusal = _split(endpoint)
    if refusal:
        yield wrong(f"address {endpoint}: {refusal}")
    if host not in _LOCAL:
        forms = "127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset"
        yield wrong(f"sidecar: defaultEndpoint must be of form {forms}")
    if re.fullmatch(r"[+-]?[0-9]{1,18}", number):
        yield from port(int(number))
    else:
        unread = f"strconv.Atoi: parsing {quoted(number)}: invalid syntax"
        yield wrong(f"sidecar: defaultEndpoint port ({number}) is not a number: {unread}")


def _split(endpoint: str) -> tuple[str, str, str]:
    """Host and port, or why there are none. Source: Go, net/ipsock.go (SplitHostPort)."""
    host, colon, number = endpoint.rpartition(":")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\]", host)
    if not colon or endpoint.endswith("]"):
        return "", "", "missing port in address"
    if bracketed:
        return bracketed[1], number, ""
    if ":" in host:
        return "", "", "too many colons in address"
    return host, number, ""


_UNSUPPORTED = {
    "subjectAltNames": "subjectAltNames is not supported in ingress tls",
    "httpsRedirect": "httpsRedirect is not supported",
    "credentialName": "credentialName is not currently supported",
    "credentialNames": "credentialNames is not currently supported",
    "tlsCertificates": "tls_certificates is not currently supported",
}


def _ingress_tls(tls: Object | None, found: Object) -> Problems:
    if tls is None:
        return
    for field, text in _UNSUPPORTED.items():
        if tls.get(field):
            yield wrong(f"sidecar: {text}")
    if tls.get("mode") in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH"):
        yield wrong(f"configuration is invalid: cannot set mode to {tls['mode']} in sidecar ingress tls")
    if protocol(found) not in TLS_PROTOCOLS:
        yield wrong("server cannot have TLS settings for non HTTPS/TLS ports")
    yield from tls_options(tls)


def _egress(listeners: list[Object], namespace: str) -> Problems:
    ports: set[int] = set()
    sockets: set[str] = set()
    for index, listener in enumerate(listeners):
        found, bind = listener.get("port"), listener.get("bind") or ""
        if found is None:
            if index < len(listeners) - 1:
                yield wrong("sidecar: the egress listener with empty port should be the last listener in the list")
        else:
            number = int(found.get("number") or 0)
            yield from _no_target_port(found)
            yield from _egress_port(found, bind, listener.get("captureMode") or "DEFAULT")
            if number == 0 and bind in sockets:
                yield wrong("sidecar: unix domain socket values for listeners must be unique")
            if number != 0 and number in ports:
                yield wrong("sidecar: ports on IP bound listeners must be unique")
            (sockets.add(bind) if number == 0 else ports.add(number))
        yield from _egress_hosts(listener.get("hosts") or [], namespace)


def _egress_port(found: Object, bind: str, capture: str) -> Problems:
    number = int(found.get("number") or 0)
    yield from _named_port(found)
    yield from known_protocol(found)
    if number != 0:
        yield from port(number)
        if bind:
            yield from ip_address(bind)
        return
    if bind.startswith(UNIX_PREFIX):
        yield from unix_address(bind.removeprefix(UNIX_PREFIX))
    else:
        yield wrong("sidecar: ports with 0 value must have a unix domain socket bind address")
    if capture not in ("DEFAULT", "NONE"):
        yield wrong("sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners")


def _egress_hosts(hosts: list[str], namespace: str) -> Problems:
    """``namespace/host``; what comes twice, or behind everything, is only warned of."""
    if not hosts:
        yield wrong("sidecar: egress listener must contain at least one host")
    seen: dict[str, set[str]] = {}
    for text in hosts:
        where, slash, host = text.partition("/")
        if slash and not where.startswith("~"):
            known = seen.setdefault(namespace if where == "." else where, set())
            if host in known or "*" in known or (host == "*" and known):
                yield warning(f"duplicated egress host: {text}")
            known.add(host)
        yield from namespaced_host(text, gateway=False)
    if "*" in seen.get("*", ()) and len(seen) != 1:
        yield warning("`*/*` host select all resources, no other hosts can be added")


def _outbound(policy: Object) -> Problems:
    proxy = policy.get("egressProxy")
    if proxy is None:
        return
    if policy.get("mode") != "ALLOW_ANY":
        yield wrong("sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode")
        return
    yield from fqdn(proxy.get("host") or "")
    if proxy.get("port") is None:
        yield wrong("sidecar: egress_proxy port must be non-nil")
    else:
        yield from destination(proxy)


def peer_authentication(spec: Object, _metadata: Object) -> Problems:
    chosen, by_port = spec.get("selector"), spec.get("portLevelMtls")
    if by_port and not (chosen or {}).get("matchLabels"):
        yield wrong("mesh/namespace peer authentication cannot have port level mTLS")
    if by_port == {}:
        yield wrong("port level mTLS, if defined, must have at least one element")
    for number in by_port or {}:
        if not 1 <= int(number) <= 65535:
            yield wrong("port must be in range 1..65535")
    yield from selector(chosen)
    if chosen is not None and not chosen.get("matchLabels"):
        yield warning("workload selector specified without labels")

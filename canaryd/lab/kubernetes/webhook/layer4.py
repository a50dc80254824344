"""
Entries of a VirtualService's `tls` and `tcp`.

Every SNI host has to be within a host of the VirtualService. Source: Istio, pkg/config/validation/validation.go
(validateTLSRoute, validateTCPRoute).
"""

from __future__ import annotations

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.destinations import destinations
from canaryd.lab.kubernetes.webhook.hosts import bound_host, gateway_names, is_covered
from canaryd.lab.kubernetes.webhook.matches import proxies
from canaryd.lab.kubernetes.webhook.problems import Problems, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import ip_subnet, is_ip, labels, port


def tls_route(entry: Object, spec: Object) -> Problems:
    if not entry.get("match"):
        yield wrong("TLS route must have at least one match condition")
    for match in entry.get("match") or []:
        yield from _tls_match(match or {}, spec)
    if not entry.get("route"):
        yield wrong("TLS route is required")
    yield from destinations([one or {} for one in entry.get("route") or []])


def _tls_match(match: Object, spec: Object) -> Problems:
    if not match.get("sniHosts"):
        yield wrong("TLS match must have at least one SNI host")
    for name in match.get("sniHosts") or []:
        yield from _sni_host(name, spec)
    for subnet in match.get("destinationSubnets") or []:
        yield from ip_subnet(subnet)
    if match.get("port"):
        yield from port(int(match["port"]))
    yield from labels(match.get("sourceLabels"))
    yield from gateway_names(match.get("gateways") or [])


def _sni_host(name: str, spec: Object) -> Problems:
    """Istio takes a VirtualService without gateways for one that is bound to gateways, here only."""
    refusal = bound_host(name, gateway="mesh" not in (spec.get("gateways") or []), sni=True)
    hosts = spec.get("hosts") or []
    if refusal and is_ip(name):
        yield warning(
            f"using an IP address ({quoted(name)}) goes against SNI spec and most clients do not support this"
        )
    elif refusal:
        yield wrong(refusal)
    elif not any(is_covered(name, by=host) for host in hosts):
        listed = ", ".join(hosts)
        whole = f"any of the virtual service hosts: [{listed}]"
        yield wrong(f"SNI host {quoted(name)} is not a compatible subset of {whole}")


def tcp_route(entry: Object) -> Problems:
    for match in entry.get("match") or []:
        for subnet in (match or {}).get("destinationSubnets") or []:
            yield from ip_subnet(subnet)
        yield from proxies(match or {})
    if not entry.get("route"):
        yield wrong("TCP route is required")
    yield from destinations([one or {} for one in entry.get("route") or []])

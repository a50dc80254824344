"""
ServiceEntries: names from outside the mesh, or made up, and where they resolve to.

Source: Istio, pkg/config/validation/validation.go (ValidateServiceEntry, validateWorkloadEntry) and
pilot/pkg/networking/serviceentry/ip_autoallocation.go; address allocation is on, as it is by default.
"""

from __future__ import annotations

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.gateways import HTTP_PROTOCOLS, PROTOCOLS, TLS_PROTOCOLS, protocol
from canaryd.lab.kubernetes.webhook.hosts import fqdn_refusal, is_fqdn, partial_wildcard, wildcard_domain
from canaryd.lab.kubernetes.webhook.problems import Problems, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import (
    UNIX_PREFIX,
    export_to,
    ip_subnet,
    is_ip,
    labels,
    port,
    port_name,
    selector,
    unix_address,
)

_TCP_PROTOCOLS = ("tcp", "https", "tls", "mongo", "redis", "mysql")


def service_entry(spec: Object, metadata: Object) -> Problems:
    chosen = spec.get("workloadSelector")
    unfit = list(selector(chosen, "labels"))
    if unfit:  # Istio looks no further
        yield from unfit
        return
    if chosen is not None and not chosen.get("labels"):
        yield warning(
            "service entry: workload selector specified without labels, will be applied to all services in namespace"
        )
    hosts, ports = spec.get("hosts") or [], [one or {} for one in spec.get("ports") or []]
    resolution = spec.get("resolution") or "NONE"
    if chosen is not None and spec.get("endpoints"):
        yield wrong("only one of WorkloadSelector or Endpoints is allowed in Service Entry")
    yield from _hosts(hosts, resolution)
    yield from _addresses(spec.get("addresses") or [], resolution)
    yield from _ports(ports, allocated=_gets_addresses(spec, metadata))
    yield from _resolution(spec, metadata, resolution)
    if resolution != "NONE" and len(hosts) > 1 and any(not _tells_hosts_apart(one) for one in ports):
        yield wrong("multiple hosts provided with non-HTTP, non-TLS ports")
    yield from export_to(metadata.get("namespace") or "", spec.get("exportTo"), service=True)


def _tells_hosts_apart(found: Object) -> bool:
    return protocol(found) in (*HTTP_PROTOCOLS, *TLS_PROTOCOLS)


def _hosts(hosts: list[str], resolution: str) -> Problems:
    if not hosts:
        yield wrong("service entry must have at least one host")
    for host in hosts:
        if host == "*":
            yield wrong(f"invalid host {host}")
            continue
        yield from wildcard_domain(host)
        for problem in partial_wildcard(host) if resolution != "DYNAMIC_DNS" else ():
            yield warning(problem.text)


def _addresses(addresses: list[str], resolution: str) -> Problems:
    for address in addresses:
        yield from ip_subnet(address)
    if any("/" in one for one in addresses) and resolution not in ("NONE", "STATIC"):
        yield wrong("CIDR addresses are allowed only for NONE/STATIC resolution types")


_ALLOCATE_LABEL = "networking.istio.io/enable-autoallocate-ip"
_WAYPOINT_LABEL = "istio.io/use-waypoint"


def _gets_addresses(spec: Object, metadata: Object) -> bool:
    """Whether no addresses are needed: there are some, or Istio allocates them."""
    wanted = str((metadata.get("labels") or {}).get(_ALLOCATE_LABEL, "")).lower() != "false"
    return bool(spec.get("addresses")) or (wanted and (spec.get("resolution") or "NONE") != "NONE")


def _ports(ports: list[Object], *, allocated: bool) -> Problems:
    names: set[str] = set()
    numbers: set[int] = set()
    for one in ports:
        name, number = one.get("name") or "", int(one.get("number") or 0)
        if name in names:
            yield wrong(f"service entry port name {quoted(name)} already defined")
        if number in numbers:
            yield wrong(f"service entry port {number} already defined")
        names.add(name)
        numbers.add(number)
        if one.get("targetPort"):
            yield from port(int(one["targetPort"]))
        if not allocated and one.get("protocol") in (None, "", "TCP"):
            needed = "addresses are required for ports serving TCP (or unset) protocol"
            yield warning(f"{needed} when IP Autoallocation is not enabled")
        yield from port_name(name)
        yield from known_protocol(one)
        yield from port(number)


def known_protocol(found: Object) -> Problems:
    """None is fine: then it is sniffed."""
    if found.get("protocol") and protocol(found) not in PROTOCOLS:
        yield wrong(f"unsupported protocol: {found['protocol']}")


def _resolution(spec: Object, metadata: Object, resolution: str) -> Problems:
    endpoints = [one or {} for one in spec.get("endpoints") or []]
    names = {(one or {}).get("name") or "" for one in spec.get("ports") or []}
    if resolution == "NONE":
        if endpoints:
            yield wrong("no endpoints should be provided for resolution type none")
        if spec.get("workloadSelector") is not None:
            yield warning("workloadSelector should not be set when resolution mode is NONE")
    elif resolution == "STATIC":
        for endpoint in endpoints:
            yield from _static(endpoint, names)
    elif resolution == "DYNAMIC_DNS":
        yield from _dynamic_dns(spec, metadata)
    else:
        yield from _dns(spec, endpoints, names, resolution)


def _static(endpoint: Object, names: set[str]) -> Problems:
    address = endpoint.get("address") or ""
    if not address and not endpoint.get("network"):
        yield wrong("address is required")
        return
    if not address:
        yield warning(f"address is unset with network {quoted(endpoint['network'])}")
    unix = address.startswith(UNIX_PREFIX)
    if unix:
        yield from unix_address(address.removeprefix(UNIX_PREFIX))
        if endpoint.get("ports"):
            yield wrong(f"unix endpoint {address} must not include ports")
    elif address and not is_ip(address):
        yield wrong(f"endpoint address {quoted(address)} is not a valid IP address")
    yield from _endpoint_ports(endpoint, names)
    yield from labels(endpoint.get("labels"))
    if unix and len(names) != 1:
        yield wrong("exactly 1 service port required for unix endpoints")


def _endpoint_ports(endpoint: Object, names: set[str]) -> Problems:
    for name, number in (endpoint.get("ports") or {}).items():
        if name not in names:
            yield wrong(f"endpoint port {int(number)} is not defined by the service entry")
        yield from port_name(name)
        yield from port(int(number))


def _dns(spec: Object, endpoints: list[Object], names: set[str], resolution: str) -> Problems:
    unfit = [host for host in spec.get("hosts") or [] if not is_fqdn(host)]
    if unfit and not endpoints:
        needed = "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided"
        yield wrong(f"{needed} for resolution mode {resolution}, {fqdn_refusal(unfit[0])}")
    if resolution == "DNS_ROUND_ROBIN" and len(endpoints) > 1:
        yield wrong(f"there must only be 0 or 1 endpoint for resolution mode {resolution}")
    for endpoint in endpoints:
        address = endpoint.get("address") or ""
        if not is_ip(address) and not is_fqdn(address):
            yield wrong(f"endpoint address {quoted(address)} is not a valid FQDN or an IP address")
        yield from labels(endpoint.get("labels"))
        yield from _endpoint_ports(endpoint, names)
    speaks_tcp = any(protocol(one or {}) in _TCP_PROTOCOLS for one in spec.get("ports") or [])
    if spec.get("addresses") and speaks_tcp and len(spec.get("hosts") or []) > 1:
        yield warning(
            "service entry can not have more than one host specified simultaneously with address and tcp port"
        )


def _dynamic_dns(spec: Object, metadata: Object) -> Problems:
    kind = "resolution type DYNAMIC_DNS"
    if not spec.get("hosts"):
        yield wrong(f"at least one wildcard host must be provided for {kind}")
    for host in spec.get("hosts") or []:
        if not host.startswith("*"):
            yield wrong("host must be wildcarded for resolution mode DYNAMIC_DNS")
    # The missing spaces are Istio's.
    if spec.get("addresses"):
        only = "HTTP route domains will only be generatedfrom the hosts field values"
        yield wrong(f"addresses cannot be set for {kind}. {only}")
    if spec.get("endpoints"):
        yield wrong(f"endpoints cannot be set for {kind}. Destination IP address determined from hostsfield values")
    for one in spec.get("ports") or []:
        if protocol(one or {}) not in ("http", "tls", "grpc", "http2"):
            yield wrong(f"only HTTP, TLS, GRPC, and HTTP2 protocols are supported for {kind}")
    waypoint = str((metadata.get("labels") or {}).get(_WAYPOINT_LABEL, ""))
    if spec.get("location") == "MESH_INTERNAL" and waypoint and waypoint.lower() != "none":
        yield wrong(f"location MESH_INTERNAL with {kind} is not supported when using waypoints")

"""
Host names and names of gateways: what is well-formed, and what covers what.

Sources: Istio, pkg/config/validation/agent/validation.go, pkg/config/host/name.go, and validateGatewayNames in
pkg/config/validation/validation.go.
"""

from __future__ import annotations

import re

from canaryd.lab.kubernetes.webhook.problems import Problems, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import is_ip, is_label, is_wildcard_label

_MOST_BYTES = 255
_SNI_FORMAT = "outbound_.<PORT>_._.<HOSTNAME>"


def fqdn(name: str) -> Problems:
    if refusal := _precondition(name) or _labels(name):
        yield wrong(refusal)


def wildcard_domain(name: str) -> Problems:
    """A domain name whose first label may begin with, or be, an asterisk. At most one problem."""
    if refusal := _wildcard_domain(name):
        yield wrong(refusal)


def is_fqdn(name: str) -> bool:
    return not (_precondition(name) or _labels(name))


def fqdn_refusal(name: str) -> str:
    """Why `name` is no domain name; empty if it is one."""
    return _precondition(name) or _labels(name)


def bound_host(name: str, *, gateway: bool, sni: bool) -> str:
    """
    Why a VirtualService may not have this host; empty if it may.

    Bound to gateways only and matching SNI, it may have the names that Istio makes up for AUTO_PASSTHROUGH, such as
    ``outbound_.80_._.reviews.default.svc.cluster.local``.
    """
    if gateway and sni and name.startswith("outbound_"):
        return _precondition(name) or _made_up_domain(name)
    return _wildcard_domain(name)


def _made_up_domain(name: str) -> str:
    parts = name.split("_")
    if len(parts) < 4:
        return f"domain name {name} invalid, should follow '{_SNI_FORMAT}' format"
    for label, wanted in ((parts[1].strip("."), "[0-9]"), (parts[3].strip("."), "[a-zA-Z]")):
        if not re.search(wanted, label):
            invalid = f"domain name {quoted(name)} invalid (label {quoted(label)} invalid)"
            return f"{invalid}. should follow {_SNI_FORMAT} format"
    return ""


def _wildcard_domain(name: str) -> str:
    if refusal := _precondition(name):
        return refusal
    first, dot, rest = name.partition(".")
    if not is_wildcard_label(first):
        return f"domain name {quoted(name)} invalid (label {quoted(first)} invalid)"
    return _labels(rest) if dot else ""


def _precondition(name: str) -> str:
    if len(name.encode()) > _MOST_BYTES:
        return f"domain name {quoted(name)} too long (max {_MOST_BYTES})"
    return "" if name else "empty domain name not allowed"


def _labels(name: str) -> str:
    """Only the last label may be empty, for names that end with a dot; it may not be a number."""
    parts = name.split(".")
    if re.fullmatch(r"[+-]?[0-9]{1,18}", parts[-1]):
        return f"domain name {quoted(name)} invalid (top level domain {quoted(parts[-1])} cannot be all-numeric)"
    for index, label in enumerate(parts):
        if not label and index == len(parts) - 1:
            break
        if not is_label(label):
            return f"domain name {quoted(name)} invalid (label {quoted(label)} invalid)"
    return ""


def overlap(one: str, other: str) -> bool:
    """Whether a name could be both: equal, or one covered by the other's wildcard."""
    return is_covered(one, other) or is_covered(other, one)


def is_covered(name: str, by: str) -> bool:
    """Whether everything `name` stands for is also `by`. ``*.foo.com`` covers ``a.foo.com``, not ``foo.com``."""
    if not by.startswith("*"):
        return name == by
    if name.startswith("*"):
        return len(name) >= len(by) and name[1:].endswith(by[1:])
    return name.endswith(by[1:])


def duplicates(hosts: list[str]) -> Problems:
    for index, host in enumerate(hosts):
        for other in hosts[index + 1 :]:
            if overlap(host, other):
                yield wrong(f"duplicate hosts in virtual service: {host} & {other}")


def gateway_names(names: list[str]) -> Problems:
    """
    ``namespace/name``, ``mesh``, or a name alone.

    Istio looks no further than the first name without a slash, so a wrong one behind ``mesh`` passes.
    """
    for name in names:
        namespace, slash, own = name.partition("/")
        if not slash:
            if "." in name:
                yield warning(_legacy(name))
            yield from fqdn(name)
            return
        if not namespace or not own:
            yield wrong("config namespace and gateway name cannot be empty")
        if not is_label(namespace):
            yield wrong(f"invalid value for namespace: {quoted(namespace)}")
        if not is_label(own):
            yield wrong(f"invalid value for gateway name: {quoted(own)}")


def _legacy(name: str) -> str:
    own, namespace = name.split(".")[:2]
    better = quoted(f"{namespace}/{own}")
    return f"using legacy gatewayName format {quoted(name)}; prefer the <namespace>/<name> format: {better}"


def namespaced_host(text: str, *, gateway: bool) -> Problems:
    """``namespace/host`` of a Gateway's server or a Sidecar's listener; a Gateway may leave the namespace out."""
    namespace, slash, name = text.partition("/")
    if not slash:
        if gateway:
            yield from _host_part(text, gateway=True)
        else:
            yield wrong("host must be of form namespace/dnsName")
        return
    if not namespace or not name:
        yield wrong("config namespace and dnsName in host entry cannot be empty")
    if gateway:
        if namespace not in ("*", ".") and not is_label(namespace):
            yield wrong(f"invalid namespace value {quoted(namespace)} in gateway")
    else:
        excluded = namespace.removeprefix("~")
        if excluded not in ("", "*", ".") and not is_label(excluded):
            yield wrong(f"invalid namespace value {quoted(namespace)} in sidecar")
    yield from _host_part(name, gateway=gateway)


def _host_part(name: str, *, gateway: bool) -> Problems:
    if name != "*" and "." not in name:
        yield wrong("short names (non FQDN) are not allowed")
    if refusal := _wildcard_domain(name):
        if not gateway:
            yield wrong(refusal)
        if not is_ip(name):
            yield wrong(refusal)
    yield from partial_wildcard(name)


def partial_wildcard(name: str) -> Problems:
    if "*" in name and len(name) != 1 and not name.startswith("*."):
        yield wrong(f"partial wildcard {quoted(name)} not allowed")

"""
Small values that all kinds share: ports, durations, percentages, IP addresses, labels, exportTo.

Sources: Istio, pkg/config/validation/agent/validation.go, pkg/config/labels/instance.go, pkg/config/visibility.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from canaryd.lab.kubernetes.durations import MILLISECOND, nanoseconds
from canaryd.lab.kubernetes.webhook.problems import Problems, listed, number, quoted, wrong

_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_WILDCARD_LABEL = re.compile(rf"\*|(\*|\*-)?{_LABEL.pattern}")
_TAG_NAME = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_TAG_KEY = re.compile(rf"({_LABEL.pattern}(?:\.{_LABEL.pattern})*/)?({_TAG_NAME})")
_TAG_VALUE = re.compile(rf"({_TAG_NAME})?")
_LABEL_LENGTH = 63
_PREFIX_LENGTH = 253

UNIX_PREFIX = "unix://"


def is_label(text: str) -> bool:
    """A DNS label as Istio reads RFC 1123: upper case is fine, `_` is not."""
    return len(text) <= _LABEL_LENGTH and _LABEL.fullmatch(text) is not None


def is_wildcard_label(text: str) -> bool:
    """A label that may be, or begin with, an asterisk: ``*``, ``*-foo``, ``*foo``."""
    return len(text) <= _LABEL_LENGTH and _WILDCARD_LABEL.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def ip_address(text: str) -> Problems:
    if not is_ip(text):
        yield wrong(f"{text} is not a valid IP")


def ip_subnet(text: str) -> Problems:
    """CIDR notation or a plain address; a netmask in place of the number of bits is refused."""
    address, slash, bits = text.partition("/")
    if text.count("/") != 1:
        yield from ip_address(text)
    elif not (slash and is_ip(address) and "%" not in address and _fits(bits, address)):
        yield wrong(f"{text} is not a valid CIDR block")


def _fits(bits: str, address: str) -> bool:
    most = ipaddress.ip_address(address).max_prefixlen
    return re.fullmatch(r"0|[1-9][0-9]{0,2}", bits) is not None and int(bits) <= most


def port(value: int) -> Problems:
    if not 1 <= value <= 65535:
        yield wrong(f"port number {value} must be in the range 1..65535")


def port_name(name: str) -> Problems:
    if not is_label(name):
        yield wrong(f"invalid port name: {name}")


def unix_address(path: str) -> Problems:
    if not path:
        yield wrong("unix address must not be empty")
    elif not path.startswith("@") and (not path.startswith("/") or path.endswith("/")):
        yield wrong(f"{path} is not an absolute path to a file")


def duration(text: Any) -> Problems:
    """Nothing to say of an absent one; the schema has refused what is none. Raises ValueError for that."""
    if text is None:
        return
    length = nanoseconds(str(text))
    if length < MILLISECOND:
        yield wrong("duration must be greater than 1ms")
    elif length % MILLISECOND:
        yield wrong("only durations to ms precision are supported")


def whole_percent(value: int) -> Problems:
    if not 0 <= value <= 100:
        yield wrong(f"percentage {value} is not in range 0..100")


def percentage(found: Any) -> Problems:
    """A `Percent` message; nothing to say of an absent one. Below 0.0001 it would round to never."""
    value = (found or {}).get("value") or 0
    if value and not 0.0001 <= value <= 100:
        yield wrong(f"percentage {number(value)} is neither 0.0, nor in range [0.0001, 100.0]")


def labels(found: Any) -> Problems:
    """Keys and values that Kubernetes would take as labels."""
    for key, value in (found or {}).items():
        yield from _label_key(key)
        if not _TAG_VALUE.fullmatch(value):
            yield listed(f"invalid tag value: {quoted(value)}")


def _label_key(key: str) -> Problems:
    match = _TAG_KEY.fullmatch(key)
    if match is None:
        yield listed(f"invalid tag key: {quoted(key)}")
    elif len(match[1] or "") > _PREFIX_LENGTH + 1:
        yield listed(f"invalid tag key: {quoted(key)} (DNS prefix is too long)")
    elif len(match[2]) > _LABEL_LENGTH:
        yield listed(f"invalid tag key: {quoted(key)} (name is too long)")


def selector(found: Any, field: str = "matchLabels") -> Problems:
    """Labels that select workloads: no empty key, no wildcard anywhere."""
    for key, value in ((found or {}).get(field) or {}).items():
        shown = quoted(f"{key}={value}")
        if not key:
            yield wrong(f"empty key is not supported in selector: {shown}")
        if "*" in key or "*" in value:
            yield wrong(f"wildcard is not supported in selector: {shown}")


def export_to(namespace: str, exported: Any, *, service: bool = False, selecting: bool = False) -> Problems:
    """`service`: of a ServiceEntry, which may be hidden (``~``); `selecting`: of a DestinationRule with a selector."""
    seen: set[str] = set()
    entries = list(exported or [])
    for entry in entries:
        key = namespace if entry == "." else entry
        if key in seen and key != entry:
            yield wrong(f"duplicate entries in exportTo: . and current namespace {namespace}")
        elif key in seen:
            yield wrong(f"duplicate entries in exportTo for entry {entry}")
        elif key == "~" and not service:
            yield wrong("exportTo ~ (none) is not allowed for Istio configuration objects")
        elif key not in ("~", ".", "*") and not is_label(key):
            yield wrong("only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
        else:
            seen.add(key)
    if selecting and seen and namespace not in seen:
        yield wrong("destination rule with workload selector cannot have exportTo beyond current namespace")
    elif selecting and len(seen) > 1:
        yield wrong("destination rule with workload selector cannot have multiple entries in exportTo")
    if "*" in seen and len(entries) > 1:
        yield wrong("cannot have both public (*) and non-public exportTo values for a resource")
    if "~" in seen and len(entries) > 1:
        yield wrong("cannot export service entry to no one (~) and someone")

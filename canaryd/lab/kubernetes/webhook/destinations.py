"""
Where a route sends its traffic: hosts, subsets, ports, and above all weights.

Weights are shares of their sum, which need not be 100; two or more that sum to 0 are refused. Neither unknown hosts nor
unknown subsets are noticed. Source: Istio, pkg/config/validation/validation.go (validateHTTPRouteDestinations,
validateRouteDestinations, validateDestination).
"""

from __future__ import annotations

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook import headers
from canaryd.lab.kubernetes.webhook.hosts import wildcard_domain
from canaryd.lab.kubernetes.webhook.problems import Problems, listed, wrong
from canaryd.lab.kubernetes.webhook.values import is_label, port


def destinations(route: list[Object]) -> Problems:
    """The `route` of an entry of any protocol. A single destination gets everything, whatever its weight."""
    total = 0
    for item in route:
        if item.get("destination") is None:
            yield listed("destination is required")
        yield from headers.operations(item.get("headers"))
        yield from destination(item.get("destination"))
        weight = int(item.get("weight") or 0)
        if weight < 0:
            yield wrong(f"weight {weight} < 0")
        total = int32(total + weight)
    if len(route) > 1 and total == 0:
        yield wrong("total destination weight = 0")


def int32(value: int) -> int:
    """As Go wraps: 2147483647 + 2147483647 + 2 is 0, so that Istio refuses these weights as if there were none."""
    return (value + 2**31) % 2**32 - 2**31


def destination(found: Object | None) -> Problems:
    """Nothing to say of an absent one."""
    if found is None:
        return
    host = found.get("host") or ""
    if host == "*":
        yield wrong(f"invalid destination host {host}")
    else:
        yield from wildcard_domain(host)
    if found.get("subset"):
        yield from subset_name(found["subset"])
    if found.get("port") is not None:
        yield from port(int(found["port"].get("number") or 0))


def subset_name(name: str) -> Problems:
    if not name:
        yield wrong("subset name cannot be empty")
    elif not is_label(name):
        yield wrong(f"subset name is invalid: {name}")

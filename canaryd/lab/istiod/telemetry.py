"""
Telemetry objects: the labels that they add to what callers' proxies count (`metrics[].overrides[].tagOverrides`).

What a newcomer would get wrong: they stack. That of the root namespace, that of the proxy's namespace and the one that
selects it all hold, the later over the earlier. A few attributes are known, each with Envoy's word for it; anything
else is refused, for a label that is silently empty would look like one that is there. What servers' proxies count, and
access logs and tracing, stay as they are.

Sources: Istio pilot/pkg/model/telemetry.go (applicableTelemetries), istio/proxy's istio_stats.cc (its metrics).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from canaryd.errors import Rejected
from canaryd.lab.envoy.statistics import Added
from canaryd.lab.istiod.objects import Json, namespace_of, where_of
from canaryd.lab.istiod.proxy import ROOT_NAMESPACE, Proxy
from canaryd.lab.istiod.registry import Registry

ATTRIBUTES = {
    "xds.route_name": "%ROUTE_NAME%",
    "request.url_path": "%PATH(NQ)%",
    "request.path": "%PATH(WQ)%",
    "request.host": "%REQ(:AUTHORITY)%",
    "request.method": "%REQ(:METHOD)%",
}
"""Istio's attributes, as Envoy's access logs call them."""
HEADER = re.compile(r"request\.headers\[(['\"])([a-z0-9-]+)\1\]")
COUNT, DURATION = "REQUEST_COUNT", "REQUEST_DURATION"
ALL = (None, "ALL_METRICS")


def added_labels(registry: Registry, proxy: Proxy) -> Added:
    """What Telemetry objects add at a proxy that calls. Raises Rejected for what the lab does not carry out."""
    found: dict[str, dict[str, str]] = {COUNT: {}, DURATION: {}}
    for telemetry in _applicable(registry, proxy):
        where = where_of(telemetry)
        for metrics in telemetry["spec"].get("metrics") or ():
            for override in metrics.get("overrides") or ():
                _override(override, found, where)
    return Added(*(tuple(sorted(found[metric].items())) for metric in (COUNT, DURATION)))


def _applicable(registry: Registry, proxy: Proxy) -> Iterator[Json]:
    """Those that concern the proxy, at most one of each level; what comes later holds over what came before."""
    for home in dict.fromkeys((ROOT_NAMESPACE, proxy.namespace)):
        yield from [one for one in registry.telemetries if namespace_of(one) == home and not _selector(one)][:1]
    own = [one for one in registry.telemetries if namespace_of(one) == proxy.namespace and _selector(one)]
    yield from [one for one in own if _selector(one).items() <= proxy.labels.items()][:1]


def _selector(telemetry: Json) -> dict[str, str]:
    return ((telemetry.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}


def _override(override: Json, found: dict[str, dict[str, str]], where: str) -> None:
    match = override.get("match") or {}
    if match.get("mode") == "SERVER":
        return
    if override.get("disabled"):
        raise Rejected(f"{where}: `disabled` is not carried out by the lab; it carries out tagOverrides")
    for metric, labels in found.items():
        if match.get("metric") in (*ALL, metric):
            for label, tag in (override.get("tagOverrides") or {}).items():
                if tag.get("operation") == "REMOVE":
                    labels.pop(label, None)
                else:
                    labels[label] = _word(str(tag.get("value", "")), f"{where}, tag {label}")


def _word(expression: str, where: str) -> str:
    """Envoy's word for an attribute."""
    if header := HEADER.fullmatch(expression):
        return f"%REQ({header[2].upper()})%"
    if expression not in ATTRIBUTES:
        known = ", ".join((*ATTRIBUTES, "request.headers['x-name']"))
        raise Rejected(f"{where}: {expression!r} is no attribute that the lab knows; it knows {known}")
    return ATTRIBUTES[expression]

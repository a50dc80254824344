"""
From Istio's objects to Envoy's configuration, as istiod does it for one proxy.

Pure: objects in, configuration out. What is not translated is refused with a sentence that names it; silently dropping
a field would make the lab prove something else than what was written.

A newcomer would get wrong: a single destination takes everything whatever its weight; of several, those at weight 0 are
left out; a destination whose subset no DestinationRule knows still gets its route, to a cluster that does not exist
(503, flag NC), while a subset without ready pods has a cluster without endpoints (503, flag UH).

Sources: Istio pilot/pkg/networking/core/route/route.go (matches, weights, order), pilot/pkg/model/push_context.go
(which DestinationRule a client sees), pilot/pkg/model/virtualservice.go (short names, mesh gateway).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from canaryd.lab.istiod import gatewayapi
from canaryd.lab.istiod.clusters import clusters_of
from canaryd.lab.istiod.gateways import gateway_tables
from canaryd.lab.istiod.proxy import GATEWAY, Proxy, Wiring
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.streams import Stream, streams_of
from canaryd.lab.istiod.virtualhosts import sidecar_tables
from canaryd.lab.istiod.virtualservices import virtual_services

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Translation:
    """
    One proxy's configuration, ready for Envoy.

    `routes`: RouteConfigurations by name, as Istio names them: the port (`9080`) at a sidecar, `http.8080` or
    `https.8443.<port's name>.<gateway>.<namespace>` at a gateway. `streams`: the filter chains of the ports that carry
    no HTTP, in the order in which they are tried.
    """

    routes: dict[str, Json]
    clusters: list[Json]
    streams: list[Stream] = field(default_factory=list)


def translate(registry: Registry, proxy: Proxy, wiring: Wiring, *, clusters: list[Json] | None = None) -> Translation:
    """
    The configuration of `proxy` for what stands in `registry`.

    `clusters`: those of before, given by whoever knows that nothing they follow from has changed since.

    Raises Rejected, with a sentence, for whatever of these objects concerns the proxy and is not translated.
    """
    registry = replace(registry, gateways=(*registry.gateways, *gatewayapi.gateways(registry)))
    written = virtual_services(registry.virtual_services)
    virtuals = sorted([*written, *gatewayapi.route_services(registry)], key=lambda each: each.age)
    tables = gateway_tables if proxy.kind == GATEWAY else sidecar_tables
    routes = tables(registry, virtuals, proxy, wiring)
    return Translation(
        routes,
        clusters_of(registry, proxy, wiring) if clusters is None else clusters,
        streams_of(registry, proxy, wiring),
    )

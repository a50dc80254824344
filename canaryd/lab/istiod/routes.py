"""
Routes: the http entries of a VirtualService as Envoy's routes, one for each of their matches.

First match wins, in the order in which they are written; what stands after a match that takes everything is never
reached, and Istio leaves it out.

Source: Istio pilot/pkg/networking/core/route/route.go (BuildHTTPRoutesForVirtualService, translateRoute).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from canaryd.lab.istiod.actions import apply_action, plain_action
from canaryd.lab.istiod.filters import per_filter_config
from canaryd.lab.istiod.matches import catches_all, match_of, meant_for
from canaryd.lab.istiod.objects import only
from canaryd.lab.istiod.vantage import Vantage
from canaryd.lab.istiod.virtualservices import Entry, VirtualService

Json = dict[str, Any]

ENTRY_FIELDS = {
    "name",
    "match",
    "route",
    "redirect",
    "directResponse",
    "rewrite",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirrorPercentage",
    "mirrorPercent",
    "mirror_percent",
    "corsPolicy",
    "headers",
}


def routes_of(virtual: VirtualService, vantage: Vantage) -> list[Json]:
    """
    The routes for one listener, in order; none where nothing of the VirtualService is meant for it.

    Raises Rejected, with a sentence, for what is meant for it and is not translated.
    """
    routes: list[Json] = []
    for entry in virtual.entries:
        for match in entry.spec.get("match") or [None]:
            if match and not meant_for(match, vantage):
                continue
            routes.append(_route(entry, match or {}, vantage, gateway_api=virtual.gateway_api))
            if catches_all(routes[-1]["match"]):
                return routes
    return routes


def _route(entry: Entry, match: Json, vantage: Vantage, *, gateway_api: bool) -> Json:
    spec, where = entry.spec, entry.where
    only(spec, ENTRY_FIELDS, where)
    name = spec.get("name") or ""
    if match.get("name"):
        name = f"{name}.{match['name']}"
    route: Json = {"match": match_of(match, where, gateway_api=gateway_api)}
    if name:
        route["name"] = name
    apply_action(route, spec, vantage, where, gateway_api=gateway_api)
    filters = per_filter_config(spec, where)
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def plain_route(cluster: str) -> Json:
    """What Istio makes for a host of which no VirtualService speaks."""
    return {"name": "default", "match": {"prefix": "/"}, "route": plain_action(cluster)}


def catch_alls_last(routes: Iterable[Json]) -> list[Json]:
    """
    Routes of several VirtualServices for one host: those that take everything at the end, the first of them wins.

    Istio: SortVHostRoutes.
    """
    return sorted(routes, key=lambda each: catches_all(each["match"]))

"""
What the control plane writes back: of an HTTPRoute, whether it was understood.

A VirtualService has no such word: istiod writes nothing to it unless its analysis is switched on.
"""

from __future__ import annotations

import datetime
from typing import Any, Protocol

from canaryd.lab.istiod.gatewayapi import GROUP, route_statuses
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]


class Told(Protocol):
    """Where a status is written."""

    def set_status(self, kind: str, namespace: str, name: str, status: Json) -> None: ...


def tell_routes(cluster: Told, registry: Registry) -> None:
    """Write the status of each HTTPRoute that has another one now. What is right is left alone, so this ends."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for (namespace, name), status in route_statuses(registry, now).items():
        cluster.set_status(f"httproutes.{GROUP}", namespace, name, status)

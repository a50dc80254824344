"""
The scene: what is in a lab's cluster when it begins, which service is on trial in it, and how that is called.

Bookinfo's reviews are the usual one (`bookinfo.scene`); `own/` makes one of anybody's objects and plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
INGRESS, CLIENT, OTHER = "ingress", "client", "other"


@dataclass(frozen=True, slots=True)
class Request:
    """`vantage` is where it comes from: the ingress gateway, or a client inside of the mesh."""

    vantage: str
    host: str
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """
    `versions` are those of the service on trial, each with the labels that its pods have, and `virtual_service` with
    its http `entry` is where traffic is divided between them. `request` is what the lab's load sends.
    """

    objects: tuple[Json, ...]
    namespace: str
    virtual_service: str
    versions: Mapping[str, Mapping[str, str]]
    request: Request
    entry: int = 0

    def version_of(self, labels: Mapping[str, str], namespace: str) -> str | None:
        """The version that a pod with these labels is of; None where it is of none."""
        if namespace != self.namespace:
            return None
        return next((name for name, own in self.versions.items() if own.items() <= labels.items()), None)

    def weights_in(self, virtual: Json | None) -> dict[str, int]:
        """The weights that stand in the entry on trial, by version; those of other destinations by their host."""
        if virtual is None or len(virtual["spec"].get("http") or ()) <= self.entry:
            return {}
        route = virtual["spec"]["http"][self.entry].get("route") or []
        return {name_of(each.get("destination") or {}): each.get("weight", 0) for each in route}


def name_of(destination: Json) -> str:
    """How a version is called here: by its subset, or where there is none by the first label of its host."""
    return str(destination.get("subset") or str(destination.get("host", "")).partition(".")[0])

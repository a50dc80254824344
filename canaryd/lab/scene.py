"""
The scene: what is in a lab's cluster when it begins, which service is on trial in it, and how that is called.

Bookinfo's reviews are the usual one (`bookinfo.scene`); `own/` makes one of anybody's objects and plan.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from canaryd.lab.istiod.proxy import GATEWAY, Proxy
from canaryd.mesh.entries import INSERTED

Json = dict[str, Any]
CLIENT, OTHER, INGRESS = "client", "other", "ingress"
VERSION = "version"
"""The label that tells versions apart where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Request:
    """`vantage` is where it comes from: the ingress gateway, or a client inside of the mesh."""

    vantage: str
    host: str
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


def vantage_points(client: Proxy, gateway: Mapping[str, str] | None = None) -> dict[str, Proxy]:
    """
    Where requests can be sent from: `client`, a second one without a name of its own, and the ingress gateway.

    `gateway` are the labels of the gateway's pods, by which Gateways choose it.
    """
    labels = gateway or {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    return {
        CLIENT: client,
        OTHER: Proxy("curl", client.namespace, {"app": "curl"}),
        INGRESS: Proxy("istio-ingressgateway", "istio-system", labels, kind=GATEWAY),
    }


@dataclass(frozen=True, slots=True)
class Scene:
    """
    `versions` are those of the service on trial, each with the labels that its pods have and, in `destinations`, how a
    route names it; `virtual_service` with its http `entry` is where traffic is divided between them. `request` is what
    the lab's load sends, `vantage` are the proxies from which that can be done.
    """

    objects: tuple[Json, ...]
    namespace: str
    virtual_service: str
    versions: Mapping[str, Mapping[str, str]]
    destinations: Mapping[str, Json]
    request: Request
    vantage: Mapping[str, Proxy]
    entry: int = 0

    @classmethod
    def read(cls, found: Json) -> Self:
        """The scene that `dataclasses.asdict` wrote."""
        vantage = {name: Proxy(**proxy) for name, proxy in found["vantage"].items()}
        own = {"objects": tuple(found["objects"]), "request": Request(**found["request"]), "vantage": vantage}
        return cls(**{**found, **own})

    def version_of(self, labels: Mapping[str, str], namespace: str) -> str | None:
        """
        The version that a pod with these labels is of, None where it is of none.

        One that came later is called by its `version` label, if all that the known ones have in common is there.
        """
        if namespace != self.namespace:
            return None
        for name, own in self.versions.items():
            if own.items() <= labels.items():
                return name
        common = set.intersection(*(set(own.items()) for own in self.versions.values()))
        return labels.get(VERSION) if common and common <= set(labels.items()) else None

    def is_on_trial(self, virtual: Json) -> bool:
        """Whether this is the VirtualService between whose versions traffic is divided."""
        about = virtual["metadata"]
        return (about.get("namespace", "default"), about["name"]) == (self.namespace, self.virtual_service)

    def deployment(self, version: str) -> Json | None:
        """A version's Deployment, as it is written in `objects`."""
        for each in self.objects:
            if each["kind"] == "Deployment" and each["metadata"].get("namespace", "default") == self.namespace:
                template = each["spec"]["template"].get("metadata") or {}
                if self.version_of(template.get("labels") or {}, self.namespace) == version:
                    return each
        return None

    def services(self, *, grpc: bool) -> Iterator[Json]:
        """The Services in front of the versions, as they are written; with `grpc` their ports are named for that."""
        for each in self.objects:
            if each["kind"] != "Service" or each["metadata"].get("namespace", "default") != self.namespace:
                continue
            selector = (each["spec"].get("selector") or {}).items()
            if selector and any(selector <= labels.items() for labels in self.versions.values()):
                ports = [{**port, **({"name": "grpc"} if grpc else {})} for port in each["spec"].get("ports", [])]
                yield {**each, "spec": {**each["spec"], "ports": ports}}

    @staticmethod
    def entries_in(virtual: Json | None) -> list[Json]:
        """The http entries of a VirtualService that were not inserted by canaryd."""
        entries = ((virtual or {}).get("spec") or {}).get("http") or ()
        return [each for each in entries if not str(each.get("name", "")).startswith(INSERTED)]

    def weights_in(self, virtual: Json | None) -> dict[str, int]:
        """The weights that stand in the entry on trial, by version; those of other destinations by their host."""
        entries = self.entries_in(virtual)
        if len(entries) <= self.entry:
            return {}
        route = entries[self.entry].get("route") or []
        return {name_of(each.get("destination") or {}): each.get("weight", 0) for each in route}

    def divided(self, weights: Mapping[str, int]) -> Json:
        """The VirtualService as it is written in `objects`, with these weights in the entry on trial."""
        written = next(each for each in self.objects if each["kind"] == "VirtualService" and self.is_on_trial(each))
        virtual = copy.deepcopy(written)
        virtual["spec"]["http"][self.entry]["route"] = self.route(weights)
        return virtual

    def route(self, weights: Mapping[str, int]) -> list[Json]:
        """Destinations with weights, in this order."""
        return [{"destination": self.destinations[name], "weight": weight} for name, weight in weights.items()]


def name_of(destination: Json) -> str:
    """How a version is called here: by its subset, or where there is none by the first label of its host."""
    return str(destination.get("subset") or str(destination.get("host", "")).partition(".")[0])


def image_of(deployment: Json) -> str:
    """The image of its first container."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

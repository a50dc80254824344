"""The proxies for which configuration is made, and what each of them sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.lab.istiod.objects import namespace_of

Json = dict[str, Any]
MESH = "mesh"
ROOT_NAMESPACE = "istio-system"
SIDECAR, GATEWAY = "sidecar", "gateway"


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    One Envoy of the mesh, as istiod knows it: a sidecar, or a gateway's own.

    `labels` are its pod's: a sidecar is chosen by them (`sourceLabels`, `workloadSelector`), a gateway by a Gateway's
    `selector`.
    """

    name: str = "productpage-v1"
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=lambda: {"app": "productpage", "version": "v1"})
    kind: str = SIDECAR
    service_account: str = "default"


@dataclass(frozen=True, slots=True)
class Wiring:
    """
    What the translation must be told of the data plane.

    `address`: a pod and the port it serves -> Envoy's address of that endpoint. `identity`: a proxy -> the transport
    socket with which it proves who it is, None where proxies speak plain text. `cluster`: a proxy, port, subset and
    host -> the name of the cluster, which holds one proxy's view of a host.
    """

    address: Callable[[Json, int], Json]
    identity: Callable[[Proxy], Json | None]
    cluster: Callable[[Proxy, int, str, str], str]


def gateways_of(virtual: Json) -> list[str]:
    return virtual["spec"].get("gateways") or [MESH]


def visible(each: Json, proxy: Proxy) -> bool:
    """Whether an object is exported to the proxy's namespace."""
    exported = each["spec"].get("exportTo") or ["*"]
    own = namespace_of(each) == proxy.namespace
    return "*" in exported or proxy.namespace in exported or (own and "." in exported)

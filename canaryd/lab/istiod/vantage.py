"""
Where a proxy stands when its routes are made: one listener, and the mesh or the gateway that it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.lab.istiod.hosts import ports_of
from canaryd.lab.istiod.objects import only
from canaryd.lab.istiod.proxy import GATEWAY, MESH, Proxy, Wiring
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Vantage:
    """
    One listener of one proxy.

    `port` is the port that clients speak to (a Service's, or a Gateway server's), `gateway` is `mesh` or
    `<namespace>/<name>`, `tls` whether the listener ends TLS.
    """

    registry: Registry
    proxy: Proxy
    port: int
    wiring: Wiring
    gateway: str = MESH
    tls: bool = False
    services: Mapping[str, Json] = field(default_factory=dict)  # by host; those of the registry

    @classmethod
    def of(
        cls, registry: Registry, proxy: Proxy, port: int, wiring: Wiring, gateway: str = MESH, *, tls: bool = False
    ) -> Vantage:
        return cls(registry, proxy, port, wiring, gateway, tls, registry.by_host)

    def cluster(self, destination: Json, where: str) -> str:
        """
        The cluster of a destination, whether or not it exists.

        Without `port` a gateway takes the service's only port; a sidecar takes the port that the client called, because
        it looks at no service that does not listen there. (route.go, GetDestinationCluster; httproute.go,
        BuildSidecarOutboundVirtualHosts; gateway.go, buildNameToServiceMapForHTTPRoutes.)
        """
        only(destination, {"host", "subset", "port"}, f"{where}, destination")
        host = destination.get("host", "")
        if not host:
            return "UnknownService"  # an HTTPRoute's reference to nothing
        port = (destination.get("port") or {}).get("number")
        if port is None:
            ports = ports_of(self.services[host]) if self.proxy.kind == GATEWAY and host in self.services else []
            port = ports[0] if len(ports) == 1 else self.port
        return self.wiring.cluster(self.proxy, port, destination.get("subset") or "", host)

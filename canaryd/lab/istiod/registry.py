"""What istiod knows at one moment: the objects that matter for traffic, by kind, oldest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from canaryd.lab.istiod.hosts import service_host
from canaryd.lab.istiod.objects import age_of, full_name, is_ready

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """One snapshot of the cluster, each kind in the order in which istiod takes it."""

    services: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()  # the ready ones
    virtual_services: tuple[Json, ...] = ()
    destination_rules: tuple[Json, ...] = ()
    gateways: tuple[Json, ...] = ()  # Istio's
    peer_authentications: tuple[Json, ...] = ()
    http_routes: tuple[Json, ...] = ()
    kubernetes_gateways: tuple[Json, ...] = ()  # the Gateway API's
    reference_grants: tuple[Json, ...] = ()
    namespaces: tuple[Json, ...] = ()
    telemetries: tuple[Json, ...] = ()

    @classmethod
    def of(cls, objects: Iterable[Json]) -> Self:
        """From any objects; kinds that do not change traffic are passed over."""
        by_kind: dict[tuple[str, str], list[Json]] = {}
        for each in objects:
            group = str(each.get("apiVersion", "")).rpartition("/")[0]
            by_kind.setdefault((group, each.get("kind", "")), []).append(each)

        def oldest_first(group: str, kind: str) -> tuple[Json, ...]:
            return tuple(sorted(by_kind.get((group, kind), ()), key=age_of))

        istio = "networking.istio.io"
        return cls(
            services=tuple(sorted(by_kind.get(("", "Service"), ()), key=full_name)),
            pods=tuple(sorted(filter(is_ready, by_kind.get(("", "Pod"), ())), key=full_name)),
            virtual_services=oldest_first(istio, "VirtualService"),
            destination_rules=oldest_first(istio, "DestinationRule"),
            gateways=oldest_first(istio, "Gateway"),
            peer_authentications=oldest_first("security.istio.io", "PeerAuthentication"),
            http_routes=oldest_first("gateway.networking.k8s.io", "HTTPRoute"),
            kubernetes_gateways=oldest_first("gateway.networking.k8s.io", "Gateway"),
            reference_grants=oldest_first("gateway.networking.k8s.io", "ReferenceGrant"),
            namespaces=oldest_first("", "Namespace"),
            telemetries=oldest_first("telemetry.istio.io", "Telemetry"),
        )

    @property
    def by_host(self) -> dict[str, Json]:
        """The Services by their fully qualified hosts."""
        return {service_host(each): each for each in self.services}

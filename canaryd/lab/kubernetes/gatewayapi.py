"""
The Gateway API's custom resources, kept as they are given: HTTPRoute, Gateway, ReferenceGrant.

Their CRDs check and default more than the lab does: here a `weight` that is left out stays left out, and means 1 all
the same.
"""

from __future__ import annotations

from canaryd.lab.kubernetes.istio import ANYTHING, struct
from canaryd.lab.kubernetes.resources import Resource

GROUP = "gateway.networking.k8s.io"


def _resource(kind: str, plural: str, short: str, *columns: tuple[str, str], versions: tuple[str, ...]) -> Resource:
    return Resource(
        group=GROUP,
        versions=versions,
        kind=kind,
        plural=plural,
        short_names=(short,) if short else (),
        categories=("gateway-api",),
        has_status=True,
        has_generation=True,
        unconditional_update=False,
        schema=struct(spec=ANYTHING, status=ANYTHING),
        columns=columns,
    )


GATEWAY_API_RESOURCES = (
    _resource("HTTPRoute", "httproutes", "", ("Hostnames", ".spec.hostnames"), versions=("v1", "v1beta1")),
    _resource("Gateway", "gateways", "gtw", ("Class", ".spec.gatewayClassName"), versions=("v1", "v1beta1")),
    _resource("ReferenceGrant", "referencegrants", "refgrant", versions=("v1beta1",)),
)

"""The kinds of objects that preflight looks at beyond those that a run needs, and how widely."""

from __future__ import annotations

from canaryd.kube import DEPLOYMENTS, DESTINATION_RULES, NAMESPACES, PODS, SERVICES, VIRTUAL_SERVICES, Kind

GATEWAYS = Kind("networking.istio.io", "v1", "gateways")
SIDECARS = Kind("networking.istio.io", "v1", "sidecars")
PEER_AUTHENTICATIONS = Kind("security.istio.io", "v1", "peerauthentications")
TELEMETRIES = Kind("telemetry.istio.io", "v1", "telemetries")
HTTP_ROUTES = Kind("gateway.networking.k8s.io", "v1", "httproutes")
GATEWAY_API_GATEWAYS = Kind("gateway.networking.k8s.io", "v1", "gateways")
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "endpointslices")
AUTOSCALERS = Kind("autoscaling", "v2", "horizontalpodautoscalers")
BUDGETS = Kind("policy", "v1", "poddisruptionbudgets")
SCALED_OBJECTS = Kind("keda.sh", "v1alpha1", "scaledobjects")
ROLLOUTS = Kind("argoproj.io", "v1alpha1", "rollouts")
CANARIES = Kind("flagger.app", "v1beta1", "canaries")
CONFIG_MAPS = Kind("", "v1", "configmaps")
INJECTORS = Kind("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")

FORMER = {
    "networking.istio.io": "v1beta1",
    "security.istio.io": "v1beta1",
    "telemetry.istio.io": "v1alpha1",
    "gateway.networking.k8s.io": "v1beta1",
}
"""The version of a group that was served before today's, with the same schema."""

EVERYWHERE = (
    NAMESPACES,
    VIRTUAL_SERVICES,
    DESTINATION_RULES,
    GATEWAYS,
    SIDECARS,
    PEER_AUTHENTICATIONS,
    TELEMETRIES,
    HTTP_ROUTES,
    GATEWAY_API_GATEWAYS,
    INJECTORS,
)
"""Kinds of which an object anywhere may bear on the route: few objects each, listed in all namespaces."""
CONCERNED = (
    SERVICES,
    PODS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    AUTOSCALERS,
    BUDGETS,
    SCALED_OBJECTS,
    ROLLOUTS,
    CANARIES,
)
"""Kinds of which there may be many: listed in the namespaces that are concerned only."""

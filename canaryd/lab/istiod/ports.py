"""
Ports of Services: which protocol one speaks, and which port of a pod is meant.

A newcomer would get wrong: the name of a port decides, not its number. `tcp-web` on port 80 is no HTTP to Istio, writes
no `istio_requests_total` and knows no weights per request.

Source: Istio pkg/config/kube/conversion.go (ConvertProtocol), pkg/config/protocol/instance.go.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

HTTP = frozenset({"http", "http2", "grpc", "grpc-web", "http_proxy"})
HTTP2 = frozenset({"http2", "grpc", "grpc-web"})
TLS = frozenset({"https", "tls"})
OPAQUE = frozenset({"tcp", "mongo", "redis", "mysql"})
SNIFFED = "sniffed"
WELL_KNOWN = frozenset({25, 53, 3306, 27017})  # the server speaks first there, so nothing is to be sniffed
KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}


def protocol_of(port: Json) -> str:
    """
    The protocol of a Service's port, in small letters: one of HTTP, TLS, OPAQUE, `udp`, or SNIFFED.

    `appProtocol` beats the name; of the name only what stands before the first `-` counts.
    """
    if port.get("protocol") == "UDP":
        return "udp"
    said = port.get("appProtocol")
    if said in KUBERNETES:
        return KUBERNETES[said]
    name = str(said or port.get("name") or "").lower()
    if name.startswith("grpc-web"):
        return "grpc-web"
    prefix = name.partition("-")[0]
    if prefix in HTTP | TLS | OPAQUE | {"udp"}:
        return prefix
    return "tcp" if port["port"] in WELL_KNOWN else SNIFFED


def is_http(port: Json) -> bool:
    """Whether a sidecar routes requests on this port: HTTP by name, or sniffed (the lab's traffic there is HTTP)."""
    return protocol_of(port) in HTTP | {SNIFFED}


def is_stream(port: Json) -> bool:
    """Whether a sidecar passes whole connections on: TCP, or TLS that it does not open."""
    return protocol_of(port) in TLS | OPAQUE


def target_of(port: Json, pod: Json) -> int | None:
    """
    The number of the pod's port that a Service's port stands for; None when the pod has no port of that name.

    Kubernetes leaves such a pod out of the endpoints of this port, and out of no other's.
    """
    target: int | str = port.get("targetPort") or port["port"]
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    for container in pod["spec"].get("containers") or []:
        for each in container.get("ports") or []:
            if each.get("name") == target:
                return int(each["containerPort"])
    return None

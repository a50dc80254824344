"""
The full name of a host, as an object in some namespace means it.

Source: Istio, pkg/model ResolveShortnameToFQDN.
"""

from __future__ import annotations

DOMAIN = "svc.cluster.local"


def fully_qualified(host: str, namespace: str) -> str:
    """``host`` as an object in ``namespace`` names it: there, ``reviews`` is reviews.<namespace>.svc.cluster.local."""
    labels = host.rstrip(".").split(".")
    if len(labels) == 1:
        return f"{host}.{namespace}.{DOMAIN}"
    if len(labels) == 2:
        return f"{host}.{DOMAIN}"
    if len(labels) == 3 and labels[2] == "svc":
        return f"{host}.cluster.local"
    return host.rstrip(".")

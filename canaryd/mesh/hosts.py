"""
Hosts: which service a destination means.

A short name means a service in the namespace of the object that *names* it, not of the caller. A host cut at its first
dot would make ``api.a`` and ``api.b`` one service, so hosts are compared fully qualified or not at all.
Source: Istio, pkg/model ResolveShortnameToFQDN; networking/v1alpha3/virtual_service.proto, ``Destination.host``.
"""

from __future__ import annotations

from canaryd.model.hosts import DOMAIN as DOMAIN
from canaryd.model.hosts import fully_qualified as fully_qualified
from canaryd.model.traffic import Version


def service_of(host: str, namespace: str) -> tuple[str, str]:
    """Name and namespace of the Service that ``host`` means; both empty where it is no service of this cluster."""
    labels = fully_qualified(host, namespace).split(".")
    return (labels[0], labels[1]) if ".".join(labels[2:]) == DOMAIN else ("", "")


def same_host(one: str, other: str, namespace: str) -> bool:
    """Whether both hosts, named by objects in ``namespace``, mean one service."""
    return fully_qualified(one, namespace) == fully_qualified(other, namespace)


def same_version(one: Version, other: Version, namespace: str) -> bool:
    """Whether both mean the same subset of the same service."""
    return one.subset == other.subset and same_host(one.host, other.host, namespace)

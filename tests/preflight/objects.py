"""Objects around Bookinfo's `reviews`, for what may be in its way; all of them are in namespace `default`."""

from __future__ import annotations

from typing import Any

import pytest

import canaryd.lab.kubernetes.cluster as emulated
from tests.preflight.stage import Town

Object = dict[str, Any]


def istio(kind: str, name: str, spec: Object, namespace: str = "default", **meta: Any) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        "spec": spec,
    }


def virtual_service(
    name: str, *hosts: str, to: str = "ratings", namespace: str = "default", match: Any = None, **spec: Any
) -> Object:
    """One that sends its hosts' requests elsewhere, so that it is no other way to the versions."""
    entry = {"route": [{"destination": {"host": to}}]} | ({"match": match} if match else {})
    return istio("VirtualService", name, {"hosts": list(hosts), "http": [entry], **spec}, namespace)


def http_route(name: str, parent: Object, backend: str = "ratings") -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": backend, "port": 9080}]}]},
    }


def definition(group: str, version: str, kind: str, plural: str) -> Object:
    """A CustomResourceDefinition that takes everything."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def older(town: Town, *objects: Object) -> None:
    """Apply ``objects`` as what was there before everything else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulated, "now", lambda: "2020-01-01T00:00:00Z")
        town.apply(*objects)


def changed(town: Town, kind: str, name: str, namespace: str = "default", **spec: Any) -> None:
    """The object with other keys in its spec; what is None is left out."""
    found = town.cluster.find(kind, namespace, name)
    assert found is not None
    merged = {key: value for key, value in {**found["spec"], **spec}.items() if value is not None}
    town.apply({**found, "spec": merged})


def entry_with(town: Town, **more: Any) -> None:
    """The entry of `reviews` with more in it."""
    found = town.cluster.find("VirtualService", "default", "reviews")
    assert found is not None
    changed(town, "VirtualService", "reviews", http=[{**found["spec"]["http"][0], **more}])


def marked(
    town: Town, kind: str, name: str, *, labels: Object | None = None, annotations: Object | None = None
) -> None:
    """The object with labels and annotations."""
    found = town.cluster.find(kind, "default", name)
    assert found is not None
    meta = {**found["metadata"], "labels": labels or {}, "annotations": annotations or {}}
    town.apply({**found, "metadata": meta})

"""Where a ClusterStore is tried: an API server with canaryd's kinds in it, and nothing of a former test."""

from __future__ import annotations

import time

from canaryd.kube import (
    CANARY_PLANS,
    CANARY_POLICIES,
    CANARY_RECORDS,
    CANARY_RUNS,
    DEFINITIONS,
    Kind,
    Kube,
    Missing,
    Unserved,
)
from canaryd.store.cluster import ClusterStore
from canaryd.store.definitions import definitions
from tests.store.caches import Looked

NAMESPACE = "default"
KINDS = (CANARY_RUNS, CANARY_RECORDS, CANARY_PLANS, CANARY_POLICIES)


def prepare(kube: Kube) -> None:
    """Install the definitions, wait until they are served, and clear away what is there."""
    for one in definitions():
        kube.apply(DEFINITIONS, "", one["metadata"]["name"], one, field_manager="tests", force=True)
    for kind in KINDS:
        namespace = "" if kind is CANARY_POLICIES else NAMESPACE
        for found in _served(kube, kind, namespace):
            kube.delete(kind, namespace, found["metadata"]["name"])


def _served(kube: Kube, kind: Kind, namespace: str) -> list[dict[str, object]]:
    deadline = time.monotonic() + 20
    while True:
        try:
            return kube.list(kind, namespace)
        except (Unserved, Missing):
            assert time.monotonic() < deadline, f"{kind} is not served"
            time.sleep(0.05)


class Process:
    """A process with a store of its own on the API server; what its caches know it looks up when told to."""

    def __init__(self, kube: Kube, **options: object) -> None:
        self.kube = kube
        self.runs = Looked(kube, CANARY_RUNS, NAMESPACE)
        self.records = Looked(kube, CANARY_RECORDS, NAMESPACE)
        self.now = 0.0
        self.store = ClusterStore(
            kube, self.runs, self.records, namespaces=(NAMESPACE,), clock=lambda: self.now, **options
        )
        self.look()

    def look(self) -> None:
        self.runs.look()
        self.records.look()

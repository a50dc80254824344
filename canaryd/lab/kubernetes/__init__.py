"""
A Kubernetes API in this process: `Cluster` holds the objects, `ApiServer` serves them over HTTP.

It is an emulator, not a cluster: no controllers, no schedulers, no nodes. What it does answer it answers as a real
API server, proven by tests/contracts/test_kubernetes_api.py, which also runs against a real one.
"""

from __future__ import annotations

from canaryd.lab.kubernetes.cluster import Change, Cluster
from canaryd.lab.kubernetes.config import kubeconfig
from canaryd.lab.kubernetes.server import ApiServer
from canaryd.lab.kubernetes.status import ApiError

__all__ = ["ApiError", "ApiServer", "Change", "Cluster", "kubeconfig"]

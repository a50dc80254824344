"""
A kubeconfig for a lab server: kubectl and canaryd find it as they would a real cluster's.
"""

from __future__ import annotations

from pathlib import Path

import yaml


def kubeconfig(address: str, path: Path, *, user: str = "canaryd", namespace: str = "default") -> Path:
    """Write a kubeconfig for a server's address to `path` and answer `path`."""
    name = "canaryd-lab"
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": address}}],
        "users": [{"name": user, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }
    path.write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
    return path

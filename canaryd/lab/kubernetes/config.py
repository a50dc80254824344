"""
A kubeconfig for a lab server: kubectl and canaryd find it as they would a real cluster's.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml


def kubeconfig(
    address: str,
    path: Path,
    *,
    user: str = "canaryd",
    namespace: str = "default",
    authority: bytes = b"",
    token: str = "",
) -> Path:
    """
    Write a kubeconfig for a server's address to `path` and answer `path`; it may hold a token, so only its owner reads.

    `authority` is the PEM certificate that signed the server's, empty for plain HTTP; without `token` none is sent.
    """
    name = "canaryd-lab"
    cluster: dict[str, Any] = {"server": address}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token} if token else {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
    return path

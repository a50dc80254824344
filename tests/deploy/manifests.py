"""What deploy/ builds, and putting it on an API server with kubectl, as a platform engineer would."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("cluster-wide", "namespaced", "ha")
COMPONENTS = ("mesh", "monitoring", "network-policy", "plans-folder")
CONTROLLER = "system:serviceaccount:canaryd:canaryd"


def kubectl(*arguments: str, config: Path | None = None, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """The end of a kubectl command; skips where there is no kubectl."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl on PATH")
    where = [f"--kubeconfig={config}"] if config else []
    return subprocess.run([program, *where, *arguments], input=text, capture_output=True, text=True, timeout=60)


def built(overlay: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder."""
    done = kubectl("kustomize", str(overlay))
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def documents(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


def of(kind: str, found: list[Object], name: str = "") -> Object:
    """The only object of that kind, and name."""
    [one] = [each for each in found if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return one


def composed(folder: Path, overlay: str, *components: str) -> Path:
    """A kustomization in ``folder`` (inside a copy of deploy/) of an overlay with components, as users write one."""
    shutil.copytree(DEPLOY, folder / "deploy", dirs_exist_ok=True)
    mine = folder / "mine"
    mine.mkdir()
    lines = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../deploy/overlays/{overlay}"],
        "components": [f"../deploy/components/{one}" for one in components],
    }
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(lines))
    return mine

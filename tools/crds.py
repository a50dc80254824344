"""Write deploy/crds/*.yaml from the models, and deploy/argocd/argocd-cm.yaml from its script: they cannot differ."""

from __future__ import annotations

import sys
from pathlib import Path

from canaryd.store.definitions import definitions, manifest

DEPLOY = Path(__file__).parent.parent / "deploy"
ARGOCD = """# What Argo CD has to be told of canaryd's kinds: merge these keys into its ConfigMap argocd-cm.
# It is made from health.lua by `make crds`; a test fails when it is stale.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
"""


def manifests() -> dict[str, str]:
    """The text of each file, by its path below deploy/."""
    crds = {f"crds/{one['metadata']['name']}.yaml": manifest([one]) for one in definitions()}
    return crds | {"argocd/argocd-cm.yaml": ARGOCD + "".join(map(_health, ("CanaryPlan", "CanaryRun")))}


def _health(kind: str) -> str:
    lines = (DEPLOY / "argocd" / "health.lua").read_text().splitlines()
    script = "\n".join(f"    {line}".rstrip() for line in lines)
    return f"  resource.customizations.health.canaryd.io_{kind}: |\n{script}\n"


if __name__ == "__main__":
    for name, text in manifests().items():
        (DEPLOY / name).parent.mkdir(parents=True, exist_ok=True)
        (DEPLOY / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")

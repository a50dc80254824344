"""Write deploy/crds/*.yaml from the models, so that they cannot differ."""

from __future__ import annotations

import sys
from pathlib import Path

from canaryd.store.definitions import definitions, manifest

CRDS = Path(__file__).parent.parent / "deploy" / "crds"


def manifests() -> dict[str, str]:
    """The text of each file, by its name."""
    return {f"{one['metadata']['name']}.yaml": manifest([one]) for one in definitions()}


if __name__ == "__main__":
    CRDS.mkdir(parents=True, exist_ok=True)
    for name, text in manifests().items():
        (CRDS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")

"""
The chart's copies of what deploy/ holds already: `make chart`. A stale one fails a test.

A chart must be whole in its own folder, so it cannot point at ../../base; and what is copied byte for byte (roles,
policies, CRDs, rules, the dashboard) is read by the templates and put together with the values.
"""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy"
FILES = DEPLOY / "chart" / "canaryd" / "files"
SINGLE = ("base/admission.yaml", "base/people.yaml", "overlays/cluster-wide/role.yaml", "rules/prometheusrule.yaml")


def copies() -> dict[Path, Path]:
    """What each file in the chart is a copy of."""
    found = {FILES / Path(name).name: DEPLOY / name for name in SINGLE}
    found[FILES / "dashboard.json"] = DEPLOY / "grafana" / "canaryd.json"
    for definition in (DEPLOY / "crds").glob("*.yaml"):
        if definition.name != "kustomization.yaml":
            found[FILES / "crds" / definition.name] = definition
    return found


def main() -> None:
    wanted = copies()
    for copy, source in wanted.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    for found in [one for one in FILES.rglob("*") if one.is_file() and one not in wanted]:
        found.unlink()


if __name__ == "__main__":
    main()

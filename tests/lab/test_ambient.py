"""
A namespace in ambient mode with a waypoint, from promotion to rollback, through a `kill -9`.

The lab has no ztunnel and no HBONE: Envoy plays the waypoint that the clients' requests meet, with the routes that the
VirtualService gives it, and reports as one (`reporter="waypoint"`). No pod has a sidecar, and nobody else counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.lab import bookinfo

from .test_scenarios import lab_run

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.xdist_group("trials"), pytest.mark.timeout(300)]
WAYPOINT = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "waypoint", "namespace": "default", "labels": {"istio.io/waypoint-for": "service"}},
    "spec": {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    },
}


def ambient() -> list[dict[str, Any]]:
    """As `kubectl label namespace default istio.io/dataplane-mode=ambient` and a restart of everything leave it."""
    namespace = bookinfo.namespace(injection=False)
    namespace["metadata"]["labels"] |= {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
    objects = [namespace, WAYPOINT]
    for app, version in (("reviews", "v1"), ("reviews", "v3"), ("productpage", "v1")):
        deployment = bookinfo.deployment(app, version, 2 if app == "reviews" else 1)
        deployment["spec"]["template"]["metadata"]["annotations"] = {"ambient.istio.io/redirection": "enabled"}
        objects.append(deployment)
    return objects


MEASURED = {
    "analysis": {
        "scrape": "1s",
        "cell": "2s",
        "settle": "2s",
        "warmup": "6s",
        "checks": [
            {"name": "errors", "metric": "error-rate", "compare": "stable"},
            {"name": "slow", "metric": "latency", "within": "2500ms", "atLeast": "95%"},
        ],
    }
}
"""Latency against a number: this is about whose counts are read, not about how slow the machine is."""


def scenario(folder: Path, name: str, **more: Any) -> str:
    content = {"name": name, "about": "In ambient mode.", "plan": MEASURED, "start": {"objects": ambient()}, **more}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_a_canary_behind_a_waypoint_is_judged_by_what_the_waypoint_counts(tmp_path: Path) -> None:
    """Promoted through a death of canaryd, rolled back for its failures, each on requests that clients made."""
    death = {"at": {"step": 25, "after": "4s"}, "name": "death", "kill": {"again": "2s"}}
    good = scenario(tmp_path, "ambient", timeline=[death], expect={"ending": "promoted"})
    bad = scenario(
        tmp_path,
        "ambient-faulty",
        versions={"v3": {"errors": "5 %"}},
        expect={"ending": "rolled back", "before": 50, "reason": "errors: canary"},
    )
    done = lab_run(bad, good, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(file.read_text()) for file in tmp_path.glob("*.state/*/run.json")]
    assert len(records) == 2
    for record in records:
        run = record.get("run", record)
        assert run["plan"]["spec"]["analysis"]["reporter"] == "waypoint"
        findings = [one["code"] for one in run["findings"]]
        assert not {"AmbientWithoutWaypoint", "AmbientUnmeasured", "SidecarMissing"} & set(findings), findings

"""
The controller as its manifests install it: a real API server, RBAC, the policies, and its own account's token.

What the lab's API server cannot tell is seen here: rights, CEL, ValidatingAdmissionPolicies, and kubectl's own words.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import XDIST_GROUP
from tests.controller.real import RealStage
from tests.deploy.conftest import Installed, installed  # noqa: F401  # a fixture

pytestmark = XDIST_GROUP

LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


@pytest.fixture
def stage(installed: Installed, tmp_path: Path) -> Iterator[RealStage]:  # noqa: F811
    with RealStage(installed, tmp_path) as stage:
        yield stage


def test_a_healthy_canary_is_promoted(stage: RealStage) -> None:
    """Nothing of ours is left but the weights, no request was refused, and `kubectl wait` ends."""
    process = stage.controller()
    before = stage.virtual_service()
    stage.apply()
    stage.until(lambda: len(stage.run_objects()) == 1, "a run", process)
    waited = stage.kubectl(f"kubectl wait canaryrun --all -n {stage.namespace} --for=condition=Finished --timeout=60s")
    assert waited.returncode == 0, waited.stderr + process.output
    run = stage.ends(process=process)
    assert stage.weights() == (0, 100)
    assert stage.is_so("Promoted", run)
    after = stage.virtual_service()
    for found in (before, after):
        for one in found["spec"]["http"][0]["route"]:
            one.pop("weight", None)
    assert after["spec"] == before["spec"]
    assert "annotations" not in after["metadata"]
    stage.until(lambda: stage.is_so("Promoted", stage.plan_object()), "the plan's status", process)
    assert stage.plan_object()["metadata"]["annotations"]["canaryd.io/settled"] == "v3"
    name, home = run["metadata"]["name"], stage.namespace
    for command in (
        f"kubectl get canaryplans,canaryruns -n {home}",
        f"kubectl get cplan -o wide -n {home}",
        f"kubectl describe canaryrun {name} -n {home}",
        f"kubectl events --for canaryrun/{name} -n {home}",
        f"kubectl describe canaryplan reviews -n {home}",
    ):
        print("$", command)
        print(stage.kubectl(command).stdout)
    print(stage.answers())
    assert stage.refused() == {}
    process.send(signal.SIGTERM)
    assert process.ended() == 0, process.output
    print(process.output)

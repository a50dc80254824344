"""The health script for Argo CD, run by Lua 5.1 with no more libraries than Argo CD gives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from canaryd.model.run import Hold, Latch, Outcome, Phase
from canaryd.store import objects
from tests.stage import new_run, plan

DEPLOY = Path(__file__).parents[2] / "deploy" / "argocd"


def health(found: dict[str, Any]) -> tuple[str, str]:
    """As Argo CD does it: `obj` is a global, the script's answer a table. Source: argo-cd, util/lua/lua.go."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    for library in ("io", "debug", "string", "math", "os", "python"):
        lua.globals()[library] = None
    lua.globals().obj = lua.table_from(found, recursive=True)
    answer = lua.execute((DEPLOY / "health.lua").read_text())
    return answer["status"], answer["message"]


def shown(**changes: Any) -> dict[str, Any]:
    run = replace(new_run(plan()), **{"waiting": "about to start", **changes})
    return {"metadata": {"generation": 1}, "status": objects.status_of(run)}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ("Progressing", "about to start")),
        ({"hold": Hold("gate", "waits for a yes", 1.0, None)}, ("Suspended", "waits for a yes")),
        ({"phase": Phase.ROLLING_BACK, "latch": Latch("fail", "errors", 1.0)}, ("Degraded", "errors")),
        (
            {"phase": Phase.ROLLED_BACK, "outcome": Outcome.FAILED, "latch": Latch("fail", "errors", 1.0)},
            ("Degraded", "errors"),
        ),
        ({"phase": Phase.PROMOTED, "outcome": Outcome.PROMOTED, "reason": "proven"}, ("Healthy", "proven")),
    ],
    ids=["under way", "held", "rolling back", "rolled back", "promoted"],
)
def test_the_health_of_a_run(changes: dict[str, Any], wanted: tuple[str, str]) -> None:
    """A sync wave waits for Healthy, and a Suspended one is somebody's turn."""
    assert health(shown(**changes)) == wanted


def test_what_canaryd_has_not_seen_is_progressing() -> None:
    """Healthy at once would let the next wave go before the release began."""
    assert health({"metadata": {"generation": 1}})[0] == "Progressing"
    found = shown(phase=Phase.PROMOTED, outcome=Outcome.PROMOTED)
    found["metadata"]["generation"], found["status"]["observedGeneration"] = 2, 1
    assert health(found) == ("Progressing", "canaryd has not read this version yet")


def test_a_plan_that_was_refused_is_degraded() -> None:
    """With every problem, where its author looks."""
    refused = objects.condition("Accepted", False, "Refused", "spec.steps: nothing")
    assert health({"metadata": {"generation": 1}, "status": {"conditions": [refused]}}) == (
        "Degraded",
        "spec.steps: nothing",
    )


def test_a_plan_with_nothing_to_do_is_healthy() -> None:
    """The release was settled before, or stable is it already."""
    accepted = objects.condition("Accepted", True, "Accepted", "")
    assert health({"metadata": {"generation": 1}, "status": {"conditions": [accepted], "why": "settled"}}) == (
        "Healthy",
        "settled",
    )


def test_traffic_that_others_moved_after_the_end_is_degraded() -> None:
    """Git put the former weights back."""
    run = replace(new_run(plan()), phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, reason="proven")
    moved = objects.Traffic(False, "v3 has 0 %")
    found = {"metadata": {"generation": 1}, "status": objects.status_of(run, traffic=moved)}
    assert health(found) == ("Degraded", "v3 has 0 %")


def test_the_snippet_holds_the_script() -> None:
    """As YAML gives it back."""
    data = yaml.safe_load((DEPLOY / "argocd-cm.yaml").read_text())["data"]
    script = (DEPLOY / "health.lua").read_text()
    assert data == {f"resource.customizations.health.canaryd.io_{kind}": script for kind in ("CanaryPlan", "CanaryRun")}

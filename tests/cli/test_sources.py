"""A whole run that a guarded Prometheus measures: its token is replaced, the settings change, nothing gets out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from canaryd.cli.exits import Exit
from tests.cli.stage import PLAN, Process, Stage, canaryd, wait_for
from tests.metrics.guarded import Proxy

SECRETS = ("first-secret-token", "second-secret-token", "secret-tenant-key")
LONG = [{"weight": 10, "bake": "20s"}, {"weight": 50, "bake": "20s"}]


def options(stage: Stage, **settings: Any) -> list[str]:
    file = stage.folder / "canaryd.yaml"
    file.write_text(yaml.safe_dump(settings))
    return ["--kubeconfig", str(stage.kubeconfig), "--state", str(stage.state), "--config", str(file)]


def measured_by(stage: Stage, name: str, **changes: Any) -> Path:
    return stage.plan(analysis=PLAN["spec"]["analysis"] | {"prometheus": name}, **changes)


def baking(stage: Stage, process: Process) -> None:
    def cells() -> int:
        return len(stage.run().baked) if stage.state.exists() and stage.runs() else 0

    before = cells()
    wait_for(lambda: cells() > before or not process.running, "a cell", process=process)
    assert process.running, process.output


def everything(stage: Stage) -> str:
    """All that canaryd wrote: runs, journals, reports, logs, and the objects of the cluster."""
    token_files = {stage.folder / "token", stage.folder / "fresh"}
    written = [file for file in stage.folder.rglob("*") if file.is_file() and file not in token_files]
    objects = json.dumps(stage.virtual_service())
    return objects + "".join(file.read_bytes().decode(errors="replace") for file in written)


def test_a_token_is_replaced_in_mid_run_and_no_secret_is_written_anywhere(stage: Stage, monkeypatch: Any) -> None:
    """Old tokens are refused, in words that repeat what was shown; the run says why it is blind, and goes on."""
    token = stage.folder / "token"
    token.write_text(SECRETS[0])
    monkeypatch.setenv("TENANT_KEY", SECRETS[2])
    monkeypatch.setenv("CANARYD_LOG_LEVEL", "debug")
    wanted = {"Authorization": f"Bearer {SECRETS[0]}", "X-Key": SECRETS[2]}
    with Proxy(stage.prometheus_url, wanted, refusal="you showed {shown}, and that is nothing") as proxy:
        source = {"url": proxy.url, "bearer_token_file": str(token), "headers": {"X-Key": {"from_env": "TENANT_KEY"}}}
        command = options(stage, prometheus=source)
        process = stage.start("run", stage.plan(steps=LONG), *command, options=False)
        baking(stage, process)
        proxy.wanted["Authorization"] = f"Bearer {SECRETS[1]}"
        process.says(f"the token in {token} is not accepted")
        fresh = stage.folder / "fresh"
        fresh.write_text(SECRETS[1])
        fresh.replace(token)
        wait_for(lambda: stage.run().hold is None, "no hold", process=process)
        baking(stage, process)
        assert canaryd("abort", "reviews", "--reason", "enough", "--state", stage.state).code == 0
        assert process.ended() == Exit.ABORTED
    text = everything(stage)
    assert "you showed" in text, "the refusal was not written: this proves nothing"
    assert "***" in text
    for secret in SECRETS:
        assert secret not in text


def test_a_run_keeps_the_prometheus_that_it_began_with(stage: Stage) -> None:
    """The settings bind its namespace to another one, and a new process goes on with the run."""
    theirs = {"url": stage.prometheus_url, "namespaces": ["default"]}
    other = {"url": "http://127.0.0.1:1", "namespaces": ["default"]}
    nobody = "http://127.0.0.1:1"
    before = options(stage, prometheus=nobody, prometheuses={"theirs": theirs | {"default_for": ["default"]}})
    process = stage.start("run", stage.plan(steps=LONG), *before, options=False)
    baking(stage, process)
    assert stage.run().plan.spec.analysis.prometheus == "theirs"
    process.kill()
    after = options(
        stage, prometheus=nobody, prometheuses={"theirs": theirs, "other": other | {"default_for": ["default"]}}
    )
    process = stage.start("run", stage.plan(steps=LONG), *after, options=False)
    process.says("goes on")
    baking(stage, process)
    assert "was edited" not in process.output, "the plan says what it said"
    assert len(stage.runs()) == 1


def test_a_prometheus_that_is_taken_away_in_mid_run_holds_the_traffic(stage: Stage) -> None:
    """It is not replaced by another one, and the sentence says what to put back."""
    theirs = {"url": stage.prometheus_url, "namespaces": ["default"]}
    plan = measured_by(stage, "theirs", steps=LONG)
    process = stage.start("run", plan, *options(stage, prometheuses={"theirs": theirs}), options=False)
    baking(stage, process)
    process.kill()
    process = stage.start("run", plan, *options(stage, prometheus=stage.prometheus_url), options=False)
    process.says("spec.analysis.prometheus: a Prometheus of the settings (prometheuses), got theirs")
    assert stage.weights() == (90, 10)


def test_a_plan_that_names_what_there_is_not_is_refused(stage: Stage) -> None:
    """Before anything is written."""
    theirs = {"url": stage.prometheus_url, "namespaces": ["payments"]}
    said = canaryd("run", measured_by(stage, "theirs"), *options(stage, prometheuses={"theirs": theirs}))
    assert said.code == Exit.REFUSED
    assert "spec.analysis.prometheus" in said.err
    assert "a Prometheus that plans of namespace default may be measured by" in said.err
    assert "add default to prometheuses.theirs.namespaces" in said.err
    assert stage.weights() == (100, 0)
    assert not stage.runs()

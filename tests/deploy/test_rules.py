"""The alerts in Prometheus's own test bench, and against the metrics and the runbook that they speak of."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd import telemetry

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/rules"
BASE = "https://canaryd.io/docs/operations.md"
OURS = re.compile(r"\b(canaryd_\w+?)(?:_bucket|_sum|_count)?\b")


def spec() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RULES / "prometheusrule.yaml").read_text())["spec"]
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in spec()["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def checked(promtool: Path, tmp_path: Path, *command: str) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec()))
    (tmp_path / "test.yaml").write_text((RULES / "test.yaml").read_text())
    done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then(promtool: Path, tmp_path: Path) -> None:
    """Above all those that must fire while no canaryd is there to export anything."""
    checked(promtool, tmp_path, "test", "rules", "test.yaml")


def test_the_rules_are_what_prometheus_reads(promtool: Path, tmp_path: Path) -> None:
    """An operator rejects a rule that does not parse, and with it the whole object."""
    checked(promtool, tmp_path, "check", "rules", "rules.yaml")


def test_every_alert_is_seen_to_fire_in_the_bench() -> None:
    """An alert that no test raises may be one that nothing raises."""
    text = (RULES / "test.yaml").read_text()
    assert set(re.findall(r'ALERTS\{alertname="(\w+)"', text)) == set(ALERTS)


def test_the_rules_ask_only_for_metrics_that_there_are() -> None:
    """A renamed metric makes an alert silent, which looks like all is well."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    text = "\n".join(rule["expr"] for rule in rules())
    for name in recorded:
        assert name in text
        text = text.replace(name, "")
    assert set(OURS.findall(text)) <= {one.name for one in telemetry.exported()}
    assert not re.search(r"\bcanaryd:", text)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_leads_to_its_section(name: str) -> None:
    """Whoever is woken at night needs the next step, not a search."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{BASE}#{name.lower()}"
    assert f"\n### {name}\n" in (ROOT / "docs/operations.md").read_text()


def test_the_runbook_knows_no_alert_that_there_is_not() -> None:
    """A section without an alert is one that was renamed or forgotten."""
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == set(ALERTS)

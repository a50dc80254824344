"""What the docs say of the code is compared with the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from canaryd.cli.exits import Exit
from canaryd.model.decision import Told

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(r'(?:log\.(?:info|warning|error|exception)\(|_say\([^,]+,)\s*"([a-z_]+\.[a-z_]+)"')
LISTED = re.compile(r"`([a-z_]+\.[a-z_]+)`")


def logged() -> set[str]:
    sources = [path for path in (ROOT / "canaryd").rglob("*.py") if "lab" not in path.parts]
    return {name for path in sources for name in LOGGED.findall(path.read_text())}


def listed() -> set[str]:
    rows = [line for line in (ROOT / "docs/operations.md").read_text().splitlines() if line.startswith("| `")]
    return {name for row in rows for name in LISTED.findall(row.split("|")[1])}


def test_operations_lists_every_event_and_no_other() -> None:
    """An event that the runbook does not know leaves the person on call alone with it."""
    assert listed() == logged() | {told.value for told in Told}


def test_the_plan_reference_is_what_the_models_say() -> None:
    """A stale reference makes people write plans that are refused."""
    reference = runpy.run_path(str(ROOT / "tools/reference.py"))["reference"]()
    assert (ROOT / "docs/plan-reference.md").read_text() == reference, "run `make reference`"


def test_the_scenario_reference_is_what_the_models_say() -> None:
    """A stale reference makes people write scenarios that are refused."""
    reference = runpy.run_path(str(ROOT / "tools/reference.py"))["scenario_reference"]()
    assert (ROOT / "docs/scenario-reference.md").read_text() == reference, "run `make reference`"


def test_the_readme_lists_every_exit_code() -> None:
    """Pipelines are written against that table."""
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)}
    assert table == {int(code) for code in Exit}


def test_every_link_in_the_docs_leads_somewhere() -> None:
    """A broken link is the first thing that a newcomer finds."""
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []

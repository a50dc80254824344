"""What the docs say of the code is compared with the code."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

from canaryd.cli.exits import Exit
from canaryd.controller.telling import reason_of
from canaryd.model.decision import Told

ROOT = Path(__file__).parents[2]
LISTED = re.compile(r"`([a-z_]+\.[a-z_]+)`")
NAMED = re.compile(r"[a-z_]+\.[a-z_]+")
REASON = re.compile(r"`([A-Z][A-Za-z]+)`")
LEVELS = {"info", "warning", "error", "exception", "critical"}


def sources() -> list[Path]:
    return [path for path in (ROOT / "canaryd").rglob("*.py") if "lab" not in path.parts]


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def texts(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def is_log(node: ast.AST) -> bool:
    """``log.info`` and the like."""
    name = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
    return isinstance(node, ast.Attribute) and name == "log" and node.attr in LEVELS


def logged() -> set[str]:
    """The first argument of each call of the log, also where a thread makes the call, or where it is one of two."""
    found: set[str] = set()
    for call in (call for path in sources() for call in calls(path)):
        if is_log(call.func):
            found |= texts(call.args[0])
        elif any(word.arg == "target" and is_log(word.value) for word in call.keywords):
            found |= set.union(*(texts(word.value) for word in call.keywords if word.arg == "args"))
    return {name for name in found if NAMED.fullmatch(name)}


def rows() -> list[str]:
    return [line for line in (ROOT / "docs/operations.md").read_text().splitlines() if line.startswith("| `")]


def listed() -> set[str]:
    return {name for row in rows() for name in LISTED.findall(row.split("|")[1])}


def reasons() -> set[str]:
    """The reasons of Kubernetes Events: those of what runs tell, and those that are told of plans and other objects."""
    found = {reason_of(told.value) for told in Told}
    for call in (call for path in (ROOT / "canaryd/controller").glob("*.py") for call in calls(path)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name == "tell" and len(call.args) == 3 and isinstance(call.args[1], ast.Constant):
            found |= texts(call.args[1])
        if name == "condition" and "Accepted" in texts(call.args[0]) and texts(call.args[2]) != {"Accepted"}:
            found |= {f"Plan{reason}" for reason in texts(call.args[2])}
    return found


def test_operations_lists_every_event_and_no_other() -> None:
    """An event that the runbook does not know leaves the person on call alone with it."""
    assert listed() == logged() | {told.value for told in Told}


def test_operations_lists_every_reason_of_a_kubernetes_event_and_no_other() -> None:
    """Who sees `kubectl events` first has only the reason to look up; it stands beside the event that it is."""
    shown = {reason for row in rows() for cell in row.split("|")[1:3] for reason in REASON.findall(cell)}
    assert shown == reasons()
    for told in Told:
        row = next(row for row in rows() if f"`{told.value}`" in row.split("|")[1])
        assert f"`{reason_of(told.value)}`" in row.split("|")[2]


def test_the_plan_reference_is_what_the_models_say() -> None:
    """A stale reference makes people write plans that are refused."""
    reference = runpy.run_path(str(ROOT / "tools/reference.py"))["reference"]()
    assert (ROOT / "docs/plan-reference.md").read_text() == reference, "run `make reference`"


def test_the_scenario_reference_is_what_the_models_say() -> None:
    """A stale reference makes people write scenarios that are refused."""
    reference = runpy.run_path(str(ROOT / "tools/reference.py"))["scenario_reference"]()
    assert (ROOT / "docs/scenario-reference.md").read_text() == reference, "run `make reference`"


def test_the_page_of_preflight_is_what_the_checks_say() -> None:
    """Who looks a code up at night must find the one that this canaryd has."""
    reference = runpy.run_path(str(ROOT / "tools/reference.py"))["preflight_reference"]()
    assert (ROOT / "docs/preflight.md").read_text() == reference, "run `make reference`"


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

"""The page that compares: what canaryd claims has a model plan and a test, and what has none is said to be lacking."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/compare.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PLAYED = re.compile(r"\[([\w-]+)\]\(\.\./(canaryd/lab/scenarios/library/[\w-]+\.yaml)\)")
PLAN = re.compile(r"\]\(\.\./(config/plans/[\w-]+\.yaml)\)")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0]]


def defined_in(module: Path) -> set[str]:
    return {one.name for one in ast.walk(ast.parse(module.read_text())) if isinstance(one, ast.FunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_is_held_by_a_plan_and_a_test_or_is_lacking(row: list[str]) -> None:
    """A claim without either would be an advertisement."""
    _, _, _, ours, plan, held = row
    if ours.startswith("lacking"):
        assert (plan, held) == ("", "")
        return
    [model] = PLAN.findall(plan)
    assert (ROOT / model).is_file()
    [(module, test)] = NAMED.findall(held)
    assert test in defined_in(ROOT / module)


def test_the_scenarios_that_are_named_are_there_and_say_how_they_came_out() -> None:
    """A scenario that nobody played holds nothing: each has its row in the table of what happened."""
    named = PLAYED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) >= 5
    table = (ROOT / "docs/scenarios.md").read_text(encoding="utf-8")
    for name, file in named:
        assert Path(file).stem == name
        assert (ROOT / file).is_file()
        assert re.search(rf"^\| {name}[ |]", table, re.MULTILINE), f"{name} has no row in docs/scenarios.md"


def test_what_is_promised_as_a_key_stands_in_a_model_plan() -> None:
    """Somebody who follows the link looks for the word that the row used."""
    missing = []
    for name, _, _, ours, plan, _ in rows():
        for model in PLAN.findall(plan):
            keys = [key.split(":")[0] for key in re.findall(r"`([a-z]\w+)(?::[^`]*)?`", ours)]
            text = (ROOT / model).read_text(encoding="utf-8")
            if keys and not any(key in text for key in keys):
                missing.append(f"{name}: none of {', '.join(keys)} in {model}")
    assert missing == []


def test_every_row_says_something_of_all_three() -> None:
    assert len(rows()) > 30
    assert [row[0] for row in rows() if len(row) != 6 or not all(row[:4])] == []

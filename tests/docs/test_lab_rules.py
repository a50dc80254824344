"""The page that says how faithful the lab is names tests that are there, and that look at requests where it says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    return [line for line in (ROOT / "docs/lab-rules.md").read_text().splitlines() if NAMED.search(line)]


def defined(module: str) -> dict[str, bool]:
    """Each test of a module of the lab's, and whether it is marked as one that needs a lab."""
    source = (ROOT / "tests/lab" / module).read_text()
    everywhere = re.search(r"^pytestmark = .*pytest\.mark\.lab\b", source, re.MULTILINE) is not None
    return {
        each.name: everywhere or any(ast.unparse(mark) == "pytest.mark.lab" for mark in each.decorator_list)
        for each in ast.parse(source).body
        if isinstance(each, ast.FunctionDef)
    }


def test_every_test_that_is_named_is_there() -> None:
    """A renamed test would leave its rule without anybody who holds it."""
    named = [pair for row in rows() for pair in NAMED.findall(row)]
    assert len(named) > 100
    assert [f"{module}::{test}" for module, test in named if test not in defined(module)] == []


def test_what_is_held_on_requests_needs_a_lab() -> None:
    """Only rows that say `translated` may rest on a configuration that nobody has sent a request through."""
    mistaken = [
        f"{module}::{test}"
        for row in rows()
        if "*translated*" not in row
        for module, test in NAMED.findall(row)
        if module != "test_webhook_corpus.py" and not defined(module)[test]
    ]
    assert mistaken == []


def test_no_row_has_a_test_that_is_not_read() -> None:
    """One that is written in another way would be passed over by the tests above."""
    tables = [line for line in (ROOT / "docs/lab-rules.md").read_text().splitlines() if line.startswith("| ")]
    heads = ("| rule |", "| case |")
    assert [line for line in tables if not line.startswith(heads) and not NAMED.search(line)] == []

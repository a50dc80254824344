"""
Tables in columns, and the same as JSON or YAML.

Colour is for a terminal only, and never where NO_COLOR is set; it repeats what a word beside it says. On a terminal the
last column is cut at its edge, as nobody reads a table whose lines wrap; elsewhere, and with ``-o wide``, it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Literal

import typer
from rich.cells import cell_len, set_cell_size

Form = Literal["table", "wide", "json", "yaml"]
Spoken = Literal["text", "json", "yaml"]
"""How the answer to a word is written: a sentence, or data."""
GAP = "   "
COLOURS = {
    "promoted": "green",
    "held": "yellow",
    "rolled back": "red",
    "rolling back": "red",
    "refused": "red",
    "PASS": "green",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
}


def coloured() -> bool:
    """Whether there is somebody to see colours, who wants them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say_data(data: Any, form: Form | Spoken) -> None:
    """As JSON, or as YAML."""
    if form == "json":
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    import yaml

    typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), nl=False)


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, whole: bool = False) -> None:
    """A table; the cells of the last column are sentences."""
    cells = [list(headings), *([*map(_flat, row)] for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(headings) - 1)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() and not whole else 0
    for number, row in enumerate(cells):
        typer.echo(_line(row, widths, edge, coloured() and number > 0))


def _line(row: Sequence[str], widths: Sequence[int], edge: int, colour: bool) -> str:
    before = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=False)]
    room = edge - sum(len(GAP) + width for width in widths)
    last = row[-1]
    if edge and cell_len(last) > max(room, 1):
        last = set_cell_size(last, max(room - 1, 0)).rstrip() + "…"
    shown = [_painted(cell) if colour else cell for cell in before]
    return GAP.join([*shown, last]).rstrip()


def _painted(cell: str) -> str:
    colour = COLOURS.get(cell.strip())
    return typer.style(cell, fg=colour) if colour else cell


def _flat(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)

"""
A scenario on the terminal: its headline, what happened when, and the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from canaryd.lab.lab import Lab
from canaryd.lab.scenarios.format import Script
from canaryd.lab.scenarios.outcome import Line, timeline
from canaryd.lab.scenarios.player import Played, play

LONGEST = 200
"""Characters of a line of the timeline."""
COLOURS = {"scenario": "yellow", "canaryd": "cyan", "mesh": "green"}


def play_and_show(console: Console, lab: Lab, script: Script, folder: Path, seed: int | None) -> Played:
    """
    Play a scenario, with canaryd's live table on a terminal and plain lines elsewhere, and say how it went.

    Raises Rejected for what this lab cannot do.
    """
    seed = script.scenario.seed if seed is None else seed
    console.rule(f"[bold]{script.name}[/] (seed {seed})")
    console.print(script.scenario.about, highlight=False, markup=False)

    def tell(what: str) -> None:
        if not console.is_terminal:  # the live table is canaryd's own: nobody else may write there
            console.print(f"scenario: {what}", highlight=False, markup=False, soft_wrap=True)

    played = play(lab, script, folder, seed=seed, show=True, tell=tell)
    said = played.log.read_text(encoding="utf-8", errors="replace").strip()  # canaryd's standard error
    if said:
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    show_timeline(console, played)
    console.print(comparison(played.lines))
    facts = played.facts
    console.print(
        f"{facts.answered:,} requests, {facts.failed:,} failed; {facts.canary:,} at the canary, {facts.harmed:,} "
        f"harmed there; {facts.seconds:.0f} s; report: {played.report}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    sign = "[green]as expected[/]" if played.as_expected else "[bold red]NOT as expected[/]"
    console.print(f"[bold]{script.name}[/]: {sign}", highlight=False)
    return played


def show_timeline(console: Console, played: Played) -> None:
    """What happened, a line each, with the seconds since the run began; a reason in full is in the report."""
    for seconds, who, what in timeline(played.facts):
        line = f"{seconds:7.1f} s  [{COLOURS[who]}]{who:8}[/]  {escape(shorten(what, LONGEST, placeholder=' ...'))}"
        console.print(line, highlight=False, soft_wrap=True)


def comparison(lines: Sequence[Line]) -> Table:
    """Expected and happened, side by side."""
    table = Table()
    for column in ("", "expected", "happened", ""):
        table.add_column(column, overflow="fold")
    for line in lines:
        sign = "[green]ok[/]" if line.good else "[bold red]no[/]"
        table.add_row(escape(line.what), escape(line.expected), escape(line.happened), sign)
    return table

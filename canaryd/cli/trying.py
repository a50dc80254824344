"""``canaryd lab try``: a plan on one's own service, healthy and broken, on the terminal."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from canaryd.lab.own.figures import Figures
from canaryd.lab.own.trying import Outcome, Trial, outcome, told
from canaryd.lab.scenarios.player import play_on_its_own
from canaryd.lab.scene import Scene
from canaryd.model.duration import render_seconds

WIDE = 130
"""Columns from which the table also says how the canary differs; the headline of each story says it anyway."""


def try_all(trial: Trial, scene: Scene, figures: Figures, folder: Path, seed: int) -> bool:
    """Play every story on a lab of its own and print what it means for production; whether all ended as wished."""
    console = Console()
    for sentence in _introduction(trial, figures):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    outcomes = []
    for script in trial.scripts:
        console.rule(f"[bold]{script.name}[/]: {escape(script.scenario.about)}")
        played = play_on_its_own(script, folder, seed=seed, show=console.is_terminal, scene=scene)
        outcomes.append(outcome(played, trial.times))
        typer.echo(f"{script.name}: {outcomes[-1].ending}: {outcomes[-1].reason}")
    console.print(_table(outcomes, wide=console.width >= WIDE))
    for name, sentence in told(outcomes).items():
        console.print(f"[bold]{name}[/]: {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(f"reports, logs and journals: {folder}", highlight=False, markup=False, soft_wrap=True)
    return all(one.good for one in outcomes)


def _introduction(trial: Trial, figures: Figures) -> list[str]:
    steps = ", ".join(step.share for step in trial.plan.spec.steps)
    bakes = sum(step.bake.total_seconds() for step in trial.plan.spec.steps) * trial.times
    first = f"plan {trial.plan.name}: {steps}, {render_seconds(bakes)} of baking in production"
    service = f"{figures.rps:g} requests a second, {100 * figures.errors:.3g} % of them fail"
    second = f"your service: {service}, p50 {figures.p50:.0f} ms, p99 {figures.p99:.0f} ms"
    third = f"the lab: one second stands for {trial.times:g}, {trial.rps:.0f} requests a second are sent"
    return [first, second, third, *(f"note: {note}" for note in trial.notes)]


def _table(outcomes: list[Outcome], *, wide: bool) -> Table:
    caption = "after: in production's time, watch included; harmed: failed at the canary, or unusually slow there"
    table = Table(title="What your plan would do", title_justify="left", caption=caption, caption_justify="left")
    for column in ("story", *(("the canary",) if wide else ()), "wished", "would end"):
        table.add_column(column, no_wrap=True)
    for column in ("after", "largest\nweight", "requests\nharmed"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in outcomes:
        ending = f"[green]{one.ending}[/]" if one.good else f"[bold red]{one.ending}[/]"
        about = (one.story.about,) if wide else ()
        table.add_row(
            one.story.name, *about, one.story.ending, ending, one.after, f"{one.largest:g} %", f"{one.harmed:,}"
        )
    return table

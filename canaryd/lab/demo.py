"""
The demo: the main job, twice, under live traffic.

A healthy v3 of Bookinfo's reviews is promoted, and a faulty one is rolled back, through a real Envoy and by a real
Prometheus. It fails if either story ends otherwise.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from canaryd.lab.lab import Lab
from canaryd.lab.stories import CANARY, STABLE, Ending, Story, play

RPS = 600
"""Requests a second: enough for a verdict in seconds, little enough for two cores."""

HEALTHY = Story("healthy", f"a healthy {CANARY}: it is as good as {STABLE}", {})
FAULTY = Story(
    "faulty",
    f"a faulty {CANARY}: 2 % of its requests fail, and its tail is slow",
    {CANARY: {"error_rate": 0.02, "tail_rate": 0.2, "tail_ms": 120}},
)
EXPECTED = {HEALTHY.name: 0, FAULTY.name: 10}


def demo(folder: Path | None = None, *, seed: int = 0) -> bool:
    """Tell both stories and print how they ended; whether both ended as they should. Reports go to ``folder``."""
    console = Console()
    folder = folder or Path("canaryd-demo")
    with tempfile.TemporaryDirectory(prefix="canaryd-lab-") as directory:
        with console.status("bringing up Envoy, Prometheus and a Kubernetes API ..."):
            context = Lab.up(Path(directory), rps=RPS, seed=seed)
            lab = context.__enter__()
        try:
            endings = [_tell(console, lab, story, folder) for story in (HEALTHY, FAULTY)]
        finally:
            context.__exit__(None, None, None)
    console.print(_table(endings))
    for ending in endings:
        console.print(f"report of the {ending.story.name} story: {ending.report}", soft_wrap=True)
    wrong = [ending for ending in endings if ending.exit_code != EXPECTED[ending.story.name]]
    for ending in wrong:
        expected = EXPECTED[ending.story.name]
        console.print(f"the {ending.story.name} story ended with exit code {ending.exit_code}, expected {expected}")
    return not wrong


def _tell(console: Console, lab: Lab, story: Story, folder: Path) -> Ending:
    console.rule(f"[bold]{story.headline}")
    return play(lab, story, folder, show=True)


def _table(endings: list[Ending]) -> Table:
    table = Table(title="Both stories", title_justify="left", expand=True)
    for column in ("story", "time", "weights"):
        table.add_column(column, no_wrap=column != "weights")
    table.add_column("requests\nserved", justify="right")
    table.add_column("by the\ncanary", justify="right")
    table.add_column("harmed", justify="right")
    table.add_column("ending, and why", ratio=1)
    for ending in endings:
        run = ending.run
        table.add_row(
            ending.story.name,
            f"{ending.seconds:.0f} s",
            _weights(ending),
            f"{ending.served:,}",
            f"{ending.canary_served:,}",
            f"{ending.canary_failed:,}",
            f"{run.phase.value}: {run.reason}" if run else "no run",
        )
    return table


def _weights(ending: Ending) -> str:
    """The splits in the order in which they were written."""
    if ending.run is None:
        return ""
    splits = [str(segment.split).removesuffix(" %") for segment in ending.run.segments]
    return " > ".join(split for split, former in zip(splits, ["", *splits], strict=False) if split != former) + " %"

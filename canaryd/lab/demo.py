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
        console.print(f"[bold]{ending.story.name}[/]: {_reason(ending)}", highlight=False)
        console.print(f"  report: {ending.report}", highlight=False, soft_wrap=True)
    wrong = [ending for ending in endings if ending.exit_code != EXPECTED[ending.story.name]]
    for ending in wrong:
        expected = EXPECTED[ending.story.name]
        console.print(f"the {ending.story.name} story ended with exit code {ending.exit_code}, expected {expected}")
    return not wrong


def _tell(console: Console, lab: Lab, story: Story, folder: Path) -> Ending:
    console.rule(f"[bold]{story.headline}")
    return play(lab, story, folder, show=True)


def _table(endings: list[Ending]) -> Table:
    """What a release manager asks first; the reasons are sentences and stand below."""
    caption = "harmed: failed at the canary, or took more than twice as long as 99.9 % did at stable"
    table = Table(title="Both stories", title_justify="left", caption=caption, caption_justify="left")
    for column in ("story", "ended", "time", "weights"):
        table.add_column(column)
    for column in ("requests\nserved", "by the\ncanary", "requests\nharmed"):
        table.add_column(column, justify="right")
    for ending in endings:
        table.add_row(
            ending.story.name,
            ending.run.phase.value if ending.run else "never began",
            f"{ending.seconds:.0f} s",
            _weights(ending),
            f"{ending.served:,}",
            f"{ending.canary_served:,}",
            f"{ending.harmed:,}",
        )
    return table


def _reason(ending: Ending) -> str:
    return ending.run.reason if ending.run else f"canaryd ended with exit code {ending.exit_code}"


def _weights(ending: Ending) -> str:
    """The splits in the order in which they were written."""
    if ending.run is None:
        return ""
    splits = [str(segment.split).removesuffix(" %") for segment in ending.run.segments]
    return " > ".join(split for split, former in zip(splits, ["", *splits], strict=False) if split != former) + " %"

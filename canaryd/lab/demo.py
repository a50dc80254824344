"""
The demo: the main job, twice, under live traffic.

A healthy v3 of Bookinfo's reviews is promoted, and a faulty one is rolled back, through a real Envoy and by a real
Prometheus. It fails if either story ends otherwise.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from canaryd.lab import glance
from canaryd.lab.lab import Lab
from canaryd.lab.scenarios.format import load_scenario
from canaryd.lab.scenarios.player import Played, newest_run, play
from canaryd.lab.top import Books, History, traffic
from canaryd.report.live import live

STORIES = {"healthy": "demo-healthy", "faulty": "demo-faulty"}
"""What the demo tells, by the names of the library's scenarios."""
STAGE = 32
"""Rows of a terminal that has room for the clients' traffic above canaryd's own table."""
REDRAW = 0.5
"""Seconds between two pictures."""


def demo(folder: Path | None = None, *, seed: int = 0) -> bool:
    """Tell both stories and print how they ended; whether both ended as they should. Reports go to ``folder``."""
    console = Console()
    folder = folder or Path("canaryd-demo")
    with tempfile.TemporaryDirectory(prefix="canaryd-lab-") as directory:
        with console.status("bringing up Envoy, Prometheus and a Kubernetes API ..."):
            context = Lab.up(Path(directory), seed=seed)
            lab = context.__enter__()
        try:
            endings = {story: _tell(console, lab, name, folder, seed) for story, name in STORIES.items()}
        finally:
            context.__exit__(None, None, None)
    console.print(_table(endings))
    for story, played in endings.items():
        console.print(f"[bold]{story}[/]: {_reason(played)}", highlight=False)
        console.print(f"  report: {played.report}", highlight=False, soft_wrap=True)
        for line in played.lines:
            if not line.good:
                console.print(f"the {story} story, {line.what}: expected {line.expected}, happened {line.happened}")
    return all(played.as_expected for played in endings.values())


def _tell(console: Console, lab: Lab, name: str, folder: Path, seed: int) -> Played:
    script = load_scenario(name)
    console.rule(f"[bold]{script.scenario.about}")
    if not console.is_terminal or console.height < STAGE:
        return play(lab, script, folder, seed=seed, show=True)
    with Live(console=console, auto_refresh=False) as display:
        picture = _Picture(lab)
        return play(lab, script, folder, seed=seed, watch=lambda state: display.update(picture.of(state), refresh=True))


class _Picture:
    """What the clients get, above what canaryd makes of it: the whole of the main job on one screen."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._history = History()
        self._drawn: tuple[float, RenderableType] = (0.0, Text())

    def of(self, state: Path) -> RenderableType:
        """The screen of now, drawn anew twice a second at most."""
        now = time.monotonic()
        if now - self._drawn[0] >= REDRAW:
            self._history.add(Books.read(now, glance.books(self._lab)))
            clients = traffic(glance.standing(self._lab), self._history)
            run = newest_run(state)
            said = live(run, time.time()) if run else Text("canaryd begins ...", "dim")
            self._drawn = (now, Group(clients, Text(), said))
        return self._drawn[1]


def _table(endings: Mapping[str, Played]) -> Table:
    """What a release manager asks first; the reasons are sentences and stand below."""
    caption = "harmed: failed at the canary, or took more than twice as long as 99.9 % did at stable"
    table = Table(title="Both stories", title_justify="left", caption=caption, caption_justify="left")
    for column in ("story", "ended", "time", "weights"):
        table.add_column(column)
    for column in ("requests\nserved", "by the\ncanary", "requests\nharmed"):
        table.add_column(column, justify="right")
    for story, played in endings.items():
        facts = played.facts
        table.add_row(
            story,
            played.run.phase.value if played.run else "never began",
            f"{facts.seconds:.0f} s",
            _weights(played),
            f"{facts.answered:,}",
            f"{facts.canary:,}",
            f"{facts.harmed:,}",
        )
    return table


def _reason(played: Played) -> str:
    return played.run.reason if played.run else f"canaryd ended with exit code {played.facts.exit_code}"


def _weights(played: Played) -> str:
    """The canary's weights in the order in which they were written."""
    return " > ".join(f"{one.percent:g}" for one in played.facts.weights) + " %"

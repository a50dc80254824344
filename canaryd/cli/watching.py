"""
``canaryd watch``: what happens, as it happens, until it has ended.

It looks and asks nothing of the run: ending it ends nothing else. In a cluster what has happened is written at once,
and figures alone once a minute, so that is how old they may be.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from canaryd.cli.exits import Exit
from canaryd.cli.places import Place, elsewhere
from canaryd.cli.reading import sought
from canaryd.cli.run import EXITS, SAY
from canaryd.cli.screen import kind_of, reader_may_leave, say, shielded
from canaryd.cli.tables import COLOURS, Spoken, say_data
from canaryd.desk import Desk, NotGranted, SeenRun, run_data
from canaryd.errors import Rejected, Unavailable
from canaryd.model.run import Outcome, Run
from canaryd.report.live import line, live, trail
from canaryd.report.outlook import clock, elapsed

LOOK = 1.0
"""Seconds between two looks."""


def rest(seconds: float = LOOK) -> None:
    """Until the next look."""
    time.sleep(seconds)


def watch(place: Place, which: str, form: Spoken = "text") -> Exit:
    """Watch one run, the only one in flight, or all that are in flight; how it ended."""
    desk = place.desk()
    if which:
        return follow(desk, sought(desk, which), form)
    flying = _in_flight(desk)
    if not flying:
        raise Rejected(f"nothing is in flight in {desk.where}; {elsewhere(desk)}")
    return follow(desk, flying[0], form) if len(flying) == 1 else _watch_all(desk, form)


def follow(desk: Desk, seen: SeenRun, form: Spoken = "text") -> Exit:
    """Watch ``seen`` until it has ended, or until ctrl-C; how it ended. As data: the run at each change of it."""
    screen = _screen_for(form)
    try:
        with shielded(screen):
            last = _Follower(desk, screen, form).until_the_end(seen)
    except KeyboardInterrupt:
        _aside(f"left; run {seen.name} goes on by itself: canaryd watch {seen.name}", form)
        return Exit.LEFT_IN_FLIGHT
    if form == "text":
        say(f"{last.phase}: {last.why}")
    return EXITS[Outcome(last.outcome)]


def _screen_for(form: Spoken) -> Live | None:
    """A live table, where there is a terminal for it and nobody asks for data."""
    console = Console()
    return Live(console=console, auto_refresh=False) if console.is_terminal and form == "text" else None


def _aside(words: str, form: Spoken, screen: Live | None = None) -> None:
    """What is said beside what is shown; never among data."""
    if form == "text":
        say(words, screen)
    else:
        typer.echo(words, err=True)


def _say_at_once(run: SeenRun, form: Spoken) -> None:
    """The run as data: a line of JSON, or a document of YAML."""
    if form == "json":
        say(json.dumps(run_data(run), ensure_ascii=False))
        return
    with reader_may_leave():
        typer.echo("---")
        say_data(run_data(run), form)


@dataclass
class _Follower:
    """Looks, and shows what it has seen."""

    desk: Desk
    screen: Live | None
    form: Spoken = "text"
    said: tuple[str, str, float] = ("", "", 0.0)
    away: str = ""

    def until_the_end(self, seen: SeenRun) -> SeenRun:
        known: Run | None = None
        while True:
            try:
                seen = self.desk.look(seen.namespace, seen.name)
                known = self._known(seen)
                self.away = ""
            except Unavailable as error:
                self.away = str(error)
            if self.form == "text":
                self._show(seen, known)
            else:
                self._tell(seen)
            if seen.over and not self.away:
                return seen
            rest()

    def _known(self, seen: SeenRun) -> Run | None:
        """All of the run, where that may be read."""
        try:
            return self.desk.run(seen)
        except NotGranted:
            return None

    def _tell(self, seen: SeenRun) -> None:
        """As data, whenever something has happened; an outage is nothing that happened to the run."""
        kind = _kind(seen)
        if self.away and self.said[0] != self.away:
            self.said = (self.away, "", 0.0)
            _aside(f"nothing is heard: {self.away}", self.form)
        elif not self.away and self.said[0] != kind:
            self.said = (kind, "", 0.0)
            _say_at_once(seen, self.form)

    def _show(self, seen: SeenRun, run: Run | None) -> None:
        now = time.time()
        if self.screen is not None:
            self.screen.update(_screen(seen, run, now, self.away), refresh=True)
            return
        text, kind = (line(run, now), kind_of(run)) if run else (_line(seen), _kind(seen))
        if self.away:
            text = kind = f"nothing is heard: {self.away}"
        if kind != self.said[0] or (text != self.said[1] and now - self.said[2] >= SAY):
            self.said = (kind, text, now)
            say(f"{time.strftime('%H:%M:%S', time.gmtime(now))} {text}")


def _screen(seen: SeenRun, run: Run | None, now: float, away: str) -> RenderableType:
    """All of it where all may be read, else what the status says."""
    figures = f"figures of {clock(run.cells[-1].end)}, " if run and run.cells else ""
    below = Text(f"{figures}seen at {clock(now)}; ctrl-C leaves, and the run goes on", "dim")
    if away:
        below = Text(f"nothing is heard since: {away}", "yellow")
    elif seen.attended is False:
        below = Text("no canaryd carries it out now: traffic stays as it is", "bold yellow")
    if run is not None:
        return Group(live(run, now), trail(run, now), below)
    lines = [Text(_line(seen), "bold"), *map(Text, seen.evidence)]
    lines += [Text(f"{clock(one.at)} {one.event}: {one.reason}", "dim") for one in seen.decisions[-5:]]
    return Group(*lines, below)


def _kind(seen: SeenRun) -> str:
    """What a reader wants to hear of at once, of a run that may not be read whole."""
    return f"{seen.phase} {seen.step} {seen.weight}"


def _line(seen: SeenRun) -> str:
    step = f"step {seen.step + 1} of {seen.steps}"
    return f"{seen.plan} {seen.release}: {seen.phase} at {seen.weight}, {step}: {seen.why}"


# -- several


def _in_flight(desk: Desk) -> list[SeenRun]:
    return [run for run in desk.runs() if not run.over and not run.unread]


def _watch_all(desk: Desk, form: Spoken) -> Exit:
    """Every run in flight, until none is."""
    screen = _screen_for(form)
    try:
        with shielded(screen):
            _until_none_is_left(desk, screen, form)
    except KeyboardInterrupt:
        _aside("left; the runs go on by themselves", form)
        return Exit.LEFT_IN_FLIGHT
    return Exit.PROMOTED


def _until_none_is_left(desk: Desk, screen: Live | None, form: Spoken) -> None:
    told: dict[str, str] = {}
    watched: set[str] = set()
    while True:
        try:
            runs = desk.runs()
        except Unavailable as error:
            _aside(f"nothing is heard: {error}", form, screen)
            rest(5 * LOOK)
            continue
        watched |= {run.place for run in runs if not run.over}
        shown = [run for run in runs if run.place in watched]
        if screen is not None:
            screen.update(_table(shown, time.time()), refresh=True)
        else:
            _tell(shown, told, form)
        if all(run.over for run in shown):
            return
        rest()


def _tell(runs: list[SeenRun], told: dict[str, str], form: Spoken) -> None:
    for run in runs:
        if told.get(run.place) != _kind(run):
            told[run.place] = _kind(run)
            if form == "text":
                typer.echo(f"{time.strftime('%H:%M:%S', time.gmtime())} {run.name}: {_line(run)}")
            else:
                _say_at_once(run, form)


def _table(runs: list[SeenRun], now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("RUN", "RELEASE", "PHASE", "STEP", "WEIGHT", "AGE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("WHY")
    for run in runs:
        age = elapsed((now if run.ended is None else run.ended) - run.began)
        phase = Text(run.phase, COLOURS.get(run.phase, ""))
        cells = (run.place, run.release, phase, f"{run.step + 1}/{run.steps}", run.weight, age, Text(run.why))
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table

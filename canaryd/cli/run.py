"""
``canaryd run``: one run in the foreground.

A terminal gets a live table; anything else gets a line whenever something changes. What happens to the traffic when the
process is told to end is the caller's choice, and never an accident.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal, Self

import typer
from rich.console import Console
from rich.live import Live

from canaryd.app import Canaryd, command, world
from canaryd.cli.exits import Exit
from canaryd.engine.admission import Settled
from canaryd.logs import set_up
from canaryd.model.plan import Plan
from canaryd.model.run import Outcome, Run
from canaryd.report.html import html
from canaryd.report.live import line, live
from canaryd.settings import Settings
from canaryd.store.folder import FolderJournal

OnExit = Literal["leave", "rollback"]

EXITS = {
    Outcome.PROMOTED: Exit.PROMOTED,
    Outcome.FAILED: Exit.ROLLED_BACK,
    Outcome.ABORTED: Exit.ABORTED,
    Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE,
}
LOOK = 0.25
"""Seconds between two looks at the run."""


def carry_out(plan: Plan, settings: Settings, *, on_exit: OnExit | None, again: bool, report: Path | None) -> Exit:
    """Run ``plan`` to its end, or until a signal says to leave it; how it ended."""
    console = Console()
    set_up(settings.log_format, "error" if console.is_terminal else settings.log_level)
    with Canaryd(world(settings), workers=settings.workers) as canaryd, _signals() as signals:
        try:
            begun = canaryd.begin(plan, again=again)
        except Settled as settled:
            typer.echo(f"canaryd: {settled}", err=True)
            return Exit.PROMOTED if settled.record.run.outcome is Outcome.PROMOTED else Exit.REFUSED
        uid = begun.record.run.uid
        typer.echo(f"run {uid} {'goes on' if begun.resumed else 'begins'}; state in {settings.state / uid}")
        for remark in begun.remarks:
            typer.echo(f"note: {remark}")
        mode = on_exit or ("leave" if sys.stdin.isatty() and console.is_terminal else "rollback")
        run = _watch(canaryd, uid, console, signals, mode)
    _write_report(run, settings, report)
    if not run.final:
        typer.echo(f"left in flight at {run.split}; `canaryd run` with the same plan and state goes on")
        return Exit.LEFT_IN_FLIGHT
    typer.echo(f"{run.phase.value}: {run.reason}")
    return EXITS[run.outcome] if run.outcome else Exit.INTERNAL_ERROR


def _watch(canaryd: Canaryd, uid: str, console: Console, signals: list[int], mode: OnExit) -> Run:
    """Show the run until it has ended, or until it is to be left."""
    said = ""
    asked = False
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else _Plain() as screen:
        while not (run := canaryd.see(uid)).final or not run.released:
            if isinstance(screen, Live):
                screen.update(live(run, time.time()), refresh=True)
            elif (news := line(run, time.time())) != said:
                said = news
                typer.echo(news)
            if signals and mode == "leave":
                return run
            if signals and not asked:
                asked = True
                name = signal.Signals(signals[0]).name
                canaryd.ask(uid, command("abort", reason=f"canaryd was told to end ({name})", by="the signal"))
            if len(signals) > 1 and asked and signals[1] == signal.SIGINT:
                return run
            time.sleep(LOOK)
        if isinstance(screen, Live):
            screen.update(live(run, time.time()), refresh=True)
    return run


class _Plain:
    """No terminal: nothing to open or close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to end that have come, in order."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _write_report(run: Run, settings: Settings, report: Path | None) -> None:
    file = report or settings.state / run.uid / "report.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html(run, FolderJournal(settings.state).read(run.uid)), encoding="utf-8")
    except OSError as error:
        typer.echo(f"the report cannot be written: {error}", err=True)
    else:
        typer.echo(f"report: {file}")

"""A run on a terminal, or line by line where there is none; a reader that goes away ends nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.live import Live

from canaryd.model.run import Run


def kind_of(run: Run) -> str:
    """What a reader wants to hear of at once; figures within it may wait."""
    hold = f"{run.hold.kind} {run.hold.since}" if run.hold else ""
    cannot = run.waiting if "cannot be" in run.waiting or "trying" in run.waiting else ""
    return f"{run.phase} {run.step} {run.split} {hold} {cannot} {run.blind_since}"


def say(words: str, screen: Live | None = None) -> None:
    """A line on standard output, above the table where there is one."""
    with reader_may_leave():
        if screen is not None:
            screen.console.print(words, highlight=False, markup=False, soft_wrap=True)
        else:
            typer.echo(words)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """A pipe or terminal that was closed is no reason to end a run: from then on nobody is told."""
    try:
        yield
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def shielded(screen: Live | None) -> Iterator[None]:
    """The live table, if there is a terminal for it."""
    if screen is None:
        yield
        return
    with reader_may_leave():
        screen.start()
    try:
        yield
    finally:
        with reader_may_leave():
            screen.stop()

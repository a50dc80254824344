"""``canaryd undo``: the traffic of the release promoted last goes back to what it came from."""

from __future__ import annotations

import time

import typer

from canaryd.app import Canaryd, command, world
from canaryd.cli.exits import Exit
from canaryd.desk.folder import user
from canaryd.logs import set_up
from canaryd.model.run import Outcome, Run
from canaryd.report.live import line
from canaryd.settings import Settings

LAST_WORDS = 10.0
"""Seconds that the end waits for messages that no channel has taken."""
LOOK = 0.25
"""Seconds between two looks at the run."""


def undo(uid: str, reason: str, settings: Settings, *, force: bool) -> Exit:
    """
    Carry the undo of run ``uid`` out in this process; how it ended.

    Killed on the way, it goes on when it is asked for again.
    Raises Refused with every reason why not.
    """
    set_up(settings.log_format, settings.log_level if "log_level" in settings.model_fields_set else "error")
    with Canaryd(world(settings), workers=2, mode=settings.mode) as canaryd:
        run = canaryd.undo(uid, command("undo", reason=reason, by=user(), force=force))
        typer.echo(f"run {run.uid} gives {run.route.stable} all the traffic; state in {settings.state / run.uid}")
        run = _until_the_end(canaryd, run.uid)
    typer.echo(f"{run.reason}: {run.route.stable} has all the traffic; a new spec.release begins the next run")
    return Exit.PROMOTED if run.outcome is Outcome.UNDONE else Exit.INTERNAL_ERROR


def _until_the_end(canaryd: Canaryd, uid: str) -> Run:
    said = ""
    while not (run := canaryd.see(uid)).final or not run.released:
        if run.seq and (text := line(run, time.time())) != said:
            said = text
            typer.echo(text)
        time.sleep(LOOK)
    canaryd.unsent(uid, LAST_WORDS)
    return run

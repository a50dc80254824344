"""What people ask of runs in the state folder, and what they are told."""

from __future__ import annotations

import getpass
import time

import typer

from canaryd.app import command
from canaryd.errors import Rejected
from canaryd.model.run import Run
from canaryd.report.explain import explain
from canaryd.settings import Settings
from canaryd.store.folder import FolderStore


def find(which: str, store: FolderStore) -> Run:
    """The run of that name, or the newest of the plan of that name. Raises Rejected when there is none."""
    runs = [record.run for record in store.records()]
    for run in reversed(runs):
        if which in (run.uid, run.plan.name, str(run.plan)):
            return run
    there = ", ".join(run.uid for run in runs) or "none"
    raise Rejected(f"there is no run {which} in the state folder (runs there: {there}); is --state the right one?")


def ask(verb: str, which: str, reason: str, settings: Settings, *, force: bool = False) -> None:
    """Append the command to the run; who carries the run out hears it at its next tick."""
    store = FolderStore(settings.state)
    run = find(which, store)
    if run.final:
        raise Rejected(f"run {run.uid} has ended: {run.phase.value} ({run.reason})")
    step = None if verb == "abort" else run.step
    store.ask(run.uid, command(verb, reason=reason, by=getpass.getuser(), step=step, force=force))
    typer.echo(f"{verb} is asked of run {run.uid}; it is obeyed at the run's next tick")


def list_runs(settings: Settings) -> None:
    """One line a run, the newest last."""
    for record in FolderStore(settings.state).records():
        run = record.run
        phase = "held" if run.hold else run.phase.value
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        typer.echo(f"{run.uid}  {since}  {run.split!s:>7}  {phase:<12}  {run.waiting or run.reason}")


def explain_run(which: str, settings: Settings) -> None:
    typer.echo(explain(find(which, FolderStore(settings.state))))

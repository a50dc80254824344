"""What people ask of runs in the state folder, and what they are told."""

from __future__ import annotations

import getpass
import os
import time

import typer

from canaryd.app import command
from canaryd.errors import Rejected
from canaryd.model.asking import START
from canaryd.model.run import Phase, Run
from canaryd.report.explain import explain
from canaryd.report.outlook import standing
from canaryd.settings import Settings
from canaryd.store.folder import FolderStore


def find(which: str, store: FolderStore, settings: Settings) -> Run:
    """The run of that name, or the newest of the plan of that name. Raises Rejected when there is none."""
    runs = [record.run for record in store.records()]
    for run in reversed(runs):
        if which in (run.uid, run.plan.name, str(run.plan)):
            return run
    there = ", ".join(run.uid for run in runs) or "none"
    raise Rejected(f"there is no run {which} in {settings.state} (there: {there}); --state names another folder")


def ask(verb: str, which: str, reason: str, settings: Settings, *, force: bool = False) -> None:
    """
    Append the command to the run; who carries the run out hears it at its next tick.

    Raises Rejected for a command that would be void.
    """
    store = FolderStore(settings.state)
    run = find(which, store, settings)
    if why := _void(verb, run):
        raise Rejected(f"{verb} would do nothing: {why}")
    step = None if verb == "abort" else run.place if verb == "approve" else run.step
    store.ask(run.uid, command(verb, reason=reason, by=who(), step=step, force=force))
    if store.attended(run.uid):
        typer.echo(f"{verb} is asked of run {run.uid}; it is obeyed at the run's next tick: canaryd explain {which}")
    else:
        typer.echo(
            f"{verb} is written down for run {run.uid}, but no canaryd carries it out now, and traffic stays at "
            f"{run.split}: start canaryd run, or canaryd serve, with --state {settings.state}",
            err=True,
        )


def _void(verb: str, run: Run) -> str:
    """Why the command would not be obeyed as the run stands; empty if it would."""
    if run.final:
        return f"run {run.uid} has ended: {run.phase.value} ({run.reason})"
    if verb != "abort" and run.latch:
        return f"run {run.uid} is rolling back ({run.latch.reason}), and that cannot be called back"
    if verb == "approve" and run.phase is Phase.RETURNING:
        return f"{run.route.stable} has all the traffic already" if run.returned else ""
    if verb == "approve" and (not run.approves or run.place in run.approved):
        open_already = run.place in run.approved
        where = "the start" if run.place == START else f"step {run.step + 1} at {run.split}"
        return f"{where} {'is approved already' if open_already else 'has no gate that asks for an approval'}"
    if verb == "approve" and (names := next((one.by for one in run.approves if one.by and who() not in one.by), ())):
        return f"the plan asks for the approval of {' or '.join(names)}, and you are {who()}"
    if verb == "resume" and not (run.hold and run.hold.kind == "drift"):
        return f"resume is for weights that somebody else changed; the run waits for this: {run.waiting}"
    if verb == "promote" and not (run.last_step and run.phase is Phase.BAKING):
        steps = len(run.plan.spec.steps)
        return f"promote counts at the last step only; the run is {standing(run)} in step {run.step + 1} of {steps}"
    return ""


def who() -> str:
    """The user's name. In a container there may be none for the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def list_runs(settings: Settings) -> None:
    """One line a run, the newest last."""
    store = FolderStore(settings.state)
    records = list(store.records())
    if not records:
        typer.echo(f"no runs in {settings.state}", err=True)
    for record in records:
        run = record.run
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.created))
        idle = "" if run.final or store.attended(run.uid) else "no canaryd carries it out now; "
        typer.echo(
            f"{run.uid}  {since} UTC  {run.plan.spec.release}  {run.split!s:>5}  {standing(run)}: "
            f"{idle}{run.reason if run.final else run.waiting}"
        )


def explain_run(which: str, settings: Settings) -> None:
    """Why the run is where it is."""
    store = FolderStore(settings.state)
    run = find(which, store, settings)
    typer.echo(explain(run), nl=False)
    if not run.final and not store.attended(run.uid):
        typer.echo(f"\nNo canaryd carries this run out now; canaryd run with --state {settings.state} goes on with it.")

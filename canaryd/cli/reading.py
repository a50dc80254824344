"""``canaryd status``, ``history``, ``explain`` and ``report``: what is there, and why."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from canaryd.cli.places import Place, elsewhere
from canaryd.cli.tables import Form, coloured, say_data, say_table
from canaryd.desk import (
    Desk,
    FolderDesk,
    SeenPlan,
    SeenRun,
    Unknown,
    depth_data,
    find,
    find_plan,
    known,
    plan_data,
    run_data,
)
from canaryd.errors import Rejected
from canaryd.metrics.asked import asked
from canaryd.model.run import Run
from canaryd.report.account import account_data, decisions
from canaryd.report.decisions import Entry
from canaryd.report.explain import explain
from canaryd.report.outlook import elapsed, follows, moment
from canaryd.report.render import Form as ReportForm
from canaryd.store.folder import entries


def sought(desk: Desk, which: str) -> SeenRun:
    """The run that is meant. Raises Rejected where there is none, with where else it may be."""
    try:
        seen = find(desk, which)
    except Unknown as unknown:
        raise Rejected(f"{unknown}; {elsewhere(desk)}") from unknown
    if seen.unread:
        raise Rejected(seen.unread)
    return seen


def sought_plan(desk: Desk, which: str) -> SeenPlan:
    """The plan that is meant. Raises as :func:`sought`."""
    try:
        return find_plan(desk, which)
    except Unknown as unknown:
        raise Rejected(f"{unknown}; {elsewhere(desk)}") from unknown


# -- status


def status(place: Place, which: str, form: Form, *, every: bool) -> None:
    """A line a plan, or (``every``) a run; of one that is named, all that there is to say in short."""
    desk = place.desk()
    if which:
        _in_depth(desk, sought(desk, which), form)
    elif every:
        show_runs(desk.runs(), form, nothing=f"no runs in {_named(desk)}; {elsewhere(desk)}")
    else:
        _show_plans(desk, desk.plans(), form, scoped=place.everywhere)


def _named(desk: Desk) -> str:
    return desk.where.removeprefix("the folder ")


def _show_plans(desk: Desk, plans: Sequence[SeenPlan], form: Form, *, scoped: bool) -> None:
    if form in ("json", "yaml"):
        say_data([plan_data(plan) for plan in plans], form)
        return
    if not plans:
        kept = "runs" if isinstance(desk, FolderDesk) else "plans"
        typer.echo(f"no {kept} in {_named(desk)}; {elsewhere(desk)}", err=True)
        return
    now = time.time()
    rows = [
        {
            "NAMESPACE": plan.namespace,
            "PLAN": plan.name,
            "RELEASE": plan.release,
            "RUN": plan.run,
            "PHASE": plan.phase,
            "STEP": plan.step,
            "WEIGHT": plan.weight,
            "VERDICT": plan.verdict,
            "SINCE": elapsed(now - plan.since) if plan.since else "",
            "WHY": _why(plan),
        }
        for plan in plans
    ]
    _say_rows(rows, form, scoped=scoped)


def show_runs(runs: Sequence[SeenRun], form: Form, *, nothing: str) -> None:
    """A line a run; ``nothing`` is what to say where there is none."""
    if form in ("json", "yaml"):
        say_data([run_data(run) for run in runs], form)
        return
    if not runs:
        typer.echo(nothing, err=True)
        return
    now = time.time()
    rows = [
        {
            "NAMESPACE": run.namespace,
            "RUN": run.name,
            "RELEASE": run.release,
            "PHASE": run.phase,
            "STEP": f"{run.step + 1}/{run.steps}" if run.steps else "",
            "WEIGHT": run.weight,
            "VERDICT": run.verdict,
            "BEGAN": moment(run.began) if run.began else "",
            "TOOK": _took(run, now) if run.began else "",
            "WHY": _why(run),
        }
        for run in runs
    ]
    _say_rows(rows, form)


def _took(run: SeenRun, now: float) -> str:
    return elapsed((now if run.ended is None else run.ended) - run.began)


def _why(seen: SeenPlan | SeenRun) -> str:
    """What it waits for or how it ended, and what a person has to know beside that."""
    idle = "no canaryd carries it out now; " if seen.attended is False else ""
    astray = f"; but {seen.astray}" if seen.astray and seen.astray not in seen.why else ""
    return idle + seen.why + astray


def _say_rows(rows: Sequence[Mapping[str, str]], form: Form, *, scoped: bool = False) -> None:
    """The columns that say something: namespaces where there are several, the verdict where it is wide."""
    hidden = set() if form == "wide" else {"VERDICT"}
    if not scoped and form != "wide" and len({row["NAMESPACE"] for row in rows}) == 1:
        hidden.add("NAMESPACE")
    kept = [heading for heading in rows[0] if heading not in hidden]
    say_table(kept, [[row[heading] or "-" for heading in kept] for row in rows], whole=form == "wide")


def _in_depth(desk: Desk, seen: SeenRun, form: Form) -> None:
    seen = desk.look(seen.namespace, seen.name)
    if form in ("json", "yaml"):
        say_data(depth_data(seen), form)
        return
    run = known(desk, seen)
    now = time.time()
    took = _took(seen, now)
    _say_heading(f"{seen.namespace}/{seen.plan} release {seen.release}: {seen.phase}")
    facts = [
        ("run", seen.name + (f", which takes back run {seen.undoes}" if seen.undoes else "")),
        ("where", f"step {seen.step + 1} of {seen.steps}, {seen.weight} to the canary"),
        ("began", f"{moment(seen.began)}, {took} {'ago' if seen.ended is None else 'before it ended'}"),
        ("ended" if seen.over else "waits", _why(seen)),
    ]
    if isinstance(run, Run):
        facts.insert(1, ("moves", f"{run.route}: {run.route.stable} -> {run.route.canary}"))
        facts.append(("then", follows(run, now)))
    for name, value in facts:
        typer.echo(f"  {name:<9} {value}")
    _say_list("evidence", seen.evidence)
    newest = seen.decisions if form == "wide" else seen.decisions[-5:]
    _say_list("decided", [f"{moment(one.at)}  {one.event}: {one.reason}" for one in newest])
    if seen.break_glass and not seen.over and form == "wide":
        _say_list("break glass", [seen.break_glass])
    typer.echo(f"\n  why, and what you can do: canaryd explain {seen.name}{_scope(desk, seen)}")


def _scope(desk: Desk, seen: SeenRun) -> str:
    return "" if isinstance(desk, FolderDesk) else f" -n {seen.namespace}"


def _say_heading(text: str) -> None:
    typer.echo(typer.style(text, bold=True) if coloured() else text)


def _say_list(name: str, lines: Sequence[str]) -> None:
    for place, line in enumerate(lines):
        typer.echo(f"  {name if place == 0 else '':<9} {line}")


# -- history


def history(place: Place, which: str, form: Form) -> None:
    """The runs of one plan, the oldest first."""
    desk = place.desk()
    try:
        plan = find_plan(desk, which)
        namespace, name = plan.namespace, plan.name
    except Unknown:  # its runs may be there still
        seen = sought(desk, which)
        namespace, name = seen.namespace, seen.plan
    runs = [run for run in desk.runs(name) if run.namespace == namespace]
    show_runs(runs, form, nothing=f"plan {namespace}/{name} has had no run yet")


# -- explain


def explain_run(place: Place, which: str, form: Form, copy: Path | None = None) -> None:
    """Why the run is where it is, what a person can do, and every decision in order."""
    desk = place.desk()
    found = sought(desk, which)
    seen = desk.look(found.namespace, found.name)
    run = known(desk, seen)
    if form in ("json", "yaml"):
        say_data(depth_data(seen) | _explained(desk, seen, run, copy), form)
        return
    if isinstance(run, Run):
        journal = _journal(desk, seen, copy)
        typer.echo(explain(run, time.time()))
        typer.echo(decisions(run, journal, asked(run) if form == "wide" else ()).rstrip())
    else:
        _explain_what_is_seen(seen)
    if seen.attended is False:
        state = desk.where.removeprefix("the folder ")
        typer.echo(f"\nNo canaryd carries this run out now; canaryd run with --state {state} goes on with it.")
    if isinstance(run, str):
        typer.echo(f"canaryd: only what its status says could be read: {run}", err=True)


def _explained(desk: Desk, seen: SeenRun, run: Run | str, copy: Path | None) -> dict[str, Any]:
    if isinstance(run, str):
        return {"explanation": None, "account": None}
    account = account_data(run, _journal(desk, seen, copy), asked(run))
    return {"explanation": explain(run, time.time()), "account": account}


def _journal(desk: Desk, seen: SeenRun, copy: Path | None) -> Sequence[Entry]:
    """The run's journal: as the desk has it, or the ``copy`` that somebody has of it (``-``: on standard input)."""
    if copy is None:
        return desk.journal(seen)
    try:
        text = sys.stdin.read() if copy == Path("-") else copy.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Rejected(f"--journal {copy} cannot be read: {error.strerror or error}") from error
    found = entries(text.split("\n"))
    if not found or "saw" not in found[0]:
        raise Rejected(
            f"--journal {copy} is no journal: give the journal.jsonl of run {seen.name}, from the folder of the "
            "controller's state"
        )
    if others := {str(one["run"]) for one in found if one.get("run", seen.name) != seen.name}:
        raise Rejected(f"--journal {copy} is of run {' and '.join(sorted(others))}, not of {seen.name}")
    return found


def _explain_what_is_seen(seen: SeenRun) -> None:
    """For who may not read all of it."""
    typer.echo(f"{seen.place} release {seen.release} is {seen.phase} at {seen.weight}: {seen.why}")
    _say_list("evidence", seen.evidence)
    typer.echo("\nDecisions, in order:")
    for one in seen.decisions:
        typer.echo(f"  - {moment(one.at)}, {one.weight or '-'}: {one.event}: {one.reason}")


# -- report


def report(place: Place, which: str, form: ReportForm, to: Path | None, copy: Path | None = None) -> None:
    """The report of a run, to a file or to standard output; with links into the neighbours that are set."""
    desk = place.desk()
    found = sought(desk, which)
    from canaryd.app import report as rendered

    seen = desk.look(found.namespace, found.name)
    run = desk.run(seen)
    text = rendered(run, _journal(desk, seen, copy), form, place.settings())
    if to is None:
        sys.stdout.write(text)
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Rejected(f"the report cannot be written to {to}: {error.strerror or error}") from error
    typer.echo(f"report of run {seen.name}: {to}")

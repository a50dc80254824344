"""``canaryd lab run``: scenarios in turn on one lab, or side by side on labs of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console

from canaryd.errors import Rejected
from canaryd.lab.lab import Lab
from canaryd.lab.scenarios.format import Script, load_scenario
from canaryd.lab.scenarios.player import result_of
from canaryd.lab.scenarios.show import play_and_show
from canaryd.lab.scenarios.suite import Result, keep, not_played, table, tell_all
from canaryd.model.problem import Refused


def run_in_turn(names: Sequence[str], folder: Path, seed: int | None, repeat: int) -> bool:
    """Each scenario after the other on one lab, shown while it runs; whether all went as expected."""
    scripts = _read(names)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="canaryd-lab-") as directory:
        with console.status("bringing up Envoy, Prometheus and a Kubernetes API ..."):
            context = Lab.up(Path(directory))
            lab = context.__enter__()
        try:
            results = [
                _told(console, lab, script, folder, number)
                for script in scripts
                for number in _seeds(script, seed, repeat)
            ]
        finally:
            context.__exit__(None, None, None)
    if len(results) > 1:
        typer.echo(table(results))
    return all(one["as_expected"] for one in results)


def _told(console: Console, lab: Lab, script: Script, folder: Path, seed: int) -> Result:
    """What came of one telling; what this lab cannot play is said, and the others are played all the same."""
    try:
        result = result_of(play_and_show(console, lab, script, folder, seed))
    except Rejected as error:
        console.print(f"{script.name}: not played: {error}", highlight=False, markup=False, soft_wrap=True)
        result = not_played(script, seed, error)
    keep(result, folder)
    return result


def run_side_by_side(names: Sequence[str], folder: Path, seed: int | None, repeat: int, labs: int) -> bool:
    """Each scenario on a lab of its own, ``labs`` at a time; whether all went as expected."""
    scripts = _read(names)
    tellings = [
        (name, number) for name, script in zip(names, scripts, strict=True) for number in _seeds(script, seed, repeat)
    ]

    def heard(result: Result) -> None:
        sign = "as expected" if result["as_expected"] else f"NOT AS EXPECTED ({'; '.join(result['wrong'])})"
        typer.echo(f"{result['scenario']} {result['seed']}: {sign}, {result['seconds']:.0f} s: {result['reason']}")

    results = tell_all(tellings, folder, labs=labs, heard=heard)
    typer.echo(table(results))
    return all(one["as_expected"] for one in results)


def _read(names: Sequence[str]) -> list[Script]:
    """Every scenario, before anything starts. Raises Refused with the problems of all of them."""
    scripts, problems = [], []
    for name in names:
        try:
            scripts.append(load_scenario(name))
        except Refused as refused:
            many = len(names) > 1
            problems += [replace(one, path=f"{name}: {one.path}" if many else one.path) for one in refused.problems]
    if problems:
        raise Refused(problems)
    return scripts


def _seeds(script: Script, seed: int | None, repeat: int) -> Iterator[int]:
    first = script.scenario.seed if seed is None else seed
    return iter(range(first, first + repeat))

"""What commands print: problems, errors, and the run's course."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from canaryd.cli.exits import Exit
from canaryd.errors import CanarydError

if TYPE_CHECKING:
    from canaryd.model.plan import Plan
    from canaryd.model.problem import Refused


def stop(exit_code: Exit, sentence: str) -> typer.Exit:
    """The exit to raise after saying why, on standard error."""
    typer.echo(sentence, err=True)
    return typer.Exit(exit_code)


def say_problems(title: str, refused: Refused) -> None:
    """Every problem with its path, value, expectation and remedy, on standard error."""
    count = len(refused.problems)
    typer.secho(f"{title}: {count} problem{'s' if count != 1 else ''}, nothing was changed", err=True, bold=True)
    for problem in refused.problems:
        typer.echo(f"  {typer.style(problem.path, fg='red')}", err=True)
        found = f"    found     {problem.value}\n" if problem.value else ""
        remedy = f"\n    remedy    {problem.remedy}" if problem.remedy else ""
        typer.echo(f"{found}    expected  {problem.expected}{remedy}", err=True)


@contextmanager
def explained() -> Iterator[None]:
    """Turn canaryd's own errors into a sentence and an exit code."""
    from canaryd.model.problem import Refused

    try:
        yield
    except Refused as refused:
        say_problems("refused", refused)
        raise typer.Exit(Exit.REFUSED) from refused
    except CanarydError as error:
        raise stop(Exit.REFUSED, f"canaryd: {error}") from error


def plan_in(file: Path) -> Plan:
    """The plan in a file. Ends the command when it cannot be read or is wrong."""
    from canaryd.model.plan import read_plan
    from canaryd.model.problem import Refused

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise stop(Exit.USAGE, f"canaryd: plan {file} cannot be read: {error}") from error
    try:
        return read_plan(text, str(file))
    except Refused as refused:
        say_problems(str(file), refused)
        raise typer.Exit(Exit.REFUSED) from refused

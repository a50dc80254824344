"""What commands print: problems, errors, and the way out after them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from canaryd.cli.exits import Exit
from canaryd.errors import CanarydError, Unavailable

if TYPE_CHECKING:
    from canaryd.model.layers import Content
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
        said = {"found": problem.value, "expected": problem.expected, "remedy": problem.advice}
        for word, words in said.items():
            if words:
                typer.echo(f"    {word:<9} {words}", err=True)


@contextmanager
def explained(what: str = "") -> Iterator[None]:
    """
    Turn canaryd's own errors into a sentence and an exit code; ``what`` is the subject of a refusal.

    Anything else is a fault of canaryd: it is said in one line, and with its traceback where CANARYD_DEBUG is set.
    """
    from canaryd.model.problem import Refused

    try:
        yield
    except Refused as refused:
        say_problems(f"{what}: refused" if what else "refused", refused)
        raise typer.Exit(Exit.REFUSED) from refused
    except Unavailable as error:
        raise stop(Exit.REFUSED, f"canaryd: {error}; try again when it answers") from error
    except CanarydError as error:
        raise stop(Exit.REFUSED, f"canaryd: {error}") from error
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("CANARYD_DEBUG"):
            typer.echo(traceback.format_exc(), err=True)
        raise stop(Exit.INTERNAL_ERROR, _fault(error)) from error


def _fault(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return (
        f"canaryd: a fault of canaryd itself: {type(error).__name__}: {error} ({where}). "
        "A run in flight stays where it is; the same command goes on with it. CANARYD_DEBUG=1 shows more."
    )


def text_in(file: Path) -> str:
    """The text of a plan's file. Ends the command when it cannot be read."""
    from canaryd.model.plan import LONGEST

    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(LONGEST + 1)
    except UnicodeDecodeError as error:
        raise stop(Exit.USAGE, f"canaryd: plan {file} cannot be read: it is not UTF-8 text ({error})") from error
    except OSError as error:
        raise stop(Exit.USAGE, f"canaryd: plan {file} cannot be read: {error.strerror or error}") from error


def plan_in(file: Path, policies: Mapping[str, Content] | None = None) -> Plan:
    """The plan in a file, over ``policies``. Ends the command when it cannot be read or is wrong."""
    from canaryd.model.plan import read_plan
    from canaryd.model.problem import Refused

    text = text_in(file)
    try:
        return read_plan(text, str(file), policies)
    except Refused as refused:
        say_problems(str(file), refused)
        raise typer.Exit(Exit.REFUSED) from refused

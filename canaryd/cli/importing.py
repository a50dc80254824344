"""``canaryd import``: the plans to standard output, what is not in them to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import typer

from canaryd.cli.exits import Exit
from canaryd.cli.output import stop
from canaryd.importing import imported
from canaryd.importing.beside import LONGEST
from canaryd.importing.draft import Imported

STDIN = Path("-")


def bring_in(files: Sequence[Path], output: Literal["yaml", "json"], *, everything: bool) -> Exit:
    """Print a plan for each Canary and Rollout in ``files``. Raises Refused where there is none, or one cannot be."""
    plans, unread = imported([(str(file), _text_in(file)) for file in files])
    contents = [one.content for one in plans]
    if output == "yaml":
        typer.echo("---\n".join(one.text for one in plans), nl=False)
    else:
        whole = contents[0] if len(contents) == 1 else {"apiVersion": "v1", "kind": "List", "items": contents}
        typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    for one in plans:
        _say(one, everything=everything)
    for name in unread:
        _line("not read", f"{name}: canaryd import has no use for it")
    return Exit.LEFT_OUT if any(one.lost for one in plans) else Exit.PROMOTED


def _text_in(file: Path) -> str:
    try:
        if file == STDIN:
            return sys.stdin.buffer.read(4 * LONGEST + 4).decode()
        with file.open(encoding="utf-8") as stream:
            return stream.read(LONGEST + 1)
    except UnicodeDecodeError as error:
        raise stop(Exit.USAGE, f"canaryd: {file} cannot be read: it is not UTF-8 text ({error})") from error
    except OSError as error:
        raise stop(Exit.USAGE, f"canaryd: {file} cannot be read: {error.strerror or error}") from error


def _say(one: Imported, *, everything: bool) -> None:
    counts = {kind: sum(fate.kind == kind for fate in one.fates) for kind in ("carried", "idle")}
    said = f"{counts['carried']} fields carried, {len(one.lost)} left out, {counts['idle']} mean nothing to a plan"
    typer.secho(f"{one.source}: plan {one.plan}: {said}", err=True, bold=True)
    for fate in one.fates:
        if everything or fate.lost:
            name = "" if fate.source == one.source else f"{fate.source} "
            _line("left out" if fate.lost else fate.kind, f"{name}{fate.path}: {fate.value}")
            _line("", f"{'to' if fate.kind == 'carried' else 'because'}: {fate.said}")
            if fate.instead:
                _line("", f"instead: {fate.instead}")
    for sentence in one.notes:
        _line("note", sentence)


def _line(word: str, sentence: str) -> None:
    typer.echo(f"  {word:<9} {sentence}", err=True)

"""Policies from a folder, and ``canaryd show``: what a plan says, and what is in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import typer
import yaml

from canaryd.cli.output import plan_in, text_in
from canaryd.model.layers import Content, layers_of
from canaryd.model.policy import policies_of
from canaryd.model.problem import Problem, Refused
from canaryd.model.reading import content_of
from canaryd.report.effective import effective_yaml, in_force


def policies_in(folder: Path | None) -> dict[str, Content] | None:
    """
    The policies in ``folder`` by name; None where no folder was named.

    Raises Refused with every problem of every file, and where there is no such folder.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise Refused([Problem("--policies", str(folder), "a folder of policies (CanaryPolicy, *.yaml)")])
    texts, problems = [], []
    for file in sorted(folder.glob("*.y*ml")):
        try:
            texts.append((str(file), file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(file), "", f"a policy that can be read ({error})"))
    if problems:
        raise Refused(problems)
    return policies_of(texts)


def show(file: Path, policies: dict[str, Content] | None, *, effective: bool, output: Literal["yaml", "json"]) -> None:
    """Print the plan in ``file`` as it is written, or with everything that is in force."""
    plan = plan_in(file, policies)
    content = content_of(text_in(file), str(file))
    layers = layers_of(content, policies, str(file))
    if effective and output == "yaml":
        typer.echo(effective_yaml(plan, layers), nl=False)
        return
    shown = in_force(plan, layers) if effective else content
    if output == "json":
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False, default=str))
    else:
        typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)

"""
Completion on the tab key: names of plans and runs, from the place that is typed so far.

Nobody waits long for it, and nothing that goes wrong is told: there are then no names.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from canaryd.cli.places import Place

if TYPE_CHECKING:
    from canaryd.desk import Desk

PATIENCE = 3.0
"""Seconds for each request to an API server."""


def plans(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of plans, each with where it stands."""
    found = _asked(ctx, lambda desk: ((plan.name, f"{plan.release} {plan.phase}") for plan in desk.plans()))
    return [one for one in found if one[0].startswith(incomplete)]


def runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of runs, those in flight first, and of their plans."""

    def names(desk: Desk) -> Iterator[tuple[str, str]]:
        found = sorted(desk.runs(), key=lambda run: (run.over, -run.began))
        yield from dict.fromkeys((run.plan, "the newest run of this plan") for run in found)
        yield from ((run.name, f"{run.release} {run.phase} {run.weight}") for run in found)

    return [one for one in _asked(ctx, names) if one[0].startswith(incomplete)]


def for_kubectl() -> None:
    """
    Answer kubectl, which gives the words after ``kubectl canaryd``, the one that is being typed last.

    It wants a line for each completion and then a directive; 4 means that file names are none. Source: kubectl,
    pkg/cmd/plugin/plugin_completion.go, and cobra's ShellCompDirectiveNoFileComp.
    """
    from canaryd.cli import app

    *typed, incomplete = sys.argv[1:] or [""]
    words = ["canaryd", *typed, *([incomplete] if incomplete else [])]
    asked = {"_CANARYD_COMPLETE": "complete_bash", "COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(typed) + 1)}
    os.environ.update(asked)
    with suppress(SystemExit):
        app(prog_name="canaryd")
    sys.stdout.write(":4\n")


def _asked(ctx: typer.Context, ask: Any) -> Iterable[tuple[str, str]]:
    try:
        return list(ask(_place(ctx.params).desk(timeout=PATIENCE)))
    except Exception:  # noqa: BLE001  # a line that is being typed is no place for an error
        return []


def _place(typed: dict[str, Any]) -> Place:
    def path(name: str) -> Path | None:
        return Path(typed[name]) if typed.get(name) else None

    return Place(
        path("state"),
        typed.get("namespace") or "",
        bool(typed.get("everywhere")),
        path("kubeconfig"),
        typed.get("context"),
        path("config"),
    )

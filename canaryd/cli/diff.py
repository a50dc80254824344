"""``canaryd diff``: what each step would change in the VirtualService, without changing it."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator
from typing import Any, Literal

import typer
import yaml

from canaryd.cli.exits import Exit
from canaryd.kube import connect
from canaryd.mesh.several import Several
from canaryd.mesh.virtualservice import IstioMesh, Rehearsal
from canaryd.model.plan import Plan
from canaryd.settings import Settings

BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
"""What the API server writes into metadata, and nobody who reads a diff asks about."""
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def show_diff(plan: Plan, settings: Settings, *, output: Literal["diff", "yaml", "json"]) -> Exit:
    """Print every write of ``plan``; what the process ends with."""
    mesh = Several(IstioMesh(connect(settings.kubeconfig, settings.context, timeout=settings.timeout)))
    rehearsals = mesh.rehearse(plan)
    if output == "diff":
        for each in rehearsals:
            typer.echo(_told(each))
    else:
        content = [_content(each) for each in rehearsals]
        typer.echo(json.dumps(content, indent=2) if output == "json" else yaml.safe_dump(content, sort_keys=False))
    return Exit.REFUSED if any(each.refused for each in rehearsals) else Exit.PROMOTED


def _told(rehearsal: Rehearsal) -> str:
    word = "refused" if rehearsal.refused else "not rehearsed" if rehearsal.unheard else "accepted in a dry run"
    why = rehearsal.refused or rehearsal.unheard
    head = typer.style(f"# {rehearsal.what}: {word}{f' ({why})' if why else ''}", bold=True)
    lines = [typer.style(line, fg=COLOURS.get(line[:1])) for line in _lines(rehearsal)]
    return "\n".join([head, *(lines or ["# nothing changes"])]) + "\n"


def _lines(rehearsal: Rehearsal) -> Iterator[str]:
    name = f"VirtualService {rehearsal.before['metadata'].get('namespace')}/{rehearsal.before['metadata']['name']}"
    before, after = (_text(one).splitlines() for one in (rehearsal.before, rehearsal.after))
    return difflib.unified_diff(before, after, f"{name} before", f"{name} after", lineterm="")


def _text(found: dict[str, Any]) -> str:
    """The object as a person would have written it."""
    kept = copy.deepcopy({key: value for key, value in found.items() if key != "status"})
    for key in BOOKKEEPING:
        kept["metadata"].pop(key, None)
    if not kept["metadata"].get("annotations"):
        kept["metadata"].pop("annotations", None)
    return yaml.safe_dump(kept, sort_keys=False, width=1_000)


def _content(rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "write": rehearsal.what,
        "accepted": not (rehearsal.refused or rehearsal.unheard),
        "why": rehearsal.refused or rehearsal.unheard,
        "patch": list(rehearsal.patch),
        "diff": list(_lines(rehearsal)),
    }

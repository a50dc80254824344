"""``canaryd preflight``: what is found is printed, and waited for where it passes by itself."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Literal

import typer
import yaml
from rich.console import Console

from canaryd.app import preflight
from canaryd.cli.exits import Exit
from canaryd.model.duration import parse_duration
from canaryd.model.finding import Finding, worst
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.report.findings import table
from canaryd.settings import Settings

AGAIN = 5.0
"""Seconds between two looks while something is waited for."""


def look(plan: Plan, settings: Settings, *, wait: str, strict: bool, output: Literal["table", "yaml", "json"]) -> Exit:
    """Print the findings of ``plan``; what the process ends with."""
    findings = until_passed(
        lambda: preflight(settings, plan), lambda found: _in_the_way(found, strict), waiting_time(wait)
    )
    if output == "table":
        Console(highlight=False).print(table(plan, findings, strict=strict), soft_wrap=True)
    else:
        content = _content(plan, findings)
        shown = json.dumps(content, indent=2) if output == "json" else yaml.safe_dump(content, sort_keys=False)
        typer.echo(shown.rstrip("\n"))
    return Exit.REFUSED if stops(findings, strict=strict) else Exit.PROMOTED


def stops(findings: tuple[Finding, ...], *, strict: bool) -> bool:
    """Whether a run would be refused; with ``strict`` warnings are as grave as errors."""
    return worst(findings) in (("error", "warning") if strict else ("error",))


def waiting_time(text: str) -> float:
    """The seconds in a duration such as ``10m``; 0 for an empty text. Raises Refused."""
    try:
        found = parse_duration(text) if text else timedelta(0)
    except ValueError as error:
        raise Refused([Problem("--wait", text, f"a duration such as 10m ({error})")]) from error
    return found.total_seconds()


def until_passed(
    find: Callable[[], tuple[Finding, ...]], in_the_way: Callable[[tuple[Finding, ...]], str], seconds: float
) -> tuple[Finding, ...]:
    """
    What ``find`` finds, once nothing of it is ``in_the_way`` that would pass by itself, or after ``seconds``.

    Where something else is in the way nobody waits: it has to be mended anyway.
    """
    until, said = time.monotonic() + seconds, ""
    while True:
        findings = find()
        why = in_the_way(findings)
        left = until - time.monotonic()
        if not why or left <= 0:
            return findings
        if why != said:
            typer.echo(f"waiting, for at most {left:.0f} s: {why}", err=True)
            sys.stderr.flush()
            said = why
        time.sleep(min(AGAIN, left))


def _in_the_way(findings: tuple[Finding, ...], strict: bool) -> str:
    """What to wait for; empty where nothing is in the way, or something that does not pass."""
    grave = [one for one in findings if one.level == "error" or (strict and one.level == "warning")]
    return "; ".join(map(str, grave)) if all(one.transient for one in grave) else ""


def _content(plan: Plan, findings: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "plan": str(plan),
        "release": plan.spec.release,
        "worst": worst(findings) or "none",
        "findings": [asdict(one) for one in findings],
    }

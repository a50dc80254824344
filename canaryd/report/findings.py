"""Preflight's findings for a terminal: what stops first, each with what to type."""

from __future__ import annotations

from textwrap import wrap

from rich.text import Text

from canaryd.model.finding import LEVELS, Finding, Level, worst
from canaryd.model.plan import Plan

WIDTH = 91
"""Columns of a sentence; a command is never broken, because it is copied."""
COLOURS: dict[Level, str] = {"error": "bold red", "warning": "yellow", "info": "blue"}
WORDS: dict[Level, str] = {"error": "error", "warning": "warning", "info": "note"}


def table(plan: Plan, findings: tuple[Finding, ...], *, strict: bool = False) -> Text:
    """Every finding with its command, and in the last line what follows from all of them."""
    shown = Text()
    for one in findings:
        shown.append_text(_block(one))
    return shown.append(f"plan {plan}: {verdict(plan, findings, strict=strict)}")


def verdict(plan: Plan, findings: tuple[Finding, ...], *, strict: bool = False) -> str:
    """What follows from the findings, in a sentence."""
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    told = ", ".join(f"{count} {WORDS[level]}{'s' if count > 1 else ''}" for level, count in counts.items() if count)
    gravest = worst(findings)
    if gravest == "error":
        passes = all(one.transient for one in findings if one.level == "error")
        what = "not ready yet; --wait 10m waits for what passes by itself" if passes else "a run would be refused"
    elif gravest == "warning":
        what = "a run would begin; --strict would not let it" if strict else "a run would begin"
    else:
        what = f"ready to release {plan.spec.release}"
    return f"{told}: {what}" if told else what


def _block(finding: Finding) -> Text:
    passes = " (passes by itself)" if finding.transient else ""
    block = Text(f"{WORDS[finding.level]:<8} ", COLOURS[finding.level])
    block.append(finding.code, "bold").append(f"  {finding.where}{passes}\n", "not bold")
    for line in wrap(finding.sentence, WIDTH, break_on_hyphens=False, break_long_words=False):
        block.append(f"         {line}\n", "not bold default")
    for detail in finding.details:
        for number, line in enumerate(wrap(detail, WIDTH - 2, break_on_hyphens=False, break_long_words=False)):
            block.append(f"         {'  ' if number else '- '}{line}\n", "not bold default")
    if finding.remedy:
        block.append(f"         $ {finding.remedy}\n", "green")
    return block.append("\n")

"""PURE: the list of plans and runs as the page shows it, and what is left of it when somebody asks for less."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from canaryd.desk import SeenPlan, SeenRun
from canaryd.desk.data import percent
from canaryd.report.outlook import elapsed

Tone = Literal["good", "bad", "held", "open", "idle"]
ENDED = frozenset({"promoted", "rolled back"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to see: texts that must all occur, a namespace, a phase, and only what is going on."""

    text: str = ""
    namespace: str = ""
    phase: str = ""
    live: bool = False

    def __bool__(self) -> bool:
        return bool(self.text or self.namespace or self.phase or self.live)


@dataclass(frozen=True, slots=True)
class Row:
    """
    A line of the list. ``run`` is empty for a plan without one, ``share`` the canary's percent (None: a match, or
    nothing known), ``since`` a distance in words.
    """

    namespace: str
    plan: str
    release: str
    run: str
    phase: str
    step: str
    weight: str
    share: float | None
    verdict: str
    why: str
    since: str
    live: bool
    tone: Tone


def plan_rows(plans: Iterable[SeenPlan], now: float) -> tuple[Row, ...]:
    """A line a plan; what goes on comes first."""
    rows = [
        Row(
            plan.namespace,
            plan.name,
            plan.release,
            plan.run,
            plan.phase,
            plan.step,
            plan.weight,
            percent(plan.weight),
            plan.verdict,
            _why(plan.why, plan.attended, plan.astray),
            elapsed(now - plan.since) if plan.since else "",
            bool(plan.phase) and plan.phase not in ENDED,
            tone_of(plan.phase),
        )
        for plan in plans
    ]
    return tuple(sorted(rows, key=lambda row: (not row.live, row.namespace, row.plan)))


def run_rows(runs: Iterable[SeenRun], now: float) -> tuple[Row, ...]:
    """A line a run, the newest first."""
    return tuple(
        Row(
            run.namespace,
            run.plan,
            run.release,
            run.name,
            run.phase,
            f"{run.step + 1}/{run.steps}" if run.steps else "",
            run.weight,
            percent(run.weight),
            run.verdict,
            _why(run.why, run.attended, run.astray),
            elapsed(now - (run.began if run.ended is None else run.ended)) if run.began else "",
            not run.over and not run.unread,
            tone_of(run.phase),
        )
        for run in sorted(runs, key=lambda run: -run.began)
    )


def chosen(rows: Sequence[Row], wanted: Wanted) -> tuple[Row, ...]:
    """The rows that are wanted, in their order."""
    words = wanted.text.casefold().split()
    return tuple(
        row
        for row in rows
        if wanted.namespace in ("", row.namespace)
        and wanted.phase in ("", row.phase)
        and (row.live or not wanted.live)
        and all(word in _text(row) for word in words)
    )


def tone_of(phase: str) -> Tone:
    """How a phase is to be taken at a glance."""
    if phase == "promoted":
        return "good"
    if phase in ("rolled back", "rolling back"):
        return "bad"
    if phase == "held":
        return "held"
    return "open" if phase else "idle"


def _text(row: Row) -> str:
    parts = (row.namespace, row.plan, row.release, row.run, row.phase, row.weight, row.verdict, row.why)
    return " ".join(parts).casefold()


def _why(why: str, attended: bool | None, astray: str) -> str:
    idle = "no canaryd carries it out now; " if attended is False else ""
    return idle + why + (f"; but {astray}" if astray and astray not in why else "")

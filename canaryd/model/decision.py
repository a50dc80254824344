"""
What the machine sees and what it answers.

An observation is a value: two equal ones give two equal decisions. A decision names at most one write to the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from canaryd.model.asking import Answer
from canaryd.model.cells import Cell, Gap, Past
from canaryd.model.evidence import Evidence
from canaryd.model.harm import Harmed
from canaryd.model.judgement import JudgeState
from canaryd.model.run import Command, Run
from canaryd.model.traffic import Marker, Sides, Sighting


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something could not be observed, and why; ``gone`` where that is because it is not there any more."""

    why: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """
    The world at ``now`` (Unix seconds).

    ``cells`` are new since the run's last, with the judge's state and evidence after them; ``blind`` says why metrics
    do not answer, empty while they do. ``commands`` are all that people have asked, obeyed ones too. ``refusal`` says
    why the last write was not accepted, empty if it was. ``past`` is what the judge learned of stable before the first
    of them, in the tick in which that was decided. ``since`` is when this process began to ask for the run's cells.
    ``suspects`` are what in the mesh may keep callers from meeting the split, the likeliest first; they are looked for
    only while that is in doubt. ``harmed`` is the run's sum after the cells, None where it is as before. ``answers``
    are the last that the questions of gates were given. ``barred`` says why nothing may start or rise now (a closed
    window, a freeze), empty where it may; ``stopped`` why somebody wants everything back, empty where nobody does.
    """

    now: float
    mesh: Sighting | Unseen
    sides: Sides | Unseen
    cells: tuple[Cell | Gap, ...] = ()
    judged: JudgeState | None = None
    evidence: Evidence | None = None
    blind: str = ""
    commands: tuple[Command, ...] = ()
    refusal: str = ""
    past: Past | None = None
    since: float = 0.0
    suspects: tuple[str, ...] = ()
    harmed: Harmed | None = None
    answers: tuple[Answer, ...] = ()
    barred: str = ""
    stopped: str = ""


class Told(StrEnum):
    """Every event that a run can tell. ``docs/operations.md`` says of each what to do about it."""

    STARTED = "run.started"
    PREFLIGHT = "run.preflight"
    HISTORY = "run.history"
    SHIFTING = "step.shifting"
    SHIFTED = "step.shifted"
    PASSED = "step.passed"
    HELD = "run.held"
    REMINDED = "run.reminded"
    RESUMED = "run.resumed"
    ADVANCED = "step.advanced"
    SKIPPED = "step.skipped"
    DRIFTED = "run.drifted"
    BROUGHT_DOWN = "run.brought_down"
    REASSERTED = "run.reasserted"
    TOOK_OVER = "run.took_over"
    RESTARTED = "run.restarted"
    TAKEN_BACK = "run.taken_back"
    STABLE_CHANGED = "run.stable_changed"
    COMMAND_VOID = "command.void"
    APPROVED = "gate.approved"
    ANSWERED = "gate.answered"
    ADOPTED = "run.adopted"
    ROLLING_BACK = "run.rolling_back"
    ROLLED_BACK = "run.rolled_back"
    NO_WAY_BACK = "run.no_way_back"
    PROMOTING = "run.promoting"
    WATCHING = "run.watching"
    AWAITING_STABLE = "run.awaiting_stable"
    RETURNING = "run.returning"
    PROMOTED = "run.promoted"
    WOULD_WRITE = "run.would_write"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact to tell, with its reason in one sentence."""

    told: Told
    reason: str


@dataclass(frozen=True, slots=True)
class Write:
    """
    A patch to send.

    Toward the canary the decision's run is saved first and the patch sent only if that worked; toward stable the patch
    goes first and nothing that happens to the save may stop it.
    """

    toward: Literal["canary", "stable"]
    marker: Marker


@dataclass(frozen=True, slots=True)
class Decision:
    """The run as it is from now on, the write that follows (if any), and what to tell."""

    run: Run
    write: Write | None = None
    release: bool = False
    events: tuple[Event, ...] = field(default=())

"""
One execution of a plan.

A run holds all that a decision needs and nothing that can be computed from it: what we want of the mesh (never what we
saw of it), the evidence with the cells it came from, and what people have asked. A :class:`Record` is a run with the
version that its store gave it, so that one compare-and-swap saves everything together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Literal

from canaryd.model.asking import FRESH, START, Approval, Condition, Term, terms_of
from canaryd.model.cells import PAST_CELL, Cell, Gap, Past, Segment, Window, due_windows, past_windows
from canaryd.model.evidence import Evidence
from canaryd.model.finding import Finding
from canaryd.model.gate import Approve, Gate, Webhook
from canaryd.model.harm import NOBODY, Harmed
from canaryd.model.judgement import JudgeState
from canaryd.model.match import spoken
from canaryd.model.message import EMPTY, Outbox
from canaryd.model.plan import Plan, Step
from canaryd.model.traffic import EVERYTHING, NOTHING, Route, Side, Split


class Phase(StrEnum):
    """Where a run stands; a hold lies over any phase that is not final."""

    PENDING = "pending"
    SHIFTING = "shifting"
    BAKING = "baking"
    PROMOTING = "promoting"
    WATCHING = "watching"
    RETURNING = "returning"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"


FINAL = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK})
PROVEN = frozenset({Phase.PROMOTING, Phase.WATCHING, Phase.RETURNING, Phase.PROMOTED})
"""Phases after the last step has passed."""


class Outcome(StrEnum):
    """How a run ended."""

    PROMOTED = "promoted"
    FAILED = "failed"
    ABORTED = "aborted"
    INCONCLUSIVE = "inconclusive"
    UNDONE = "undone"


LatchKind = Literal["fail", "abort", "inconclusive", "undo"]
HoldKind = Literal[
    "no-data", "inconclusive", "drift", "gate", "stable-changed", "no-way-back", "not-returned", "barred", "person"
]
Then = Literal["rollback", "hold"]
Verb = Literal["abort", "approve", "resume", "promote", "undo", "hold", "adopt", "advance", "skip", "retry"]


@dataclass(frozen=True, slots=True)
class Latch:
    """Why the split never rises again in this run. The first one stays."""

    kind: LatchKind
    reason: str
    at: float
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """
    Traffic stays.

    ``limit`` is a Unix time, None for a hold without one; ``then`` is what follows. A ``sticky`` hold is ended by a
    person only.
    """

    kind: HoldKind
    why: str
    since: float
    limit: float | None
    then: Then = "hold"
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """
    What a person asks of a run; obeyed once.

    ``step`` is the step it was meant for, None for any; a command for another step than the current one is void.
    ``force`` lets an abort, or an undo, go through though stable has no ready endpoint, and a promote from any step.
    ``skips`` is the step, from 0, that ``skip`` leaves out. ``undo`` is asked of a run that has promoted and ended, and
    ``retry`` of one that has ended in any way; both are obeyed by another run.
    """

    id: str
    verb: Verb
    reason: str = ""
    by: str = ""
    step: int | None = None
    force: bool = False
    skips: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """What a person has said that stays in force: who, when (Unix seconds), and why."""

    by: str
    at: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}" if self.reason else self.by


GROUNDS = 50
"""The newest grounds of a run that are kept: for as many decisions, and more, as a status has."""


@dataclass(frozen=True, slots=True)
class Ground:
    """
    What decisions stood on from Unix time ``at``: the judge's word, None where there was none (any more).

    It was said after ``cells`` cells with data under its segment, the last of which ended at ``until`` (Unix seconds).
    A report shows it beside the decisions when the cells are long thinned.
    """

    at: float
    evidence: Evidence | None
    cells: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Pin:
    """
    What one side was when the run began: its workloads, their uids and the hashes of their pod templates.

    ``since`` is when its pods of today began to serve (Unix seconds), None where that is not known.
    """

    workloads: tuple[str, ...]
    namespace: str
    uids: tuple[str, ...]
    hashes: tuple[str, ...]
    since: float | None = None

    @classmethod
    def of(cls, side: Side) -> Pin:
        return cls(side.workloads, side.namespace, side.uids, side.hashes, side.since)

    def differs_from(self, side: Side) -> bool:
        """Whether ``side`` has a pod template or a workload that was not there when it was pinned."""
        return not set(side.hashes) <= set(self.hashes) or not set(side.uids) <= set(self.uids)


@dataclass(frozen=True, slots=True)
class Run:
    """
    The state of one execution of ``plan`` on ``route``.

    ``split`` is what we want, and ``match`` the audience that goes to the canary beside it (see
    :mod:`canaryd.model.match`); ``seq`` counts our writes and ``at`` is the Unix time of the last one's intent;
    ``arrived_at`` is when the mesh was first seen to hold it, None until then; ``partly`` says that some of several
    objects hold it by now. ``segments`` is the history of splits,
    ``cells`` what was evaluated under them, in order; ``judged`` is the judge's state after the last cell, None when it
    has to begin anew at segment ``judged_from``; ``past`` is what it then learns of stable first. ``unready_since`` is
    when the canary was first seen without a ready endpoint, None while it has one.
    ``kept`` says where the run lives: in a folder, or as a CanaryRun in the plan's namespace.
    ``findings`` are what preflight found before the run began, and did not stop it.
    ``restarts`` counts how often it began over with a new canary; ``gates`` are the conditions of gates that it has
    come to since, ``approved`` the gates (their places) that a person has opened, and ``approvals`` who did.
    ``untold`` are the webhooks that are still to be told how the run has ended.
    ``harmed`` is what it has cost its users so far, restarts included.
    ``settles`` is the settle time in seconds that was learned as the run began, None where the plan gives it.
    ``returning_since`` is when the run began to wait for stable to run what the canary runs; ``returned_by`` is whose
    word sends the traffic back although the two differ, and why.
    ``undoes`` is the run whose promotion this one takes back; empty for every other.
    ``held_by`` is the person who holds it, ``advanced`` the one who ends the present step without a PASS, and
    ``skipped`` are steps that a person leaves out.
    ``barred_since`` is when a window was first seen closed, or a freeze in force, None while neither is.
    ``outbox`` has the messages that no channel has taken yet.
    ``grounds`` is the evidence that its decisions stood on, as it was then; the newest GROUNDS of them.
    ``blind_since`` is when we noticed that nothing can be measured, None while something can. ``waiting`` says in one
    sentence what the run waits for.
    """

    uid: str
    plan: Plan
    route: Route
    created: float
    kept: Literal["", "canaryrun"] = ""
    phase: Phase = Phase.PENDING
    step: int = 0
    split: Split = NOTHING
    match: str = ""
    started_from: Split = NOTHING
    seq: int = 0
    at: float = 0.0
    arrived_at: float | None = None
    partly: bool = False
    segments: tuple[Segment, ...] = ()
    cells: tuple[Cell | Gap, ...] = ()
    judged: JudgeState | None = None
    judged_from: int = 0
    past: Past | None = None
    evidence: Evidence | None = None
    stable_pin: Pin | None = None
    canary_pin: Pin | None = None
    unready_since: float | None = None
    approved: tuple[int, ...] = ()
    obeyed: tuple[str, ...] = ()
    latch: Latch | None = None
    hold: Hold | None = None
    blind_since: float | None = None
    unproven: str = ""
    findings: tuple[Finding, ...] = ()
    waiting: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    ended: float | None = None
    released: bool = False
    settles: float | None = None
    harmed: Harmed = NOBODY
    returning_since: float | None = None
    returned_by: str = ""
    undoes: str = ""
    restarts: int = 0
    gates: tuple[Condition, ...] = ()
    approvals: tuple[Approval, ...] = ()
    barred_since: float | None = None
    untold: tuple[str, ...] = ()
    outbox: Outbox = EMPTY
    held_by: Word | None = None
    advanced: Word | None = None
    skipped: tuple[int, ...] = ()
    grounds: tuple[Ground, ...] = ()

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    @property
    def unheard(self) -> bool:
        """Whether somebody is still to hear of it: a webhook of its end, or a channel of a message."""
        return bool(self.untold or self.outbox.waiting)

    @property
    def harmed_so_far(self) -> str:
        """The requests that were harmed, in a sentence; empty where there are none and the plan does not cap them."""
        most = self.plan.spec.analysis.max_harmed
        return self.harmed.words(most) if most is not None or self.harmed.requests >= 1 else ""

    @property
    def returned(self) -> bool:
        """Whether the run has sent the traffic of a promoted canary back to stable, or is about to see it there."""
        return self.phase in (Phase.RETURNING, Phase.PROMOTED) and self.split == NOTHING

    @property
    def current_step(self) -> Step:
        return self.plan.spec.steps[self.step]

    @property
    def exposed(self) -> bool:
        """Whether anybody is meant to meet the canary."""
        return self.split > NOTHING or bool(self.match)

    @property
    def share(self) -> str:
        """What is meant for the canary, in words: ``5 %``, or which requests."""
        if not self.match:
            return str(self.split)
        matched = spoken(self.match)
        return matched if self.split == NOTHING else f"{self.split} and {matched}"

    @property
    def last_step(self) -> bool:
        return self.step == len(self.plan.spec.steps) - 1

    @property
    def taken_over(self) -> bool:
        """Whether the run stands below its step's weight, at one that a person had it take over from somebody else."""
        return self.phase in (Phase.SHIFTING, Phase.BAKING) and self.split < self.current_step.weight

    @property
    def resumes_at(self) -> tuple[Split, str]:
        """The split and the audience that the run has again when a person lets it go on after drift."""
        if self.phase not in (Phase.SHIFTING, Phase.BAKING):
            return self.split, self.match
        step = self.current_step
        return (self.split if self.split > NOTHING else step.weight), step.audience

    @property
    def following(self) -> int | None:
        """The step that comes after what is measured now; None where the promotion does."""
        if self.unproven:
            return None
        if self.taken_over:
            return self.step
        steps = range(self.step + 1, len(self.plan.spec.steps))
        return next((step for step in steps if step not in self.skipped), None)

    @property
    def passed_by(self) -> tuple[Approve, ...]:
        """The approvals that a promotion from here would go past, without being given."""
        ahead = [(step, one.gate) for step, one in enumerate(self.plan.spec.steps) if step >= self.step]
        ahead.append((len(self.plan.spec.steps) - 1, self.plan.spec.gates.promotion))
        return tuple(gate.approve for step, gate in ahead if gate and gate.approve and step not in self.approved)

    @property
    def ahead(self) -> tuple[tuple[int, Gate], ...]:
        """The gates before the next weight, each with its place; none once the canary is to have everything."""
        if self.phase is Phase.PENDING:
            start = self.plan.spec.gates.start
            return ((START, start),) if start else ()
        return self._after_the_step if self.phase in (Phase.SHIFTING, Phase.BAKING) else ()

    @property
    def _after_the_step(self) -> tuple[tuple[int, Gate], ...]:
        """The gates between the present step and the next weight."""
        promotion = self.plan.spec.gates.promotion if self.following is None else None
        gate = None if self.taken_over else self.current_step.gate
        found = ((self.step, gate), (len(self.plan.spec.steps), promotion))
        return tuple((place, gate) for place, gate in found if gate is not None)

    @property
    def terms(self) -> tuple[Term, ...]:
        """What has to hold at the gates ahead. Who only observes has nothing to ask a receiver for."""
        prefix = f"{self.uid}_{self.restarts}"
        found = (
            term
            for place, gate in self.ahead
            for term in terms_of(gate, place, self.before, f"{prefix}_{self._named(place)}")
        )
        return tuple(term for term in found if not (self.plan.observes and isinstance(term.part, Webhook)))

    @property
    def before(self) -> str:
        """What the gates ahead are before, in words."""
        if self.phase is Phase.PENDING:
            return "the start"
        return str(EVERYTHING) if self.following is None else self.plan.spec.steps[self.following].share

    def _named(self, place: int) -> str:
        steps = len(self.plan.spec.steps)
        return "start" if place == START else "promotion" if place == steps else f"step-{place + 1}"

    @property
    def approves(self) -> tuple[Approve, ...]:
        """The approvals that the next gates ask for which ask for any; they may be given early."""
        start = self.plan.spec.gates.start
        pending = self.phase is Phase.PENDING and not (start and start.approve)
        found = self._after_the_step if pending else self.ahead
        return tuple(gate.approve for _, gate in found if gate.approve)

    @property
    def place(self) -> int:
        """The gate that an approval opens now: that of the present step, or of the start where that asks for one."""
        start = self.plan.spec.gates.start
        return START if self.phase is Phase.PENDING and start and start.approve else self.step

    def condition(self, term: Term) -> Condition | None:
        """How ``term`` stands; None where the run has not come to it yet."""
        return next((one for one in self.gates if one.id == term.id), None)

    def holds(self, term: Term, now: float | None = None) -> bool:
        """Whether ``term`` holds (at ``now``, in Unix seconds: an alert that was silent long ago may fire by now)."""
        if isinstance(term.part, Approve):
            return self.place in self.approved
        known = self.condition(term)
        if known is None or known.said != "yes" or known.at is None:
            return False
        return isinstance(term.part, Webhook) or now is None or now - known.at <= FRESH

    @property
    def lacking(self) -> tuple[Term, ...]:
        """What does not hold yet at the gates ahead, as far as the run knows."""
        return tuple(term for term in self.terms if not self.holds(term))

    @property
    def segment(self) -> Segment:
        """The segment that is open now."""
        return self.segments[-1]

    @property
    def done(self) -> tuple[int, float] | None:
        """(segment index, end) of the last window evaluated."""
        return (self.cells[-1].segment, self.cells[-1].end) if self.cells else None

    @property
    def wants_past(self) -> bool:
        """Whether the judge is to begin, and what it learns first is not decided yet."""
        return self.judged is None and (self.past is None or self.past.segment != self.judged_from)

    @property
    def past_cells(self) -> tuple[Cell, ...]:
        """What the judge learns of stable before its first cell."""
        return self.past.cells if self.past and self.past.segment == self.judged_from else ()

    @property
    def past_windows(self) -> tuple[Window, ...]:
        """The windows of stable's history before the evidence, in order; none before it is known where that begins."""
        if self.judged_from >= len(self.segments):
            return ()
        analysis, since = self.plan.spec.analysis, self.stable_pin.since if self.stable_pin else None
        cell = max(PAST_CELL, analysis.cell.total_seconds())
        return past_windows(self.segments[self.judged_from].origin, analysis.history.total_seconds(), cell, since)

    @property
    def baked(self) -> tuple[Cell, ...]:
        """The cells that fill the bake: settled, without a gap, and from when the new share was proven."""
        since = self.present.shared_from if self.present else None
        return () if since is None else tuple(cell for cell in self.settled if cell.start >= since)

    @property
    def present(self) -> Evidence | None:
        """The evidence, if it is of the present segment."""
        known = self.evidence if self.segments else None
        return known if known and known.segment == self.segment.index else None

    @property
    def settled(self) -> tuple[Cell, ...]:
        """The settled cells without a gap under the present split, whether its share was proven or not."""
        return tuple(
            cell
            for cell in self.cells
            if isinstance(cell, Cell) and cell.settled and cell.segment == self.segment.index
        )

    @property
    def needed(self) -> int:
        """How many settled cells without a gap fill the bake of the current step."""
        return max(1, ceil(self.current_step.bake / self.plan.spec.analysis.cell))

    @property
    def settle(self) -> float:
        """Seconds after a write before what is measured may count for PASS, or an end as final."""
        if self.settles is not None:
            return self.settles
        return self.plan.spec.analysis.settle_for().total_seconds()

    def windows(self, until: float) -> Iterator[Window]:
        """
        The windows that follow the last one evaluated and end at or before ``until``, in order.

        A segment whose write has not been seen in the mesh yields none: no traffic is known to have followed it.
        """
        segments = self.segments
        if not segments:
            return iter(())
        if self.arrived_at is None and not self.partly and self.segment.seq > 0:
            until, segments = min(until, self.segment.origin), segments[:-1]
        analysis = self.plan.spec.analysis
        return due_windows(segments, self.done, until, analysis.cell.total_seconds(), self.settle)


@dataclass(frozen=True, slots=True)
class Record:
    """A run as its store holds it; ``version`` is the store's and starts at 0 for one never saved."""

    run: Run
    version: int = 0


def command_line(run: Run, verb: Literal["approve", "resume", "abort", "undo"]) -> str:
    """
    What a person types to give ``run`` the command ``verb``; their name goes in the place of NAME.

    Of a CanaryRun the list of commands is there from the beginning, so that one patch adds the first and any later one.
    An approval names its gate: typed late, it must not open another one.
    """
    if run.kept != "canaryrun":
        return f"canaryd {verb} {run.plan.name}"
    step = f'"step":{run.place},' if verb == "approve" else ""
    value = f'{{"verb":"{verb}",{step}"by":"NAME"}}'
    patch = f'[{{"op":"add","path":"/spec/commands/-","value":{value}}}]'
    return f"kubectl patch canaryrun {run.uid} -n {run.plan.namespace} --type=json -p '{patch}'"

"""
Every decision of a run, in order: what was decided, on which evidence, by whom and why.

They are read from the journal, which kept what the machine saw and said. What a cluster's status keeps are its words
alone, and a run without either still has decisions, made up from what the run itself keeps: the splits, the latch, the
approvals, the end. Beside those stands the evidence that the run kept as its grounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from canaryd.model.askers import Askers, names
from canaryd.model.asking import START
from canaryd.model.decision import Told
from canaryd.model.evidence import Evidence
from canaryd.model.measuring import Query
from canaryd.model.run import Outcome, Run
from canaryd.model.traffic import NOTHING, Split

Entry = Mapping[str, Any]
OURSELVES = "canaryd"
CLOSE = 1e-3
"""Seconds that a time loses on its way through a text."""
TITLES = {
    Told.STARTED: "began",
    Told.PREFLIGHT: "findings of preflight",
    Told.HISTORY: "stable's past is known",
    Told.SHIFTING: "weight changed",
    Told.SHIFTED: "weight in force",
    Told.PASSED: "step passed",
    Told.ADVANCED: "step ended by a person",
    Told.SKIPPED: "step left out",
    Told.HELD: "held",
    Told.RESUMED: "went on",
    Told.DRIFTED: "weights changed by somebody else",
    Told.BROUGHT_DOWN: "weights brought down",
    Told.REASSERTED: "weights set again",
    Told.TOOK_OVER: "weight taken over",
    Told.RESTARTED: "began over",
    Told.TAKEN_BACK: "taken back",
    Told.STABLE_CHANGED: "stable changed",
    Told.COMMAND_VOID: "command without effect",
    Told.APPROVED: "approved",
    Told.ANSWERED: "answered",
    Told.ADOPTED: "own write found again",
    Told.ROLLING_BACK: "rollback decided",
    Told.ROLLED_BACK: "rolled back",
    Told.NO_WAY_BACK: "no way back",
    Told.PROMOTING: "promotion decided",
    Told.WATCHING: "watched at 100 %",
    Told.AWAITING_STABLE: "waits for stable",
    Told.RETURNING: "traffic goes back to stable",
    Told.PROMOTED: "promoted",
    Told.WOULD_WRITE: "would have written",
}
"""The events in a few words, for a timeline."""


@dataclass(frozen=True, slots=True)
class Said:
    """An event with its reason, word for word as the machine told it; ``title`` says what happened in a few words."""

    event: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that was first heard in this tick."""

    verb: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckThen:
    """
    A check as it stood: both sides' values in the judge's words, on how many requests, and the evidence beside its
    bounds. ``queries`` are the names of the queries behind it; a bound of 0 is none.
    """

    check: str
    queries: tuple[str, ...]
    stable: str
    canary: str
    stable_requests: float
    canary_requests: float
    harm: float
    harm_bound: float
    proof: float
    proof_bound: float
    sentence: str


@dataclass(frozen=True, slots=True)
class EvidenceThen:
    """
    The judge's word at a decision.

    It is about ``cells`` cells with data under ``weight`` (percent), the last of which ended at ``until`` (Unix
    seconds); evidence of harm goes on from weight to weight, that of no harm begins anew. ``doubt`` is what keeps it
    from counting.
    """

    weight: float
    cells: int
    until: float
    harm: float
    hold_bound: float
    harm_bound: float
    proof: float
    proof_bound: float
    share: str
    doubt: str
    checks: tuple[CheckThen, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A decision, the ``number``-th of its run, at Unix time ``at``.

    ``former`` and ``weight`` are what was wanted for the canary before and after, in percent; ``wrote`` whether that
    was sent to the mesh. ``actor`` is who decided: a person, or canaryd itself by its plan.
    """

    number: int
    at: float
    actor: str
    events: tuple[Said, ...]
    asked: tuple[Asked, ...]
    phase: str
    former: float
    weight: float
    wrote: bool
    evidence: EvidenceThen | None


def taken(run: Run, journal: Sequence[Entry], queries: Sequence[Query] = ()) -> tuple[Taken, ...]:
    """The decisions of ``run``, from its ``journal`` (oldest first) where there is one."""
    return tuple(_recorded(run, journal, queries) if journal else _kept(run, queries))


def title_of(event: str) -> str:
    """An event in a few words."""
    try:
        return TITLES[Told(event)]
    except (ValueError, KeyError):
        return event.rpartition(".")[2].replace("_", " ")


def _recorded(run: Run, journal: Sequence[Entry], queries: Sequence[Query]) -> Iterator[Taken]:
    askers = Askers()
    former, wrote, number = 0.0, "", 0
    tally = _Tally()
    for entry in journal:
        saw = entry.get("saw") or {}
        tally.add(saw.get("cells") or ())
        events = [(str(name), str(reason)) for name, reason in entry.get("events") or ()]
        fresh, actors = askers.of(saw.get("commands") or (), events)
        weight, written = _percent(entry.get("split", 0)), entry.get("wrote") or entry.get("would") or ""
        if events or fresh or (written and written != wrote):
            number += 1
            yield Taken(
                number=number,
                at=float(entry["at"]),
                actor=_actor(run, names(actors) or str(entry.get("by") or ""), events),
                events=tuple(Said(name, title_of(name), reason) for name, reason in events),
                asked=tuple(Asked(one["verb"], one.get("by") or "somebody", one.get("reason") or "") for one in fresh),
                phase=str(entry.get("phase", "")),
                former=former,
                weight=weight,
                wrote=bool(entry.get("wrote")),
                evidence=_evidence(run, saw.get("evidence"), tally, queries)
                if saw
                else _kept_at(run, float(entry["at"]), queries),
            )
        former, wrote = weight, written or wrote


class _Tally:
    """The cells with data so far, by segment, and the end of the last one."""

    def __init__(self) -> None:
        self.cells: dict[int, int] = {}
        self.until: dict[int, float] = {}

    def add(self, cells: Sequence[Mapping[str, Any]]) -> None:
        for cell in cells:
            segment = cell["segment"]
            self.cells[segment] = self.cells.get(segment, 0) + (cell.get("kind", "cell") == "cell")
            self.until[segment] = cell["end"]


def _actor(run: Run, asked: str, events: Sequence[tuple[str, str]]) -> str:
    """Who decided: ``asked`` are the people whose words it carries out."""
    if asked:
        return asked
    begun = any(name == Told.ROLLING_BACK.value for name, _ in events)
    if begun and run.latch and run.latch.kind == "undo":
        return run.latch.reason.removeprefix("undone by ").partition(":")[0]
    return OURSELVES


def _percent(thousandths: float) -> float:
    return thousandths / 1000


def _some(value: float | None) -> float:
    """JSON has no infinity; what was beyond all numbers is null there."""
    return math.inf if value is None else value


def _evidence(
    run: Run, found: Mapping[str, Any] | None, tally: _Tally, queries: Sequence[Query]
) -> EvidenceThen | None:
    """The judge's word as the journal has it; also one that an older canaryd wrote."""
    segment = found.get("segment") if found else None
    if not found or segment is None:
        return None
    split = next((one.split for one in run.segments if one.index == segment), NOTHING)
    return EvidenceThen(
        weight=_percent(split.canary),
        cells=tally.cells.get(segment, 0),
        until=tally.until.get(segment, 0.0),
        harm=_some(found["harm"]),
        hold_bound=found["hold_bound"],
        harm_bound=found["harm_bound"],
        proof=_some(found["proof"]),
        proof_bound=found["proof_bound"],
        share=found.get("share", ""),
        doubt=found.get("doubt", ""),
        checks=tuple(_check(reading, queries) for reading in found["readings"]),
    )


def _check(reading: Mapping[str, Any], queries: Sequence[Query]) -> CheckThen:
    name = reading["check"]
    return CheckThen(
        check=name,
        queries=tuple(query.name for query in queries if name in query.checks),
        stable=reading["stable"],
        canary=reading["canary"],
        stable_requests=reading["stable_requests"],
        canary_requests=reading["canary_requests"],
        harm=_some(reading["harm"]),
        harm_bound=reading.get("harm_bound", 0.0),
        proof=_some(reading["proof"]),
        proof_bound=reading.get("proof_bound", 0.0),
        sentence=reading["sentence"],
    )


def _kept(run: Run, queries: Sequence[Query]) -> Iterator[Taken]:
    """What the run itself tells of its decisions, with the evidence that it kept."""
    moments = sorted(_moments(run), key=lambda one: one.at)
    former = NOTHING
    for number, one in enumerate(moments, start=1):
        weight = one.split if one.split is not None else former
        yield Taken(
            number=number,
            at=one.at,
            actor=one.actor,
            events=(Said(one.event.value, title_of(one.event.value), one.reason),),
            asked=(),
            phase="",
            former=_percent(former.canary),
            weight=_percent(weight.canary),
            wrote=one.split is not None,
            evidence=_kept_at(run, one.at, queries),
        )
        former = weight


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    event: Told
    reason: str
    split: Split | None = None
    actor: str = OURSELVES


def _moments(run: Run) -> Iterator[_Moment]:
    shifts = [segment for segment in run.segments if segment.seq > 0]
    former = NOTHING
    for segment in shifts:
        if not segment.ours:
            yield _Moment(segment.origin, Told.DRIFTED, f"the canary was at {segment.split} by somebody else's hand")
        elif run.latch is None or segment.origin < run.latch.at:
            yield _Moment(segment.origin, Told.SHIFTING, f"from {former} to {segment.split}", segment.split)
        former = segment.split
    for approval in run.approvals:
        where = "the start" if approval.place == START else f"step {approval.place + 1}"
        reason = f": {approval.reason}" if approval.reason else ""
        yield _Moment(approval.at, Told.APPROVED, f"approved by {approval.by} at {where}{reason}", actor=approval.by)
    if run.latch:
        actor = _actor(run, "", [(Told.ROLLING_BACK.value, run.latch.reason)])
        yield _Moment(run.latch.at, Told.ROLLING_BACK, run.latch.reason, NOTHING, actor)
    if run.hold:
        yield _Moment(run.hold.since, Told.HELD, run.hold.why)
    if run.ended is not None:
        promoted = run.outcome is Outcome.PROMOTED
        yield _Moment(run.ended, Told.PROMOTED if promoted else Told.ROLLED_BACK, run.reason)


def _kept_at(run: Run, moment: float, queries: Sequence[Query]) -> EvidenceThen | None:
    """What the decision at that time stood on, as the run itself keeps it."""
    ground = next((one for one in reversed(run.grounds) if one.at <= moment + CLOSE), None)
    if ground is None or ground.evidence is None or ground.evidence.segment is None:
        return None
    tally = _Tally()
    tally.cells[ground.evidence.segment], tally.until[ground.evidence.segment] = ground.cells, ground.until
    return _evidence(run, asdict(ground.evidence), tally, queries)


def evidence_then(run: Run, evidence: Evidence, queries: Sequence[Query]) -> EvidenceThen | None:
    """``evidence`` of all the run's cells, as it would stand beside a decision."""
    tally = _Tally()
    tally.add([{"segment": cell.segment, "end": cell.end, "kind": cell.kind} for cell in run.cells])
    return _evidence(run, asdict(evidence), tally, queries)


def unlike_the_former(decisions: Sequence[Taken]) -> tuple[Taken, ...]:
    """The decisions without evidence that stood beside the one before already."""
    kept, former = [], None
    for one in decisions:
        same = one.evidence is not None and one.evidence == former
        former = one.evidence or former
        kept.append(replace(one, evidence=None) if same else one)
    return tuple(kept)

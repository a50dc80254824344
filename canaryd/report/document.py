"""
A run as a report tells it: one value, of which HTML, Markdown and JSON are renderings.

Whatever is computed or worded for a report is computed and worded here, once. Moments are Unix seconds, weights are
percent, shares lie between 0 and 1, and evidence is an e-value; ``docs/report.md`` lists every key of the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from pydantic import TypeAdapter

from canaryd.judge import wording
from canaryd.model.asking import START
from canaryd.model.cells import Cell, Gap, Segment
from canaryd.model.decision import Told
from canaryd.model.finding import Finding
from canaryd.model.links import Link
from canaryd.model.measuring import Query
from canaryd.model.run import Outcome, Phase, Pin, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, Split, Version
from canaryd.report.decisions import CLOSE, Entry, EvidenceThen, Taken, evidence_then, taken
from canaryd.report.outlook import counted, elapsed, follows, is_unproven, moment, standing
from canaryd.report.series import (
    Point,
    Slow,
    Stretch,
    bounds_of,
    evidence_over_time,
    last_word,
    measured,
    slow,
    stretches,
)
from canaryd.report.summary import Served, Summary, summary

VERSION = 1
"""Of the JSON's keys: a key that is added leaves it, one that is taken away or means something else raises it."""
_CELLS = TypeAdapter(tuple[Cell | Gap, ...])
VERDICTS = (
    Told.PASSED,
    Told.PROMOTING,
    Told.RETURNING,
    Told.PROMOTED,
    Told.ROLLING_BACK,
    Told.RESTARTED,
    Told.BROUGHT_DOWN,
    Told.DRIFTED,
    Told.STABLE_CHANGED,
    Told.ROLLED_BACK,
)
"""Events that say why a segment ended, what matters most first."""
MOMENTS = frozenset(
    {
        Told.HISTORY.value,
        Told.PREFLIGHT.value,
        Told.SHIFTING.value,
        Told.WOULD_WRITE.value,
    }
)
"""Events that are no news for who looks at the timeline: each stands beside one that is, or changes nothing."""


@dataclass(frozen=True, slots=True)
class OneSide:
    """A version as it was pinned when the run began; empty where it never was."""

    name: str
    workloads: tuple[str, ...]
    pod_template_hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """What was released: the plan and its release, what was moved, and both versions."""

    plan: str
    namespace: str
    release: str
    digest: str
    moved: str
    entries: tuple[str, ...]
    stable: OneSide
    canary: OneSide
    observed_only: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """
    What the run has cost its users.

    ``stable`` and ``canary`` are requests and the failed among them, ``unattributed`` failures that reached neither.
    ``harmed`` is about how many requests failed beyond stable's rate, ``at_most`` the plan's cap on them, None without
    one; ``sentence`` says it in words, empty where there is nothing to say.
    """

    stable: Served
    canary: Served
    unattributed: float
    harmed: float
    at_most: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Detected:
    """Moments of a rollback; ``sentence`` tells them as distances from the canary's first request."""

    exposed: float
    suspected: float | None
    decided: float
    back: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Moment:
    """An event on the timeline, ``after`` so many seconds of the run; ``decision`` is the number of what tells more."""

    decision: int
    at: float
    after: float
    what: str
    weight: float
    actor: str


@dataclass(frozen=True, slots=True)
class Stage:
    """
    The time under one split: ``weight`` is what was wanted, ``matched`` that a step's match brought the canary its
    requests, ``ours`` that canaryd set it. ``cells`` had data, ``settled`` of them may count, ``gaps`` had none.
    ``verdict`` is why it ended, in the words of who ended it.
    """

    start: float
    end: float
    weight: float
    matched: bool
    ours: bool
    cells: int
    settled: int
    gaps: int
    stable: Served
    canary: Served
    verdict: str


@dataclass(frozen=True, slots=True)
class Shift:
    """From ``at`` on the canary was to have ``weight`` percent."""

    at: float
    weight: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """A cell without data, and why."""

    start: float
    end: float
    why: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    The bounds of the evidence: from ``hold`` on the weight may not rise, at ``harm`` it is rolled back, and promotion
    needs ``proof``. ``alpha`` and ``beta`` are the chances of error that they stand for.
    """

    hold: float
    harm: float
    proof: float
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Requests that did not fail by duration, of both sides at ``weight``: per bucket, not cumulative."""

    weight: float
    bounds_ms: tuple[float, ...]
    stable: tuple[float, ...]
    canary: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """
    What the plots show, from ``begin`` to ``end``.

    ``proof_segments`` are the segments whose evidence of no harm is of a comparison; ``rollback`` is when one was
    decided, None where none was.
    """

    begin: float
    end: float
    rollback: float | None
    wanted: tuple[Shift, ...]
    stretches: tuple[Stretch, ...]
    slow: tuple[Slow, ...]
    missing: tuple[Missing, ...]
    evidence: tuple[Point, ...]
    proof_segments: tuple[int, ...]
    bounds: Bounds
    histogram: Histogram | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person, a webhook or an alert said at a gate; ``before`` names the gate."""

    at: float
    who: str
    said: str
    before: str
    why: str


@dataclass(frozen=True, slots=True)
class Document:
    """
    The report of a run.

    ``verdict`` is one sentence for who reads no more, ``reason`` the machine's own words, ``next`` what follows while
    the run goes on. ``tone`` is whether that is good, bad or open. ``source`` says where the decisions come from, and
    ``remark`` what that means for them, empty where they are all there. ``latencies_since`` is from when latencies are
    known (Unix seconds), where those of before are not kept; else None.
    """

    version: int
    run: str
    title: str
    verdict: str
    reason: str
    next: str
    outcome: str | None
    phase: str
    tone: Literal["good", "bad", "open"]
    unproven: str
    began: float
    ended: float | None
    released: Released
    weights: tuple[float, ...]
    cost: Cost
    detection: Detected | None
    timeline: tuple[Moment, ...]
    stages: tuple[Stage, ...]
    curves: Curves
    latencies_since: float | None
    last_evidence: EvidenceThen | None
    source: Literal["journal", "status", "run"]
    remark: str
    decisions: tuple[Taken, ...]
    answers: tuple[Answered, ...]
    findings: tuple[Finding, ...]
    links: tuple[Link, ...]
    traces: tuple[Link, ...]
    queries: tuple[Query, ...]
    plan: Mapping[str, Any]


def document(
    run: Run,
    journal: Sequence[Entry],
    links: Iterable[Link] = (),
    traces: Iterable[Link] = (),
    queries: Sequence[Query] = (),
) -> Document:
    """
    The report of ``run`` with what its ``journal`` holds (oldest first).

    Of ``links`` and ``traces`` what is no http(s) address is left out.
    """
    run = _whole(run, journal)
    figures = summary(run)
    decisions = taken(run, journal, queries)
    return Document(
        version=VERSION,
        run=run.uid,
        title=f"{run.plan.name} {run.plan.spec.release}: {standing(run)}",
        verdict=_verdict(run, figures),
        reason=(run.reason if run.final else run.waiting) or ("" if run.final else "begun"),
        next="" if run.final else follows(run),
        outcome=run.outcome.value if run.outcome else None,
        phase=run.phase.value,
        tone=_tone(run),
        unproven=run.unproven,
        began=run.created,
        ended=run.ended,
        released=_released(run),
        weights=tuple(_percent(weight) for weight in figures.weights),
        cost=Cost(
            figures.stable,
            figures.canary,
            figures.unattributed,
            run.harmed.requests,
            run.plan.spec.analysis.max_harmed,
            run.harmed_so_far.partition(": ")[2],
        ),
        detection=_detected(figures),
        timeline=_timeline(run, decisions),
        stages=_stages(run, decisions),
        curves=_curves(run, journal),
        latencies_since=_latencies_since(run),
        last_evidence=_last_evidence(run, queries),
        source="run" if not journal else "journal" if _witnessed(journal) else "status",
        remark=_remark(run, journal),
        decisions=decisions,
        answers=tuple(_answers(run, journal)),
        findings=run.findings,
        links=_opened(links),
        traces=_opened(traces),
        queries=tuple(queries),
        plan=run.plan.model_dump(mode="json", by_alias=True),
    )


def _whole(run: Run, journal: Sequence[Entry]) -> Run:
    """The run with all that was counted in its cells, where the journal has what the run's record has thinned."""
    if all(cell.bounds_ms for cell in measured(run)):
        return run
    counted = {
        (cell["segment"], cell["start"]): cell
        for entry in journal
        for cell in (entry.get("saw") or {}).get("cells") or ()
        if cell.get("bounds_ms")
    }
    found = (counted.get((cell.segment, cell.start), cell) for cell in run.cells)
    return replace(run, cells=_CELLS.validate_python(tuple(found)))


def as_data(value: Any) -> Any:
    """
    ``value`` as JSON can hold it: the keys are the names of the fields in camelCase.

    JSON has no infinity: evidence beyond all numbers is null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Split):
            return _percent(value)
        return {_camel(field.name): as_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: as_data(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [as_data(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def weight_words(weight: float) -> str:
    """A weight in percent as the plan writes it."""
    return str(Split(round(weight * 1000)))


def _percent(split: Split) -> float:
    return split.canary / 1000


def _tone(run: Run) -> Literal["good", "bad", "open"]:
    if not run.final:
        return "open"
    return "good" if run.outcome is Outcome.PROMOTED else "bad"


def _verdict(run: Run, figures: Summary) -> str:
    """The run in one sentence, for who reads no more."""
    stable, canary = run.route.stable, run.route.canary
    if run.plan.observes:
        seen = f"canaryd only observed {canary} beside {stable}"
        return f"Nothing was moved: {seen}; by its plan the run is {standing(run)}."
    if run.outcome is Outcome.PROMOTED or run.returned:
        proof = (
            "nobody has shown that it is as good" if is_unproven(run) else f"it is proven to be no worse than {stable}"
        )
        now = "has" if run.final else "gets"
        where = f"{stable} runs the same by now and {now} all the traffic" if run.returned else "it has all the traffic"
        return f"{canary} was promoted{_after(run)}: {proof}; {where}."
    if run.final:
        why = _BACK[run.outcome or Outcome.FAILED].format(canary=canary, stable=stable)
        return f"{why}. {stable} has all the traffic{_lasted(figures)}."
    if run.latch:
        back = f"The promotion of {canary} is being undone" if run.undoes else f"{canary} is being rolled back"
        return f"{back}: {stable} gets all the traffic back."
    if run.exposed:
        share = run.share if run.match else f"{run.split} of the traffic"
        held = "is held at" if run.hold else "has" if run.arrived_at is not None else "is to get"
        return f"Nothing is decided yet: {canary} {held} {share}, {stable} has the rest."
    return f"Nothing has been moved yet: {stable} has all the traffic."


_BACK = {
    Outcome.FAILED: "{canary} failed and was rolled back",
    Outcome.ABORTED: "{canary} was rolled back because somebody said so",
    Outcome.INCONCLUSIVE: "{canary} was rolled back because it could not be told whether it is as good as {stable}",
    Outcome.UNDONE: "The promotion of {canary} was undone",
}


def _after(run: Run) -> str:
    return "" if run.ended is None else f" after {elapsed(run.ended - run.created)}"


def _lasted(figures: Summary) -> str:
    """How long the canary had requests, and how many failed."""
    found = figures.detection
    if found is None or found.seconds is None:
        return ""
    failed = counted(figures.canary.errors, "request") if figures.canary.errors else "no request"
    return f" again, {elapsed(found.seconds)} after the canary's first request; {failed} failed at the canary"


def _released(run: Run) -> Released:
    return Released(
        plan=run.plan.name,
        namespace=run.plan.namespace,
        release=run.plan.spec.release,
        digest=run.plan.digest,
        moved=str(run.route),
        entries=tuple(str(entry) for part in run.route.parts for entry in part.entries),
        stable=_side(run.route.stable, run.stable_pin),
        canary=_side(run.route.canary, run.canary_pin),
        observed_only=run.plan.observes,
    )


def _side(version: Version, pin: Pin | None) -> OneSide:
    return OneSide(str(version), pin.workloads if pin else (), pin.hashes if pin else ())


def _detected(figures: Summary) -> Detected | None:
    found = figures.detection
    if found is None:
        return None
    parts = []
    if found.suspected is not None:
        parts.append(f"suspected after {elapsed(found.suspected - found.exposed)}")
    parts.append(f"rollback decided after {elapsed(found.decided - found.exposed)}")
    if found.seconds is not None:
        parts.append(f"canary at 0 % after {elapsed(found.seconds)}")
    sentence = f"{', '.join(parts)}, counted from the canary's first request"
    return Detected(found.exposed, found.suspected, found.decided, found.back, sentence)


def _timeline(run: Run, decisions: Sequence[Taken]) -> tuple[Moment, ...]:
    return tuple(
        Moment(one.number, one.at, one.at - run.created, said.title, one.weight, one.actor)
        for one in decisions
        for said in one.events
        if said.event not in MOMENTS or not _is_of_journal(one)
    )


def _is_of_journal(one: Taken) -> bool:
    """What the run itself keeps tells of no arrival, so that its shifts are the news."""
    return bool(one.phase)


def _stages(run: Run, decisions: Sequence[Taken]) -> tuple[Stage, ...]:
    found = []
    for segment, after in pairwise((*run.segments, None)):
        if segment is None:
            continue
        cells = [cell for cell in run.cells if cell.segment == segment.index]
        if segment.split == NOTHING and not segment.matched and after is not None and not cells:
            continue
        data = [cell for cell in cells if isinstance(cell, Cell)]
        found.append(
            Stage(
                start=segment.origin,
                end=after.origin if after else span(run)[1],
                weight=_percent(segment.split),
                matched=segment.matched,
                ours=segment.ours,
                cells=len(data),
                settled=sum(cell.settled for cell in data),
                gaps=len(cells) - len(data),
                stable=Served(
                    math.fsum(one.stable.requests for one in data), math.fsum(one.stable.errors for one in data)
                ),
                canary=Served(
                    math.fsum(one.canary.requests for one in data), math.fsum(one.canary.errors for one in data)
                ),
                verdict=_ending(run, segment, after, decisions),
            )
        )
    return tuple(found)


def _ending(run: Run, segment: Segment, after: Segment | None, decisions: Sequence[Taken]) -> str:
    """Why the segment ended, in the words of who ended it; of the open one, what the run waits for."""
    if after is None:
        return standing(run) if run.final else run.waiting
    began, over = segment.origin + CLOSE, after.origin + CLOSE
    here = [said for one in decisions if began < one.at <= over for said in one.events]
    for verdict in VERDICTS:
        for said in reversed(here):
            if said.event == verdict.value:
                return said.reason
    if run.latch and segment.origin < run.latch.at <= after.origin:
        return run.latch.reason
    if after.split == EVERYTHING:
        return run.reason
    return "passed" if after.split > segment.split and after.ours else "–"


def span(run: Run) -> tuple[float, float]:
    """Beginning and end of the run's time axis."""
    ends = [run.created, run.at, run.ended or 0.0, *(segment.origin for segment in run.segments)]
    if run.cells:
        ends.append(run.cells[-1].end)
    begin = min([run.created, *(cell.start for cell in run.cells[:1])])
    return begin, max(*ends, begin + 1)


def _curves(run: Run, journal: Sequence[Entry]) -> Curves:
    begin, end = span(run)
    analysis, bounds = run.plan.spec.analysis, bounds_of(run)
    return Curves(
        begin=begin,
        end=end,
        rollback=run.latch.at if run.latch else None,
        wanted=tuple(Shift(segment.origin, _percent(segment.split), segment.ours) for segment in run.segments),
        stretches=stretches(run),
        slow=slow(run),
        missing=tuple(Missing(cell.start, cell.end, cell.why) for cell in run.cells if isinstance(cell, Gap)),
        evidence=evidence_over_time(run, journal),
        proof_segments=tuple(segment.index for segment in run.segments if segment.split != EVERYTHING),
        bounds=Bounds(bounds.hold_bound, bounds.harm_bound, bounds.proof_bound, analysis.alpha, analysis.beta),
        histogram=_histogram(run),
    )


def _histogram(run: Run) -> Histogram | None:
    """
    The latencies of the last segment in which both sides were sent requests, under its last bucket bounds.

    Just after a change to 0 or 100 % the other side still answers what was on its way: that is no comparison.
    """
    compared = [cell for cell in measured(run) if cell.split not in (NOTHING, EVERYTHING)]
    useful = [cell for cell in compared if sum(cell.stable.buckets) and sum(cell.canary.buckets)]
    if not useful:
        return None
    last = useful[-1]
    same = [cell for cell in useful if cell.segment == last.segment and cell.bounds_ms == last.bounds_ms]
    return Histogram(
        _percent(last.split),
        last.bounds_ms,
        _total(cell.stable.buckets for cell in same),
        _total(cell.canary.buckets for cell in same),
    )


def _total(buckets: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(math.fsum(column) for column in zip(*buckets, strict=True))


def _last_evidence(run: Run, queries: Sequence[Query]) -> EvidenceThen | None:
    evidence = last_word(run)
    if evidence is None or not run.cells:
        return None
    return evidence_then(run, evidence, queries)


def _remark(run: Run, journal: Sequence[Entry]) -> str:
    if not journal:
        if run.seq == 0:
            return ""
        return (
            "The journal is not there. What follows is what the run itself keeps of its decisions, and of the evidence "
            "that they stood on."
        )
    events = {str(name) for entry in journal for name, _ in entry.get("events") or ()}
    if not _witnessed(journal):
        whole = run.seq == 0 or Told.STARTED.value in events or bool(run.undoes)
        known = f"all that it has decided ({len(journal)})" if whole else f"the last {len(journal)} of its decisions"
        return (
            f"From the status of the run: {known}, in the words of then, with the evidence that the run kept of them."
        )
    lacking = []
    if run.seq > 0 and Told.STARTED.value not in events and not run.undoes:
        lacking.append(f"begins only at {moment(float(journal[0]['at']))}")
    final = {Phase.PROMOTED: Told.PROMOTED.value, Phase.ROLLED_BACK: Told.ROLLED_BACK.value}.get(run.phase)
    if final and final not in events:
        lacking.append(f"ends at {moment(float(journal[-1]['at']))}, before the run did")
    return f"The journal {' and '.join(lacking)}: what is not in it is not in this report either." if lacking else ""


def _latencies_since(run: Run) -> float | None:
    """From when latencies are known, where a cluster has thinned the cells before; None where none are missing."""
    cells = measured(run)
    first = next((place for place, cell in enumerate(cells) if cell.bounds_ms), 0)
    return cells[first].start if first else None


def _witnessed(journal: Sequence[Entry]) -> bool:
    """Whether it holds what the machine saw; what a status has of decisions does not."""
    return any("saw" in entry for entry in journal)


def _answers(run: Run, journal: Sequence[Entry]) -> list[Answered]:
    """What was said at the gates, each change of it once."""
    said: dict[str, str] = {}
    found = []
    for entry in journal:
        for one in (entry.get("saw") or {}).get("answers") or ():
            if said.get(one["id"]) != one["said"]:
                said[one["id"]] = one["said"]
                before, who = _asked_at(run, one["id"])
                found.append(Answered(float(one["at"]), who, one["said"], before, one["why"]))
    if not journal:
        for known in run.gates:
            if known.at is not None:
                before, who = _asked_at(run, known.id)
                found.append(Answered(known.at, who, known.said, before, known.why))
    found += [
        Answered(one.at, one.by, "yes", "start" if one.place == START else f"step {one.place + 1}", one.reason)
        for one in run.approvals
    ]
    return sorted(found, key=lambda one: one.at)


def _asked_at(run: Run, question: str) -> tuple[str, str]:
    """(the gate, who is asked) of a question's id, which is the run's, a count of restarts, the gate and the name."""
    _, _, rest = question.removeprefix(f"{run.uid}_").partition("_")
    place, _, name = rest.partition("_")
    who = {"(alert)": "alerts", "(approve)": "a person"}.get(name, f"webhook {name}")
    return place.replace("-", " "), who


def _opened(links: Iterable[Link]) -> tuple[Link, ...]:
    return tuple(one for one in links if one.url.startswith(("https://", "http://")))


def figures_of(side: Served) -> str:
    """One side in words: ``1,234, failed 5 (0.41 %)``."""
    return (
        f"{wording.number(side.requests)}, failed {wording.number(side.errors)} "
        f"({wording.percent(side.errors, side.requests)})"
    )

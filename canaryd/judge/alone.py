"""
The judge alone: a run that somebody else plays, cell by cell, and what canaryd would say to each.

There is no plan that sets the pace here: the steps are the weights that the cells carry. The rules are those of a run
of the daemon (``model.passing``), with two differences that follow from not knowing when the caller's step is over: an
objection holds at once, and proof promotes at once. Pure, like everything in this room; ``canaryd judge`` and the
benchmark both play through :func:`play`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import isfinite
from typing import Literal

from canaryd.judge.harmed import harmed
from canaryd.judge.readings import weigh
from canaryd.judge.verdict import advance, begin
from canaryd.model.cells import Cell, Counts, Gap, Value
from canaryd.model.evidence import Evidence
from canaryd.model.harm import NOBODY, Harmed
from canaryd.model.judgement import JudgeState
from canaryd.model.passing import finding, lack, objection, unproven_share
from canaryd.model.plan import LAST_COMPARATIVE, Analysis, Spec, Step
from canaryd.model.traffic import EVERYTHING, NOTHING, Split

ROUNDING = 1e-3
"""Share of a cell by which it may begin before the former one's end: times are rounded."""
SHORTEST, LONGEST = 1e-3, 86_400.0
"""Seconds of a cell: rates are finite, and what is averaged over more than a day compares no moment."""
LEAP = 86_400.0
"""Seconds without a cell after which a second one has to confirm the time: a wrong one would make all others late."""
BAKE = Step.model_fields["bake"].default.total_seconds()
"""Seconds of a step whose weight the plan does not name: as in a plan that does not say."""

Ruled = Literal["continue", "hold", "rollback", "promote", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What a plan says that matters here.

    ``bakes`` are the seconds of each step by its split, ``leasts`` the canary requests that it needs, ``patience`` the
    seconds of holding after which a run is inconclusive, ``unproven`` the plan's reason to promote without proof and
    ``last`` the split at which it may.
    """

    analysis: Analysis
    bakes: Mapping[Split, float] = field(default_factory=dict)
    patience: float = 14_400.0
    leasts: Mapping[Split, int] = field(default_factory=dict)
    unproven: str = ""
    last: Split = EVERYTHING

    @classmethod
    def of(cls, spec: Spec) -> Rules:
        return cls(
            spec.analysis,
            {step.weight: step.bake.total_seconds() for step in spec.steps},
            spec.on_inconclusive.hold.total_seconds(),
            {step.weight: spec.least_requests(step) for step in spec.steps},
            spec.accept_unproven,
            spec.steps[-1].weight,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts of both sides in ``seconds`` from ``start`` (Unix seconds, or of any other origin) under a split."""

    start: float
    seconds: float
    split: Split
    bounds_ms: tuple[float, ...]
    stable: Counts
    canary: Counts
    unattributed: float = 0.0
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """
    A run between two samples; its size does not grow.

    ``analysis`` is the plan's, for cells of the length of this run's first one, and ``least`` the settled seconds that
    proof needs. ``segment`` counts the changes of weight, ``origin`` is when the last one was, ``end`` when the last
    believed cell ended (None before there was one), ``leapt`` when the last one ended that was refused for its time.
    ``baked`` are the settled seconds, and ``cells`` the settled cells, that count for PASS at the present weight, and
    ``waited`` all settled seconds there. ``former`` is the last other weight, None before there was one. ``held_since``
    is when the hold began, ``unheard`` how long the cells have been refused by now. ``ruled`` is ``rollback`` or
    ``inconclusive`` once the run has ended so, and ``reason`` then says why. ``harmed`` is the sum over all samples.
    """

    analysis: Analysis
    judged: JudgeState
    least: float
    segment: int = 0
    split: Split = NOTHING
    former: Split | None = None
    origin: float = 0.0
    end: float | None = None
    leapt: float | None = None
    baked: float = 0.0
    waited: float = 0.0
    cells: int = 0
    held_since: float | None = None
    unheard: float = 0.0
    ruled: Ruled = "continue"
    reason: str = ""
    harmed: Harmed = NOBODY


@dataclass(frozen=True, slots=True)
class Ruling:
    """
    What is said to one sample.

    ``continue``: the step's bake goes on, and when the caller's step is over the weight may rise. ``hold``: the bake
    does not advance. ``promote``: proven at this weight. ``rollback`` and ``inconclusive`` are final.
    """

    decision: Ruled
    reason: str
    evidence: Evidence


def opened(rules: Rules) -> Standing:
    """
    A run before its first cell.

    A plan counts its proof in cells of its own length; here the cells are the caller's, and it is the time that has to
    be the same.
    """
    least = rules.analysis.proof_cells * rules.analysis.cell.total_seconds()
    analysis = rules.analysis.model_copy(update={"proof_cells": 1})
    return Standing(analysis, begin(analysis), least)


def play(rules: Rules, standing: Standing | None, sample: Sample) -> tuple[Standing, Ruling]:
    """The run after one more sample (None before its first one), and what is said to it."""
    former = standing or opened(rules)
    if why := out_of_order(former, sample):
        return replace(former, leapt=sample.start + sample.seconds), refused(former, why)
    standing = _entered(former, sample)
    settled = sample.start >= standing.origin + standing.analysis.settle_for().total_seconds()
    cell = _cell(standing, sample, settled)
    judged = advance(standing.analysis, standing.judged, cell)
    if judged.refused:
        # Nothing of it is believed: neither its weight, nor its time, nor that the run has begun.
        known = replace(former.judged, history=judged.history, gap=judged.gap, refused=True)
        usual = former.analysis.cell.total_seconds()
        standing = replace(former, judged=known, unheard=former.unheard + min(sample.seconds, usual))
        return _ruled(rules, standing, _now(former), evidence_of(standing))
    measured = settled and sample.split != NOTHING and not judged.gap
    since, before = judged.exposure.since, former.judged.exposure.since
    counts = measured and since is not None
    anew = since is None or since != before  # what was baked before the share went astray counts no more
    standing = replace(
        standing,
        judged=judged,
        harmed=harmed(standing.harmed, standing.judged, cell),
        end=sample.start + sample.seconds,
        unheard=0.0,
        leapt=None,
        baked=(0.0 if anew else standing.baked) + counts * sample.seconds,
        waited=standing.waited + measured * sample.seconds,
        cells=(0 if anew else standing.cells) + counts,
    )
    return _ruled(rules, standing, sample.start, evidence_of(standing))


def out_of_order(standing: Standing, sample: Sample) -> str:
    """Why the sample cannot follow those before it, or an empty text: a cell told twice would count twice."""
    if not isfinite(sample.start) or not SHORTEST <= sample.seconds <= LONGEST:
        return f"a cell that begins at {sample.start:g} and lasts {sample.seconds:g} s"
    if standing.end is None:
        return ""
    rounding = ROUNDING * min(sample.seconds, standing.analysis.cell.total_seconds())
    if sample.start < standing.end - rounding:
        return f"a cell that begins at {sample.start:.15g}, before the end of the one before it at {standing.end:.15g}"
    confirmed = standing.leapt is not None and -rounding <= sample.start - standing.leapt <= LEAP
    if sample.start > standing.end + LEAP and not confirmed:
        return (
            f"a cell that begins at {sample.start:.15g}, more than a day after the end of the one before it "
            f"at {standing.end:.15g}; if time really went on, the next cell will confirm it"
        )
    return ""


def refused(standing: Standing, why: str) -> Ruling:
    """The ruling on what cannot be believed: nothing was learned, and the weight stays."""
    evidence = evidence_of(standing)
    if standing.ruled == "continue":
        return Ruling("hold", f"refused: {why}", evidence)
    return Ruling(standing.ruled, standing.reason, evidence)


def evidence_of(standing: Standing) -> Evidence:
    """What the believed cells amount to; proven only when they lasted as long as the plan asks."""
    evidence = weigh(standing.analysis, standing.judged)
    return replace(evidence, proven=evidence.proven and standing.baked >= standing.least * (1 - ROUNDING))


def _now(standing: Standing) -> float:
    """
    The end of what was told so far.

    A refused cell's own time is not believed either: it is taken to last as long as others do.
    """
    return (standing.end or 0.0) + standing.unheard


def _entered(standing: Standing, sample: Sample) -> Standing:
    if standing.end is not None and standing.split == sample.split:
        return standing
    first = standing.end is None
    analysis = standing.analysis
    if first:
        analysis = analysis.model_copy(update={"cell": timedelta(seconds=sample.seconds)})
    return replace(
        standing,
        analysis=analysis,
        segment=standing.segment + (not first),
        split=sample.split,
        former=None if first else standing.split,
        origin=sample.start,
        baked=0.0,
        waited=0.0,
        cells=0,
        held_since=None,
    )


def _cell(standing: Standing, sample: Sample, settled: bool) -> Cell | Gap:
    start, end = sample.start, sample.start + sample.seconds
    if sample.stable.requests == sample.canary.requests == sample.unattributed == 0:
        return Gap(standing.segment, start, end, sample.split, settled, "no requests in this cell")
    return Cell(
        segment=standing.segment,
        start=start,
        end=end,
        split=sample.split,
        settled=settled,
        bounds_ms=sample.bounds_ms,
        stable=sample.stable,
        canary=sample.canary,
        unattributed=sample.unattributed,
        values=sample.values,
        former=standing.former,
    )


def _ruled(rules: Rules, standing: Standing, start: float, evidence: Evidence) -> tuple[Standing, Ruling]:
    """The ruling after a cell from ``start``, and the run with its hold begun, going on, over, or run out."""
    decision, reason = _asked(rules, standing, evidence)
    if decision == "rollback":  # a failure stays in the evidence
        return replace(standing, ruled="rollback", reason=reason), Ruling("rollback", reason, evidence)
    if standing.ruled == "inconclusive":
        return standing, Ruling("inconclusive", standing.reason, evidence)
    if decision != "hold":
        return replace(standing, held_since=None), Ruling(decision, reason, evidence)
    since = start if standing.held_since is None else standing.held_since
    held = _now(standing) - since
    if held >= rules.patience:
        reason = f"inconclusive after {held:.0f} s of holding: {reason}"
        standing = replace(standing, held_since=since, ruled="inconclusive", reason=reason)
        return standing, Ruling("inconclusive", reason, evidence)
    return replace(standing, held_since=since), Ruling("hold", reason, evidence)


def _asked(rules: Rules, standing: Standing, evidence: Evidence) -> tuple[Ruled, str]:
    """What the evidence says of the present weight, before holds and endings."""
    split = standing.split
    most = standing.analysis.max_harmed
    if standing.ruled == "rollback":
        return "rollback", standing.reason
    if most is not None and standing.harmed.requests > most:
        return "rollback", standing.harmed.words(most)
    if evidence.failure:
        return "rollback", evidence.failure
    if standing.judged.refused:
        return "hold", evidence.doubt
    if split == NOTHING:
        return "continue", "the canary has no share: history"
    if gap := standing.judged.gap:
        return "hold", gap
    if split == EVERYTHING:
        if not evidence.objectives_hold:
            return "hold", objection(evidence)
        return "continue", "at 100 % there is nothing to compare with"
    if why := objection(evidence):
        return "hold", why
    if split >= LAST_COMPARATIVE and evidence.proven:
        return "promote", f"proven at {split}: {finding(evidence)}"
    bake = rules.bakes.get(split, BAKE)
    if evidence.shared_from is None and standing.waited >= bake:
        return "hold", unproven_share(evidence, split)
    if standing.baked < bake:
        return "continue", f"baking at {split}: {standing.baked:.0f} of {bake:.0f} s"
    least = rules.leasts.get(split, rules.analysis.min_requests)
    unproven = bool(rules.unproven) and split == rules.last
    promotes = split >= LAST_COMPARATIVE and not unproven
    if why := lack(evidence, split, least, standing.cells, promotes=promotes):
        return "hold", why
    if unproven:
        return "promote", f"unproven, accepted by the plan: {rules.unproven}"
    return "continue", f"passed at {split}: {finding(evidence)}"

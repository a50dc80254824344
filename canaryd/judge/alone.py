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
from math import ceil, isfinite
from typing import Literal

from canaryd.judge.readings import weigh
from canaryd.judge.verdict import advance, begin
from canaryd.model.cells import Cell, Counts, Value
from canaryd.model.evidence import Evidence
from canaryd.model.judgement import JudgeState
from canaryd.model.passing import finding, lack, objection
from canaryd.model.plan import LAST_COMPARATIVE, Analysis, Spec, Step
from canaryd.model.traffic import EVERYTHING, NOTHING, Split

ROUNDING = 1e-3
"""Share of a cell by which it may begin before the former one's end: times are rounded."""
LONGEST = 86_400.0
"""Seconds of a cell, at most: what is averaged over more is no comparison of the same moment."""
BAKE = Step.model_fields["bake"].default.total_seconds()
"""Seconds of a step whose weight the plan does not name: as in a plan that does not say."""

Ruled = Literal["continue", "hold", "rollback", "promote", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What a plan says that matters here.

    ``bakes`` are the seconds of each step by its split, ``patience`` the seconds of holding after which a run is
    inconclusive, ``unproven`` the plan's reason to promote without proof and ``last`` the split at which it may.
    """

    analysis: Analysis
    bakes: Mapping[Split, float] = field(default_factory=dict)
    patience: float = 14_400.0
    unproven: str = ""
    last: Split = EVERYTHING

    @classmethod
    def of(cls, spec: Spec) -> Rules:
        return cls(
            spec.analysis,
            {step.weight: step.bake.total_seconds() for step in spec.steps},
            spec.on_inconclusive.hold.total_seconds(),
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

    ``analysis`` is the plan's, for cells of this run's length. ``segment`` counts the changes of weight, ``origin`` is
    when the last one was, ``end`` when the last believed cell ended. ``baked`` are the settled seconds, and ``cells``
    the settled cells, at the present weight. ``held_since`` is when the hold began. ``ruled`` is ``rollback`` or
    ``inconclusive`` once the run has ended so, and ``reason`` then says why.
    """

    analysis: Analysis
    judged: JudgeState
    segment: int = 0
    split: Split = NOTHING
    origin: float = 0.0
    end: float | None = None
    baked: float = 0.0
    cells: int = 0
    held_since: float | None = None
    ruled: Ruled = "continue"
    reason: str = ""


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


def play(rules: Rules, standing: Standing | None, sample: Sample) -> tuple[Standing, Ruling]:
    """The run after one more sample (None before its first one), and what is said to it."""
    standing = standing or _opened(rules, sample)
    if why := out_of_order(standing, sample):
        return standing, refused(standing, why)
    standing = _entered(standing, sample)
    settled = sample.start >= standing.origin + standing.analysis.settle.total_seconds()
    judged = advance(standing.analysis, standing.judged, _cell(standing, sample, settled))
    standing = replace(standing, judged=judged)
    if not judged.refused:
        counts = settled and sample.split != NOTHING
        standing = replace(
            standing,
            end=sample.start + sample.seconds,
            baked=standing.baked + counts * sample.seconds,
            cells=standing.cells + counts,
        )
    return _ruled(rules, standing, sample, weigh(standing.analysis, judged))


def out_of_order(standing: Standing, sample: Sample) -> str:
    """Why the sample cannot follow those before it, or an empty text: a cell told twice would count twice."""
    if not isfinite(sample.start) or not 0 < sample.seconds <= LONGEST:
        return f"a cell that begins at {sample.start:g} and lasts {sample.seconds:g} s"
    if standing.end is not None and sample.start < standing.end - ROUNDING * sample.seconds:
        return f"a cell that begins at {sample.start:.15g}, before the end of the one before it at {standing.end:.15g}"
    return ""


def refused(standing: Standing, why: str) -> Ruling:
    """The ruling on what cannot be believed: nothing was learned, and the weight stays."""
    evidence = weigh(standing.analysis, standing.judged)
    if standing.ruled == "continue":
        return Ruling("hold", f"refused: {why}", evidence)
    return Ruling(standing.ruled, standing.reason, evidence)


def _opened(rules: Rules, sample: Sample) -> Standing:
    """
    A run before its first cell.

    A plan counts its proof in cells of its own length; here the cells are the caller's, and it is the time that has to
    be the same.
    """
    analysis = rules.analysis
    if 0 < sample.seconds <= LONGEST:
        wanted = analysis.proof_cells * analysis.cell.total_seconds()
        analysis = analysis.model_copy(
            update={
                "cell": timedelta(seconds=sample.seconds),
                "proof_cells": max(1, ceil(wanted / sample.seconds - ROUNDING)),
            }
        )
    return Standing(analysis, begin(analysis))


def _entered(standing: Standing, sample: Sample) -> Standing:
    if standing.end is not None and standing.split == sample.split:
        return standing
    return replace(
        standing,
        segment=standing.segment + (standing.end is not None),
        split=sample.split,
        origin=sample.start,
        end=sample.start if standing.end is None else standing.end,
        baked=0.0,
        cells=0,
        held_since=None,
    )


def _cell(standing: Standing, sample: Sample, settled: bool) -> Cell:
    return Cell(
        segment=standing.segment,
        start=sample.start,
        end=sample.start + sample.seconds,
        split=sample.split,
        settled=settled,
        bounds_ms=sample.bounds_ms,
        stable=sample.stable,
        canary=sample.canary,
        unattributed=sample.unattributed,
        values=sample.values,
    )


def _ruled(rules: Rules, standing: Standing, sample: Sample, evidence: Evidence) -> tuple[Standing, Ruling]:
    """The ruling after a cell, and the run with its hold begun, going on, over, or run out."""
    decision, reason = _asked(rules, standing, evidence)
    if decision == "rollback":  # a failure stays in the evidence
        return replace(standing, ruled="rollback", reason=reason), Ruling("rollback", reason, evidence)
    if standing.ruled == "inconclusive":
        return standing, Ruling("inconclusive", standing.reason, evidence)
    if decision != "hold":
        return replace(standing, held_since=None), Ruling(decision, reason, evidence)
    since = sample.start if standing.held_since is None else standing.held_since
    held = sample.start + sample.seconds - since
    if held >= rules.patience:
        reason = f"inconclusive after {held:.0f} s of holding: {reason}"
        standing = replace(standing, held_since=since, ruled="inconclusive", reason=reason)
        return standing, Ruling("inconclusive", reason, evidence)
    return replace(standing, held_since=since), Ruling("hold", reason, evidence)


def _asked(rules: Rules, standing: Standing, evidence: Evidence) -> tuple[Ruled, str]:
    """What the evidence says of the present weight, before holds and endings."""
    split = standing.split
    if evidence.failure:
        return "rollback", evidence.failure
    if standing.judged.refused:
        return "hold", evidence.doubt
    if split == NOTHING:
        return "continue", "the canary has no share: history"
    if split == EVERYTHING:
        if not evidence.objectives_hold:
            return "hold", objection(evidence)
        return "continue", "at 100 % there is nothing to compare with"
    if why := objection(evidence):
        return "hold", why
    if split >= LAST_COMPARATIVE and evidence.proven:
        return "promote", f"proven at {split}: {finding(evidence)}"
    bake = rules.bakes.get(split, BAKE)
    if standing.baked < bake:
        return "continue", f"baking at {split}: {standing.baked:.0f} of {bake:.0f} s"
    least = rules.analysis.min_requests
    unproven = bool(rules.unproven) and split == rules.last
    promotes = split >= LAST_COMPARATIVE and not unproven
    if why := lack(evidence, split, least, standing.cells, promotes=promotes):
        return "hold", why
    if unproven:
        return "promote", f"unproven, accepted by the plan: {rules.unproven}"
    return "continue", f"passed at {split}: {finding(evidence)}"

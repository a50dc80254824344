"""
What the plan amounts to with today's traffic: how long it takes, what it finds, what it risks, what it can prove.

A forecast for people from the rate of the last minutes: nothing in a run is decided by it. Whether a proof is possible
at all is the judge's own forecast (``judge/futility.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf, isfinite

from canaryd.judge import wording
from canaryd.judge.futility import Prospect, detectable, prospect
from canaryd.judge.verdict import OUTAGE_REQUESTS
from canaryd.model.cells import Pace
from canaryd.model.duration import render_duration
from canaryd.model.finding import Code, Finding, Level
from canaryd.model.plan import Plan, Step
from canaryd.model.traffic import NOTHING, Sides, Split
from canaryd.preflight.heard import Heard
from canaryd.preflight.survey import Survey

TITLE = "What the plan amounts to with today's traffic"

OUTLOOK = Code(
    "Outlook",
    "info",
    "How long the steps take, what is found in them, what a broken canary would cost, and what can be proven, at the "
    "rate of the last minutes.",
    "Nothing; its `details` say it step by step.",
)
TOO_LITTLE_TRAFFIC = Code(
    "TooLittleTraffic",
    "warning",
    "With today's traffic a step does not get the requests within its bake that it needs to pass "
    "(`spec.analysis.minRequests`, or a check of the traffic itself): the run is held until it has them.",
    "Wait for more traffic, bake longer, begin at a higher weight, or ask for fewer requests.",
    transient=True,
)
PROOF_COMES_LATE = Code(
    "ProofComesLate",
    "warning",
    "With today's traffic the last step's bake is too short to prove that the canary is no worse: the run is held "
    "there (`spec.onInconclusive.hold`) until it is proven.",
    "Bake the last step for as long as the finding says, or widen the margins of the checks.",
    transient=True,
)
CANNOT_BE_PROVEN = Code(
    "CannotBeProven",
    "error",
    "With today's traffic it cannot be proven that the canary is no worse, neither within the last step's bake nor "
    "within the hold after it: the run would end as inconclusive.",
    "Wait for more traffic, bake or hold longer, widen the margins of the checks, or say in `acceptUnproven` why it "
    "may be promoted without proof.",
    transient=True,
)

MATCH_UNJUDGED = Code(
    "MatchUnjudged",
    "warning",
    "At a step with a match the canary answers other people than stable does, so that nothing is compared there; and "
    "no check of the plan holds the canary against a number. Only pods that are not ready, and requests that nobody "
    "answers, end such a step.",
    "Add an objective to the checks, such as `{name: errors-slo, metric: error-rate, atMost: 2%}`.",
)

CODES = (OUTLOOK, TOO_LITTLE_TRAFFIC, PROOF_COMES_LATE, CANNOT_BE_PROVEN, MATCH_UNJUDGED)

CERTAINLY = 2.0
"""So many times the failures that make an outage are expected of a cell before it is taken to have them."""
TAKEN_BACK = 5.0
"""Seconds from the cell that shows a broken canary to the last request that it gets: a tick, a patch, the proxies."""
NAMED = 3


@dataclass(frozen=True, slots=True)
class StepOutlook:
    """
    What to expect of one step.

    ``rate`` is the canary's requests a second and ``requests`` how many come within the step's bake. ``seconds`` is how
    long the step takes: settle time, bake and lag, and longer where the requests that it needs, or the proof at the
    last one, take longer; infinite where they never come. It is not known how long people take to approve.

    ``detectable`` is the smallest rise of the canary's share of failures (0 to 1) that is nearly always found in the
    bake, by this step's requests alone and where failures come independently; infinite where none is, None where no
    check compares errors. ``unseen`` are the failures that a rise just below it comes to. ``harmed`` are the requests
    that fail where everything fails from the step's first request on, until the canary is at 0 again.
    """

    weight: Split
    rate: float
    requests: float
    seconds: float
    detectable: float | None
    unseen: float
    harmed: float


def outlook(plan: Plan, heard: Heard, sides: Sides | None = None) -> tuple[StepOutlook, ...]:
    """What to expect of each step of ``plan`` at the traffic that was heard; nothing where none is known."""
    if not heard.served:
        return ()
    rate, failing = traffic(heard, sides)
    lasting = _lasting(plan, _prospect(plan, rate, failing))
    settle = plan.spec.analysis.settle_for(Pace(heard.istiod.convergence, heard.interval or None)).total_seconds()
    return tuple(
        _step(plan, step, rate, failing, settle, lasting if step is plan.spec.steps[-1] else 0.0)
        for step in _weighted(plan)
    )


def traffic(heard: Heard, sides: Sides | None) -> tuple[float, float]:
    """Requests a second of both versions, and the share of stable's that fail; all requests where no pods are known."""
    if sides is None:
        return heard.of().rate, heard.of().failing
    stable, canary = (heard.of(side.workloads) for side in (sides.stable, sides.canary))
    return stable.rate + canary.rate, stable.failing


def _prospect(plan: Plan, rate: float, failing: float) -> Prospect:
    return prospect(plan.spec, rate, min(failing, 1.0))


def _lasting(plan: Plan, seen: Prospect) -> float:
    """Canary requests that the last step needs for its proof; 0 where it may do without."""
    if plan.spec.accept_unproven or not isfinite(seen.needed):
        return 0.0
    return seen.needed if seen.possible else inf


def _weighted(plan: Plan) -> list[Step]:
    """The steps that have a weight: how many requests a match brings, nobody knows before."""
    return [step for step in plan.spec.steps if step.weight != NOTHING]


def _step(plan: Plan, step: Step, rate: float, failing: float, settle: float, proof: float) -> StepOutlook:
    analysis = plan.spec.analysis
    bake = _bake(plan, step)
    each = rate * step.weight.share
    requests = each * bake
    needed = max(float(plan.spec.least_requests(step)), proof)
    longer = needed / each if each else inf
    asked = [one for one in analysis.checks if one.asked_at(step.weight)]
    compared = [one for one in asked if one.metric == "error-rate" and one.compares]
    rise = (
        min(detectable(min(failing, 1.0), step.weight, requests, one.accepted, analysis.alpha) for one in compared)
        if compared
        else None
    )
    cell, lag = analysis.cell.total_seconds(), analysis.lag.total_seconds()
    cells = ceil(CERTAINLY * OUTAGE_REQUESTS / (each * cell)) if each else 0
    return StepOutlook(
        weight=step.weight,
        rate=each,
        requests=requests,
        seconds=settle + max(bake, longer) + lag,
        detectable=rise,
        unseen=requests if rise is None or rise == inf else rise * requests,
        harmed=each * (cells * cell + lag + TAKEN_BACK),
    )


def _bake(plan: Plan, step: Step) -> float:
    """Seconds; the last step's proof counts from a number of cells on."""
    analysis = plan.spec.analysis
    last = step is plan.spec.steps[-1] and not plan.spec.accept_unproven
    return max(step.bake, analysis.cell * analysis.proof_cells if last else step.bake).total_seconds()


def check(survey: Survey) -> Iterator[Finding]:
    """The outlook, and what stands in its way."""
    yield from _unjudged(survey.plan)
    steps = outlook(survey.plan, survey.heard, survey.sides)
    if not steps:
        return
    seen = _prospect(survey.plan, *traffic(survey.heard, survey.sides))
    yield OUTLOOK.at("spec.steps", _sentence(steps, seen), details=map(_detail, steps))
    yield from _too_little(survey.plan, steps)
    if survey.plan.spec.accept_unproven or not isfinite(seen.needed):
        return
    if not seen.possible:
        stays = survey.plan.spec.on_inconclusive.then == "hold"  # then it may be proven after the hold's limit yet
        held = render_duration(survey.plan.spec.on_inconclusive.hold)
        sentence = f"{seen.sentence}; held for {held} more it would have about {wording.number(round(seen.held))}"
        yield CANNOT_BE_PROVEN.at("spec.steps", sentence, level="warning" if stays else "error")
    elif seen.needed > seen.baked:
        yield PROOF_COMES_LATE.at("spec.steps", seen.sentence)


def _unjudged(plan: Plan) -> Iterator[Finding]:
    matched = [str(place) for place, step in enumerate(plan.spec.steps, start=1) if step.match]
    objectives = (one for one in plan.spec.analysis.checks if not one.compare and one.metric != "traffic")
    if matched and not any(objectives):
        sentence = f"no check holds the canary against a number: nothing judges step {', '.join(matched)}"
        yield MATCH_UNJUDGED.at("spec.analysis.checks", sentence)


def _too_little(plan: Plan, steps: tuple[StepOutlook, ...]) -> Iterator[Finding]:
    spec = plan.spec
    leasts = {step.weight: spec.least_requests(step) for step in _weighted(plan)}
    if short := [one for one in steps if one.requests < leasts[one.weight]]:
        hold = spec.on_inconclusive.hold.total_seconds()
        bakes = {step.weight: _bake(plan, step) for step in _weighted(plan)}
        never = any(one.rate * (bakes[one.weight] + hold) < leasts[one.weight] for one in short)
        level: Level = "error" if never and spec.on_inconclusive.then == "rollback" else "warning"
        alike = len(set(leasts.values())) == 1
        told = [
            f"{one.weight} brings about {wording.number(round(one.requests))}"
            + ("" if alike else f" of {wording.number(leasts[one.weight])}")
            for one in short[:NAMED]
        ]
        longest = wording.span(max(leasts[one.weight] / one.rate for one in short)) if not never else ""
        follows = "and never gets them within its hold" if never else f"and takes {longest}"
        needs = (
            f"a step needs {wording.number(leasts[short[0].weight])} canary requests"
            if alike
            else "steps need requests"
        )
        sentence = f"{needs}: {', '.join(told)} within its bake, {follows}"
        where = "spec.analysis.minRequests" if alike else "spec.steps"
        yield TOO_LITTLE_TRAFFIC.at(where, sentence, level=level)
    for one in spec.analysis.checks:
        asked = [step for step in steps if one.asked_at(step.weight) and not one.report_only]
        if one.metric == "traffic" and (quiet := [step for step in asked if step.rate < (one.at_least or 0.0)]):
            told = [f"{step.weight} brings {wording.value(step.rate)}" for step in quiet[:NAMED]]
            sentence = f"asks for {wording.value(one.at_least or 0.0)} canary requests a second, {', '.join(told)}"
            yield TOO_LITTLE_TRAFFIC.at(f"spec.analysis.checks, {one.name}", sentence)


def _sentence(steps: tuple[StepOutlook, ...], seen: Prospect) -> str:
    whole = sum(one.seconds for one in steps)
    first, last = steps[0], steps[-1]
    takes = f"the steps take about {wording.span(whole)}" if isfinite(whole) else "the steps never end"
    ends = dict.fromkeys((first, last))
    finds = ", ".join(f"{_rise(one.detectable)} is found at {one.weight}" for one in ends if one.detectable is not None)
    costs = (
        f"a canary that always fails would fail about {wording.number(round(first.harmed))} requests at "
        f"{first.weight} before it is taken back"
    )
    return "; ".join(filter(None, (seen.sentence, takes, finds, costs)))


def _detail(step: StepOutlook) -> str:
    """One step in a sentence."""
    lasts = f"about {wording.span(step.seconds)}" if isfinite(step.seconds) else "for ever"
    bake = f"{wording.number(round(step.requests))} in its bake"
    said = [f"at {step.weight}: {wording.value(step.rate)} canary requests a second, {bake}", f"it lasts {lasts}"]
    if step.detectable is not None:
        below = f", up to {wording.number(round(step.unseen))} failures below that stay unseen"
        said.append(f"{_rise(step.detectable)} is found{below if isfinite(step.detectable) else ''}")
    said.append(f"a canary that always fails costs about {wording.number(round(step.harmed))} requests")
    return "; ".join(said)


def _rise(rise: float) -> str:
    if rise == inf:
        return "no rise of failures"
    return f"a rise of failures by {wording.percent(rise, 1)} of all requests"

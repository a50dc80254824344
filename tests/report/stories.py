"""
Runs with their journals, played by the machine and the judge on drawn cells: what a report gets to read.

Only the mesh and Prometheus are missing; every sentence is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from canaryd import judge
from canaryd.engine.reconciler import _entry
from canaryd.machine import decide
from canaryd.model.cells import Cell, Counts, Gap, Window
from canaryd.model.decision import Observation
from canaryd.model.plan import Plan, read_plan
from canaryd.model.run import Command, Phase, Run
from canaryd.model.traffic import NOTHING, Entry, Marker, Route, Side, Sides, Sighting, Version

BEGAN = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC."""
BOUNDS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
FAST = (0.02, 0.08, 0.35, 0.33, 0.15, 0.05, 0.015, 0.004, 0.001)
SLOW = (0.02, 0.08, 0.33, 0.31, 0.13, 0.07, 0.04, 0.015, 0.005)
PLAN = """
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {name: reviews}
spec:
  release: "v3"
  target: {virtualService: reviews, host: reviews, stable: {subset: v1}, canary: {subset: v3}}
  steps:
    - {weight: 5, bake: 20s}
    - {weight: 25, bake: 30s}
    - {weight: 50, bake: 60s%s}
  analysis: {cell: 5s, scrape: 5s, settle: 5s, warmup: 20s}
  watch: 30s
"""
Probabilities = tuple[float, ...]


@dataclass(frozen=True)
class Traffic:
    """What the two versions do: 300 requests a second, errors, and latency per bucket."""

    errors: float = 0.001
    latency: Probabilities = FAST
    rate: float = 300.0


HEALTHY, FAULTY = Traffic(), Traffic(errors=0.012, latency=SLOW)
Stop = Callable[[Run], bool]


def plan(gate: str = "") -> Plan:
    return read_plan(PLAN % gate)


def fresh(of: Plan) -> Run:
    route = Route("default", "reviews", "reviews", (Entry(0),), Version("reviews", "v1"), Version("reviews", "v3"))
    return Run("reviews-v3-7f3a", of, route, BEGAN)


def play(
    canary: Traffic,
    until: Stop = lambda run: False,
    *,
    of: Plan | None = None,
    gaps: range = range(0),
    commands: Callable[[Run], tuple[Command, ...]] = lambda run: (),
) -> tuple[Run, list[dict[str, Any]]]:
    """A run ticked every five seconds until it is final or ``until`` says so; cells numbered in ``gaps`` are gaps."""
    run, marker, journal = fresh(of or plan()), None, []
    rng, now = np.random.default_rng(7), BEGAN
    while not run.final and not until(run) and now < BEGAN + 3000:
        seen = _observed(run, now, marker, canary, rng, gaps, commands(run))
        decision = decide(run, seen)
        former, run = run, decision.run
        marker = decision.write.marker if decision.write else marker
        journal.append(json.loads(json.dumps(_entry(former, run, seen, decision))))
        now += 5
    return run, journal


def _observed(
    run: Run,
    now: float,
    marker: Marker | None,
    canary: Traffic,
    rng: np.random.Generator,
    gaps: range,
    commands: tuple[Command, ...],
) -> Observation:
    lag = run.plan.spec.analysis.lag.total_seconds()
    cells: list[Cell | Gap] = []
    for window in run.windows(now - lag) if run.segments else ():
        number = len(run.cells) + len(cells)
        cells.append(_gap(window) if number in gaps else _cell(window, canary, rng))
    state, evidence = run.judged, run.evidence
    analysis = run.plan.spec.analysis
    for cell in cells:
        state = judge.advance(analysis, state or judge.begin(analysis), cell)
        evidence = judge.weigh(analysis, state)
    side = Side(("reviews-v1",), "default", ("u1",), ("h1",), 3, 3, True)
    sides = Sides(side, replace(side, workloads=("reviews-v3",), uids=("u3",), hashes=("h3",)))
    mesh = Sighting(marker.split if marker else NOTHING, marker)
    return Observation(now, mesh, sides, tuple(cells), state, evidence, commands=commands)


def _gap(window: Window) -> Gap:
    why = "Prometheus does not answer: connection refused"
    return Gap(window.segment, window.start, window.end, window.split, window.settled, why)


def _cell(window: Window, canary: Traffic, rng: np.random.Generator) -> Cell:
    seconds = window.end - window.start
    return Cell(
        window.segment,
        window.start,
        window.end,
        window.split,
        window.settled,
        BOUNDS,
        _counts(HEALTHY, (1 - window.split.share) * seconds, rng),
        _counts(canary, window.split.share * seconds, rng),
    )


def _counts(traffic: Traffic, seconds: float, rng: np.random.Generator) -> Counts:
    requests = int(rng.poisson(traffic.rate * seconds))
    errors = int(rng.binomial(requests, traffic.errors))
    buckets = rng.multinomial(requests - errors, traffic.latency)
    return Counts(float(requests), float(errors), tuple(map(float, buckets)))


Story = tuple[Run, list[dict[str, Any]]]


@cache
def pending() -> Story:
    return fresh(plan()), []


@cache
def baking() -> Story:
    """Healthy, in the middle of its second step."""
    return play(HEALTHY, lambda run: run.step == 1 and run.phase is Phase.BAKING and len(run.baked) == 3)


@cache
def blind() -> Story:
    """Held at the second step because Prometheus is away."""
    return play(HEALTHY, lambda run: run.hold is not None, gaps=range(10, 99))


@cache
def gated() -> Story:
    """At 50 %, waiting for a person."""
    return play(HEALTHY, lambda run: run.hold is not None and run.hold.kind == "gate", of=plan(GATE))


@cache
def promoted() -> Story:
    """Healthy to the end, with a short time without data in between."""
    return play(HEALTHY, gaps=range(9, 12))


@cache
def rolled_back() -> Story:
    """A canary with 1.2 % errors and a slower tail."""
    return play(FAULTY)


@cache
def rolling_back() -> Story:
    return play(FAULTY, lambda run: run.phase is Phase.ROLLING_BACK)


@cache
def aborted(reason: str = "wrong image", by: str = "ada") -> Story:
    def command(run: Run) -> tuple[Command, ...]:
        return (Command("c1", "abort", reason, by),) if run.step == 1 else ()

    return play(HEALTHY, commands=command)


GATE = ", gate: {approve: {limit: 4h, otherwise: rollback}}"
EVERY = (pending, baking, blind, gated, promoted, rolled_back, rolling_back, aborted)

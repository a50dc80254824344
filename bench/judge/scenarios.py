"""
The scenarios: what may be true of a service and of its canary while the weight rises.

A scenario says, on a grid of 15 s, how often each side fails and how long it takes; the cells of a repetition are drawn
from that for every weight at once, so that each rule walks its own path through the same draws. Cells of a minute are
sums over four of the grid. The base latency is log-normal with a median of 50 ms and sigma 0.6: its 99th percentile
is 200 ms and 0.4 % are over 250 ms, and "p99 doubled" is 2 % of the requests taking eight times as long.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

BOUNDS_MS = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0),
    *(30_000.0, 60_000.0, 300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0),
)
"""Istio's bounds of ``istio_request_duration_milliseconds``."""
WEIGHTS = (1, 5, 10, 25, 50)
STEP, HISTORY, LIMIT = 600, 1800, 5400
"""Seconds of a step, of stable-only cells before the first, and of the whole ramp with its holds at the most."""
GRID = 15
SLOTS = LIMIT // GRID
PODS = 10
"""Pods of each side: the canary has one up to 10 %, then 3, then 5; stable the ten that it always had."""
CANARY_PODS = (1, 1, 1, 3, 5)
MEDIAN, SIGMA = 50.0, 0.6

SINCE = np.arange(SLOTS) * GRID / 60.0
"""Minutes since the first canary traffic, per slot."""
RAMP = np.clip(SINCE / 50, 0, 1)
FLAT = np.ones(SLOTS)


@dataclass(frozen=True, slots=True)
class Latency:
    """A share ``part`` of the requests takes ``times`` as long, and ``later`` ms more, than log-normal(median)."""

    median: float = MEDIAN
    sigma: float = SIGMA
    part: float = 0.0
    times: float = 1.0
    later: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One story. ``kind`` is plain, odd (bursty or skewed), edge or faulty.

    ``stable`` and ``canary`` are error rates per slot; ``stable_ms`` and ``canary_ms`` the latencies per slot (one for
    all if only one). ``load`` multiplies ``rps``. ``icc`` correlates failures within a pod and cell; ``bad_pod`` is
    the chance per pod and minute of failing 3 % more; failures come ``clump`` at a time; ``late_scrape`` slots the
    canary's counters are read later than stable's; ``dirty`` counts are extrapolated and lost by resets. ``begins`` is
    the weight from which the canary is what it is. ``slowed`` is the share of its requests that its fault slows.
    """

    name: str
    kind: str
    rps: float
    stable: Floats
    canary: Floats
    stable_ms: tuple[Latency, ...] = (Latency(),)
    canary_ms: tuple[Latency, ...] = (Latency(),)
    load: Floats = field(default_factory=lambda: FLAT)
    icc: float = 0.0
    bad_pod: float = 0.0
    clump: int = 1
    late_scrape: int = 0
    dirty: bool = False
    begins: int = 1
    slowed: float = 0.0

    @property
    def faulty(self) -> bool:
        return self.kind == "faulty"


@dataclass(frozen=True, slots=True)
class Side:
    """Counts of one side: [cell, weight] requests and errors, [cell, weight, bucket], [cell, weight, pod, 2]."""

    requests: Floats
    errors: Floats
    buckets: Floats
    pods: Floats


@dataclass(frozen=True, slots=True)
class Draw:
    """
    One repetition in cells of ``seconds``; ``past`` is stable's history, at one weight.

    ``truth`` is (stable, canary) shares of outcomes per cell and weight, ``slowed`` the requests that the canary's
    fault slowed down.
    """

    seconds: int
    past: Side
    stable: Side
    canary: Side
    truth: tuple[Floats, Floats]
    slowed: Floats
    faulty: bool


@lru_cache(maxsize=4096)
def shape(latency: Latency) -> tuple[float, ...]:
    """Shares of the buckets."""
    bounds = np.array(BOUNDS_MS)

    def below(times: float, later: float) -> Floats:
        inner = np.maximum(bounds - later, 1e-9)
        return np.asarray(ndtr((np.log(inner) - log(latency.median * times)) / latency.sigma))

    part = latency.part
    share = (1 - part) * below(1, 0) + part * below(latency.times, latency.later)
    return tuple(np.diff(np.concatenate([[0.0], share, [1.0]])).clip(0, 1))


def draw(scenario: Scenario, seconds: int, rng: np.random.Generator) -> Draw:
    """One repetition of the scenario in cells of ``seconds``."""
    per = seconds // GRID
    cells = SLOTS // per
    rate = _averaged(scenario.load, per) * scenario.rps * seconds
    weights = np.array(WEIGHTS) / 100
    total = rng.poisson(rate[:, None] * np.ones(len(WEIGHTS)))
    ours = rng.binomial(total, weights)
    begun = np.array(WEIGHTS) >= scenario.begins
    p_stable = np.repeat(_averaged(scenario.stable, per)[:, None], len(WEIGHTS), axis=1)
    late = np.roll(scenario.canary, -scenario.late_scrape) if scenario.late_scrape else scenario.canary
    p_canary = np.where(begun, _averaged(late, per)[:, None], p_stable)
    f_stable, f_canary = _shapes(scenario.stable_ms, per, 0), _shapes(scenario.canary_ms, per, scenario.late_scrape)
    f_canary = np.where(begun[None, :, None], f_canary[:, None, :], f_stable[:, None, :])
    f_stable = np.repeat(f_stable[:, None, :], len(WEIGHTS), axis=1)
    pods = np.array(CANARY_PODS)
    stable = _side(scenario, total - ours, p_stable, f_stable, np.full(len(WEIGHTS), PODS), seconds, rng)
    canary = _side(scenario, ours, p_canary, f_canary, pods, seconds, rng)
    if scenario.dirty:
        stable, canary = _dirtied(stable, canary, rng)
    past_cells = HISTORY // seconds
    quiet = rng.poisson(np.full((past_cells, 1), rate[0]))
    past = _side(
        scenario,
        quiet,
        np.full((past_cells, 1), scenario.stable[0]),
        np.broadcast_to(np.array(shape(scenario.stable_ms[0])), (past_cells, 1, len(BOUNDS_MS) + 1)),
        np.array([PODS]),
        seconds,
        rng,
    )
    truth = (_outcomes(p_stable, f_stable), _outcomes(p_canary, f_canary))
    slowed = scenario.slowed * (canary.requests - canary.errors) * begun
    assert len(stable.requests) == cells
    return Draw(seconds, past, stable, canary, truth, slowed, scenario.faulty)


def _averaged(slots: Floats, per: int) -> Floats:
    return np.asarray(slots.reshape(-1, per).mean(axis=1))


def _shapes(latencies: tuple[Latency, ...], per: int, later: int) -> Floats:
    """[cell, bucket]"""
    slots = np.array([shape(one) for one in latencies])
    if len(latencies) == 1:
        return np.repeat(slots, SLOTS // per, axis=0)
    return np.asarray(np.roll(slots, -later, axis=0).reshape(SLOTS // per, per, -1).mean(axis=1))


def _outcomes(errors: Floats, shapes: Floats) -> Floats:
    return np.concatenate([errors[..., None], (1 - errors[..., None]) * shapes], axis=-1)


def _side(
    scenario: Scenario,
    requests: NDArray[np.int64],
    rates: Floats,
    shapes: Floats,
    pods: NDArray[np.int64],
    seconds: int,
    rng: np.random.Generator,
) -> Side:
    """One side's counts. ``pods`` are how many it has at each weight; absent pods get nothing."""
    width = int(pods.max())
    even = (np.arange(width) < pods[:, None]) / pods[:, None]
    per_pod = rng.multinomial(requests, np.broadcast_to(even, (*requests.shape, width)))
    rate = np.repeat(rates[..., None], width, axis=-1)
    if scenario.icc:
        weight = (1 - scenario.icc) / scenario.icc
        rate = rng.beta(np.maximum(rate * weight, 1e-12), np.maximum((1 - rate) * weight, 1e-12))
    if scenario.bad_pod:
        rate = np.minimum(1.0, rate + 0.03 * _spells(rate.shape, scenario.bad_pod, seconds, rng))
    errors = scenario.clump * rng.binomial(per_pod, rate / scenario.clump)
    errors = np.minimum(errors, per_pod)
    failed = errors.sum(axis=-1)
    buckets = rng.multinomial(requests - failed, np.clip(shapes / shapes.sum(axis=-1, keepdims=True), 0, 1))
    both = np.stack([per_pod, errors], axis=-1)
    return Side(*(counts.astype(float) for counts in (requests, failed, buckets, both)))


def _spells(shape_: tuple[int, ...], chance: float, seconds: int, rng: np.random.Generator) -> Floats:
    """Which pods are bad in which cells: whole minutes, whatever the length of a cell."""
    per = 60 // seconds
    minutes = rng.random((-(-shape_[0] // per), *shape_[1:])) < chance
    return np.repeat(minutes, per, axis=0)[: shape_[0]].astype(float)


def _dirtied(stable: Side, canary: Side, rng: np.random.Generator) -> tuple[Side, Side]:
    """Counts extrapolated by a factor that all of a cell share, and now and then lost in part by a reset."""
    factor = rng.uniform(0.9, 1.0, stable.requests.shape)
    sides = []
    for side in (stable, canary):
        lost = np.where(rng.random(factor.shape) < 0.02, rng.random(factor.shape), 1.0) * factor
        wide = lost[..., None]
        sides.append(Side(side.requests * lost, side.errors * lost, side.buckets * wide, side.pods * wide[..., None]))
    return sides[0], sides[1]


def entropy(name: str) -> int:
    """A number of its own for each scenario, the same on every machine."""
    return zlib.crc32(name.encode())


# ---------------------------------------------------------------------------------------------------------------------
# Healthy


def _healthy(name: str, kind: str, rps: float, rate: Floats | float, **how: object) -> Scenario:
    rates = rate * FLAT
    latency = how.get("stable_ms", (Latency(),))
    return Scenario(name, kind, rps, **{"stable": rates, "canary": rates, "canary_ms": latency, **how})  # type: ignore[arg-type]


def _incident(quiet: float, loud: float) -> Floats:
    """Ten minutes at ``loud`` from minute 12 on."""
    return np.where((SINCE >= 12) & (SINCE < 22), loud, quiet)


def _slow_incident() -> tuple[Latency, ...]:
    return tuple(Latency(median=float(median)) for median in _incident(MEDIAN, 3 * MEDIAN))


def _drifting() -> tuple[Latency, ...]:
    return tuple(Latency(median=round(float(median), 2)) for median in MEDIAN * (1 + 0.6 * RAMP))


DIURNAL = 1 + 0.6 * np.sin(2 * np.pi * SINCE / 90)

HEALTHY = (
    *(
        _healthy(f"iid {100 * rate:g} % at {rps:g} rps", "plain", rps, rate)
        for rate, rps in (
            *((0.001, 1), (0.001, 10), (0.001, 100), (0.001, 2000)),
            *((0.005, 100), (0.01, 1), (0.01, 100), (0.05, 100), (0.005, 2000)),
        )
    ),
    _healthy("no errors at all", "plain", 100, 0.0),
    _healthy("errors drift up, load diurnal", "plain", 100, 0.001 + 0.009 * RAMP, load=DIURNAL),
    _healthy("latency drifts up by 60 %", "plain", 100, 0.001, stable_ms=_drifting()),
    _healthy("incident of both", "plain", 100, _incident(0.001, 0.2), stable_ms=_slow_incident()),
    _healthy(
        "harmless difference",
        "plain",
        100,
        0.005,
        canary=0.0054 * FLAT,
        canary_ms=(Latency(median=MEDIAN * 1.03),),
    ),
    _healthy(
        "incident of both, scraped apart", "odd", 100, _incident(0.001, 0.2), stable_ms=_slow_incident(), late_scrape=1
    ),
    _healthy("beta-binomial pods", "odd", 100, 0.005, icc=0.01),
    _healthy("bad pod now and then", "odd", 100, 0.001, bad_pod=0.01),
    _healthy("failures in clumps of three", "odd", 100, 0.005, clump=3),
    _healthy("extrapolated counts and resets", "odd", 100, 0.005, dirty=True),
    _healthy(
        "narrow latency at a bound",
        "edge",
        100,
        0.001,
        stable_ms=(Latency(48, 0.05),),
        canary_ms=(Latency(48 * 1.03, 0.05),),
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# Faulty


def _errors(was: float, is_: float, rps: float, **how: object) -> Scenario:
    name = str(how.pop("name", f"{100 * was:g} -> {100 * is_:g} % at {rps:g} rps"))
    return Scenario(name, "faulty", rps, **{"stable": was * FLAT, "canary": is_ * FLAT, **how})  # type: ignore[arg-type]


def _slow(name: str, rps: float, latency: Latency, slowed: float) -> Scenario:
    return Scenario(name, "faulty", rps, 0.001 * FLAT, 0.001 * FLAT, canary_ms=(latency,), slowed=slowed)


def _improving() -> Floats:
    return 0.02 * 0.1**RAMP


FAULTY = (
    *(
        _errors(was, is_, rps)
        for was, is_, rps in (
            *((0.001, 0.003, 100), (0.001, 0.005, 100), (0.01, 0.02, 100), (0.0, 0.01, 100)),
            *((0.001, 0.05, 100), (0.001, 1.0, 100)),
            *((0.001, 0.05, 1), (0.001, 1.0, 1), (0.0, 0.01, 1)),
            *((0.001, 0.003, 2000), (0.001, 0.05, 2000), (0.001, 1.0, 2000)),
        )
    ),
    Scenario("masked by an improving baseline", "faulty", 100, _improving(), 3 * _improving()),
    _errors(0.001, 0.005, 100, name="0.1 -> 0.5 % from 25 % on", begins=25),
    _errors(0.001, 0.005, 100, name="0.1 -> 0.5 % from 50 % on", begins=50),
    _errors(0.005, 0.02, 100, name="0.5 -> 2 % with pod noise", icc=0.01),
    _slow("p99 doubled", 100, Latency(part=0.02, times=8), 0.02),
    _slow("median +20 %", 100, Latency(median=1.2 * MEDIAN), 1.0),
    _slow("2 % a second slower", 100, Latency(part=0.02, later=1000), 0.02),
    _slow("twice as slow at 1 rps", 1, Latency(median=2 * MEDIAN), 1.0),
)

SCENARIOS = {scenario.name: scenario for scenario in (*HEALTHY, *FAULTY)}

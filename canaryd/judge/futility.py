"""
What a plan can prove at all, said before it starts.

Proof is gathered under the last step's weight, so that what counts are the canary's requests there. How many are
needed follows from how hard "like stable" is to tell from "at the margin" when stable's own rate is not known: for a
ratio rho of the canary's requests to stable's, that is

    min over q of  KL(p, q) / rho + KL(p, times q + plus)

nats per canary request (Kaufmann, Cappe and Garivier, "On the complexity of best-arm identification", 2016, for the
bound). This is a forecast for people: nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf, log, log1p

from canaryd.judge import wording
from canaryd.model.plan import Check, Spec, Tolerance
from canaryd.model.traffic import Split

OVERHEAD = 1.5
"""What mixtures cost above the bound; measured, about."""
HARM_OVERHEAD = 3.5
"""
What mixtures, confirmation and scatter cost above the bound of evidence of harm, so that nearly all are found.

Measured, about; half of them are found within half of the requests.
"""
MISSED = 0.05
"""The share of such canaries that is not found within the requests that are said; about."""
LATENCY_NEEDED = 1000.0
"""Canary requests that latency needs for its proof, about; it depends little on its shape."""
ROUNDS = 60
"""Of the search for the worst rate of stable: each takes a third off."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """
    What to expect of a plan's proof.

    ``needed`` and ``baked`` are canary requests: for the proof, and of the last step's bake; ``held`` those until a
    hold for more evidence would end. ``sentence`` says it all, for the person who is about to start the plan.
    """

    needed: float
    baked: float
    held: float
    sentence: str

    @property
    def possible(self) -> bool:
        return self.needed <= self.held


def needed_requests(rate: float, split: Split, margin: Tolerance, beta: float, dispersion: float = 1.0) -> float:
    """Canary requests after which a canary like stable, failing at ``rate``, is proven to be within the margin."""
    rho = split.share / (1 - split.share) if split.share < 1 else inf
    nats = (1 - 2 * beta) * log((1 - beta) / beta)
    each = _least_distance(rate, rho, margin)
    return dispersion * OVERHEAD * nats / each if each > 0 else inf


def detectable(
    rate: float, split: Split, requests: float, tolerance: Tolerance, alpha: float, dispersion: float = 1.0
) -> float:
    """
    The smallest rise of the canary's share of failures, above stable's ``rate``, that is found in so many requests.

    ``requests`` are the canary's, under ``split``. Infinite where not even a canary that always fails would be found.
    """
    rho = split.share / (1 - split.share) if split.share < 1 else inf
    nats = (1 - MISSED) * log((1 - MISSED) / alpha) + MISSED * log(MISSED / (1 - alpha))
    needed = dispersion * HARM_OVERHEAD * nats

    def found(rise: float) -> bool:
        return requests * _least_distance(rate, rho, tolerance, rate + rise) >= needed

    low, high = 0.0, 1 - rate
    if not found(high):
        return inf
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def prospect(spec: Spec, requests_per_second: float, rate: float, dispersion: float = 1.0) -> Prospect:
    """
    What the plan can prove at so many requests a second of both versions, with stable failing at ``rate``.

    ``dispersion`` is how many times as much as independent requests failures vary.
    """
    analysis, last = spec.analysis, spec.steps[-1]
    proving = [check for check in analysis.checks if check.proves and check.asked_at(last.weight)]
    needed = [_needed(check, spec, rate, dispersion) for check in proving]
    most = max(needed, default=inf)
    each_second = requests_per_second * last.weight.share
    bake = max(last.bake, analysis.cell * analysis.proof_cells)
    baked = each_second * bake.total_seconds()
    held = each_second * (bake + spec.on_inconclusive.hold).total_seconds()
    return Prospect(most, baked, held, _sentence(requests_per_second, str(last.weight), bake, most, baked, held))


def _needed(check: Check, spec: Spec, rate: float, dispersion: float) -> float:
    """Canary requests for one check's proof; a query's values need cells instead, and the plan's least requests."""
    analysis = spec.analysis
    if check.metric == "error-rate":
        return needed_requests(rate, spec.steps[-1].weight, check.allowed, analysis.beta, dispersion)
    return LATENCY_NEEDED if check.metric == "latency" else float(spec.least_requests(spec.steps[-1]))


def _sentence(rate: float, weight: str, bake: timedelta, needed: float, baked: float, held: float) -> str:
    speed = f"at {wording.number(rate)} request{'' if rate == 1 else 's'} a second"
    if needed == inf:
        return f"{speed} this plan can prove nothing: no check compares with stable"
    takes = f"a proof takes about {_about(needed)} canary requests"
    brings = f"{wording.span(bake.total_seconds())} at {weight} bring about {_about(baked)}"
    if needed <= baked:
        return f"{speed} this plan can prove that the canary is no worse: {takes}, {brings}"
    if not baked:
        return f"{speed} this plan can prove nothing: {takes}"
    longer = wording.span(bake.total_seconds() * needed / baked)
    if needed <= held:
        return f"{speed} the proof comes late, by a hold after the last step: {takes}, {brings}; {longer} would do"
    more = wording.number(rate * needed / baked)
    return (
        f"{speed} this plan can prove nothing: {takes}, {brings}; it would need {longer} there, "
        f"or {more} requests a second"
    )


def _least_distance(rate: float, rho: float, margin: Tolerance, canary: float | None = None) -> float:
    """
    Nats per canary request between what the rates are and the nearest pair of rates at the margin.

    ``rate`` is stable's, ``canary`` the canary's, by default the same.
    """
    seen = rate if canary is None else canary

    def distance(stable: float) -> float:
        return _kl(rate, stable) / rho + _kl(seen, min(1.0, margin.times * stable + margin.plus))

    low, high = (0.0, rate) if canary is None else (rate, canary)
    for _ in range(ROUNDS):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        if distance(first) <= distance(second):
            high = second
        else:
            low = first
    return distance((low + high) / 2)


def _kl(rate: float, other: float) -> float:
    """Kullback-Leibler divergence of two chances, in nats."""
    if rate == other:
        return 0.0
    if (rate > 0 and other <= 0) or (rate < 1 and other >= 1):
        return inf
    hit = rate * log(rate / other) if rate else 0.0
    return hit + ((1 - rate) * (log1p(-rate) - log1p(-other)) if rate < 1 else 0.0)


def _about(requests: float) -> str:
    """Two digits that matter."""
    if requests < 100:
        return wording.number(round(requests))
    size = 10 ** (len(str(int(requests))) - 2)
    return wording.number(round(requests / size) * size)

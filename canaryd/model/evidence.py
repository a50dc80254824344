"""
What the judge says of the cells so far.

Evidence is a number beside its bound, never a bare yes: ``harm`` is an e-value (a betting capital that starts at 1 and,
whatever stable does meanwhile, reaches ``harm_bound`` with a probability of at most 1/harm_bound while the canary is
within its tolerance); ``proof`` is its counterpart for "not worse than the margin".
"""

from __future__ import annotations

from dataclasses import dataclass

OVER = 1e6


def render_evidence(value: float) -> str:
    """An e-value as a person reads it: one that is at or above its bound is never rounded below it."""
    if value >= OVER:
        return "over a million"
    if value >= 10:
        return f"{int(value):,}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}" if value >= 0.01 else "under 0.01"


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One check as it stands: both sides' values as text, sample sizes in requests, and the evidence with its bounds.

    ``harm`` and ``proof`` are the check's own; ``harm_bound`` is where it alone would roll back, its share of the
    combined evidence considered. ``proof_bound`` is 0 for a check that proves nothing. ``sentence`` is the check in
    words that a release manager understands; it is what every outlet shows. ``at_most`` is by which share of requests
    the canary fails more than stable at most, at any time and with 1 - beta; None where that cannot be said. ``holds``
    is false for an absolute objective that is in doubt. ``known`` is what can be said of the check, in words, before
    anything is proven; empty where that is nothing, or nothing more.
    """

    check: str
    stable: str
    canary: str
    stable_requests: float
    canary_requests: float
    harm: float
    proof: float
    sentence: str
    harm_bound: float = 0.0
    proof_bound: float = 0.0
    at_most: float | None = None
    holds: bool = True
    known: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    The judge's word on a run, after its last cell.

    ``failure`` is the reason in one sentence when harm is certain enough to roll back, else empty; once there it
    stays. ``suspicious`` says that harm is above the bound at which the weight may not rise. ``proven`` is true
    when non-inferiority was shown by evidence gathered under the present split and for long enough;
    ``objectives_hold`` is false while an absolute objective is in doubt. ``unmeasured`` names a check of the plan
    that has not had a single value under this split, and why. ``canary_requests`` are those of settled cells under
    the present split that count for PASS. ``doubt`` names what keeps the evidence from counting (for example a
    share of traffic that is not what the split says), else empty. ``segment`` is that of the last cell: proof and
    ``canary_requests`` are of that segment and mean nothing for another, which may have been opened since.
    ``shared_from`` is the start (Unix seconds) of the first cell that counts for PASS under this split: the one in
    which the new share was proven; None while it is not. ``share`` is the canary's share in words, ``astray``
    whether the doubt is about it, and ``lagging`` are the clients whose own share is not the split's. ``notes`` is
    what a person should know of the traffic and decides nothing.
    """

    harm: float
    harm_bound: float
    hold_bound: float
    proof: float
    proof_bound: float
    proven: bool
    failure: str
    canary_requests: float
    readings: tuple[Reading, ...]
    objectives_hold: bool = True
    unmeasured: str = ""
    doubt: str = ""
    segment: int | None = None
    shared_from: float | None = None
    share: str = ""
    astray: bool = False
    lagging: tuple[str, ...] = ()
    notes: str = ""

    @property
    def suspicious(self) -> bool:
        return self.harm >= self.hold_bound

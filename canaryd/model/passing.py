"""
What keeps a step from passing: the same words and rules for a run of the daemon and for ``canaryd judge``.

Two kinds, and the difference matters: an objection stands against the canary now, whatever has been gathered; a lack is
only that too little has been gathered yet. A failure is neither: it is the evidence's own word, and final.
"""

from __future__ import annotations

from canaryd.model.evidence import Evidence, render_evidence
from canaryd.model.traffic import Split


def objection(evidence: Evidence) -> str:
    """Why the weight may not rise now, or an empty text."""
    if evidence.doubt:
        return evidence.doubt
    if evidence.suspicious:
        bounds = f"holds at {evidence.hold_bound:g}, fails at {evidence.harm_bound:g}"
        return f"evidence of harm is building: {render_evidence(evidence.harm)} ({bounds})"
    if not evidence.objectives_hold:
        return f"an objective is in doubt: {in_doubt(evidence)}"
    return ""


def lack(evidence: Evidence, split: Split | str, least: int, baked: int, *, promotes: bool) -> str:
    """
    What a whole bake at ``split`` still lacks, or an empty text.

    ``least`` are the canary requests that a step needs, ``baked`` the cells gathered, and ``promotes`` says that what
    follows is the promotion, which needs proof.
    """
    if evidence.canary_requests < least:
        return f"only {evidence.canary_requests:.0f} canary requests at {split}; the plan wants {least}"
    if evidence.unmeasured:
        return f"not measured at {split}: {evidence.unmeasured}"
    if promotes and not evidence.proven:
        gathered = f"proof {render_evidence(evidence.proof)} of {evidence.proof_bound:g} after {baked} cells at {split}"
        if evidence.proof >= evidence.proof_bound:
            return f"too early to promote: {gathered}, and so few cells may be a lucky stretch"
        return f"not yet proven to be within the margin: {gathered}{_known(evidence)}"
    return ""


def _known(evidence: Evidence) -> str:
    """
    What can be said of each check that the proof lacks; one that is no part of the proof keeps nothing waiting.

    Of latency nothing can be said but how far its proof is, and it must not look as if another check kept all waiting.
    """
    proving = [one for one in evidence.readings if one.proof_bound]
    return "".join(
        f"; {one.check}: {one.known or f'proof {render_evidence(one.proof)}'}"
        for one in proving
        if one.proof < one.proof_bound and (one.known or len(proving) > 1)
    )


def unproven_share(evidence: Evidence, split: Split, match: str = "") -> str:
    """That the new share has not been proven yet, with what was seen of it."""
    if match:
        return "no request of these has been counted at the canary yet"
    seen = f": {evidence.share}" if evidence.share else ": no request has been counted yet"
    return f"it is not proven yet that callers meet the split of {split}{seen}"


def in_doubt(evidence: Evidence) -> str:
    """What the objectives say that do not hold."""
    return "; ".join(reading.sentence for reading in evidence.readings if not reading.holds) or finding(evidence)


def finding(evidence: Evidence | None) -> str:
    """What every check says, in one line."""
    return "; ".join(reading.sentence for reading in evidence.readings) if evidence else "no evidence"

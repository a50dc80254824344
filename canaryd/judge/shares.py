"""
The shares that the checks have in the evidence, and its bound below that of a rollback.

They are fixed by the plan and sum to 1: that makes the average of the checks' e-processes one itself.
"""

from __future__ import annotations

from canaryd.model.plan import Analysis

HOLD = 3.0
"""Evidence of harm at which the weight may not rise, far below the bound of a rollback."""
UNATTRIBUTED_SHARE, OBJECTIVES_SHARE = 0.05, 0.1
"""Shares of the evidence; the comparisons have the rest, half of it for errors and half for latency."""


def hold_bound(analysis: Analysis) -> float:
    """Evidence of harm at which the weight may not rise."""
    return min(HOLD, 1 / analysis.alpha)


def shares_of(analysis: Analysis) -> tuple[float, ...]:
    """The share of each check in the evidence, and that of the unattributed failures last; they sum to 1."""
    kinds = [check.metric if check.compare else "objective" for check in analysis.checks]
    compared = {kind for kind in kinds if kind != "objective"}
    objective = 0.0 if "objective" not in kinds else OBJECTIVES_SHARE if compared else 1 - UNATTRIBUTED_SHARE
    rest = 1 - UNATTRIBUTED_SHARE - objective
    group = {kind: (objective if kind == "objective" else rest / len(compared)) / kinds.count(kind) for kind in kinds}
    return (*(group[kind] for kind in kinds), UNATTRIBUTED_SHARE)

"""
The shares that the checks have in the evidence, and its bound below that of a rollback.

They are fixed by the plan and sum to 1: that makes the average of the checks' e-processes one itself.
"""

from __future__ import annotations

from canaryd.model.plan import Analysis, Check

HOLD = 3.0
"""Evidence of harm at which the weight may not rise, far below the bound of a rollback."""
UNATTRIBUTED_SHARE, MINOR_SHARE = 0.05, 0.1
"""Of the unattributed failures; of all objectives, of all comparisons of values, and of all that count for themselves
beside one that does not, where they are not alone."""
MINOR = ("objective", "values", "apart")
NONE = ("traffic", "report")


def hold_bound(analysis: Analysis) -> float:
    """Evidence of harm at which the weight may not rise."""
    return min(HOLD, 1 / analysis.alpha)


def shares_of(analysis: Analysis) -> tuple[float, ...]:
    """
    The share of each check in the evidence, and that of the unattributed failures last; they sum to 1.

    Errors and latency share equally what the others leave; too little traffic is no harm and has no share, nor has a
    check that is for the report only. A check that is not asked at every weight has its share all the same: whether a
    cell is bet on is known before it is played.
    """
    plain = {check.metric for check in analysis.checks if check.compares and not check.apart}
    kinds = [
        "apart" if check.compares and check.apart and check.metric in plain else _kind(check)
        for check in analysis.checks
    ]
    major = {kind for kind in kinds if kind not in (*MINOR, *NONE)}
    minor = {kind for kind in kinds if kind in MINOR}
    rest = 1 - UNATTRIBUTED_SHARE
    group = dict.fromkeys(minor, MINOR_SHARE if major else rest / max(1, len(minor))) | dict.fromkeys(NONE, 0.0)
    for kind in major:
        group[kind] = (rest - MINOR_SHARE * len(minor)) / len(major)
    return (
        *(group[kind] / kinds.count(kind) for kind in kinds),
        UNATTRIBUTED_SHARE if major or minor else 1.0,
    )


def _kind(check: Check) -> str:
    if check.report_only:
        return "report"
    if check.metric == "traffic":
        return "traffic"
    if not check.compare:
        return "objective"
    return "values" if check.metric == "promql" else check.metric

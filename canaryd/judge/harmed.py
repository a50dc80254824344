"""
The requests that a canary has harmed, counted cell by cell.

No evidence and no bound on error: it is the number that a release manager would be asked for afterwards. So cells count
from the canary's first request, settled or not, and a cell that the judge does not believe counts for nothing here too.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge import guards, unattributed
from canaryd.model.cells import Cell, Gap
from canaryd.model.harm import Harmed
from canaryd.model.judgement import JudgeState
from canaryd.model.traffic import NOTHING

ENOUGH = 20.0
"""Requests of stable in a cell that tell its rate there; what it has fewer is taken to fail as in the run so far."""


def harmed(sum_: Harmed, known: JudgeState, cell: Cell | Gap) -> Harmed:
    """
    The sum after ``cell``; ``known`` is the judge before it.

    A cell adds the canary's failures less what stable's rate in the same cell makes of as many requests, and the
    failures without a version that are held against the canary, less twice what the service had of them before.
    """
    if isinstance(cell, Gap) or guards.fault(cell) or guards.implausible(cell, known.history.rates):
        return sum_
    cell = unattributed.ours(guards.consistent(cell), known.history)
    stable, canary = cell.stable, cell.canary
    if cell.split != NOTHING or cell.matched:
        lacking = max(0.0, ENOUGH - stable.requests)
        rate = (stable.errors + lacking * sum_.rate) / (stable.requests + lacking)
        lost = max(0.0, unattributed.charged(cell) - unattributed.usual(cell, known.history))
        sum_ = replace(sum_, requests=max(0.0, sum_.requests + canary.errors - rate * canary.requests + lost))
    return replace(sum_, failed=sum_.failed + stable.errors, asked=sum_.asked + stable.requests)

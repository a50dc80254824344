"""
The judge: cells in, evidence out. Pure; no clock, no chance.

``begin`` a state, ``advance`` it by one cell at a time in order, ``weigh`` it after the last. Bets on a cell are made
from the cells before it and from how many requests each side had in it, never from its outcomes: that is what makes the
evidence valid at any moment at which somebody looks. The same cells give the same bits. ``harmed`` counts beside it.
"""

from canaryd.judge.harmed import harmed
from canaryd.judge.readings import weigh
from canaryd.judge.verdict import advance, begin
from canaryd.model.judgement import JudgeState

__all__ = ["JudgeState", "advance", "begin", "harmed", "weigh"]

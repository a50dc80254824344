"""
Failures for want of a cluster: whose DestinationRule is to blame, and since when.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge import begin, weigh
from canaryd.judge.unattributed import ours
from canaryd.judge.verdict import advance
from canaryd.model.cells import BEFORE, Caller, Cell
from canaryd.model.plan import Analysis, Check

from .population import cell, counts

ERRORS = Analysis(checks=(Check(name="errors", metric="error-rate", compare="stable"),))


def met(index: int, percent: float, *callers: Caller, segment: int = 1) -> Cell:
    """A cell of these clients; what they have no cluster for is counted nowhere else."""
    lost = sum(one.no_cluster for one in callers)
    ours_, theirs = sum(one.canary for one in callers) - lost, sum(one.stable for one in callers)
    made = cell(index, percent, counts(ours_), counts(theirs), segment=segment, unattributed=lost)
    return replace(made, no_cluster=lost, callers=callers)


WEB = Caller("web.shop", 285, 15)
QUIET = Caller("web.shop", 300, 0)


def judged(past: list[Cell], now: list[Cell]):
    state = begin(ERRORS, past)
    for one in now:
        state = advance(ERRORS, state, one)
    return state


def test_a_client_that_had_no_cluster_before_our_write_is_not_ours():
    """Its DestinationRule lacks stable as well: a fifth of all requests, in half an hour before and ever since."""
    broken = Caller("batch.jobs", 0, 75, 75)
    past = [met(index, 0, QUIET, broken, segment=BEFORE) for index in range(-30, 0)]
    state = judged(past, [met(index, 5, WEB, broken) for index in range(20)])
    assert not state.failure
    evidence = weigh(ERRORS, state)
    assert not evidence.suspicious
    assert evidence.doubt == ""
    assert evidence.shared_from is not None


def test_a_cluster_that_is_missing_since_our_write_is_ours_and_the_client_is_named():
    """Five percent of this client's requests go to a subset that its own DestinationRule has not."""
    past = [met(index, 0, QUIET, Caller("batch.jobs", 300, 0), segment=BEFORE) for index in range(-30, 0)]
    state = judged(past, [met(index, 5, WEB, Caller("batch.jobs", 285, 15, 15)) for index in range(9)])
    assert (
        "the proxies of batch.jobs knew no destination (NC): is the subset in the DestinationRule of the client's "
        "namespace?"
    ) in state.failure


def test_a_rate_that_rises_after_our_write_is_ours_too():
    """A client that failed so once in a while, and now does it as often as the canary is chosen."""
    past = [met(index, 0, QUIET, Caller("batch.jobs", 299, 1, 1), segment=BEFORE) for index in range(-30, 0)]
    state = judged(past, [met(index, 5, WEB, Caller("batch.jobs", 285, 15, 15)) for index in range(9)])
    assert "batch.jobs" in state.failure


def test_one_client_s_former_failures_excuse_no_other_s():
    """Only the client's own DestinationRule can be the reason."""
    broken = Caller("batch.jobs", 0, 300, 300)
    past = [met(index, 0, QUIET, broken, segment=BEFORE) for index in range(-30, 0)]
    state = judged(past, [met(index, 5, Caller("web.shop", 285, 15, 15), broken) for index in range(9)])
    assert "the proxies of web.shop knew" in state.failure


def test_what_is_excused_is_taken_out_everywhere():
    """It is in nobody's share either."""
    history = judged([met(0, 0, Caller("a.b", 80, 20, 20), segment=BEFORE)], []).history
    assert history.without_cluster == (("a.b", 100.0, 20.0),)
    left = ours(met(1, 5, Caller("a.b", 45, 55, 50)), history)
    assert (left.unattributed, left.no_cluster, left.callers) == (10, 10, (Caller("a.b", 45, 15, 10),))

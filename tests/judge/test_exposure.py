"""
Whether the new weight is what callers meet: what proves it, what refutes it, who lags, and how seldom that is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from canaryd.judge import JudgeState, advance, exposure, weigh
from canaryd.judge.exposure import ALPHA_SHARE, MOST_CLIENTS, SHARE_OFF, interval
from canaryd.model.cells import Caller, Cell
from canaryd.model.judgement import Exposure
from canaryd.model.plan import Analysis, Check
from canaryd.model.traffic import Split

from .population import cell, counts, folded

ERRORS = Analysis(checks=(Check(name="errors", metric="error-rate", compare="stable"),))
OBJECTIVE = Analysis(checks=(Check(name="slo", metric="error-rate", at_most=0.01),))
STATES = TypeAdapter(JudgeState)


def sent(index: int, canary: float, stable: float, percent: float = 25, former: float | None = 5, **more) -> Cell:
    """A cell in which so many requests went to either side, after a step from ``former`` percent."""
    was = None if former is None else Split.percent(former)
    callers = more.pop("callers", ())
    made = cell(index, percent, counts(canary), counts(stable), **more)
    return replace(made, former=was, callers=callers)


def after(*cells: Cell, analysis: Analysis = ERRORS) -> Exposure:
    return folded(analysis, list(cells)).exposure


def drawn(seed: int, shares, requests: int = 300, percent: float = 25, former: float | None = 5) -> list[Cell]:
    """Cells whose canary got a binomial number of ``requests``, by the share of each."""
    rng = np.random.default_rng(seed)
    found = []
    for index, share in enumerate(shares):
        ours = int(rng.binomial(requests, share))
        found.append(sent(index, ours, requests - ours, percent, former))
    return found


# The proof.


def test_pass_counts_from_the_first_cell_in_which_the_new_share_is_proven():
    """Two settled cells of the former weight are a proxy that has not heard yet: they are no bake."""
    early = [sent(index, 15, 285) for index in range(2)]
    evidence = weigh(ERRORS, folded(ERRORS, early))
    assert (evidence.shared_from, evidence.canary_requests, evidence.proven) == (None, 0.0, False)
    assert evidence.share.endswith("wanted 25 %; not yet told from the former 5 %")
    state = folded(ERRORS, [*early, *(sent(index, 75, 225) for index in range(2, 5))])
    evidence = weigh(ERRORS, state)
    assert evidence.shared_from == 30
    assert (state.settled_cells, evidence.canary_requests) == (3, 225.0)
    assert evidence.share == "the canary got 25.0 % of 900 requests (95 % interval 22.3 to 27.9 %), wanted 25 %"


def test_non_inferiority_is_proven_only_by_cells_in_which_the_share_held():
    """Proof gathered while the canary had another share says nothing of the one that is promoted from."""
    late = [sent(index, 15, 285) for index in range(40)]
    assert folded(ERRORS, late).checks[0].proof.rows == ()
    here = [sent(index, 75, 225) for index in range(40, 45)]
    fresh = [sent(index, 75, 225) for index in range(5)]
    assert folded(ERRORS, [*late, *here]).checks[0].proof == folded(ERRORS, fresh).checks[0].proof


def test_harm_counts_from_the_first_request_whether_the_share_is_proven_or_not():
    """Users meet the failures; that proxies have not all heard is no excuse."""
    bad = [replace(sent(index, 15, 285), canary=counts(15, 15)) for index in range(4)]
    state = folded(ERRORS, bad)
    assert state.exposure.since is None
    assert state.failure


def test_cells_before_the_settle_time_prove_no_share():
    """Prometheus may still be scraping what came before the write."""
    assert after(*(sent(index, 75, 225, settled=False) for index in range(9))) == Exposure()


def test_after_nothing_a_handful_of_requests_is_a_share_and_a_stray_is_not():
    """At 1 %: six requests tell; one that a header entry sent there does not."""
    assert after(sent(0, 6, 594, 1, 0)).arrived
    assert not after(sent(0, 1, 1999, 1, 0)).arrived


@pytest.mark.parametrize(
    ("former", "percent"), [(0, 1), (0, 5), (5, 25), (25, 50), (50, 60), (5, 6), (50, 100), (50, 5)]
)
def test_the_proof_is_near_what_information_allows(former, percent):
    """No test that is wrong once in a thousand can do with less than log(1000) over the divergence of the two."""
    was, now = former / 100, percent / 100
    edge, sought = exposure._told_apart(was, now)
    divergence = sought * log(sought / edge) + (1 - sought) * log((1 - sought) / (1 - edge))
    least = -log(ALPHA_SHARE) / divergence
    needed = []
    for seed in range(40):
        rng, state, requests = np.random.default_rng(seed), Exposure(), 0
        size = max(1, int(least / 20))
        while not state.arrived:
            ours = int(rng.binomial(size, now))
            state = exposure.followed(ERRORS, state, sent(requests, ours, size - ours, percent, former))
            requests += size
            assert requests < 10 * least + 100
        needed.append(requests)
    assert np.mean(needed) < 1.4 * least + 10


def test_the_former_split_is_seldom_taken_for_the_new_one():
    """Within its own band, in any order, for 400 looks: at most once in a thousand, so never in 60 runs."""
    rng = np.random.default_rng(5)
    for seed in range(60):
        shares = 0.05 * (1 + SHARE_OFF * rng.uniform(-1, 1, 400))
        assert not after(*drawn(seed, shares, requests=100)).arrived


def test_a_segment_at_the_split_of_before_needs_no_proof():
    """After a new stable image, say: nothing was written whose effect would have to be awaited."""
    assert weigh(ERRORS, folded(ERRORS, [sent(0, 75, 225, former=25)])).shared_from == 0
    assert weigh(ERRORS, folded(ERRORS, [sent(0, 75, 225, former=None)])).shared_from == 0


def test_a_split_that_long_ought_to_be_told_and_is_not_is_a_doubt():
    """From 5 to 6 % the band of either holds both; traffic enough to tell them apart shows 5."""
    few = after(*drawn(1, [0.05] * 20, requests=1000, percent=6))
    assert not exposure.overdue(few)
    many = folded(ERRORS, drawn(1, [0.05] * 120, requests=1000, percent=6))
    assert "that may as well be the former 5 %" in weigh(ERRORS, many).doubt
    assert weigh(ERRORS, many).astray


# Astray.


def test_traffic_that_is_not_where_the_split_says_is_a_doubt_and_voids_the_bake():
    """A second VirtualService, say: what was baked while the share held was another population."""
    cells = [sent(index, 1000, 1000, 50, 25) for index in range(20)]
    gone = [sent(index, 700, 1300, 50, 25) for index in range(20, 26)]
    assert weigh(ERRORS, folded(ERRORS, cells)).proven
    evidence = weigh(ERRORS, folded(ERRORS, cells + gone))
    assert evidence.doubt.startswith("share: the canary got 35.0 % of ")
    assert evidence.doubt.endswith(" wanted 50 %; that is nearer to the former 25 %")
    assert (evidence.proven, evidence.shared_from, evidence.canary_requests) == (False, None, 0.0)
    back = [sent(index, 1000, 1000, 50, 25) for index in range(26, 32)]
    state = folded(ERRORS, cells + gone + back)
    assert not weigh(ERRORS, state).doubt
    assert state.exposure.since is not None
    assert state.exposure.since >= 26 * 15
    assert state.settled_cells <= 6


def test_one_burst_calls_no_traffic_astray():
    """A client whose scrape was late brings a cell of its own: the next cells are as they should be."""
    cells = [sent(index, 75, 225) for index in range(20)]
    assert not exposure.astray(after(*cells, sent(20, 75, 5000), sent(21, 75, 225)))


def test_a_canary_that_gets_nothing_is_a_doubt():
    """The traffic does not get there."""
    nothing = [sent(index, 0, 300, 10) for index in range(4)]
    assert "share: no request reaches the canary; it got 0 % of" in weigh(ERRORS, folded(ERRORS, nothing)).doubt


def test_a_dead_canary_is_not_called_traffic_gone_astray():
    """Its failures count as seen: the finding is the outage."""
    dead = [sent(index, 0, 300, 25, unattributed=100) for index in range(6)]
    assert not weigh(ERRORS, folded(ERRORS, dead)).doubt


def test_more_than_the_weight_is_astray_only_where_versions_are_compared():
    """Header entries may add canary traffic; a plan that only has objectives allows them."""
    more = [sent(index, 150, 150) for index in range(9)]
    assert weigh(ERRORS, folded(ERRORS, more)).doubt
    assert not weigh(OBJECTIVE, folded(OBJECTIVE, more)).doubt
    less = [sent(index, 15, 285) for index in range(9)]
    assert weigh(OBJECTIVE, folded(OBJECTIVE, less)).doubt


def test_at_everything_a_stable_that_still_gets_requests_is_astray():
    """100 % is a split as any other, and nothing lies above it."""
    assert weigh(ERRORS, folded(ERRORS, [sent(index, 150, 150, 100, 50) for index in range(9)])).doubt
    whole = weigh(ERRORS, folded(ERRORS, [sent(index, 300, 0, 100, 50) for index in range(9)]))
    assert (whole.doubt, whole.shared_from) == ("", 0)


def test_a_healthy_mesh_is_seldom_called_astray_however_it_jitters():
    """
    Shares that differ from cell to cell, and by what the next cell cannot know, for two hours.

    Beta-distributed with a standard deviation of 8 % of the split: five times what 1,000 requests scatter by chance.
    """
    rng = np.random.default_rng(11)
    for seed in range(30):
        shares = rng.beta(117, 351, 480)
        state = after(*drawn(seed, np.clip(shares, 0.2, 0.3), requests=1000))
        assert not exposure.astray(state)
        assert state.since is not None


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 99.0), st.integers(1, 400), st.integers(0, 2**31), st.booleans())
def test_no_share_within_the_band_is_refuted(percent, requests, seed, high):
    """The worst that is allowed: at one edge of the band for good, with few requests or many."""
    split = Split.percent(round(percent, 1))
    share = min(1.0, split.share * (1 + SHARE_OFF if high else 1 - SHARE_OFF))
    assert not exposure.astray(after(*drawn(seed, [share] * 60, requests, round(percent, 1), None)))


def test_little_traffic_is_never_a_false_alarm():
    """One request in a cell, for a day: nothing is astray, and in time the share is proven."""
    cells = drawn(3, [0.05] * 2000, requests=1, percent=5, former=0)
    state = after(*cells)
    assert not exposure.astray(state)
    assert state.since is not None


# Clients.


def clients(index: int, lag: float, follow: float = 300, percent: float = 25, former: float = 5, **more) -> Cell:
    """One client that still meets the former weight, and one that meets the new one."""
    callers = (
        Caller("web.shop", follow * (1 - percent / 100), follow * percent / 100),
        Caller("batch.jobs", lag * (1 - former / 100), lag * former / 100),
    )
    ours, theirs = sum(one.canary for one in callers), sum(one.stable for one in callers)
    return sent(index, ours, theirs, percent, former, callers=callers, **more)


def test_a_client_that_lags_is_named_and_keeps_pass_from_counting():
    """A tenth of all requests: the overall share is within its tolerance, and these users meet the old weight."""
    evidence = weigh(ERRORS, folded(ERRORS, [clients(index, 60, 540) for index in range(12)]))
    assert evidence.lagging == ("batch.jobs",)
    assert evidence.doubt == (
        "share: not every client follows the split of 25 %: batch.jobs gave it 5.0 % of 720 requests "
        "(95 % interval 3.6 to 6.8 %); that is nearer to the former 5 %"
    )
    assert (evidence.shared_from, evidence.astray) == (None, True)


def test_a_small_client_that_lags_is_told_and_stops_nothing():
    """One in forty: that is less than what a margin allows for."""
    evidence = weigh(ERRORS, folded(ERRORS, [clients(index, 30, 1170) for index in range(12)]))
    assert evidence.lagging == ("batch.jobs",)
    assert not evidence.doubt
    assert "too small to matter, but not following: batch.jobs gave it 5.0 % of" in evidence.share
    assert evidence.shared_from is not None


def test_nothing_is_said_of_a_client_with_too_few_requests_to_tell():
    """And it blocks nothing."""
    evidence = weigh(ERRORS, folded(ERRORS, [clients(index, 1) for index in range(12)]))
    assert (evidence.lagging, evidence.doubt) == ((), "")


def test_a_client_that_catches_up_is_soon_forgiven():
    """What is beyond the bound is thrown away, so that an hour's lag does not cost an hour."""
    late = [clients(index, 100) for index in range(240)]
    follow = [clients(index, 100, former=25) for index in range(240, 252)]
    assert weigh(ERRORS, folded(ERRORS, late)).lagging
    assert not weigh(ERRORS, folded(ERRORS, [*late, *follow])).lagging


def test_a_client_that_is_gone_holds_nobody_up():
    """A job that lagged and has ended: its users meet nothing any more."""
    late = [clients(index, 100) for index in range(12)]
    alone = [sent(index, 75, 225, callers=(Caller("web.shop", 225, 75),)) for index in range(12, 18)]
    assert weigh(ERRORS, folded(ERRORS, late)).doubt
    evidence = weigh(ERRORS, folded(ERRORS, [*late, *alone]))
    assert (evidence.lagging, evidence.doubt) == ((), "")
    assert evidence.shared_from is not None


def test_no_more_clients_are_followed_than_the_bound_was_shared_among():
    """The largest; each cell may name others."""
    callers = tuple(Caller(f"c{number}.shop", 75.0 + number, 25.0) for number in range(MOST_CLIENTS))
    later = tuple(Caller(f"d{number}.shop", 750.0, 250.0) for number in range(MOST_CLIENTS))
    state = after(sent(0, 500, 1500, callers=callers), sent(1, 5000, 15000, callers=later))
    assert {one.client[0] for one in state.clients} == {"d"}


def test_the_small_clients_together_are_none():
    """The rest of the clients is no client: nobody could be asked about it."""
    rest = (Caller("", 285.0, 15.0),)
    assert after(*(sent(index, 15, 285, callers=rest) for index in range(9))).clients == ()


# What is kept.


def test_the_state_goes_through_json_bit_by_bit():
    """A restart while the share is being proven goes on where it was."""
    state = folded(ERRORS, [clients(index, 60) for index in range(5)])
    assert STATES.validate_json(STATES.dump_json(state)) == state


def test_a_state_of_before_counts_nothing_until_the_share_is_proven():
    """It says how many cells had settled, and not whether callers met the weight in them."""
    known = STATES.dump_python(folded(ERRORS, [sent(index, 75, 225) for index in range(9)]), mode="json")
    old = STATES.validate_python({**known, "exposure": {"astray": 0, "absent": 0, "words": ""}})
    assert weigh(ERRORS, old).shared_from is None
    state = advance(ERRORS, old, sent(9, 75, 225))
    assert (state.settled_cells, state.settled_requests) == (1, 75.0)


def test_the_interval_is_wilsons():
    """Figures from Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001, by its formula."""
    low, high = interval(0, 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)
    low, high = interval(10, 20)
    assert (round(low, 4), round(high, 4)) == (0.2993, 0.7007)

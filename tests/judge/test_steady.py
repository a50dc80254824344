"""
A run that never ends: what is remembered does not grow, does not overflow, and survives being written down.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from math import isfinite, nan

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from canaryd.judge import JudgeState, advance, begin, weigh
from canaryd.model.cells import Cell, Gap

from .population import LAB, World, gap

STATES = TypeAdapter(JudgeState)
MILLION = 1e6


def leaves(value):
    """The numbers and texts in a state that was written down."""
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value


def size(state):
    return sum(1 for _ in leaves(asdict(state)))


@lru_cache
def cells(seed, length=400.0, seconds=2.0):
    """A short history, then ``length`` seconds at 25 %, with some failures on both sides."""
    failing, steps = (lambda moment: (0.01, 0.012)), ((0, 20 * seconds), (25, length))
    return tuple(World(seed, failing=failing, steps=steps, seconds=seconds, rate=600 / seconds).cells())


def test_a_long_run_remembers_no_more_than_a_short_one():
    """The daemon keeps it in memory and writes it at every tick; a week at one weight must not be felt."""
    state, sizes = begin(LAB), []
    for one in cells(1, 15_000.0, 30.0):
        state = advance(LAB, state, one)
        sizes.append(size(state))
    assert len(sizes) == 520
    assert max(sizes[260:]) == max(sizes[:260])


def aged(state, times):
    """The state as if its counts had been gathered for so many times as long; what is faded or a logarithm stays."""
    grown = [
        replace(
            one,
            level=replace(one.level, **_many(one.level, times)),
            rise=replace(one.rise, **_many(one.rise, times)),
            excess=tuple((fixed * times, slope * times) for fixed, slope in one.excess),
            proof=replace(one.proof, rows=tuple(tuple(value * times for value in row) for row in one.proof.rows)),
        )
        for one in (*state.checks, state.unattributed)
    ]
    return replace(
        state,
        checks=tuple(grown[:-1]),
        unattributed=grown[-1],
        settled_cells=int(state.settled_cells * times),
        settled_requests=state.settled_requests * times,
        cells=int(state.cells * times),
    )


def _many(tally, times):
    return {
        "seconds": tally.seconds * times,
        "canary": tuple(count * times for count in tally.canary),
        "stable": tuple(count * times for count in tally.stable),
    }


def test_a_million_cells_overflow_nothing():
    """Sums grow with the run; after a million cells they are still numbers, and so is everything that is said."""
    early = cells(2)
    state = begin(LAB)
    for one in early[:-20]:
        state = advance(LAB, state, one)
    state = aged(state, MILLION / len(early))
    for one in early[-20:]:
        state = advance(LAB, state, one)
        assert STATES.validate_json(STATES.dump_json(state)) == state
    assert state.cells > 0.8 * MILLION
    evidence = weigh(LAB, state)
    assert all(isfinite(one) for one in leaves(asdict(evidence)) if isinstance(one, float))


HOSTILE = st.sampled_from(
    [
        lambda one: gap(int(one.start // 2), segment=one.segment),
        lambda one: replace(one, canary=replace(one.canary, requests=nan)),
        lambda one: replace(one, stable=replace(one.stable, errors=-1.0)),
        lambda one: replace(one, canary=replace(one.canary, errors=one.canary.requests + 1)),
        lambda one: replace(one, stable=replace(one.stable, requests=1e9)),
        lambda one: replace(one, unattributed=1e8),
        lambda one: replace(one, canary=replace(one.canary, buckets=(1.0,))),
        lambda one: replace(one, bounds_ms=tuple(reversed(one.bounds_ms))),
        lambda one: replace(one, end=one.start),
    ]
)


@given(st.integers(0, 5), st.lists(st.tuples(st.integers(30, 219), HOSTILE), max_size=4), st.integers(0, 219))
@settings(max_examples=12, deadline=None)
def test_a_hostile_cell_leaves_all_that_is_bet_as_it_was(seed, garbage, saved):
    """
    Wherever it stands in the run, and wherever the run is saved and begun again: the evidence is equal bit for bit.

    Of a total that cannot be the load is remembered, so that one that really rose is believed in the end; nothing
    else is.
    """
    plain = dirty = begin(LAB)
    for place, one in enumerate(cells(seed)):
        plain, dirty = advance(LAB, plain, one), advance(LAB, dirty, one)
        if place == saved:
            dirty = STATES.validate_json(json.dumps(json.loads(STATES.dump_json(dirty))))
        for where, spoil in garbage:
            if where == place:
                bad: Cell | Gap = spoil(one)
                after = advance(LAB, dirty, bad)
                assert after.gap
                assert evidence_in(after) == evidence_in(dirty)
                dirty = after
        assert evidence_in(plain) == evidence_in(dirty)
    assert weigh(LAB, plain) == weigh(LAB, dirty if not dirty.refused else replace(dirty, refused=False))


def evidence_in(state):
    """Everything but what is said of the last cell, and the loads."""
    return replace(state, gap="", refused=False, history=replace(state.history, rates=()))

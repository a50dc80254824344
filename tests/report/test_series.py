"""The evidence over time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd import judge
from canaryd.model.cells import BEFORE, Cell, Past
from canaryd.model.run import Phase
from canaryd.model.traffic import NOTHING
from canaryd.report.series import evidence_over_time, last_word, recorded, replayed
from tests.report import stories


@pytest.mark.parametrize("story", [stories.promoted, stories.rolled_back])
def test_the_journal_and_the_cells_tell_the_same(story):
    """A report without a journal must not show another run than one with it."""
    run, journal = story()
    told, again = {point.at: point for point in recorded(journal)}, {point.at: point for point in replayed(run)}
    assert len(told) > 5
    for at, point in told.items():
        assert point.harm == pytest.approx(again[at].harm)
        assert point.proof == pytest.approx(again[at].proof)
        assert point.segment == again[at].segment


def test_the_journal_is_preferred():
    """It is what the machine decided by."""
    run, journal = stories.rolled_back()
    first = next(entry for entry in journal if entry["saw"]["cells"])
    other = {"saw": {**first["saw"], "evidence": {**first["saw"]["evidence"], "harm": 42.0}}}
    assert [point.harm for point in evidence_over_time(run, [other])] == [42.0]
    assert evidence_over_time(run, []) == replayed(run)


def test_the_last_word_is_about_both_sides():
    """At 100 % nothing is left to compare with, and readings of nothing would hide what the promotion rests on."""
    run, _ = stories.promoted()
    evidence = last_word(run)
    assert run.evidence is not None
    assert evidence is not None
    assert evidence.readings[0].stable_requests > 1000
    assert run.evidence.readings[0].stable_requests == 0


def test_cells_are_judged_again_after_what_stable_did_before():
    """The judge knew it at the first cell; a replay that does not is another verdict."""
    run, _ = stories.rolled_back()
    first = next(cell for cell in run.cells if isinstance(cell, Cell))
    slow = replace(first.stable, buckets=first.stable.buckets[::-1])
    past = Past(0, tuple(replace(first, segment=BEFORE, split=NOTHING, stable=slow) for _ in range(5)))
    known = replace(run, past=past)
    analysis = run.plan.spec.analysis
    state = judge.begin(analysis, past.cells)
    for cell in run.cells:
        state = judge.advance(analysis, state, cell)
    assert replayed(known)[-1].harm == judge.weigh(analysis, state).harm != replayed(run)[-1].harm
    assert last_word(replace(known, phase=Phase.WATCHING)) == run.grounds[-1].evidence

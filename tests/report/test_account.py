"""Every decision as text: the answer of ``explain``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd.metrics.asked import asked
from canaryd.model.run import Pin
from canaryd.report.account import decisions
from tests.report import stories
from tests.report.real import NAMES, real


@pytest.mark.parametrize("name", NAMES)
def test_it_has_every_decision_with_its_evidence(name):
    """What, which query, both sides, on how much, how sure beside how sure it has to be, who, and why."""
    found = real(name)
    text = decisions(found.run, found.journal, asked(found.run))
    flat = " ".join(text.split())
    for number, entry in enumerate((one for one in found.journal if one["events"]), start=1):
        assert f"\n{number}. " in text
        for event, reason in entry["events"]:
            assert f"{event}: {reason}" in flat
        for reading in (entry["saw"]["evidence"] or {}).get("readings", ()):
            assert reading["stable"] in text
            assert f"{reading['canary_requests']:,.0f}" in text
    assert "by canaryd" in text
    assert "evidence of no harm" in text
    for query in asked(found.run):
        assert query.text in text, "a query is copied, and so it is never broken"


def test_evidence_is_told_once():
    """A weight that arrives right after a decision stands on the same evidence."""
    found = real("promoted")
    text = decisions(found.run, found.journal)
    told = [line for line in text.splitlines() if "Evidence at" in line]
    assert len(told) == len(set(told)) > 3
    assert len(told) < sum(one["saw"]["evidence"] is not None for one in found.journal if one["events"])


def test_a_run_without_a_journal_says_where_its_decisions_come_from():
    run, _ = stories.rolled_back()
    text = decisions(run, [])
    assert text.startswith("The journal is not there.")
    assert f"run.rolling_back: {run.latch.reason[:40]}" in text
    assert "Evidence at 5 %" in text


def test_a_run_that_has_decided_nothing_says_so():
    assert decisions(*stories.pending()) == "The run has decided nothing yet.\n"


def test_a_terminal_obeys_nothing_that_others_wrote():
    run, journal = stories.aborted("\x1b[2J\x07gone\nby night", "eve\x1b]0;x\x07")
    text = decisions(run, journal)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "gone by night" in text


def test_queries_name_what_was_pinned():
    run, _ = stories.promoted()
    assert run.stable_pin is not None
    pinned = replace(run, canary_pin=Pin(("reviews-v3-hotfix",), "default", ("u",), ("h",)))
    assert any("reviews-v3-hotfix" in query.text for query in asked(pinned))
    assert asked(replace(run, canary_pin=None)) == ()

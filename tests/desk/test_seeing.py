"""What a status tells of decisions, for the readers of a journal."""

from __future__ import annotations

from canaryd.desk.port import Decided
from canaryd.desk.seeing import as_journal, decided_in


def told(at: float, event: str, weight: str = "5 %") -> Decided:
    return Decided(at, event, "baking", weight, f"why {event}")


def test_what_one_tick_decided_is_one_entry() -> None:
    """As the journal has it: numbered once, on one evidence."""
    decisions = (told(1.5, "run.started"), told(1.5, "step.shifting"), told(2.0, "step.shifted"), told(2.5, "run.held"))
    entries = as_journal(decisions)
    assert [[event for event, _ in entry["events"]] for entry in entries] == [
        ["run.started", "step.shifting"], ["step.shifted"], ["run.held"]
    ]  # fmt: skip
    assert decided_in(entries) == decisions


def test_who_asked_is_known_from_a_journal_as_from_a_status() -> None:
    """The journal has the commands themselves, a status the names."""
    resume = {"id": "1", "verb": "resume", "by": "bob", "reason": ""}
    seen = {"saw": {"commands": [resume]}, "phase": "baking", "split": 5000}
    journal = [
        seen | {"at": 1.0, "events": []},
        seen | {"at": 2.0, "events": [["step.shifted", "to 5 %"]]},
        seen | {"at": 3.0, "events": [["run.resumed", "no longer held"]]},
    ]
    decided = decided_in(journal)
    assert [one.by for one in decided] == ["", "bob"]
    assert decided_in(as_journal(decided)) == decided


def test_a_match_has_no_weight_in_a_journal() -> None:
    """A share in words is none in percent."""
    [entry] = as_journal((told(1.0, "step.shifted", "match"),))
    assert "split" not in entry

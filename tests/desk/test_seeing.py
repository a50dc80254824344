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


def test_a_match_has_no_weight_in_a_journal() -> None:
    """A share in words is none in percent."""
    [entry] = as_journal((told(1.0, "step.shifted", "match"),))
    assert "split" not in entry

"""Freezes as sentences, and what bars a plan among several of them."""

from __future__ import annotations

from canaryd.model.guards import Freeze, barred, stopped
from canaryd.model.plan import Plan
from tests.stage import plan

NOW = 1_795_676_400.0  # Thu 26 Nov 2026 07:00 UTC
HOUR = 3600.0


def shop() -> Plan:
    found = plan(5, 50)
    return found.model_copy(update={"metadata": found.metadata.model_copy(update={"namespace": "shop"})})


def freeze(name: str = "night", namespace: str = "shop", until: float | None = NOW + 4 * HOUR, **more: bool) -> Freeze:
    return Freeze(name, namespace, "incident 4711", "ana", until, NOW - HOUR, **more)


def test_a_freeze_says_whose_it_is_why_and_until_when() -> None:
    """Who waits at night must know whom to call."""
    found = barred(shop(), [freeze()], NOW)
    assert found is not None
    assert found.why == "frozen by ana until 11:00 UTC: incident 4711 (night)"
    assert found.at(NOW) == "frozen by ana until 11:00 UTC: incident 4711 (night), for another 4 hours"
    lasting = barred(shop(), [freeze(until=None)], NOW)
    assert lasting is not None
    assert lasting.at(NOW) == "frozen by ana until it is lifted: incident 4711 (night)"


def test_a_freeze_counts_for_its_namespace_or_for_all() -> None:
    assert barred(shop(), [freeze(namespace="other")], NOW) is None
    assert barred(shop(), [freeze(namespace="")], NOW) is not None


def test_it_ends_at_its_end() -> None:
    """The object may lie there for months."""
    assert barred(shop(), [freeze(until=NOW)], NOW) is None
    assert barred(shop(), [freeze(until=NOW)], NOW - 1) is not None


def test_of_several_all_are_told_and_the_last_end_counts() -> None:
    """A stop first; and the order in which they are read changes nothing, for each change is written down."""
    several = [
        freeze("a", until=NOW + HOUR),
        freeze("b", namespace="", until=NOW + 2 * HOUR, stop=True),
        freeze("c", until=NOW + 3 * HOUR),
    ]
    found, other = barred(shop(), several, NOW), barred(shop(), several[::-1], NOW)
    assert found == other
    assert found is not None
    assert found.until == NOW + 3 * HOUR
    assert found.why.startswith("stopped by ana until 09:00 UTC")
    assert all(f"({name})" in found.why for name in "abc")
    with_one_that_lasts = barred(shop(), [*several, freeze("d", until=None)], NOW)
    assert with_one_that_lasts is not None
    assert with_one_that_lasts.until is None


def test_a_closed_window_is_told_beside_a_freeze() -> None:
    """Who waits for the one must not learn of the other on Monday."""
    office = shop().model_copy(update={"spec": plan(5, 50, windows=[{"opens": "0 9 * * mon", "for": "1h"}]).spec})
    found = barred(office, [freeze()], NOW)
    assert found is not None
    assert found.why == (
        "frozen by ana until 11:00 UTC: incident 4711 (night); outside of the change window until Mon 09:00 UTC"
    )


def test_only_a_stop_stops() -> None:
    """A freeze rolls nothing back."""
    assert stopped("shop", [freeze()], NOW) == ""
    stop = freeze("red", until=None, stop=True)
    assert stopped("shop", [freeze(), stop], NOW) == "stopped by ana until it is lifted: incident 4711 (red)"
    assert stopped("other", [stop], NOW) == ""
    assert stopped("shop", [freeze("red", until=NOW, stop=True)], NOW) == ""

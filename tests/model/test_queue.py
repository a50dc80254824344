"""Whose turn it is: first asked, first served, and nobody is in the way for a reason of its own."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from canaryd.model.queue import Limits, Ticket, turns


def queue(*plans: str) -> list[Ticket]:
    return [Ticket(float(place), plan) for place, plan in enumerate(plans)]


def sentences(waiting: list[Ticket], running: list[str], limits: Limits) -> dict[str, str]:
    return {plan: turn.sentence if turn.place else "" for plan, turn in turns(waiting, running, limits).items()}


def test_who_asked_first_is_first() -> None:
    """However they are read; and the place says what it waits for."""
    waiting = queue("a/one", "b/two", "a/three")
    assert sentences(waiting[::-1], ["c", "c"], Limits(3)) == {
        "a/one": "",
        "b/two": "waiting in the queue: 1st of 2, at most 3 runs go on at once in this cluster",
        "a/three": "waiting in the queue: 2nd of 2, at most 3 runs go on at once in this cluster",
    }


def test_a_full_namespace_is_in_nobody_elses_way() -> None:
    """Its plans wait for it, and those behind them begin."""
    waiting = queue("a/one", "a/two", "b/three")
    assert sentences(waiting, ["a"], Limits(3, 1)) == {
        "a/one": "waiting in the queue: 1st of 2, at most 1 run goes on at once in namespace a",
        "a/two": "waiting in the queue: 2nd of 2, at most 1 run goes on at once in namespace a",
        "b/three": "",
    }


def test_places_are_counted_as_people_count() -> None:
    waiting = queue(*(f"a/{number}" for number in range(24)))
    said = [turn.sentence.split(" of ")[0].rsplit(" ", 1)[1] for turn in turns(waiting, ["b"], Limits(1)).values()]
    assert [said[place] for place in (0, 1, 2, 3, 10, 11, 12, 20, 21, 22)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd",
    ]  # fmt: skip


def test_with_no_limit_everybody_may() -> None:
    assert set(sentences(queue("a/one", "b/two"), ["a"] * 50, Limits()).values()) == {""}


PLANS = st.lists(st.sampled_from([f"{home}/{name}" for home in "abc" for name in range(4)]), unique=True)


@given(PLANS, st.lists(st.sampled_from("abc"), max_size=6), st.integers(0, 5), st.integers(0, 3))
def test_the_limits_hold_and_nobody_waits_without_a_reason(
    plans: list[str], running: list[str], most: int, most_each: int
) -> None:
    """
    No limit is exceeded by those whose turn it is; and who waits does so because its namespace is full, or all is.

    So nobody starves: the eldest of those that could begin begins as soon as there is room for it.
    """
    found = turns(queue(*plans), running, Limits(most, most_each))
    assert set(found) == set(plans)
    begins = [plan for plan in plans if not found[plan].place]
    after = Counter([*running, *(plan[0] for plan in begins)])
    for home in {plan[0] for plan in begins}:
        assert not most_each or after[home] <= most_each
    if begins:
        assert not most or sum(after.values()) <= most
    for place, plan in enumerate(plans):
        if found[plan].place:
            before = Counter([*running, *(one[0] for one in begins if plans.index(one) < place)])
            full = most_each and before[plan[0]] >= most_each
            assert full or (most and sum(before.values()) >= most)

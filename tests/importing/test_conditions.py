"""Argo's conditions: the simple forms exactly, everything else not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.importing.conditions import Asked, Bound, failure, success


def asked(found: Asked | None) -> list[tuple[str, str, bool]] | None:
    return None if found is None else [(one.kind, str(one.number), one.strict) for one in found.bounds]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("result[0] >= 0.95", [("atLeast", "0.95", False)]),
        ("result[0] > 0.95", [("atLeast", "0.95", True)]),
        ("result <= 5", [("atMost", "5", False)]),
        ("(result[0]<5)", [("atMost", "5", True)]),
        ("0.95 <= result[0]", [("atLeast", "0.95", False)]),
        ("asFloat(result[0]) >= 1e-3", [("atLeast", "0.001", False)]),
        ("result[0] >= 1 && result[0] <= 2", [("atLeast", "1", False), ("atMost", "2", False)]),
        ("!isNaN(result[0]) && result[0] >= 0.95", [("atLeast", "0.95", False)]),
        ("isNaN(result[0]) || result[0] >= 0.95", [("atLeast", "0.95", False)]),
        ("len(result) == 0 || result[0] < 5", [("atMost", "5", True)]),
        ("result[0] >= 1 || result[0] <= 2", None),
        ("result[0] >= 1 && len(result) > 0 || result[0] > 2", None),
        ("result[0] == 1", None),
        ("result[1] >= 1", None),
        ("result.rate >= 1", None),
        ("result[0] >= result[1]", None),
        ("default(result, 0) < 5", None),
        ("true", None),
        ("", None),
    ],
)
def test_what_has_to_hold_for_a_success(condition: str, expected: list[tuple[str, str, bool]] | None) -> None:
    assert asked(success(condition)) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("result[0] < 0.95", [("atLeast", "0.95", False)]),
        ("result[0] <= 0.95", [("atLeast", "0.95", True)]),
        ("result[0] >= 5", [("atMost", "5", True)]),
        ("result[0] < 1 || result[0] > 2", [("atLeast", "1", False), ("atMost", "2", False)]),
        ("isNaN(result[0]) || result[0] > 2", [("atMost", "2", False)]),
        ("result[0] < 1 && result[0] > 2", None),
    ],
)
def test_what_has_to_hold_against_a_failure(condition: str, expected: list[tuple[str, str, bool]] | None) -> None:
    assert asked(failure(condition)) == expected


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (success("len(result) == 0 || result[0] < 5"), True),
        (success("isNaN(result[0]) || result[0] < 5"), False),
        (success("len(result) > 0 && result[0] < 5"), False),
        (success("result[0] < 5"), False),
        (failure("len(result) > 0 && result[0] > 5"), True),
        (failure("len(result) == 0 || result[0] > 5"), False),
    ],
)
def test_whether_nothing_found_was_good(found: Asked | None, good: bool) -> None:
    assert found is not None
    assert found.empty_is_good == good


SIGNS = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}


def holds(bound: Bound, value: Decimal) -> bool:
    inside = value >= bound.number if bound.kind == "atLeast" else value <= bound.number
    return inside and not (bound.strict and value == bound.number)


@given(st.sampled_from(sorted(SIGNS)), st.integers(-99, 99), st.integers(-99, 99), st.booleans())
def test_a_bound_says_of_every_value_what_the_condition_says(sign: str, limit: int, value: int, turned: bool) -> None:
    condition = f"{limit} {sign} result[0]" if turned else f"result[0] {sign} {limit}"
    truth = SIGNS[sign](limit, value) if turned else SIGNS[sign](value, limit)
    wanted, barred = success(condition), failure(condition)
    assert wanted is not None
    assert barred is not None
    assert all(holds(bound, Decimal(value)) for bound in wanted.bounds) == truth
    assert all(holds(bound, Decimal(value)) for bound in barred.bounds) != truth

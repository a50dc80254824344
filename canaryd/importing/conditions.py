"""
Conditions on a measurement, as Argo Rollouts writes them, taken for what they ask: at least, at most.

Only what can be said exactly is translated. Argo's language (expr) can say much more, and what is not one of the forms
here is refused as a whole: half a condition is another condition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

_VALUE = r"(?:(?:asFloat|asInt|float)\(\s*)?result(?:\[0\])?\s*\)?"
_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARED = re.compile(rf"(?:{_VALUE}\s*(?P<sign><=|>=|<|>)\s*(?P<number>{_NUMBER}))")
_TURNED = re.compile(rf"(?:(?P<number>{_NUMBER})\s*(?P<sign><=|>=|<|>)\s*{_VALUE})")
_NOT_A_NUMBER = re.compile(r"isNaN\(\s*result(?:\[0\])?\s*\)")
_A_NUMBER = re.compile(r"!\s*isNaN\(\s*result(?:\[0\])?\s*\)")
_EMPTY = re.compile(r"(?:len\(result\)\s*==\s*0|result\s*==\s*nil|isNil\(\s*result\s*\))")
_THERE = re.compile(r"len\(result\)\s*(?:>\s*0|!=\s*0|>=\s*1)")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_UNSAID = {"<": ">=", ">": "<=", "<=": ">", ">=": "<"}


@dataclass(frozen=True, slots=True)
class Bound:
    """``at least`` or ``at most`` a number; ``strict``: the number itself did not count as good there."""

    kind: Literal["atLeast", "atMost"]
    number: Decimal
    strict: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What a condition asks of the value.

    ``without_data``: what was said about a measurement without a value, such as ``len(result) == 0 ||``; empty where
    nothing was. ``empty_is_good``: no more than that a query that finds nothing is good.
    """

    bounds: tuple[Bound, ...]
    without_data: str = ""
    empty_is_good: bool = False


def success(condition: str) -> Asked | None:
    """What has to hold for a measurement to be good; None where it is not one of the forms that can be said."""
    return _asked(condition, otherwise="||")


def failure(condition: str) -> Asked | None:
    """What has to hold for a measurement *not* to be a failure; None as above."""
    return _asked(condition, otherwise="&&", negated=True)


def _asked(condition: str, *, otherwise: str, negated: bool = False) -> Asked | None:
    """Clauses that each have to hold; the joint ``otherwise`` may only join one about no data to a single one."""
    clauses = [clause.strip() for clause in re.split(r"(?:&&|\|\|)", condition)]
    joints = set(re.findall(r"&&|\|\|", condition))
    if len(joints) > 1:
        return None
    bounds, said = [], []
    for clause in clauses:
        plain = _unwrapped(clause)
        if bound := _bound(plain, negated=negated):
            bounds.append(bound)
        elif any(form.fullmatch(plain) for form in (_A_NUMBER, _NOT_A_NUMBER, _EMPTY, _THERE)):
            said.append(clause)
        else:
            return None
    if joints == {otherwise} and (len(bounds) != 1 or not said):
        return None
    empty = _THERE if negated else _EMPTY
    only = joints == {otherwise} and all(empty.fullmatch(_unwrapped(clause)) for clause in said)
    return Asked(tuple(bounds), f" {''.join(joints)} ".join(said), only) if bounds else None


def _unwrapped(clause: str) -> str:
    """Without the parentheses around it."""
    while clause.startswith("(") and clause.endswith(")") and _closes_last(clause):
        clause = clause[1:-1].strip()
    return clause


def _closes_last(clause: str) -> bool:
    depth = 0
    for place, sign in enumerate(clause):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return place == len(clause) - 1
    return False


def _bound(clause: str, *, negated: bool) -> Bound | None:
    if found := _COMPARED.fullmatch(clause):
        sign = found["sign"]
    elif found := _TURNED.fullmatch(clause):
        sign = _FLIPPED[found["sign"]]
    else:
        return None
    sign = _UNSAID[sign] if negated else sign
    return Bound("atLeast" if sign.startswith(">") else "atMost", Decimal(found["number"]), "=" not in sign)

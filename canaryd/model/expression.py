"""
What a PromQL query is, by its syntax: the only importer of the parser.

Nothing here asks Prometheus. The parser is a library (Rust, without I/O; ADR 24) and is used where a person's text
comes in, never where a saved run is read: what a later version of it thinks of a query must not lose a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Any, Literal

from canaryd.model.variables import QUOTED

try:
    import promql_parser as library
except ImportError:  # a platform for which there is no wheel: canaryd works there, but for plans with queries
    library = None  # type: ignore[assignment]

Kind = Literal["scalar", "vector", "matrix", "string"]

LONGEST, MOST_SIGNS, DEEPEST = 4000, 200, 50
"""
Characters, operators and matchers, and brackets within brackets.

The parser goes down by recursion, and where its stack ends so does the process: a thread of musl's has 128 KiB.
"""
ANOTHER_DAY = timedelta(days=1)
"""An offset of this much or more compares with another day, and is no stretch of time that a value speaks of."""
ONE_ROW = frozenset({"sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "quantile"})
"""Aggregations that leave one row where they keep no label."""
_KINDS: dict[str, Kind] = {"Scalar": "scalar", "Vector": "vector", "Matrix": "matrix", "String": "string"}
_SIGN = re.compile(r"[-+*/%^]|[=!<>~]+|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


class Fault(ValueError):  # noqa: N818  # it is what is wrong with a text, and said to its writer
    """What is wrong with a query, in words; ``at`` is the character (from 1) where it shows, 0 where it is none."""

    def __init__(self, why: str, at: int = 0) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector: the metric's name (empty where a matcher says it), and (operator, label, value) of each matcher."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f'{label}{sign}"{value}"' for sign, label, value in self.matchers)
        return f"{self.name}{{{inside}}}"


@dataclass(frozen=True, slots=True)
class Expression:
    """
    A query that the grammar allows.

    ``span`` are the seconds of the longest stretch of time that a value of it speaks of: a range, a subquery with what
    is inside it, or the same metric at two moments less than a day apart. ``several`` says that by its syntax the
    answer may have more than one row, ``fixed`` that a part of it is of one moment for ever (``@``).
    """

    kind: Kind
    span: float
    selectors: tuple[Selector, ...]
    several: bool
    fixed: bool


def read(query: str) -> Expression:
    """What ``query`` is, without variables in it. Raises :class:`Fault`."""
    tree = _parsed(query)
    found = tuple(_selectors(tree, 0.0))
    moments: dict[Selector, list[float]] = {}
    for one in found:
        moments.setdefault(one.selector, []).append(one.offset)
    ranges = [one.span for one in found] + [
        max(near) - min(near)
        for offsets in moments.values()
        if (near := [offset for offset in offsets if abs(offset) < ANOTHER_DAY.total_seconds()])
    ]
    return Expression(
        _kind(tree),
        max(ranges, default=0.0),
        tuple(dict.fromkeys(one.selector for one in found)),
        _several(tree),
        any(one.fixed for one in found),
    )


def contradiction(selector: Selector) -> str:
    """Two matchers of a selector that nothing can meet together, in words; empty where there are none."""
    equal: dict[str, str] = {}
    for sign, label, value in selector.matchers:
        if sign == "=" and equal.setdefault(label, value) != value:
            return f'{label} is "{equal[label]}" and "{value}"'
    for sign, label, value in selector.matchers:
        if sign == "!=" and equal.get(label) == value:
            return f'{label} is "{value}" and is not'
    return ""


@dataclass(frozen=True, slots=True)
class _Found:
    selector: Selector
    span: float
    offset: float
    fixed: bool


def _parsed(query: str) -> Any:
    if library is None:
        raise Fault("a machine that can read queries: the package promql-parser is not installed here")
    if len(query) > LONGEST:
        raise Fault(f"a query of at most {LONGEST:,} characters, got {len(query):,}")
    bare = QUOTED.sub("", query)
    if (signs := len(_SIGN.findall(bare))) > MOST_SIGNS:
        raise Fault(f"a query with at most {MOST_SIGNS} operators, got {signs}")
    if (depth := max(accumulate((sign in "([{") - (sign in ")]}") for sign in bare), default=0)) > DEEPEST:
        raise Fault(f"a query with at most {DEEPEST} brackets within brackets, got {depth}")
    try:
        return library.parse(query)
    except ValueError as error:
        why = _of(error)
    raise Fault(why, _place(query, why))


def _place(query: str, why: str) -> int:
    """The shortest beginning of the query from which on the fault is what it is: there it shows."""
    at = len(query)
    while at > 1 and _says(query[: at - 1]) == why:
        at -= 1
    return at


def _says(query: str) -> str:
    try:
        library.parse(query)
    except ValueError as error:
        return _of(error)
    return ""


def _of(error: ValueError) -> str:
    return " ".join(str(error).split())


def _kind(tree: Any) -> Kind:
    match type(tree).__name__:
        case "NumberLiteral":
            return "scalar"
        case "StringLiteral":
            return "string"
        case "MatrixSelector" | "SubqueryExpr":
            return "matrix"
        case "Call":
            return _KINDS[str(tree.func.return_type).rpartition(".")[2]]
        case "ParenExpr" | "UnaryExpr":
            return _kind(tree.expr)
        case "BinaryExpr":
            return "scalar" if _kind(tree.lhs) == _kind(tree.rhs) == "scalar" else "vector"
    return "vector"


def _below(tree: Any) -> tuple[Any, ...]:
    match type(tree).__name__:
        case "AggregateExpr" | "ParenExpr" | "UnaryExpr":
            return (tree.expr,)
        case "BinaryExpr":
            return (tree.lhs, tree.rhs)
        case "Call":
            return tuple(tree.args)
    return ()


def _selectors(tree: Any, outside: float, offset: float = 0.0, *, fixed: bool = False) -> Iterator[_Found]:
    """The selectors below ``tree``, which is asked over ``outside`` seconds, so far back."""
    match type(tree).__name__:
        case "VectorSelector":
            back = offset + _seconds(tree.offset)
            yield _Found(_selector(tree), outside, back, fixed or _is_fixed(tree.at))
        case "MatrixSelector":
            inner, range_ = tree.vector_selector, _seconds(tree.range)
            back = offset + _seconds(inner.offset)
            yield _Found(_selector(inner), outside + range_, back, fixed or _is_fixed(inner.at))
        case "SubqueryExpr":
            yield from _selectors(
                tree.expr,
                outside + _seconds(tree.range),
                offset + _seconds(tree.offset),
                fixed=fixed or _is_fixed(tree.at),
            )
        case _:
            for each in _below(tree):
                yield from _selectors(each, outside, offset, fixed=fixed)


def _selector(found: Any) -> Selector:
    matchers = tuple((_sign(one.op), str(one.name), str(one.value)) for one in found.matchers.matchers)
    named = next((value for sign, label, value in matchers if label == "__name__" and sign == "="), "")
    return Selector(found.name or named, tuple(one for one in matchers if one[1] != "__name__" or one[0] != "="))


def _sign(operator: Any) -> str:
    return {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(operator).rpartition(".")[2]]


def _seconds(duration: timedelta | None) -> float:
    return duration.total_seconds() if duration else 0.0


def _is_fixed(at: Any) -> bool:
    return at is not None and str(at.type).endswith("At")


def _several(tree: Any) -> bool:
    """Whether more than one row may come out, as far as the syntax tells."""
    match type(tree).__name__:
        case "VectorSelector":
            return True
        case "ParenExpr" | "UnaryExpr":
            return _several(tree.expr)
        case "AggregateExpr":
            keeps = tree.modifier is not None and (
                bool(tree.modifier.labels) or str(tree.modifier.type).endswith("Without")
            )
            return keeps or _operator(tree.op) not in ONE_ROW
        case "BinaryExpr":
            left, right = _several(tree.lhs), _several(tree.rhs)
            return left and right if _both_vectors(tree) and _operator(tree.op) == "and" else left or right
        case "Call":
            if _kind(tree) == "scalar" or tree.func.name in ("vector", "absent", "absent_over_time"):
                return False
            return any(_several(one) or _kind(one) == "matrix" for one in tree.args)
    return False


def _both_vectors(tree: Any) -> bool:
    return _kind(tree.lhs) == _kind(tree.rhs) == "vector"


def _operator(token: Any) -> str:
    return str(token).rpartition(".")[2].lower()

"""
What a plan's query leaves open, as ``${...}``, and what is put there for each side.

What is put in is escaped for the place where it goes: a name inside a matcher's regular expression matches itself
alone, whatever dots it has, and none can leave its string. So a query is read as far as its strings and comments go,
and no further; what it means is for :mod:`~canaryd.model.expression` to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

WINDOW = "window"
VARIABLES = {
    "workload": "the side's workload; in `=~` and `!~` several become an alternative",
    "subset": "its subset",
    "podTemplateHash": "the pod-template-hash of its ReplicaSet; several become an alternative",
    "host": "the host of the version, fully qualified as Istio's `destination_service` is",
    "namespace": "the namespace of its workload",
    WINDOW: "how much time a value speaks of: the check's `window`; it stands outside of quotes, as a range does",
}
"""What a query may name as ``${...}``, and what it becomes."""

Known = Mapping[str, tuple[str, ...]]
"""For each variable what it may be; a side may have several workloads, and none where something is not known."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'(?:\\.|[^'\\])*'|" + r"`[^`]*`|#[^\n]*", re.DOTALL)
"""A string or a comment."""
_REGEX = re.compile(r"[=!]~\s*$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable stands: in a string of ``quote`` (empty outside of all), and whether that is a regex."""

    name: str
    quote: str
    regex: bool


def places(query: str) -> tuple[Place, ...]:
    """The variables of a query, in their order; those in comments are none."""
    found: list[Place] = []

    def noted(place: Place) -> str:
        found.append(place)
        return ""

    _replaced(query, noted)
    return tuple(found)


def filled(query: str, known: Known) -> str:
    """
    The query with everything put in. Names in it that are no variable stay as they are.

    Raises ValueError, with a sentence, where what is known does not fit the place.
    """
    return _replaced(query, lambda place: _fitted(place, known))


def measured(query: str) -> str:
    """The query with something of the same length in each place, so that a position in one is that in the other."""
    return _replaced(
        query, lambda place: ("0" * (len(place.name) + 1) + "1s") if place.name == WINDOW else _word(place)
    )


def pattern(value: str) -> str:
    """``value`` as an RE2 regex that matches it alone. (Prometheus anchors a regex at both ends.)"""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def text(value: str, quote: str = '"') -> str:
    """``value`` as a PromQL string in that kind of quotes. Raises ValueError where it cannot be one."""
    if quote == "`":
        if quote in value:
            raise ValueError(f"{value!r} cannot stand in backticks")
        return f"`{value}`"
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"


def _word(place: Place) -> str:
    return "x" * (len(place.name) + 3)


def _fitted(place: Place, known: Known) -> str:
    if place.name not in VARIABLES:
        return f"${{{place.name}}}"
    values = known.get(place.name, ())
    if place.name == WINDOW or not place.quote:
        if place.name != WINDOW:
            raise ValueError(f"${{{place.name}}} outside of quotes")
        return values[0]
    if not values:
        raise ValueError(f"the side has no {place.name}")
    if place.regex:
        each = [pattern(value) for value in values]
        return text(each[0] if len(each) == 1 else f"({'|'.join(each)})", place.quote)[1:-1]
    if len(values) > 1:
        raise ValueError(f"${{{place.name}}} is {' and '.join(values)}: a matcher with =~ takes several, others one")
    return text(values[0], place.quote)[1:-1]


def _replaced(query: str, by: Callable[[Place], str]) -> str:
    return "".join(_pieces(query, by))


def _pieces(query: str, by: Callable[[Place], str]) -> Iterator[str]:
    end = 0
    for quoted in QUOTED.finditer(query):
        piece, regex = quoted[0], _REGEX.search(query[: quoted.start()]) is not None
        yield _put(query[end : quoted.start()], "", by)
        yield piece if piece.startswith("#") else _put(piece, piece[0], by, regex=regex)
        end = quoted.end()
    yield _put(query[end:], "", by)


def _put(piece: str, quote: str, by: Callable[[Place], str], *, regex: bool = False) -> str:
    return _VARIABLE.sub(lambda found: by(Place(found[1], quote, regex)), piece)

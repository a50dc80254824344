"""
What a validator says: errors, which refuse an object, and warnings, which do not.

Istio collects errors in Go's hashicorp/go-multierror: one alone is told as it is, several as a counted list. A few
rules make a list already for themselves (`listed`), so that even their only error is told as a list of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Problem:
    text: str
    warning: bool = False
    listed: bool = False


Problems = Iterator[Problem]


def wrong(text: str) -> Problem:
    return Problem(text)


def listed(text: str) -> Problem:
    """An error that Istio appends to a list, which shows when nothing else is wrong."""
    return Problem(text, listed=True)


def warning(text: str) -> Problem:
    return Problem(text, warning=True)


def errors_only(problems: Iterable[Problem]) -> Problems:
    """Where Istio drops warnings on the way up: below subsets and port-level settings, in TCP matches, in faults."""
    return (one for one in problems if not one.warning)


def told(errors: list[Problem]) -> str:
    """The text of an error. Source: hashicorp/go-multierror, format.go (ListFormatFunc)."""
    if len(errors) == 1 and not errors[0].listed:
        return errors[0].text
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    lines = "\n\t".join(f"* {one.text}" for one in errors)
    return f"{count} occurred:\n\t{lines}\n\n"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES["\v"] = "\\v"


def quoted(text: str) -> str:
    """Go's ``%q``."""
    return f'"{"".join(_escaped(one) for one in text)}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SCIENTIFIC_FROM, _SCIENTIFIC_BELOW = 6, -4  # powers of ten; source: strconv, ftoa.go


def number(value: float) -> str:
    """Go's ``%v`` of a float: the shortest digits that read back as the same number, whole numbers without a point."""
    shortest = Decimal(repr(float(value)))
    power = shortest.adjusted()
    if shortest and not _SCIENTIFIC_BELOW <= power < _SCIENTIFIC_FROM:
        digits = f"{shortest.scaleb(-power).normalize():f}"
        return f"{digits}e{power:+03d}"
    return f"{shortest.normalize():f}" if shortest else "0"

"""
What is wrong with something a person wrote, and what to do about it.

A problem names path, value, expectation and remedy, so that the reader never has to guess. Problems are collected and
shown together; the first one never hides the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from canaryd.errors import CanarydError


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is wrong.

    ``path`` says where (``spec.steps.1.weight``, or ``VirtualService default/reviews``), ``value`` what was found (as
    text, empty where nothing was), ``expected`` what had been expected, ``remedy`` what to do, as a command if there
    is one.
    """

    path: str
    value: str
    expected: str
    remedy: str = ""

    def __str__(self) -> str:
        found = f", got {self.value}" if self.value else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.path}: {self.expected}{found}{remedy}"


class Refused(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """A plan that cannot be carried out as it stands: carries every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

"""
What is wrong with something a person wrote, and what to do about it.

A problem names path, value, expectation and remedy, so that the reader never has to guess. Problems are collected and
shown together; the first one never hides the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from canaryd.errors import CanarydError

if TYPE_CHECKING:
    from canaryd.model.finding import Finding


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is wrong.

    ``path`` says where (``spec.steps.1.weight``, or ``VirtualService default/reviews``), ``value`` what was found (as
    text, empty where nothing was), ``expected`` what had been expected (empty where the value says it), ``remedy`` what
    to do in words, and ``command`` what to type, if there is something. ``code`` is its kind (see
    ``model/finding.py``), where it has one, and ``transient`` says that it passes by itself.
    """

    path: str
    value: str
    expected: str
    remedy: str = ""
    code: str = ""
    command: str = ""
    transient: bool = False

    @property
    def advice(self) -> str:
        """What to do, in words and as a command."""
        return ": ".join(filter(None, (self.remedy, self.command)))

    def __str__(self) -> str:
        found = f"got {self.value}" if self.value and self.expected else self.value
        advice = f" ({self.advice})" if self.advice else ""
        return f"{self.path}: {', '.join(filter(None, (self.expected, found)))}{advice}"


class Refused(CanarydError):  # noqa: N818  # it is an answer, not a fault
    """
    A plan that cannot be carried out as it stands: carries every problem found.

    ``transient``: all of them pass by themselves. ``findings`` are what was found beside them and stops nothing.
    """

    def __init__(self, problems: Iterable[Problem], findings: Iterable[Finding] = ()) -> None:
        self.problems = tuple(problems)
        self.findings = tuple(findings)
        self.transient = bool(self.problems) and all(problem.transient for problem in self.problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

"""
What a look at mesh, pods and metrics has found, before traffic moves.

Each kind of finding is a :class:`Code` with a name that stays: pipelines, dashboards and docs may rely on it. What it
says of one object is a :class:`Finding`. ``docs/preflight.md`` lists every code, made from the codes themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from canaryd.model.problem import Problem

Level = Literal["error", "warning", "info"]
"""``error`` stops a run before it begins, ``warning`` bends what is measured or may hurt, ``info`` is good to know."""
LEVELS: tuple[Level, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was found.

    ``where`` is the object, as people name it (``DestinationRule default/reviews``, or a key of the plan), ``sentence``
    what is the matter with it, with what was seen. ``remedy`` is a command to type that makes an end of it; where there
    is no single one it is empty and the code's own text says what to do. A ``transient`` one passes by itself.
    ``details`` are further sentences, for who wants to know more than one.
    """

    code: str
    level: Level
    where: str
    sentence: str
    remedy: str = ""
    transient: bool = False
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Code:
    """
    A kind of finding: ``name`` in CamelCase, ``cause`` and ``remedy`` in words for the docs.

    What :meth:`at` makes has the code's level, unless it knows better.
    """

    name: str
    level: Level
    cause: str
    remedy: str
    transient: bool = False

    def at(
        self,
        where: str,
        sentence: str,
        remedy: str = "",
        *,
        level: Level | None = None,
        details: Iterable[str] = (),
    ) -> Finding:
        """The finding that ``where`` has it; ``remedy`` is the command to type there."""
        return Finding(self.name, level or self.level, where, sentence, remedy, self.transient, tuple(details))

    def __str__(self) -> str:
        return self.name


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """``findings``, each once, what stops first; within a level in the order in which they were found."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda found: LEVELS.index(found.level)))


def summary(findings: Sequence[Finding]) -> str:
    """All of them in one sentence, for an event: how many there are, and what the gravest say."""
    counts = [(level, sum(found.level == level for found in findings)) for level in LEVELS]
    names = {"error": "error", "warning": "warning", "info": "note"}
    told = ", ".join(f"{count} {names[level]}{'s' if count > 1 else ''}" for level, count in counts if count)
    grave = [f"{found.code}: {found}" for found in findings if found.level != "info"]
    return f"preflight has {told or 'nothing to say'}" + (f": {'; '.join(grave)}" if grave else "")


def accepted(findings: Iterable[Finding], reasons: Mapping[str, str]) -> tuple[Finding, ...]:
    """``findings`` with the errors among them that a person lets pass as warnings; ``reasons`` by code say why."""
    return tuple(
        replace(one, level="warning", sentence=f"{one.sentence} (accepted by the plan: {reasons[one.code]})")
        if one.level == "error" and one.code in reasons
        else one
        for one in findings
    )


def worst(findings: Iterable[Finding]) -> Level | None:
    """The gravest level among them; None where there is none."""
    return min((found.level for found in findings), key=LEVELS.index, default=None)


def as_finding(problem: Problem, code: str = "Refused") -> Finding:
    """A reason to refuse a plan, as the error that it is."""
    found = f", but found {problem.value}" if problem.value else ""
    advice = f" ({problem.remedy})" if problem.remedy else ""
    sentence = f"expected {problem.expected}{found}{advice}"
    return Finding(problem.code or code, "error", problem.path, sentence, problem.command, problem.transient)


def as_problem(finding: Finding) -> Problem:
    """A finding that stops a run, as a reason to refuse it."""
    return Problem(
        path=finding.where,
        value=f"{finding.sentence} [{finding.code}]",
        expected="",
        code=finding.code,
        command=finding.remedy,
        transient=finding.transient,
    )

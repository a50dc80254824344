"""The port, and what is seen of plans and runs through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from canaryd.errors import Rejected
from canaryd.model.run import Command, Run

Entry = Mapping[str, Any]
"""An entry of a run's journal: ``at`` (Unix seconds), ``events`` as [event, reason] pairs, and more where there is."""


class NotGranted(Rejected):
    """
    The person at the desk may not do that.

    ``verb`` and ``resource`` are what the API server asks for, and ``remedy`` the command that grants it.
    """

    def __init__(self, sentence: str, verb: str, resource: str, remedy: str) -> None:
        super().__init__(f"{sentence}; who administers the cluster can grant it: {remedy}")
        self.verb, self.resource, self.remedy = verb, resource, remedy


@dataclass(frozen=True, slots=True)
class Decided:
    """
    One decision of a run, as it was told: when (Unix seconds), what, and the reason in one sentence.

    ``by`` is who asked for something just before it; empty where nobody did.
    """

    at: float
    event: str
    phase: str
    weight: str
    reason: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class SeenRun:
    """
    A run as everybody sees it who may see that it is there: what ``kubectl get canaryrun -o yaml`` has in its status.

    ``phase`` is ``held`` while a hold lies over it, ``weight`` a share in words (``25 %``, or ``match``), ``why`` what
    it waits for or how it ended. ``step`` counts from 0; ``began`` and ``ended`` are Unix times, None before the end.
    ``outcome`` is empty before the end. ``attended`` says whether somebody carries it out: None where that cannot be
    seen from here. ``obeyed`` are the ids of the commands that it has heard. ``astray`` says what in the mesh is not as
    canaryd has decided, empty where nothing is known to be so. ``unread`` says why nothing but the name is known of
    it; empty where it could be read.
    """

    namespace: str
    name: str
    plan: str
    release: str
    phase: str
    step: int
    steps: int
    weight: str
    verdict: str
    why: str
    began: float
    ended: float | None = None
    outcome: str = ""
    attended: bool | None = None
    obeyed: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    decisions: tuple[Decided, ...] = ()
    break_glass: str = ""
    undoes: str = ""
    astray: str = ""
    unread: str = ""

    @property
    def over(self) -> bool:
        return bool(self.outcome)

    @property
    def place(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SeenPlan:
    """
    A plan with where its release stands; ``run`` is the run that carries it out or did last, empty before the first.

    ``since`` is since when it has a run in flight, or none (Unix seconds; None where it is not known). ``attended`` and
    ``astray`` are as of :class:`SeenRun`. ``keepers`` are GitOps tools that keep the object as it is in Git, in words
    (``Application shop of Argo CD``).
    """

    namespace: str
    name: str
    release: str
    phase: str
    step: str
    weight: str
    verdict: str
    why: str
    run: str = ""
    astray: str = ""
    since: float | None = None
    attended: bool | None = None
    keepers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


class Desk(Protocol):
    """
    Plans and runs of one place. Thread-safe, and keeps nothing in mind: each answer is as of now.

    Every method raises Unavailable where nobody answers, :class:`NotGranted` where the person may not, and Rejected
    (with what to do) where the place is not one of ours.
    """

    @property
    def where(self) -> str:
        """The place in words, for a sentence: ``the folder .canaryd``, ``namespace shop of context prod``."""

    def me(self) -> str:
        """Who sits at the desk: the name that commands are signed with."""

    def plans(self) -> tuple[SeenPlan, ...]:
        """Every plan, by namespace and name."""

    def runs(self, plan: str = "") -> tuple[SeenRun, ...]:
        """The runs, the oldest first; of the plans of that name, where one is given."""

    def look(self, namespace: str, name: str) -> SeenRun:
        """One run. Raises Rejected where there is none."""

    def run(self, seen: SeenRun) -> Run:
        """
        All that the machine knows of the run.

        In a cluster it takes the right to read CanaryRecords; its newest cells may be a minute old.
        """

    def journal(self, seen: SeenRun) -> tuple[Entry, ...]:
        """What happened, the oldest first: in a folder everything, in a cluster the last decisions."""

    def lacking(self, namespace: str, verb: str) -> str:
        """
        What the person lacks to say ``verb`` to runs of ``namespace``, in a sentence; empty where nothing.

        ``release`` is a word to plans.
        """

    def ask(self, seen: SeenRun, command: Command) -> None:
        """Append a command for the run; who carries it out hears it at its next tick."""

    def release(self, plan: SeenPlan, version: str, reason: str = "") -> None:
        """
        Give the plan a new release, and write down who asked for it and why.

        Raises Rejected where plans are files: those are for their owner to edit.
        """

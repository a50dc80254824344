"""
What the engine needs of the world, as small protocols.

The consumer declares them; adapters fit by shape, and mypy proves it where ``app`` puts them together. Every method
has a deadline of its own, and raises :class:`~canaryd.errors.Unavailable`, :class:`~canaryd.errors.Conflict` or
:class:`~canaryd.errors.Rejected`, never a library's exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from canaryd.model.asking import Condition, Reply, Term
from canaryd.model.cells import Cell, Gap, Pace, Sought, Window
from canaryd.model.decision import Event
from canaryd.model.finding import Finding
from canaryd.model.gate import Alert
from canaryd.model.guards import Freeze
from canaryd.model.message import Message
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Command, Record, Run
from canaryd.model.traffic import Admission, Marker, Route, Sides, Sighting


class Mesh(Protocol):
    """The object that holds the weights, and the pods behind them."""

    def admit(self, plan: Plan) -> Admission:
        """What the plan would move. Raises Refused with every problem; changes nothing."""

    def look(self, route: Route) -> Sighting:
        """The weights and the marker as they are now."""

    def shift(self, route: Route, marker: Marker, seen: Sighting) -> None:
        """Write ``marker.split`` and the marker in one operation, provided that nothing has changed since ``seen``."""

    def retreat(self, route: Route, marker: Marker) -> None:
        """
        Write ``marker.split`` and the marker in one operation, whatever else has changed in the object.

        Reads the object itself, on a connection of its own. Raises Conflict when the destinations are no longer ours.
        """

    def release(self, route: Route, run: str) -> None:
        """Take our marker, and a destination that we inserted, out of the object. No marker of ``run``: nothing."""

    def sides(self, route: Route) -> Sides:
        """The pods behind both versions now."""

    def hosts(self, route: Route) -> tuple[str, ...]:
        """The fully qualified names of the services behind both versions."""

    def suspects(self, route: Route, clients: Sequence[str]) -> tuple[str, ...]:
        """
        Why ``clients`` (``workload.namespace``) may not meet the weights, the likeliest cause first; changes nothing.

        With no clients: what speaks against the weights for everybody.
        """


class Preflight(Protocol):
    """Who looks at what is around a route before anything moves."""

    def examine(self, plan: Plan, admitted: Admission | None = None) -> tuple[Finding, ...]:
        """What is to be said of ``plan`` beyond what admission says, the gravest first. Reads only; raises nothing."""


class Metrics(Protocol):
    """Where counts come from: one place, or several by name (``Sought.source``)."""

    def choose(self, plan: Plan) -> str:
        """The name of the source that ``plan`` is measured by, empty for the one without a name. Raises Refused."""

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        """The counts in ``window``. Gap when the answer holds none; Unavailable when there was no answer."""

    def history(self, sought: Sought, windows: Sequence[Window]) -> tuple[Cell | Gap, ...]:
        """The same for each of ``windows``, which are of one length and follow one another, for little more."""

    def pace(self, sought: Sought) -> Pace:
        """How soon a weight can be seen at the callers, as far as it is known. Unavailable when nobody answered."""

    def reporters(self, sought: Sought) -> Mapping[str, float]:
        """Requests a second of late, by who counts them: ``source``, ``waypoint``. Unavailable when nobody answered."""

    def probe(self, sought: Sought) -> tuple[Problem, ...]:
        """Why nothing could be measured here; empty when it can. Raises nothing."""


class Webhooks(Protocol):
    """Who outside of canaryd is asked at gates, or told of an end, by the names that the settings give them."""

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """Why a run of ``plan`` could not ask the webhooks that it names; empty where it could. Raises nothing."""

    def ask(self, run: Run, term: Term, condition: Condition) -> Reply:
        """
        What the receiver says to the question of ``term``, whose id goes along.

        Whatever is not an answer is ``silent``. Raises Rejected where the run may not ask it (any more).
        """

    def tell(self, run: Run, name: str) -> Reply:
        """Tell the receiver how ``run`` has ended; ``silent`` where it did not take it. Raises as :meth:`ask`."""


class Channels(Protocol):
    """Who outside of canaryd is told of runs, by the names that the settings give them."""

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """Why the channels that ``plan`` names could not be told; empty where they could. Raises nothing."""

    def send(self, run: Run, message: Message, channel: str, attempt: int) -> Reply:
        """
        Send ``message`` to ``channel`` for the ``attempt``-th time: ``yes`` where it was taken, else ``silent``.

        Raises Rejected where the run may not use the channel (any more), Unavailable where its secret cannot be read.
        """


class Alerts(Protocol):
    """The alerts of the Prometheus by which a plan is measured."""

    def firing(self, plan: Plan, alert: Alert) -> tuple[str, ...]:
        """
        Those of ``alert`` that fire now, each with its labels.

        Raises Unavailable where that is not known (no answer, or a partial one), Rejected where it may not be asked.
        """


class Store(Protocol):
    """Where runs live. One compare-and-swap saves a record whole."""

    def load(self, uid: str) -> Record:
        """The record as last saved. Raises Rejected when there is none."""

    def save(self, record: Record) -> Record:
        """Save, provided that nobody has since ``record`` was loaded; the new record. Raises Conflict otherwise."""

    def records(self) -> Iterable[Record]:
        """Every record, the oldest first."""

    def commands(self, uid: str) -> tuple[Command, ...]:
        """What people have asked of the run, in order; obeyed ones are among them."""

    def ask(self, uid: str, command: Command) -> None:
        """Append a command for the run."""


class Journal(Protocol):
    """What happened, for ever. A journal that fails stops nothing."""

    def tell(self, uid: str, entry: Mapping[str, object]) -> None:
        """Append an entry."""


class Freezes(Protocol):
    """Where people freeze and stop things."""

    def freezes(self) -> tuple[Freeze, ...]:
        """Every freeze there is, those that are over too; at once, from memory or a disk of our own."""


class FarFreezes(Protocol):
    """Where people freeze and stop things, and it takes a request to see it: asked for beside the tick."""

    def read(self, namespace: str) -> tuple[Freeze, ...]:
        """
        Every freeze that may concern ``namespace``; others may be among them.

        Nothing where nobody can freeze anything there, or it cannot be seen whether they do. Raises Unavailable.
        """


class Annotations(Protocol):
    """Where people see what runs did, beside what was measured. Nothing here stops anything."""

    def annotate(self, run: Run, event: Event, at: float) -> None:
        """Have it shown what ``run`` told ``at`` a time (Unix seconds). Waits for nobody, and raises nothing."""

    def end(self) -> None:
        """Take no more; what was taken may be shown for a few seconds yet."""


class Clock(Protocol):
    """The time, so that tests own it."""

    def now(self) -> float:
        """Unix seconds."""


@dataclass(frozen=True)
class World:
    """
    What canaryd works on: one adapter for each port.

    Without ``preflight`` nothing is examined, without ``webhooks`` and ``alerts`` nobody is asked at gates, without
    ``freezes`` and ``far_freezes`` nobody can freeze anything, without ``channels`` nobody is told by a message, and
    without ``annotations`` nothing is marked.
    """

    mesh: Mesh
    metrics: Metrics
    store: Store
    journal: Journal
    clock: Clock
    preflight: Preflight | None = None
    webhooks: Webhooks | None = None
    alerts: Alerts | None = None
    freezes: Freezes | None = None
    far_freezes: FarFreezes | None = None
    channels: Channels | None = None
    annotations: Annotations | None = None

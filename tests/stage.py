"""
A stage for the machine alone: a mesh that is a value, pods that are values, and evidence that a test turns by hand.

It plays the part of the shell and nothing else: it brings cells in the order of the run's grid, carries out the write
of each decision (or loses it), and remembers what was told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from canaryd.machine import decide
from canaryd.model.asking import Answer, Said
from canaryd.model.cells import Cell, Counts, Gap, Segment, Window
from canaryd.model.decision import Decision, Event, Observation, Told, Unseen
from canaryd.model.evidence import Evidence, Reading
from canaryd.model.harm import Harmed
from canaryd.model.plan import Plan
from canaryd.model.run import Command, Phase, Run
from canaryd.model.traffic import NOTHING, Entry, Marker, Route, Side, Sides, Sighting, Split, Version

START = 1_000_000.0
ROUTE = Route("default", "reviews", "reviews", (Entry(0),), Version("reviews", "v1"), Version("reviews", "v3"))


def percent(value: float) -> Split:
    return Split.percent(value)


MATCH = ({"headers": {"end-user": {"exact": "jason"}}},)


def plan(
    *weights: float,
    gate_at: int | None = None,
    gate: dict[str, Any] | None = None,
    match_first: bool = False,
    **spec: Any,
) -> Plan:
    """A short plan: steps of 60 s in cells of 10 s, settling for 20 s, watching for 60 s."""
    steps: list[dict[str, Any]] = [{"weight": weight, "bake": "60s"} for weight in weights or (5, 25, 50)]
    if match_first:
        steps.insert(0, {"match": list(MATCH), "bake": "60s"})
    if gate_at is not None:
        steps[gate_at]["gate"] = {"approve": gate or {"limit": "1h"}}
    analysis = {"cell": "10s", "scrape": "5s", "settle": "20s", **spec.pop("analysis", {})}
    content = {
        "target": {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}},
        "steps": steps,
        "analysis": analysis,
        "watch": "60s",
        **spec,
    }
    return Plan.model_validate({"metadata": {"name": "reviews"}, "spec": content})


def side(name: str, **changes: Any) -> Side:
    found = Side((f"reviews-{name}",), "default", (f"uid-{name}",), (f"hash-{name}",), 2, 2, rolled_out=True)
    return replace(found, **changes)


def evidence(*, segment: int | None, **changes: Any) -> Evidence:
    reading = Reading("errors", "0.1 %", "0.1 %", 900, 100, 0.4, 30, "errors: canary 0.1 %, stable 0.1 %")
    found = Evidence(0.4, 100, 5, 30, 20, True, "", 1000, (reading,), segment=segment, shared_from=0.0)
    return replace(found, **changes)


def new_run(of: Plan, *, at: float = START, started_from: Split = NOTHING) -> Run:
    """A run as admission makes it."""
    return Run(
        "run-1",
        of,
        ROUTE,
        at,
        split=started_from,
        started_from=started_from,
        segments=(Segment(0, 0, started_from, at),),
    )


@dataclass
class Stage:
    """``says`` are changes to the evidence; ``gap`` a reason for every cell to be one; ``lands`` whether writes do."""

    plan: Plan = field(default_factory=plan)
    now: float = START
    says: dict[str, Any] = field(default_factory=dict)
    gap: str = ""
    blind: str = ""
    lands: bool = True
    saves: bool = True
    hidden: str = ""
    gone: bool = False
    barred: str = ""
    stopped: str = ""
    pods: Sides | Unseen = field(default_factory=lambda: Sides(side("v1"), side("v3")))
    mesh: Sighting = field(default_factory=lambda: Sighting(NOTHING, None))
    suspects: tuple[str, ...] = ()
    harmed: Harmed | None = None
    answers: dict[str, tuple[Said, str]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    last: Decision | None = None

    def __post_init__(self) -> None:
        self.run = new_run(self.plan, at=self.now, started_from=self.mesh.split or NOTHING)
        self.splits.append(self.mesh.split or NOTHING)

    # -- what others do

    def sides(self, *, stable: dict[str, Any] | None = None, canary: dict[str, Any] | None = None) -> None:
        self.pods = Sides(side("v1", **(stable or {})), side("v3", **(canary or {})))

    def by_hand(self, split: float | None, **changes: Any) -> None:
        """Somebody sets the weights and leaves our marker alone."""
        changed = None if split is None else percent(split)
        self.mesh = replace(self.mesh, **{"split": changed, **changes})

    def ask(self, verb: Any, **more: Any) -> None:
        self.commands.append(Command(f"c{len(self.commands)}", verb, by="ada", **more))

    # -- the shell

    def see(self) -> Observation:
        cells = self._cells()
        index = cells[-1].segment if cells else None
        judged = [cell for cell in cells if cell.segment >= self.run.judged_from]
        return Observation(
            self.now,
            Unseen(self.hidden, self.gone) if self.hidden or self.gone else self.mesh,
            self.pods,
            cells,
            None,
            evidence(**{"segment": index, **self.says}) if judged else self.run.evidence,
            self.blind,
            tuple(self.commands),
            suspects=self.suspects,
            harmed=self.harmed,
            answers=self._answers(),
            barred=self.barred,
            stopped=self.stopped,
        )

    def tick(self, seconds: float = 5.0) -> Decision:
        self.now += seconds
        seen = self.see()
        decision = decide(self.run, seen)
        self.last = decision
        self.told += decision.events
        if decision.write and self.lands:
            self.land(decision.write.marker)
        if self.saves:
            self.run = decision.run
        return decision

    def land(self, marker: Marker) -> None:
        self.mesh = Sighting(marker.split, marker, stable_missing=self.mesh.stable_missing, match=marker.match)
        self.splits.append(marker.split)

    def until(self, reached: Callable[[Run], bool] | Phase, *, within: float = 3600.0, every: float = 5.0) -> Run:
        """Tick until the run is so. Fails when it does not come to that."""
        phase = reached if isinstance(reached, Phase) else None
        test: Callable[[Run], bool] = (lambda run: run.phase is phase) if phase else reached  # type: ignore[assignment]
        end = self.now + within
        while not test(self.run):
            assert self.now < end, f"never reached: {self.run.phase}, {self.run.waiting}"
            self.tick(every)
        return self.run

    def baking(self, step: int = 0) -> Run:
        return self.until(lambda run: run.phase is Phase.BAKING and run.step == step)

    def rest(self, seconds: float) -> Run:
        end = self.now + seconds
        while self.now < end:
            self.tick()
        return self.run

    def has_told(self, told: Told) -> bool:
        return any(event.told is told for event in self.told)

    def _answers(self) -> tuple[Answer, ...]:
        """What the questions of the gates ahead are answered, by a webhook's name or ``alert``, each in every tick."""
        found = []
        for term in self.run.terms:
            known, name = self.run.condition(term), getattr(term.part, "name", term.kind)
            if known and name in self.answers:
                found.append(Answer(term.id, *self.answers[name], self.now, known.times + 1))
        return tuple(found)

    def _cells(self) -> tuple[Cell | Gap, ...]:
        if self.blind or self.run.canary_pin is None:
            return ()
        windows = self.run.windows(self.now - self.run.plan.spec.analysis.lag.total_seconds())
        return tuple(cell_of(window, self.gap) for window in windows)


def cell_of(window: Window, gap: str = "") -> Cell | Gap:
    place = (window.segment, window.start, window.end, window.split, window.settled)
    if gap:
        return Gap(*place, gap)
    share = window.split.share
    return Cell(*place, (), Counts(1000 * (1 - share), 1), Counts(1000 * share, 0), matched=window.matched)

"""
A whole canaryd in one thread, on a clock of its own, in a world that can fail or kill it at any call of a port.

`World.live` ticks a run to its end. `Trap` counts every call of every port; at the one it is set for it fails
(Unavailable or Conflict) or dies, before or after the call's effect. A death drops everything in memory: the Reconciler
and the Collector are made anew, as after a restart of the process, and mesh, metrics and disk stay.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from canaryd.engine.collector import Collector
from canaryd.engine.courier import Courier
from canaryd.engine.ports import Mesh, Metrics, Preflight, Store
from canaryd.engine.ports import World as Ports
from canaryd.engine.reconciler import Reconciler
from canaryd.errors import Conflict, Unavailable
from canaryd.model.cells import Cell, Gap, Segment, Sought, Window
from canaryd.model.plan import Plan
from canaryd.model.run import Command, Record, Run
from canaryd.model.traffic import NOTHING, Route, Split
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import ROUTE, at, surroundings
from tests.metrics.book import Book, Series
from tests.metrics.load import Load
from tests.metrics.memory import MemoryMetrics
from tests.notify.memory import MemoryChannels
from tests.store.memory import MemoryJournal, MemoryStore

START = 1_700_000_000.0
Way = Literal["fails", "conflicts", "dies"]
When = Literal["before", "after"]


def place_of(cell: Cell | Gap) -> Window:
    """The window that a cell was asked for in; of a gap nobody needs to know what was before."""
    former = cell.former if isinstance(cell, Cell) else None
    matched = isinstance(cell, Cell) and cell.matched
    return Window(cell.segment, cell.start, cell.end, cell.split, cell.settled, former, matched)


class Death(BaseException):
    """The process ends here: nothing may catch it, and no cleanup runs."""


class Inline(Executor):
    """An executor without threads: what is submitted is done at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # that is what a Future does
            future.set_exception(error)
        return future


@dataclass
class Trap:
    """Goes off at call ``n`` (from 0; -1 for never), once."""

    n: int = -1
    way: Way = "fails"
    when: When = "before"
    calls: list[str] = field(default_factory=list)
    sprung: str = ""

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls.append(name)
        if len(self.calls) - 1 != self.n:
            return call()
        self.sprung = name
        if self.when == "after":
            call()
        if self.way == "dies":
            raise Death
        raise Conflict(f"{name}: somebody was first") if self.way == "conflicts" else Unavailable(f"{name}: no answer")


class Trapped:
    """A port whose every call goes through a trap."""

    def __init__(self, name: str, port: Any, trap: Trap, calls: tuple[str, ...]) -> None:
        self._port = port
        for call in calls:
            setattr(self, call, self._wrapped(f"{name}.{call}", getattr(port, call), trap))

    @staticmethod
    def _wrapped(name: str, call: Callable[..., Any], trap: Trap) -> Callable[..., Any]:
        return lambda *args: trap.around(name, lambda: call(*args))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class VirtualClock:
    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


def small_plan(**spec: Any) -> Plan:
    """Two steps in cells of two seconds, for a strong load: a run of half a virtual minute."""
    analysis = {
        "cell": "2s",
        "scrape": "1s",
        "settle": "2s",
        "warmup": "2s",
        "proofCells": 3,
        "checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}],
        **spec.pop("analysis", {}),
    }
    steps = [{"weight": 10, "bake": "4s"}, {"weight": 50, "bake": "6s"}]
    target = {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}, "stable": {"subset": "v1"}}
    content = {"target": target, "steps": steps, "analysis": analysis, "watch": "2s", **spec}
    return Plan.model_validate({"metadata": {"name": "reviews"}, "spec": content})


class Few(Load):
    """
    A load with three latency buckets instead of twenty: these runs judge errors.

    Far apart, because counters that are rounded down one by one do not add up where two are nearly the same.
    """

    def series(self) -> list[Series]:
        return [one for one in super().series() if one.labels.get("le", "25") in ("10", "25", "+Inf")]

    def book(self, scrape: float) -> Book:
        """Of a Prometheus that is no older than the load: looking for what came before costs time."""
        return Book(scrape, self.series(), born=self.since)


class Remembered(MemoryMetrics):
    """Counts of a load that is a function of time, worked out once for all worlds with the same load."""

    answers: ClassVar[dict[tuple[float, Sought, Window], Cell | Gap]] = {}

    def __init__(self, canary_errors: float) -> None:
        load = Few(since=START - 60)
        load.turn(START, rate=2000.0, canary_errors=canary_errors)
        super().__init__(MemoryMetrics.of(load)._book)
        self._canary_errors = canary_errors

    def count(self, sought: Sought, window: Window) -> Cell | Gap:
        key = (self._canary_errors, sought, window)
        if self.failing or self.partial:
            return super().count(sought, window)
        if key not in self.answers:
            self.answers[key] = super().count(sought, window)
        return self.answers[key]


def ports(mesh: Mesh, metrics: Metrics, store: Store, preflight: Preflight | None = None) -> Ports:
    """What a beginning asks, at START."""
    return Ports(mesh, metrics, store, MemoryJournal(), VirtualClock(START), preflight)


class World:
    """
    One run of ``plan`` on ``route``; ``canary_errors`` is the share of the canary's requests that fail.

    ``mesh`` has the route, where that is another than the usual one, and ``metrics`` count its requests.
    Messages go to ``channels``, on the world's own thread, after each tick.
    """

    def __init__(
        self,
        *,
        canary_errors: float = 0.001,
        plan: Plan | None = None,
        trap: Trap | None = None,
        mesh: Any = None,
        route: Route = ROUTE,
        metrics: MemoryMetrics | None = None,
        channels: MemoryChannels | None = None,
    ) -> None:
        self.channels = channels or MemoryChannels()
        self.clock = VirtualClock(START)
        self.route = route
        self.mesh: Any = mesh or MemoryMesh(at(100, 0), surroundings())
        self.metrics = metrics or Remembered(canary_errors)
        self.store = MemoryStore()
        self.journal = MemoryJournal()
        self.trap = trap or Trap()
        self.deaths = 0
        self.woken = False
        self.seen: list[tuple[Split, bool]] = []
        run = Run("run-1", plan or small_plan(), route, START, segments=(Segment(0, 0, NOTHING, START),))
        self.store.save(Record(run))
        self.start()

    def start(self) -> None:
        """A new process: nothing is remembered but what the ports hold."""
        metrics: Any = Trapped("metrics", self.metrics, self.trap, ("count", "history"))
        mesh: Any = Trapped("mesh", self._mesh(), self.trap, ("look", "shift", "retreat", "release", "sides"))
        store: Any = Trapped("store", self.store, self.trap, ("load", "save", "commands"))
        journal: Any = Trapped("journal", self.journal, self.trap, ("tell",))
        self.collector = Collector(metrics, self.clock, Inline(), self._wake)
        channels: Any = Trapped("channels", self.channels, self.trap, ("send",))
        self.courier = Courier(channels, self.clock, self._wake, lambda go, channel: None)
        self.reconciler = Reconciler(
            store,
            mesh,
            self.collector,
            journal,
            self.clock,
            Inline(),
            courier=self.courier,
        )

    def _mesh(self) -> Any:
        """The mesh as the process meets it."""
        return self.mesh

    def _wake(self, uid: str) -> None:
        self.woken = True

    def ask(self, verb: Any, **more: Any) -> None:
        self.store.ask("run-1", Command(f"{verb}-1", verb, by="ada", **more))

    def tick(self) -> Run | None:
        """One tick, and those that it woke; None when the process died or could not begin."""
        run: Run | None = None
        for _ in range(5):
            self.woken = False
            before = len(self.mesh.writes)
            try:
                run = self.reconciler.tick("run-1")
                self.send()
            except Death:
                self.deaths += 1
                self.start()
                run = None
            except (Unavailable, Conflict):
                run = None
            if len(self.mesh.writes) > before:
                self.note()
            if not self.woken:
                break
        return run

    def send(self) -> None:
        """What the courier's threads would do meanwhile."""
        for lane in list(self.courier._lanes.values()):
            while lane.step():
                pass

    def note(self) -> None:
        """What the mesh shows after a write, and whether a failure was known by then."""
        sighting = self.mesh.look(self.route)
        latched = sighting.marker is not None and sighting.marker.latch in ("fail", "abort", "inconclusive")
        assert sighting.split is not None or sighting.parts
        self.seen.append((sighting.most, latched))

    def live(self, *, within: float = 240.0, every: float = 1.5, then: Callable[[World], None] | None = None) -> Run:
        """Tick until the run is final and released; the run as the disk has it."""
        end = self.clock.at + within
        while True:
            run = self.tick()
            if then:
                then(self)
            saved = self.saved
            if run is not None and run.final and run.released and saved.released and not saved.outbox.waiting:
                return saved
            assert self.clock.at < end, f"never ended: {self.saved.phase}: {self.saved.waiting}"
            self.clock.at += every

    @property
    def saved(self) -> Run:
        return self.store.load("run-1").run

    @property
    def split(self) -> Split | None:
        found: Split | None = self.mesh.look(self.route).split
        return found

    def sought(self, run: Run) -> Sought:
        """Whose requests are counted in ``run``."""
        assert run.canary_pin is not None
        assert run.stable_pin is not None
        return run.plan.spec.analysis.sought(
            self.mesh.hosts(self.route),
            run.canary_pin.namespace,
            run.stable_pin.workloads,
            run.canary_pin.workloads,
            asker=run.plan.namespace,
            called=run.plan.called,
        )

    def past_anew(self, run: Run) -> tuple[Cell, ...]:
        """What ``run`` learned of stable first, asked for once more."""
        found = self.metrics.history(self.sought(run), run.past_windows)
        return tuple(cell for cell in found if isinstance(cell, Cell))

    def fetched_anew(self, run: Run) -> list[Cell | Gap]:
        """The cells of ``run``, asked for once more."""
        places = [place_of(cell) for cell in run.cells]
        return [self.metrics.count(self.sought(run), place) for place in places]

"""
The composition root: the one place that chooses adapters and puts canaryd together.

That the adapters fit the engine's ports is proven here, by mypy, when they are handed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock
from types import TracebackType
from typing import Literal, Self
from uuid import uuid4

import structlog

from canaryd import neighbours
from canaryd.cluster.shelf import Shelf
from canaryd.engine import admission, undoing
from canaryd.engine.admission import Begun, Settled
from canaryd.engine.collector import Collector
from canaryd.engine.courier import Courier
from canaryd.engine.doorkeeper import Doorkeeper
from canaryd.engine.guarding import Far, Guards, Queue, Waits
from canaryd.engine.ports import Clock, Freezes, Journal, Store, World
from canaryd.engine.reconciler import Reconciler
from canaryd.engine.scheduler import Scheduler
from canaryd.errors import CanarydError, Unavailable
from canaryd.gates import Webhooks as Receivers
from canaryd.kube import Kube, connect
from canaryd.machine import UNREADY_FOR
from canaryd.mesh.several import Several
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.metrics.asked import asked
from canaryd.metrics.sources import Sources
from canaryd.model.asking import Reply
from canaryd.model.finding import Finding
from canaryd.model.gate import Alert
from canaryd.model.links import Link
from canaryd.model.message import Message
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.queue import Limits
from canaryd.model.run import Command, Run
from canaryd.neighbours import Annotations
from canaryd.neighbours.links import links
from canaryd.notify import Channels as Told
from canaryd.preflight.examining import Preflight as Examiner
from canaryd.preflight.hearing import Hearing
from canaryd.preflight.neighbourhood import Neighbourhood
from canaryd.report.beside import examples, in_messages
from canaryd.report.decisions import Entry
from canaryd.report.render import Form, render
from canaryd.settings import Settings, lease_place
from canaryd.store.folder import FolderJournal, FolderStore
from canaryd.store.freezes import FolderFreezes, ListedFreezes

NO_LIMITS = Limits()
MOMENT = 3.0
"""Seconds that a message of a failure waits for example traces, at its first attempt."""
SOON = 0.1
"""Seconds between two looks at what is waited for."""

log = structlog.get_logger()


class SystemClock:
    """The clock port on the system's wall clock."""

    def now(self) -> float:
        return time.time()


def cluster_world(
    settings: Settings, kube: Kube, store: Store, journal: Journal, freezes: Freezes, shelf: Shelf | None = None
) -> World:
    """The adapters of a controller, whose runs live in the cluster itself; ``shelf`` is what its runs look at."""
    clock, sources = SystemClock(), Sources(settings)
    return World(
        mesh=Several(IstioMesh(kube, shelf)),
        metrics=sources,
        store=store,
        journal=journal,
        clock=clock,
        preflight=_examiner(kube, sources, settings, clock),
        webhooks=Receivers(settings.webhooks),
        alerts=sources,
        freezes=freezes,
        channels=_channels(settings),
        annotations=_annotations(settings),
    )


def world(settings: Settings) -> World:
    """The adapters that ``settings`` choose. Raises Rejected when a kubeconfig or URL cannot be used."""
    kube, clock = connect(settings.kubeconfig, settings.context, timeout=settings.timeout), SystemClock()
    sources, home = Sources(settings), lease_place(settings)[0]
    return World(
        mesh=Several(IstioMesh(kube)),
        metrics=sources,
        store=FolderStore(settings.state),
        journal=FolderJournal(settings.state),
        clock=clock,
        preflight=_examiner(kube, sources, settings, clock, home),
        webhooks=Receivers(settings.webhooks),
        alerts=sources,
        freezes=FolderFreezes(settings.state),
        far_freezes=ListedFreezes(kube.another(), home),
        channels=_channels(settings),
        annotations=_annotations(settings),
    )


def _channels(settings: Settings) -> Told:
    """
    The channels of messages, with links to the neighbours that are set, and example traces of failures.

    Nobody is asked for the links. For traces the tracing backend is, by the thread of the channel.
    """
    return Told(
        settings.channels,
        lambda run: [(one.title, one.url) for one in links(run, settings, time.time())],
        traces=lambda run: in_messages(neighbours.example_traces(run, settings, seconds=MOMENT).found),
    )


def _annotations(settings: Settings) -> Annotations | None:
    """Who marks in Grafana what runs do, where the settings ask for it."""
    return Annotations(settings.grafana) if settings.grafana and settings.grafana.annotate else None


def limits(settings: Settings) -> Limits:
    """How many runs may go on at once."""
    return Limits(settings.max_runs, settings.max_runs_per_namespace)


def _examiner(kube: Kube, sources: Sources, settings: Settings, clock: Clock, home: str = "") -> Examiner:
    """
    Preflight on connections of its own: it may take its time, and a run in flight must not wait for it.

    ``home`` is whose freezes bind every plan, for who has no watch on them.
    """
    return Examiner(kube.another(), Hearing(sources), clock.now, Neighbourhood(settings).look, home)


def report(
    run: Run, journal: Sequence[Entry], form: Form, settings: Settings, seconds: float = neighbours.SECONDS
) -> str:
    """
    The report of ``run`` with its ``journal`` (oldest first) as text, with the queries that it asked.

    And with links and example traces from the neighbours that ``settings`` name, which take ``seconds`` at most.
    """
    return report_with(run, journal, form, *around(run, settings, seconds))


def report_with(run: Run, journal: Sequence[Entry], form: Form, links: Iterable[Link], traces: Iterable[Link]) -> str:
    """The same with what is known of the neighbours already."""
    return render(run, journal, form, tuple(links), tuple(traces), asked(run))


def around(
    run: Run, settings: Settings, seconds: float = neighbours.SECONDS
) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
    """
    What a report shows of the neighbours that are set: links, and example requests of the canary.

    Asks them, for ``seconds`` at most. Raises nothing.
    """
    seen, traces = neighbours.neighbourhood(run, settings, seconds=seconds)
    return seen, examples(traces.found)


def links_of(run: Run, settings: Settings) -> tuple[Link, ...]:
    """The links alone, for which nobody is asked."""
    return links(run, settings, time.time())


def preflight(settings: Settings, plan: Plan) -> tuple[Finding, ...]:
    """Everything that speaks against beginning ``plan`` now, or is good to know; changes nothing."""
    return admission.look(plan, world(settings))


def try_channel(settings: Settings, name: str) -> Reply:
    """What the channel says to a test message. Raises Rejected where there is none, Unavailable where it is broken."""
    return Told(settings.channels).test(name)


class Canaryd:
    """
    A running canaryd: runs begin in it, are ticked, and hear commands. Use it as a context manager.

    Collectors, ticks, retreats, what is asked at gates and told of ends, and each channel of messages have threads of
    their own, so that none can starve another.

    No more runs than ``limits`` say go on at once: a plan that would begin another waits in a queue.
    ``may`` says, before each tick, whether this process is (still) the one to carry runs out. ``shown`` is given each
    run after its tick, on the tick's thread: it must not wait for anybody.
    """

    def __init__(
        self,
        world: World,
        *,
        workers: int = 8,
        mode: Literal["active", "observe"] = "active",
        may: Callable[[], bool] = lambda: True,
        shown: Callable[[Run], None] = lambda _: None,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._world = world
        self._mode = mode
        self._may = may
        self._shown = shown
        self._collectors = ThreadPoolExecutor(max(2, workers // 2), "collect")
        self._retreats = ThreadPoolExecutor(max(4, workers // 2), "retreat")
        self._store = Ears(world.store)
        self._scheduler = Scheduler(self._tick, workers=workers)
        self._collector = Collector(world.metrics, world.clock, self._collectors, self._scheduler.wake)
        self._asking, self._telling = ThreadPoolExecutor(4, "ask"), ThreadPoolExecutor(2, "tell")
        self._doorkeeper = Doorkeeper(
            world.webhooks or Receivers({}),
            world.alerts or Unasked(),
            world.clock,
            self._asking,
            self._telling,
            self._scheduler.wake,
        )
        self._freezing = ThreadPoolExecutor(1, "freezes")
        far = world.far_freezes
        self._guards = Guards(world.freezes, Far(far, world.clock, self._freezing, self._wake_all) if far else None)
        self._courier = Courier(world.channels or Told({}), world.clock, self._scheduler.wake)
        self.queue = Queue(limits)
        self._reconciler = Reconciler(
            self._store,
            world.mesh,
            self._collector,
            world.journal,
            world.clock,
            self._retreats,
            self._doorkeeper,
            self._guards,
            self._courier,
            world.annotations,
        )
        self._beginning = Lock()  # one at a time: two that look at one moment would both find an entry free
        self._runs: dict[str, Run] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._scheduler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._collector.end()
        self._doorkeeper.end()
        self._courier.end()
        self._scheduler.stop()
        self._collectors.shutdown(cancel_futures=True)
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._freezing.shutdown(wait=False, cancel_futures=True)
        self._telling.shutdown()  # an end that is being told is told once; nobody waits longer than a request may take
        for run in self.seen():
            if run.untold:
                self._reconciler.note_told(run.uid)
        self._retreats.shutdown()
        if self._world.annotations:
            self._world.annotations.end()
        self._open.close()

    def begin(self, plan: Plan, *, again: bool = False, uid: str = "", asked: float | None = None) -> Begun:
        """
        Begin the run of ``plan``, or go on with the unfinished one; a new one is named ``uid``, or by chance.

        ``asked`` is when somebody asked for it first (Unix seconds; by default now): who asked first comes first where
        there are limits. Raises Waits where it may not begin yet, Refused or Settled, and Rejected when another process
        carries the run out.
        """
        key = str(plan)
        asked = self._world.clock.now() if asked is None else asked
        self._guards.meet(plan)
        try:
            begun = self._begin(plan, again, uid, lambda: self._its_turn(plan, asked))
        except Waits:
            raise
        except Settled:
            self.queue.leave(key)
            raise
        except Exception:
            self.queue.pass_over(key, asked)
            raise
        self.queue.leave(key)
        return begun

    def _its_turn(self, plan: Plan, asked: float) -> None:
        """Raises Waits where a run of ``plan`` may not begin now: something bars it, or it is not its turn."""
        bar, key = self._guards.look(plan, self._world.clock.now()).bar, str(plan)
        if bar:
            self.queue.pass_over(key, asked)
            raise Waits(bar.why, bar.until)
        if not self.queue.limits or plan.observes:
            return
        self.queue.enter(key, asked)
        turn = self.queue.turn(key, self._running())
        if turn.place:
            raise Waits(turn.sentence)

    def _running(self) -> list[str]:
        """The namespaces of the runs in flight; those that only observe are in nobody's way."""
        folder = isinstance(self._world.store, FolderStore)
        runs = self.unfinished() if folder else [run for run in self.seen() if not (run.final and run.released)]
        return [run.plan.namespace for run in runs if not run.plan.observes]

    def _begin(self, plan: Plan, again: bool, uid: str, may: Callable[[], None]) -> Begun:
        world = self._world
        folder = isinstance(world.store, FolderStore)
        # What asks Prometheus and half of the cluster takes its time; nobody waits for it at the lock.
        prepared = admission.prepare(plan, world, again=again, mode=self._mode, may=may)
        with world.store.beginning() if isinstance(world.store, FolderStore) else self._beginning:
            begun = admission.begin(
                plan,
                world,
                again=again,
                kept="" if folder else "canaryrun",
                mode=self._mode,
                uid=uid,
                prepared=prepared,
                may=may,
            )
            self.carry_out(begun.record.run)
        self.abort_if_reverted(plan, begun.record.run)
        return begun

    def undo(self, uid: str, command: Command, *, name: str = "") -> Run:
        """
        Begin the run that takes back what run ``uid`` has promoted, named ``name``, or by chance.

        Raises Refused, and Rejected when another process carries it out.
        """
        world = self._world
        if self._mode == "observe":
            raise Refused([Problem("mode", "observe", "a canaryd that may write: it only observes")])
        with world.store.beginning() if isinstance(world.store, FolderStore) else self._beginning:
            record = undoing.undo(uid, command, mesh=world.mesh, store=world.store, clock=world.clock, name=name)
            self.carry_out(record.run)
        return record.run

    def asked(self, run: Run) -> tuple[Command, ...]:
        """What people have asked of the run that it has not answered yet. Raises what the store raises."""
        return tuple(one for one in self._world.store.commands(run.uid) if one.id not in run.obeyed)

    def answered(self, uid: str, command: Command) -> Run:
        """Note in a run that has ended that ``command`` was answered; the run then."""
        return undoing.obeyed(uid, command, self._world.store)

    def abort_if_reverted(self, plan: Plan, run: Run) -> str:
        """Abort ``run`` where ``plan`` by now asks for the release that was settled before it; the reason, or none."""
        reason = admission.reverted(plan, run, self._world.store.records())
        if reason and not run.latch:
            self.ask(run.uid, command("abort", reason=reason, by="the plan"))
        return reason

    def load(self, uid: str) -> Run:
        """The run as it is in the store. Raises what the store raises."""
        return self._world.store.load(uid).run

    def unfinished(self) -> list[Run]:
        """The runs in the store that are to be carried out further, the oldest first."""
        return [record.run for record in self._world.store.records() if not (record.run.final and record.run.released)]

    def tell_what_is_left(self) -> None:
        """Tell what a former process has left untold of runs that are over: ends, and messages in their outboxes."""
        try:
            over = [record.run for record in self._world.store.records() if record.run.final and record.run.released]
        except Unavailable as error:
            log.warning("store.unavailable", error=str(error))
            return
        for run in over:
            if run.unheard and run.uid not in self._runs:
                try:
                    self.carry_out(run)
                except CanarydError as error:  # another process carries it out, and tells it
                    log.info("message.left_to_others", run=run.uid, why=str(error))

    def unsent(self, uid: str, seconds: float) -> tuple[Message, ...]:
        """The messages of the run that no channel has taken; waits for at most ``seconds`` until there are none."""
        until = time.monotonic() + seconds
        while (waiting := self.see(uid).outbox.waiting) and time.monotonic() < until:
            time.sleep(SOON)
        return waiting

    def carry_out(self, run: Run) -> None:
        """Tick ``run`` until it is final. Raises Rejected when another process carries it out."""
        if isinstance(self._world.store, FolderStore):
            self._open.enter_context(self._world.store.held(run.uid))
        if run.latch is None:  # one on its way back waits for nobody
            self._guards.meet(run.plan)
        self._runs[run.uid] = run
        self._scheduler.add(run.uid, every=min(5.0, run.plan.spec.analysis.cell.total_seconds() / 3))

    def see(self, uid: str) -> Run:
        """The run as of its last tick."""
        return self._runs[uid]

    def seen(self) -> list[Run]:
        """Every run that was carried out here, as of its last tick."""
        return list(self._runs.values())

    def let_go(self, uid: str) -> None:
        """Tick the run no more, and keep nothing of it: it is gone."""
        self._scheduler.remove(uid)
        self._runs.pop(uid, None)
        self._store.forget(uid)
        self._collector.forget(uid)
        self._doorkeeper.forget(uid)
        self._courier.forget(uid)
        self._reconciler.forget(uid)

    def wake(self, uid: str, after: float = 0.0) -> None:
        """Tick the run as soon as possible, or ``after`` so many seconds: something that it looks at has changed."""
        self._scheduler.wake(uid, after)

    def _wake_all(self) -> None:
        for run in self.seen():
            self._scheduler.wake(run.uid)

    def stuck(self) -> str:
        """Which tick has been going on for so long that this process had better begin anew; empty where none has."""
        return self._scheduler.fault()

    def order(self, uid: str, command: Command) -> None:
        """
        The same as :meth:`ask` without writing the command down, for one that follows from what is written elsewhere.

        Lost with the process, and given again by the next for the same reason.
        """
        self._store.hear(uid, command)
        self._scheduler.wake(uid)

    def ask(self, uid: str, command: Command) -> None:
        """Append a command for the run and let it be heard at once, also where it cannot be written down."""
        self._store.ask(uid, command)
        self._scheduler.wake(uid)

    def _tick(self, uid: str) -> None:
        if not self._may() and not self._retreats_still(uid):
            return
        run = self._reconciler.tick(uid)
        if uid not in self._runs:
            self._reconciler.forget(uid)
            return  # let go meanwhile
        self._runs[uid] = run
        self._shown(run)
        if run.final and run.released and not run.unheard:
            self._store.forget(uid)
            self._doorkeeper.forget(uid)
            self._courier.forget(uid)
            self._scheduler.remove(uid)
        elif run.unready_since is not None and run.latch is None:
            self._scheduler.wake(uid, UNREADY_FOR)  # seen so twice, the canary is dead; the due time may be far

    def _retreats_still(self, uid: str) -> bool:
        """
        Whether the run is on its way back: no lost Lease may keep it from getting there.

        Toward stable two may write: what they write is the same, and neither touches a younger run's marker.
        """
        run = self._runs.get(uid)
        return run is not None and run.latch is not None and not run.final


class Unasked:
    """The alerts port where there is no Prometheus to ask: nothing is known, and nothing passes for silence."""

    def firing(self, plan: Plan, alert: Alert) -> tuple[str, ...]:
        raise Unavailable(f"there is no Prometheus to ask whether {' or '.join(alert.names)} fires for {plan}")


class Ears:
    """
    The store port over another one, which also hears commands while the other cannot take them down.

    An abort must not wait for a disk. What was only heard is lost with the process, and so is obeyed by it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._heard: dict[str, tuple[Command, ...]] = {}
        self.load, self.save, self.records = store.load, store.save, store.records

    def commands(self, uid: str) -> tuple[Command, ...]:
        heard = self._heard.get(uid, ())
        try:
            return (*self._store.commands(uid), *heard)
        except Unavailable:
            if not heard:
                raise
            return heard

    def ask(self, uid: str, command: Command) -> None:
        try:
            self._store.ask(uid, command)
        except Unavailable as error:
            log.warning("store.unavailable", run=uid, error=str(error))
            self.hear(uid, command)

    def forget(self, uid: str) -> None:
        """What was only heard for a run that is not carried out any more."""
        self._heard.pop(uid, None)

    def hear(self, uid: str, command: Command) -> None:
        """Take the command in, without writing it down."""
        self._heard[uid] = (*self._heard.get(uid, ()), command)


def command(verb: str, *, reason: str = "", by: str = "", step: int | None = None, force: bool = False) -> Command:
    """A command with an id of its own, so that it is obeyed once however often it is read."""
    return Command(uuid4().hex, verb, reason, by, step, force)  # type: ignore[arg-type]  # the CLI offers these verbs

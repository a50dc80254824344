"""
The player: a scenario told on a lab by the real command, ``canaryd run``, in a process of its own.

The stage is set, canaryd is started, events happen when their moment has come, and what was observed is handed to
``outcome``. The seed steers arrivals and spikes; Envoy draws its faults by itself, so a telling is not repeated to the
request.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canaryd.errors import CanarydError, Rejected
from canaryd.lab.lab import Lab
from canaryd.lab.load import Counts, Tally
from canaryd.lab.processes import mortal
from canaryd.lab.scenarios.acts import Act, Daemon, Stage, act_of, entry_of, replace_pods, share_of, shares_of
from canaryd.lab.scenarios.calendar import closed_times, plan_on_calendar
from canaryd.lab.scenarios.format import Event, Moment, Script, Stream
from canaryd.lab.scenarios.outcome import (
    EXITS,
    Facts,
    Happened,
    Line,
    Told,
    Weighed,
    as_expected,
    changes,
    compare,
    wanted,
)
from canaryd.lab.scene import INGRESS, image_of
from canaryd.model.run import Run
from canaryd.model.traffic import Split
from canaryd.store.folder import FolderJournal, FolderStore

LOOK = 0.1
"""Seconds between two looks at canaryd's process, the run and the timeline."""
WARM = 4.0
"""Seconds of the scenario's own traffic before canaryd begins: a service that is released has been in use."""
ENDINGS = {code: ending for ending, code in EXITS.items()}

Tell = Callable[[str], None]
"""Hears what the scenario does, as it does it."""


Watch = Callable[[Path], None]
"""Is shown the state folder of the run."""


@dataclass(frozen=True)
class Played:
    """One telling: what was observed, held against what was expected, and where its files are."""

    script: Script
    seed: int
    facts: Facts
    run: Run | None
    lines: tuple[Line, ...]
    report: Path
    log: Path

    @property
    def as_expected(self) -> bool:
        return as_expected(self.lines)


def play_on_its_own(
    script: Script, folder: Path, *, seed: int | None = None, show: bool = False, **options: Any
) -> Played:
    """Play ``script`` on a lab that is brought up for it, with these ``options``, and taken down again."""
    with tempfile.TemporaryDirectory(prefix="canaryd-lab-") as directory, Lab.up(Path(directory), **options) as lab:
        return play(lab, script, folder, seed=seed, show=show)


def play(
    lab: Lab,
    script: Script,
    folder: Path,
    *,
    seed: int | None = None,
    show: bool = False,
    tell: Tell | None = None,
    watch: Watch | None = None,
) -> Played:
    """
    Play ``script`` on ``lab`` from a clean start; logs, report and journal go to ``folder``.

    ``show`` lets canaryd's own output through to the terminal; ``watch`` is called again and again while it runs, and
    once more at the end. Raises Rejected for what this lab cannot do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed = script.scenario.seed if seed is None else seed
    name = f"{script.name}-{seed}"
    state, report, plan = folder / f"{name}.state", folder / f"{name}.html", folder / f"{name}.plan.yaml"
    shutil.rmtree(state, ignore_errors=True)  # a story told again begins anew
    stage = Stage(lab, script, state, seed)
    happenings = _Happenings(stage, tell or (lambda _: None))  # before anything moves: all of it must be possible
    set_the_stage(stage)
    command = [sys.executable, "-m", "canaryd", "run", str(plan), "--on-exit", "rollback", "--report", str(report)]
    command += ["--kubeconfig", str(lab.kubeconfig), "--prometheus", lab.prometheus_url, "--state", str(state)]
    log = folder / f"{name}.log"
    before, began = lab.counts(), time.time()
    started, calendar = round(began), script.scenario.calendar
    plan.write_text(plan_on_calendar(script.plan_text, calendar, started), encoding="utf-8")
    first = virtual_services(lab)
    with _weights_seen(lab, script) as (weights, apart), log.open("wb") as output, _streams(lab, script) as streams:
        stage.canaryd = Daemon(mortal(command), None if show else output, output)
        patience = script.scenario.patience.total_seconds()
        exit_code, stands = _attend(stage.canaryd, happenings, patience, watch or (lambda _: None))
    ended, after = time.time(), lab.counts()
    run = newest_run(state)
    facts = Facts(
        exit_code=exit_code,
        ending=stands or ENDINGS.get(exit_code, f"exit code {exit_code}"),
        reason=_reason(run, happenings.last, log),
        began=run.created if run else began,
        seconds=ended - began,
        weights=tuple(weights),
        apart=tuple(apart),
        told=_told(state, run),
        happened=happenings.happened,
        missing=happenings.missing,
        closed=closed_times(calendar, started),
        entry=entry_of(lab),
        changed=changes(first, virtual_services(lab)),
        reached={name: {key: one.answered for key, one in load.by_version.items()} for name, load in streams.items()},
        answered=after.answered - before.answered,
        failed=after.failed - before.failed,
        **_harm(script, before, after),
    )
    return Played(script, seed, facts, run, compare(script, facts), report, log)


Json = dict[str, Any]


def virtual_services(lab: Lab) -> dict[str, Json]:
    """Every VirtualService as it stands, by namespace and name."""
    found = lab.cluster.objects("VirtualService")
    return {f"{one['metadata']['namespace']}/{one['metadata']['name']}": copy.deepcopy(one) for one in found}


def newest_run(state: Path) -> Run | None:
    """The run in a state folder, None before it has begun."""
    records = list(FolderStore(state).records())
    return records[-1].run if records else None


def set_the_stage(stage: Stage) -> None:
    """
    Everything as the scenario begins: parts running, pods new and ready, versions, weights and traffic as it says.

    The pods are new so that what stable did in a scenario before is not taken for its history.
    """
    lab, scenario = stage.lab, stage.script.scenario
    lab.start_api()
    lab.prometheus.start()
    if lab.api is not None:
        lab.api.faults.clear()
    for version in lab.scene.versions:
        lab.restore(version)
        first, now = lab.scene.deployment(version), lab.deployment(version)
        if first and image_of(now) != image_of(first):
            lab.roll_out(version, image_of(first))
        replace_pods(lab, version)
    lab.refuse_nobody()
    lab.faults.reset()
    for version, behaviour in scenario.versions.items():
        lab.faults.set(version, **behaviour.dials())
    for service in lab.scene.services(grpc=scenario.load.grpc):
        lab.cluster.apply(service)
    _clear(lab)
    virtual_service = lab.scene.divided(scenario.start.weights)
    virtual_service["spec"]["http"][lab.scene.entry] |= scenario.start.entry
    lab.cluster.apply(virtual_service)
    for each in scenario.start.objects:
        lab.cluster.apply(copy.deepcopy(each))
    lab.control_plane.settle()
    if lab.control_plane.problem:
        raise Rejected(f"start: the lab's control plane cannot carry it out: {lab.control_plane.problem}")
    lab.load.set_protocol(scenario.load.protocol)
    lab.load.set_arrivals(seed=stage.seed, poisson=scenario.load.arrivals == "poisson")
    lab.load.follow(scenario.load.shape(stage.seed))
    time.sleep(WARM)
    for version in scenario.start.drained:
        lab.drain(version)
    for part in scenario.start.away:
        (lab.prometheus.stop if part == "prometheus" else lab.stop_api)()
    lab.load.follow(scenario.load.shape(stage.seed))  # its time begins with canaryd's


def _clear(lab: Lab) -> None:
    """Routes as the scene has them: what a scenario before brought along is gone."""
    written = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in lab.scene.objects}
    relabelled = False
    for kind in ("VirtualService", "DestinationRule", "Gateway", "Telemetry"):
        for each in lab.cluster.objects(kind):
            about = each["metadata"]
            if (kind, about.get("namespace"), about["name"]) not in written:
                lab.cluster.remove(kind, about["namespace"], about["name"])
                relabelled = relabelled or kind == "Telemetry"
    for each in lab.scene.objects:
        if each["kind"] in ("VirtualService", "DestinationRule", "Gateway", "Service"):
            lab.cluster.apply(copy.deepcopy(each))
    if (
        relabelled
    ):  # Envoy's counters without the label begin anew, and are less than Prometheus knows them to have been
        lab.control_plane.settle()
        lab.prometheus.forget()
        if lab.load.rps:
            lab.wait_until_measured()


@contextlib.contextmanager
def _streams(lab: Lab, script: Script) -> Iterator[dict[str, Counts]]:
    """The scenario's further traffic while canaryd runs; their books are there at the end."""
    books: dict[str, Counts] = {}
    streams = script.scenario.streams
    try:
        for one in streams:
            lab.start_stream(one.name, vantage=one.from_, port=_port(one), rps=one.rps, host=one.host, path=one.path,
                             headers=dict(one.headers))  # fmt: skip
        yield books
    finally:
        for one in streams:
            if one.name in lab.streams:
                books[one.name] = lab.stop_stream(one.name)


def _port(stream: Stream) -> int | None:
    """The port that a client inside of the mesh names after the host."""
    port = stream.host.rpartition(":")[2]
    return int(port) if port.isdigit() and stream.from_ != INGRESS else None


@dataclass
class _Coming:
    """An event and how far it has come."""

    event: Event
    act: Act
    began: float | None = None
    ended: float | None = None
    again: float = 0.0
    failure: str = ""

    @property
    def over(self) -> bool:
        if self.failure:
            return True
        return self.began is not None and (self.event.lasts is None or self.ended is not None) and not self._repeats

    @property
    def _repeats(self) -> bool:
        return self.act.again is not None and self.ended is None


@dataclass
class _Happenings:
    """The events of a scenario: each happens when its moment has come, lasts, and is undone."""

    stage: Stage
    tell: Tell
    last: Run | None = None
    reached: dict[str, float] = field(default_factory=dict)
    coming: list[_Coming] = field(init=False)

    def __post_init__(self) -> None:
        self.coming = [_Coming(event, act_of(event, self.stage)) for event in self.stage.script.scenario.timeline]

    @property
    def happened(self) -> tuple[Happened, ...]:
        rows = [(one.event.name, one.act.what, one.began, one.ended) for one in self.coming if one.began is not None]
        return tuple(Happened(*row) for row in rows)

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that never came, and those that could not be done, with why."""
        left = [one for one in self.coming if one.began is None]
        return tuple(f"{one.event.name} ({one.failure})" if one.failure else one.event.name for one in left)

    def look(self) -> None:
        """Let happen what is due."""
        if all(one.over for one in self.coming):
            return
        run = newest_run(self.stage.state)
        if run is None:
            return
        self.last = run
        now = time.time()
        for phase in (run.phase.value, *(("held",) if run.hold else ())):
            self.reached.setdefault(phase, now)
        for one in self.coming:
            if not one.failure:
                self._go_on(one, run, now)

    def end(self) -> None:
        """Undo what still lasts."""
        for one in self.coming:
            if one.began is not None and one.ended is None and one.act.end and (one.event.lasts or one.act.again):
                self._end(one)

    def _go_on(self, one: _Coming, run: Run, now: float) -> None:
        if one.began is None:
            due = self._due(one.event.at, run)
            if due is not None and now >= due:
                try:
                    one.act.begin()
                except (CanarydError, subprocess.TimeoutExpired) as error:
                    one.failure = str(error)  # such as an abort of a run that has just ended: the comparison says so
                    self.tell(f"cannot be done: {one.act.what}: {error}")
                    return
                # What follows is timed from when the hand began; a command's process may take its time to start.
                one.began = time.time() if one.event.say else now
                one.again = one.began + one.act.every
                self.tell(one.act.what)
            return
        lasts = one.event.lasts
        if one.ended is None and lasts is not None and now >= one.began + lasts.total_seconds():
            self._end(one)
        elif one.ended is None and one.act.again and now >= one.again:
            one.act.again()
            one.again += one.act.every

    def _end(self, one: _Coming) -> None:
        if one.act.end:
            one.act.end()
        one.ended = time.time()
        self.tell(f"over: {one.act.what}")

    def _due(self, moment: Moment, run: Run) -> float | None:
        """When it is to happen; None where that is not known yet."""
        after = moment.after.total_seconds()
        if moment.seconds is not None:
            return run.created + moment.seconds.total_seconds() + after
        if moment.phase is not None:
            return self.reached[moment.phase] + after if moment.phase in self.reached else None
        key = f"step {moment.step:g}"
        if run.split == Split.percent(str(moment.step)) and run.phase.value == "baking":
            self.reached.setdefault(key, run.at)
        return self.reached[key] + after if key in self.reached else None


def _attend(canaryd: Daemon, happenings: _Happenings, patience: float, watch: Watch) -> tuple[int, str]:
    """
    Let events happen until canaryd has ended, or is told to; its exit code, and how the run stood if it was told.
    """
    end = time.monotonic() + patience
    stands = ""
    try:
        while canaryd.alive() and time.monotonic() < end:
            happenings.look()
            watch(happenings.stage.state)
            time.sleep(LOOK)
        if canaryd.alive():
            happenings.last = newest_run(happenings.stage.state)
            stands = _standing(happenings.last)
    finally:
        happenings.end()
        exit_code = canaryd.end()
    watch(happenings.stage.state)
    return exit_code, stands


def _standing(run: Run | None) -> str:
    """How a run stands that has not ended."""
    if run is None:
        return "never began"
    return "held" if run.hold else "waiting" if run.phase.value == "pending" else run.phase.value


def _reason(run: Run | None, stood: Run | None, log: Path) -> str:
    """The last reason: of the end, of what a run waited for that was told to end, or of a refusal."""
    if run is None:
        return " ".join(log.read_text(encoding="utf-8", errors="replace").split())
    if stood is not None and not stood.final and run.latch and "canaryd was told to end" in run.latch.reason:
        return stood.hold.why if stood.hold else stood.waiting
    return run.reason


def _told(state: Path, run: Run | None) -> tuple[Told, ...]:
    if run is None:
        return ()
    told = []
    for entry in FolderJournal(state).read(run.uid):
        at, events = entry.get("at"), entry.get("events")
        if isinstance(at, int | float) and isinstance(events, list):
            told += [Told(float(at), str(name), str(reason)) for name, reason in events]
    return tuple(told)


@contextlib.contextmanager
def _weights_seen(lab: Lab, script: Script) -> Iterator[tuple[list[Weighed], list[tuple[float, ...]]]]:
    """
    The canary's weight from now on, as the cluster has it: each change with who wrote it; and what it was in each of
    the plan's entries, wherever these differed.

    The cluster calls in the writer's thread: ours is the scenario's, the API server's is canaryd's.
    """
    ours, canary, routes = threading.get_ident(), script.canary, script.plan.spec.target.routes
    found = lab.virtual_service()
    seen = [Weighed(time.time(), share_of(lab.scene, found, canary), "scenario")]
    apart: list[tuple[float, ...]] = []

    def note(change: Any) -> None:
        if change.object["kind"] != "VirtualService" or not lab.scene.is_on_trial(change.object):
            return
        if len(set(shares := shares_of(lab.scene, change.object, canary, routes))) > 1:
            apart.append(shares)
        percent = share_of(lab.scene, change.object, canary)
        if percent != seen[-1].percent:
            seen.append(Weighed(time.time(), percent, "scenario" if threading.get_ident() == ours else "canaryd"))

    unsubscribe = lab.cluster.subscribe(note)
    try:
        yield seen, apart
    finally:
        unsubscribe()


def _harm(script: Script, before: Counts, after: Counts) -> dict[str, int]:
    """What the clients met at the canary."""
    stable, canary = (_since(before.of(version), after.of(version)) for version in script.books)
    slow = _slow(canary, 2 * stable.quantile(0.999))
    return {"canary": canary.answered, "canary_failed": canary.failed, "harmed": canary.failed + slow}


def _since(before: Tally, after: Tally) -> Tally:
    """What was answered between two counts."""
    return Tally(
        after.answered - before.answered,
        after.failed - before.failed,
        after.by_status - before.by_status,
        after.by_millisecond - before.by_millisecond,
    )


def _slow(tally: Tally, milliseconds: float) -> int:
    """The requests that took longer than that."""
    return sum(count for millisecond, count in tally.by_millisecond.items() if millisecond > milliseconds)


def result_of(played: Played) -> dict[str, Any]:
    """A telling as plain data, for files of results and for other processes."""
    facts = played.facts
    return {
        "scenario": played.script.name,
        "seed": played.seed,
        "as_expected": played.as_expected,
        "expected": wanted(played.script.scenario.expect),
        "ending": facts.ending,
        "exit": facts.exit_code,
        "seconds": round(facts.seconds, 1),
        "largest": facts.largest,
        "answered": facts.answered,
        "failed": facts.failed,
        "canary": facts.canary,
        "canary_failed": facts.canary_failed,
        "harmed": facts.harmed,
        "reason": facts.reason,
        "wrong": [
            f"{one.what}: expected {one.expected}, happened {one.happened}" for one in played.lines if not one.good
        ],
    }

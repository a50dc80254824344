"""
One tick: load -> observe -> decide -> save and patch -> tell.

The order of save and patch is the safety of the whole: toward the canary the intent is on the disk before the mesh
hears of it; toward stable the mesh hears of it first, and neither a store nor a journal that fails can stop that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter

from canaryd import judge, telemetry
from canaryd.engine.collector import Collector
from canaryd.engine.courier import Courier
from canaryd.engine.doorkeeper import Doorkeeper
from canaryd.engine.guarding import Guards
from canaryd.engine.observing import as_measured, as_wanted, observed
from canaryd.engine.ports import Annotations, Clock, Journal, Mesh, Store
from canaryd.engine.posting import with_messages, without
from canaryd.errors import CanarydError, Conflict, Gone
from canaryd.machine import decide, gates
from canaryd.model.cells import Cell, Gap, Past
from canaryd.model.decision import Decision, Observation, Told, Unseen, Write
from canaryd.model.evidence import Evidence
from canaryd.model.harm import Harmed
from canaryd.model.judgement import JudgeState
from canaryd.model.measuring import sought_of
from canaryd.model.run import Command, Phase, Record, Run
from canaryd.model.traffic import Sides, Sighting

RETREAT_DEADLINE = 12.0
"""Seconds that a tick waits for its retreat; the retreat's two requests have shorter ones of their own."""

LOOK_AGAIN = 60.0
"""Seconds between two looks for what keeps callers from meeting the split, unless other callers do not."""

log = structlog.get_logger()
_OBSERVATION = TypeAdapter(Observation)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found ``at`` a time (Unix seconds) for a doubt about the share."""

    of: tuple[int | None, tuple[str, ...]]
    at: float
    found: tuple[str, ...]


class Reconciler:
    """Carries out ticks. One run has one tick at a time; the scheduler sees to that."""

    def __init__(
        self,
        store: Store,
        mesh: Mesh,
        collector: Collector,
        journal: Journal,
        clock: Clock,
        retreats: Executor,
        doorkeeper: Doorkeeper | None = None,
        guards: Guards | None = None,
        courier: Courier | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        self._store = store
        self._mesh = mesh
        self._collector = collector
        self._journal = journal
        self._clock = clock
        self._retreats = retreats
        self._doorkeeper = doorkeeper
        self._guards = guards or Guards()
        self._courier = courier
        self._annotations = annotations
        self._known: dict[str, Record] = {}
        self._unsaved: dict[str, Record] = {}
        self._refusals: dict[str, str] = {}
        self._suspects: dict[str, _Looked] = {}

    def tick(self, uid: str) -> Run:
        """
        One tick of run ``uid``; the run afterwards.

        Raises what the store raises when the run cannot be loaded and was never seen.
        """
        record = self._load(uid)
        with structlog.contextvars.bound_contextvars(run=uid):
            if record.run.final and record.run.released:
                record = self._tell_the_end(self._without_what_was_taken(record))
                return self._post(record)
            seen = self._observe(record.run)
            taken = self._courier.taken(uid) if self._courier else ()
            decision = _with_messages(_decided(record.run, seen), seen.now, taken)
            if lost := decision.run.outbox.dropped - record.run.outbox.dropped:
                log.error("message.dropped", messages=lost)
            former, record = record.run, self._act(record, decision, seen)
            self._post(record)
            self._tell(former, record.run, seen, decision)
            telemetry.observed(record.run, decision.events, seen.now)
            self._ask_for_cells(record.run)
            if self._doorkeeper:
                self._doorkeeper.ask(record.run)
            record = self._tell_the_end(record)
            self._look_for_suspects(record.run, seen.now)
        return record.run

    def note_told(self, uid: str) -> None:
        """Save who has been told of the end of run ``uid`` since its last tick, as at a good end of the process."""
        if record := self._known.get(uid):
            self._told(record)

    def _post(self, record: Record) -> Run:
        """Have sent what lies in the outbox; only of a run that is saved, for another process would send the same."""
        if self._courier and self._known.get(record.run.uid) is record:
            self._courier.post(record.run)
        return record.run

    def _without_what_was_taken(self, record: Record) -> Record:
        """A run that is over, and has messages left: nothing else is to be done for it."""
        uid = record.run.uid
        left = without(record.run, self._courier.taken(uid) if self._courier else ())
        unchanged = left == record.run and uid not in self._unsaved
        return record if unchanged else self._saved(replace(record, run=left))

    def forget(self, uid: str) -> None:
        """Keep nothing of the run in mind."""
        for known in (self._known, self._unsaved, self._refusals, self._suspects):
            known.pop(uid, None)

    def _load(self, uid: str) -> Record:
        try:
            known = self._known[uid] = self._store.load(uid)
        except CanarydError as error:
            # A rollback must not wait for the store: what was known last is enough for it.
            last = self._known.get(uid)
            if last is None:
                raise
            known = last
            log.warning("store.unavailable", run=uid, error=str(error))
        unsaved = self._unsaved.get(uid)
        if unsaved is not None and unsaved.version == known.version:
            return unsaved  # nobody has saved since: what this process decided still holds
        self._unsaved.pop(uid, None)
        return known

    def _observe(self, run: Run) -> Observation:
        # The evidence is weighed last: between a verdict and its retreat nobody else is asked anything.
        mesh = _or_unseen(lambda: self._mesh.look(run.route))
        sides = _or_unseen(lambda: self._mesh.sides(run.route))
        if isinstance(sides, Sides) and run.phase is not Phase.RETURNING:
            sides = replace(sides, unlike=None)  # what the versions differ in is news only where they are to be alike
        commands = self._commands(run.uid)
        cells, blind, past = self._collector.take(run)
        answers = self._doorkeeper.take(run) if self._doorkeeper else ()
        if run.plan.observes:
            cells = as_measured(cells, mesh)
        judged, evidence, harmed = _weighed(run, past, cells)
        refusal = self._refusals.get(run.uid, "")
        now, since = self._clock.now(), self._collector.since(run.uid)
        guarded = self._guards.look(run.plan, now)
        looked = self._suspects.get(run.uid)
        suspects = looked.found if looked and evidence and looked.of == _whose(evidence) else ()
        return Observation(
            now,
            mesh,
            sides,
            cells,
            judged,
            evidence,
            blind,
            commands,
            refusal,
            past,
            since,
            suspects,
            harmed,
            answers,
            barred=guarded.bar.at(now) if guarded.bar else "",
            stopped=guarded.stopped,
        )

    def _look_for_suspects(self, run: Run, now: float) -> None:
        """
        What may keep callers from meeting the split, while that is in doubt, for the next tick to tell.

        After everything else of a tick, seldom, and never where traffic is on its way back: it only helps a person.
        """
        evidence = run.evidence
        if evidence is None or not evidence.astray or run.latch or run.final:
            self._suspects.pop(run.uid, None)
            return
        looked = self._suspects.get(run.uid)
        if looked and looked.of == _whose(evidence) and now < looked.at + LOOK_AGAIN:
            return
        try:
            found = self._mesh.suspects(run.route, evidence.lagging)
        except CanarydError as error:
            log.warning("mesh.suspects_unknown", error=str(error))
            found = ()
        self._suspects[run.uid] = _Looked(_whose(evidence), now, found)

    def _commands(self, uid: str) -> tuple[Command, ...]:
        try:
            return self._store.commands(uid)
        except CanarydError as error:
            log.warning("store.unavailable", error=str(error))
            return ()

    def _act(self, record: Record, decision: Decision, seen: Observation) -> Record:
        changed = replace(record, run=decision.run)
        write = decision.write
        if write is None or record.run.plan.observes:
            unchanged = decision.run == record.run and record.run.uid not in self._unsaved
            record = record if unchanged else self._saved(changed)
        elif write.toward == "canary":
            record = self._advance(changed, write, seen)
        else:
            self._fall_back(decision.run, write)
            record = self._saved(changed)
        return self._release(record) if decision.release else record

    def _advance(self, changed: Record, write: Write, seen: Observation) -> Record:
        """Toward the canary: the intent first. A save that fails leaves the mesh as it was."""
        saved = self._saved(changed)
        if saved.version == changed.version or not isinstance(seen.mesh, Sighting):
            return saved
        try:
            self._mesh.shift(changed.run.route, write.marker, seen.mesh)
        except CanarydError as error:
            if self._refusals.get(saved.run.uid) != str(error):
                log.warning("mesh.shift_failed", split=str(write.marker.split), error=str(error))
            self._refusals[saved.run.uid] = str(error)
        else:
            self._refusals.pop(saved.run.uid, None)
        return saved

    def _fall_back(self, run: Run, write: Write) -> None:
        """Toward stable: on the retreats' own pool. What goes wrong here is tried again by the next tick."""
        try:
            self._retreats.submit(self._mesh.retreat, run.route, write.marker).result(RETREAT_DEADLINE)
        except (CanarydError, TimeoutError) as error:
            why = str(error) or f"no answer within {RETREAT_DEADLINE:g} s"
            if self._refusals.get(run.uid) != why:  # told once; it is tried at each tick
                log.error("mesh.retreat_failed", split=str(write.marker.split), error=why)  # noqa: TRY400  # expected
            self._refusals[run.uid] = why
        else:
            telemetry.retreated(run, self._clock.now())
            self._refusals.pop(run.uid, None)

    def _saved(self, changed: Record) -> Record:
        """The record after a save; as it was, in version, when the save failed."""
        uid = changed.run.uid
        try:
            saved = self._store.save(changed)
        except Conflict as error:
            log.warning("store.conflict", error=str(error))
            telemetry.saved("conflict")
            self._unsaved.pop(uid, None)
        except CanarydError as error:
            log.warning("store.save_failed", error=str(error))
            telemetry.saved("failed")
            self._unsaved[uid] = changed
        else:
            telemetry.saved("saved")
            self._unsaved.pop(uid, None)
            self._known[uid] = saved
            return saved
        return changed

    def _release(self, record: Record) -> Record:
        """
        The end: our marker goes out of the object. Until that worked the run is ticked again.

        Not before the end is saved: to a run that does not know that it has ended, a missing marker is drift.
        """
        run = record.run
        if self._known.get(run.uid) != record:
            return record
        try:
            if not run.plan.observes:
                self._mesh.release(run.route, run.uid)
        except CanarydError as error:
            log.warning("mesh.release_failed", error=str(error))
            return record
        self._collector.forget(run.uid)
        return self._saved(replace(record, run=replace(run, released=True)))

    def _tell_the_end(self, record: Record) -> Record:
        """
        Those who are to hear how the run has ended, and have not, are told beside the tick; who has is saved.

        Not before the end is saved: it is told once more after a death, and must be the same then.
        """
        record = self._told(record)
        if self._doorkeeper and record.run.untold and self._known.get(record.run.uid) == record:
            self._doorkeeper.tell(record.run)
        return record

    def _told(self, record: Record) -> Record:
        """The record without those who have been told, once that is saved."""
        told = self._doorkeeper.told(record.run) if self._doorkeeper else frozenset()
        if not told:
            return record
        left = tuple(name for name in record.run.untold if name not in told)
        saved = self._saved(replace(record, run=replace(record.run, untold=left)))
        return saved if self._known.get(saved.run.uid) == saved else record

    def _tell(self, former: Run, run: Run, seen: Observation, decision: Decision) -> None:
        for event in decision.events:
            log.info(event.told.value, reason=event.reason, phase=run.phase.value, split=str(run.split))
            if self._annotations:
                self._annotations.annotate(run, event, seen.now)
        try:
            self._journal.tell(run.uid, _entry(former, run, seen, decision))
        except CanarydError as error:
            log.warning("journal.unavailable", error=str(error))

    def _ask_for_cells(self, run: Run) -> None:
        sought = None if run.final else sought_of(run, self._mesh.hosts(run.route))
        if sought is not None:
            self._collector.ask(run, sought)


def _with_messages(decision: Decision, now: float, taken: Collection[tuple[str, str]]) -> Decision:
    """As :func:`with_messages`; a fault in what is only told must not end a tick that may be a rollback."""
    try:
        return with_messages(decision, now, taken)
    except Exception:
        log.exception("message.fault")
        return decision


def _decided(run: Run, seen: Observation) -> Decision:
    """What the machine decides; of a run that only observes, told as what it would do."""
    if not run.plan.observes:
        return gates.owed(decide(run, seen), run)
    return observed(decide(run, replace(seen, mesh=as_wanted(run, seen.mesh))), run, seen.mesh)


def _weighed(
    run: Run, past: Past | None, cells: tuple[Cell | Gap, ...]
) -> tuple[JudgeState | None, Evidence | None, Harmed]:
    """
    The judge's state and word after ``cells``, and the requests that were harmed by then.

    Cells of before its beginning are of a former canary: for the judge they count for nothing, but who met it was
    harmed all the same.
    """
    analysis = run.plan.spec.analysis
    state, evidence, harmed = run.judged, run.evidence, run.harmed
    before = past.cells if past else run.past_cells
    for cell in cells:
        if cell.segment < run.judged_from:
            harmed = judge.harmed(harmed, judge.begin(analysis), cell)
            continue
        known = state or judge.begin(analysis, before)
        harmed = judge.harmed(harmed, known, cell)
        state = judge.advance(analysis, known, cell)
    if cells and state is not None:
        evidence = judge.weigh(analysis, state)
    return state, evidence, harmed


def _whose(evidence: Evidence) -> tuple[int | None, tuple[str, ...]]:
    """What a doubt about the share is about."""
    return evidence.segment, evidence.lagging


def _or_unseen(read: Callable[[], T]) -> T | Unseen:
    try:
        return read()
    except CanarydError as error:
        return Unseen(str(error), gone=isinstance(error, Gone))


def _entry(former: Run, run: Run, seen: Observation, decision: Decision) -> dict[str, Any]:
    """What the journal keeps of a tick: what was seen (the judge's state apart) and what followed."""
    saw = _OBSERVATION.dump_python(replace(seen, judged=None), mode="json", by_alias=True)
    marker = decision.write.marker.dump() if decision.write else ""
    return {
        "run": run.uid,
        "at": seen.now,
        "saw": saw,
        "phase": run.phase.value,
        "step": run.step,
        "split": run.split.canary,
        "seq": run.seq,
        "waiting": run.waiting,
        "heard": [one for one in run.obeyed if one not in former.obeyed],
        "wrote": "" if run.plan.observes else marker,
        "would": marker if run.plan.observes else "",
        "events": [[event.told.value, event.reason] for event in decision.events],
        **_found(run, decision),
    }


def _found(run: Run, decision: Decision) -> dict[str, Any]:
    """Preflight's findings in full, in the entry that tells of them."""
    told = any(event.told is Told.PREFLIGHT for event in decision.events)
    return {"preflight": [asdict(one) for one in run.findings]} if told else {}

"""
What people ask of a run: each command is obeyed once, or void for a reason that is told.

A word changes what the run waits for, and never sends anything itself: what follows from it goes the same ways, under
the same guards, as what follows from evidence. None is stronger than harm, than a bar, or than a latch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from canaryd.machine import gates
from canaryd.machine.barring import barred_from
from canaryd.machine.returning import but_stable_changed
from canaryd.machine.standing import Standing, standing
from canaryd.model.decision import Event, Observation, Told
from canaryd.model.run import PROVEN, Command, Hold, Latch, Phase, Run, Word
from canaryd.model.traffic import Sighting

ToDrift = Literal["", "reassert", "adopt"]
"""What a person says to weights that somebody else changed."""


@dataclass(frozen=True, slots=True)
class _Void:
    """Why a command does nothing."""

    why: str


def obeyed(run: Run, seen: Observation, told: list[Event]) -> tuple[Run, ToDrift]:
    """The run after each new command, and what was said to drift. What cannot be carried out yet stays for later."""
    to_drift: ToDrift = ""
    for command in seen.commands:
        if command.id in run.obeyed or _too_early(command, run, seen):
            continue
        run = replace(run, obeyed=(*run.obeyed, command.id))
        if command.verb == "abort":
            run = _aborted(run, command, seen)
        elif command.step is not None and command.step != (run.place if command.verb == "approve" else run.step):
            told.append(
                Event(Told.COMMAND_VOID, f"{command.verb} was meant for step {command.step + 1}; it has passed")
            )
        elif command.verb == "approve" and run.phase is not Phase.RETURNING:
            run = gates.approved(run, command, seen, told)
        else:
            if command.verb in ("resume", "adopt") and _drifted(run):
                to_drift = "adopt" if command.verb == "adopt" else "reassert"
            answer = _VERBS[command.verb](run, command, seen)
            if isinstance(answer, _Void):
                told.append(Event(Told.COMMAND_VOID, answer.why))
            else:
                run, event = answer
                told += [event] if event else []
    return run, to_drift


_Answer = tuple[Run, Event | None] | _Void


def _too_early(command: Command, run: Run, seen: Observation) -> bool:
    """Whether it is for a moment that is still to come: a shift to arrive, a mesh that cannot be read, a bar to go."""
    if run.latch:
        return False
    if command.verb in ("resume", "adopt"):
        if command.verb == "resume" and run.held_by and not _drifted(run):
            return False
        if not isinstance(seen.mesh, Sighting) or (command.verb == "resume" and _rises(run, seen)):
            return True
        return standing(run, seen.mesh) in (Standing.LOST, Standing.PARTLY)
    return command.verb == "advance" and run.phase is Phase.SHIFTING


def _rises(run: Run, seen: Observation) -> bool:
    """Whether to set the run's weights again would let traffic rise that may not rise now."""
    return bool(barred_from(*run.resumes_at, seen))


def _drifted(run: Run) -> bool:
    return run.hold is not None and run.hold.kind == "drift"


def _by(command: Command) -> str:
    """Who asks, and why if they said so."""
    return ": ".join(filter(None, (command.by or "somebody", command.reason)))


def _aborted(run: Run, command: Command, seen: Observation) -> Run:
    if run.latch:
        return replace(run, latch=replace(run.latch, forced=run.latch.forced or command.force))
    reason = f"aborted by {_by(command)}" + but_stable_changed(run, seen)
    return replace(run, latch=Latch("abort", reason, seen.now, command.force))


def _hold(run: Run, command: Command, seen: Observation) -> _Answer:
    """Nothing rises until the same or another person says resume; evidence goes on, and harm rolls back."""
    if run.latch or run.phase in PROVEN:
        return _Void(f"hold is for a run that can still rise; this one is {run.phase.value} at {run.split}")
    if run.held_by:
        return _Void(f"hold adds nothing: the run is held by {run.held_by} already, until one resume")
    return replace(run, held_by=Word(command.by or "somebody", seen.now, command.reason)), None


def _resume(run: Run, _: Command, __: Observation) -> _Answer:
    if not (run.held_by or _drifted(run)):
        return _Void("resume counts only after a person's hold or after drift, and there is none")
    return replace(run, held_by=None), None


def _adopt(run: Run, _: Command, __: Observation) -> _Answer:
    return (run, None) if _drifted(run) else _Void("adopt counts only after drift, and there is none")


def _advance(run: Run, command: Command, seen: Observation) -> _Answer:
    """A person's word in the place of what this step lacks; its gate, a bar and harm are what they were."""
    if run.latch or run.phase is not Phase.BAKING:
        return _Void(f"advance is for a step that is measured; the run is {run.phase.value} at {run.split}")
    if run.following is None:
        return _Void("after the last step comes the promotion: promote says that its proof may be missing")
    word = Word(command.by or "somebody", seen.now, command.reason)
    return replace(run, advanced=word), None


def _skip(run: Run, command: Command, _: Observation) -> _Answer:
    """A later step is left out. Not the last, which holds the proof, and none with a gate, which is others' word."""
    steps, wanted = run.plan.spec.steps, command.skips
    if run.latch or run.phase not in (Phase.PENDING, Phase.SHIFTING, Phase.BAKING):
        return _Void(f"skip is for a run that has steps ahead; this one is {run.phase.value} at {run.split}")
    if wanted is None or not run.step < wanted < len(steps) - 1:
        first, last = run.step + 2, len(steps) - 1
        which = f"step {first}" if first == last else f"steps {first} to {last}"
        ahead = f"{which} can be skipped" if first <= last else "no step can be skipped any more"
        return _Void(f"skip {'nothing' if wanted is None else f'step {wanted + 1}'}: {ahead}, of {len(steps)}")
    if steps[wanted].gate is not None:
        return _Void(f"step {wanted + 1} has a gate, and a gate is not skipped")
    event = Event(Told.SKIPPED, f"step {wanted + 1} ({steps[wanted].share}) is left out, by {_by(command)}")
    return replace(run, skipped=tuple(sorted({*run.skipped, wanted}))), event


def _promote(run: Run, command: Command, _: Observation) -> _Answer:
    """
    Promote without proof: at the last step, or, forced, from any.

    It goes past webhooks and alerts, whose receivers may be gone for good, and past no approval: that is another
    person's word, and given first, unless it is theirs.
    """
    if run.latch or run.phase is not Phase.BAKING or not (run.following is None or command.force):
        return _Void("promote counts only at the last step of the plan, or from any step that is measured if forced")
    for approve in run.passed_by:
        if command.by not in approve.by:
            names = " or ".join(approve.by) or "a person"
            return _Void(f"promote by {command.by or 'somebody'} does not count: an approval of {names} is ahead")
    return replace(run, unproven=_by(command)), None


def _send_back(run: Run, command: Command, _: Observation) -> _Answer:
    """Approve, to a promoted run that waits for stable: it is taken for what the canary runs."""
    return replace(run, returned_by=_by(command)), None


def _of_ended_runs(_: Run, command: Command, __: Observation) -> _Answer:
    if command.verb == "retry":
        return _Void("retry is for a run that has ended; this one goes on")
    return _Void("undo is for a promotion that has ended; this run can be aborted")


_VERBS: dict[str, Callable[[Run, Command, Observation], _Answer]] = {
    "hold": _hold,
    "resume": _resume,
    "adopt": _adopt,
    "approve": _send_back,
    "advance": _advance,
    "skip": _skip,
    "promote": _promote,
    "undo": _of_ended_runs,
    "retry": _of_ended_runs,
}


def held_by_people(run: Run, seen: Observation) -> Observation:
    """A person's hold bars a run as a freeze does: nothing starts and nothing rises, and every way back is open."""
    if run.held_by is None:
        return seen
    return replace(seen, barred="; ".join(filter(None, (f"held by {run.held_by}", seen.barred))))


def without_hold(run: Run) -> Run:
    """The run as it would be if nobody held it; what else holds it stays."""
    return replace(run, hold=None) if run.hold and run.hold.kind == "person" else run


def with_hold(run: Run) -> Run:
    """The run showing a person's hold, where it holds for nothing else and can rise at all."""
    if run.held_by is None or run.hold or run.latch or run.phase in PROVEN:
        return run
    why = f"held by {run.held_by}"
    waiting = run.waiting if why in run.waiting else "; ".join(filter(None, (why, run.waiting)))
    return replace(run, hold=Hold("person", why, run.held_by.at, None, sticky=True), waiting=waiting)

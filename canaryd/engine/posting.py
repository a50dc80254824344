"""
PURE: what a decision leaves in the run's outbox, and what was taken of it.

An event becomes a message where the plan routes it to a channel. A reminder is an event of its own: the limit of a gate
or hold is about to run out, and something will follow from that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from canaryd.machine.barring import CLOCKS
from canaryd.model.asking import clock
from canaryd.model.decision import Decision, Event, Told
from canaryd.model.duration import render_seconds
from canaryd.model.gate import Approve
from canaryd.model.message import FAILED, GATE, LONGEST, MOST, Message
from canaryd.model.run import Phase, Run, command_line

EARLIEST = 4
"""A reminder comes no earlier than when this part of the limit is left: a quarter."""


def with_messages(decision: Decision, now: float, taken: Collection[tuple[str, str]]) -> Decision:
    """
    The decision with a reminder where one is due, its events in the run's outbox, and without what was ``taken``.

    ``taken`` are pairs of a message's id and a channel.
    """
    run = without(decision.run, taken)
    events = decision.events
    if said := reminder(run, now):
        events = (*events, said)
        run = replace(run, outbox=replace(run.outbox, reminded=run.hold.limit if run.hold else None))
    return replace(decision, run=posted(run, events, now), events=events)


def without(run: Run, taken: Collection[tuple[str, str]]) -> Run:
    """The run without the messages that were taken, each by a channel."""
    if not taken or not run.outbox.waiting:
        return run
    left = []
    for message in run.outbox.waiting:
        identity = message.id_in(run.uid)
        to = tuple(channel for channel in message.to if (identity, channel) not in taken)
        if to:
            left.append(message if to == message.to else replace(message, to=to))
    return replace(run, outbox=replace(run.outbox, waiting=tuple(left)))


def posted(run: Run, events: Sequence[Event], now: float) -> Run:
    """The run with a message for each of ``events`` that its plan routes somewhere."""
    box = run.outbox
    for event in events:
        to = _channels(run, names_of(event, run))
        if to:
            message = _message(run, event, box.numbered + 1, now, to)
            box = replace(box, numbered=message.number, waiting=(*box.waiting, message))
    if too_many := max(0, len(box.waiting) - MOST):
        box = replace(box, waiting=box.waiting[too_many:], dropped=box.dropped + too_many)
    return run if box is run.outbox else replace(run, outbox=box)


def names_of(event: Event, run: Run) -> tuple[str, ...]:
    """The names under which a plan may route ``event``, which ``run`` has just told; the first is the message's own."""
    if event.told is Told.HELD and run.hold and run.hold.kind == "gate":
        return (GATE,)
    if event.told is Told.ROLLING_BACK and run.latch and run.latch.kind in ("fail", "inconclusive"):
        return (event.told.value, FAILED)
    if event.told is Told.ADOPTED:
        return (event.told.value, *_adopted(run))
    return (event.told.value,)


def _adopted(run: Run) -> tuple[str, ...]:
    """What the process that died had decided and could not tell: who listens for that is told of the adoption."""
    if run.latch:
        return ()  # told as a rollback, in the same tick
    if run.phase is Phase.PENDING:
        return (Told.RESTARTED.value,)
    if run.phase is Phase.RETURNING:
        return (Told.RETURNING.value,)
    return (Told.BROUGHT_DOWN.value,) if run.hold and run.hold.kind == "drift" else ()


def reminder(run: Run, now: float) -> Event | None:
    """That the limit of the hold runs out soon, and what follows; told once for each limit."""
    hold = run.hold
    if hold is None or hold.limit is None or run.final or run.outbox.reminded == hold.limit:
        return None
    if run.barred_since is not None and hold.kind in CLOCKS:
        return None  # the limit stands still
    before = min(run.plan.spec.remind.total_seconds(), (hold.limit - hold.since) / EARLIEST)
    left = hold.limit - now
    if not 0 < left <= before:
        return None
    when = f"in {render_seconds(left)}, at {clock(hold.limit, now)}"
    then = f"{when}, the run is rolled back" if hold.then == "rollback" else f"{when}, its limit is over; it stays held"
    return Event(Told.REMINDED, f"{then}: {hold.why}")


def _channels(run: Run, names: tuple[str, ...]) -> tuple[str, ...]:
    told = (one.channel for one in run.plan.spec.messages if not set(names).isdisjoint(one.events))
    return tuple(dict.fromkeys(told))


def _message(run: Run, event: Event, number: int, now: float, to: tuple[str, ...]) -> Message:
    hold = run.hold if event.told in (Told.HELD, Told.REMINDED) else None
    return Message(
        number=number,
        event=names_of(event, run)[0],
        reason=event.reason if len(event.reason) <= LONGEST else f"{event.reason[: LONGEST - 3]}...",
        at=now,
        to=to,
        share=run.share,
        phase=run.phase.value,
        commands=_commands(run, event),
        until=hold.limit if hold else None,
        otherwise=hold.then if hold and hold.limit is not None else "",
    )


def _commands(run: Run, event: Event) -> tuple[tuple[str, str], ...]:
    """What a person can type about ``event``, where they are asked for something."""
    if event.told is Told.AWAITING_STABLE:
        return (("approve", command_line(run, "approve")),)
    if event.told not in (Told.HELD, Told.REMINDED, Told.DRIFTED, Told.BROUGHT_DOWN) or run.latch:
        return ()
    found = []
    at_a_gate = run.hold is not None and run.hold.kind == "gate"
    if at_a_gate and any(isinstance(term.part, Approve) for term in run.lacking):
        found.append(("approve", command_line(run, "approve")))
    if run.hold and run.hold.kind in ("drift", "person"):
        found.append(("resume", command_line(run, "resume")))
    return (*found, ("abort", command_line(run, "abort")))

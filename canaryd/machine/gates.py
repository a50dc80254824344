"""
Gates: what has to be said before traffic rises.

The questions are asked beside the tick; here is only what their answers mean. No answer is never a yes, an outage never
a no, and each condition has a limit of its own that counts from when it began to lack. A no that rolls back does so at
once, whatever else cannot be seen.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.machine.writes import held_for
from canaryd.model.asking import Approval, Condition, Term, clock
from canaryd.model.decision import Decision, Event, Observation, Told
from canaryd.model.gate import Alert, Approve, Webhook
from canaryd.model.run import Command, Latch, Phase, Run, command_line


def heard(run: Run, seen: Observation, told: list[Event]) -> Run:
    """The run with each new answer beside its question. A webhook's yes stays, whatever is said after it."""
    answers = {answer.id: answer for answer in seen.answers}
    if run.latch or not answers:
        return run
    for term in run.terms:
        known, answer = run.condition(term), answers.get(term.id)
        if known is None or answer is None or (known.at is not None and answer.at <= known.at):
            continue
        if isinstance(term.part, Webhook) and known.said == "yes":
            continue
        if answer.said != known.said:
            told.append(Event(Told.ANSWERED, f"{term} before {term.before}: {_word(term, answer.said)}: {answer.why}"))
        lacks_anew = known.said == "yes" and answer.said != "yes"
        since = seen.now if lacks_anew else known.since
        heard_of = replace(known, said=answer.said, why=answer.why, at=answer.at, times=answer.times, since=since)
        run = _with(run, heard_of)
    return run


def refused(run: Run, seen: Observation) -> Run:
    """Latched, where a no is answered that the plan wants to roll back for."""
    if run.latch:
        return run
    for term in run.terms:
        known = run.condition(term)
        if known and known.said == "no" and term.on_no == "rollback":
            firing = isinstance(term.part, Alert)
            why = f"{known.why} before {term.before}" if firing else f"{term} said no before {term.before}: {known.why}"
            return replace(run, latch=Latch("fail" if firing else "abort", why, seen.now))
    return run


def approved(run: Run, command: Command, seen: Observation, told: list[Event]) -> Run:
    """
    The gate opened by a person, if there is one that asks for it, and the plan lets them.

    A command without a step is for the gate that the run has come to. Of two of them the second was meant for the same
    gate, and must not open the next one, which nobody had seen when it was given.
    """
    asked = run.approves
    if not asked:
        told.append(Event(Told.COMMAND_VOID, f"approve opens nothing: no approval is asked for before {run.before}"))
        return run
    if run.place in run.approved:
        told.append(Event(Told.COMMAND_VOID, f"approve opens nothing: {run.before} is approved already"))
        return run
    if command.step is None and not any(term.kind == "approve" and run.condition(term) for term in run.terms):
        ahead = f'give "step": {run.place} to approve {run.before} ahead'
        why = f"approve without a step is for the gate that the run waits at, and it waits at none: {ahead}"
        told.append(Event(Told.COMMAND_VOID, why))
        return run
    who = command.by or "somebody"
    for part in asked:
        if part.by and command.by not in part.by:
            names = " or ".join(part.by)
            told.append(Event(Told.COMMAND_VOID, f"approve by {who} does not count: the plan asks for {names}"))
            return run
    reason = f": {command.reason}" if command.reason else ""
    told.append(Event(Told.APPROVED, f"approved by {who} before {run.before}{reason}"))
    approval = Approval(run.place, who, seen.now, command.reason)
    return replace(run, approved=(*run.approved, run.place), approvals=(*run.approvals, approval))


def kept(run: Run, seen: Observation) -> Decision | None:
    """What holds ``run`` at the gates ahead; None where all their conditions hold, or there are none."""
    lacking = [term for term in run.terms if not run.holds(term, seen.now)]
    if not lacking:
        return None
    run = _reached(run, seen)
    known = [(term, condition) for term in lacking if (condition := run.condition(term))]
    ends = [(condition.since + term.limit.total_seconds(), term, condition) for term, condition in known]
    # What rolls back does so at its own limit, whoever else would go on holding.
    grave = [end for end in ends if end[1].otherwise == "rollback"] or ends
    _, first, its = min(grave, key=lambda end: end[0])
    why = "; ".join(_waits(run, term, condition, seen.now) for term, condition in known)
    return Decision(held_for(run, seen, "gate", why, first.limit, first.otherwise, its.since))


def owed(decision: Decision, former: Run) -> Decision:
    """
    ``decision`` with those who are to be told of the end that it brings about.

    They are saved with the end itself, so that no death between the two keeps anybody from being told. Who only
    observes tells nobody.
    """
    run = decision.run
    if former.final or not run.final or run.plan.observes:
        return decision
    return replace(decision, run=replace(run, untold=run.plan.spec.gates.end))


def _reached(run: Run, seen: Observation) -> Run:
    """The run with a condition for each term: lacking since now where the gate is come to, or what was known is old."""
    waiting = run.hold is not None and run.hold.kind == "gate"
    for term in run.terms:
        known = run.condition(term)
        if known is None:
            run = _with(run, Condition(term.id, seen.now, seen.now))
        elif not run.holds(term, seen.now) and (not waiting or known.said == "yes"):
            stale = known.said == "yes"
            run = _with(run, replace(known, since=seen.now, said="" if stale else known.said))
    return run


def _with(run: Run, condition: Condition) -> Run:
    others = tuple(one for one in run.gates if one.id != condition.id)
    return replace(run, gates=(*others, condition))


def _waits(run: Run, term: Term, condition: Condition, now: float) -> str:
    """What is waited for, in a sentence: how often it was asked, the last answer, until when, and what then."""
    end = clock(condition.since + term.limit.total_seconds(), now)
    then = "then it is rolled back" if term.otherwise == "rollback" else "and held on after that"
    until = f"until {end}, {then}"
    if isinstance(term.part, Approve):
        where = "before the start" if run.phase is Phase.PENDING else f"at {run.share}"
        return f"waiting for {term} {where}: {command_line(run, 'approve')} ({until})"
    if not condition.said:
        return f"waiting for {term} before {term.before}, not answered yet, {until}"
    times = "once" if condition.times == 1 else f"{condition.times} times"
    said = f"no: {condition.why}" if condition.said == "no" and isinstance(term.part, Webhook) else condition.why
    return f"waiting for {term} before {term.before}, asked {times}, last answer {said}, {until}"


def _word(term: Term, said: str) -> str:
    if isinstance(term.part, Alert):
        return {"yes": "none fires", "no": "fires"}.get(said, "not known")
    return {"yes": "yes", "no": "no", "later": "not yet"}.get(said, "no answer")

"""
What a run waits for, what follows and when, and what a person can do about it.

What it waits for is the machine's sentence (``run.waiting``) and is never worded again here; this adds the times and
the consequences, which only matter to somebody who is looking. Times of day are UTC and say so: release managers, CI
and the mesh are seldom in one time zone.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from canaryd.judge import wording
from canaryd.model.asking import Term
from canaryd.model.duration import render_duration, render_seconds
from canaryd.model.gate import Alert, Webhook
from canaryd.model.run import Hold, Outcome, Phase, Run
from canaryd.model.traffic import EVERYTHING

ENDINGS = {
    Outcome.PROMOTED: "promoted",
    Outcome.FAILED: "rolled back",
    Outcome.ABORTED: "aborted and rolled back",
    Outcome.INCONCLUSIVE: "rolled back as inconclusive",
    Outcome.UNDONE: "undone",
}


def clock(at: float) -> str:
    """The time of day of a Unix time."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def moment(at: float) -> str:
    """Day and time of a Unix time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def elapsed(seconds: float) -> str:
    """A stretch of time as a person reads it; never negative, for two clocks may differ by a little."""
    return render_seconds(max(0.0, seconds))


def counted(number: float, noun: str) -> str:
    """``1 error``, ``2,345 errors``."""
    text = wording.number(number)
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def standing(run: Run) -> str:
    """Where the run stands, in a few words: its ending, or its phase with the hold that lies over it."""
    if run.outcome is not None:
        without = run.outcome is Outcome.PROMOTED and is_unproven(run)
        only = ", observed only" if run.plan.observes else ""
        back = ", back on stable" if run.returned else ""
        return ENDINGS[run.outcome] + (" without proof" if without else "") + back + only
    phase = f"observing as if {run.phase.value}" if run.plan.observes else run.phase.value
    return f"{phase}, held" if run.hold else phase


def is_unproven(run: Run) -> bool:
    """Whether a promotion is by the plan's or a person's word; such a run is marked for ever."""
    return bool(run.unproven) or run.reason.startswith("unproven")


def held_for(hold: Hold) -> str:
    """The kind of a hold in words."""
    return hold.kind.replace("-", " ")


def gathered(run: Run) -> int:
    """Settled cells without a gap under the present split; 0 before the first split."""
    return len(run.baked) if run.segments else 0


def bake_over(run: Run) -> float:
    """When the present step's bake is full at the earliest, as a Unix time: no gap, and every cell on time."""
    analysis = run.plan.spec.analysis
    cell = analysis.cell.total_seconds()
    origin = run.segment.origin
    first = origin + math.ceil(run.settle / cell) * cell
    done = run.done[1] if run.done and run.done[0] == run.segment.index else origin
    missing = max(0, run.needed - gathered(run))
    return max(first, done) + missing * cell + analysis.lag.total_seconds()


def watch_over(run: Run) -> float:
    """When the watch at 100 % is over at the earliest, as a Unix time."""
    begun = run.arrived_at if run.arrived_at is not None else run.at
    return begun + run.settle + run.plan.spec.watch.total_seconds()


def next_split(run: Run) -> str:
    """What a PASS of the present step leads to: a weight, or matched requests."""
    return str(EVERYTHING) if run.following is None else run.plan.spec.steps[run.following].share


def hold_terms(hold: Hold, now: float | None = None) -> str:
    """Since when it is held, until when, and what follows then."""
    since = f"held since {clock(hold.since)}" + ("" if now is None else f", for {elapsed(now - hold.since)} now")
    if hold.kind == "no-way-back":
        return f"{since}; the rollback goes on as soon as it can, or when somebody forces it"
    if hold.kind == "person":
        return f"{since}, until a person says resume; it is measured meanwhile, and rolled back where it does harm"
    if hold.limit is None:
        return f"{since}, without a limit"
    end = clock(hold.limit) + ("" if now is None else f", in {elapsed(hold.limit - now)}")
    follows = "it is rolled back" if hold.then == "rollback" else "it stays held, until a person decides"
    return f"{since}; if nothing has changed by {end}, {follows}"


def follows(run: Run, now: float | None = None) -> str:
    """What happens next and when, in one sentence."""
    if run.final:
        return _after_the_end(run)
    if run.hold:
        return f"{_capital(hold_terms(run.hold, now))}."
    told = _FOLLOWS[run.phase](run, now)
    return f"{told} All of it as if: the run only observes, and nothing is moved." if run.plan.observes else told


def _after_the_end(run: Run) -> str:
    if run.plan.observes:
        return "Nothing more: the run only observed, and nothing was moved."
    if run.returned:
        return f"Nothing more: {run.route.stable} runs what {run.route.canary} runs, and has all the traffic."
    if run.outcome is Outcome.PROMOTED:
        return f"Nothing more: {run.route.canary} has all the traffic."
    return f"Nothing more: {run.route.stable} has all the traffic; a new release in the plan starts a new run."


def _once_pending(run: Run, _: float | None) -> str:
    gates = "".join(f" and {_opened(term)}" for term in run.lacking)
    first = run.plan.spec.steps[0].share
    return f"Once both versions are ready{gates}, {first} of the traffic goes to {run.route.canary}."


def _opened(term: Term) -> str:
    """That a gate's condition has come to hold."""
    if isinstance(term.part, Alert):
        return f"{' or '.join(term.part.names)} does not fire"
    if isinstance(term.part, Webhook):
        return f"webhook {term.part.name} has said yes"
    return f"{' or '.join(term.part.by) or 'a person'} has approved"


def _once_shifted(run: Run, _: float | None) -> str:
    bake, settle = render_duration(run.current_step.bake), render_seconds(run.settle)
    return f"Once the mesh shows {run.share}, it settles for {settle} and is measured for {bake}."


def _once_baked(run: Run, now: float | None) -> str:
    approval = "".join(f" and {_opened(term)}" for term in run.lacking)
    if run.following is None and not run.plan.spec.accept_unproven:
        bound = f"{1 / run.plan.spec.analysis.beta:g}"
        approval += f" and the proof that {run.route.canary} is not worse has reached {bound}"
    goal = f"{run.route.canary} gets {next_split(run)}"
    missing = run.needed - gathered(run)
    if missing <= 0:
        return f"The bake is full; when the step has passed{approval}, {goal}."
    return (
        f"At {_at(bake_over(run), now)} at the earliest the bake is full; when the step has passed{approval}, {goal}."
    )


def _once_settled(run: Run, now: float | None) -> str:
    watch = render_duration(run.plan.spec.watch)
    over = _at(watch_over(run), now)
    return f"It settles and is then watched for {watch}, ready to roll back; at {over} {_then(run)}."


def _once_watched(run: Run, now: float | None) -> str:
    return f"Unless an objective fails before, at {_at(watch_over(run), now)} {_then(run)}."


def _then(run: Run) -> str:
    """What follows the watch."""
    if run.plan.spec.after_promotion == "return" and not run.plan.observes:
        return f"it waits for {run.route.stable} to run what {run.route.canary} runs"
    return "it is promoted"


def _once_alike(run: Run, now: float | None) -> str:
    if run.returned:
        return f"Once the mesh has shown {run.route.stable} with everything for {render_seconds(run.settle)}, it ends."
    limit = run.plan.spec.returning.within
    since = run.returning_since if run.returning_since is not None else run.at
    return (
        f"Once {run.route.stable} runs what {run.route.canary} runs, with as many ready pods, it gets all the traffic "
        f"back; if it does not by {_at(since + limit.total_seconds(), now)}, the run is held."
    )


def _once_back(run: Run, _: float | None) -> str:
    settle = render_seconds(run.settle)
    return f"Once the mesh has shown the canary at 0 % for {settle}, the run ends as rolled back."


_FOLLOWS = {
    Phase.PENDING: _once_pending,
    Phase.SHIFTING: _once_shifted,
    Phase.BAKING: _once_baked,
    Phase.PROMOTING: _once_settled,
    Phase.WATCHING: _once_watched,
    Phase.RETURNING: _once_alike,
    Phase.ROLLING_BACK: _once_back,
}


def _at(at: float, now: float | None) -> str:
    return clock(at) if now is None or at <= now else f"{clock(at)} (in {elapsed(at - now)})"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

"""What a person can say to a run: which buttons there are, why one does nothing, and what is asked before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from canaryd.desk import ClusterDesk, Desk, SeenRun, ask_for, unproven, void
from canaryd.desk.asking import OF_THE_ENDED
from canaryd.errors import CanarydError
from canaryd.model.run import Command, Run

Kind = Literal["usual", "danger", "weighty"]


class Idle(CanarydError):  # noqa: N818  # an answer, not a fault
    """What was asked would do nothing; its text says why."""


class Unsure(CanarydError):  # noqa: N818  # as above
    """Something is missing without which this is not said: a reason, or a word that it is meant."""


@dataclass(frozen=True, slots=True)
class Button:
    """
    A word there is to a run.

    ``void`` says why it would do nothing as the run stands, ``lacks`` what right the person lacks; both empty where it
    can be said. ``means`` is what follows, in a sentence.
    """

    verb: str
    label: str
    means: str
    kind: Kind
    void: str = ""
    lacks: str = ""

    @property
    def why_not(self) -> str:
        return self.void or self.lacks


@dataclass(frozen=True, slots=True)
class Question:
    """
    What is asked of the person before ``button``'s word is said.

    ``doubt`` is what a promotion lacks of a proof; it must be confirmed. ``steps`` are those that can be left out, as
    (number from 1, share). ``must_force`` is a promotion from before the last step, ``may_force`` an option in words.
    """

    button: Button
    needs_reason: bool = False
    doubt: str = ""
    steps: tuple[tuple[int, str], ...] = ()
    must_force: bool = False
    may_force: str = ""


LABELS: dict[str, tuple[str, str, Kind]] = {
    "approve": ("Approve", "Opens the gate that the run waits at.", "usual"),
    "hold": ("Hold", "The traffic stays as it is until somebody says resume; it is measured meanwhile.", "usual"),
    "resume": ("Resume", "The run goes on; weights that somebody changed by hand are set again.", "usual"),
    "adopt": ("Adopt the weights", "The run goes on from the weights that somebody set by hand.", "usual"),
    "advance": ("Advance", "Goes one step further now, on your word.", "weighty"),
    "skip": ("Skip a step", "A step ahead is left out.", "weighty"),
    "promote": ("Promote", "All traffic goes to the canary, on your word. The run is marked with your reason for ever.",
                "weighty"),
    "abort": ("Abort", "All traffic goes back to stable at once, for good.", "danger"),
    "retry": ("Retry", "A new run of the same release begins.", "usual"),
    "undo": ("Undo", "All traffic goes back to the former version at once; nothing is judged.", "danger"),
}  # fmt: skip
"""Verb by verb: the button, what follows, and how it looks; in the order in which they stand."""
LONGEST_REASON = 1_024
"""Characters of a reason that the cluster keeps."""
MOST_DIGITS = 4
FORCES = {
    "abort": "Go back even though stable has no ready endpoint.",
    "undo": "Go back even though it was promoted long ago, others moved the weights, or stable has changed.",
}


def buttons(seen: SeenRun, run: Run | None, me: str, lacks: Callable[[str], str], desk: Desk) -> tuple[Button, ...]:
    """Every word there is to a run that is (not) over, as it stands; ``run`` is None where it may not be read."""
    return tuple(_button(verb, seen, run, me, lacks, desk) for verb in LABELS if (verb in OF_THE_ENDED) == seen.over)


def _button(
    verb: str, seen: SeenRun, run: Run | None, me: str, lacks: Callable[[str], str], desk: Desk
) -> Button:  # fmt: skip
    label, means, kind = LABELS[verb]
    why = _void(verb, seen, run, me, desk)
    if verb == "promote" and run is not None and why and not void(verb, run, me, force=True):
        why, label = "", "Promote from here"
    if verb == "resume" and run is not None and run.hold is not None and run.hold.kind == "drift":
        label = "Set the weights again"
    return Button(verb, label, means, kind, why, lacks(verb))


def _void(verb: str, seen: SeenRun, run: Run | None, me: str, desk: Desk) -> str:
    if verb in OF_THE_ENDED and not isinstance(desk, ClusterDesk):
        command = f"canaryd undo {seen.name}" if verb == "undo" else f"canaryd run {seen.plan}.yaml --again"
        return f"in a folder that is for the terminal: {command} with the --state of this page"
    if run is None:
        return ""
    if verb == "skip":
        ways = [void(verb, run, me, skips=place) for place in range(len(run.plan.spec.steps))]
        return "" if not all(ways) else void(verb, run, me, skips=None)
    return void(verb, run, me)


def question(verb: str, seen: SeenRun, run: Run | None, button: Button) -> Question:
    """What is asked before ``verb`` is said."""
    if verb == "promote":
        must_force = run is not None and run.following is not None
        return Question(button, True, unproven(seen, run), must_force=must_force)
    if verb == "skip" and run is not None:
        return Question(button, steps=_steps_ahead(run))
    return Question(button, may_force=FORCES.get(verb, ""))


def _steps_ahead(run: Run) -> tuple[tuple[int, str], ...]:
    """Those that can be left out, from 1, with their shares."""
    return tuple(
        (place + 1, step.share)
        for place, step in enumerate(run.plan.spec.steps)
        if not void("skip", run, "", skips=place)
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What a person has said: the verb, why, and what it takes beside it. ``step`` counts from 1."""

    verb: str
    reason: str = ""
    force: bool = False
    step: int | None = None
    sure: bool = False


def carry_out(order: Order, desk: Desk, seen: SeenRun, run: Run | None, me: str) -> Command:
    """
    Say ``order`` to the run; the command that was written down for it.

    Raises :class:`Idle` where it would do nothing, :class:`Unsure` where something is missing, and what the desk
    raises.
    """
    skips = None if order.step is None else order.step - 1
    if order.verb in OF_THE_ENDED and (why := _void(order.verb, seen, run, me, desk)):
        raise Idle(why)
    if run is None and seen.over and order.verb not in OF_THE_ENDED:
        raise Idle(f"run {seen.name} has ended: {seen.phase} ({seen.why})")
    if order.verb == "skip" and skips is None:
        raise Unsure("which step is to be left out is not said")
    if run is not None and (why := void(order.verb, run, me, force=order.force, skips=skips)):
        raise Idle(why)
    if order.verb == "promote":
        if not order.reason:
            raise Unsure("a promotion on a person's word needs a reason; the run is marked with it for ever")
        if (doubt := unproven(seen, run)) and not order.sure:
            raise Unsure(f"{doubt} Confirm that it is promoted all the same")
    command = ask_for(order.verb, run or seen, me, order.reason, force=order.force, skips=skips)
    desk.ask(seen, command)
    return command


def order_of(verb: str, form: Mapping[str, str]) -> Order:
    """What was filled in. Raises :class:`Unsure` for what cannot be meant."""
    step, reason = form.get("step", "").strip(), " ".join(form.get("reason", "").split())
    if step and not (step.isascii() and step.isdigit() and len(step) < MOST_DIGITS):
        raise Unsure(f"step {step!r} is no number of a step")
    if len(reason) > LONGEST_REASON:
        raise Unsure(f"the reason has {len(reason)} characters, and {LONGEST_REASON} are kept: say it shorter")
    return Order(verb, reason, form.get("force") == "yes", int(step) if step else None, form.get("sure") == "yes")

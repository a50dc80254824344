"""PURE but for a command's id: which words there are to a run, and which would do nothing as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args
from uuid import uuid4

from canaryd.desk.port import Decided, SeenPlan, SeenRun
from canaryd.model.asking import START
from canaryd.model.decision import Told
from canaryd.model.run import PROVEN, Command, Outcome, Phase, Run, Verb
from canaryd.store.objects import in_short

VERBS: tuple[str, ...] = get_args(Verb)
OF_THE_ENDED = ("undo", "retry")
"""What is asked of a run that has ended, and obeyed by another."""
ANY_STEP = ("abort", "hold", *OF_THE_ENDED)
"""What means the run, and not the step that it happens to be at."""


def ask_for(
    verb: str, seen: Run | SeenRun, by: str, reason: str = "", *, force: bool = False, skips: int | None = None
) -> Command:
    """
    The command ``verb`` for a run as ``by`` has just seen it.

    It names the step that was seen, so that a word that comes late means nothing for the next one. Of a run that is
    not known whole, nobody can say which gate is meant by an approval: it is the one that the run waits at.
    """
    step: int | None = seen.step
    if verb == "approve":
        step = seen.place if isinstance(seen, Run) else None
    if verb in ANY_STEP:
        step = None
    return Command(uuid4().hex, verb, reason, by, step, force, skips)  # type: ignore[arg-type]  # verbs are from VERBS


def void(verb: str, run: Run, by: str, *, force: bool = False, skips: int | None = None) -> str:
    """Why ``verb`` of ``by`` would not be obeyed as ``run`` stands, in a sentence; empty if it would."""
    if verb in OF_THE_ENDED:
        return _void_after_the_end(verb, run)
    if run.final:
        return f"run {run.uid} has ended: {run.phase.value} ({in_short(run.reason)})"
    if verb == "abort":
        return ""
    if run.latch:
        return f"run {run.uid} is rolling back ({in_short(run.latch.reason)}), and that cannot be called back"
    if verb == "approve":
        return _void_approval(run, by)
    if verb in ("resume", "adopt"):
        return _void_resumption(verb, run)
    if verb == "promote":
        return _void_promotion(run, by, force)
    if verb == "skip":
        return _void_skip(run, skips)
    if verb == "hold" and run.phase in PROVEN:
        return f"hold is for a run that can still rise, and the run is {_at(run)}"
    if verb == "hold" and run.held_by:
        return f"the run is held already, by {run.held_by}"
    if verb == "advance" and run.phase not in (Phase.SHIFTING, Phase.BAKING):
        return f"advance goes from one step to the next, and the run is {_at(run)}"
    if verb == "advance" and run.following is None:
        return "after the last step comes the promotion: canaryd promote, which says why a proof may be missing"
    return ""


def _at(run: Run) -> str:
    return f"{run.phase.value} in step {run.step + 1} of {len(run.plan.spec.steps)}"


def _void_approval(run: Run, by: str) -> str:
    if run.phase is Phase.RETURNING:
        return f"{run.route.stable} has all the traffic already" if run.returned else ""
    if not run.approves or run.place in run.approved:
        open_already = run.place in run.approved
        where = "the start" if run.place == START else f"step {run.step + 1} at {run.split}"
        return f"{where} {'is approved already' if open_already else 'has no gate that asks for an approval'}"
    if names := next((one.by for one in run.approves if one.by and by not in one.by), ()):
        return f"the plan asks for the approval of {' or '.join(names)}, and you are {by}"
    return ""


def _void_resumption(verb: str, run: Run) -> str:
    drifted = run.hold is not None and run.hold.kind == "drift"
    if drifted or (verb == "resume" and run.held_by is not None):
        return ""
    what = "" if verb == "adopt" else "a person's hold, or "
    return f"{verb} is for {what}weights that somebody else changed; the run waits for this: {run.waiting or 'nothing'}"


def _void_promotion(run: Run, by: str, force: bool) -> str:
    if run.phase is not Phase.BAKING:
        return f"promote is for a step that is measured, and the run is {_at(run)}"
    if run.following is not None and not force:
        return f"promote counts at the last step only, and the run is {_at(run)}; --to-100 promotes from here"
    if asked := next((one for one in run.passed_by if by not in one.by), None):
        whose = f"of {' or '.join(asked.by)} is ahead, and you are {by}" if asked.by else "is ahead, and is given first"
        return f"an approval {whose}"
    return ""


def _void_skip(run: Run, skips: int | None) -> str:
    """A later step is left out; the last one holds the proof, and a gate is others' word."""
    steps = run.plan.spec.steps
    if run.phase not in (Phase.PENDING, Phase.SHIFTING, Phase.BAKING):
        return f"no step is ahead: the run is {_at(run)}"
    if skips is None or not run.step < skips < len(steps) - 1:
        first, last = run.step + 2, len(steps) - 1
        ahead = "none" if first > last else f"step {first}" if first == last else f"steps {first} to {last}"
        return f"the run is {_at(run)}: {ahead} can be left out, and never the last"
    if steps[skips].gate is not None:
        return f"step {skips + 1} has a gate, and a gate is not skipped"
    return ""


def _void_after_the_end(verb: str, run: Run) -> str:
    if not run.final:
        return f"run {run.uid} has not ended: it is {_at(run)}; canaryd abort rolls it back"
    if verb == "undo" and run.outcome is not Outcome.PROMOTED:
        return f"run {run.uid} promoted nothing: {run.route.stable} has the traffic already ({in_short(run.reason)})"
    return ""


def void_release(plan: SeenPlan, version: str) -> str:
    """Why giving ``plan`` the release would do nothing; empty where it would begin a run."""
    if plan.release != version:
        return ""
    return (
        f"plan {plan.place} asks for release {version!r} already ({plan.phase or 'no run yet'}: {plan.why}); "
        f"a release is run once, and canaryd retry {plan.name} runs one again that has ended"
    )


def unproven(seen: SeenRun, run: Run | None) -> str:
    """What a promotion now would lack of a proof, in sentences; empty where nothing. ``run`` is None if not known."""
    at = f"Run {seen.name} is at {seen.weight}, step {seen.step + 1} of {seen.steps}"
    if run is None:
        return f"{at}; what is proven may not be read by you."
    present = run.present
    short = f"its bake has {len(run.baked)} of {run.needed} cells" if len(run.baked) < run.needed else ""
    if present is None:
        doubt = "nothing is measured there yet"
    elif not present.proven:
        proof = f"proof {present.proof:.3g} of {present.proof_bound:g}"
        doubt = f"it is not proven that the canary is no worse ({'; '.join(filter(None, (proof, short)))})"
    elif run.following is not None:
        doubt = f"that the canary is no worse is proven for {seen.weight} alone"
    elif short:
        doubt = f"that the canary is no worse is proven, but {short}"
    else:
        return ""
    left = "" if run.following is None else " The steps that are left are left out."
    return f"{at}: {doubt}.{left} The run is marked for ever."


def turned_down(now: SeenRun, known: Iterable[Decided], verb: str) -> str:
    """Why the run did not obey ``verb``, which it has heard; empty where it did. ``known`` was decided before."""
    before = set(known)
    void_now = [one for one in now.decisions if one.event == Told.COMMAND_VOID and one not in before]
    return next((one.reason for one in reversed(void_now) if verb in one.reason), "")

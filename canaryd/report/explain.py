"""
Why a run is where it is, in plain sentences: the answer of ``canaryd explain``.

It reads the saved run only, so that it answers also while the mesh, Prometheus and the daemon do not.
"""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.model.gate import Alert, Approve
from canaryd.model.run import PROVEN, Hold, Outcome, Phase, Run
from canaryd.report.outlook import elapsed, follows, moment, standing

HOLDS_THAT_ADVANCE_ENDS = ("", "no-data", "inconclusive")
"""None, and those for want of evidence. A gate, a bar and a person's hold are in the way of a person's word, too."""


def explain(run: Run, now: float | None = None) -> str:
    """
    Where ``run`` stands and why, what it waits for, what happens next and when, and what a person can do now.

    With ``now`` (Unix seconds) moments are also told as distances.
    """
    blocks = [
        _where(run),
        _decided(run),
        _measured(run),
        _found(run),
        _waits(run),
        f"What happens next: {follows(run, now)}",
    ]
    return "\n\n".join([*(block for block in blocks if block), _what_to_do(run)]) + "\n"


def _where(run: Run) -> str:
    head = f"{run.plan} release {run.plan.spec.release} (run {run.uid})"
    if run.final and run.ended is not None:
        return f"{head} was {standing(run)} at {moment(run.ended)}, after {elapsed(run.ended - run.created)}."
    if run.seq == 0:
        return f"{head} is {standing(run)}: nothing has been shifted yet."
    steps = len(run.plan.spec.steps)
    step = f", in step {run.step + 1} of {steps}" if run.phase in (Phase.SHIFTING, Phase.BAKING) else ""
    share = run.share if run.match else f"{run.split} of the traffic"
    wanted = f"it wants {share} on {run.route.canary}, the rest on {run.route.stable}"
    return f"{head} is {standing(run)}{step}: {wanted}."


def _decided(run: Run) -> str:
    """The last decision and its reason."""
    if run.latch:
        held = " In this run the canary's share never rises again." if not run.final else ""
        return f"Last decision, {moment(run.latch.at)}: to roll back. Reason: {run.latch.reason}.{held}"
    if run.reason:
        return f"Last decision, {moment(run.at)}: to promote. Reason: {run.reason}."
    if run.seq == 0 or not run.exposed:
        return ""
    share = run.share if run.match else f"{run.split} of the traffic"
    if run.segment.origin == run.at and any(
        one.ours and one.seq == run.segment.seq and one.split == run.split for one in run.segments[:-1]
    ):
        why = "because others had changed stable's image or the weights meanwhile"
        return f"Last decision, {moment(run.at)}: to measure {run.split} anew, {why}."
    if run.step == 0:
        return f"Last decision, {moment(run.at)}: to begin with {share}."
    before = max((step for step in range(run.step) if step not in run.skipped), default=0)
    former = run.plan.spec.steps[before].share
    # Whether it had passed, or a person had ended it, is told by the decision itself.
    return f"Last decision, {moment(run.at)}: to go from {former} to {run.share}, after step {before + 1}."


def _measured(run: Run) -> str:
    if run.evidence is None or run.final:
        return ""
    known = [run.past.sentence] if run.past else []
    traffic = [words for words in (run.present.share, run.present.notes) if words] if run.present else []
    harmed = [run.harmed_so_far] if run.harmed_so_far else []
    said = [*known, *traffic, *harmed, *(reading.sentence for reading in run.evidence.readings)]
    return "Measured so far:\n" + "\n".join(f"  - {sentence}" for sentence in said)


def _found(run: Run) -> str:
    """What preflight found, and did not stop the run."""
    if not run.findings:
        return ""
    return "Found before it began:\n" + "\n".join(f"  - {one.level} {one.code}: {one}" for one in run.findings)


def _waits(run: Run) -> str:
    if run.final or not run.waiting:
        return ""
    return f"At present: {run.waiting}."


def _what_to_do(run: Run) -> str:
    options = list(_options(run))
    return "What you can do:\n" + "\n".join(f"  - {option}" for option in options)


def _options(run: Run) -> Iterator[str]:
    """Commands that would do something now; a command that would be void is not offered."""
    name = _named(run)
    if run.final:
        yield _after_the_end(run)
        if run.outcome not in (Outcome.PROMOTED, Outcome.UNDONE) and not run.plan.observes:
            yield f"Run the same release again, unless another has begun since: {_again(run)}"
        if run.outcome is Outcome.PROMOTED and run.ended is not None and not (run.returned or run.plan.observes):
            until = moment(run.ended + run.plan.spec.undo_within.total_seconds())
            yield f"Take it back, until {until}, while {run.route.stable} is as it was: canaryd undo {name}"
        return
    if run.hold:
        yield from _about(run, run.hold)
    if run.phase is Phase.ROLLING_BACK:
        yield "Nothing else: the rollback goes on by itself and cannot be called back."
        return
    early = run.phase in (Phase.SHIFTING, Phase.BAKING) and run.approves and run.place not in run.approved
    if early and not (run.hold and run.hold.kind == "gate"):
        yield f"Approve the next weight already now: canaryd approve {name}"
    yield from _onward(run)
    if run.phase is Phase.RETURNING and not run.returned:
        canary, stable = run.route.canary, run.route.stable
        yield f"Roll out in {stable}'s Deployment what {canary}'s runs, and the run goes on: docs/return.md"
        yield (
            f"Send the traffic back to {stable} as it is, rolled out and on your own word: canaryd approve {name} "
            "--reason '...'"
        )
    yield f"Roll back for good: canaryd abort {name} --reason '...'"


def _onward(run: Run) -> Iterator[str]:
    """What lets it go on faster than evidence does, and what keeps it where it is."""
    name, kind = _named(run), run.hold.kind if run.hold else ""
    if run.phase is Phase.BAKING and run.following is not None and not run.advanced and kind in HOLDS_THAT_ADVANCE_ENDS:
        yield f"End this step without its PASS: canaryd advance {name} --reason '...'"
    if (skipped := _skippable(run)) is not None:
        share = run.plan.spec.steps[skipped].share
        yield f"Leave out step {skipped + 1} ({share}): canaryd skip-step {name} {skipped + 1}"
    if run.phase is Phase.BAKING and not run.unproven and all(part.by for part in run.passed_by):
        by = sorted({one for part in run.passed_by for one in part.by})
        names = f" (only who may approve: {' or '.join(by)})" if by else ""
        early = " --to-100" if run.following is not None else ""
        yield (
            f"Promote on your own word, which marks the run for ever{names}: canaryd promote {name}{early} "
            "--reason '...'"
        )
    if not run.held_by and not run.latch and run.phase not in PROVEN:
        yield f"Keep it where it is until you let it go: canaryd hold {name} --reason '...'"


def _skippable(run: Run) -> int | None:
    """The next step that may be left out: not the last, and none with a gate."""
    if run.phase not in (Phase.PENDING, Phase.SHIFTING, Phase.BAKING):
        return None
    steps = run.plan.spec.steps
    ahead = (step for step in range(run.step + 1, len(steps) - 1) if step not in run.skipped)
    return next((step for step in ahead if steps[step].gate is None), None)


def _named(run: Run) -> str:
    """What to type for it: its plan, which in a cluster may be in another namespace than who types."""
    return f"{run.plan.name} -n {run.plan.namespace}" if run.kept == "canaryrun" else run.plan.name


def _again(run: Run) -> str:
    """In a folder nobody knows the plan's file but its owner."""
    return f"canaryd retry {_named(run)} --reason '...'" if run.kept == "canaryrun" else "canaryd run PLAN.yaml --again"


def _about(run: Run, hold: Hold) -> Iterator[str]:
    """What ends this hold."""
    name = _named(run)
    if run.held_by and hold.kind != "drift":
        yield f"Let go what {run.held_by.by} holds: canaryd resume {name}"
    if hold.kind == "gate":
        yield from _at_the_gate(run)
    elif hold.kind == "person":
        return
    elif hold.kind == "drift" and hold.sticky:
        yield f"Let it go on: canaryd resume {name}"
    elif hold.kind == "drift":
        yield f"Put the weights back by hand, or have them set to {run.split} again: canaryd resume {name}"
        yield f"Go on from the weights that are there: canaryd resume {name} --adopt"
    elif hold.kind == "no-data":
        yield "Bring the metrics back; the run then goes on by itself."
    elif hold.kind == "stable-changed":
        yield "Let stable finish its own rollout; the run then measures this step anew."
    elif hold.kind == "barred":
        yield "Wait until the window opens or the freeze ends, or have the freeze lifted: canaryd thaw NAME."
    elif hold.kind == "no-way-back":
        yield (
            f"Bring {run.route.stable} back; or roll back all the same, which sends everything to a version "
            f"that may not answer: canaryd abort {name} --force --reason '...'"
        )
    elif hold.kind == "not-returned":
        yield "Do as the reason says; the run then goes on by itself, and it fails for none of this."
    elif run.present and run.present.astray:
        yield "Let callers meet the weight (the reason names what may be in the way); the run then goes on by itself."
    else:
        yield "Wait: more requests may settle it."


def _at_the_gate(run: Run) -> Iterator[str]:
    """What opens it, condition by condition."""
    for term in run.lacking:
        if isinstance(term.part, Approve):
            names = f" (only {' or '.join(term.part.by)} may)" if term.part.by else ""
            yield f"Let it go on: canaryd approve {_named(run)}{names}"
        elif isinstance(term.part, Alert):
            yield f"See what is the matter with {' or '.join(term.part.names)}; the run goes on when none fires."
        else:
            yield f"Have the webhook {term.part.name} say yes; it is asked again and again."


def _after_the_end(run: Run) -> str:
    if run.plan.observes:
        return "Let canaryd move the weights itself: take `mode: observe` out of the plan, or out of the settings."
    if run.returned:
        return f"Nothing: the next release begins from here, once {run.route.canary} runs it and the plan names it."
    if run.outcome is Outcome.UNDONE:
        return (
            f"Find out what is wrong with {run.route.canary}, then give the plan a new release: that starts a new run."
        )
    if run.outcome is Outcome.PROMOTED:
        return "Make the weights permanent in Git, if the VirtualService comes from there."
    return f"Repair {run.route.canary}, then give the plan a new release: that starts a new run."

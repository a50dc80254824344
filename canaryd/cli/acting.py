"""What a person says to a run or a plan: each word carries who and why, and is told whether it was heard."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import typer

from canaryd.cli.exits import Exit
from canaryd.cli.output import stop
from canaryd.cli.places import Place
from canaryd.cli.reading import sought, sought_plan
from canaryd.cli.tables import Spoken, say_data
from canaryd.desk import (
    ClusterDesk,
    Desk,
    FolderDesk,
    SeenPlan,
    SeenRun,
    ask_for,
    known,
    plan_data,
    run_data,
    turned_down,
    unproven,
    void,
    void_release,
)
from canaryd.desk.asking import OF_THE_ENDED
from canaryd.errors import Rejected
from canaryd.model.duration import parse_duration
from canaryd.model.problem import Problem, Refused
from canaryd.model.run import Command, Run

LOOK = 0.5
"""Seconds between two looks at whether a word was heard."""


@dataclass(frozen=True)
class Word:
    """What is said: the verb of the command, and how the command is called that says it."""

    verb: str
    name: str = ""
    force: bool = False
    skips: int | None = None

    @property
    def called(self) -> str:
        return self.name or self.verb


@dataclass(frozen=True)
class Answer:
    """What became of a word: a sentence, whether it was ``heard`` in time, and the run as it was ``seen`` last."""

    sentence: str
    seen: SeenRun
    heard: bool


def say_to(place: Place, which: str, word: Word, reason: str, *, wait: str, form: Spoken) -> None:
    """
    Append the command to the run, and say whether it was heard within ``wait``.

    Raises Rejected for one that would do nothing, and ends the command where it turns out so.
    """
    within = seconds(wait)
    desk = place.desk()
    seen = sought(desk, which)
    ask(desk, seen, word, reason, within, form)


def ask(desk: Desk, seen: SeenRun, word: Word, reason: str, within: float, form: Spoken) -> None:
    """The same, of a run that was found."""
    if word.verb in OF_THE_ENDED and (later := _begun_after(desk, seen)):
        raise Rejected(f"{word.called} is for the last run of plan {seen.plan}, and run {later.name} came after it")
    run, me = known(desk, seen, word.verb), desk.me()
    command = _command(word, seen, run, me, reason)
    desk.ask(seen, command)
    if seen.attended is False:
        state = desk.folder if isinstance(desk, FolderDesk) else ""
        warning = (
            f"{word.called} is written down for run {seen.name}, but no canaryd carries it out now, and traffic stays "
            f"at {seen.weight}: start canaryd run, or canaryd serve, with --state {state}"
        )
        typer.echo(warning, err=True)
        answer = Answer(warning, seen, heard=False)
    else:
        answer = _what_follows(desk, seen, word, command, within)
        if form == "text":
            typer.echo(answer.sentence)
    if form != "text":
        said = {"said": word.called, "command": command.id, "heard": answer.heard, "answer": answer.sentence}
        say_data(said | run_data(answer.seen), form)


def _command(word: Word, seen: SeenRun, run: Run | str, me: str, reason: str) -> Command:
    """The command, unless the run is known to make it void. Of a run that may not be read less is known."""
    if isinstance(run, Run):
        if why := void(word.verb, run, me, force=word.force, skips=word.skips):
            raise Rejected(f"{word.called} would do nothing: {why}")
        return ask_for(word.verb, run, me, reason, force=word.force, skips=word.skips)
    if seen.over:
        raise Rejected(f"{word.called} would do nothing: run {seen.name} has ended: {seen.phase} ({seen.why})")
    return ask_for(word.verb, seen, me, reason, force=word.force, skips=word.skips)


def _what_follows(desk: Desk, seen: SeenRun, word: Word, command: Command, within: float) -> Answer:
    """Whether the run has heard it, and where it stands then; of what another run obeys, which that is."""
    scope = f" -n {seen.namespace}" if isinstance(desk, ClusterDesk) else ""
    end = time.monotonic() + within
    while time.monotonic() < end:
        time.sleep(min(LOOK, within))
        if word.verb in OF_THE_ENDED:
            if begun := _begun_after(desk, seen):
                sentence = f"{word.called}: run {begun.name} has begun: canaryd watch {begun.name}{scope}"
                return Answer(sentence, begun, heard=True)
            continue
        now = desk.look(seen.namespace, seen.name)
        if command.id in now.obeyed:
            if why := turned_down(now, seen.decisions, word.verb):
                raise stop(Exit.REFUSED, f"canaryd: {word.called} did nothing: {why}")
            sentence = f"{word.called}: run {seen.name} has heard it; {now.phase}, {now.weight}: {now.why}"
            return Answer(sentence, now, heard=True)
    if word.verb in OF_THE_ENDED:
        sentence = (
            f"{word.called} is asked of run {seen.name}; where it cannot be, the plan's Events say why: "
            f"kubectl events --for canaryplan/{seen.plan}{scope}"
        )
    else:
        sentence = (
            f"{word.called} is asked of run {seen.name}; it is obeyed at the run's next tick: "
            f"canaryd status {seen.name}{scope}"
        )
    return Answer(sentence, seen, heard=False)


def _begun_after(desk: Desk, seen: SeenRun) -> SeenRun | None:
    """The run of the same plan that came after ``seen``."""
    later = (run for run in desk.runs(seen.plan) if run.namespace == seen.namespace and run.began > seen.began)
    return next(later, None)


# -- promote


def promote(place: Place, which: str, reason: str, *, to_100: bool, yes: bool, wait: str, form: Spoken) -> None:
    """Promote, after a question where a proof is missing; whatever is answered, the run is marked with who and why."""
    within = seconds(wait)
    desk = place.desk()
    seen = sought(desk, which)
    run = known(desk, seen)
    word = Word("promote", force=to_100)
    if isinstance(run, Run) and (why := void("promote", run, desk.me(), force=to_100)):
        raise Rejected(f"promote would do nothing: {why}")
    if missing := unproven(seen, run if isinstance(run, Run) else None):
        _sure(f"{missing} Promote {seen.plan} {seen.release} all the same?", yes)
    ask(desk, seen, word, reason, within, form)


def _sure(question: str, yes: bool) -> None:
    """Ask, unless the answer was given beforehand. Ends the command where the answer is no, or nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise stop(Exit.USAGE, f"canaryd: {question} Nobody is there to answer: say --yes")
    if not typer.confirm(question, err=True):
        raise stop(Exit.REFUSED, "nothing was changed")


# -- a release


def release(place: Place, which: str, version: str, reason: str, *, follow: bool, form: Spoken) -> Exit:
    """Give a plan a new release; with ``follow`` its run is watched to its end, and how that was is answered."""
    desk = place.desk()
    if not version.strip():
        raise Refused([Problem("VERSION", "nothing", "what is to be released, as it is to be called")])
    plan = sought_plan(desk, which)
    if why := void_release(plan, version):
        raise Rejected(why)
    for keeper in plan.keepers:
        typer.echo(
            f"warning: CanaryPlan {plan.place} is kept by {keeper}, which puts back what Git says: write "
            f"spec.release: {version!r} there, too",
            err=True,
        )
    former = {run.name for run in desk.runs(plan.name)} if follow else set()  # asked before: a run begins at once
    desk.release(plan, version, reason)
    if form == "text":
        typer.echo(f"plan {plan.place}: release {plan.release or 'none'} -> {version}")
    if not follow:
        if form == "text":
            typer.echo(f"canaryd watch {plan.name} -n {plan.namespace} shows its run")
        else:
            say_data({"said": "release", "former": plan.release or None} | _as_asked(plan, version), form)
        return Exit.PROMOTED
    try:
        return _follow_release(desk, plan.name, plan.place, version, former, form)
    except KeyboardInterrupt:
        left = f"left; release {version} is asked for all the same: canaryd watch {plan.name} -n {plan.namespace}"
        typer.echo(left, err=form != "text")
        return Exit.LEFT_IN_FLIGHT


def _as_asked(plan: SeenPlan, version: str) -> dict[str, Any]:
    """The plan with its new release, of which nothing is known yet."""
    return plan_data(SeenPlan(plan.namespace, plan.name, version, "", "", "", "", ""))


def _follow_release(desk: Desk, name: str, place: str, version: str, former: set[str], form: Spoken) -> Exit:
    """Watch the run of the release, once it has begun; ``former`` are the runs that were there before."""
    from canaryd.cli.watching import follow, rest

    said = ""
    while True:
        begun = [
            run for run in desk.runs(name)
            if run.release == version and f"{run.namespace}/{run.plan}" == place and run.name not in former
        ]  # fmt: skip
        if begun:
            return follow(desk, begun[-1], form)
        plan = next((one for one in desk.plans() if one.place == place), None)
        if plan is None or plan.release != version:
            raise Rejected(f"plan {place} does not ask for release {version!r} any more: somebody has changed it")
        if plan.why != said and plan.why:
            said = plan.why
            typer.echo(f"{plan.phase}: {plan.why}", err=form != "text")
        rest()


# -- of a run that has ended


def retry(place: Place, which: str, reason: str, *, wait: str, form: Spoken) -> None:
    """A new run of a release that has ended."""
    within = seconds(wait)
    desk = place.desk()
    seen = sought(desk, which)
    if isinstance(desk, FolderDesk):
        raise Rejected(
            f"in a folder a release is run again from its file: canaryd run {seen.plan}.yaml --again "
            f"--state {desk.folder} (or whatever the file is called)"
        )
    ask(desk, seen, Word("retry"), reason, within, form)


def undo(place: Place, which: str, reason: str, *, force: bool, wait: str, form: Spoken) -> Exit:
    """Take a promotion back: in a cluster the controller does, in a folder this process."""
    within = seconds(wait)
    desk = place.desk()
    seen = sought(desk, which)
    if isinstance(desk, FolderDesk):
        from canaryd.cli.undo import undo as carry_out

        with redirect_stdout(sys.stdout if form == "text" else sys.stderr):  # what it says on its way is no data
            ended = carry_out(seen.name, reason, place.settings(), force=force)
        if form != "text" and (run := _begun_after(desk, seen)):
            say_data({"said": "undo"} | run_data(run), form)
        return ended
    ask(desk, seen, Word("undo", force=force), reason, within, form)
    return Exit.PROMOTED


def seconds(wait: str) -> float:
    """How long ``--wait`` says. Raises Refused."""
    try:
        return parse_duration(wait).total_seconds()
    except ValueError as error:
        raise Refused([Problem("--wait", wait, str(error))]) from error

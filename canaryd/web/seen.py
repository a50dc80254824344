"""A run as its page shows it: what everybody sees, the report where it may be read, and what can be said to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from canaryd.desk import ClusterDesk, Desk, NotGranted, SeenRun, known, turned_down
from canaryd.desk.asking import OF_THE_ENDED
from canaryd.desk.data import percent
from canaryd.errors import Rejected
from canaryd.kube import Unidentified
from canaryd.model.run import Run
from canaryd.report.document import Document
from canaryd.report.html import SIGNS
from canaryd.report.outlook import clock, elapsed, follows, moment
from canaryd.web.acting import Button, buttons
from canaryd.web.faults import NotThere
from canaryd.web.listing import Tone, tone_of
from canaryd.web.reporting import Part, Reports
from canaryd.web.sessions import Asked, Session, lacking


@dataclass(frozen=True, slots=True)
class Step:
    """A step on the bar: its share in words and as percent (None: a match), and whether it is behind, now or ahead."""

    words: str
    share: float | None
    state: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of what the person has asked: a sentence, and whether it is still waited for."""

    sentence: str
    waits: bool
    bad: bool = False
    run: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """
    Everything on a run's page. ``run`` and ``told`` are None where the person may not read the record; ``unread`` says
    why, in a sentence. ``release`` is the button for another release of its plan, None where there is none.
    """

    seen: SeenRun
    run: Run | None
    told: Document | None
    mark: str
    unread: str
    title: str
    sign: str
    tone: Tone
    verdict: str
    why: str
    follows: str
    steps: tuple[Step, ...]
    share: float | None
    release: Button | None
    buttons: tuple[Button, ...]
    parts: tuple[Part, ...]
    heard: Heard | None
    measured: str
    now: float

    @property
    def age(self) -> str:
        """How long it has been going on, or how long it took."""
        return elapsed((self.now if self.seen.ended is None else self.seen.ended) - self.seen.began)

    @property
    def began(self) -> str:
        return moment(self.seen.began)

    @property
    def possible(self) -> tuple[Button, ...]:
        """The words that would do something, whether or not this person may say them."""
        return tuple(one for one in self.buttons if not one.void)

    @property
    def void(self) -> tuple[Button, ...]:
        return tuple(one for one in self.buttons if one.void)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the person lacks for what would do something, each sentence once."""
        there = (*self.possible, *((self.release,) if self.release else ()))
        return tuple(dict.fromkeys(one.lacks for one in there if one.lacks))


def look(desk: Desk, namespace: str, name: str) -> SeenRun:
    """The run of that name. Raises :class:`NotThere`, and what the desk raises."""
    try:
        return desk.look(namespace, name)
    except (NotGranted, Unidentified):
        raise
    except Rejected as error:
        raise NotThere(str(error)) from error


def read(desk: Desk, seen: SeenRun, verb: str = "") -> tuple[Run | None, str]:
    """All that is known of the run, before ``verb`` is said to it; or None, and why it cannot be read."""
    found = known(desk, seen, verb)
    return (None, found) if isinstance(found, str) else (found, "")


def view(session: Session, namespace: str, name: str, now: float, reports: Reports) -> View:
    """The page of a run, as the person of ``session`` may see it. Raises as :func:`look`."""
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    if seen.unread:
        return _of_unread(seen, now)
    run, unread = read(desk, seen)
    made = reports.of(run, desk.journal(seen)) if run is not None else None
    told = made.document if made else None
    return View(
        seen=seen,
        run=run,
        told=told,
        mark=made.mark if made else "",
        unread=unread,
        title=told.title if told else f"{seen.plan} {seen.release}: {seen.phase}",
        sign=SIGNS[told.tone] if told else "…",
        tone=tone_of(seen.phase),
        verdict=told.verdict if told else f"It is {seen.phase} at {seen.weight}.",
        why=_idle(seen) + seen.why,
        follows=follows(run, now) if run else "",
        steps=_steps(seen, run),
        share=percent(seen.weight),
        release=_release(seen, desk, lambda: lacking(session, namespace, "release")),
        buttons=buttons(seen, run, session.person.name, lambda verb: lacking(session, namespace, verb), desk),
        parts=made.parts if made else (),
        heard=_heard(session.asked.get(seen.place), seen, desk, now),
        measured=_measured(run, now),
        now=now,
    )


def _of_unread(seen: SeenRun, now: float) -> View:
    return View(
        seen=seen,
        run=None,
        told=None,
        mark="",
        unread=seen.unread,
        title=f"{seen.name}: not readable",
        sign="…",
        tone="idle",
        verdict=seen.unread,
        why="",
        follows="",
        steps=(),
        share=None,
        release=None,
        buttons=(),
        parts=(),
        heard=None,
        measured="",
        now=now,
    )


def _release(seen: SeenRun, desk: Desk, lacks: Callable[[], str]) -> Button | None:
    """Beside the words to a run that has ended, where plans are not files."""
    if not (seen.over and isinstance(desk, ClusterDesk)):
        return None
    return Button(
        "release", "New release", "The plan asks for another release, and a run begins.", "usual", "", lacks()
    )


def _idle(seen: SeenRun) -> str:
    return "no canaryd carries it out now; " if seen.attended is False else ""


def _measured(run: Run | None, now: float) -> str:
    """Of when the newest figures are while the run goes on: in a cluster they are written down once a minute."""
    if run is None or run.final or not run.cells:
        return ""
    return f"as of {clock(run.cells[-1].end)}, {elapsed(now - run.cells[-1].end)} ago"


def _steps(seen: SeenRun, run: Run | None) -> tuple[Step, ...]:
    if run is None:
        return ()
    over = seen.phase in ("promoted", "promoting", "watching")
    return tuple(
        Step(
            step.share,
            percent(step.share),
            "behind" if over or place < seen.step else "now" if place == seen.step and run.exposed else "ahead",
        )
        for place, step in enumerate(run.plan.spec.steps)
    )


def _heard(asked: Asked | None, seen: SeenRun, desk: Desk, now: float) -> Heard | None:
    if asked is None:
        return None
    if asked.verb in OF_THE_ENDED:
        later = [run for run in desk.runs(seen.plan) if run.namespace == seen.namespace and run.began > seen.began]
        if later:
            return Heard(f"{asked.verb}: run {later[0].name} has begun", waits=False, run=later[0].name)
        return Heard(
            f"{asked.verb} is asked for; where it cannot be, the plan's Events say why", waits=True
        )  # fmt: skip
    if asked.id not in seen.obeyed:
        ago = f"{asked.verb} is asked, {elapsed(now - asked.at)} ago"
        if seen.attended is False:
            return Heard(f"{ago}, and written down; no canaryd carries the run out, so nobody hears it yet", waits=True)
        return Heard(f"{ago}; the run has not heard it yet", waits=True)
    if why := turned_down(seen, asked.known, asked.verb):
        return Heard(f"{asked.verb} did nothing: {why}", waits=False, bad=True)
    return Heard(f"{asked.verb}: the run has heard it", waits=False)

"""
``canaryd run``: one run in the foreground.

A terminal gets a live table; anything else gets a line whenever something changes. What happens to the traffic when the
process is told to end is the caller's choice, and never an accident: a reader that goes away, a terminal that is closed
or a plan file that is edited meanwhile change nothing by themselves.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import typer
from rich.console import Console
from rich.live import Live

from canaryd.app import Canaryd, command, limits, world
from canaryd.app import report as text_of
from canaryd.cli.exits import Exit
from canaryd.cli.screen import kind_of, reader_may_leave, say, shielded
from canaryd.engine.admission import Begun, Settled
from canaryd.engine.guarding import Waits
from canaryd.logs import set_up
from canaryd.model.layers import Content
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused
from canaryd.model.run import Outcome, Run
from canaryd.neighbours import SECONDS
from canaryd.report.live import line, live
from canaryd.settings import Settings
from canaryd.store.folder import FolderJournal

OnExit = Literal["leave", "rollback"]

EXITS = {
    Outcome.PROMOTED: Exit.PROMOTED,
    Outcome.FAILED: Exit.ROLLED_BACK,
    Outcome.ABORTED: Exit.ABORTED,
    Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE,
    Outcome.UNDONE: Exit.ABORTED,
}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK = 0.25
"""Seconds between two looks at the run."""
AGAIN = 5.0
"""Seconds between two attempts to begin."""
LAST_WORDS = 10.0
"""Seconds that the end waits for messages that no channel has taken."""
HURRIED = 1.0
"""Seconds that the neighbours have to answer for the report of a process that is told to end, and channels to take."""
SAY = 15.0
"""Seconds between two lines that differ in figures only."""


def carry_out(
    plan: Plan,
    file: Path,
    settings: Settings,
    policies: Mapping[str, Content] | None,
    *,
    on_exit: OnExit | None,
    again: bool,
    report: Path | None,
    wait: float = 0.0,
) -> Exit:
    """
    Run ``plan``, read from ``file``, to its end, or until a signal says to leave it; how it ended.

    For what keeps it from beginning and passes by itself it waits for ``wait`` seconds.
    """
    console = Console()
    quiet = "log_level" not in settings.model_fields_set
    set_up(settings.log_format, ("error" if console.is_terminal else "warning") if quiet else settings.log_level)
    mode = on_exit or ("leave" if sys.stdin.isatty() and console.is_terminal else "rollback")
    # The signals' block is the outer one: a second ctrl-C must not cut the way out short.
    with _signals() as signals:
        with Canaryd(world(settings), workers=settings.workers, mode=settings.mode, limits=limits(settings)) as canaryd:
            until = time.monotonic() + wait
            canaryd.tell_what_is_left()
            while True:
                try:
                    begun = _begun(canaryd, plan, again, until, signals)
                except Settled as settled:
                    typer.echo(f"canaryd: {settled}", err=True)
                    return Exit.PROMOTED if settled.run.outcome is Outcome.PROMOTED else Exit.REFUSED
                _introduce(begun, settings)
                uid = begun.record.run.uid
                run = _Watch(
                    canaryd, uid, console, signals, mode, _PlanFile(file, plan, policies, settings.mode)
                ).until_the_end()
                if not (begun.record.run.final and run.released):
                    _say_what_is_unsent(canaryd, uid, HURRIED if signals else LAST_WORDS)
                    break  # else there only was to be tidied up after a former process
        _write_report(run, settings, report, HURRIED if signals else SECONDS)
        return _ending(plan, begun, run)


def _begun(canaryd: Canaryd, plan: Plan, again: bool, until: float, signals: list[int]) -> Begun:
    """The run, begun once nothing is in its way; what passes by itself may take until ``until`` (monotonic)."""
    said = ""
    while True:
        try:
            return canaryd.begin(plan, again=again)
        except (Refused, Waits) as refused:
            left = until - time.monotonic()
            if (isinstance(refused, Refused) and not refused.transient) or left <= 0 or signals:
                raise
            if str(refused) != said:
                said = str(refused)
                say(f"waiting, for at most {left:.0f} s: {'; '.join(said.splitlines())}")
        for _ in range(int(AGAIN / LOOK)):
            if not signals:
                time.sleep(LOOK)


def _introduce(begun: Begun, settings: Settings) -> None:
    run = begun.record.run
    say(f"run {run.uid} {'goes on' if begun.resumed else 'begins'}; state in {settings.state / run.uid}")
    for remark in begun.remarks:
        say(f"note: {remark}")
    if begun.reverted:
        say(f"note: {begun.reverted}: this run is aborted")


def _say_what_is_unsent(canaryd: Canaryd, uid: str, seconds: float) -> None:
    """Give messages so long to be taken; what is left lies in the run, for the next canaryd on this folder."""
    if left := canaryd.unsent(uid, seconds):
        channels = ", ".join(sorted({channel for message in left for channel in message.to}))
        say(f"note: {len(left)} of this run's messages not taken yet ({channels}); the next canaryd here sends them")


def _ending(plan: Plan, begun: Begun, run: Run) -> Exit:
    if not run.final or run.outcome is None:
        say(f"left in flight at {run.split}, {run.phase.value}; nobody watches it until the same command goes on")
        return Exit.LEFT_IN_FLIGHT
    say(f"{run.phase.value}: {run.reason}")
    if begun.resumed and plan.spec.release != run.plan.spec.release:
        # A pipeline that released v4 must not read v3's ending as its own.
        say(
            f"release {plan.spec.release!r} was not begun: run {run.uid} of release {run.plan.spec.release!r} "
            "had to end first; the same command now begins it"
        )
        return Exit.REFUSED
    return EXITS[run.outcome]


class _PlanFile:
    """The file that the plan was read from. What it says later is told, never silently obeyed."""

    def __init__(
        self, file: Path, plan: Plan, policies: Mapping[str, Content] | None, mode: Literal["active", "observe"]
    ) -> None:
        self._file = file
        self._policies = policies
        self._mode = mode
        self.plan = plan
        self._stamp = self._stamp_now()

    def news(self, run: Run) -> str:
        """What to tell about an edit since the last look; empty when there is none."""
        if (stamp := self._stamp_now()) == self._stamp:
            return ""
        self._stamp = stamp
        try:
            edited = read_plan(self._file.read_text(encoding="utf-8"), str(self._file), self._policies)
            edited = edited.in_mode(self._mode)
        except (OSError, UnicodeDecodeError, Refused) as error:
            return f"{self._file} can no longer be read as a plan; the run goes on with its own copy ({error})"
        if edited.digest == self.plan.digest:
            return ""
        self.plan = edited
        if edited.same_as(run.plan):
            return f"{self._file} says again what the run was begun with"
        return (
            f"{self._file} was edited; the run goes on with its own copy (release {run.plan.spec.release!r}). "
            f"To run the new text, abort this run first: canaryd abort {run.plan.name}"
        )

    def _stamp_now(self) -> tuple[int, int]:
        try:
            found = self._file.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)


class _Watch:
    """Shows the run until it has ended, or until it is to be left."""

    def __init__(
        self, canaryd: Canaryd, uid: str, console: Console, signals: list[int], mode: OnExit, file: _PlanFile
    ) -> None:
        self._canaryd = canaryd
        self._uid = uid
        self._console = console
        self._signals = signals
        self._mode = mode
        self._file = file
        self._asked = False
        self._faulty = False
        self._shown = ("", "", 0.0)

    def until_the_end(self) -> Run:
        """The run as it is then."""
        screen = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        with shielded(screen):
            while not (run := self._canaryd.see(self._uid)).final or not run.released:
                self._show(screen, run)
                if news := self._file.news(run):
                    say(f"note: {news}", screen)
                    if self._canaryd.abort_if_reverted(self._file.plan, run):
                        say("note: that release was settled before this run: the run is aborted", screen)
                if self._signals and not self._stays(run, screen):
                    return self._canaryd.see(self._uid)
                time.sleep(LOOK)
            if screen is not None:
                self._show(screen, run)
        return run

    def _show(self, screen: Live | None, run: Run) -> None:
        """Show the run as it is. What is shown wrongly, or not at all, must not end the run that is shown."""
        try:
            self._show_at(time.time(), screen, run)
        except Exception as error:  # noqa: BLE001  # a fault in a table, and traffic is in flight
            if not self._faulty:
                self._faulty = True
                say(f"the run cannot be shown ({error!r}); it goes on: canaryd explain {run.plan.name}")

    def _show_at(self, now: float, screen: Live | None, run: Run) -> None:
        if screen is not None:
            with reader_may_leave():
                screen.update(live(run, now), refresh=True)
            return
        text, kind, said = line(run, now), kind_of(run), self._shown[2]
        if kind != self._shown[0] or (text != self._shown[1] and now - said >= SAY):
            self._shown = (kind, text, now)
            say(f"{time.strftime('%H:%M:%S', time.gmtime(now))} {text}")

    def _stays(self, run: Run, screen: Live | None) -> bool:
        """Whether to stay with the run after a signal: as long as a rollback takes, if that is what was chosen."""
        if self._mode == "leave":
            return False
        name = signal.Signals(self._signals[0]).name
        if not self._asked:
            self._asked = True
            said = f"told to end by {name}: rolling back"
            say(f"{said}; a second ctrl-C leaves everything as it is" if name == "SIGINT" else said, screen)
            if not run.latch:
                reason = f"canaryd was told to end ({name})"
                self._canaryd.ask(self._uid, command("abort", reason=reason, by="a signal"))
        return not (len(self._signals) > 1 and self._signals[-1] == signal.SIGINT)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to end that have come, in order. A closed terminal is one."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    # What is ignored stays so: that is how nohup and a shell's background jobs ask to be left alone.
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, note) for number in heard}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _write_report(run: Run, settings: Settings, report: Path | None, seconds: float) -> None:
    """Write it; the neighbours that are shown in it have ``seconds`` to answer."""
    file = report or settings.state / run.uid / "report.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = text_of(run, FolderJournal(settings.state).read(run.uid), "html", settings, seconds)
        file.write_text(text, encoding="utf-8")
    except Exception as error:  # noqa: BLE001  # the exit code tells how the run ended, whatever becomes of its report
        typer.echo(f"the report cannot be written: {error}", err=True)
    else:
        say(f"report: {file}")

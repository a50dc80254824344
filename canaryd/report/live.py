"""
What a release manager watches while a run goes on.

Every line is always there and always in its place, whatever the run does: a screen that jumps cannot be read. Colour
only repeats what a word or a sign beside it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from canaryd.judge import wording
from canaryd.model.cells import Cell, Counts, Gap
from canaryd.model.evidence import Evidence, Reading
from canaryd.model.run import PROVEN, Outcome, Phase, Run
from canaryd.report.outlook import (
    bake_over,
    clock,
    counted,
    elapsed,
    follows,
    gathered,
    held_for,
    hold_terms,
    is_unproven,
    standing,
    watch_over,
)
from canaryd.report.series import bounds_of, error_rate, measured

LABEL = 9
"""Columns of the names at the left."""
LEAST = 0.01
"""Evidence at the left end of a bar; it starts at 1 and may fall far below."""
RECENT = 4
"""Cells over which the observed share of traffic is shown."""
LEVELS = "▁▂▃▄▅▆▇█"
NO_DATA = "·"


def live(run: Run, now: float, *, width: int | None = None) -> RenderableType:
    """The run at ``now`` (Unix seconds) for a terminal of ``width`` columns, or of the console's own."""
    return _Screen(run, now, width)


MOVING = (Phase.SHIFTING, Phase.PROMOTING, Phase.RETURNING, Phase.ROLLING_BACK)
"""Phases in which the split may be wanted and not yet there."""


def line(run: Run, now: float) -> str:
    """
    The run in one line, for logs without a terminal.

    It is meant to be printed when it changes: nothing in it counts seconds, and the minutes show that all is well.
    """
    head = f"{run.plan.name} {run.plan.spec.release}"
    if run.final:
        return f"{head}: {standing(run)} after {elapsed((run.ended or now) - run.created)}: {run.reason}"
    minutes = math.floor(max(0.0, now - run.created) / 60)
    where = "to" if run.phase in MOVING and run.arrived_at is None else "at"
    phase = f"as if {run.phase.value}" if run.plan.observes else run.phase.value
    parts = [f"{head}: {phase} {where} {'match' if run.match else run.split}, {_step(run)}, {minutes} min"]
    if run.evidence:
        parts.append(f"harm {wording.evidence(run.evidence.harm)} of {run.evidence.harm_bound:g}")
        if _of_this_split(run, run.evidence):
            parts.append(f"proof {wording.evidence(run.evidence.proof)} of {run.evidence.proof_bound:g}")
    parts.append(_waits(run))
    if run.hold:
        parts.append(hold_terms(run.hold))
    return "; ".join(part for part in parts if part)


def _waits(run: Run) -> str:
    """What the run waits for. The machine's sentence of the watch counts down, which would fill a log."""
    if run.phase is not Phase.WATCHING or run.hold:
        return run.waiting
    blind = f", blind: {run.cells[-1].why}" if run.cells and isinstance(run.cells[-1], Gap) else ""
    only = "observing, nothing is moved: " if run.plan.observes else ""
    return f"{only}watching at 100 % until {clock(watch_over(run))}{blind}"


def _step(run: Run) -> str:
    return f"step {run.step + 1} of {len(run.plan.spec.steps)}"


@dataclass(frozen=True, slots=True)
class _Screen:
    run: Run
    now: float
    width: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.width or options.max_width, options.max_width)
        for text in self.lines(console, width):
            text.truncate(width, overflow="ellipsis")
            text.no_wrap = True
            yield text

    def lines(self, console: Console, width: int) -> list[Text]:
        run = self.run
        evidence = bounds_of(run)
        room = width - LABEL
        above, below = (3, 2) if width < 130 else (2, 1)
        return [
            _title(run, self.now, width),
            _labelled("steps", _strip(run, room)),
            _labelled("phase", _phase(run)),
            _labelled("bake", _bake(run, self.now, _bar_width(width))),
            _labelled("harm", _harm(run, evidence, _bar_width(width))),
            _labelled("proof", _proof(run, evidence, _bar_width(width))),
            _labelled("share", _share(run)),
            *_sides(run, room),
            *_checks(run, console, width, above, below),
            *_last_word(run, console, width, above),
            *_rows(console, "then", Text(follows(run, self.now)), width, above - 1),
        ]


def trail(run: Run, now: float, columns: int = 40) -> Text:
    """The weight over the run's time, a sign for each of ``columns`` equal parts of it; on a scale to 100 %."""
    end = max(run.ended if run.ended is not None else now, run.created + 1)
    part = (end - run.created) / columns
    text = Text(overflow="ellipsis", no_wrap=True)
    text.append(f"{'weight':<{LABEL}}", "dim")
    for place in range(columns):
        share = _share_at(run, run.created + (place + 1) * part)
        text.append(LEVELS[math.ceil(share * (len(LEVELS) - 1))] if share else NO_DATA)
    return text.append(f"  {run.split} after {elapsed(end - run.created)}", "dim")


def _share_at(run: Run, at: float) -> float:
    """The canary's share of the weights at a moment, 0 to 1."""
    under = [segment for segment in run.segments if segment.origin <= at]
    return under[-1].split.share if under else 0.0


def _labelled(label: str, text: Text) -> Text:
    return Text.assemble((f"{label:<{LABEL}}", "dim"), text)


def _bar_width(width: int) -> int:
    return max(10, min(40, (width - LABEL) // 3))


def _title(run: Run, now: float, width: int) -> Text:
    title = Text.assemble((run.plan.name, "bold"), " ", (run.plan.spec.release, "bold"))
    title.append(f"  {run.route.stable} -> {run.route.canary} in {run.route}  run {run.uid}", "dim")
    spent = elapsed((run.ended or now) - run.created)
    title.truncate(width - cell_len(spent) - 1, overflow="ellipsis", pad=True)
    return title.append(f" {spent}")


def _strip(run: Run, room: int) -> Text:
    """The steps and 100 %: done, current, to come. Where they do not fit, the far ones are left out."""
    marks = [f"{sign} {weight}" for sign, weight in zip(_signs(run), _weights(run), strict=True)]
    current = next((place for place, mark in enumerate(marks) if mark[0] in "▶✗"), 0)
    first, last = 0, len(marks)
    wanted = f"wanted: {'match' if run.match else run.split}"
    room -= len(wanted) + 3
    while sum(len(mark) + 2 for mark in marks[first:last]) + 4 > room and last - first > 1:
        if current - first >= last - 1 - current:
            first += 1
        else:
            last -= 1
    text = Text("… " if first else "")
    for mark in marks[first:last]:
        text.append(mark, _STRIP_STYLES[mark[0]]).append("  ")
    return text.append("… " if last < len(marks) else "").append(" ").append(wanted, "bold")


def _weights(run: Run) -> list[str]:
    return [*(step.share for step in run.plan.spec.steps), "100 %"]


def _signs(run: Run) -> list[str]:
    """``✓`` done, ``▶`` current, ``·`` to come, ``✗`` where it ended."""
    steps = len(run.plan.spec.steps)
    at_the_end = run.phase in PROVEN
    current = steps if at_the_end else -1 if run.seq == 0 else run.step
    here = "✓" if run.phase is Phase.PROMOTED else "✗" if run.latch else "▶"
    return ["✓" if place < current else here if place == current else "·" for place in range(steps + 1)]


_STRIP_STYLES = {"✓": "green", "▶": "bold", "·": "dim", "✗": "bold red"}


def _phase(run: Run) -> Text:
    if run.final:
        return Text(standing(run), "bold green" if run.outcome is Outcome.PROMOTED else "bold red")
    text = Text(f"as if {run.phase.value}" if run.plan.observes else run.phase.value, "bold")
    text.append(f", {_step(run)}" if run.phase in (Phase.SHIFTING, Phase.BAKING) else "")
    return text.append(f"  HELD ({held_for(run.hold)})", "bold yellow") if run.hold else text


def _bake(run: Run, now: float, bar: int) -> Text:
    if run.phase is not Phase.BAKING:
        return Text("–")
    have, want = gathered(run), run.needed
    text = _bar(min(1.0, have / want), bar, "")
    text.append(f" {have} of {want} cells" if have < want else f" full, {have} cells for {want}")
    if have < want:
        text.append(f", {elapsed(bake_over(run) - now)} to go at least")
    return text


def _bar(filled: float, width: int, style: str, mark: float | None = None) -> Text:
    """A bar of ``width`` columns, ``filled`` from 0 to 1, with a ``│`` at ``mark``."""
    full = math.floor(filled * width + 0.5)
    text = Text()
    for place in range(width):
        if mark is not None and place == min(width - 1, round(mark * width)):
            text.append("│", "bold")
        else:
            text.append("━" if place < full else "─", style if place < full else "dim")
    return text


def _log_share(value: float, bound: float) -> float:
    """Where ``value`` lies between LEAST and ``bound`` on a logarithmic scale, 0 to 1."""
    if value <= LEAST:
        return 0.0
    return min(1.0, math.log(value / LEAST) / math.log(bound / LEAST))


def _harm(run: Run, evidence: Evidence, bar: int) -> Text:
    harm, hold, fail = evidence.harm, evidence.hold_bound, evidence.harm_bound
    failed = bool(evidence.failure) or harm >= fail
    word, style = ("rolls back", "red") if failed else ("holds", "yellow") if harm >= hold else ("fine", "green")
    known = run.evidence is not None
    text = _bar(_log_share(harm, fail) if known else 0.0, bar, style, _log_share(hold, fail))
    text.append(f" {wording.evidence(harm) if known else '–':>7} ")
    text.append(f"{word if known else 'unknown':<12}", f"bold {style}" if known else "dim")
    text.append(f"holds at {hold:g}, fails at {fail:g}", "dim")
    most = run.plan.spec.analysis.max_harmed
    return text if most is None else text.append(f"; {run.harmed.requests:,.0f} of at most {most:,} harmed", "dim")


def _proof(run: Run, evidence: Evidence, bar: int) -> Text:
    if run.phase in PROVEN:
        return Text(f"{'without proof' if is_unproven(run) else 'proven'} at {run.current_step.share}")
    counts = run.evidence is not None and _of_this_split(run, evidence)
    proof = evidence.proof if counts else LEAST
    proven = counts and evidence.proven
    text = _bar(_log_share(proof, evidence.proof_bound), bar, "green" if proven else "")
    text.append(f" {wording.evidence(proof) if counts else '–':>7} ")
    word = "proven" if proven else "too early" if proof >= evidence.proof_bound else "not yet"
    text.append(f"{word:<12}", "bold green" if proven else "dim")
    return text.append(f"needs {evidence.proof_bound:g} at this weight", "dim")


def _of_this_split(run: Run, evidence: Evidence) -> bool:
    """Proof belongs to a segment and means nothing for the one that was opened since."""
    return bool(run.segments) and evidence.segment == run.segment.index


def _share(run: Run) -> Text:
    """The share of traffic that the canary had, beside the one that it should have had."""
    cells = [cell for cell in measured(run) if run.segments and cell.segment == run.segment.index][-RECENT:]
    canary = sum(cell.all_canary for cell in cells)
    both = canary + sum(cell.all_stable for cell in cells)
    if not both:
        return Text("nothing observed yet at this weight")
    cells_words = "cell" if len(cells) == 1 else f"{len(cells)} cells"
    text = Text(f"{wording.percent(canary, both)} of the requests in the last {cells_words}")
    text.append("" if run.match else f", expected {run.split}")
    if run.present and run.present.shared_from is None and cells[-1].settled:
        text.append("; not proven yet", "yellow")
    if run.present and run.present.notes:
        text.append(f"; {run.present.notes}", "yellow")
    return text


def _sides(run: Run, room: int) -> list[Text]:
    """Both sides in the last cell, and their error rates cell by cell on one scale."""
    last = run.cells[-1] if run.cells else None
    columns = max(8, room - 57)
    recent = run.cells[-columns:]
    both = [[_rate(cell, side) for cell in recent] for side in ("stable", "canary")]
    top = max((rate for rates in both for rate in rates if rate is not None), default=0.0)
    lines = []
    for side, rates in zip(("stable", "canary"), both, strict=True):
        text = Text(f"{_last_cell(last, side):<44} ")
        text.append(_spark(rates, top)).append(
            f" max {wording.percent(top, 1)}" if top and side == "canary" else "", "dim"
        )
        lines.append(_labelled(side, text))
    return lines


def _counts(cell: Cell, side: str) -> Counts:
    return cell.stable if side == "stable" else cell.canary


def _rate(cell: Cell | Gap, side: str) -> float | None:
    return None if isinstance(cell, Gap) else error_rate(_counts(cell, side))


def _last_cell(last: Cell | Gap | None, side: str) -> str:
    if last is None:
        return "no cell yet"
    if isinstance(last, Gap):
        return "no data in the last cell"
    counts = _counts(last, side)
    if not counts.requests:
        return "no requests"
    rate = wording.percent(counts.errors, counts.requests)
    return f"{counted(counts.requests, 'request')}, {counted(counts.errors, 'error')} ({rate})"


def _spark(rates: list[float | None], top: float) -> str:
    def level(rate: float | None) -> str:
        if rate is None:
            return NO_DATA
        return LEVELS[math.ceil(rate / top * (len(LEVELS) - 1))] if top else LEVELS[0]

    return "".join(level(rate) for rate in rates)


def _checks(run: Run, console: Console, width: int, compared: int, others: int) -> list[Text]:
    """One sentence for each check, and for the failures that no version can be named for."""
    readings = {reading.check: reading for reading in run.evidence.readings} if run.evidence else {}
    lines: list[Text] = []
    for check in run.plan.spec.analysis.checks:
        reading = readings.pop(check.name, None)
        lines += _fixed(console, _sentence(check.name, reading), width, compared)
    rest = next(iter(readings.values()), None)
    return lines + _fixed(console, _sentence("reachability", rest), width, others)


def _sentence(name: str, reading: Reading | None) -> Text:
    if reading is None:
        return Text(f"{name}: nothing measured yet", "dim")
    text = Text(reading.sentence)
    text.stylize("bold", 0, text.plain.find(":") + 1)
    return text


def _last_word(run: Run, console: Console, width: int, rows: int) -> list[Text]:
    """What the run waits for; when it has ended the reason, whole, for then nothing below it moves any more."""
    if run.final:
        reason = Text(run.reason)
        return _rows(console, "ended", reason, width, max(rows, len(reason.wrap(console, width - LABEL))))
    return _rows(console, "now", Text(run.waiting or "–", "yellow" if run.hold else ""), width, rows)


def _rows(console: Console, label: str, text: Text, width: int, rows: int) -> list[Text]:
    """``text`` in exactly so many rows beside its label."""
    wrapped = _fixed(console, text, width - LABEL, rows, hang=0)
    return [Text.assemble((f"{label if place == 0 else '':<{LABEL}}", "dim"), row) for place, row in enumerate(wrapped)]


def _fixed(console: Console, text: Text, width: int, rows: int, hang: int = 2) -> list[Text]:
    """``text`` in exactly ``rows`` rows: blank ones where it is short, an ellipsis where it is long."""
    wrapped = list(text.wrap(console, width - hang))
    if len(wrapped) > rows:
        kept = wrapped[:rows]
        kept[-1].rstrip()
        kept[-1].truncate(width - hang - 1)
        kept[-1].append("…")
    else:
        kept = wrapped + [Text()] * (rows - len(wrapped))
    return [Text.assemble(" " * (hang if place else 0), row) for place, row in enumerate(kept)]

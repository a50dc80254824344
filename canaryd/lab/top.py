"""
`canaryd lab top`: what the lab is doing, while it does it.

What a person wants side by side: what was asked for (weights, faults that are on) and what the clients got (shares,
failures, latency), by version, from the load generator's own books and not from the metrics that canaryd reads.
Every line has its place and keeps it: a screen that jumps cannot be read.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]
WINDOW = 10.0
"""Seconds over which rates, shares and latencies are taken."""
TREND = 60
"""Seconds that the trends at the bottom show, a column each."""
LABEL = 17
"""Columns of what stands before a trend."""
LEVELS = "▁▂▃▄▅▆▇█"
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one version since the lab began: how many, how many failed, how many by whole milliseconds."""

    answered: int = 0
    failed: int = 0
    by_millisecond: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, found: Json) -> Tally:
        return cls(found["answered"], found["failed"], {int(ms): n for ms, n in found["byMillisecond"].items()})

    def since(self, before: Tally) -> Tally:
        spent = Counter(self.by_millisecond)
        spent.subtract(before.by_millisecond)
        return Tally(self.answered - before.answered, self.failed - before.failed, +spent)

    def quantile(self, q: float) -> float | None:
        """Milliseconds below which a share `q` of the requests lies; None without requests."""
        left = q * sum(self.by_millisecond.values())
        for millisecond in sorted(self.by_millisecond):
            left -= self.by_millisecond[millisecond]
            if left <= 0:
                return float(millisecond)
        return None


@dataclass(frozen=True, slots=True)
class Books:
    """The clients' books at one moment (monotonic seconds); `seconds` are the rows of `Load.seconds` that are whole."""

    at: float
    lost: int
    versions: Mapping[str, Tally]
    seconds: tuple[Json, ...] = ()

    @classmethod
    def read(cls, at: float, found: Json) -> Books:
        versions = {version: Tally.read(tally) for version, tally in found["byVersion"].items()}
        return cls(at, found["lost"], versions, tuple(found["seconds"]))


class History:
    """The books of the last minute, oldest first."""

    def __init__(self) -> None:
        self._books: deque[Books] = deque()

    def add(self, books: Books) -> None:
        self._books.append(books)
        while books.at - self._books[0].at > TREND + WINDOW:
            self._books.popleft()

    def last(self, seconds: float) -> tuple[float, dict[str, Tally]]:
        """How long it really was, and what was answered meanwhile, by version."""
        if not self._books:
            return 0.0, {}
        now = self._books[-1]
        before = next(one for one in reversed(self._books) if one.at <= now.at - seconds or one is self._books[0])
        spent = {name: tally.since(before.versions.get(name, Tally())) for name, tally in now.versions.items()}
        return now.at - before.at, spent

    def seconds(self, columns: int) -> list[Json]:
        """The rows of the last seconds, newest last; an empty one for a second of which nothing is known."""
        known = list(self._books[-1].seconds if self._books else ())[-columns:]
        return [{}] * (columns - len(known)) + known

    def lost(self) -> int:
        """Requests of the last minute that got no answer at all."""
        return self._books[-1].lost - self._books[0].lost if self._books else 0


def screen(status: Json, history: History) -> RenderableType:
    """The whole picture, for the lab's `status` and the books of the last minute, as wide as the console."""
    return _Screen(status, history)


@dataclass(frozen=True, slots=True)
class _Screen:
    status: Json
    history: History
    brief: bool = False

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        status, history = self.status, self.history
        seconds, recent = history.last(WINDOW)
        versions = _versions(status, recent)
        bar = 24 if options.max_width >= 96 else 10
        if self.brief:
            on_trial = [name for name in versions if name in status["weights"] or recent.get(name, Tally()).answered]
            yield _table(status, on_trial, seconds, recent, bar)
            yield from [Text()] * max(0, 2 - len(on_trial))  # a screen that grows is a screen that jumps
            yield _faults(status)
            return
        yield _head(status, history)
        yield Text()
        yield _table(status, versions, seconds, recent, bar)
        yield Text()
        yield from _trends(versions, history, min(TREND, options.max_width - LABEL))
        yield Text()
        yield _faults(status)
        yield Text(status.get("problem") or "", "bold red", no_wrap=True, overflow="ellipsis")


def traffic(status: Json, history: History) -> RenderableType:
    """Only who is on trial: what was asked for, what the clients got, and which faults are on."""
    return _Screen(status, history, brief=True)


def watch(ask: Callable[[str], Json], show: Callable[[RenderableType], None], *, every: float = 1.0) -> None:
    """Ask the lab again and again and show it, until interrupted. Raises what `ask` raises when the lab is gone."""
    history = History()
    due = time.monotonic()
    while True:
        books = ask("/books")
        history.add(Books.read(time.monotonic(), books))
        show(screen(ask("/status"), history))
        due = max(due + every, time.monotonic())
        time.sleep(due - time.monotonic())


def _versions(status: Json, recent: Mapping[str, Tally]) -> list[str]:
    """Those with pods first, then whoever else answered (`unknown`: no host was picked)."""
    return list(dict.fromkeys([*status["pods"], *status["weights"], *sorted(recent)]))


def _head(status: Json, history: History) -> Text:
    text = Text.assemble(("canaryd lab", "bold"), f"   {status['rps']:g} rps {status['protocol']}")
    text.append(f"   up {_clock(status['seconds'])}")
    for part in ("api", "prometheus"):
        up = status[part] == "running"
        text.append(f"   {part} ").append("● up" if up else "○ away", "green" if up else "bold red")
    if standing := status.get("controller"):
        said, style = {"leads": ("● up", "green"), "away": ("○ away", "bold red")}.get(
            standing, ("● standby", "yellow")
        )
        text.append("   canaryd ").append(said, style)
    text.append(f"   run {status['run']}" if status.get("run") else "   no run", "bold" if status.get("run") else "dim")
    lost = history.lost()
    return text.append(f"   {lost} lost in a minute", "bold red") if lost else text


def _table(status: Json, versions: list[str], seconds: float, recent: Mapping[str, Tally], bar: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("version", no_wrap=True, min_width=8)
    table.add_column("wanted", justify="right", no_wrap=True)
    table.add_column(f"observed, {WINDOW:g} s", width=bar + 8, no_wrap=True)
    for name in ("rps", "failed", "p50", "p99", "pods"):
        table.add_column(name, justify="right", no_wrap=True)
    weights = status["weights"]
    total, answered = sum(weights.values()), sum(tally.answered for tally in recent.values())
    for place, version in enumerate(versions):
        mine = recent.get(version, Tally())
        wanted = _share_wanted(weights, version, total)
        ready, of = status["pods"].get(version, (0, 0))
        table.add_row(
            Text(version, f"bold {_colour(place)}"),
            "–" if wanted is None else f"{100 * wanted:.4g} %",
            _bar(mine.answered / answered if answered else 0.0, wanted, bar, _colour(place)),
            f"{mine.answered / seconds:.0f}" if seconds else "–",
            _failed(mine),
            _milliseconds(mine.quantile(0.5)),
            _milliseconds(mine.quantile(0.99)),
            Text(f"{ready}/{of}", "" if ready == of else "bold red") if of else Text("–", "dim"),
        )
    return table


def _share_wanted(weights: Mapping[str, int], version: str, total: int) -> float | None:
    """Istio: a single destination has everything, whatever its weight."""
    if version not in weights:
        return None
    if len(weights) == 1:
        return 1.0
    return weights[version] / total if total else 0.0


def _bar(share: float, wanted: float | None, width: int, colour: str) -> Text:
    """The observed share as a bar, with a mark where it should end."""
    full = round(share * width)
    mark = None if wanted is None else min(width - 1, round(wanted * width))
    text = Text()
    for place in range(width):
        sign, style = ("━", colour) if place < full else ("─", "dim")
        text.append(*(("│", "bold") if place == mark else (sign, style)))
    return text.append(f" {100 * share:5.1f} %")


def _failed(tally: Tally) -> Text:
    if not tally.answered:
        return Text("–", "dim")
    share = tally.failed / tally.answered
    return Text(f"{100 * share:.2f} %", "bold red" if share >= 0.01 else "" if share else "dim")


def _trends(versions: list[str], history: History, columns: int) -> Iterator[Text]:
    """Share and failures second by second, newest at the right; each of the two on one scale for all versions."""
    seconds = history.seconds(columns)
    rows = {
        "share": {name: [_ratio(row.get(name, 0), _answered(row, versions)) for row in seconds] for name in versions},
        "failed": {
            name: [_ratio(row.get(f"{name} failed", 0), row.get(name, 0)) for row in seconds] for name in versions
        },
    }
    for what, by_version in rows.items():
        top = max((value for row in by_version.values() for value in row if value is not None), default=0.0)
        yield Text(f"{what}, up to {100 * top:.3g} %, second by second", "dim")
        for place, (version, row) in enumerate(by_version.items()):
            yield Text.assemble((f"  {version:<{LABEL - 2}}", "dim"), (_spark(row, top), _colour(place)))


def _answered(row: Json, versions: list[str]) -> int:
    return sum(row.get(version, 0) for version in versions)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _spark(values: list[float | None], top: float) -> str:
    def level(value: float | None) -> str:
        if value is None:
            return "·"
        return LEVELS[math.ceil(value / top * (len(LEVELS) - 1))] if top else LEVELS[0]

    return "".join(map(level, values))


def _faults(status: Json) -> Text:
    """Which dials are not at rest, by version."""
    text = Text("faults  ", "dim", no_wrap=True, overflow="ellipsis")
    on = {version: dials for version, dials in status["faultsOn"].items() if dials}
    if not on:
        return text.append("none: every version is healthy", "dim")
    for place, (version, dials) in enumerate(on.items()):
        said = ", ".join(f"{name} {value:g}" for name, value in dials.items())
        text.append("   " if place else "").append(version, "bold").append(f" {said}", "yellow")
    return text


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]

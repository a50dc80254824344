"""
The pictures of docs/judge.md: one row for each scenario, one mark for each rule.

A mark is told apart by its form as well as by its colour, and is hollow where the rule promoted some of the faulty
ones: little harm and short times mean nothing then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

import numpy as np

from bench.judge.results import Results, column, ended
from bench.judge.scenarios import FAULTY, HEALTHY, Scenario
from bench.judge.walk import Outcome
from canaryd.report.markup import append, tag

WIDTH, LEFT, RIGHT, TOP, ROW = 880.0, 250.0, 44.0, 74.0, 24.0
MISSED = 0.02
"""Share promoted from which on a mark is hollow."""
MARKS = {
    "canaryd": ("#0b6e4f", "circle"),
    "flagger": ("#c1440e", "square"),
    "argo": ("#8a5a00", "triangle"),
    "kayenta": ("#4455aa", "diamond"),
    "oracle": ("#555555", "cross"),
}
NAMES = {"flagger": "Flagger", "argo": "Argo Rollouts", "kayenta": "Kayenta", "oracle": "one who knows the truth"}


@dataclass(frozen=True, slots=True)
class Axis:
    """From a value to a place; ``ticks`` are (value, words)."""

    words: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def x(self, value: float) -> float:
        value = min(self.high, max(self.low, value))
        if self.logarithmic:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


HARM = Axis(
    "canary requests harmed until the end, mean (logarithmic)",
    0.5,
    1e5,
    tuple((10.0**power, f"{10**power:,}") for power in range(6)),
    logarithmic=True,
)
MINUTES = Axis("minutes until the end, median", 0, 90, tuple((float(n), str(n)) for n in range(0, 91, 10)))
FALSE = Axis("healthy ones rolled back, percent", 0, 100, tuple((float(n), f"{n} %") for n in range(0, 101, 20)))


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every picture for which there are results; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "judge-harm.svg": ("Requests harmed by faulty canaries, cells of 60 s", FAULTY, HARM, _harm),
        "judge-minutes.svg": ("Time until a faulty canary is found, cells of 60 s", FAULTY, MINUTES, _minutes),
        "judge-false.svg": ("Healthy canaries rolled back, cells of 60 s", HEALTHY, FALSE, _false),
    }
    drawn = []
    for name, (title, scenarios, axis, value) in pictures.items():
        picture = plot(results, title, scenarios, axis, value)
        if picture is None:
            continue
        drawn.append(folder / name)
        drawn[-1].write_text(tostring(picture, encoding="unicode") + "\n", encoding="utf-8")
    return drawn


def plot(
    results: Results,
    title: str,
    scenarios: Sequence[Scenario],
    axis: Axis,
    value: Callable[[list[Outcome]], float],
    seconds: int = 60,
) -> Element | None:
    """One picture, or None where nothing is known."""
    known = [one for one in scenarios if results.of(one.name, "canaryd", seconds)]
    if not known:
        return None
    bottom = TOP + ROW * len(known)
    picture = tag(
        "svg",
        tag("title", title),
        tag("desc", f"A row for each scenario, a mark for each rule: {axis.words}."),
        tag("style", "text{font:13px sans-serif;fill:#222}.end{text-anchor:end}.mid{text-anchor:middle}"),
        tag("rect", width=WIDTH, height=bottom + 44, fill="#ffffff"),
        tag("text", title, x=12, y=22, font_weight="bold"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {bottom + 44:g}",
        role="img",
    )
    append(picture, *_legend(faulty=known[0].faulty), *_grid(axis, bottom))
    for place, scenario in enumerate(known):
        y = TOP + ROW * (place + 0.5)
        append(
            picture,
            tag("text", scenario.name, x=LEFT - 14, y=y + 4, class_="end"),
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke="#eeeeee"),
        )
        for rule in reversed(MARKS):
            walks = results.of(scenario.name, rule, seconds)
            if walks and (scenario.faulty or rule != "oracle"):
                found = value(walks)
                hollow = scenario.faulty and ended(walks, "promote") > MISSED * len(walks)
                words = f"{NAMES.get(rule, rule)}, {scenario.name}: {found:,.3g}"
                append(picture, _mark(rule, axis.x(found), y, hollow=hollow, words=words))
    return picture


def _harm(walks: list[Outcome]) -> float:
    return float(column(walks, "harmed").mean())


def _minutes(walks: list[Outcome]) -> float:
    return float(np.median(column(walks, "minutes")))


def _false(walks: list[Outcome]) -> float:
    return 100 * ended(walks, "rollback") / len(walks)


def _legend(*, faulty: bool) -> list[Element]:
    drawn, x = [], 18.0
    for rule in MARKS:
        if rule == "oracle" and not faulty:
            continue
        name = NAMES.get(rule, rule)
        drawn += [_mark(rule, x, 46, hollow=False, words=name), tag("text", name, x=x + 11, y=50)]
        x += 40 + 7.4 * len(name)
    if faulty:
        drawn.append(tag("text", "hollow: promoted some", x=x, y=50))
    return drawn


def _grid(axis: Axis, bottom: float) -> list[Element]:
    drawn = [tag("text", axis.words, x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 36, class_="mid")]
    for at, words in axis.ticks:
        x = axis.x(at)
        drawn += [
            tag("line", x1=x, x2=x, y1=TOP, y2=bottom, stroke="#cccccc"),
            tag("text", words, x=x, y=bottom + 17, class_="mid"),
        ]
    return drawn


def _mark(rule: str, x: float, y: float, *, hollow: bool, words: str) -> Element:
    colour, form = MARKS[rule]
    paint: dict[str, str | float] = {"fill": "#ffffff" if hollow else colour, "stroke": colour, "stroke_width": 1.6}
    said = tag("title", words)
    if form == "circle":
        return append(tag("circle", cx=x, cy=y, r=6.5, **paint), said)
    if form == "square":
        return append(tag("rect", x=x - 4.5, y=y - 4.5, width=9, height=9, **paint), said)
    if form == "cross":
        return tag("path", said, d=f"M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10", stroke=colour, stroke_width=2)
    corners = {"triangle": ((0, -6), (5.5, 4.5), (-5.5, 4.5)), "diamond": ((0, -6.5), (6, 0), (0, 6.5), (-6, 0))}[form]
    points = " ".join(f"{x + across:.1f},{y + down:.1f}" for across, down in corners)
    return append(tag("polygon", points=points, **paint), said)

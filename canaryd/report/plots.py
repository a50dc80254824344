"""
The report's pictures, as SVG that needs no script.

Each is drawn twice, wide and narrow, and the page shows the one that fits: an SVG that is merely scaled to a telephone
has letters that nobody can read. A side is told apart by its line's dashes as well as by its colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from canaryd.judge import wording
from canaryd.model.cells import Cell, Counts, Gap
from canaryd.model.run import Run
from canaryd.model.traffic import EVERYTHING, NOTHING
from canaryd.report.markup import append, tag
from canaryd.report.outlook import clock, elapsed
from canaryd.report.series import Point, bounds_of, error_rate, measured

WIDE, NARROW = 980.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 24.0, 22.0, 30.0
LEAST, MOST = 0.01, 1e6
"""Ends of the evidence's scale: below and above them nothing follows from the number any more."""
DOTTED = 150
"""Cells up to which each has a dot with its figures; more of them would only be a thick line, and a heavy file."""
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800)


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot's area: from ``begin`` to ``end`` in Unix seconds, ``width`` and ``height`` in the picture's units."""

    width: float
    height: float
    begin: float
    end: float

    def x(self, at: float) -> float:
        share = (at - self.begin) / max(1e-9, self.end - self.begin)
        return LEFT + min(1.0, max(0.0, share)) * (self.width - LEFT - RIGHT)

    def y(self, share: float) -> float:
        """``share`` of the height, from 0 at the bottom to 1."""
        return TOP + (1 - min(1.0, max(0.0, share))) * (self.height - TOP - BOTTOM)


def both_widths(draw: Callable[[float], Element]) -> tuple[Element, Element]:
    """The picture for a screen and for a telephone; the page's style shows one of them."""
    wide, narrow = draw(WIDE), draw(NARROW)
    wide.set("class", "plot wide")
    narrow.set("class", "plot narrow")
    return wide, narrow


def span(run: Run) -> tuple[float, float]:
    """Beginning and end of the run's time axis."""
    ends = [run.created, run.at, run.ended or 0.0, *(segment.origin for segment in run.segments)]
    if run.cells:
        ends.append(run.cells[-1].end)
    begin = min([run.created, *(cell.start for cell in run.cells[:1])])
    return begin, max(*ends, begin + 1)


def split_plot(run: Run, width: float) -> Element:
    """The split over time."""
    panel = Panel(width, 150, *span(run))
    highest = max((segment.split.share for segment in run.segments), default=0.0)
    top = next(nice for nice in (0.01, 0.05, 0.1, 0.25, 0.5, 1.0) if highest <= nice)
    picture = _picture(panel, "Traffic to the canary over time", _split_words(run))
    append(picture, *_levels(panel, [(share / top, wording.share(share)) for share in (0.0, top / 2, top)]))
    corners = [(panel.begin, 0.0)]
    for segment in run.segments:
        corners += [(segment.origin, corners[-1][1]), (segment.origin, segment.split.share / top)]
    corners.append((panel.end, corners[-1][1]))
    path = " L".join(f"{panel.x(at):.1f} {panel.y(share):.1f}" for at, share in corners)
    base = panel.y(0)
    append(
        picture,
        tag(
            "path",
            d=f"M{path} L{panel.x(panel.end):.1f} {base:.1f} L{panel.x(panel.begin):.1f} {base:.1f} Z",
            class_="area",
        ),
        tag("path", d=f"M{path}", class_="line canary"),
    )
    return append(picture, *_retreat(panel, run), *_time(panel))


def _split_words(run: Run) -> str:
    steps = "; ".join(f"{segment.split} from {clock(segment.origin)}" for segment in run.segments)
    return f"The canary's share as it was wanted: {steps or 'no traffic was shifted'}."


def errors_plot(run: Run, width: float) -> Element:
    """Error rates of both sides, cell by cell; cells without data are shaded."""
    panel = Panel(width, 210, *span(run))
    rates = [rate for cell in measured(run) for rate in (error_rate(cell.stable), error_rate(cell.canary)) if rate]
    top = _nice(max(rates, default=0.001))
    picture = _picture(
        panel,
        "Share of failed requests per cell",
        f"Error rates of both sides from {clock(panel.begin)} to {clock(panel.end)}, up to {wording.share(top)}.",
    )
    append(picture, *_levels(panel, [(part, wording.share(part * top)) for part in (0, 0.5, 1)]))
    append(picture, *(_gap(panel, cell) for cell in run.cells if isinstance(cell, Gap)))
    append(picture, *_rates(panel, run, "stable", top), *_rates(panel, run, "canary", top))
    return append(picture, *_retreat(panel, run), *_time(panel))


def _gap(panel: Panel, gap: Gap) -> Element:
    x, to = panel.x(gap.start), panel.x(gap.end)
    words = tag("title", f"No data from {clock(gap.start)} to {clock(gap.end)}: {gap.why}")
    return tag("rect", words, x=x, y=panel.y(1), width=to - x, height=panel.y(0) - panel.y(1), class_="gap")


def _rates(panel: Panel, run: Run, side: str, top: float) -> list[Element]:
    """One side's line, broken where there is no data, and a dot with its figures for each cell."""
    pieces: list[list[str]] = [[]]
    dots = []
    dotted = len(run.cells) <= DOTTED
    for cell in run.cells:
        rate = None if isinstance(cell, Gap) else error_rate(_counts(cell, side))
        if rate is None or isinstance(cell, Gap):
            pieces.append([])
            continue
        x, y = panel.x((cell.start + cell.end) / 2), panel.y(rate / top)
        pieces[-1].append(f"{x:.1f},{y:.1f}")
        if dotted:
            dots.append(tag("circle", tag("title", _cell_words(cell, side)), cx=x, cy=y, r=2.5, class_=f"dot {side}"))
    lines = [tag("polyline", points=" ".join(piece), class_=f"line {side}") for piece in pieces if piece]
    return lines + dots


def _counts(cell: Cell, side: str) -> Counts:
    return cell.stable if side == "stable" else cell.canary


def _cell_words(cell: Cell, side: str) -> str:
    counts = _counts(cell, side)
    rate = wording.percent(counts.errors, counts.requests)
    return (
        f"{side}, {clock(cell.start)}, canary at {cell.split}: {rate} failed, "
        f"{wording.number(counts.errors)} of {wording.number(counts.requests)} requests"
    )


def harm_plot(run: Run, points: Sequence[Point], width: float) -> Element:
    """Evidence of harm with the bounds at which the weight may not rise and at which it is rolled back."""
    evidence = bounds_of(run)
    bounds = [
        (evidence.hold_bound, f"holds at {evidence.hold_bound:g}"),
        (evidence.harm_bound, f"rolls back at {evidence.harm_bound:g}"),
    ]
    series = [[(point.at, point.harm) for point in points]]
    return _evidence_plot(run, "Evidence of harm", bounds, series, "harm", width)


def proof_plot(run: Run, points: Sequence[Point], width: float) -> Element:
    """Evidence of no harm with its bound; it begins anew with each weight, and so does its line."""
    evidence = bounds_of(run)
    pieces: list[list[tuple[float, float]]] = []
    former = None
    compared = {segment.index for segment in run.segments if segment.split != EVERYTHING}
    for point in points:
        if point.segment not in compared:
            continue
        if point.segment != former:
            pieces.append([])
            former = point.segment
        pieces[-1].append((point.at, point.proof))
    bounds = [(evidence.proof_bound, f"proven at {evidence.proof_bound:g}")]
    return _evidence_plot(run, "Evidence of no harm", bounds, pieces, "proof", width)


def _evidence_plot(
    run: Run,
    title: str,
    bounds: list[tuple[float, str]],
    pieces: list[list[tuple[float, float]]],
    kind: str,
    width: float,
) -> Element:
    panel = Panel(width, 190, *span(run))
    values = [_within(value) for piece in pieces for _, value in piece]
    low = _decade(min([0.1, *values]), math.floor)
    high = _decade(max([*(bound * 3 for bound, _ in bounds), *values]), math.ceil)
    last = f"Last: {wording.evidence(values[-1])}." if values else "Nothing was judged."
    picture = _picture(panel, f"{title} over time, logarithmic", f"{last} Bounds: {', '.join(w for _, w in bounds)}.")

    def height(value: float) -> float:
        return (math.log10(_within(value)) - low) / (high - low)

    every = 2 if high - low > 4 else 1
    append(picture, *_levels(panel, [(height(10.0**n), f"{10.0**n:,g}") for n in range(low, high + 1, every)]))
    for bound, words in bounds:
        y = panel.y(height(bound))
        append(
            picture,
            tag("line", x1=LEFT, x2=panel.width - RIGHT, y1=y, y2=y, class_="bound"),
            tag("text", words, x=LEFT + 4, y=y - 4, class_="label"),
        )
    for piece in pieces:
        line = " ".join(f"{panel.x(at):.1f},{panel.y(height(value)):.1f}" for at, value in piece)
        append(picture, tag("polyline", points=line, class_=f"line {kind}"))
        if len(values) <= DOTTED:
            append(picture, *(_evidence_dot(panel, at, value, height(value), kind) for at, value in piece))
    return append(picture, *_retreat(panel, run), *_time(panel))


def _evidence_dot(panel: Panel, at: float, value: float, share: float, kind: str) -> Element:
    words = tag("title", f"{clock(at)}: {wording.evidence(value)}")
    return tag("circle", words, cx=panel.x(at), cy=panel.y(share), r=2, class_=f"dot {kind}")


def _within(value: float) -> float:
    return min(MOST, max(LEAST, value))


def _decade(value: float, rounding: Callable[[float], int]) -> int:
    return rounding(math.log10(_within(value)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Requests that did not fail by duration, of both sides in one segment: per bucket, not cumulative."""

    split: str
    bounds_ms: tuple[float, ...]
    stable: tuple[float, ...]
    canary: tuple[float, ...]


def last_histogram(run: Run) -> Histogram | None:
    """
    The latencies of the last segment in which both sides were sent requests, under its last bucket bounds.

    Just after a change to 0 or 100 % the other side still answers what was on its way: that is no comparison.
    """
    compared = [cell for cell in measured(run) if cell.split not in (NOTHING, EVERYTHING)]
    useful = [cell for cell in compared if sum(cell.stable.buckets) and sum(cell.canary.buckets)]
    if not useful:
        return None
    last = useful[-1]
    same = [cell for cell in useful if cell.segment == last.segment and cell.bounds_ms == last.bounds_ms]
    return Histogram(
        str(last.split),
        last.bounds_ms,
        _total(cell.stable.buckets for cell in same),
        _total(cell.canary.buckets for cell in same),
    )


def _total(buckets: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) for column in zip(*buckets, strict=True))


def latency_plot(histogram: Histogram, width: float) -> Element:
    """Both sides' latencies, a row for each bucket; empty buckets at both ends are left out."""
    shares = [
        (stable / sum(histogram.stable), canary / sum(histogram.canary))
        for stable, canary in zip(histogram.stable, histogram.canary, strict=True)
    ]
    filled = [place for place, pair in enumerate(shares) if any(pair)]
    rows = range(filled[0], filled[-1] + 1)
    row, margin, right = 34.0, 132.0, 60.0
    panel = Panel(width, TOP + row * len(rows) + 8, 0, 1)
    picture = _picture(
        panel,
        f"Latency of both sides at {histogram.split}",
        "Share of the requests that did not fail, by duration; the table of figures is in the titles of the bars.",
    )
    longest = max(max(pair) for pair in shares)
    for place, bucket in enumerate(rows):
        y = TOP + place * row
        append(picture, tag("text", _bucket(histogram.bounds_ms, bucket), x=margin - 10, y=y + 17, class_="label end"))
        for offset, side, share in ((0, "stable", shares[bucket][0]), (13, "canary", shares[bucket][1])):
            length = share / longest * (width - margin - right)
            words = f"{side}, {_bucket(histogram.bounds_ms, bucket)}: {wording.percent(share, 1)}"
            append(
                picture,
                tag("rect", tag("title", words), x=margin, y=y + offset, width=length, height=11, class_=f"bar {side}"),
                tag("text", wording.percent(share, 1), x=margin + length + 6, y=y + offset + 9.5, class_="label small"),
            )
    return picture


def _bucket(bounds: tuple[float, ...], place: int) -> str:
    if place == len(bounds):
        return f"over {wording.duration(bounds[-1])}" if bounds else "all"
    if place == 0:
        return f"up to {wording.duration(bounds[0])}"
    return f"{wording.duration(bounds[place - 1])} – {wording.duration(bounds[place])}"


def _picture(panel: Panel, title: str, description: str) -> Element:
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {panel.width:g} {panel.height:g}",
        role="img",
    )


def _levels(panel: Panel, levels: list[tuple[float, str]]) -> list[Element]:
    """Horizontal lines with their values."""
    drawn = []
    for share, words in levels:
        y = panel.y(share)
        drawn += [
            tag("line", x1=LEFT, x2=panel.width - RIGHT, y1=y, y2=y, class_="grid"),
            tag("text", words, x=LEFT - 6, y=y + 4, class_="label end"),
        ]
    return drawn


def _time(panel: Panel) -> list[Element]:
    """The time axis: minutes since the run began."""
    seconds = panel.end - panel.begin
    wanted = seconds / (9 if panel.width > NARROW else 4)
    step = next((nice for nice in _STEPS if nice >= wanted), _STEPS[-1])
    y = panel.y(0)
    drawn = [tag("line", x1=LEFT, x2=panel.width - RIGHT, y1=y, y2=y, class_="axis")]
    for count in range(math.floor(seconds / step) + 1):
        x = panel.x(panel.begin + count * step)
        drawn += [
            tag("line", x1=x, x2=x, y1=y, y2=y + 4, class_="axis"),
            tag("text", elapsed(count * step) if count else "0", x=x, y=y + 18, class_="label middle"),
        ]
    return drawn


def _retreat(panel: Panel, run: Run) -> list[Element]:
    """The moment at which it was decided to roll back."""
    if run.latch is None:
        return []
    x = panel.x(run.latch.at)
    side = "end" if x > panel.width / 2 else "start"
    return [
        tag("line", x1=x, x2=x, y1=TOP - 8, y2=panel.y(0), class_="retreat"),
        tag("text", "rollback decided", x=x + (-5 if side == "end" else 5), y=TOP - 9, class_=f"label {side}"),
    ]


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten, at most 1."""
    power = 10.0 ** math.floor(math.log10(value))
    return min(1.0, next(power * nice for nice in (1, 2, 5, 10) if value <= power * nice * (1 + 1e-9)))

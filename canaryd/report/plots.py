"""
The report's pictures, as SVG that needs no script.

Each is drawn twice, wide and narrow, and the page shows the one that fits: an SVG that is merely scaled to a telephone
has letters that nobody can read. A side is told apart by its line's dashes as well as by its colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

from canaryd.judge import wording
from canaryd.report.document import Curves, Document, Histogram, Missing, weight_words
from canaryd.report.markup import append, tag
from canaryd.report.outlook import clock, elapsed
from canaryd.report.series import Rate

WIDE, NARROW = 980.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 24.0, 22.0, 30.0
LEAST, MOST = 0.01, 1e6
"""Ends of the evidence's scale: below and above them nothing follows from the number any more."""
DOTTED = 150
"""Points up to which each has a dot with its figures; more of them would only be a thick line, and a heavy file."""
ROOM = 1.6
"""How much higher than the highest share a plot of shares is, at least."""
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


def _panel(curves: Curves, width: float, height: float) -> Panel:
    return Panel(width, height, curves.begin, curves.end)


def split_plot(document: Document, width: float) -> Element:
    """The share wanted for the canary over time, and what callers counted there."""
    curves = document.curves
    panel = _panel(curves, width, 190)
    seen = [(one.start, one.end, one.observed) for one in curves.stretches if one.observed]
    highest = max([*(shift.weight / 100 for shift in curves.wanted), *(rate.share for _, _, rate in seen)], default=0.0)
    top = next(nice for nice in (0.01, 0.05, 0.1, 0.25, 0.5, 1.0) if highest <= nice or nice == 1.0)
    picture = _picture(panel, "Share of traffic for the canary, wanted and observed", _split_words(document))
    append(picture, *_levels(panel, [(share / top, wording.share(share)) for share in (0.0, top / 2, top)]))
    corners = [(panel.begin, 0.0)]
    for shift in curves.wanted:
        corners += [(shift.at, corners[-1][1]), (shift.at, shift.weight / 100 / top)]
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
    for start, end, rate in seen:
        x = panel.x((start + end) / 2)
        words = tag("title", f"observed, {clock(start)}: {_rate_words(rate, 'to the canary')}")
        append(
            picture,
            tag("line", x1=x, x2=x, y1=panel.y(rate.low / top), y2=panel.y(rate.high / top), class_="whisker"),
            tag("circle", words, cx=x, cy=panel.y(rate.share / top), r=3, class_="dot observed"),
        )
    return append(picture, *_retreat(panel, curves), *_time(panel))


def _split_words(document: Document) -> str:
    wanted = document.curves.wanted
    lasting = [one for one, after in pairwise((*wanted, None)) if one and (after is None or after.at - one.at >= 1)]
    steps = "; ".join(f"{weight_words(one.weight)} from {clock(one.at)}" for one in lasting)
    words = f"The canary's share as it was wanted: {steps or 'no traffic was shifted'}."
    last = next((one for one in reversed(document.curves.stretches) if one.observed and one.wanted.canary), None)
    if last is None or last.observed is None:
        return words
    return f"{words} Observed last, at {last.wanted}: {_rate_words(last.observed, 'to the canary')}."


def _rate_words(rate: Rate, what: str) -> str:
    low, high = wording.percent(rate.low, 1).removesuffix(" %"), wording.percent(rate.high, 1)
    return (
        f"{wording.percent(rate.count, rate.total)} {what} ({low} to {high}), "
        f"{wording.number(rate.count)} of {wording.number(rate.total)} requests"
    )


@dataclass(frozen=True, slots=True)
class _Spot:
    """A side's rate in the time from ``start`` to ``end``; None where it had no requests."""

    segment: int
    start: float
    end: float
    rate: Rate | None


def errors_plot(document: Document, width: float) -> Element:
    """Error rates of both sides over time with their bands; cells without data are shaded."""
    found = document.curves.stretches
    return _rates_plot(
        document,
        "Share of failed requests",
        "failed",
        [_Spot(one.segment, one.start, one.end, one.stable) for one in found],
        [_Spot(one.segment, one.start, one.end, one.canary) for one in found],
        width,
    )


def slow_plot(document: Document, place: int, width: float) -> Element:
    """The same of requests that took longer than the bound of ``curves.slow[place]``."""
    slow = document.curves.slow[place]
    bound = wording.duration(slow.bound_ms)
    return _rates_plot(
        document,
        f"Share of requests slower than {bound}",
        f"slower than {bound}",
        [_Spot(one.segment, one.start, one.end, one.stable) for one in slow.stretches],
        [_Spot(one.segment, one.start, one.end, one.canary) for one in slow.stretches],
        width,
    )


def _rates_plot(
    document: Document, title: str, what: str, stable: Sequence[_Spot], canary: Sequence[_Spot], width: float
) -> Element:
    curves = document.curves
    panel = _panel(curves, width, 230)
    rates = [spot.rate for spot in (*stable, *canary) if spot.rate]
    top = _nice(_top(rates))
    picture = _picture(panel, title, _rates_words(what, stable, canary))
    append(picture, *_levels(panel, [(part, wording.share(part * top)) for part in (0, 0.5, 1)]))
    append(picture, *(_gap(panel, gap) for gap in curves.missing))
    for side, spots in (("stable", stable), ("canary", canary)):
        append(picture, *_bands(panel, spots, side, top))
    for side, spots in (("stable", stable), ("canary", canary)):
        append(picture, *_lines(panel, spots, side, top, what))
    return append(picture, *_retreat(panel, curves), *_time(panel))


def _top(rates: Sequence[Rate]) -> float:
    """The highest share that is to be seen: all points, and of the bands those that are not the widest."""
    if not rates:
        return 0.001
    usual = sorted(rate.high for rate in rates)[len(rates) // 2]
    return max(0.0001, usual, ROOM * max(rate.share for rate in rates))


def _rates_words(what: str, stable: Sequence[_Spot], canary: Sequence[_Spot]) -> str:
    told = []
    for side, spots in (("stable", stable), ("canary", canary)):
        rates = [spot.rate for spot in spots if spot.rate]
        count, total = math.fsum(rate.count for rate in rates), math.fsum(rate.total for rate in rates)
        told.append(f"{side} {wording.percent(count, total)} {what} of {wording.number(total)} requests")
    return f"Over the whole run: {', '.join(told)}."


def _gap(panel: Panel, gap: Missing) -> Element:
    x, to = panel.x(gap.start), panel.x(gap.end)
    words = tag("title", f"No data from {clock(gap.start)} to {clock(gap.end)}: {gap.why}")
    return tag("rect", words, x=x, y=panel.y(1), width=to - x, height=panel.y(0) - panel.y(1), class_="gap")


def _pieces(spots: Sequence[_Spot]) -> Iterator[list[tuple[float, Rate]]]:
    """What belongs together: a line is broken where there is no data."""
    piece: list[tuple[float, Rate]] = []
    ended = None
    for spot in spots:
        if piece and (spot.rate is None or (ended is not None and spot.start - ended > spot.end - spot.start)):
            yield piece
            piece = []
        if spot.rate:
            piece.append(((spot.start + spot.end) / 2, spot.rate))
        ended = spot.end
    if piece:
        yield piece


def _bands(panel: Panel, spots: Sequence[_Spot], side: str, top: float) -> Iterator[Element]:
    for piece in _pieces(spots):
        upper = [f"{panel.x(at):.1f},{panel.y(rate.high / top):.1f}" for at, rate in piece]
        lower = [f"{panel.x(at):.1f},{panel.y(rate.low / top):.1f}" for at, rate in reversed(piece)]
        yield tag("polygon", points=" ".join((*upper, *lower)), class_=f"band {side}")


def _lines(panel: Panel, spots: Sequence[_Spot], side: str, top: float, what: str) -> Iterator[Element]:
    """One side's line, and a dot with its figures for each point."""
    for piece in _pieces(spots):
        points = " ".join(f"{panel.x(at):.1f},{panel.y(rate.share / top):.1f}" for at, rate in piece)
        yield tag("polyline", points=points, class_=f"line {side}")
    for spot in spots if len(spots) <= DOTTED else ():
        if spot.rate:
            x, y = panel.x((spot.start + spot.end) / 2), panel.y(spot.rate.share / top)
            words = tag("title", f"{side}, {clock(spot.start)}: {_rate_words(spot.rate, what)}")
            yield tag("circle", words, cx=x, cy=y, r=2.5, class_=f"dot {side}")


def harm_plot(document: Document, width: float) -> Element:
    """Evidence of harm with the bounds at which the weight may not rise and at which it is rolled back."""
    of = document.curves.bounds
    bounds = [(of.hold, f"holds at {of.hold:g}"), (of.harm, f"rolls back at {of.harm:g}")]
    pieces = [[(point.at, point.harm) for point in document.curves.evidence]]
    return _evidence_plot(document.curves, "Evidence of harm", bounds, pieces, "harm", width)


def proof_plot(document: Document, width: float) -> Element:
    """Evidence of no harm with its bound; it begins anew with each weight, and so does its line."""
    curves = document.curves
    pieces: list[list[tuple[float, float]]] = []
    former = None
    for point in curves.evidence:
        if point.segment not in curves.proof_segments:
            continue
        if point.segment != former:
            pieces.append([])
            former = point.segment
        pieces[-1].append((point.at, point.proof))
    bounds = [(curves.bounds.proof, f"proven at {curves.bounds.proof:g}")]
    return _evidence_plot(curves, "Evidence of no harm", bounds, pieces, "proof", width)


def _evidence_plot(
    curves: Curves,
    title: str,
    bounds: list[tuple[float, str]],
    pieces: list[list[tuple[float, float]]],
    kind: str,
    width: float,
) -> Element:
    panel = _panel(curves, width, 190)
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
    return append(picture, *_retreat(panel, curves), *_time(panel))


def _evidence_dot(panel: Panel, at: float, value: float, share: float, kind: str) -> Element:
    words = tag("title", f"{clock(at)}: {wording.evidence(value)}")
    return tag("circle", words, cx=panel.x(at), cy=panel.y(share), r=2, class_=f"dot {kind}")


def _within(value: float) -> float:
    return min(MOST, max(LEAST, value))


def _decade(value: float, rounding: Callable[[float], int]) -> int:
    return rounding(math.log10(_within(value)))


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
        f"Latency of both sides at {weight_words(histogram.weight)}",
        _durations(histogram, shares, rows),
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


def _durations(histogram: Histogram, shares: Sequence[tuple[float, float]], rows: range) -> str:
    """The bars in words."""
    told = (
        f"{_bucket(histogram.bounds_ms, row)}: stable {wording.percent(shares[row][0], 1)}, "
        f"canary {wording.percent(shares[row][1], 1)}"
        for row in rows
    )
    return f"Share of the requests that did not fail, by duration. {'; '.join(told)}."


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


def _retreat(panel: Panel, curves: Curves) -> list[Element]:
    """The moment at which it was decided to roll back."""
    if curves.rollback is None:
        return []
    x = panel.x(curves.rollback)
    side = "end" if x > panel.width / 2 else "start"
    return [
        tag("line", x1=x, x2=x, y1=TOP - 8, y2=panel.y(0), class_="retreat"),
        tag("text", "rollback decided", x=x + (-5 if side == "end" else 5), y=TOP - 9, class_=f"label {side}"),
    ]


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten, at most 1."""
    power = 10.0 ** math.floor(math.log10(value))
    return min(1.0, next(power * nice for nice in (1, 2, 5, 10) if value <= power * nice * (1 + 1e-9)))

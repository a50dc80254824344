"""
The report of a run: one file that needs nothing else, no network and no script, in light and in dark.

It shows the journal and the run as they are; a run without a journal still has a report, with fewer reasons in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

import yaml

from canaryd.judge import wording
from canaryd.model.cells import Cell, Segment
from canaryd.model.decision import Told
from canaryd.model.evidence import Evidence
from canaryd.model.run import Outcome, Run
from canaryd.model.traffic import EVERYTHING, NOTHING
from canaryd.report import plots
from canaryd.report.markup import Child, rendered, tag
from canaryd.report.outlook import clock, elapsed, follows, moment, standing
from canaryd.report.series import Point, evidence_over_time, last_word
from canaryd.report.style import STYLE
from canaryd.report.summary import Summary, summary

Entry = Mapping[str, Any]

VERDICTS = (
    Told.PASSED,
    Told.PROMOTING,
    Told.RETURNING,
    Told.PROMOTED,
    Told.ROLLING_BACK,
    Told.RESTARTED,
    Told.BROUGHT_DOWN,
    Told.DRIFTED,
    Told.STABLE_CHANGED,
    Told.ROLLED_BACK,
)
"""Events that say why a segment ended, what matters most first."""


def html(run: Run, journal: Sequence[Entry]) -> str:
    """The report of ``run`` with what its ``journal`` holds (oldest first), as the text of one HTML file."""
    points = evidence_over_time(run, journal)
    title = f"{run.plan.name} {run.plan.spec.release}: {standing(run)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} – canaryd"),
        tag("style", STYLE),
    )
    body = tag(
        "main",
        _headline(run, title),
        _figures(run, summary(run)),
        _traffic(run),
        _evidence(run, points),
        _checks(run),
        _latency(run),
        _steps(run, journal),
        _events(journal),
        _findings(run),
        _plan(run),
    )
    return rendered(tag("html", head, tag("body", body), lang="en"))


def _headline(run: Run, title: str) -> Element:
    if run.final:
        sentence, label = run.reason, "good" if run.outcome is Outcome.PROMOTED else "bad"
    else:
        sentence, label = run.waiting or "begun", "open"
    sign = {"good": "✓", "bad": "✗", "open": "…"}[label]
    return tag(
        "header",
        tag("h1", tag("span", sign, class_="sign", aria_hidden="true"), " ", title),
        tag("p", sentence, class_="reason"),
        None if run.final else tag("p", follows(run), class_="quiet"),
        class_=label,
    )


def _figures(run: Run, figures: Summary) -> Element:
    """The facts in one list."""
    ended = "still going on" if run.ended is None else f"{moment(run.ended)}, after {elapsed(run.ended - run.created)}"
    rows: list[tuple[str, str]] = [
        ("Plan", f"{run.plan}, digest {run.plan.digest}"),
        ("Run", run.uid),
        ("Moved", f"{run.route}: {', '.join(str(entry) for entry in run.route.entries)}"),
        ("Versions", f"stable {run.route.stable}, canary {run.route.canary}"),
        ("Began", moment(run.created)),
        ("Ended", ended),
        ("Weights reached", ", ".join(str(weight) for weight in figures.weights) or "none"),
        ("Requests, stable", f"{_served(figures.stable.requests, figures.stable.errors)}"),
        ("Requests, canary", f"{_served(figures.canary.requests, figures.canary.errors)}"),
    ]
    if figures.unattributed:
        rows.append(("Unattributed", f"{wording.number(figures.unattributed)} failures that reached neither version"))
    if run.harmed_so_far:
        rows.append(("Harmed", run.harmed_so_far.partition(": ")[2]))
    rows += _detection(figures)
    if run.unproven:
        rows.append(("Promoted without proof", run.unproven))
    listed: list[Child] = []
    for name, value in rows:
        listed += [tag("dt", name), tag("dd", value)]
    return tag("dl", *listed)


def _served(requests: float, errors: float) -> str:
    return f"{wording.number(requests)}, failed {wording.number(errors)} ({wording.percent(errors, requests)})"


def _detection(figures: Summary) -> list[tuple[str, str]]:
    found = figures.detection
    if found is None:
        return []
    parts = []
    if found.suspected is not None:
        parts.append(f"suspected after {elapsed(found.suspected - found.exposed)}")
    parts.append(f"rollback decided after {elapsed(found.decided - found.exposed)}")
    if found.seconds is not None:
        parts.append(f"canary at 0 % after {elapsed(found.seconds)}")
    return [("Detection", f"{', '.join(parts)}, counted from the canary's first request")]


def _section(title: str, *children: Child | None) -> Element:
    return tag("section", tag("h2", title), *children)


def _key(*sides: tuple[str, str]) -> Element:
    parts: list[Child] = []
    for kind, words in sides:
        mark = tag("line", x1=0, x2=26, y1=5, y2=5, class_=f"line {kind}")
        sign = tag("svg", mark, viewBox="0 0 26 10", width=26, height=10, aria_hidden="true")
        parts.append(tag("span", sign, " ", words))
    return tag("p", *parts, class_="key")


_SIDES = (("stable", "stable"), ("canary", "canary"))


def _traffic(run: Run) -> Element:
    return _section(
        "Traffic and errors",
        tag("h3", "Share of traffic wanted for the canary"),
        *plots.both_widths(lambda width: plots.split_plot(run, width)),
        tag("h3", "Share of failed requests, cell by cell"),
        _key(*_SIDES),
        *plots.both_widths(lambda width: plots.errors_plot(run, width)),
        tag("p", f"Time since {moment(plots.span(run)[0])}. Shaded: cells without data.", class_="quiet"),
    )


def _evidence(run: Run, points: Sequence[Point]) -> Element:
    analysis = run.plan.spec.analysis
    harm = (
        f"How strongly the measurements speak for harm, as a betting capital that starts at 1. A canary within its "
        f"tolerance reaches {1 / analysis.alpha:g} in at most {wording.share(analysis.alpha)} of all runs."
    )
    proof = (
        f"The same against the claim that the canary is worse than the margin. It begins anew with each weight; "
        f"promotion needs {1 / analysis.beta:g} at the last one."
    )
    return _section(
        "Evidence",
        tag("h3", "Of harm"),
        tag("p", harm, class_="quiet"),
        *plots.both_widths(lambda width: plots.harm_plot(run, points, width)),
        tag("h3", "Of no harm"),
        tag("p", proof, class_="quiet"),
        *plots.both_widths(lambda width: plots.proof_plot(run, points, width)),
    )


def _checks(run: Run) -> Element | None:
    evidence = last_word(run)
    if evidence is None:
        return None
    rows = [
        (
            reading.check,
            reading.stable,
            reading.canary,
            wording.evidence(reading.harm)
            + (f" of {wording.evidence(reading.harm_bound)}" if reading.harm_bound else ""),
            f"{wording.evidence(reading.proof)} of {reading.proof_bound:g}" if reading.proof_bound else "–",
            reading.sentence,
        )
        for reading in evidence.readings
    ]
    traffic = "; ".join(words for words in (evidence.share, evidence.notes) if words)
    return _section(
        _checks_title(run, evidence),
        _table(("check", "stable", "canary", "evidence of harm", "evidence of no harm"), rows),
        tag("p", f"Traffic: {traffic}.", class_="quiet") if traffic else None,
    )


def _checks_title(run: Run, evidence: Evidence) -> str:
    split = next((segment.split for segment in run.segments if segment.index == evidence.segment), None)
    return "Checks" if split is None else f"Checks at {split}"


def _latency(run: Run) -> Element | None:
    histogram = plots.last_histogram(run)
    if histogram is None:
        return None
    words = (
        f"Requests that did not fail at {histogram.split}, the last weight at which both versions answered: "
        f"stable {wording.number(sum(histogram.stable))}, canary {wording.number(sum(histogram.canary))}."
    )
    return _section(
        "Latency",
        tag("p", words, class_="quiet"),
        tag(
            "p",
            tag("span", tag("span", "", class_="swatch stable"), " stable"),
            tag("span", tag("span", "", class_="swatch canary"), " canary"),
            class_="key",
        ),
        *plots.both_widths(lambda width: plots.latency_plot(histogram, width)),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """One event of the journal, at Unix time ``at``; ``split`` is what was wanted after it."""

    at: float
    name: str
    reason: str
    split: float


def _told(journal: Iterable[Entry]) -> list[_Told]:
    return [
        _Told(float(entry["at"]), str(name), str(reason), float(entry.get("split", 0)))
        for entry in journal
        for name, reason in entry.get("events") or ()
    ]


def _steps(run: Run, journal: Iterable[Entry]) -> Element:
    """A row for each stretch under one split."""
    told = _told(journal)
    rows = []
    for segment, after in pairwise((*run.segments, None)):
        if segment is None or (
            segment.split == NOTHING and not segment.matched and after is not None and not _cells(run, segment)
        ):
            continue
        cells = _cells(run, segment)
        data = [cell for cell in cells if isinstance(cell, Cell)]
        settled = sum(cell.settled for cell in data)
        gaps = len(cells) - len(data)
        rows.append(
            (
                clock(segment.origin).removesuffix(" UTC"),
                ("match" if segment.matched else f"{segment.split}")
                + ("" if segment.ours else ", set by somebody else"),
                f"{settled} settled of {len(data)}" + (f", {gaps} without data" if gaps else ""),
                wording.number(sum(cell.stable.requests for cell in data)),
                _failed((cell.stable.errors, cell.stable.requests) for cell in data),
                wording.number(sum(cell.canary.requests for cell in data)),
                _failed((cell.canary.errors, cell.canary.requests) for cell in data),
                _verdict(run, segment, after, told),
            )
        )
    headings = (
        "from (UTC)",
        "canary",
        "cells",
        "stable requests",
        "stable failed",
        "canary requests",
        "canary failed",
    )
    return _section("Steps", _table(headings, rows))


def _cells(run: Run, segment: Segment) -> list[Any]:
    return [cell for cell in run.cells if cell.segment == segment.index]


def _failed(counts: Iterable[tuple[float, float]]) -> str:
    pairs = tuple(counts)
    errors, requests = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return f"{wording.number(errors)} ({wording.percent(errors, requests)})" if requests else "–"


def _verdict(run: Run, segment: Segment, after: Segment | None, told: Sequence[_Told]) -> str:
    """Why the segment ended, in the words of who ended it; of the open one, what the run waits for."""
    if after is None:
        if run.final:
            return standing(run)
        return run.waiting
    here = [event for event in told if segment.origin < event.at <= after.origin]
    for verdict in VERDICTS:
        for event in reversed(here):
            if event.name == verdict.value:
                return event.reason
    if run.latch and segment.origin < run.latch.at <= after.origin:
        return run.latch.reason
    if after.split == EVERYTHING:
        return run.reason
    return "passed" if after.split > segment.split and after.ours else "–"


def _events(journal: Sequence[Entry]) -> Element:
    told = _told(journal)
    if not told:
        return _section("Events", tag("p", "The journal holds none.", class_="quiet"))
    rows = [(moment(event.at).removesuffix(" UTC"), event.name, event.reason) for event in told]
    return _section("Events", _table(("when (UTC)", "event", "reason"), rows))


def _findings(run: Run) -> Element | None:
    """What preflight found before the run began, and did not stop it."""
    rows = [(one.level, one.code, one.where, one.sentence) for one in run.findings]
    return _section("Found before it began", _table(("Level", "Code", "Where"), rows)) if rows else None


def _plan(run: Run) -> Element:
    text = yaml.safe_dump(run.plan.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)
    return _section(
        "Plan", tag("details", tag("summary", "The plan as the run holds it, defaults included"), tag("pre", text))
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Element:
    """
    A table with a row for each of ``rows``.

    A row with one value more than there are headings ends in a sentence, which gets the whole width below. On a narrow
    screen each row becomes a list; ``data-label`` is what the style then writes before a value.
    """
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    bodies = []
    for row in rows:
        cells = [tag("td", value, data_label=heading) for heading, value in zip(headings, row, strict=False)]
        sentence = "".join(row[len(headings) :])
        below = tag("tr", tag("td", sentence, colspan=len(headings)), class_="words") if sentence else None
        bodies.append(tag("tbody", tag("tr", *cells), below))
    return tag("table", tag("thead", head), *bodies)

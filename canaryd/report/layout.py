"""
A report as a person reads it, top to bottom: sections of paragraphs, tables and pictures.

HTML and Markdown render the same blocks; only how a block looks is theirs. The first screen is for who releases, the
rest for who checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import yaml

from canaryd.judge import wording
from canaryd.model.links import Link
from canaryd.model.measuring import Query
from canaryd.report import plots
from canaryd.report.decisions import OURSELVES, EvidenceThen, Taken, unlike_the_former
from canaryd.report.document import Document, OneSide, Stage, figures_of, weight_words
from canaryd.report.outlook import clock, elapsed, moment


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph; ``quiet`` where it explains rather than tells."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """(name, value) by (name, value)."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table with a row for each of ``rows``.

    A row with one value more than there are headings ends in a sentence, which gets the whole width below. One with few
    and short columns is ``narrow``: it stays a table on a telephone.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """What the lines of the next picture mean: (kind of line, words)."""

    sides: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot; ``draw`` gives it in a width, and its description says in words what is to be seen."""

    draw: Callable[[float], Element]


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses to open."""

    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Text as it is, to copy."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A part of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown when somebody opens them."""

    summary: str
    blocks: tuple[Block, ...]


Block = Words | Facts | Table | Key | Picture | Links | Code | Heading | Folded


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


SIDES = (("stable", "stable"), ("canary", "canary"))
BANDS = "The bands hold the true share with a confidence of 95 % (Wilson's interval, each point for itself)."


def sections(document: Document) -> tuple[Section, ...]:
    """Everything below the headline, in order; what there is nothing of is left out."""
    found = (
        Section("At a glance", (_facts(document),)),
        Section("Timeline", _timeline(document)),
        Section("Traffic", _traffic(document)),
        Section("Errors", _errors(document)),
        Section("Latency", tuple(_latency(document))),
        Section("Evidence", _evidence(document)),
        Section(_checks_title(document), _last_checks(document)),
        Section("Weight by weight", _stages(document)),
        Section("Look closer", (Links(document.links),) if document.links else ()),
        Section("Example traces", (Links(document.traces),) if document.traces else ()),
        Section("What people, webhooks and alerts said", _answers(document)),
        Section("Decisions", tuple(_decisions(document))),
        Section("Found before it began", _findings(document)),
        Section("Queries", tuple(_queries(document.queries, document))),
        Section("Plan", _plan(document)),
    )
    return tuple(one for one in found if one.blocks)


def _facts(document: Document) -> Facts:
    released, cost = document.released, document.cost
    rows = [
        ("Release", f"{released.release} of {released.namespace}/{released.plan}"),
        ("Began", moment(document.began)),
        ("Ended", _ended(document)),
        ("Weights reached", ", ".join(map(weight_words, document.weights)) or "none"),
        ("Requests, stable", figures_of(cost.stable)),
        ("Requests, canary", figures_of(cost.canary)),
    ]
    if cost.unattributed:
        rows.append(("Unattributed", f"{wording.number(cost.unattributed)} failures that reached neither version"))
    rows.append(("Harmed", cost.sentence or "no request failed at the canary beyond stable's rate"))
    if document.detection:
        suspected = document.detection.suspected is not None
        rows.append(("Detection" if suspected else "Rollback", document.detection.sentence))
    if document.unproven:
        rows.append(("Promoted without proof", document.unproven))
    rows += [
        ("Moved", f"{released.moved}: {', '.join(released.entries)}"),
        ("Stable", _side(released.stable)),
        ("Canary", _side(released.canary)),
        ("Run", f"{document.run}, plan digest {released.digest}"),
    ]
    return Facts(tuple(rows))


def _ended(document: Document) -> str:
    if document.ended is None:
        return "still going on"
    return f"{moment(document.ended)}, after {elapsed(document.ended - document.began)}"


def _side(side: OneSide) -> str:
    pinned = [*side.workloads, *(f"pod-template-hash {one}" for one in side.pod_template_hashes)]
    return f"{side.name} ({', '.join(pinned)})" if pinned else side.name


def _timeline(document: Document) -> tuple[Block, ...]:
    rows = tuple(
        (
            clock(one.at).removesuffix(" UTC"),
            elapsed(one.after) if one.after >= 1 else "0",
            weight_words(one.weight),
            one.what if one.actor in ("", OURSELVES) else f"{one.what}, by {one.actor}",
            str(one.decision),
        )
        for one in document.timeline
    )
    table = Table(("UTC", "after", "canary", "what happened", "decision"), rows, narrow=True)
    return (table,) if rows else (Words("Nothing has happened yet.", quiet=True),)


def _traffic(document: Document) -> tuple[Block, ...]:
    words = (
        "The line is the share wanted for the canary, the dots the share that callers counted there, with the band of "
        f"each. {BANDS}"
    )
    return (
        Key((("canary", "wanted"), ("observed", "observed"))),
        Picture(lambda width: plots.split_plot(document, width)),
        Words(f"{words} {_axis(document)}", quiet=True),
    )


def _axis(document: Document) -> str:
    most = max((one.cells for one in document.curves.stretches), default=1)
    each = "" if most == 1 else f" A point is of up to {most} cells in a row."
    return f"Time since {moment(document.curves.begin)}.{each}"


def _errors(document: Document) -> tuple[Block, ...]:
    return (
        Key(SIDES),
        Picture(lambda width: plots.errors_plot(document, width)),
        Words(f"Failed requests among all, as callers counted them. Shaded: no data. {BANDS}", quiet=True),
    )


def _latency(document: Document) -> Iterator[Block]:
    for number, one in enumerate(document.curves.slow):
        bound = wording.duration(one.bound_ms)
        yield Heading(f"Requests slower than {bound}, over time")
        yield Key(SIDES)
        yield Picture(lambda width, place=number: plots.slow_plot(document, place, width))  # type: ignore[misc]
        yield Words(
            f"Of the requests that did not fail, those that took longer than {bound}: {one.why}. "
            f"Asked by {' and '.join(one.checks)}. {BANDS}",
            quiet=True,
        )
    if document.latencies_since is not None:
        kept = "" if document.source == "journal" else (
            " A cluster keeps those of the newest cells, and the controller's journal all of them."
        )  # fmt: skip
        yield Words(f"Latencies are known from {moment(document.latencies_since)}.{kept}", quiet=True)
    histogram = document.curves.histogram
    if histogram is None:
        return
    weight = weight_words(histogram.weight)
    yield Heading(f"Durations at {weight}")
    yield Key((("bar stable", "stable"), ("bar canary", "canary")))
    yield Picture(lambda width: plots.latency_plot(histogram, width))
    yield Words(
        f"Requests that did not fail at {weight}, the last weight at which both versions answered: "
        f"stable {wording.number(sum(histogram.stable))}, canary {wording.number(sum(histogram.canary))}.",
        quiet=True,
    )


def _evidence(document: Document) -> tuple[Block, ...]:
    bounds = document.curves.bounds
    harm = (
        f"How strongly the measurements speak for harm, as a betting capital that starts at 1. A canary within its "
        f"tolerance reaches {bounds.harm:g} in at most {wording.share(bounds.alpha)} of all runs."
    )
    proof = (
        f"The same against the claim that the canary is worse than the margin. It begins anew with each weight; "
        f"promotion needs {bounds.proof:g} at the last one."
    )
    return (
        Heading("Of harm"),
        Picture(lambda width: plots.harm_plot(document, width)),
        Words(harm, quiet=True),
        Heading("Of no harm"),
        Picture(lambda width: plots.proof_plot(document, width)),
        Words(proof, quiet=True),
    )


def _checks_title(document: Document) -> str:
    last = document.last_evidence
    return "Checks" if last is None else f"Checks at {weight_words(last.weight)}"


def _last_checks(document: Document) -> tuple[Block, ...]:
    last = document.last_evidence
    if last is None:
        return ()
    words = Words(f"Traffic: {last.share}.", quiet=True)
    return (checks_table(last, sentences=True), words) if last.share else (checks_table(last, sentences=True),)


def checks_table(evidence: EvidenceThen, *, sentences: bool) -> Table:
    """A row for each check: what both sides did, on how many requests, and the evidence beside its bounds."""
    queries = any(one.queries for one in evidence.checks)
    headings = (
        "check",
        *(("query",) if queries else ()),
        "stable",
        "canary",
        "evidence of harm",
        "evidence of no harm",
    )
    rows = tuple(
        (
            one.check,
            *((", ".join(one.queries) or "–",) if queries else ()),
            _of(one.stable, one.stable_requests),
            _of(one.canary, one.canary_requests),
            _beside(one.harm, one.harm_bound),
            _beside(one.proof, one.proof_bound) if one.proof_bound else "–",
            *((one.sentence,) if sentences else ()),
        )
        for one in evidence.checks
    )
    return Table(headings, rows)


def _of(value: str, requests: float) -> str:
    return f"{value} (of {wording.number(requests)})" if requests else value


def _beside(value: float, bound: float) -> str:
    return f"{wording.evidence(value)} of {wording.evidence(bound)}" if bound else wording.evidence(value)


def evidence_words(evidence: EvidenceThen) -> str:
    """All checks together beside the bounds, and what they rest on."""
    cells = f"{evidence.cells} cell{'' if evidence.cells == 1 else 's'}"
    words = (
        f"Evidence at {weight_words(evidence.weight)} after {cells}, the last one until {clock(evidence.until)}: "
        f"of harm {wording.evidence(evidence.harm)} (holds at {evidence.hold_bound:g}, "
        f"rolls back at {evidence.harm_bound:g}), of no harm {wording.evidence(evidence.proof)} "
        f"(proven at {evidence.proof_bound:g})."
    )
    return f"{words} In doubt: {evidence.doubt}." if evidence.doubt else words


def _stages(document: Document) -> tuple[Block, ...]:
    headings = ("from (UTC)", "canary", "cells", "stable requests", "stable failed", "canary requests", "canary failed")
    rows = tuple(
        (
            clock(one.start).removesuffix(" UTC"),
            ("match" if one.matched else weight_words(one.weight)) + ("" if one.ours else ", set by somebody else"),
            f"{one.settled} settled of {one.cells}" + (f", {one.gaps} without data" if one.gaps else ""),
            *_both(one),
            one.verdict,
        )
        for one in document.stages
    )
    return (Table(headings, rows),) if rows else ()


def _both(stage: Stage) -> Iterator[str]:
    for side in (stage.stable, stage.canary):
        yield wording.number(side.requests)
        failed = f"{wording.number(side.errors)} ({wording.percent(side.errors, side.requests)})"
        yield failed if side.requests else "–"


def _answers(document: Document) -> tuple[Block, ...]:
    rows = tuple((moment(one.at), one.who, one.said or "–", one.before, one.why) for one in document.answers)
    return (Table(("when", "who", "said", "at the gate of"), rows),) if rows else ()


def heading_of(one: Taken) -> str:
    """A decision in a line: number, time, what, the weight, and who."""
    what = ", ".join(said.title for said in one.events) or ("sent to the mesh" if one.wrote else "asked")
    return f"{one.number}. {clock(one.at)}: {what}; {shift_words(one)}{f', by {one.actor}' if one.actor else ''}"


def shift_words(one: Taken) -> str:
    """The weight before and after a decision."""
    if one.former == one.weight:
        return f"canary stays at {weight_words(one.weight)}"
    return f"canary from {weight_words(one.former)} to {weight_words(one.weight)}"


def reasons_of(one: Taken) -> Iterator[str]:
    """What was asked, and what was said, each as a line."""
    for asked in one.asked:
        yield f"{asked.by} asked: {asked.verb}" + (f" ({asked.reason})" if asked.reason else "")
    for said in one.events:
        yield f"{said.event}: {said.reason}"


def source_words(document: Document) -> str:
    """Where the decisions come from."""
    if document.remark:
        return document.remark
    if document.source == "journal":
        return "From the journal: what the machine saw and said when it decided."
    return "The run has decided nothing yet."


def _decisions(document: Document) -> Iterator[Block]:
    yield Words(source_words(document), quiet=True)
    for one in unlike_the_former(document.decisions):
        yield Heading(heading_of(one))
        for line in reasons_of(one):
            yield Words(line)
        if one.evidence:
            folded = (Words(evidence_words(one.evidence), quiet=True), checks_table(one.evidence, sentences=True))
            yield Folded("The evidence at this moment", folded)


def _findings(document: Document) -> tuple[Block, ...]:
    """What preflight found before the run began, and did not stop it."""
    rows = tuple((one.level, one.code, one.where, one.sentence) for one in document.findings)
    return (Table(("level", "code", "where"), rows),) if rows else ()


def queries_words(document: Document) -> str:
    """When the queries were evaluated."""
    return (
        f"Each as the run asked it, for a cell of {document.plan['spec']['analysis']['cell']}. To see what a cell was "
        "made of, evaluate it at the cell's end; the ends are in the JSON of this report, at curves.stretches."
    )


def _queries(queries: Sequence[Query], document: Document) -> Iterator[Block]:
    if not queries:
        return
    yield Words(queries_words(document), quiet=True)
    for query in queries:
        checks = f"; for {', '.join(query.checks)}" if query.checks else ""
        yield Folded(f"{query.name}: {query.about}{checks}", (Code(query.text, "promql"),))


def _plan(document: Document) -> tuple[Block, ...]:
    text = yaml.safe_dump(document.plan, sort_keys=False, allow_unicode=True)
    return (Folded("The plan as the run holds it, defaults included", (Code(text, "yaml"),)),)

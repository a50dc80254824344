"""
Every decision of a run as text for a terminal: what was asked and found, how sure that was, who decided and why.

The words are those of the page (``layout``); here they are set out in columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from canaryd.model.measuring import Query
from canaryd.model.run import Run
from canaryd.report.decisions import Entry, EvidenceThen, Taken, unlike_the_former
from canaryd.report.document import Document, as_data, document
from canaryd.report.layout import checks_table, evidence_words, heading_of, queries_words, reasons_of, source_words
from canaryd.report.markup import clean

WIDTH = 110
INDENT = "   "


def decisions(run: Run, journal: Sequence[Entry], queries: Sequence[Query] = ()) -> str:
    """
    The decisions of ``run`` in order, from its ``journal`` (oldest first), and the ``queries`` behind their figures.

    Queries stand at the end, by the names that the decisions give them; a query is never broken, because it is copied.
    """
    told = document(run, journal, queries=queries)
    blocks = [source_words(told), *map(_decision, unlike_the_former(told.decisions)), *_queries(told)]
    return "\n\n".join(blocks) + "\n"


def account_data(run: Run, journal: Sequence[Entry], queries: Sequence[Query] = ()) -> dict[str, Any]:
    """The same as JSON can hold it, with the keys that it has in a report."""
    told = document(run, journal, queries=queries)
    return {key: as_data(getattr(told, key)) for key in ("source", "remark", "decisions", "queries")}


def _decision(one: Taken) -> str:
    lines = _wrapped(heading_of(one), "", INDENT)
    for reason in reasons_of(one):
        lines += _wrapped(reason, INDENT, INDENT * 2)
    if one.evidence:
        lines += _wrapped(evidence_words(one.evidence), INDENT, INDENT * 2)
        lines += [f"{INDENT}{line}" for line in _columns(one.evidence)]
    return "\n".join(lines)


def _columns(evidence: EvidenceThen) -> Iterator[str]:
    table = checks_table(evidence, sentences=False)
    rows = [table.headings, *table.rows]
    widths = [max(len(_line(row[place])) for row in rows) for place in range(len(table.headings))]
    for row in rows:
        yield "  ".join(_line(value).ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()


def _queries(told: Document) -> Iterator[str]:
    if not told.queries:
        return
    yield "\n".join(_wrapped(f"Queries. {queries_words(told)}", "", ""))
    for query in told.queries:
        checks = f"; for {', '.join(query.checks)}" if query.checks else ""
        yield f"{_line(f'{query.name}: {query.about}{checks}')}\n{INDENT}{_line(query.text)}"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return wrap(
        _line(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _line(text: str) -> str:
    """``text`` on one line, and without what a terminal would obey."""
    return " ".join(clean(text).split())

"""
The report as one HTML file that needs nothing else, no network and no script, in light and in dark.

It only says how a block looks: what is told, and in which order, is ``layout``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from canaryd.model.links import Link
from canaryd.report import plots
from canaryd.report.document import Document
from canaryd.report.layout import (
    Block,
    Code,
    Facts,
    Heading,
    Key,
    Links,
    Picture,
    Section,
    Table,
    Words,
    sections,
)
from canaryd.report.markup import Child, fragment, rendered, tag
from canaryd.report.style import STYLE

LONG = 240
"""Characters of a reason that are more than a glance."""
SIGNS = {"good": "✓", "bad": "✗", "open": "…"}


def html(document: Document) -> str:
    """The report as the text of one HTML file."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        tag("title", f"{document.title} – canaryd"),
        tag("style", STYLE),
    )
    parts = (tag("section", tag("h2", section.title), *_all(section.blocks)) for section in sections(document))
    body = tag("main", _headline(document), *parts)
    return rendered(tag("html", head, tag("body", body), lang="en"))


def section_html(section: Section) -> str:
    """What is below a section's title, as HTML, for a page that shows it beside other things."""
    return fragment(_all(section.blocks))


def _headline(document: Document) -> Element:
    return tag(
        "header",
        tag("h1", tag("span", SIGNS[document.tone], class_="sign", aria_hidden="true"), " ", document.title),
        tag("p", document.verdict, class_="verdict"),
        _reason(document.reason) if document.reason else None,
        tag("p", document.next, class_="quiet") if document.next else None,
        class_=document.tone,
    )


def _reason(reason: str) -> Element:
    """The machine's own words; they may name every check, and who reads no further needs none of that."""
    words = tag("p", reason, class_="reason")
    return words if len(reason) <= LONG else tag("details", tag("summary", "Why, in full"), words)


def _all(blocks: Iterable[Block]) -> Iterator[Element]:
    for block in blocks:
        yield from _elements(block)


def _elements(block: Block) -> Iterator[Element]:
    if isinstance(block, Words):
        yield tag("p", block.text, class_="quiet" if block.quiet else "words")
    elif isinstance(block, Heading):
        yield tag("h3", block.text)
    elif isinstance(block, Facts):
        yield tag("dl", *(tag(name, text) for row in block.rows for name, text in zip(("dt", "dd"), row, strict=True)))
    elif isinstance(block, Table):
        yield _table(block)
    elif isinstance(block, Key):
        yield _key(block)
    elif isinstance(block, Picture):
        yield from plots.both_widths(block.draw)
    elif isinstance(block, Links):
        yield tag("ul", *map(_link, block.links))
    elif isinstance(block, Code):
        yield tag("pre", block.text)
    else:
        yield tag("details", tag("summary", block.summary), *_all(block.blocks))


def _link(link: Link) -> Element:
    address = tag("a", link.title, href=link.url, rel="noopener noreferrer")
    return tag("li", address, f": {link.shows}" if link.shows else None)


def _key(key: Key) -> Element:
    parts: list[Child] = []
    for kind, words in key.sides:
        if kind == "observed":
            mark = tag("circle", cx=13, cy=5, r=4, class_="dot observed")
        elif kind.startswith("bar"):
            mark = tag("rect", x=0, y=0, width=26, height=10, class_=kind)
        else:
            mark = tag("line", x1=0, x2=26, y1=5, y2=5, class_=f"line {kind}")
        sign = tag("svg", mark, viewBox="0 0 26 10", width=26, height=10, aria_hidden="true")
        parts.append(tag("span", sign, " ", words))
    return tag("p", *parts, class_="key")


def _table(table: Table) -> Element:
    """On a narrow screen each row becomes a list; ``data-label`` is what the style then writes before a value."""
    headings = table.headings
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    bodies = []
    for row in table.rows:
        cells = [tag("td", value, data_label=heading) for heading, value in zip(headings, row, strict=False)]
        sentence = "".join(row[len(headings) :])
        below = tag("tr", tag("td", sentence, colspan=len(headings)), class_="words") if sentence else None
        bodies.append(tag("tbody", tag("tr", *cells), below))
    return tag("table", tag("thead", head), *bodies, class_="narrow" if table.narrow else "wide")

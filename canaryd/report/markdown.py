"""
The report as Markdown, for a ticket, a pull request or a wiki. Plots become the sentence that describes them.

What others wrote is escaped: a reason must not become a heading, a link, or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

from canaryd.report.document import Document
from canaryd.report.layout import (
    Block,
    Code,
    Facts,
    Folded,
    Heading,
    Links,
    Picture,
    Table,
    Words,
    sections,
)
from canaryd.report.markup import clean
from canaryd.report.plots import WIDE

_SPECIAL = re.compile(r"([\\`*_{}\[\]|~#$!@])")
_LEADING = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")
"""What would begin a list, or make a heading of the line before. Only a sign can be escaped, never a digit."""
SIGNS = {"good": "✅", "bad": "❌", "open": "⏳"}


def markdown(document: Document) -> str:
    """The report as the text of one Markdown file (GitHub's flavour)."""
    lines = [f"# {SIGNS[document.tone]} {_safe(document.title)}", "", f"**{_safe(document.verdict)}**", ""]
    lines += [_safe(document.reason), ""] if document.reason else []
    lines += [_safe(document.next), ""] if document.next else []
    for section in sections(document):
        lines += [f"## {_safe(section.title)}", "", *_all(section.blocks)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _all(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield from _lines(block)


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Words):
        yield from (_safe(block.text), "")
    elif isinstance(block, Heading):
        yield from (f"### {_safe(block.text)}", "")
    elif isinstance(block, Facts):
        yield from _table(("", ""), block.rows)
    elif isinstance(block, Table):
        yield from _table(block.headings, block.rows)
    elif isinstance(block, Picture):
        yield from (f"*{_safe(_described(block))}*", "")
    elif isinstance(block, Links):
        yield from (f"* [{_safe(one.title)}](<{_address(one.url)}>): {_safe(one.shows)}" for one in block.links)
        yield ""
    elif isinstance(block, Code):
        yield from _fenced(block)
    elif isinstance(block, Folded):  # a Key is of lines that are not drawn here
        yield from (
            "<details>",
            f"<summary>{_html(block.summary)}</summary>",
            "",
            *_all(block.blocks),
            "</details>",
            "",
        )


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = tuple(rows)
    wide = any(len(row) > len(headings) for row in rows)
    yield f"| {' | '.join(map(_safe, (*headings, *(('in words',) if wide else ()))))} |"
    yield f"|{'---|' * (len(headings) + wide)}"
    for row in rows:
        yield f"| {' | '.join(map(_safe, row))} |"
    yield ""


def _described(picture: Picture) -> str:
    return ". ".join(f"{part.text}" for part in picture.draw(WIDE) if part.tag in ("title", "desc"))


def _fenced(code: Code) -> Iterator[str]:
    text = clean(code.text).rstrip("\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}{code.language}", text, fence, "")


def _safe(text: str) -> str:
    """``text`` on one line, in which nothing means anything."""
    line = " ".join(clean(text).split())
    line = _SPECIAL.sub(r"\\\1", escape(line, quote=False))
    return _LEADING.sub(r"\1\\\2", line)


def _html(text: str) -> str:
    return escape(" ".join(clean(text).split()), quote=False)


def _address(url: str) -> str:
    return clean(url).replace("<", "%3C").replace(">", "%3E").replace("\n", "").replace("\r", "").replace("\\", "%5C")

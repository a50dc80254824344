"""
Record what a command shows in a terminal as an animated SVG, for the README.

    python tools/record.py docs/img/demo.svg --speed 3 -- canaryd lab demo

The command runs in a terminal of its own (a pty, read by pyte), so its live tables are seen as a person sees them. The
picture is a film strip: every frame stands below the one before, and one CSS animation moves the strip in steps. Lines
that are alike in several frames are drawn once. No script is in it, so it plays where images do.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

WIDTH, HEIGHT = 8.4, 18
"""Pixels of a character cell at a font size of 14."""
PAD = 16
FRAMES = 4
"""A second, at most, in the played picture."""
LAST = 4.0
"""Seconds that the last frame stays before it begins again."""
STYLE = (
    "text{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}"
    ".b{font-weight:700}.d{opacity:.55}"
)
INK, PAGE = "#d7dae0", "#16181d"
COLOURS = {
    "black": "#5c6370", "red": "#f0716b", "green": "#8fce6a", "brown": "#e5c07b", "blue": "#6cb6ff",
    "magenta": "#d38aea", "cyan": "#5fd3d8", "white": "#d7dae0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of one look, at a column."""

    column: int
    text: str
    colour: str = INK
    bold: bool = False
    dim: bool = False


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The screen from a second on."""

    at: float
    lines: tuple[Line, ...]


class Screen(pyte.Screen):
    """pyte's, with faint text, which it does not know: its `blink`, that nobody uses, stands for it."""

    def select_graphic_rendition(self, *attributes: int, **options: bool) -> None:
        super().select_graphic_rendition(*attributes, **options)
        for attribute in attributes:
            if attribute in (2, 22, 0):
                self.cursor.attrs = self.cursor.attrs._replace(blink=attribute == 2)


def record(command: Sequence[str], columns: int, rows: int) -> tuple[list[Frame], int]:
    """Every screen that differs from the one before, and the command's exit code."""
    screen = Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
        os.execvp(command[0], list(command))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    began, frames = time.monotonic(), []
    while data := _read(terminal):
        stream.feed(data)
        lines = tuple(_line(screen, row) for row in range(rows))
        if not frames or frames[-1].lines != lines:
            frames.append(Frame(time.monotonic() - began, lines))
    return frames, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _read(terminal: int) -> bytes:
    select.select([terminal], [], [])
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the command has ended
        return b""


def _line(screen: Screen, row: int) -> Line:
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    spans, column = [], 0
    for (colour, bold, dim), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold, cell.blink)):
        text = "".join(cell.data for cell in group)
        if text.strip():
            start = column + len(text) - len(text.lstrip())
            spans.append(Span(start, text.strip(), _colour(colour), bold, dim))
        column += len(text)
    return tuple(spans)


def _colour(name: str) -> str:
    if name == "default":
        return INK
    return COLOURS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else INK)


def played(frames: Sequence[Frame], speed: float) -> list[Frame]:
    """The frames as they are shown: sped up, and so few that nothing flickers."""
    shown: list[Frame] = []
    for frame in frames:
        at = round(frame.at / speed * FRAMES) / FRAMES
        if shown and shown[-1].at == at:
            shown.pop()
        shown.append(Frame(at, frame.lines))
    return shown


def picture(frames: Sequence[Frame], columns: int, rows: int, title: str) -> str:
    """The animated SVG of `frames`."""
    width, height = columns * WIDTH + 2 * PAD, rows * HEIGHT + 2 * PAD
    numbers: dict[Line, int] = {}
    for frame in frames:
        for line in frame.lines:
            if line:
                numbers.setdefault(line, len(numbers))
    length = frames[-1].at + LAST
    stops = [
        f"{100 * frame.at / length:.3f}%{{transform:translateY({-place * height:g}px)}}"
        for place, frame in enumerate(frames)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}.s{{animation:s {length:g}s step-end infinite}}@keyframes s{{{''.join(stops)}}}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAGE}"/>',
            f'<svg width="{width:g}" height="{height:g}" overflow="hidden">',
            "<defs>",
            *(f'<g id="l{number}">{"".join(map(_text, line))}</g>' for line, number in numbers.items()),
            "</defs>",
            '<g class="s">',
            *_strip(frames, numbers, height),
            "</g>",
            "</svg>",
            "</svg>",
        ]
    )


def _strip(frames: Sequence[Frame], numbers: dict[Line, int], height: float) -> Iterator[str]:
    for place, frame in enumerate(frames):
        rows = ((row, numbers[line]) for row, line in enumerate(frame.lines) if line)
        uses = (f'<use href="#l{number}" y="{row * HEIGHT}"/>' for row, number in rows)
        yield f'<g transform="translate({PAD} {place * height + PAD + 13:g})">{"".join(uses)}</g>'


def _text(span: Span) -> str:
    looks = [name for name, on in (("b", span.bold), ("d", span.dim)) if on]
    style = f' class="{" ".join(looks)}"' if looks else ""
    # A length of its own for each span: another font must not push what stands behind it.
    length = f' textLength="{len(span.text) * WIDTH:g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{span.column * WIDTH:g}" fill="{span.colour}"{style}{length}>{escape(span.text)}</text>'


def main() -> int:
    """Record the command after `--`; its own exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--title", help="what it shows; by default the command")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster it is played")
    parser.add_argument("command", nargs="+")
    said = parser.parse_args()
    frames, code = record(said.command, said.columns, said.rows)
    if not frames:
        print(f"{' '.join(said.command)} showed nothing", file=sys.stderr)
        return code or 1
    shown = played(frames, said.speed)
    title = said.title or " ".join(said.command)
    said.picture.write_text(picture(shown, said.columns, said.rows, title) + "\n", encoding="utf-8")
    print(
        f"{said.picture}: {len(shown)} frames, {shown[-1].at + LAST:.0f} s, {said.picture.stat().st_size // 1024} KiB"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())

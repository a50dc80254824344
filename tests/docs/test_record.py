"""The recorder of terminal pictures: what was on the screen is in the picture, once, and in its place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recorder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", ROOT / "tools" / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def shown(module: ModuleType, script: str) -> list[list[tuple[str, int, bool, bool]]]:
    """The last screen that a Python script leaves: text, column, bold and dim of every span, by line."""
    frames, code = module.record([sys.executable, "-c", script], 40, 4)
    assert code == 0
    return [[(span.text, span.column, span.bold, span.dim) for span in line] for line in frames[-1].lines]


def test_the_screen_is_what_a_person_saw(recorder: ModuleType) -> None:
    """Cursor moves, bold and faint text: a live table is made of them."""
    script = r"print('\x1b[1mbold\x1b[0m and \x1b[2mfaint\x1b[22m plain'); print('gone\rlate')"
    assert shown(recorder, script)[:2] == [
        [("bold", 0, True, False), ("and", 5, False, False), ("faint", 9, False, True), ("plain", 15, False, False)],
        [("late", 0, False, False)],
    ]


def test_the_exit_code_is_the_commands(recorder: ModuleType) -> None:
    assert recorder.record([sys.executable, "-c", "print(1); raise SystemExit(3)"], 40, 4)[1] == 3


def test_the_picture_has_each_line_once_and_every_frame(recorder: ModuleType) -> None:
    line, other = (recorder.Span(0, "a < b & c"),), (recorder.Span(2, "next"),)
    frames = [recorder.Frame(0.0, (line, ())), recorder.Frame(1.0, (line, other))]
    root = ElementTree.fromstring(recorder.picture(frames, 40, 2, "a title"))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts == ["a < b & c", "next"]
    uses = [(each.get("href"), each.get("y")) for each in root.iter(f"{SVG}use")]
    assert uses == [("#l0", "0"), ("#l0", "0"), ("#l1", str(recorder.HEIGHT))]
    assert root.findtext(f"{SVG}title") == "a title"
    style = root.findtext(f"{SVG}style") or ""
    assert "0.000%{transform:translateY(-0px)}" in style.replace("translateY(0px)", "translateY(-0px)")
    assert "20.000%" in style  # one of five seconds


def test_faster_frames_are_thinned(recorder: ModuleType) -> None:
    """Of those within a quarter of a second the last is shown."""
    frames = [recorder.Frame(at, ((recorder.Span(0, str(at)),),)) for at in (0.0, 0.1, 0.9, 3.0)]
    assert [(each.at, each.lines[0][0].text) for each in recorder.played(frames, 3.0)] == [
        (0.0, "0.1"),
        (0.25, "0.9"),
        (1.0, "3.0"),
    ]


def test_the_readmes_picture_is_one(recorder: ModuleType) -> None:
    """`make picture` writes it; a README without its picture looks broken."""
    place = ROOT / "docs" / "img" / "demo.svg"
    root = ElementTree.parse(place).getroot()
    assert len(list(root.iter(f"{SVG}use"))) > 100
    assert "docs/img/demo.svg" in (ROOT / "README.md").read_text()

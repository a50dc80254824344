"""The report as one file."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from canaryd.judge import wording
from canaryd.model.cells import Cell
from canaryd.model.finding import Finding
from canaryd.model.links import Link
from canaryd.report.render import render
from canaryd.report.summary import summary
from tests.report import stories

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</style></pre><script>alert(1)</script><img src=x onerror=alert(2)> & \"'<!-- \x00\x1b ]]>"


def html(run, journal, **more) -> str:
    return render(run, journal, "html", **more)


class Reader(HTMLParser):
    """Every tag with its attributes, the text by the tag it stands in, and what was closed in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"/{tag}")

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def pictures(text: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)]


def plots_of(text: str) -> list[ET.Element]:
    return [picture for picture in pictures(text) if "plot" in picture.get("class", "")]


def named(picture: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in picture.iter() if element.tag.rpartition("}")[2] == name]


@pytest.mark.parametrize("story", stories.EVERY)
def test_every_report_is_well_formed(story):
    run, journal = story()
    text = html(run, journal)
    assert Reader(text).faults == []
    assert plots_of(text)


@pytest.mark.parametrize("story", stories.EVERY)
def test_it_needs_nothing_else(story):
    """It is mailed, archived, and opened years later without a network."""
    run, journal = story()
    text = html(run, journal)
    for tag, attributes in Reader(text).tags:
        assert tag not in {"script", "link", "img", "iframe"}
        assert not {"src", "href", "onload", "onclick"} & set(attributes)
    assert "url(" not in text
    assert "@import" not in text


def test_what_others_wrote_is_escaped():
    """Reasons, gaps and image names come from people and pods; the report is opened in a browser."""
    run, journal = stories.play(
        stories.HEALTHY,
        commands=lambda run: (stories.Command("c1", "abort", HOSTILE, HOSTILE),) if run.step == 1 else (),
        gaps=range(3, 4),
    )
    gaps = tuple(cell if isinstance(cell, Cell) else replace(cell, why=HOSTILE) for cell in run.cells)
    spec = run.plan.spec.model_copy(update={"release": HOSTILE})
    run = replace(run, uid=HOSTILE, cells=gaps, plan=run.plan.model_copy(update={"spec": spec}))
    text = html(run, journal)
    reader = Reader(text)
    assert reader.faults == []
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert "\x00" not in text
    assert "\x1b" not in text
    kept = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert kept in unescape(text)
    assert any(kept in (title.text or "") for picture in pictures(text) for title in named(picture, "title"))


def test_a_link_is_all_that_leads_out_of_the_page():
    """Names of traces come from requests; an address is opened by a click and by nothing else."""
    run, journal = stories.promoted()
    link = Link(HOSTILE, 'https://kiali/"><script>alert(3)</script>?a=1&b=2', HOSTILE)
    reader = Reader(html(run, journal, links=[link], traces=[link]))
    assert reader.faults == []
    leading = [(tag, attributes["href"]) for tag, attributes in reader.tags if "href" in attributes]
    assert leading == [("a", link.url)] * 2
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    policies = [attributes["content"] for tag, attributes in reader.tags if attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_was_found_before_it_began_is_there():
    """Who reads the figures wants to know what bends them; what objects are called comes from people."""
    run, journal = stories.rolled_back()
    odd = Finding("PortSniffed", "warning", f"Service default/{HOSTILE}", "names no protocol")
    text = html(replace(run, findings=(odd,)), journal)
    reader = Reader(text)
    assert reader.faults == []
    assert {"warning", "PortSniffed", "names no protocol"} <= set(reader.all("td"))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "Found before it began" in reader.all("h2")
    assert "Found before it began" not in html(run, journal)


def test_the_head_has_the_ending_and_its_reason():
    run, journal = stories.rolled_back()
    reader = Reader(html(run, journal))
    assert " reviews v3: rolled back" in reader.all("h1")
    assert run.reason in reader.all("p")
    assert "canaryd" in reader.all("title")[0]


def test_figures_are_those_of_the_cells():
    run, journal = stories.promoted()
    values = Reader(html(run, journal)).all("dd")
    side = summary(run).canary
    rate = wording.percent(side.errors, side.requests)
    assert f"{side.requests:,.0f}, failed {side.errors:,.0f} ({rate})" in values
    assert "5 %, 25 %, 50 %, 100 %" in values


def test_steps_hold_what_was_counted_under_each_weight():
    run, journal = stories.promoted()
    cells = Reader(html(run, journal)).all("td")
    for segment in run.segments:
        own = [cell for cell in run.cells if cell.segment == segment.index and isinstance(cell, Cell)]
        assert str(segment.split) in cells
        assert f"{sum(cell.canary.requests for cell in own):,.0f}" in cells
        settled = sum(cell.settled for cell in own)
        assert any(text.startswith(f"{settled} settled of {len(own)}") for text in cells)
    assert any("3 without data" in text for text in cells)


def test_verdicts_are_the_machines_sentences():
    run, journal = stories.promoted()
    reader = Reader(html(run, journal))
    verdicts, decisions = reader.all("td"), reader.all("p")
    passed = [reason for entry in journal for name, reason in entry["events"] if name == "step.passed"]
    assert len(passed) == 2
    for name, reason in (*(("step.passed", one) for one in passed), ("run.promoting", run.reason)):
        assert reason in verdicts
        assert f"{name}: {reason}" in decisions


def test_without_a_journal_there_is_a_report_all_the_same():
    run, _ = stories.rolled_back()
    reader = Reader(html(run, []))
    assert f"run.rolling_back: {run.latch.reason}" in reader.all("p")
    assert any(text.startswith("The journal is not there.") for text in reader.all("p"))


def test_every_event_has_its_reason():
    run, journal = stories.aborted()
    told = Reader(html(run, journal)).all("p")
    for entry in journal:
        for name, reason in entry["events"]:
            assert f"{name}: {reason}" in told


def test_a_picture_has_a_name_a_description_and_two_sizes():
    """A screen reader reads them; a telephone gets letters that can be read."""
    run, journal = stories.promoted()
    found = plots_of(html(run, journal))
    wide = [picture for picture in found if picture.get("class") == "plot wide"]
    assert len(found) == 2 * len(wide) == 12
    for picture in found:
        assert picture.get("role") == "img"
        assert named(picture, "title")[0].text
        assert named(picture, "desc")[0].text


def test_evidence_is_drawn_beside_its_bounds_on_a_logarithmic_scale():
    run, journal = stories.rolled_back()
    picture = next(
        one for one in plots_of(html(run, journal)) if named(one, "title")[0].text.startswith("Evidence of harm")
    )
    labels = {text.text: float(text.get("y")) for text in named(picture, "text")}
    ticks = {
        float(text.text.replace(",", "")): float(text.get("y")) - 4
        for text in named(picture, "text")
        if text.get("class") == "label end" and text.text[0].isdigit()
    }
    decade = (ticks[10] - ticks[1000]) / 2
    assert max(ticks) > 1000 or min(ticks) < 1
    for value, height in ticks.items():
        assert height == pytest.approx(ticks[10] - decade * math.log10(value / 10), abs=0.1)
    assert labels["rolls back at 100"] + 4 == pytest.approx(ticks[10] - decade, abs=0.1)
    assert labels["holds at 3"] + 4 == pytest.approx(ticks[10] + decade * math.log10(10 / 3), abs=0.1)


def test_the_latencies_are_those_of_the_last_weight_of_both():
    run, journal = stories.promoted()
    text = html(run, journal)
    picture = next(one for one in plots_of(text) if named(one, "title")[0].text == "Latency of both sides at 50 %")
    own = [cell for cell in run.cells if isinstance(cell, Cell) and str(cell.split) == "50 %"]
    slow, all_ = sum(cell.canary.buckets[4] for cell in own), sum(sum(cell.canary.buckets) for cell in own)
    expected = f"canary, 50 ms – 100 ms: {wording.percent(slow, all_)}"
    assert expected in [title.text for title in named(picture, "title")]


def test_requests_on_their_way_are_no_comparison():
    """Just after the change to 100 % stable still answers a few; a histogram of these few would mislead."""
    run, _ = stories.promoted()
    stray = next(cell.stable for cell in run.cells if isinstance(cell, Cell))
    cells = tuple(replace(cell, stable=stray) if str(cell.split) == "100 %" else cell for cell in run.cells)
    assert "Latency of both sides at 50 %" in html(replace(run, cells=cells), [])


def test_a_long_run_stays_a_small_file():
    """Twelve hours of cells are thousands of dots that nobody can tell apart."""
    run, _ = stories.baking()
    many = tuple(
        replace(cell, start=cell.start + 60 * turn, end=cell.end + 60 * turn)
        for turn in range(200)
        for cell in run.cells
        if cell.segment == 0
    )
    assert len(html(replace(run, cells=many, judged_from=9), [])) < 300_000

"""Every number in a report of a real run is traced to its journal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from canaryd.judge import wording
from canaryd.report.outlook import clock, elapsed, moment
from canaryd.report.render import render
from tests.report.real import NAMES, Real, real
from tests.report.test_html import Reader, named, plots_of
from tests.report.traced import expected, numbers, words

NUMBER = re.compile(r"(?<![\w.,-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
UNIX = range(1_700_000_000, 2_000_000_000)
PROSE = {"95", "1"}
"""What our own sentences name: the confidence of the bands, and the capital with which evidence begins."""


@pytest.fixture(params=NAMES)
def found(request: pytest.FixtureRequest) -> Real:
    return real(request.param)


def test_every_number_of_the_json_is_in_the_journal(found):
    """Who checks a report must come to the same numbers without it."""
    told = dict(numbers(json.loads(render(found.run, found.journal, "json"))))
    traced = dict(numbers(expected(found)))
    assert told.keys() == traced.keys()
    # 1.96 standard deviations are 95 % to four digits
    for path, value in told.items():
        exact = not path.endswith((".low", ".high"))
        assert value == pytest.approx(traced[path], rel=1e-9 if exact else 2e-4, abs=1e-9), path


def test_every_sentence_of_the_json_is_the_machines(found):
    """The reasons are nobody's retelling."""
    told = json.loads(render(found.run, found.journal, "json"))
    reasons = [said["reason"] for one in told["decisions"] for said in one["events"]]
    assert reasons == [reason for entry in found.journal for _, reason in entry["events"]]
    assert told["reason"] == found.journal[-1]["events"][-1][1]


@pytest.mark.parametrize("form", ["html", "md"])
def test_every_number_that_a_person_reads_is_one_of_those(found, form):
    """Whatever is not in a sentence of the machine's is a number of the JSON, as a person reads it."""
    lines = _texts(found, form)
    sentences = sorted({one for one in (*words(found.raw), *words(found.journal)) if len(one) > 3}, key=len)[::-1]
    readable = _readable(found)
    strange = []
    for line in lines:
        rest = line.replace(found.run.plan.digest, " ")  # hexadecimal, and by chance all digits at its beginning
        for sentence in sentences:
            rest = rest.replace(" ".join(sentence.split()), " ")
        strange += [f"{one} in {line}" for one in NUMBER.findall(rest) if one not in readable]
    assert strange == []
    assert len(lines) > 100


def _texts(found: Real, form: str) -> list[str]:
    """What the page or the text says, without the plan and the scales of the plots."""
    if form == "md":
        text = render(found.run, found.journal, "md").partition("## Plan")[0]
        return [re.sub(r"\\(.)", r"\1", line).replace("|", " ") for line in text.splitlines()]
    reader = Reader(render(found.run, found.journal, "html"))
    return [" ".join(text.split()) for tag, text in reader.texts if tag not in ("style", "pre", "text")]


def _readable(found: Real) -> set[str]:
    """The numbers of the journal as people write them."""
    told = expected(found)
    readable = set(PROSE)
    values = [value for path, value in numbers(told) if not path.startswith("plan")]
    moments = sorted({value for value in values if int(value) in UNIX})
    for value in moments:
        readable |= _numbers(clock(value), moment(value), elapsed(value - told["began"]))
    readable |= _numbers(*(elapsed(later - one) for one, later in pairwise(_marks(told))))
    for value in values:
        if int(value) not in UNIX:
            readable |= _numbers(
                wording.number(value),
                wording.evidence(value),
                wording.percent(value, 1),
                wording.share(value),
                f"{value:g}",
                wording.duration(value),
            )
    for side in _pairs(told):
        readable |= _numbers(wording.percent(*side), *map(wording.number, side))
    return readable


def _marks(told) -> Iterator[float]:
    """The moments of a rollback, each beside the canary's first request."""
    found = told.get("detection") or {}
    for moment_ in ("suspected", "decided", "back"):
        if moment_ in found:
            yield from (found["exposed"], found[moment_])


def _pairs(told) -> Iterator[tuple[float, float]]:
    """(part, whole) of what the page gives a percentage of."""
    for one in (told["cost"], *told["stages"]):
        for side in ("stable", "canary"):
            yield one[side]["errors"], one[side]["requests"]
    for side in ("stable", "canary"):
        histogram = told["curves"]["histogram"][side]
        yield from ((count, sum(histogram)) for count in histogram)
        for stretches in (told["curves"]["stretches"], *(one["stretches"] for one in told["curves"]["slow"])):
            rates = [one[side] for one in stretches if one[side]]
            yield sum(one["count"] for one in rates), sum(one["total"] for one in rates)


def _numbers(*texts: str) -> set[str]:
    return {one for text in texts for one in NUMBER.findall(text)}


@pytest.mark.parametrize(("plot", "curve"), [("Share of failed requests", "errors"), ("Share of traffic", "observed")])
def test_a_point_lies_where_its_number_is_on_the_scale(found, plot, curve):
    """A picture that is drawn askew misleads more than a wrong number: nobody adds it up."""
    picture = next(
        one
        for one in plots_of(render(found.run, found.journal, "html"))
        if named(one, "title")[0].text.startswith(plot)
    )
    scale = {
        float(text.text.removesuffix(" %")) / 100: float(text.get("y")) - 4
        for text in named(picture, "text")
        if text.get("class") == "label end" and text.text.endswith("%")
    }
    zero, top = scale[0.0], max(scale)
    told = expected(found)["curves"]["stretches"]
    sides = ("stable", "canary") if curve == "errors" else ("observed",)
    for side in sides:
        dots = [one for one in named(picture, "circle") if one.get("class") == f"dot {side}"]
        shares = [one[side]["share"] for one in told if one[side]]
        assert len(dots) == len(shares) > 3
        for dot, share in zip(dots, shares, strict=True):
            assert float(dot.get("cy")) == pytest.approx(zero - (zero - scale[top]) * share / top, abs=0.11)


def test_bands_reach_as_far_as_their_interval(found):
    picture = next(
        one
        for one in plots_of(render(found.run, found.journal, "html"))
        if named(one, "title")[0].text.startswith("Share of traffic")
    )
    scale = {
        float(text.text.removesuffix(" %")) / 100: float(text.get("y")) - 4
        for text in named(picture, "text")
        if text.get("class") == "label end" and text.text.endswith("%")
    }
    zero, top = scale[0.0], max(scale)
    told = [one["observed"] for one in expected(found)["curves"]["stretches"] if one["observed"]]
    whiskers = [one for one in named(picture, "line") if one.get("class") == "whisker"]
    assert len(whiskers) == len(told)
    for whisker, rate in zip(whiskers, told, strict=True):
        for end, share in (("y1", rate["low"]), ("y2", rate["high"])):
            assert float(whisker.get(end)) == pytest.approx(zero - (zero - scale[top]) * min(share, top) / top, abs=0.2)


def test_without_its_journal_a_run_tells_the_same_numbers(found):
    """Only the decisions are fewer, and the report says so."""
    whole = json.loads(render(found.run, found.journal, "json"))
    kept = json.loads(render(found.run, [], "json"))
    assert (whole["source"], kept["source"]) == ("journal", "run")
    assert kept["remark"].startswith("The journal is not there.")
    for key in ("cost", "weights", "detection", "began", "ended", "verdict", "reason", "lastEvidence"):
        assert kept[key] == whole[key] or key == "lastEvidence"
    assert dict(numbers(kept["lastEvidence"])) == pytest.approx(dict(numbers(whole["lastEvidence"])))
    assert dict(numbers(kept["curves"])) == pytest.approx(dict(numbers(whole["curves"])))
    moves = [(one["former"], one["weight"]) for one in whole["decisions"] if one["former"] != one["weight"]]
    assert [(one["former"], one["weight"]) for one in kept["decisions"] if one["former"] != one["weight"]] == moves

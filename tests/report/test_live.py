"""The screen and the line of a run that goes on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console

from canaryd.judge import wording
from canaryd.model.plan import read_plan
from canaryd.model.run import Hold, Phase, Run
from canaryd.report.live import line, live
from tests.report import stories
from tests.report.stories import BEGAN, EVERY


def shown(run: Run, width: int, now: float | None = None) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(live(run, _now(run) if now is None else now))
    return capture.get().splitlines()


def words(run: Run, width: int = 140) -> str:
    return " ".join(" ".join(shown(run, width)).split())


def _now(run: Run) -> float:
    return run.cells[-1].end + 10 if run.cells else BEGAN + 3


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_jumps(width):
    """A person finds a number where it was a second ago, whatever the run does meanwhile."""
    going = [story for story in EVERY if not story()[0].final]
    assert len({len(shown(story()[0], width)) for story in going}) == 1
    for story in EVERY:
        starts = [text[:8].strip() for text in shown(story()[0], width)]
        assert starts[1:9] == ["steps", "phase", "bake", "harm", "proof", "share", "stable", "canary"]


def test_it_fits_a_small_terminal():
    """80 columns and 24 rows are what a terminal opens with; rich cuts off what is more."""
    for story in EVERY:
        lines = shown(story()[0], 80)
        assert len(lines) <= 24 or story()[0].final
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("story", EVERY)
def test_sentences_are_the_machines_and_the_judges_own(story):
    """The same fact in two wordings makes people look for a difference."""
    run, _ = story()
    text = words(run, 200)
    assert (run.reason if run.final else run.waiting) in text
    for reading in run.evidence.readings if run.evidence else ():
        assert reading.sentence in text


def test_a_bake_shows_how_far_it_is():
    text = words(stories.baking()[0])
    assert "3 of 6 cells" in text
    assert "✓ 5 % ▶ 25 % · 50 % · 100 %" in text
    assert "wanted: 25 %" in text


def test_a_hold_shows_since_when_until_when_and_what_follows():
    """Who reads that it is held asks at once how long that may go on, and what happens otherwise."""
    run, _ = stories.blind()
    assert run.hold is not None
    assert run.hold.limit is not None
    text = words(run)
    assert "HELD (no data)" in text
    assert "Held since 14:" in text
    assert "it is rolled back" in text
    minutes = "".join(shown(run, 140, now=run.hold.limit - 120))
    assert "in 2m," in minutes


def test_harm_is_named_and_not_only_coloured():
    """Colours are lost in a pipe, and on the colour-blind."""
    assert "fine" in words(stories.baking()[0])
    assert "rolls back" in words(stories.rolling_back()[0])
    run, _ = stories.baking()
    assert run.evidence is not None
    building = replace(run, evidence=replace(run.evidence, harm=12.0))
    assert f" {wording.evidence(12.0)} holds" in words(building)


@pytest.mark.parametrize(("harm", "full"), [(0.001, 0), (0.01, 0), (1.0, 20), (3.0, 25), (100.0, 39), (1e9, 39)])
def test_the_bar_of_harm_is_logarithmic(harm, full):
    """From 0.01 to the bound of a rollback: on a linear bar all that comes before the end would be invisible."""
    run, _ = stories.baking()
    assert run.evidence is not None
    run = replace(run, evidence=replace(run.evidence, harm=harm))
    bar = next(text for text in shown(run, 140) if text.startswith("harm"))
    assert bar.count("━") == full
    assert bar.index("│") == 9 + 25


def test_proof_of_another_weight_is_not_shown():
    """Proof means nothing for a weight that was opened since."""
    run, _ = stories.baking()
    assert run.evidence is not None
    stale = replace(run, evidence=replace(run.evidence, segment=0, proof=777.0))
    assert "777" not in words(stale)
    assert "777" not in line(stale, _now(run))


def test_the_observed_share_stands_beside_the_expected_one():
    run, _ = stories.baking()
    cells = [cell for cell in run.cells if cell.segment == run.segment.index][-4:]
    canary = sum(cell.canary.requests for cell in cells)
    share = wording.percent(canary, canary + sum(cell.stable.requests for cell in cells))
    assert f"{share} of the requests in the last 4 cells, expected 25 %" in words(run)


def test_many_steps_keep_the_current_one_in_sight():
    steps = ", ".join(f"{{weight: {weight}}}" for weight in range(2, 62, 2))
    text = re.sub(r"steps:.*?analysis:", f"steps: [{steps}]\n  analysis:", stories.PLAN, flags=re.DOTALL)
    run = replace(stories.baking()[0], plan=read_plan(text), step=17)
    strip = shown(run, 80)[1]
    assert "▶ 36 %" in strip
    assert "wanted: 25 %" in strip
    assert len(strip) <= 80


def test_foreign_text_is_no_markup():
    """An annotation or a pod's message may hold brackets, which rich would take for a style."""
    run = replace(stories.baking()[0], waiting="[bold red]not[/] ours [/nonsense]")
    assert "[bold red]not[/] ours [/nonsense]" in words(run)


def test_the_line_is_one_and_counts_no_seconds():
    """It is printed when it changes: a countdown in it would fill the log of a pipeline."""
    for story in EVERY:
        run, _ = story()
        now = BEGAN + 60 * ((_now(run) - BEGAN) // 60)
        assert line(run, now) == line(run, now + 59)
        assert "\n" not in line(run, now)


def test_the_line_of_a_watch_does_not_count_down():
    first, _ = stories.play(stories.HEALTHY, lambda run: run.phase is Phase.WATCHING)
    later = replace(first, waiting="watching at 100 % for another 7s")
    assert line(first, _now(first)) == line(later, _now(first))
    assert "watching at 100 % until 14:" in line(first, _now(first))


def test_the_line_of_a_hold_names_its_limit():
    run, _ = stories.gated()
    assert "canaryd approve reviews" in line(run, _now(run))
    assert "it is rolled back" in line(run, _now(run))


def test_a_way_back_that_is_missing_has_no_limit():
    run, _ = stories.rolling_back()
    stuck = replace(run, hold=Hold("no-way-back", "stable v1 has no ready endpoint", run.at, None))
    assert "the rollback goes on as soon as it can" in words(stuck)


def test_a_rollback_that_nobody_has_accepted_is_not_said_to_be_there() -> None:
    """With the API away half of the users may still meet the canary: "at 0 %" would send the reader back to bed."""
    run, _ = stories.rolling_back()
    assert "rolling back to 0 %" in line(replace(run, arrived_at=None), _now(run))
    assert "rolling back at 0 %" in line(replace(run, arrived_at=_now(run)), _now(run))

"""The lab's live picture: the right figures, each in its place."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from canaryd.lab.top import WINDOW, Books, History, screen

Json = dict[str, Any]


def books(at: float, seconds: tuple[Json, ...] = (), **versions: tuple[int, int, dict[int, int]]) -> Books:
    found = {
        name: {"answered": answered, "failed": failed, "byMillisecond": {str(ms): n for ms, n in slow.items()}}
        for name, (answered, failed, slow) in versions.items()
    }
    return Books.read(at, {"lost": 0, "byVersion": found, "seconds": list(seconds)})


def told(**changes: Any) -> Json:
    status = {
        "rps": 300.0,
        "protocol": "http",
        "api": "running",
        "prometheus": "running",
        "weights": {"v1": 75, "v3": 25},
        "pods": {"v1": (2, 2), "v2": (2, 2), "v3": (2, 2)},
        "faultsOn": {"v1": {}, "v3": {"error_rate": 0.02}},
        "run": "",
        "problem": None,
        "seconds": 63.0,
    }
    return status | changes


def shown(status: Json, history: History, width: int = 120) -> list[str]:
    console = Console(width=width, color_system=None, no_color=True)
    with console.capture() as capture:
        console.print(screen(status, history))
    return capture.get().splitlines()


def row(lines: list[str], version: str) -> list[str]:
    return next(line for line in lines if line.startswith(f"{version} ")).split()


@pytest.fixture
def history() -> History:
    """Ten seconds: 2,000 requests of v1 none of which failed, 1,000 of v3 of which 20 did, and slower."""
    found = History()
    found.add(books(0, v1=(500, 100, {10: 500}), v3=(0, 0, {})))
    found.add(books(WINDOW, v1=(2500, 100, {10: 500, 20: 2000}), v3=(1000, 20, {30: 980, 150: 20})))
    return found


def test_rates_shares_and_latencies_are_those_of_the_last_seconds(history: History) -> None:
    """What was answered before the window (v1's hundred failures) says nothing of now."""
    lines = shown(told(), history)
    v1, v3 = row(lines, "v1"), row(lines, "v3")
    assert v1[-10:] == ["66.7", "%", "200", "0.00", "%", "20", "ms", "20", "ms", "2/2"]
    assert v3[-10:] == ["33.3", "%", "100", "2.00", "%", "30", "ms", "150", "ms", "2/2"]


def test_what_is_wanted_stands_beside_it(history: History) -> None:
    lines = shown(told(), history)
    assert row(lines, "v1")[1:3] == ["75", "%"]
    assert row(lines, "v2")[1] == "–"


def test_a_single_destination_is_wanted_whole(history: History) -> None:
    """Istio sends everything to it whatever its weight says."""
    assert row(shown(told(weights={"v1": 0}), history), "v1")[1:3] == ["100", "%"]


def test_faults_that_are_on_are_named(history: History) -> None:
    assert any("v3 error_rate 0.02" in line for line in shown(told(), history))
    assert any("every version is healthy" in line for line in shown(told(faultsOn={"v3": {}}), history))


def test_what_is_away_is_said(history: History) -> None:
    assert "prometheus ○ away" in shown(told(prometheus="stopped"), history)[0]


@pytest.mark.parametrize(
    ("standing", "words"), [("leads", "canaryd ● up"), ("stands by", "canaryd ● standby"), ("away", "canaryd ○ away")]
)
def test_canaryd_itself_is_shown_where_it_runs(history: History, standing: str, words: str) -> None:
    """Whether a run stands still because nobody moves it."""
    assert words in shown(told(controller=standing), history)[0]
    assert "canaryd ●" not in shown(told(controller=None), history)[0]


def test_before_anything_was_counted_there_is_no_rate() -> None:
    lines = shown(told(), History())
    assert "nan" not in "\n".join(lines)
    assert row(lines, "v1")[-1] == "2/2"


def test_no_line_jumps(history: History) -> None:
    """A figure is found where it was a second ago."""
    one, other = shown(told(), History()), shown(told(run="reviews-1", problem="no such subset"), history)
    assert len(one) == len(other)
    assert [line[:8] for line in one[2:6]] == [line[:8] for line in other[2:6]]


def test_the_trend_has_a_column_a_second() -> None:
    """Unknown seconds are dots, and the scale is that of the largest."""
    rows = [{"second": 7, "v1": 75, "v3": 25, "v3 failed": 5}, {"second": 8, "v1": 50, "v3": 50, "v3 failed": 20}]
    history = History()
    history.add(books(0, tuple(rows)))
    lines = shown(told(), history)
    share = lines.index("share, up to 75 %, second by second")
    failed = lines.index("failed, up to 40 %, second by second")
    trends = [lines[row + place].split()[1] for row in (share, failed) for place in (1, 3)]
    assert trends == ["·" * 58 + end for end in ("█▆", "▄▆", "▁▁", "▅█")]


@pytest.mark.parametrize("width", [80, 140])
def test_it_fits_the_terminal_in_one_line_each(history: History, width: int) -> None:
    lines = shown(told(), history, width)
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[3:6]] == ["v1", "v2", "v3"]
    assert row(lines, "v3")[-1] == "2/2"

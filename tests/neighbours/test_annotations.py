"""Marks in Grafana: which there are, each once, and a Grafana that fails keeps nobody waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from canaryd.engine.ports import Annotations as Port
from canaryd.model.decision import Event, Told
from canaryd.model.run import Run
from canaryd.neighbours import annotations as module
from canaryd.neighbours.annotations import Annotations, mark_of
from tests.neighbours.standing_in import FAULTS, Fault, Grafana, standing_in, wait_for
from tests.neighbours.stories import given, rolled_back
from tests.report import stories
from tests.report.stories import BEGAN

SHIFTING = Event(Told.SHIFTING, "from 0 % to 5 %")
ROLLING_BACK = Event(Told.ROLLING_BACK, "errors: canary 2.2 % of 409 requests, stable 0.14 %")


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    one = Grafana(base="/g")
    with standing_in(one):
        yield one


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON", 0.01)
    monkeypatch.setattr(module, "EACH", 0.5)


def writer(grafana: Grafana, **more: Any) -> Annotations:
    found = given(grafana={"url": grafana.url, "annotate": True, **more}).grafana
    assert found is not None
    return Annotations(found)


def told(grafana: Grafana, *events: tuple[Run, Event, float], **more: Any) -> None:
    """Have these marked, and wait until that is done."""
    marking: Port = writer(grafana, **more)
    for run, event, at in events:
        marking.annotate(run, event, at)
    marking.end()


def test_a_mark_says_what_happened_when_and_of_which_run(grafana: Grafana) -> None:
    """In milliseconds, with tags that find all of canaryd, of a plan, or of a run."""
    told(grafana, (rolled_back(), ROLLING_BACK, BEGAN + 35.25))
    [mark] = grafana.annotations
    assert mark["time"] == (BEGAN + 35.25) * 1000
    assert mark["tags"] == ["canaryd", "plan:default/reviews", "run:reviews-v3-7f3a", "run.rolling_back-0-2"]
    assert mark["text"] == "<b>reviews v3: rolling back</b>: errors: canary 2.2 % of 409 requests, stable 0.14 %"
    assert mark["dashboardUID"] == "", "it belongs to no dashboard, and any may show it"


def test_a_mark_may_belong_to_a_dashboard(grafana: Grafana) -> None:
    told(grafana, (rolled_back(), SHIFTING, BEGAN), annotate_on="uid1")
    told(grafana, (rolled_back(), SHIFTING, BEGAN), annotate_on="uid1")
    assert [one["dashboardUID"] for one in grafana.annotations] == ["uid1"]


def test_every_change_of_the_weight_is_marked_and_every_verdict() -> None:
    """Of a run from its beginning to its promotion; a fault in the middle of the way is none."""
    run, journal = stories.play(stories.HEALTHY)
    marked = [
        (entry["at"] - BEGAN, name)
        for entry in journal
        for name, reason in entry["events"]
        if mark_of(run, Event(Told(name), reason), entry["at"])
    ]
    assert marked == [
        (0.0, "step.shifting"),
        (35.0, "step.passed"),
        (35.0, "step.shifting"),
        (80.0, "step.passed"),
        (80.0, "step.shifting"),
        (155.0, "run.promoting"),
        (195.0, "run.promoted"),
    ]


def test_a_run_that_only_observes_changes_nothing_and_marks_nothing() -> None:
    run = rolled_back()
    spec = run.plan.spec.model_copy(update={"mode": "observe"})
    observing = replace(run, plan=run.plan.model_copy(update={"spec": spec}))
    assert observing.plan.observes
    assert mark_of(observing, SHIFTING, BEGAN) is None


def test_each_of_a_run_s_marks_has_a_tag_of_its_own() -> None:
    """By which it is known again: the event, how often the run began over, and the number of the write."""
    run = rolled_back()
    runs = (run, replace(run, seq=9), replace(run, restarts=1), replace(run, uid="other"))
    marks = [mark_of(one, event, BEGAN) for one in runs for event in (SHIFTING, ROLLING_BACK)]
    assert len({one.tags for one in marks if one}) == 8


def test_told_twice_it_is_there_once(grafana: Grafana) -> None:
    """Also by another process, after a death."""
    told(grafana, (rolled_back(), SHIFTING, BEGAN), (rolled_back(), SHIFTING, BEGAN))
    told(grafana, (rolled_back(), SHIFTING, BEGAN), (rolled_back(), ROLLING_BACK, BEGAN + 35))
    assert [one["tags"][-1] for one in grafana.annotations] == ["step.shifting-0-2", "run.rolling_back-0-2"]


def test_an_answer_that_was_lost_is_no_second_mark(grafana: Grafana) -> None:
    """It was written, and a proxy said otherwise."""
    grafana.loses_answers = 1
    told_until(grafana, lambda: len(posts(grafana)) == 1 and len(grafana.asked) == 3)
    assert len(grafana.annotations) == 1


def told_until(grafana: Grafana, condition: Any) -> None:
    """Have a mark written, and end when that holds: an end waits for nobody's recovery."""
    marking = writer(grafana)
    marking.annotate(rolled_back(), SHIFTING, BEGAN)
    wait_for(condition)
    marking.end()


def posts(grafana: Grafana) -> list[Any]:
    return [one for one in grafana.asked if one.method == "POST"]


def test_a_grafana_that_comes_back_gets_its_marks(grafana: Grafana) -> None:
    grafana.fault = "500"
    marking = writer(grafana)
    marking.annotate(rolled_back(), SHIFTING, BEGAN)
    wait_for(lambda: len(grafana.asked) >= 2)
    grafana.fault = ""
    wait_for(lambda: grafana.annotations)
    marking.end()
    assert len(grafana.annotations) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_nobody_waiting_and_is_told(grafana: Grafana, fault: Fault) -> None:
    """Who tells of a weight goes on at once; the mark is lost, and the log says so."""
    grafana.fault = fault
    with structlog.testing.capture_logs() as logs:
        marking = writer(grafana)
        begun = time.monotonic()
        marking.annotate(rolled_back(), SHIFTING, BEGAN)
        assert time.monotonic() - begun < 0.2
        wait_for(lambda: logs or len(grafana.asked) >= 2)
        marking.end()
        wait_for(lambda: logs)
    assert grafana.annotations == []
    assert [(one["event"], one["run"]) for one in logs] == [("annotation.lost", "reviews-v3-7f3a")]
    assert logs[0]["error"].startswith(grafana.url)


def test_a_no_is_not_asked_again(grafana: Grafana, tmp_path: Path) -> None:
    """A token that is none stays none; and it is in no log."""
    (tmp_path / "token").write_text("hunter2")
    grafana.token = "another"
    with structlog.testing.capture_logs() as logs:
        marking = writer(grafana, token={"from_file": str(tmp_path / "token")})
        marking.annotate(rolled_back(), SHIFTING, BEGAN)
        wait_for(lambda: logs)
        marking.end()
    assert len(grafana.asked) == 1
    assert "it wants a login" in logs[0]["error"]
    assert "hunter2" not in str(logs)


def test_a_token_that_was_replaced_is_read_anew(grafana: Grafana, tmp_path: Path) -> None:
    file, grafana.token = tmp_path / "token", "new"
    file.write_text("old")
    marking = writer(grafana, token={"from_file": str(file)})
    marking.annotate(rolled_back(), SHIFTING, BEGAN)
    wait_for(lambda: grafana.asked)
    file.write_text("new\n")
    marking.annotate(rolled_back(), ROLLING_BACK, BEGAN)
    marking.end()
    assert [one["tags"][-1] for one in grafana.annotations] == ["run.rolling_back-0-2"]


def test_what_waits_is_bounded_and_the_newest_is_kept(grafana: Grafana, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Grafana hangs, memory does not grow."""
    monkeypatch.setattr(module, "MOST", 3)
    grafana.fault = "slow"
    marking = writer(grafana)
    marking.annotate(rolled_back(), SHIFTING, BEGAN)
    wait_for(lambda: grafana.asked)
    with structlog.testing.capture_logs() as logs:
        for seq in range(10, 20):
            marking.annotate(replace(rolled_back(), seq=seq), SHIFTING, BEGAN)
    assert [one["event"] for one in logs] == ["annotation.lost"] * 7
    grafana.fault = ""
    wait_for(lambda: len(grafana.annotations) == 4)
    marking.end()
    assert [one["tags"][-1] for one in grafana.annotations][1:] == [f"step.shifting-0-{seq}" for seq in (17, 18, 19)]


def test_an_end_takes_a_bounded_time_and_nothing_is_marked_after_it(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST", 0.2)
    monkeypatch.setattr(module, "EACH", 20.0)
    grafana.fault = "drips"
    marking = writer(grafana)
    for seq in range(20):
        marking.annotate(replace(rolled_back(), seq=seq), SHIFTING, BEGAN)
    begun = time.monotonic()
    marking.end()
    assert time.monotonic() - begun < 5.0
    grafana.fault, grafana.asked[:] = "", []
    marking.annotate(rolled_back(), SHIFTING, BEGAN)
    marking.end()
    assert posts(grafana) == []


def test_names_and_reasons_are_no_html(grafana: Grafana) -> None:
    """Grafana shows the text as such."""
    run = rolled_back()
    spec = run.plan.spec.model_copy(update={"release": "<img src=x onerror=alert(1)>"})
    hostile = replace(run, plan=run.plan.model_copy(update={"spec": spec}))
    told(grafana, (hostile, Event(Told.SHIFTING, "</b><a href='javascript:x'>\x1b[31m" + "x" * 5000), BEGAN))
    [mark] = grafana.annotations
    assert mark["text"].count("<") == 2
    assert len(mark["text"]) < 1300
    assert mark["text"].isprintable()


def test_nothing_is_written_where_the_settings_do_not_ask_for_it() -> None:
    """Grafana is linked to, and nothing more."""
    from canaryd.app import _annotations

    assert _annotations(given()) is None
    assert _annotations(given(grafana="http://grafana")) is None
    assert _annotations(given(grafana={"url": "http://grafana", "annotate": True})) is not None

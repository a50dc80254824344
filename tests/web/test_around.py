"""Links and traces beside a page that renews itself: nobody is waited for, and nobody is asked too often."""

from __future__ import annotations

import threading
from typing import Any

from canaryd.model.links import Link
from canaryd.settings import Settings
from canaryd.web.around import FRESH, Around
from tests.cli.stage import wait_for
from tests.desk.places import in_folder, standing
from tests.web.stage import STANDING, Clock, entered

KIALI: Any = {"kiali": {"url": "http://kiali.example/kiali"}}
SAID = (
    (Link("Kiali", "https://kiali.example/x", "the graph"),),
    (Link("slow request", "https://jaeger.example/t", "2 s"),),
)


def test_a_page_does_not_wait_for_a_neighbour_that_is_slow() -> None:
    """The links need nobody's word; what was asked is shown when it is there, and asked again after a minute."""
    clock, gate, asked = Clock(), threading.Event(), []

    def slow(run: Any, settings: Any) -> Any:
        asked.append(run.uid)
        gate.wait(20)
        return SAID

    around, run = Around(Settings(**KIALI), slow, clock), standing()
    links, traces = around(run)
    assert any(url.startswith("http://kiali.example/kiali/console") for url in (link.url for link in links))
    assert traces == ()
    around(run)
    gate.set()
    wait_for(lambda: around(run) == SAID, "the answer", 20)
    assert asked == ["run-1"]
    clock.seconds += FRESH + 1
    around(run)
    wait_for(lambda: asked == ["run-1", "run-1"], "the second question", 20)


def test_where_no_neighbour_is_set_nobody_is_asked() -> None:
    def never(run: Any, settings: Any) -> Any:
        raise AssertionError

    assert Around(Settings(), never)(standing()) == ((), ())


def test_links_are_on_the_page_and_no_address_that_is_none(tmp_path: Any) -> None:
    place = in_folder(tmp_path)
    place.put(standing(), STANDING)
    bad = (Link("Bad", "javascript:alert(1)", "x"),)
    page = entered(place, more={"neighbours": lambda run: (SAID[0] + bad, SAID[1])})
    text = page.get("/runs/default/run-1").text
    assert '<a href="https://kiali.example/x" rel="noopener noreferrer">Kiali</a>: the graph' in text
    assert "https://jaeger.example/t" in text
    assert "javascript:" not in text

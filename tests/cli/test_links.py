"""`canaryd links`: as a person sees it, and as a program reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from canaryd.cli.exits import Exit
from canaryd.model.run import Record
from canaryd.store.folder import FolderStore
from tests.cli.stage import canaryd
from tests.metrics.worlds import closed_url
from tests.neighbours.standing_in import Jaeger, mesh, standing_in
from tests.neighbours.stories import rolled_back
from tests.report.stories import BEGAN


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with a run that was rolled back."""
    for name in ("KIALI", "GRAFANA", "TRACING"):
        monkeypatch.delenv(f"CANARYD_{name}", raising=False)
    FolderStore(tmp_path).save(Record(rolled_back()))
    return tmp_path


def test_links_and_traces_are_told_to_a_person(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jaeger = Jaeger(base="/jaeger", spans=mesh(BEGAN + 50))
    with standing_in(jaeger):
        monkeypatch.setenv("CANARYD_KIALI", "https://kiali.example/kiali")
        monkeypatch.setenv("CANARYD_TRACING", jaeger.url)
        said = canaryd("links", "reviews", "--state", state)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "Kiali: traffic to both versions"
    assert lines[2].startswith("  https://kiali.example/kiali/console/graph/")
    assert "Jaeger: failing requests to v3" in lines
    place = lines.index("Example traces")
    assert lines[place + 1] == "  2026-09-21 14:13:44 UTC  failing: answered 503 after 961 ms"
    assert lines[place + 3] == "    failed: reviews.default: reviews.default.svc.cluster.local:9080/* (503)"
    assert lines[place + 4] == f"    {jaeger.url}/trace/{25:032x}"


def test_links_and_traces_are_told_to_a_program(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are none, and why."""
    url = closed_url()
    monkeypatch.setenv("CANARYD_TRACING", url)
    monkeypatch.setenv("CANARYD_KIALI", "https://kiali.example/kiali")
    said = canaryd("links", "reviews", "--state", state, "-o", "json")
    found = json.loads(said.out)
    assert found["traces"] == {"found": [], "why": f"no traces: {url}: nobody answers there"}
    assert {*found["links"][0]} == {"title", "url", "shows"}


def test_where_nothing_is_set_it_says_what_to_set(state: Path) -> None:
    said = canaryd("links", "reviews", "--state", state)
    assert said.code == Exit.USAGE
    assert "CANARYD_KIALI" in said.err


def test_a_run_that_is_not_there_is_told(state: Path) -> None:
    said = canaryd("links", "carts", "--state", state)
    assert said.code == Exit.REFUSED
    assert "there is no run or plan carts" in said.err

"""
``canaryd run`` killed in the live lab: real Envoy, real Prometheus, real traffic.

One run, killed while pending, right after a shift, in the middle of a bake and while it rolls back; started again each
time with the same command.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Cell, Sought
from canaryd.model.run import Outcome, Phase, Run
from canaryd.store.folder import FolderStore
from tests.cli.stage import Process, wait_for
from tests.lab.conftest import lab, running_lab  # noqa: F401  # fixtures
from tests.world import place_of

PLAN = Path(bookinfo.__file__).with_name("reviews.yaml")
pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab"), pytest.mark.slow, pytest.mark.timeout(240)]


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(lab: Lab, tmp_path: Path) -> None:  # noqa: F811
    """The faulty canary is rolled back, and what was measured is what Prometheus still says of the same windows."""
    state = tmp_path / "state"
    started: list[Process] = []

    def start() -> Process:
        options = ["--kubeconfig", str(lab.kubeconfig), "--prometheus", lab.prometheus_url, "--state", str(state)]
        started.append(Process(["run", str(PLAN), *options], tmp_path))
        return started[-1]

    def run() -> Run | None:
        return next((record.run for record in FolderStore(state).records()), None)

    def at(split: int, cells: int) -> bool:
        found = run()
        return found is not None and found.split.canary == split * 1000 and len(found.baked) >= cells

    moments = [
        ("pending", lambda: run() is not None),
        ("right after a shift", lambda: lab.weights().get("v3") == 5),
        ("mid-bake", lambda: at(5, 2)),
        ("right after the next shift", lambda: lab.weights().get("v3") == 25),
        ("rolling back", lambda: lab.weights().get("v3") == 0),
    ]
    try:
        process = start()
        for moment, reached in moments:
            if moment == "rolling back":
                wait_for(lambda: at(25, 1), "a cell at 25 %", 40, process)
                lab.faults.set("v3", error_rate=0.3)
            wait_for(reached, moment, 40, process)
            process.kill()
            process = start()
        assert process.ended(60) == 10, process.output
    finally:
        for process in started:
            process.kill()
    ended = run()
    assert ended is not None
    assert (ended.phase, ended.outcome) == (Phase.ROLLED_BACK, Outcome.FAILED)
    assert lab.weights() == {"v1": 100}, "the destination that was inserted is gone again, or has its weight"
    assert len([cell for cell in ended.cells if isinstance(cell, Cell)]) >= 8
    assert list(ended.cells) == fetched_anew(ended, lab.prometheus_url)


def fetched_anew(run: Run, url: str) -> list[object]:
    """What the lab's Prometheus says now of the windows of the run's cells."""
    assert run.stable_pin is not None
    assert run.canary_pin is not None
    analysis = run.plan.spec.analysis
    sought = Sought(
        (bookinfo.HOST,),
        "default",
        run.stable_pin.workloads,
        run.canary_pin.workloads,
        analysis.grpc_failures,
        analysis.scrape.total_seconds(),
    )
    prometheus = Prometheus(url)
    return [prometheus.count(sought, place_of(cell)) for cell in run.cells]

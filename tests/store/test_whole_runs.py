"""Whole runs on the cluster's store: the same ending as in memory, also where processes die with unwritten cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from canaryd.kube import CANARY_RECORDS, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Outcome, Record
from tests.store.places import NAMESPACE, Process, prepare
from tests.world import World


@pytest.mark.parametrize(("errors", "outcome"), [(0.001, Outcome.PROMOTED), (0.3, Outcome.FAILED)])
@pytest.mark.parametrize("every", [None, 7], ids=["one process", "a new process every seven ticks"])
def test_a_run_ends_as_it_does_in_memory(tmp_path: Path, errors: float, outcome: Outcome, every: int | None) -> None:
    """What was only in memory is asked of Prometheus again; nothing is decided twice, and traffic never goes astray."""
    memory = World(canary_errors=errors)
    wanted = memory.live(within=600)
    assert wanted.outcome is outcome
    with ApiServer(Cluster()) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
        prepare(kube)
        world, ticks = World(canary_errors=errors), 0

        def another(found: World) -> None:
            process = Process(kube)
            process.now = found.clock.at
            found.store = process.store  # type: ignore[assignment]  # by shape
            found.start()

        def pass_by(found: World) -> None:
            nonlocal ticks
            ticks += 1
            if every and ticks % every == 0:
                another(found)

        begun = world.store.load("run-1")
        another(world)
        world.store.save(Record(begun.run))
        ended = world.live(within=600, then=pass_by)
        writes = int(kube.get(CANARY_RECORDS, NAMESPACE, "run-1")["version"])
    assert (ended.outcome, ended.split, ended.seq) == (wanted.outcome, wanted.split, wanted.seq)
    assert world.seen == memory.seen
    saves = memory.store.load("run-1").version
    assert writes <= saves
    assert outcome is not Outcome.PROMOTED or writes < saves, f"{writes} writes for {saves} saves"

"""A dozen of the kills of `make kills`: SIGKILL at load, save, patch and tell, on real adapters, in both stories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from canaryd.kube import connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.traffic import NOTHING, Split
from tests.kills.driver import POINTS
from tests.kills.trial import Kill, Nursery, furnish, kills, trial
from tests.mesh.objects import ROUTE, marker

DOZEN = [
    Kill("healthy", "load", 5, "after"),
    Kill("healthy", "save", 1, "before"),
    Kill("healthy", "save", 1, "after"),
    Kill("healthy", "save", 7, "after"),
    Kill("healthy", "patch", 1, "before"),
    Kill("healthy", "patch", 2, "after"),
    Kill("healthy", "tell", 8, "before"),
    Kill("faulty", "load", 4, "before"),
    Kill("faulty", "save", 5, "before"),
    Kill("faulty", "patch", 1, "before"),
    Kill("faulty", "patch", 1, "after"),
    Kill("faulty", "tell", 6, "after"),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as found:
        yield found


@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("kill", DOZEN, ids=str)
def test_a_killed_canaryd_goes_on_as_if_it_had_lived(kill: Kill, nursery: Nursery) -> None:
    """Its end, the weights in the API, and each saved cell are those of one that was never killed."""
    trial(kill, nursery)


def test_the_dozen_kills_at_every_point_in_both_stories() -> None:
    """A point that is left out is a point that is not tried."""
    assert {(kill.point, kill.story) for kill in DOZEN} == {(p, s) for p in POINTS for s in ("healthy", "faulty")}


def test_two_hundred_kills_are_spread_over_every_point_and_story() -> None:
    """The table of `make kills` means what it says."""
    spread = Counter((kill.point, kill.story) for kill in kills(200))
    assert spread == {(point, story): 25 for point in POINTS for story in ("healthy", "faulty")}


def test_an_accepted_retreat_is_two_requests(tmp_path: Path) -> None:
    """From the verdict on: one look by the retreat itself, one patch. The tick adds none, see test_reconciler.py."""
    with ApiServer(Cluster()) as server:
        furnish(server.cluster)
        mesh = IstioMesh(connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5))
        mesh.shift(ROUTE, marker(25), mesh.look(ROUTE))
        assert mesh.look(ROUTE).split == Split.percent(25)
        before = len(server.requests)
        mesh.retreat(ROUTE, marker(0, seq=2))
        assert len(server.requests) - before <= 2
        assert mesh.look(ROUTE).split == NOTHING

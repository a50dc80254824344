"""Markers whose run is gone, looked at by hand over a mesh in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.controller.orphans import Orphans
from canaryd.errors import Unavailable
from canaryd.mesh.weights import Guard, weight_patch
from canaryd.model.traffic import NOTHING, Marker, Split
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import ROUTE, V1, V3, at, deployment, pod, surroundings
from tests.world import START, VirtualClock

QUARTER = Split.percent(25)


class Scene:
    """`reviews` at 25 %, by a run that may be there or not."""

    def __init__(self, *, kept: str = "canaryrun", born: float = START, **around: Any) -> None:
        self.mesh = MemoryMesh(at(100, 0), surroundings(**around))
        marker = Marker("reviews-1", 3, QUARTER, NOTHING, V1, V3, START, born=born, kept=kept)
        assert self.mesh.virtual_service is not None
        self.mesh._write("shift", weight_patch(self.mesh.virtual_service, ROUTE, marker, Guard.OBJECT))
        self.mesh.writes.clear()
        self.told: list[str] = []
        self.there: list[str] = []
        self.may = True
        self.orphans = Orphans(
            self.mesh,
            self,
            self.exists,
            VirtualClock(START + 60),
            tell=lambda _, why: self.told.append(why),
            may=lambda: self.may,
        )

    def get(self, namespace: str, name: str) -> Any:
        return self.mesh.virtual_service

    def all(self) -> list[Any]:
        return [self.mesh.virtual_service]

    def exists(self, namespace: str, uid: str) -> bool:
        return uid in self.there

    def look(self) -> tuple[int, list[str]]:
        """The canary's weight afterwards, and which annotations of ours are left."""
        self.orphans._look("default/reviews")
        found = self.mesh.virtual_service
        assert found is not None
        weights = {one["destination"]["subset"]: one.get("weight", 0) for one in found["spec"]["http"][0]["route"]}
        return weights["v3"], [key for key in found["metadata"].get("annotations") or {} if "canaryd.io" in key]


def test_its_canary_goes_to_nothing_and_the_marker_goes() -> None:
    """From what the marker says; the retreat is marked as one before that."""
    scene = Scene()
    assert scene.look() == (0, [])
    assert scene.told == ["run reviews-1 is gone; its canary v3 goes from 25 % to 0 %"]
    marker = next(one["value"] for one in scene.mesh.writes[0] if "marker" in one["path"] and one["op"] == "add")
    assert replace(Marker.parse(marker), reason="") == Marker(
        "reviews-1", 4, NOTHING, QUARTER, V1, V3, START + 60, latch="abort", born=START, kept="canaryrun"
    )


def test_one_whose_run_is_there_is_left_alone() -> None:
    """Whatever a cache says: the API server was asked."""
    scene = Scene()
    scene.there.append("reviews-1")
    assert scene.look()[0] == 25
    assert scene.mesh.writes == []


def test_what_cannot_be_asked_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    scene = Scene()

    def silent(*_: str) -> bool:
        raise Unavailable("no answer")

    monkeypatch.setattr(scene.orphans, "_exists", silent)
    assert scene.look()[0] == 25


def test_a_run_that_lives_on_a_laptop_is_its_owners_affair() -> None:
    """There never was a CanaryRun of it."""
    assert Scene(kept="").look()[0] == 25


def test_where_stable_cannot_take_the_traffic_it_stays_and_is_told() -> None:
    """Once; and goes as soon as stable is there again."""
    scene = Scene(pods=[pod("v3", 0)], deployments=[deployment("v3")])
    assert scene.look()[0] == 25
    assert scene.look()[0] == 25
    assert scene.told == ["run reviews-1 is gone, and v1 has no ready endpoint to go to"]
    scene.mesh.around = surroundings()
    assert scene.look() == (0, [])


def test_who_leads_no_more_does_nothing() -> None:
    """The next leader looks at every marker."""
    scene = Scene()
    scene.may = False
    assert scene.look()[0] == 25

"""Several VirtualServices on a real adapter: each is written for itself, and what one refuses keeps no other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable
from canaryd.kube import VIRTUAL_SERVICES, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.mesh.several import Several
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.traffic import NOTHING, Marker, Route, Split, Version
from tests.mesh.objects import (
    V1,
    V2,
    V3,
    deployment,
    destination,
    destination_rule,
    entry,
    pod,
    service,
    virtual_service,
)

Object = dict[str, Any]
FIVE, QUARTER = Split.percent(5), Split.percent(25)
FULL = "reviews.default.svc.cluster.local"


@dataclass
class Town:
    """Two VirtualServices that send to `reviews`, and the lab's API server in front of them."""

    cluster: Cluster
    server: ApiServer
    mesh: Several

    def plan(self, **target: Any) -> Plan:
        found = {
            "virtualService": "reviews",
            "host": "reviews",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v3"},
            "also": [{"virtualService": "gateway", "routes": ["reviews"]}],
            **target,
        }
        spec = {"target": found, "steps": [{"weight": 5}, {"weight": 50}]}
        return Plan.model_validate({"metadata": {"name": "reviews"}, "spec": spec})

    def http(self, name: str) -> list[Object]:
        found = self.cluster.find("VirtualService", "default", name)
        assert found is not None
        return found["spec"]["http"]

    def weights(self, name: str, place: int = 0) -> list[int | None]:
        return [one.get("weight") for one in self.http(name)[place]["route"]]

    def edit(self, name: str, place: int, route: list[Object]) -> None:
        found = copy.deepcopy(self.cluster.find("VirtualService", "default", name))
        assert found is not None
        found["spec"]["http"][place]["route"] = route
        self.cluster.apply(found)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    cluster = Cluster()
    outside = entry(destination(Version(FULL, "v1")), name="reviews")
    gateway = virtual_service(
        entry(destination(Version("details")), name="details", match=[{"uri": {"exact": "/details"}}]),
        outside,
        name="gateway",
    )
    gateway["spec"]["hosts"] = ["reviews.example"]
    for found in (virtual_service(entry(destination(V1))), gateway):
        found["metadata"].pop("resourceVersion")
        cluster.apply(found)
    beside = {
        "v1 Service": [service()],
        "networking.istio.io/v1 DestinationRule": [destination_rule()],
        "apps/v1 Deployment": [deployment(one) for one in ("v1", "v3")],
        "v1 Pod": [pod(one, number) for one in ("v1", "v3") for number in range(2)],
    }
    for what, several in beside.items():
        version, kind = what.split()
        for one in several:
            cluster.apply({"apiVersion": version, "kind": kind, **one})
    with ApiServer(cluster) as server:
        kube = connect(Path(kubeconfig(server.address, tmp_path / "kubeconfig")))
        yield Town(cluster, server, Several(IstioMesh(kube)))


def marker(split: Split, seq: int) -> Marker:
    return Marker("run-1", seq, split, NOTHING, V1, V3, 0.0)


def admitted(town: Town) -> Route:
    return town.mesh.admit(town.plan()).route


def test_both_objects_are_admitted_as_they_write_their_hosts(town: Town) -> None:
    route = admitted(town)
    assert str(route) == "VirtualServices default/reviews and default/gateway"
    assert [part.canary for part in route.parts] == [V3, Version(FULL, "v3")]
    assert [str(one) for one in route.also[0].entries] == ["reviews"]


def test_an_advance_a_retreat_and_the_end_leave_both_as_they_were(town: Town) -> None:
    before = [copy.deepcopy(town.http(name)) for name in ("reviews", "gateway")]
    route = admitted(town)
    town.mesh.shift(route, marker(FIVE, 1), town.mesh.look(route))
    seen = town.mesh.look(route)
    assert (seen.split, [part.split for part in seen.parts]) == (FIVE, [FIVE, FIVE])
    assert town.weights("gateway", 1) == [95, 5]
    town.mesh.retreat(route, marker(NOTHING, 2))
    assert town.mesh.look(route).split == NOTHING
    town.mesh.release(route, "run-1")
    assert [town.http(name) for name in ("reviews", "gateway")] == before
    for name in ("reviews", "gateway"):
        found = town.cluster.find("VirtualService", "default", name)
        assert found is not None
        assert not found["metadata"].get("annotations")


def test_an_advance_is_sent_to_those_only_that_have_it_not(town: Town) -> None:
    route = admitted(town)
    town.server.faults.fail("patch", "virtualservices", 500, times=3)
    with pytest.raises(CanarydError):
        town.mesh.shift(route, marker(FIVE, 1), town.mesh.look(route))
    town.server.faults.clear()
    town.mesh.shift(route, marker(FIVE, 1), town.mesh.look(route))
    town.server.faults.fail("patch", "virtualservices", 500)
    town.mesh.shift(route, marker(FIVE, 1), town.mesh.look(route))  # all have it: nothing is sent


def test_what_one_object_has_lost_keeps_no_other_from_going_back(town: Town) -> None:
    """The first has nothing of ours any more, which raises; the second goes back all the same."""
    route = admitted(town)
    town.mesh.shift(route, marker(QUARTER, 1), town.mesh.look(route))
    town.edit("reviews", 0, [destination(V2, 100)])
    with pytest.raises(Conflict, match="VirtualService default/reviews"):
        town.mesh.retreat(route, marker(NOTHING, 2))
    assert town.weights("gateway", 1) == [100, 0]


def test_of_several_failures_the_one_that_a_person_must_mend_is_raised(town: Town) -> None:
    route = admitted(town)
    town.mesh.shift(route, marker(QUARTER, 1), town.mesh.look(route))
    town.edit("reviews", 0, [destination(V3, 100)])  # no stable destination is left
    town.edit("gateway", 1, [destination(V2, 100)])
    with pytest.raises(Rejected, match=r"no destination v1 to go back to.*default/gateway"):
        town.mesh.retreat(route, marker(NOTHING, 2))


def test_a_look_that_one_object_does_not_answer_is_none(town: Town) -> None:
    route = admitted(town)
    town.server.stop()
    with pytest.raises(Unavailable):
        town.mesh.look(route)


def test_objects_that_differ_amount_to_no_split_and_say_which_has_what(town: Town) -> None:
    route = admitted(town)
    town.mesh.shift(route, marker(QUARTER, 1), town.mesh.look(route))
    town.edit("gateway", 1, [destination(Version(FULL, "v1"), 90), destination(Version(FULL, "v3"), 10)])
    seen = town.mesh.look(route)
    assert seen.split is None
    assert seen.readable
    assert seen.most == QUARTER
    assert "reviews 25 %, gateway 10 %" in seen.why


def test_the_problems_of_all_objects_are_told_at_once(town: Town) -> None:
    with pytest.raises(Refused) as refused:
        town.mesh.admit(town.plan(also=[{"virtualService": "gateway", "routes": ["nope"]}, {"virtualService": "none"}]))
    told = str(refused.value)
    assert "nope" in told
    assert "a VirtualService in namespace default" in told


def test_an_object_that_moves_along_is_no_other_way_to_the_canary(town: Town) -> None:
    """Without it in the plan, its people would be another population."""
    town.edit("gateway", 1, [destination(Version(FULL, "v1"), 100), destination(Version(FULL, "v3"), 0)])
    admitted(town)
    with pytest.raises(Refused, match="one population"):
        town.mesh.admit(town.plan(also=[]))


def test_objects_that_do_not_begin_alike_are_refused(town: Town) -> None:
    town.edit("gateway", 1, [destination(Version(FULL, "v1"), 90), destination(Version(FULL, "v3"), 10)])
    with pytest.raises(Refused, match="gateway"):
        town.mesh.admit(town.plan())


def test_a_diff_shows_what_each_object_gets(town: Town) -> None:
    told = [one.what for one in town.mesh.rehearse(town.plan())]
    assert told == [
        f"{name}, {what}"
        for name in ("reviews", "gateway")
        for what in ("step 1: 5 %", "step 2: 50 %", "promotion: 100 %", "the end")
    ]
    assert VIRTUAL_SERVICES.plural == "virtualservices"


def test_one_object_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each VirtualService once"):
        Town.plan(None, also=[{"virtualService": "reviews"}])  # type: ignore[arg-type]  # it reads nothing of the town

"""The adapter on an API server: how many requests, on which connection, and what the API may do to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.kube import connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.mesh.virtualservice import IstioMesh
from canaryd.model.problem import Refused
from canaryd.model.traffic import NOTHING, Marker, Split
from tests.mesh.objects import (
    ROUTE,
    V1,
    V3,
    at,
    deployment,
    destination,
    destination_rule,
    entry,
    marker,
    plan,
    pod,
    service,
    virtual_service,
)

Object = dict[str, Any]


def peopled(*objects: Object) -> Cluster:
    """A cluster with all of `reviews`, and these VirtualServices."""
    cluster = Cluster()
    named = {
        ("v1", "Service"): [service()],
        ("networking.istio.io/v1", "DestinationRule"): [destination_rule()],
        ("apps/v1", "Deployment"): [deployment(one) for one in ("v1", "v3")],
        ("v1", "Pod"): [pod(one, number) for one in ("v1", "v3") for number in range(2)],
        ("networking.istio.io/v1", "VirtualService"): objects or [at(100, 0)],
    }
    for (version, kind), several in named.items():
        for one in several:
            one["metadata"].pop("resourceVersion", None)
            cluster.apply({**one, "apiVersion": version, "kind": kind})
    return cluster


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(peopled()) as found:
        yield found


def mesh_of(server: ApiServer, tmp_path: Path, timeout: float = 5, **more: Any) -> IstioMesh:
    return IstioMesh(connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=timeout), **more)


def asked(server: ApiServer) -> list[tuple[str, str]]:
    return [(one.verb, one.resource) for one in server.requests]


def test_a_retreat_takes_two_requests(server: ApiServer, tmp_path: Path) -> None:
    """Read and patch: from verdict to accepted rollback there is time for no more."""
    mesh = mesh_of(server, tmp_path)
    mesh.shift(ROUTE, marker(25), mesh.look(ROUTE))
    before = len(asked(server))
    mesh.retreat(ROUTE, marker(0, seq=2))
    assert asked(server)[before:] == [("get", "virtualservices"), ("patch", "virtualservices")]


def test_a_retreat_does_not_wait_for_other_requests(server: ApiServer, tmp_path: Path) -> None:
    """Every connection of the others hangs in a slow answer; the retreat has its own, and a shorter deadline."""
    mesh = mesh_of(server, tmp_path)
    mesh.shift(ROUTE, marker(25), mesh.look(ROUTE))
    server.faults.hang("list", "pods", 6, times=None)

    def look_at_the_pods() -> None:
        with pytest.raises(Unavailable):
            mesh.sides(ROUTE)

    busy = [threading.Thread(target=look_at_the_pods) for _ in range(20)]
    for thread in busy:
        thread.start()
    started = time.monotonic()
    mesh.retreat(ROUTE, marker(0, seq=2))
    assert time.monotonic() - started < 4
    for thread in busy:
        thread.join()


def test_a_retreat_has_a_deadline_of_its_own(server: ApiServer, tmp_path: Path) -> None:
    """An API server that takes the request and says nothing must not hold the tick."""
    mesh = mesh_of(server, tmp_path, timeout=30, retreat_limit=0.3)
    server.faults.hang("get", "virtualservices", 8)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"within 0\.3 s"):
        mesh.retreat(ROUTE, marker(0))
    assert time.monotonic() - started < 5


def test_a_busy_writer_cannot_block_a_retreat(server: ApiServer, tmp_path: Path) -> None:
    """It changes the object between our reading and our patch, every time; a guard on the version would never pass."""
    mesh = mesh_of(server, tmp_path)
    done = threading.Event()
    writes = 0

    def write() -> None:
        nonlocal writes
        while not done.is_set():
            found = server.cluster.find("VirtualService", "default", "reviews")
            assert found is not None
            found["metadata"].setdefault("labels", {})["count"] = str(writes)
            found["metadata"].pop("resourceVersion")
            try:
                server.cluster.apply(found)
                writes += 1
            except Exception:  # noqa: BLE001  # it lost the race against us
                continue
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for seq in range(1, 40):
            mesh.retreat(ROUTE, replace(marker(0), seq=seq))
    finally:
        done.set()
        writer.join()
    assert writes > 10


def test_an_older_istio_is_served_in_v1beta1(tmp_path: Path) -> None:
    """Istio before 1.22 has no v1; once known, it costs no further request."""
    with ApiServer(peopled()) as server:
        for resource in list(server.cluster.registry):
            if resource.group == "networking.istio.io":
                server.cluster.registry.drop(resource)
                server.cluster.registry.add(replace(resource, versions=("v1beta1",)))
        mesh = mesh_of(server, tmp_path)
        mesh.shift(ROUTE, marker(25), mesh.look(ROUTE))
        before = len(asked(server))
        mesh.retreat(ROUTE, marker(0, seq=2))
        assert len(asked(server)) == before + 2
        assert mesh.look(ROUTE).split == NOTHING
        mesh.release(ROUTE, "run-1")
        assert mesh.admit(plan()).split == NOTHING


def test_without_istio_it_is_said(tmp_path: Path) -> None:
    """Not that the object were missing."""
    with ApiServer(Cluster()) as server:
        for resource in list(server.cluster.registry):
            if resource.group == "networking.istio.io":
                server.cluster.registry.drop(resource)
        with pytest.raises(Rejected, match="are Istio's CRDs installed"):
            mesh_of(server, tmp_path).look(ROUTE)


def test_a_kubeconfig_without_rights_is_refused_with_the_command_that_grants(tmp_path: Path) -> None:
    """At admission, all that is missing at once: not at the first rollback."""
    denied = (("patch", "virtualservices"), ("list", "pods"))
    with ApiServer(peopled(), denied=denied) as server:
        with pytest.raises(Refused) as refusal:
            mesh_of(server, tmp_path).admit(plan())
        said = str(refusal.value)
        assert "the right to patch virtualservices.networking.istio.io" in said
        assert "the right to list pods" in said
        assert "kubectl create role" in said


def test_what_the_webhook_refuses_is_found_at_admission(tmp_path: Path) -> None:
    """The first step is rehearsed as a dry run; nothing is changed by it."""
    with ApiServer(peopled()) as server:
        server.faults.fail("patch", "virtualservices", 400)
        with pytest.raises(Refused, match="may be patched like this"):
            mesh_of(server, tmp_path).admit(plan())
        before = server.cluster.find("VirtualService", "default", "reviews")
        assert mesh_of(server, tmp_path).admit(plan()).split == NOTHING
        assert server.cluster.find("VirtualService", "default", "reviews") == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Rejected('admission webhook "x" does not support dry run'), "NotRehearsed"),
        (Conflict("the object has been modified"), "ChangedMeanwhile"),
    ],
)
def test_a_rehearsal_that_says_nothing_of_the_patch_stops_nothing(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """A webhook with side effects cannot be tried, and somebody may write at that moment."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    mesh = mesh_of(server, tmp_path)
    monkeypatch.setattr(mesh._kube, "patch_json", refuse)
    assert [one.code for one in mesh.admit(plan()).findings] == [code]


def weights(found: Object) -> list[int]:
    return [one.get("weight", 0) for one in found["spec"]["http"][0]["route"]]


def test_a_rehearsal_shows_every_write_from_the_first_step_to_the_end(server: ApiServer, tmp_path: Path) -> None:
    """Each as the API server would have it, and at the end nothing of ours is left; nothing was written."""
    before = server.cluster.find("VirtualService", "default", "reviews")
    writes = mesh_of(server, tmp_path).rehearse(plan())
    assert [one.what for one in writes] == ["step 1: 5 %", "step 2: 50 %", "promotion: 100 %", "the end"]
    assert [weights(one.after) for one in writes] == [[95, 5], [50, 50], [0, 100], [0, 100]]
    assert [bool(one.unheard) for one in writes] == [False, False, False, True]
    assert "marker.canaryd.io/reviews" in writes[2].after["metadata"]["annotations"]
    assert not writes[3].after["metadata"].get("annotations")
    assert server.cluster.find("VirtualService", "default", "reviews") == before


def test_who_may_only_read_sees_the_writes_all_the_same(tmp_path: Path) -> None:
    """And that the API server was not asked for them."""
    with ApiServer(peopled(), denied=(("patch", "virtualservices"),)) as server:
        writes = mesh_of(server, tmp_path).rehearse(plan())
    assert [weights(one.after) for one in writes] == [[95, 5], [50, 50], [0, 100], [0, 100]]
    assert all(one.unheard and not one.refused for one in writes)


def test_a_rehearsal_tells_which_write_would_be_refused(server: ApiServer, tmp_path: Path) -> None:
    server.faults.fail("patch", "virtualservices", 400)
    first, second, *_ = mesh_of(server, tmp_path).rehearse(plan())
    assert "400" in first.refused
    assert weights(first.after) == [95, 5]
    assert not second.refused


def test_other_namespaces_that_may_not_be_listed_are_a_remark(tmp_path: Path) -> None:
    """A namespaced Role is enough to run; what could not be seen is said."""
    with ApiServer(peopled()) as server:
        server.faults.fail("list", "virtualservices", 403)
        answer = mesh_of(server, tmp_path).admit(plan())
        assert "another way to the versions may be overlooked" in answer.remarks[0]


@pytest.mark.parametrize(
    ("code", "error"), [(409, Conflict), (422, Conflict), (500, Unavailable), (503, Unavailable), (429, Unavailable)]
)
def test_the_engine_is_told_what_to_do_next(server: ApiServer, tmp_path: Path, code: int, error: type) -> None:
    """Read again and re-plan, or try again: a retreat goes on in either case."""
    mesh = mesh_of(server, tmp_path)
    server.faults.fail("patch", "virtualservices", code)
    with pytest.raises(error):
        mesh.retreat(ROUTE, marker(0))


def test_a_refused_patch_on_an_unchanged_object_is_no_conflict(server: ApiServer, tmp_path: Path) -> None:
    """Reading again would find the same and plan the same, for ever."""
    mesh = mesh_of(server, tmp_path)
    server.faults.fail("patch", "virtualservices", 422)
    with pytest.raises(Rejected, match="though nothing has changed"):
        mesh.shift(ROUTE, marker(25), mesh.look(ROUTE))


def test_a_shift_that_comes_late_finds_the_retreat_before_it(server: ApiServer, tmp_path: Path) -> None:
    """
    A shift that got no answer may still be on its way when the run has failed.

    The retreat changes what it is guarded by; otherwise traffic would rise after the rollback.
    """
    mesh = mesh_of(server, tmp_path, timeout=0.5)
    mesh.shift(ROUTE, marker(5), mesh.look(ROUTE))
    server.faults.hang("patch", "virtualservices", 1.5, perform=True)
    with pytest.raises(Unavailable):
        mesh.shift(ROUTE, Marker("run-1", 2, Split.percent(50), NOTHING, V1, V3, 0.0), mesh.look(ROUTE))
    mesh.retreat(ROUTE, marker(0, seq=3))
    deadline = time.monotonic() + 10
    while len([one for one in asked(server) if one == ("patch", "virtualservices")]) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert mesh.look(ROUTE).split == NOTHING


def test_a_canary_on_a_port_is_inserted_on_that_port(tmp_path: Path) -> None:
    """A service of several ports needs it, and Istio's schema takes only {number}."""
    cluster = peopled(virtual_service(entry(destination(V1, port={"number": 9080}))))
    with ApiServer(cluster) as server:
        mesh = mesh_of(server, tmp_path)
        mesh.shift(ROUTE, marker(5), mesh.look(ROUTE))
        found = cluster.find("VirtualService", "default", "reviews")
        assert found is not None
        assert found["spec"]["http"][0]["route"][1]["destination"] == {
            "host": "reviews",
            "subset": "v3",
            "port": {"number": 9080},
        }

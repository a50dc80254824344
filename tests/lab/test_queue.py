"""
The queue on a real mesh: at most one run at once, two services that are released, and what the clients of each met.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab
from canaryd.lab.load import Load
from canaryd.lab.scenarios.outcome import changes
from canaryd.lab.scenarios.player import virtual_services
from tests.lab.conftest import calm, put
from tests.lab.test_controller import LONG, RPS, Cluster, plan, share

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab"), pytest.mark.slow, pytest.mark.timeout(300)]

Json = dict[str, Any]
QUEUED = "waiting in the queue: 1st of 1, at most 1 run goes on at once in this cluster"
STEPS = [{"weight": 10, "bake": "16s"}, {"weight": 50, "bake": "6s"}]
ROUTE = [{"destination": {"host": "details", "subset": "v1"}}]
DETAILS: Json = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "details", "namespace": "default", "annotations": {"team": "catalogue"}},
    "spec": {"hosts": ["details"], "http": [{"timeout": "4s", "route": ROUTE}]},
}


@pytest.fixture(scope="module")
def limited(running_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own, whose controller lets one run go on at once; details has a second version in it."""
    running_lab.load.settle()  # two labs at work are too much for two cores; the next test sets its rate again
    with Lab.up(tmp_path_factory.mktemp("limited"), rps=RPS, seed=7) as lab:
        put(lab, bookinfo.deployment("details", "v2"), bookinfo.destination_rule("details", ("v1", "v2")))
        lab.start_controller(CANARYD_MAX_RUNS="1").wait_until_leading(60)
        yield lab
        lab.stop_controller()


@pytest.fixture
def cluster(limited: Lab, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(limited, tmp_path)
    calm(limited)
    put(limited, DETAILS)
    limited.load.set_rate(RPS)
    yield found
    for one in limited.cluster.objects("CanaryPlan"):
        limited.cluster.remove("CanaryPlan", "default", one["metadata"]["name"])  # rolls its run back
    found.until(lambda: not found.marks(), "everything of canaryd's is out")
    for one in limited.cluster.objects("CanaryRun"):
        limited.cluster.remove("CanaryRun", "default", one["metadata"]["name"])
    calm(limited)


@pytest.fixture
def details(cluster: Cluster) -> Iterator[Load]:
    """Requests to details, from the client of reviews."""
    yield cluster.lab.start_stream("details", port=9080, host="details:9080", path="/details/0", rps=60)
    cluster.lab.stop_stream("details")


@contextmanager
def marked(lab: Lab) -> Iterator[list[tuple[float, frozenset[str]]]]:
    """From when on which VirtualServices have canaryd's marker, by their names."""
    seen: list[tuple[float, frozenset[str]]] = []
    now: set[str] = set()

    def note(change: Any) -> None:
        about = change.object["metadata"]
        if change.object["kind"] == "VirtualService":
            ours = any(".canaryd.io/" in key for key in about.get("annotations") or {})
            (now.add if ours else now.discard)(about["name"])
            if not seen or seen[-1][1] != now:
                seen.append((time.time(), frozenset(now)))

    unsubscribe = lab.cluster.subscribe(note)
    try:
        yield seen
    finally:
        unsubscribe()


@pytest.mark.parametrize(("faulty", "ending"), [(False, "promoted"), (True, "rolled back")])
def test_the_second_begins_when_the_first_has_ended_and_no_client_met_it_before(
    cluster: Cluster, details: Load, faulty: bool, ending: str
) -> None:
    """However the first ends, and though the controller is killed while both are there; the place is shown and kept."""
    lab = cluster.lab
    before = virtual_services(lab)

    def place() -> str:
        row = next(one for one in cluster.kubectl("get", "canaryplans").splitlines() if one.startswith("details"))
        return row if QUEUED in row and " pending " in row else ""

    def asked() -> object:
        return (lab.cluster.find("CanaryPlan", "default", "details") or {})["status"].get("asked")

    with marked(lab) as marks:
        cluster.apply(plan(steps=LONG if faulty else STEPS))
        cluster.until(lambda: lab.weights().get("v3") == 10, "10 % of reviews")
        target = {"virtualService": "details", "host": "details", "canary": {"subset": "v2"}}
        analysis = {**plan()["spec"]["analysis"], "minRequests": 20}
        cluster.apply(plan("details", target, analysis=analysis))
        cluster.until(lambda: bool(place()), "a place in the queue")
        since = asked()
        killed = cluster.controller.kill()
        cluster.until(lambda: cluster.controller.leads, "another that leads", 30)
        assert cluster.controller.pid not in (None, killed)
        time.sleep(3.0)
        assert place()
        assert asked() == since
        assert details.counts().of("v2").answered == 0
        lab.faults.set("v3", error_rate=0.3 if faulty else 0.0)
        cluster.until(lambda: cluster.condition("Finished").get("status") == "True", "the end of reviews", 90)
        assert cluster.runs()[-1]["status"]["phase"] == ending
        assert cluster.ends("details")["phase"] == "promoted"

    assert [names for _, names in marks if names] == [{"reviews"}, {"details"}], "one run at once, one after the other"
    began = next(at for at, names in marks if names == {"details"})
    assert all(row.get("v2", 0) == 0 for row in details.seconds(3600) if row["second"] + 1 <= began)
    until = time.time()
    time.sleep(2.5)
    assert share(details, "v2", until, time.time()) == 1.0
    assert share(lab.load, "v1" if faulty else "v3", until, time.time()) == 1.0
    assert (details.counts().failed, details.counts().lost) == (0, 0)
    assert changes(before, virtual_services(lab)) == ()

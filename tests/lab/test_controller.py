"""
canaryd as it runs in a cluster, on the lab: plans by kubectl, a real Envoy and Prometheus, and what the clients saw.

The controller is a process of its own that the lab keeps alive. What is asserted is asserted of requests that were
answered, beside what canaryd says of itself.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.lab import bookinfo
from canaryd.lab.controller import Controller
from canaryd.lab.lab import Lab
from canaryd.lab.load import Counts, Load
from canaryd.store.objects import record_of
from tests.cli.stage import PLAN as USUAL
from tests.deploy.test_dashboard import panels
from tests.lab.conftest import calm, put, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab"), pytest.mark.slow]

Json = dict[str, Any]
RPS = 150
"""Enough to tell shares by, and little enough that two cores with other work on them keep up."""
PLAN: Json = USUAL | {
    "spec": USUAL["spec"]
    | {
        "steps": [{"weight": 10, "bake": "6s"}, {"weight": 50, "bake": "6s"}],
        "analysis": {"scrape": "1s", "cell": "2s", "settle": "1s", "warmup": "4s", "proofCells": 2, "history": "10s"},
        "acceptUnproven": "a test has no time for proof",
        "watch": "2s",
    }
}
LONG = [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}]


class Cluster:
    """What a person with kubectl sees and does."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder

    @property
    def controller(self) -> Controller:
        assert self.lab.controller is not None
        return self.lab.controller

    def kubectl(self, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.lab.kubeconfig)}
        done = subprocess.run(
            ["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: Json) -> None:
        place = self.folder / "objects.yaml"
        place.write_text(yaml.safe_dump_all(objects))
        self.kubectl("apply", "-f", str(place))

    def runs(self, plan: str = "reviews") -> list[Json]:
        """The CanaryRuns of a plan, the oldest first."""
        found = [
            one for one in self.lab.cluster.objects("CanaryRun") if one["spec"]["plan"]["metadata"]["name"] == plan
        ]
        return sorted(found, key=lambda one: str(one["spec"]["created"]))

    def condition(self, kind: str, plan: str = "reviews") -> Json:
        """Of the newest run; empty where there is none."""
        status = (self.runs(plan) or [{}])[-1].get("status") or {}
        return next((one for one in status.get("conditions") or () if one["type"] == kind), {})

    def until(self, fact: Callable[[], bool], what: str, deadline: float = 60.0) -> None:
        try:
            wait_for(fact, what, deadline)
        except AssertionError as error:
            runs = [one.get("status", {}).get("why") for one in self.lab.cluster.objects("CanaryRun")]
            log = "\n".join(self.controller.log.read_text().splitlines()[-15:])
            raise AssertionError(f"{error}; runs: {runs}\n{log}") from None

    def ends(self, plan: str = "reviews", deadline: float = 120.0) -> Json:
        """The newest run's status, once it has finished and its marker is out of the mesh."""
        self.until(
            lambda: self.condition("Finished", plan).get("status") == "True" and not self.marks(),
            f"the end of the run of plan {plan}",
            deadline,
        )
        status: Json = self.runs(plan)[-1]["status"]
        return status

    def marks(self) -> list[str]:
        """canaryd's annotations on any VirtualService."""
        annotations = [one["metadata"].get("annotations") or {} for one in self.lab.cluster.objects("VirtualService")]
        return [key for each in annotations for key in each if ".canaryd.io/" in key]


@pytest.fixture(scope="module")
def running(running_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: images are changed in it, pods come anew, and its Prometheus is stopped."""
    running_lab.load.settle()  # two labs at work are too much for two cores; the next test sets its rate again
    with Lab.up(tmp_path_factory.mktemp("controlled"), rps=RPS, seed=7) as lab:
        lab.start_controller().wait_until_leading(60)
        yield lab
        lab.stop_controller()


@pytest.fixture
def cluster(running: Lab, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(running, tmp_path)
    calm(running)
    running.load.set_rate(RPS)
    yield found
    running.start_api()
    os.kill(running.prometheus.pid, signal.SIGCONT)
    for plan in running.cluster.objects("CanaryPlan"):
        running.cluster.remove("CanaryPlan", "default", plan["metadata"]["name"])  # rolls its run back
    found.until(lambda: not found.marks(), "everything of canaryd's is out")
    for run in running.cluster.objects("CanaryRun"):
        running.cluster.remove("CanaryRun", "default", run["metadata"]["name"])
    calm(running)


def plan(name: str = "reviews", target: Json | None = None, **changes: Any) -> Json:
    spec = {**PLAN["spec"], **changes}
    return {
        **PLAN,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**spec, "target": {**spec["target"], **(target or {})}},
    }


def share(load: Load, version: str, began: float, ended: float) -> float:
    """The share of the answers between two moments that a version gave, whole seconds only."""
    rows = [row for row in load.seconds(3600) if began <= row["second"] and row["second"] + 1 <= ended]
    answered = {name: sum(row.get(name, 0) for row in rows) for name in ("v1", "v2", "v3")}
    assert sum(answered.values()), f"no answers between {began} and {ended}: {rows}"
    return answered[version] / sum(answered.values())


@contextmanager
def weights_seen(lab: Lab, version: str = "v3") -> Iterator[list[tuple[float, int]]]:
    """When which weight of the version was written into the VirtualService on trial, from now on."""
    seen: list[tuple[float, int]] = []

    def note(change: Any) -> None:
        if change.object["kind"] == "VirtualService" and lab.scene.is_on_trial(change.object):
            weight = lab.scene.weights_in(change.object).get(version, 0)
            if not seen or seen[-1][1] != weight:
                seen.append((time.time(), weight))

    unsubscribe = lab.cluster.subscribe(note)
    try:
        yield seen
    finally:
        unsubscribe()


def since(before: Counts, now: Counts, version: str) -> tuple[int, int]:
    """How many requests the version answered meanwhile, and how many of them failed."""
    old, new = before.of(version), now.of(version)
    return new.answered - old.answered, new.failed - old.failed


def silent(lab: Lab, version: str, since_when: float, seconds: float) -> float:
    """
    Seconds from that moment until the last answer of a version, by the clients' books.

    It is watched until ``seconds`` have passed without one.
    """
    last, count = since_when, lab.counts().of(version).answered
    while time.time() < max(last + seconds, since_when + seconds):
        time.sleep(0.02)
        now = lab.counts().of(version).answered
        if now != count:
            last, count = time.time(), now
        assert time.time() < since_when + 30, f"{version} still answers"
    return last - since_when


def test_a_plan_applied_with_kubectl_is_promoted_and_no_client_notices(cluster: Cluster) -> None:
    """Step by step: what the plan says is what the clients get."""
    lab = cluster.lab
    before = lab.counts()
    with weights_seen(lab) as weights:
        cluster.apply(plan())
        said = cluster.kubectl("wait", "canaryplan/reviews", "--for=condition=Promoted", "--timeout=55s")
        assert "condition met" in said
        status = cluster.ends()
    assert lab.weights() == {"v1": 0, "v3": 100}
    assert status["phase"] == "promoted"
    assert [weight for _, weight in weights] == [10, 50, 100]
    for (at, weight), (ended, _) in itertools.pairwise(weights):
        assert abs(share(lab.load, "v3", at + 1.5, ended) - weight / 100) < 0.05, f"at {weight} %"
    until = time.time()
    time.sleep(2.5)
    assert share(lab.load, "v3", until, time.time()) == 1.0
    now = lab.counts()
    assert since(before, now, "v3")[0] > 300
    assert (now.failed - before.failed, now.lost - before.lost) == (0, 0)
    listed = cluster.kubectl("get", "canaryplans,canaryruns", "-A")
    assert listed.count("promoted") == 2


def test_a_faulty_canary_is_rolled_back_and_who_was_harmed_is_counted(cluster: Cluster) -> None:
    """30 % of its requests fail; it never gets beyond the first step."""
    lab = cluster.lab
    lab.faults.set("v3", error_rate=0.3)
    before = lab.counts()
    with weights_seen(lab) as weights:
        cluster.apply(plan(steps=LONG))
        status = cluster.ends()
    assert (status["phase"], status["verdict"]) == ("rolled back", "FAIL")
    assert status["why"].startswith("errors: canary ")
    assert [weight for _, weight in weights] == [10, 0]
    assert silent(lab, "v3", time.time(), 2.0) < 1.0
    now = lab.counts()
    answered, harmed = since(before, now, "v3")
    assert now.failed - before.failed == harmed, "only requests that the canary got have failed"
    assert 0 < harmed < 100
    assert 0.1 < harmed / answered < 0.5
    assert lab.weights() == {"v1": 100}, "the destination that was inserted is gone again"


def test_the_seeds_reviews_at_half_and_half_under_strict_mutual_tls_are_promoted_by_proof(cluster: Cluster) -> None:
    """
    The article's own objects, as it applies them: v1 and v3 at 50 % each, subsets by label, STRICT for the whole mesh.

    The plan takes the traffic from where the article leaves it.
    """
    lab = cluster.lab
    strict = {**bookinfo.peer_authentication(), "apiVersion": "security.istio.io/v1beta1"}
    strict["metadata"] = {"name": "default", "namespace": "istio-system"}
    routes = bookinfo.virtual_service({"v1": 50, "v3": 50}) | {"apiVersion": "networking.istio.io/v1beta1"}
    rule = bookinfo.destination_rule() | {"apiVersion": "networking.istio.io/v1beta1"}
    try:
        cluster.apply(strict, rule, routes)
        lab.control_plane.settle()
        assert lab.control_plane.problem is None
        before, began = lab.counts(), time.time()
        errors = {"name": "errors", "metric": "error-rate", "compare": "stable", "margin": {"times": 2, "plus": "2%"}}
        cluster.apply(
            plan(
                steps=[{"weight": 50, "bake": "8s"}],
                start={"from": "current"},
                analysis={**PLAN["spec"]["analysis"], "checks": [errors]},
                acceptUnproven="",
            )
        )
        status = cluster.ends()
        ended = time.time()
        assert (status["phase"], status["verdict"]) == ("promoted", "PASS")
        assert lab.weights() == {"v1": 0, "v3": 100}
        assert abs(share(lab.load, "v3", began + 1, began + 6) - 0.5) < 0.08
        now = lab.counts()
        assert (now.failed - before.failed, now.lost - before.lost) == (0, 0)
        mutual = lab.prometheus.query(
            f"sum by (connection_security_policy)(increase(istio_requests_total{{reporter='destination',"
            f"destination_workload='reviews-v3'}}[{int(ended - began)}s]))"
        )
        assert [labels["connection_security_policy"] for labels, count in mutual if count] == ["mutual_tls"]
    finally:
        lab.cluster.remove("PeerAuthentication", "istio-system", "default")


def test_a_promotion_is_undone_by_one_patch_and_the_clients_are_back_at_once(cluster: Cluster) -> None:
    """The controller is killed as it is asked; Prometheus hangs, for nothing is measured. One write, one answer."""
    lab = cluster.lab
    cluster.apply(plan())
    assert cluster.ends()["phase"] == "promoted"
    name, before = cluster.runs()[0]["metadata"]["name"], lab.virtual_service()
    os.kill(lab.prometheus.pid, signal.SIGSTOP)
    value = {"verb": "undo", "by": "anna", "reason": "the basket is empty"}
    with weights_seen(lab) as weights:
        patch = json.dumps([{"op": "add", "path": "/spec/commands/-", "value": value}])
        cluster.kubectl("patch", "canaryrun", name, "--type=json", "-p", patch)
        cluster.controller.kill()
        cluster.until(lambda: lab.weights().get("v1") == 100, "the former version", 40)
        assert silent(lab, "v3", time.time(), 2.0) < 1.0
        cluster.until(lambda: len(cluster.runs()) == 2, "the run that undoes")
        status = cluster.ends()
    assert (status["outcome"], status["why"]) == ("undone", "undone by anna: the basket is empty")
    assert [weight for _, weight in weights] == [0]
    until = time.time()
    time.sleep(2.5)
    assert share(lab.load, "v1", until, time.time()) == 1.0
    now = lab.virtual_service()
    assert now is not None
    assert before is not None
    assert {key: now["spec"][key] for key in now["spec"] if key != "http"} == {
        key: before["spec"][key] for key in before["spec"] if key != "http"
    }
    cluster.apply(plan(watch="3s"))
    time.sleep(3.0)
    assert len(cluster.runs()) == 2, "the plan still asks for what was undone"


def test_an_abort_needs_no_prometheus(cluster: Cluster) -> None:
    """It hangs, so that every query waits; within two seconds nobody meets the canary any more."""
    lab = cluster.lab
    cluster.apply(plan(steps=[{"weight": 50, "bake": "10m"}]))
    cluster.until(lambda: lab.weights().get("v3") == 50, "50 %")  # the shares of the test before may look like it
    time.sleep(3.0)
    cluster.until(lambda: lab.shares(2).get("v3", 0) > 0.4, "the canary's half")
    os.kill(lab.prometheus.pid, signal.SIGSTOP)
    time.sleep(3.0)  # queries hang by now
    name = cluster.runs()[0]["metadata"]["name"]
    asked = json.dumps({"spec": {"abort": {"reason": "the ads were wrong", "by": "ada"}}})
    cluster.kubectl("patch", "canaryrun", name, "--type=merge", "-p", asked)
    took = silent(lab, "v3", time.time(), 3.0)
    assert took < 2.0
    assert cluster.ends()["why"] == "aborted by ada: the ads were wrong"
    assert lab.weights() == {"v1": 100}, "the destination that was inserted is gone again"


def test_a_killed_controller_comes_back_and_goes_on_with_the_run(cluster: Cluster) -> None:
    """The evidence of before is kept, that of meanwhile is fetched, and the release is not begun again."""
    lab, restarts = cluster.lab, cluster.controller.restarts
    before = lab.counts()
    cells: list[set[tuple[int, float]]] = []

    def note(change: Any) -> None:
        if change.object["kind"] == "CanaryRecord" and change.type != "DELETED":
            cells.append(
                {(cell.segment, cell.start) for cell in record_of(change.object).run.cells if cell.kind == "cell"}
            )

    unsubscribe = lab.cluster.subscribe(note)
    try:
        with weights_seen(lab) as weights:
            cluster.apply(plan(steps=[{"weight": 10, "bake": "20s"}, {"weight": 50, "bake": "4s"}]))
            cluster.until(lambda: lab.weights().get("v3") == 10, "10 %")
            time.sleep(9.0)
            known = set(cells[-1])
            killed = cluster.controller.kill()
            cluster.until(lambda: cluster.controller.leads, "another that leads", 30)
            assert cluster.controller.pid not in (None, killed)
            status = cluster.ends()
    finally:
        unsubscribe()
    assert status["phase"] == "promoted"
    assert len(cluster.runs()) == 1
    assert cluster.controller.restarts == restarts + 1
    assert [weight for _, weight in weights] == [10, 50, 100]
    for former, later in itertools.pairwise(cells):
        assert former <= later, f"cells were lost: {sorted(former - later)}"
    assert known <= cells[-1]
    at_ten = sorted(start for segment, start in cells[-1] if segment == min(cells[-1])[0])
    assert len(at_ten) >= 9
    assert {round(later - former, 3) for former, later in itertools.pairwise(at_ten)} == {2.0}, "a gap"
    now = lab.counts()
    assert (now.failed - before.failed, now.lost - before.lost) == (0, 0)


def test_a_new_image_in_mid_run_starts_over_from_zero(cluster: Cluster) -> None:
    """What was measured was another program: nobody meets the new one before it is measured from the first step on."""
    lab = cluster.lab
    image = f"{bookinfo.image('v3')}-{time.time_ns()}"
    with weights_seen(lab) as weights:
        cluster.apply(plan(steps=[{"weight": 10, "bake": "4s"}, {"weight": 50, "bake": "10m"}]))
        cluster.until(lambda: lab.shares(3).get("v3", 0) > 0.4, "the canary's half")
        cluster.kubectl("set", "image", "deployment/reviews-v3", f"reviews={image}")
        cluster.until(lambda: [weight for _, weight in weights][:4] == [10, 50, 0, 10], "0 %, and 10 % again")
        cluster.until(lambda: [weight for _, weight in weights] == [10, 50, 0, 10, 50], "50 % again")
    zero, again, half = weights[2][0], weights[3][0], weights[4][0]
    assert again - zero > 0
    assert abs(share(lab.load, "v3", again + 1, half) - 0.1) < 0.06
    assert len(cluster.runs()) == 1


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[tuple[Load, Load]]:
    """One VirtualService of the gateway with an entry for details and one for ratings, and traffic through each."""
    lab = cluster.lab
    names = ("details", "ratings")  # not reviews: another VirtualService routes to those, and that is refused
    entries = [
        {
            "name": app,
            "match": [{"uri": {"prefix": f"/{app}"}}],
            "route": [
                {"destination": {"host": app, "subset": version, "port": {"number": 9080}}, "weight": weight}
                for version, weight in (("v1", 100), ("v2", 0))
            ],
        }
        for app in names
    ]
    spec = {"hosts": ["shop.lab"], "gateways": ["bookinfo-gateway"], "http": entries}
    about = {"name": "shop", "namespace": "default"}
    virtual = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": about, "spec": spec}
    lab.load.set_rate(0)
    for app in names:
        put(lab, bookinfo.deployment(app, "v2"), bookinfo.destination_rule(app, ("v1", "v2")))
    put(lab, virtual)
    headers = {"x-lab-alone": "true"}
    yield tuple(
        lab.start_stream(app, vantage="ingress", host="shop.lab", path=f"/{app}/0", rps=80, headers=headers)
        for app in names
    )  # type: ignore[misc]
    for app in names:
        lab.stop_stream(app)
    lab.cluster.remove("VirtualService", "default", "shop")
    for app in names:
        lab.cluster.remove("Deployment", "default", f"{app}-v2")
        put(lab, bookinfo.destination_rule(app, ("v1",)))


def test_two_plans_on_two_entries_of_a_gateways_virtual_service_both_run(
    cluster: Cluster, shop: tuple[Load, Load]
) -> None:
    """At the same time, each moving its own entry alone."""
    lab = cluster.lab
    analysis = {**PLAN["spec"]["analysis"], "minRequests": 20}
    canary = {"virtualService": "shop", "canary": {"subset": "v2"}}
    cluster.apply(
        *(plan(app, {**canary, "host": app, "routes": [app]}, analysis=analysis) for app in ("details", "ratings"))
    )

    def routed() -> list[list[int]]:
        found = lab.cluster.find("VirtualService", "default", "shop") or {}
        return [[one.get("weight", 0) for one in entry["route"]] for entry in found["spec"]["http"]]

    cluster.until(lambda: len(cluster.marks()) >= 2 and routed() == [[90, 10], [90, 10]], "both at 10 %")
    endings = [cluster.ends(name)["phase"] for name in ("details", "ratings")]
    assert endings == ["promoted", "promoted"]
    assert routed() == [[0, 100], [0, 100]]
    began = time.time()
    time.sleep(2.5)
    for load in shop:
        assert share(load, "v2", began + 0.3, time.time()) == 1.0
        assert (load.counts().failed, load.counts().lost) == (0, 0)


EMPTY_WHEN_WELL = {
    "Rollbacks pending",
    "How long rollbacks took",
    "Held, by kind",
    "Verdicts",
    "Runs that ended",
    "Ticks, and those that failed",
    "Requests that were not answered with 2xx",
    "Proof per check, against its bound",
}


def test_the_dashboard_shows_a_run_in_flight(cluster: Cluster) -> None:
    """Every panel's queries on the lab's own Prometheus, which scrapes the controller."""
    lab = cluster.lab
    cluster.apply(plan(steps=LONG))
    weight = 'canaryd_run_weight_ratio{namespace="default",plan="reviews"}'
    cluster.until(lambda: [value for _, value in lab.prometheus.query(weight)] == [0.1], "the weight in Prometheus")
    harm = 'canaryd_run_evidence_ratio{plan="reviews",of="harm"}'
    cluster.until(lambda: bool(lab.prometheus.query(harm)), "evidence in Prometheus")
    time.sleep(3.0)
    empty, shown = set(), {}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in {
                "$__rate_interval": "15s",
                "$__range": "1h",
                "$namespace": "default",
                "$plan": "reviews",
            }.items():
                query = query.replace(name, value)
            rows = lab.prometheus.query(query)
            if rows:
                shown.setdefault(panel["title"], []).extend(value for _, value in rows)
            else:
                empty.add(panel["title"])
    assert empty <= EMPTY_WHEN_WELL
    assert shown["Leaders"] == [1.0]
    assert shown["Leader"] == [1.0]
    assert shown["Runs in flight"] == [1.0]
    assert shown["Weight of the canary"] == [0.1]
    assert 0 <= shown["Evidence of harm against its bound"][0] < 1
    assert -2 < shown["Age of the Lease"][0] < 9

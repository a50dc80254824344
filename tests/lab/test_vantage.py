"""Where requests come from, whom they reach, and what an experimenter does to either."""

from __future__ import annotations

import http.client
import json
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Conflict, Rejected
from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab

from .conftest import calm, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: what is sent here beside the load generator would be missing in the other tests' books."""
    with Lab.up(tmp_path_factory.mktemp("lab"), rps=300, seed=7) as lab:
        yield lab


@pytest.fixture
def lab(own_lab: Lab) -> Iterator[Lab]:
    calm(own_lab)
    yield own_lab
    calm(own_lab)


@pytest.fixture
def quiet(lab: Lab) -> Iterator[Lab]:
    lab.load.settle()
    for version in bookinfo.VERSIONS:
        lab.faults.set(version, base_ms=0, spread_rate=0, tail_rate=0)
    yield lab
    for name in ("echo", "outsider"):
        for kind in ("Deployment", "Service"):
            if lab.cluster.find(kind, "default", name):
                lab.cluster.remove(kind, "default", name)
    lab.cluster.apply(bookinfo.deployment("reviews", "v3", bookinfo.REPLICAS))
    for name in list(lab.streams):
        if name != "trial":
            lab.stop_stream(name)
    lab.workloads.reconcile()
    lab.control_plane.settle()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def version(self) -> str:
        return self.headers.get("x-lab-version", "")

    @property
    def calls(self) -> str:
        return self.headers.get("x-lab-calls", "")


def ask(lab: Lab, vantage: str = "client", host: str = "reviews:9080", path: str = "/", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(*lab.vantage[vantage].address(), timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request("GET", path, headers={"host": host, **named})
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read().decode())


def page(lab: Lab) -> Answer:
    return ask(lab, "ingress", "bookinfo.lab", "/productpage")


# Bookinfo


def test_a_page_is_made_by_everybody_and_says_by_whom(quiet: Lab) -> None:
    """The gateway asks productpage, which asks details and reviews, which asks ratings."""
    quiet.set_weights({"v3": 100})
    answer = page(quiet)
    assert (answer.status, answer.calls) == (200, "details=v1:200,reviews=v3:200,ratings=v1:200")
    body = json.loads(answer.body)
    assert body == {"app": "productpage", "version": "v1", "calls": answer.calls, "unavailable": []}
    quiet.set_weights({"v1": 100})
    assert page(quiet).calls == "details=v1:200,reviews=v1:200", "v1 shows no stars"


def test_productpage_survives_its_reviews_and_asks_twice(quiet: Lab) -> None:
    """As Bookinfo does: 200 with an error section. So a failing canary is counted twice, and the user sees no 500."""
    quiet.set_weights({"v3": 100})
    quiet.faults.set("v3", error_rate=1.0)
    answer = page(quiet)
    assert (answer.status, answer.calls) == (200, "details=v1:200,reviews=v3:500,reviews=v3:500")
    assert json.loads(answer.body)["unavailable"] == ["reviews"]


def test_reviews_hide_failing_ratings(quiet: Lab) -> None:
    """The error stands in the body only: reviews must not be blamed for it, and productpage does not ask again."""
    quiet.set_weights({"v3": 100})
    quiet.faults.set("ratings-v1", error_rate=1.0, http_status=503)
    answer = page(quiet)
    assert (answer.status, answer.calls) == (200, "details=v1:200,reviews=v3:200,ratings=v1:503")
    quiet.faults.reset()


def test_what_bookinfo_hands_on_reaches_the_last_server(quiet: Lab) -> None:
    """`end-user: jason` chooses the version two hops away; other headers stop at the first."""
    quiet.set_weights({"v1": 100})
    virtual = bookinfo.virtual_service({"v1": 100})
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    virtual["spec"]["http"] = [jason, *virtual["spec"]["http"]]
    quiet.cluster.apply(virtual)
    quiet.control_plane.settle()
    assert "reviews=v2:200" in ask(quiet, "ingress", "bookinfo.lab", "/productpage", end_user="jason").calls
    assert "reviews=v1:200" in ask(quiet, "ingress", "bookinfo.lab", "/productpage", x_mine="jason").calls


def to(subset: str) -> Json:
    return {"destination": {"host": "reviews", "subset": subset}}


def test_an_application_tells_what_reached_it(quiet: Lab) -> None:
    """Rewrites and header operations are seen where they end; what the proxies tell each other is not shown."""
    answer = ask(quiet, path="/reviews/7?x=1", x_lab_echo="1", x_mine="yes")
    assert (answer.headers["x-lab-path"], answer.headers["x-lab-method"]) == ("/reviews/7?x=1", "GET")
    assert answer.headers["x-lab-authority"] == "reviews:9080"
    arrived = json.loads(answer.headers["x-lab-request-headers"])
    assert arrived["x-mine"] == "yes"
    assert not [name for name in arrived if name.startswith("x-lab-source")]


# Workloads of one's own


def echo(replicas: int = 2, **template: Any) -> list[Json]:
    """A Deployment and its Service, as a user would write them."""
    labels = {"app": "echo", "version": "one"}
    container = {"name": "echo", "image": "echo:1", "ports": [{"containerPort": 8080, "name": "web"}]}
    about = {"name": "echo", "namespace": "default"}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": about,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "echo"}},
                "template": {"metadata": {"labels": labels, **template}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": "echo"}, "ports": [{"name": "http", "port": 9080, "targetPort": "web"}]},
        },
    ]


def applied(lab: Lab, *objects: Json) -> None:
    for each in objects:
        lab.cluster.apply(each)
    lab.workloads.reconcile()
    lab.control_plane.settle()
    assert lab.control_plane.problem is None


def test_any_deployment_answers_scales_and_goes(quiet: Lab) -> None:
    """`kubectl apply` of one's own Deployment and Service is all it takes."""
    applied(quiet, *echo())
    answer = ask(quiet, host="echo:9080")
    assert (answer.status, json.loads(answer.body)) == (200, {"app": "echo", "version": "one"})
    deployment = echo(replicas=0)[0]
    applied(quiet, deployment)
    assert ask(quiet, host="echo:9080").status == 503
    applied(quiet, echo(replicas=1)[0])
    assert ask(quiet, host="echo:9080").status == 200
    quiet.faults.set("echo", error_rate=1.0, http_status=418)
    assert ask(quiet, host="echo:9080").status == 418


def test_any_deployment_may_call_others(quiet: Lab) -> None:
    """What is required fails the answer, what is not is told."""
    calls = "http://ratings:9080/x http://nobody:9080/#required"
    applied(quiet, *echo(annotations={"lab.canaryd.io/calls": calls}))
    answer = ask(quiet, host="echo:9080")
    assert answer.status == 503
    assert answer.calls.startswith("ratings=v1:200,nobody=-:")
    applied(quiet, *echo(annotations={"lab.canaryd.io/calls": "http://ratings:9080/x"}))
    assert ask(quiet, host="echo:9080").status == 200


def test_a_call_that_cannot_be_read_is_told_and_harms_nobody_else(quiet: Lab) -> None:
    for each in echo(annotations={"lab.canaryd.io/calls": "reviews"}):
        quiet.cluster.apply(each)
    quiet.workloads.reconcile()
    quiet.control_plane.settle()
    problem = quiet.control_plane.problem or ""
    assert "annotation lab.canaryd.io/calls: 'reviews' is not a call such as http://reviews:9080/" in problem
    assert ask(quiet).status == 200


# Faults of one pod


def test_one_bad_pod_fails_its_share(quiet: Lab) -> None:
    """One of two pods: half the requests; and what is set for the version holds for both again."""
    quiet.set_weights({"v3": 100})
    bad = quiet.faults.pods("v3")[0]
    quiet.faults.set("v3", pod=0, error_rate=1.0)
    assert (quiet.faults.get("v3").error_rate, quiet.faults.get("v3", bad).error_rate) == (0, 1)
    failed = Counter(ask(quiet).status for _ in range(200))[500]
    assert 60 < failed < 140
    quiet.faults.set("v3", error_rate=0.0)
    assert {ask(quiet).status for _ in range(40)} == {200}
    with pytest.raises(Rejected, match=r"v3: no pod 7; there are reviews-v3-\S+, reviews-v3-\S+, or 0 to 1"):
        quiet.faults.set("v3", pod=7, error_rate=1.0)


def test_pods_to_come_have_their_versions_dials(quiet: Lab) -> None:
    """A rollout of a faulty version brings faulty pods; a pod's own dial goes with it."""
    quiet.set_weights({"v3": 100})
    quiet.faults.set("v3", error_rate=1.0)
    quiet.faults.set("v3", pod=0, error_rate=0.0)
    quiet.roll_out("v3", "reviews-v3:next")
    assert {ask(quiet).status for _ in range(20)} == {500}
    quiet.faults.reset()
    assert {ask(quiet).status for _ in range(20)} == {200}


# The other client


def test_a_client_that_lags_goes_on_as_before(quiet: Lab) -> None:
    """Configuration reaches proxies at different times: for seconds, two clients see two splits."""
    quiet.set_weights({"v1": 100})
    quiet.lag("other", 1.5)
    began = time.monotonic()
    quiet.set_weights({"v3": 100})
    assert time.monotonic() - began < 1, "whoever writes does not wait for it"
    assert ask(quiet, "client").version == "v3"
    assert ask(quiet, "other").version == "v1"
    wait_for(lambda: ask(quiet, "other").version == "v3", "it has caught up", 4)
    assert time.monotonic() - began > 1.4
    quiet.set_weights({"v1": 100})
    quiet.lag("other", 0)
    assert ask(quiet, "other").version in ("v1", "v3")
    wait_for(lambda: ask(quiet, "other").version == "v1", "at once, without a lag", 1)


def test_a_client_without_sidecar_takes_any_pod(quiet: Lab) -> None:
    """No VirtualService, no subset: ready pods of the Service at random; and back it has its routes again."""
    quiet.set_weights({"v2": 100})
    quiet.cluster.apply(bookinfo.peer_authentication("PERMISSIVE"))
    quiet.sidecar("other", False)
    assert {ask(quiet, "other").version for _ in range(60)} == {"v1", "v2", "v3"}
    assert {ask(quiet, "client").version for _ in range(20)} == {"v2"}
    quiet.drain("v1")
    assert {ask(quiet, "other").version for _ in range(60)} == {"v2", "v3"}
    address = quiet.vantage["other"].address()
    quiet.sidecar("other", True)
    assert quiet.vantage["other"].address() == address
    assert {ask(quiet, "other").version for _ in range(20)} == {"v2"}
    with pytest.raises(Rejected, match="nowhere: no such vantage point; there are client, other, ingress"):
        quiet.sidecar("nowhere", False)


# Ports and streams of requests


def test_a_new_service_port_becomes_a_listener_and_disturbs_nobody(quiet: Lab) -> None:
    """Clients keep their connections while others come and go."""
    quiet.load.set_rate(300)
    before = quiet.counts()
    addresses = quiet.vantage["client"].ports
    deployment, service = echo()
    service["spec"]["ports"].append({"name": "http-more", "port": 8123, "targetPort": 8080})
    applied(quiet, deployment, service)
    ports = quiet.vantage["client"].ports
    assert {port: ports[port] for port in addresses} == addresses
    connection = http.client.HTTPConnection(*ports[8123], timeout=10)
    with closing(connection):
        connection.request("GET", "/", headers={"host": "echo:8123"})
        assert connection.getresponse().status == 200
    quiet.cluster.remove("Service", "default", "echo")
    quiet.control_plane.settle()
    assert 8123 not in quiet.vantage["client"].ports
    after = quiet.load.settle()
    assert (after.failed, after.lost) == (before.failed, before.lost)
    assert after.answered > before.answered


def test_a_connection_is_passed_on_whole(quiet: Lab) -> None:
    """A port that is called tcp carries no requests: what is chosen there is a pod for the connection."""

    def requests() -> float:
        rows = quiet.prometheus.query(
            'sum(istio_requests_total{reporter="source",destination_workload="echo"}) or vector(0)'
        )
        return rows[0][1]

    deployment, service = echo()
    service["spec"]["ports"] = [{"name": "tcp-echo", "port": 9000, "targetPort": 8080}]
    applied(quiet, deployment, service)
    time.sleep(1.2)  # what was counted before is scraped
    before = requests()
    place = quiet.vantage["client"].streams["echo.default.svc.cluster.local:9000"]
    with closing(http.client.HTTPConnection(*place, timeout=5)) as connection:
        for _ in range(3):
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert json.loads(answer.read()) == {"app": "echo", "version": "one"}
    time.sleep(1.2)
    assert requests() == before


def test_streams_have_books_of_their_own(quiet: Lab) -> None:
    """People look at pages while services call each other: one's failures are not the other's."""
    quiet.set_weights({"v3": 100})
    quiet.faults.set("v3", error_rate=1.0)
    pages = quiet.start_stream(
        "pages", vantage="ingress", host="bookinfo.lab", path="/productpage", rps=30, service="reviews"
    )
    gone = quiet.start_stream("gone", vantage="ingress", host="bookinfo.lab", path="/nowhere", rps=30, method="DELETE")
    wait_for(lambda: pages.counts().answered >= 20 and gone.counts().answered >= 20, "both streams")
    with pytest.raises(Conflict, match="pages: there is such a stream already"):
        quiet.start_stream("pages", rps=1)
    with pytest.raises(Rejected, match="client has no port 4711"):
        quiet.start_stream("more", port=4711, rps=1)
    ending = quiet.stop_stream("pages")
    assert (ending.failed, ending.lost, set(ending.by_version)) == (0, 0, {"v3"})
    assert set(quiet.stop_stream("gone").by_version["unknown"].by_status) == {"404"}
    assert set(quiet.streams) == {"trial"}


# Certificates and cost


def test_keys_are_nobody_elses_business(lab: Lab) -> None:
    """A private key that others can read proves nothing."""
    place = lab.directory / "certificates"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    keys = list(place.glob("*.key"))
    assert {each.stem for each in keys} >= {"default~bookinfo-reviews", "default~bookinfo-productpage", "default~curl"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in place.iterdir()} == {0o600}


def resident(pid: int) -> float:
    """Megabytes of a process' own memory."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_envoy_and_prometheus_stay_small(lab: Lab) -> None:
    """Everything together has 300 MB; the lab's own process, here the tests', takes about 60."""
    assert resident(lab.envoy.pid) + resident(lab.prometheus.pid) < 230


def test_scraping_goes_on_whatever_the_mode(quiet: Lab) -> None:
    """STRICT does not shut Prometheus out: Envoy's admin port is plain, as Istio's merged metrics are."""
    for mode in ("STRICT", "PERMISSIVE", "DISABLE"):
        quiet.cluster.apply(bookinfo.peer_authentication(mode))
        quiet.control_plane.settle()
        assert ask(quiet).status == 200
        assert quiet.prometheus.query("up")[0][1] == 1


def test_requests_go_on_while_the_mode_changes(quiet: Lab) -> None:
    """DISABLE to STRICT under load: clients and servers learn of it in an order in which nobody is turned away."""
    quiet.load.set_rate(200)
    before = quiet.counts()
    lock = threading.Event()
    for mode in ("PERMISSIVE", "STRICT", "PERMISSIVE", "STRICT"):
        quiet.cluster.apply(bookinfo.peer_authentication(mode))
        quiet.control_plane.settle()
        lock.wait(0.3)
    after = quiet.load.settle()
    assert (after.failed, after.lost) == (before.failed, before.lost)
    assert after.answered - before.answered > 100

"""
Who is named, and how, when something goes wrong: each row of Istio's table, on requests that were sent and counted.

Istio knows a peer's app and version only from its answer, its workload from the endpoint that was picked, its service
from the cluster; where it knows nothing it writes `unknown`. Whoever queries must know which label is left.
Source: istio/proxy istio_stats.cc (populatePeerInfo), and the table in Istio's standard metrics.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab

from .conftest import calm, put, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]
Json = dict[str, Any]
Labels = dict[str, str]
REQUESTS = 10
SCRAPE = 1.2  # seconds in which Prometheus has surely scraped once
TOLD = {"destination_service": bookinfo.HOST, "destination_service_name": "reviews"}
V3 = {
    "destination_workload": "reviews-v3",
    "destination_workload_namespace": "default",
    "destination_app": "reviews",
    "destination_version": "v3",
    "destination_canonical_service": "reviews",
    "destination_canonical_revision": "v3",
    "destination_cluster": "Kubernetes",
    "destination_service_namespace": "default",
}
NOBODY = {**dict.fromkeys(V3, "unknown"), "destination_canonical_revision": "latest"}
CLIENT = {
    "source_workload": "productpage-v1",
    "source_workload_namespace": "default",
    "source_app": "productpage",
    "source_version": "v1",
    "source_canonical_service": "productpage",
    "source_canonical_revision": "v1",
    "source_cluster": "Kubernetes",
}
PRINCIPAL = "spiffe://cluster.local/ns/default/sa/{}"


class Seen:
    """The rows that grew, and by how much."""

    def __init__(self, rows: list[tuple[Labels, int]]) -> None:
        self.rows = rows

    def only(self, reporter: str) -> tuple[Labels, int]:
        """The one row of a reporter, its pods taken together: all its labels but `pod`, and how much they grew."""
        found: dict[frozenset[tuple[str, str]], int] = {}
        for labels, count in self.of(reporter):
            key = frozenset((name, value) for name, value in labels.items() if name != "pod")
            found[key] = found.get(key, 0) + count
        assert len(found) == 1, self.rows
        labels, count = next(iter(found.items()))
        return dict(labels), count

    def of(self, reporter: str) -> list[tuple[Labels, int]]:
        return [(labels, count) for labels, count in self.rows if labels["reporter"] == reporter]


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
    """The lab without traffic of its own, every answer at once; afterwards without what the test has put there."""
    lab.load.settle()
    for version in bookinfo.VERSIONS:
        lab.faults.set(version, base_ms=0, spread_rate=0, tail_rate=0)
    lab.set_weights({"v3": 100})
    kinds = ("VirtualService", "DestinationRule", "Service", "Deployment")
    place = lambda each: (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])  # noqa: E731
    before = {place(each): each for kind in kinds for each in lab.cluster.objects(kind)}
    yield lab
    for kind in kinds:
        for each in lab.cluster.objects(kind):
            if place(each) not in before:
                lab.cluster.remove(*place(each))
    for each in before.values():
        lab.cluster.apply(each)
    lab.workloads.reconcile()
    lab.control_plane.settle()


def say(lab: Lab, **entry: Any) -> None:
    """The VirtualService `reviews` with one entry, to v3 unless it says something else."""
    virtual = bookinfo.virtual_service({"v3": 100})
    virtual["spec"]["http"][0] |= entry
    put(lab, virtual)


def ask(
    lab: Lab, times: int = REQUESTS, *, vantage: str = "client", host: str = "reviews:9080", **request: Any
) -> list[int]:
    """Send requests one after the other, and return their status codes."""
    codes = []
    for _ in range(times):
        connection = http.client.HTTPConnection(*lab.vantage[vantage].address(request.get("port")), timeout=10)
        headers = {"host": host, "x-lab-alone": "1", **request.get("headers", {})}
        with contextlib.closing(connection):
            connection.request("GET", request.get("path", "/"), headers=headers)
            codes.append(connection.getresponse().status)
    return codes


def counters(lab: Lab) -> dict[frozenset[tuple[str, str]], int]:
    rows = lab.prometheus.query("istio_requests_total")
    place = ("__name__", "instance", "job")
    return {frozenset((k, v) for k, v in labels.items() if k not in place): int(value) for labels, value in rows}


def seen(lab: Lab, act: Callable[[], Any], counted: int) -> Seen:
    """Do something, wait until so many requests were counted for it by both reporters, and until no more come."""
    before = settled(lab)
    act()
    grown: dict[frozenset[tuple[str, str]], int] = {}

    def enough() -> bool:
        grown.clear()
        grown.update({key: value - before.get(key, 0) for key, value in counters(lab).items()})
        return sum(grown.values()) >= counted

    with contextlib.suppress(AssertionError):  # what is missing is better seen in the rows
        wait_for(enough, "")
    time.sleep(SCRAPE)
    enough()
    rows = [(dict(key), count) for key, count in grown.items() if count]
    assert sum(grown.values()) == counted, rows
    return Seen(rows)


def settled(lab: Lab) -> dict[frozenset[tuple[str, str]], int]:
    former: dict[frozenset[tuple[str, str]], int] = {}
    while former != (now := counters(lab)) or not former:
        former = now
        time.sleep(SCRAPE)
    return former


def holds(labels: Labels, *wanted: Labels) -> None:
    for each in wanted:
        assert {key: labels.get(key) for key in each} == each


def test_an_answer_names_everybody(quiet: Lab) -> None:
    """Both sides know each other by their certificates and by what their proxies tell."""
    found = seen(quiet, lambda: ask(quiet), 2 * REQUESTS)
    source, count = found.only("source")
    holds(source, TOLD, V3, CLIENT, {"response_code": "200", "response_flags": "-", "request_protocol": "http"})
    assert count == REQUESTS
    assert source["connection_security_policy"] == "unknown"
    destination, count = found.only("destination")
    holds(destination, TOLD, V3, CLIENT, {"response_code": "200", "response_flags": "-", "request_protocol": "http"})
    assert count == REQUESTS
    assert destination["connection_security_policy"] == "mutual_tls"
    for labels in (source, destination):
        assert labels["source_principal"] == PRINCIPAL.format("bookinfo-productpage")
        assert labels["destination_principal"] == PRINCIPAL.format("bookinfo-reviews")


def test_a_refused_connection_names_the_workload_but_not_the_version(quiet: Lab) -> None:
    """UF: the endpoint was picked, and nobody answered."""
    quiet.refuse("v3")
    found = seen(quiet, lambda: ask(quiet), REQUESTS)
    source, count = found.only("source")
    unheard = {"destination_app": "unknown", "destination_version": "unknown"}
    holds(source, TOLD, CLIENT, {**V3, **unheard}, {"response_code": "503"})
    assert set(source["response_flags"].split(",")) == {"UF", "URX"}, "retries were tried, too"
    assert source["destination_principal"] == "unknown"
    assert count == REQUESTS
    quiet.refuse_nobody()
    assert ask(quiet) == [200] * REQUESTS


def test_a_server_without_sidecar_tells_neither_app_nor_version_and_counts_nothing(quiet: Lab) -> None:
    """It answers, but nobody there exchanges metadata; only the endpoint's own is known."""
    bare = bookinfo.deployment("reviews", "v3", 2)
    bare["spec"]["template"]["metadata"]["labels"] = {
        **bare["spec"]["template"]["metadata"]["labels"],
        "sidecar.istio.io/inject": "false",
    }
    put(quiet, bare)
    found = seen(quiet, lambda: ask(quiet), REQUESTS)
    source, _ = found.only("source")
    unheard = {"destination_app": "unknown", "destination_version": "unknown"}
    holds(source, TOLD, CLIENT, {**V3, **unheard}, {"response_code": "200", "response_flags": "-"})
    assert source["source_principal"] == source["destination_principal"] == "unknown", "plain text proves nobody"


def test_no_ready_pod_names_the_service_alone(quiet: Lab) -> None:
    """UH: the cluster is known, no endpoint was picked; the canary's own labels stand nowhere."""
    quiet.drain("v3")
    found = seen(quiet, lambda: ask(quiet), REQUESTS)
    source, count = found.only("source")
    holds(source, TOLD, CLIENT, NOBODY, {"response_code": "503", "response_flags": "UH"})
    assert count == REQUESTS


def test_a_missing_subset_and_a_missing_route_name_the_host_header(quiet: Lab) -> None:
    """NC and NR: not even a cluster is known, so Istio takes what the client wrote."""
    raw = {"destination_service": "reviews:9080", "destination_service_name": "reviews:9080"}
    say(quiet, route=[{"destination": {"host": "reviews", "subset": "v9"}}])
    source, _ = seen(quiet, lambda: ask(quiet), REQUESTS).only("source")
    holds(source, raw, CLIENT, NOBODY, {"response_code": "503", "response_flags": "NC"})
    say(quiet, match=[{"uri": {"exact": "/elsewhere"}}])
    source, _ = seen(quiet, lambda: ask(quiet), REQUESTS).only("source")
    holds(source, raw, CLIENT, NOBODY, {"response_code": "404", "response_flags": "NR"})


def test_a_gateway_is_a_source_and_takes_no_host_header_for_a_name(quiet: Lab) -> None:
    """What a user sees stands at the gateway; its `destination_service` is `unknown` where a sidecar would guess."""
    ingress = {
        "source_workload": "istio-ingressgateway",
        "source_workload_namespace": "istio-system",
        "source_app": "istio-ingressgateway",
        "source_canonical_service": "istio-ingressgateway",
    }
    page = bookinfo.page()
    page["spec"]["http"][0]["route"] = [{"destination": {"host": "reviews", "subset": "v3"}}]
    put(quiet, page)
    through = {"vantage": "ingress", "host": "bookinfo.lab", "path": "/productpage"}
    found = seen(quiet, lambda: ask(quiet, **through), 2 * REQUESTS)
    source, count = found.only("source")
    holds(source, TOLD, V3, ingress, {"response_code": "200", "response_flags": "-"})
    assert count == REQUESTS
    account = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
    destination, _ = found.only("destination")
    holds(destination, ingress, {"source_principal": account, "connection_security_policy": "mutual_tls"})
    page["spec"]["http"][0]["route"][0]["destination"]["subset"] = "v9"
    put(quiet, page)
    nothing = {"destination_service": "unknown", "destination_service_name": "unknown"}
    source, _ = seen(quiet, lambda: ask(quiet, **through), REQUESTS).only("source")
    holds(source, nothing, ingress, NOBODY, {"response_code": "503", "response_flags": "NC"})
    source, _ = seen(quiet, lambda: ask(quiet, **{**through, "path": "/elsewhere"}), REQUESTS).only("source")
    holds(source, nothing, ingress, NOBODY, {"response_code": "404", "response_flags": "NR"})


def test_an_injected_fault_and_an_overflow_pick_nobody(quiet: Lab) -> None:
    """FI and UO are the client's own doing: the cluster is known, no host answered."""
    say(quiet, fault={"abort": {"percentage": {"value": 100}, "httpStatus": 503}})
    source, _ = seen(quiet, lambda: ask(quiet), REQUESTS).only("source")
    holds(source, TOLD, CLIENT, NOBODY, {"response_code": "503", "response_flags": "FI"})
    quiet.set_weights({"v3": 100})
    quiet.faults.set("v3", base_ms=400)
    rule = bookinfo.destination_rule()
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1}}
    rule["spec"]["trafficPolicy"] = {"connectionPool": pool}
    put(quiet, rule)
    codes: list[int] = []

    def at_once() -> None:
        threads = [threading.Thread(target=lambda: codes.extend(ask(quiet, 1))) for _ in range(REQUESTS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    before = settled(quiet)
    at_once()
    time.sleep(2 * SCRAPE)
    grown = [(dict(key), value - before.get(key, 0)) for key, value in counters(quiet).items()]
    overflown = [(labels, count) for labels, count in grown if count and "UO" in labels["response_flags"]]
    assert sum(count for _, count in overflown) == codes.count(503) > 0
    for labels, _ in overflown:
        holds(labels, TOLD, CLIENT, NOBODY, {"reporter": "source", "response_code": "503"})


def test_a_mirror_is_the_destinations_alone(quiet: Lab) -> None:
    """Its answer is thrown away, and counted where it was given: a canary that is a mirror's target is polluted."""
    quiet.faults.set("v2", error_rate=1.0)
    say(quiet, mirror={"host": "reviews", "subset": "v2"})
    found = seen(quiet, lambda: ask(quiet), 3 * REQUESTS)
    source, count = found.only("source")
    holds(source, TOLD, V3, CLIENT, {"response_code": "200"})
    assert count == REQUESTS
    by_version = {labels["destination_version"]: labels for labels, _ in found.of("destination")}
    assert set(by_version) == {"v2", "v3"}
    holds(by_version["v2"], TOLD, CLIENT, {"response_code": "500", "response_flags": "-"})


def test_a_server_without_a_version_label_writes_none_and_its_client_unknown(quiet: Lab) -> None:
    """Of itself a proxy knows that there is nothing to tell; of its peer it knows nothing."""
    labels = {"app": "reviews"}
    bare = bookinfo.deployment("reviews", "v3", 2)
    bare["metadata"]["name"] = "reviews-bare"
    bare["spec"] |= {"selector": {"matchLabels": labels}}
    bare["spec"]["template"]["metadata"] = {"labels": labels}
    rule = bookinfo.destination_rule()
    put(quiet, bare)
    for version in bookinfo.VERSIONS:
        quiet.drain(version)
    virtual = bookinfo.virtual_service({"v3": 100})
    del virtual["spec"]["http"][0]["route"][0]["destination"]["subset"]
    put(quiet, rule, virtual)
    found = seen(quiet, lambda: ask(quiet), 2 * REQUESTS)
    destination, count = found.only("destination")
    assert "destination_version" not in destination
    holds(destination, TOLD, {"destination_workload": "reviews-bare", "destination_canonical_revision": "latest"})
    assert destination["destination_app"] == "reviews"
    source, _ = found.only("source")
    holds(source, {"destination_workload": "reviews-bare", "destination_version": "unknown"})
    assert (source["destination_app"], count) == ("reviews", REQUESTS)


def test_a_server_without_sidecar_and_version_is_the_latest(quiet: Lab) -> None:
    """What the control plane tells of an endpoint has a canonical revision even where nobody wrote one."""
    labels = {"app": "bare"}
    bare = bookinfo.deployment("bare", "v1")
    bare["spec"] |= {"selector": {"matchLabels": labels}}
    bare["spec"]["template"]["metadata"] = {"labels": {**labels, "sidecar.istio.io/inject": "false"}}
    put(quiet, bare, bookinfo.service("bare", 99))
    found = seen(quiet, lambda: ask(quiet, host="bare:9080"), REQUESTS)
    source, _ = found.only("source")
    told = {"destination_workload": "bare-v1", "destination_workload_namespace": "default"}
    unheard = {"destination_app": "unknown", "destination_version": "unknown"}
    holds(source, told, unheard, {"destination_canonical_revision": "latest", "response_code": "200"})


def test_a_pod_behind_two_services_counts_for_the_first(quiet: Lab) -> None:
    """The client knows which Service it called, the server does not: there it tells no versions apart."""
    own = bookinfo.service("reviews-v3", 99)
    own["spec"]["selector"] = {"app": "reviews", "version": "v3"}
    time.sleep(1.1)  # ages are told in seconds
    put(quiet, own)
    found = seen(quiet, lambda: ask(quiet, host="reviews-v3:9080"), 2 * REQUESTS)
    source, _ = found.only("source")
    holds(source, V3, {"destination_service": "reviews-v3.default.svc.cluster.local"})
    destination, _ = found.only("destination")
    holds(destination, V3, TOLD)


def test_retries_are_one_outcome_at_the_source_and_every_attempt_at_the_destination(quiet: Lab) -> None:
    """URX: dividing one reporter's errors by the other's requests is nonsense."""
    quiet.faults.set("v3", error_rate=1.0, http_status=503)
    say(quiet, retries={"attempts": 2, "retryOn": "5xx"})
    found = seen(quiet, lambda: ask(quiet), 4 * REQUESTS)
    source, outcomes = found.only("source")
    holds(source, TOLD, V3, CLIENT, {"response_code": "503", "response_flags": "URX"})
    destination, attempts = found.only("destination")
    holds(destination, TOLD, V3, CLIENT, {"response_code": "503", "response_flags": "-"})
    assert (outcomes, attempts) == (REQUESTS, 3 * REQUESTS)


def test_a_timeout_is_the_sources_and_a_client_gone_at_the_destination(quiet: Lab) -> None:
    """UT: the destination's own numbers know nothing of it but a connection that was closed."""
    quiet.faults.set("v3", base_ms=600)
    say(quiet, timeout="100ms")
    found = seen(quiet, lambda: ask(quiet), 2 * REQUESTS)
    source, count = found.only("source")
    unheard = {"destination_app": "unknown", "destination_version": "unknown"}
    holds(source, TOLD, CLIENT, {**V3, **unheard}, {"response_code": "504", "response_flags": "UT"})
    destination, gone = found.only("destination")
    holds(destination, TOLD, V3, CLIENT, {"response_code": "0", "response_flags": "DC"})
    assert (count, gone) == (REQUESTS, REQUESTS)


def test_a_client_without_sidecar_is_unknown_to_its_server_and_counts_nothing(quiet: Lab) -> None:
    """Its requests go to any ready pod, whatever a VirtualService says, in plain text: STRICT does not let them in."""
    quiet.sidecar("other", False)
    found = seen(quiet, lambda: ask(quiet, vantage="other"), 0)
    assert found.rows == [], "STRICT resets the connection before there is a request"
    assert set(ask(quiet, vantage="other")) == {503}, "of the lab's own Envoy, as curl would say: connection reset"
    put(quiet, bookinfo.peer_authentication("PERMISSIVE"))
    codes: list[int] = []
    found = seen(quiet, lambda: codes.extend(ask(quiet, 60, vantage="other")), 60)
    assert codes == [200] * 60
    workloads = {labels["destination_workload"] for labels, _ in found.of("destination")}
    assert workloads == {"reviews-v1", "reviews-v2", "reviews-v3"}
    stranger = {**dict.fromkeys(CLIENT, "unknown"), "source_canonical_revision": "latest"}
    for labels, _ in found.of("destination"):
        holds(labels, TOLD, stranger, {"connection_security_policy": "none", "source_principal": "unknown"})
    assert found.of("source") == []


def test_permissive_takes_both_and_says_which(quiet: Lab) -> None:
    """During a migration to mTLS this label is how one sees who is left."""
    put(quiet, bookinfo.peer_authentication("PERMISSIVE"))
    found = seen(quiet, lambda: ask(quiet), 2 * REQUESTS)
    destination, _ = found.only("destination")
    assert destination["connection_security_policy"] == "mutual_tls"
    put(quiet, bookinfo.peer_authentication("DISABLE"))
    found = seen(quiet, lambda: ask(quiet), 2 * REQUESTS)
    destination, _ = found.only("destination")
    holds(destination, TOLD, V3, CLIENT, {"connection_security_policy": "none"})
    assert destination["source_principal"] == "unknown"


def test_nobody_can_claim_to_be_somebody_else(quiet: Lab) -> None:
    """Who calls is what the client's proxy says, not what the client writes."""
    claims = {"x-lab-source-workload": "admin", "x-lab-source-version": "v9", "x-lab-source-app": "admin"}
    found = seen(quiet, lambda: ask(quiet, vantage="other", headers=claims), 2 * REQUESTS)
    destination, _ = found.only("destination")
    holds(destination, {"source_workload": "curl", "source_app": "curl", "source_version": "unknown"})
    source, _ = found.only("source")
    assert "source_version" not in source, "it knows itself that it has none"
    assert source["source_canonical_revision"] == destination["source_canonical_revision"] == "latest"


def test_an_application_that_calls_is_a_source_of_its_own(quiet: Lab) -> None:
    """productpage asks details and reviews, which asks ratings: the whole graph is in the metrics."""
    found = seen(quiet, lambda: ask(quiet, 1, host="productpage:9080", vantage="other", headers={"x-lab-alone": ""}), 2)
    assert len(found.rows) == 2
    headers = {"x-request-id": "of-a-page"}

    def look() -> None:
        connection = http.client.HTTPConnection(*quiet.vantage["other"].address(), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/productpage", headers={"host": "productpage:9080", **headers})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.getheader("x-lab-calls") == "details=v1:200,reviews=v3:200,ratings=v1:200"

    found = seen(quiet, look, 8)
    edges = {(labels["source_workload"], labels["destination_workload"]) for labels, _ in found.rows}
    assert edges == {
        ("curl", "productpage-v1"),
        ("productpage-v1", "details-v1"),
        ("productpage-v1", "reviews-v3"),
        ("reviews-v3", "ratings-v1"),
    }
    assert len(found.of("source")) == len(found.of("destination")) == 4

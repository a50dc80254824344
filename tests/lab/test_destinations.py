"""
Destinations as a client meets them: rules, policies and HTTPRoutes, on requests that were sent and answered.

The lab's own traffic is stopped, so that whatever is counted is what a test has sent.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.istiod.objects import full_name
from canaryd.lab.lab import Lab

from .conftest import calm, put, wait_for
from .test_gatewayapi import SERVICE_PARENT, gateway, grant, route
from .test_gatewayapi import to as backend
from .translating import service, to, virtual

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-routes")]
Json = dict[str, Any]
GATEWAYS = "gateways.gateway.networking.k8s.io"
KINDS = ("DestinationRule", "Service", "HTTPRoute", "VirtualService", "Deployment", "ReferenceGrant", GATEWAYS)
Answers = Counter[tuple[int, str]]  # the status, and the version that answered


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: what is sent here beside the load generator would be missing in the other tests' books."""
    with Lab.up(tmp_path_factory.mktemp("destinations")) as lab:
        yield lab


@pytest.fixture
def quiet(own_lab: Lab) -> Iterator[Lab]:
    """The lab without its own traffic and with quick answers, and afterwards without what the test has put there."""
    lab = own_lab
    calm(lab)
    lab.load.settle()
    for version in bookinfo.VERSIONS:
        lab.faults.set(version, base_ms=0, spread_rate=0.0, tail_rate=0.0)
    before = {(kind, *full_name(each)) for kind in KINDS for each in lab.cluster.objects(kind)}
    yield lab
    for kind in KINDS:
        for each in lab.cluster.objects(kind):
            if (kind, *full_name(each)) not in before:
                lab.cluster.remove(kind, *full_name(each))
    lab.workloads.reconcile()


def rule(name: str = "reviews", namespace: str = "default", **spec: Any) -> Json:
    about = {"name": name, "namespace": namespace}
    subsets = [{"name": version, "labels": {"version": version}} for version in bookinfo.VERSIONS]
    body = {"host": bookinfo.HOST, "subsets": subsets, **spec}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": about, "spec": body}


def split(**weights: int) -> Json:
    return virtual({"route": [to(subset, weight) for subset, weight in weights.items()], "retries": {"attempts": 0}})


def send(lab: Lab, times: int = 1, *, at: tuple[str, int] | None = None, **headers: str) -> Answers:
    """Requests one after the other on one connection, from productpage's sidecar unless `at` another place."""
    connection = http.client.HTTPConnection(*(at or lab.vantage["client"].address(bookinfo.PORT)), timeout=10)
    answers: Answers = Counter()
    try:
        for _ in range(times):
            connection.request("GET", "/", headers={"Host": "reviews:9080", **headers})
            answer = connection.getresponse()
            answer.read()
            answers[answer.status, answer.headers.get("x-lab-version", "")] += 1
    finally:
        connection.close()
    return answers


def statuses(answers: Answers) -> Counter[int]:
    found: Counter[int] = Counter()
    for (status, _), n in answers.items():
        found[status] += n
    return found


def count(lab: Lab, selector: str) -> int:
    rows = lab.prometheus.query(f"sum(istio_requests_total{{{selector}}})")
    return int(rows[0][1]) if rows else 0


def flagged(lab: Lab, flag: str) -> int:
    return count(lab, f'reporter="source",response_flags="{flag}"')


def flagged_so_far(lab: Lab, flag: str) -> int:
    scraped(lab)
    return flagged(lab, flag)


def by_pod(lab: Lab) -> Counter[str]:
    mine = 'reporter="destination",destination_workload=~"reviews-v.*"'
    rows = lab.prometheus.query(f"sum by (pod)(istio_requests_total{{{mine}}})")
    return Counter({labels["pod"]: int(value) for labels, value in rows})


def scraped(lab: Lab) -> None:
    """Wait until Prometheus knows of everything that was sent."""
    total = -1
    while total != (seen := count(lab, "")):
        total = seen
        time.sleep(1.5)  # a scrape and a half


def pods_of(lab: Lab, times: int, **headers: str) -> Counter[str]:
    """Which pods answered so many requests."""
    scraped(lab)
    before = by_pod(lab)
    send(lab, times, **headers)
    wait_for(lambda: sum((by_pod(lab) - before).values()) == times, f"{times} answers in Prometheus")
    return by_pod(lab) - before


# Which rule


def test_the_first_namespace_with_a_rule_decides(quiet: Lab) -> None:
    """The root's rule serves until the client's own namespace has one, and then not even for a subset it lacks."""
    quiet.cluster.remove("DestinationRule", "default", "reviews")
    put(quiet, rule("everybody", "istio-system"), split(v3=100))
    assert send(quiet, 5) == {(200, "v3"): 5}
    before = flagged_so_far(quiet, "NC")
    put(quiet, rule(subsets=[{"name": "v1", "labels": {"version": "v1"}}]))
    assert statuses(send(quiet, 5)) == {503: 5}
    wait_for(lambda: flagged(quiet, "NC") == before + 5, "five more NC")


def test_a_missing_subset_at_0_is_harmless_and_above_0_is_nowhere(quiet: Lab) -> None:
    before = flagged_so_far(quiet, "NC")
    put(quiet, split(v1=100, v9=0))
    assert send(quiet, 30) == {(200, "v1"): 30}
    put(quiet, split(v1=50, v9=50))
    found = send(quiet, 100)
    assert set(found) == {(200, "v1"), (503, "")}
    assert 20 <= found[503, ""] <= 80
    wait_for(lambda: flagged(quiet, "NC") == before + found[503, ""], "as many NC as 503")


def test_a_subset_without_ready_pods_is_unhealthy(quiet: Lab) -> None:
    """Whoever asks only for the canary's series sees nothing while all of it fails: no workload, no version."""
    before = flagged_so_far(quiet, "UH")
    put(quiet, split(v1=50, v3=50))
    quiet.drain("v3")
    found = send(quiet, 60)
    assert set(found) == {(200, "v1"), (503, "")}
    wait_for(lambda: flagged(quiet, "UH") == before + found[503, ""], "as many UH as 503")
    nobody = 'response_flags="UH",destination_workload="unknown",destination_version="unknown"'
    assert count(quiet, f'reporter="source",{nobody},destination_service="{bookinfo.HOST}"') == flagged(quiet, "UH")


def test_of_two_subsets_of_one_name_the_older_stands(quiet: Lab) -> None:
    late = rule("z-late", subsets=[{"name": name, "labels": {"version": "v2"}} for name in ("v3", "extra")])
    put(quiet, late, split(v3=100))
    assert send(quiet, 10) == {(200, "v3"): 10}
    put(quiet, split(extra=100))
    assert send(quiet, 10) == {(200, "v2"): 10}


def test_a_rule_in_the_clients_namespace_takes_the_place_of_the_services_own(quiet: Lab) -> None:
    """For its own clients only, and whole: the subset that it lacks is 503 (NC) for them and nobody else."""
    put(quiet, *in_shop())
    everywhere = {"hosts": [SHOP, "shop.example.com"], "gateways": ["mesh", "bookinfo-gateway"]}
    put(quiet, virtual({"route": [{"destination": {"host": SHOP, "subset": "one"}}]}, name="shop", **everywhere))
    outside = {"at": quiet.vantage["ingress"].address(8080), "Host": "shop.example.com"}
    assert send(quiet, 3, Host=f"{SHOP}:9080") == send(quiet, 3, **outside) == {(200, "one"): 3}
    put(quiet, rule("ours", host=SHOP))
    assert statuses(send(quiet, 3, Host=f"{SHOP}:9080")) == {503: 3}
    assert send(quiet, 3, **outside) == {(200, "one"): 3}


SHOP = "shop.shop.svc.cluster.local"


def in_shop() -> list[Json]:
    """A Service in a namespace of its own, with a pod and a subset `one`."""
    deployment = bookinfo.deployment("shop", "one")
    deployment["metadata"]["namespace"] = "shop"
    deployment["spec"]["template"]["spec"]["serviceAccountName"] = "default"
    home = bookinfo.namespace("shop")
    subsets = [{"name": "one", "labels": {"version": "one"}}]
    return [home, deployment, service("shop", "shop"), rule("shop", "shop", host="shop", subsets=subsets)]


def test_a_rule_is_for_those_to_whom_it_is_exported(quiet: Lab) -> None:
    """Kept for its namespace it gives no subsets to the gateway, which lives elsewhere; given away, none at home."""
    shown = {"hosts": ["shop.example.com"], "gateways": ["bookinfo-gateway"], "name": "shop"}
    put(quiet, split(v3=100), virtual({"route": [to("v3")]}, **shown))
    for exported, at_home, elsewhere in ((["."], 200, 503), (["istio-system"], 503, 200), (["*"], 200, 200)):
        put(quiet, rule(exportTo=exported))
        outside = send(quiet, 3, at=quiet.vantage["ingress"].address(8080), Host="shop.example.com")
        inside = send(quiet, 3)
        assert (statuses(inside), statuses(outside)) == ({at_home: 3}, {elsewhere: 3}), exported


PLAIN_TEXT = {"tls": {"mode": "DISABLE"}}  # to pods that are STRICT: 503, so that one sees who has that policy
SECURED = {"tls": {"mode": "ISTIO_MUTUAL"}}


def test_the_most_specific_host_of_a_namespace_stands_alone(quiet: Lab) -> None:
    """A rule for all hosts adds nothing to the rule of one."""
    put(quiet, rule("all", host="*.default.svc.cluster.local", trafficPolicy=PLAIN_TEXT), split(v3=100))
    assert statuses(send(quiet, 3)) == {200: 3}
    quiet.cluster.remove("DestinationRule", "default", "reviews")
    quiet.control_plane.settle()
    assert statuses(send(quiet, 3)) == {503: 3}


@pytest.mark.parametrize(("first", "status"), [({"trafficPolicy": SECURED}, 200), ({}, 503)])
def test_of_two_policies_for_a_host_the_older_holds(quiet: Lab, first: Json, status: int) -> None:
    put(quiet, rule(**first), rule("z-late", subsets=[], trafficPolicy=PLAIN_TEXT), split(v3=100))
    assert statuses(send(quiet, 3)) == {status: 3}


def test_a_rule_may_be_for_some_clients_only(quiet: Lab) -> None:
    """Two clients of one namespace, of which `workloadSelector` means one."""
    for_curl = rule("z-curl", trafficPolicy=PLAIN_TEXT, workloadSelector={"matchLabels": {"app": "curl"}})
    put(quiet, rule(trafficPolicy=SECURED), for_curl, split(v3=100))
    assert statuses(send(quiet, 3)) == {200: 3}
    assert statuses(send(quiet, 3, at=quiet.vantage["other"].address(bookinfo.PORT))) == {503: 3}


# Policies


def test_a_subsets_policy_is_for_those_who_name_the_subset(quiet: Lab) -> None:
    """It takes the place of the rule's, block by block, and says nothing of a route to the whole host."""
    own = {"name": "v3", "labels": {"version": "v3"}, "trafficPolicy": SECURED}
    subsets = [{"name": "v1", "labels": {"version": "v1"}}, own]
    put(quiet, rule(subsets=subsets, trafficPolicy=PLAIN_TEXT), split(v1=50, v3=50))
    found = send(quiet, 40)
    assert {status for (status, version), _ in found.items() if version != "v3"} == {503}
    assert {status for (status, version), _ in found.items() if version == "v3"} == {200}
    put(quiet, virtual({"route": [{"destination": {"host": "reviews"}}], "retries": {"attempts": 0}}))
    assert statuses(send(quiet, 20)) == {503: 20}
    blocks = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
    put(quiet, rule(subsets=[{**own, "trafficPolicy": blocks}], trafficPolicy=PLAIN_TEXT), split(v3=100))
    assert statuses(send(quiet, 3)) == {503: 3}, "another block of the subset leaves the rule's tls in force"


def test_localities_and_warmup_change_nothing_among_pods_of_one_place_and_age(quiet: Lab) -> None:
    """They are accepted, as by Istio, and every pod gets its share."""
    place = {"enabled": True, "failover": [{"from": "here", "to": "there"}]}
    balancer = {"simple": "ROUND_ROBIN", "localityLbSetting": place, "warmup": {"duration": "60s"}}
    put(quiet, rule(trafficPolicy={"loadBalancer": balancer}), split(v3=100))
    found = pods_of(quiet, 40)
    assert len(found) == bookinfo.REPLICAS
    assert all(15 <= n <= 25 for n in found.values())


def ejecting(**more: Any) -> Json:
    block = {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "60s", **more}
    return rule(trafficPolicy={"outlierDetection": block})


def test_a_faulty_subset_is_ejected_until_nobody_is_left(quiet: Lab) -> None:
    """Its own errors end and UH begins: an error rate by version falls while all of its users are failed."""
    put(quiet, ejecting(maxEjectionPercent=100), split(v3=100))
    quiet.faults.set("v3", error_rate=1.0)
    assert statuses(send(quiet, 3))[500] == 3
    wait_for(lambda: set(statuses(send(quiet, 10))) == {503}, "every pod ejected")
    quiet.faults.set("v3", error_rate=0.0)  # repaired, but still out
    before = flagged_so_far(quiet, "UH")
    assert statuses(send(quiet, 20)) == {503: 20}
    wait_for(lambda: flagged(quiet, "UH") == before + 20, "twenty more UH")


@pytest.mark.parametrize(("percent", "ejected"), [(None, 0), (40, 0), (50, 1)])
def test_a_pod_is_ejected_only_within_the_percentage(quiet: Lab, percent: int | None, ejected: int) -> None:
    """
    Of two pods the default of 10 % ejects none: Envoy ejects one more only if the share then is within the percentage.

    So the default does nothing for a version with fewer than ten pods, as most canaries have.
    """
    put(quiet, ejecting(**({} if percent is None else {"maxEjectionPercent": percent})), split(v3=100))
    quiet.faults.set("v3", error_rate=1.0)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert set(statuses(send(quiet, 10))) == {500}
    assert len(pods_of(quiet, 30)) == bookinfo.REPLICAS - ejected


def test_a_hash_sticks_to_a_pod_but_not_across_a_split(quiet: Lab) -> None:
    """So a user of a sticky canary sees both versions: the subset is drawn anew for every request."""
    hashed = rule(trafficPolicy={"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}})
    put(quiet, hashed, split(v1=100))
    for user in ("anna", "berta"):
        assert len(pods_of(quiet, 20, **{"x-user": user})) == 1
    scraped(quiet)
    before = by_pod(quiet)
    for number in range(40):
        send(quiet, 1, **{"x-user": f"user-{number}"})
    wait_for(lambda: sum((by_pod(quiet) - before).values()) == 40, "40 answers in Prometheus")
    everybody = by_pod(quiet) - before
    assert len(everybody) == bookinfo.REPLICAS
    put(quiet, split(v1=50, v3=50))
    sticky = pods_of(quiet, 40, **{"x-user": "anna"})
    assert len(sticky) == 2  # one of each version
    assert all(10 <= n <= 30 for n in sticky.values())


def test_a_full_pool_overflows(quiet: Lab) -> None:
    """
    One connection and one request that waits for it; the others are failed at once, with UO.

    While the connection is being made, the first request is itself the one that waits.
    """
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
    put(quiet, rule(trafficPolicy={"connectionPool": pool}), split(v1=100))
    quiet.faults.set("v1", base_ms=400)
    before = flagged_so_far(quiet, "UO")
    answers: list[Answers] = []
    threads = [threading.Thread(target=lambda: answers.append(send(quiet, 1))) for _ in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    found = statuses(sum(answers, Counter()))
    assert found[200] + found[503] == 12
    assert 1 <= found[200] <= 4
    wait_for(lambda: flagged(quiet, "UO") == before + found[503], "as many UO as 503")


# Streams


def raw(lab: Lab, times: int) -> Answers:
    """A request on a new connection each, through a port that is passed on whole."""
    address = lab.vantage["client"].streams["raw.default.svc.cluster.local:7000"]
    answers: Answers = Counter()
    for _ in range(times):
        connection = http.client.HTTPConnection(*address, timeout=10)
        try:
            connection.request("GET", "/", headers={"Host": "raw"})
            answer = connection.getresponse()
            answer.read()
            answers[answer.status, answer.headers.get("x-lab-version", "")] += 1
        except (OSError, http.client.HTTPException):
            answers[0, ""] += 1
        finally:
            connection.close()
    return answers


def test_a_tcp_route_divides_connections(quiet: Lab) -> None:
    """By its weights, and with mutual TLS like everything else; a missing subset is a connection that is closed."""
    port = {"name": "tcp", "port": 7000, "targetPort": 9080}
    here = service("raw", "default", port, selector={"app": "reviews"}, clusterIP="10.96.70.70")
    rules = rule("raw", host="raw")

    def routed(**weights: int) -> Json:
        shares = [{"destination": {"host": "raw", "subset": one}, "weight": n} for one, n in weights.items()]
        return virtual(name="raw", hosts=["raw"], tcp=[{"route": shares}], http=[])

    put(quiet, here, rules, routed(v1=80, v3=20))
    found = raw(quiet, 200)
    assert set(found) == {(200, "v1"), (200, "v3")}
    assert 15 <= found[200, "v3"] <= 65
    put(quiet, routed(v1=50, v9=50))
    assert set(raw(quiet, 40)) == {(200, "v1"), (0, "")}


def test_a_new_weight_is_for_new_connections(quiet: Lab) -> None:
    """Who is connected stays where they are: after a shift, old connections still show the old version."""
    port = {"name": "tcp", "port": 7000, "targetPort": 9080}
    here = service("raw", "default", port, selector={"app": "reviews"}, clusterIP="10.96.70.70")

    def all_to(version: str) -> Json:
        return virtual(
            name="raw", hosts=["raw"], tcp=[{"route": [{"destination": {"host": "raw", "subset": version}}]}], http=[]
        )

    put(quiet, here, rule("raw", host="raw"), all_to("v1"))
    address = quiet.vantage["client"].streams["raw.default.svc.cluster.local:7000"]
    connection = http.client.HTTPConnection(*address, timeout=10)

    def version() -> str | None:
        connection.request("GET", "/", headers={"Host": "raw"})
        answer = connection.getresponse()
        answer.read()
        return answer.headers.get("x-lab-version")

    try:
        assert version() == "v1"
        put(quiet, all_to("v3"))
        assert version() == "v1"  # within the second that Envoy's drain lasts here
        assert raw(quiet, 5) == {(200, "v3"): 5}
    finally:
        connection.close()


def test_a_tls_route_goes_by_the_name_that_is_asked_for(quiet: Lab) -> None:
    """The connection is passed on unopened: the certificate that comes back is of the pod that was chosen."""
    port = {"name": "tls", "port": 7443, "targetPort": 9080}
    here = service("secret", "default", port, clusterIP="10.96.70.71")
    names = {"details": ["details"], "ratings": ["ratings"], "both": ["details", "ratings"]}
    routes = [
        {
            "match": [{"port": 7443, "sniHosts": [f"{name}.example.com"]}],
            "route": [{"destination": {"host": app, "port": {"number": 9080}}, "weight": 50} for app in apps],
        }
        for name, apps in names.items()
    ]
    hosts = ["secret", *(f"{name}.example.com" for name in names)]
    plainly = [rule(f"{app}-plain", host=app, subsets=[], trafficPolicy=PLAIN_TEXT) for app in ("details", "ratings")]
    put(quiet, here, *plainly, virtual(name="secret", hosts=hosts, tls=routes, http=[]))
    address = quiet.vantage["client"].streams["secret.default.svc.cluster.local:7443"]
    for name, apps in names.items():
        answered = {who_answers(address, f"{name}.example.com") for _ in range(20 if len(apps) > 1 else 3)}
        assert answered == {f"bookinfo-{app}" for app in apps}


def who_answers(address: tuple[str, int], name: str) -> str:
    """The service account in the certificate with which a TLS connection for `name` is answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 5) as plain, context.wrap_socket(plain, server_hostname=name) as secured:
        certificate = secured.getpeercert(binary_form=True) or b""
    return re.findall(rb"/sa/([a-z-]+)", certificate)[0].decode()


# Mutual TLS


def security_policies(lab: Lab) -> Counter[str]:
    labels = 'reporter="destination",destination_workload="reviews-v1"'
    rows = lab.prometheus.query(f"sum by (connection_security_policy)(istio_requests_total{{{labels}}})")
    return Counter({labels["connection_security_policy"]: int(value) for labels, value in rows})


def test_a_client_that_sends_plain_text_is_refused_by_a_strict_pod(quiet: Lab) -> None:
    """The pod resets the connection, and the client's users get 503 though nothing is wrong with the version."""
    put(quiet, split(v1=100))
    assert statuses(send(quiet, 5)) == {200: 5}
    scraped(quiet)
    broken = 'reporter="source",response_code="503",response_flags=~"UF.*|UC.*"'
    before = count(quiet, broken)
    put(quiet, rule(trafficPolicy={"tls": {"mode": "DISABLE"}}))
    assert statuses(send(quiet, 5)) == {503: 5}
    wait_for(lambda: count(quiet, broken) == before + 5, "five more UF or UC")


@pytest.mark.parametrize(("account", "status"), [("bookinfo-reviews", 200), ("somebody-else", 503)])
def test_a_rule_may_name_whom_it_wants_to_speak_to(quiet: Lab, account: str, status: int) -> None:
    names = [f"spiffe://cluster.local/ns/default/sa/{account}"]
    put(quiet, rule(trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": names}}), split(v1=100))
    assert statuses(send(quiet, 3)) == {status: 3}


@pytest.mark.parametrize(
    ("mode", "rules", "policy"),
    [
        ("STRICT", {}, "mutual_tls"),
        ("PERMISSIVE", {}, "mutual_tls"),
        ("PERMISSIVE", {"trafficPolicy": {"tls": {"mode": "DISABLE"}}}, "none"),
        ("DISABLE", {}, "none"),
    ],
)
def test_client_and_pod_agree_on_how_they_speak(quiet: Lab, mode: str, rules: Json, policy: str) -> None:
    """By themselves (auto mTLS) whatever the pod takes; a permissive one takes what the rule says."""
    accepted = bookinfo.peer_authentication()
    accepted["spec"] = {**accepted["spec"], "mtls": {"mode": mode}}
    put(quiet, accepted, rule(**rules), split(v1=100))
    scraped(quiet)
    before = security_policies(quiet)
    assert statuses(send(quiet, 5)) == {200: 5}
    wait_for(lambda: security_policies(quiet) - before == {policy: 5}, f"five more {policy}")


# HTTPRoutes


def versions() -> list[Json]:
    """A Service for each version, as the Gateway API wants it."""
    return [
        service(f"reviews-{version}", selector={"app": "reviews", "version": version}) for version in bookinfo.VERSIONS
    ]


def stored(lab: Lab) -> Json:
    return lab.cluster.find("HTTPRoute", "default", "reviews") or {}


def test_an_http_route_divides_by_its_weights_and_says_that_it_was_understood(quiet: Lab) -> None:
    """The route takes the place of the VirtualService for clients of its own namespace."""
    written = route({"backendRefs": [backend("v1", 90), backend("v3", 10)]}, parents=[SERVICE_PARENT])
    put(quiet, *versions(), split(v2=100), written)
    found = send(quiet, 600)
    assert set(found) == {(200, "v1"), (200, "v3")}
    assert 30 <= found[200, "v3"] <= 90  # four standard deviations
    wait_for(lambda: "status" in stored(quiet), "a status")
    (parent,) = stored(quiet)["status"]["parents"]
    told = {each["type"]: (each["status"], each["observedGeneration"]) for each in parent["conditions"]}
    generation = stored(quiet)["metadata"]["generation"]
    assert told == {"Accepted": ("True", generation), "ResolvedRefs": ("True", generation)}
    service_of_v3 = 'destination_service="reviews-v3.default.svc.cluster.local"'
    wait_for(lambda: count(quiet, f'reporter="source",{service_of_v3}') == found[200, "v3"], "v3's by its own Service")


@pytest.mark.parametrize("refs", [[backend("v1", 0), backend("v3", 0)], [backend("v3", 0)]])
def test_an_http_route_without_weights_answers_500(quiet: Lab, refs: list[Json]) -> None:
    put(quiet, *versions(), route({"backendRefs": refs}))
    assert statuses(send(quiet, 5)) == {500: 5}


def test_a_missing_backend_keeps_its_share_as_500_and_the_status_says_so(quiet: Lab) -> None:
    put(quiet, *versions(), route({"backendRefs": [backend("v1", 50), backend("v9", 50)]}))
    found = send(quiet, 100)
    assert set(found) == {(200, "v1"), (500, "")}
    assert 20 <= found[500, ""] <= 80
    wait_for(lambda: "status" in stored(quiet), "a status")
    accepted, resolved = stored(quiet)["status"]["parents"][0]["conditions"]
    assert (accepted["status"], resolved["status"], resolved["reason"]) == ("True", "False", "BackendNotFound")


def test_what_no_rule_of_a_route_matches_is_refused(quiet: Lab) -> None:
    matches = [{"headers": [{"name": "x-canary", "value": "yes"}]}]
    put(quiet, *versions(), route({"matches": matches, "backendRefs": [backend("v3")]}))
    assert send(quiet, 3, **{"x-canary": "yes"}) == {(200, "v3"): 3}
    assert statuses(send(quiet, 3)) == {404: 3}


def test_an_http_route_divides_at_the_gateway_too(quiet: Lab) -> None:
    """A Gateway of the Gateway API is played by the lab's ingress gateway; the mesh does not care for this route."""
    listener = {"name": "http", "port": 8088, "protocol": "HTTP", "hostname": "*.example.com"}
    parent = {"name": "entrance"}
    shares = {"backendRefs": [backend("v1", 50), backend("v3", 50)]}
    put(
        quiet,
        *versions(),
        gateway(listener, name="entrance"),
        route(shares, parents=[parent], hostnames=["shop.example.com"]),
        split(v2=100),
    )
    place_of = quiet.vantage["ingress"].address(8088)
    found = send(quiet, 60, at=place_of, Host="shop.example.com")
    assert set(found) == {(200, "v1"), (200, "v3")}
    assert statuses(send(quiet, 3, at=place_of, Host="other.example.com")) == {404: 3}
    assert send(quiet, 3) == {(200, "v2"): 3}
    wait_for(lambda: "status" in stored(quiet), "a status")
    (told,) = stored(quiet)["status"]["parents"]
    defaults = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    assert (told["parentRef"], told["conditions"][0]["reason"]) == ({**defaults, **parent}, "Accepted")


def test_a_weight_that_is_left_out_is_one(quiet: Lab) -> None:
    """Unlike a VirtualService's, which is 0."""
    put(quiet, *versions(), route({"backendRefs": [backend("v1"), backend("v3", 3)]}))
    found = send(quiet, 200)
    assert abs(found[200, "v3"] - 150) < 4.5 * (200 * 0.75 * 0.25) ** 0.5
    assert found[200, "v1"] + found[200, "v3"] == 200


def test_a_backend_without_pods_is_counted_under_its_own_service(quiet: Lab) -> None:
    """503 UH, as for a subset, but the canary has a Service of its own: it can be told who failed."""
    put(quiet, *versions(), route({"backendRefs": [backend("v1", 50), backend("v3", 50)]}))
    canary = 'reporter="source",response_flags="UH",destination_service="reviews-v3.default.svc.cluster.local"'
    scraped(quiet)
    before = count(quiet, canary)
    quiet.drain("v3")
    found = send(quiet, 60)
    assert set(found) == {(200, "v1"), (503, "")}
    wait_for(lambda: count(quiet, canary) == before + found[503, ""], "as many UH of reviews-v3 as 503")


def test_what_asks_for_more_comes_first_whatever_the_order(quiet: Lab) -> None:
    """Unlike in a VirtualService, where the first that fits wins."""
    everything = {"backendRefs": [backend("v1")]}
    header = {"matches": [{"headers": [{"name": "x-a", "value": "y"}]}], "backendRefs": [backend("v3")]}
    path = {"matches": [{"path": {"type": "Exact", "value": "/"}}], "backendRefs": [backend("v2")]}
    put(quiet, *versions(), route(everything, header))
    assert send(quiet, 2) == {(200, "v1"): 2}
    assert send(quiet, 2, **{"x-a": "y"}) == {(200, "v3"): 2}
    put(quiet, route(everything, header, path))
    assert send(quiet, 2, **{"x-a": "y"}) == {(200, "v2"): 2}, "an exact path before any header"


def test_a_route_has_istios_default_retries(quiet: Lab) -> None:
    put(quiet, *versions(), route({"backendRefs": [backend("v3")]}))
    quiet.refuse("v3", pod=0)
    time.sleep(1.2)  # the connections that were there are gone
    assert send(quiet, 60) == {(200, "v3"): 60}


def test_a_consumers_route_is_for_its_own_namespace_and_comes_first(quiet: Lab) -> None:
    """The producer's, beside the Service, is for all; ours, of another namespace, for our clients only."""
    parent = [{**SERVICE_PARENT, "name": "shop", "namespace": "shop"}]

    def answering(status: int) -> Json:
        """Not where to but what: a header tells which of the routes was taken."""
        told = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-lab-version"}]}}
        told["responseHeaderModifier"]["set"][0]["value"] = str(status)  # type: ignore[index]
        return {"filters": [told], "backendRefs": [{"name": "shop", "namespace": "shop", "port": 9080}]}

    put(quiet, *in_shop(), route(answering(1), name="producer", namespace="shop", parents=parent))
    assert send(quiet, 3, Host=f"{SHOP}:9080") == {(200, "1"): 3}
    put(quiet, route(answering(2), name="stranger", namespace="elsewhere", parents=parent))
    assert send(quiet, 3, Host=f"{SHOP}:9080") == {(200, "1"): 3}
    put(quiet, route(answering(3), name="consumer", parents=parent))
    assert send(quiet, 3, Host=f"{SHOP}:9080") == {(200, "3"): 3}


def test_a_route_of_a_gateway_needs_a_grant_to_leave_its_namespace(quiet: Lab) -> None:
    """Without one its share is 500."""
    listener = {"name": "http", "port": 8088, "protocol": "HTTP"}
    away = {"backendRefs": [{"name": "shop", "namespace": "shop", "port": 9080}]}
    put(quiet, *in_shop(), gateway(listener, name="entrance"), route(away, parents=[{"name": "entrance"}]))
    place_of = quiet.vantage["ingress"].address(8088)
    assert statuses(send(quiet, 3, at=place_of, Host="shop.example.com")) == {500: 3}
    put(quiet, grant("default", "shop"))
    assert send(quiet, 3, at=place_of, Host="shop.example.com") == {(200, "one"): 3}


def test_a_route_may_be_for_the_mesh_and_a_gateway(quiet: Lab) -> None:
    listener = {"name": "http", "port": 8088, "protocol": "HTTP"}
    parents = [SERVICE_PARENT, {"name": "entrance"}]
    put(
        quiet, *versions(), gateway(listener, name="entrance"), route({"backendRefs": [backend("v3")]}, parents=parents)
    )
    assert send(quiet, 3, at=quiet.vantage["ingress"].address(8088), Host="x.example.com") == {(200, "v3"): 3}
    assert send(quiet, 3) == {(200, "v3"): 3}


def test_filters_and_timeouts_of_a_route_are_carried_out(quiet: Lab) -> None:
    """A redirect, a rewrite with a header, a mirror that the source does not count, and a request's time."""

    def at(path: str, *filters: Json, **more: Any) -> Json:
        matches = [{"path": {"type": "PathPrefix", "value": path}}]
        return {"matches": matches, "filters": list(filters), **more}

    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "x.example", "statusCode": 302}}
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
    rewrite = {"type": "URLRewrite", "urlRewrite": {"path": path}}
    add = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-told", "value": "yes"}]}}
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "reviews-v2", "port": 9080}}}
    refs = {"backendRefs": [backend("v1")]}
    put(
        quiet,
        *versions(),
        route(
            at("/old", redirect),
            at("/team", rewrite, add, **refs),
            at("/shadow", mirror, **refs),
            at("/slow", timeouts={"request": "150ms"}, backendRefs=[backend("v3")]),
        ),
    )
    quiet.faults.set("v3", base_ms=600)
    client = quiet.vantage["client"].address(bookinfo.PORT)
    status, told = look(client, "/old/x")
    assert (status, told["location"]) == (302, "http://x.example:9080/old/x")
    status, told = look(client, "/team/x")
    assert (status, told["x-lab-path"], told["x-told"]) == (200, "/new/x", "yes")
    assert look(client, "/slow")[0] == 504
    mirrored = 'destination_workload="reviews-v2"'
    scraped(quiet)
    before = {each: count(quiet, f'reporter="{each}",{mirrored}') for each in ("source", "destination")}
    for _ in range(3):
        assert look(client, "/shadow")[0] == 200
    wait_for(lambda: count(quiet, f'reporter="destination",{mirrored}') == before["destination"] + 3, "three copies")
    assert count(quiet, f'reporter="source",{mirrored}') == before["source"]


def look(at: tuple[str, int], path: str) -> tuple[int, dict[str, str]]:
    """One request for a path of reviews: the status and the headers of its answer."""
    connection = http.client.HTTPConnection(*at, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": "reviews:9080"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()

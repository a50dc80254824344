"""
Routing as a client meets it: what a VirtualService says, on requests that were sent and answered.

Each test stops the lab's own traffic, so that whatever is counted is what the test has sent.
"""

from __future__ import annotations

import http.client
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from canaryd.lab import bookinfo
from canaryd.lab.lab import Lab

from .conftest import wait_for
from .translating import gateway, server, service, to, virtual

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-routes")]
Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def version(self) -> str:
        return self.headers.get("x-lab-version", "")

    @property
    def seen(self) -> dict[str, str]:
        """The headers that arrived at the application, of a request with `x-lab-echo`."""
        found: dict[str, str] = json.loads(self.headers["x-lab-request-headers"])
        return found


def ask(
    lab: Lab, path: str = "/", *, method: str = "GET", host: str = "reviews:9080", at: str = "", **headers: str
) -> Answer:
    """
    One request from productpage's sidecar, or from the place `at` (`other`, or with a port `client:8123`).

    Underscores in the names of headers are dashes.
    """
    connection = http.client.HTTPConnection(*address(lab, at), timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Host": host, **named})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
    finally:
        connection.close()


def address(lab: Lab, at: str) -> tuple[str, int]:
    if at:
        name, _, port = at.partition(":")
        found: tuple[str, int] = lab.vantage[name].address(int(port or (8080 if name == "ingress" else 9080)))
        return found
    url = urlsplit(lab.gateway_url)
    return (str(url.hostname), url.port or 0)


def say(lab: Lab, *entries: Json, **spec: Any) -> None:
    """Bookinfo's VirtualService for reviews, with these entries, in force."""
    put(lab, virtual(*entries, **spec))


def put(lab: Lab, *objects: Json) -> None:
    for each in objects:
        lab.cluster.apply(each)
    lab.control_plane.settle()
    assert lab.control_plane.problem is None


KINDS = ("VirtualService", "Gateway", "Service")


@pytest.fixture
def quiet(lab: Lab) -> Iterator[Lab]:
    """The lab without its own traffic, and afterwards without what the test has put there."""
    lab.load.settle()
    before = {place(each) for kind in KINDS for each in lab.cluster.objects(kind)}
    yield lab
    for kind in KINDS:
        for each in lab.cluster.objects(kind):
            if place(each) not in before:
                lab.cluster.remove(*place(each))


def place(each: Json) -> tuple[str, str, str]:
    return (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])


def count(lab: Lab, selector: str) -> int:
    rows = lab.prometheus.query(f"sum(istio_requests_total{{{selector}}})")
    return int(rows[0][1]) if rows else 0


def all_scraped(lab: Lab) -> None:
    total = -1
    while total != (seen := count(lab, "")):
        total = seen
        time.sleep(SCRAPE)


@contextmanager
def counted(lab: Lab, grows: dict[str, int]) -> Iterator[None]:
    """What is done inside makes each of these counters (selectors) grow by so much, and not by more."""
    all_scraped(lab)
    before = {selector: count(lab, selector) for selector in grows}
    yield

    def grown() -> dict[str, int]:
        return {selector: count(lab, selector) - before[selector] for selector in grows}

    wait_for(lambda: all(grown()[each] >= more for each, more in grows.items()), f"{grows}, not {grown()}", 6)
    time.sleep(SCRAPE)  # nothing comes after
    assert grown() == grows


SCRAPE = 1.2  # seconds in which Prometheus has surely scraped once
DRAINED = 1.2  # seconds after which no connection is left at a pod where nothing listens any more
V3 = 'destination_workload="reviews-v3"'


# Matches


@pytest.mark.parametrize(
    ("match", "fitting", "others"),
    [
        ({"uri": {"exact": "/a"}}, [("/a", {}), ("/a?q=1", {})], [("/a/", {}), ("/A", {})]),
        ({"uri": {"prefix": "/a"}}, [("/a", {}), ("/abc", {}), ("/a/b", {})], [("/b/a", {})]),
        ({"uri": {"regex": "/a/[0-9]+"}}, [("/a/12", {}), ("/a/12?q", {})], [("/a/12/b", {}), ("/x/a/12", {})]),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, [("/A/b", {})], [("/b", {})]),
        (
            {"headers": {"end-user": {"exact": "jason"}}},
            [("/", {"end_user": "jason"})],
            [("/", {"end_user": "jasonx"})],
        ),
        ({"headers": {"x-a": {"prefix": "b"}}}, [("/", {"x_a": "bc"})], [("/", {"x_a": "cb"}), ("/", {})]),
        ({"headers": {"x-a": {"regex": "b+"}}}, [("/", {"x_a": "bb"})], [("/", {"x_a": "bbc"})]),
        ({"headers": {"x-a": {}}}, [("/", {"x_a": ""}), ("/", {"x_a": "y"})], [("/", {})]),
        (
            {"headers": {"cookie": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}},
            [("/", {"cookie": "user=jason"}), ("/", {"cookie": "a=b;user=jason;c=d"})],
            [("/", {"cookie": "user=jasonx"}), ("/", {})],
        ),
        ({"withoutHeaders": {"x-a": {}}}, [("/", {})], [("/", {"x_a": "y"})]),
        ({"withoutHeaders": {"x-a": {"exact": "y"}}}, [("/", {}), ("/", {"x_a": "z"})], [("/", {"x_a": "y"})]),
        (
            {"queryParams": {"q": {"exact": "1"}}},
            [("/?q=1", {}), ("/?p=2&q=1", {})],
            [("/?q=12", {}), ("/", {})],
        ),
        ({"queryParams": {"q": {}}}, [("/?q", {}), ("/?q=1", {})], [("/?p=q", {})]),
        (
            {"uri": {"prefix": "/a"}, "headers": {"x-a": {"exact": "y"}}},
            [("/a", {"x_a": "y"})],
            [("/a", {}), ("/", {"x_a": "y"})],
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_request_meets_the_entry_that_it_fits(
    quiet: Lab, match: Json, fitting: list[tuple[str, Json]], others: list[tuple[str, Json]]
) -> None:
    say(quiet, {"match": [match], "route": [to("v3")]}, {"route": [to("v1")]})
    assert [ask(quiet, path, **headers).version for path, headers in fitting] == ["v3"] * len(fitting)
    assert [ask(quiet, path, **headers).version for path, headers in others] == ["v1"] * len(others)


def test_method_and_authority_are_matched_too(quiet: Lab) -> None:
    say(
        quiet,
        {"match": [{"method": {"exact": "DELETE"}}, {"authority": {"prefix": "reviews.default"}}], "route": [to("v3")]},
        {"match": [{"scheme": {"exact": "http"}}], "route": [to("v2")]},
        {"route": [to("v1")]},
    )
    assert ask(quiet, method="DELETE").version == "v3"
    assert ask(quiet, host="reviews.default:9080").version == "v3"
    assert ask(quiet).version == "v2"


def test_the_first_entry_that_fits_wins_and_nothing_follows_one_that_takes_everything(quiet: Lab) -> None:
    """Jason's entry before the split is his; behind an entry without conditions it would be nobody's."""
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    say(quiet, jason, {"route": [to("v1")]}, {"route": [to("v3")]})
    assert (ask(quiet, end_user="jason").version, ask(quiet).version) == ("v2", "v1")
    say(quiet, {"route": [to("v1")]}, jason)
    assert ask(quiet, end_user="jason").version == "v1"


@pytest.mark.parametrize("match", [{}, {"uri": {"prefix": "/"}}, {"uri": {"regex": ".*"}}, {"uri": {"prefix": ""}}])
def test_nothing_reaches_an_entry_behind_one_that_takes_everything(quiet: Lab, match: Json) -> None:
    """Istio accepts such an entry with a warning (IST0130): whoever shifts its weights shifts nothing."""
    behind = {"match": [{"uri": {"prefix": "/a"}}], "route": [to("v1", 50), to("v3", 50)]}
    say(quiet, {"match": [match], "route": [to("v2")]}, behind)
    assert {ask(quiet, "/a").version for _ in range(10)} == {"v2"}
    say(quiet, {"match": [{**match, "headers": {"x-a": {"exact": "y"}}}], "route": [to("v2")]}, behind)
    assert ask(quiet, "/a", x_a="y").version == "v2"
    assert ask(quiet, "/a").version in ("v1", "v3"), "with one more condition it does not take everything"


def test_a_request_that_fits_no_entry_gets_404(quiet: Lab) -> None:
    """Flag NR. There is no way back to the service's own route once a VirtualService speaks for it."""
    say(quiet, {"match": [{"uri": {"prefix": "/a"}}], "route": [to("v1")]})
    with counted(quiet, {'reporter="source",response_code="404",response_flags="NR"': 1}):
        assert ask(quiet, "/b").status == 404
    assert ask(quiet, "/a").status == 200


def test_matches_choose_clients_not_requests(quiet: Lab) -> None:
    """`sourceLabels`, `sourceNamespace`, `port` and `gateways` are settled before a request is sent."""
    for match in (
        {"sourceLabels": {"app": "ratings"}},
        {"sourceNamespace": "shop"},
        {"port": 80},
        {"gateways": ["gw"]},
    ):
        say(quiet, {"match": [match], "route": [to("v3")]}, {"route": [to("v1")]})
        assert ask(quiet).version == "v1", match
    for match in ({"sourceLabels": {"app": "productpage"}}, {"sourceNamespace": "default"}, {"port": 9080}):
        say(quiet, {"match": [match], "route": [to("v3")]}, {"route": [to("v1")]})
        assert ask(quiet).version == "v3", match


def test_a_match_by_port_is_for_the_clients_of_that_port(quiet: Lab) -> None:
    """Two ports of one Service are two listeners, each with the entries that are for it."""
    put(quiet, *archive(to("v1", port={"number": 9080}), {"match": [{"port": 8123}], "route": [on_9080("v3")]}))
    assert ask(quiet, host="archive:9080").version == "v1"
    assert ask(quiet, host="archive:8123", at="client:8123").version == "v3"


def test_a_destination_without_port_means_the_port_that_was_called(quiet: Lab) -> None:
    """At a sidecar: reviews have one port, and yet a call on another one finds nothing there (503, NC)."""
    put(quiet, *archive(to("v3")))
    assert ask(quiet, host="archive:9080").version == "v3"
    assert ask(quiet, host="archive:8123", at="client:8123").status == 503
    put(quiet, gateway(server("shop.example.com")), bound({"route": [to("v3")]}))
    assert enter(quiet).version == "v3", "a gateway, asked on 8080, takes the Service's only port"


def archive(destination: Json, *first: Json) -> list[Json]:
    """A Service with two ports in front of reviews, and its VirtualService."""
    ports = ({"port": 9080, "name": "http"}, {"port": 8123, "name": "http-more", "targetPort": 9080})
    alias = service("archive", "default", *ports, selector={"app": "reviews"})
    return [alias, virtual(*first, {"route": [destination]}, name="archive", hosts=["archive"])]


def on_9080(subset: str) -> Json:
    return to(subset, port={"number": 9080})


# Weights


def test_every_request_is_drawn_by_weight(quiet: Lab) -> None:
    """Also where hundreds are asked for: 1 and 3 of a sum of 4. A destination at 0 gets nothing."""
    say(quiet, {"route": [to("v1", 1), to("v2", 0), to("v3", 3)]})
    seen = Counter(ask(quiet).version for _ in range(400))
    assert set(seen) == {"v1", "v3"}
    assert abs(seen["v3"] - 300) < 4.5 * math.sqrt(400 * 0.75 * 0.25)


def test_a_single_destination_gets_everything_at_weight_0(quiet: Lab) -> None:
    say(quiet, {"route": [to("v3", 0)]})
    assert {ask(quiet).version for _ in range(10)} == {"v3"}


def test_a_destination_that_stands_twice_gets_both_shares(quiet: Lab) -> None:
    """Istio does not mind, and neither does it mind a sum of 1050."""
    say(quiet, {"route": [to("v1", 525), to("v3", 500), to("v3", 25)]})
    seen = Counter(ask(quiet).version for _ in range(200))
    assert abs(seen["v3"] - 100) < 4.5 * math.sqrt(200 * 0.25)


def test_what_a_destination_at_0_says_of_headers_is_gone_with_it(quiet: Lab) -> None:
    """But a single one at 0 gets everything, headers and all."""
    canary = to("v3", 0, headers={"response": {"set": {"x-canary": "yes"}}})
    say(quiet, {"route": [to("v1", 100), canary]})
    answer = ask(quiet)
    assert (answer.version, answer.headers.get("x-canary")) == ("v1", None)
    say(quiet, {"route": [canary]})
    answer = ask(quiet)
    assert (answer.version, answer.headers.get("x-canary")) == ("v3", "yes")


def test_a_cookie_sends_more_to_the_canary_than_its_weight(quiet: Lab) -> None:
    """The entry of an A/B test stands before the split: the share that is observed is legally above the weight."""
    testers = {"match": [{"headers": {"cookie": {"regex": "^(.*?;)?(group=b)(;.*)?$"}}}], "route": [to("v3")]}
    say(quiet, testers, {"route": [to("v1", 90), to("v3", 10)]})
    seen = Counter(ask(quiet, cookie=f"a=1;group={'ab'[number % 2]}").version for number in range(200))
    assert abs(seen["v3"] - 110) < 4.5 * math.sqrt(100 * 0.1 * 0.9)


def test_entries_have_weights_of_their_own(quiet: Lab) -> None:
    """Two that should move together are moved apart by whoever patches only one."""
    shares = {"/static": (3, 1), "/api": (1, 3)}
    say(
        quiet,
        *(
            {"match": [{"uri": {"prefix": path}}], "route": [to("v1", stable), to("v3", canary)]}
            for path, (stable, canary) in shares.items()
        ),
    )
    for path, (_, canary) in shares.items():
        seen = Counter(ask(quiet, path).version for _ in range(160))
        assert abs(seen["v3"] - 40 * canary) < 4.5 * math.sqrt(160 * 0.75 * 0.25), path


# Rewrites, headers


def test_a_rewrite_changes_what_arrives(quiet: Lab) -> None:
    """The matched prefix, an exact path, or what a regular expression finds; the query stays."""
    say(
        quiet,
        {"match": [{"uri": {"prefix": "/a/"}}], "rewrite": {"uri": "/b/", "authority": "other"}, "route": [to("v1")]},
        {"match": [{"uri": {"exact": "/c"}}], "rewrite": {"uri": "/d"}, "route": [to("v1")]},
        {
            "rewrite": {"uriRegexRewrite": {"match": "^/v([0-9]+)/(.*)$", "rewrite": r"/\2/\1"}},
            "route": [to("v1")],
        },
    )
    prefix = ask(quiet, "/a/x?q=1").headers
    assert (prefix["x-lab-path"], prefix["x-lab-authority"]) == ("/b/x?q=1", "other")
    exact = ask(quiet, "/c").headers
    assert (exact["x-lab-path"], exact["x-lab-authority"]) == ("/d", "reviews:9080")
    assert ask(quiet, "/v2/books").headers["x-lab-path"] == "/books/2"


def test_headers_of_an_entry_and_of_a_destination_are_changed(quiet: Lab) -> None:
    """What is set replaces, what is added joins, what is removed is gone; the destination's come after the entry's."""
    of_entry = {
        "request": {"set": {"x-set": "entry"}, "add": {"x-add": "more"}, "remove": ["x-gone"]},
        "response": {"set": {"x-answer": "entry"}, "remove": ["x-lab-method"]},
    }
    own = {"request": {"set": {"x-set": "own"}}, "response": {"add": {"x-answer": "own"}}}
    say(quiet, {"headers": of_entry, "route": [to("v1", headers=own)]})
    answer = ask(quiet, x_lab_echo="1", x_set="mine", x_add="mine", x_gone="mine")
    assert answer.seen["x-set"] == "own"
    assert "mine" in answer.seen["x-add"]
    assert "more" in answer.seen["x-add"]
    assert "x-gone" not in answer.seen
    assert "x-lab-method" not in answer.headers
    assert "x-answer" in answer.headers


def test_headers_tell_the_canary_from_stable(quiet: Lab) -> None:
    """Headers of a weighted destination are of those requests only that it got."""
    canary = to("v3", 50, headers={"response": {"set": {"x-canary": "yes"}}, "request": {"set": {"host": "canary"}}})
    say(quiet, {"route": [to("v1", 50), canary]})
    answers = [ask(quiet) for _ in range(40)]
    told = {(each.version, each.headers.get("x-canary"), each.headers["x-lab-authority"]) for each in answers}
    assert told == {("v1", None, "reviews:9080"), ("v3", "yes", "canary")}


def test_an_upstream_is_told_the_attempt(quiet: Lab) -> None:
    """Istio's `x-envoy-attempt-count`: 1 unless the request was tried before."""
    say(quiet, {"route": [to("v1")]})
    assert ask(quiet, x_lab_echo="1").seen["x-envoy-attempt-count"] == "1"


# Answers without an upstream


def test_a_redirect_is_the_clients_to_follow(quiet: Lab) -> None:
    say(
        quiet,
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new", "authority": "x.example"}},
        {"match": [{"uri": {"prefix": "/p/"}}], "redirect": {"prefixRewrite": "/q/", "redirectCode": 307}},
        {"redirect": {"scheme": "https", "port": 8443, "redirectCode": 308}},
    )
    old, prefix, rest = ask(quiet, "/old?q=1"), ask(quiet, "/p/a"), ask(quiet, "/a")
    assert (old.status, old.headers["location"]) == (301, "http://x.example/new?q=1")
    assert (prefix.status, prefix.headers["location"]) == (307, "http://reviews:9080/q/a")
    assert (rest.status, rest.headers["location"]) == (308, "https://reviews:8443/a")


def test_a_direct_response_reaches_nobody(quiet: Lab) -> None:
    """A maintenance page: no version is asked, and no version is to blame for the 503."""
    response = {"status": 503, "body": {"string": "closed"}}
    say(quiet, {"directResponse": response, "headers": {"response": {"set": {"retry-after": "9"}}}})
    with counted(quiet, {'reporter="destination"': 0}):
        answer = ask(quiet)
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, "closed", "9")


def test_a_preflight_is_answered_by_the_proxy(quiet: Lab) -> None:
    policy = {"allowOrigins": [{"exact": "https://a.example"}], "allowMethods": ["GET", "PUT"], "maxAge": "24h"}
    say(quiet, {"corsPolicy": policy, "route": [to("v1")]})
    asked = {"access_control_request_method": "PUT", "method": "OPTIONS"}
    with counted(quiet, {'reporter="destination"': 0}):
        answer = ask(quiet, origin="https://a.example", **asked)
    told = {name.removeprefix("access-control-"): value for name, value in answer.headers.items()}
    assert answer.status == 200
    assert (told["allow-origin"], told["allow-methods"], told["max-age"]) == ("https://a.example", "GET,PUT", "86400")
    stranger = ask(quiet, origin="https://b.example", **asked)
    assert "access-control-allow-origin" not in stranger.headers
    assert stranger.version == "v1"  # an unmatched preflight goes on to the application
    assert ask(quiet, origin="https://a.example").headers["access-control-allow-origin"] == "https://a.example"


# Faults


def test_an_injected_abort_is_of_no_version(quiet: Lab) -> None:
    """Flag FI at the client, no workload; and retries do not see it, for they come after."""
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    say(quiet, {"fault": fault, "retries": {"attempts": 3, "retryOn": "5xx"}, "route": [to("v3")]})
    selector = 'reporter="source",response_flags="FI",destination_workload="unknown",response_code="503"'
    with counted(quiet, {selector: 3, f'reporter="destination",{V3}': 0}):
        assert [ask(quiet).status for _ in range(3)] == [503] * 3


def test_an_abort_may_be_grpcs(quiet: Lab) -> None:
    say(quiet, {"fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}}, "route": [to("v3")]})
    answer = ask(quiet, method="POST", content_type="application/grpc")
    assert (answer.status, answer.headers["grpc-status"]) == (200, "14")


def test_a_fault_hits_its_share(quiet: Lab) -> None:
    say(quiet, {"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 25}}}, "route": [to("v3")]})
    hit = sum(ask(quiet).status == 418 for _ in range(300))
    assert abs(hit - 75) < 4.5 * math.sqrt(300 * 0.25 * 0.75)
    say(quiet, {"fault": {"abort": {"httpStatus": 418}}, "route": [to("v3")]})
    assert {ask(quiet).status for _ in range(20)} == {200}  # without a percentage nobody


def test_an_injected_delay_counts_against_no_timeout(quiet: Lab) -> None:
    """Flag DI. The delay is before the router, whose clock starts after it."""
    fault = {"delay": {"fixedDelay": "0.4s", "percentage": {"value": 100}}}
    say(quiet, {"fault": fault, "timeout": "0.2s", "route": [to("v3")]})
    with counted(quiet, {f'reporter="source",response_flags="DI",{V3}': 1}):
        began = time.monotonic()
        assert ask(quiet).status == 200
        assert time.monotonic() - began > 0.35


# Timeouts and retries


def test_a_timeout_is_504_with_flag_ut(quiet: Lab) -> None:
    quiet.faults.set("v3", base_ms=600, spread_rate=0, tail_rate=0)
    say(quiet, {"timeout": "150ms", "route": [to("v3")]})
    with counted(quiet, {'reporter="source",response_code="504",response_flags="UT"': 1}):
        began = time.monotonic()
        assert ask(quiet).status == 504
        assert time.monotonic() - began < 0.5
    say(quiet, {"route": [to("v3")]})
    assert ask(quiet).status == 200  # without one, the client waits


def test_a_503_is_not_retried_by_default(quiet: Lab) -> None:
    """Since Istio 1.24. One request, one attempt, and the user sees the failure."""
    quiet.faults.set("v3", error_rate=1.0, http_status=503)
    say(quiet, {"route": [to("v3")]})
    grows = {
        f'reporter="source",response_code="503",{V3}': 4,
        f'reporter="destination",response_code="503",{V3}': 4,
    }
    with counted(quiet, grows):
        assert {ask(quiet).status for _ in range(4)} == {503}


@pytest.mark.parametrize("retry_on", ["5xx", "503"])
def test_retries_are_attempts_at_the_destination(quiet: Lab, retry_on: str) -> None:
    """The source counts the one outcome (flag URX), the destination each attempt."""
    quiet.faults.set("v3", error_rate=1.0, http_status=503)
    say(quiet, {"retries": {"attempts": 2, "retryOn": retry_on, "backoff": "1ms"}, "route": [to("v3")]})
    grows = {
        f'reporter="source",response_code="503",response_flags="URX",{V3}': 3,
        f'reporter="destination",response_code="503",{V3}': 9,
    }
    with counted(quiet, grows):
        assert {ask(quiet).status for _ in range(3)} == {503}


def test_retries_hide_failures_from_the_client(quiet: Lab) -> None:
    quiet.faults.set("v3", error_rate=0.5, http_status=503)
    say(quiet, {"retries": {"attempts": 12, "retryOn": "5xx", "backoff": "1ms"}, "route": [to("v3")]})
    all_scraped(quiet)
    before = count(quiet, f'reporter="destination",{V3}')
    assert {ask(quiet).status for _ in range(30)} == {200}
    wait_for(lambda: count(quiet, f'reporter="destination",{V3}') > before + 35, "attempts that failed", 6)


def test_a_retry_goes_to_another_pod(quiet: Lab) -> None:
    """By default: one of two pods that refuses connections costs no request; without retries it costs half of them."""
    say(quiet, {"route": [to("v3")]})
    quiet.refuse("v3", pod=0)
    time.sleep(DRAINED)
    assert {ask(quiet).status for _ in range(60)} == {200}
    say(quiet, {"route": [to("v3")], "retries": {"attempts": 0}})
    assert {ask(quiet).status for _ in range(60)} == {200, 503}


def test_a_retry_stays_with_the_version_that_was_drawn(quiet: Lab) -> None:
    """A failing canary cannot hide behind stable: five more attempts, and its half of the requests still fails."""
    quiet.faults.set("v3", error_rate=1.0, http_status=503)
    retries = {"attempts": 5, "retryOn": "5xx", "backoff": "1ms"}
    say(quiet, {"retries": retries, "route": [to("v1", 50), to("v3", 50)]})
    failed = sum(ask(quiet).status == 503 for _ in range(160))
    assert abs(failed - 80) < 4.5 * math.sqrt(160 * 0.25)


def test_with_one_locality_remote_ones_change_nothing(quiet: Lab) -> None:
    """All pods of the lab are in one place, so `retryRemoteLocalities` finds no other."""
    retries = {"attempts": 2, "retryOn": "5xx", "retryRemoteLocalities": True, "backoff": "1ms"}
    quiet.faults.set("v3", error_rate=1.0, http_status=503)
    say(quiet, {"retries": retries, "route": [to("v3")]})
    with counted(quiet, {f'reporter="destination",response_code="503",{V3}': 6}):
        assert [ask(quiet).status for _ in range(2)] == [503] * 2


def test_by_default_cancelled_calls_are_tried_again_and_internal_errors_are_not(quiet: Lab) -> None:
    """gRPC's CANCELLED as its UNAVAILABLE; its INTERNAL, a server's own fault, is the client's at once."""
    say(quiet, {"route": [to("v3")]})
    attempts = {1: 3, 13: 1}
    with counted(quiet, {f'reporter="destination",grpc_response_status="{s}",{V3}': n for s, n in attempts.items()}):
        for status in attempts:
            quiet.faults.set("v3", grpc_error_rate=1.0, grpc_status=status)
            answer = ask(quiet, method="POST", content_type="application/grpc")
            assert answer.headers["grpc-status"] == str(status)


def test_each_try_may_have_its_own_timeout(quiet: Lab) -> None:
    quiet.faults.set("v3", base_ms=600, spread_rate=0, tail_rate=0)
    retries = {"attempts": 2, "perTryTimeout": "100ms", "retryOn": "gateway-error", "backoff": "1ms"}
    say(quiet, {"retries": retries, "route": [to("v3")]})
    began = time.monotonic()
    assert ask(quiet).status == 504
    assert 0.28 < time.monotonic() - began < 0.59


def test_attempts_0_is_no_retry_at_all(quiet: Lab) -> None:
    """The default would try gRPC's UNAVAILABLE twice more."""
    quiet.faults.set("v3", grpc_error_rate=1.0, grpc_status=14)
    for retries, attempts in ({}, 3), ({"retries": {"attempts": 0}}, 1):
        say(quiet, {**retries, "route": [to("v3")]})
        with counted(quiet, {f'reporter="destination",grpc_response_status="14",{V3}': attempts}):
            assert ask(quiet, method="POST", content_type="application/grpc").headers["grpc-status"] == "14"


# Mirrors


def test_a_mirror_is_counted_where_it_arrives_only(quiet: Lab) -> None:
    """The source reports the request that it answered; the mirror's answer is thrown away."""
    quiet.faults.set("v3", error_rate=1.0, http_status=500)
    say(quiet, {"mirror": {"host": "reviews", "subset": "v3"}, "route": [to("v1")]})
    grows = {
        f'reporter="source",{V3}': 0,
        f'reporter="destination",{V3}': 5,
        'reporter="source",destination_workload="reviews-v1"': 5,
    }
    with counted(quiet, grows):
        assert [(each.version, each.status) for each in [ask(quiet) for _ in range(5)]] == [("v1", 200)] * 5


@pytest.mark.parametrize(
    "mirroring",
    [
        {
            "mirrors": [
                {"destination": {"host": "reviews", "subset": "v3"}, "percentage": {"value": 50}},
                {"destination": {"host": "reviews", "subset": "v2"}, "percentage": {"value": 0}},
            ]
        },
        {"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercentage": {"value": 50}},
        {"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercent": 50},
    ],
    ids=lambda value: "+".join(value),
)
def test_a_mirror_may_get_a_share(quiet: Lab, mirroring: Json) -> None:
    say(quiet, {**mirroring, "route": [to("v1")]})
    all_scraped(quiet)
    before = {v: count(quiet, f'reporter="destination",destination_workload="reviews-{v}"') for v in ("v1", "v2", "v3")}
    assert {ask(quiet).version for _ in range(200)} == {"v1"}
    all_there = 'reporter="destination",destination_workload="reviews-v1"'
    wait_for(lambda: count(quiet, all_there) == before["v1"] + 200, "all requests", 6)
    time.sleep(1.1)
    got = count(quiet, f'reporter="destination",{V3}') - before["v3"]
    assert abs(got - 100) < 4.5 * math.sqrt(200 * 0.25)
    assert count(quiet, 'reporter="destination",destination_workload="reviews-v2"') == before["v2"]


# Several VirtualServices, delegates, hosts


def test_of_two_virtual_services_for_a_host_the_older_speaks(quiet: Lab) -> None:
    """Nothing is merged in the mesh: the younger one's own entry for jason is nobody's."""
    say(quiet, {"route": [to("v1")]})
    time.sleep(1.1)  # ages are told in seconds
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v3")]}
    put(quiet, virtual(jason, name="a-younger"))
    assert ask(quiet, end_user="jason").version == "v1"
    quiet.cluster.remove("VirtualService", "default", "reviews")
    quiet.control_plane.settle()
    assert ask(quiet, end_user="jason").version == "v3"


def test_a_delegate_holds_the_weights(quiet: Lab) -> None:
    """The team's VirtualService says where to; the root which requests are the team's, and how long they may take."""
    team = virtual({"route": [to("v3")]}, {"route": [to("v2")]}, name="team")
    del team["spec"]["hosts"]
    root = virtual(
        {"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team"}, "timeout": "150ms"},
        {"route": [to("v1")]},
    )
    put(quiet, team, root)
    assert (ask(quiet, "/team/a").version, ask(quiet, "/").version) == ("v3", "v1")
    quiet.faults.set("v3", base_ms=600, spread_rate=0, tail_rate=0)
    assert ask(quiet, "/team/a").status == 504  # the root's timeout
    quiet.cluster.remove("VirtualService", "default", "team")
    quiet.control_plane.settle()
    assert ask(quiet, "/team/a").version == "v1"  # without its delegate the entry is not there


def test_a_delegate_cannot_take_more_than_its_root_gives(quiet: Lab) -> None:
    greedy = virtual({"match": [{"uri": {"prefix": "/"}}], "route": [to("v3")]}, {"route": [to("v2")]}, name="team")
    del greedy["spec"]["hosts"]
    root = virtual({"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team"}}, {"route": [to("v1")]})
    put(quiet, greedy, root)
    assert (ask(quiet, "/team").version, ask(quiet, "/").version) == ("v2", "v1")


def test_a_delegate_divides_and_does_what_its_root_says(quiet: Lab) -> None:
    """Weights are the delegate's; rewrite, headers, fault and the rest are the root's where the delegate has none."""
    team = virtual({"name": "split", "route": [to("v1", 1), to("v3", 1)]}, name="team")
    del team["spec"]["hosts"]
    settings = {"rewrite": {"uri": "/new"}, "headers": {"response": {"set": {"x-root": "yes"}}}}
    here = {"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team"}}
    put(quiet, team, virtual({**here, **settings}, {"route": [to("v2")]}))
    answers = [ask(quiet, "/team") for _ in range(40)]
    assert {each.version for each in answers} == {"v1", "v3"}
    assert {(each.headers["x-lab-path"], each.headers["x-root"]) for each in answers} == {("/new", "yes")}
    abort = {"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}}
    put(quiet, virtual({**here, **abort}, {"route": [to("v2")]}))
    assert ask(quiet, "/team").status == 418
    team["spec"]["http"][0]["fault"] = {"abort": {"httpStatus": 429, "percentage": {"value": 100}}}
    put(quiet, team)
    assert ask(quiet, "/team").status == 429, "its own comes first"


def test_a_delegate_that_is_not_there_is_404(quiet: Lab) -> None:
    """Nobody is told but Istio's log; so is one that is not exported to its root's namespace."""
    place = {"name": "team", "namespace": "shop"}
    root = virtual(
        {"match": [{"uri": {"prefix": "/team"}}], "delegate": place},
        {"match": [{"uri": {"prefix": "/rest"}}], "route": [to("v1")]},
    )
    put(quiet, root)
    assert (ask(quiet, "/team").status, ask(quiet, "/rest").status) == (404, 200)
    for exported, status in ((["."], 404), (["default"], 200), (["*"], 200)):
        team = virtual({"route": [to("v3", host=bookinfo.HOST)]}, **place, exportTo=exported)
        del team["spec"]["hosts"]
        put(quiet, team)
        assert ask(quiet, "/team").status == status, exported


def test_a_virtual_service_is_for_those_to_whom_it_is_exported(quiet: Lab) -> None:
    """And one that is exported to a namespace by name comes before those that are for everybody, whatever its age."""
    say(quiet, {"route": [to("v1")]})
    time.sleep(1.1)  # ages are told in seconds
    for exported, version in ((["."], "v1"), (["*"], "v1"), (["default"], "v3")):
        entry = {"route": [to("v3", host=bookinfo.HOST)]}
        put(quiet, virtual(entry, name="theirs", namespace="shop", hosts=[bookinfo.HOST], exportTo=exported))
        assert {ask(quiet, at=place).version for place in ("client", "other")} == {version}, exported


def test_a_short_name_is_of_the_namespace_where_it_is_written(quiet: Lab) -> None:
    """`reviews` in a VirtualService of the namespace shop is a host of shop, though it speaks for ours."""
    theirs = {"name": "theirs", "namespace": "shop", "hosts": [bookinfo.HOST], "exportTo": ["default"]}
    put(quiet, virtual({"route": [to("v3")]}, **theirs))
    assert ask(quiet).status == 503
    put(quiet, virtual({"route": [to("v3", host=bookinfo.HOST)]}, **theirs))
    assert ask(quiet).version == "v3"
    put(quiet, virtual({"route": [to("v3", host=bookinfo.HOST)]}, **{**theirs, "hosts": ["reviews"]}))
    say(quiet, {"route": [to("v1")]})
    assert ask(quiet).version == "v1", "it speaks for reviews.shop, which nobody calls"


@pytest.mark.parametrize(
    "host",
    [
        "reviews",
        "reviews:9080",
        "reviews:1234",
        "reviews.default",
        "reviews.default.svc:9080",
        "Reviews.Default.svc.cluster.local",
        "10.96.90.80",
    ],
)
def test_a_host_is_known_however_it_is_written(quiet: Lab, host: str) -> None:
    say(quiet, {"route": [to("v3")]})
    assert ask(quiet, host=host).version == "v3"


def test_an_unknown_host_is_502(quiet: Lab) -> None:
    """As under REGISTRY_ONLY: there is nothing outside of the lab."""
    assert ask(quiet, host="elsewhere.example").status == 502


def test_a_wildcard_speaks_for_those_who_have_nothing_better(quiet: Lab) -> None:
    say(quiet, {"route": [to("v1")]})
    alias = service("archive", "default", selector={"app": "reviews"})
    everything = virtual({"route": [to("v3")]}, name="all", hosts=["*.default.svc.cluster.local"])
    put(quiet, alias, everything)
    assert (ask(quiet).version, ask(quiet, host="archive:9080").version) == ("v1", "v3")


def test_a_gateways_virtual_service_leaves_the_mesh_alone(quiet: Lab) -> None:
    say(quiet, {"route": [to("v3")]}, gateways=["bookinfo-gateway"])
    assert {ask(quiet).version for _ in range(30)} == set(bookinfo.VERSIONS)  # the service's plain route
    say(quiet, {"route": [to("v3")]}, gateways=["bookinfo-gateway", "mesh"])
    assert ask(quiet).version == "v3"


def test_a_subset_that_nobody_defines_is_503(quiet: Lab) -> None:
    """Flag NC. At weight 0 it is harmless."""
    say(quiet, {"route": [to("v1", 100), to("v9", 0)]})
    assert ask(quiet).status == 200
    say(quiet, {"route": [to("v9")]})
    with counted(quiet, {'reporter="source",response_code="503",response_flags=~".*NC.*"': 1}):
        assert ask(quiet).status == 503


def test_a_host_that_nobody_knows_is_503(quiet: Lab) -> None:
    """Flag NC: Istio accepts any name for a destination."""
    say(quiet, {"route": [{"destination": {"host": "nobody"}, "weight": 50}, to("v1", 50)]})
    assert {(each.status, each.version) for each in [ask(quiet) for _ in range(40)]} == {(200, "v1"), (503, "")}


# Other places to ask from

elsewhere = pytest.mark.skipif(not hasattr(Lab, "vantage"), reason="this lab has one client and no gateway")


def bound(*http: Json, **spec: Any) -> Json:
    """A VirtualService for a host that only the gateway knows."""
    return virtual(*http, **{"name": "shop", "hosts": ["shop.example.com"], "gateways": ["gw"], **spec})


def enter(lab: Lab, path: str = "/", **more: str) -> Answer:
    """A request to that host from outside, by the ingress gateway."""
    return ask(lab, path, **{"host": "shop.example.com", "at": "ingress", **more})


@elsewhere
def test_clients_are_told_apart_by_their_labels(quiet: Lab) -> None:
    """The same request from two clients, of which a match means one."""
    say(quiet, {"match": [{"sourceLabels": {"app": "curl"}}], "route": [to("v3")]}, {"route": [to("v1")]})
    assert (ask(quiet, at="other").version, ask(quiet, at="client").version) == ("v3", "v1")


@elsewhere
def test_a_gateway_serves_the_virtual_services_that_are_bound_to_it(quiet: Lab) -> None:
    """And no other: those of the mesh say nothing there, its own say nothing in the mesh."""
    say(quiet, {"route": [to("v1")]})
    put(quiet, gateway(server("shop.example.com", "reviews.default.svc.cluster.local")), bound({"route": [to("v3")]}))
    assert enter(quiet).version == "v3"
    assert enter(quiet, host="shop.example.com:8080").version == "v3"
    assert enter(quiet, host="reviews.default.svc.cluster.local").status == 404
    assert ask(quiet).version == "v1"
    assert ask(quiet, host="shop.example.com").status == 502


@elsewhere
def test_the_meshs_virtual_service_says_nothing_to_who_comes_in(quiet: Lab) -> None:
    """A gateway's route to `reviews` goes to all of its pods, whatever the mesh's VirtualService for them says."""
    say(quiet, {"route": [to("v3")]})
    put(quiet, gateway(server("shop.example.com")), bound({"route": [{"destination": {"host": "reviews"}}]}))
    assert {enter(quiet).version for _ in range(60)} == set(bookinfo.VERSIONS)
    assert {ask(quiet).version for _ in range(20)} == {"v3"}


@elsewhere
def test_a_match_may_mean_the_gateway_or_the_mesh(quiet: Lab) -> None:
    at_gateway = {"match": [{"gateways": ["gw"]}], "route": [to("v3")]}
    both = virtual(at_gateway, {"route": [to("v1")]}, hosts=["reviews", "shop.example.com"], gateways=["mesh", "gw"])
    put(quiet, gateway(server("shop.example.com")), both)
    assert (enter(quiet).version, ask(quiet).version) == ("v3", "v1")


@elsewhere
def test_virtual_services_of_one_host_are_merged_at_a_gateway(quiet: Lab) -> None:
    """Each adds what it has; what takes everything waits behind the rest, and there the older one wins."""
    put(quiet, gateway(server("shop.example.com")), bound({"route": [to("v1")]}))
    time.sleep(1.1)  # ages are told in seconds
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    put(quiet, bound(jason, {"route": [to("v3")]}, name="a-younger"))
    assert (enter(quiet, end_user="jason").version, enter(quiet).version) == ("v2", "v1")


@elsewhere
def test_a_gateway_lets_in_what_its_servers_name(quiet: Lab) -> None:
    """`ops/*` is for VirtualServices of that namespace, and the narrower of two hosts is served."""
    put(quiet, gateway(server("*.example.com")), bound({"route": [to("v3")]}, hosts=["shop.example.com", "shop.test"]))
    assert (enter(quiet).status, enter(quiet, host="shop.test").status) == (200, 404)
    put(quiet, gateway(server("ops/*.example.com")))
    assert enter(quiet).status == 404
    put(quiet, gateway(server("default/shop.example.com")))
    assert enter(quiet).version == "v3"


@elsewhere
def test_a_gateway_of_another_namespace_is_named_with_it(quiet: Lab) -> None:
    put(quiet, gateway(server("shop.example.com"), namespace="ops"), bound({"route": [to("v3")]}))
    assert enter(quiet).status == 404
    put(quiet, bound({"route": [to("v3")]}, gateways=["ops/gw"]))
    assert enter(quiet).version == "v3"


@elsewhere
def test_a_gateway_may_send_clients_to_https(quiet: Lab) -> None:
    put(quiet, gateway(server("shop.example.com", tls={"httpsRedirect": True})), bound({"route": [to("v3")]}))
    answer = enter(quiet, "/a?q=1")
    assert (answer.status, answer.headers["location"]) == (301, "https://shop.example.com/a?q=1")


@elsewhere
def test_weights_hold_at_a_gateway_too(quiet: Lab) -> None:
    """Each proxy draws for itself."""
    put(quiet, gateway(server("shop.example.com")), bound({"route": [to("v1", 75), to("v3", 25)]}))
    seen = Counter(enter(quiet).version for _ in range(400))
    assert set(seen) == {"v1", "v3"}
    assert abs(seen["v3"] - 100) < 4.5 * math.sqrt(400 * 0.75 * 0.25)

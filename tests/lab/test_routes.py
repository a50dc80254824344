"""The entries of a VirtualService as routes: weights, order, matches, and all that an entry does with a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.errors import Rejected
from canaryd.lab import bookinfo
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.routes import routes_of
from canaryd.lab.istiod.vantage import Vantage
from canaryd.lab.istiod.virtualservices import virtual_services

from .translating import V1, V2, V3, action, host_of, mesh, only_route, routes, service, shares, to, translate, virtual
from .translating import whole_routes as whole

Json = dict[str, Any]
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"


# Weights


def test_the_seed_is_split_in_halves() -> None:
    """The article's VirtualService, word for word."""
    assert shares(routes({"route": [to("v1", 50), to("v3", 50)]})[0]) == {V1: 50, V3: 50}


def test_weights_need_no_sum_of_a_hundred() -> None:
    assert shares(routes({"route": [to("v1", 1000), to("v3", 50)]})[0]) == {V1: 1000, V3: 50}


def test_a_single_destination_takes_everything_whatever_its_weight() -> None:
    """Istio ignores the weight of a single destination, also 0: a rollback by weight alone would not be one."""
    assert shares(routes({"route": [to("v3", 0)]})[0]) == {V3: 100}


def test_a_destination_at_weight_0_is_left_out_with_all_it_says() -> None:
    """So a missing subset at weight 0 is harmless, and its headers are nobody's."""
    shunned = to("v9", 0, headers={"request": {"set": {"x": "y"}}})
    assert shares(routes({"route": [to("v1", 100), shunned]})[0]) == {V1: 100}
    assert "x" not in str(whole({"route": [to("v1", 100), shunned]})[0]["route"]["weighted_clusters"])


@pytest.mark.parametrize(("weights", "words"), [((0, 0), "all be 0"), ((None, None), "all be 0"), ((101, -1), "-1")])
def test_weights_without_a_sum_are_refused(weights: tuple[int | None, int | None], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        routes({"route": [to("v1", weights[0]), to("v3", weights[1])]})


# Destinations


def test_a_sidecar_sends_to_the_port_that_was_called() -> None:
    """It sees no Service but those on its own port: one that listens elsewhere needs `port` (503, flag NC, without)."""
    ratings = service("ratings", "default", {"port": 8000, "name": "http"})
    host = "ratings.default.svc.cluster.local"
    unsaid, said = (
        host_of(translate(mesh(ratings, virtual({"route": [to("", host="ratings", **port)]}))))["routes"][0]
        for port in ({}, {"port": {"number": 8000}})
    )
    assert shares(unsaid) == {cluster_name(9080, "", host): 100}
    assert shares(said) == {cluster_name(8000, "", host): 100}


def test_a_missing_subset_or_host_gets_a_route_to_nowhere() -> None:
    """Envoy answers 503 NC; refusing it here would hide what a mesh does."""
    translation = translate(mesh(virtual({"route": [to("v9", 50), to("v1", 50, host="nobody")]})))
    wanted = {cluster_name(9080, "v9", bookinfo.HOST), cluster_name(9080, "v1", "nobody.default.svc.cluster.local")}
    assert set(shares(host_of(translation)["routes"][0])) == wanted
    assert not wanted & {each["name"] for each in translation.clusters}


def test_a_consistent_hash_chooses_the_pod_and_is_not_left_by_a_retry() -> None:
    rule = bookinfo.destination_rule()
    rule["spec"]["trafficPolicy"] = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    found = _hash_policies(rule, {"route": [to("v1")]})
    assert found == [{"header": {"header_name": "x-user"}}]
    rule["spec"]["subsets"][2]["trafficPolicy"] = {
        "loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}}}
    }
    found = _hash_policies(rule, {"route": [to("v1", 90), to("v3", 10)]})
    assert found == [{"header": {"header_name": "x-user"}}, {"cookie": {"name": "user", "ttl": "0s"}}]


def test_a_ports_own_hash_needs_the_port_to_be_named() -> None:
    """Istio looks at settings for a port where the destination says it, not where it goes without saying."""
    rule = bookinfo.destination_rule()
    hashed = {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}
    rule["spec"]["trafficPolicy"] = {"portLevelSettings": [{"port": {"number": 9080}, **hashed}]}
    said = {"route": [to("v1", port={"number": 9080})]}
    assert _hash_policies(rule, said) == [{"connection_properties": {"source_ip": True}}]
    assert _hash_policies(rule, {"route": [to("v1")]}) == []


def _hash_policies(rule: Json, entry: Json) -> list[Json]:
    registry = Registry.of([each for each in mesh() if each["kind"] != "DestinationRule"] + [rule])
    found = routes_of(virtual_services([virtual(entry)])[0], Vantage.of(registry, Proxy(), 9080, WIRING))[0]["route"]
    policies: list[Json] = found.get("hash_policy", [])
    assert ("retry_host_predicate" not in found["retry_policy"]) == ("cluster" in found and bool(policies))
    return policies


# Order and matches


def test_entries_keep_their_order_and_end_at_the_first_catch_all() -> None:
    """First match wins; what stands after a catch-all is never reached, and Istio drops it."""
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("v2")]}
    found = routes(jason, {"route": [to("v1")]}, {"route": [to("v3")]})
    assert [shares(each) for each in found] == [{V2: 100}, {V1: 100}]
    assert found[0]["match"]["headers"] == [{"name": "end-user", "string_match": {"exact": "jason"}}]


@pytest.mark.parametrize(
    ("match", "catches"),
    [
        ({}, True),
        ({"name": "all"}, True),
        ({"uri": {"prefix": "/"}}, True),
        ({"uri": {"regex": ".*"}}, True),
        ({"uri": {"prefix": "/"}, "ignoreUriCase": True}, True),
        ({"uri": {"prefix": ""}}, False),
        ({"uri": {"regex": "/.*"}}, False),
        ({"uri": {"prefix": "/"}, "headers": {"x": {}}}, False),
        ({"uri": {"prefix": "/"}, "withoutHeaders": {"x": {}}}, False),
        ({"uri": {"prefix": "/"}, "queryParams": {"q": {"exact": "1"}}}, False),
        ({"method": {"exact": "GET"}}, False),
        ({"headers": {"@request.auth.claims.group": {"exact": "a"}}}, False),
    ],
)
def test_what_takes_everything_cuts_the_rest_off(match: Json, catches: bool) -> None:
    """Istio's idea of everything: an empty prefix and the regex `/.*` take everything too, and cut nothing."""
    found = routes({"match": [match, {"uri": {"exact": "/b"}}], "route": [to("v3")]}, {"route": [to("v1")]})
    assert len(found) == (1 if catches else 3)


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a"}),
        ({"uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        ({"uri": {"regex": "/a.*"}}, {"safe_regex": {"regex": "/a.*"}}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, {"prefix": "/a", "case_sensitive": False}),
        ({"statPrefix": "s", "uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        (
            {"method": {"exact": "GET"}, "scheme": {"exact": "https"}, "authority": {"prefix": "r"}},
            {
                "prefix": "/",
                "headers": [
                    {"name": ":method", "string_match": {"exact": "GET"}},
                    {"name": ":authority", "string_match": {"prefix": "r"}},
                    {"name": ":scheme", "string_match": {"exact": "https"}},
                ],
            },
        ),
        ({"headers": {"x": {}}}, {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        ({"headers": {"x": {"regex": "*"}}}, {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        (
            {"headers": {"x": {"prefix": "y"}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "y"}}]},
        ),
        (
            {"headers": {"x": {"exact": ""}}},
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": ""}}]},
        ),
        (
            {"headers": {"cookie": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}},
            {
                "prefix": "/",
                "headers": [
                    {"name": "cookie", "string_match": {"safe_regex": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}}
                ],
            },
        ),
        (
            {"withoutHeaders": {"x": {}}},
            {"prefix": "/", "headers": [{"name": "x", "present_match": True, "invert_match": True}]},
        ),
        (
            {"withoutHeaders": {"a": {"exact": "y"}}, "headers": {"x": {}}},
            {
                "prefix": "/",
                "headers": [
                    {
                        "name": "a",
                        "string_match": {"exact": "y"},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    },
                    {"name": "x", "present_match": True},
                ],
            },
        ),
        (
            {"queryParams": {"q": {"exact": "1"}, "p": {}}},
            {
                "prefix": "/",
                "query_parameters": [
                    {"name": "p", "present_match": True},
                    {"name": "q", "string_match": {"exact": "1"}},
                ],
            },
        ),
    ],
)
def test_a_match_becomes_envoys(match: Json, wanted: Json) -> None:
    assert routes({"match": [match], "route": [to("v1")]})[0]["match"] == wanted


@pytest.mark.parametrize("name", ["@request.auth.claims.group.id", "@request.auth.claims[group][id]"])
def test_a_match_on_a_claim_looks_into_the_token(name: str) -> None:
    """It is no header: a client that sends one of that name has not shown a token."""
    found = routes({"match": [{"headers": {name: {"exact": "a"}}}], "route": [to("v1")]})[0]["match"]
    assert "headers" not in found
    assert found["dynamic_metadata"][0]["path"] == [{"key": "payload"}, {"key": "group"}, {"key": "id"}]


def test_each_match_of_an_entry_is_a_route_of_its_own() -> None:
    """The items of `match` are alternatives, the fields of one item all have to hold."""
    found = whole(
        {"name": "r", "match": [{"uri": {"exact": "/a"}, "name": "a"}, {"uri": {"exact": "/b"}}], "route": [to("v3")]}
    )
    assert [(each["name"], each["match"]) for each in found] == [("r.a", {"path": "/a"}), ("r", {"path": "/b"})]


def test_matches_that_choose_other_proxies_are_not_for_this_one() -> None:
    """`gateways`, `sourceLabels`, `sourceNamespace` and `port` choose sidecars, not requests."""
    others: list[Json] = [
        {"gateways": ["gw"]},
        {"sourceLabels": {"app": "ratings"}},
        {"sourceNamespace": "elsewhere"},
        {"port": 8080},
    ]
    entries = [{"match": [each], "route": [to("v3")]} for each in others]
    mine = {"match": [{"sourceLabels": {"app": "productpage"}, "sourceNamespace": "default"}], "route": [to("v1")]}
    assert [shares(each) for each in routes(*entries, mine)] == [{V1: 100}]


def test_a_match_that_names_gateways_does_not_look_at_labels() -> None:
    """So it is in Istio's source (sourceMatchHTTP), though nothing says so."""
    odd = {"gateways": ["mesh"], "sourceLabels": {"app": "ratings"}, "sourceNamespace": "elsewhere"}
    assert [shares(each) for each in routes({"match": [odd], "route": [to("v3")]})] == [{V3: 100}]


# Timeouts and retries


def test_there_is_no_timeout_unless_one_is_asked_for() -> None:
    """Envoy's own would be 15 s. A gRPC request may bring a deadline of its own."""
    assert [action({})[each] for each in ("timeout", "max_grpc_timeout")] == ["0s", "0s"]
    assert [action({"timeout": "1m500ms"})[each] for each in ("timeout", "max_grpc_timeout")] == ["60.5s", "60.5s"]


def test_retries_are_on_by_default() -> None:
    """Two, of what never reached the application; a 503 is not among them since Istio 1.24."""
    policy = action({})["retry_policy"]
    assert policy["retry_on"] == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert (policy["num_retries"], policy["host_selection_retry_max_attempts"]) == (2, 5)
    assert "retriable_status_codes" not in policy
    assert [each["name"] for each in policy["retry_host_predicate"]] == [PREVIOUS_HOSTS]


def test_retries_are_off_at_0_attempts() -> None:
    assert "retry_policy" not in action({"retries": {"attempts": 0}})


def test_retries_say_what_they_say_and_keep_the_rest_of_the_default() -> None:
    policy = action({"retries": {"attempts": 3}})["retry_policy"]
    assert (policy["num_retries"], policy["retry_on"].split(",")[0]) == (3, "connect-failure")
    written = {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx, 503,gateway-error", "backoff": "50ms"}
    policy = action({"retries": written})["retry_policy"]
    assert (policy["per_try_timeout"], policy["retry_back_off"]) == ("2s", {"base_interval": "0.05s"})
    assert policy["retry_on"] == "5xx,gateway-error,retriable-status-codes"
    assert policy["retriable_status_codes"] == [503]


def test_a_retry_may_go_to_the_same_pod_or_another_place() -> None:
    policy = action({"retries": {"attempts": 1, "retryIgnorePreviousHosts": False, "retryRemoteLocalities": True}})
    assert "retry_host_predicate" not in policy["retry_policy"]
    assert policy["retry_policy"]["retry_priority"]["typed_config"]["update_frequency"] == 2


# Faults and CORS


def test_a_fault_is_the_clients_to_inject() -> None:
    """Timeout and retries stay as they are: the filter comes before them, so that they do not see it."""
    fault = {
        "delay": {"fixedDelay": "7s", "percentage": {"value": 12.5}},
        "abort": {"httpStatus": 500, "percentage": {"value": 100}},
    }
    found = only_route({"fault": fault})["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert found.pop("@type").endswith("fault.v3.HTTPFault")
    assert found == {
        "delay": {"fixed_delay": "7s", "percentage": {"numerator": 125000, "denominator": "MILLION"}},
        "abort": {"http_status": 500, "percentage": {"numerator": 1000000, "denominator": "MILLION"}},
    }


def test_a_fault_without_a_percentage_hits_nobody() -> None:
    """Istio's default is none, not all."""
    abort = {"abort": {"grpcStatus": "UNAVAILABLE"}, "delay": {"fixedDelay": "1s"}}
    found = only_route({"fault": abort})["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert found["abort"] == {"grpc_status": 14, "percentage": {"numerator": 0, "denominator": "HUNDRED"}}
    assert found["delay"]["percentage"]["numerator"] == 0
    old = only_route({"fault": {"delay": {"fixedDelay": "1s", "percent": 30}}})["typed_per_filter_config"]
    assert old["envoy.filters.http.fault"]["delay"]["percentage"] == {"numerator": 30, "denominator": "HUNDRED"}


def test_cors_is_answered_by_the_proxy() -> None:
    policy = {
        "allowOrigins": [{"exact": "https://a.example"}, {"regex": "https://.*[.]b"}],
        "allowMethods": ["GET", "POST"],
        "allowHeaders": ["x-a", "x-b"],
        "exposeHeaders": ["x-c"],
        "maxAge": "1m40s",
        "allowCredentials": True,
    }
    found = only_route({"corsPolicy": policy})["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert found.pop("@type").endswith("cors.v3.CorsPolicy")
    assert found == {
        "allow_origin_string_match": [{"exact": "https://a.example"}, {"safe_regex": {"regex": "https://.*[.]b"}}],
        "allow_methods": "GET,POST",
        "allow_headers": "x-a,x-b",
        "expose_headers": "x-c",
        "max_age": "100",
        "allow_credentials": True,
        "forward_not_matching_preflights": True,
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
    }
    strict = only_route({"corsPolicy": {"allowOrigin": ["*"], "unmatchedPreflights": "IGNORE"}})
    found = strict["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert found["allow_origin_string_match"] == [{"exact": "*"}]
    assert found["forward_not_matching_preflights"] is False


# Mirrors


@pytest.mark.parametrize(
    ("mirroring", "wanted"),
    [
        ({}, [{"numerator": 100, "denominator": "HUNDRED"}]),
        ({"mirrorPercentage": {"value": 0.5}}, [{"numerator": 5000, "denominator": "MILLION"}]),
        ({"mirrorPercentage": {"value": 0}}, []),
        ({"mirrorPercent": 30}, [{"numerator": 30, "denominator": "HUNDRED"}]),
        ({"mirror_percent": 0}, []),
        ({"mirrorPercentage": {"value": 10}, "mirrorPercent": 30}, [{"numerator": 100000, "denominator": "MILLION"}]),
    ],
)
def test_a_mirror_gets_everything_unless_a_share_is_said(mirroring: Json, wanted: list[Json]) -> None:
    found = action({"mirror": {"host": "reviews", "subset": "v3"}, **mirroring}).get("request_mirror_policies", [])
    assert [each["runtime_fraction"]["default_value"] for each in found] == wanted
    assert all(each["cluster"] == V3 and each["trace_sampled"] is False for each in found)


def test_there_may_be_several_mirrors() -> None:
    places = [
        {"destination": {"host": "reviews", "subset": "v2"}},
        {"destination": {"host": "reviews", "subset": "v3"}, "percentage": {"value": 20}},
        {"destination": {"host": "reviews"}, "percentage": {"value": 0}},
    ]
    found = action({"mirrors": places})["request_mirror_policies"]
    assert [(each["cluster"], each["runtime_fraction"]["default_value"]["numerator"]) for each in found] == [
        (V2, 100),
        (V3, 200000),
    ]


# Rewrites and headers


def test_a_rewrite_changes_the_path_or_its_matched_prefix() -> None:
    assert action({"rewrite": {"uri": "/v1", "authority": "other"}})["prefix_rewrite"] == "/v1"
    assert action({"rewrite": {"uri": "/v1", "authority": "other"}})["host_rewrite_literal"] == "other"
    regex = {"match": "^/a/([^/]+)(.*)$", "rewrite": r"/b/\1\2"}
    assert action({"rewrite": {"uriRegexRewrite": regex}})["regex_rewrite"] == {
        "pattern": {"regex": "^/a/([^/]+)(.*)$"},
        "substitution": r"/b/\1\2",
    }


def test_headers_are_set_before_they_are_added_and_an_entrys_before_a_destinations() -> None:
    of_entry = {
        "request": {"set": {"b": "2", "a": "1"}, "add": {"c": "3"}, "remove": ["d"]},
        "response": {"add": {"e": "5"}, "remove": ["f"]},
    }
    own = {"request": {"set": {"c": "own"}}, "response": {"set": {"g": "7"}, "remove": ["h"]}}
    found = only_route({"headers": of_entry, "route": [to("v1", headers=own)]})
    overwrite, append = "OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"
    assert [
        (each["header"]["key"], each["header"]["value"], each["append_action"])
        for each in found["request_headers_to_add"]
    ] == [("a", "1", overwrite), ("b", "2", overwrite), ("c", "3", append), ("c", "own", overwrite)]
    assert [each["header"]["key"] for each in found["response_headers_to_add"]] == ["e", "g"]
    assert (found["request_headers_to_remove"], found["response_headers_to_remove"]) == (["d"], ["f", "h"])


def test_headers_of_a_weighted_destination_are_its_own() -> None:
    headers = {"response": {"set": {"x-which": "canary"}}, "request": {"set": {"Host": "canary"}}}
    found = only_route({"route": [to("v1", 90), to("v3", 10, headers=headers)]})
    stable, canary = found["route"]["weighted_clusters"]["clusters"]
    assert "response_headers_to_add" not in stable
    assert canary["response_headers_to_add"][0]["header"] == {"key": "x-which", "value": "canary"}
    assert canary["host_rewrite_literal"] == "canary"
    assert "request_headers_to_add" not in canary


def test_the_host_is_no_header_like_others() -> None:
    """`:authority` and `host` of a request are a rewrite of the host; of several the outermost word counts."""
    host = {"request": {"set": {":authority": "set"}, "add": {"host": "added"}, "remove": ["Host", ":path"]}}
    own = {"request": {"set": {"host": "own"}}}
    found = only_route({"headers": host, "route": [to("v1", headers=own)]})
    assert found["route"]["host_rewrite_literal"] == "set"
    assert not found.keys() & {"request_headers_to_add", "request_headers_to_remove"}
    assert action({"route": [to("v1", headers=own)]})["host_rewrite_literal"] == "own"
    assert action({"headers": host, "rewrite": {"authority": "rewritten"}})["host_rewrite_literal"] == "rewritten"


# Answers of the proxy's own


@pytest.mark.parametrize(
    ("redirect", "wanted"),
    [
        ({}, {"response_code": "MOVED_PERMANENTLY"}),
        (
            {"uri": "/x", "authority": "h", "scheme": "https", "redirectCode": 308},
            {
                "path_redirect": "/x",
                "host_redirect": "h",
                "scheme_redirect": "https",
                "response_code": "PERMANENT_REDIRECT",
            },
        ),
        ({"prefixRewrite": "/new"}, {"prefix_rewrite": "/new", "response_code": "MOVED_PERMANENTLY"}),
        ({"port": 8443}, {"port_redirect": 8443, "response_code": "MOVED_PERMANENTLY"}),
        ({"port": 80}, {"response_code": "MOVED_PERMANENTLY"}),
        (
            {"port": 443, "scheme": "https"},
            {"scheme_redirect": "https", "response_code": "MOVED_PERMANENTLY"},
        ),
        ({"derivePort": "FROM_REQUEST_PORT"}, {"port_redirect": 9080, "response_code": "MOVED_PERMANENTLY"}),
        ({"derivePort": "FROM_PROTOCOL_DEFAULT"}, {"response_code": "MOVED_PERMANENTLY"}),
    ],
)
def test_a_redirect(redirect: Json, wanted: Json) -> None:
    """Without a code 301; a port that goes without saying is not said."""
    assert only_route({"redirect": redirect})["redirect"] == wanted


def test_a_direct_response() -> None:
    headers = {"response": {"set": {"retry-after": "10"}}}
    found = only_route({"directResponse": {"status": 503, "body": {"string": "closed"}}, "headers": headers})
    assert found["direct_response"] == {"status": 503, "body": {"inline_string": "closed"}}
    assert found["response_headers_to_add"][0]["header"]["key"] == "retry-after"
    assert only_route({"directResponse": {"status": 200, "body": {"bytes": "b2s="}}})["direct_response"]["body"] == {
        "inline_bytes": "b2s="
    }
    assert only_route({"directResponse": {"status": 204}})["direct_response"] == {"status": 204}


# Refusals


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"route": [to("v1")], "warp": {"speed": 9}}, "`warp` is not translated"),
        ({"route": [to("v1")], "match": [{"headerz": {"a": {}}}]}, "match: `headerz` is not translated"),
        ({"route": [to("v1")], "fault": {"abort": {"http2Error": "x"}}}, "fault.abort: `http2Error` is not translated"),
        ({"route": [to("v1")], "fault": {"abort": {"grpcStatus": "BAD"}}}, "'BAD' is none of OK, CANCELLED"),
        ({"route": [to("v1")], "fault": {"delay": {"exponentialDelay": "1s"}}}, "`exponentialDelay` is not translated"),
        ({"route": [to("v1")], "rewrite": {"path": "/"}}, "rewrite: `path` is not translated"),
        ({"route": [to("v1")], "retries": {"attempts": 1, "budget": 1}}, "retries: `budget` is not translated"),
        ({"route": [to("v1")], "corsPolicy": {"allow": 1}}, "corsPolicy: `allow` is not translated"),
        ({"route": [to("v1")], "timeout": "soon"}, "timeout: 'soon' is not a duration"),
        ({"route": [to("v1")], "match": [{"uri": {"glob": "*"}}]}, "expected one of exact, prefix, regex, got glob"),
        ({"route": [{**to("v1"), "mood": "good"}]}, r"route\[0\]: `mood` is not translated"),
        ({"redirect": {"redirectCode": 305}}, "redirectCode 305 is none of 301, 302"),
        ({"redirect": {"uriRegexRewrite": {"match": "a"}}}, "redirect: `uriRegexRewrite` is not translated"),
        ({"match": [{"uri": {"exact": "/"}}]}, "needs one of `route`, `redirect`, `directResponse`"),
    ],
)
def test_what_is_not_translated_is_refused_by_name(entry: Json, words: str) -> None:
    """Nothing is dropped in silence: the lab would prove something else than what was written."""
    with pytest.raises(Rejected, match=words) as refusal:
        whole(entry)
    assert "VirtualService default/reviews, http[0]" in str(refusal.value)


def test_what_is_for_other_proxies_is_not_looked_at() -> None:
    """A Gateway's fancy must not stop the sidecars."""
    fancy = {"route": [to("v1")], "warp": 9, "match": [{"gateways": ["gw"]}]}
    assert shares(routes(fancy, {"route": [to("v3")]})[0]) == {V3: 100}


# What the Gateway API means by the same words


def gateway_api(entry: Json) -> Json:
    """The first route of an entry that was made from an HTTPRoute."""
    from_route = replace(virtual_services([virtual(entry)])[0], gateway_api=True)
    return routes_of(from_route, Vantage.of(Registry.of(mesh()), Proxy(), 9080, WIRING))[0]


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("/a", {"path_separated_prefix": "/a"}),
        ("/a/", {"path_separated_prefix": "/a"}),
        ("/", {"prefix": "/"}),
    ],
)
def test_a_prefix_of_the_gateway_api_ends_at_a_slash(prefix: str, wanted: Json) -> None:
    """`/a` is not `/abc` there."""
    assert gateway_api({"match": [{"uri": {"prefix": prefix}}], "route": [to("v1")]})["match"] == wanted


def test_a_missing_cluster_of_the_gateway_api_is_500() -> None:
    """And a reference to nothing at all has a cluster that is never there."""
    found = gateway_api({"route": [to("v1", 1), {"destination": {"host": ""}, "weight": 1}]})["route"]
    assert found["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"
    assert [each["name"] for each in found["weighted_clusters"]["clusters"]] == [V1, "UnknownService"]
    assert "cluster_not_found_response_code" not in action({})


def test_a_prefix_is_taken_off_whole() -> None:
    """Envoy's own rewrite of `/a/b` without `/a` to `/` would leave `//b`."""
    entry = {"match": [{"uri": {"prefix": "/a.b"}}], "rewrite": {"uri": "/"}, "route": [to("v1")]}
    assert gateway_api(entry)["route"]["regex_rewrite"] == {
        "pattern": {"regex": r"^/a\.b(/?)(.*)"},
        "substitution": r"/\2",
    }
    assert gateway_api({**entry, "rewrite": {"uri": "/c"}})["route"]["prefix_rewrite"] == "/c"


def test_a_redirect_may_replace_the_prefix_only() -> None:
    assert gateway_api({"redirect": {"uri": "%PREFIX()%/new"}})["redirect"]["prefix_rewrite"] == "/new"
    assert only_route({"redirect": {"uri": "%PREFIX()%/new"}})["redirect"]["path_redirect"] == "%PREFIX()%/new"

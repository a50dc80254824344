"""Clusters: which rule a client sees, and what its policy becomes in Envoy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Rejected
from canaryd.lab.istiod.clusters import SOCKET_MATCH, cluster_name, clusters_of, hash_policy_of
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.destinationrules import Rule, rule_for
from canaryd.lab.istiod.proxy import GATEWAY, Proxy, Wiring
from canaryd.lab.istiod.registry import Registry

from .envoy_check import complaint
from .meshes import HOST, REPLICAS, VERSIONS, pod, reviews

Json = dict[str, Any]
IDENTITY: Json = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "identity"}}
SECURE = Wiring(address=WIRING.address, identity=lambda _: IDENTITY, cluster=WIRING.cluster)
SUBSETS = [{"name": version, "labels": {"version": version}} for version in VERSIONS]


def rule(name: str, spec: Json, namespace: str = "default", born: str = "2026-01-01T00:00:00Z") -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": born},
        "spec": {"host": HOST, **spec},
    }


def subsets(*names: str) -> list[Json]:
    return [{"name": each, "labels": {"version": each}} for each in names]


def mesh(*others: Json) -> list[Json]:
    """Bookinfo's reviews without rules, and what is given."""
    return [*reviews(), *others]


def clusters(*others: Json, proxy: Proxy | None = None, wiring: Wiring = WIRING) -> dict[str, Json]:
    made = clusters_of(Registry.of(mesh(*others)), proxy or Proxy(), wiring)
    return {each["name"]: each for each in made}


def cluster(policy: Json, subset: str = "", *, wiring: Wiring = WIRING, **spec: Any) -> Json:
    """The cluster of one subset under one rule with that policy."""
    made = clusters(rule("reviews", {"trafficPolicy": policy, "subsets": SUBSETS, **spec}), wiring=wiring)
    return made[cluster_name(9080, subset, HOST)]


def endpoints(each: Json) -> list[Json]:
    found: list[Json] = each["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return found


def seen(*rules: Json, proxy: Proxy | None = None, home: str = "default") -> Rule:
    return rule_for(HOST, home, Registry.of(rules).destination_rules, proxy or Proxy())


# Which rule a client sees


@pytest.mark.parametrize(
    ("there", "subset"),
    [
        (("shop", "default", "istio-system"), "shop"),
        (("default", "istio-system"), "default"),
        (("istio-system",), "istio-system"),
        (("elsewhere",), None),
    ],
)
def test_the_clients_namespace_is_searched_first_then_the_services_then_the_root(
    there: tuple[str, ...], subset: str | None
) -> None:
    """The search ends at the first namespace that has a rule; nothing is merged across namespaces."""
    rules = [rule("r", {"subsets": subsets(each)}, each) for each in there]
    assert list(seen(*rules, proxy=Proxy(namespace="shop")).subsets) == ([subset] if subset else [])


def test_a_gateway_in_the_root_namespace_does_not_take_the_meshs_rules_for_its_own() -> None:
    """Else the catch-all rules of the mesh would hide every rule that teams write beside their services."""
    gateway = Proxy("gw", "istio-system", {}, "gateway")
    everything = rule("all", {"host": "*.local", "subsets": subsets("root")}, "istio-system")
    theirs = rule("theirs", {"subsets": subsets("theirs")})
    own = rule("own", {"subsets": subsets("own"), "exportTo": ["."]}, "istio-system")
    assert list(seen(everything, theirs, proxy=gateway).subsets) == ["theirs"]
    assert list(seen(everything, theirs, own, proxy=gateway).subsets) == ["own"]
    assert list(seen(everything, proxy=gateway).subsets) == ["root"]


def test_a_rule_is_seen_where_it_is_exported_to() -> None:
    shop = Proxy(namespace="shop")
    assert list(seen(rule("r", {"subsets": subsets("a"), "exportTo": ["."]}), proxy=shop).subsets) == []
    assert list(seen(rule("r", {"subsets": subsets("a"), "exportTo": ["."]})).subsets) == ["a"]
    assert list(seen(rule("r", {"subsets": subsets("a"), "exportTo": ["shop"]}), proxy=shop).subsets) == ["a"]
    assert list(seen(rule("r", {"subsets": subsets("a"), "exportTo": ["other"]}), proxy=shop).subsets) == []


def test_a_rule_that_is_for_others_only_is_not_for_its_own_namespace() -> None:
    """Unlike a VirtualService's, a namespace's own clients are among those who are named, or go without."""
    given = rule("r", {"subsets": subsets("a"), "exportTo": ["shop"]})
    root = rule("root", {"subsets": subsets("root")}, "istio-system")
    assert list(seen(given, root).subsets) == ["root"]
    assert list(seen(given, root, proxy=Proxy(namespace="shop")).subsets) == ["a"]


def test_a_rule_that_is_kept_private_does_not_end_the_search() -> None:
    """What another namespace keeps for itself is not there for this client; the root's rule may be."""
    private = rule("private", {"subsets": subsets("a"), "exportTo": ["."]})
    root = rule("root", {"subsets": subsets("root")}, "istio-system")
    assert list(seen(private, root, proxy=Proxy(namespace="shop")).subsets) == ["root"]
    broad = rule("broad", {"host": "*.local", "subsets": subsets("broad")})
    assert list(seen(private, broad, root, proxy=Proxy(namespace="shop")).subsets) == ["broad"]


def test_the_most_specific_host_of_a_namespace_stands_alone() -> None:
    broad = rule("broad", {"host": "*.default.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})
    narrow = rule("narrow", {"subsets": subsets("v1")}, born="2026-02-01T00:00:00Z")
    assert seen(broad, narrow).policy == {}
    assert list(seen(broad, narrow).subsets) == ["v1"]


def test_rules_of_one_host_are_merged_and_the_older_one_wins() -> None:
    """Subsets are put together, of two of one name the older stands, and so does the first policy."""
    old = rule("z-old", {"subsets": [{"name": "v1", "labels": {"version": "v1"}}]})
    middle = rule("m", {"trafficPolicy": {"tls": {"mode": "DISABLE"}}}, born="2026-02-01T00:00:00Z")
    young = rule(
        "a-young",
        {
            "subsets": [{"name": "v1", "labels": {"version": "v2"}}, {"name": "v3", "labels": {"version": "v3"}}],
            "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
        },
        born="2026-03-01T00:00:00Z",
    )
    merged = seen(young, middle, old)
    assert {name: each.labels["version"] for name, each in merged.subsets.items()} == {"v1": "v1", "v3": "v3"}
    assert merged.policy == {"tls": {"mode": "DISABLE"}}


def test_rules_for_other_clients_are_not_merged() -> None:
    """Two rules with different exportTo stand side by side; the last that is for this client holds."""
    first = rule("a", {"subsets": subsets("a"), "exportTo": [".", "shop"]})
    second = rule("b", {"subsets": subsets("b"), "exportTo": [".", "other"]}, born="2026-02-01T00:00:00Z")
    assert list(seen(first, second, proxy=Proxy(namespace="shop")).subsets) == ["a"]
    assert list(seen(first, second, proxy=Proxy(namespace="other")).subsets) == ["b"]


def test_a_workload_selector_is_for_those_workloads_of_its_own_namespace() -> None:
    special = rule("special", {"subsets": subsets("s"), "workloadSelector": {"matchLabels": {"app": "productpage"}}})
    general = rule("general", {"subsets": subsets("g")}, born="2026-02-01T00:00:00Z")
    assert "s" in seen(special, general).subsets
    assert list(seen(special, general, proxy=Proxy(labels={"app": "ratings"})).subsets) == ["g"]
    assert list(seen(special, general, proxy=Proxy(namespace="shop")).subsets) == ["g"]
    assert list(seen(special, proxy=Proxy(labels={"app": "ratings"})).subsets) == []
    gateway = rule(
        "gateway", {"subsets": subsets("r"), "workloadSelector": {"matchLabels": {"a": "b"}}}, "istio-system"
    )
    assert list(seen(gateway, proxy=Proxy("ingress", "istio-system", {"a": "b"}, GATEWAY)).subsets) == ["r"]


# Policies


def test_a_subset_replaces_whole_blocks() -> None:
    """A subset that limits its connections loses the rule's limit of requests, and keeps the rule's balancer."""
    general = {
        "connectionPool": {"http": {"http2MaxRequests": 7}, "tcp": {"maxConnections": 9}},
        "loadBalancer": {"simple": "RANDOM"},
    }
    own = {"connectionPool": {"tcp": {"maxConnections": 1}}}
    special = [{**SUBSETS[0], "trafficPolicy": own}, *SUBSETS[1:]]
    limited = cluster(general, "v1", subsets=special)
    thresholds = limited["circuit_breakers"]["thresholds"][0]
    assert (thresholds["max_connections"], thresholds["max_requests"]) == (1, 2**32 - 1)
    assert limited["lb_policy"] == "RANDOM"
    assert cluster(general, "v2", subsets=special)["circuit_breakers"]["thresholds"][0]["max_connections"] == 9


def test_settings_for_a_port_inherit_nothing() -> None:
    """Istio's documentation: what a port's settings leave out is Istio's default, not the rule's."""
    port = {"port": {"number": 9080}, "connectionPool": {"tcp": {"maxConnections": 1}}}
    elsewhere = {"port": {"number": 80}, "loadBalancer": {"simple": "ROUND_ROBIN"}}
    found = cluster({"loadBalancer": {"simple": "RANDOM"}, "portLevelSettings": [elsewhere, port]})
    assert found["lb_policy"] == "LEAST_REQUEST"
    assert found["circuit_breakers"]["thresholds"][0]["max_connections"] == 1
    special = [{**SUBSETS[0], "trafficPolicy": {"portLevelSettings": [port]}}]
    assert cluster({"loadBalancer": {"simple": "RANDOM"}}, "v1", subsets=special)["lb_policy"] == "LEAST_REQUEST"


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ({}, {"lb_policy": "LEAST_REQUEST"}),
        ({"simple": "LEAST_CONN"}, {"lb_policy": "LEAST_REQUEST"}),
        ({"simple": "ROUND_ROBIN"}, {"lb_policy": "ROUND_ROBIN"}),
        ({"simple": "RANDOM"}, {"lb_policy": "RANDOM"}),
        ({"simple": "RANDOM", "warmup": {"duration": "30s"}}, {"lb_policy": "RANDOM"}),  # Envoy has no such warmup
        ({"localityLbSetting": {"enabled": True}}, {"lb_policy": "LEAST_REQUEST"}),
        ({"zoneAwareLbSetting": {"enabled": True}}, {"lb_policy": "LEAST_REQUEST"}),
        (
            {"simple": "ROUND_ROBIN", "warmup": {"duration": "30s", "minimumPercent": 20}},
            {
                "lb_policy": "ROUND_ROBIN",
                "round_robin_lb_config": {
                    "slow_start_config": {
                        "slow_start_window": "30s",
                        "aggression": {"default_value": 1, "runtime_key": "("},
                        "min_weight_percent": {"value": 20},
                    }
                },
            },
        ),
        (
            {"warmupDurationSecs": "10s"},
            {
                "lb_policy": "LEAST_REQUEST",
                "least_request_lb_config": {"slow_start_config": {"slow_start_window": "10s"}},
            },
        ),
        (
            {"consistentHash": {"httpHeaderName": "x"}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}},
        ),
        (
            {"consistentHash": {"useSourceIp": True, "minimumRingSize": 7}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 7}},
        ),
        (
            {"consistentHash": {"httpHeaderName": "x", "ringHash": {"minimumRingSize": 3}}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 3}},
        ),
        (
            {"consistentHash": {"httpHeaderName": "x", "maglev": {"tableSize": 101}}},
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 101}},
        ),
    ],
)
def test_a_balancer_becomes_envoys(block: Json, wanted: Json) -> None:
    found = cluster({"loadBalancer": block})
    assert {
        key: value for key, value in found.items() if key.startswith("lb_") or key.endswith("_lb_config")
    } == wanted | {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}


@pytest.mark.parametrize(
    ("hashed", "wanted"),
    [
        ({"httpHeaderName": "x-user"}, {"header": {"header_name": "x-user"}}),
        (
            {"httpCookie": {"name": "user", "ttl": "0s", "path": "/"}},
            {"cookie": {"name": "user", "ttl": "0s", "path": "/"}},
        ),
        ({"httpCookie": {"name": "user"}}, {"cookie": {"name": "user"}}),
        ({"useSourceIp": True}, {"connection_properties": {"source_ip": True}}),
        ({"httpQueryParameterName": "q"}, {"query_parameter": {"name": "q"}}),
    ],
)
def test_a_hash_key_becomes_the_routes_hash_policy(hashed: Json, wanted: Json) -> None:
    """A subset's own balancer replaces the rule's, so that subset may be the one that is not hashed."""
    plain = {**SUBSETS[0], "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
    written = rule("r", {"trafficPolicy": {"loadBalancer": {"consistentHash": hashed}}, "subsets": [plain, SUBSETS[2]]})
    registry = Registry.of(mesh(written))
    assert hash_policy_of(HOST, "v3", 9080, registry, Proxy()) == [wanted]
    assert hash_policy_of(HOST, "", 9080, registry, Proxy()) == [wanted]
    assert hash_policy_of(HOST, "v1", 9080, registry, Proxy()) == []
    assert hash_policy_of("nobody", "v1", 9080, registry, Proxy()) == []


def test_limits_become_circuit_breakers_and_lifetimes() -> None:
    pool = {
        "tcp": {
            "maxConnections": 1,
            "connectTimeout": "30ms",
            "maxConnectionDuration": "1h",
            "tcpKeepalive": {"probes": 1},
        },
        "http": {
            "http1MaxPendingRequests": 2,
            "http2MaxRequests": 3,
            "maxRetries": 4,
            "maxRequestsPerConnection": 5,
            "idleTimeout": "6s",
        },
    }
    found = cluster({"connectionPool": pool})
    assert found["connect_timeout"] == "0.03s"
    assert found["circuit_breakers"]["thresholds"] == [
        {
            "max_connections": 1,
            "max_pending_requests": 2,
            "max_requests": 3,
            "max_retries": 4,
            "track_remaining": True,
        }
    ]
    (options,) = found["typed_extension_protocol_options"].values()
    assert options["common_http_protocol_options"] == {
        "idle_timeout": "6s",
        "max_requests_per_connection": 5,
        "max_connection_duration": "3600s",
    }
    assert options["explicit_http_config"] == {"http_protocol_options": {}}


def test_without_a_pool_there_is_no_limit_and_istios_own_timeout() -> None:
    found = cluster({"loadBalancer": {"simple": "RANDOM"}})
    assert set(found["circuit_breakers"]["thresholds"][0].values()) == {2**32 - 1, True}
    assert found["connect_timeout"] == "10s"
    assert "typed_extension_protocol_options" not in found
    assert "outlier_detection" not in found


def test_ejection_is_istios() -> None:
    """Success rates never eject, panic never sends requests to the ejected, gateway errors only if asked for."""
    found = cluster({"outlierDetection": {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "3m"}})
    assert found["outlier_detection"] == {
        "enforcing_success_rate": 0,
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 100,
        "interval": "1s",
        "base_ejection_time": "180s",
    }
    assert found["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}
    more = {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": 2,
        "maxEjectionPercent": 100,
        "minHealthPercent": 40,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 4,
    }
    found = cluster({"outlierDetection": more})
    assert found["outlier_detection"] == {
        "enforcing_success_rate": 0,
        "consecutive_5xx": 0,
        "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": 2,
        "enforcing_consecutive_gateway_failure": 100,
        "max_ejection_percent": 100,
        "split_external_local_origin_errors": True,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_local_origin_failure": 4,
        "enforcing_consecutive_local_origin_failure": 100,
    }
    assert found["common_lb_config"] == {"healthy_panic_threshold": {"value": 40}}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"loadBalancer": {"simple": "PASSTHROUGH"}}, "loadBalancer: PASSTHROUGH is not translated"),
        ({"loadBalancer": {"simple": "FASTEST"}}, "loadBalancer: expected one of .*, got 'FASTEST'"),
        ({"tls": {"mode": "SIMPLE"}}, "tls: mode SIMPLE is not translated"),
        ({"tls": {"mode": "MUTUAL"}}, "tls: mode MUTUAL is not translated"),
        ({"proxyProtocol": {"version": "V2"}}, "`proxyProtocol` is not translated"),
        ({"connectionPool": {"tcp": {"connectTimeout": "soon"}}}, "'soon' is not a duration"),
        ({"outlierDetection": {"surprise": 1}}, "outlierDetection: `surprise` is not translated"),
    ],
)
def test_what_is_not_translated_is_refused_by_name(policy: Json, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refusal:
        cluster(policy)
    assert "DestinationRule default/reviews, trafficPolicy" in str(refusal.value)


# Who stands behind a Service


def service(name: str, port: Json, **spec: Any) -> Json:
    about = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": {"ports": [port], **spec}}


def test_subsets_choose_among_the_pods_that_the_service_selects() -> None:
    """A pod with the subset's labels that the Service does not select is nobody's."""
    stranger = pod("v3", 9, labels={"app": "other"})
    made = clusters(rule("r", {"subsets": SUBSETS}), stranger)
    assert len(endpoints(made[cluster_name(9080, "v3", HOST)])) == REPLICAS
    assert len(endpoints(made[cluster_name(9080, "", HOST)])) == 3 * REPLICAS


def test_a_target_port_by_name_is_the_pods_own_and_pods_without_it_are_left_out() -> None:
    """As in Kubernetes, whose endpoints of that port leave such a pod out."""
    named = {"name": "app", "ports": [{"name": "web", "containerPort": 8000}]}
    pods = [
        pod("v1", 8, labels={"app": "shop"}, containers=[named, {"name": "istio-proxy"}]),
        pod("v2", 9, labels={"app": "shop"}),
    ]
    where: list[int] = []
    wiring = Wiring(lambda pod, port: where.append(port) or {}, lambda _: None, WIRING.cluster)  # type: ignore[func-returns-value]
    made = clusters(
        service("shop", {"name": "http", "port": 80, "targetPort": "web"}, selector={"app": "shop"}),
        *pods,
        wiring=wiring,
    )
    assert len(endpoints(made[cluster_name(80, "", "shop.default.svc.cluster.local")])) == 1
    assert 8000 in where


def test_services_without_pods_of_their_own() -> None:
    """Without selector there is nobody; an ExternalName stands for the Service it names, or for nobody."""
    made = clusters(
        service("manual", {"name": "http", "port": 9080}),
        service("alias", {"name": "http", "port": 9080}, type="ExternalName", externalName=HOST),
        service("outside", {"name": "http", "port": 9080}, type="ExternalName", externalName="example.com"),
        service("headless", {"name": "http", "port": 9080}, clusterIP="None", selector={"app": "reviews"}),
        service("udp", {"name": "dns", "port": 53, "protocol": "UDP"}, selector={"app": "reviews"}),
    )
    behind = {name.split("|")[-1].split(".")[0]: len(endpoints(each)) for name, each in made.items()}
    everybody = 3 * REPLICAS
    assert behind == {"reviews": everybody, "manual": 0, "alias": everybody, "outside": 0, "headless": everybody}


def test_a_pod_without_sidecar_has_no_version_for_its_clients() -> None:
    """Istio's clients learn version and app from the server's sidecar; without one Prometheus has `unknown`."""
    bare = pod("v3", 9, labels={"app": "bare"}, containers=[{"name": "reviews"}])
    made = clusters(service("bare", {"name": "http", "port": 9080}, selector={"app": "bare"}), bare)
    (endpoint,) = endpoints(made[cluster_name(9080, "", "bare.default.svc.cluster.local")])
    assert endpoint["metadata"]["filter_metadata"]["istio"] == {
        "workload": "reviews-v3",
        "namespace": "default",
        "canonical_service": "reviews",
        "canonical_revision": "v3",
        "cluster": "Kubernetes",
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("http", None), ("grpc-web", "http2"), ("grpc-x", "http2"), ("http2", "http2"), ("odd", "downstream")],
)
def test_the_name_of_a_port_says_which_http_is_spoken(name: str, wanted: str | None) -> None:
    made = clusters(service("s", {"name": name, "port": 80}, selector={"app": "reviews"}))
    options = made[cluster_name(80, "", "s.default.svc.cluster.local")].get("typed_extension_protocol_options")
    assert (options is None) == (wanted is None)
    if options:
        (said,) = options.values()
        assert ("use_downstream_protocol_config" in said) == (wanted == "downstream")
        assert ("http2_protocol_options" in said.get("explicit_http_config", {})) == (wanted == "http2")


# TLS


def peers(mode: str, namespace: str = "default", labels: Json | None = None) -> Json:
    spec: Json = {"mtls": {"mode": mode}}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    about = {"name": f"p-{mode.lower()}", "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": about, "spec": spec}


def test_auto_mtls_goes_by_each_pod() -> None:
    """Mutual TLS to the pods with a sidecar, plain text to the others: a mesh in the middle of its migration works."""
    bare = pod("v3", 9, labels={"security.istio.io/tlsMode": "disabled"})
    made = clusters(bare, wiring=SECURE)[cluster_name(9080, "", HOST)]
    secured, plain = made["transport_socket_matches"]
    assert secured["match"] == {"tlsMode": "istio"}
    assert secured["transport_socket"]["typed_config"]["sni"] == f"outbound_.9080_._.{HOST}"
    assert (plain["match"], plain["transport_socket"]["name"]) == ({}, "envoy.transport_sockets.raw_buffer")
    told = [each["metadata"]["filter_metadata"].get(SOCKET_MATCH) for each in endpoints(made)]
    assert told.count({"tlsMode": "istio"}) == 3 * REPLICAS
    assert told.count(None) == 1


def test_a_rule_decides_instead_of_auto_mtls() -> None:
    plain = cluster({"tls": {"mode": "DISABLE"}}, wiring=SECURE)
    assert not {"transport_socket", "transport_socket_matches"} & set(plain)
    mutual = cluster({"tls": {"mode": "ISTIO_MUTUAL"}}, "v3", wiring=SECURE)
    assert mutual["transport_socket"]["typed_config"]["sni"] == f"outbound_.9080_.v3_.{HOST}"
    assert "transport_socket_matches" not in mutual
    assert "transport_socket" not in cluster({"tls": {"mode": "ISTIO_MUTUAL"}})  # a mesh of plain proxies


@pytest.mark.parametrize(("name", "wanted"), [("http", ["istio"]), ("grpc", ["h2"])])
def test_a_pod_learns_from_tls_that_http2_is_spoken(name: str, wanted: list[str]) -> None:
    """Envoy's server takes its codec from the protocol that was agreed on, before it looks at what arrives."""
    context = {"common_tls_context": {"alpn_protocols": ["istio"]}}
    identity = {**IDENTITY, "typed_config": {**IDENTITY["typed_config"], **context}}
    wiring = Wiring(address=WIRING.address, identity=lambda _: identity, cluster=WIRING.cluster)
    made = clusters(service("s", {"name": name, "port": 80}, selector={"app": "reviews"}), wiring=wiring)
    socket = made[cluster_name(80, "", "s.default.svc.cluster.local")]["transport_socket_matches"][0][
        "transport_socket"
    ]
    assert socket["typed_config"]["common_tls_context"]["alpn_protocols"] == wanted
    assert context["common_tls_context"]["alpn_protocols"] == ["istio"]


def test_a_rule_says_whom_the_pod_must_be() -> None:
    """By its identity, in place of anybody of the mesh; another one's certificate ends the connection."""
    known = {"trusted_ca": {"filename": "root.pem"}, "match_typed_subject_alt_names": ["anybody"]}
    typed = {"common_tls_context": {"validation_context": known}}
    wiring = Wiring(WIRING.address, lambda _: {"name": "tls", "typed_config": typed}, WIRING.cluster)
    name = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    made = cluster({"tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": [name]}}, wiring=wiring)
    assert made["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"] == {
        "trusted_ca": {"filename": "root.pem"},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": name}}],
    }


def test_clients_send_plain_text_where_mutual_tls_is_off() -> None:
    """A namespace at DISABLE as a whole; a single workload at DISABLE only for its own pods."""
    whole = clusters(peers("DISABLE"), wiring=SECURE)[cluster_name(9080, "", HOST)]
    assert "transport_socket_matches" not in whole
    part = clusters(peers("DISABLE", labels={"version": "v3"}), wiring=SECURE)[cluster_name(9080, "", HOST)]
    told = [SOCKET_MATCH in each["metadata"]["filter_metadata"] for each in endpoints(part)]
    assert told.count(False) == REPLICAS
    assert "transport_socket_matches" in part


# Over real objects


def corpus_rules(corpus: Path) -> list[tuple[str, Json]]:
    places = sorted((corpus / "destinationrules").glob("*.yaml"))
    return [(place.name, yaml.safe_load(place.read_text())) for place in places]


def behind(each: Json) -> list[Json]:
    """A Service that the rule is for, with pods of every subset."""
    host = str(each["spec"]["host"]).replace("*", "reviews")
    name, _, rest = host.partition(".")
    about = {"name": name, "namespace": rest.split(".")[0] if rest else each["metadata"].get("namespace", "default")}
    spec = {"ports": [{"name": "http", "port": 80}], "selector": {"app": "reviews"}}
    return [{"kind": "Service", "apiVersion": "v1", "metadata": about, "spec": spec}]


def test_every_rule_of_the_corpus_is_translated_or_refused_with_a_sentence(corpus: Path) -> None:
    translated, refusals = 0, {}
    for name, each in corpus_rules(corpus):
        proxy = Proxy(namespace=each["metadata"].get("namespace", "default"))
        try:
            made = clusters_of(Registry.of([each, *behind(each)]), proxy, WIRING)
        except Rejected as refusal:
            refusals[name, each["metadata"]["name"]] = str(refusal)
            continue
        translated += 1
        if each["spec"]["host"].count(".") in (0, 4) and "workloadSelector" not in each["spec"]:
            assert {one["name"].split("|")[2] for one in made} == {
                "",
                *(one["name"] for one in each["spec"].get("subsets") or []),
            }, name
    assert translated >= 40
    assert 1 <= len(refusals) <= 20
    assert [place for place, sentence in refusals.items() if place[1] not in sentence] == []


@pytest.mark.lab
@pytest.mark.xdist_group("lab-routes")
def test_envoy_accepts_every_policy(corpus: Path, tmp_path: Path) -> None:
    """All the policies of this file and of the corpus, as clusters of a real Envoy."""
    made: list[Json] = []
    policies: list[Json] = [
        {"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "30s"}}},
        {"loadBalancer": {"warmupDurationSecs": "10s"}},
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x", "maglev": {"tableSize": 101}}}},
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}},
        {"connectionPool": {"tcp": {"maxConnectionDuration": "1h"}, "http": {"h2UpgradePolicy": "UPGRADE"}}},
        {"connectionPool": {"http": {"useClientProtocol": True, "idleTimeout": "3s", "maxConcurrentStreams": 9}}},
        {
            "outlierDetection": {
                "consecutive5xxErrors": 0,
                "consecutiveGatewayErrors": 2,
                "interval": "1s",
                "maxEjectionPercent": 100,
                "splitExternalLocalOriginErrors": True,
                "consecutiveLocalOriginFailures": 4,
            }
        },
    ]
    named = (WIRING.cluster, iter(range(10_000)))
    wiring = Wiring(WIRING.address, WIRING.identity, lambda *about: f"{next(named[1])}/{named[0](*about)}")
    for policy in policies:
        made += clusters_of(
            Registry.of(mesh(rule("r", {"trafficPolicy": policy, "subsets": SUBSETS}))), Proxy(), wiring
        )
    for _, each in corpus_rules(corpus):
        try:
            proxy = Proxy(namespace=each["metadata"].get("namespace", "default"))
            made += clusters_of(Registry.of([each, *behind(each)]), proxy, wiring)
        except Rejected:
            continue
    assert len(made) >= 60
    assert complaint(tmp_path, clusters=made) == ""
    assert "FASTEST" in complaint(tmp_path, clusters=[{**made[0], "lb_policy": "FASTEST"}])

"""
Traffic policies: how a client balances, limits, ejects and secures what it sends to one port of one subset.

A newcomer would get wrong: blocks are taken whole. A subset's `connectionPool` replaces that of the rule, it does not
add to it; and settings for a port replace everything, also the blocks that they do not name, which fall back to
Istio's defaults.

A hash sticks to a pod inside its subset only: with a split the subset is drawn anew for each request, at random.

Sources: Istio pilot/pkg/networking/util/util.go (MergeSubsetTrafficPolicy, GetPortLevelTrafficPolicy),
pilot/pkg/networking/core/cluster_traffic_policy.go, pilot/pkg/networking/core/route/route.go (hash policies).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.destinationrules import Rule
from canaryd.lab.istiod.objects import only, seconds

Json = dict[str, Any]

BLOCKS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
BALANCERS = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}
HASH_KEYS = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
UNLIMITED = 2**32 - 1
LIMITS = ("max_retries", "max_requests", "max_connections", "max_pending_requests")
TYPES = "type.googleapis.com/envoy"
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PLAIN, ISTIO_MUTUAL, AUTO = "DISABLE", "ISTIO_MUTUAL", "auto"


@dataclass(frozen=True, slots=True)
class Policy:
    """The blocks that hold for one port of one subset, and where they are written, for messages."""

    blocks: Json
    where: str

    def __getitem__(self, block: str) -> Json:
        return self.blocks.get(block) or {}


def policy_for(rule: Rule, subset: str, port: int) -> Policy:
    """
    The policy for a Service's `port` (its number) and a subset (`""` is the whole host).

    Raises Rejected for what the lab does not translate (tunnels, PROXY protocol).
    """
    blocks = _at_port(rule.policy, port, rule.where) or {}
    where = f"{rule.where}, trafficPolicy"
    own = rule.subsets.get(subset)
    if own and own.policy:
        special = _for_port(own.policy, port)
        chosen = _at_port(own.policy, port, own.where)
        # settings for a port default what they leave out, those for a subset inherit it
        blocks = chosen if special is not None else {**blocks, **chosen}
        where = f"{own.where}, trafficPolicy"
    return Policy(blocks, where)


def _for_port(policy: Json, port: int) -> Json | None:
    settings = policy.get("portLevelSettings") or []
    return next((each for each in settings if (each.get("port") or {}).get("number") == port), None)


def _at_port(policy: Json, port: int, where: str) -> Json:
    only(policy, {*BLOCKS, "portLevelSettings"}, f"{where}, trafficPolicy")
    chosen = _for_port(policy, port)
    if chosen is None:
        return {key: policy[key] for key in BLOCKS if policy.get(key)}
    only(chosen, {*BLOCKS, "port"}, f"{where}, trafficPolicy, port {port}")
    return {key: chosen[key] for key in BLOCKS if chosen.get(key)}


# Load balancing


def balancing(policy: Policy) -> Json:
    """
    `lb_policy` and what belongs to it.

    Settings for localities and zones are accepted and change nothing: all pods of the lab are in one place.

    Raises Rejected for PASSTHROUGH, which sends a request to the address that the client had in mind: the lab's pods
    have none.
    """
    block, where = policy["loadBalancer"], f"{policy.where}, loadBalancer"
    places = {"localityLbSetting", "zoneAwareLbSetting"}
    only(block, {"simple", "consistentHash", "warmup", "warmupDurationSecs", *places}, where)
    if block.get("consistentHash"):
        return _hashing(block["consistentHash"], where)
    simple = block.get("simple", "UNSPECIFIED")
    if simple == "PASSTHROUGH":
        raise Rejected(
            f"{where}: PASSTHROUGH is not translated by the lab, whose pods have no addresses that a client could "
            f"dial by itself; use one of {', '.join(BALANCERS)}"
        )
    if simple not in BALANCERS:
        raise Rejected(f"{where}: expected one of {', '.join(BALANCERS)}, got {simple!r}")
    chosen = BALANCERS[simple]
    slow = _slow_start(block, where)
    if slow and chosen != "RANDOM":  # Istio: warmup works with ROUND_ROBIN and LEAST_REQUEST only
        return {"lb_policy": chosen, f"{chosen.lower()}_lb_config": {"slow_start_config": slow}}
    return {"lb_policy": chosen}


def _slow_start(block: Json, where: str) -> Json:
    warmup = block.get("warmup")
    if warmup:
        only(warmup, {"duration", "minimumPercent", "aggression"}, f"{where}, warmup")
        return {
            "slow_start_window": seconds(warmup["duration"], f"{where}, warmup"),
            "aggression": {"default_value": warmup.get("aggression", 1), "runtime_key": "("},
            "min_weight_percent": {"value": warmup.get("minimumPercent", 10)},
        }
    former = block.get("warmupDurationSecs")
    return {"slow_start_window": seconds(former, f"{where}, warmupDurationSecs")} if former else {}


def _hashing(hashed: Json, where: str) -> Json:
    here = f"{where}, consistentHash"
    only(hashed, {*HASH_KEYS, "ringHash", "maglev", "minimumRingSize"}, here)
    if hashed.get("maglev") is not None:
        size = int(hashed["maglev"].get("tableSize") or 0)
        return {"lb_policy": "MAGLEV", **({"maglev_lb_config": {"table_size": size}} if size else {})}
    if hashed.get("ringHash") is not None:
        size = int(hashed["ringHash"].get("minimumRingSize") or 0)
    else:
        size = int(hashed.get("minimumRingSize") or 1024)
    return {"lb_policy": "RING_HASH", **({"ring_hash_lb_config": {"minimum_ring_size": size}} if size else {})}


def hash_policies(policy: Policy) -> list[Json]:
    """What a route must hash so that `consistentHash` has something to stick to; empty where it is not set."""
    hashed = policy["loadBalancer"].get("consistentHash") or {}
    where = f"{policy.where}, loadBalancer, consistentHash"
    if hashed.get("httpHeaderName"):
        return [{"header": {"header_name": hashed["httpHeaderName"]}}]
    if hashed.get("httpCookie"):
        return [{"cookie": _cookie(hashed["httpCookie"], f"{where}, httpCookie")}]
    if hashed.get("useSourceIp"):
        return [{"connection_properties": {"source_ip": True}}]
    if hashed.get("httpQueryParameterName"):
        return [{"query_parameter": {"name": hashed["httpQueryParameterName"]}}]
    return []


def _cookie(cookie: Json, where: str) -> Json:
    only(cookie, {"name", "path", "ttl", "attributes"}, where)
    return {
        "name": cookie["name"],
        **({"path": cookie["path"]} if cookie.get("path") else {}),
        **({"ttl": seconds(cookie["ttl"], where)} if cookie.get("ttl") is not None else {}),
        **({"attributes": cookie["attributes"]} if cookie.get("attributes") else {}),
    }


# Limits


def limits(policy: Policy) -> Json:
    """
    Circuit breakers and timeouts of connections.

    Istio sets no limits of its own; Envoy's would allow three retries at a time. A value of 0 is as good as none.
    Keepalive is accepted and changes nothing: the lab's connections stay inside one process.
    """
    pool, where = policy["connectionPool"], f"{policy.where}, connectionPool"
    only(pool, {"tcp", "http"}, where)
    tcp, http = pool.get("tcp") or {}, pool.get("http") or {}
    only(
        tcp,
        {"maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout"},
        f"{where}, tcp",
    )
    only(
        http,
        {
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "idleTimeout",
            "h2UpgradePolicy",
            "useClientProtocol",
            "maxConcurrentStreams",
            "http2KeepAlive",
        },
        f"{where}, http",
    )
    asked = {
        "max_connections": tcp.get("maxConnections"),
        "max_pending_requests": http.get("http1MaxPendingRequests"),
        "max_requests": http.get("http2MaxRequests"),
        "max_retries": http.get("maxRetries"),
    }
    return {
        "connect_timeout": seconds(tcp.get("connectTimeout", "10s"), f"{where}, tcp, connectTimeout"),
        "circuit_breakers": {
            "thresholds": [{key: asked[key] or UNLIMITED for key in LIMITS} | {"track_remaining": True}]
        },
    }


def protocol_options(policy: Policy, protocol: str, http2: bool) -> Json:
    """Which HTTP is spoken to the pods, and for how long a connection lives. `protocol` is SNIFFED or a port's own."""
    pool, where = policy["connectionPool"], f"{policy.where}, connectionPool"
    tcp, http = pool.get("tcp") or {}, pool.get("http") or {}
    common: Json = {}
    idle = http.get("idleTimeout", tcp.get("idleTimeout"))
    if idle is not None:
        common["idle_timeout"] = seconds(idle, f"{where}, idleTimeout")
    if http.get("maxRequestsPerConnection"):
        common["max_requests_per_connection"] = http["maxRequestsPerConnection"]
    if tcp.get("maxConnectionDuration"):
        common["max_connection_duration"] = seconds(tcp["maxConnectionDuration"], f"{where}, maxConnectionDuration")
    streams = {"max_concurrent_streams": http["maxConcurrentStreams"]} if http.get("maxConcurrentStreams") else {}
    http2 = (http2 or http.get("h2UpgradePolicy") == "UPGRADE") and http.get("h2UpgradePolicy") != "DO_NOT_UPGRADE"
    if http.get("useClientProtocol") or protocol == "sniffed":
        version = {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": streams}}
    elif http2:
        version = {"explicit_http_config": {"http2_protocol_options": streams}}
    elif common:
        version = {"explicit_http_config": {"http_protocol_options": {}}}
    else:
        return {}
    options = {"@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions", **version}
    if common:
        options["common_http_protocol_options"] = common
    return {"typed_extension_protocol_options": {PROTOCOL_OPTIONS: options}}


# Ejection


def ejection(policy: Policy) -> Json:
    """
    Outlier detection; nothing is ejected unless it is set, and then Envoy's defaults are Istio's.

    They are: after 5 consecutive 5xx, looked at every 10 s, for 30 s times the number of ejections, at most 10 % of
    the pods, which is nobody of fewer than ten (`always_eject_one_host` is off). Istio turns off what Envoy does by
    success rates, and Envoy's panic mode, which would send requests to ejected pods rather than to none, unless
    `minHealthPercent` asks for it.
    """
    block, where = policy["outlierDetection"], f"{policy.where}, outlierDetection"
    panic = {"common_lb_config": {"healthy_panic_threshold": {"value": block.get("minHealthPercent", 0)}}}
    if not block:
        return panic
    known = {
        "consecutive5xxErrors",
        "consecutiveErrors",  # Istio gave it up and passes it over
        "consecutiveGatewayErrors",
        "consecutiveLocalOriginFailures",
        "splitExternalLocalOriginErrors",
        "interval",
        "baseEjectionTime",
        "maxEjectionPercent",
        "minHealthPercent",
    }
    only(block, known, where)
    found: Json = {"enforcing_success_rate": 0}
    for name, envoy, enforcing in (
        ("consecutive5xxErrors", "consecutive_5xx", "enforcing_consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
    ):
        if block.get(name) is not None:
            found[envoy] = block[name]
            found[enforcing] = 100 if block[name] else 0
    for name, envoy in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
        if block.get(name):
            found[envoy] = seconds(block[name], f"{where}, {name}")
    if block.get("maxEjectionPercent"):
        found["max_ejection_percent"] = block["maxEjectionPercent"]
    if block.get("splitExternalLocalOriginErrors"):
        found |= {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0}
        if block.get("consecutiveLocalOriginFailures"):
            found["consecutive_local_origin_failure"] = block["consecutiveLocalOriginFailures"]
            found["enforcing_consecutive_local_origin_failure"] = 100
    return {"outlier_detection": found, **panic}


# TLS


def tls_mode(policy: Policy) -> str:
    """
    PLAIN, ISTIO_MUTUAL or AUTO (each connection as the pod takes it).

    Raises Rejected for SIMPLE and MUTUAL: the lab's pods have Istio's identities only.
    """
    block, where = policy["tls"], f"{policy.where}, tls"
    if not block:
        return AUTO
    mode = block.get("mode", PLAIN)
    if mode not in (PLAIN, ISTIO_MUTUAL):
        raise Rejected(
            f"{where}: mode {mode} is not translated by the lab, whose pods know only Istio's own certificates; "
            f"use ISTIO_MUTUAL or DISABLE, or leave `tls` out"
        )
    if mode == ISTIO_MUTUAL:
        only(block, {"mode", "sni", "subjectAltNames"}, where)
    return str(mode)

"""
DestinationRules: subsets, and traffic policies at three levels.

Warnings of a policy are only told at the top: below a subset or a port Istio drops them. Sources: Istio,
pkg/config/validation/validation.go (ValidateDestinationRule, validateTrafficPolicy and what it calls) and
pkg/config/validation/agent/validation.go (ValidateTLS, ValidateLocalityLbSetting, ValidateZoneAwareLbSetting).
"""

from __future__ import annotations

import math
from typing import Any

from canaryd.lab.kubernetes.durations import nanoseconds
from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.destinations import subset_name
from canaryd.lab.kubernetes.webhook.hosts import fqdn_refusal, wildcard_domain
from canaryd.lab.kubernetes.webhook.localities import locality_setting, zone_aware_setting
from canaryd.lab.kubernetes.webhook.problems import Problems, errors_only, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import (
    duration,
    export_to,
    is_ip,
    labels,
    port,
    selector,
    whole_percent,
)

_POLICY = ("outlierDetection", "connectionPool", "loadBalancer", "tls")
_WHOLE_POLICY = (*_POLICY, "tunnel", "proxyProtocol", "retryBudget")


def destination_rule(spec: Object, metadata: Object) -> Problems:
    namespace = metadata.get("namespace") or ""
    chosen = spec.get("workloadSelector")
    yield from wildcard_domain(spec.get("host") or "")
    yield from _traffic_policy(spec.get("trafficPolicy"), namespace)
    seen: set[str] = set()
    for subset in spec.get("subsets") or []:
        name = (subset or {}).get("name") or ""
        if name in seen:
            yield wrong(f"duplicate subset names: {name}")
        seen.add(name)
        yield from errors_only(_subset(subset or {}, namespace))
    yield from export_to(namespace, spec.get("exportTo"), selecting=chosen is not None)
    yield from selector(chosen)
    if chosen is not None and not chosen.get("matchLabels"):
        yield warning("workload selector specified without labels")


def _subset(subset: Object, namespace: str) -> Problems:
    yield from subset_name(subset.get("name") or "")
    yield from labels(subset.get("labels"))
    yield from _traffic_policy(subset.get("trafficPolicy"), namespace)


def _traffic_policy(policy: Object | None, namespace: str) -> Problems:
    if policy is None:
        return
    ports = policy.get("portLevelSettings")
    if not ports and all(policy.get(field) is None for field in _WHOLE_POLICY):
        yield wrong("traffic policy must have at least one field")
    elif policy.get("tunnel") is not None and policy.get("proxyProtocol") is not None:
        yield wrong("tunnel and proxyProtocol must not be set together")
    else:
        yield from _settings(policy, namespace)
        for setting in ports or []:
            yield from errors_only(_port_policy(setting or {}, namespace))
        yield from _tunnel(policy.get("tunnel"))


def _port_policy(setting: Object, namespace: str) -> Problems:
    if setting.get("port") is None:
        yield wrong("portTrafficPolicy must have valid port")
    if all(setting.get(field) is None for field in _POLICY):
        yield wrong("port traffic policy must have at least one field")
    else:
        yield from _settings(setting, namespace)


def _settings(policy: Object, namespace: str) -> Problems:
    outlier = policy.get("outlierDetection")
    yield from _outlier_detection(outlier)
    yield from connection_pool(policy.get("connectionPool"))
    yield from _load_balancer(policy.get("loadBalancer"), outlier)
    yield from client_tls(policy.get("tls"), namespace)


def _tunnel(tunnel: Object | None) -> Problems:
    if tunnel is None:
        return
    if tunnel.get("protocol") not in (None, "", "CONNECT", "POST"):
        yield wrong('tunnel protocol must be "CONNECT" or "POST"')
    host = tunnel.get("targetHost") or ""
    refusal = fqdn_refusal(host)
    if refusal and not is_ip(host):
        yield wrong(f"tunnel target host must be valid FQDN or IP address: {refusal}; {host} is not a valid IP")
    for problem in port(int(tunnel.get("targetPort") or 0)):
        yield wrong(f"tunnel target port is invalid: {problem.text}")


def _outlier_detection(outlier: Object | None) -> Problems:
    if outlier is None:
        return
    yield from duration(outlier.get("baseEjectionTime"))
    if outlier.get("consecutiveErrors"):
        better = "use consecutiveGatewayErrors or consecutive5xxErrors instead"
        yield warning(f"outlier detection consecutive errors is deprecated, {better}")
    if not outlier.get("splitExternalLocalOriginErrors") and (outlier.get("consecutiveLocalOriginFailures") or 0) > 0:
        given = "outlier detection consecutive local origin failures is specified"
        yield wrong(f"{given}, but split external local origin errors is set to false")
    yield from duration(outlier.get("interval"))
    yield from whole_percent(int(outlier.get("maxEjectionPercent") or 0))
    yield from whole_percent(int(outlier.get("minHealthPercent") or 0))


def connection_pool(pool: Object | None) -> Problems:
    if pool is None:
        return
    http, tcp = pool.get("http"), pool.get("tcp")
    if http is None and tcp is None:
        yield wrong("connection pool must have at least one field")
    yield from _http_pool(http or {})
    yield from _tcp_pool(tcp or {})


_HTTP_COUNTS = {
    "http1MaxPendingRequests": "http1 max pending requests",
    "http2MaxRequests": "http2 max requests",
    "maxRequestsPerConnection": "max requests per connection",
    "maxRetries": "max retries",
}


def _http_pool(http: Object) -> Problems:
    for field, name in _HTTP_COUNTS.items():
        yield from _not_negative(http, field, name)
    yield from duration(http.get("idleTimeout"))
    if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        yield wrong("use client protocol must not be true when H2UpgradePolicy is UPGRADE")
    yield from _not_negative(http, "maxConcurrentStreams", "max concurrent streams")
    keepalive = http.get("http2KeepAlive")
    if keepalive is None:
        return
    for field in ("interval", "timeout"):
        if keepalive.get(field) is None:
            yield wrong(f"http2 keepalive {field} is required")
        yield from duration(keepalive.get(field))


def _tcp_pool(tcp: Object) -> Problems:
    yield from _not_negative(tcp, "maxConnections", "max connections")
    yield from duration(tcp.get("connectTimeout"))
    yield from duration(tcp.get("maxConnectionDuration"))
    idle = tcp.get("idleTimeout")
    if idle is not None and abs(nanoseconds(idle)) >= 10**6:  # less than a millisecond switches it off
        yield from duration(idle)
    keepalive = tcp.get("tcpKeepalive") or {}
    yield from duration(keepalive.get("time"))
    yield from duration(keepalive.get("interval"))


def _not_negative(settings: Object, field: str, name: str) -> Problems:
    if (settings.get(field) or 0) < 0:
        yield wrong(f"{name} must be non-negative")


def _load_balancer(settings: Object | None, outlier: Object | None) -> Problems:
    if settings is None:
        return
    yield from _consistent_hash(settings.get("consistentHash") or {})
    locality, zones = settings.get("localityLbSetting"), settings.get("zoneAwareLbSetting")
    if locality is not None and zones is not None:
        yield wrong("only one of localityLbSetting and zoneAwareLbSetting can be set")
    yield from locality_setting(locality, outlier)
    yield from zone_aware_setting(zones, outlier)
    yield from _warmup(settings.get("warmup"))


def _consistent_hash(hashing: Object) -> Problems:
    cookie = hashing.get("httpCookie")
    if cookie is not None:
        yield from _cookie(cookie)
    if _integer(hashing.get("minimumRingSize")):
        better = "use ConsistentHashLB's RingHash configuration instead"
        yield warning(f"consistent hash MinimumRingSize is deprecated, {better}")
        if hashing.get("ringHash") is not None or hashing.get("maglev") is not None:
            yield wrong("only one of MinimumRingSize or Maglev/Ringhash can be specified")
    if hashing.get("maglev") is not None:
        yield from _maglev(_integer(hashing["maglev"].get("tableSize")))


def _integer(value: Any) -> int:
    """A 64-bit number, which JSON for protobuf may give as a string."""
    return int(value or 0)


def _cookie(cookie: Object) -> Problems:
    if not cookie.get("name"):
        yield wrong("name required for HttpCookie")
    seen: set[str] = set()
    for attribute in cookie.get("attributes") or []:
        name = (attribute or {}).get("name") or ""
        if not name:
            yield wrong("cookie attribute name cannot be empty")
        elif name in seen:
            yield wrong(f"duplicate cookie attribute name: {name}")
        seen.add(name)


_LARGEST_TABLE = 5_000_011


def _maglev(size: int) -> Problems:
    if size == 0:
        yield wrong("tableSize must be set for maglev")
    if size >= _LARGEST_TABLE:
        yield wrong(f"tableSize must be less than {_LARGEST_TABLE} for maglev")
    if not _is_prime(size):
        yield wrong("tableSize must be a prime number for maglev")


def _is_prime(value: int) -> bool:
    """1 counts as prime, as in Envoy (common/utility.cc)."""
    if value < 4:
        return value != 0
    return value % 2 == 1 and all(value % factor for factor in range(3, math.isqrt(value) + 1, 2))


def _warmup(warmup: Object | None) -> Problems:
    if warmup is None:
        return
    if warmup.get("duration") is None:
        yield wrong("duration is required")
    yield from duration(warmup.get("duration"))
    if (warmup.get("minimumPercent") or 0) > 100:
        yield wrong("minimumPercent value should be less than or equal to 100")
    if warmup.get("aggression") is not None and warmup["aggression"] <= 0:
        yield wrong("aggression should be greater than 0")


_CONFIG_MAP = "configmap://"


def client_tls(tls: Object | None, namespace: str) -> Problems:
    """`tls` of a traffic policy. With a `credentialName` everything else about certificates must be absent."""
    if tls is None:
        return
    mode, credential = tls.get("mode") or "DISABLE", tls.get("credentialName") or ""
    if credential.startswith(_CONFIG_MAP) and (refusal := _config_map_refusal(credential, namespace)):
        yield wrong(f"invalid configmap:// credentialName: {refusal}")
    if tls.get("insecureSkipVerify"):
        yield from _unverified(tls, mode, credential)
    if mode in ("SIMPLE", "MUTUAL") and credential:
        if any(tls.get(field) for field in ("clientCertificate", "caCertificates", "privateKey", "caCrl")):
            yield wrong("cannot specify client certificates or CA certificate or CA CRL If credentialName is set")
    elif mode == "MUTUAL":
        if not tls.get("clientCertificate"):
            yield wrong("client certificate required for mutual tls")
        if not tls.get("privateKey"):
            yield wrong("private key required for mutual tls")


def _config_map_refusal(credential: str, namespace: str) -> str:
    parts = credential.removeprefix(_CONFIG_MAP).split("/")
    told = f"invalid resource name {quoted(credential)}. Expected"
    if len(parts) == 1:
        return f"{told} namespace and name"
    if not parts[0]:
        return f"{told} namespace"
    if not parts[1]:
        return f"{told} name"
    if parts[0] != namespace or not namespace:
        return f"namespace must match the configuration namespace {quoted(namespace)}"
    return ""


def _unverified(tls: Object, mode: str, credential: str) -> Problems:
    named = tls.get("caCertificates") or tls.get("subjectAltNames")
    set_true = "when InsecureSkipVerify is set true"
    if mode == "SIMPLE" and (named or credential):
        yield wrong(f"cannot specify CaCertificates or CredentialName or SubjectAltNames {set_true}")
    if mode == "MUTUAL" and named:
        yield wrong(f"cannot specify CaCertificates or SubjectAltNames {set_true}")

"""
From Istio's objects to Envoy's configuration, as istiod does it for one client sidecar.

Pure: objects in, configuration out. What is not translated is refused with a sentence that names it; silently dropping
a field would make the lab prove something else than what was written.

A newcomer would get wrong: a single destination takes everything whatever its weight; of several, those at weight 0 are
left out; a destination whose subset no DestinationRule knows still gets its route, to a cluster that does not exist
(503, flag NC), while a subset without ready pods has a cluster without endpoints (503, flag UH).

Sources: Istio pilot/pkg/networking/core/route/route.go (matches, weights, order), pilot/pkg/model/push_context.go
(which DestinationRule a client sees), pilot/pkg/model/virtualservice.go (short names, mesh gateway).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.bootstrap import ROUTES, VERSION_HEADER, listener_name

Json = dict[str, Any]
DOMAIN = "svc.cluster.local"
ROOT_NAMESPACE = "istio-system"
MESH = "mesh"

ENTRY_FIELDS = {"name", "match", "route", "timeout", "retries"}
MATCH_FIELDS = {
    "name",
    "uri",
    "ignoreUriCase",
    "method",
    "authority",
    "scheme",
    "headers",
    "withoutHeaders",
    "queryParams",
    "port",
    "sourceLabels",
    "sourceNamespace",
    "gateways",
}
BALANCERS = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}
LIMITS = ("max_retries", "max_requests", "max_connections", "max_pending_requests")
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"  # Istio since 1.24: without 503
UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Client:
    """The sidecar for which the configuration is made."""

    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=lambda: {"app": "productpage", "version": "v1"})
    port: int = int(ROUTES)  # the outbound listener asked about


@dataclass(frozen=True, slots=True)
class Translation:
    """Envoy's configuration: one RouteConfiguration and the clusters, ready for `Envoy.write`."""

    routes: Json
    clusters: list[Json]


def translate(
    objects: Iterable[Json], client: Client | None = None, listener: Callable[[str], str] = listener_name
) -> Translation:
    """
    Envoy's configuration for what stands in `objects` (VirtualServices, DestinationRules, Services, Pods; others are
    passed over). `listener` names the internal listener of a workload's pods.

    Raises Rejected, with a sentence, for whatever of these objects concerns the client and is not translated.
    """
    client = client or Client()
    by_kind: dict[str, list[Json]] = {"VirtualService": [], "DestinationRule": [], "Service": [], "Pod": []}
    for each in objects:
        by_kind.get(each.get("kind", ""), []).append(each)
    services = sorted(by_kind["Service"], key=_full_name)
    pods = sorted((pod for pod in by_kind["Pod"] if is_ready(pod)), key=_full_name)
    clusters = [
        cluster
        for service in services
        for cluster in _clusters(service, _rules_of(service, by_kind["DestinationRule"], client), pods, listener)
    ]
    return Translation(_routes(by_kind["VirtualService"], services, client), clusters)


def cluster_name(port: int, subset: str, host: str) -> str:
    """Istio's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host}"


def is_ready(pod: Json) -> bool:
    """Whether the pod would stand in its Service's endpoints."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def workload_of(pod: Json) -> str:
    """
    The workload as Istio names it: the Deployment, read from the ReplicaSet's name and `pod-template-hash`.

    Istio: pkg/kube/util.go, GetDeployMetaFromPod.
    """
    template_hash = _labels(pod).get("pod-template-hash", "")
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller", False):
            name = str(owner["name"])
            return name.removesuffix(f"-{template_hash}") if owner["kind"] == "ReplicaSet" else name
    return str(pod["metadata"]["name"])


def full_host(host: str, namespace: str) -> str:
    """A short name is completed in the namespace of the object that holds it; one with a dot is taken as it is."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{DOMAIN}"


# Clusters


def _clusters(service: Json, rules: list[Json], pods: list[Json], listener: Callable[[str], str]) -> Iterator[Json]:
    host = _service_host(service)
    selector = service["spec"].get("selector") or {}
    behind = [pod for pod in pods if _namespace(pod) == _namespace(service) and selector and _has(pod, selector)]
    subsets: dict[str, Json] = {}
    policy: Json = {}
    for rule in rules:
        _only(rule["spec"], {"host", "subsets", "exportTo", "trafficPolicy"}, _where(rule))
        policy = policy or rule["spec"].get("trafficPolicy") or {}
        for subset in rule["spec"].get("subsets") or []:
            _only(subset, {"name", "labels", "trafficPolicy"}, f"{_where(rule)}, subset {subset['name']}")
            subsets.setdefault(subset["name"], subset)  # Istio: a second one of the same name is ignored
    balancer = _balancer(policy, host)
    for port in service["spec"].get("ports", []):
        yield _cluster(service, port["port"], "", behind, balancer, listener)
        for name, subset in subsets.items():
            chosen = [pod for pod in behind if _has(pod, subset.get("labels") or {})]
            own = subset.get("trafficPolicy") or {}
            yield _cluster(service, port["port"], name, chosen, _balancer(own, host) if own else balancer, listener)


def _cluster(
    service: Json, port: int, subset: str, pods: list[Json], balancer: str, listener: Callable[[str], str]
) -> Json:
    host = _service_host(service)
    name = cluster_name(port, subset, host)
    about = {"host": host, "name": service["metadata"]["name"], "namespace": _namespace(service)}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": balancer,
        "metadata": {"filter_metadata": {"istio": about}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(pod, listener) for pod in pods]}],
        },
        # Istio sets no limits (cluster_traffic_policy.go); Envoy's own would allow three retries at a time
        "circuit_breakers": {"thresholds": [dict.fromkeys(LIMITS, 2**32 - 1)]},
        # Istio switches Envoy's panic mode off: with no ready pod there is no upstream, not a guess
        "common_lb_config": {"healthy_panic_threshold": {}},
    }


def _endpoint(pod: Json, listener: Callable[[str], str]) -> Json:
    labels = _labels(pod)
    workload = workload_of(pod)
    revision = next(
        (
            labels[key]
            for key in ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
            if key in labels
        ),
        "latest",
    )
    canonical = next(
        (labels[key] for key in ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app") if key in labels),
        workload,
    )
    told = {
        "workload": workload,
        "namespace": _namespace(pod),
        "version": labels.get("version", ""),
        "app": labels.get("app", ""),
        "canonical_service": canonical,
        "canonical_revision": revision,
        "cluster": "Kubernetes",
    }
    address = {"server_listener_name": listener(workload), "endpoint_id": pod["metadata"]["name"]}
    return {
        "endpoint": {"address": {"envoy_internal_address": address}},
        "metadata": {"filter_metadata": {"istio": {key: value for key, value in told.items() if value}}},
    }


def _rules_of(service: Json, rules: list[Json], client: Client) -> list[Json]:
    """The DestinationRules the client sees for a service: of the first namespace that has one, the most specific."""
    host = _service_host(service)
    for namespace in dict.fromkeys((client.namespace, _namespace(service), ROOT_NAMESPACE)):
        fitting = [
            rule
            for rule in sorted(rules, key=_age)
            if _namespace(rule) == namespace and _visible(rule, client) and _covers(_rule_host(rule), host)
        ]
        if fitting:
            best = max((_rule_host(rule) for rule in fitting), key=_specificity)
            return [rule for rule in fitting if _rule_host(rule) == best]
    return []


def _balancer(policy: Json, host: str) -> str:
    where = f"the trafficPolicy for {host}"
    _only(policy, {"loadBalancer", "tls"}, where)
    _only(policy.get("loadBalancer") or {}, {"simple"}, f"{where}, loadBalancer")
    mode = (policy.get("tls") or {}).get("mode", "DISABLE")
    if mode not in ("DISABLE", "ISTIO_MUTUAL"):
        raise Rejected(f"{where}: tls mode {mode} is not translated by the lab, which has no TLS; leave `tls` out")
    simple = (policy.get("loadBalancer") or {}).get("simple", "UNSPECIFIED")
    if simple not in BALANCERS:
        raise Rejected(
            f"{where}: loadBalancer {simple} is not translated by the lab; use one of {', '.join(BALANCERS)}"
        )
    return BALANCERS[simple]


# Routes


def _routes(virtual_services: list[Json], services: list[Json], client: Client) -> Json:
    active = [each for each in sorted(virtual_services, key=_age) if _concerns(each, client)]
    by_host: dict[str, Json] = {}
    for each in active:
        for host in each["spec"].get("hosts", []):
            by_host.setdefault(full_host(host, _namespace(each)), each)  # sidecar: the oldest wins, nothing is merged
    listening = {_service_host(one): one for one in services if client.port in _ports(one)}
    known = {_service_host(one): one for one in services}
    used: set[str] = set()
    hosts: list[Json] = []
    taken: set[str] = set()

    def add(host: str, domains: list[str], routes: list[Json]) -> None:
        free = [domain for domain in domains if domain not in taken]
        taken.update(free)
        if free:
            hosts.append({"name": f"{host}:{client.port}", "domains": free, "routes": routes})

    for host, service in listening.items():
        pattern = max((one for one in by_host if _covers(one, host)), key=_specificity, default=None)
        if pattern is None:
            routes = [_plain_route(host, client.port)]
        else:
            used.add(pattern)
            routes = _virtual_routes(by_host[pattern], known, client)
        add(host, _service_domains(service, client), routes)
    for host, each in by_host.items():
        if host not in used and host not in known:
            domains = ["*"] if host == "*" else [host, f"{host}:{client.port}"]
            add(host, domains, _virtual_routes(each, known, client))
    version = {"key": VERSION_HEADER, "value": "%METADATA(UPSTREAM_HOST:istio:version)%"}
    return {
        "name": str(client.port),
        "virtual_hosts": hosts,
        "response_headers_to_add": [{"header": version, "keep_empty_value": True}],
    }


def _virtual_routes(virtual: Json, services: dict[str, Json], client: Client) -> list[Json]:
    where = _where(virtual)
    for protocol in ("tls", "tcp"):
        if virtual["spec"].get(protocol):
            raise Rejected(f"{where}: {protocol} routes are not translated by the lab, only http routes are")
    routes: list[Json] = []
    for index, entry in enumerate(virtual["spec"].get("http") or []):
        here = f"{where}, http[{index}]"
        matches = [each for each in entry.get("match") or [{}] if _meant_for(each, virtual, client)]
        if not matches:
            continue
        _only(entry, ENTRY_FIELDS, here)
        action = _action(entry, virtual, services, client, here)
        for each in matches:
            name = ".".join(part for part in (entry.get("name"), each.get("name")) if part)
            match = _match(each, here)
            routes.append({**({"name": name} if name else {}), "match": match, "route": action})
            if _catches_all(match):
                return routes  # Istio drops what comes after
    return routes


def _plain_route(host: str, port: int) -> Json:
    action = {"cluster": cluster_name(port, "", host), "timeout": "0s", "retry_policy": _retry_policy(2)}
    return {"name": "default", "match": {"prefix": "/"}, "route": action}


def _action(entry: Json, virtual: Json, services: dict[str, Json], client: Client, where: str) -> Json:
    destinations = entry.get("route") or []
    if not destinations:
        raise Rejected(f"{where}: an entry without `route` is not translated by the lab")
    weighted = []
    for index, each in enumerate(destinations):
        _only(each, {"destination", "weight"}, f"{where}.route[{index}]")
        weighted.append((_destination(each["destination"], virtual, services, client), each.get("weight", 0)))
    action: Json = {"timeout": _seconds(entry.get("timeout", "0s"), where)}
    if len(weighted) == 1:
        action["cluster"] = weighted[0][0]
    else:
        kept = [{"name": name, "weight": weight} for name, weight in weighted if weight != 0]
        if not kept or any(each["weight"] < 0 for each in kept):
            raise Rejected(f"{where}: the weights of several destinations must not be negative nor all 0")
        action["weighted_clusters"] = {"clusters": kept}
    retry = _retries(entry.get("retries"), where)
    return {**action, **({"retry_policy": retry} if retry else {})}


def _destination(destination: Json, virtual: Json, services: dict[str, Json], client: Client) -> str:
    host = full_host(destination["host"], _namespace(virtual))
    port = (destination.get("port") or {}).get("number")
    if port is None:
        ports = _ports(services[host]) if host in services else []
        port = ports[0] if len(ports) == 1 else client.port
    return cluster_name(port, destination.get("subset", ""), host)


def _match(match: Json, where: str) -> Json:
    _only(match, MATCH_FIELDS, f"{where}, match")
    result: Json = _path(match.get("uri"), where)
    if match.get("ignoreUriCase") and "safe_regex" not in result:
        result["case_sensitive"] = False
    headers = [_header(name, value, where) for name, value in sorted((match.get("headers") or {}).items())]
    headers += [
        _inverted(_header(name, value, where)) for name, value in sorted((match.get("withoutHeaders") or {}).items())
    ]
    for field_name in ("method", "authority", "scheme"):
        if match.get(field_name):
            headers.append(_header(f":{field_name}", match[field_name], where))
    if headers:
        result["headers"] = headers
    queries = [_query(name, value, where) for name, value in sorted((match.get("queryParams") or {}).items())]
    if queries:
        result["query_parameters"] = queries
    return result


def _path(uri: Json | None, where: str) -> Json:
    if not uri:
        return {"prefix": "/"}
    kind, value = _string(uri, f"{where}, uri")
    return {"safe_regex": {"regex": value}} if kind == "regex" else {{"exact": "path", "prefix": "prefix"}[kind]: value}


def _header(name: str, value: Json | None, where: str) -> Json:
    if not value or value == {"prefix": ""} or value == {"regex": "*"}:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string_matcher(value, f"{where}, header {name}")}


def _inverted(matcher: Json) -> Json:
    missing = {} if "present_match" in matcher else {"treat_missing_header_as_empty": True}
    return {**matcher, "invert_match": True, **missing}


def _query(name: str, value: Json | None, where: str) -> Json:
    if not value:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string_matcher(value, f"{where}, query parameter {name}")}


def _string_matcher(value: Json, where: str) -> Json:
    kind, text = _string(value, where)
    return {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}


def _string(value: Json, where: str) -> tuple[str, str]:
    if len(value) != 1 or next(iter(value)) not in ("exact", "prefix", "regex"):
        raise Rejected(f"{where}: expected one of exact, prefix, regex, got {', '.join(value)}")
    return next(iter(value.items()))


def _catches_all(match: Json) -> bool:
    path = match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*"
    return path and not match.get("headers") and not match.get("query_parameters")


def _retries(retries: Json | None, where: str) -> Json:
    if retries is None:
        return _retry_policy(2)
    _only(retries, {"attempts", "perTryTimeout", "retryOn"}, f"{where}, retries")
    attempts = retries.get("attempts", 0)
    if attempts == 0:
        return {}
    conditions = [each.strip() for each in (retries.get("retryOn") or DEFAULT_RETRY_ON).split(",") if each.strip()]
    codes = [int(each) for each in conditions if each.isdigit()]
    words = [each for each in conditions if not each.isdigit()]
    if codes and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    policy = _retry_policy(attempts, ",".join(words))
    if codes:
        policy["retriable_status_codes"] = codes
    if retries.get("perTryTimeout"):
        policy["per_try_timeout"] = _seconds(retries["perTryTimeout"], where)
    return policy


def _retry_policy(attempts: int, retry_on: str = DEFAULT_RETRY_ON) -> Json:
    """Istio: pilot/pkg/networking/core/route/retry/retry.go, DefaultPolicy: another host of the same cluster first."""
    previous = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": retry_on,
        "num_retries": attempts,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": previous}}
        ],
    }


def _seconds(duration: str, where: str) -> str:
    """Go's duration (`1m30s`, `500ms`) as protobuf writes it (`90s`, `0.5s`)."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise Rejected(f"{where}: {duration!r} is not a duration such as 5s, 500ms or 1m30s")
    total = sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
    return f"{total:.9f}".rstrip("0").rstrip(".") + "s"


# Who sees what


def _concerns(virtual: Json, client: Client) -> bool:
    """Whether a VirtualService says anything to this sidecar: visible, with hosts, bound to the mesh somewhere."""
    return (
        bool(virtual["spec"].get("hosts"))
        and _visible(virtual, client)
        and any(
            MESH in (match.get("gateways") or _gateways(virtual))
            for entry in virtual["spec"].get("http") or virtual["spec"].get("tls") or virtual["spec"].get("tcp") or [{}]
            for match in entry.get("match") or [{}]
        )
    )


def _meant_for(match: Json, virtual: Json, client: Client) -> bool:
    """`gateways`, `port`, `sourceLabels` and `sourceNamespace` choose proxies; they are no conditions on requests."""
    return (
        MESH in (match.get("gateways") or _gateways(virtual))
        and match.get("port", client.port) == client.port
        and match.get("sourceNamespace", client.namespace) == client.namespace
        and (match.get("sourceLabels") or {}).items() <= client.labels.items()
    )


def _gateways(virtual: Json) -> list[str]:
    return virtual["spec"].get("gateways") or [MESH]


def _visible(each: Json, client: Client) -> bool:
    exported = each["spec"].get("exportTo") or ["*"]
    own = _namespace(each) == client.namespace
    return "*" in exported or client.namespace in exported or (own and "." in exported)


def _covers(pattern: str, host: str) -> bool:
    return pattern == host or pattern == "*" or (pattern.startswith("*") and host.endswith(pattern[1:]))


def _specificity(pattern: str) -> tuple[bool, int]:
    return (not pattern.startswith("*"), len(pattern))


def _service_domains(service: Json, client: Client) -> list[str]:
    """Every way to write the service's host that a client of this namespace may use, with and without the port."""
    name, namespace = service["metadata"]["name"], _namespace(service)
    names = [f"{name}.{namespace}.{DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    if namespace == client.namespace:
        names.append(name)
    return [domain for each in names for domain in (each, f"{each}:{client.port}")]


def _only(value: Json, known: set[str], where: str) -> None:
    """Refuse what is set and not translated."""
    for key in value:
        if key not in known and value[key] not in (None, {}, [], False):
            raise Rejected(f"{where}: `{key}` is not translated by the lab; it translates {', '.join(sorted(known))}")


def _rule_host(rule: Json) -> str:
    return full_host(rule["spec"]["host"], _namespace(rule))


def _service_host(service: Json) -> str:
    return f"{service['metadata']['name']}.{_namespace(service)}.{DOMAIN}"


def _ports(service: Json) -> list[int]:
    return [port["port"] for port in service["spec"].get("ports", [])]


def _labels(each: Json) -> dict[str, str]:
    return each["metadata"].get("labels") or {}


def _has(pod: Json, labels: Mapping[str, str]) -> bool:
    return labels.items() <= _labels(pod).items()


def _namespace(each: Json) -> str:
    return str(each["metadata"].get("namespace") or "default")


def _full_name(each: Json) -> tuple[str, str]:
    return (_namespace(each), str(each["metadata"]["name"]))


def _age(each: Json) -> tuple[str, str, str]:
    namespace, name = _full_name(each)
    return (str(each["metadata"].get("creationTimestamp") or ""), name, namespace)


def _where(each: Json) -> str:
    return f"{each['kind']} {_namespace(each)}/{each['metadata']['name']}"

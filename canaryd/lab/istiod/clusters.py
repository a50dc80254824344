"""
Clusters: a Service's pods, by the subsets and the policy of the DestinationRules that the client sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.hosts import covers, rule_host, service_host, specificity
from canaryd.lab.istiod.objects import has_labels, labels_of, namespace_of, only, where_of, workload_of
from canaryd.lab.istiod.proxy import ROOT_NAMESPACE, Proxy, Wiring, visible
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]

BALANCERS = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}
LIMITS = ("max_retries", "max_requests", "max_connections", "max_pending_requests")


def cluster_name(port: int, subset: str, host: str) -> str:
    """Istio's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host}"


def clusters_of(registry: Registry, proxy: Proxy, wiring: Wiring) -> list[Json]:
    """Every cluster that the proxy may need: for each port of each Service, the whole host and each subset."""
    return [
        cluster
        for service in registry.services
        for cluster in _clusters(service, rules_of(service, registry.destination_rules, proxy), registry, proxy, wiring)
    ]


def _clusters(service: Json, rules: list[Json], registry: Registry, proxy: Proxy, wiring: Wiring) -> Iterator[Json]:
    host = service_host(service)
    selector = service["spec"].get("selector") or {}
    home = namespace_of(service)
    behind = [pod for pod in registry.pods if namespace_of(pod) == home and selector and has_labels(pod, selector)]
    subsets: dict[str, Json] = {}
    policy: Json = {}
    for rule in rules:
        only(rule["spec"], {"host", "subsets", "exportTo", "trafficPolicy"}, where_of(rule))
        policy = policy or rule["spec"].get("trafficPolicy") or {}
        for subset in rule["spec"].get("subsets") or []:
            only(subset, {"name", "labels", "trafficPolicy"}, f"{where_of(rule)}, subset {subset['name']}")
            subsets.setdefault(subset["name"], subset)  # Istio: a second one of the same name is ignored
    balancer = _balancer(policy, host)
    for port in service["spec"].get("ports", []):
        name = wiring.cluster(proxy, port["port"], "", host)
        yield _cluster(name, service, port, behind, balancer, wiring)
        for subset_name, subset in subsets.items():
            chosen = [pod for pod in behind if has_labels(pod, subset.get("labels") or {})]
            own = subset.get("trafficPolicy") or {}
            name = wiring.cluster(proxy, port["port"], subset_name, host)
            yield _cluster(name, service, port, chosen, _balancer(own, host) if own else balancer, wiring)


def _cluster(name: str, service: Json, port: Json, pods: list[Json], balancer: str, wiring: Wiring) -> Json:
    about = {"host": service_host(service), "name": service["metadata"]["name"], "namespace": namespace_of(service)}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": balancer,
        "metadata": {"filter_metadata": {"istio": about}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(pod, port, wiring) for pod in pods]}],
        },
        # Istio sets no limits (cluster_traffic_policy.go); Envoy's own would allow three retries at a time
        "circuit_breakers": {"thresholds": [dict.fromkeys(LIMITS, 2**32 - 1)]},
        # Istio switches Envoy's panic mode off: with no ready pod there is no upstream, not a guess
        "common_lb_config": {"healthy_panic_threshold": {}},
    }


def _endpoint(pod: Json, port: Json, wiring: Wiring) -> Json:
    labels = labels_of(pod)
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
        "namespace": namespace_of(pod),
        "version": labels.get("version", ""),
        "app": labels.get("app", ""),
        "canonical_service": canonical,
        "canonical_revision": revision,
        "cluster": "Kubernetes",
    }
    target = port.get("targetPort")
    number = target if isinstance(target, int) else int(port["port"])
    return {
        "endpoint": {"address": wiring.address(pod, number)},
        "metadata": {"filter_metadata": {"istio": {key: value for key, value in told.items() if value}}},
    }


def rules_of(service: Json, rules: Iterable[Json], proxy: Proxy) -> list[Json]:
    """The DestinationRules the proxy sees for a service: of the first namespace that has one, the most specific."""
    host = service_host(service)
    for namespace in dict.fromkeys((proxy.namespace, namespace_of(service), ROOT_NAMESPACE)):
        fitting = [
            rule
            for rule in rules
            if namespace_of(rule) == namespace and visible(rule, proxy) and covers(rule_host(rule), host)
        ]
        if fitting:
            best = max((rule_host(rule) for rule in fitting), key=specificity)
            return [rule for rule in fitting if rule_host(rule) == best]
    return []


def _balancer(policy: Json, host: str) -> str:
    where = f"the trafficPolicy for {host}"
    only(policy, {"loadBalancer", "tls"}, where)
    only(policy.get("loadBalancer") or {}, {"simple"}, f"{where}, loadBalancer")
    mode = (policy.get("tls") or {}).get("mode", "DISABLE")
    if mode not in ("DISABLE", "ISTIO_MUTUAL"):
        raise Rejected(f"{where}: tls mode {mode} is not translated by the lab, which has no TLS; leave `tls` out")
    simple = (policy.get("loadBalancer") or {}).get("simple", "UNSPECIFIED")
    if simple not in BALANCERS:
        raise Rejected(
            f"{where}: loadBalancer {simple} is not translated by the lab; use one of {', '.join(BALANCERS)}"
        )
    return BALANCERS[simple]

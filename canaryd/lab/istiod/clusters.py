"""
Clusters: a Service's pods, by the subsets and the policy of the DestinationRules that the client sees.

A subset that no rule defines has no cluster at all (503, flag NC); one without ready pods has a cluster without
endpoints (503, flag UH). The latter is also what a Service without selector gets, for its endpoints are no pods that
the lab could play. An ExternalName Service stands for the pods of the Service it names, or for none when that is not in
the cluster. A headless Service is balanced over its pods like any other; a sidecar of a real mesh would send each
request to the one address that the client looked up.

Sources: Istio pilot/pkg/networking/core/cluster.go, cluster_builder.go, cluster_tls.go, endpoint_builder.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.lab.istiod.authentication import DISABLE, namespace_mode, speaks_tls
from canaryd.lab.istiod.destinationrules import Rule, rule_for
from canaryd.lab.istiod.hosts import full_host, ports_of, service_host
from canaryd.lab.istiod.objects import has_labels, labels_of, namespace_of, workload_of
from canaryd.lab.istiod.policy import (
    ISTIO_MUTUAL,
    PLAIN,
    Policy,
    balancing,
    ejection,
    hash_policies,
    limits,
    policy_for,
    protocol_options,
    tls_mode,
)
from canaryd.lab.istiod.ports import HTTP2, protocol_of, target_of
from canaryd.lab.istiod.proxy import Proxy, Wiring
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]

TYPES = "type.googleapis.com/envoy"
RAW = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {"@type": f"{TYPES}.extensions.transport_sockets.raw_buffer.v3.RawBuffer"},
}
SOCKET_MATCH = "envoy.transport_socket_match"
SIDECAR_CONTAINER = "istio-proxy"


def cluster_name(port: int, subset: str, host: str) -> str:
    """Istio's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host}"


def clusters_of(registry: Registry, proxy: Proxy, wiring: Wiring) -> list[Json]:
    """
    Every cluster that the proxy may need: for each port of each Service, the whole host and each subset.

    Raises Rejected, with a sentence, for a DestinationRule that the proxy sees and that is not translated.
    """
    return [
        cluster
        for service in registry.services
        for cluster in _clusters_of_service(_View(registry, proxy, wiring, service))
    ]


def destination_cluster(
    destination: Json, namespace: str, port: int, registry: Registry, proxy: Proxy, wiring: Wiring
) -> str:
    """
    The cluster of a destination in an object of `namespace`, for a listener on `port`.

    Without `port` of its own: the service's only port, else the listener's (route.go, GetDestinationCluster).
    """
    host = full_host(destination["host"], namespace)
    number = (destination.get("port") or {}).get("number")
    if number is None:
        service = registry.by_host.get(host)
        ports = ports_of(service) if service else []
        number = ports[0] if len(ports) == 1 else port
    return wiring.cluster(proxy, number, destination.get("subset", ""), host)


def hash_policy_of(host: str, subset: str, port: int, registry: Registry, proxy: Proxy) -> list[Json]:
    """
    The `hash_policy` of a route to a destination (a full host, a subset or `""`, a number); empty unless it is hashed.

    Istio puts those of all destinations of a split into the one route, in order, weight-0 destinations left out.
    """
    service = registry.by_host.get(host)
    if service is None:
        return []
    return hash_policies(policy_for(_rule_of(service, registry, proxy), subset, port))


def rule_of_host(host: str, registry: Registry, proxy: Proxy) -> Rule:
    """The DestinationRule that the proxy sees for a host; an empty one for a host that is no Service."""
    service = registry.by_host.get(host)
    return Rule() if service is None else _rule_of(service, registry, proxy)


def has_sidecar(pod: Json) -> bool:
    """Whether a sidecar was injected: as a container, or as an init container that goes on (a native sidecar)."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return any(each.get("name") == SIDECAR_CONTAINER for each in containers)


def _rule_of(service: Json, registry: Registry, proxy: Proxy) -> Rule:
    return rule_for(service_host(service), namespace_of(service), registry.destination_rules, proxy)


@dataclass(frozen=True, slots=True)
class _View:
    """A Service as one proxy sees it."""

    registry: Registry
    proxy: Proxy
    wiring: Wiring
    service: Json


def _clusters_of_service(view: _View) -> Iterator[Json]:
    rule = _rule_of(view.service, view.registry, view.proxy)
    behind = _pods_behind(view.service, view.registry)
    for port in view.service["spec"].get("ports") or []:
        if protocol_of(port) == "udp":
            continue
        yield _cluster(view, port, "", policy_for(rule, "", port["port"]), behind)
        for subset in rule.subsets.values():
            chosen = [pod for pod in behind if has_labels(pod, subset.labels)]
            yield _cluster(view, port, subset.name, policy_for(rule, subset.name, port["port"]), chosen)


def _pods_behind(service: Json, registry: Registry) -> list[Json]:
    spec, home = service["spec"], namespace_of(service)
    if spec.get("type") == "ExternalName":
        other = registry.by_host.get(str(spec.get("externalName", "")))
        is_chain = other is not None and other["spec"].get("type") == "ExternalName"
        return [] if other is None or is_chain else _pods_behind(other, registry)
    selector = spec.get("selector") or {}
    return [pod for pod in registry.pods if namespace_of(pod) == home and selector and has_labels(pod, selector)]


def _cluster(view: _View, port: Json, subset: str, policy: Policy, pods: Iterable[Json]) -> Json:
    service, host = view.service, service_host(view.service)
    name = view.wiring.cluster(view.proxy, port["port"], subset, host)
    about = {"host": host, "name": service["metadata"]["name"], "namespace": namespace_of(service)}
    targets = [(pod, target) for pod in pods if (target := target_of(port, pod)) is not None]
    protocol = protocol_of(port)
    return {
        "name": name,
        "type": "STATIC",
        "metadata": {"filter_metadata": {"istio": about}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(view, pod, target) for pod, target in targets]}],
        },
        **balancing(policy),
        **limits(policy),
        **protocol_options(policy, protocol, protocol in HTTP2),
        **ejection(policy),
        **_security(view, policy, f"outbound_.{port['port']}_.{subset}_.{host}", http2=protocol in HTTP2),
    }


def _security(view: _View, policy: Policy, name: str, *, http2: bool) -> Json:
    """
    Which connections are mutual TLS: all, none, or each as its pod takes it (auto mTLS).

    Auto looks at the mode of the service's namespace and at each pod; ISTIO_MUTUAL looks at nothing, so that a pod
    without sidecar answers such a connection with a reset.
    """
    mode = tls_mode(policy)
    identity = view.wiring.identity(view.proxy)
    if identity is None or mode == PLAIN:
        return {}
    typed = {**identity["typed_config"], "sni": policy["tls"].get("sni") or identity["typed_config"].get("sni") or name}
    if http2 and "common_tls_context" in typed:
        # the server takes its codec from the protocol that was agreed on, if any was
        typed["common_tls_context"] = {**typed["common_tls_context"], "alpn_protocols": ["h2"]}
    names = policy["tls"].get("subjectAltNames")
    if names and "common_tls_context" in typed:
        wanted = [{"san_type": "URI", "matcher": {"exact": each}} for each in names]
        known = typed["common_tls_context"]
        checked = {**known.get("validation_context", {}), "match_typed_subject_alt_names": wanted}
        typed["common_tls_context"] = {**known, "validation_context": checked}
    socket = {**identity, "typed_config": typed}
    if mode == ISTIO_MUTUAL:
        return {"transport_socket": socket}
    if namespace_mode(view.registry, namespace_of(view.service)) == DISABLE:
        return {}
    return {
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": RAW},
        ]
    }


def _endpoint(view: _View, pod: Json, port: int) -> Json:
    secured = {SOCKET_MATCH: {"tlsMode": "istio"}} if speaks_tls(view.registry, pod, port) else {}
    return {
        "endpoint": {"address": view.wiring.address(pod, port)},
        "metadata": {"filter_metadata": {"istio": about_pod(pod), **secured}},
    }


def about_pod(pod: Json) -> dict[str, str]:
    """
    What a client's metrics say of a pod.

    Of a pod without sidecar Istio's clients know only what the control plane told them, which holds no version and no
    app (endpoint metadata: workload, namespace, canonical name and revision, cluster): Prometheus has `unknown` there.
    """
    labels = labels_of(pod)
    workload = workload_of(pod)
    told = {
        "workload": workload,
        "namespace": namespace_of(pod),
        "canonical_service": _first(labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
        or workload,
        "canonical_revision": _first(
            labels, "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"
        )
        or "latest",
        "cluster": "Kubernetes",
    }
    if has_sidecar(pod):
        told |= {"version": labels.get("version", ""), "app": labels.get("app", "")}
    return {key: value for key, value in told.items() if value}


def _first(labels: dict[str, str], *keys: str) -> str:
    return next((labels[key] for key in keys if key in labels), "")

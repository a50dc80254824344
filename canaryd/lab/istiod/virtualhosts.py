"""
Virtual hosts: which VirtualService speaks for which host, as one proxy sees it.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.envoy.bootstrap import VERSION_HEADER
from canaryd.lab.istiod.hosts import covers, full_host, ports_of, service_domains, service_host, specificity
from canaryd.lab.istiod.objects import namespace_of
from canaryd.lab.istiod.proxy import Proxy, Wiring, concerns
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.routes import plain_route, routes_of

Json = dict[str, Any]


def route_table(registry: Registry, proxy: Proxy, port: int, wiring: Wiring) -> Json:
    """The RouteConfiguration of a sidecar's outbound listener on `port`."""
    active = [each for each in registry.virtual_services if concerns(each, proxy)]
    by_host: dict[str, Json] = {}
    for each in active:
        for host in each["spec"].get("hosts", []):
            by_host.setdefault(full_host(host, namespace_of(each)), each)  # sidecar: the oldest wins, nothing is merged
    listening = {service_host(one): one for one in registry.services if port in ports_of(one)}
    known = registry.by_host
    used: set[str] = set()
    hosts: list[Json] = []
    taken: set[str] = set()

    def add(host: str, domains: list[str], routes: list[Json]) -> None:
        free = [domain for domain in domains if domain not in taken]
        taken.update(free)
        if free:
            hosts.append({"name": f"{host}:{port}", "domains": free, "routes": routes})

    for host, service in listening.items():
        pattern = max((one for one in by_host if covers(one, host)), key=specificity, default=None)
        if pattern is None:
            routes = [plain_route(wiring.cluster(proxy, port, "", host))]
        else:
            used.add(pattern)
            routes = routes_of(by_host[pattern], registry, proxy, port, wiring)
        add(host, service_domains(service, proxy.namespace, port), routes)
    for host, each in by_host.items():
        if host not in used and host not in known:
            domains = ["*"] if host == "*" else [host, f"{host}:{port}"]
            add(host, domains, routes_of(each, registry, proxy, port, wiring))
    version = {"key": VERSION_HEADER, "value": "%METADATA(UPSTREAM_HOST:istio:version)%"}
    return {
        "name": str(port),
        "virtual_hosts": hosts,
        "response_headers_to_add": [{"header": version, "keep_empty_value": True}],
    }

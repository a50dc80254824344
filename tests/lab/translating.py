"""What the tests of the translation start from: Bookinfo's reviews, a VirtualService, and a look at what came out."""

from __future__ import annotations

from typing import Any

from canaryd.lab import bookinfo
from canaryd.lab.istiod import translation as istiod
from canaryd.lab.istiod.clusters import cluster_name
from canaryd.lab.istiod.control import WIRING
from canaryd.lab.istiod.proxy import GATEWAY, Proxy
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.translation import Translation

Json = dict[str, Any]
V1, V2, V3 = (cluster_name(9080, version, bookinfo.HOST) for version in ("v1", "v2", "v3"))
PLAIN = cluster_name(9080, "", bookinfo.HOST)
INGRESS = Proxy("istio-ingressgateway", "istio-system", {"istio": "ingressgateway"}, GATEWAY)


def service(name: str, namespace: str = "default", *ports: Json, **spec: Any) -> Json:
    """A Service, on 9080 for HTTP unless ports are given."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": list(ports) or [{"port": 9080, "name": "http"}], "selector": {"app": name}, **spec},
    }


# So that a sidecar has a listener on these ports, whatever else is there.
LISTENING = service("listening", "elsewhere", {"port": 9080, "name": "http"}, {"port": 80, "name": "http-web"})


def virtual(*http: Json, name: str = "reviews", namespace: str = "default", born: str = "", **spec: Any) -> Json:
    """A VirtualService on `reviews`; `born` is a day of 2026, as `01-31`."""
    about = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {**about, **({"creationTimestamp": f"2026-{born}T00:00:00Z"} if born else {})},
        "spec": {"hosts": ["reviews"], "http": list(http), **spec},
    }


def gateway(*servers: Json, name: str = "gw", namespace: str = "default", born: str = "", **spec: Any) -> Json:
    """A Gateway for Istio's own ingress gateway; one server, HTTP on 8080 for all hosts, unless others are given."""
    about = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {**about, **({"creationTimestamp": f"2026-{born}T00:00:00Z"} if born else {})},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": list(servers) or [server()], **spec},
    }


def server(*hosts: str, port: int = 8080, protocol: str = "HTTP", name: str = "http", **more: Any) -> Json:
    return {"port": {"number": port, "protocol": protocol, "name": name}, "hosts": list(hosts) or ["*"], **more}


def to(subset: str, weight: int | None = None, **destination: Any) -> Json:
    """A destination; its `headers` stand beside it."""
    headers = destination.pop("headers", None)
    place = {"host": "reviews", "subset": subset, **destination}
    return {
        "destination": place,
        **({} if weight is None else {"weight": weight}),
        **({} if headers is None else {"headers": headers}),
    }


def mesh(*others: Json) -> list[Json]:
    """Bookinfo's reviews with its pods, without a VirtualService, and what is given."""
    pods = [pod(version, number) for version in bookinfo.VERSIONS for number in range(bookinfo.REPLICAS)]
    return [bookinfo.service(), bookinfo.destination_rule(), *pods, *others]


def pod(version: str, number: int) -> Json:
    """A ready pod of reviews with a sidecar."""
    owner = f"{bookinfo.workload(version)}-6f9"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{owner}-{number}",
            "namespace": "default",
            "labels": {"app": "reviews", "version": version, "pod-template-hash": "6f9"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "controller": True}],
        },
        "spec": {"containers": [{"name": "reviews"}, {"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def translate(objects: list[Json], proxy: Proxy | None = None) -> Translation:
    return istiod.translate(Registry.of([*objects, LISTENING]), proxy or Proxy(), WIRING)


def host_of(translation: Translation, domain: str = "reviews", table: str = "9080") -> Json:
    """The virtual host that a request to `domain` meets."""
    hosts = translation.routes[table]["virtual_hosts"]
    return next(each for each in hosts if domain in each["domains"])


def whole_routes(*http: Json, proxy: Proxy | None = None, **spec: Any) -> list[Json]:
    """The routes that a sidecar gets for `reviews` from a VirtualService with these entries."""
    found: list[Json] = host_of(translate(mesh(virtual(*http, **spec)), proxy))["routes"]
    return found


def routes(*http: Json, proxy: Proxy | None = None, **spec: Any) -> list[Json]:
    """The same, their matches and actions only."""
    return [{key: each[key] for key in ("match", "route")} for each in whole_routes(*http, proxy=proxy, **spec)]


def only_route(entry: Json) -> Json:
    """The one route of an entry that goes to v1 unless it says something else."""
    ends = entry.keys() & {"route", "redirect", "directResponse"}
    found = whole_routes(entry if ends else {**entry, "route": [to("v1")]})
    assert len(found) == 1
    return found[0]


def action(entry: Json) -> Json:
    found: Json = only_route(entry)["route"]
    return found


def shares(route: Json) -> dict[str, int]:
    """The clusters of a route and their weights; a single one has 100."""
    does = route["route"]
    if "cluster" in does:
        return {does["cluster"]: 100}
    return {each["name"]: each["weight"] for each in does["weighted_clusters"]["clusters"]}


def endpoints(translation: Translation, name: str) -> list[Json]:
    cluster = next(each for each in translation.clusters if each["name"] == name)
    found: list[Json] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return found

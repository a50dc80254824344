"""
Bookinfo, as objects of the Kubernetes API: productpage -> details, and reviews -> ratings.

The objects follow Istio's `samples/bookinfo` (platform/kube/bookinfo.yaml, networking/bookinfo-gateway.yaml,
destination-rule-all.yaml, virtual-service-reviews-50-v3.yaml) and `samples/curl`; the ingress gateway is what Istio's
chart `gateway` installs. Only Deployments are here: `workloads.py` makes their pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from canaryd.lab.envoy.application import ALONE_HEADER, CALLS
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.scene import CLIENT, INGRESS, Request, Scene, vantage_points
from canaryd.lab.workloads import TEMPLATES

Json = dict[str, Any]
NAMESPACE = "default"
INGRESS_NAMESPACE = "istio-system"
INGRESS_ACCOUNT = "istio-ingressgateway-service-account"
SERVICE = "reviews"
HOST = "reviews.default.svc.cluster.local"
PORT = 9080
VERSIONS = ("v1", "v2", "v3")
REPLICAS = 2
VANTAGE = vantage_points(Proxy("productpage-v1", NAMESPACE, {"app": "productpage", "version": "v1"}))
CALLED = {  # by the applications of Bookinfo
    "productpage": "http://details:9080/details/0 http://reviews:9080/reviews/0#tries=2",
    "reviews": "http://ratings:9080/ratings/0",
}


def workload(version: str) -> str:
    return f"{SERVICE}-{version}"


def image(version: str, app: str = SERVICE) -> str:
    return f"docker.io/istio/examples-bookinfo-{app}-{version}:1.20.3"


def scene(*, weights: dict[str, int] | None = None, replicas: int = REPLICAS, grpc: bool = False) -> Scene:
    """Reviews on trial, called by productpage; see `objects`. Its requests are answered without a call to ratings."""
    return Scene(
        objects=tuple(objects(weights=weights, replicas=replicas, grpc=grpc)),
        namespace=NAMESPACE,
        virtual_service=SERVICE,
        versions={version: {"app": SERVICE, "version": version} for version in VERSIONS},
        destinations={version: {"host": SERVICE, "subset": version} for version in VERSIONS},
        request=Request(CLIENT, f"{SERVICE}:{PORT}", "/reviews/0", headers={ALONE_HEADER: "true"}),
        vantage=VANTAGE,
    )


def objects(*, weights: dict[str, int] | None = None, replicas: int = REPLICAS, grpc: bool = False) -> list[Json]:
    """
    Everything of Bookinfo, its ingress gateway, and a client.

    `weights` are the destinations of the VirtualService `reviews` in order, by default `{"v1": 100}`; the seed's are
    `{"v1": 50, "v3": 50}`. `replicas` are those of each version of reviews; everything else has one pod. `grpc` names
    the port of reviews as Istio wants it for a gRPC service.
    """
    versions = [("details", "v1"), ("productpage", "v1"), ("ratings", "v1"), *((SERVICE, each) for each in VERSIONS)]
    return [
        namespace(),
        namespace(INGRESS_NAMESPACE, injection=False),
        peer_authentication(),
        *(account(f"bookinfo-{app}") for app in ("details", "productpage", "ratings", SERVICE)),
        *(service(app, number) for number, app in enumerate(("details", "productpage", "ratings"), 81)),
        service(grpc=grpc),
        *(deployment(app, version, replicas if app == SERVICE else 1) for app, version in versions),
        *ingress_gateway(),
        *client(),
        gateway(),
        page(),
        *(destination_rule(app, ("v1",)) for app in ("details", "productpage", "ratings")),
        destination_rule(),
        virtual_service(weights or {"v1": 100}),
    ]


def namespace(name: str = NAMESPACE, *, injection: bool = True) -> Json:
    labels = {"kubernetes.io/metadata.name": name, **({"istio-injection": "enabled"} if injection else {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(name: str, home: str = NAMESPACE) -> Json:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": home}}


def peer_authentication(mode: str = "STRICT") -> Json:
    """mTLS between the proxies of the namespace."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {"mtls": {"mode": mode}},
    }


def service(app: str = SERVICE, number: int = 80, *, grpc: bool = False) -> Json:
    port = {"name": "grpc" if grpc else "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app, "namespace": NAMESPACE, "labels": {"app": app, "service": app}},
        "spec": {"ports": [port], "selector": {"app": app}, "type": "ClusterIP", "clusterIP": f"10.96.90.{number}"},
    }


def destination_rule(app: str = SERVICE, versions: Iterable[str] = VERSIONS) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {"host": app, "subsets": [{"name": each, "labels": {"version": each}} for each in versions]},
    }


def virtual_service(weights: dict[str, int]) -> Json:
    route = [
        {"destination": {"host": SERVICE, "subset": version}, "weight": weight} for version, weight in weights.items()
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"hosts": [SERVICE], "http": [{"route": route}]},
    }


def gateway() -> Json:
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "bookinfo-gateway", "namespace": NAMESPACE},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


def page() -> Json:
    """The VirtualService `bookinfo`: what of productpage is shown to the world."""
    shown = [
        {"uri": {"exact": "/productpage"}},
        {"uri": {"prefix": "/static"}},
        {"uri": {"exact": "/login"}},
        {"uri": {"exact": "/logout"}},
        {"uri": {"prefix": "/api/v1/products"}},
    ]
    route = [{"destination": {"host": "productpage", "port": {"number": PORT}}}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "bookinfo", "namespace": NAMESPACE},
        "spec": {"hosts": ["*"], "gateways": ["bookinfo-gateway"], "http": [{"match": shown, "route": route}]},
    }


def deployment(app: str, version: str, replicas: int = 1, of_image: str = "") -> Json:
    """One of Bookinfo's Deployments; `reviews-v1` calls nobody, `v2` and `v3` show stars."""
    labels = {"app": app, "version": version}
    called = CALLED.get(app, "") if (app, version) != (SERVICE, "v1") else ""
    container = {
        "name": app,
        "image": of_image or image(version, app),
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{app}-{version}", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, **({"annotations": {CALLS: called}} if called else {})},
                "spec": {"serviceAccountName": f"bookinfo-{app}", "containers": [container]},
            },
        },
    }


def ingress_gateway(labels: Mapping[str, str] = VANTAGE[INGRESS].labels) -> list[Json]:
    """The gateway's own workload: service account, Deployment and Service."""
    labels = dict(labels)
    ports = [
        {"name": "status-port", "port": 15021, "targetPort": 15021, "protocol": "TCP"},
        {"name": "http2", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"},
    ]
    about = {"name": "istio-ingressgateway", "namespace": INGRESS_NAMESPACE, "labels": labels}
    template = {
        "metadata": {
            "labels": {**labels, "sidecar.istio.io/inject": "true"},
            "annotations": {TEMPLATES: "gateway"},
        },
        "spec": {"serviceAccountName": INGRESS_ACCOUNT, "containers": [{"name": "istio-proxy", "image": "auto"}]},
    }
    return [
        account(INGRESS_ACCOUNT, INGRESS_NAMESPACE),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": about,
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"ports": ports, "selector": labels, "type": "LoadBalancer", "clusterIP": "10.96.90.90"},
        },
    ]


def client(name: str = "curl", home: str = NAMESPACE) -> list[Json]:
    """A pod that only calls."""
    labels = {"app": name}
    return [
        account(name, home),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": home, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": name,
                        "containers": [{"name": name, "image": "docker.io/curlimages/curl:8.16.0"}],
                    },
                },
            },
        },
    ]

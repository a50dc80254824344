"""
What other files of yours would hold: the Services and Deployments behind the hosts that routes name.

A team often keeps routes and workloads in different places. So that a directory with a VirtualService and a
DestinationRule is enough for the lab, what is missing behind them is made up, and each thing made up is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from canaryd.lab.own.reading import Own
from canaryd.mesh.hosts import service_of

Json = dict[str, Any]
PORT = 80
"""Of a Service that is made up, where no destination names another."""
PODS = 2


def completed(own: Own) -> Own:
    """`own` with a Service for each host that is routed to and a Deployment for each version, where there was none."""
    services = {_identity(each): each for each in own.of("Service", "")}
    deployments = own.of("Deployment", "apps")
    made: list[Json] = []
    notes: list[str] = []
    for home, name, port in _routed_to(own):
        service = services.get((home, name))
        if service is None:
            service = services[home, name] = _service(home, name, port)
            made.append(service)
            notes.append(f"made up Service {home}/{name} with port {port}: routes name it, and it was not there")
        selector: Mapping[str, str] = service.get("spec", {}).get("selector") or {}
        if not selector:
            continue  # its endpoints are somebody else's affair
        versions = list(_versions(own, home, name)) or [("", {})]
        for version, labels in versions:
            wanted = {**selector, **labels}
            if not any(_runs(each, home, wanted) for each in [*deployments, *_deployments(made)]):
                deployment = _deployment(home, f"{name}-{version}" if version else name, wanted)
                made.append(deployment)
                said = ",".join(f"{key}={value}" for key, value in wanted.items())
                notes.append(f"made up {_of(deployment)} with {PODS} pods ({said}): nothing there had these labels")
    rank = {"Service": 0, "Deployment": 1}
    first = [each for each in own.objects if each["kind"] in ("Namespace", "ServiceAccount")]
    rest = [each for each in own.objects if each not in first]
    ordered = sorted([*made, *rest], key=lambda each: rank.get(each["kind"], 2))
    return replace(own, objects=(*first, *ordered), notes=(*own.notes, *notes))


def _routed_to(own: Own) -> Iterator[tuple[str, str, int]]:
    """Namespace, name and port of every Service that a route or a plan names, each once."""
    seen: dict[tuple[str, str], int] = {}
    for virtual in own.of("VirtualService"):
        home = _identity(virtual)[0]
        for destination in _destinations(virtual.get("spec") or {}):
            name, namespace = service_of(str(destination.get("host", "")), home)
            port = (destination.get("port") or {}).get("number") or 0
            if name:
                seen[namespace, name] = seen.get((namespace, name), 0) or port
    for rule in own.of("DestinationRule"):
        home = _identity(rule)[0]
        host = str((rule.get("spec") or {}).get("host", ""))
        name, namespace = service_of(host, home)
        if name and "*" not in host:
            seen.setdefault((namespace, name), 0)
    for (namespace, name), port in seen.items():
        yield namespace, name, port or PORT


def _destinations(spec: Json) -> Iterator[Json]:
    for protocol in ("http", "tls", "tcp"):
        for entry in spec.get(protocol) or ():
            for each in entry.get("route") or ():
                yield (each or {}).get("destination") or {}
            for mirror in (
                entry.get("mirror"),
                *((one or {}).get("destination") for one in entry.get("mirrors") or ()),
            ):
                if mirror:
                    yield mirror


def _versions(own: Own, home: str, name: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The subsets of the Service's DestinationRules: name and labels."""
    for rule in own.of("DestinationRule"):
        namespace = _identity(rule)[0]
        spec = rule.get("spec") or {}
        if service_of(str(spec.get("host", "")), namespace) == (name, home):
            for subset in spec.get("subsets") or ():
                yield str(subset.get("name", "")), subset.get("labels") or {}


def _service(home: str, name: str, port: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": home, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }


def _deployment(home: str, name: str, labels: Mapping[str, str]) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": home, "labels": dict(labels)},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": dict(labels)},
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {"containers": [{"name": name, "image": "lab/made-up:1"}]},
            },
        },
    }


def _runs(deployment: Json, home: str, labels: Mapping[str, str]) -> bool:
    template = (deployment.get("spec") or {}).get("template") or {}
    carried = (template.get("metadata") or {}).get("labels") or {}
    return _identity(deployment)[0] == home and labels.items() <= carried.items()


def _deployments(objects: Iterable[Json]) -> list[Json]:
    return [each for each in objects if each["kind"] == "Deployment"]


def _identity(each: Json) -> tuple[str, str]:
    return each["metadata"].get("namespace") or "default", each["metadata"]["name"]


def _of(each: Json) -> str:
    return f"{each['kind']} {'/'.join(_identity(each))}"

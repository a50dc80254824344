"""
A scene of one's own objects: the service that a plan moves, with clients that call it as the plan's entry expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from canaryd.lab.own.reading import Own
from canaryd.lab.scene import Request, Scene
from canaryd.mesh.admission import Surroundings, selection_of
from canaryd.mesh.hosts import service_of
from canaryd.mesh.route import resolve
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused

Json = dict[str, Any]
ROOT = "istio-system"
INJECTED = {"istio-injection": "enabled"}
SELECTED = "istio"
"""The label by which Gateways usually choose their proxies."""


def scene_of(own: Own, plan: Plan, request: Request) -> Scene:
    """
    What the lab needs to play `plan` on the objects of `own`, which are complete (`completing`).

    Raises Refused where the plan's versions cannot be told from the objects.
    """
    target = plan.spec.target
    named = (plan.namespace, target.virtual_service)
    virtual = next(each for each in own.of("VirtualService") if _identity(each) == named)
    resolution = resolve(virtual, plan)
    if resolution.route is None:
        raise Refused(resolution.problems)
    route = resolution.route
    around = Surroundings(
        virtual_services=own.of("VirtualService"),
        services=own.of("Service", ""),
        destination_rules=own.of("DestinationRule"),
        pods=(),
        deployments=own.of("Deployment", "apps"),
    )
    versions: dict[str, Mapping[str, str]] = {}
    problems = []
    for version in (route.stable, route.canary):
        selection, missing = selection_of(version, plan.namespace, around)
        problems += missing
        versions[version.subset or version.host.partition(".")[0]] = selection.labels
    if problems:
        raise Refused(problems)
    home = service_of(route.stable.host, plan.namespace)[1]
    return Scene(
        objects=(*_namespaces(own, plan), *own.objects),
        namespace=home,
        virtual_service=target.virtual_service,
        versions=versions,
        request=request,
        entry=route.entries[0].index,
    )


def gateway_labels(own: Own) -> dict[str, str]:
    """The labels of an ingress gateway's pods that every Gateway's selector chooses."""
    labels = {"app": "istio-ingressgateway", SELECTED: "ingressgateway"}
    for each in own.of("Gateway", "networking.istio.io"):
        labels |= (each.get("spec") or {}).get("selector") or {}
    return labels


def _namespaces(own: Own, plan: Plan) -> list[Json]:
    """Every namespace in use, with sidecars; those that are among the objects stay as they are."""
    there = {each["metadata"]["name"] for each in own.of("Namespace", "")}
    used = dict.fromkeys([plan.namespace, *(_identity(each)[0] for each in own.objects if each["kind"] != "Namespace")])
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {} if name == ROOT else INJECTED},
        }
        for name in used
        if name not in there
    ]


def _identity(each: Json) -> tuple[str, str]:
    return each["metadata"].get("namespace") or "default", each["metadata"]["name"]

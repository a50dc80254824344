"""
A scene of one's own objects: the service that a plan moves, with clients that call it as the plan's entry expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab import bookinfo
from canaryd.lab.istiod.proxy import Proxy
from canaryd.lab.own.reading import Own
from canaryd.lab.scene import CLIENT, INGRESS, OTHER, Request, Scene, name_of, vantage_points
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
    destinations: dict[str, Json] = {}
    problems = []
    there = [each["destination"] for each in virtual["spec"]["http"][route.entries[0].index].get("route") or ()]
    for version in (route.stable, route.canary):
        selection, missing = selection_of(version, plan.namespace, around)
        problems += missing
        plain = {"host": version.host, **({"subset": version.subset} if version.subset else {})}
        name = name_of(plain)
        versions[name] = selection.labels
        port = {"port": there[0]["port"]} if there and "port" in there[0] else {}
        destinations[name] = next((each for each in there if name_of(each) == name), {**plain, **port})
    if problems:
        raise Refused(problems)
    home = service_of(route.stable.host, plan.namespace)[1]
    if home != plan.namespace:
        raise Rejected(f"the lab plays a plan whose Services are in its own namespace, {plan.namespace}; found {home}")
    client = Proxy("client", plan.namespace, {"app": "client"})
    vantage = vantage_points(client, gateway_labels(own))
    return Scene(
        objects=(*_namespaces(own, plan), *_callers(own, vantage), *own.objects),
        namespace=plan.namespace,
        virtual_service=target.virtual_service,
        versions=versions,
        destinations=destinations,
        request=request,
        vantage=vantage,
        entry=route.entries[0].index,
    )


def _callers(own: Own, vantage: Mapping[str, Proxy]) -> list[Json]:
    """The workloads from which requests are sent, unless there are such among the objects."""
    made = [
        *bookinfo.client(vantage[CLIENT].name, vantage[CLIENT].namespace),
        *bookinfo.client(vantage[OTHER].name, vantage[OTHER].namespace),
        *bookinfo.ingress_gateway(vantage[INGRESS].labels),
    ]
    there = {(each["kind"], *_identity(each)) for each in own.objects}
    return [each for each in made if (each["kind"], *_identity(each)) not in there]


def gateway_labels(own: Own) -> dict[str, str]:
    """The labels of an ingress gateway's pods that every Gateway's selector chooses."""
    labels = {"app": "istio-ingressgateway", SELECTED: "ingressgateway"}
    for each in own.of("Gateway", "networking.istio.io"):
        labels |= (each.get("spec") or {}).get("selector") or {}
    return labels


def _namespaces(own: Own, plan: Plan) -> list[Json]:
    """Every namespace in use, with sidecars; those that are among the objects stay as they are."""
    there = {each["metadata"]["name"] for each in own.of("Namespace", "")}
    used = dict.fromkeys(
        [plan.namespace, ROOT, *(_identity(each)[0] for each in own.objects if each["kind"] != "Namespace")]
    )
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
